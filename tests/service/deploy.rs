//! Faults at deploy: what cannot be served is refused before the port is bound, and what goes wrong with the cache costs
//! time and nothing else.

use std::ffi::OsString;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use scorebox_tests::fixtures::{self, CORE_MODULE, EMPTY_COMPONENT, IRIS};
use scorebox_tests::server::free_port;
use scorebox_tests::{Ended, Serve, Server, process};
use tempfile::TempDir;

fn folder() -> TempDir {
    tempfile::tempdir().expect("a temporary folder")
}

#[track_caller]
fn assert_refused(ended: &Ended, code: i32, texts: &[&str]) {
    assert_eq!(ended.code, Some(code), "{ended:?}");
    assert!(ended.stderr.starts_with("error: "), "{}", ended.stderr);
    for text in texts {
        assert!(ended.stderr.contains(text), "no {text:?} in {:?}", ended.stderr);
    }
    assert!(!ended.stdout.contains("listening on"), "{}", ended.stdout);
}

/// Checks that a file is no scorer for `serve` and for `check`, and that both say why.
#[track_caller]
fn assert_no_scorer(module: &Path, reasons: &[&str]) {
    let path = module.display().to_string();
    let texts: Vec<&str> = [&*path, "cannot be served: "].into_iter().chain(reasons.iter().copied()).collect();
    assert_refused(&Serve::new(module).refused(), 3, &texts);
    let checked = process::run(["check".as_ref(), module.as_os_str()]);
    assert_refused(&checked, 1, &texts);
    assert_eq!(checked.stdout, "");
}

#[track_caller]
fn assert_scores(server: &Server) {
    let response = server.score(IRIS);
    assert_eq!(response.status, 200, "{response:?}");
    assert_eq!(response.json()["prediction"], serde_json::json!(["setosa"]));
}

mod modules {
    use super::*;

    fn written(bytes: &[u8]) -> (TempDir, PathBuf) {
        let folder = folder();
        let path = folder.path().join("scorer.wasm");
        fs::write(&path, bytes).expect("a file");
        (folder, path)
    }

    #[test]
    fn a_core_module_is_refused_and_said_to_be_one() {
        let (_folder, path) = written(CORE_MODULE);
        assert_no_scorer(&path, &["this is a core WebAssembly module, not a component", "scorebox build"]);
    }

    #[test]
    fn bytes_that_are_not_webassembly_are_refused() {
        for bytes in [&b""[..], b"\0", b"\0asm", b"PK\x03\x04 a zip file", b"#!/bin/sh\necho no\n", &[0xa5; 5000]] {
            let (_folder, path) = written(bytes);
            assert_no_scorer(&path, &["not a WebAssembly component"]);
        }
    }

    #[test]
    fn a_component_without_the_interface_is_refused_and_told_which_one() {
        let (_folder, path) = written(EMPTY_COMPONENT);
        let missing = "does not export `scorebox:scoring/scoring@0.1.0` (with `init`, `run` and `schema`)";
        assert_no_scorer(&path, &[missing, "it exports nothing"]);
    }

    #[test]
    fn a_component_that_lacks_run_is_refused_and_told_so() {
        let component = fs::read(fixtures::guest("spin")).unwrap();
        let (_folder, path) = written(&fixtures::without_run(&component));
        assert_no_scorer(&path, &["`run`"]);
    }

    #[test]
    fn a_component_that_wants_sockets_is_refused_and_told_which_import_it_is() {
        assert_no_scorer(
            &fixtures::guest("sockets"),
            &["the component imports `wasi:sockets/", "which a scorer is not given"],
        );
    }

    #[test]
    fn a_component_that_is_cut_off_or_damaged_is_refused() {
        let component = fs::read(fixtures::guest("spin")).unwrap();
        for length in [component.len() / 10, component.len() / 2, component.len() - 1] {
            let (_folder, path) = written(&component[..length]);
            assert_no_scorer(&path, &[]);
        }
        let mut damaged = component.clone();
        let middle = damaged.len() / 2;
        damaged[middle..middle + 64].fill(0xff);
        let (_folder, path) = written(&damaged);
        assert_no_scorer(&path, &[]);
    }

    #[test]
    fn a_folder_without_a_component_is_refused_with_how_to_build_it() {
        let folder = folder();
        let path = folder.path().display().to_string();
        let hint = format!("{path} has no model.wasm; build it with `scorebox build {path} -o {path}/model.wasm`");
        assert_refused(&Serve::new(folder.path()).refused(), 3, &[&hint]);
    }

    #[test]
    fn a_path_that_is_not_there_is_refused_by_name() {
        let path = folder().path().join("gone.wasm");
        let path = path.display().to_string();
        assert_refused(&Serve::new(&path).refused(), 3, &[&format!("cannot read {path}: No such file or directory")]);
    }

    #[test]
    fn to_be_told_nothing_to_serve_is_refused_with_what_to_give() {
        assert_refused(&Serve::nothing().refused(), 1, &["nothing to serve", "scorebox serve SCORER"]);
    }
}

mod init {
    use super::*;

    /// A server of the guest `panic`, whose `init()` goes by the files of its model directory.
    fn with_file(name: &str, content: &str) -> (TempDir, Serve) {
        let model = folder();
        fs::write(model.path().join(name), content).expect("a file");
        let serve = Serve::guest("panic").arg("--model_dir").arg(model.path());
        (model, serve)
    }

    #[test]
    fn an_error_of_init_is_shown_to_the_operator() {
        let (_model, serve) = with_file("fail-in-init", "the weights are for another model");
        assert_refused(&serve.refused(), 3, &["cannot be served: init() failed: the weights are for another model"]);
    }

    #[test]
    fn a_panic_of_init_is_shown_to_the_operator() {
        let (_model, serve) = with_file("panic-in-init", "");
        let ended = serve.refused();
        assert_refused(
            &ended,
            3,
            &["init() panicked: ", "the bundle has a file model/panic-in-init", "guest_panic.wasm!"],
        );
        // The scorer's own words are in the log as well.
        assert!(ended.stdout.contains(" C ["), "{}", ended.stdout);
    }

    #[test]
    fn a_file_of_no_meaning_to_it_changes_nothing() {
        let (_model, serve) = with_file("other", "");
        assert_eq!(serve.start().score(r#"{"end": "well"}"#).status, 200);
    }

    #[test]
    fn an_init_that_takes_too_long_is_stopped() {
        let (_model, serve) = with_file("spin-in-init", "");
        let serve = serve.args("--no-cache --init-timeout 100ms");
        assert_refused(&serve.refused(), 3, &["init() did not end within 0.1 s"]);
    }

    #[test]
    fn an_init_that_needs_too_much_memory_is_stopped() {
        let serve = Serve::example("iris-rust").args("--memory 64KiB");
        assert_refused(
            &serve.refused(),
            3,
            &["init() needs more memory than the limit of 65536 bytes; raise the limit"],
        );
    }

    #[test]
    fn memory_after_init_may_be_larger_than_what_a_call_may_hand_over() {
        let server = Serve::guest("raw").args("--max-host-call 1MiB --max-response 1MiB").start();
        assert_eq!(server.get("/readyz").status, 200);
    }

    #[test]
    fn a_model_directory_that_is_larger_than_the_memory_is_refused() {
        let model = folder();
        fs::write(model.path().join("weights"), vec![0; 3 << 20]).unwrap();
        let serve = Serve::guest("echo").arg("--model_dir").arg(model.path()).args("--memory 2MiB");
        assert_refused(&serve.refused(), 3, &["has more bytes than the memory limit of 2097152; raise the limit"]);
    }

    #[test]
    fn a_link_that_leads_out_of_the_model_directory_is_refused() {
        let model = folder();
        std::os::unix::fs::symlink("/etc/passwd", model.path().join("users")).unwrap();
        let serve = Serve::guest("echo").arg("--model_dir").arg(model.path());
        assert_refused(
            &serve.refused(),
            3,
            &["users is a link to /etc/passwd, which is outside of the model directory"],
        );
        // Nor does a folder's own, which nobody has named.
        for (name, text) in [("model.wasm", fs::read(fixtures::guest("echo")).unwrap()), ("score.py", Vec::new())] {
            let scorer = folder();
            fs::write(scorer.path().join(name), text).unwrap();
            std::os::unix::fs::symlink(model.path(), scorer.path().join("model")).unwrap();
            let to = model.path().canonicalize().unwrap();
            let why = format!("model is a link to {}, which is outside of the folder; name the model", to.display());
            assert_refused(&Serve::new(scorer.path()).refused(), 3, &[&why]);
        }
    }
}

mod configuration {
    use super::*;

    #[test]
    fn what_cannot_be_configured_is_refused_before_anything_is_done() {
        let folder = folder();
        let file = folder.path().join("config.json");
        fs::write(&file, "{no json").unwrap();
        let iris = || Serve::example("iris-rust");
        assert_refused(&iris().arg("--config_file").arg(&file).refused(), 3, &["Invalid config file!", "config.json"]);
        assert_refused(&iris().env("SCORING_TIMEOUT_MS", "soon").refused(), 3, &["SCORING_TIMEOUT_MS"]);
        assert_refused(&iris().env("SCORING_TIMEOUT_MS", "-1").refused(), 3, &["SCORING_TIMEOUT_MS is -1"]);
        assert_refused(
            &iris().env("AML_CORS_ORIGINS", "https://[a.com").refused(),
            3,
            &["CORS origin", "https://[a.com"],
        );
        let both = iris().args("--max-response 2MiB --max-host-call 1MiB");
        assert_refused(&both.refused(), 3, &["--max-host-call is 1.0 MiB, less than --max-response of 2.0 MiB"]);
    }

    #[test]
    fn a_port_that_is_taken_is_named_with_a_hint() {
        let ended = Serve::example("iris-rust").refused();
        assert_refused(&ended, 1, &["cannot listen on 127.0.0.1:", "is another server running? choose another --port"]);
        assert!(ended.stdout.contains("is deployed as"), "it got as far as that: {}", ended.stdout);
    }

    #[test]
    fn a_server_that_was_refused_a_port_starts_on_another_one() {
        let cache = folder();
        assert_eq!(Serve::example("iris-rust").cache(cache.path()).refused().code, Some(1));
        let server = Serve::example("iris-rust").cache(cache.path()).start();
        server.logged("loaded from the cache");
        assert_scores(&server);
    }
}

mod cache {
    use super::*;

    const DAMAGED: &str = "is damaged or not ours; it is removed and built anew";

    /// The only entry of a cache.
    #[track_caller]
    fn entry(cache: &Path) -> PathBuf {
        let entries: Vec<_> = fs::read_dir(cache)
            .expect("a cache")
            .map(|entry| entry.expect("an entry").path())
            .filter(|path| path.extension().is_some_and(|ending| ending == "sealed"))
            .collect();
        let [entry] = &*entries else { panic!("{entries:?} in the cache") };
        entry.clone()
    }

    /// A cache with the entry of iris.
    fn filled() -> TempDir {
        let cache = folder();
        let server = Serve::example("iris-rust").cache(cache.path()).start();
        server.logged("is deployed as default version 1, compiled in");
        assert_eq!(server.stop().code, Some(0));
        entry(cache.path());
        cache
    }

    /// Whether a line of the log says that something is wrong; that there is no model directory is always said.
    fn is_complaint(line: &str) -> bool {
        (line.contains(" W [") || line.contains(" E [")) && !line.contains("Model directory is not set")
    }

    /// Starts with a cache whose entry is not to be used, and checks that it is replaced by one that is.
    #[track_caller]
    fn assert_rebuilt(cache: &Path) {
        let server = Serve::example("iris-rust").cache(cache).start();
        assert!(server.logged(DAMAGED).contains(" W ["));
        server.logged("is deployed as default version 1, compiled in");
        assert_scores(&server);
        drop(server);
        let server = Serve::example("iris-rust").cache(cache).start();
        server.logged("loaded from the cache");
        assert!(!server.log().iter().any(|line| is_complaint(line)), "{:?}", server.log());
        assert_scores(&server);
    }

    #[test]
    fn a_second_start_loads_from_the_cache_and_scores_the_same() {
        let cache = filled();
        let server = Serve::example("iris-rust").cache(cache.path()).start();
        server.logged("loaded from the cache");
        assert_scores(&server);
        assert_eq!(server.get("/swagger.json").json()["definitions"]["ServiceInput"]["required"][0], "data");
    }

    #[test]
    fn another_version_another_model_and_another_memory_limit_are_other_entries() {
        let cache = filled();
        let bundle = folder();
        fs::copy(fixtures::example("iris-rust").join("model.wasm"), bundle.path().join("model.wasm")).unwrap();
        fs::create_dir(bundle.path().join("model")).unwrap();
        let model = fs::read_to_string(fixtures::example("iris-rust").join("model/iris.json")).unwrap();
        fs::write(bundle.path().join("model/iris.json"), model.replace("setosa", "another")).unwrap();
        for serve in [
            Serve::example("iris-rust").args("--deployment-version 2"),
            Serve::example("iris-rust").args("--memory 100MiB"),
            Serve::new(bundle.path()),
        ] {
            serve.cache(cache.path()).start().logged(", compiled in");
        }
        let server = Serve::new(bundle.path()).cache(cache.path()).start();
        server.logged("loaded from the cache");
        assert_eq!(server.score(IRIS).json()["prediction"][0], "another");
    }

    #[test]
    fn an_entry_that_is_cut_off_is_rebuilt() {
        let cache = filled();
        let path = entry(cache.path());
        let whole = fs::read(&path).unwrap();
        for length in [0, 1, 39, whole.len() / 2, whole.len() - 1] {
            fs::write(&path, &whole[..length]).unwrap();
            assert_rebuilt(cache.path());
        }
    }

    #[test]
    fn an_entry_in_which_one_bit_has_changed_is_rebuilt() {
        let cache = filled();
        let path = entry(cache.path());
        let whole = fs::read(&path).unwrap();
        for position in [0, 8, 40, 44, whole.len() / 2, whole.len() - 1] {
            let mut changed = whole.clone();
            changed[position] ^= 0x10;
            fs::write(&path, changed).unwrap();
            assert_rebuilt(cache.path());
        }
    }

    #[test]
    fn the_warning_of_a_damaged_entry_names_it() {
        let cache = filled();
        let path = entry(cache.path());
        fs::write(&path, "damaged").unwrap();
        let server = Serve::example("iris-rust").cache(cache.path()).start();
        let warning = server.logged(DAMAGED);
        assert!(warning.contains(&*path.to_string_lossy()), "{warning}");
    }

    #[test]
    fn an_entry_that_another_host_made_is_rebuilt() {
        let (cache, other) = (filled(), filled());
        let (ours, theirs) = (entry(cache.path()), entry(other.path()));
        let name = |path: &Path| path.file_name().expect("a name").to_string_lossy().into_owned();
        let source = |path: &Path| name(path).split('.').next().map(str::to_owned);
        assert_eq!(source(&ours), source(&theirs), "only the key tells them apart");
        fs::copy(&theirs, cache.path().join(name(&theirs))).unwrap();
        fs::remove_file(ours).unwrap();
        assert_rebuilt(cache.path());
    }

    #[test]
    fn an_entry_under_the_name_of_another_one_is_rebuilt() {
        let cache = filled();
        let iris = entry(cache.path());
        let version = Serve::example("iris-rust").args("--deployment-version 2");
        drop(version.cache(cache.path()).start());
        let second = fs::read_dir(cache.path()).unwrap().map(|entry| entry.unwrap().path());
        let sealed = |path: &PathBuf| path.extension().is_some_and(|ending| ending == "sealed");
        let second = second.into_iter().find(|path| *path != iris && sealed(path)).expect("another entry");
        fs::rename(second, &iris).unwrap();
        assert_rebuilt(cache.path());
    }

    #[test]
    fn the_cache_and_its_key_belong_to_the_hosts_user_alone() {
        let outer = folder();
        let cache = outer.path().join("made/by/the/server");
        drop(Serve::example("iris-rust").cache(&cache).start());
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&cache), 0o700);
        assert_eq!(mode(&cache.join("key")), 0o600);
        assert_eq!(mode(&entry(&cache)), 0o600);
    }

    #[test]
    fn a_key_that_cannot_be_trusted_means_no_cache_and_a_warning() {
        let cache = filled();
        let key = cache.path().join("key");
        let spoils: [(&str, &dyn Fn()); 2] = [
            ("can be read or written by other users", &|| {
                fs::set_permissions(&key, Permissions::from_mode(0o644)).unwrap();
            }),
            ("does not have 32 bytes", &|| {
                fs::set_permissions(&key, Permissions::from_mode(0o600)).unwrap();
                fs::write(&key, "short").unwrap();
            }),
        ];
        for (why, spoil) in spoils {
            spoil();
            let server = Serve::example("iris-rust").cache(cache.path()).start();
            let warning = server.logged("going on without the cache: the cache key ");
            assert!(warning.contains(" W [") && warning.contains(why), "{warning}");
            server.logged(", compiled in");
            assert_scores(&server);
        }
    }

    #[test]
    fn a_cache_that_cannot_be_made_means_no_cache_and_a_warning() {
        let folder = folder();
        let file = folder.path().join("file");
        fs::write(&file, "").unwrap();
        let server = Serve::example("iris-rust").cache(file.join("cache")).start();
        assert!(server.logged("going on without the cache: cannot make the folder ").contains(" W ["));
        assert_scores(&server);
    }

    #[test]
    fn without_a_cache_nothing_is_written() {
        let cache = folder();
        assert_scores(&Serve::example("iris-rust").args("--no-cache").cache(cache.path()).start());
        assert_eq!(fs::read_dir(cache.path()).unwrap().count(), 0);
    }

    #[test]
    fn the_size_of_the_cache_is_kept() {
        let cache = folder();
        for version in 1..=4 {
            let version = format!("--cache-size 1B --deployment-version {version}");
            drop(Serve::example("iris-rust").args(&version).cache(cache.path()).start());
            entry(cache.path());
        }
    }

    #[test]
    fn a_start_after_a_kill_at_any_moment_of_a_deployment_is_fine() {
        const KILLS: u32 = 16;
        let whole = {
            let cache = folder();
            let start = Instant::now();
            let _server = Serve::example("house-price-rust").cache(cache.path()).start();
            start.elapsed()
        };
        let mut killed_while_deploying = 0;
        for kill in 0..KILLS {
            let cache = folder();
            let (process, _) = Serve::example("house-price-rust").cache(cache.path()).spawn(free_port());
            // Beyond the end, so that the last steps are hit as well; more often before it, which may come sooner than in
            // the start that was measured.
            let moment = whole * (kill + 1) * (kill + 1) * 11 / (KILLS * KILLS * 10);
            let _ = process.line(moment, |_| false);
            let killed = process.kill();
            assert_eq!(killed.code, None, "it was killed: {killed:?}");
            killed_while_deploying += usize::from(!killed.stdout.contains("is deployed as"));

            let server = Serve::example("house-price-rust").cache(cache.path()).start();
            assert!(!server.log().iter().any(|line| is_complaint(line)), "{:?}", server.log());
            let request = fs::read_to_string(fixtures::example("house-price-rust").join("request.json")).unwrap();
            assert_eq!(server.score(&request).status, 200);
            drop(server);
            Serve::example("house-price-rust").cache(cache.path()).start().logged("loaded from the cache");
        }
        println!("killed {KILLS} times within {whole:?}, {killed_while_deploying} of them before it was deployed");
        assert!(killed_while_deploying >= 8, "killed too late: {killed_while_deploying} of {KILLS}");
    }

    #[test]
    fn a_file_that_a_killed_server_was_writing_is_removed_when_it_is_old() {
        let cache = filled();
        let left = cache.path().join(".writing-left");
        let file = fs::File::create(&left).unwrap();
        drop(Serve::example("iris-rust").cache(cache.path()).start());
        assert!(left.exists(), "another server may be writing it");
        file.set_modified(std::time::SystemTime::now() - Duration::from_hours(2)).unwrap();
        drop(Serve::example("iris-rust").cache(cache.path()).start());
        assert!(!left.exists());
    }
}

mod full_disk {
    use super::*;

    /// A command line that runs what follows it with a file system of its own at a folder: a tmpfs with these options.
    fn with_tmpfs(namespace: &[&str], folder: &Path, options: &str) -> Vec<OsString> {
        let script = r#"mount -t tmpfs -o "mode=0700,$1" tmpfs "$2" && shift 2 && exec "$@""#;
        let mut line: Vec<OsString> = namespace.iter().map(OsString::from).collect();
        line.extend(["sh", "-c", script, "sh", options].map(OsString::from));
        line.push(folder.into());
        line
    }

    /// A command line that runs what follows it with no file larger than this many bytes. The images that instances are
    /// copied from are files to the system, and fit; the compiled module does not.
    fn with_file_limit() -> Vec<OsString> {
        ["sh", "-c", r#"trap "" XFSZ && exec prlimit --fsize=358400 "$@""#, "sh"].map(OsString::from).into()
    }

    /// A namespace in which a file system can be mounted: as root, or as a user where users may have their own.
    fn namespace(folder: &Path) -> Option<&'static [&'static str]> {
        [&["unshare", "--mount"][..], &["unshare", "--mount", "--map-root-user"]].into_iter().find(|namespace| {
            let line = with_tmpfs(namespace, folder, "size=4k");
            Command::new(&line[0]).args(&line[1..]).arg("true").output().is_ok_and(|output| output.status.success())
        })
    }

    /// Checks that a server scores that has no room for its cache, warns, and leaves no trace of what did not fit.
    #[track_caller]
    fn assert_serves_without_room(wrapper: &[OsString], cache: &Path, warning: &str) {
        for _ in 0..2 {
            let server = Serve::example("iris-rust").cache(cache).under(wrapper).start();
            let logged = server.logged(warning);
            assert!(logged.contains(" W ["), "{logged}");
            server.logged(", compiled in");
            assert_scores(&server);
            // The mount is the server's alone: it is looked at from there.
            let seen = PathBuf::from(format!("/proc/{}/root{}", server.process().id(), cache.display()));
            for entry in fs::read_dir(&seen).expect("the folder of the cache") {
                let name = entry.expect("an entry").file_name();
                assert!(name == "key" || name == "CACHEDIR.TAG", "{} has {}", seen.display(), name.display());
            }
        }
    }

    const STARTS_SLOWLY: &str = "the sealed module is not in the cache, so the next start will take longer";
    const NO_CACHE: &str = "going on without the cache: ";

    #[test]
    fn a_server_whose_disk_is_full_warns_and_serves() {
        let cache = folder();
        let Some(namespace) = namespace(cache.path()) else {
            println!("no file system can be mounted here: a limit on the size of files stands in for it");
            return assert_serves_without_room(&with_file_limit(), cache.path(), STARTS_SLOWLY);
        };
        for (options, warning) in [
            // Room for the key, and not for the module.
            ("size=4k", STARTS_SLOWLY),
            ("size=64k", STARTS_SLOWLY),
            ("size=256k", STARTS_SLOWLY),
            // Room for no file at all.
            ("nr_inodes=1", NO_CACHE),
        ] {
            assert_serves_without_room(&with_tmpfs(namespace, cache.path(), options), cache.path(), warning);
        }
    }

    #[test]
    fn a_server_that_may_write_no_large_files_warns_and_serves() {
        let cache = folder();
        assert_serves_without_room(&with_file_limit(), cache.path(), STARTS_SLOWLY);
        let server = Serve::example("iris-rust").cache(cache.path()).start();
        server.logged(", compiled in");
        drop(server);
        Serve::example("iris-rust").cache(cache.path()).start().logged("loaded from the cache");
    }

    #[test]
    fn the_warning_says_what_could_not_be_written_and_why() {
        let cache = folder();
        let server = Serve::example("iris-rust").cache(cache.path()).under(with_file_limit()).start();
        let warning = server.logged(STARTS_SLOWLY);
        assert!(warning.contains("File too large"), "{warning}");
        assert!(warning.contains(&*cache.path().to_string_lossy()), "{warning}");
    }
}
