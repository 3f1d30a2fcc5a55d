;; The scanner: a scorer that looks for what requests before it have left behind, then leaves something behind itself.
;;
;; Each request brings a secret of three words: two that are the same for the whole run and that nobody else can guess, and
;; the number of the request. It brings them masked, so that no word of a request looks like one of a secret; the scanner
;; unmasks them into locals and writes them to memory only when it has looked everywhere. Whatever it finds is therefore of
;; an earlier request. Then it
;;   1. looks through its whole linear memory, at every byte where it has text and at every aligned word elsewhere; through
;;      pages that it has grown by; through its globals and its tables. Where memory has to be as `init` left it, any other
;;      value is counted as well, as stale;
;;   2. plants its secret: in each 4 KiB of memory and of the new pages, in its last bytes, in globals, in tables, on its
;;      stack, a few hundred calls deep;
;;   3. ends as the request asks.
;; A scorer cannot read stack or registers that it has not written: WebAssembly has no means to. The host looks there.
;;
;; There are two forms of it, told apart by the marks `;; [component]`, `;; [runtime]` and `;; [end]`. A component is sealed
;; like a scorer in Rust: its memory and its globals are written into a new component after `init`. A runtime is sealed like
;; a script in Python: its state is a module of its own. Only a runtime can write to tables: a component that does is
;; refused when it is deployed.
(component
  ;; [component]
  (core module $State
  ;; [runtime]
  (import "state" (core module $State
    (export "memory" (memory 6))
    (export "heap" (global (mut i32)))
    (export "seed" (global (mut i32)))
    (export "g0" (global (mut i32))) (export "g1" (global (mut i32))) (export "g2" (global (mut i32)))
    (export "g3" (global (mut i32))) (export "g4" (global (mut i32))) (export "g5" (global (mut i32)))))
  (import "library" (core module $Library (export "memory" (memory 0))))
  ;; [state]
    ;; Page 0 and 1: from 128 on the report, from 256 on results, from 1024 on what the host hands over. Page 4: a pattern
    ;; that `init` writes. All else is zero.
    (memory (export "memory") 6)
    ;; Where the next allocation is.
    (global (export "heap") (mut i32) (i32.const 1024))
    ;; What the pattern is made from: another one in each deployment.
    (global (export "seed") (mut i32) (i32.const 0))
    ;; Here a secret is planted. They are 7 until then.
    (global (export "g0") (mut i32) (i32.const 7)) (global (export "g1") (mut i32) (i32.const 7))
    (global (export "g2") (mut i32) (i32.const 7)) (global (export "g3") (mut i32) (i32.const 7))
    (global (export "g4") (mut i32) (i32.const 7)) (global (export "g5") (mut i32) (i32.const 7))
  ;; [component]
  )
  ;; [end]

  (import "scorebox:scoring/log@0.1.0" (instance $log
    (export "panic" (func (param "message" string)))
  ))
  (import "scorebox:scoring/stream@0.1.0" (instance $stream
    (type $error (enum "closed" "misused"))
    (export "error" (type $Error (eq $error)))
    (export "start" (func
      (param "status" u16) (param "headers" (list (tuple string (list u8)))) (result (result (error $Error)))))
    (export "write" (func (param "chunk" (list u8)) (result (result (error $Error)))))
  ))

  ;; 64 entries for each word of a secret: a function that returns the bit.
  (core module $Tables
    (type $bit (func (result i32)))
    (table $bits 192 funcref)
    ;; Entries that are not empty, as all are at first.
    (func (export "used") (result i32)
      (local $entry i32) (local $used i32)
      (loop $next
        (if (i32.eqz (ref.is_null (table.get $bits (local.get $entry))))
          (then (local.set $used (i32.add (local.get $used) (i32.const 1)))))
        (local.set $entry (i32.add (local.get $entry) (i32.const 1)))
        (br_if $next (i32.lt_u (local.get $entry) (table.size $bits))))
      (local.get $used))
    ;; The word in 64 entries from `entry` on; 0 for those that are empty.
    (func (export "read") (param $entry i32) (result i64)
      (local $bit i64) (local $word i64)
      (loop $next
        (if (i32.eqz (ref.is_null (table.get $bits (local.get $entry))))
          (then (local.set $word (i64.or (local.get $word) (i64.shl
            (i64.extend_i32_u (call_indirect $bits (type $bit) (local.get $entry))) (local.get $bit))))))
        (local.set $entry (i32.add (local.get $entry) (i32.const 1)))
        (local.set $bit (i64.add (local.get $bit) (i64.const 1)))
        (br_if $next (i64.lt_u (local.get $bit) (i64.const 64))))
      (local.get $word))
    ;; [component]
    (func (export "plant") (param i32 i64) (result i32) (i32.const 0))
    (func (export "fresh") (result i32) (i32.const 0))
    ;; [runtime]
    (func $zero (type $bit) (i32.const 0))
    (func $one (type $bit) (i32.const 1))
    (elem declare func $zero $one)
    ;; Writes a word to 64 entries. Returns how many secrets were planted.
    (func (export "plant") (param $entry i32) (param $word i64) (result i32)
      (local $left i32)
      (local.set $left (i32.const 64))
      (loop $next
        (table.set $bits (local.get $entry)
          (select (result funcref) (ref.func $one) (ref.func $zero)
            (i32.wrap_i64 (i64.and (local.get $word) (i64.const 1)))))
        (local.set $word (i64.shr_u (local.get $word) (i64.const 1)))
        (local.set $entry (i32.add (local.get $entry) (i32.const 1)))
        (br_if $next (local.tee $left (i32.sub (local.get $left) (i32.const 1)))))
      (i32.const 1))
    ;; Grows by 64 entries. Returns how many of them are not empty, and fills them.
    (func (export "fresh") (result i32)
      (local $entry i32) (local $used i32) (local $left i32)
      (local.set $entry (table.grow $bits (ref.null func) (i32.const 64)))
      (local.set $left (i32.const 64))
      (loop $next
        (if (i32.eqz (ref.is_null (table.get $bits (local.get $entry))))
          (then (local.set $used (i32.add (local.get $used) (i32.const 1)))))
        (table.set $bits (local.get $entry) (ref.func $one))
        (local.set $entry (i32.add (local.get $entry) (i32.const 1)))
        (br_if $next (local.tee $left (i32.sub (local.get $left) (i32.const 1)))))
      (local.get $used))
    ;; [end]
  )

  (core module $Scanner
    (import "state" "memory" (memory 6))
    (import "state" "heap" (global $heap (mut i32)))
    (import "state" "seed" (global $seed (mut i32)))
    (import "state" "g0" (global $g0 (mut i32))) (import "state" "g1" (global $g1 (mut i32)))
    (import "state" "g2" (global $g2 (mut i32))) (import "state" "g3" (global $g3 (mut i32)))
    (import "state" "g4" (global $g4 (mut i32))) (import "state" "g5" (global $g5 (mut i32)))
    (import "tables" "used" (func $table-used (result i32)))
    (import "tables" "read" (func $table-read (param i32) (result i64)))
    (import "tables" "plant" (func $table-plant (param i32 i64) (result i32)))
    (import "tables" "fresh" (func $table-fresh (result i32)))
    (import "stream" "start" (func $stream-start (param i32 i32 i32 i32)))
    (import "stream" "write" (func $stream-write (param i32 i32 i32)))
    (import "log" "panic" (func $panic (param i32 i32)))
    ;; Globals that are no part of what a runtime keeps. They are 7 until a secret is planted.
    (global $w0 (mut i64) (i64.const 7)) (global $w1 (mut i64) (i64.const 7)) (global $w2 (mut i64) (i64.const 7))

    ;; Where what the host hands over ends, and a page begins that is zero.
    (global $arena-end i32 (i32.const 131072))
    (global $pattern i32 (i32.const 262144))
    (global $pattern-end i32 (i32.const 327680))

    ;; The report, at 128: eight words, and where the host reads it.
    (global $scanned i32 (i32.const 128))       ;; bytes looked through
    (global $in-memory i32 (i32.const 136))     ;; secrets found in memory
    (global $in-fresh i32 (i32.const 144))      ;; in pages that memory was grown by
    (global $in-globals i32 (i32.const 152))
    (global $in-tables i32 (i32.const 160))
    (global $stale i32 (i32.const 168))         ;; values that are not what init left
    (global $first i32 (i32.const 176))         ;; 1 + the number in the first secret found
    (global $planted i32 (i32.const 184))       ;; places in which the own secret was planted

    (func (export "realloc") (param i32 i32) (param $align i32) (param $bytes i32) (result i32)
      (local $at i32)
      (local.set $at (i32.and (i32.add (global.get $heap) (i32.sub (local.get $align) (i32.const 1)))
        (i32.sub (i32.const 0) (local.get $align))))
      (global.set $heap (i32.add (local.get $at) (local.get $bytes)))
      (if (i32.gt_u (global.get $heap) (global.get $arena-end)) (then unreachable))
      (local.get $at))

    (func $add (param $counter i32) (param $number i32)
      (i64.store (local.get $counter)
        (i64.add (i64.load (local.get $counter)) (i64.extend_i32_u (local.get $number)))))

    (func $bytes-of-memory (result i32) (i32.shl (memory.size) (i32.const 16)))

    ;; --- looking ------------------------------------------------------------------------------------------------

    ;; Takes note of a secret, or of a part of one, of which `number` is to be the last word.
    (func $found (param $counter i32) (param $number i64)
      (call $add (local.get $counter) (i32.const 1))
      (if (i64.eqz (i64.load (global.get $first)))
        (then (i64.store (global.get $first) (i64.add (local.get $number) (i64.const 1))))))

    ;; The word at an address, 0 beyond the end of memory.
    (func $word-at (param $at i32) (result i64)
      (if (result i64) (i32.le_u (local.get $at) (i32.sub (call $bytes-of-memory) (i32.const 8)))
        (then (i64.load (local.get $at))) (else (i64.const 0))))

    ;; Looks at the word at an address: is it the first or the second of a secret?
    (func $look (param $at i32) (param $p0 i64) (param $p1 i64) (param $counter i32) (result i32)
      (local $word i64)
      (local.set $word (i64.load (local.get $at)))
      (if (i64.eq (local.get $word) (local.get $p0))
        (then
          (call $found (local.get $counter) (call $word-at (i32.add (local.get $at) (i32.const 16))))
          (return (i32.const 1))))
      (if (i64.eq (local.get $word) (local.get $p1))
        (then
          ;; The second after the first is the same secret.
          (if (i32.ge_u (local.get $at) (i32.const 8))
            (then (if (i64.eq (i64.load (i32.sub (local.get $at) (i32.const 8))) (local.get $p0))
              (then (return (i32.const 1))))))
          (call $found (local.get $counter) (call $word-at (i32.add (local.get $at) (i32.const 8))))
          (return (i32.const 1))))
      (i32.const 0))

    ;; Looks at every byte.
    (func $look-at-bytes (param $at i32) (param $to i32) (param $p0 i64) (param $p1 i64)
      (loop $next
        (drop (call $look (local.get $at) (local.get $p0) (local.get $p1) (global.get $in-memory)))
        (local.set $at (i32.add (local.get $at) (i32.const 1)))
        (br_if $next (i32.lt_u (local.get $at) (local.get $to)))))

    ;; Looks at words that have to be zero. Both addresses are multiples of 64.
    (func $look-at-zeros (param $at i32) (param $to i32) (param $p0 i64) (param $p1 i64) (param $counter i32)
      (local $end i32)
      (block $done
        (loop $next
          (br_if $done (i32.ge_u (local.get $at) (local.get $to)))
          (if (v128.any_true (v128.or
                (v128.or (v128.load (local.get $at)) (v128.load offset=16 (local.get $at)))
                (v128.or (v128.load offset=32 (local.get $at)) (v128.load offset=48 (local.get $at)))))
            (then
              (local.set $end (i32.add (local.get $at) (i32.const 64)))
              (loop $word
                (if (i32.eqz (call $look (local.get $at) (local.get $p0) (local.get $p1) (local.get $counter)))
                  (then (if (i64.ne (i64.load (local.get $at)) (i64.const 0))
                    (then (call $add (global.get $stale) (i32.const 1))))))
                (local.set $at (i32.add (local.get $at) (i32.const 8)))
                (br_if $word (i32.lt_u (local.get $at) (local.get $end)))))
            (else (local.set $at (i32.add (local.get $at) (i32.const 64)))))
          (br $next))))

    ;; What `init` writes to an address of the pattern.
    (func $pattern-at (param $at i32) (result i64)
      (i64.mul (i64.add (i64.extend_i32_u (local.get $at)) (i64.const 1))
        (i64.or (i64.extend_i32_u (global.get $seed)) (i64.const 0x9e3779b900000001))))

    (func $look-at-pattern (param $p0 i64) (param $p1 i64)
      (local $at i32)
      (local.set $at (global.get $pattern))
      (loop $next
        (if (i64.ne (i64.load (local.get $at)) (call $pattern-at (local.get $at)))
          (then (if (i32.eqz (call $look (local.get $at) (local.get $p0) (local.get $p1) (global.get $in-memory)))
            (then (call $add (global.get $stale) (i32.const 1))))))
        (local.set $at (i32.add (local.get $at) (i32.const 8)))
        (br_if $next (i32.lt_u (local.get $at) (global.get $pattern-end)))))

    ;; Looks at a word that is not in memory, and is to be `initial`.
    (func $look-at-value (param $value i64) (param $initial i64) (param $p0 i64) (param $p1 i64) (param $number i64)
                         (param $counter i32)
      (if (i64.ne (local.get $value) (local.get $initial))
        (then
          (if (i32.or (i64.eq (local.get $value) (local.get $p0)) (i64.eq (local.get $value) (local.get $p1)))
            (then (call $found (local.get $counter) (local.get $number)))
            (else (call $add (global.get $stale) (i32.const 1)))))))

    (func $pair (param $low i32) (param $high i32) (result i64)
      (i64.or (i64.extend_i32_u (local.get $low)) (i64.shl (i64.extend_i32_u (local.get $high)) (i64.const 32))))

    (func $look-everywhere (param $p0 i64) (param $p1 i64) (param $pages i32)
      (local $old i32) (local $text-end i32)
      (local.set $old (call $bytes-of-memory))
      (local.set $text-end (i32.and (i32.add (global.get $heap) (i32.const 63)) (i32.const -64)))
      (call $look-at-bytes (i32.const 0) (local.get $text-end) (local.get $p0) (local.get $p1))
      (call $look-at-zeros
        (local.get $text-end) (global.get $pattern) (local.get $p0) (local.get $p1) (global.get $in-memory))
      (call $look-at-pattern (local.get $p0) (local.get $p1))
      (call $look-at-zeros
        (global.get $pattern-end) (local.get $old) (local.get $p0) (local.get $p1) (global.get $in-memory))
      ;; Pages that the instance has not had so far.
      (if (i32.ne (memory.grow (local.get $pages)) (i32.const -1))
        (then (call $look-at-zeros
          (local.get $old) (call $bytes-of-memory) (local.get $p0) (local.get $p1) (global.get $in-fresh))))
      (call $look-at-value (call $pair (global.get $g0) (global.get $g1)) (i64.const 0x700000007)
        (local.get $p0) (local.get $p1) (call $pair (global.get $g4) (global.get $g5)) (global.get $in-globals))
      (call $look-at-value (call $pair (global.get $g2) (global.get $g3)) (i64.const 0x700000007)
        (local.get $p0) (local.get $p1) (call $pair (global.get $g4) (global.get $g5)) (global.get $in-globals))
      (call $look-at-value (global.get $w0) (i64.const 7)
        (local.get $p0) (local.get $p1) (global.get $w2) (global.get $in-globals))
      (call $look-at-value (global.get $w1) (i64.const 7)
        (local.get $p0) (local.get $p1) (global.get $w2) (global.get $in-globals))
      (call $look-at-value (call $table-read (i32.const 0)) (i64.const 0)
        (local.get $p0) (local.get $p1) (call $table-read (i32.const 128)) (global.get $in-tables))
      (call $look-at-value (call $table-read (i32.const 64)) (i64.const 0)
        (local.get $p0) (local.get $p1) (call $table-read (i32.const 128)) (global.get $in-tables))
      (call $add (global.get $stale) (call $table-used))
      (call $add (global.get $stale) (call $table-fresh))
      (i64.store (global.get $scanned) (i64.extend_i32_u (call $bytes-of-memory))))

    ;; --- planting -----------------------------------------------------------------------------------------------

    (func $plant-at (param $at i32) (param $p0 i64) (param $p1 i64) (param $n i64)
      (i64.store (local.get $at) (local.get $p0))
      (i64.store offset=8 (local.get $at) (local.get $p1))
      (i64.store offset=16 (local.get $at) (local.get $n))
      (call $add (global.get $planted) (i32.const 1)))

    ;; In each 4 KiB, at another place in each request.
    (func $plant-in-memory (param $at i32) (param $p0 i64) (param $p1 i64) (param $n i64)
      (local $end i32)
      (local.set $end (i32.sub (call $bytes-of-memory) (i32.const 24)))
      (local.set $at (i32.add (local.get $at)
        (i32.mul (i32.wrap_i64 (i64.rem_u (local.get $n) (i64.const 80))) (i32.const 24))))
      (loop $next
        (call $plant-at (local.get $at) (local.get $p0) (local.get $p1) (local.get $n))
        (local.set $at (i32.add (local.get $at) (i32.const 4096)))
        (br_if $next (i32.lt_u (local.get $at) (local.get $end))))
      (call $plant-at (local.get $end) (local.get $p0) (local.get $p1) (local.get $n)))

    ;; The secret is needed after the call, so the engine keeps it on the stack.
    (func $plant-on-stack (param $calls i32) (param $p0 i64) (param $p1 i64) (param $n i64) (result i64)
      (local $deeper i64)
      (if (i32.eqz (local.get $calls)) (then (return (local.get $n))))
      (local.set $deeper (call $plant-on-stack
        (i32.sub (local.get $calls) (i32.const 1)) (local.get $p0) (local.get $p1) (local.get $n)))
      (i64.xor (local.get $deeper) (i64.xor (local.get $p0) (i64.xor (local.get $p1) (local.get $n)))))

    (func $low (param i64) (result i32) (i32.wrap_i64 (local.get 0)))
    (func $high (param i64) (result i32) (i32.wrap_i64 (i64.shr_u (local.get 0) (i64.const 32))))

    (func $plant-everywhere (param $p0 i64) (param $p1 i64) (param $n i64)
      (call $plant-in-memory (i32.and (i32.add (global.get $heap) (i32.const 4095)) (i32.const -4096))
        (local.get $p0) (local.get $p1) (local.get $n))
      (global.set $g0 (call $low (local.get $p0))) (global.set $g1 (call $high (local.get $p0)))
      (global.set $g2 (call $low (local.get $p1))) (global.set $g3 (call $high (local.get $p1)))
      (global.set $g4 (call $low (local.get $n))) (global.set $g5 (call $high (local.get $n)))
      (global.set $w0 (local.get $p0)) (global.set $w1 (local.get $p1)) (global.set $w2 (local.get $n))
      (drop (call $table-plant (i32.const 64) (local.get $p1)))
      (drop (call $table-plant (i32.const 128) (local.get $n)))
      (call $add (global.get $planted) (call $table-plant (i32.const 0) (local.get $p0)))
      (drop (call $plant-on-stack (i32.const 400) (local.get $p0) (local.get $p1) (local.get $n)))
      ;; Two in globals, one on the stack.
      (call $add (global.get $planted) (i32.const 3)))

    ;; --- the three functions of a scorer ------------------------------------------------------------------------

    ;; The seed comes from the deployment's name. Its last letter says how much memory there is: `a` as it is, `b` 16 pages
    ;; more, `c` 32 pages more, and so on.
    (func (export "init") (param $name i32) (param $length i32) (param i32 i32 i32 i32 i32 i32) (result i32)
      (local $at i32)
      (local.set $at (local.get $name))
      (loop $next
        (global.set $seed (i32.mul (i32.add (global.get $seed) (i32.load8_u (local.get $at))) (i32.const 16777619)))
        (local.set $at (i32.add (local.get $at) (i32.const 1)))
        (br_if $next (i32.lt_u (local.get $at) (i32.add (local.get $name) (local.get $length)))))
      (if (i32.eq (i32.const -1) (memory.grow (i32.shl
            (i32.sub (i32.load8_u (i32.sub (local.get $at) (i32.const 1))) (i32.const 0x61)) (i32.const 4))))
        (then unreachable))
      (local.set $at (global.get $pattern))
      (loop $next
        (i64.store (local.get $at) (call $pattern-at (local.get $at)))
        (local.set $at (i32.add (local.get $at) (i32.const 8)))
        (br_if $next (i32.lt_u (local.get $at) (global.get $pattern-end))))
      (i32.const 256))

    ;; Takes its input as it is.
    (func (export "schema") (result i32)
      (i32.store8 (i32.const 256) (i32.const 2))
      (i32.const 256))

    ;; A response with the report.
    (func $answer (result i32)
      (i32.store16 (i32.const 260) (i32.const 200))
      (i32.store (i32.const 272) (global.get $scanned))
      (i32.store (i32.const 276) (i32.const 64))
      (i32.const 256))

    ;; The report as the first piece of a stream.
    (func $stream-report
      (call $stream-start (i32.const 200) (i32.const 0) (i32.const 0) (i32.const 64))
      (call $stream-write (global.get $scanned) (i32.const 64) (i32.const 64)))

    ;; Streams until the client is gone, with the secret in the locals of a guest that waits.
    (func $hold (param $p0 i64) (param $p1 i64) (param $n i64)
      (loop $next
        (call $stream-write (i32.const 512) (i32.const 64) (i32.const 64))
        (call $plant-at (i32.const 768) (local.get $p0) (local.get $p1) (local.get $n))
        (br_if $next (i32.eqz (i32.load8_u (i32.const 64))))))

    ;; Grows until there is no more, looks through what it gets, and plants the secret in it.
    (func $fill (param $p0 i64) (param $p1 i64) (param $n i64)
      (local $old i32)
      (block $full
        (loop $next
          (local.set $old (call $bytes-of-memory))
          (br_if $full (i32.eq (memory.grow (i32.const 16)) (i32.const -1)))
          (call $look-at-zeros
            (local.get $old) (call $bytes-of-memory) (local.get $p0) (local.get $p1) (global.get $in-fresh))
          (call $plant-in-memory (local.get $old) (local.get $p0) (local.get $p1) (local.get $n))
          (br $next)))
      (i64.store (global.get $scanned) (i64.extend_i32_u (call $bytes-of-memory))))

    ;; The body: the three words of the secret, masked; how to end; by how many pages to grow.
    (func (export "run") (param $request i32) (result i32)
      (local $body i32) (local $p0 i64) (local $p1 i64) (local $n i64) (local $end i64)
      (local.set $body (i32.load offset=72 (local.get $request)))
      (local.set $p0 (i64.xor (i64.load (local.get $body)) (i64.const 0x5bd1e995a5a5a5a5)))
      (local.set $p1 (i64.xor (i64.load offset=8 (local.get $body)) (i64.const 0x5bd1e995a5a5a5a5)))
      (local.set $n (i64.xor (i64.load offset=16 (local.get $body)) (i64.const 0x5bd1e995a5a5a5a5)))
      (local.set $end (i64.load offset=24 (local.get $body)))
      (memory.fill (global.get $scanned) (i32.const 0) (i32.const 64))
      (call $look-everywhere (local.get $p0) (local.get $p1) (i32.wrap_i64 (i64.load offset=32 (local.get $body))))
      (call $plant-everywhere (local.get $p0) (local.get $p1) (local.get $n))
      ;; Who has found something says so, whatever was asked.
      (if (i64.ne (i64.const 0) (i64.or (i64.load (global.get $stale)) (i64.load (global.get $first))))
        (then (return (call $answer))))
      (block $unknown
        (block $fault
          (block $panic
            (block $overflow
              (block $exhaust
                (block $fill
                  (block $hold
                    (block $spin-aloud
                      (block $spin
                        (block $trap
                          (block $answer
                            (br_table
                              $answer $trap $spin $spin-aloud $hold $fill $exhaust $overflow $panic $fault $unknown
                              (i32.wrap_i64 (local.get $end))))
                          (return (call $answer)))
                        unreachable)
                      (loop $for-ever (br $for-ever)))
                    (call $stream-report)
                    (loop $for-ever (br $for-ever)))
                  (call $stream-report)
                  (call $hold (local.get $p0) (local.get $p1) (local.get $n))
                  (return (call $answer)))
                (call $fill (local.get $p0) (local.get $p1) (local.get $n))
                (return (call $answer)))
              (call $fill (local.get $p0) (local.get $p1) (local.get $n))
              ;; Who had found something in what it was given has to be able to say it.
              (if (i64.ne (i64.const 0) (i64.or (i64.load (global.get $stale)) (i64.load (global.get $first))))
                (then (return (call $answer))))
              unreachable)
            (drop (call $plant-on-stack (i32.const -1) (local.get $p0) (local.get $p1) (local.get $n))))
          (call $panic (i32.const 0) (i32.const 0)))
        ;; A fault: `bad-input` with an empty text.
        (i32.store8 (i32.const 256) (i32.const 1))
        (return (i32.const 256)))
      unreachable)
  )

  ;; [runtime]
  ;; For the host, which reads the state of an instance to seal it. A list is returned as its address and length, which are
  ;; written to the first eight bytes of the memory that it lies in; `head` reads these before.
  (core module $Reader
    (import "state" "memory" (memory 0))
    (import "state" "heap" (global $heap (mut i32))) (import "state" "seed" (global $seed (mut i32)))
    (import "state" "g0" (global $g0 (mut i32))) (import "state" "g1" (global $g1 (mut i32)))
    (import "state" "g2" (global $g2 (mut i32))) (import "state" "g3" (global $g3 (mut i32)))
    (import "state" "g4" (global $g4 (mut i32))) (import "state" "g5" (global $g5 (mut i32)))
    (func (export "memory") (param $from i32) (param $bytes i32) (result i32)
      (i32.store (i32.const 0) (local.get $from))
      (i32.store (i32.const 4) (local.get $bytes))
      (i32.const 0))
    (func (export "head") (result i64) (i64.load (i32.const 0)))
    (func (export "pages") (result i32) (memory.size))
    (func (export "0") (result i32) (global.get $heap)) (func (export "1") (result i32) (global.get $seed))
    (func (export "2") (result i32) (global.get $g0)) (func (export "3") (result i32) (global.get $g1))
    (func (export "4") (result i32) (global.get $g2)) (func (export "5") (result i32) (global.get $g3))
    (func (export "6") (result i32) (global.get $g4)) (func (export "7") (result i32) (global.get $g5)))
  ;; [end]

  ;; --- joining them ----------------------------------------------------------------------------------------------

  (core instance $state (instantiate $State))
  ;; [runtime]
  (core instance (instantiate $Library))
  (core instance $reader (instantiate $Reader (with "state" (instance $state))))
  ;; [end]
  (core instance $tables (instantiate $Tables))
  (alias core export $state "memory" (core memory $memory))
  (core func $panic (canon lower (func $log "panic") (memory $memory) string-encoding=utf8))
  (core func $start (canon lower (func $stream "start") (memory $memory) string-encoding=utf8))
  (core func $write (canon lower (func $stream "write") (memory $memory)))
  (core instance $scanner (instantiate $Scanner
    (with "state" (instance $state))
    (with "tables" (instance $tables))
    (with "log" (instance (export "panic" (func $panic))))
    (with "stream" (instance (export "start" (func $start)) (export "write" (func $write))))))

  ;; --- what it exports -------------------------------------------------------------------------------------------

  (type $environment (list (tuple string string)))
  (type $file (record (field "path" string) (field "contents" (list u8))))
  (type $deployment (record
    (field "name" string) (field "version" string) (field "environment" $environment) (field "files" (list $file))))
  (type $header (tuple string (list u8)))
  (type $request (record
    (field "id" string) (field "client-request-id" (option string)) (field "method" string) (field "scheme" string)
    (field "path" string) (field "query" (option string)) (field "headers" (list $header))
    (field "client-address" string) (field "body" (list u8))))
  (type $response (record (field "status" u16) (field "headers" (list $header)) (field "body" (list u8))))
  (type $exception (record (field "kind" string) (field "message" string) (field "traceback" string)))
  (type $fault (variant
    (case "bad-input" string) (case "unsupported-input" string) (case "failed" $exception)
    (case "timed-out" $exception) (case "unencodable" $exception)))
  (type $input-mode (enum "plain" "json" "raw"))
  (type $swagger-version (enum "v2" "v3" "v3-1"))
  (type $signature (record
    (field "mode" $input-mode) (field "input" (option string)) (field "output" (option string))
    (field "versions" (list $swagger-version))))

  (alias core export $scanner "realloc" (core func $realloc))
  (func $init (param "context" $deployment) (result (result (error string)))
    (canon lift (core func $scanner "init") (memory $memory) (realloc $realloc) string-encoding=utf8))
  (func $run (param "request" $request) (result (result $response (error $fault)))
    (canon lift (core func $scanner "run") (memory $memory) (realloc $realloc) string-encoding=utf8))
  (func $schema (result $signature)
    (canon lift (core func $scanner "schema") (memory $memory) (realloc $realloc) string-encoding=utf8))

  ;; Types that an exported function names have to be exported themselves: a component inside gives them their names.
  (component $Scoring
    (type $environment (list (tuple string string)))
    (type $file (record (field "path" string) (field "contents" (list u8))))
    (import "file" (type $File (eq $file)))
    (type $deployment (record
      (field "name" string) (field "version" string) (field "environment" $environment) (field "files" (list $File))))
    (import "deployment" (type $Deployment (eq $deployment)))
    (type $header (tuple string (list u8)))
    (import "header" (type $Header (eq $header)))
    (type $request (record
      (field "id" string) (field "client-request-id" (option string)) (field "method" string) (field "scheme" string)
      (field "path" string) (field "query" (option string)) (field "headers" (list $Header))
      (field "client-address" string) (field "body" (list u8))))
    (import "request" (type $Request (eq $request)))
    (type $response (record (field "status" u16) (field "headers" (list $Header)) (field "body" (list u8))))
    (import "response" (type $Response (eq $response)))
    (type $exception (record (field "kind" string) (field "message" string) (field "traceback" string)))
    (import "exception" (type $Exception (eq $exception)))
    (type $fault (variant
      (case "bad-input" string) (case "unsupported-input" string) (case "failed" $Exception)
      (case "timed-out" $Exception) (case "unencodable" $Exception)))
    (import "fault" (type $Fault (eq $fault)))
    (type $input-mode (enum "plain" "json" "raw"))
    (import "input-mode" (type $InputMode (eq $input-mode)))
    (type $swagger-version (enum "v2" "v3" "v3-1"))
    (import "swagger-version" (type $SwaggerVersion (eq $swagger-version)))
    (type $signature (record
      (field "mode" $InputMode) (field "input" (option string)) (field "output" (option string))
      (field "versions" (list $SwaggerVersion))))
    (import "signature" (type $Signature (eq $signature)))
    (import "init" (func $init (param "context" $Deployment) (result (result (error string)))))
    (import "run" (func $run (param "request" $Request) (result (result $Response (error $Fault)))))
    (import "schema" (func $schema (result $Signature)))

    (export $file' "file" (type $file))
    (type $deployment' (record
      (field "name" string) (field "version" string) (field "environment" $environment) (field "files" (list $file'))))
    (export $Deployment' "deployment" (type $deployment'))
    (export $Header' "header" (type $header))
    (type $request' (record
      (field "id" string) (field "client-request-id" (option string)) (field "method" string) (field "scheme" string)
      (field "path" string) (field "query" (option string)) (field "headers" (list $Header'))
      (field "client-address" string) (field "body" (list u8))))
    (export $Request' "request" (type $request'))
    (type $response' (record (field "status" u16) (field "headers" (list $Header')) (field "body" (list u8))))
    (export $Response' "response" (type $response'))
    (export $Exception' "exception" (type $exception))
    (type $fault' (variant
      (case "bad-input" string) (case "unsupported-input" string) (case "failed" $Exception')
      (case "timed-out" $Exception') (case "unencodable" $Exception')))
    (export $Fault' "fault" (type $fault'))
    (export $InputMode' "input-mode" (type $input-mode))
    (export $SwaggerVersion' "swagger-version" (type $swagger-version))
    (type $signature' (record
      (field "mode" $InputMode') (field "input" (option string)) (field "output" (option string))
      (field "versions" (list $SwaggerVersion'))))
    (export $Signature' "signature" (type $signature'))
    (export "init" (func $init)
      (func (param "context" $Deployment') (result (result (error string)))))
    (export "run" (func $run) (func (param "request" $Request') (result (result $Response' (error $Fault')))))
    (export "schema" (func $schema) (func (result $Signature')))
  )
  (instance $scoring (instantiate $Scoring
    (with "file" (type $file)) (with "deployment" (type $deployment)) (with "header" (type $header))
    (with "request" (type $request)) (with "response" (type $response)) (with "exception" (type $exception))
    (with "fault" (type $fault)) (with "input-mode" (type $input-mode))
    (with "swagger-version" (type $swagger-version)) (with "signature" (type $signature))
    (with "init" (func $init)) (with "run" (func $run)) (with "schema" (func $schema))))
  (export "scorebox:scoring/scoring@0.1.0" (instance $scoring))


  ;; [runtime]
  (func $state-memory (param "from" u32) (param "bytes" u32) (result (list u8))
    (canon lift (core func $reader "memory") (memory $memory)))
  (func $state-head (result u64) (canon lift (core func $reader "head")))
  (func $state-pages (result u32) (canon lift (core func $reader "pages")))
  (func $state-0 (result s32) (canon lift (core func $reader "0")))
  (func $state-1 (result s32) (canon lift (core func $reader "1")))
  (func $state-2 (result s32) (canon lift (core func $reader "2")))
  (func $state-3 (result s32) (canon lift (core func $reader "3")))
  (func $state-4 (result s32) (canon lift (core func $reader "4")))
  (func $state-5 (result s32) (canon lift (core func $reader "5")))
  (func $state-6 (result s32) (canon lift (core func $reader "6")))
  (func $state-7 (result s32) (canon lift (core func $reader "7")))
  (instance $state-reader
    (export "memory0" (func $state-memory))
    (export "memory0-head" (func $state-head))
    (export "memory0-pages" (func $state-pages))
    (export "global0" (func $state-0))
    (export "global1" (func $state-1))
    (export "global2" (func $state-2))
    (export "global3" (func $state-3))
    (export "global4" (func $state-4))
    (export "global5" (func $state-5))
    (export "global6" (func $state-6))
    (export "global7" (func $state-7)))
  (export "scorebox:scoring/state@0.1.0" (instance $state-reader))
  ;; [end]
)
