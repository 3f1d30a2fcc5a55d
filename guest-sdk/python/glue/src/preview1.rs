//! WASI preview 1 for Python, as far as Python imports it: files and streams from [`Fs`], the rest from a [`Machine`].
//!
//! Python runs the code of others and can call these functions with anything. Whatever the arguments, they return:
//! addresses are checked where they are used, and no call takes longer than its arguments and what is in `/tmp` justify.

#![allow(clippy::too_many_arguments, reason = "they are those of the interface")]
#![allow(clippy::unused_self, reason = "all functions of the interface are called in the same way")]

use std::fmt;

use crate::fs::{Content, Errno, FileType, Fs, MAX_PATH, Metadata, OpenOptions, Result, Seek, Stream};

/// An address that is not in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fault;

impl From<Fault> for Errno {
    fn from(_: Fault) -> Self {
        Self::Fault
    }
}

/// Python's memory and the world outside. Ranges that are not in memory are a [`Fault`], and nothing of them is copied.
pub trait Machine {
    /// Copies from Python's memory.
    fn read(&self, address: u32, into: &mut [u8]) -> std::result::Result<(), Fault>;
    /// Copies into Python's memory.
    fn write(&mut self, address: u32, from: &[u8]) -> std::result::Result<(), Fault>;
    /// Copies `len` bytes of the library, from `offset` on, into Python's memory.
    fn copy_library(&mut self, to: u32, offset: u32, len: u32) -> std::result::Result<(), Fault>;
    /// The time in nanoseconds since 1970.
    fn wall_clock(&mut self) -> u64;
    /// Nanoseconds since some moment; it never goes back.
    fn monotonic(&mut self) -> u64;
    /// Waits for some nanoseconds.
    fn sleep(&mut self, nanoseconds: u64);
    /// Fills a buffer with what cannot be foreseen.
    fn random(&mut self, into: &mut [u8]);
    /// Takes what was written to standard output or standard error: a stream of bytes, cut anywhere.
    fn output(&mut self, stream: Output, bytes: &[u8]);
    /// Ends Python.
    fn exit(&mut self, code: u32) -> !;
}

/// Where output goes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Output {
    /// Standard output.
    Output,
    /// Standard error.
    Error,
}

/// The command line.
const ARGUMENTS: [&str; 1] = ["python"];
/// The path of the one directory that is open from the begin.
const PREOPEN: &[u8] = b"/";
/// Buffers that one call can read or write. C programs know it as `IOV_MAX`.
const MAX_BUFFERS: u32 = 1024;
/// Bytes that are copied at once, where they cannot be copied directly.
const CHUNK: usize = 4096;

/// What a descriptor may be used for. C programs read from it how a descriptor was opened, and hand on what it inherits.
mod rights {
    pub(super) const FD_DATASYNC: u64 = 1 << 0;
    pub(super) const FD_READ: u64 = 1 << 1;
    pub(super) const FD_WRITE: u64 = 1 << 6;
    pub(super) const FD_ALLOCATE: u64 = 1 << 8;
    pub(super) const FD_READDIR: u64 = 1 << 14;
    pub(super) const FD_FILESTAT_SET_SIZE: u64 = 1 << 22;
    pub(super) const ALL: u64 = (1 << 30) - 1;
    /// What comes with reading.
    pub(super) const READING: u64 = FD_READ | FD_READDIR;
    /// What comes with writing.
    pub(super) const WRITING: u64 = FD_WRITE | FD_DATASYNC | FD_ALLOCATE | FD_FILESTAT_SET_SIZE;
}

/// Kinds of subscriptions and events.
mod event {
    pub(super) const CLOCK: u8 = 0;
    pub(super) const FD_READ: u8 = 1;
    pub(super) const FD_WRITE: u8 = 2;
    /// Bytes of a subscription.
    pub(super) const SUBSCRIPTION: u32 = 48;
    /// Bytes of an event.
    pub(super) const EVENT: u32 = 32;
    /// Of a clock's subscription: the timeout is a time, not a duration.
    pub(super) const ABSOLUTE: u16 = 1;
    /// Of a descriptor's event: nothing more will come.
    pub(super) const HANGUP: u16 = 1;
}

/// The functions of WASI preview 1 with what they remember.
///
/// Each is called like its namesake, after the machine, and its error is the number to return. What the interface
/// hands back is written to Python's memory.
pub struct Preview1 {
    /// The filesystem and what is open.
    pub fs: Fs,
    /// `NAME=value`.
    environment: Vec<String>,
}

impl fmt::Debug for Preview1 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Preview1").finish_non_exhaustive()
    }
}

impl Preview1 {
    /// With these files and this environment, a list of `NAME=value` without NUL in them.
    pub fn new(fs: Fs, environment: Vec<String>) -> Self {
        Self { fs, environment }
    }
}

/// Arguments, environment, clocks, randomness, the end.
impl Preview1 {
    /// Writes the arguments, and the list of their addresses.
    pub fn args_get(&mut self, machine: &mut impl Machine, pointers: u32, buffer: u32) -> Result<()> {
        write_strings(machine, ARGUMENTS, pointers, buffer)
    }

    /// Writes how many arguments there are, and the bytes that they need.
    pub fn args_sizes_get(&mut self, machine: &mut impl Machine, count: u32, size: u32) -> Result<()> {
        write_sizes(machine, ARGUMENTS, count, size)
    }

    /// Writes the environment, and the list of the addresses of its entries.
    pub fn environ_get(&mut self, machine: &mut impl Machine, pointers: u32, buffer: u32) -> Result<()> {
        write_strings(machine, self.environment.iter().map(String::as_str), pointers, buffer)
    }

    /// Writes how many entries the environment has, and the bytes that they need.
    pub fn environ_sizes_get(&mut self, machine: &mut impl Machine, count: u32, size: u32) -> Result<()> {
        write_sizes(machine, self.environment.iter().map(String::as_str), count, size)
    }

    /// Writes the resolution of a clock: one nanosecond, as far as is known here.
    pub fn clock_res_get(&mut self, machine: &mut impl Machine, clock: u32, resolution: u32) -> Result<()> {
        Clock::try_from(clock)?;
        write_u64(machine, resolution, 1)
    }

    /// Writes the time of a clock in nanoseconds. The clocks of the processor are the monotonic one.
    pub fn clock_time_get(&mut self, machine: &mut impl Machine, clock: u32, _precision: u64, time: u32) -> Result<()> {
        let now = Clock::try_from(clock)?.now(machine);
        write_u64(machine, time, now)
    }

    /// Fills a buffer with random bytes.
    pub fn random_get(&mut self, machine: &mut impl Machine, buffer: u32, len: u32) -> Result<()> {
        let mut chunk = [0; CHUNK];
        let mut done = 0;
        while done < len {
            let part = &mut chunk[..CHUNK.min((len - done) as usize)];
            machine.random(part);
            machine.write(offset(buffer, done)?, part)?;
            done += part.len() as u32;
        }
        Ok(())
    }

    /// Does nothing: there is nobody to give way to.
    pub fn sched_yield(&mut self, _machine: &mut impl Machine) -> Result<()> {
        Ok(())
    }

    /// Ends Python.
    pub fn proc_exit(&mut self, machine: &mut impl Machine, code: u32) -> ! {
        machine.exit(code)
    }

    /// Waits for what is subscribed to, and writes an event for each that happened, and how many these are.
    ///
    /// Descriptors are always ready; clocks are when no descriptor is asked for and the first of them has been waited
    /// for. What is wrong with one subscription is said in its event.
    pub fn poll_oneoff(
        &mut self,
        machine: &mut impl Machine,
        subscriptions: u32,
        events: u32,
        count: u32,
        happened: u32,
    ) -> Result<()> {
        if count == 0 {
            return Err(Errno::Inval);
        }
        let mut shortest = u64::MAX;
        let mut now = Now::default();
        for index in 0..count {
            let subscription = Subscription::read(machine, subscriptions, index)?;
            shortest = shortest.min(subscription.remaining(machine, &mut now).unwrap_or(0));
        }
        if shortest > 0 {
            machine.sleep(shortest);
        }
        let mut written = 0;
        for index in 0..count {
            let subscription = Subscription::read(machine, subscriptions, index)?;
            let remaining = subscription.remaining(machine, &mut now);
            if remaining.is_ok_and(|remaining| remaining > shortest) {
                continue;
            }
            let outcome = match (remaining, subscription.kind) {
                (Err(error), _) => Err(error),
                (Ok(_), event::FD_READ) => self.readable(subscription.subject),
                (Ok(_), event::FD_WRITE) => self.writable(subscription.subject),
                (Ok(_), _) => Ok((0, 0)),
            };
            let (bytes, flags) = outcome.unwrap_or_default();
            let mut event = [0; event::EVENT as usize];
            event[0..8].copy_from_slice(&subscription.userdata.to_le_bytes());
            event[8..10].copy_from_slice(&outcome.err().map_or(0, |error| error as u16).to_le_bytes());
            event[10] = subscription.kind;
            event[16..24].copy_from_slice(&bytes.to_le_bytes());
            event[24..26].copy_from_slice(&flags.to_le_bytes());
            machine.write(element(events, written, event::EVENT)?, &event)?;
            written += 1;
        }
        write_u32(machine, happened, written)
    }

    /// How many bytes can be read from a descriptor, and the flags of its event.
    fn readable(&self, fd: u32) -> Result<(u64, u16)> {
        let bytes = self.fs.content(fd, None, usize::MAX)?.len() as u64;
        let flags = if self.fs.stream(fd)?.is_some() { event::HANGUP } else { 0 };
        Ok((bytes, flags))
    }

    fn writable(&self, fd: u32) -> Result<(u64, u16)> {
        if self.fs.status(fd)?.write { Ok((1, 0)) } else { Err(Errno::Badf) }
    }
}

/// Descriptors.
impl Preview1 {
    /// Does nothing with advice on how a file will be used.
    pub fn fd_advise(
        &mut self,
        _machine: &mut impl Machine,
        fd: u32,
        _offset: u64,
        _len: u64,
        advice: u32,
    ) -> Result<()> {
        match (self.fs.status(fd)?.file_type, advice) {
            (FileType::CharacterDevice, _) => Err(Errno::Spipe),
            (FileType::Directory, _) => Err(Errno::Badf),
            (FileType::RegularFile, 0..=5) => Ok(()),
            (FileType::RegularFile, _) => Err(Errno::Inval),
        }
    }

    /// Closes a descriptor.
    pub fn fd_close(&mut self, _machine: &mut impl Machine, fd: u32) -> Result<()> {
        self.fs.close(fd)
    }

    /// Does nothing: there is no disk.
    pub fn fd_datasync(&mut self, _machine: &mut impl Machine, fd: u32) -> Result<()> {
        self.fs.status(fd).map(drop)
    }

    /// Does nothing: there is no disk.
    pub fn fd_sync(&mut self, _machine: &mut impl Machine, fd: u32) -> Result<()> {
        self.fs.status(fd).map(drop)
    }

    /// Writes what a descriptor is: its type, flags and rights.
    pub fn fd_fdstat_get(&mut self, machine: &mut impl Machine, fd: u32, stat: u32) -> Result<()> {
        let status = self.fs.status(fd)?;
        let mut base = rights::ALL;
        if !status.read {
            base &= !rights::READING;
        }
        if !status.write {
            base &= !rights::WRITING;
        }
        // What is opened below a directory gets at most what the directory hands on. So it hands on everything: else
        // opening a read-only file for writing would succeed, and only the first write fail.
        //
        // A stream has the right to seek although it cannot: without, it would be taken for a terminal.
        let inheriting = if status.file_type == FileType::Directory { rights::ALL } else { 0 };
        let mut bytes = [0; 24];
        bytes[0] = status.file_type as u8;
        bytes[2..4].copy_from_slice(&status.flags.to_le_bytes());
        bytes[8..16].copy_from_slice(&base.to_le_bytes());
        bytes[16..24].copy_from_slice(&inheriting.to_le_bytes());
        Ok(machine.write(stat, &bytes)?)
    }

    /// Sets the flags of a descriptor.
    pub fn fd_fdstat_set_flags(&mut self, _machine: &mut impl Machine, fd: u32, flags: u32) -> Result<()> {
        self.fs.set_flags(fd, bits(flags)?)
    }

    /// Writes what is known of what is open: type, size, times.
    pub fn fd_filestat_get(&mut self, machine: &mut impl Machine, fd: u32, stat: u32) -> Result<()> {
        write_metadata(machine, stat, &self.fs.metadata(fd)?)
    }

    /// Cuts a file off, or fills it up with zeros.
    pub fn fd_filestat_set_size(&mut self, machine: &mut impl Machine, fd: u32, size: u64) -> Result<()> {
        let now = machine.wall_clock();
        self.fs.resize(fd, size, now)
    }

    /// Sets the times of what is open.
    pub fn fd_filestat_set_times(
        &mut self,
        machine: &mut impl Machine,
        fd: u32,
        accessed: u64,
        modified: u64,
        which: u32,
    ) -> Result<()> {
        let now = machine.wall_clock();
        let (accessed, modified) = new_times(accessed, modified, which, now)?;
        self.fs.set_times(fd, accessed, modified, now)
    }

    /// Reads from the position on. Each part goes straight to Python's memory.
    pub fn fd_read(&mut self, machine: &mut impl Machine, fd: u32, buffers: u32, count: u32, read: u32) -> Result<()> {
        let content = self.fs.content(fd, None, total(machine, buffers, count)?)?;
        let len = content.len();
        deliver(machine, content, buffers, count)?;
        write_u32(machine, read, len as u32)?;
        self.fs.advance(fd, len)
    }

    /// Reads from a place in the file.
    pub fn fd_pread(
        &mut self,
        machine: &mut impl Machine,
        fd: u32,
        buffers: u32,
        count: u32,
        at: u64,
        read: u32,
    ) -> Result<()> {
        let content = self.fs.content(fd, Some(at), total(machine, buffers, count)?)?;
        let len = content.len();
        deliver(machine, content, buffers, count)?;
        write_u32(machine, read, len as u32)
    }

    /// Writes at the position, or at the end, or to a stream.
    pub fn fd_write(
        &mut self,
        machine: &mut impl Machine,
        fd: u32,
        buffers: u32,
        count: u32,
        written: u32,
    ) -> Result<()> {
        let len = match self.fs.stream(fd)? {
            None => self.write(machine, fd, None, buffers, count)?,
            Some(Stream::Input) => return Err(Errno::Badf),
            Some(Stream::Output) => print(machine, Output::Output, buffers, count)?,
            Some(Stream::Error) => print(machine, Output::Error, buffers, count)?,
        };
        write_u32(machine, written, len)
    }

    /// Writes at a place in the file.
    pub fn fd_pwrite(
        &mut self,
        machine: &mut impl Machine,
        fd: u32,
        buffers: u32,
        count: u32,
        at: u64,
        written: u32,
    ) -> Result<()> {
        let len = self.write(machine, fd, Some(at), buffers, count)?;
        write_u32(machine, written, len)
    }

    fn write(&mut self, machine: &mut impl Machine, fd: u32, at: Option<u64>, buffers: u32, count: u32) -> Result<u32> {
        let len = total(machine, buffers, count)?;
        let now = machine.wall_clock();
        self.fs.write(fd, at, len, now, |mut rest| {
            for index in 0..count {
                let (address, len) = buffer(machine, buffers, index)?;
                let (part, others) = rest.split_at_mut_checked(len as usize).ok_or(Errno::Fault)?;
                machine.read(address, part)?;
                rest = others;
            }
            Ok(())
        })?;
        Ok(len as u32)
    }

    /// Moves the position, and writes where it is then.
    pub fn fd_seek(
        &mut self,
        machine: &mut impl Machine,
        fd: u32,
        offset: u64,
        whence: u32,
        position: u32,
    ) -> Result<()> {
        let offset = offset.cast_signed();
        let new = self.fs.seek(
            fd,
            match whence {
                0 => Seek::Start(offset),
                1 => Seek::Current(offset),
                2 => Seek::End(offset),
                _ => return Err(Errno::Inval),
            },
        )?;
        write_u64(machine, position, new)
    }

    /// Writes where the position is.
    pub fn fd_tell(&mut self, machine: &mut impl Machine, fd: u32, position: u32) -> Result<()> {
        let now = self.fs.seek(fd, Seek::Current(0))?;
        write_u64(machine, position, now)
    }

    /// Writes the names in a directory, from a cookie on, and how many bytes these are.
    ///
    /// Fills the buffer to its end, with a part of an entry if need be: less means that the list has ended.
    pub fn fd_readdir(
        &mut self,
        machine: &mut impl Machine,
        fd: u32,
        buffer: u32,
        len: u32,
        cookie: u64,
        used: u32,
    ) -> Result<()> {
        let mut done = 0;
        for entry in self.fs.entries(fd, cookie)? {
            let mut head = [0; 24];
            head[0..8].copy_from_slice(&entry.next.to_le_bytes());
            head[8..16].copy_from_slice(&entry.inode.to_le_bytes());
            head[16..20].copy_from_slice(&(entry.name.len() as u32).to_le_bytes());
            head[20] = entry.file_type as u8;
            for bytes in [&head, entry.name.as_bytes()] {
                let part = &bytes[..bytes.len().min((len - done) as usize)];
                machine.write(offset(buffer, done)?, part)?;
                done += part.len() as u32;
            }
            if done == len {
                break;
            }
        }
        write_u32(machine, used, done)
    }

    /// Writes that a descriptor is a directory which was open from the begin, and the length of its path.
    pub fn fd_prestat_get(&mut self, machine: &mut impl Machine, fd: u32, stat: u32) -> Result<()> {
        self.check_preopen(fd)?;
        // A tag, which is 0 for a directory, and the length of its name.
        write_u32(machine, stat, 0)?;
        write_u32(machine, offset(stat, 4)?, PREOPEN.len() as u32)
    }

    /// Writes the path of a directory that was open from the begin.
    pub fn fd_prestat_dir_name(&mut self, machine: &mut impl Machine, fd: u32, name: u32, len: u32) -> Result<()> {
        self.check_preopen(fd)?;
        if (len as usize) < PREOPEN.len() {
            return Err(Errno::Nametoolong);
        }
        Ok(machine.write(name, PREOPEN)?)
    }

    /// C programs look for such directories from 3 on until there is a bad descriptor.
    fn check_preopen(&self, fd: u32) -> Result<()> {
        if self.fs.is_preopen(fd)? { Ok(()) } else { Err(Errno::Badf) }
    }

    /// Fails: there are no sockets.
    pub fn sock_accept(&mut self, _machine: &mut impl Machine, fd: u32, _flags: u32, _new: u32) -> Result<()> {
        self.no_socket(fd)
    }

    /// Fails: there are no sockets.
    pub fn sock_recv(
        &mut self,
        _machine: &mut impl Machine,
        fd: u32,
        _buffers: u32,
        _count: u32,
        _flags: u32,
        _received: u32,
        _out_flags: u32,
    ) -> Result<()> {
        self.no_socket(fd)
    }

    /// Fails: there are no sockets.
    pub fn sock_send(
        &mut self,
        _machine: &mut impl Machine,
        fd: u32,
        _buffers: u32,
        _count: u32,
        _flags: u32,
        _sent: u32,
    ) -> Result<()> {
        self.no_socket(fd)
    }

    /// Fails: there are no sockets.
    pub fn sock_shutdown(&mut self, _machine: &mut impl Machine, fd: u32, _how: u32) -> Result<()> {
        self.no_socket(fd)
    }

    fn no_socket(&self, fd: u32) -> Result<()> {
        self.fs.status(fd)?;
        Err(Errno::Notsock)
    }
}

/// Paths.
impl Preview1 {
    /// Opens a file or directory, and writes its descriptor. The rights say whether for reading or writing.
    pub fn path_open(
        &mut self,
        machine: &mut impl Machine,
        dir: u32,
        lookup: u32,
        path: u32,
        path_len: u32,
        flags: u32,
        base: u64,
        _inheriting: u64,
        status: u32,
        opened: u32,
    ) -> Result<()> {
        check_lookup(lookup)?;
        let mut bytes = [0; MAX_PATH];
        let path = read_path(machine, &mut bytes, path, path_len)?;
        let options = OpenOptions {
            read: base & rights::READING != 0,
            write: base & rights::FD_WRITE != 0,
            flags: bits(flags)?,
            status: bits(status)?,
        };
        // The time is needed only for what is made or emptied.
        let now = if flags == 0 { 0 } else { machine.wall_clock() };
        let fd = self.fs.open(dir, path, options, now)?;
        if let Err(error) = write_u32(machine, opened, fd) {
            self.fs.close(fd)?;
            return Err(error);
        }
        Ok(())
    }

    /// Makes a directory.
    pub fn path_create_directory(
        &mut self,
        machine: &mut impl Machine,
        dir: u32,
        path: u32,
        path_len: u32,
    ) -> Result<()> {
        let mut bytes = [0; MAX_PATH];
        let path = read_path(machine, &mut bytes, path, path_len)?;
        self.fs.create_directory(dir, path, machine.wall_clock())
    }

    /// Removes an empty directory.
    pub fn path_remove_directory(
        &mut self,
        machine: &mut impl Machine,
        dir: u32,
        path: u32,
        path_len: u32,
    ) -> Result<()> {
        let mut bytes = [0; MAX_PATH];
        let path = read_path(machine, &mut bytes, path, path_len)?;
        self.fs.remove_directory(dir, path, machine.wall_clock())
    }

    /// Removes a file.
    pub fn path_unlink_file(&mut self, machine: &mut impl Machine, dir: u32, path: u32, path_len: u32) -> Result<()> {
        let mut bytes = [0; MAX_PATH];
        let path = read_path(machine, &mut bytes, path, path_len)?;
        self.fs.unlink(dir, path, machine.wall_clock())
    }

    /// Gives a file or directory another name, in place of what has it.
    pub fn path_rename(
        &mut self,
        machine: &mut impl Machine,
        from_dir: u32,
        from: u32,
        from_len: u32,
        to_dir: u32,
        to: u32,
        to_len: u32,
    ) -> Result<()> {
        let (mut from_bytes, mut to_bytes) = ([0; MAX_PATH], [0; MAX_PATH]);
        let from = read_path(machine, &mut from_bytes, from, from_len)?;
        let to = read_path(machine, &mut to_bytes, to, to_len)?;
        self.fs.rename(from_dir, from, to_dir, to, machine.wall_clock())
    }

    /// Writes what is known of a file or directory: type, size, times.
    pub fn path_filestat_get(
        &mut self,
        machine: &mut impl Machine,
        dir: u32,
        lookup: u32,
        path: u32,
        path_len: u32,
        stat: u32,
    ) -> Result<()> {
        check_lookup(lookup)?;
        let mut bytes = [0; MAX_PATH];
        let path = read_path(machine, &mut bytes, path, path_len)?;
        write_metadata(machine, stat, &self.fs.metadata_at(dir, path)?)
    }

    /// Sets the times of a file or directory.
    pub fn path_filestat_set_times(
        &mut self,
        machine: &mut impl Machine,
        dir: u32,
        lookup: u32,
        path: u32,
        path_len: u32,
        accessed: u64,
        modified: u64,
        which: u32,
    ) -> Result<()> {
        check_lookup(lookup)?;
        let mut bytes = [0; MAX_PATH];
        let path = read_path(machine, &mut bytes, path, path_len)?;
        let now = machine.wall_clock();
        let (accessed, modified) = new_times(accessed, modified, which, now)?;
        self.fs.set_times_at(dir, path, accessed, modified, now)
    }

    /// Fails: there are no links, so nothing that is there is one.
    pub fn path_readlink(
        &mut self,
        machine: &mut impl Machine,
        dir: u32,
        path: u32,
        path_len: u32,
        _buffer: u32,
        _len: u32,
        _used: u32,
    ) -> Result<()> {
        let mut bytes = [0; MAX_PATH];
        let path = read_path(machine, &mut bytes, path, path_len)?;
        self.fs.metadata_at(dir, path)?;
        Err(Errno::Inval)
    }

    /// Not to be had: each file has one name.
    pub fn path_link(
        &mut self,
        _machine: &mut impl Machine,
        _from_dir: u32,
        _lookup: u32,
        _from: u32,
        _from_len: u32,
        _to_dir: u32,
        _to: u32,
        _to_len: u32,
    ) -> Result<()> {
        Err(Errno::Notsup)
    }

    /// Not to be had: there are no links.
    pub fn path_symlink(
        &mut self,
        _machine: &mut impl Machine,
        _target: u32,
        _target_len: u32,
        _dir: u32,
        _path: u32,
        _path_len: u32,
    ) -> Result<()> {
        Err(Errno::Notsup)
    }
}

/// Exports the functions of [`Preview1`] from a WebAssembly module, under their names.
///
/// The argument is the path of a function that calls another with the state and the machine, and returns its error as
/// a number, or 0:
///
/// ```ignore
/// fn call(function: impl FnOnce(&mut Preview1, &mut Memory) -> Result<(), Errno>) -> u32
/// ```
#[macro_export]
macro_rules! export_preview1 {
    ($call:path) => {
        $crate::export_preview1! { $call:
            args_get(pointers: u32, buffer: u32);
            args_sizes_get(count: u32, size: u32);
            environ_get(pointers: u32, buffer: u32);
            environ_sizes_get(count: u32, size: u32);
            clock_res_get(clock: u32, resolution: u32);
            clock_time_get(clock: u32, precision: u64, time: u32);
            fd_advise(fd: u32, offset: u64, len: u64, advice: u32);
            fd_close(fd: u32);
            fd_datasync(fd: u32);
            fd_fdstat_get(fd: u32, stat: u32);
            fd_fdstat_set_flags(fd: u32, flags: u32);
            fd_filestat_get(fd: u32, stat: u32);
            fd_filestat_set_size(fd: u32, size: u64);
            fd_filestat_set_times(fd: u32, accessed: u64, modified: u64, which: u32);
            fd_pread(fd: u32, buffers: u32, count: u32, at: u64, read: u32);
            fd_prestat_get(fd: u32, stat: u32);
            fd_prestat_dir_name(fd: u32, name: u32, len: u32);
            fd_pwrite(fd: u32, buffers: u32, count: u32, at: u64, written: u32);
            fd_read(fd: u32, buffers: u32, count: u32, read: u32);
            fd_readdir(fd: u32, buffer: u32, len: u32, cookie: u64, used: u32);
            fd_seek(fd: u32, offset: u64, whence: u32, position: u32);
            fd_sync(fd: u32);
            fd_tell(fd: u32, position: u32);
            fd_write(fd: u32, buffers: u32, count: u32, written: u32);
            path_create_directory(dir: u32, path: u32, path_len: u32);
            path_filestat_get(dir: u32, lookup: u32, path: u32, path_len: u32, stat: u32);
            path_filestat_set_times(
                dir: u32, lookup: u32, path: u32, path_len: u32, accessed: u64, modified: u64, which: u32
            );
            path_link(from_dir: u32, lookup: u32, from: u32, from_len: u32, to_dir: u32, to: u32, to_len: u32);
            path_open(
                dir: u32, lookup: u32, path: u32, path_len: u32, flags: u32, base: u64, inheriting: u64, status: u32,
                opened: u32
            );
            path_readlink(dir: u32, path: u32, path_len: u32, buffer: u32, len: u32, used: u32);
            path_remove_directory(dir: u32, path: u32, path_len: u32);
            path_rename(from_dir: u32, from: u32, from_len: u32, to_dir: u32, to: u32, to_len: u32);
            path_symlink(target: u32, target_len: u32, dir: u32, path: u32, path_len: u32);
            path_unlink_file(dir: u32, path: u32, path_len: u32);
            poll_oneoff(subscriptions: u32, events: u32, count: u32, happened: u32);
            sched_yield();
            random_get(buffer: u32, len: u32);
            sock_accept(fd: u32, flags: u32, new: u32);
            sock_recv(fd: u32, buffers: u32, count: u32, flags: u32, received: u32, out_flags: u32);
            sock_send(fd: u32, buffers: u32, count: u32, flags: u32, sent: u32);
            sock_shutdown(fd: u32, how: u32);
        }

        #[unsafe(no_mangle)]
        extern "C" fn proc_exit(code: u32) {
            $call(|preview1, machine| preview1.proc_exit(machine, code));
        }
    };
    ($call:path: $($name:ident($($argument:ident: $type:ty),*);)*) => {$(
        #[unsafe(no_mangle)]
        extern "C" fn $name($($argument: $type),*) -> u32 {
            $call(|preview1, machine| preview1.$name(machine, $($argument),*))
        }
    )*};
}

/// The clocks of the interface. Python is alone on its processor: the time that it has used it is the time that passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Clock {
    Real,
    Monotonic,
}

impl TryFrom<u32> for Clock {
    type Error = Errno;

    fn try_from(id: u32) -> Result<Self> {
        match id {
            0 => Ok(Self::Real),
            1..=3 => Ok(Self::Monotonic),
            _ => Err(Errno::Inval),
        }
    }
}

impl Clock {
    fn now(self, machine: &mut impl Machine) -> u64 {
        match self {
            Self::Real => machine.wall_clock(),
            Self::Monotonic => machine.monotonic(),
        }
    }
}

/// When a poll began: each clock is asked at most once, and only when its time matters.
#[derive(Default)]
struct Now {
    real: Option<u64>,
    monotonic: Option<u64>,
}

impl Now {
    fn get(&mut self, machine: &mut impl Machine, clock: Clock) -> u64 {
        let time = match clock {
            Clock::Real => &mut self.real,
            Clock::Monotonic => &mut self.monotonic,
        };
        *time.get_or_insert_with(|| clock.now(machine))
    }
}

/// What a poll waits for.
struct Subscription {
    userdata: u64,
    kind: u8,
    /// A descriptor, or the id of a clock.
    subject: u32,
    timeout: u64,
    flags: u16,
}

impl Subscription {
    fn read(machine: &impl Machine, list: u32, index: u32) -> Result<Self> {
        let mut bytes = [0; event::SUBSCRIPTION as usize];
        machine.read(element(list, index, event::SUBSCRIPTION)?, &mut bytes)?;
        Ok(Self {
            userdata: u64_at(&bytes, 0),
            kind: bytes[8],
            subject: u64_at(&bytes, 16) as u32,
            timeout: u64_at(&bytes, 24),
            flags: u64_at(&bytes, 40) as u16,
        })
    }

    /// Nanoseconds until it happens, from when the poll began.
    fn remaining(&self, machine: &mut impl Machine, now: &mut Now) -> Result<u64> {
        match self.kind {
            event::CLOCK => {
                let clock = Clock::try_from(self.subject)?;
                if self.flags & event::ABSOLUTE == 0 {
                    Ok(self.timeout)
                } else {
                    Ok(self.timeout.saturating_sub(now.get(machine, clock)))
                }
            }
            event::FD_READ | event::FD_WRITE => Ok(0),
            _ => Err(Errno::Inval),
        }
    }
}

/// Bytes of all buffers in a list.
fn total(machine: &impl Machine, list: u32, count: u32) -> Result<usize> {
    if count > MAX_BUFFERS {
        return Err(Errno::Inval);
    }
    let mut total = 0_u32;
    for index in 0..count {
        total = total.checked_add(buffer(machine, list, index)?.1).ok_or(Errno::Inval)?;
    }
    Ok(total as usize)
}

/// Address and length of one buffer in a list.
fn buffer(machine: &impl Machine, list: u32, index: u32) -> Result<(u32, u32)> {
    let mut bytes = [0; 8];
    machine.read(element(list, index, 8)?, &mut bytes)?;
    let both = u64::from_le_bytes(bytes);
    Ok((both as u32, (both >> 32) as u32))
}

/// Copies contents into a list of buffers.
fn deliver(machine: &mut impl Machine, content: Content<'_>, list: u32, count: u32) -> Result<()> {
    let len = content.len();
    let mut done = 0;
    for index in 0..count {
        if done == len {
            break;
        }
        let (address, room) = buffer(machine, list, index)?;
        let part = (room as usize).min(len - done);
        match content {
            Content::Library { offset, .. } => machine.copy_library(address, offset + done as u32, part as u32)?,
            Content::Bytes(bytes) => machine.write(address, &bytes[done..done + part])?,
        }
        done += part;
    }
    Ok(())
}

/// Hands a list of buffers to a stream, and says how many bytes that was.
fn print(machine: &mut impl Machine, stream: Output, list: u32, count: u32) -> Result<u32> {
    let total = total(machine, list, count)?;
    let mut chunk = [0; CHUNK];
    for index in 0..count {
        let (address, len) = buffer(machine, list, index)?;
        let mut done = 0;
        while done < len {
            let part = &mut chunk[..CHUNK.min((len - done) as usize)];
            machine.read(offset(address, done)?, part)?;
            machine.output(stream, part);
            done += part.len() as u32;
        }
    }
    Ok(total as u32)
}

/// Reads a path into a buffer.
fn read_path<'a>(machine: &impl Machine, bytes: &'a mut [u8; MAX_PATH], address: u32, len: u32) -> Result<&'a [u8]> {
    let path = bytes.get_mut(..len as usize).ok_or(Errno::Nametoolong)?;
    machine.read(address, path)?;
    Ok(path)
}

/// The one flag is whether to follow a link at the end of a path: there are none.
fn check_lookup(flags: u32) -> Result<()> {
    if flags <= 1 { Ok(()) } else { Err(Errno::Inval) }
}

/// Flags that are 16 bits wide.
fn bits(flags: u32) -> Result<u16> {
    u16::try_from(flags).map_err(|_| Errno::Inval)
}

/// The times that are to be set.
fn new_times(accessed: u64, modified: u64, which: u32, now: u64) -> Result<(Option<u64>, Option<u64>)> {
    // Two bits for each: as given, or now.
    let choose = |bits, given| match bits {
        0 => Ok(None),
        1 => Ok(Some(given)),
        2 => Ok(Some(now)),
        _ => Err(Errno::Inval),
    };
    Ok((choose(which & 3, accessed)?, choose(which >> 2, modified)?))
}

fn write_metadata(machine: &mut impl Machine, address: u32, metadata: &Metadata) -> Result<()> {
    let Metadata { device, inode, file_type, links, size, times } = metadata;
    let fields = [*device, *inode, *file_type as u64, *links, *size, times.accessed, times.modified, times.changed];
    let mut bytes = [0; 64];
    for (bytes, field) in bytes.as_chunks_mut().0.iter_mut().zip(fields) {
        *bytes = field.to_le_bytes();
    }
    Ok(machine.write(address, &bytes)?)
}

/// Writes strings with a NUL behind each, and the list of their addresses.
fn write_strings<'a>(
    machine: &mut impl Machine,
    strings: impl IntoIterator<Item = &'a str>,
    pointers: u32,
    buffer: u32,
) -> Result<()> {
    let mut address = buffer;
    for (index, string) in (0..).zip(strings) {
        write_u32(machine, element(pointers, index, 4)?, address)?;
        machine.write(address, string.as_bytes())?;
        let end = offset(address, string.len() as u32)?;
        machine.write(end, &[0])?;
        address = offset(end, 1)?;
    }
    Ok(())
}

/// Writes how many strings there are, and the bytes that they need.
fn write_sizes<'a>(
    machine: &mut impl Machine,
    strings: impl IntoIterator<Item = &'a str>,
    count: u32,
    size: u32,
) -> Result<()> {
    let (strings, bytes) = strings
        .into_iter()
        .fold((0, 0), |(strings, bytes): (u32, u32), string| (strings + 1, bytes + string.len() as u32 + 1));
    write_u32(machine, count, strings)?;
    write_u32(machine, size, bytes)
}

fn write_u32(machine: &mut impl Machine, address: u32, value: u32) -> Result<()> {
    Ok(machine.write(address, &value.to_le_bytes())?)
}

fn write_u64(machine: &mut impl Machine, address: u32, value: u64) -> Result<()> {
    Ok(machine.write(address, &value.to_le_bytes())?)
}

/// The address of an element of a list.
fn element(list: u32, index: u32, size: u32) -> Result<u32> {
    offset(list, index.checked_mul(size).ok_or(Errno::Fault)?)
}

/// The address some bytes further.
fn offset(address: u32, by: u32) -> Result<u32> {
    address.checked_add(by).ok_or(Errno::Fault)
}

fn u64_at(bytes: &[u8; event::SUBSCRIPTION as usize], at: usize) -> u64 {
    bytes[at..].first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes))
}

#[cfg(test)]
mod tests;
