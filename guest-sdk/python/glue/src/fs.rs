//! A filesystem in memory: everything that Python can see of files, and the table of what it has open.
//!
//! All of it is plain data in one memory, so a snapshot of the memory is a snapshot of the filesystem with its open
//! files. Nothing here reaches outside: times are handed in, and the contents of library files are named, not held.
//!
//! The tree is read-only but for what is below `/tmp`, which starts empty and has limits. Paths are walked as POSIX
//! does it, with `..` of the root being the root. There are no links: each file has one name.

use std::cell::Cell;
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
    /// A file whose contents are still to come.
    Withheld,
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
    /// Whether a path has led to a file whose contents are still to come.
    withheld_asked: Cell<bool>,
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
            withheld_asked: Cell::new(false),
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

    /// Adds a read-only file with these contents, also where it was withheld. Errors as with [`Fs::add_library_file`].
    pub fn add_file(&mut self, path: &str, contents: Vec<u8>) -> Result<()> {
        self.add(path, Kind::File(contents))
    }

    /// Adds a read-only file whose contents come later, by [`Fs::add_file`]. Until then it is in the list of its directory, and
    /// whoever looks at it is noticed. Errors as with [`Fs::add_library_file`].
    pub fn withhold_file(&mut self, path: &str) -> Result<()> {
        self.add(path, Kind::Withheld)
    }

    /// Whether a path has led to a file that was withheld at that time.
    pub fn withheld_asked(&self) -> bool {
        self.withheld_asked.get()
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
        match self.sealed_child(at, name)? {
            Some(node) if matches!(self.nodes[node].kind, Kind::Withheld) => self.nodes[node].kind = kind,
            Some(_) => return Err(Errno::Exist),
            None => _ = self.insert(at, name, kind, SEALED_TIME)?,
        }
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
        if node.is_some_and(|node| matches!(self.nodes[node].kind, Kind::Withheld)) {
            self.withheld_asked.set(true);
        }
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
            Kind::Directory(_) | Kind::Withheld | Kind::Free => Content::Bytes(&[]),
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
            Kind::Directory(_) | Kind::Withheld | Kind::Free => 0,
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
mod tests;
