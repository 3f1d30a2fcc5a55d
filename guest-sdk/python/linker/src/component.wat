;; CPython as one component of the world `scorer`.
;;
;;   state    (imported)  all that changes: the memories and globals of Python and of the glue
;;   library  (imported)  what Python reads at run time: the standard library and the packages, in a memory of its own
;;   bridge               copies between the memories, and calls from the glue into Python
;;   glue                 exports init, run and schema; is WASI preview 1 for Python
;;   python               CPython and its packages
;;
;; The modules `glue` and `python` are empty here; the linker puts the real ones in their place.
(component
  ;; --- what the host gives ---------------------------------------------------------------------------------------

  ;; The state is data, so that the code below is compiled once and each deployment has its own module of this type.
  ;; The host finds its memories and globals by the order in which they are written here.
  (import "state" (core module $State
    (export "python:memory" (memory 0))
    (export "glue:memory" (memory 0))
    (export "python:global0" (global (mut i32)))
    (export "glue:global0" (global (mut i32)))
  ))

  ;; Nothing here writes to it.
  (import "library" (core module $Library (export "memory" (memory 0))))

  (import "scorebox:scoring/log@0.1.0" (instance $log
    (type $stream (enum "logger" "stdout" "stderr"))
    (export "stream" (type $Stream (eq $stream)))
    (type $level (enum "debug" "info" "warning" "error" "critical"))
    (export "level" (type $Level (eq $level)))
    (export "write" (func (param "stream" $Stream) (param "level" $Level) (param "logger" string) (param "text" string)))
    (export "panic" (func (param "message" string)))
  ))
  (import "scorebox:scoring/stream@0.1.0" (instance $stream
    (type $error (enum "closed" "misused"))
    (export "error" (type $Error (eq $error)))
    (export "start" (func
      (param "status" u16) (param "headers" (list (tuple string (list u8)))) (result (result (error $Error)))))
    (export "write" (func (param "chunk" (list u8)) (result (result (error $Error)))))
  ))
  ;; The body of the request, which the host keeps until it is asked for it: so there is no copy of it in the glue.
  (import "scorebox:scoring/body@0.1.0" (instance $body
    (export "take" (func (result (list u8))))
  ))
  (import "wasi:io/poll@0.2.6" (instance $poll
    (export "pollable" (type $pollable (sub resource)))
    (export "[method]pollable.block" (func (param "self" (borrow $pollable))))
  ))
  (alias export $poll "pollable" (type $pollable))
  (import "wasi:clocks/monotonic-clock@0.2.6" (instance $monotonic-clock
    (alias outer 1 $pollable (type $outer-pollable))
    (export "pollable" (type $Pollable (eq $outer-pollable)))
    (export "now" (func (result u64)))
    (export "subscribe-duration" (func (param "when" u64) (result (own $Pollable))))
  ))
  (import "wasi:clocks/wall-clock@0.2.6" (instance $wall-clock
    (type $datetime (record (field "seconds" u64) (field "nanoseconds" u32)))
    (export "datetime" (type $Datetime (eq $datetime)))
    (export "now" (func (result $Datetime)))
  ))
  (import "wasi:random/random@0.2.6" (instance $random
    (export "get-random-u64" (func (result u64)))
  ))

  ;; --- the modules -----------------------------------------------------------------------------------------------

  (core module $Glue)
  (core module $Python)

  (core module $Bridge
    (import "state" "python:memory" (memory $python 0))
    (import "state" "glue:memory" (memory $glue 0))
    (import "library" "memory" (memory $library 0))
    (import "state" "python:global0" (global $python-stack (mut i32)))
    (import "state" "glue:global0" (global $glue-stack (mut i32)))

    ;; Copies. Addresses outside of a memory trap: the glue checks Python's before.
    (func (export "python_to_glue") (param $to i32) (param $from i32) (param $bytes i32)
      (memory.copy $glue $python (local.get $to) (local.get $from) (local.get $bytes)))
    (func (export "glue_to_python") (param $to i32) (param $from i32) (param $bytes i32)
      (memory.copy $python $glue (local.get $to) (local.get $from) (local.get $bytes)))
    (func (export "library_to_python") (param $to i32) (param $from i32) (param $bytes i32)
      (memory.copy $python $library (local.get $to) (local.get $from) (local.get $bytes)))
    (func (export "library_to_glue") (param $to i32) (param $from i32) (param $bytes i32)
      (memory.copy $glue $library (local.get $to) (local.get $from) (local.get $bytes)))
    (func (export "python_pages") (result i32) (memory.size $python))
    (func (export "library_pages") (result i32) (memory.size $library))

    ;; Calls into Python, which is instantiated after the glue: through a table that is filled then.
    (type $v->v (func))
    (type $v->i (func (result i32)))
    (type $i->i (func (param i32) (result i32)))
    (type $ii->i (func (param i32 i32) (result i32)))
    (type $iiii->i (func (param i32 i32 i32 i32) (result i32)))
    (table (export "table") 11 11 funcref)
    (func (export "_initialize") (call_indirect (type $v->v) (i32.const 0)))
    (func (export "turn") (param i32 i32) (result i32)
      (call_indirect (type $ii->i) (local.get 0) (local.get 1) (i32.const 1)))
    (func (export "host_alloc") (param i32) (result i32)
      (call_indirect (type $i->i) (local.get 0) (i32.const 2)))
    (func (export "PyImport_ImportModule") (param i32) (result i32)
      (call_indirect (type $i->i) (local.get 0) (i32.const 3)))
    (func (export "PyObject_GetAttrString") (param i32 i32) (result i32)
      (call_indirect (type $ii->i) (local.get 0) (local.get 1) (i32.const 4)))
    (func (export "PyObject_Vectorcall") (param i32 i32 i32 i32) (result i32)
      (call_indirect (type $iiii->i)
        (local.get 0) (local.get 1) (local.get 2) (local.get 3) (i32.const 5)))
    (func (export "PyBytes_FromStringAndSize") (param i32 i32) (result i32)
      (call_indirect (type $ii->i) (local.get 0) (local.get 1) (i32.const 6)))
    (func (export "PyBytes_AsString") (param i32) (result i32)
      (call_indirect (type $i->i) (local.get 0) (i32.const 7)))
    (func (export "PyBytes_Size") (param i32) (result i32)
      (call_indirect (type $i->i) (local.get 0) (i32.const 8)))
    (func (export "PyTuple_GetItem") (param i32 i32) (result i32)
      (call_indirect (type $ii->i) (local.get 0) (local.get 1) (i32.const 9)))
    (func (export "PyErr_Print") (call_indirect (type $v->v) (i32.const 10)))

    ;; Where the host puts a list of bytes: into a new `bytes` object. Nothing is resized, and bytes are not aligned.
    (func (export "bytes_realloc") (param i32 i32 i32) (param $length i32) (result i32)
      (local $bytes i32)
      (local.set $bytes (call_indirect (type $ii->i) (i32.const 0) (local.get $length) (i32.const 6)))
      (if (i32.eqz (local.get $bytes)) (then (unreachable)))
      (call_indirect (type $i->i) (local.get $bytes) (i32.const 7)))

    ;; For the host, which reads the state of an instance to seal it. A list is returned as its address and length, which
    ;; are written to the first eight bytes of the memory that it lies in; `head` reads these before.
    (func (export "memory0") (param $from i32) (param $bytes i32) (result i32)
      (i32.store $python (i32.const 0) (local.get $from))
      (i32.store $python (i32.const 4) (local.get $bytes))
      (i32.const 0))
    (func (export "memory0-head") (result i64) (i64.load $python (i32.const 0)))
    (func (export "memory0-pages") (result i32) (memory.size $python))
    (func (export "memory1") (param $from i32) (param $bytes i32) (result i32)
      (i32.store $glue (i32.const 0) (local.get $from))
      (i32.store $glue (i32.const 4) (local.get $bytes))
      (i32.const 0))
    (func (export "memory1-head") (result i64) (i64.load $glue (i32.const 0)))
    (func (export "memory1-pages") (result i32) (memory.size $glue))
    (func (export "global0") (result i32) (global.get $python-stack))
    (func (export "global1") (result i32) (global.get $glue-stack))
  )

  ;; Puts Python's functions into the bridge's table.
  (core module $Fill
    (import "bridge" "table" (table 11 funcref))
    (import "python" "_initialize" (func $0))
    (import "python" "turn" (func $1 (param i32 i32) (result i32)))
    (import "python" "host_alloc" (func $2 (param i32) (result i32)))
    (import "python" "PyImport_ImportModule" (func $3 (param i32) (result i32)))
    (import "python" "PyObject_GetAttrString" (func $4 (param i32 i32) (result i32)))
    (import "python" "PyObject_Vectorcall" (func $5 (param i32 i32 i32 i32) (result i32)))
    (import "python" "PyBytes_FromStringAndSize" (func $6 (param i32 i32) (result i32)))
    (import "python" "PyBytes_AsString" (func $7 (param i32) (result i32)))
    (import "python" "PyBytes_Size" (func $8 (param i32) (result i32)))
    (import "python" "PyTuple_GetItem" (func $9 (param i32 i32) (result i32)))
    (import "python" "PyErr_Print" (func $10))
    (elem (i32.const 0) func $0 $1 $2 $3 $4 $5 $6 $7 $8 $9 $10)
  )

  ;; --- joining them ----------------------------------------------------------------------------------------------

  (core instance $state (instantiate $State))
  (core instance $library (instantiate $Library))
  (core instance $bridge (instantiate $Bridge
    (with "state" (instance $state))
    (with "library" (instance $library))))

  (alias core export $state "python:memory" (core memory $python-memory))
  (alias core export $state "glue:memory" (core memory $glue-memory))

  (core func $log-write (canon lower (func $log "write") (memory $glue-memory) string-encoding=utf8))
  (core func $log-panic (canon lower (func $log "panic") (memory $glue-memory) string-encoding=utf8))
  (core func $stream-start (canon lower (func $stream "start") (memory $glue-memory) string-encoding=utf8))
  (core func $stream-write (canon lower (func $stream "write") (memory $glue-memory)))
  (alias core export $bridge "bytes_realloc" (core func $bytes-realloc))
  (core func $body-take (canon lower (func $body "take") (memory $python-memory) (realloc $bytes-realloc)))
  (core func $pollable-block (canon lower (func $poll "[method]pollable.block")))
  (core func $pollable-drop (canon resource.drop $pollable))
  (core func $monotonic-now (canon lower (func $monotonic-clock "now")))
  (core func $subscribe-duration (canon lower (func $monotonic-clock "subscribe-duration")))
  (core func $wall-now (canon lower (func $wall-clock "now") (memory $glue-memory)))
  (core func $random-u64 (canon lower (func $random "get-random-u64")))

  (core instance $glue (instantiate $Glue
    (with "state" (instance $state))
    (with "bridge" (instance $bridge))
    (with "body" (instance (export "take" (func $body-take))))
    (with "scorebox:scoring/log@0.1.0" (instance
      (export "write" (func $log-write))
      (export "panic" (func $log-panic))))
    (with "scorebox:scoring/stream@0.1.0" (instance
      (export "start" (func $stream-start))
      (export "write" (func $stream-write))))
    (with "wasi:io/poll@0.2.6" (instance
      (export "[method]pollable.block" (func $pollable-block))
      (export "[resource-drop]pollable" (func $pollable-drop))))
    (with "wasi:clocks/monotonic-clock@0.2.6" (instance
      (export "now" (func $monotonic-now))
      (export "subscribe-duration" (func $subscribe-duration))))
    (with "wasi:clocks/wall-clock@0.2.6" (instance (export "now" (func $wall-now))))
    (with "wasi:random/random@0.2.6" (instance (export "get-random-u64" (func $random-u64))))))

  (core instance $python (instantiate $Python
    (with "state" (instance $state))
    (with "host" (instance (export "call" (func $glue "host_call"))))
    (with "glue" (instance (export "read_float" (func $glue "read_float"))))
    (with "wasi_snapshot_preview1" (instance $glue))))

  (core instance (instantiate $Fill
    (with "bridge" (instance $bridge))
    (with "python" (instance $python))))

  ;; --- what it exports -------------------------------------------------------------------------------------------

  ;; Types that an exported function names have to be exported themselves: a component inside gives them their names.
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

  (alias core export $glue "cabi_realloc" (core func $realloc))
  (func $init (param "context" $deployment) (result (result (error string)))
    (canon lift (core func $glue "scorebox:scoring/scoring@0.1.0#init")
      (memory $glue-memory) (realloc $realloc) string-encoding=utf8
      (post-return (func $glue "cabi_post_scorebox:scoring/scoring@0.1.0#init"))))
  (func $run (param "request" $request) (result (result $response (error $fault)))
    (canon lift (core func $glue "scorebox:scoring/scoring@0.1.0#run")
      (memory $glue-memory) (realloc $realloc) string-encoding=utf8))
  (func $schema (result $signature)
    (canon lift (core func $glue "scorebox:scoring/scoring@0.1.0#schema")
      (memory $glue-memory) (realloc $realloc) string-encoding=utf8))

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

  (func $memory0 (param "from" u32) (param "bytes" u32) (result (list u8))
    (canon lift (core func $bridge "memory0") (memory $python-memory)))
  (func $memory0-head (result u64) (canon lift (core func $bridge "memory0-head")))
  (func $memory0-pages (result u32) (canon lift (core func $bridge "memory0-pages")))
  (func $memory1 (param "from" u32) (param "bytes" u32) (result (list u8))
    (canon lift (core func $bridge "memory1") (memory $glue-memory)))
  (func $memory1-head (result u64) (canon lift (core func $bridge "memory1-head")))
  (func $memory1-pages (result u32) (canon lift (core func $bridge "memory1-pages")))
  (func $global0 (result s32) (canon lift (core func $bridge "global0")))
  (func $global1 (result s32) (canon lift (core func $bridge "global1")))
  (instance $state-reader
    (export "memory0" (func $memory0))
    (export "memory0-head" (func $memory0-head))
    (export "memory0-pages" (func $memory0-pages))
    (export "memory1" (func $memory1))
    (export "memory1-head" (func $memory1-head))
    (export "memory1-pages" (func $memory1-pages))
    (export "global0" (func $global0))
    (export "global1" (func $global1)))
  (export "scorebox:scoring/state@0.1.0" (instance $state-reader))
)
