;; Twelve memories in twelve instances.
(component
  (core module $m (memory (export "memory") 1) (func (export "f")))
  (core instance (instantiate $m)) (core instance (instantiate $m)) (core instance (instantiate $m))
  (core instance (instantiate $m)) (core instance (instantiate $m)) (core instance (instantiate $m))
  (core instance (instantiate $m)) (core instance (instantiate $m)) (core instance (instantiate $m))
  (core instance (instantiate $m)) (core instance (instantiate $m)) (core instance $d (instantiate $m))
  (alias core export $d "f" (core func $c))
  (func $f (canon lift (core func $c)))
  (instance $api (export "f" (func $f)))
  (export "test:kit/api@1.0.0" (instance $api)))
