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
    let lists = [computer.buffers(&[(good, 4), (NOWHERE, 4)]), computer.buffers(&[(good, 4), (0xffff, 2)]), NOWHERE];
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
            for (at, text) in [(64, "tmp/a"), (80, "tmp/b"), (96, "tmp/a/c"), (112, "app/score.py"), (128, "lib.zip")] {
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
