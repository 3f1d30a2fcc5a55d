//! Compiled code, and the one place that loads it.

use std::path::PathBuf;

use wasmtime::Engine;
use wasmtime::component::Component;

/// What this program has compiled, or a snapshot.
#[derive(Debug, Clone)]
pub(crate) enum Native {
    /// In a file, which is mapped, so that all who use it share its pages.
    File(PathBuf),
    /// In memory, where there is no cache.
    Bytes(Vec<u8>),
}

impl Native {
    /// Bytes that it has.
    pub(crate) fn size(&self) -> u64 {
        match self {
            Self::File(path) => path.metadata().map_or(0, |data| data.len()),
            Self::Bytes(bytes) => bytes.len() as u64,
        }
    }
}

/// Loads a component.
///
/// # Why this is sound
///
/// Deserializing is sound for what `serialize` returned, by an engine of the same version and settings, when nobody
/// changes the file while it is mapped. What is loaded here comes from two places only:
///
/// - An entry of a [`Cache`](crate::Cache), which has checked a MAC that was made with a key that only this host's user
///   can read, over the whole file and its name; the name covers the version of the engine, its settings and the CPU.
///   Nobody else can write the file or its folder, and the host itself never writes to a file that is there: it replaces
///   files, or removes them, and either leaves the mapped one as it is.
/// - A process that this program has started to compile, over a pipe that nobody else has. It runs no code of the module
///   that it compiles. A process that runs the module's code, `init` or `schema`, is not believed in this way: it returns
///   WebAssembly, a snapshot, or a schema.
pub(crate) fn load_component(engine: &Engine, native: &Native) -> wasmtime::Result<Component> {
    // SAFETY: see above.
    #[expect(unsafe_code, clippy::disallowed_methods, reason = "the one place that loads compiled code")]
    unsafe {
        match native {
            Native::File(path) => Component::deserialize_file(engine, path),
            Native::Bytes(bytes) => Component::deserialize(engine, bytes),
        }
    }
}
