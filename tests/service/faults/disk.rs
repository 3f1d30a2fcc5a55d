//! Disks that fail, and files that may not be touched. That a disk is full is tested with the deployment.

use std::ffi::OsString;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
use std::time::Duration;

use scorebox_tests::fixtures;
use scorebox_tests::sink::Sink;

use super::kills::to_app_insights;
use super::*;

const EIO: &str = "5";
const ENOSPC: &str = "28";

/// A server for which these calls fail on files with this in their path.
fn failing(serve: Serve, calls: &str, path: &str, error: &str) -> Serve {
    serve.env("LD_PRELOAD", shim()).env("FAULTS_CALLS", calls).env("FAULTS_PATH", path).env("FAULTS_ERRNO", error)
}

#[test]
fn a_cache_that_cannot_be_written_for_an_error_of_the_disk_costs_a_warning_and_nothing_is_left_in_it() {
    for (calls, error, reason) in [
        ("<write>", EIO, "Input/output error"),
        ("<ftruncate>", EIO, "Input/output error"),
        ("<write>", ENOSPC, "No space left on device"),
    ] {
        let cache = folder();
        // It has its key.
        drop(Serve::guest("spin").cache(cache.path()).start());
        let before = files(cache.path());
        let iris = || Serve::example("iris-rust").cache(cache.path());
        let server = failing(iris(), calls, ".writing-", error).start();
        let warning = server.logged("the sealed module is not in the cache, so the next start will take longer");
        assert!(warning.contains(" W [") && warning.contains(reason), "{calls}: {warning}");
        assert_scores(&server);
        assert_eq!(server.stop().code, Some(0));
        assert_eq!(files(cache.path()), before, "{calls}");
        iris().start().logged(", compiled in");
        let server = iris().start();
        server.logged("loaded from the cache");
        assert_eq!(complaints(&server), [""; 0]);
    }
}

#[test]
fn what_cannot_be_read_of_the_cache_for_an_error_of_the_disk_is_built_anew() {
    let cache = folder();
    let iris = || Serve::example("iris-rust").cache(cache.path());
    drop(iris().start());
    let server = failing(iris(), "<read>", ".sealed", EIO).start();
    let warning = server.logged("cannot be used: Input/output error (os error 5); it is removed and built anew");
    assert!(warning.contains(" W ["), "{warning}");
    assert_scores(&server);
    drop(server);
    let server = failing(iris(), "<read>", "/key", EIO).start();
    assert!(server.logged("going on without the cache: cannot read the cache key").contains("Input/output error"));
    assert_scores(&server);
    drop(server);
    iris().start().logged("is deployed as");
    let server = iris().start();
    server.logged("loaded from the cache");
    assert_eq!(complaints(&server), [""; 0]);
}

/// Started with a file system of its own at a folder, from an image on a loop device.
fn with_image(image: &Path, folder: &Path) -> Vec<OsString> {
    with_image_that_changes(image, folder, "true")
}

/// The same; a command can do something to the image, `$1`, after it is mounted.
fn with_image_that_changes(image: &Path, folder: &Path, change: &str) -> Vec<OsString> {
    let script = format!(r#"mount -o loop,sync "$1" "$2" && {change} && shift 2 && exec "$@""#);
    let mut line: Vec<_> = ["unshare", "--mount", "sh", "-c", &script, "sh"].map(OsString::from).into();
    line.extend([image.into(), folder.into()]);
    line
}

/// Runs a command in a file system of its own, and says whether it did well.
fn runs_with_image(image: &Path, folder: &Path, script: &str) -> bool {
    let line = with_image(image, folder);
    let mut command = Command::new(&line[0]);
    command.args(&line[1..]).args(["sh", "-c", script, "sh"]).arg(folder);
    command.output().is_ok_and(|output| output.status.success())
}

/// Where these bytes are in the image.
fn place(image: &[u8], bytes: &[u8]) -> usize {
    let found =
        image.chunks(1024).position(|block| block.starts_with(bytes)).expect("it has been written to the image");
    found * 1024
}

#[test]
fn a_disk_that_loses_the_cache_ends_no_server() {
    let folder = folder();
    let (image, mount) = (folder.path().join("image"), folder.path().join("mount"));
    fs::create_dir(&mount).unwrap();
    fs::File::create(&image).unwrap().set_len(64 << 20).unwrap();
    let format =
        || Command::new("mkfs.ext4").args(["-q", "-F", "-b", "1024", "-O", "^has_journal"]).arg(&image).output();
    let is_root = rustix::process::geteuid().is_root();
    if !is_root || !format().is_ok_and(|output| output.status.success()) {
        fixtures::not_tested_here("a disk that fails, which takes root and mkfs.ext4");
        return;
    }
    if !runs_with_image(&image, &mount, "true") {
        println!(
            "NOT TESTED HERE with a disk that fails: no image can be mounted on a loop device, as in most containers. That \
             calls fail is tested by what_cannot_be_read_of_the_cache_for_an_error_of_the_disk_is_built_anew."
        );
        return;
    }
    let cache = mount.join("cache");
    let iris = || Serve::example("iris-rust").cache(&cache).under(with_image(&image, &mount));
    let released = || {
        eventually(PATIENCE, "the image is free again", || {
            let output = Command::new("losetup").arg("-j").arg(&image).output().expect("losetup");
            output.stdout.is_empty()
        });
    };
    // The key is to lie before the entry on the disk, which it mostly does after what takes the room in between.
    let lay_out = || {
        format().expect("it could be formatted before");
        drop(iris().start());
        released();
        let script =
            r#"rm "$1"/cache/*.sealed && head -c 40000000 /dev/zero >"$1/between" && cp "$1/cache/key" "$1/../key""#;
        assert!(runs_with_image(&image, &mount, script));
        released();
        drop(iris().start());
        released();
        assert!(runs_with_image(&image, &mount, r#"cp "$1"/cache/*.sealed "$1/../entry""#));
        released();
        let bytes = fs::read(&image).expect("the image");
        let entry = place(&bytes, &fs::read(folder.path().join("entry")).expect("the entry")[..1024]);
        let key = place(&bytes, &fs::read(folder.path().join("key")).expect("the key"));
        (key < entry).then_some(entry)
    };
    let entry = (0..20).find_map(|_| lay_out()).expect("the key lies before the entry in one of twenty images");
    // From the middle of the entry on the disk is gone, while what tells where it is has been read.
    let change = format!(r#"ls -lR "$2" >&2 && truncate -s {} "$1""#, entry + 64 * 1024);
    let serve = Serve::example("iris-rust").cache(&cache);
    let server = serve.under(with_image_that_changes(&image, &mount, &change)).start();
    let warning = server.logged("cannot be used: Input/output error (os error 5); it is removed and built anew");
    assert!(warning.contains(" W ["), "{warning}");
    assert_scores(&server);
    assert_eq!(server.stop().code, Some(0));
}

#[test]
fn telemetry_that_cannot_be_kept_on_disk_costs_a_warning_and_no_request() {
    for (calls, error, reason) in [
        ("<write>", EIO, "Input/output error"),
        ("<write>", ENOSPC, "No space left on device"),
        ("<fdatasync>", EIO, "Input/output error"),
    ] {
        let buffer = folder();
        let serve = to_app_insights(Serve::guest("echo"), free_port(), buffer.path());
        let server = failing(serve, calls, "application-insights/", error).start();
        let mut client = server.connect();
        // More than a batch, which is tried to be sent at once.
        for _ in 0..150 {
            assert_eq!(client.send(&Request::score("x")).unwrap().status, 200);
        }
        let warning = server.logged("cannot be kept on disk");
        assert!(warning.contains(" W [") && warning.contains(reason), "{calls}: {warning}");
        drop(client);
        assert_eq!(server.stop().code, Some(0));
        assert_eq!(files(&buffer.path().join("application-insights")), ["lock"], "nothing is half written");
    }
}

#[test]
fn telemetry_on_disk_that_cannot_be_read_for_a_while_is_sent_when_it_can_be_and_holds_up_nothing_else() {
    let (buffer, port) = (folder(), free_port());
    let serve = to_app_insights(Serve::guest("echo"), port, buffer.path());
    let score = |server: &Server, id: &str| {
        assert_eq!(server.send(&Request::score("x").header("x-request-id", id)).status, 200);
    };
    let server = serve.start();
    score(&server, "R-kept");
    let ended = server.stop();
    assert!(ended.stdout.contains("It is kept on disk"), "{}", ended.stdout);

    let sink = Sink::on(port);
    let are_sent = |id: &str| sink.posts().iter().any(|post| String::from_utf8_lossy(&post.body).contains(id));
    let server = failing(serve.clone(), "<read>", ".batch", EIO).start();
    let warning = server.logged("cannot be read from the disk");
    assert!(warning.contains(" W [") && warning.contains("Input/output error"), "{warning}");
    score(&server, "R-meanwhile");
    assert_eq!(server.stop().code, Some(0));
    assert!(are_sent("R-meanwhile") && !are_sent("R-kept"), "{:?}", sink.posts());

    let server = serve.start();
    eventually(PATIENCE, "what was kept is sent", || are_sent("R-kept"));
    assert_eq!(server.stop().code, Some(0));
}

/// A user who is not root, and what is his: the program, an example and a cache with its entry.
struct User {
    folder: TempDir,
    cache: PathBuf,
    is_root: bool,
}

const NOBODY: u32 = 65534;

impl User {
    fn new() -> Self {
        let folder = folder();
        let is_root = fs::metadata(folder.path()).expect("a folder").uid() == 0;
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).expect("files can be made");
        let example = fixtures::example("iris-rust");
        for (from, to) in [
            (fixtures::binary(), "scorebox"),
            (example.join("model.wasm"), "iris/model.wasm"),
            (example.join("model/iris.json"), "iris/model/iris.json"),
        ] {
            let to = folder.path().join(to);
            fs::create_dir_all(to.parent().expect("a folder")).expect("files can be made");
            fs::copy(from, to).expect("files can be made");
        }
        let cache = folder.path().join("cache");
        fs::create_dir(&cache).expect("files can be made");
        let user = Self { folder, cache, is_root };
        user.give(&user.cache);
        user
    }

    fn give(&self, path: &Path) {
        if self.is_root {
            chown(path, Some(NOBODY), Some(NOBODY)).expect("files can be made");
        }
    }

    fn serve(&self) -> Serve {
        // The program is where the user can find it.
        let program = self.folder.path().join("scorebox");
        let mut line: Vec<OsString> = Vec::new();
        if self.is_root {
            line.extend(["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"].map(OsString::from));
        }
        line.extend(["sh", "-c", r#"program=$1; shift 2; exec "$program" "$@""#, "sh"].map(OsString::from));
        line.push(program.into());
        Serve::new(self.folder.path().join("iris")).cache(&self.cache).in_folder(self.folder.path()).under(line)
    }

    fn entry(&self) -> PathBuf {
        let name = files(&self.cache).into_iter().find(|name| is(name, "sealed")).expect("an entry");
        self.cache.join(name)
    }
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("files can be made");
}

#[test]
fn a_cache_that_may_not_be_read_or_written_costs_a_warning_and_time() {
    let user = User::new();
    // A folder that may not be written, and has no key.
    set_mode(&user.cache, 0o500);
    let server = user.serve().start();
    assert!(server.logged("going on without the cache: cannot write").contains("Permission denied"));
    assert_scores(&server);
    drop(server);
    set_mode(&user.cache, 0o700);
    drop(user.serve().start());
    // An entry that may not be read.
    set_mode(&user.entry(), 0o000);
    let server = user.serve().start();
    let warning = server.logged("cannot be used: Permission denied");
    assert!(warning.contains("it is removed and built anew"), "{warning}");
    assert_scores(&server);
    drop(server);
    user.serve().start().logged("loaded from the cache");
    // A folder that may be read, and not written: what is there is used, and what is not cannot be kept.
    set_mode(&user.cache, 0o500);
    let server = user.serve().start();
    server.logged("loaded from the cache");
    assert_scores(&server);
    drop(server);
    let server = user.serve().args("--deployment-version 2").start();
    let warning = server.logged("the sealed module is not in the cache, so the next start will take longer");
    assert!(warning.contains("Permission denied"), "{warning}");
    assert_scores(&server);
    drop(server);
    // A folder, and then a key, that may not be read at all.
    set_mode(&user.cache, 0o000);
    let server = user.serve().start();
    assert!(server.logged("going on without the cache: ").contains("Permission denied"));
    assert_scores(&server);
    drop(server);
    set_mode(&user.cache, 0o700);
    set_mode(&user.cache.join("key"), 0o000);
    let server = user.serve().start();
    assert!(server.logged("going on without the cache: cannot open the cache key").contains("Permission denied"));
    assert_scores(&server);
}

#[test]
fn a_buffer_of_telemetry_that_may_not_be_written_any_more_costs_a_warning_and_no_request() {
    let user = User::new();
    let buffer = user.folder.path().join("buffer");
    fs::create_dir(&buffer).unwrap();
    user.give(&buffer);
    let server = to_app_insights(user.serve(), free_port(), &buffer).start();
    set_mode(&buffer.join("application-insights"), 0o500);
    let mut client = server.connect();
    for _ in 0..150 {
        assert_eq!(client.send(&Request::json(IRIS)).unwrap().status, 200);
    }
    assert!(server.logged("cannot be kept on disk").contains("Permission denied"));
    drop(client);
    let begin = std::time::Instant::now();
    assert_eq!(server.stop().code, Some(0));
    assert!(begin.elapsed() < Duration::from_secs(12), "{:?}", begin.elapsed());
}
