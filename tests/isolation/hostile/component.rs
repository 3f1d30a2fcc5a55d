//! Components in WebAssembly's own text: small ones, which do exactly what they are told to, however wrong.

use std::fs;
use std::path::{Path, PathBuf};

use scorebox_tests::{Serve, fixtures};
use tempfile::TempDir;
use wasm_encoder::{
    CodeSection, ComponentSection as _, FunctionSection, InstanceSection, InstructionSink, Module, ModuleArg,
    ModuleSection, TypeSection, ValType,
};
use wasmparser::{Parser, Payload};
use wit_component::{ComponentEncoder, DecodedWasm, StringEncoding, decode, embed_component_metadata};

/// A scorer. Unless told otherwise its `init` succeeds, its `schema` says that it takes any bytes, and its `run` answers
/// with 200 and `ok`.
///
/// What is added is WebAssembly text. In `run` the local `$kind` is the first byte of the request's body, and `$request`
/// the address of the request. Addresses below 4096 are the module's own:
///
/// | address | what is there |
/// | --- | --- |
/// | 64 | what `init` returns |
/// | 128 | what `schema` returns |
/// | 192 | what `run` returns: status at 196, headers at 200 and 204, body at 208 and 212; of a fault, which one at 196 |
/// | 1024 | the text `ok` |
/// | 1040 | four bytes that are no UTF-8 |
/// | 1056 | the text `x-header` |
#[derive(Debug, Clone, Default)]
pub(crate) struct Guest {
    fields: String,
    realloc: String,
    init: String,
    schema: String,
    run: String,
    memory: Option<&'static str>,
}

impl Guest {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// Functions, globals and whatever else a module has.
    pub(crate) fn field(mut self, text: &str) -> Self {
        self.fields.push_str(text);
        self
    }

    /// At the beginning of the function by which the host asks for room for what it passes on.
    pub(crate) fn realloc(mut self, text: &str) -> Self {
        self.realloc.push_str(text);
        self
    }

    pub(crate) fn init(mut self, text: &str) -> Self {
        self.init.push_str(text);
        self
    }

    pub(crate) fn schema(mut self, text: &str) -> Self {
        self.schema.push_str(text);
        self
    }

    /// At the beginning of `run`, whatever the request.
    pub(crate) fn run(mut self, text: &str) -> Self {
        self.run.push_str(text);
        self
    }

    /// In `run`, for requests whose body begins with this byte.
    pub(crate) fn when(self, kind: u8, text: &str) -> Self {
        self.run(&format!("(if (i32.eq (local.get $kind) (i32.const {kind})) (then {text}))\n"))
    }

    /// What the memory is declared as, instead of one page.
    pub(crate) fn memory(mut self, text: &'static str) -> Self {
        self.memory = Some(text);
        self
    }

    /// The core module.
    fn module(&self) -> Vec<u8> {
        let Self { fields, realloc, init, schema, run, memory, .. } = self;
        let memory = memory.unwrap_or("1");
        let text = format!(
            r#"(module
  (import "scorebox:scoring/log@0.1.0" "write" (func $log (param i32 i32 i32 i32 i32 i32)))
  (memory (export "memory") {memory})
  (global $next (mut i32) (i32.const 4096))
  (func $realloc (export "cabi_realloc") (param $old i32) (param $had i32) (param $align i32) (param $size i32) (result i32)
    (local $at i32)
    {realloc}
    (local.set $at (i32.and (i32.add (global.get $next) (i32.const 15)) (i32.const -16)))
    (global.set $next (i32.add (local.get $at) (local.get $size)))
    (block $fits
      (br_if $fits (i32.le_u (global.get $next) (i32.mul (memory.size) (i32.const 65536))))
      (br_if $fits (i32.ne (i32.const -1) (memory.grow (i32.add (i32.const 1) (i32.div_u (local.get $size) (i32.const 65536))))))
      unreachable)
    (if (local.get $old) (then (memory.copy (local.get $at) (local.get $old) (local.get $had))))
    (local.get $at))
  (func (export "scorebox:scoring/scoring@0.1.0#init") (param i32 i32 i32 i32 i32 i32 i32 i32) (result i32)
    (local $n i32)
    {init}
    (i32.const 64))
  (func (export "scorebox:scoring/scoring@0.1.0#schema") (result i32)
    (local $n i32)
    {schema}
    (i32.const 128))
  (func (export "scorebox:scoring/scoring@0.1.0#run") (param $request i32) (result i32)
    (local $kind i32) (local $n i32)
    (if (i32.load offset=76 (local.get $request))
      (then (local.set $kind (i32.load8_u (i32.load offset=72 (local.get $request))))))
    (i32.store16 (i32.const 196) (i32.const 200))
    (i32.store (i32.const 208) (i32.const 1024))
    (i32.store (i32.const 212) (i32.const 2))
    {run}
    (i32.const 192))
  {fields}
  (data (i32.const 128) "\02")
  (data (i32.const 1024) "ok")
  (data (i32.const 1040) "\ff\fe\c3\28")
  (data (i32.const 1056) "x-header")
)"#
        );
        wat::parse_str(&text).unwrap_or_else(|error| panic!("{error}\n{text}"))
    }

    /// The component.
    pub(crate) fn component(&self) -> Vec<u8> {
        component_of(self.module())
    }

    /// The component in a file.
    pub(crate) fn written(&self) -> Written {
        Written::new(&self.component())
    }

    /// A server of the component, which is not kept in a cache.
    pub(crate) fn serve(&self) -> (Written, Serve) {
        let written = self.written();
        let serve = Serve::new(written.path()).arg("--no-cache");
        (written, serve)
    }
}

/// Makes a component of a core module, with the types that a component of tests/guests has.
fn component_of(mut module: Vec<u8>) -> Vec<u8> {
    let example = fs::read(fixtures::guest("streams")).expect("a guest");
    let DecodedWasm::Component(resolve, world) = decode(&example).expect("a component") else {
        panic!("the guest is no component")
    };
    embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8).expect("types");
    let mut encoder = ComponentEncoder::default().validate(false).module(&module).expect("a module");
    encoder.encode().unwrap_or_else(|error| panic!("{error:#}"))
}

/// A component in a file of its own, which goes when this is dropped.
#[derive(Debug)]
pub(crate) struct Written {
    _folder: TempDir,
    path: PathBuf,
}

impl Written {
    pub(crate) fn new(component: &[u8]) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        let path = folder.path().join("scorer.wasm");
        fs::write(&path, component).expect("it can be written to");
        Self { _folder: folder, path }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

/// The types of the interface: name, identifier, and definition in terms of the identifiers before it.
const TYPES: [(&str, &str, &str); 10] = [
    ("file", "$file", r#"(record (field "path" string) (field "contents" (list u8)))"#),
    (
        "deployment",
        "$deployment",
        r#"(record (field "name" string) (field "version" string)
            (field "environment" (list (tuple string string))) (field "files" (list $file)))"#,
    ),
    ("header", "$header", "(tuple string (list u8))"),
    (
        "request",
        "$request",
        r#"(record (field "id" string) (field "client-request-id" (option string)) (field "method" string)
            (field "scheme" string) (field "path" string) (field "query" (option string)) (field "headers" (list $header))
            (field "client-address" string) (field "body" (list u8)))"#,
    ),
    (
        "response",
        "$response",
        r#"(record (field "status" u16) (field "headers" (list $header)) (field "body" (list u8)))"#,
    ),
    (
        "exception",
        "$exception",
        r#"(record (field "kind" string) (field "message" string) (field "traceback" string))"#,
    ),
    (
        "fault",
        "$fault",
        r#"(variant (case "bad-input" string) (case "unsupported-input" string) (case "failed" $exception)
            (case "timed-out" $exception) (case "unencodable" $exception))"#,
    ),
    ("input-mode", "$mode", r#"(enum "plain" "json" "raw")"#),
    ("swagger-version", "$swagger", r#"(enum "v2" "v3" "v3-1")"#),
    (
        "signature",
        "$signature",
        r#"(record (field "mode" $mode) (field "input" (option string)) (field "output" (option string))
            (field "versions" (list $swagger)))"#,
    ),
];

/// The functions of the interface, in the same form.
const FUNCTIONS: [(&str, &str); 3] = [
    ("init", r#"(param "context" $deployment) (result (result (error string)))"#),
    ("run", r#"(param "request" $request) (result (result $response (error $fault)))"#),
    ("schema", "(result $signature)"),
];

/// A definition in which each identifier of a type has this ending.
fn ending(definition: &str, ending: &str) -> String {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '$' || c == '-';
    let mut text = String::new();
    for word in definition.split_inclusive(|c| !is_part(c)) {
        let name = word.trim_end_matches(|c| !is_part(c));
        let is_type = TYPES.iter().any(|(_, id, _)| *id == name);
        text.push_str(name);
        text.push_str(if is_type { ending } else { "" });
        text.push_str(&word[name.len()..]);
    }
    text
}

/// A component that has a resource of its own: `$new` and `$drop` make and drop one, and dropping it runs `destructor`.
/// Its `run` runs `attack` for bodies that begin with `x`.
///
/// Written by hand: the tools that make components make none for a resource that nobody else sees. A component inside of
/// it gives the types the names that those of an exported interface must have.
#[expect(clippy::format_push_string, clippy::format_collect, reason = "the text is short, and made once a test")]
pub(crate) fn with_a_resource(destructor: &str, attack: &str) -> Vec<u8> {
    let (mut own, mut imported, mut passed, mut exported) =
        (String::new(), String::new(), String::new(), String::new());
    for (name, id, definition) in TYPES {
        own += &format!("(type {id} {definition})\n");
        let plain = ending(definition, "-in");
        imported += &format!("(type {id}-plain {plain}) (import \"type-{name}\" (type {id}-in (eq {id}-plain)))\n");
        passed += &format!("(with \"type-{name}\" (type {id}))\n");
        let again = ending(definition, "-out");
        exported +=
            &format!("(type {id}-again {again}) (export {id}-out \"{name}\" (type {id}-in) (type (eq {id}-again)))\n");
    }
    for (name, signature) in FUNCTIONS {
        own += &format!("(type $of-{name} (func {signature}))\n");
        imported += &format!("(import \"func-{name}\" (func ${name}-in {}))\n", ending(signature, "-in"));
        passed += &format!("(with \"func-{name}\" (func ${name}))\n");
        exported += &format!("(export \"{name}\" (func ${name}-in) (func {}))\n", ending(signature, "-out"));
    }
    let lifted: String = FUNCTIONS
        .iter()
        .map(|(name, _)| {
            format!(
                "(func ${name} (type $of-{name}) \
                 (canon lift (core func $main \"{name}\") (memory $memory) (realloc $realloc)))\n"
            )
        })
        .collect();
    let text = format!(
        r#"(component
{own}
  (core module $dropper (func (export "dtor") (param i32) {destructor}))
  (core instance $dropper (instantiate $dropper))
  (type $own (resource (rep i32) (dtor (func $dropper "dtor"))))
  (core func $new (canon resource.new $own))
  (core func $drop (canon resource.drop $own))
  (core module $main
    (import "own" "new" (func $new (param i32) (result i32)))
    (import "own" "drop" (func $drop (param i32)))
    (memory (export "memory") 4)
    (global $next (mut i32) (i32.const 4096))
    (func (export "realloc") (param i32 i32 i32 i32) (result i32)
      (global.get $next)
      (global.set $next (i32.and (i32.add (i32.add (global.get $next) (local.get 3)) (i32.const 15)) (i32.const -16))))
    (func (export "init") (param i32 i32 i32 i32 i32 i32 i32 i32) (result i32) (i32.const 64))
    (func (export "schema") (result i32) (i32.const 128))
    (func (export "run") (param $request i32) (result i32)
      (if (i32.eq (i32.load8_u (i32.load offset=72 (local.get $request))) (i32.const 0x78)) (then {attack}))
      (i32.store16 (i32.const 196) (i32.const 200))
      (i32.store (i32.const 208) (i32.const 1024))
      (i32.store (i32.const 212) (i32.const 2))
      (i32.const 192))
    (data (i32.const 128) "\02")
    (data (i32.const 1024) "ok"))
  (core instance $main (instantiate $main
    (with "own" (instance (export "new" (func $new)) (export "drop" (func $drop))))))
  (alias core export $main "memory" (core memory $memory))
  (alias core export $main "realloc" (core func $realloc))
  {lifted}
  (component $shown
{imported}
{exported})
  (instance $scoring (instantiate $shown
{passed}))
  (export "scorebox:scoring/scoring@0.1.0" (instance $scoring)))"#
    );
    wat::parse_str(&text).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

/// A core module of so many functions without parameters, whose code is written by `code`.
pub(crate) fn core_module(functions: usize, locals: u32, code: impl Fn(&mut InstructionSink<'_>)) -> Module {
    let (mut types, mut declared, mut bodies) = (TypeSection::new(), FunctionSection::new(), CodeSection::new());
    types.ty().function([], []);
    for _ in 0..functions {
        declared.function(0);
        let mut function = wasm_encoder::Function::new([(locals, ValType::I64)]);
        code(&mut function.instructions());
        function.instructions().end();
        bodies.function(&function);
    }
    let mut module = Module::new();
    module.section(&types).section(&declared).section(&bodies);
    module
}

/// A core module of 100,000 functions.
pub(crate) fn hundred_thousand_functions() -> Module {
    core_module(100_000, 1, |code| {
        code.local_get(0).i64_const(77).i64_mul().local_set(0);
    })
}

/// Adds core modules to a component, and an instance of each.
pub(crate) fn with_core_modules<'a>(component: &[u8], modules: impl IntoIterator<Item = &'a Module>) -> Vec<u8> {
    let has = |payload: &_| matches!(payload, Ok(Payload::ModuleSection { .. }));
    let first = u32::try_from(Parser::new(0).parse_all(component).filter(has).count()).expect("few modules");
    let mut component = component.to_vec();
    let mut instances = InstanceSection::new();
    for (index, module) in (first..).zip(modules) {
        ModuleSection(module).append_to_component(&mut component);
        instances.instantiate(index, Vec::<(&str, ModuleArg)>::new());
    }
    instances.append_to_component(&mut component);
    component
}
