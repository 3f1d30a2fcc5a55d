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

#[test]
fn a_file_that_is_withheld_is_listed_and_who_looks_at_it_is_noticed() {
    let mut fs = example();
    fs.withhold_file("/app/late.py").unwrap();
    let app = fs.open(DIR, b"app", READ, 1).unwrap();
    let names = fs.entries(app, 0).unwrap().map(|entry| entry.name.to_owned()).collect::<Vec<_>>();
    assert!(names.contains(&"late.py".to_owned()), "{names:?}");
    fs.metadata_at(DIR, b"app/score.py").unwrap();
    assert_eq!(fs.metadata_at(DIR, b"app/lat").unwrap_err(), Errno::Noent);
    assert!(!fs.withheld_asked());
    fs.metadata_at(DIR, b"app/late.py").unwrap();
    assert!(fs.withheld_asked());

    let inode = fs.metadata_at(DIR, b"app/late.py").unwrap().inode;
    fs.add_file("app/late.py", b"late".to_vec()).unwrap();
    let metadata = fs.metadata_at(DIR, b"app/late.py").unwrap();
    assert_eq!((metadata.size, metadata.inode, metadata.times.modified), (4, inode, SEALED_TIME));
    let fd = fs.open(DIR, b"app/late.py", READ, 1).unwrap();
    assert_eq!(fs.content(fd, None, 10).unwrap(), Content::Bytes(b"late"));
    assert_eq!(fs.add_file("app/late.py", Vec::new()).unwrap_err(), Errno::Exist);
    assert_eq!(fs.withhold_file("app/late.py").unwrap_err(), Errno::Exist);
    fs.check();
}

#[test]
fn opening_a_file_that_is_withheld_is_noticed() {
    let mut fs = example();
    fs.withhold_file("/app/model/late").unwrap();
    fs.open(DIR, b"app/model/../model/late", READ, 1).unwrap();
    assert!(fs.withheld_asked());
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
    assert_eq!(fs.status(writer), Ok(Status { file_type: FileType::RegularFile, flags: 0, read: false, write: true }));
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
                    let strict = strict && plain && !name.starts_with(&to) && !name.contains('.') && !to.contains('.');
                    same(
                        self.fs.rename(DIR, here, DIR, format!("tmp/{to}").as_bytes(), 0),
                        std::fs::rename(there, self.base.join(&to)),
                        strict,
                        &format!("rename {name} {to}"),
                    );
                }
                4 => {
                    let theirs = std::fs::metadata(there);
                    let theirs = theirs.map(|theirs| (theirs.is_dir(), if theirs.is_dir() { 0 } else { theirs.len() }));
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
                    same(put(&mut self.fs, fd, Some(at), &bytes), file.write_at(&bytes, at).map(drop), true, "pwrite");
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
