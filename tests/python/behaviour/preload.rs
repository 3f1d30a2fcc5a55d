//! A script's imports, which are made before it is there and shared by scripts that begin alike.

use std::fs;
use std::io::{Cursor, Write as _};
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::process::Signal;
use scorebox_tests::wait::{PATIENCE, eventually};
use scorebox_tests::{Serve, Server, fixtures, python};
use serde_json::{Value, json};
use tempfile::TempDir;
use zip::ZipWriter;
use zip::write::SimpleFileOptions;

/// A server whose cache is its own, and which reads its scorer again when it is told to.
struct Host {
    server: Server,
    cache: TempDir,
    deployed: usize,
}

impl Host {
    fn start(scorer: impl FnOnce(&Path) -> Serve) -> Self {
        let cache = tempfile::tempdir().expect("a temporary folder");
        let server = scorer(cache.path()).start();
        Self { server, cache, deployed: 1 }
    }

    /// Of a script in a folder.
    fn of_script(folder: &Path) -> Self {
        let script = folder.join("score.py");
        Self::start(|cache| python::serve(script).cache(cache))
    }

    fn read_again(&mut self) {
        self.deployed += 1;
        self.server.process().signal(Signal::HUP);
        eventually(PATIENCE, "it is deployed", || {
            self.server.log().iter().filter(|line| line.contains("is deployed as")).count() == self.deployed
        });
    }

    fn answer(&self) -> Value {
        let response = self.server.score("{}");
        assert_eq!(response.status, 200, "{response:?}; {}", self.server.process().said());
        response.json()
    }

    /// The states after imports that the cache has.
    fn preloaded(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.cache.path()).expect("the cache").map(|entry| entry.expect("an entry").path());
        entries.filter(|path| path.extension().is_some_and(|ending| ending == "preloaded")).collect()
    }
}

/// Answers with a number, a hash that depends on the interpreter's start, and random numbers of `init()`.
fn script(imports: &str, number: u32) -> String {
    format!(
        "{imports}\n\n\ndef init():\n    global drawn\n    import numpy, random, uuid\n    \
         drawn = [random.random(), float(numpy.random.rand()), uuid.uuid1().node]\n\n\n\
         def run(data):\n    return [{number}, hash('scorebox'), *drawn]\n"
    )
}

#[test]
fn a_changed_script_goes_on_from_the_imports_that_it_begins_with_and_draws_numbers_of_its_own() {
    let imports = "import json, random\nimport numpy as np";
    let folder = fixtures::folder(&[("score.py", &script(imports, 1)), ("helper.py", "VALUE = 1\n")]);
    let mut host = Host::of_script(folder.path());
    let change = |host: &mut Host, text: &str| {
        fs::write(folder.path().join("score.py"), text).expect("a file");
        host.read_again();
        host.answer()
    };
    let first = host.answer();
    // Other names, other lines between, and other modules of the app are no other imports.
    fs::write(folder.path().join("helper.py"), "VALUE = 2\n").expect("a file");
    let second = change(&mut host, &script("\"\"\"Says it.\"\"\"\nimport json, random\n\nimport numpy  # arrays", 2));
    assert_eq!((&first[0], &second[0]), (&json!(1), &json!(2)));
    assert_eq!(first[1], second[1], "the interpreter was started once");
    for drawn in 2..=4 {
        assert_ne!(first[drawn], second[drawn], "what init() draws, {drawn}");
    }
    assert_eq!(host.preloaded().len(), 1);

    let third = change(&mut host, &script("import json", 3));
    assert_ne!(first[1], third[1], "with other imports it is started anew");
    assert_eq!(host.preloaded().len(), 2);
    // One that is damaged is made anew.
    for entry in host.preloaded() {
        let mut contents = fs::read(&entry).expect("an entry");
        contents[5000] ^= 1;
        fs::write(&entry, contents).expect("it can be written to");
    }
    let fourth = change(&mut host, &script(imports, 4));
    assert_eq!(fourth[0], 4);
    assert_ne!(first[1], fourth[1]);
}

#[test]
fn what_an_import_says_is_said_for_each_script() {
    let folder = fixtures::folder(&[("score.py", &script("import this", 1))]);
    let mut host = Host::of_script(folder.path());
    let said = |host: &Host| host.server.log().iter().filter(|line| line.contains("Beautiful is better")).count();
    assert_eq!(said(&host), 1);
    fs::write(folder.path().join("score.py"), script("import this", 2)).expect("a file");
    host.read_again();
    assert_eq!((host.answer()[0].clone(), said(&host)), (json!(2), 2));
    assert!(host.preloaded().is_empty());
}

#[test]
fn a_module_that_is_missing_is_said_to_be_once() {
    let folder = fixtures::folder(&[("score.py", "import json\nimport this\nimport nothing_of_the_kind\n")]);
    let ended = python::serve(folder.path().join("score.py")).refused();
    let count = |text: &str| ended.stdout.matches(text).count();
    assert_eq!((count("Beautiful is better"), count("No module named 'nothing_of_the_kind'")), (1, 1), "{ended:?}");
    assert!(ended.stdout.contains("score.py\", line 3, in <module>"), "{ended:?}");
}

#[test]
fn a_package_that_reads_the_model_when_it_is_imported_reads_the_one_of_each_deployment() {
    let folder = fixtures::folder(&[
        ("score.py", "import peeks\n\n\ndef init():\n    pass\n\n\ndef run(data):\n    return peeks.NAME\n"),
        ("requirements.txt", "./peeks-1.0-py3-none-any.whl\n"),
        ("model/name", "one"),
    ]);
    let module = "import os\n\ntry:\n    with open(os.path.join(os.environ['AZUREML_MODEL_DIR'], 'name')) as file:\n        \
                  NAME = file.read()\nexcept OSError:\n    NAME = 'none'\n";
    fs::write(folder.path().join("peeks-1.0-py3-none-any.whl"), wheel("peeks", module)).expect("a file");
    let build = |name: &str| {
        let folder = folder.path();
        fs::write(folder.join("model/name"), name).expect("a file");
        python::succeed(
            Command::new(fixtures::binary())
                .arg("build")
                .arg(folder)
                .arg("--model_dir")
                .arg(folder.join("model"))
                .arg("-o")
                .arg(folder.join("app.scorebox")),
        );
    };
    build("one");
    let archive = folder.path().join("app.scorebox");
    let mut host = Host::start(|cache| Serve::new(archive).cache(cache));
    assert_eq!(host.answer(), "one");
    build("two");
    host.read_again();
    assert_eq!(host.answer(), "two");
    assert!(host.preloaded().is_empty());
}

/// A wheel with one module.
fn wheel(name: &str, module: &str) -> Vec<u8> {
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    let info = format!("{name}-1.0.dist-info");
    for (path, text) in [
        (format!("{name}.py"), module.to_owned()),
        (format!("{info}/METADATA"), format!("Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")),
        (format!("{info}/WHEEL"), "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n".to_owned()),
        (format!("{info}/RECORD"), String::new()),
    ] {
        zip.start_file(path, SimpleFileOptions::default()).expect("an entry");
        zip.write_all(text.as_bytes()).expect("an entry");
    }
    zip.finish().expect("a wheel").into_inner()
}
