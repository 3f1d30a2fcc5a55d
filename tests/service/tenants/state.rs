//! What is kept: all that was acknowledged, whatever happens to the server.

use std::ffi::OsStr;
use std::fs;

use rustix::process::Signal;
use scorebox_tests::fixtures;
use scorebox_tests::process::run;
use scorebox_tests::random::Random;
use scorebox_tests::wait::{PATIENCE, eventually};
use scorebox_tests::{Serve, python};
use serde_json::{Value, json};

use super::{Host, address, last};

/// All that the API shows of an endpoint, but for whether its deployments are in memory.
fn state(host: &Host, path: &str) -> [Value; 3] {
    let mut deployments = host.read(&format!("{}/deployments", address(path))).json();
    for deployment in deployments["items"].as_array_mut().expect("a list") {
        deployment["residence"].take();
    }
    [host.read("/tenants").json(), host.read(&address(path)).json(), deployments]
}

#[test]
fn what_was_acknowledged_is_there_after_each_kill() {
    const KILLS: u64 = 10;
    let mut host = Host::start();
    let mut key = host.serving("acme/iris", "echo");
    let mut random = Random::new(6);
    let bundle = host.upload(&fs::read(fixtures::guest("echo")).unwrap());
    for kill in 0..KILLS {
        let changes = 1 + random.number() % 4;
        for change in 0..changes {
            match random.number() % 4 {
                0 => {
                    let rotated = host.put(&format!("{}/keys/primary", address("acme/iris")), &json!({}));
                    assert_eq!(rotated.status, 200);
                    rotated.json()["key"].as_str().unwrap().clone_into(&mut key);
                }
                1 => {
                    let description = format!("{kill} {change}");
                    assert_eq!(host.put(&address("acme/iris"), &json!({ "description": description })).status, 200);
                }
                2 => {
                    let spec = json!({"bundle": bundle, "version": format!("{kill}-{change}")});
                    assert_eq!(host.put(&address("acme/iris/blue"), &spec).status, 202);
                    host.deployed("acme/iris/blue");
                }
                _ => {
                    let name = format!("tenant-{kill}-{change}");
                    assert_eq!(host.put(&format!("/tenants/{name}"), &json!({})).status, 201);
                }
            }
        }
        let before = state(&host, "acme/iris");
        let answer = host.score("acme/iris", &key, "{}").json();
        host = host.killed_and_started();
        assert_eq!(state(&host, "acme/iris"), before, "after kill {kill}");
        assert_eq!(host.score("acme/iris", &key, "{}").json()["deployment"], answer["deployment"]);
    }
}

#[test]
fn a_deployment_that_was_accepted_is_made_ready_after_a_kill() {
    let mut host = Host::start();
    let key = host.serving("acme/iris", "echo");
    let bundle = host.upload(&fs::read(fixtures::guest("echo")).unwrap());
    for version in ["a", "b", "c"] {
        // It is killed before, while or after it is made ready.
        let spec = json!({"bundle": bundle, "version": version});
        assert_eq!(host.put(&address("acme/iris/blue"), &spec).status, 202);
        host = host.killed_and_started();
        let status = host.deployed("acme/iris/blue");
        assert_eq!(last(&status)["state"]["state"], "ready", "{status}");
        assert_eq!(host.score("acme/iris", &key, "{}").json()["deployment"]["version"], version);
    }
}

#[test]
fn a_deployment_that_ends_the_server_again_and_again_is_given_up() {
    let mut host = Host::start();
    let key = host.serving("acme/iris", "echo");
    // It is not ready before somebody ends it.
    let model = fixtures::folder(&[("spin-in-init", "")]);
    let (guest, model) = (fixtures::guest("panic"), model.path().to_str().unwrap());
    let deploy = ["deploy", "acme/iris/blue", guest.to_str().unwrap(), "--model_dir", model, "--no-wait"];
    assert_eq!(host.scorebox(&deploy).code, Some(0));
    let bundle = host.upload(&fs::read(fixtures::guest("echo")).unwrap());
    for _ in 0..3 {
        let path = address("acme/iris/blue");
        eventually(PATIENCE, "it is being made ready", || host.read(&path).json()["stage"] == "initialising");
        // What only waits is not at fault.
        assert_eq!(host.put(&address("acme/iris/waits"), &json!({ "bundle": bundle })).status / 100, 2);
        host = host.killed_and_started();
    }
    let status = host.deployed("acme/iris/blue");
    let reason = last(&status)["state"]["reason"].as_str().unwrap_or_else(|| panic!("{status}"));
    assert!(reason.contains("the server ended 3 times while it was deployed"), "{reason}");
    assert_eq!(host.score("acme/iris", &key, "{}").status, 200);
    assert_eq!(last(&host.deployed("acme/iris/waits"))["state"]["state"], "ready");
}

#[test]
fn a_script_is_served_again_after_a_restart() {
    let folder = fixtures::folder(&[("score.py", "def init():\n    pass\n\n\ndef run(data):\n    return 'mine'\n")]);
    let cache = python::compiled_cache();
    let host = Host::start_as(|serve| serve.cache(&cache));
    let key = host.endpoint("acme/iris");
    let script = folder.path().join("score.py");
    let deployed = host.scorebox(&["deploy", "acme/iris/blue", script.to_str().unwrap(), "--all-traffic"]);
    assert_eq!(deployed.code, Some(0), "{deployed:?}");
    let host = host.killed_and_started();
    assert_eq!(host.score("acme/iris", &key, "{}").json(), "mine");
}

#[test]
fn tenants_with_the_same_script_share_no_start_of_the_interpreter() {
    let script = "import json\n\n\ndef init():\n    pass\n\n\ndef run(data):\n    return hash('scorebox')\n";
    let folder = fixtures::folder(&[("score.py", script)]);
    let path = folder.path().join("score.py");
    let cache = python::compiled_cache();
    let host = Host::start_as(|serve| serve.cache(&cache));
    let deploy = |endpoint: &str| {
        let deployment = format!("{endpoint}/blue");
        let deployed = host.scorebox(&["deploy", &deployment, path.to_str().unwrap(), "--all-traffic"]);
        assert_eq!(deployed.code, Some(0), "{deployed:?}");
    };
    let [acme, umbrella] = ["acme/iris", "umbrella/iris"].map(|endpoint| {
        let key = host.endpoint(endpoint);
        deploy(endpoint);
        (endpoint, key)
    });
    let hash = |(endpoint, key): &(&str, String)| host.score(endpoint, key, "{}").json();
    let first = hash(&acme);
    assert_ne!(first, hash(&umbrella));
    // The next revision of the same deployment does.
    fs::write(&path, format!("{script}\n# changed\n")).unwrap();
    deploy("acme/iris");
    assert_eq!(first, hash(&acme));
}

#[test]
fn a_backup_that_was_made_while_serving_is_what_there_was_then() {
    let host = Host::start();
    let key = host.serving("acme/iris", "echo");
    let made = host.scorebox(&["state", "backup", "first"]);
    assert_eq!(made.code, Some(0), "{made:?}");
    assert_eq!(host.scorebox(&["state", "backup", "first"]).code, Some(1));
    let before = state(&host, "acme/iris");
    host.endpoint("umbrella/iris");
    assert_eq!(host.put(&format!("{}/keys/primary", address("acme/iris")), &json!({})).status, 200);
    let Host { server, folder, .. } = host;
    let restore = |to: &str| {
        let to = folder.path().join(to);
        run([OsStr::new("state"), OsStr::new("restore"), OsStr::new(made.stdout.trim()), to.as_os_str()])
    };
    let check = |of: &str| run([OsStr::new("state"), OsStr::new("check"), folder.path().join(of).as_os_str()]);
    // The folder is in use.
    assert_eq!((restore("state").code, check("state").code), (Some(1), Some(1)));
    server.kill();
    assert_eq!(check("state").stdout, "whole");
    assert_eq!(restore("restored").code, Some(0));
    assert_eq!(check("restored").stdout, "whole");
    fs::rename(folder.path().join("state"), folder.path().join("old")).unwrap();
    fs::rename(folder.path().join("restored"), folder.path().join("state")).unwrap();
    let (server, admin) = super::serve(folder.path(), |serve| serve);
    let host = Host { server, admin, folder };
    assert_eq!(state(&host, "acme/iris"), before);
    assert_eq!(host.score("acme/iris", &key, "{}").status, 200);
    // What is damaged is said to be.
    let Host { server, folder, .. } = host;
    server.kill();
    let blobs = folder.path().join("state/store/blobs");
    let blob =
        fs::read_dir(blobs).unwrap().map(|two| fs::read_dir(two.unwrap().path()).unwrap().next().unwrap().unwrap());
    fs::write(blob.last().unwrap().path(), "damaged").unwrap();
    let damaged = run([OsStr::new("state"), OsStr::new("check"), folder.path().join("state").as_os_str()]);
    assert_eq!(damaged.code, Some(1));
    assert!(damaged.stderr.contains("is damaged"), "{damaged:?}");
}

#[test]
fn the_folder_of_a_server_is_nobody_elses_while_it_runs() {
    let host = Host::start();
    let state = host.folder.path().join("state");
    let other = Serve::nothing().arg("--state-dir").arg(&state);
    let refused = other.refused();
    assert_eq!(refused.code, Some(3), "{refused:?}");
    assert!(refused.stderr.contains("is in use"), "{refused:?}");
    host.server.process().signal(Signal::TERM);
    assert_eq!(host.server.wait(PATIENCE).code, Some(0));
    assert_eq!(other.start().get("/").text(), "Healthy");
}

#[test]
fn the_api_needs_a_folder_and_a_token() {
    let folder = fixtures::folder(&[("short", "abc"), ("token", super::TOKEN)]);
    let place = |name: &str| folder.path().join(name);
    let state = || Serve::nothing().arg("--state-dir").arg(place("state"));
    let admin = |serve: Serve| serve.args("--admin 127.0.0.1:1");
    for (serve, code, why) in [
        (admin(Serve::nothing()), 2, "--state-dir"),
        (admin(state()), 2, "--admin-token-file"),
        (admin(state()).arg("--admin-token-file").arg(place("nothing")), 3, "cannot read the token"),
        (admin(state()).arg("--admin-token-file").arg(place("short")), 3, "32 to 512"),
    ] {
        let refused = serve.refused();
        assert_eq!(refused.code, Some(code), "{refused:?}");
        assert!(refused.stderr.contains(why), "{refused:?}");
    }
    // Without the API there are still endpoints: those that there were.
    let server = state().start();
    assert_eq!(server.get("/acme/iris/").status, 401);
}
