//! Sealing: from a scorer to a module that starts one instant after `init`, or from the cache.
//!
//! With an entry in the cache, only its MAC is checked and it is loaded. Else it is made, in the [steps](crate::steps) that
//! [`make`] takes: `init` is run, the state after it is compiled, the schema is asked for, and the result is stored in the
//! cache. Who does that is the [`Sealer`](crate::Sealer): this process, or others.

use std::borrow::Cow;
use std::hash::{Hash as _, Hasher};
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;

use serde::{Deserialize, Serialize};
use wasmtime::Engine;

use crate::bindings::exports::scorebox::scoring::scoring as wit;
use crate::bundle::{Bundle, BundleFile, Code};
use crate::cache::{Cache, Entry, EntryName};
use crate::instance::WasiEnvironment;
use crate::interface::{Interface, InterfaceError};
use crate::linked::Linked;
use crate::log::LogSink;
use crate::memory::{Image, Written};
use crate::native::{self, Native};
use crate::runtime::Runtime;
use crate::sandbox::Sandbox;
use crate::steps::{self, Candidate, Preloaded, RuntimeCode, Snapshot, State};

pub use wit::{InputMode, SwaggerVersion};

/// Why a component cannot be deployed.
#[derive(Debug, thiserror::Error, Serialize, Deserialize)]
pub enum SealError {
    /// It is not of the world `scorer`.
    #[error(transparent)]
    Interface(#[from] InterfaceError),
    /// Its functions do not have the types of the world.
    #[error("the component does not fit the world `scorer` of scorebox:scoring@0.1.0: {0}")]
    Types(String),
    /// The engine does not take it.
    #[error("the component cannot be compiled: {0}")]
    Compile(String),
    /// It cannot be snapshotted.
    #[error("no snapshot can be made of the component: {0}")]
    Snapshot(String),
    /// `init` returned an error.
    #[error("init() failed: {0}")]
    Init(String),
    /// The runtime cannot be used.
    #[error("the runtime in {} cannot be used: {why}", folder.display())]
    Runtime {
        /// Its folder.
        folder: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// A call into the component did not come back.
    #[error("{function}() {how}")]
    Call {
        /// `init` or `schema`.
        function: Cow<'static, str>,
        /// What happened, and where.
        how: String,
    },
    /// The system had no memory for what a call may have by its limit.
    #[error("{function}() asked for memory within its limit, and the machine has none left")]
    NoMemory {
        /// `init` or `schema`.
        function: Cow<'static, str>,
    },
    /// The process that compiled it, or ran its `init`, ended without a result.
    #[error("{doing} {how}")]
    Process {
        /// What the process did.
        doing: Cow<'static, str>,
        /// How it ended, and what to do.
        how: String,
    },
    /// There is no process that could seal.
    #[error("nothing can be deployed any more, because the process that seals has ended: {0}; restart the server")]
    NoSealer(String),
}

/// Where sealing has got to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Stage {
    /// Loading from the cache.
    Loading,
    /// Compiling a runtime, which is done once for a machine.
    CompilingRuntime,
    /// Compiling what `init` runs in.
    Compiling,
    /// Running `init`.
    Initialising,
    /// Compiling the snapshot.
    Sealing,
}

/// What a scorer takes and gives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Schema {
    /// How it wants its input.
    pub mode: InputMode,
    /// JSON Schema of the input: the text of a JSON object; `None` when undeclared.
    pub input: Option<String>,
    /// JSON Schema of the output, in the same form; `None` when undeclared.
    pub output: Option<String>,
    /// Versions of Swagger in which the two can be written down; empty means all.
    pub versions: Vec<SwaggerVersion>,
}

/// A scorer one instant after `init`, compiled. Each request starts from it in an instance of its own.
pub struct SealedModule {
    pub(crate) scorer: Linked,
    pub(crate) wasi: Option<WasiEnvironment>,
    /// What it imports and exports.
    pub interface: Interface,
    /// What it takes and gives.
    pub schema: Schema,
    /// Bytes of linear memory and tables after `init`: what each instance starts with.
    pub snapshot_bytes: u64,
    /// Bytes of the host's memory that it takes while it answers no request, as far as can be reckoned.
    pub resident_bytes: u64,
    /// Whether the cache has it, so that it can be loaded again.
    pub is_kept: bool,
    /// Whether it came out of the cache.
    pub from_cache: bool,
}

impl std::fmt::Debug for SealedModule {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SealedModule")
            .field("interface", &self.interface)
            .field("schema", &self.schema)
            .field("snapshot_bytes", &self.snapshot_bytes)
            .field("from_cache", &self.from_cache)
            .finish_non_exhaustive()
    }
}

/// A schema as it is written down.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct WrittenSchema {
    mode: u8,
    input: Option<String>,
    output: Option<String>,
    versions: Vec<u8>,
}

/// What the engine keeps of a component on the heap: one of so many bytes of its compiled code, which is mapped besides. Measured,
/// as is the next: see BENCHMARKS.md.
const HEAP_OF_COMPONENT: u64 = 8;
/// Bytes that the engine keeps on the heap to join a deployment's state to its runtime.
const HEAP_OF_STATE: u64 = 1 << 20;

const MODES: [InputMode; 3] = [InputMode::Plain, InputMode::Json, InputMode::Raw];
const VERSIONS: [SwaggerVersion; 3] = [SwaggerVersion::V2, SwaggerVersion::V3, SwaggerVersion::V31];

impl From<Schema> for WrittenSchema {
    fn from(schema: Schema) -> Self {
        Self {
            mode: schema.mode as u8,
            input: schema.input,
            output: schema.output,
            versions: schema.versions.iter().map(|version| *version as u8).collect(),
        }
    }
}

impl WrittenSchema {
    /// The schema, unless it is none.
    pub(crate) fn read(self) -> Option<Schema> {
        let versions = self.versions.into_iter().map(|version| VERSIONS.get(usize::from(version)).copied());
        Some(Schema {
            mode: *MODES.get(usize::from(self.mode))?,
            input: self.input,
            output: self.output,
            versions: versions.collect::<Option<_>>()?,
        })
    }
}

/// What a cache entry says besides the compiled code.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Header {
    interface: Interface,
    schema: WrittenSchema,
    snapshot_bytes: u64,
}

impl Header {
    pub(crate) fn write(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("numbers and texts can be written as JSON")
    }

    pub(crate) fn read(bytes: &[u8]) -> Option<Self> {
        serde_json::from_slice(bytes).ok()
    }
}

/// What has been made of a scorer.
#[derive(Debug)]
pub(crate) struct Made {
    pub(crate) header: Header,
    pub(crate) native: Native,
}

impl Made {
    fn of(entry: Entry) -> Option<Self> {
        Some(Self { header: Header::read(&entry.header)?, native: Native::File(entry.path) })
    }

    /// What the cache has under a name.
    pub(crate) fn cached(cache: Option<&Cache>, name: EntryName) -> Option<Self> {
        Self::of(cache?.get(name)?)
    }

    /// Joins it to what the host gives to it.
    fn load(self, sandbox: &Sandbox, candidate: &Candidate<'_>, from_cache: bool) -> Result<SealedModule, SealError> {
        let unusable = |why: String| SealError::Compile(format!("what was compiled cannot be used: {why}"));
        let engine = sandbox.engine();
        let Header { interface, schema, snapshot_bytes } = self.header;
        let is_kept = matches!(self.native, Native::File(_));
        let resident_bytes = match &candidate.bundle.code {
            Code::Component(_) => self.native.size() + self.native.size() / HEAP_OF_COMPONENT,
            // Its code is the runtime's, and of its state instances map what they need.
            Code::Runtime(_) => HEAP_OF_STATE,
        };
        let scorer = match &candidate.bundle.code {
            Code::Component(_) => {
                let component =
                    native::load_component(engine, &self.native).map_err(|error| unusable(format!("{error:#}")))?;
                steps::link_component(sandbox, &interface, &component)?
            }
            Code::Runtime(runtime) => {
                let state = Image::open(&self.native).map_err(|error| unusable(error.to_string()))?;
                steps::link_runtime(sandbox, &sandbox.runtime(runtime, &|_| {})?, &state)?
            }
        };
        Ok(SealedModule {
            resident_bytes,
            is_kept,
            scorer,
            wasi: WasiEnvironment::of(&interface, candidate.bundle.model_dir.as_ref()),
            interface,
            schema: schema.read().ok_or_else(|| unusable("its schema is none".to_owned()))?,
            snapshot_bytes,
            from_cache,
        })
    }
}

/// The steps of sealing, wherever they are done.
pub(crate) trait Steps {
    /// Compiles what is to be compiled for it, and runs `init`, of a component or of a runtime that has been compiled. A
    /// runtime is asked for its schema as well, and preloads before where there is a place for the state after it. `progress`
    /// is told in between.
    fn initialise(
        &self,
        candidate: &Candidate<'_>,
        runtime: Option<&RuntimeCode>,
        preloaded: Option<Preloaded<'_>>,
        sink: Arc<dyn LogSink>,
        progress: &dyn Fn(Stage),
    ) -> Result<Snapshot, SealError>;

    /// Compiles a component.
    fn compile(&self, component: Vec<u8>, memory: u64) -> Result<Vec<u8>, SealError>;

    /// Compiles the code of a runtime, which is trusted and large.
    fn compile_runtime(&self, code: Vec<u8>) -> Result<Vec<u8>, SealError>;

    /// Asks a compiled component for its schema.
    fn describe(&self, candidate: &Candidate<'_>, sealed: &Native, sink: Arc<dyn LogSink>)
    -> Result<Schema, SealError>;
}

impl Steps for Sandbox {
    fn initialise(
        &self,
        candidate: &Candidate<'_>,
        runtime: Option<&RuntimeCode>,
        preloaded: Option<Preloaded<'_>>,
        sink: Arc<dyn LogSink>,
        progress: &dyn Fn(Stage),
    ) -> Result<Snapshot, SealError> {
        match (&candidate.bundle.code, runtime) {
            (Code::Component(component), _) => steps::initialise_component(self, candidate, component, sink, progress),
            (Code::Runtime(runtime), Some(code)) => {
                let state = runtime.read_state().map_err(|error| runtime_error(runtime, error.to_string()))?;
                steps::initialise_runtime(self, candidate, code, &state, preloaded, sink, progress)
            }
            (Code::Runtime(runtime), None) => Err(runtime_error(runtime, "it has not been compiled".to_owned())),
        }
    }

    fn compile(&self, component: Vec<u8>, _memory: u64) -> Result<Vec<u8>, SealError> {
        steps::compile(self.engine(), &component)
    }

    fn compile_runtime(&self, code: Vec<u8>) -> Result<Vec<u8>, SealError> {
        steps::compile(self.engine(), &code)
    }

    fn describe(
        &self,
        candidate: &Candidate<'_>,
        sealed: &Native,
        sink: Arc<dyn LogSink>,
    ) -> Result<Schema, SealError> {
        steps::describe(self, sealed, candidate.limits, candidate.bundle.model_dir.as_ref(), sink)
    }
}

/// Who makes what is not in the cache yet, and with what.
pub(crate) struct Maker<'a> {
    pub(crate) steps: &'a dyn Steps,
    pub(crate) engine: &'a Engine,
    /// Where runtimes are looked for, and kept.
    pub(crate) cache: Option<&'a Cache>,
    /// Where scorers are.
    pub(crate) scorers: Option<&'a Cache>,
    /// Told before each stage.
    pub(crate) progress: &'a dyn Fn(Stage),
    /// Told what the operator should know, and what is no reason to fail.
    pub(crate) warn: &'a dyn Fn(String),
}

impl Maker<'_> {
    /// Makes a scorer ready to be deployed, unless the cache has it.
    pub(crate) fn make(&self, candidate: &Candidate<'_>, sink: &Arc<dyn LogSink>) -> Result<Made, SealError> {
        let name = entry_name(candidate, self.engine);
        if let Some(made) = Made::cached(self.scorers, name) {
            return Ok(made);
        }
        let runtime = match &candidate.bundle.code {
            Code::Component(_) => {
                (self.progress)(Stage::Compiling);
                None
            }
            Code::Runtime(runtime) => Some(self.runtime(runtime)?),
        };
        let preload_name = preload_name(candidate, self.engine);
        let keep = |state: Option<Vec<u8>>| {
            if let Some((name, state)) = preload_name.zip(state) {
                self.store(self.scorers, name, b"", Native::Bytes(state));
            }
        };
        // Without a cache nobody else would find it.
        let preloaded = self.scorers.zip(preload_name).map(|(cache, name)| {
            let found = cache.get(name).map(|entry| Native::File(entry.path));
            Preloaded { found, keep: &keep }
        });
        let Snapshot { interface, bytes, state } =
            self.steps.initialise(candidate, runtime.as_ref(), preloaded, Arc::clone(sink), self.progress)?;
        (self.progress)(Stage::Sealing);
        let (native, schema) = match state {
            State::Component(component) => {
                let native = Native::Bytes(self.steps.compile(component, candidate.limits.memory)?);
                let schema = self.steps.describe(candidate, &native, Arc::clone(sink))?;
                (native, schema)
            }
            State::Image(image, schema) => (Native::Bytes(image), schema),
        };
        let header = Header { interface, schema: schema.into(), snapshot_bytes: bytes };
        let native = self.store(self.scorers, name, &header.write(), native);
        Ok(Made { header, native })
    }

    /// The compiled parts of a runtime: from its own folder, from the cache, or made. Of several processes that want the
    /// same at the same time, one makes it and the others wait.
    pub(crate) fn runtime(&self, runtime: &Runtime) -> Result<RuntimeCode, SealError> {
        if let Some(code) = runtime_code(self.engine, self.cache, runtime) {
            return Ok(code);
        }
        let names = runtime_names(self.engine, runtime);
        let _lock = self.cache.and_then(|cache| cache.lock(names[0]));
        if let Some(code) = runtime_code(self.engine, self.cache, runtime) {
            return Ok(code);
        }
        (self.progress)(Stage::CompilingRuntime);
        let unreadable = |error: std::io::Error| runtime_error(runtime, error.to_string());
        let keep = |name, bytes| self.store(self.cache, name, b"", Native::Bytes(bytes));
        let library = if let Some(library) = compiled_part(self.cache, runtime, names[1]) {
            library
        } else {
            let library = Written::of_module(&runtime.read_library().map_err(unreadable)?)
                .map_err(|error| runtime_error(runtime, format!("its library is not data: {error:#}")))?;
            keep(names[1], library.finish())
        };
        let code = if let Some(code) = compiled_part(self.cache, runtime, names[0]) {
            code
        } else {
            keep(names[0], self.steps.compile_runtime(runtime.read_code().map_err(unreadable)?)?)
        };
        Ok(RuntimeCode { code, library })
    }

    /// Stores compiled code in the cache, from where it is mapped and shared with other processes. Without it the next
    /// start takes longer, which is no reason to fail.
    fn store(&self, cache: Option<&Cache>, name: EntryName, header: &[u8], native: Native) -> Native {
        let (Some(cache), Native::Bytes(bytes)) = (cache, &native) else { return native };
        match cache.put(name, header, bytes) {
            Ok(entry) => Native::File(entry.path),
            Err(error) => {
                (self.warn)(format!(
                    "the sealed module is not in the cache, so the next start will take longer: {error}"
                ));
                native
            }
        }
    }
}

/// Whether what is sealed is looked for in the cache, and kept there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Caching {
    /// It is.
    Yes,
    /// It is sealed anew, for what its `init` says.
    No,
}

/// Loads what was made of a candidate before; `None` where the cache does not have it.
pub(crate) fn find(sandbox: &Sandbox, candidate: &Candidate<'_>) -> Result<Option<SealedModule>, SealError> {
    let made = Made::cached(sandbox.cache(), entry_name(candidate, sandbox.engine()));
    made.map(|made| made.load(sandbox, candidate, true)).transpose()
}

/// Seals a candidate, or loads it from the cache. Blocks until it is done.
pub(crate) fn seal(
    sandbox: &Sandbox,
    candidate: &Candidate<'_>,
    caching: Caching,
    sink: &Arc<dyn LogSink>,
    progress: &dyn Fn(Stage),
) -> Result<SealedModule, SealError> {
    // Somebody else may have made it in the meantime.
    if caching == Caching::Yes
        && let Some(found) = find(sandbox, candidate)?
    {
        return Ok(found);
    }
    let made = thread::scope(|scope| {
        let progress = |stage| {
            // While `init` runs, which takes one thread, another prepares the runtime here. Should that fail, it is said by
            // whoever needs it.
            if let (Code::Runtime(runtime), Stage::Initialising) = (&candidate.bundle.code, stage) {
                let ahead = thread::Builder::new().spawn_scoped(scope, || _ = sandbox.runtime(runtime, &|_| {}));
                if let Err(error) = ahead {
                    tracing::debug!("the runtime is prepared after init, for want of a thread: {error}");
                }
            }
            progress(stage);
        };
        sandbox.sealer().make(sandbox, candidate, caching, sink, &progress)
    });
    made?.load(sandbox, candidate, false)
}

/// The compiled parts of a runtime, where they have been made before.
pub(crate) fn runtime_code(engine: &Engine, cache: Option<&Cache>, runtime: &Runtime) -> Option<RuntimeCode> {
    let [code, library] = runtime_names(engine, runtime);
    Some(RuntimeCode { code: compiled_part(cache, runtime, code)?, library: compiled_part(cache, runtime, library)? })
}

/// One of them, from the runtime's own folder or from the cache.
fn compiled_part(cache: Option<&Cache>, runtime: &Runtime, name: EntryName) -> Option<Native> {
    let of = |cache: &Cache| Some(Native::File(cache.get(name)?.path));
    Cache::filled(runtime.compiled_folder()).as_ref().and_then(of).or_else(|| of(cache?))
}

/// The names of a runtime's code and of its library in the cache.
fn runtime_names(engine: &Engine, runtime: &Runtime) -> [EntryName; 2] {
    [runtime.code, runtime.library].map(|source| {
        let mut digest = Digest::new(engine);
        digest.part(source.as_bytes());
        EntryName::new(digest.0.finalize())
    })
}

pub(crate) fn runtime_error(runtime: &Runtime, why: String) -> SealError {
    SealError::Runtime { folder: runtime.folder().to_owned(), why }
}

/// A digest of all that the sealed module depends on.
pub(crate) fn entry_name(candidate: &Candidate<'_>, engine: &Engine) -> EntryName {
    let mut digest = Digest::new(engine);
    digest.part(b"scorer");
    digest.part(candidate.name.as_bytes());
    digest.part(candidate.version.as_bytes());
    digest.bundle(candidate, |_| false);
    EntryName::new(digest.0.finalize())
}

/// A digest of all that the state after preloading depends on: of the files that are withheld, only that they are there. `None`
/// where nothing is preloaded.
fn preload_name(candidate: &Candidate<'_>, engine: &Engine) -> Option<EntryName> {
    let (Some(preload), Code::Runtime(_)) = (&candidate.bundle.preload, &candidate.bundle.code) else { return None };
    let mut digest = Digest::new(engine);
    digest.part(b"preloaded");
    digest.part(preload.statements.as_bytes());
    digest.bundle(candidate, |file| preload.withholds(file));
    Some(EntryName::spare(digest.0.finalize()))
}

/// Changes whenever [`Header`] does, or the form of what is stored with it.
const FORMAT: &[u8] = b"format 6";

/// Feeds what is hashed to BLAKE3, each part with its length before it.
struct Digest(blake3::Hasher);

impl Digest {
    /// Begins with what all entries depend on: their form, the version of this program, of the engine, its settings, and the
    /// features of the CPU that it compiles for.
    fn new(engine: &Engine) -> Self {
        let mut digest = Self(blake3::Hasher::new());
        digest.part(FORMAT);
        digest.part(env!("CARGO_PKG_VERSION").as_bytes());
        engine.precompile_compatibility_hash().hash(&mut digest);
        digest
    }

    /// A bundle, but for the contents of files that are withheld, and what its `init` may do.
    fn bundle(&mut self, candidate: &Candidate<'_>, is_withheld: impl Fn(&BundleFile) -> bool) {
        let Bundle { owner, code, environment, files, model_dir, .. } = candidate.bundle;
        self.part(owner.as_bytes());
        match code {
            Code::Component(component) => {
                self.part(component);
                // One that reads files itself is given the folder, and not the files, where there is a folder.
                self.part(&[model_dir.is_some().into()]);
            }
            Code::Runtime(runtime) => {
                for part in [runtime.code, runtime.library, runtime.state] {
                    self.part(part.as_bytes());
                }
            }
        }
        // Lists begin with their lengths, so that what is in one cannot be taken for what is in the next.
        self.count(environment.len());
        for (name, value) in environment {
            self.part(name.as_bytes());
            self.part(value.as_bytes());
        }
        self.count(files.len());
        for file in files {
            self.part(file.path.as_bytes());
            let is_withheld = is_withheld(file);
            self.part(&[is_withheld.into()]);
            if !is_withheld {
                self.part(&file.contents);
            }
        }
        self.part(&candidate.limits.memory.to_le_bytes());
    }

    fn count(&mut self, count: usize) {
        self.0.update(&(count as u64).to_le_bytes());
    }

    fn part(&mut self, bytes: &[u8]) {
        self.count(bytes.len());
        self.0.update(bytes);
    }
}

impl Hasher for Digest {
    fn write(&mut self, bytes: &[u8]) {
        self.part(bytes);
    }

    /// Not used: the digest is read as a whole.
    fn finish(&self) -> u64 {
        0
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    use super::*;
    use crate::bundle::Preload;
    use crate::limits::Limits;

    #[test]
    fn an_entry_has_another_name_for_all_that_differs() {
        let engine = Engine::default();
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let file = |path: &str, contents: &str| BundleFile { path: path.to_owned(), contents: contents.into() };
        let bundle = |owner: &str, environment: &[(String, String)], files: &[BundleFile]| Bundle {
            owner: owner.to_owned(),
            code: Code::Component(b"code".to_vec()),
            environment: environment.to_vec(),
            files: files.to_vec(),
            model_dir: None,
            preload: None,
        };
        let name_of = |name, version, bundle: &Bundle| {
            entry_name(&Candidate { name, version, bundle, limits: &Limits::default() }, &engine)
        };
        let (a, b) = (file("app/a", "1"), file("app/b", "2"));
        let usual = bundle("tenant/iris/blue", &[pair("X", "1")], &[a.clone(), b.clone()]);
        let all = [
            name_of("blue", "1", &usual),
            name_of("green", "1", &usual),
            name_of("blue", "2", &usual),
            name_of("blue", "1", &bundle("other/iris/blue", &[pair("X", "1")], &[a.clone(), b.clone()])),
            name_of("blue", "1", &bundle("tenant/iris/blue", &[pair("X", "2")], &[a.clone(), b.clone()])),
            // A file that is given as a variable.
            name_of("blue", "1", &bundle("tenant/iris/blue", &[pair("X", "1"), pair("app/a", "1")], &[b])),
            name_of("blue", "1", &bundle("tenant/iris/blue", &[], &[file("X", "1"), a])),
            name_of("blue", "1", &Bundle { model_dir: Some(Arc::from(Path::new("model"))), ..usual.clone() }),
        ];
        for (index, name) in all.iter().enumerate() {
            assert!(!all[..index].contains(name), "{index}");
        }
        assert_eq!(all[0], name_of("blue", "1", &usual));
    }

    #[test]
    fn a_preloaded_state_is_for_all_of_an_owner_that_differ_in_what_was_withheld() {
        let engine = Engine::default();
        let file = |path: &str, contents: &str| BundleFile { path: path.to_owned(), contents: contents.into() };
        let bundle = |owner: &str, statements: &str, script: &str, package: &str| Bundle {
            owner: owner.to_owned(),
            code: Code::Runtime(Runtime::unnamed(Path::new("runtime"))),
            environment: vec![("X".to_owned(), "1".to_owned())],
            files: vec![file("app/score.py", script), file("site/package.py", package)],
            model_dir: None,
            preload: Some(Preload { statements: statements.to_owned(), withheld: ["app/score.py".to_owned()].into() }),
        };
        let limits = Limits::default();
        let name_within = |limits: &Limits, bundle: &Bundle| {
            preload_name(&Candidate { name: "blue", version: "1", bundle, limits }, &engine).unwrap()
        };
        let name_of = |bundle: &Bundle| name_within(&limits, bundle);
        let usual = bundle("one", "import json", "1", "1");
        let candidate =
            Candidate { name: "green", version: "2", bundle: &bundle("one", "import json", "2", "1"), limits: &limits };
        assert_eq!(preload_name(&candidate, &engine), Some(name_of(&usual)));
        let more = Limits { memory: limits.memory + 1, ..limits.clone() };
        let all = [
            name_of(&usual),
            name_of(&bundle("other", "import json", "1", "1")),
            name_of(&bundle("one", "import os", "1", "1")),
            name_of(&bundle("one", "import json", "1", "2")),
            name_of(&Bundle { environment: Vec::new(), ..usual.clone() }),
            name_of(&Bundle { files: vec![file("app/other.py", "1")], ..usual.clone() }),
            name_of(&Bundle {
                preload: Some(Preload { statements: "import json".to_owned(), withheld: BTreeSet::new() }),
                ..usual.clone()
            }),
            name_within(&more, &usual),
            entry_name(&Candidate { name: "blue", version: "1", bundle: &usual, limits: &limits }, &engine),
        ];
        for (index, name) in all.iter().enumerate() {
            assert!(!all[..index].contains(name), "{index}");
        }
        let without = Bundle { preload: None, ..usual };
        assert_eq!(preload_name(&Candidate { bundle: &without, ..candidate }, &engine), None);
    }
}
