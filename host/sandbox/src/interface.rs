//! What a module imports and exports, and whether that is the world `scorer`.

use std::fmt;

use serde::{Deserialize, Serialize};
use wasmparser::{Encoding, Parser, Payload};
use wasmtime::Engine;
use wasmtime::component::Component;

use crate::{runtime, wasi};

/// The interface that a scorer exports.
pub(crate) const SCORING: &str = "scorebox:scoring/scoring";
/// The interfaces of the world that a scorer may import.
const IMPORTS: [&str; 2] = ["scorebox:scoring/log", "scorebox:scoring/stream"];
/// The version of all of them.
const VERSION: &str = "0.1.0";

/// The names that a component imports and exports, with their versions, in the order in which they stand in it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Interface {
    /// What it needs.
    pub imports: Vec<String>,
    /// What it offers.
    pub exports: Vec<String>,
}

/// Why a module is no scorer.
#[derive(Debug, thiserror::Error, PartialEq, Eq, Serialize, Deserialize)]
pub enum InterfaceError {
    /// The bytes are not WebAssembly, or are damaged.
    #[error("not a WebAssembly component: {0}")]
    Malformed(String),
    /// The bytes are WebAssembly, but a core module.
    #[error(
        "this is a core WebAssembly module, not a component; build it with `scorebox build`, or make a component of it \
         with `wasm-tools component new`"
    )]
    CoreModule,
    /// It does not export the interface of a scorer.
    #[error(
        "the component does not export `{SCORING}@{VERSION}` (with `init`, `run` and `schema`); it exports {found}"
    )]
    MissingExport {
        /// What it exports instead.
        found: Names,
    },
    /// It imports what scorers are not given.
    #[error(
        "the component imports {0}, which a scorer is not given; it may import `{log}@{VERSION}`, \
         `{stream}@{VERSION}` and, of WASI 0.2, clocks, random numbers, its own files and standard input and output",
        log = IMPORTS[0], stream = IMPORTS[1]
    )]
    ForbiddenImport(Names),
}

/// Names, for a message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Names(pub Vec<String>);

impl fmt::Display for Names {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("nothing");
        }
        for (index, name) in self.0.iter().enumerate() {
            write!(f, "{}`{name}`", if index == 0 { "" } else { ", " })?;
        }
        Ok(())
    }
}

impl Interface {
    /// Reads the names that a component imports and exports, without compiling it.
    pub fn read(component: &[u8]) -> Result<Self, InterfaceError> {
        let malformed = |error: wasmparser::BinaryReaderError| InterfaceError::Malformed(error.to_string());
        let mut interface = Self::default();
        // Modules and components inside of it are its own affair.
        let mut depth = 0_usize;
        for payload in Parser::new(0).parse_all(component) {
            match payload.map_err(malformed)? {
                Payload::Version { encoding: Encoding::Module, .. } if depth == 0 => {
                    return Err(InterfaceError::CoreModule);
                }
                Payload::ComponentImportSection(section) if depth == 0 => {
                    for import in section {
                        interface.imports.push(import.map_err(malformed)?.name.name.to_owned());
                    }
                }
                Payload::ComponentExportSection(section) if depth == 0 => {
                    for export in section {
                        interface.exports.push(export.map_err(malformed)?.name.name.to_owned());
                    }
                }
                Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => depth += 1,
                Payload::End(_) => depth = depth.saturating_sub(1),
                _ => {}
            }
        }
        Ok(interface)
    }

    /// The names that a compiled component imports and exports.
    pub(crate) fn of(component: &Component, engine: &Engine) -> Self {
        let ty = component.component_type();
        Self {
            imports: ty.imports(engine).map(|(name, _)| name.to_owned()).collect(),
            exports: ty.exports(engine).map(|(name, _)| name.to_owned()).collect(),
        }
    }

    /// Checks the names against the world `scorer`. Whether the functions have the right types is checked when the
    /// component is compiled.
    pub fn check(&self) -> Result<(), InterfaceError> {
        self.check_but(|_| false)
    }

    /// The same for a runtime, which imports its state as well.
    pub(crate) fn check_runtime(&self) -> Result<(), InterfaceError> {
        self.check_but(runtime::imports)
    }

    fn check_but(&self, also: fn(&str) -> bool) -> Result<(), InterfaceError> {
        let forbidden: Vec<_> = self.imports.iter().filter(|name| !allowed(name) && !also(name)).cloned().collect();
        if !forbidden.is_empty() {
            return Err(InterfaceError::ForbiddenImport(Names(forbidden)));
        }
        if !self.exports.iter().any(|name| *name == format!("{SCORING}@{VERSION}")) {
            return Err(InterfaceError::MissingExport { found: Names(self.exports.clone()) });
        }
        Ok(())
    }

    /// Whether it needs anything of WASI.
    pub fn imports_wasi(&self) -> bool {
        self.imports.iter().any(|name| name.starts_with("wasi:"))
    }

    /// Whether it reads its files itself.
    pub fn imports_files(&self) -> bool {
        self.imports.iter().any(|name| name.starts_with("wasi:filesystem/"))
    }
}

fn allowed(import: &str) -> bool {
    let (name, version) = import.split_once('@').unwrap_or((import, ""));
    (IMPORTS.contains(&name) && version == VERSION) || (version.starts_with("0.2.") && wasi::INTERFACES.contains(&name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(imports: &[&str], exports: &[&str]) -> Result<(), String> {
        let own = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        Interface { imports: own(imports), exports: own(exports) }.check().map_err(|error| error.to_string())
    }

    #[test]
    fn the_error_names_what_is_missing_or_too_much() {
        let scorer = "scorebox:scoring/scoring@0.1.0";
        assert_eq!(check(&["scorebox:scoring/log@0.1.0", "wasi:clocks/wall-clock@0.2.6"], &[scorer]), Ok(()));
        assert_eq!(check(&[], &[scorer, "other:thing/more@1.0.0"]), Ok(()));
        let missing = check(&[], &["run"]).unwrap_err();
        assert!(missing.contains("does not export `scorebox:scoring/scoring@0.1.0`"), "{missing}");
        assert!(missing.ends_with("it exports `run`"), "{missing}");
        let sockets = check(&["wasi:sockets/tcp@0.2.0", "wasi:http/types@0.2.0"], &[scorer]).unwrap_err();
        assert!(sockets.contains("imports `wasi:sockets/tcp@0.2.0`, `wasi:http/types@0.2.0`"), "{sockets}");
        assert!(check(&["wasi:clocks/wall-clock@0.3.0"], &[scorer]).is_err(), "another version of WASI");
        assert!(check(&["scorebox:scoring/log@0.2.0"], &[scorer]).is_err(), "another version of the world");
        assert!(check(&["state"], &[scorer]).is_err(), "the import of a runtime");
    }

    #[test]
    fn bytes_that_are_no_component_are_said_to_be_what_they_are() {
        let core = b"\0asm\x01\0\0\0";
        assert_eq!(Interface::read(core), Err(InterfaceError::CoreModule));
        assert!(matches!(Interface::read(b""), Err(InterfaceError::Malformed(_))));
        assert!(matches!(Interface::read(b"PK\x03\x04 a zip file"), Err(InterfaceError::Malformed(_))));
        let empty_component = b"\0asm\x0d\0\x01\0";
        assert_eq!(Interface::read(empty_component), Ok(Interface::default()));
    }
}
