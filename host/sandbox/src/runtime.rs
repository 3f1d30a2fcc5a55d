//! Runtimes: components whose code is compiled once for a machine, and of which each deployment has only the state.
//!
//! A language's interpreter is too large to be compiled for each script. A runtime therefore keeps apart what changes: it
//! imports a core module `state`, which exports its memories and its mutable globals, and exports an interface to read
//! them. What it reads and never changes, such as its standard library, it imports as a module `library`. The body of a
//! request it may take itself, from an interface that only runtimes are given. To seal a deployment is to run `init` on the state
//! that the runtime begins with, to read what has become of it, and to write that as an [image](crate::memory). A
//! deployment's instances are the shared code on its own state.
//!
//! Where a bundle says what can be done beforehand ([`Preload`](crate::Preload)), `init` is called twice. The first call has
//! a file [`PRELOAD`] with the statements, and files whose paths begin with [`WITHHELD`] without their contents. The second
//! one goes on from the state after it, in an instance of its own, with the files that were withheld. That state is kept
//! in the cache for others. If the first call fails, it is as if it had not been made.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use wasmtime::component::types::ComponentItem;
use wasmtime::component::{Component, Instance, Lift, Linker, WasmList};
use wasmtime::{Engine, ExternType, Module, Store, ValType};

use crate::bundle::BundleError;
use crate::instance::HostState;
use crate::memory::{Beginning, Beginnings, Image, ReadOnly, Written};
use crate::sparse;

/// What a runtime imports its state as.
const STATE: &str = "state";
/// What a runtime imports as its library.
const LIBRARY: &str = "library";
/// The interface from which a runtime takes the body of a request, if it imports it: the request comes without.
pub(crate) const BODY: &str = "scorebox:scoring/body@0.1.0";
/// The interface by which a runtime's state is read.
const STATE_READER: &str = "scorebox:scoring/state@0.1.0";
/// The component of a runtime, in its folder.
const CODE_FILE: &str = "code.wasm";
/// The module with the state that it begins with.
const STATE_FILE: &str = "state.wasm";
/// The module with what it reads.
const LIBRARY_FILE: &str = "library.wasm";
/// The cache with the compiled code, in the folder of a runtime that has been compiled in advance.
const COMPILED_FOLDER: &str = "compiled";
/// The path of what a runtime is to do before it is given the rest of a bundle.
pub(crate) const PRELOAD: &str = "preload";
/// What comes before the path of a file whose contents are still to come.
pub(crate) const WITHHELD: &str = "withheld/";
/// Bytes of a page of WebAssembly memory.
const PAGE: u64 = 65536;
/// Bytes of a memory that are read in one call. What a call hands over is limited.
const CHUNK: usize = 64 * 1024 * 1024;

/// Whether a component that imports `name` is a runtime.
pub(crate) fn imports(name: &str) -> bool {
    matches!(name, STATE | LIBRARY | BODY)
}

/// A runtime: a folder with its three files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Runtime {
    folder: PathBuf,
    /// Of the component.
    pub(crate) code: blake3::Hash,
    /// Of the module with what it reads.
    pub(crate) library: blake3::Hash,
    /// Of the module with the state that it begins with.
    pub(crate) state: blake3::Hash,
    /// What the system said of the three files before they were read.
    stamps: Box<[Option<Stamp>; 3]>,
}

/// Which file it is, how large, and when it was written, in seconds and nanoseconds.
type Stamp = (u64, u64, i64, i64);

fn stamps(folder: &Path) -> [Option<Stamp>; 3] {
    [CODE_FILE, LIBRARY_FILE, STATE_FILE].map(|name| {
        let data = folder.join(name).metadata().ok()?;
        Some((data.ino(), data.len(), data.mtime(), data.mtime_nsec()))
    })
}

/// The digest of a file, which all cores compute. It is read, and not mapped: where it is cut meanwhile, that is the digest of
/// another, and not the end of the process.
fn digest(path: &Path) -> io::Result<blake3::Hash> {
    const PIECE: u64 = 4 << 20;
    let mut file = File::open(path)?;
    let mut hasher = blake3::Hasher::new();
    let mut piece = Vec::new();
    loop {
        piece.clear();
        if Read::by_ref(&mut file).take(PIECE).read_to_end(&mut piece)? == 0 {
            return Ok(hasher.finalize());
        }
        hasher.update_rayon(&piece);
    }
}

impl Runtime {
    /// Opens a runtime's folder. What its files are shows when they are compiled; here they are only told apart from others.
    pub fn open(folder: &Path) -> Result<Self, BundleError> {
        let digest = |name| {
            let path = folder.join(name);
            digest(&path).map_err(|source| BundleError::Io { path, source })
        };
        let stamps = Box::new(stamps(folder));
        Ok(Self {
            folder: folder.to_owned(),
            stamps,
            code: digest(CODE_FILE)?,
            library: digest(LIBRARY_FILE)?,
            state: digest(STATE_FILE)?,
        })
    }

    /// A runtime's folder as a worker needs it: it reads the files, and names nothing after them.
    pub(crate) fn unnamed(folder: &Path) -> Self {
        let none = blake3::Hash::from_bytes([0; blake3::OUT_LEN]);
        Self { folder: folder.to_owned(), code: none, library: none, state: none, stamps: Box::default() }
    }

    /// Whether its files are still those that were opened, as far as the system says without reading them.
    pub fn is_unchanged(&self) -> bool {
        self.stamps.iter().all(Option::is_some) && *self.stamps == stamps(&self.folder)
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Where [`Sandbox::compile_runtime`](crate::Sandbox::compile_runtime) is to keep what it makes: a folder for a
    /// [`Cache`](crate::Cache), in which the compiled code is looked for before it is in the sandbox's own.
    pub fn compiled_folder(&self) -> PathBuf {
        self.folder.join(COMPILED_FOLDER)
    }

    pub(crate) fn read_code(&self) -> io::Result<Vec<u8>> {
        std::fs::read(self.folder.join(CODE_FILE))
    }

    pub(crate) fn read_library(&self) -> io::Result<Vec<u8>> {
        std::fs::read(self.folder.join(LIBRARY_FILE))
    }

    pub(crate) fn read_state(&self) -> io::Result<Vec<u8>> {
        std::fs::read(self.folder.join(STATE_FILE))
    }
}

/// A runtime that has been compiled. Its deployments share it.
#[derive(Debug, Clone)]
pub(crate) struct Compiled {
    pub(crate) code: Component,
    library: Module,
    library_memory: Arc<ReadOnly>,
    pub(crate) layout: Arc<Layout>,
    pub(crate) takes_body: bool,
}

/// What the memory of a library is exported as.
const LIBRARY_MEMORY: &str = "memory";

impl Compiled {
    /// Puts it together. `library` is the image of its library, which has one memory.
    pub(crate) fn new(code: Component, library: &Arc<Image>) -> wasmtime::Result<Self> {
        let engine = code.engine();
        let layout = Layout::of(&code, engine)?;
        let odd = || wasmtime::format_err!("its library is not one memory");
        let module = library.module(&[LIBRARY_MEMORY], &[] as &[&str]).ok_or_else(odd)?;
        let library_memory = library.memories().next().ok_or_else(odd)?.read_only()?;
        let takes_body = code.component_type().get_import(engine, BODY).is_some();
        Ok(Self { library: Module::new(engine, module)?, code, library_memory, layout: Arc::new(layout), takes_body })
    }

    /// Adds what the code imports, with a deployment's state, and says what the memories of an instance begin as.
    pub(crate) fn add_to_linker(
        &self,
        linker: &mut Linker<HostState>,
        state: &Arc<Image>,
    ) -> wasmtime::Result<Beginnings> {
        let Layout { memories, globals } = &*self.layout;
        let module = state.module(memories, globals);
        let module = module.ok_or_else(|| wasmtime::format_err!("the state is that of another runtime"))?;
        let mut root = linker.root();
        root.module(LIBRARY, &self.library)?;
        root.module(STATE, &Module::new(self.code.engine(), module)?)?;
        // A runtime instantiates its state first, and its library after that.
        let library = Beginning::ReadOnly(Arc::clone(&self.library_memory));
        Ok(state.memories().map(Beginning::Copy).chain([library]).collect())
    }
}

/// What a runtime's state consists of, in the order in which it declares it.
#[derive(Debug, Default)]
pub(crate) struct Layout {
    memories: Vec<String>,
    globals: Vec<String>,
}

impl Layout {
    /// Reads it off the import of a component.
    fn of(component: &Component, engine: &Engine) -> wasmtime::Result<Self> {
        let ty = component.component_type();
        let import = ty.get_import(engine, STATE).map(|import| import.ty);
        let Some(ComponentItem::Module(module)) = import else {
            wasmtime::bail!("it does not import a core module `{STATE}`");
        };
        let mut layout = Self::default();
        for (name, item) in module.exports(engine) {
            match item {
                ExternType::Memory(_) => layout.memories.push(name.to_owned()),
                ExternType::Global(global) if matches!(global.content(), ValType::I32) => {
                    layout.globals.push(name.to_owned());
                }
                _ => wasmtime::bail!("`{name}` of its state is neither a memory nor a global of type i32"),
            }
        }
        Ok(layout)
    }

    /// Reads the state of an instance, and writes it as an image.
    pub(crate) async fn snapshot(&self, store: &mut Store<HostState>, instance: Instance) -> wasmtime::Result<Vec<u8>> {
        // A guest's limit on what it hands over is not a limit on the host that reads its memory.
        store.set_hostcall_fuel(2 * CHUNK);
        let mut reader = Reader { store, instance };
        let mut image = Written::default();
        for number in 0..self.memories.len() {
            let (pages, contents) = reader.memory(number).await?;
            image.memory(pages, contents);
        }
        for number in 0..self.globals.len() {
            image.global(reader.call(&format!("global{number}"), (), |_, value: i32| value).await?);
        }
        Ok(image.finish())
    }
}

/// Reads the state of a runtime's instance, through the interface that it exports for that.
struct Reader<'a> {
    store: &'a mut Store<HostState>,
    instance: Instance,
}

impl Reader<'_> {
    /// Size in pages, and the content up to the last byte that is not zero.
    async fn memory(&mut self, number: usize) -> wasmtime::Result<(u32, Vec<u8>)> {
        // Reading a memory overwrites its first bytes.
        let head: u64 = self.call(&format!("memory{number}-head"), (), |_, head| head).await?;
        let pages: u32 = self.call(&format!("memory{number}-pages"), (), |_, pages| pages).await?;
        let size = u64::from(pages) * PAGE;
        let mut contents = vec![0; usize::try_from(size)?];
        for (index, chunk) in contents.chunks_mut(CHUNK).enumerate() {
            let place = (u32::try_from(index * CHUNK)?, u32::try_from(chunk.len())?);
            self.call(&format!("memory{number}"), place, |store, list: WasmList<u8>| {
                sparse::copy(list.as_le_slice(&*store), chunk);
            })
            .await?;
        }
        if let Some(first) = contents.first_chunk_mut() {
            *first = head.to_le_bytes();
        }
        let used = contents.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        contents.truncate(used);
        Ok((pages, contents))
    }

    async fn call<P, R, V>(
        &mut self,
        function: &str,
        parameters: P,
        read: impl FnOnce(&mut Store<HostState>, R) -> V,
    ) -> wasmtime::Result<V>
    where
        P: wasmtime::component::ComponentNamedList + wasmtime::component::Lower + Send + Sync,
        R: Lift + Send + Sync + 'static,
    {
        let store = &mut *self.store;
        let missing = || wasmtime::format_err!("`{STATE_READER}` has no `{function}`");
        let (_, reader) = self.instance.get_export(&mut *store, None, STATE_READER).ok_or_else(missing)?;
        let (_, function) = self.instance.get_export(&mut *store, Some(&reader), function).ok_or_else(missing)?;
        let function = self.instance.get_typed_func::<P, (R,)>(&mut *store, function)?;
        let (value,) = function.call_async(&mut *store, parameters).await?;
        Ok(read(store, value))
    }
}
