//! The commands that manage a server.

use scorebox_tests::Request;
use scorebox_tests::fixtures::{self, IRIS};
use scorebox_tests::process::{Process, run, scorebox};
use scorebox_tests::wait::PATIENCE;
use serde_json::{Value, json};

use super::{API, Host, TOKEN, address, sha256};

/// What a command says, which has to succeed.
#[track_caller]
fn said(host: &Host, arguments: &str) -> String {
    let ended = host.scorebox(&arguments.split(' ').collect::<Vec<_>>());
    assert_eq!(ended.code, Some(0), "{arguments}: {ended:?}");
    ended.stdout
}

#[test]
fn a_model_is_deployed_tried_shifted_and_rolled_back_from_the_command_line() {
    let host = Host::start();
    let iris = fixtures::example("iris-rust");
    let iris = iris.to_str().unwrap();
    assert_eq!(said(&host, "tenant create acme --description x"), "tenant acme is there");
    let keys = said(&host, "endpoint create acme/iris");
    let key = keys.lines().next().and_then(|line| line.strip_prefix("primary key    ")).expect("a key").to_owned();
    assert_eq!(said(&host, &format!("deploy acme/iris/blue {iris}")), "revision 1 of acme/iris/blue answers");
    assert_eq!(host.score("acme/iris", &key, IRIS).status, 404);
    assert_eq!(said(&host, "traffic acme/iris blue=100"), "traffic of acme/iris: blue=100");
    assert_eq!(host.score("acme/iris", &key, IRIS).json()["prediction"], json!(["setosa"]));
    let green = format!("deploy acme/iris/green {iris} --deployment-version 7");
    assert_eq!(said(&host, &green), "revision 1 of acme/iris/green answers");
    assert_eq!(said(&host, "traffic acme/iris blue=90 green=10"), "traffic of acme/iris: blue=90 green=10");
    let table = said(&host, "endpoint show acme/iris");
    let lines: Vec<Vec<_>> = table.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(lines[0], ["DEPLOYMENT", "TRAFFIC", "MIRROR", "REVISION", "MEMORY", "STATE"]);
    assert_eq!(lines[1], ["blue", "90", "%", "-", "1", "resident", "ready"]);
    assert_eq!(lines[2], ["green", "10", "%", "-", "1", "resident", "ready"]);
    let again = format!("deploy acme/iris/green {iris} --deployment-version 8 --all-traffic");
    assert_eq!(said(&host, &again), "revision 2 of acme/iris/green answers");
    assert!(said(&host, "endpoint list acme").contains("green=100"));
    assert_eq!(said(&host, "deployment rollback acme/iris/green"), "revision 1 of acme/iris/green answers");
    let revisions = said(&host, "deployment show acme/iris/green");
    assert!(revisions.contains("1         answers  7") && revisions.contains("2         ready    8"), "{revisions}");
    let new = said(&host, "keys rotate acme/iris primary");
    assert_eq!(host.score("acme/iris", &key, IRIS).status, 401);
    assert_eq!(host.score("acme/iris", new.trim(), IRIS).status, 200);
    said(&host, "deployment delete acme/iris/blue");
    said(&host, "endpoint delete acme/iris");
    said(&host, "tenant delete acme");
    assert_eq!(said(&host, "tenant list"), "TENANT  CREATED  DESCRIPTION");
}

#[test]
fn a_model_directory_that_is_a_link_out_of_the_folder_is_not_uploaded() {
    let host = Host::start();
    host.endpoint("acme/iris");
    let (app, other) = (fixtures::folder(&[("score.py", "")]), fixtures::folder(&[("secret", "hidden")]));
    std::os::unix::fs::symlink(other.path(), app.path().join("model")).unwrap();
    let ended = host.scorebox(&["deploy", "acme/iris/blue", app.path().to_str().unwrap()]);
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(
        ended.stderr.contains("which is outside of the folder; name the model directory with --model_dir"),
        "{ended:?}"
    );
    assert_eq!(host.read(&address("acme/iris/blue")).status, 404);
}

#[test]
fn with_json_a_program_gets_what_the_api_says() {
    let host = Host::start();
    let json = |arguments: &str| -> Value {
        let text = said(&host, &format!("{arguments} --json"));
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{arguments}: {error}: {text}"))
    };
    assert_eq!(json("tenant create acme")["name"], "acme");
    assert_eq!(json("tenant list")["items"][0]["name"], "acme");
    assert!(json("endpoint create acme/iris")["primary_key"].is_string());
    let iris = fixtures::example("iris-rust");
    assert_eq!(json(&format!("deploy acme/iris/blue {}", iris.display()))["answering"], 1);
    assert_eq!(json("traffic acme/iris blue=100")["traffic"], json!({"blue": 100}));
    assert_eq!(json("endpoint show acme/iris")["deployments"][0]["name"], "blue");
    assert_eq!(json("deployment show acme/iris/blue")["current"], 1);
    assert!(json("keys rotate acme/iris secondary")["key"].is_string());
}

#[test]
fn what_is_wrong_is_said_with_the_exit_code() {
    let host = Host::start();
    let folder = fixtures::folder(&[("empty.scorebox", "")]);
    let empty = folder.path().join("empty.scorebox");
    for (arguments, code, why) in [
        ("tenant create Acme", 2, "lower-case"),
        ("endpoint create acme", 2, "TENANT/ENDPOINT"),
        ("deploy acme/iris score.py", 2, "TENANT/ENDPOINT/DEPLOYMENT"),
        ("traffic acme/iris blue", 2, "like blue=90"),
        ("traffic acme/iris blue=50 blue=50", 2, "named twice"),
        ("traffic acme/iris", 2, "DEPLOYMENT=PERCENT"),
        ("endpoint create acme/iris", 1, "there is no tenant acme"),
        ("tenant delete acme", 1, "there is no tenant acme"),
        ("deploy acme/iris/blue /nothing/score.py", 1, "/nothing/score.py"),
        (&*format!("deploy acme/iris/blue {}", empty.display()), 1, "empty.scorebox is empty; make it anew"),
        ("deployment rollback acme/iris/blue", 1, "there is no deployment acme/iris/blue"),
        ("tenant list --server http://127.0.0.1:1", 1, "cannot be reached"),
        ("tenant list --token-file /nothing", 1, "cannot read the token"),
    ] {
        let ended = host.scorebox(&arguments.split(' ').collect::<Vec<_>>());
        assert_eq!(ended.code, Some(code), "{arguments}: {ended:?}");
        assert!(ended.stderr.contains(why), "{arguments}: {ended:?}");
        assert_eq!(ended.stdout, "", "{arguments}");
    }
    let without_token = run(["tenant", "list", "--server", &format!("http://{}", host.admin)]);
    assert_eq!(without_token.code, Some(2));
    assert!(without_token.stderr.contains("SCOREBOX_ADMIN_TOKEN"), "{without_token:?}");
    let mut wrong = scorebox();
    wrong.args(["tenant", "list", "--server", &format!("http://{}", host.admin)]);
    wrong.env("SCOREBOX_ADMIN_TOKEN", TOKEN.to_uppercase());
    let ended = Process::start(&mut wrong).wait(PATIENCE);
    assert!(ended.code == Some(1) && ended.stderr.contains("show the token"), "{ended:?}");
}

#[test]
fn a_server_of_http_is_reached_without_a_proxy() {
    let host = Host::start();
    let mut list = scorebox();
    list.args(["tenant", "list", "--server", &format!("http://{}", host.admin)]).env("SCOREBOX_ADMIN_TOKEN", TOKEN);
    for name in ["ALL_PROXY", "HTTPS_PROXY", "HTTP_PROXY"] {
        list.env(name, "http://127.0.0.1:1");
    }
    let ended = Process::start(&mut list).wait(PATIENCE);
    assert_eq!(ended.code, Some(0), "{ended:?}");
}

#[test]
fn each_command_explains_itself() {
    for command in [
        "tenant",
        "endpoint",
        "deploy",
        "deployment",
        "traffic",
        "keys",
        "logs",
        "state",
        "keys rotate",
        "state restore",
    ] {
        let arguments: Vec<_> = command.split(' ').chain(["--help"]).collect();
        let help = run(&arguments);
        assert_eq!(help.code, Some(0), "{command}");
        assert!(help.stdout.contains("Usage: scorebox") && help.stdout.len() > 200, "{command}: {}", help.stdout);
    }
}

#[test]
fn what_is_uploaded_already_is_not_uploaded_again() {
    let host = Host::start();
    host.endpoint("acme/iris");
    let iris = fixtures::example("iris-rust");
    let deploy = format!("deploy acme/iris/blue {}", iris.display());
    said(&host, &deploy);
    let bundles = host.read("/bundles").json();
    assert_eq!(bundles["items"].as_array().map(Vec::len), Some(1));
    assert_eq!(said(&host, &deploy), "revision 1 of acme/iris/blue answers");
    assert_eq!(host.read("/bundles").json(), bundles);
    assert_eq!(host.read(&address("acme/iris/blue")).json()["revisions"].as_array().map(Vec::len), Some(1));
}

#[test]
fn whatever_an_upload_has_left_the_next_one_succeeds() {
    let host = Host::start();
    host.endpoint("acme/iris");
    for (bundle, left) in [
        ("all of it is there", "all of it is there"),
        ("others are there, as many", "0123456789012345678901234"),
        ("more is there", "more than there should be"),
        ("something else is there", "some"),
    ] {
        let digest = sha256(bundle.as_bytes());
        // It says to have one byte more, so that it stays as it is.
        let range = format!("bytes 0-{}/{}", left.len() - 1, left.len() + 1);
        let put = Request::new("PUT", &format!("{API}/bundles/{digest}")).header("content-range", range);
        assert_eq!(host.ask(&put.body(left.as_bytes())).status, 400);
        let folder = fixtures::folder(&[("iris.scorebox", bundle)]);
        said(&host, &format!("deploy acme/iris/blue {}/iris.scorebox --no-wait", folder.path().display()));
        assert_eq!(host.read(&format!("/bundles/{digest}")).json()["size"], bundle.len());
    }
}
