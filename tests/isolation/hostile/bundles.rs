//! Archives, wheels, requirement files, app folders, model directories and caches that were made to do harm.

use std::fs::{self, File};
use std::io::{BufWriter, Cursor, Seek, SeekFrom, Write};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use scorebox_tests::process::{Process, hermetic, scorebox};
use scorebox_tests::wait::PATIENCE;
use scorebox_tests::{Ended, Serve, fixtures, python};
use tempfile::TempDir;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

use crate::assert_refused;

const MIB: usize = 1 << 20;
const SCRIPT: &[u8] = b"def init():\n    pass\n\n\ndef run(data):\n    return data\n";
const MANIFEST: &[u8] = br#"{"format": 1, "kind": "python", "entry_script": "score.py"}"#;

type Zip = ZipWriter<Cursor<Vec<u8>>>;

fn add(zip: &mut Zip, name: &str, size: usize) {
    let options =
        SimpleFileOptions::default().compression_method(CompressionMethod::Deflated).compression_level(Some(1));
    zip.start_file(name, options).expect("an entry");
    let zeros = vec![0; MIB];
    for begin in (0..size).step_by(MIB) {
        zip.write_all(&zeros[..MIB.min(size - begin)]).expect("zeros");
    }
}

fn add_text(zip: &mut Zip, name: &str, text: &[u8]) {
    zip.start_file(name, SimpleFileOptions::default()).expect("an entry");
    zip.write_all(text).expect("a text");
}

/// An archive as `scorebox build` makes it, with more entries.
fn archive(more: impl FnOnce(&mut Zip)) -> (TempDir, PathBuf) {
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    add_text(&mut zip, "manifest.json", MANIFEST);
    add_text(&mut zip, "app/score.py", SCRIPT);
    more(&mut zip);
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("app.scorebox");
    fs::write(&path, zip.finish().expect("an archive").into_inner()).expect("a file");
    (folder, path)
}

/// Runs a command to its end, and says how much memory it had at most.
#[track_caller]
fn run(command: &mut Command) -> (Ended, u64) {
    let mut process = Process::start(command);
    let status = format!("/proc/{}/status", process.id());
    let (begin, mut memory) = (Instant::now(), 0);
    while process.runs() {
        // pip, which `build` asks for wheels, takes its time.
        assert!(begin.elapsed() < 4 * PATIENCE, "it does not end; {}", process.said());
        let status = fs::read_to_string(&status).unwrap_or_default();
        if let Some(most) = status.lines().find_map(|line| line.strip_prefix("VmHWM:")) {
            memory = most.trim().trim_end_matches(" kB").parse::<u64>().expect("a number of KiB") * 1024;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    (process.wait(PATIENCE), memory)
}

/// Checks that an archive is refused for this reason, having taken little memory.
#[track_caller]
fn assert_archive_refused(path: &Path, reason: &str) {
    let size = fs::metadata(path).expect("a file").len();
    let (ended, memory) = run(scorebox().arg("check").arg(path).args(["--memory", "64MiB"]));
    println!("an archive of {} KiB took {} MiB: {}", size >> 10, memory >> 20, ended.stderr);
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(ended.stderr.contains(reason), "no {reason:?} in {:?}", ended.stderr);
    // The limit, the archive's own index, and the program.
    assert!(memory < 64 * MIB as u64 + 3 * size + 128 * MIB as u64, "{} MiB", memory >> 20);
}

#[test]
fn an_archive_that_unpacks_to_more_than_the_limit_is_refused_before_it_is_unpacked() {
    let (_folder, one) = archive(|zip| add(zip, "app/zeros", 1024 * MIB));
    assert_archive_refused(&one, "its files have more than the 67108864 bytes of the memory limit");
    let (_folder, many) = archive(|zip| (0..200).for_each(|number| add(zip, &format!("app/zeros-{number}"), MIB)));
    assert_archive_refused(&many, "its files have more than the 67108864 bytes of the memory limit");
    let (_folder, entries) =
        archive(|zip| (0..600_000).for_each(|number| add_text(zip, &format!("app/{number}"), b"")));
    assert_archive_refused(&entries, "entries; take out what the script does not need");
}

/// What a header in the directory of a ZIP file begins with, without its name of 8 bytes.
fn header() -> Vec<u8> {
    [&b"PK\x01\x02"[..], &[0; 24], &8_u16.to_le_bytes(), &[0; 16]].concat()
}

/// ZIP64's record for so many entries in a directory of so many bytes that ends at `position`, with `more` bytes in the
/// record; then what says where it is, and the record at the end, which leaves it all to the others.
fn end64(file: &mut (impl Write + Seek), position: u64, entries: u64, size: u64, more: u64) {
    let numbers = [entries, entries, size, position - size].map(u64::to_le_bytes).concat();
    let record = [&b"PK\x06\x06"[..], &(44 + more).to_le_bytes(), &[0; 12], &numbers].concat();
    let locator = [&b"PK\x06\x07"[..], &[0; 4], &position.to_le_bytes(), &1_u32.to_le_bytes()].concat();
    let end = [&b"PK\x05\x06"[..], &[0; 4], &[0xff; 12], &[0; 2]].concat();
    file.write_all(&record).expect("a record");
    file.seek(SeekFrom::Current(more.cast_signed())).expect("a hole");
    file.write_all(&[locator, end].concat()).expect("the end");
}

#[test]
fn an_archive_whose_directory_says_what_is_too_much_is_refused_before_it_is_read() {
    const ENTRIES: u64 = 3_000_000;
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("app.scorebox");
    let refused = |reason: &str, write: &dyn Fn(&mut BufWriter<File>)| {
        let mut file = BufWriter::new(File::create(&path).expect("a file"));
        write(&mut file);
        drop(file);
        let (ended, memory) = run(scorebox().arg("check").arg(&path).args(["--memory", "64MiB"]));
        println!("{} MiB: {}", memory >> 20, ended.stderr);
        assert_eq!(ended.code, Some(1), "{ended:?}");
        assert!(ended.stderr.contains(reason), "no {reason:?} in {:?}", ended.stderr);
        assert!(memory < 128 * MIB as u64, "{} MiB", memory >> 20);
    };
    let headers = |file: &mut BufWriter<File>| {
        let header = header();
        for number in 0..ENTRIES {
            file.write_all(&header).and_then(|()| file.write_all(&number.to_le_bytes())).expect("a header");
        }
        ENTRIES * (header.len() as u64 + 8)
    };
    refused("more than 100000 entries", &|file| {
        let size = headers(file);
        end64(file, size, ENTRIES, size, 0);
    });
    // A record at the end that does not fit, for which the one before would be taken.
    refused("is not at its end", &|file| {
        let size = headers(file);
        end64(file, size, ENTRIES, size, 0);
        file.write_all(&[&b"PK\x05\x06"[..], &[1, 0], &[0; 16]].concat()).expect("the end of one of several disks");
    });
    // Headers that are looked for from the beginning.
    refused("is not at its end", &|file| {
        let beginnings = b"PK\x01\x02".repeat(MIB);
        (0..64).for_each(|_| file.write_all(&beginnings).expect("beginnings of headers"));
        file.write_all(&[&b"PK\x05\x06"[..], &[0; 4], &[1, 0, 1, 0], &[0; 10]].concat()).expect("the end");
    });
    // What stands in ZIP64's record and is nobody's.
    refused("is not at its end", &|file| {
        file.write_all(&[header(), vec![0; 8]].concat()).expect("a header");
        end64(file, 54, 1, 54, 1 << 30);
    });
}

#[test]
fn an_archive_whose_names_lead_elsewhere_is_refused() {
    for name in
        ["app/../../outside", "/outside", "app//outside", "app/./outside", "app\\outside", "outside", "app/a\nb"]
    {
        let (folder, path) = archive(|zip| add_text(zip, name, b"outside"));
        assert_archive_refused(&path, "is not one that `scorebox build` gives");
        assert!(!folder.path().join("outside").exists() && !Path::new("/outside").exists());
    }
    let (_folder, link) = archive(|zip| {
        zip.add_symlink("app/passwd", "/etc/passwd", SimpleFileOptions::default()).expect("a link");
    });
    assert_archive_refused(&link, "is a link or encrypted");
}

#[test]
fn a_wheel_that_unpacks_to_more_than_a_gibibyte_is_refused_by_build() {
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    add(&mut zip, "bomb/zeros", 1500 * MIB);
    add_text(&mut zip, "bomb-1.0.dist-info/METADATA", b"Metadata-Version: 2.1\nName: bomb\nVersion: 1.0\n");
    add_text(&mut zip, "bomb-1.0.dist-info/WHEEL", b"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n");
    add_text(&mut zip, "bomb-1.0.dist-info/RECORD", b"");
    let folder = tempfile::tempdir().expect("a temporary folder");
    let wheel = zip.finish().expect("a wheel").into_inner();
    fs::write(folder.path().join("bomb-1.0-py3-none-any.whl"), &wheel).expect("a file");
    fs::write(folder.path().join("score.py"), SCRIPT).expect("a file");
    fs::write(folder.path().join("requirements.txt"), "./bomb-1.0-py3-none-any.whl\n").expect("a file");
    let mut command = scorebox();
    command.arg("build").arg(folder.path()).arg("-o").arg(folder.path().join("app.scorebox"));
    let (ended, memory) = run(&mut command);
    println!("a wheel of {} KiB took {} MiB: {}", wheel.len() >> 10, memory >> 20, ended.stderr);
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(ended.stderr.contains("bomb-1.0-py3-none-any.whl"), "{ended:?}");
    assert!(memory < 3072 * MIB as u64, "{} MiB", memory >> 20);
    assert!(!folder.path().join("app.scorebox").exists());
}

#[test]
fn no_line_of_a_requirement_file_and_no_module_of_the_app_makes_build_run_foreign_code() {
    const PROJECT: &str = "[build-system]\nrequires = []\nbuild-backend = \"backend\"\nbackend-path = [\".\"]\n";
    let folder = tempfile::tempdir().expect("a temporary folder");
    let app = folder.path();
    let runs = format!("open({:?}, 'w')\n", app.join("ran"));
    fs::create_dir(app.join("evil")).expect("a folder");
    let mut source = ZipWriter::new(Cursor::new(Vec::new()));
    for (name, text) in [("evil/pyproject.toml", PROJECT), ("evil/backend.py", &*runs)] {
        fs::write(app.join(name), text).expect("a file");
        add_text(&mut source, name, text.as_bytes());
    }
    fs::write(app.join("evil==1.0+x.zip"), source.finish().expect("an archive").into_inner()).expect("a file");
    for name in ["pip.py", "sitecustomize.py"] {
        fs::write(app.join(name), &runs).expect("a file");
    }
    let python = app.join("python3");
    fs::write(&python, format!("#!/bin/sh\n: > '{}'\n", app.join("ran").display())).expect("a file");
    fs::set_permissions(&python, fs::Permissions::from_mode(0o755)).expect("it can be run");
    // Where pip runs, what is empty or relative in such a list is the app folder.
    let path = format!(":.:{}", std::env::var("PATH").expect("a list of folders"));
    fs::write(app.join("score.py"), SCRIPT).expect("a file");
    let url = format!("file://{}/evil; os_name!='/a-1.0-py3-none-any.whl#'", app.display());
    for (lines, reason) in [
        ("./a-1.0-py3-none-any.whl?/../evil", "cannot read"),
        ("./a-1.0-py3-none-any.whl#/../evil", "cannot read"),
        ("a @ ./evil;os_name!='/a-1.0-py3-none-any.whl#'", "cannot read"),
        (&*url, "its URL has a `;` or a space"),
        ("a @ ./evil", "build with --allow-sdist"),
        // These pip is asked for.
        ("--no-index\na==1.0", "Could not find a version"),
        ("--no-index\nevil==1.0+x.zip", "Could not find a version"),
    ] {
        fs::write(app.join("requirements.txt"), lines).expect("a file");
        let mut command = scorebox();
        command.arg("build").arg(app).arg("-o").arg(app.join("app.scorebox"));
        command.env("PATH", &path).env("PYTHONPATH", ":.:/nowhere");
        let (ended, _) = run(&mut command);
        assert_eq!(ended.code, Some(1), "{lines}: {ended:?}");
        assert!(ended.stderr.contains(reason), "{lines}: no {reason:?} in {:?}", ended.stderr);
        assert!(!app.join("ran").exists(), "{lines}");
    }
}

#[test]
fn a_requirement_file_that_is_nested_without_end_is_refused_and_what_is_deployed_goes_on_serving() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    fs::write(folder.path().join("score.py"), SCRIPT).expect("a file");
    let server = python::serve(folder.path().join("score.py")).start();
    let lists = format!("dependencies:\n{}x\n", "- ".repeat(100_000));
    let condition = format!("a;{}''<''\n", "''<''or".repeat(500_000));
    for (name, text, reason) in [
        ("conda.yml", lists, "more than 64 lists and mappings are within each other"),
        ("requirements.txt", condition, "the condition has more than 256 comparisons"),
    ] {
        let path = folder.path().join(name);
        fs::write(&path, text).expect("a file");
        server.process().signal(Signal::HUP);
        let line = server.logged(reason);
        assert!(
            line.contains("what is deployed goes on serving") && line.contains(name) && line.len() < 2000,
            "{line}"
        );
        assert_eq!(server.score("{}").status, 200);
        fs::remove_file(path).expect("it is there");
    }
}

#[test]
fn links_that_make_more_ways_through_folders_than_anybody_can_go_are_refused() {
    let folder = |files: &[(&str, &str)]| {
        const LEVELS: usize = 25;
        let folder = fixtures::folder(files);
        for level in 0..=LEVELS {
            let path = folder.path().join(format!("d{level}"));
            fs::create_dir(&path).expect("a folder");
            for name in ["a", "b"].into_iter().filter(|_| level < LEVELS) {
                symlink(format!("../d{}", level + 1), path.join(name)).expect("a link");
            }
        }
        folder
    };
    let script = std::str::from_utf8(SCRIPT).expect("a text");
    let (app, model) = (folder(&[("score.py", script)]), folder(&[]));
    for (what, serve) in [
        ("the app folder", Serve::new(app.path())),
        ("the model directory", Serve::guest("echo").arg("--model_dir").arg(model.path())),
    ] {
        let begin = Instant::now();
        let ended = serve.refused();
        println!("refused after {:?}", begin.elapsed());
        assert_refused(&ended, &[what, "has more than 100000 files and folders, with those that links lead to"]);
        assert!(begin.elapsed() < Duration::from_secs(20), "after {:?}", begin.elapsed());
    }
}

#[test]
fn a_model_directory_with_a_huge_file_or_what_is_no_file_is_refused() {
    let refused = |make: &dyn Fn(&Path), reason: &str| {
        let model = tempfile::tempdir().expect("a temporary folder");
        make(&model.path().join("weights"));
        let begin = Instant::now();
        let ended = Serve::guest("echo").arg("--model_dir").arg(model.path()).refused();
        assert_refused(&ended, &[reason]);
        assert!(begin.elapsed() < Duration::from_secs(10), "after {:?}", begin.elapsed());
    };
    let sparse = |path: &Path| File::create(path).and_then(|file| file.set_len(1 << 42)).expect("a file with a hole");
    refused(&sparse, "has more bytes than the memory limit of 1073741824; raise the limit");
    refused(&|path| make_pipe(path), "is neither a file nor a folder; remove it from the model directory");
    refused(&|path| symlink("/dev/zero", path).expect("a link"), "is a link to /dev/zero");
}

fn make_pipe(path: &Path) {
    python::succeed(hermetic("mkfifo").arg(path));
}

#[test]
fn what_is_no_file_in_the_place_of_a_cache_entry_is_never_read() {
    let makes: [&dyn Fn(&Path); 3] =
        [&|path| make_pipe(path), &|path| symlink("/dev/zero", path).expect("a link"), &|path| {
            fs::create_dir(path).expect("a folder");
        }];
    let cache = tempfile::tempdir().expect("a temporary folder");
    let served = || {
        let server = Serve::guest("echo").cache(cache.path()).start();
        assert_eq!(server.send(&scorebox_tests::Request::score("x")).status, 200);
        server
    };
    served();
    let is_entry = |path: &PathBuf| path.extension().is_some_and(|ending| ending == "sealed");
    let entries = || fs::read_dir(cache.path()).expect("a cache").map(|entry| entry.expect("an entry").path());
    let entry = entries().find(is_entry).expect("an entry");
    for make in makes {
        fs::remove_file(&entry).or_else(|_| fs::remove_dir(&entry)).expect("it is there");
        make(&entry);
        served().logged(", compiled in");
    }
}
