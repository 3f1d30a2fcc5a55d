//! Joins CPython and its glue to one component of the world `scorer`, whose code is apart from its state.
//!
//! ```text
//! scorebox-python-linker --python python.wasm --glue glue.wasm --library GUEST_PATH=FILE... -o DIR
//! ```
//!
//! `component.wat` says how the parts are joined. The folder gets three files: `code.wasm`, the component; `state.wasm`, a core
//! module with the state that an interpreter has before it starts; `library.wasm`, a core module with the files that Python
//! reads. The component imports the last two.

mod fast_path;
mod split;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser;
use wasm_encoder::{Component, ComponentSectionId, RawSection};
use wasmparser::Payload;

use crate::fast_path::add_fast_path;
use crate::split::{memory_module, split, state_module};

/// The component without its modules.
const COMPONENT: &str = include_str!("component.wat");
/// The functions of CPython that the glue calls. `component.wat` has the same list.
const PYTHON_FUNCTIONS: &[&str] = &[
    "PyImport_ImportModule",
    "PyObject_GetAttrString",
    "PyObject_Vectorcall",
    "PyBytes_FromStringAndSize",
    "PyBytes_AsString",
    "PyBytes_Size",
    "PyTuple_GetItem",
    "PyErr_Print",
];

/// The function by which CPython reads a float from text. Reading JSON is mostly that, and the glue is faster at it.
const READ_FLOAT: &str = "_Py_dg_strtod";

/// Joins CPython and its glue to one component.
#[derive(Debug, Parser)]
struct Args {
    /// CPython: a module of WASI preview 1 with a name section.
    #[arg(long, value_name = "FILE")]
    python: PathBuf,
    /// The glue: a module of wasm32-unknown-unknown.
    #[arg(long, value_name = "FILE")]
    glue: PathBuf,
    /// A file that Python can read: the path that it is found under, and the file.
    #[arg(long, value_name = "GUEST_PATH=FILE")]
    library: Vec<String>,
    /// The folder of the runtime.
    #[arg(short, value_name = "DIR")]
    output: PathBuf,
}

fn main() -> ExitCode {
    match link(&Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            #[expect(clippy::print_stderr, reason = "a tool of the build says so what is wrong")]
            {
                eprintln!("error: {message}");
            }
            ExitCode::FAILURE
        }
    }
}

fn link(args: &Args) -> Result<(), String> {
    let in_python = |error: &dyn std::fmt::Display| format!("{}: {error}", args.python.display());
    let python =
        add_fast_path(&read(&args.python)?, READ_FLOAT, "glue", "read_float").map_err(|error| in_python(&error))?;
    let python = split("python", &python, PYTHON_FUNCTIONS).map_err(|error| in_python(&error))?;
    let glue = split("glue", &read(&args.glue)?, &[]).map_err(|error| format!("{}: {error}", args.glue.display()))?;
    for (split, file) in [(&python, &args.python), (&glue, &args.glue)] {
        if split.globals.len() != 1 {
            return Err(format!(
                "{} has {} mutable globals; component.wat knows of one, the stack pointer",
                file.display(),
                split.globals.len()
            ));
        }
    }
    let library = memory_module(&library(&args.library)?);
    let state = state_module(&[("python", &python), ("glue", &glue)]);
    let code = assemble(&[&glue.code, &python.code])?;
    for (name, contents) in [("library.wasm", library), ("state.wasm", state), ("code.wasm", code)] {
        let path = args.output.join(name);
        fs::write(&path, contents).map_err(|error| format!("cannot write {}: {error}", path.display()))?;
    }
    Ok(())
}

fn read(path: &Path) -> Result<Vec<u8>, String> {
    fs::read(path).map_err(|error| format!("cannot read {}: {error}", path.display()))
}

/// The content of the library's memory: the number of files; for each its offset in the memory, its length, the length of
/// its name, and the name; then the files. Numbers have 32 bits, little-endian.
fn library(files: &[String]) -> Result<Vec<u8>, String> {
    let files = files
        .iter()
        .map(|file| {
            let (name, path) = file.split_once('=').ok_or_else(|| format!("--library {file}: say GUEST_PATH=FILE"))?;
            Ok((name, read(Path::new(path))?))
        })
        .collect::<Result<Vec<_>, String>>()?;
    let number = |value: usize| u32::try_from(value).map(u32::to_le_bytes).map_err(|_| "the library is too large");
    let head = 4 + files.iter().map(|(name, _)| 12 + name.len()).sum::<usize>();
    let mut offset = head;
    let mut memory = number(files.len())?.to_vec();
    for (name, contents) in &files {
        for value in [offset, contents.len(), name.len()] {
            memory.extend(number(value)?);
        }
        memory.extend(name.as_bytes());
        offset += contents.len();
    }
    for (_, contents) in &files {
        memory.extend(contents);
    }
    Ok(memory)
}

/// Puts modules in the place of the empty ones of `component.wat`, in the same order.
fn assemble(modules: &[&[u8]]) -> Result<Vec<u8>, String> {
    let outline = wat::parse_str(COMPONENT).map_err(|error| error.to_string())?;
    let malformed = |error: wasmparser::BinaryReaderError| error.to_string();
    let mut modules = modules.iter();
    let mut component = Component::new();
    let mut depth = 0_usize;
    for payload in wasmparser::Parser::new(0).parse_all(&outline) {
        let payload = payload.map_err(malformed)?;
        match &payload {
            Payload::ModuleSection { unchecked_range, .. } if depth == 0 => {
                let own = &outline[unchecked_range.clone()];
                let empty = own.len() == EMPTY_MODULE.len() || is_named_only(own)?;
                let data = if empty { modules.next().ok_or("component.wat has too many empty modules")? } else { own };
                component.section(&RawSection { id: ComponentSectionId::CoreModule.into(), data });
            }
            Payload::End(_) | Payload::Version { .. } => {}
            payload if depth == 0 => {
                if let Some((id, range)) = payload.as_section() {
                    component.section(&RawSection { id, data: &outline[range] });
                }
            }
            _ => {}
        }
        match payload {
            Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => depth += 1,
            Payload::End(_) => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    if modules.next().is_some() {
        return Err("component.wat has too few empty modules".to_owned());
    }
    Ok(component.finish())
}

/// The bytes of a module without sections.
const EMPTY_MODULE: &[u8] = b"\0asm\x01\0\0\0";

/// Whether a module has nothing but custom sections: its name.
fn is_named_only(module: &[u8]) -> Result<bool, String> {
    for payload in wasmparser::Parser::new(0).parse_all(module) {
        match payload.map_err(|error| error.to_string())? {
            Payload::Version { .. } | Payload::CustomSection(_) | Payload::End(_) => {}
            _ => return Ok(false),
        }
    }
    Ok(true)
}
