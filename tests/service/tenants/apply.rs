//! `scorebox apply`: a server becomes what a file says.

use std::fs;
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use scorebox_tests::Request;
use scorebox_tests::fixtures;
use scorebox_tests::process::{Ended, descendants};
use scorebox_tests::wait::{PATIENCE, eventually};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::{Host, address, last};

/// A file and its scorers.
struct Wanted {
    folder: TempDir,
}

impl Wanted {
    fn new(text: &str) -> Self {
        let folder = fixtures::folder(&[]);
        for guest in ["echo", "panic"] {
            fs::copy(fixtures::guest(guest), folder.path().join(format!("{guest}.wasm"))).expect("a component");
        }
        let wanted = Self { folder };
        wanted.say(text);
        wanted
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("scorebox.toml")
    }

    fn say(&self, text: &str) {
        fs::write(self.file(), text).expect("a file");
    }

    fn apply(&self, host: &Host, more: &[&str]) -> Ended {
        let file = self.file();
        host.scorebox(&[&["apply", "-f", file.to_str().expect("a path of letters")], more].concat())
    }

    /// Applies it, and returns what is said of the changes.
    #[track_caller]
    fn applied(&self, host: &Host, more: &[&str]) -> String {
        let ended = self.apply(host, more);
        assert_eq!(ended.code, Some(0), "{ended:?}");
        ended.stdout
    }
}

const FIRST: &str = r#"
[tenants.acme]
description = "the first"
quotas = { requests_per_second = 1000 }

[tenants.acme.endpoints.iris]
hosts = ["iris.example.com"]
traffic = { blue = 100 }

[tenants.acme.endpoints.iris.deployments.blue]
scorer = "echo.wasm"
version = "1"
environment = { PASSWORD = "secret-1" }
probe = { body = "{}" }
"#;

const GREEN: &str = r#"
[tenants.acme.endpoints.iris.deployments.green]
scorer = "echo.wasm"
"#;

const X: &str = "x.example.com";
const Y: &str = "y.example.com";

/// An endpoint in a file, with a deployment that is told the endpoint's name as its version.
fn endpoint(path: &str, hosts: &[&str]) -> String {
    let (tenant, name) = path.split_once('/').expect("a tenant and a name");
    let table = format!("tenants.{tenant}.endpoints.{name}");
    format!(
        "[{table}]\nhosts = {hosts:?}\ntraffic = {{ blue = 100 }}\n\
         [{table}.deployments.blue]\nscorer = \"echo.wasm\"\nversion = \"{name}\"\n"
    )
}

fn primary_key(done: &str, endpoint: &str) -> String {
    let before = format!("primary key of {endpoint}    ");
    done.lines().find_map(|line| line.strip_prefix(&*before)).expect("a key").to_owned()
}

fn version(host: &Host, key: &str) -> Value {
    let response = host.score("acme/iris", key, "{}");
    assert_eq!(response.status, 200, "{response:?}");
    response.json()["deployment"]["version"].clone()
}

/// The version of what answers at a host name.
fn version_at(host: &Host, name: &str, key: &str) -> Value {
    let request = Request::json("{}").to(&format!("http://{name}/score")).header("api-key", key);
    let response = host.server.send(&request);
    assert_eq!(response.status, 200, "{response:?}");
    response.json()["deployment"]["version"].clone()
}

/// Deploys what is not ready before somebody ends it. Others wait for their turn until [`go_on`].
fn keep_busy(host: &Host) {
    if host.read(&address("umbrella/iris")).status == 404 {
        host.endpoint("umbrella/iris");
    }
    let model = fixtures::folder(&[("spin-in-init", "")]);
    let (guest, model) = (fixtures::guest("panic"), model.path().to_str().expect("a path is text"));
    let guest = guest.to_str().expect("a path is text");
    let slow = ["deploy", "umbrella/iris/blue", guest, "--model_dir", model, "--no-wait"];
    assert_eq!(host.scorebox(&slow).code, Some(0));
    let stage = || host.read(&address("umbrella/iris/blue")).json()["stage"].clone();
    eventually(PATIENCE, "it is its turn", || stage() == "initialising");
}

/// Ends what keeps the others waiting.
fn go_on(host: &Host) {
    let is_worker = |id: &u32| {
        let line = fs::read(format!("/proc/{id}/cmdline")).unwrap_or_default();
        line.windows(13).any(|part| part == b"sealer-worker")
    };
    let worker = descendants(host.server.process().id()).into_iter().find(is_worker);
    let worker = worker.and_then(|id| Pid::from_raw(i32::try_from(id).ok()?)).expect("a process runs its init");
    kill_process(worker, Signal::KILL).expect("it does not end by itself");
}

/// Checks that a command has failed, and says all of this.
#[track_caller]
fn assert_fails(ended: &Ended, texts: &[&str]) {
    assert_eq!(ended.code, Some(1), "{ended:?}");
    for said in texts {
        assert!(ended.stderr.contains(said), "{said}: {}", ended.stderr);
    }
}

/// Applies a file, and does something while a revision of a deployment that it has asked for waits for its turn.
fn apply_while(host: &Host, wanted: &Wanted, more: &[&str], revision: (&str, u64), act: impl FnOnce()) -> Ended {
    run_while(host, || wanted.apply(host, more), revision, act)
}

/// The same with another command.
fn run_while(
    host: &Host,
    command: impl FnOnce() -> Ended + Send,
    (deployment, revision): (&str, u64),
    act: impl FnOnce(),
) -> Ended {
    keep_busy(host);
    thread::scope(|scope| {
        let running = scope.spawn(command);
        let asked = || last(&host.read(&address(deployment)).json())["number"] == revision;
        eventually(PATIENCE, "it is asked for", asked);
        act();
        go_on(host);
        running.join().expect("it ends")
    })
}

#[test]
fn deploy_leaves_traffic_as_it_is_that_somebody_has_changed_while_it_waited() {
    let host = Host::start();
    host.serving("acme/iris", "echo");
    host.deploy("acme/iris/green", "echo");
    let guest = fixtures::guest("echo");
    let guest = guest.to_str().expect("a path is text");
    let deploy = ["deploy", "acme/iris/blue", guest, "--deployment-version", "2", "--all-traffic"];
    let ended = run_while(
        &host,
        || host.scorebox(&deploy),
        ("acme/iris/blue", 2),
        || {
            host.give_all_traffic("acme/iris/green");
        },
    );
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(ended.stderr.contains("has changed since"), "{ended:?}");
    assert_eq!(host.read(&address("acme/iris")).json()["traffic"], json!({"green": 100}));
    assert_eq!(host.deployed("acme/iris/blue")["current"], 2);
}

#[test]
fn a_server_becomes_what_the_file_says_and_the_differences_are_shown_first() {
    let host = Host::start();
    let wanted = Wanted::new(FIRST);
    let plan = wanted.applied(&host, &["--dry-run"]);
    for line in [
        "+ tenant acme",
        "    quotas.requests_per_second: 1000",
        "+ endpoint acme/iris",
        "+ deployment acme/iris/blue",
        "    environment.PASSWORD: (set)",
        "    traffic.blue: 100",
    ] {
        assert!(plan.lines().any(|said| said == line), "{line} in {plan}");
    }
    assert_eq!(host.read("/tenants").json()["items"], json!([]), "a dry run changes nothing");
    let done = wanted.applied(&host, &[]);
    assert!(done.starts_with(&plan), "{done}");
    let key = primary_key(&done, "acme/iris");
    assert_eq!(version(&host, &key), "1");
    assert!(!done.contains("secret"), "{done}");
    // Again, nothing is to be done.
    let ended = wanted.apply(&host, &[]);
    assert_eq!((ended.code, &*ended.stdout), (Some(0), ""), "{ended:?}");
    assert!(ended.stderr.contains("the server is as the file says"), "{ended:?}");
    // Another revision, and another deployment.
    let second = FIRST
        .replace("secret-1", "secret-2")
        .replace("1000", "2000")
        .replace("{ blue = 100 }", "{ blue = 0, green = 100 }")
        + "\n[tenants.acme.endpoints.iris.deployments.green]\nscorer = \"echo.wasm\"\nversion = \"green\"\n";
    wanted.say(&second);
    let done = wanted.applied(&host, &[]);
    let expected = [
        "~ tenant acme",
        "    quotas.requests_per_second: 1000 -> 2000",
        "~ deployment acme/iris/blue",
        "    environment.PASSWORD: another value",
        "+ deployment acme/iris/green",
        "~ traffic of acme/iris",
        "    traffic.blue: 100 -> (none)",
        "    traffic.green: 100",
    ];
    for line in expected {
        assert!(done.lines().any(|said| said == line), "{line} in {done}");
    }
    assert!(!done.contains("secret") && !done.contains("endpoint acme/iris"), "{done}");
    assert_eq!(version(&host, &key), "green");
    assert_eq!(host.read(&address("acme/iris/blue")).json()["answering"], 2);
    // What is not in the file is left alone, unless it is to go.
    host.serving("acme/other", "echo");
    host.serving("umbrella/iris", "echo");
    let first = FIRST.replace("1000", "2000").replace("secret-1", "secret-2");
    wanted.say(&first);
    let ended = wanted.apply(&host, &[]);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    for left in ["endpoint acme/other is not in the file", "deployment acme/iris/green is not in the file"] {
        assert!(ended.stderr.contains(left), "{ended:?}");
    }
    assert_eq!(version(&host, &key), "1");
    let pruned = wanted.applied(&host, &["--prune"]);
    assert_eq!(pruned, "- deployment acme/iris/green\n- endpoint acme/other");
    assert_eq!(host.read(&address("acme/iris/green")).status, 404);
    assert_eq!(host.read(&address("acme/other")).status, 404);
    assert_eq!(host.read(&address("umbrella/iris")).status, 200);
}

#[test]
fn what_is_wrong_in_the_file_is_found_before_the_first_change() {
    const ANOTHER: &str =
        "[tenants.acme.endpoints.another]\nhosts = [\"IRIS.example.com\"]\n[tenants.acme.endpoints.iris]";
    const SECOND: &str = "[tenants.umbrella]\nquotas = { instances = 0 }\n[tenants.acme]";
    let host = Host::start();
    for (from, to, why) in [
        ("description", "descripion", "line 3"),
        ("[tenants.acme]", "[tenants.Acme]", "lower-case"),
        ("\"echo.wasm\"", "\"nothing.wasm\"", "nothing.wasm"),
        ("{ blue = 100 }", "{ blue = 90 }", "add up to 90 percent"),
        ("{ blue = 100 }", "{ red = 100 }", "no deployment \"red\""),
        ("version = \"1\"", "limits = { memry = 5 }", "unknown field `memry`"),
        ("version = \"1\"", "limits = { memory = 0 }", "deployment acme/iris/blue: the limit `memory` is 0"),
        ("body = \"{}\"", "body = \"{}\", status = 99", "deployment acme/iris/blue: the probe's status is none of"),
        ("\"iris.example.com\"", "\"iris_1.example.com\"", "_1.example.com\" is no host name"),
        ("[tenants.acme.endpoints.iris]", ANOTHER, "iris.example.com is that of acme/another and of acme/iris"),
        ("[tenants.acme]", SECOND, "tenant umbrella: the quota `instances` is 0"),
        ("[tenants.acme]", "[tenants.default]\n[tenants.acme]", "a tenant cannot be named default"),
        ("requests_per_second = 1000", "bundle = 1000", "and those of tenant acme may have 1000"),
        ("requests_per_second = 1000", "deployments = 0", "acme would have 1 deployments, and may have 0"),
    ] {
        let wanted = Wanted::new(&FIRST.replace(from, to));
        let ended = wanted.apply(&host, &[]);
        assert_eq!(ended.code, Some(1), "{ended:?}");
        assert!(ended.stderr.contains(why), "{why}: {}", ended.stderr);
        assert_eq!(host.read("/tenants").json()["items"], json!([]), "{to}");
    }
    let ended = host.scorebox(&["apply", "-f", "/nowhere/scorebox.toml"]);
    assert!(ended.code == Some(1) && ended.stderr.contains("cannot read /nowhere/scorebox.toml"), "{ended:?}");
}

#[test]
fn what_the_server_has_is_looked_at_before_the_first_change() {
    const TRAFFIC: &str = "traffic = { blue = 100 }";
    let host = Host::start();
    host.serving("acme/iris", "echo");
    host.serving("acme/other", "echo");
    // It was never ready.
    let nothing = host.upload(b"nothing that can be run");
    assert_eq!(host.put(&address("acme/iris/red"), &json!({"bundle": nothing})).status, 202);
    assert_eq!(host.deployed("acme/iris/red")["current"], Value::Null);
    let file = format!(
        "[tenants.acme]\ndescription = \"changed\"\nquotas = {{ deployments = 4 }}\n\
         [tenants.acme.endpoints.iris]\n{TRAFFIC}\n{GREEN}"
    );
    let wanted = Wanted::new("");
    for (from, to, prune, why) in [
        ("deployments = 4", "deployments = 3", false, "tenant acme would have 4 deployments, and may have 3"),
        // What is deleted goes last.
        ("deployments = 4", "deployments = 3", true, "tenant acme would have 4 deployments, and may have 3"),
        (TRAFFIC, "traffic = { red = 100 }", false, "no deployment \"red\" that is ready"),
        (TRAFFIC, "traffic = { blue = 100 }\nmirror = { red = 10 }", false, "no deployment \"red\" that is ready"),
    ] {
        wanted.say(&file.replace(from, to));
        let ended = wanted.apply(&host, if prune { &["--prune"] } else { &[] });
        assert_eq!(ended.code, Some(1), "{ended:?}");
        assert!(ended.stderr.contains(why), "{why}: {}", ended.stderr);
        assert_eq!(host.read("/tenants/acme").json()["description"], "", "{to}");
    }
    wanted.say(&file);
    assert!(wanted.applied(&host, &[]).contains("+ deployment acme/iris/green"));
    // Another revision is no other deployment, and one that gets ready has traffic.
    let red = GREEN.replace("green", "red");
    let file = file.replace(TRAFFIC, "traffic = { red = 100 }");
    wanted.say(&format!("{file}version = \"2\"\n{red}"));
    let done = wanted.applied(&host, &[]);
    assert!(done.contains("~ deployment acme/iris/green") && done.contains("deployment acme/iris/red"), "{done}");
    assert_eq!(host.read(&address("acme/iris")).json()["traffic"], json!({"red": 100}));
}

#[test]
fn a_deployment_that_fails_ends_it_before_it_gets_traffic_and_it_can_be_applied_again() {
    let host = Host::start();
    let wanted = Wanted::new(FIRST);
    let done = wanted.applied(&host, &["--json"]);
    let done: Value = serde_json::from_str(&done).expect("JSON");
    assert_eq!(done["applied"], true);
    assert_eq!(
        done["changes"][0],
        json!({"action": "create", "what": "tenant acme", "differences": [
            "description: the first", "quotas.requests_per_second: 1000"
        ]})
    );
    let key = done["created_endpoints"][0]["primary_key"].as_str().expect("a key");
    let broken = FIRST.replace("{ blue = 100 }", "{ blue = 50, green = 50 }")
        + "\n[tenants.acme.endpoints.iris.deployments.green]\nscorer = \"panic.wasm\"\nprobe = { body = '{\"end\": \"panic\"}' }\n";
    wanted.say(&broken);
    let ended = wanted.apply(&host, &[]);
    assert_fails(
        &ended,
        &["`+ deployment acme/iris/green` is not made, 0 of 2 changes before it are", "its probe failed"],
    );
    assert_eq!(version(&host, key), "1");
    assert_eq!(host.read(&address("acme/iris")).json()["traffic"], json!({"blue": 100}));
    wanted.say(&broken.replace(r#""end": "panic""#, r#""end": "well""#));
    let done = wanted.applied(&host, &[]);
    assert!(done.contains("+ deployment acme/iris/green"), "{done}");
    assert_eq!(host.read(&address("acme/iris")).json()["traffic"], json!({"blue": 50, "green": 50}));
}

#[test]
fn a_program_gets_the_keys_of_what_was_created_before_a_change_failed() {
    let host = Host::start();
    let wanted = Wanted::new(&FIRST.replace(r#"scorer = "echo.wasm""#, r#"scorer = "panic.wasm""#));
    wanted.say(&fs::read_to_string(wanted.file()).unwrap().replace(r#"body = "{}""#, r#"body = '{"end": "panic"}'"#));
    let ended = wanted.apply(&host, &["--json"]);
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(ended.stderr.contains("`+ deployment acme/iris/blue` is not made, 2 of 4 changes"), "{ended:?}");
    let document: Value = serde_json::from_str(&ended.stdout).expect("JSON");
    assert_eq!(document["applied"], false);
    let key = document["created_endpoints"][0]["primary_key"].as_str().expect("a key");
    wanted.say(FIRST);
    wanted.applied(&host, &["--json"]);
    assert_eq!(version(&host, key), "1");
}

#[test]
fn hosts_that_are_written_in_another_way_are_no_change() {
    let host = Host::start();
    let hosts = r#"["b.example.com", "Iris.Example.com", "iris.example.COM"]"#;
    let wanted = Wanted::new(&FIRST.replace(r#"["iris.example.com"]"#, hosts));
    wanted.applied(&host, &[]);
    assert_eq!(host.read(&address("acme/iris")).json()["hosts"], json!(["b.example.com", "iris.example.com"]));
    assert_eq!(wanted.applied(&host, &[]), "");
}

#[test]
fn an_empty_model_directory_is_none() {
    let host = Host::start();
    let wanted = Wanted::new(FIRST);
    wanted.applied(&host, &[]);
    wanted.say(&FIRST.replace("scorer =", "model_dir = \"\"\nscorer ="));
    assert_eq!(wanted.applied(&host, &[]), "");
}

#[test]
fn traffic_that_somebody_changes_meanwhile_is_left_as_it_is() {
    let host = Host::start();
    let wanted = Wanted::new(FIRST);
    wanted.applied(&host, &[]);
    host.deploy("acme/iris/green", "echo");
    let file =
        FIRST.replace("hosts =", "description = \"changed\"\nhosts =").replace("version = \"1\"", "version = \"2\"");
    wanted.say(&(file.replace("{ blue = 100 }", "{ blue = 50, green = 50 }") + GREEN));
    let ended = apply_while(&host, &wanted, &[], ("acme/iris/blue", 2), || host.give_all_traffic("acme/iris/green"));
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(
        ended.stderr.contains("`~ traffic of acme/iris` is not made") && ended.stderr.contains("has changed since"),
        "{ended:?}"
    );
    assert_eq!(host.read(&address("acme/iris")).json()["traffic"], json!({"green": 100}));
    // Who has seen it changes it.
    wanted.applied(&host, &[]);
    assert_eq!(host.read(&address("acme/iris")).json()["traffic"], json!({"blue": 50, "green": 50}));
}

#[test]
fn what_somebody_has_changed_since_is_not_pruned() {
    let host = Host::start();
    let wanted = Wanted::new(FIRST);
    wanted.applied(&host, &[]);
    host.deploy("acme/iris/green", "echo");
    host.endpoint("acme/other");
    wanted.say(&FIRST.replace("version = \"1\"", "version = \"2\""));
    let green = host.upload(&fs::read(fixtures::guest("says")).unwrap());
    let ended = apply_while(&host, &wanted, &["--prune"], ("acme/iris/blue", 2), || {
        assert_eq!(host.put(&address("acme/iris/green"), &json!({"bundle": green})).status, 202);
    });
    assert_fails(&ended, &["`- deployment acme/iris/green` is not made", "has changed since"]);
    assert_eq!(host.deployed("acme/iris/green")["current"], 2);
    wanted.say(&FIRST.replace("version = \"1\"", "version = \"3\""));
    let ended = apply_while(&host, &wanted, &["--prune"], ("acme/iris/blue", 3), || {
        assert_eq!(host.put(&address("acme/other"), &json!({"description": "theirs"})).status, 200);
    });
    assert_fails(&ended, &["`- endpoint acme/other` is not made", "has changed since"]);
    assert_eq!(host.read(&address("acme/other")).json()["description"], "theirs");
    wanted.say(&FIRST.replace("version = \"1\"", "version = \"4\""));
    let ended = apply_while(&host, &wanted, &["--prune"], ("acme/iris/blue", 4), || {
        assert_eq!(host.put(&address("acme/other/blue"), &json!({"bundle": green})).status, 202);
    });
    assert_fails(
        &ended,
        &["`- endpoint acme/other` is not made", "a deployment of endpoint acme/other has changed since"],
    );
    assert_eq!(host.deployed("acme/other/blue")["current"], 1);
    // Nobody has changed the deployment since the second time.
    assert_eq!(wanted.applied(&host, &["--prune"]), "- endpoint acme/other");
    assert_eq!(host.read(&address("acme/other")).status, 404);
}

#[test]
fn what_becomes_ready_by_itself_is_pruned_all_the_same() {
    let host = Host::start();
    let wanted = Wanted::new(FIRST);
    wanted.applied(&host, &[]);
    keep_busy(&host);
    let bundle = host.upload(&fs::read(fixtures::guest("says")).unwrap());
    assert_eq!(host.put(&address("acme/iris/green"), &json!({"bundle": bundle})).status, 202);
    wanted.say(&FIRST.replace("version = \"1\"", "version = \"2\""));
    let ended = apply_while(&host, &wanted, &["--prune"], ("acme/iris/blue", 2), || {});
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert_eq!(host.read(&address("acme/iris/green")).status, 404);
}

#[test]
fn a_deployment_that_somebody_changes_meanwhile_is_left_as_it_is() {
    let host = Host::start();
    let wanted = Wanted::new(&format!("{FIRST}{GREEN}"));
    wanted.applied(&host, &[]);
    wanted.say(&format!("{FIRST}{GREEN}version = \"2\"\n").replace("version = \"1\"", "version = \"2\""));
    let theirs = host.upload(&fs::read(fixtures::guest("says")).unwrap());
    let ended = apply_while(&host, &wanted, &[], ("acme/iris/blue", 2), || {
        assert_eq!(host.put(&address("acme/iris/green"), &json!({"bundle": theirs})).status, 202);
    });
    assert_fails(
        &ended,
        &["`~ deployment acme/iris/green` is not made", "deployment acme/iris/green has changed since"],
    );
    assert_eq!(last(&host.deployed("acme/iris/green"))["spec"]["bundle"], json!(theirs));
}

#[test]
fn a_host_of_a_tenant_that_is_not_in_the_file_is_refused_before_another_one_moves() {
    let host = Host::start();
    let wanted = Wanted::new(&(endpoint("acme/a", &[X]) + &endpoint("acme/b", &[])));
    let a = primary_key(&wanted.applied(&host, &[]), "acme/a");
    host.endpoint("umbrella/u");
    assert_eq!(host.put(&address("umbrella/u"), &json!({"hosts": [Y]})).status, 200);
    wanted.say(&(endpoint("acme/a", &[]) + &endpoint("acme/b", &[X, Y])));
    let ended = wanted.apply(&host, &[]);
    assert_eq!(ended.code, Some(1), "{ended:?}");
    let why = "the host y.example.com of acme/b is that of umbrella/u, and tenant umbrella is not in the file";
    assert!(ended.stderr.contains(why), "{ended:?}");
    assert_eq!(version_at(&host, X, &a), "a");
}

#[test]
fn a_host_goes_back_to_its_endpoint_when_the_one_that_is_to_get_it_cannot_have_it() {
    let host = Host::start();
    let wanted = Wanted::new(&(endpoint("acme/a", &[X]) + &endpoint("acme/b", &[])));
    let done = wanted.applied(&host, &[]);
    let [a, b] = ["acme/a", "acme/b"].map(|path| primary_key(&done, path));
    let moved = endpoint("acme/a", &[]) + &endpoint("acme/b", &[X, Y]).replace("version = \"b\"", "version = \"c\"");
    wanted.say(&moved);
    // Somebody is quicker to take a host that nobody had.
    let ended = apply_while(&host, &wanted, &[], ("acme/b/blue", 2), || {
        assert_eq!(host.put(&address("umbrella/iris"), &json!({"hosts": [Y]})).status, 200);
    });
    assert_eq!(ended.code, Some(1), "{ended:?}");
    let why = "`~ endpoint acme/b` is not made, 2 of 3 changes before it are: the host y.example.com is that of another \
               endpoint; x.example.com was taken off acme/a before, and is back there";
    assert!(ended.stderr.contains(why), "{ended:?}");
    assert_eq!(version_at(&host, X, &a), "a");
    assert_eq!(host.put(&address("umbrella/iris"), &json!({})).status, 200);
    wanted.applied(&host, &[]);
    assert_eq!([X, Y].map(|name| version_at(&host, name, &b)), ["c", "c"]);
}

#[test]
fn no_host_is_taken_off_its_endpoint_when_somebody_has_changed_the_one_that_is_to_get_it() {
    let host = Host::start();
    let wanted = Wanted::new(&(endpoint("acme/a", &[X]) + &endpoint("acme/b", &[])));
    let done = wanted.applied(&host, &[]);
    let [a, b] = ["acme/a", "acme/b"].map(|path| primary_key(&done, path));
    let before = host.read(&address("acme/a")).header("etag").map(str::to_owned);
    wanted.say(&(endpoint("acme/a", &[]) + &endpoint("acme/b", &[X]).replace("version = \"b\"", "version = \"c\"")));
    let ended = apply_while(&host, &wanted, &[], ("acme/b/blue", 2), || {
        assert_eq!(host.put(&address("acme/b"), &json!({"description": "theirs"})).status, 200);
    });
    assert_eq!(ended.code, Some(1), "{ended:?}");
    let why = "`~ endpoint acme/a` is not made, 1 of 3 changes before it are: endpoint acme/b has changed since";
    assert!(ended.stderr.contains(why), "{ended:?}");
    assert_eq!(host.read(&address("acme/a")).header("etag").map(str::to_owned), before, "it had its host all the time");
    assert_eq!(version_at(&host, X, &a), "a");
    assert_eq!(host.read(&address("acme/b")).json()["description"], "theirs");
    // Who has seen it changes it.
    wanted.applied(&host, &[]);
    assert_eq!(version_at(&host, X, &b), "c");
}

#[test]
fn hosts_move_from_one_endpoint_to_another_and_the_plan_shows_it() {
    let host = Host::start();
    let wanted = Wanted::new(&(endpoint("acme/a", &[Y]) + &endpoint("acme/b", &[X])));
    let done = wanted.applied(&host, &[]);
    let [a, b] = ["acme/a", "acme/b"].map(|path| primary_key(&done, path));
    wanted.say(&(endpoint("acme/a", &[X]) + &endpoint("acme/b", &[Y])));
    let plan = wanted.applied(&host, &["--dry-run"]);
    let expected = [
        "~ endpoint acme/a",
        r#"    hosts: ["y.example.com"] -> (none)"#,
        "~ endpoint acme/b",
        r#"    hosts: ["x.example.com"] -> (none)"#,
        "~ endpoint acme/a",
        r#"    hosts: ["x.example.com"]"#,
        "~ endpoint acme/b",
        r#"    hosts: ["y.example.com"]"#,
    ];
    assert_eq!(plan.lines().collect::<Vec<_>>(), expected);
    assert_eq!(version_at(&host, X, &b), "b", "a dry run changes nothing");
    assert_eq!(wanted.applied(&host, &[]), plan);
    assert_eq!((version_at(&host, X, &a), version_at(&host, Y, &b)), (json!("a"), json!("b")));
    // To a new endpoint of another tenant, which comes before.
    wanted.say(&(endpoint("aardvark/c", &[X]) + &endpoint("acme/a", &[]) + &endpoint("acme/b", &[Y])));
    let done = wanted.applied(&host, &[]);
    assert_eq!(version_at(&host, X, &primary_key(&done, "aardvark/c")), "c");
    assert_eq!(wanted.applied(&host, &[]), "");
}

#[test]
fn an_endpoint_that_is_renamed_takes_its_host_with_it_when_what_is_to_answer_there_is_ready() {
    let host = Host::start();
    let wanted = Wanted::new(&endpoint("acme/old", &[X]));
    let old = primary_key(&wanted.applied(&host, &[]), "acme/old");
    let new = endpoint("acme/new", &[X]);
    wanted.say(&new);
    let ended = wanted.apply(&host, &[]);
    assert_eq!(ended.code, Some(1), "{ended:?}");
    let why = "the host x.example.com of acme/new is that of acme/old, which is not in the file";
    assert!(ended.stderr.contains(why), "{ended:?}");
    assert_eq!(host.read(&address("acme/new")).status, 404, "it is found before the first change");
    // What fails does not get it.
    wanted.say(&(new.replace("echo.wasm", "panic.wasm") + r#"probe = { body = '{"end": "panic"}' }"#));
    let failed = wanted.apply(&host, &["--prune"]);
    assert_eq!(failed.code, Some(1), "{failed:?}");
    assert!(failed.stderr.contains("its probe failed"), "{failed:?}");
    assert_eq!(version_at(&host, X, &old), "old");
    wanted.say(&new);
    let done = wanted.applied(&host, &["--prune"]);
    let expected = [
        "~ endpoint acme/old",
        r#"    hosts: ["x.example.com"] -> (none)"#,
        "~ endpoint acme/new",
        r#"    hosts: ["x.example.com"]"#,
        "- endpoint acme/old",
    ];
    assert!(done.ends_with(&expected.join("\n")), "{done}");
    assert_eq!(version_at(&host, X, &primary_key(&failed.stdout, "acme/new")), "new");
    assert_eq!(host.read(&address("acme/old")).status, 404);
}

#[test]
fn a_deployment_that_has_traffic_is_not_pruned_which_is_found_before_the_first_change() {
    let host = Host::start();
    let wanted = Wanted::new(FIRST);
    wanted.applied(&host, &[]);
    host.deploy("acme/iris/green", "echo");
    host.give_all_traffic("acme/iris/green");
    for traffic in ["", "traffic = { green = 100 }"] {
        wanted.say(&FIRST.replace("the first", "changed").replace("traffic = { blue = 100 }", traffic));
        let ended = wanted.apply(&host, &["--prune"]);
        assert_eq!(ended.code, Some(1), "{ended:?}");
        assert!(ended.stderr.contains("deployment acme/iris/green has traffic, and is not in the file"), "{ended:?}");
        assert_eq!(host.read("/tenants/acme").json()["description"], "the first");
    }
    wanted.say(FIRST);
    assert!(wanted.applied(&host, &["--prune"]).ends_with("\n- deployment acme/iris/green"));
}

#[test]
fn a_revision_that_is_pending_already_is_waited_for_before_it_gets_traffic() {
    /// Until then what is asked for already has been asked for again, which changes nothing that could be seen.
    const ASKED: Duration = Duration::from_secs(10);
    let host = Host::start();
    host.serving("acme/iris", "echo");
    host.deploy("acme/iris/green", "echo");
    host.give_all_traffic("acme/iris/green");
    keep_busy(&host);
    let probe = fixtures::folder(&[("probe.json", r#"{"end": "panic"}"#)]);
    let (guest, probe) = (fixtures::guest("panic"), probe.path().join("probe.json"));
    let deploy = ["deploy", "acme/iris/blue", guest.to_str().unwrap(), "--probe", probe.to_str().unwrap(), "--no-wait"];
    assert_eq!(host.scorebox(&deploy).code, Some(0));
    assert_eq!(last(&host.read(&address("acme/iris/blue")).json())["state"]["state"], "pending");
    let wanted = Wanted::new(
        r#"
        [tenants.acme.endpoints.iris]
        description = "changed"
        traffic = { blue = 100 }
        [tenants.acme.endpoints.iris.deployments.blue]
        scorer = "panic.wasm"
        probe = { body = '{"end": "panic"}', content_type = "application/json" }
        "#,
    );
    let ended = thread::scope(|scope| {
        let applying = scope.spawn(|| wanted.apply(&host, &[]));
        let description = || host.read(&address("acme/iris")).json()["description"].clone();
        eventually(PATIENCE, "the change before it is made", || description() == "changed");
        thread::sleep(ASKED);
        go_on(&host);
        applying.join().expect("it ends")
    });
    assert_fails(
        &ended,
        &["`~ deployment acme/iris/blue` is not made, 1 of 3 changes before it are", "its probe failed"],
    );
    assert_eq!(last(&host.read(&address("acme/iris/blue")).json())["number"], 2, "it is the one that was pending");
    assert_eq!(host.read(&address("acme/iris")).json()["traffic"], json!({"green": 100}));
}

#[test]
fn a_revision_that_is_gone_before_it_is_ready_is_none_that_answers() {
    let host = Host::start();
    host.endpoint("acme/iris");
    host.deploy("acme/iris/blue", "echo");
    let wanted = Wanted::new(
        r#"
        [tenants.acme.endpoints.iris.deployments.blue]
        scorer = "echo.wasm"
        version = "2"
        "#,
    );
    let path = address("acme/iris/blue");
    let ended = apply_while(&host, &wanted, &[], ("acme/iris/blue", 2), || {
        assert_eq!(host.delete(&path).status, 204);
        let bundle = host.upload(&fs::read(fixtures::guest("echo")).unwrap());
        assert_eq!(host.put(&path, &json!({"bundle": bundle})).status, 202);
    });
    assert_eq!(ended.code, Some(1), "{ended:?}");
    // Who looks between the two changes finds no deployment at all.
    let why = ["revision 2 of acme/iris/blue is not there any more", "there is no deployment acme/iris/blue"];
    assert!(why.iter().any(|why| ended.stderr.contains(why)), "{ended:?}");
}
