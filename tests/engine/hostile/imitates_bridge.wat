;; Asks for memories of just the size that the engine's own have, which the memory limit does not count.
(component
  (core module $m (memory (export "memory") 16384 16384) (func (export "f")))
  (core instance $a (instantiate $m)) (core instance $b (instantiate $m)) (core instance $c (instantiate $m))
  (alias core export $c "f" (core func $c))
  (func $f (canon lift (core func $c)))
  (instance $api (export "f" (func $f)))
  (export "test:kit/api@1.0.0" (instance $api)))
