//! What the processes that seal say to each other: frames of a JSON head and any number of blobs.

use std::fs::File;
use std::io::{self, BufRead, Read, Write};
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::bundle::{Bundle, BundleFile, Code, Preload};
use crate::engine::SandboxConfig;
use crate::interface::Interface;
use crate::limits::Limits;
use crate::log::{LogLevel, LogSink, LogStream};
use crate::native::Native;
use crate::runtime::Runtime;
use crate::seal::{SealError, Stage, WrittenSchema};
use crate::sparse;
use crate::steps::{Candidate, RuntimeCode};

/// Bytes of the head of a frame.
const MAX_HEAD: u64 = 64 << 20;
/// Blobs of a frame.
const MAX_BLOBS: u64 = 1 << 20;
/// Bytes that are set aside at most for what has not come yet.
const MAX_RESERVED: u64 = 256 << 20;

/// A head and blobs.
pub(super) type Frame<T> = (T, Vec<Vec<u8>>);

/// The first frame that the sealer gets.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Setup {
    pub(super) config: SandboxConfig,
    pub(super) limits: SealLimits,
    /// Folder and size.
    pub(super) cache: Option<(PathBuf, u64)>,
    /// What it and its workers may read besides: bundles and runtimes.
    pub(super) readable: Vec<PathBuf>,
    /// Whether they confine themselves.
    pub(super) confined: bool,
}

/// What sealing may use, besides what the scorer itself may.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SealLimits {
    /// Bytes of memory for compiling. A process that seals may have this much and three times the memory limit of the
    /// scorer: for its instance, its snapshot and a copy of that. Default 2 GiB.
    pub memory: u64,
    /// Wall-clock time for each of its steps, besides the time that `init` and `schema` are given. Default 300 s.
    pub timeout: Duration,
}

impl Default for SealLimits {
    fn default() -> Self {
        Self { memory: 2 << 30, timeout: Duration::from_mins(5) }
    }
}

/// What the sealer is asked for.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Ask {
    pub(super) what: What,
    /// Whether the result is to be looked for in the cache, and kept there.
    pub(super) cached: bool,
}

/// What it is to make.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum What {
    /// A scorer. The blobs are those of [`Job::blobs`].
    Scorer(Box<Job>),
    /// The runtime in this folder, compiled.
    Runtime(PathBuf),
}

/// What a process says while it works, and at the end: `T`.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Tell<T> {
    /// It has begun with this.
    Stage(Stage),
    /// The scorer has logged something.
    Log { stream: LogStream, level: LogLevel, logger: String, text: String },
    /// The operator should know this.
    Warn(String),
    /// It has preloaded, and nothing of the rest has run: the blob is the state, without one it is not to be shared.
    Preloaded,
    /// It has done what it was asked for.
    Done(T),
    /// It cannot do it.
    Failed(SealError),
}

/// What the sealer has made.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Made {
    /// It is in the cache.
    Cached,
    /// It is in the blobs: of a scorer the header and the code, of a runtime the code and the library.
    Here,
}

/// A scorer that is to be sealed.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Job {
    owner: String,
    name: String,
    version: String,
    limits: Limits,
    environment: Vec<(String, String)>,
    files: Vec<String>,
    model_dir: Option<PathBuf>,
    /// The folder of a runtime; without one, the first blob is a component.
    runtime: Option<PathBuf>,
    preload: Option<Preload>,
}

impl Job {
    pub(super) fn of(candidate: &Candidate<'_>) -> Self {
        let bundle = candidate.bundle;
        Self {
            owner: bundle.owner.clone(),
            name: candidate.name.to_owned(),
            version: candidate.version.to_owned(),
            limits: candidate.limits.clone(),
            environment: bundle.environment.clone(),
            files: bundle.files.iter().map(|file| file.path.clone()).collect(),
            model_dir: bundle.model_dir.as_deref().map(Path::to_owned),
            runtime: match &bundle.code {
                Code::Component(_) => None,
                Code::Runtime(runtime) => Some(runtime.folder().to_owned()),
            },
            preload: bundle.preload.clone(),
        }
    }

    /// What goes with it: the component, if it is one, and the files.
    pub(super) fn blobs(bundle: &Bundle) -> Vec<&[u8]> {
        let component = match &bundle.code {
            Code::Component(component) => Some(component.as_slice()),
            Code::Runtime(_) => None,
        };
        component.into_iter().chain(bundle.files.iter().map(|file| file.contents.as_slice())).collect()
    }

    /// The other way round. Takes its blobs from the front. `runtime` opens the folder of one.
    pub(super) fn open(
        self,
        blobs: &mut impl Iterator<Item = Vec<u8>>,
        runtime: impl FnOnce(&Path) -> Result<Runtime, SealError>,
    ) -> Result<Opened, SealError> {
        let missing = || SealError::NoSealer("a message has too few parts".to_owned());
        let code = match &self.runtime {
            None => Code::Component(blobs.next().ok_or_else(missing)?),
            Some(folder) => Code::Runtime(runtime(folder)?),
        };
        let file = |path| Some(BundleFile { path, contents: blobs.next()? });
        let files = self.files.into_iter().map(file).collect::<Option<_>>().ok_or_else(missing)?;
        let Self { owner, environment, preload, .. } = self;
        let model_dir = self.model_dir.map(Arc::from);
        Ok(Opened {
            name: self.name,
            version: self.version,
            limits: self.limits,
            bundle: Bundle { owner, code, environment, files, model_dir, preload },
        })
    }
}

/// A [`Job`] and its blobs.
pub(super) struct Opened {
    name: String,
    version: String,
    pub(super) limits: Limits,
    pub(super) bundle: Bundle,
}

impl Opened {
    pub(super) fn candidate(&self) -> Candidate<'_> {
        Candidate { name: &self.name, version: &self.version, bundle: &self.bundle, limits: &self.limits }
    }
}

/// What a worker is started for. Its whole input is one frame: this, and the blobs that it says.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Work {
    pub(super) config: SandboxConfig,
    /// Bytes of memory that it may use.
    pub(super) memory: u64,
    /// Seconds of CPU that it may use.
    pub(super) cpu: u64,
    /// What it may read, where it confines itself.
    pub(super) readable: Option<Vec<PathBuf>>,
    pub(super) task: Task,
}

/// One step.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Task {
    /// To run `init`, and to ask a runtime for its schema. Blobs: those of the job, then those of the runtime. Answered with
    /// [`Initialised`] and the state.
    Initialise(Job, Option<RuntimePlaces>, Preloading),
    /// To compile the only blob. Answered with the native code.
    Compile,
    /// To ask a component for its schema. Blobs: the sealed code, those of the job. Answered with [`WrittenSchema`].
    Describe(Place, Job),
}

/// What becomes of what a job has preloaded.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Preloading {
    /// Nothing is preloaded.
    No,
    /// It is, and [`Tell::Preloaded`] is said.
    Yes,
    /// It has been, and the state is in this file.
    Found(PathBuf),
}

/// Where compiled code is.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Place {
    File(PathBuf),
    /// The next blob.
    Blob,
}

impl Place {
    pub(super) fn of(native: &Native) -> (Self, Option<&[u8]>) {
        match native {
            Native::File(path) => (Self::File(path.clone()), None),
            Native::Bytes(bytes) => (Self::Blob, Some(bytes)),
        }
    }

    pub(super) fn open(self, blobs: &mut impl Iterator<Item = Vec<u8>>) -> Native {
        match self {
            Self::File(path) => Native::File(path),
            Self::Blob => Native::Bytes(blobs.next().unwrap_or_default()),
        }
    }
}

/// Where the code and the library of a runtime are.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct RuntimePlaces(pub(super) Place, pub(super) Place);

impl RuntimePlaces {
    pub(super) fn open(self, blobs: &mut impl Iterator<Item = Vec<u8>>) -> RuntimeCode {
        RuntimeCode { code: self.0.open(blobs), library: self.1.open(blobs) }
    }
}

/// What a worker says about a snapshot.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Initialised {
    pub(super) interface: Interface,
    pub(super) bytes: u64,
    /// Of a runtime; its state is an image, and that of others a component.
    pub(super) schema: Option<WrittenSchema>,
}

/// Standard output, as what answers go to, and as a sink of what scorers log while they are sealed.
#[derive(Clone)]
pub(super) struct Told(Arc<Mutex<File>>);

impl Told {
    pub(super) fn stdout() -> io::Result<Self> {
        // Rust's own looks for the ends of lines.
        Ok(Self(Arc::new(Mutex::new(io::stdout().as_fd().try_clone_to_owned()?.into()))))
    }

    pub(super) fn tell<T: Serialize>(&self, tell: &Tell<T>, blobs: &[&[u8]]) -> io::Result<()> {
        write(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner), tell, blobs)
    }
}

impl LogSink for Told {
    fn write(&self, stream: LogStream, level: LogLevel, logger: &str, text: &str) {
        let (logger, text) = (logger.to_owned(), text.to_owned());
        // Where nobody listens, the answer cannot be said either, and then the process ends.
        let _ = self.tell::<()>(&Tell::Log { stream, level, logger, text }, &[]);
    }
}

/// Writes a frame: the length of the head, the number of blobs, the length of each, the head, the blobs. Of a blob what is not
/// zero: for each part where it begins, its length, and the part; at the end one without a length. What the other side would
/// not take is an error of the kind `InvalidData`, and nothing of it is written.
pub(super) fn write<T: Serialize>(to: &mut impl Write, head: &T, blobs: &[&[u8]]) -> io::Result<()> {
    let head = serde_json::to_vec(head)?;
    if head.len() as u64 > MAX_HEAD || blobs.len() as u64 > MAX_BLOBS {
        return Err(too_large());
    }
    for length in [head.len(), blobs.len()].into_iter().chain(blobs.iter().map(|blob| blob.len())) {
        to.write_all(&(length as u64).to_le_bytes())?;
    }
    to.write_all(&head)?;
    let mut part = |start: usize, part: &[u8]| {
        to.write_all(&[start as u64, part.len() as u64].map(u64::to_le_bytes).concat())?;
        to.write_all(part)
    };
    for blob in blobs {
        sparse::parts(blob).try_for_each(|(start, bytes)| part(start, bytes))?;
        part(0, &[])?;
    }
    to.flush()
}

/// Reads a frame whose blobs have at most `limit` bytes. `None` where the other side has ended between two frames.
pub(super) fn read<T: DeserializeOwned>(from: &mut impl BufRead, limit: u64) -> io::Result<Option<Frame<T>>> {
    if from.fill_buf()?.is_empty() {
        return Ok(None);
    }
    let (head, blobs) = (read_length(from)?, read_length(from)?);
    if head > MAX_HEAD || blobs > MAX_BLOBS {
        return Err(too_large());
    }
    let lengths = (0..blobs).map(|_| read_length(from)).collect::<io::Result<Vec<_>>>()?;
    let total = lengths.iter().try_fold(0_u64, |total, length| total.checked_add(*length));
    if total.is_none_or(|total| total > limit) {
        return Err(too_large());
    }
    let mut bytes = vec![0; head as usize];
    from.read_exact(&mut bytes)?;
    // The whole of it is there, so what is missing in it is no end of the other side.
    let head = serde_json::from_slice(&bytes).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
    let blobs = lengths.into_iter().map(|length| read_blob(from, length)).collect::<io::Result<_>>()?;
    Ok(Some((head, blobs)))
}

fn read_length(from: &mut impl Read) -> io::Result<u64> {
    let mut length = [0; 8];
    from.read_exact(&mut length)?;
    Ok(u64::from_le_bytes(length))
}

fn too_large() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "a message is larger than it may be")
}

/// Reads a blob of this length. Memory is set aside for what is announced, within reason, and taken as parts come.
fn read_blob(from: &mut impl Read, length: u64) -> io::Result<Vec<u8>> {
    let mut blob = vec![0; length.min(MAX_RESERVED) as usize];
    loop {
        let (start, part) = (read_length(from)?, read_length(from)?);
        if part == 0 {
            grow(&mut blob, length)?;
            return Ok(blob);
        }
        let end = start.checked_add(part).filter(|end| *end <= length).ok_or_else(too_large)?;
        grow(&mut blob, end)?;
        from.read_exact(&mut blob[start as usize..end as usize])?;
    }
}

/// Appends zeros where it is shorter.
fn grow(blob: &mut Vec<u8>, length: u64) -> io::Result<()> {
    let missing = (length as usize).saturating_sub(blob.len());
    blob.try_reserve(missing).map_err(|_| io::ErrorKind::OutOfMemory)?;
    blob.resize(blob.len() + missing, 0);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_comes_back_and_the_end_is_seen() {
        let mut bytes = Vec::new();
        write(&mut bytes, &("head", 1), &[b"a", b"", b"bc"]).unwrap();
        let mut from = bytes.as_slice();
        let (head, blobs) = read::<(String, u8)>(&mut from, 3).unwrap().unwrap();
        assert_eq!((head, blobs), (("head".to_owned(), 1), vec![b"a".to_vec(), Vec::new(), b"bc".to_vec()]));
        assert!(read::<()>(&mut from, 3).unwrap().is_none());
    }

    #[test]
    fn what_the_other_side_would_not_take_is_not_begun() {
        let mut bytes = Vec::new();
        let error = write(&mut bytes, &"x".repeat(MAX_HEAD as usize), &[]).unwrap_err();
        assert_eq!((error.kind(), bytes.len()), (io::ErrorKind::InvalidData, 0));
        write(&mut bytes, &"x".repeat(MAX_HEAD as usize - 2), &[]).unwrap();
        assert!(read::<String>(&mut bytes.as_slice(), 0).unwrap().is_some());
    }

    #[test]
    fn zeros_are_not_sent() {
        let mut blob = vec![0; 20 * sparse::BLOCK + 3];
        blob[7 * sparse::BLOCK + 5] = 1;
        let mut bytes = Vec::new();
        write(&mut bytes, &(), &[&blob, &[0; 5]]).unwrap();
        assert!(bytes.len() < 2 * sparse::BLOCK, "{} bytes", bytes.len());
        let ((), blobs) = read(&mut bytes.as_slice(), u64::MAX).unwrap().unwrap();
        assert!(blobs == [blob, vec![0; 5]]);
    }

    #[test]
    fn a_frame_that_is_too_large_or_cut_is_refused_and_takes_no_memory() {
        let mut bytes = Vec::new();
        write(&mut bytes, &(), &[b"abc"]).unwrap();
        assert!(read::<()>(&mut bytes.as_slice(), 2).is_err());
        for length in 1..bytes.len() {
            assert!(read::<()>(&mut &bytes[..length], 3).is_err(), "cut to {length}");
        }
        let huge = [u64::MAX.to_le_bytes(), 0_u64.to_le_bytes()].concat();
        assert!(read::<()>(&mut huge.as_slice(), u64::MAX).is_err());
        let huge = [2_u64, 2, u64::MAX, u64::MAX].map(u64::to_le_bytes).concat();
        assert!(read::<()>(&mut huge.as_slice(), u64::MAX).is_err());
        let null = b"null".to_vec();
        let announced = [4_u64, 1, 1 << 60].map(u64::to_le_bytes).concat();
        assert!(read::<()>(&mut [announced.clone(), null.clone()].concat().as_slice(), u64::MAX).is_err());
        for part in [[1 << 59, 5], [(1 << 60) - 1, 2], [u64::MAX, 2], [0, 0]] {
            let frame = [announced.clone(), null.clone(), part.map(u64::to_le_bytes).concat()].concat();
            assert!(read::<()>(&mut frame.as_slice(), u64::MAX).is_err(), "{part:?}");
        }
    }
}
