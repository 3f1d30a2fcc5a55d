//! TLS: what is shown to clients, from files that change, and clients that do not get through the handshake.

mod certificates;
mod tunnel;

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::symlink;
use std::time::{Duration, Instant};

use certificates::{Authority, Files, Pair, replace};
use rustix::process::Signal;
use rustls::ProtocolVersion;
use scorebox_tests::fixtures::{self, IRIS};
use scorebox_tests::http2::{self, Connection};
use scorebox_tests::process::{Ended, Process, scorebox};
use scorebox_tests::server::free_port;
use scorebox_tests::sink::Sink;
use scorebox_tests::wait::{PATIENCE, eventually};
use scorebox_tests::{Client, Request, Response, Serve, Server};
use serde_json::{Value, json};
use tunnel::{Agreed, Tunnel};

/// What is logged when other files have been read.
const RENEWED: &str = "new connections are shown the certificate in";
/// How far a time limit may be exceeded on a busy machine.
const LATE: Duration = Duration::from_secs(5);

fn with_tls(serve: Serve, files: &Files) -> Serve {
    serve.arg("--tls-cert").arg(files.certificate()).arg("--tls-key").arg(files.key())
}

/// A server of a component, with a certificate of this authority.
fn start(serve: Serve, authority: &Authority) -> (Server, Files) {
    let files = Files::new(&authority.sign());
    (with_tls(serve, &files).start(), files)
}

/// A new connection through the tunnel.
#[track_caller]
fn connect(tunnel: &Tunnel) -> Client {
    Client::connect(tunnel.address()).expect("the tunnel listens")
}

#[track_caller]
fn score(tunnel: &Tunnel) -> Response {
    connect(tunnel).send(&Request::json(IRIS)).expect("an answer")
}

#[test]
fn requests_are_scored_over_http_1_and_2_with_tls_1_2_and_1_3() {
    let authority = Authority::new();
    let (server, _files) = start(Serve::example("iris-rust"), &authority);
    server.logged("listening on https://127.0.0.1:");
    for (version, name) in
        [(&rustls::version::TLS12, ProtocolVersion::TLSv1_2), (&rustls::version::TLS13, ProtocolVersion::TLSv1_3)]
    {
        let agreed = |protocol: &str| Agreed { version: Some(name), protocol: Some(protocol.to_owned()) };
        let tunnel = Tunnel::with(server.address(), &authority, &["http/1.1"], &[version]);
        let mut client = connect(&tunnel);
        for _ in 0..3 {
            let response = client.send(&Request::json(IRIS)).expect("an answer");
            assert_eq!((response.status, &response.json()["prediction"]), (200, &json!(["setosa"])));
        }
        assert_eq!(tunnel.last(), Ok(agreed("http/1.1")));

        let tunnel = Tunnel::with(server.address(), &authority, &["h2", "http/1.1"], &[version]);
        let mut connection = Connection::open(tunnel.address(), &[]).expect("a connection");
        assert_eq!(tunnel.last(), Ok(agreed("h2")));
        connection.send(&http2::json(1, IRIS)).expect("a connection");
        let body = connection.body(1).expect("an answer");
        let answer: Value = serde_json::from_slice(&body).expect("JSON");
        assert_eq!(answer["prediction"], json!(["setosa"]));
    }
}

#[test]
fn a_scorer_is_told_that_its_request_came_over_https() {
    let authority = Authority::new();
    let (server, _files) = start(Serve::guest("echo"), &authority);
    assert_eq!(score(&Tunnel::new(server.address(), &authority)).json()["scheme"], "https");
    assert_eq!(Serve::guest("echo").start().score(IRIS).json()["scheme"], "http");
}

#[test]
fn telemetry_is_told_that_a_request_came_over_https() {
    let (authority, sink) = (Authority::new(), Sink::start());
    let buffer = tempfile::tempdir().expect("a temporary folder can be made");
    let key = "22222222-2222-4222-8222-222222222222";
    let endpoint = format!("InstrumentationKey={key};IngestionEndpoint={}/", sink.url());
    let serve = Serve::guest("echo")
        .env("AML_APP_INSIGHTS_ENABLED", "true")
        .env("AML_APP_INSIGHTS_KEY", key)
        .env("APPLICATIONINSIGHTS_CONNECTION_STRING", endpoint)
        .env("SCOREBOX_TELEMETRY_BUFFER", buffer.path());
    let (server, _files) = start(serve, &authority);
    assert_eq!(score(&Tunnel::new(server.address(), &authority)).status, 200);
    let tunnel = Tunnel::with(server.address(), &authority, &["h2"], rustls::ALL_VERSIONS);
    let mut connection = Connection::open(tunnel.address(), &[]).expect("a connection");
    connection.send(&http2::json(1, IRIS)).expect("a connection");
    connection.body(1).expect("an answer");
    drop(connection);
    assert_eq!(server.stop().code, Some(0));
    let items = sink.items();
    let requests = items.iter().filter(|item| item["data"]["baseType"] == "RequestData");
    let urls: Vec<_> = requests.map(|item| &item["data"]["baseData"]["url"]).collect();
    assert_eq!(urls, ["https://scorebox.test/score"; 2]);
}

#[test]
fn the_server_is_confined_with_tls_as_without() {
    let authority = Authority::new();
    let (server, files) = start(Serve::example("iris-rust"), &authority);
    let tunnel = Tunnel::new(server.address(), &authority);
    assert_eq!(score(&tunnel).status, 200);
    let status = fs::read_to_string(format!("/proc/{}/status", server.process().id())).expect("a process");
    let seccomp = status.lines().find_map(|line| line.strip_prefix("Seccomp:")).map(str::trim);
    assert_eq!(seccomp, Some("2"), "{status}");
    // Confined as it is, it reads the files again.
    files.put(&authority.sign());
    server.logged(RENEWED);
    assert_eq!(score(&tunnel).status, 200);
}

#[test]
fn another_certificate_is_shown_when_the_files_change_and_no_connection_ends_for_that() {
    let (old, new) = (Authority::new(), Authority::new());
    let (server, files) = start(Serve::guest("streams"), &old);
    let (by_old, by_new) = (Tunnel::new(server.address(), &old), Tunnel::new(server.address(), &new));
    let short = Request::json(json!({"pieces": ["one"]}).to_string());
    let mut kept = connect(&by_old);
    assert!(read_stream(&mut kept, &short).ends_with(b"one"));
    // An answer that goes on for as long as it is taken.
    let mut streaming = connect(&by_old);
    let endless = json!({"piece_bytes": 65_536, "count": null});
    streaming.write(&Request::json(endless.to_string()).to_bytes()).expect("a connection");
    assert_eq!(streaming.read_head().expect("an answer").status, 200);

    files.put(&new.sign());
    server.logged(RENEWED);
    let mut client = connect(&by_new);
    assert!(read_stream(&mut client, &short).ends_with(b"one"));
    let mut refused = connect(&by_old);
    assert!(refused.send(&short).is_err());
    assert!(by_old.last().is_err_and(|error| error.contains("invalid peer certificate")), "{:?}", by_old.last());
    // What was there before goes on.
    assert!(read_stream(&mut kept, &short).ends_with(b"one"));
    for _ in 0..100 {
        assert_eq!(streaming.read_chunk().expect("a piece").len(), 65_536);
    }
}

/// The body of an answer that is sent in pieces.
#[track_caller]
fn read_stream(client: &mut Client, request: &Request) -> Vec<u8> {
    client.write(&request.to_bytes()).expect("a connection");
    assert_eq!(client.read_head().expect("an answer").status, 200);
    let mut body = Vec::new();
    loop {
        let chunk = client.read_chunk().expect("a piece");
        if chunk.is_empty() {
            return body;
        }
        body.extend(chunk);
    }
}

#[test]
fn files_that_cannot_be_used_leave_the_certificate_before_and_the_log_says_which_and_why() {
    let authority = Authority::new();
    let (server, files) = start(Serve::example("iris-rust"), &authority);
    let tunnel = Tunnel::new(server.address(), &authority);
    let Pair { certificate, key } = authority.sign();
    let secret = key.lines().nth(1).expect("a key has lines").to_owned();
    let broken = key.replace(" PRIVATE", "PRIVATE");
    let (certificate_file, key_file) = (files.certificate().display().to_string(), files.key().display().to_string());
    let mismatch = format!("the key in {key_file} is not that of the certificate in {certificate_file}");
    let no_key = format!("{key_file} has no private key in PEM format, or one that is encrypted");
    let no_certificate = format!("{certificate_file} has no certificate in PEM format");
    for (file, text, why) in [
        (files.key(), &*key, &mismatch),
        (files.key(), &broken, &no_key),
        (files.certificate(), "nothing", &no_certificate),
    ] {
        replace(&file, text);
        let line = server.logged(why);
        assert!(line.contains("what was there before goes on"), "{line}");
        assert_eq!(score(&tunnel).status, 200);
    }
    fs::remove_file(files.certificate()).expect("it is there");
    server.logged(&format!("cannot read the certificate in {certificate_file}: No such file"));
    assert_eq!(score(&tunnel).status, 200);
    // With the other half they can.
    replace(&files.certificate(), &certificate);
    replace(&files.key(), &key);
    server.logged(RENEWED);
    assert_eq!(score(&tunnel).status, 200);
    assert!(!server.log().join("\n").contains(&secret), "a key is in the log");
}

#[test]
fn files_are_followed_through_links_and_read_again_on_sighup() {
    let (old, new) = (Authority::new(), Authority::new());
    // As Kubernetes puts secrets into a folder.
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let put = |version: &str, Pair { certificate, key }: &Pair| {
        fs::create_dir(folder.path().join(version)).expect("it can be written to");
        fs::write(folder.path().join(version).join("tls.crt"), certificate).expect("it can be written to");
        fs::write(folder.path().join(version).join("tls.key"), key).expect("it can be written to");
        symlink(version, folder.path().join("..new")).expect("it can be written to");
        fs::rename(folder.path().join("..new"), folder.path().join("..data")).expect("it can be written to");
    };
    put("..1", &old.sign());
    let [certificate, key] = ["tls.crt", "tls.key"].map(|name| {
        let path = folder.path().join(name);
        symlink(format!("..data/{name}"), &path).expect("it can be written to");
        path
    });
    let server = Serve::example("iris-rust").arg("--tls-cert").arg(certificate).arg("--tls-key").arg(key).start();
    assert_eq!(score(&Tunnel::new(server.address(), &old)).status, 200);
    put("..2", &new.sign());
    fs::remove_dir_all(folder.path().join("..1")).expect("it is there");
    server.logged(RENEWED);
    assert_eq!(score(&Tunnel::new(server.address(), &new)).status, 200);
    let renewed = || server.log().iter().filter(|line| line.contains(RENEWED)).count();
    // Nothing has changed.
    let before = renewed();
    server.process().signal(Signal::HUP);
    eventually(PATIENCE, "the files are read again", || renewed() == before + 1);
    assert_eq!(score(&Tunnel::new(server.address(), &new)).status, 200);
}

#[test]
fn a_client_that_does_not_get_through_the_handshake_is_cut_in_time_and_nobody_waits_for_it() {
    let limit = Duration::from_secs(1);
    let authority = Authority::new();
    let (server, _files) = start(Serve::example("iris-rust").args("--head-timeout 1s"), &authority);
    let tunnel = Tunnel::new(server.address(), &authority);
    // Nothing, and the beginning of a hello.
    for bytes in [&b""[..], b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"] {
        let start = Instant::now();
        let mut stuck: Vec<_> = (0..50).map(|_| server.connect()).collect();
        for client in &mut stuck {
            client.write(bytes).expect("the server listens");
        }
        while start.elapsed() < limit / 2 {
            assert_eq!(score(&tunnel).status, 200);
        }
        for client in &mut stuck {
            assert!(client.read_to_end().expect("it is closed").is_empty());
        }
        let took = start.elapsed();
        assert!(took > limit / 2 && took < limit + LATE, "{took:?}");
    }
    assert_eq!(score(&tunnel).status, 200);
}

#[test]
fn a_client_that_speaks_plain_http_gets_no_answer() {
    let authority = Authority::new();
    let (server, _files) = start(Serve::example("iris-rust"), &authority);
    let start = Instant::now();
    for bytes in [Request::json(IRIS).to_bytes(), http2::PREFACE.to_vec()] {
        let mut client = server.connect();
        client.write(&bytes).expect("the server listens");
        let answer = client.read_to_end().expect("it is closed");
        // An alert: that is no TLS.
        assert_eq!(answer.first(), Some(&21), "{}", answer.escape_ascii());
        assert!(answer.len() < 16, "{}", answer.escape_ascii());
    }
    assert!(start.elapsed() < LATE, "{:?}", start.elapsed());
    assert_eq!(score(&Tunnel::new(server.address(), &authority)).status, 200);
}

#[test]
fn a_handshake_takes_a_place_among_the_connections() {
    let authority = Authority::new();
    let (server, _files) =
        start(Serve::example("iris-rust").args("--max-connections 2 --head-timeout 60s"), &authority);
    let tunnel = Tunnel::new(server.address(), &authority);
    let (first, _second) = (server.connect(), server.connect());
    let mut third = connect(&tunnel);
    third.write(&Request::json(IRIS).to_bytes()).expect("the tunnel listens");
    assert!(!third.readable_within(Duration::from_millis(300)).expect("a connection"), "there is no place for it");
    drop(first);
    assert_eq!(third.read().expect("an answer").status, 200);
}

#[test]
fn what_is_being_answered_is_answered_when_the_server_ends_and_a_handshake_that_does_not_come_keeps_nobody() {
    const PIECES: usize = 1000;
    let authority = Authority::new();
    let (server, _files) = start(Serve::guest("streams").args("--head-timeout 120s --grace 120s"), &authority);
    let tunnel = Tunnel::new(server.address(), &authority);
    let _silent = server.connect();
    let mut client = connect(&tunnel);
    // More than fits between the server and a client that does not read.
    let request = json!({"piece_bytes": 65_536, "count": PIECES});
    client.write(&Request::json(request.to_string()).to_bytes()).expect("a connection");
    assert_eq!(client.read_head().expect("an answer").status, 200);
    server.terminate();
    server.logged("no more connections are taken");
    for _ in 0..PIECES {
        assert_eq!(client.read_chunk().expect("a piece").len(), 65_536);
    }
    assert!(client.read_chunk().expect("the end").is_empty());
    let ended = server.wait(PATIENCE);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(ended.stdout.contains("all requests are answered"), "{ended:?}");
}

#[test]
fn an_answer_that_is_not_taken_is_given_up() {
    let authority = Authority::new();
    let (server, _files) = start(Serve::guest("streams").args("--max-running 1 --write-timeout 1s"), &authority);
    let tunnel = Tunnel::new(server.address(), &authority);
    let mut idle = connect(&tunnel);
    let endless = json!({"piece_bytes": 65_536, "count": null});
    idle.write(&Request::json(endless.to_string()).to_bytes()).expect("a connection");
    assert_eq!(idle.read_head().expect("an answer").status, 200);
    // There is one place, which is free again.
    let short = Request::json(json!({"pieces": ["one"]}).to_string());
    assert!(read_stream(&mut connect(&tunnel), &short).ends_with(b"one"));
}

#[test]
fn with_files_that_cannot_be_used_the_server_does_not_start_and_says_why() {
    let authority = Authority::new();
    let (pair, other) = (authority.sign(), authority.sign());
    let folder = fixtures::folder(&[
        ("tls.crt", &pair.certificate),
        ("tls.key", &pair.key),
        ("other.key", &other.key),
        ("empty", ""),
    ]);
    for (certificate, key, why) in [
        ("absent", "tls.key", "cannot read the certificate in"),
        ("tls.crt", "absent", "cannot read the key in"),
        ("tls.crt", "other.key", "is not that of the certificate in"),
        ("empty", "tls.key", "has no certificate in PEM format"),
        ("tls.key", "tls.key", "has no certificate in PEM format"),
        ("tls.crt", "empty", "has no private key in PEM format"),
    ] {
        let file = |name: &str| folder.path().join(name);
        let serve = Serve::example("iris-rust");
        let ended = serve.arg("--tls-cert").arg(file(certificate)).arg("--tls-key").arg(file(key)).refused();
        assert_eq!(ended.code, Some(3), "{certificate} {key}: {ended:?}");
        assert!(ended.stderr.contains(why), "{certificate} {key}: {ended:?}");
    }
    let half = Serve::example("iris-rust").arg("--tls-cert").arg(folder.path().join("tls.crt")).refused();
    assert!(half.code == Some(2) && half.stderr.contains("--tls-key"), "{half:?}");
}

#[test]
fn a_certificate_that_has_expired_is_shown_with_a_warning() {
    let authority = Authority::new();
    let files = Files::new(&authority.sign_expired());
    let server = with_tls(Serve::example("iris-rust"), &files).start();
    server.logged(&format!("the certificate in {} has expired on 2020-01-31", files.certificate().display()));
    let tunnel = Tunnel::new(server.address(), &authority);
    assert!(connect(&tunnel).send(&Request::json(IRIS)).is_err());
    assert!(tunnel.last().is_err_and(|error| error.contains("expired")), "{:?}", tunnel.last());
}

#[test]
fn tenants_are_managed_over_tls_by_who_trusts_its_authority() {
    const TOKEN: &str = "0123456789abcdef0123456789abcdef";
    let (authority, other) = (Authority::new(), Authority::new());
    let files = Files::new(&authority.sign());
    let (trusted, untrusted) = (authority.pem(), other.pem());
    let folder = fixtures::folder(&[("token", TOKEN), ("ca.pem", &trusted), ("other.pem", &untrusted), ("empty", "")]);
    let admin = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()));
    let server = Serve::nothing()
        .arg("--state-dir")
        .arg(folder.path().join("state"))
        .args(&format!("--admin {admin}"))
        .arg("--admin-token-file")
        .arg(folder.path().join("token"))
        .arg("--admin-tls-cert")
        .arg(files.certificate())
        .arg("--admin-tls-key")
        .arg(files.key())
        .start();
    server.logged(&format!("tenants are managed on https://{admin}/admin/v1"));
    // Requests are scored as they were.
    assert_eq!(server.get("/livez").status, 200);
    let run = |arguments: &str, ca_file: Option<&str>| -> Ended {
        let mut command = scorebox();
        command.args(arguments.split(' ')).env("SCOREBOX_SERVER", format!("https://{admin}"));
        command.env("SCOREBOX_ADMIN_TOKEN", TOKEN);
        if let Some(file) = ca_file {
            command.env("SCOREBOX_CA_FILE", folder.path().join(file));
        }
        Process::start(&mut command).wait(PATIENCE)
    };
    let iris = fixtures::example("iris-rust");
    for (arguments, said) in [
        ("tenant create acme", "tenant acme is there"),
        ("endpoint create acme/iris", "primary key"),
        (&*format!("deploy acme/iris/blue {}", iris.display()), "revision 1 of acme/iris/blue answers"),
        ("tenant list", "acme"),
    ] {
        let ended = run(arguments, Some("ca.pem"));
        assert!(ended.code == Some(0) && ended.stdout.contains(said), "{arguments}: {ended:?}");
    }
    for (ca_file, why) in [
        (None, "--ca-file"),
        (Some("other.pem"), "--ca-file"),
        (Some("empty"), "has no certificate in PEM format"),
        (Some("absent"), "cannot read the certificates of authorities"),
    ] {
        let ended = run("tenant list", ca_file);
        assert!(ended.code == Some(1) && ended.stderr.contains(why), "{ca_file:?}: {ended:?}");
    }
    // Another certificate is shown here, too.
    files.put(&other.sign());
    server.logged(RENEWED);
    assert_eq!(run("tenant list", Some("other.pem")).code, Some(0));
    assert_eq!(run("tenant list", Some("ca.pem")).code, Some(1));
}
