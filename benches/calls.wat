;; Two small functions: one of numbers, one of a record.
(component
  (core module $m
    (memory (export "memory") 1)
    (func (export "add") (param i32 i32) (result i32) (i32.add (local.get 0) (local.get 1)))
    (func (export "mirrored") (param f64 f64) (result i32)
      (f64.store (i32.const 64) (local.get 1))
      (f64.store (i32.const 72) (local.get 0))
      (i32.const 64)))
  (core instance $i (instantiate $m))
  (alias core export $i "memory" (core memory $mem))
  (type $point (record (field "x" f64) (field "y" f64)))
  (func $add (param "a" u32) (param "b" u32) (result u32) (canon lift (core func $i "add")))
  (func $mirrored (param "p" $point) (result $point) (canon lift (core func $i "mirrored") (memory $mem)))
  (component $api
    (import "add" (func $add (param "a" u32) (param "b" u32) (result u32)))
    (type $given (record (field "x" f64) (field "y" f64)))
    (import "point" (type $point (eq $given)))
    (import "mirrored" (func $mirrored (param "p" $point) (result $point)))
    (export $out "point" (type $given))
    (export "add" (func $add))
    (export "mirrored" (func $mirrored) (func (param "p" $out) (result $out))))
  (instance $made (instantiate $api (with "add" (func $add)) (with "point" (type $point)) (with "mirrored" (func $mirrored))))
  (export "bench:calls/api@1.0.0" (instance $made)))
