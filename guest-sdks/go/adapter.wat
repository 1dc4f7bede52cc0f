;; What Go's runtime imports from WASI, answered here, so that a component imports what its world says and no more.
;;
;; - What is printed to stdout or stderr is logged, line by line. After a line that begins with `panic` or `fatal`, nine lines
;;   are, with the innermost places: of a plugin that ended, the last ten lines are told.
;; - Time stands still but for the steps that each look at a clock, and each sleep, takes. Plugins that need the time ask
;;   the host's `clock`.
;; - Random bytes are the same in each instance, and are there only while the runtime starts, which seeds its maps with
;;   them. Later there are none, rather than some that can be foretold: plugins that need them ask the host's `random`.
;; - There are no files, no arguments and no environment.
(module
  (import "env" "memory" (memory 0))
  (import "dataflare:host/logging@1.0.0" "log" (func $log (param i32 i32 i32 i32 i32)))

  ;; The line that is being printed, in memory that the SDK gives.
  (global $line (mut i32) (i32.const 0))
  (global $room (mut i32) (i32.const 0))
  (global $used (mut i32) (i32.const 0))
  ;; How many lines are still logged.
  (global $left (mut i32) (i32.const -1))
  ;; While the host allocates in the plugin's memory, nothing of the host's can be called.
  (global $silent (mut i32) (i32.const 0))
  ;; Nanoseconds.
  (global $now (mut i64) (i64.const 1000000000))
  (global $seed (mut i32) (i32.const 0x92d68ca2))

  (func (export "dataflare_line") (param $line i32) (param $room i32)
    (global.set $line (local.get $line))
    (global.set $room (local.get $room)))

  (func (export "adapter_monotonic_clock_set_paused") (param $silent i32)
    (global.set $silent (local.get $silent)))

  ;; How many bytes a character of UTF-8 has at a place; 0 if there is none. `$end` is where the line ends.
  (func $character (param $at i32) (param $end i32) (result i32)
    (local $first i32) (local $second i32) (local $length i32) (local $place i32)
    (local.set $first (i32.load8_u (local.get $at)))
    (if (i32.lt_u (local.get $first) (i32.const 0x80)) (then (return (i32.const 1))))
    (if (i32.or (i32.lt_u (local.get $first) (i32.const 0xc2)) (i32.gt_u (local.get $first) (i32.const 0xf4)))
      (then (return (i32.const 0))))
    (local.set $length
      (i32.add (i32.const 2)
        (i32.add (i32.ge_u (local.get $first) (i32.const 0xe0)) (i32.ge_u (local.get $first) (i32.const 0xf0)))))
    (if (i32.gt_u (i32.add (local.get $at) (local.get $length)) (local.get $end)) (then (return (i32.const 0))))
    (local.set $place (i32.const 1))
    (loop $next
      (if (i32.ne (i32.and (i32.load8_u (i32.add (local.get $at) (local.get $place))) (i32.const 0xc0)) (i32.const 0x80))
        (then (return (i32.const 0))))
      (local.set $place (i32.add (local.get $place) (i32.const 1)))
      (br_if $next (i32.lt_u (local.get $place) (local.get $length))))
    ;; Neither longer than needed, nor half of a pair, nor beyond the last character.
    (local.set $second (i32.load8_u offset=1 (local.get $at)))
    (if (i32.or
          (i32.or
            (i32.and (i32.eq (local.get $first) (i32.const 0xe0)) (i32.lt_u (local.get $second) (i32.const 0xa0)))
            (i32.and (i32.eq (local.get $first) (i32.const 0xed)) (i32.gt_u (local.get $second) (i32.const 0x9f))))
          (i32.or
            (i32.and (i32.eq (local.get $first) (i32.const 0xf0)) (i32.lt_u (local.get $second) (i32.const 0x90)))
            (i32.and (i32.eq (local.get $first) (i32.const 0xf4)) (i32.gt_u (local.get $second) (i32.const 0x8f)))))
      (then (return (i32.const 0))))
    (local.get $length))

  ;; Put a question mark in the place of each byte that is not part of a character.
  (func $make_text
    (local $at i32) (local $end i32) (local $length i32)
    (local.set $at (global.get $line))
    (local.set $end (i32.add (global.get $line) (global.get $used)))
    (block $done
      (loop $next
        (br_if $done (i32.ge_u (local.get $at) (local.get $end)))
        (local.set $length (call $character (local.get $at) (local.get $end)))
        (if (i32.eqz (local.get $length))
          (then
            (i32.store8 (local.get $at) (i32.const 63))
            (local.set $length (i32.const 1))))
        (local.set $at (i32.add (local.get $at) (local.get $length)))
        (br $next))))

  (func $end_line (param $descriptor i32)
    (if (i32.and (i32.and (i32.ne (global.get $used) (i32.const 0)) (i32.ne (global.get $left) (i32.const 0)))
          (i32.eqz (global.get $silent)))
      (then
        (call $make_text)
        ;; The level is `error` for stderr, and `info` for stdout.
        (call $log
          (select (i32.const 4) (i32.const 2) (i32.eq (local.get $descriptor) (i32.const 2)))
          (global.get $line) (global.get $used) (i32.const 0) (i32.const 0))
        (global.set $left (i32.sub (global.get $left) (i32.const 1)))
        ;; The first four letters; what is left of an earlier line does no harm.
        (if (i32.or
              (i32.eq (i32.load align=1 (global.get $line)) (i32.const 0x696e6170))
              (i32.eq (i32.load align=1 (global.get $line)) (i32.const 0x61746166)))
          (then (global.set $left (i32.const 9))))))
    (global.set $used (i32.const 0)))

  (func $print (param $descriptor i32) (param $byte i32)
    (if (i32.eq (local.get $byte) (i32.const 10))
      (then (call $end_line (local.get $descriptor)) (return)))
    (if (i32.eqz (global.get $room)) (then (return)))
    (if (i32.eq (global.get $used) (global.get $room))
      (then (call $end_line (local.get $descriptor))))
    (i32.store8 (i32.add (global.get $line) (global.get $used)) (local.get $byte))
    (global.set $used (i32.add (global.get $used) (i32.const 1))))

  (func (export "fd_write") (param $descriptor i32) (param $pieces i32) (param $count i32) (param $written i32) (result i32)
    (local $at i32) (local $end i32) (local $total i32)
    (if (i32.gt_u (i32.sub (local.get $descriptor) (i32.const 1)) (i32.const 1))
      (then (return (i32.const 8))))
    (block $done
      (loop $piece
        (br_if $done (i32.eqz (local.get $count)))
        (local.set $at (i32.load (local.get $pieces)))
        (local.set $end (i32.add (local.get $at) (i32.load offset=4 (local.get $pieces))))
        (local.set $total (i32.add (local.get $total) (i32.load offset=4 (local.get $pieces))))
        (block $next
          (loop $byte
            (br_if $next (i32.eq (local.get $at) (local.get $end)))
            (call $print (local.get $descriptor) (i32.load8_u (local.get $at)))
            (local.set $at (i32.add (local.get $at) (i32.const 1)))
            (br $byte)))
        (local.set $pieces (i32.add (local.get $pieces) (i32.const 8)))
        (local.set $count (i32.sub (local.get $count) (i32.const 1)))
        (br $piece)))
    (i32.store (local.get $written) (local.get $total))
    (i32.const 0))

  (func (export "proc_exit") (param $code i32)
    (call $end_line (i32.const 2))
    unreachable)

  (func (export "clock_time_get") (param $clock i32) (param $precision i64) (param $time i32) (result i32)
    (global.set $now (i64.add (global.get $now) (i64.const 1000)))
    (i64.store (local.get $time) (global.get $now))
    (i32.const 0))

  ;; The first subscription is the timeout, if there is one: it is over at once.
  (func (export "poll_oneoff") (param $in i32) (param $out i32) (param $count i32) (param $events i32) (result i32)
    (if (i32.load8_u offset=8 (local.get $in)) (then (return (i32.const 58))))
    (global.set $now (i64.add (global.get $now) (i64.load offset=24 (local.get $in))))
    (i64.store (local.get $out) (i64.load (local.get $in)))
    (i64.store offset=8 (local.get $out) (i64.const 0))
    (i32.store (local.get $events) (i32.const 1))
    (i32.const 0))

  (func (export "random_get") (param $at i32) (param $length i32) (result i32)
    (if (global.get $room) (then (return (i32.const 52))))
    (block $done
      (loop $byte
        (br_if $done (i32.eqz (local.get $length)))
        (global.set $seed (i32.xor (global.get $seed) (i32.shl (global.get $seed) (i32.const 13))))
        (global.set $seed (i32.xor (global.get $seed) (i32.shr_u (global.get $seed) (i32.const 17))))
        (global.set $seed (i32.xor (global.get $seed) (i32.shl (global.get $seed) (i32.const 5))))
        (i32.store8 (local.get $at) (global.get $seed))
        (local.set $at (i32.add (local.get $at) (i32.const 1)))
        (local.set $length (i32.sub (local.get $length) (i32.const 1)))
        (br $byte)))
    (i32.const 0))

  ;; Nothing of these: both numbers are 0.
  (func (export "args_sizes_get") (export "environ_sizes_get") (param $count i32) (param $size i32) (result i32)
    (i32.store (local.get $count) (i32.const 0))
    (i32.store (local.get $size) (i32.const 0))
    (i32.const 0))
  (func (export "args_get") (export "environ_get") (param i32 i32) (result i32) (i32.const 0))
  (func (export "sched_yield") (result i32) (i32.const 0))

  ;; A terminal, or something like it.
  (func (export "fd_fdstat_get") (param $descriptor i32) (param $status i32) (result i32)
    (if (i32.gt_u (local.get $descriptor) (i32.const 2)) (then (return (i32.const 8))))
    (memory.fill (local.get $status) (i32.const 0) (i32.const 24))
    (i32.store8 (local.get $status) (i32.const 2))
    (i32.const 0))

  ;; There is no such descriptor.
  (func (export "fd_close") (export "fd_sync") (param i32) (result i32) (i32.const 8))
  (func (export "fd_prestat_get") (export "fd_fdstat_set_flags") (export "fd_filestat_get") (export "sock_shutdown")
    (param i32 i32) (result i32) (i32.const 8))
  (func (export "fd_filestat_set_size") (param i32 i64) (result i32) (i32.const 8))
  (func (export "fd_fdstat_set_rights") (param i32 i64 i64) (result i32) (i32.const 8))
  (func (export "fd_prestat_dir_name") (export "sock_accept") (export "path_create_directory")
    (export "path_remove_directory") (export "path_unlink_file") (param i32 i32 i32) (result i32) (i32.const 8))
  (func (export "fd_read") (param i32 i32 i32 i32) (result i32) (i32.const 8))
  (func (export "fd_pread") (export "fd_pwrite") (param i32 i32 i32 i64 i32) (result i32) (i32.const 8))
  (func (export "fd_readdir") (param i32 i32 i32 i64 i32) (result i32) (i32.const 8))
  (func (export "fd_seek") (param i32 i64 i32 i32) (result i32) (i32.const 8))
  (func (export "path_filestat_get") (export "path_symlink") (param i32 i32 i32 i32 i32) (result i32) (i32.const 8))
  (func (export "path_readlink") (export "path_rename") (param i32 i32 i32 i32 i32 i32) (result i32) (i32.const 8))
  (func (export "path_link") (param i32 i32 i32 i32 i32 i32 i32) (result i32) (i32.const 8))
  (func (export "path_filestat_set_times") (param i32 i32 i32 i32 i64 i64 i32) (result i32) (i32.const 8))
  (func (export "path_open") (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32) (i32.const 8)))
