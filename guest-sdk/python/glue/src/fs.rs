//! A filesystem in memory: everything that Python can see of files, and the table of what it has open.
//!
//! All of it is plain data in one memory, so a snapshot of the memory is a snapshot of the filesystem with its open
//! files. Nothing here reaches outside: times are handed in, and the contents of library files are named, not held.
//!
//! The tree is read-only but for what is below `/tmp`, which starts empty and has limits. Paths are walked as POSIX
//! does it, with `..` of the root being the root. There are no links: each file has one name.

use std::collections::TryReserveError;

/// Descriptors that can be open at a time, streams and the root included.
pub const MAX_OPEN: usize = 1024;
/// Bytes of one name in a path.
pub const MAX_NAME: usize = 255;
/// Bytes of a whole path.
pub const MAX_PATH: usize = 4096;
/// All times of what is read-only, in nanoseconds since 1970: the begin of 1980, the earliest that a zip file can say.
pub const SEALED_TIME: u64 = 315_532_800 * 1_000_000_000;

/// The one directory that can be changed.
const TEMPORARY: &str = "tmp";
/// The largest position in a file, and the largest size, in bytes: both are signed numbers to C programs.
const MAX_POSITION: u64 = i64::MAX as u64;

/// What went wrong. The numbers are those of WASI preview 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u16)]
pub enum Errno {
    /// Not an open descriptor, or not open for this.
    Badf = 8,
    /// There is something of this name.
    Exist = 20,
    /// An address that is not in memory.
    Fault = 21,
    /// A position beyond what can be counted.
    Fbig = 22,
    /// A name that is not UTF-8.
    Ilseq = 25,
    /// An argument that makes no sense.
    Inval = 28,
    /// A directory where a file is needed.
    Isdir = 31,
    /// Too many open descriptors.
    Mfile = 33,
    /// A name or path that is too long.
    Nametoolong = 37,
    /// Nothing of this name.
    Noent = 44,
    /// A limit of `/tmp`, or of memory.
    Nospc = 51,
    /// Nobody is there to do it.
    Nosys = 52,
    /// A file where a directory is needed.
    Notdir = 54,
    /// A directory with something in it.
    Notempty = 55,
    /// A descriptor that is no socket.
    Notsock = 57,
    /// Not to be had here.
    Notsup = 58,
    /// Not below `/tmp`.
    Rofs = 69,
    /// A stream has no position.
    Spipe = 70,
}

/// The result of what can fail with an [`Errno`].
pub type Result<T> = std::result::Result<T, Errno>;

impl From<TryReserveError> for Errno {
    fn from(_: TryReserveError) -> Self {
        Self::Nospc
    }
}

/// How much of something there is in `/tmp`, or may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Space {
    /// Bytes of all files, holes included. What backs them in memory is at most twice as much.
    pub bytes: usize,
    /// Files and directories. One that was removed counts until it is closed.
    pub entries: usize,
}

/// What kind of thing a descriptor or a name stands for. The numbers are those of WASI preview 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum FileType {
    /// One of the standard streams.
    CharacterDevice = 2,
    /// A directory.
    Directory = 3,
    /// A file.
    RegularFile = 4,
}

/// The standard streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    /// Descriptor 0, which is empty.
    Input,
    /// Descriptor 1.
    Output,
    /// Descriptor 2.
    Error,
}

/// When something was used, in nanoseconds since 1970. Reading does not count as access.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Times {
    /// The last access, as far as a program has set it.
    pub accessed: u64,
    /// The last change of the contents.
    pub modified: u64,
    /// The last change of the contents, the name or the times.
    pub changed: u64,
}

impl Times {
    const fn all(time: u64) -> Self {
        Self { accessed: time, modified: time, changed: time }
    }
}

/// What `stat` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Metadata {
    /// 1 in the filesystem, 0 for a stream.
    pub device: u64,
    /// Never 0, the same as long as the thing exists, and of one thing only.
    pub inode: u64,
    /// What it is.
    pub file_type: FileType,
    /// Names: 1, or 0 once it was removed.
    pub links: u64,
    /// Bytes; 0 for what is not a file.
    pub size: u64,
    /// When it was used.
    pub times: Times,
}

/// What a descriptor is and how it was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Status {
    /// What it stands for.
    pub file_type: FileType,
    /// Bits of [`status_flags`].
    pub flags: u16,
    /// Whether it can be read.
    pub read: bool,
    /// Whether it can be written.
    pub write: bool,
}

/// Bits of [`OpenOptions::flags`]: those of WASI preview 1.
pub mod open_flags {
    /// Make the file if there is none.
    pub const CREATE: u16 = 1;
    /// It must be a directory.
    pub const DIRECTORY: u16 = 2;
    /// With `CREATE`: there must be none.
    pub const EXCLUSIVE: u16 = 4;
    /// Make it empty.
    pub const TRUNCATE: u16 = 8;
    /// All of them.
    pub const ALL: u16 = 15;
}

/// Bits of what a descriptor is set to: those of WASI preview 1. All but `APPEND` are kept and mean nothing here.
pub mod status_flags {
    /// Write at the end, wherever the position is.
    pub const APPEND: u16 = 1;
    /// All that there are.
    pub const ALL: u16 = 31;
}

/// How to open something.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct OpenOptions {
    /// For reading.
    pub read: bool,
    /// For writing.
    pub write: bool,
    /// Bits of [`open_flags`].
    pub flags: u16,
    /// Bits of [`status_flags`].
    pub status: u16,
}

/// A part of a file's contents.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Content<'a> {
    /// Bytes of the library, which is elsewhere.
    Library {
        /// Where they begin in the library.
        offset: u32,
        /// How many there are.
        len: u32,
    },
    /// These bytes.
    Bytes(&'a [u8]),
}

impl Content<'_> {
    /// How many bytes there are.
    pub fn len(&self) -> usize {
        match self {
            Self::Library { len, .. } => *len as usize,
            Self::Bytes(bytes) => bytes.len(),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Where to seek to, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seek {
    /// From the begin of the file.
    Start(i64),
    /// From the position.
    Current(i64),
    /// From the end of the file.
    End(i64),
}

/// One name in the list of a directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry<'a> {
    /// The cookie with which the list goes on after this name.
    pub next: u64,
    /// The inode of what has the name.
    pub inode: u64,
    /// What it is.
    pub file_type: FileType,
    /// The name: `.` and `..` too.
    pub name: &'a str,
}

/// The index of a node. Its inode number is one more.
type Index = usize;

const ROOT: Index = 0;

/// A file or directory.
#[derive(Debug)]
struct Node {
    /// The directory it is in: of the root and of what was removed, itself.
    parent: Index,
    /// Empty for the root.
    name: String,
    /// Its place in the list of its directory.
    cookie: u64,
    /// Whether it has its name: false once it was removed.
    linked: bool,
    /// Descriptors that are open on it.
    open: usize,
    /// Whether it is `/tmp` or below.
    writable: bool,
    times: Times,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    /// A place in the table that a new node can have.
    Free,
    Directory(Directory),
    Library {
        offset: u32,
        len: u32,
    },
    File(Vec<u8>),
}

/// What is in a directory, in two orders.
///
/// Vectors rather than maps: inserting moves a few bytes per entry, and room for it can be asked for beforehand.
#[derive(Debug, Default)]
struct Directory {
    /// For finding.
    by_name: Vec<Index>,
    /// For listing, by cookie. Cookies only grow, so a list goes on where it was whatever came or went meanwhile.
    by_age: Vec<Index>,
}

/// An open descriptor.
#[derive(Debug)]
enum Open {
    Stream { stream: Stream, flags: u16 },
    Node { node: Index, position: u64, read: bool, write: bool, preopen: bool, flags: u16 },
}

/// Where a path leads.
struct Place<'a> {
    /// The directory that the last name is in.
    parent: Index,
    /// The last name; empty when that is `.`, `..` or the root, which cannot be made, removed or renamed.
    name: &'a str,
    /// Whether a slash followed, so that it must be a directory.
    slash: bool,
    /// What is there.
    node: Option<Index>,
}

/// The filesystem with its open files.
///
/// Descriptors 0 to 2 are the streams, 3 is the root directory; a new descriptor gets the lowest number that is free.
/// `now` is always the time in nanoseconds since 1970.
#[derive(Debug)]
pub struct Fs {
    nodes: Vec<Node>,
    /// Nodes that are [`Kind::Free`]. It always has room for all, so giving one back cannot fail.
    free: Vec<Index>,
    descriptors: Vec<Option<Open>>,
    next_cookie: u64,
    used: Space,
    limit: Space,
}

/// For setting up.
impl Fs {
    /// An empty `/`, and an empty `/tmp` that may grow up to `limit`.
    pub fn new(limit: Space) -> Self {
        let root = Node {
            parent: ROOT,
            name: String::new(),
            cookie: 0,
            linked: true,
            open: 1,
            writable: false,
            times: Times::all(SEALED_TIME),
            kind: Kind::Directory(Directory::default()),
        };
        let stream = |stream| Some(Open::Stream { stream, flags: 0 });
        let mut fs = Self {
            nodes: vec![root],
            free: Vec::new(),
            descriptors: vec![
                stream(Stream::Input),
                stream(Stream::Output),
                stream(Stream::Error),
                Some(Open::Node { node: ROOT, position: 0, read: true, write: false, preopen: true, flags: 0 }),
            ],
            // 0 is the begin of a list, 1 and 2 are behind `.` and `..`.
            next_cookie: 3,
            used: Space { bytes: 0, entries: 0 },
            limit,
        };
        if let Ok(temporary) = fs.insert(ROOT, TEMPORARY, Kind::Directory(Directory::default()), SEALED_TIME) {
            fs.nodes[temporary].writable = true;
        }
        fs
    }

    /// Adds a read-only file whose contents are `len` bytes of the library from `offset` on.
    ///
    /// Directories on the way are made. `Exist`: the path is taken, `Notdir`: it leads through a file, `Inval`: it
    /// leads into `/tmp`, has `.`, `..` or an empty name in it, or the range ends beyond 4 GiB.
    pub fn add_library_file(&mut self, path: &str, offset: u32, len: u32) -> Result<()> {
        offset.checked_add(len).ok_or(Errno::Inval)?;
        self.add(path, Kind::Library { offset, len })
    }

    /// Adds a read-only file with these contents. Errors as with [`Fs::add_library_file`].
    pub fn add_file(&mut self, path: &str, contents: Vec<u8>) -> Result<()> {
        self.add(path, Kind::File(contents))
    }

    fn add(&mut self, path: &str, kind: Kind) -> Result<()> {
        let path = path.strip_prefix('/').unwrap_or(path);
        let (parents, name) = path.rsplit_once('/').map_or((None, path), |(parents, name)| (Some(parents), name));
        let mut at = ROOT;
        for name in parents.into_iter().flat_map(|parents| parents.split('/')) {
            at = match self.sealed_child(at, name)? {
                Some(child) => child,
                None => self.insert(at, name, Kind::Directory(Directory::default()), SEALED_TIME)?,
            };
        }
        if self.sealed_child(at, name)?.is_some() {
            return Err(Errno::Exist);
        }
        self.insert(at, name, kind, SEALED_TIME)?;
        Ok(())
    }

    fn sealed_child(&self, parent: Index, name: &str) -> Result<Option<Index>> {
        if matches!(name, "" | "." | "..") || name.contains('\0') || self.nodes[parent].writable {
            return Err(Errno::Inval);
        }
        self.child(parent, name)
    }
}

/// Names.
impl Fs {
    /// Opens what the path leads to from the directory `dir`, and gives its descriptor.
    ///
    /// A directory can be opened for reading only (`Isdir`), and so can what is read-only (`Rofs`). A file is made
    /// below `/tmp` only (`Rofs`).
    pub fn open(&mut self, dir: u32, path: &[u8], options: OpenOptions, now: u64) -> Result<u32> {
        use open_flags::{ALL, CREATE, DIRECTORY, EXCLUSIVE, TRUNCATE};
        let has = |flag| options.flags & flag != 0;
        if options.flags & !ALL != 0 || options.status & !status_flags::ALL != 0 || (has(CREATE) && has(DIRECTORY)) {
            return Err(Errno::Inval);
        }
        let place = self.walk(dir, path)?;
        let fd = self.free_descriptor()?;
        let node = match place.node {
            Some(_) if has(CREATE) && has(EXCLUSIVE) => return Err(Errno::Exist),
            Some(node) => {
                if self.is_directory(node) {
                    if options.write || has(CREATE) || has(TRUNCATE) {
                        return Err(Errno::Isdir);
                    }
                } else if has(DIRECTORY) {
                    return Err(Errno::Notdir);
                } else if (options.write || has(TRUNCATE)) && !self.nodes[node].writable {
                    return Err(Errno::Rofs);
                }
                if has(TRUNCATE) {
                    self.set_size(node, 0, now)?;
                }
                node
            }
            None if !has(CREATE) => return Err(Errno::Noent),
            None if place.slash => return Err(Errno::Isdir),
            None => self.create(&place, Kind::File(Vec::new()), now)?,
        };
        let OpenOptions { read, write, status: flags, .. } = options;
        self.nodes[node].open += 1;
        let open = Some(Open::Node { node, position: 0, read, write, preopen: false, flags });
        match self.descriptors.get_mut(fd) {
            Some(descriptor) => *descriptor = open,
            None => self.descriptors.push(open),
        }
        Ok(fd as u32)
    }

    /// Makes a directory.
    pub fn create_directory(&mut self, dir: u32, path: &[u8], now: u64) -> Result<()> {
        let place = self.walk(dir, path)?;
        if place.node.is_some() {
            return Err(Errno::Exist);
        }
        self.create(&place, Kind::Directory(Directory::default()), now)?;
        Ok(())
    }

    /// Removes a file. Its contents stay until it is closed.
    pub fn unlink(&mut self, dir: u32, path: &[u8], now: u64) -> Result<()> {
        let place = self.walk(dir, path)?;
        let node = place.node.ok_or(Errno::Noent)?;
        if self.is_directory(node) {
            return Err(Errno::Isdir);
        }
        self.remove(&place, node, now)
    }

    /// Removes an empty directory.
    pub fn remove_directory(&mut self, dir: u32, path: &[u8], now: u64) -> Result<()> {
        let place = self.walk(dir, path)?;
        let node = place.node.ok_or(Errno::Noent)?;
        if !self.is_directory(node) {
            return Err(Errno::Notdir);
        }
        self.remove(&place, node, now)
    }

    /// Gives something another name, in place of what has it.
    pub fn rename(&mut self, from_dir: u32, from: &[u8], to_dir: u32, to: &[u8], now: u64) -> Result<()> {
        let from = self.walk(from_dir, from)?;
        let to = self.walk(to_dir, to)?;
        let node = from.node.ok_or(Errno::Noent)?;
        if from.name.is_empty() || to.name.is_empty() {
            return Err(Errno::Inval);
        }
        self.check_writable(from.parent)?;
        self.check_writable(to.parent)?;
        if to.node == Some(node) {
            return Ok(());
        }
        let directory = self.is_directory(node);
        if directory && self.is_within(to.parent, node) {
            return Err(Errno::Inval);
        }
        match to.node {
            Some(target) if self.is_directory(target) && !directory => return Err(Errno::Isdir),
            Some(target) if !self.is_directory(target) && directory => return Err(Errno::Notdir),
            Some(target) if !self.is_empty(target) => return Err(Errno::Notempty),
            None if to.slash && !directory => return Err(Errno::Notdir),
            _ => {}
        }

        let name = owned(to.name)?;
        self.reserve_child(to.parent)?;
        if let Some(target) = to.node {
            self.detach(target, now);
            self.release(target);
        }
        self.detach(node, now);
        self.nodes[node].name = name;
        self.nodes[node].parent = to.parent;
        self.nodes[node].times.changed = now;
        self.attach(node, now);
        Ok(())
    }

    /// What `stat` says of what the path leads to.
    pub fn metadata_at(&self, dir: u32, path: &[u8]) -> Result<Metadata> {
        let node = self.walk(dir, path)?.node.ok_or(Errno::Noent)?;
        Ok(self.node_metadata(node))
    }

    /// Sets the times of what the path leads to; `None` leaves one as it is.
    pub fn set_times_at(
        &mut self,
        dir: u32,
        path: &[u8],
        accessed: Option<u64>,
        modified: Option<u64>,
        now: u64,
    ) -> Result<()> {
        let node = self.walk(dir, path)?.node.ok_or(Errno::Noent)?;
        self.set_node_times(node, accessed, modified, now)
    }

    /// Where a path leads. All but the last name must be there.
    fn walk<'a>(&self, dir: u32, path: &'a [u8]) -> Result<Place<'a>> {
        let mut at = self.directory(dir)?;
        if path.len() > MAX_PATH {
            return Err(Errno::Nametoolong);
        }
        let path = str::from_utf8(path).map_err(|_| Errno::Ilseq)?;
        if path.contains('\0') {
            return Err(Errno::Inval);
        }
        if path.is_empty() {
            return Err(Errno::Noent);
        }
        if path.starts_with('/') {
            at = ROOT;
        }
        let trimmed = path.trim_end_matches('/');
        let slash = trimmed.len() < path.len();
        let (parents, name) = trimmed.rsplit_once('/').unwrap_or(("", trimmed));
        for name in parents.split('/') {
            at = self.step(at, name)?.ok_or(Errno::Noent)?;
        }
        let node = self.step(at, name)?;
        if slash && node.is_some_and(|node| !self.is_directory(node)) {
            return Err(Errno::Notdir);
        }
        let name = if matches!(name, "." | "..") { "" } else { name };
        Ok(Place { parent: at, name, slash, node })
    }

    /// One name further.
    fn step(&self, at: Index, name: &str) -> Result<Option<Index>> {
        match name {
            "" | "." if self.is_directory(at) => Ok(Some(at)),
            // A directory that was removed is nowhere.
            ".." if self.is_directory(at) && !self.nodes[at].linked => Err(Errno::Noent),
            ".." if self.is_directory(at) => Ok(Some(self.nodes[at].parent)),
            _ => self.child(at, name),
        }
    }

    fn child(&self, parent: Index, name: &str) -> Result<Option<Index>> {
        let Kind::Directory(directory) = &self.nodes[parent].kind else { return Err(Errno::Notdir) };
        if name.len() > MAX_NAME {
            return Err(Errno::Nametoolong);
        }
        Ok(self.search(directory, name).ok().map(|at| directory.by_name[at]))
    }

    /// Where a name is in [`Directory::by_name`], or where it would be.
    fn search(&self, directory: &Directory, name: &str) -> std::result::Result<usize, usize> {
        directory.by_name.binary_search_by(|&node| self.nodes[node].name.as_str().cmp(name))
    }

    fn is_directory(&self, node: Index) -> bool {
        matches!(self.nodes[node].kind, Kind::Directory(_))
    }

    /// False for a directory with something in it.
    fn is_empty(&self, node: Index) -> bool {
        !matches!(&self.nodes[node].kind, Kind::Directory(directory) if !directory.by_name.is_empty())
    }

    /// Whether a directory is another one or below it.
    fn is_within(&self, mut directory: Index, other: Index) -> bool {
        while directory != other {
            let parent = self.nodes[directory].parent;
            if parent == directory {
                return false;
            }
            directory = parent;
        }
        true
    }

    /// Whether names can be added to a directory, or taken from it.
    fn check_writable(&self, directory: Index) -> Result<()> {
        match &self.nodes[directory] {
            node if !node.writable => Err(Errno::Rofs),
            node if !node.linked => Err(Errno::Noent),
            _ => Ok(()),
        }
    }

    fn create(&mut self, place: &Place<'_>, kind: Kind, now: u64) -> Result<Index> {
        self.check_writable(place.parent)?;
        if self.used.entries >= self.limit.entries {
            return Err(Errno::Nospc);
        }
        let node = self.insert(place.parent, place.name, kind, now)?;
        self.used.entries += 1;
        Ok(node)
    }

    fn remove(&mut self, place: &Place<'_>, node: Index, now: u64) -> Result<()> {
        if place.name.is_empty() {
            return Err(Errno::Inval);
        }
        self.check_writable(place.parent)?;
        if !self.is_empty(node) {
            return Err(Errno::Notempty);
        }
        self.detach(node, now);
        self.nodes[node].times.changed = now;
        self.release(node);
        Ok(())
    }

    /// A new node. It is as writable as its directory.
    fn insert(&mut self, parent: Index, name: &str, kind: Kind, now: u64) -> Result<Index> {
        let name = owned(name)?;
        self.reserve_child(parent)?;
        let node = Node {
            parent,
            name,
            cookie: 0,
            linked: false,
            open: 0,
            writable: self.nodes[parent].writable,
            times: Times::all(now),
            kind,
        };
        let index = if let Some(index) = self.free.pop() {
            self.nodes[index] = node;
            index
        } else {
            self.nodes.try_reserve(1)?;
            self.free.try_reserve(self.nodes.len() + 1)?;
            self.nodes.push(node);
            self.nodes.len() - 1
        };
        self.attach(index, now);
        Ok(index)
    }

    /// Makes room for one more entry, so that [`Fs::attach`] cannot fail.
    fn reserve_child(&mut self, directory: Index) -> Result<()> {
        let Kind::Directory(directory) = &mut self.nodes[directory].kind else { return Err(Errno::Notdir) };
        directory.by_name.try_reserve(1)?;
        directory.by_age.try_reserve(1)?;
        Ok(())
    }

    /// Puts a node into the lists of its directory.
    fn attach(&mut self, node: Index, now: u64) {
        let parent = self.nodes[node].parent;
        let Kind::Directory(directory) = &self.nodes[parent].kind else { return };
        let (Ok(at) | Err(at)) = self.search(directory, &self.nodes[node].name);
        if let Kind::Directory(directory) = &mut self.nodes[parent].kind {
            directory.by_name.insert(at, node);
            directory.by_age.push(node);
        }
        self.touch(parent, now);
        self.nodes[node].linked = true;
        self.nodes[node].cookie = self.next_cookie;
        self.next_cookie += 1;
    }

    /// Takes a node out of the lists of its directory.
    fn detach(&mut self, node: Index, now: u64) {
        let Node { parent, cookie, .. } = self.nodes[node];
        let Kind::Directory(directory) = &self.nodes[parent].kind else { return };
        let by_name = self.search(directory, &self.nodes[node].name);
        let by_age = directory.by_age.binary_search_by_key(&cookie, |&node| self.nodes[node].cookie);
        if let (Kind::Directory(directory), Ok(by_name), Ok(by_age)) = (&mut self.nodes[parent].kind, by_name, by_age) {
            directory.by_name.remove(by_name);
            directory.by_age.remove(by_age);
        }
        self.touch(parent, now);
        self.nodes[node].linked = false;
        self.nodes[node].parent = node;
    }

    /// Notes that the contents of a node have changed.
    fn touch(&mut self, node: Index, now: u64) {
        let Node { writable, times, .. } = &mut self.nodes[node];
        if *writable {
            times.modified = now;
            times.changed = now;
        }
    }

    /// Gives up a node that has no name and is not open.
    fn release(&mut self, node: Index) {
        let Node { linked: false, open: 0, kind, name, .. } = &mut self.nodes[node] else { return };
        if let Kind::File(contents) = kind {
            self.used.bytes -= contents.len();
        }
        self.used.entries -= 1;
        *kind = Kind::Free;
        *name = String::new();
        self.free.push(node);
    }
}

/// Descriptors.
impl Fs {
    /// Closes a descriptor.
    pub fn close(&mut self, fd: u32) -> Result<()> {
        let open = self.descriptors.get_mut(fd as usize).and_then(Option::take).ok_or(Errno::Badf)?;
        if let Open::Node { node, .. } = open {
            self.nodes[node].open -= 1;
            self.release(node);
        }
        Ok(())
    }

    /// Which stream a descriptor is, if it is one.
    pub fn stream(&self, fd: u32) -> Result<Option<Stream>> {
        match self.descriptor(fd)? {
            Open::Stream { stream, .. } => Ok(Some(*stream)),
            Open::Node { .. } => Ok(None),
        }
    }

    /// Whether a descriptor is the root directory as it was open from the begin.
    pub fn is_preopen(&self, fd: u32) -> Result<bool> {
        Ok(matches!(self.descriptor(fd)?, Open::Node { preopen: true, .. }))
    }

    /// What a descriptor is and how it was opened.
    pub fn status(&self, fd: u32) -> Result<Status> {
        Ok(match *self.descriptor(fd)? {
            Open::Stream { stream, flags } => Status {
                file_type: FileType::CharacterDevice,
                flags,
                read: stream == Stream::Input,
                write: stream != Stream::Input,
            },
            Open::Node { node, read, write, flags, .. } => {
                Status { file_type: self.file_type(node), flags, read, write }
            }
        })
    }

    /// Sets the [`status_flags`] of a descriptor.
    pub fn set_flags(&mut self, fd: u32, new: u16) -> Result<()> {
        let (Open::Stream { flags, .. } | Open::Node { flags, .. }) = self.descriptor_mut(fd)?;
        if new & !status_flags::ALL != 0 {
            return Err(Errno::Inval);
        }
        *flags = new;
        Ok(())
    }

    /// What `stat` says of what is open.
    pub fn metadata(&self, fd: u32) -> Result<Metadata> {
        Ok(match *self.descriptor(fd)? {
            Open::Node { node, .. } => self.node_metadata(node),
            Open::Stream { stream, .. } => Metadata {
                device: 0,
                inode: stream as u64 + 1,
                file_type: FileType::CharacterDevice,
                links: 1,
                size: 0,
                times: Times::all(0),
            },
        })
    }

    /// Sets the times of what is open; `None` leaves one as it is.
    pub fn set_times(&mut self, fd: u32, accessed: Option<u64>, modified: Option<u64>, now: u64) -> Result<()> {
        match *self.descriptor(fd)? {
            Open::Node { node, .. } => self.set_node_times(node, accessed, modified, now),
            Open::Stream { .. } => Err(Errno::Inval),
        }
    }

    /// Up to `max` bytes of a file from `at` on, or from its position on, which stays where it is.
    pub fn content(&self, fd: u32, at: Option<u64>, max: usize) -> Result<Content<'_>> {
        let (node, position) = match *self.descriptor(fd)? {
            Open::Stream { .. } if at.is_some() => return Err(Errno::Spipe),
            Open::Stream { stream: Stream::Input, .. } => return Ok(Content::Bytes(&[])),
            Open::Node { node, .. } if self.is_directory(node) => return Err(Errno::Isdir),
            Open::Node { node, position, read: true, .. } => (node, position),
            _ => return Err(Errno::Badf),
        };
        let start = at.unwrap_or(position);
        if start > MAX_POSITION {
            return Err(Errno::Inval);
        }
        let rest = self.size(node).saturating_sub(start);
        if rest == 0 {
            return Ok(Content::Bytes(&[]));
        }
        // Both fit now: the position is within the file, and what is left is not more than the file.
        let (start, len) = (start as usize, max.min(rest as usize));
        Ok(match &self.nodes[node].kind {
            Kind::Library { offset, .. } => Content::Library { offset: offset + start as u32, len: len as u32 },
            Kind::File(contents) => Content::Bytes(&contents[start..start + len]),
            Kind::Directory(_) | Kind::Free => Content::Bytes(&[]),
        })
    }

    /// Moves the position of a file on by what was read. Of what has none, nothing is moved.
    pub fn advance(&mut self, fd: u32, by: usize) -> Result<()> {
        if let Open::Node { position, .. } = self.descriptor_mut(fd)? {
            *position = position.saturating_add(by as u64);
        }
        Ok(())
    }

    /// Writes `len` bytes at `at`, which leaves the position as it is, or at the position, or at the end for one that
    /// appends. `fill` writes them, over whatever is there; when it fails, the file is as long as it was.
    ///
    /// All or nothing: what does not fit is `Nospc`.
    pub fn write(
        &mut self,
        fd: u32,
        at: Option<u64>,
        len: usize,
        now: u64,
        fill: impl FnOnce(&mut [u8]) -> Result<()>,
    ) -> Result<()> {
        let (node, position, appends) = match *self.descriptor(fd)? {
            Open::Stream { .. } if at.is_some() => return Err(Errno::Spipe),
            Open::Node { node, position, write: true, flags, .. } => {
                (node, position, flags & status_flags::APPEND != 0)
            }
            _ => return Err(Errno::Badf),
        };
        let before = self.size(node);
        let start = at.unwrap_or(if appends { before } else { position });
        if start > MAX_POSITION {
            return Err(Errno::Inval);
        }
        if len == 0 {
            return Ok(());
        }
        let end = start.checked_add(len as u64).filter(|end| *end <= MAX_POSITION).ok_or(Errno::Fbig)?;
        if end > before {
            self.set_size(node, end, now)?;
        }
        let Kind::File(contents) = &mut self.nodes[node].kind else { return Err(Errno::Badf) };
        // Both fit: the file is at least that long now.
        if let Err(error) = fill(&mut contents[start as usize..end as usize]) {
            self.set_size(node, before, now)?;
            return Err(error);
        }
        self.touch(node, now);
        if at.is_none()
            && let Open::Node { position, .. } = self.descriptor_mut(fd)?
        {
            *position = end;
        }
        Ok(())
    }

    /// Cuts a file off at `size` bytes, or fills it up with zeros.
    pub fn resize(&mut self, fd: u32, size: u64, now: u64) -> Result<()> {
        match *self.descriptor(fd)? {
            Open::Node { node, write: true, .. } if size <= MAX_POSITION => self.set_size(node, size, now),
            _ => Err(Errno::Inval),
        }
    }

    /// Moves the position of a file, and gives the new one.
    pub fn seek(&mut self, fd: u32, to: Seek) -> Result<u64> {
        let (node, position) = match *self.descriptor(fd)? {
            Open::Stream { .. } => return Err(Errno::Spipe),
            Open::Node { node, .. } if self.is_directory(node) => return Err(Errno::Badf),
            Open::Node { node, position, .. } => (node, position),
        };
        let (base, offset) = match to {
            Seek::Start(offset) => (0, offset),
            Seek::Current(offset) => (position, offset),
            Seek::End(offset) => (self.size(node), offset),
        };
        let new = base.checked_add_signed(offset).filter(|new| *new <= MAX_POSITION).ok_or(Errno::Inval)?;
        if let Open::Node { position, .. } = self.descriptor_mut(fd)? {
            *position = new;
        }
        Ok(new)
    }

    /// The names in a directory from a cookie on; 0 is the begin.
    ///
    /// A name that is there all the time is listed once, whatever comes and goes between two calls.
    pub fn entries(&self, fd: u32, cookie: u64) -> Result<impl Iterator<Item = Entry<'_>>> {
        let at = match *self.descriptor(fd)? {
            Open::Node { node, .. } => node,
            Open::Stream { .. } => return Err(Errno::Notdir),
        };
        let Kind::Directory(directory) = &self.nodes[at].kind else { return Err(Errno::Notdir) };
        let entry = |next, node, name| Entry { next, inode: inode(node), file_type: self.file_type(node), name };
        let own = [entry(1, at, "."), entry(2, self.nodes[at].parent, "..")];
        let seen = directory.by_age.partition_point(|&node| self.nodes[node].cookie <= cookie);
        let others = directory.by_age[seen..].iter().map(move |&node| {
            let Node { cookie, name, .. } = &self.nodes[node];
            entry(*cookie, node, name)
        });
        Ok(own.into_iter().filter(move |entry| entry.next > cookie).chain(others))
    }

    /// What is used of the limits.
    pub fn used(&self) -> Space {
        self.used
    }

    fn descriptor(&self, fd: u32) -> Result<&Open> {
        self.descriptors.get(fd as usize).and_then(Option::as_ref).ok_or(Errno::Badf)
    }

    fn descriptor_mut(&mut self, fd: u32) -> Result<&mut Open> {
        self.descriptors.get_mut(fd as usize).and_then(Option::as_mut).ok_or(Errno::Badf)
    }

    /// The lowest descriptor that is free. One more than there are has its room.
    fn free_descriptor(&mut self) -> Result<usize> {
        match self.descriptors.iter().position(Option::is_none) {
            Some(fd) => Ok(fd),
            None if self.descriptors.len() >= MAX_OPEN => Err(Errno::Mfile),
            None => {
                self.descriptors.try_reserve(1)?;
                Ok(self.descriptors.len())
            }
        }
    }

    /// The directory that paths are relative to.
    fn directory(&self, fd: u32) -> Result<Index> {
        match *self.descriptor(fd)? {
            Open::Node { node, .. } if self.is_directory(node) => Ok(node),
            _ => Err(Errno::Notdir),
        }
    }

    fn file_type(&self, node: Index) -> FileType {
        if self.is_directory(node) { FileType::Directory } else { FileType::RegularFile }
    }

    fn size(&self, node: Index) -> u64 {
        match &self.nodes[node].kind {
            Kind::Library { len, .. } => u64::from(*len),
            Kind::File(contents) => contents.len() as u64,
            Kind::Directory(_) | Kind::Free => 0,
        }
    }

    fn node_metadata(&self, node: Index) -> Metadata {
        let Node { linked, times, .. } = &self.nodes[node];
        Metadata {
            device: 1,
            inode: inode(node),
            file_type: self.file_type(node),
            links: u64::from(*linked),
            size: self.size(node),
            times: *times,
        }
    }

    fn set_node_times(&mut self, node: Index, accessed: Option<u64>, modified: Option<u64>, now: u64) -> Result<()> {
        let Node { writable: true, times, .. } = &mut self.nodes[node] else { return Err(Errno::Rofs) };
        *times = Times {
            accessed: accessed.unwrap_or(times.accessed),
            modified: modified.unwrap_or(times.modified),
            changed: now,
        };
        Ok(())
    }

    /// Sets the size of a file of `/tmp`.
    fn set_size(&mut self, node: Index, size: u64, now: u64) -> Result<()> {
        let Node { writable: true, kind: Kind::File(contents), .. } = &mut self.nodes[node] else {
            return Err(Errno::Inval);
        };
        let size = usize::try_from(size).map_err(|_| Errno::Nospc)?;
        let before = contents.len();
        if size > before {
            // The file may have what no other file has.
            let most = before + (self.limit.bytes - self.used.bytes);
            if size > most {
                return Err(Errno::Nospc);
            }
            if size > contents.capacity() {
                // Ahead of time, so that many small writes do not move the file as many times, but not over the limit.
                let ahead = contents.capacity().saturating_mul(2).clamp(size, most);
                if contents.try_reserve_exact(ahead - before).is_err() {
                    contents.try_reserve_exact(size - before)?;
                }
            }
            contents.resize(size, 0);
        } else {
            contents.truncate(size);
            // What is not counted any more is not kept either.
            if contents.capacity() / 2 > size {
                contents.shrink_to(size);
            }
        }
        self.used.bytes = self.used.bytes - before + size;
        self.touch(node, now);
        Ok(())
    }
}

/// The number by which programs know a node. They take 0 for one that is not known.
fn inode(node: Index) -> u64 {
    node as u64 + 1
}

fn owned(name: &str) -> Result<String> {
    let mut owned = String::new();
    owned.try_reserve_exact(name.len())?;
    owned.push_str(name);
    Ok(owned)
}

#[cfg(test)]
mod tests {
    use super::open_flags::{CREATE, DIRECTORY, EXCLUSIVE, TRUNCATE};
    use super::*;

    const DIR: u32 = 3;
    const READ: OpenOptions = OpenOptions { read: true, write: false, flags: 0, status: 0 };
    const WRITE: OpenOptions = OpenOptions { read: true, write: true, flags: 0, status: 0 };
    const NEW: OpenOptions = OpenOptions { read: true, write: true, flags: CREATE, status: 0 };

    fn example() -> Fs {
        let mut fs = Fs::new(Space { bytes: 1000, entries: 10 });
        fs.add_library_file("/lib/python.zip", 100, 50).unwrap();
        fs.add_library_file("/lib/empty", 150, 0).unwrap();
        fs.add_file("app/score.py", b"import json".to_vec()).unwrap();
        fs.add_file("/app/model/weights", vec![7; 300]).unwrap();
        fs
    }

    fn make(fs: &mut Fs, path: &str, contents: &[u8]) -> u32 {
        let fd = fs.open(DIR, path.as_bytes(), NEW, 1).unwrap();
        put(fs, fd, None, contents).unwrap();
        fd
    }

    fn put(fs: &mut Fs, fd: u32, at: Option<u64>, contents: &[u8]) -> Result<()> {
        fs.write(fd, at, contents.len(), 2, |buffer| {
            buffer.copy_from_slice(contents);
            Ok(())
        })
    }

    fn get(fs: &Fs, fd: u32) -> Vec<u8> {
        match fs.content(fd, Some(0), usize::MAX).unwrap() {
            Content::Bytes(bytes) => bytes.to_vec(),
            library @ Content::Library { .. } => panic!("{library:?}"),
        }
    }

    fn exists(fs: &Fs, path: &str) -> bool {
        fs.metadata_at(DIR, path.as_bytes()).is_ok()
    }

    fn names(fs: &mut Fs, path: &str) -> Vec<String> {
        let fd = fs.open(DIR, path.as_bytes(), READ, 0).unwrap();
        let names = fs.entries(fd, 0).unwrap().map(|entry| entry.name.to_owned()).collect();
        fs.close(fd).unwrap();
        names
    }

    impl Fs {
        /// Panics where something that should always be true is not.
        fn check(&self) {
            let mut used = Space { bytes: 0, entries: 0 };
            for (index, node) in self.nodes.iter().enumerate() {
                if matches!(node.kind, Kind::Free) {
                    assert_eq!(self.free.iter().filter(|free| **free == index).count(), 1);
                    continue;
                }
                let open = self.descriptors.iter().flatten();
                assert_eq!(
                    node.open,
                    open.filter(|open| matches!(open, Open::Node { node, .. } if *node == index)).count()
                );
                if node.linked && index != ROOT {
                    let Kind::Directory(parent) = &self.nodes[node.parent].kind else { panic!("no directory") };
                    assert_eq!(parent.by_name.iter().filter(|child| **child == index).count(), 1);
                } else {
                    assert!(node.parent == index && node.open + usize::from(node.linked) > 0, "{index}: {node:?}");
                }
                if let Kind::Directory(Directory { by_name, by_age }) = &node.kind {
                    assert!(by_name.is_sorted_by(|a, b| self.nodes[*a].name < self.nodes[*b].name));
                    assert!(by_age.is_sorted_by(|a, b| self.nodes[*a].cookie < self.nodes[*b].cookie));
                    assert_eq!(by_name.len(), by_age.len());
                    assert!(by_name.iter().all(|child| self.nodes[*child].parent == index));
                    assert!(node.linked || by_name.is_empty());
                }
                if node.writable && node.name != TEMPORARY {
                    used.entries += 1;
                }
                if let Kind::File(contents) = &node.kind
                    && node.writable
                {
                    used.bytes += contents.len();
                    assert!(contents.capacity() <= 2 * contents.len() + 1);
                }
            }
            assert_eq!(self.used, used);
            assert!(used.bytes <= self.limit.bytes && used.entries <= self.limit.entries);
            assert!(self.free.capacity() >= self.nodes.len() - 1);
        }

        fn close_all(&mut self) {
            for fd in DIR + 1..MAX_OPEN as u32 {
                self.close(fd).ok();
            }
        }

        fn remove_all(&mut self, path: &str) {
            for name in names(self, path).iter().skip(2) {
                let path = format!("{path}/{name}");
                if self.unlink(DIR, path.as_bytes(), 0) == Err(Errno::Isdir) {
                    self.remove_all(&path);
                    self.remove_directory(DIR, path.as_bytes(), 0).unwrap();
                }
            }
        }
    }

    #[test]
    fn files_are_added_with_their_directories() {
        let mut fs = example();
        fs.check();
        assert_eq!(names(&mut fs, "/"), [".", "..", "tmp", "lib", "app"]);
        assert_eq!(names(&mut fs, "/app"), [".", "..", "score.py", "model"]);
        assert_eq!(names(&mut fs, "/tmp"), [".", ".."]);
        for (path, error) in [
            ("/app/score.py", Errno::Exist),
            ("/app/model", Errno::Exist),
            ("/app/score.py/x", Errno::Notdir),
            ("/tmp/x", Errno::Inval),
            ("/tmp/x/y", Errno::Inval),
            ("/app//x", Errno::Inval),
            ("/app/../x", Errno::Inval),
            ("/app/./x", Errno::Inval),
            ("/app/", Errno::Inval),
            ("", Errno::Inval),
            ("/", Errno::Inval),
            ("a\0b", Errno::Inval),
        ] {
            assert_eq!(fs.add_file(path, Vec::new()), Err(error), "{path:?}");
            assert_eq!(fs.add_library_file(path, 0, 0), Err(error), "{path:?}");
        }
        assert_eq!(fs.add_library_file("/big", u32::MAX, 1), Err(Errno::Inval));
        assert_eq!(fs.add_file(&"x".repeat(256), Vec::new()), Err(Errno::Nametoolong));
        fs.check();
    }

    #[test]
    fn read_only_files_are_read() {
        let mut fs = example();
        let zip = fs.open(DIR, b"lib/python.zip", READ, 0).unwrap();
        assert_eq!(fs.content(zip, None, 20), Ok(Content::Library { offset: 100, len: 20 }));
        fs.advance(zip, 20).unwrap();
        assert_eq!(fs.content(zip, None, 100), Ok(Content::Library { offset: 120, len: 30 }));
        assert_eq!(fs.content(zip, Some(49), 100), Ok(Content::Library { offset: 149, len: 1 }));
        assert_eq!(fs.content(zip, Some(50), 100), Ok(Content::Bytes(&[])));
        assert_eq!(fs.content(zip, Some(u64::MAX), 100), Err(Errno::Inval));
        assert_eq!(fs.metadata(zip).unwrap().size, 50);

        let score = fs.open(DIR, b"app/score.py", READ, 0).unwrap();
        assert_eq!(fs.content(score, Some(7), 2), Ok(Content::Bytes(b"js")));
        assert_eq!(get(&fs, score), b"import json");
        let empty = fs.open(DIR, b"lib/empty", READ, 0).unwrap();
        assert!(fs.content(empty, None, 9).unwrap().is_empty());
        let app = fs.open(DIR, b"app", READ, 0).unwrap();
        assert_eq!(fs.content(app, None, 9), Err(Errno::Isdir));
        assert_eq!(fs.content(0, None, 9), Ok(Content::Bytes(&[])));
        assert_eq!(fs.content(0, Some(0), 9), Err(Errno::Spipe));
        assert_eq!(fs.content(1, None, 9), Err(Errno::Badf));
        assert_eq!(fs.content(99, None, 9), Err(Errno::Badf));
    }

    #[test]
    fn outside_of_tmp_nothing_can_be_changed() {
        let mut fs = example();
        make(&mut fs, "tmp/x", b"");
        let open = |fs: &mut Fs, path: &str, flags, write| {
            fs.open(DIR, path.as_bytes(), OpenOptions { read: true, write, flags, status: 0 }, 0)
        };
        for path in ["app/score.py", "lib/python.zip"] {
            assert_eq!(open(&mut fs, path, 0, true), Err(Errno::Rofs));
            assert_eq!(open(&mut fs, path, TRUNCATE, false), Err(Errno::Rofs));
            assert_eq!(open(&mut fs, path, CREATE | EXCLUSIVE, true), Err(Errno::Exist));
            assert!(open(&mut fs, path, CREATE, false).is_ok());
            assert_eq!(fs.unlink(DIR, path.as_bytes(), 0), Err(Errno::Rofs));
            assert_eq!(fs.rename(DIR, path.as_bytes(), DIR, b"tmp/y", 0), Err(Errno::Rofs));
            assert_eq!(fs.rename(DIR, b"tmp/x", DIR, path.as_bytes(), 0), Err(Errno::Rofs));
            assert_eq!(fs.set_times_at(DIR, path.as_bytes(), Some(0), None, 0), Err(Errno::Rofs));
            assert_eq!(fs.remove_directory(DIR, path.as_bytes(), 0), Err(Errno::Notdir));
            assert_eq!(fs.create_directory(DIR, path.as_bytes(), 0), Err(Errno::Exist));
        }
        for path in ["new", "app/new"] {
            assert_eq!(open(&mut fs, path, CREATE, true), Err(Errno::Rofs));
            assert_eq!(open(&mut fs, path, 0, true), Err(Errno::Noent));
            assert_eq!(fs.create_directory(DIR, path.as_bytes(), 0), Err(Errno::Rofs));
            assert_eq!(fs.unlink(DIR, path.as_bytes(), 0), Err(Errno::Noent));
            assert_eq!(fs.remove_directory(DIR, path.as_bytes(), 0), Err(Errno::Noent));
            assert_eq!(fs.rename(DIR, path.as_bytes(), DIR, b"tmp/y", 0), Err(Errno::Noent));
            assert_eq!(fs.rename(DIR, b"tmp/x", DIR, path.as_bytes(), 0), Err(Errno::Rofs));
        }
        assert_eq!(open(&mut fs, "nowhere/new", CREATE, true), Err(Errno::Noent));
        assert_eq!(open(&mut fs, "app", 0, true), Err(Errno::Isdir));
        assert_eq!(fs.unlink(DIR, b"app", 0), Err(Errno::Isdir));
        assert_eq!(fs.remove_directory(DIR, b"app/model", 0), Err(Errno::Rofs));
        assert_eq!(fs.remove_directory(DIR, b"tmp", 0), Err(Errno::Rofs));
        assert_eq!(fs.rename(DIR, b"tmp", DIR, b"tmp2", 0), Err(Errno::Rofs));
        assert_eq!(fs.metadata_at(DIR, b"app").unwrap().times, Times::all(SEALED_TIME));
        assert_eq!(fs.metadata_at(DIR, b"app/score.py").unwrap().times, Times::all(SEALED_TIME));
        fs.check();
    }

    #[test]
    fn paths_are_walked_as_posix_does() {
        let mut fs = example();
        fs.create_directory(DIR, b"tmp/d", 0).unwrap();
        make(&mut fs, "tmp/d/f", b"");
        let d = fs.open(DIR, b"tmp/d", READ, 0).unwrap();
        let app = fs.metadata_at(DIR, b"app").unwrap();
        for path in [
            "app",
            "/app",
            "//app",
            "app/",
            "app//",
            "./app",
            "../app",
            "../../app",
            "/..//./app/.",
            "tmp/../app",
            "app/model/..",
        ] {
            assert_eq!(fs.metadata_at(DIR, path.as_bytes()), Ok(app), "{path}");
        }
        assert_eq!(fs.metadata_at(d, b"../../app"), Ok(app));
        assert_eq!(fs.metadata_at(d, b"/app"), Ok(app));
        assert_eq!(fs.metadata_at(d, b"../../../.."), fs.metadata_at(DIR, b"."));
        let long = "x".repeat(MAX_NAME + 1);
        let longer = "./".repeat(MAX_PATH / 2) + "x";
        for (path, error) in [
            ("", Errno::Noent),
            ("nowhere/..", Errno::Noent),
            ("nowhere/x", Errno::Noent),
            ("nowhere/", Errno::Noent),
            ("app/score.py/", Errno::Notdir),
            ("app/score.py/.", Errno::Notdir),
            ("app/score.py/..", Errno::Notdir),
            ("app/score.py/x", Errno::Notdir),
            ("a\0b", Errno::Inval),
            (&long, Errno::Nametoolong),
            (&longer, Errno::Nametoolong),
        ] {
            assert_eq!(fs.metadata_at(DIR, path.as_bytes()), Err(error), "{path}");
        }
        assert_eq!(fs.metadata_at(DIR, b"app/\xff"), Err(Errno::Ilseq));
        assert_eq!(fs.metadata_at(DIR, &long.as_bytes()[1..]), Err(Errno::Noent));
        assert_eq!(fs.metadata_at(DIR, &longer.as_bytes()[1..]), Err(Errno::Noent));
        let file = fs.open(DIR, b"app/score.py", READ, 0).unwrap();
        assert_eq!(fs.metadata_at(file, b"x"), Err(Errno::Notdir));
        assert_eq!(fs.metadata_at(0, b"x"), Err(Errno::Notdir));
        assert_eq!(fs.metadata_at(99, b"x"), Err(Errno::Badf));

        for (path, error) in [("tmp/.", Errno::Inval), ("tmp/d/..", Errno::Inval), ("/", Errno::Inval)] {
            assert_eq!(fs.remove_directory(DIR, path.as_bytes(), 0), Err(error));
            assert_eq!(fs.unlink(DIR, path.as_bytes(), 0), Err(Errno::Isdir));
            assert_eq!(fs.create_directory(DIR, path.as_bytes(), 0), Err(Errno::Exist));
            assert_eq!(fs.rename(DIR, path.as_bytes(), DIR, b"tmp/x", 0), Err(error));
            assert_eq!(fs.rename(DIR, b"tmp/d", DIR, path.as_bytes(), 0), Err(error));
        }
        assert_eq!(fs.open(DIR, b"tmp/new/", NEW, 0), Err(Errno::Isdir));
        fs.create_directory(DIR, b"tmp/new/", 0).unwrap();
        fs.check();
    }

    #[test]
    fn opening_checks_what_is_there() {
        let mut fs = example();
        make(&mut fs, "tmp/f", b"contents");
        fs.create_directory(DIR, b"tmp/d", 0).unwrap();
        let mut open = |path: &str, flags, write, status| {
            fs.open(DIR, path.as_bytes(), OpenOptions { read: true, write, flags, status }, 0).err()
        };
        assert_eq!(open("tmp/f", CREATE | EXCLUSIVE, true, 0), Some(Errno::Exist));
        assert_eq!(open("tmp/d", CREATE | EXCLUSIVE, true, 0), Some(Errno::Exist));
        assert_eq!(open("tmp/d", CREATE, false, 0), Some(Errno::Isdir));
        assert_eq!(open("tmp/d", TRUNCATE, false, 0), Some(Errno::Isdir));
        assert_eq!(open("tmp/d", 0, true, 0), Some(Errno::Isdir));
        assert_eq!(open("tmp/d", DIRECTORY, false, 0), None);
        assert_eq!(open("tmp/f", DIRECTORY, false, 0), Some(Errno::Notdir));
        assert_eq!(open("tmp/f", CREATE | DIRECTORY, true, 0), Some(Errno::Inval));
        assert_eq!(open("tmp/f", 16, true, 0), Some(Errno::Inval));
        assert_eq!(open("tmp/f", 0, true, 32), Some(Errno::Inval));
        assert_eq!(open("tmp/f", 0, true, status_flags::ALL), None);
        assert_eq!(open("tmp/x", 0, true, 0), Some(Errno::Noent));
        assert_eq!(fs.metadata_at(DIR, b"tmp/f").unwrap().size, 8);
        let truncated = fs.open(DIR, b"tmp/f", OpenOptions { flags: TRUNCATE, ..WRITE }, 5).unwrap();
        assert_eq!(fs.metadata(truncated).unwrap().size, 0);
        fs.check();
    }

    #[test]
    fn files_are_written_at_positions() {
        let mut fs = example();
        let fd = make(&mut fs, "tmp/f", b"hello");
        assert_eq!(fs.seek(fd, Seek::Current(0)), Ok(5));
        put(&mut fs, fd, None, b" world").unwrap();
        put(&mut fs, fd, Some(0), b"J").unwrap();
        assert_eq!(fs.seek(fd, Seek::Current(0)), Ok(11));
        assert_eq!(get(&fs, fd), b"Jello world");

        assert_eq!(fs.seek(fd, Seek::End(2)), Ok(13));
        assert_eq!(fs.content(fd, None, 10), Ok(Content::Bytes(&[])));
        put(&mut fs, fd, None, b"!").unwrap();
        assert_eq!(get(&fs, fd), b"Jello world\0\0!");
        fs.resize(fd, 5, 0).unwrap();
        fs.resize(fd, 7, 0).unwrap();
        assert_eq!(get(&fs, fd), b"Jello\0\0");
        assert_eq!(fs.seek(fd, Seek::Start(1)), Ok(1));
        assert_eq!(fs.content(fd, None, 4), Ok(Content::Bytes(b"ello")));
        fs.resize(fd, 0, 0).unwrap();
        assert_eq!(fs.used().bytes, 0);

        assert_eq!(fs.seek(fd, Seek::Start(-1)), Err(Errno::Inval));
        assert_eq!(fs.seek(fd, Seek::Current(-2)), Err(Errno::Inval));
        assert_eq!(fs.seek(fd, Seek::Current(i64::MAX)), Err(Errno::Inval));
        assert_eq!(fs.seek(fd, Seek::Start(i64::MAX)), Ok(MAX_POSITION));
        assert_eq!(fs.seek(fd, Seek::Current(1)), Err(Errno::Inval));
        assert_eq!(fs.seek(fd, Seek::Current(i64::MIN)), Err(Errno::Inval));
        assert_eq!(put(&mut fs, fd, None, b""), Ok(()));
        assert_eq!(put(&mut fs, fd, None, b"x"), Err(Errno::Fbig));
        assert_eq!(put(&mut fs, fd, Some(u64::MAX), b"x"), Err(Errno::Inval));
        assert_eq!(put(&mut fs, fd, Some(1 << 40), b"x"), Err(Errno::Nospc));
        assert_eq!(fs.resize(fd, u64::MAX, 0), Err(Errno::Inval));
        assert_eq!(fs.resize(fd, MAX_POSITION, 0), Err(Errno::Nospc));
        assert_eq!(fs.seek(1, Seek::Start(0)), Err(Errno::Spipe));
        assert_eq!(fs.seek(DIR, Seek::Start(0)), Err(Errno::Badf));
        fs.check();
    }

    #[test]
    fn appending_writes_at_the_end() {
        let mut fs = example();
        let fd = make(&mut fs, "tmp/log", b"one");
        let append = OpenOptions { status: status_flags::APPEND, ..WRITE };
        let other = fs.open(DIR, b"tmp/log", append, 0).unwrap();
        put(&mut fs, other, None, b" two").unwrap();
        put(&mut fs, fd, None, b" TWO!").unwrap();
        fs.seek(other, Seek::Start(0)).unwrap();
        put(&mut fs, other, None, b" three").unwrap();
        assert_eq!(get(&fs, fd), b"one TWO! three");
        assert_eq!(fs.seek(other, Seek::Current(0)), Ok(14));
        fs.set_flags(other, 0).unwrap();
        fs.seek(other, Seek::Start(0)).unwrap();
        put(&mut fs, other, None, b"ONE").unwrap();
        assert_eq!(get(&fs, fd), b"ONE TWO! three");
        assert_eq!(fs.set_flags(other, 1 << 5), Err(Errno::Inval));
        assert_eq!(fs.set_flags(99, 0), Err(Errno::Badf));
    }

    #[test]
    fn descriptors_know_what_they_were_opened_for() {
        let mut fs = example();
        make(&mut fs, "tmp/f", b"x");
        let reader = fs.open(DIR, b"tmp/f", READ, 0).unwrap();
        let writer = fs.open(DIR, b"tmp/f", OpenOptions { read: false, ..WRITE }, 0).unwrap();
        assert_eq!(put(&mut fs, reader, None, b"y"), Err(Errno::Badf));
        assert_eq!(fs.resize(reader, 0, 0), Err(Errno::Inval));
        assert_eq!(fs.content(writer, None, 1), Err(Errno::Badf));
        assert_eq!(put(&mut fs, DIR, None, b"y"), Err(Errno::Badf));
        assert_eq!(put(&mut fs, 1, None, b"y"), Err(Errno::Badf));
        assert_eq!(put(&mut fs, 1, Some(0), b"y"), Err(Errno::Spipe));
        assert_eq!(fs.resize(DIR, 0, 0), Err(Errno::Inval));
        assert_eq!(
            fs.status(writer),
            Ok(Status { file_type: FileType::RegularFile, flags: 0, read: false, write: true })
        );
        assert_eq!(fs.status(DIR), Ok(Status { file_type: FileType::Directory, flags: 0, read: true, write: false }));
        assert_eq!((fs.is_preopen(DIR), fs.is_preopen(reader), fs.is_preopen(0)), (Ok(true), Ok(false), Ok(false)));
        assert_eq!((fs.stream(2), fs.stream(DIR)), (Ok(Some(Stream::Error)), Ok(None)));
    }

    #[test]
    fn the_lowest_free_descriptor_is_used_and_their_number_is_limited() {
        let mut fs = example();
        let fds: Vec<u32> = (0..4).map(|_| fs.open(DIR, b"app/score.py", READ, 0).unwrap()).collect();
        assert_eq!(fds, [4, 5, 6, 7]);
        fs.close(5).unwrap();
        assert_eq!(fs.close(5), Err(Errno::Badf));
        fs.close(1).unwrap();
        assert_eq!(fs.open(DIR, b"app", READ, 0), Ok(1));
        assert_eq!(fs.open(DIR, b"app", READ, 0), Ok(5));
        for _ in 8..MAX_OPEN {
            fs.open(DIR, b".", READ, 0).unwrap();
        }
        assert_eq!(fs.open(DIR, b"app", READ, 0), Err(Errno::Mfile));
        assert_eq!(fs.open(DIR, b"tmp/new", NEW, 0), Err(Errno::Mfile));
        assert!(!exists(&fs, "tmp/new"));
        fs.check();
        for fd in 0..MAX_OPEN as u32 {
            fs.close(fd).unwrap();
        }
        assert_eq!(fs.close(u32::MAX), Err(Errno::Badf));
        assert_eq!(fs.open(DIR, b"app", READ, 0), Err(Errno::Badf));
    }

    #[test]
    fn the_limits_of_tmp_hold() {
        let mut fs = example();
        let a = make(&mut fs, "tmp/a", &[1; 600]);
        let b = make(&mut fs, "tmp/b", &[2; 400]);
        assert_eq!(fs.used(), Space { bytes: 1000, entries: 2 });
        assert_eq!(put(&mut fs, b, None, b"x"), Err(Errno::Nospc));
        assert_eq!(put(&mut fs, b, Some(500), b"x"), Err(Errno::Nospc));
        assert_eq!(fs.resize(b, 401, 0), Err(Errno::Nospc));
        assert_eq!(get(&fs, b), [2; 400]);
        assert_eq!(put(&mut fs, b, Some(399), b"x"), Ok(()));
        fs.resize(a, 500, 0).unwrap();
        put(&mut fs, b, Some(499), b"x").unwrap();
        assert_eq!(fs.used().bytes, 1000);
        fs.check();

        for index in 2..10 {
            fs.create_directory(DIR, format!("tmp/{index}").as_bytes(), 0).unwrap();
        }
        assert_eq!(fs.create_directory(DIR, b"tmp/x", 0), Err(Errno::Nospc));
        assert_eq!(fs.open(DIR, b"tmp/x", NEW, 0), Err(Errno::Nospc));
        assert!(!exists(&fs, "tmp/x"));
        fs.check();
        fs.close_all();
        fs.remove_all("tmp");
        assert_eq!(fs.used(), Space { bytes: 0, entries: 0 });
        fs.check();
    }

    #[test]
    fn an_allocation_that_fails_is_no_space() {
        let mut fs = Fs::new(Space { bytes: usize::MAX, entries: 10 });
        let fd = make(&mut fs, "tmp/f", b"x");
        assert_eq!(fs.resize(fd, MAX_POSITION, 0), Err(Errno::Nospc));
        assert_eq!(put(&mut fs, fd, Some(MAX_POSITION - 10), b"x"), Err(Errno::Nospc));
        assert_eq!(get(&fs, fd), b"x");
        fs.check();
    }

    #[test]
    fn a_write_that_fails_leaves_the_file_as_long_as_it_was() {
        let mut fs = example();
        let fd = make(&mut fs, "tmp/f", b"abc");
        for at in [None, Some(1), Some(500)] {
            assert_eq!(fs.write(fd, at, 100, 0, |_| Err(Errno::Fault)), Err(Errno::Fault));
            assert_eq!(get(&fs, fd), b"abc");
            assert_eq!(fs.seek(fd, Seek::Current(0)), Ok(3));
            fs.check();
        }
    }

    #[test]
    fn many_small_writes_use_little_more_than_they_write() {
        let mut fs = Fs::new(Space { bytes: 10_000, entries: 10 });
        let fd = make(&mut fs, "tmp/f", b"");
        for _ in 0..10_000 {
            put(&mut fs, fd, None, b"x").unwrap();
            fs.check();
        }
        let Kind::File(contents) = &fs.nodes.last().unwrap().kind else { panic!() };
        assert_eq!(contents.capacity(), 10_000);
        fs.resize(fd, 10, 0).unwrap();
        fs.check();
    }

    #[test]
    fn what_was_removed_stays_until_it_is_closed() {
        let mut fs = example();
        let fd = make(&mut fs, "tmp/f", b"contents");
        let other = fs.open(DIR, b"tmp/f", READ, 0).unwrap();
        let inode = fs.metadata(fd).unwrap().inode;
        fs.unlink(DIR, b"tmp/f", 0).unwrap();
        assert!(!exists(&fs, "tmp/f"));
        assert_eq!(fs.unlink(DIR, b"tmp/f", 0), Err(Errno::Noent));
        put(&mut fs, fd, None, b"!").unwrap();
        assert_eq!(get(&fs, other), b"contents!");
        assert_eq!((fs.metadata(fd).unwrap().links, fs.metadata(fd).unwrap().inode), (0, inode));
        assert_eq!(fs.used(), Space { bytes: 9, entries: 1 });
        let again = make(&mut fs, "tmp/f", b"");
        assert_ne!(fs.metadata(again).unwrap().inode, inode);
        fs.check();
        fs.close(fd).unwrap();
        assert_eq!(get(&fs, other), b"contents!");
        fs.close(other).unwrap();
        assert_eq!(fs.used(), Space { bytes: 0, entries: 1 });
        fs.check();
    }

    #[test]
    fn a_directory_that_was_removed_is_nowhere() {
        let mut fs = example();
        fs.create_directory(DIR, b"tmp/d", 0).unwrap();
        let fd = fs.open(DIR, b"tmp/d", READ, 0).unwrap();
        make(&mut fs, "tmp/d/f", b"");
        assert_eq!(fs.remove_directory(DIR, b"tmp/d", 0), Err(Errno::Notempty));
        fs.unlink(fd, b"f", 0).unwrap();
        fs.remove_directory(DIR, b"tmp/d", 0).unwrap();
        assert_eq!(fs.open(fd, b"f", NEW, 0), Err(Errno::Noent));
        assert_eq!(fs.create_directory(fd, b"d", 0), Err(Errno::Noent));
        assert_eq!(fs.metadata_at(fd, b".."), Err(Errno::Noent));
        assert_eq!(fs.metadata_at(fd, b"f"), Err(Errno::Noent));
        assert_eq!(fs.metadata_at(fd, b".").unwrap().links, 0);
        assert_eq!(fs.entries(fd, 0).unwrap().count(), 2);
        let file = make(&mut fs, "tmp/g", b"");
        assert_eq!(fs.rename(DIR, b"tmp/g", fd, b"g", 0), Err(Errno::Noent));
        fs.close(file).unwrap();
        fs.check();
        fs.close_all();
        fs.remove_all("tmp");
        assert_eq!(fs.used(), Space { bytes: 0, entries: 0 });
        fs.check();
    }

    #[test]
    fn renaming_replaces_what_may_be_replaced() {
        let mut fs = example();
        for path in ["tmp/d", "tmp/e", "tmp/full", "tmp/full/sub"] {
            fs.create_directory(DIR, path.as_bytes(), 0).unwrap();
        }
        make(&mut fs, "tmp/a", b"A");
        let b = make(&mut fs, "tmp/b", b"B");
        let mut rename = |from: &str, to: &str| fs.rename(DIR, from.as_bytes(), DIR, to.as_bytes(), 0);
        assert_eq!(rename("tmp/none", "tmp/x"), Err(Errno::Noent));
        assert_eq!(rename("tmp/a", "tmp/none/x"), Err(Errno::Noent));
        assert_eq!(rename("tmp/a", "tmp/d"), Err(Errno::Isdir));
        assert_eq!(rename("tmp/d", "tmp/a"), Err(Errno::Notdir));
        assert_eq!(rename("tmp/d", "tmp/full"), Err(Errno::Notempty));
        assert_eq!(rename("tmp/full/sub", "tmp/full"), Err(Errno::Notempty));
        assert_eq!(rename("tmp/full", "tmp/full/x"), Err(Errno::Inval));
        assert_eq!(rename("tmp/full", "tmp/full/sub/x"), Err(Errno::Inval));
        assert_eq!(rename("tmp/a", "tmp/new/"), Err(Errno::Notdir));
        assert_eq!(rename("tmp/a", "tmp/a"), Ok(()));
        assert_eq!(rename("tmp/a", "tmp/b"), Ok(()));
        assert_eq!(rename("tmp/full", "tmp/d"), Ok(()));
        assert_eq!(rename("tmp/d", "tmp/e/"), Ok(()));
        assert_eq!(rename("tmp/b", "tmp/e/sub/c"), Ok(()));
        fs.check();
        assert_eq!(names(&mut fs, "tmp"), [".", "..", "e"]);
        let c = fs.open(DIR, b"tmp/e/sub/c", READ, 0).unwrap();
        assert_eq!((get(&fs, c), get(&fs, b)), (b"A".to_vec(), b"B".to_vec()));
        assert_eq!(fs.metadata(b).unwrap().links, 0);
        assert_eq!(fs.metadata_at(DIR, b"tmp/e/sub/../.."), fs.metadata_at(DIR, b"tmp"));
        fs.close_all();
        assert_eq!(fs.used(), Space { bytes: 1, entries: 3 });
        fs.check();
    }

    #[test]
    fn a_list_goes_on_where_it_was() {
        let mut fs = example();
        for name in ["c", "a", "b", "d"] {
            make(&mut fs, &format!("tmp/{name}"), b"");
        }
        let fd = fs.open(DIR, b"tmp", READ, 0).unwrap();
        let list = |fs: &Fs, cookie| -> Vec<(u64, String)> {
            fs.entries(fd, cookie).unwrap().map(|entry| (entry.next, entry.name.to_owned())).collect()
        };
        let all = list(&fs, 0);
        let in_order: Vec<&str> = all.iter().map(|(_, name)| name.as_str()).collect();
        assert_eq!(in_order, [".", "..", "c", "a", "b", "d"]);
        for (index, (next, _)) in all.iter().enumerate() {
            assert_eq!(list(&fs, *next), all[index + 1..]);
        }
        // Seen: ., .., c, a.
        let cookie = all[3].0;
        fs.unlink(DIR, b"tmp/c", 0).unwrap();
        fs.unlink(DIR, b"tmp/b", 0).unwrap();
        make(&mut fs, "tmp/0", b"");
        let rest: Vec<String> = list(&fs, cookie).into_iter().map(|(_, name)| name).collect();
        assert_eq!(rest, ["d", "0"]);
        assert_eq!(list(&fs, u64::MAX), []);

        let entries: Vec<Entry<'_>> = fs.entries(fd, 0).unwrap().collect();
        assert_eq!(entries[0].inode, fs.metadata(fd).unwrap().inode);
        assert_eq!(entries[1].inode, fs.metadata(DIR).unwrap().inode);
        assert_eq!(entries[2].inode, fs.metadata_at(fd, b"a").unwrap().inode);
        assert_eq!((entries[1].file_type, entries[2].file_type), (FileType::Directory, FileType::RegularFile));
        assert_eq!(fs.entries(4, 0).err(), Some(Errno::Notdir));
        assert_eq!(fs.entries(0, 0).err(), Some(Errno::Notdir));
        assert_eq!(fs.entries(99, 0).err(), Some(Errno::Badf));
    }

    #[test]
    fn times_are_those_of_the_changes() {
        let mut fs = example();
        let fd = fs.open(DIR, b"tmp/f", NEW, 10).unwrap();
        assert_eq!(fs.metadata(fd).unwrap().times, Times::all(10));
        assert_eq!(fs.metadata_at(DIR, b"tmp").unwrap().times.modified, 10);
        fs.write(fd, None, 1, 20, |_| Ok(())).unwrap();
        assert_eq!(fs.metadata(fd).unwrap().times, Times { accessed: 10, modified: 20, changed: 20 });
        fs.set_times(fd, Some(1), None, 30).unwrap();
        assert_eq!(fs.metadata(fd).unwrap().times, Times { accessed: 1, modified: 20, changed: 30 });
        fs.set_times_at(DIR, b"tmp/f", None, Some(2), 40).unwrap();
        assert_eq!(fs.metadata(fd).unwrap().times, Times { accessed: 1, modified: 2, changed: 40 });
        fs.resize(fd, 0, 50).unwrap();
        fs.rename(DIR, b"tmp/f", DIR, b"tmp/g", 60).unwrap();
        assert_eq!(fs.metadata(fd).unwrap().times, Times { accessed: 1, modified: 50, changed: 60 });
        assert_eq!(fs.metadata_at(DIR, b"tmp").unwrap().times.modified, 60);
        fs.unlink(DIR, b"tmp/g", 70).unwrap();
        assert_eq!(fs.metadata(fd).unwrap().times.changed, 70);
        assert_eq!(fs.set_times(0, None, None, 0), Err(Errno::Inval));
        assert_eq!(fs.set_times(DIR, None, None, 0), Err(Errno::Rofs));
    }

    #[test]
    fn inodes_are_stable_and_their_own() {
        let mut fs = example();
        let mut inodes: Vec<u64> =
            ["/", "tmp", "app", "app/score.py", "app/model", "app/model/weights", "lib", "lib/empty"]
                .iter()
                .map(|path| fs.metadata_at(DIR, path.as_bytes()).unwrap().inode)
                .collect();
        let fd = make(&mut fs, "tmp/f", b"");
        inodes.push(fs.metadata(fd).unwrap().inode);
        fs.rename(DIR, b"tmp/f", DIR, b"tmp/g", 0).unwrap();
        assert_eq!(fs.metadata_at(DIR, b"tmp/g").unwrap().inode, fs.metadata(fd).unwrap().inode);
        inodes.sort_unstable();
        inodes.dedup();
        assert_eq!(inodes.len(), 9);
        assert!(inodes[0] > 0);
    }

    /// A generator of numbers that look random: the same each time.
    struct Random(u64);

    impl Random {
        fn below(&mut self, limit: usize) -> usize {
            self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (self.0 >> 33) as usize % limit
        }

        fn one_in(&mut self, count: usize) -> bool {
            self.below(count) == 0
        }
    }

    #[test]
    fn random_operations_within_tight_limits_keep_everything_true() {
        for seed in 0..20 {
            let mut random = Random(seed);
            let mut fs = example();
            for _ in 0..3000 {
                let name = |random: &mut Random| {
                    let names =
                        ["tmp/a", "tmp/b", "tmp/a/a", "tmp/a/b", "tmp/b/a/a", "app/x", "app/score.py", "..", "tmp/"];
                    names[random.below(names.len())].as_bytes()
                };
                let (path, other) = (name(&mut random), name(&mut random));
                let fd = random.below(12) as u32;
                let (at, size) = (random.below(700) as u64, random.below(400));
                match random.below(12) {
                    0 => drop(fs.create_directory(DIR, path, 0)),
                    1 => drop(fs.unlink(DIR, path, 0)),
                    2 => drop(fs.remove_directory(DIR, path, 0)),
                    3 => drop(fs.rename(DIR, path, DIR, other, 0)),
                    4 | 5 if fd > DIR => drop(fs.close(fd)),
                    6 => drop(fs.resize(fd, size as u64, 0)),
                    7 => drop(fs.seek(fd, Seek::End(at.cast_signed() - 200))),
                    8 => drop(fs.write(fd, None, size, 0, |_| Ok(()))),
                    9 => drop(fs.write(fd, Some(at), size, 0, |_| Err(Errno::Fault))),
                    _ => {
                        let (flags, status) = (random.below(16) as u16, random.below(2) as u16);
                        let options = OpenOptions { read: true, write: random.one_in(2), flags, status };
                        fs.open(DIR, path, options, 0).ok();
                    }
                }
                fs.check();
            }
            fs.close_all();
            fs.check();
            fs.remove_all("tmp");
            assert_eq!(fs.used(), Space { bytes: 0, entries: 0 });
            assert_eq!(names(&mut fs, "tmp"), [".", ".."]);
            fs.check();
        }
    }

    /// The same operations here and in a directory of the system that the tests run on.
    #[cfg(target_os = "linux")]
    mod compared {
        use std::fs::File;
        use std::io::{self, Read, Seek as _, SeekFrom, Write};
        use std::os::unix::fs::{FileExt, OpenOptionsExt};
        use std::path::PathBuf;

        use super::*;

        const O_DIRECTORY: i32 = 0o200_000;

        struct Both {
            fs: Fs,
            base: PathBuf,
            open: Vec<(u32, File, bool)>,
        }

        fn errno(error: &io::Error) -> Errno {
            match error.raw_os_error() {
                Some(2) => Errno::Noent,
                Some(9) => Errno::Badf,
                Some(17) => Errno::Exist,
                Some(20) => Errno::Notdir,
                Some(21) => Errno::Isdir,
                Some(22) => Errno::Inval,
                Some(39) => Errno::Notempty,
                _ => panic!("{error}"),
            }
        }

        /// Both succeed with the same, or both fail; and in the same way, where POSIX leaves no choice.
        fn same<T: PartialEq + std::fmt::Debug>(ours: Result<T>, theirs: io::Result<T>, strict: bool, what: &str) {
            if strict {
                assert_eq!(ours, theirs.map_err(|error| errno(&error)), "{what}");
            } else {
                assert_eq!(ours.ok(), theirs.ok(), "{what}");
            }
        }

        /// A path that does not leave its base, and whether it ends in a plain name.
        fn path(random: &mut Random) -> (String, bool) {
            loop {
                let names = ["a", "b", "c", "a", "b", "..", "."];
                let names: Vec<&str> = (0..=random.below(4)).map(|_| names[random.below(names.len())]).collect();
                let mut depth = 0;
                let inside = names.iter().all(|name| {
                    depth += match *name {
                        ".." => -1,
                        "." => 0,
                        _ => 1,
                    };
                    depth >= 0
                });
                if inside {
                    let slash = random.one_in(20);
                    let plain = !slash && !names[names.len() - 1].starts_with('.');
                    return (names.join("/") + if slash { "/" } else { "" }, plain);
                }
            }
        }

        impl Both {
            fn open(&mut self, path: &str, strict: bool, random: &mut Random) {
                let (read, write, append) = (random.one_in(2), random.one_in(2), random.one_in(4));
                let (create, new) = (random.one_in(2), random.one_in(4));
                // To make a directory by opening it is refused by some versions of Linux only.
                let (truncate, directory) = (random.one_in(4), random.one_in(4) && !create && !new);
                let mut flags = 0;
                let mut add = |is: bool, flag| flags |= if is { flag } else { 0 };
                add(create || new, CREATE);
                add(new, EXCLUSIVE);
                add(truncate, TRUNCATE);
                add(directory, DIRECTORY);
                let theirs = File::options()
                    .read(read)
                    .write(write)
                    .append(append)
                    .create(create)
                    .create_new(new)
                    .truncate(truncate)
                    .custom_flags(if directory { O_DIRECTORY } else { 0 })
                    .open(self.base.join(path));
                if theirs.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::InvalidInput) {
                    // Not let through by the standard library.
                    return;
                }
                let status = if append { status_flags::APPEND } else { 0 };
                let options = OpenOptions { read, write: write || append, flags, status };
                let ours = self.fs.open(DIR, format!("tmp/{path}").as_bytes(), options, 0);
                let what = format!("open {path} {options:?}");
                match (ours, theirs) {
                    (Ok(fd), Ok(file)) => self.open.push((fd, file, append)),
                    (ours, theirs) => same(ours.map(drop), theirs.map(drop), strict, &what),
                }
            }

            fn change(&mut self, random: &mut Random) {
                let (name, strict) = path(random);
                let there = self.base.join(&name);
                let here = format!("tmp/{name}");
                let here = here.as_bytes();
                match random.below(6) {
                    0 => same(
                        self.fs.create_directory(DIR, here, 0),
                        std::fs::create_dir(there),
                        strict,
                        &format!("mkdir {name}"),
                    ),
                    1 => same(self.fs.unlink(DIR, here, 0), std::fs::remove_file(there), strict, &format!("rm {name}")),
                    2 => same(
                        self.fs.remove_directory(DIR, here, 0),
                        std::fs::remove_dir(there),
                        strict,
                        &format!("rmdir {name}"),
                    ),
                    3 => {
                        let (to, plain) = path(random);
                        // What is in the way of itself may be said in two ways.
                        let strict =
                            strict && plain && !name.starts_with(&to) && !name.contains('.') && !to.contains('.');
                        same(
                            self.fs.rename(DIR, here, DIR, format!("tmp/{to}").as_bytes(), 0),
                            std::fs::rename(there, self.base.join(&to)),
                            strict,
                            &format!("rename {name} {to}"),
                        );
                    }
                    4 => {
                        let theirs = std::fs::metadata(there);
                        let theirs =
                            theirs.map(|theirs| (theirs.is_dir(), if theirs.is_dir() { 0 } else { theirs.len() }));
                        let ours = self.fs.metadata_at(DIR, here);
                        let ours = ours.map(|ours| (ours.file_type == FileType::Directory, ours.size));
                        same(ours, theirs, true, &format!("stat {name}"));
                    }
                    _ => self.open(&name, strict, random),
                }
            }

            fn use_file(&mut self, random: &mut Random) {
                let index = random.below(self.open.len().max(1));
                let Some((fd, file, append)) = self.open.get_mut(index) else { return };
                let (fd, append) = (*fd, *append);
                let directory = self.fs.status(fd).unwrap().file_type == FileType::Directory;
                let (at, len) = (random.below(300) as u64, random.below(200));
                let bytes: Vec<u8> = (0..len).map(|_| random.below(256) as u8).collect();
                let mut buffer = vec![0; len];
                let read = |content: Content<'_>| match content {
                    Content::Bytes(bytes) => bytes.to_vec(),
                    Content::Library { .. } => panic!(),
                };
                match random.below(7) {
                    0 => {
                        let ours = self.fs.content(fd, None, len).map(read);
                        if let Ok(ours) = &ours {
                            self.fs.advance(fd, ours.len()).unwrap();
                        }
                        same(ours, file.read(&mut buffer).map(|count| buffer[..count].to_vec()), !directory, "read");
                    }
                    1 => {
                        let ours = self.fs.content(fd, Some(at), len).map(read);
                        same(
                            ours,
                            file.read_at(&mut buffer, at).map(|count| buffer[..count].to_vec()),
                            !directory,
                            "pread",
                        );
                    }
                    2 => same(put(&mut self.fs, fd, None, &bytes), file.write(&bytes).map(drop), true, "write"),
                    // Linux appends even there.
                    3 if !append => {
                        same(
                            put(&mut self.fs, fd, Some(at), &bytes),
                            file.write_at(&bytes, at).map(drop),
                            true,
                            "pwrite",
                        );
                    }
                    4 => same(self.fs.resize(fd, at, 0), file.set_len(at), true, "truncate"),
                    5 if !directory => {
                        let offset = at.cast_signed() - 150;
                        let (ours, theirs) = match random.below(3) {
                            0 => (Seek::Start(at.cast_signed()), SeekFrom::Start(at)),
                            1 => (Seek::Current(offset), SeekFrom::Current(offset)),
                            _ => (Seek::End(offset), SeekFrom::End(offset)),
                        };
                        same(self.fs.seek(fd, ours), file.seek(theirs), true, "seek");
                    }
                    _ => {
                        self.open.swap_remove(index);
                        self.fs.close(fd).unwrap();
                    }
                }
            }

            fn compare_tree(&mut self, path: &str) {
                let mut ours: Vec<String> = names(&mut self.fs, &format!("tmp/{path}")).into_iter().skip(2).collect();
                let theirs = std::fs::read_dir(self.base.join(path)).unwrap();
                let mut theirs: Vec<String> =
                    theirs.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
                ours.sort();
                theirs.sort();
                assert_eq!(ours, theirs, "in {path}");
                for name in ours {
                    let path = format!("{path}{name}");
                    let here = format!("tmp/{path}");
                    if self.fs.metadata_at(DIR, here.as_bytes()).unwrap().file_type == FileType::Directory {
                        self.compare_tree(&format!("{path}/"));
                    } else {
                        let fd = self.fs.open(DIR, here.as_bytes(), READ, 0).unwrap();
                        assert_eq!(get(&self.fs, fd), std::fs::read(self.base.join(&path)).unwrap(), "{path}");
                        self.fs.close(fd).unwrap();
                    }
                }
            }
        }

        #[test]
        fn random_operations_do_what_they_do_on_linux() {
            for seed in 0..10 {
                let base = std::env::temp_dir().join(format!("compared-{}-{seed}", std::process::id()));
                std::fs::create_dir(&base).unwrap();
                let fs = Fs::new(Space { bytes: 10_000_000, entries: 10_000 });
                let mut both = Both { fs, base: base.clone(), open: Vec::new() };
                let mut random = Random(seed);
                for step in 0..5000 {
                    if random.one_in(2) || both.open.len() > 10 {
                        both.use_file(&mut random);
                    } else {
                        both.change(&mut random);
                    }
                    if step % 50 == 0 {
                        both.compare_tree("");
                        both.fs.check();
                    }
                }
                both.fs.close_all();
                both.fs.remove_all("tmp");
                assert_eq!(both.fs.used(), Space { bytes: 0, entries: 0 });
                std::fs::remove_dir_all(base).unwrap();
            }
        }
    }
}
