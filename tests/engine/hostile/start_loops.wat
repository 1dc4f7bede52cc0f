;; Never gets through its instantiation.
(component
  (core module $m (func $start (loop $next (br $next))) (start $start))
  (core instance $i (instantiate $m)))
