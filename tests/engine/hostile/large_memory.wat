;; Wants 128 MiB from the start.
(component
  (core module $m (memory (export "memory") 2048) (func (export "f")))
  (core instance $i (instantiate $m))
  (alias core export $i "f" (core func $c))
  (func $f (canon lift (core func $c)))
  (instance $api (export "f" (func $f)))
  (export "test:kit/api@1.0.0" (instance $api)))
