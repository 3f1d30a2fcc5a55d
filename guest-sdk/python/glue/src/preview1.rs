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
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use super::*;
    use crate::fs::{SEALED_TIME, Space, open_flags, status_flags};

    const NOWHERE: u32 = 0xffff_fff0;
    const SCRATCH: u32 = 16;

    /// A memory of 64 KiB and a world in which time passes only by sleeping.
    struct Computer {
        memory: Vec<u8>,
        /// Where `put` puts the next bytes.
        next: u32,
        library: Vec<u8>,
        library_copies: usize,
        time: u64,
        sleeps: Vec<u64>,
        output: Vec<(Output, Vec<u8>)>,
    }

    impl Computer {
        fn new() -> Self {
            Self {
                memory: vec![0xaa; 1 << 16],
                next: 1 << 12,
                library: (0..200).collect(),
                library_copies: 0,
                time: 1000,
                sleeps: Vec::new(),
                output: Vec::new(),
            }
        }

        fn put(&mut self, bytes: &[u8]) -> u32 {
            let address = self.next;
            self.write(address, bytes).unwrap();
            self.next = (address + bytes.len() as u32).next_multiple_of(8);
            address
        }

        fn buffers(&mut self, buffers: &[(u32, u32)]) -> u32 {
            let bytes: Vec<u8> =
                buffers.iter().flat_map(|(at, len)| [at.to_le_bytes(), len.to_le_bytes()]).flatten().collect();
            self.put(&bytes)
        }

        fn get<const N: usize>(&self, address: u32) -> [u8; N] {
            let mut bytes = [0; N];
            self.read(address, &mut bytes).unwrap();
            bytes
        }

        fn u32(&self, address: u32) -> u32 {
            u32::from_le_bytes(self.get(address))
        }

        fn u64(&self, address: u32) -> u64 {
            u64::from_le_bytes(self.get(address))
        }

        fn range(&self, address: u32, len: usize) -> std::result::Result<std::ops::Range<usize>, Fault> {
            let start = address as usize;
            if start + len <= self.memory.len() { Ok(start..start + len) } else { Err(Fault) }
        }
    }

    impl Machine for Computer {
        fn read(&self, address: u32, into: &mut [u8]) -> std::result::Result<(), Fault> {
            into.copy_from_slice(&self.memory[self.range(address, into.len())?]);
            Ok(())
        }

        fn write(&mut self, address: u32, from: &[u8]) -> std::result::Result<(), Fault> {
            let range = self.range(address, from.len())?;
            self.memory[range].copy_from_slice(from);
            Ok(())
        }

        fn copy_library(&mut self, to: u32, offset: u32, len: u32) -> std::result::Result<(), Fault> {
            self.library_copies += 1;
            let range = self.range(to, len as usize)?;
            self.memory[range].copy_from_slice(&self.library[offset as usize..][..len as usize]);
            Ok(())
        }

        fn wall_clock(&mut self) -> u64 {
            1_000_000 + self.time
        }

        fn monotonic(&mut self) -> u64 {
            self.time
        }

        fn sleep(&mut self, nanoseconds: u64) {
            self.sleeps.push(nanoseconds);
            self.time = self.time.saturating_add(nanoseconds);
        }

        fn random(&mut self, into: &mut [u8]) {
            into.fill(4);
        }

        fn output(&mut self, stream: Output, bytes: &[u8]) {
            self.output.push((stream, bytes.to_vec()));
        }

        fn exit(&mut self, code: u32) -> ! {
            panic!("exit {code}")
        }
    }

    fn example() -> (Preview1, Computer) {
        let mut fs = Fs::new(Space { bytes: 10_000, entries: 100 });
        fs.add_library_file("lib.zip", 50, 100).unwrap();
        fs.add_file("app/score.py", b"import json".to_vec()).unwrap();
        (Preview1::new(fs, vec!["HOME=/tmp".to_owned(), "A=".to_owned()]), Computer::new())
    }

    fn open(python: &mut Preview1, computer: &mut Computer, path: &str, flags: u16, base: u64) -> Result<u32> {
        let address = computer.put(path.as_bytes());
        let len = path.len() as u32;
        python.path_open(computer, 3, 1, address, len, flags.into(), base, rights::ALL, 0, SCRATCH)?;
        Ok(computer.u32(SCRATCH))
    }

    fn write(python: &mut Preview1, computer: &mut Computer, fd: u32, bytes: &[u8]) -> Result<u32> {
        let address = computer.put(bytes);
        let buffers = computer.buffers(&[(address, bytes.len() as u32)]);
        python.fd_write(computer, fd, buffers, 1, SCRATCH)?;
        Ok(computer.u32(SCRATCH))
    }

    fn read(python: &mut Preview1, computer: &mut Computer, fd: u32, len: u32) -> Result<Vec<u8>> {
        let buffers = computer.buffers(&[(0x8000, len)]);
        python.fd_read(computer, fd, buffers, 1, SCRATCH)?;
        let range = computer.range(0x8000, computer.u32(SCRATCH) as usize)?;
        Ok(computer.memory[range].to_vec())
    }

    #[test]
    fn arguments_and_environment_are_lists_of_strings() {
        let (mut python, mut computer) = example();
        python.args_sizes_get(&mut computer, 0, 4).unwrap();
        assert_eq!((computer.u32(0), computer.u32(4)), (1, 7));
        python.args_get(&mut computer, 0, 100).unwrap();
        assert_eq!((computer.u32(0), &computer.get::<7>(100)), (100, b"python\0"));
        python.environ_sizes_get(&mut computer, 0, 4).unwrap();
        assert_eq!((computer.u32(0), computer.u32(4)), (2, 13));
        python.environ_get(&mut computer, 0, 100).unwrap();
        assert_eq!((computer.u32(0), computer.u32(4)), (100, 110));
        assert_eq!(&computer.get::<13>(100), b"HOME=/tmp\0A=\0");
        assert_eq!(python.environ_get(&mut computer, NOWHERE, 100), Err(Errno::Fault));
        assert_eq!(python.environ_get(&mut computer, 0, NOWHERE), Err(Errno::Fault));
    }

    #[test]
    fn clocks_are_the_machine_s() {
        let (mut python, mut computer) = example();
        for (clock, time) in [(0, 1_001_000), (1, 1000), (2, 1000), (3, 1000)] {
            python.clock_time_get(&mut computer, clock, 1, SCRATCH).unwrap();
            assert_eq!(computer.u64(SCRATCH), time);
            python.clock_res_get(&mut computer, clock, SCRATCH).unwrap();
            assert_eq!(computer.u64(SCRATCH), 1);
        }
        assert_eq!(python.clock_time_get(&mut computer, 4, 1, SCRATCH), Err(Errno::Inval));
        assert_eq!(python.clock_res_get(&mut computer, 4, SCRATCH), Err(Errno::Inval));
        assert_eq!(python.sched_yield(&mut computer), Ok(()));
    }

    #[test]
    fn random_bytes_fill_the_buffer_and_no_more() {
        let (mut python, mut computer) = example();
        python.random_get(&mut computer, 100, 10_000).unwrap();
        assert!(computer.memory[100..10_100].iter().all(|byte| *byte == 4));
        assert_eq!((computer.memory[99], computer.memory[10_100]), (0xaa, 0xaa));
        assert_eq!(python.random_get(&mut computer, 100, u32::MAX), Err(Errno::Fault));
    }

    #[test]
    fn exit_ends_python_with_its_code() {
        let (mut python, mut computer) = example();
        let panic = catch_unwind(AssertUnwindSafe(|| python.proc_exit(&mut computer, 7))).err().unwrap();
        assert_eq!(panic.downcast_ref::<String>().unwrap(), "exit 7");
    }

    #[test]
    fn the_root_is_the_one_directory_that_is_open() {
        let (mut python, mut computer) = example();
        python.fd_prestat_get(&mut computer, 3, SCRATCH).unwrap();
        assert_eq!((computer.u32(SCRATCH), computer.u32(SCRATCH + 4)), (0, 1));
        python.fd_prestat_dir_name(&mut computer, 3, SCRATCH, 1).unwrap();
        assert_eq!(computer.get(SCRATCH), *b"/");
        assert_eq!(python.fd_prestat_dir_name(&mut computer, 3, SCRATCH, 0), Err(Errno::Nametoolong));
        open(&mut python, &mut computer, "app", 0, rights::ALL & !rights::WRITING).unwrap();
        for fd in [0, 4, 5] {
            assert_eq!(python.fd_prestat_get(&mut computer, fd, SCRATCH), Err(Errno::Badf));
        }
    }

    #[test]
    fn rights_tell_how_a_descriptor_was_opened() {
        let (mut python, mut computer) = example();
        let reader = open(&mut python, &mut computer, "app/score.py", 0, rights::ALL & !rights::WRITING).unwrap();
        let writer = open(&mut python, &mut computer, "tmp/f", 1, rights::ALL & !rights::READING).unwrap();
        let search = open(&mut python, &mut computer, "tmp/f", 0, 0).unwrap();
        let seek_and_tell = 1 << 2 | 1 << 5;
        for (fd, file_type, has, has_not, inheriting) in [
            (0, 2, rights::FD_READ | seek_and_tell, rights::FD_WRITE, 0),
            (1, 2, rights::FD_WRITE | seek_and_tell, rights::FD_READ, 0),
            (3, 3, rights::READING, rights::FD_WRITE, rights::ALL),
            (reader, 4, rights::FD_READ, rights::WRITING, 0),
            (writer, 4, rights::WRITING, rights::READING, 0),
            (search, 4, 0, rights::READING | rights::WRITING, 0),
        ] {
            python.fd_fdstat_get(&mut computer, fd, SCRATCH).unwrap();
            assert_eq!(u32::from(computer.get::<1>(SCRATCH)[0]), file_type);
            let base = computer.u64(SCRATCH + 8);
            assert_eq!((base & has, base & has_not), (has, 0), "{fd}");
            assert_eq!(computer.u64(SCRATCH + 16), inheriting);
        }
        python.fd_fdstat_set_flags(&mut computer, writer, status_flags::APPEND.into()).unwrap();
        python.fd_fdstat_get(&mut computer, writer, SCRATCH).unwrap();
        assert_eq!(computer.u32(SCRATCH) >> 16, 1);
        assert_eq!(python.fd_fdstat_set_flags(&mut computer, writer, 1 << 16), Err(Errno::Inval));
        // As C programs open for reading and writing: with what the directory hands on.
        assert_eq!(open(&mut python, &mut computer, "app/score.py", 0, rights::ALL), Err(Errno::Rofs));
        assert_eq!(open(&mut python, &mut computer, "app", 0, rights::ALL), Err(Errno::Isdir));
    }

    #[test]
    fn library_files_are_read_with_one_copy_for_a_buffer() {
        let (mut python, mut computer) = example();
        let fd = open(&mut python, &mut computer, "lib.zip", 0, rights::FD_READ).unwrap();
        assert_eq!(read(&mut python, &mut computer, fd, 10).unwrap(), (50..60).collect::<Vec<u8>>());
        assert_eq!(computer.library_copies, 1);
        let buffers = computer.buffers(&[(0x9000, 30), (0, 0), (0x8000, 100), (0xa000, 100)]);
        python.fd_read(&mut computer, fd, buffers, 4, SCRATCH).unwrap();
        assert_eq!(computer.u32(SCRATCH), 90);
        assert_eq!(computer.memory[0x9000..0x901e], (60..90).collect::<Vec<u8>>());
        assert_eq!(computer.memory[0x8000..0x803c], (90..150).collect::<Vec<u8>>());
        assert_eq!((computer.memory[0x803c], computer.memory[0xa000]), (0xaa, 0xaa));
        assert_eq!(read(&mut python, &mut computer, fd, 10).unwrap(), []);
        python.fd_pread(&mut computer, fd, buffers, 1, 99, SCRATCH).unwrap();
        assert_eq!((computer.u32(SCRATCH), computer.memory[0x9000]), (1, 149));
        python.fd_tell(&mut computer, fd, SCRATCH).unwrap();
        assert_eq!(computer.u64(SCRATCH), 100);
    }

    #[test]
    fn files_are_written_from_many_buffers() {
        let (mut python, mut computer) = example();
        let fd = open(&mut python, &mut computer, "/tmp/f", open_flags::CREATE, rights::ALL).unwrap();
        let (a, b) = (computer.put(b"hello "), computer.put(b"world"));
        let buffers = computer.buffers(&[(a, 6), (b, 5), (NOWHERE, 0), (a, 1)]);
        python.fd_write(&mut computer, fd, buffers, 2, SCRATCH).unwrap();
        assert_eq!(computer.u32(SCRATCH), 11);
        python.fd_pwrite(&mut computer, fd, buffers + 24, 1, 6, SCRATCH).unwrap();
        python.fd_seek(&mut computer, fd, (-9_i64).cast_unsigned(), 1, SCRATCH).unwrap();
        assert_eq!(computer.u64(SCRATCH), 2);
        assert_eq!(read(&mut python, &mut computer, fd, 100).unwrap(), b"llo horld");
        assert_eq!(python.fd_seek(&mut computer, fd, 0, 3, SCRATCH), Err(Errno::Inval));
        assert_eq!(python.fd_seek(&mut computer, 1, 0, 1, SCRATCH), Err(Errno::Spipe));
        assert_eq!(python.fd_tell(&mut computer, 1, SCRATCH), Err(Errno::Spipe));
        python.fd_filestat_set_size(&mut computer, fd, 2).unwrap();
        assert_eq!(python.fd_filestat_set_size(&mut computer, fd, 1 << 40), Err(Errno::Nospc));
        assert_eq!(write(&mut python, &mut computer, 3, b"x"), Err(Errno::Badf));
        for fd in [fd, 1, 3] {
            assert_eq!(python.fd_sync(&mut computer, fd), Ok(()));
            assert_eq!(python.fd_datasync(&mut computer, fd), Ok(()));
        }
        assert_eq!(python.fd_sync(&mut computer, 99), Err(Errno::Badf));
        assert_eq!(python.fd_advise(&mut computer, fd, 0, 0, 5), Ok(()));
        assert_eq!(python.fd_advise(&mut computer, fd, 0, 0, 6), Err(Errno::Inval));
        assert_eq!(python.fd_advise(&mut computer, 0, 0, 0, 0), Err(Errno::Spipe));
        assert_eq!(python.fd_close(&mut computer, fd), Ok(()));
        assert_eq!(python.fd_close(&mut computer, fd), Err(Errno::Badf));
    }

    #[test]
    fn streams_go_to_the_machine() {
        let (mut python, mut computer) = example();
        assert_eq!(write(&mut python, &mut computer, 1, b"out"), Ok(3));
        assert_eq!(write(&mut python, &mut computer, 2, b"err"), Ok(3));
        assert_eq!(write(&mut python, &mut computer, 0, b"in"), Err(Errno::Badf));
        let expected = [(Output::Output, b"out".to_vec()), (Output::Error, b"err".to_vec())];
        assert_eq!(computer.output, expected);
        assert_eq!(write(&mut python, &mut computer, 1, &[b'x'; 10_000]), Ok(10_000));
        assert_eq!(computer.output[2..].iter().map(|(_, bytes)| bytes.len()).sum::<usize>(), 10_000);
        assert_eq!(read(&mut python, &mut computer, 0, 100).unwrap(), []);
        assert_eq!(read(&mut python, &mut computer, 1, 100), Err(Errno::Badf));
        assert_eq!(python.fd_pwrite(&mut computer, 1, 0, 0, 0, SCRATCH), Err(Errno::Spipe));
        assert_eq!(python.fd_pread(&mut computer, 0, 0, 0, 0, SCRATCH), Err(Errno::Spipe));
        // What was closed can be something else.
        python.fd_close(&mut computer, 1).unwrap();
        assert_eq!(open(&mut python, &mut computer, "/tmp/f", open_flags::CREATE, rights::ALL), Ok(1));
        assert_eq!(write(&mut python, &mut computer, 1, b"file"), Ok(4));
        assert_eq!(python.fs.used().bytes, 4);
    }

    /// Reads a directory as wasi-libc does, with a buffer of `size` bytes that grows for a name that does not fit.
    fn list(python: &mut Preview1, computer: &mut Computer, fd: u32, mut size: u32) -> Vec<(String, u64, u8)> {
        let (mut found, mut cookie) = (Vec::new(), 0);
        'read: loop {
            python.fd_readdir(computer, fd, 0x8000, size, cookie, SCRATCH).unwrap();
            let used = computer.u32(SCRATCH);
            assert!(used <= size);
            let mut done = 0;
            loop {
                let left = used - done;
                if left < 24 {
                    if used < size {
                        return found;
                    }
                    continue 'read;
                }
                let at = 0x8000 + done;
                let (next, inode, len) = (computer.u64(at), computer.u64(at + 8), computer.u32(at + 16));
                if left < 24 + len {
                    size = size.max(24 + len);
                    continue 'read;
                }
                let range = computer.range(at + 24, len as usize).unwrap();
                let name = String::from_utf8(computer.memory[range].to_vec()).unwrap();
                found.push((name, inode, computer.memory[at as usize + 20]));
                (cookie, done) = (next, done + 24 + len);
            }
        }
    }

    #[test]
    fn directories_are_listed_whatever_the_buffer() {
        let (mut python, mut computer) = example();
        for index in 0..20 {
            let name = format!("tmp/{}", "x".repeat(index * 12 + 1));
            let fd = open(&mut python, &mut computer, &name, open_flags::CREATE, rights::ALL).unwrap();
            python.fd_close(&mut computer, fd).unwrap();
        }
        let fd = open(&mut python, &mut computer, "/tmp", open_flags::DIRECTORY, rights::READING).unwrap();
        let all = list(&mut python, &mut computer, fd, 0x4000);
        assert_eq!(all.len(), 22);
        assert_eq!(all[0], (".".to_owned(), python.fs.metadata(fd).unwrap().inode, 3));
        assert_eq!(all[1], ("..".to_owned(), python.fs.metadata(3).unwrap().inode, 3));
        assert_eq!((all[21].0.len(), all[21].2), (229, 4));
        for size in 24..600 {
            assert_eq!(list(&mut python, &mut computer, fd, size), all, "{size}");
        }
        assert_eq!(list(&mut python, &mut computer, 3, 100).len(), 5);
        python.fd_readdir(&mut computer, fd, 0x8000, 0, 0, SCRATCH).unwrap();
        assert_eq!(computer.u32(SCRATCH), 0);
        python.fd_readdir(&mut computer, fd, 0x8000, 100, u64::MAX, SCRATCH).unwrap();
        assert_eq!(computer.u32(SCRATCH), 0);
        assert_eq!(python.fd_readdir(&mut computer, 1, 0x8000, 100, 0, SCRATCH), Err(Errno::Notdir));
        assert_eq!(python.fd_readdir(&mut computer, fd, NOWHERE, 100, 0, SCRATCH), Err(Errno::Fault));
    }

    #[test]
    fn metadata_is_laid_out_as_the_interface_says() {
        let (mut python, mut computer) = example();
        let path = computer.put(b"app/score.py");
        python.path_filestat_get(&mut computer, 3, 0, path, 12, SCRATCH).unwrap();
        let inode = python.fs.metadata_at(3, b"app/score.py").unwrap().inode;
        let fields: Vec<u64> = (0..8).map(|index| computer.u64(SCRATCH + index * 8)).collect();
        assert_eq!(fields, [1, inode, 4, 1, 11, SEALED_TIME, SEALED_TIME, SEALED_TIME]);
        python.fd_filestat_get(&mut computer, 1, SCRATCH).unwrap();
        assert_eq!((computer.u64(SCRATCH), computer.u64(SCRATCH + 8), computer.u64(SCRATCH + 16)), (0, 2, 2));
        assert_eq!(python.path_filestat_get(&mut computer, 3, 2, path, 12, SCRATCH), Err(Errno::Inval));
        assert_eq!(python.path_filestat_get(&mut computer, 3, 0, path, 11, SCRATCH), Err(Errno::Noent));
    }

    #[test]
    fn times_are_set_as_given_or_to_now() {
        let (mut python, mut computer) = example();
        let fd = open(&mut python, &mut computer, "/tmp/f", open_flags::CREATE, rights::ALL).unwrap();
        let path = computer.put(b"tmp/f");
        let times = |python: &Preview1| {
            let times = python.fs.metadata(fd).unwrap().times;
            (times.accessed, times.modified)
        };
        let now = computer.wall_clock();
        python.fd_filestat_set_times(&mut computer, fd, 1, 2, 0b0101).unwrap();
        assert_eq!(times(&python), (1, 2));
        python.path_filestat_set_times(&mut computer, 3, 0, path, 5, 3, 4, 0b1001).unwrap();
        assert_eq!(times(&python), (3, now));
        python.fd_filestat_set_times(&mut computer, fd, 5, 6, 0b0010).unwrap();
        assert_eq!(times(&python), (now, now));
        for which in [0b0011, 0b1100, 0b1_0000, u32::MAX] {
            assert_eq!(python.fd_filestat_set_times(&mut computer, fd, 1, 2, which), Err(Errno::Inval));
        }
    }

    #[test]
    fn names_are_made_renamed_and_removed() {
        let (mut python, mut computer) = example();
        let (d, e, score) = (computer.put(b"tmp/d"), computer.put(b"tmp/e"), computer.put(b"app/score.py"));
        python.path_create_directory(&mut computer, 3, d, 5).unwrap();
        assert_eq!(python.path_unlink_file(&mut computer, 3, d, 5), Err(Errno::Isdir));
        python.path_rename(&mut computer, 3, d, 5, 3, e, 5).unwrap();
        assert_eq!(python.path_remove_directory(&mut computer, 3, d, 5), Err(Errno::Noent));
        python.path_remove_directory(&mut computer, 3, e, 5).unwrap();
        assert_eq!(python.path_unlink_file(&mut computer, 3, score, 12), Err(Errno::Rofs));
        assert_eq!(python.path_readlink(&mut computer, 3, score, 12, 0, 0, 0), Err(Errno::Inval));
        assert_eq!(python.path_readlink(&mut computer, 3, score, 11, 0, 0, 0), Err(Errno::Noent));
        assert_eq!(python.path_symlink(&mut computer, score, 12, 3, d, 5), Err(Errno::Notsup));
        assert_eq!(python.path_link(&mut computer, 3, 0, score, 12, 3, d, 5), Err(Errno::Notsup));
        assert_eq!(python.sock_accept(&mut computer, 3, 0, 0), Err(Errno::Notsock));
        assert_eq!(python.sock_recv(&mut computer, 3, 0, 0, 0, 0, 0), Err(Errno::Notsock));
        assert_eq!(python.sock_send(&mut computer, 1, 0, 0, 0, 0), Err(Errno::Notsock));
        assert_eq!(python.sock_shutdown(&mut computer, 9, 0), Err(Errno::Badf));
    }

    fn subscription(userdata: u64, kind: u8, subject: u32, timeout: u64, flags: u16) -> Vec<u8> {
        let mut bytes = vec![0; 48];
        bytes[0..8].copy_from_slice(&userdata.to_le_bytes());
        bytes[8] = kind;
        bytes[16..20].copy_from_slice(&subject.to_le_bytes());
        bytes[24..32].copy_from_slice(&timeout.to_le_bytes());
        bytes[40..42].copy_from_slice(&flags.to_le_bytes());
        bytes
    }

    /// Userdata, error, kind, bytes and flags.
    type Event = (u64, u16, u8, u64, u16);

    fn poll(python: &mut Preview1, computer: &mut Computer, list: &[Vec<u8>]) -> Result<Vec<Event>> {
        computer.sleeps.clear();
        let subscriptions = computer.put(&list.concat());
        python.poll_oneoff(computer, subscriptions, 0x8000, list.len() as u32, SCRATCH)?;
        let event = |at| {
            let [error, error_high, kind] = computer.get(at + 8);
            let flags = u16::from_le_bytes(computer.get(at + 24));
            (computer.u64(at), u16::from_le_bytes([error, error_high]), kind, computer.u64(at + 16), flags)
        };
        Ok((0..computer.u32(SCRATCH)).map(|index| event(0x8000 + index * 32)).collect())
    }

    #[test]
    fn polling_clocks_waits_for_the_first() {
        let (mut python, mut computer) = example();
        let (python, computer) = (&mut python, &mut computer);
        assert_eq!(poll(python, computer, &[subscription(7, 0, 1, 500, 0)]), Ok(vec![(7, 0, 0, 0, 0)]));
        assert_eq!(computer.sleeps, [500]);
        // Absolute times: 1500 passed already, of the real one 250 are left.
        let list = [
            subscription(1, 0, 0, 1_000_000 + 1500 + 250, 1),
            subscription(2, 0, 1, 1500 + 900, 1),
            subscription(3, 0, 0, 250, 0),
        ];
        assert_eq!(poll(python, computer, &list), Ok(vec![(1, 0, 0, 0, 0), (3, 0, 0, 0, 0)]));
        assert_eq!(computer.sleeps, [250]);
        assert_eq!(poll(python, computer, &[subscription(4, 0, 1, 1, 1)]), Ok(vec![(4, 0, 0, 0, 0)]));
        assert_eq!(poll(python, computer, &[subscription(4, 0, 1, 0, 0)]), Ok(vec![(4, 0, 0, 0, 0)]));
        assert!(computer.sleeps.is_empty());
        assert_eq!(poll(python, computer, &[subscription(5, 0, 1, u64::MAX, 0)]), Ok(vec![(5, 0, 0, 0, 0)]));
        assert_eq!(computer.sleeps, [u64::MAX]);
    }

    #[test]
    fn polling_descriptors_does_not_wait() {
        let (mut python, mut computer) = example();
        let fd = open(&mut python, &mut computer, "app/score.py", 0, rights::FD_READ).unwrap();
        let list = [
            subscription(1, 0, 1, 500, 0),
            subscription(2, 1, 0, 0, 0),
            subscription(3, 2, 1, 0, 0),
            subscription(4, 1, fd, 0, 0),
            subscription(5, 2, fd, 0, 0),
            subscription(6, 1, 99, 0, 0),
            subscription(7, 0, 9, 0, 0),
            subscription(8, 3, 0, 0, 0),
            subscription(9, 0, 1, 0, 0),
        ];
        let (badf, inval) = (Errno::Badf as u16, Errno::Inval as u16);
        let events = [
            (2, 0, 1, 0, 1),
            (3, 0, 2, 1, 0),
            (4, 0, 1, 11, 0),
            (5, badf, 2, 0, 0),
            (6, badf, 1, 0, 0),
            (7, inval, 0, 0, 0),
            (8, inval, 3, 0, 0),
            (9, 0, 0, 0, 0),
        ];
        assert_eq!(poll(&mut python, &mut computer, &list), Ok(events.to_vec()));
        assert!(computer.sleeps.is_empty());
        assert_eq!(poll(&mut python, &mut computer, &[]), Err(Errno::Inval));
        assert_eq!(python.poll_oneoff(&mut computer, 0x1000, 0x8000, u32::MAX, SCRATCH), Err(Errno::Fault));
        assert_eq!(python.poll_oneoff(&mut computer, 0x1000, NOWHERE, 1, SCRATCH), Err(Errno::Fault));
    }

    #[test]
    fn bad_addresses_change_nothing() {
        let (mut python, mut computer) = example();
        let (python, computer) = (&mut python, &mut computer);
        let fd = open(python, computer, "/tmp/f", open_flags::CREATE, rights::ALL).unwrap();
        write(python, computer, fd, b"contents").unwrap();
        python.fd_seek(computer, fd, 0, 0, SCRATCH).unwrap();

        let path = computer.put(b"app/score.py");
        let before = open(python, computer, "app", 0, 0).unwrap();
        python.fd_close(computer, before).unwrap();
        let opened = python.path_open(computer, 3, 1, path, 12, 0, rights::FD_READ, 0, 0, NOWHERE);
        assert_eq!(opened, Err(Errno::Fault));
        assert_eq!(open(python, computer, "app", 0, 0), Ok(before));

        let good = computer.put(b"more");
        let lists =
            [computer.buffers(&[(good, 4), (NOWHERE, 4)]), computer.buffers(&[(good, 4), (0xffff, 2)]), NOWHERE];
        for list in lists {
            assert_eq!(python.fd_write(computer, fd, list, 2, SCRATCH), Err(Errno::Fault));
            assert_eq!(python.fd_pwrite(computer, fd, list, 2, 100, SCRATCH), Err(Errno::Fault));
            assert_eq!(python.fd_read(computer, fd, list, 2, SCRATCH), Err(Errno::Fault));
            assert_eq!(python.fd_pread(computer, fd, list, 2, 0, SCRATCH), Err(Errno::Fault));
            assert_eq!(python.fd_write(computer, 1, list, 2, SCRATCH), Err(Errno::Fault));
            assert_eq!(python.fs.metadata(fd).unwrap().size, 8);
        }
        let list = computer.buffers(&[(0x8000, 4)]);
        assert_eq!(python.fd_read(computer, fd, list, 1, NOWHERE), Err(Errno::Fault));
        python.fd_tell(computer, fd, SCRATCH).unwrap();
        assert_eq!(computer.u64(SCRATCH), 0);

        let huge = computer.buffers(&[(0, u32::MAX), (0, 1)]);
        for fd in [fd, 0, 1] {
            assert_eq!(python.fd_read(computer, fd, huge, 2, SCRATCH), Err(Errno::Inval));
            assert_ne!(python.fd_write(computer, fd, huge, 2, SCRATCH), Ok(()));
        }
        assert_eq!(python.fd_read(computer, fd, huge, MAX_BUFFERS + 1, SCRATCH), Err(Errno::Inval));
        assert_eq!(python.fd_write(computer, fd, huge, 1, SCRATCH), Err(Errno::Nospc));
        assert_eq!(python.path_create_directory(computer, 3, 0, u32::MAX), Err(Errno::Nametoolong));
        assert_eq!(python.path_create_directory(computer, 3, NOWHERE, 4096), Err(Errno::Fault));
        let bad = computer.put(b"\xff\0");
        assert_eq!(python.path_create_directory(computer, 3, bad, 1), Err(Errno::Ilseq));
        assert_eq!(python.path_create_directory(computer, 3, bad + 1, 1), Err(Errno::Inval));
    }

    /// A generator of arguments: sound ones, so that calls get beyond their first check, and any others.
    struct Arguments(u64);

    impl Arguments {
        fn below(&mut self, limit: u32) -> u32 {
            self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (self.0 >> 33) as u32 % limit
        }

        fn one_of(&mut self, choices: &[u32]) -> u32 {
            choices[self.below(choices.len() as u32) as usize]
        }

        fn any(&mut self) -> u32 {
            let (small, medium, large) = (self.below(16), self.below(0x1_0000), self.below(1 << 31) * 2 + 1);
            self.one_of(&[small, medium, large, 0xfff8, 0xffff, 0x1_0000, i32::MAX as u32, NOWHERE, u32::MAX])
        }

        fn rarely_any(&mut self, sound: u32) -> u32 {
            if self.below(10) == 0 { self.any() } else { sound }
        }

        fn long(&mut self) -> u64 {
            match self.below(8) {
                0 => u64::MAX,
                1 => i64::MAX as u64,
                2 => u64::from(self.any()) << 32 | u64::from(self.any()),
                3 => u64::from(self.any()),
                _ => u64::from(self.below(3000)),
            }
        }

        fn fd(&mut self) -> u32 {
            let fd = self.below(9);
            self.rarely_any(fd)
        }

        fn dir(&mut self) -> u32 {
            let fd = if self.below(4) == 0 { self.below(9) } else { 3 };
            self.rarely_any(fd)
        }

        /// Where a result may be written to.
        fn result(&mut self) -> u32 {
            let address = 0x4000 + self.below(0x2000);
            self.rarely_any(address)
        }

        /// A list of buffers, and how many.
        fn buffers(&mut self) -> (u32, u32) {
            let (list, count) = (self.one_of(&[256, 264, 272, 280]), self.below(4));
            (self.rarely_any(list), self.rarely_any(count))
        }

        /// A path and its length.
        fn path(&mut self) -> (u32, u32) {
            let (address, len) = [(64, 5), (80, 5), (96, 7), (96, 3), (112, 12), (128, 7)][self.below(6) as usize];
            (self.rarely_any(address), self.rarely_any(len))
        }
    }

    /// Calls one of the functions, chosen by chance.
    fn call(python: &mut Preview1, c: &mut Computer, a: &mut Arguments) -> Result<()> {
        let ((list, count), (path, len), (to, to_len)) = (a.buffers(), a.path(), a.path());
        match a.below(50) {
            0 => python.args_get(c, a.result(), a.result()),
            1 => python.args_sizes_get(c, a.result(), a.result()),
            2 => python.environ_get(c, a.result(), a.result()),
            3 => python.environ_sizes_get(c, a.result(), a.result()),
            4 => python.clock_res_get(c, a.below(5), a.result()),
            5 => python.clock_time_get(c, a.below(5), a.long(), a.result()),
            6 => python.fd_advise(c, a.fd(), a.long(), a.long(), a.below(7)),
            7 => python.fd_close(c, 4 + a.fd() % 10),
            8 => python.fd_datasync(c, a.fd()),
            9 => python.fd_sync(c, a.fd()),
            10 => python.fd_fdstat_get(c, a.fd(), a.result()),
            11 => python.fd_fdstat_set_flags(c, a.fd(), a.below(33)),
            12 => python.fd_filestat_get(c, a.fd(), a.result()),
            13 => python.fd_filestat_set_size(c, a.fd(), a.long()),
            14 => python.fd_filestat_set_times(c, a.fd(), a.long(), a.long(), a.below(17)),
            15 => python.fd_pread(c, a.fd(), list, count, a.long(), a.result()),
            16 => python.fd_prestat_get(c, a.dir(), a.result()),
            17 => python.fd_prestat_dir_name(c, a.dir(), a.result(), a.any()),
            18 => python.fd_pwrite(c, a.fd(), list, count, a.long(), a.result()),
            19 | 20 => python.fd_read(c, a.fd(), list, count, a.result()),
            21 => python.fd_readdir(c, a.fd(), a.result(), a.below(200), a.long() % 40, a.result()),
            22 => python.fd_readdir(c, a.fd(), a.result(), a.any(), a.long(), a.result()),
            23 => python.fd_seek(c, a.fd(), a.long(), a.below(4), a.result()),
            24 => python.fd_tell(c, a.fd(), a.result()),
            25..=27 => python.fd_write(c, a.fd(), list, count, a.result()),
            28 => python.path_create_directory(c, a.dir(), path, len),
            29 => python.path_filestat_get(c, a.dir(), a.below(3), path, len, a.result()),
            30 => python.path_filestat_set_times(c, a.dir(), 0, path, len, a.long(), a.long(), a.below(17)),
            31 => python.path_link(c, a.dir(), a.any(), path, len, a.dir(), to, to_len),
            32..=38 => {
                let (flags, base, status) = (a.below(17), a.long() | u64::from(a.below(128)), a.below(33));
                python.path_open(c, a.dir(), a.below(2), path, len, flags, base, a.long(), status, a.result())
            }
            39 => python.path_readlink(c, a.dir(), path, len, a.result(), a.any(), a.result()),
            40 => python.path_remove_directory(c, a.dir(), path, len),
            41 => python.path_rename(c, a.dir(), path, len, a.dir(), to, to_len),
            42 => python.path_symlink(c, path, len, a.dir(), to, to_len),
            43 => python.path_unlink_file(c, a.dir(), path, len),
            44 => python.poll_oneoff(c, a.any(), a.result(), a.below(5), a.result()),
            45 => python.poll_oneoff(c, a.any(), a.result(), a.any(), a.result()),
            46 => python.random_get(c, a.result(), a.any()),
            47 => python.sock_recv(c, a.fd(), list, count, a.any(), a.result(), a.result()),
            48 => python.sock_send(c, a.fd(), list, count, a.any(), a.result()),
            _ => python.sock_accept(c, a.fd(), a.any(), a.result()),
        }
    }

    #[test]
    fn no_arguments_make_it_panic() {
        let mut successes = 0;
        for seed in 0..20 {
            let (mut python, mut computer) = example();
            let mut arguments = Arguments(seed);
            for _ in 0..5000 {
                // Something to find, which calls may have written over.
                for (at, text) in
                    [(64, "tmp/a"), (80, "tmp/b"), (96, "tmp/a/c"), (112, "app/score.py"), (128, "lib.zip")]
                {
                    computer.write(at, text.as_bytes()).unwrap();
                }
                for (at, start, len) in
                    [(256, 0x2000_u32, 700_u32), (264, 0x3000, 1), (272, 300, 3000), (280, 0xff00, 0x1000)]
                {
                    computer.write(at, &start.to_le_bytes()).unwrap();
                    computer.write(at + 4, &len.to_le_bytes()).unwrap();
                }
                successes += usize::from(call(&mut python, &mut computer, &mut arguments).is_ok());
                computer.output.clear();
                let used = python.fs.used();
                assert!(used.bytes <= 10_000 && used.entries <= 100);
            }
        }
        assert!(successes > 20_000, "{successes}");
    }
}
