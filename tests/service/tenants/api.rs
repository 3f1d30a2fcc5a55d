//! The API: who may use it, what it takes, and what it says when that is wrong.

use std::io::Write as _;
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

use scorebox_tests::wait::{PATIENCE, eventually};
use scorebox_tests::{Client, Request, fixtures};
use serde_json::json;

use super::{API, Host, TOKEN, address, put_request, sha256};

#[test]
fn only_who_shows_the_operators_token_gets_in() {
    let host = Host::start();
    let key = host.endpoint("acme/iris");
    let ask = |request: &Request| Client::connect(host.admin).unwrap().send(request).unwrap();
    let shorter = &TOKEN[1..];
    for path in ["/tenants", "/tenants/acme", "/openapi.json", "/nothing", "/bundles"] {
        let request = Request::get(&format!("{API}{path}"));
        let others =
            ["", "Bearer", "Bearer ", &format!("Bearer {shorter}"), &format!("Bearer {key}"), "Basic YTpi", TOKEN];
        for shown in others {
            let response = ask(&request.clone().header("authorization", shown));
            assert_eq!(response.status, 401, "{path} {shown}");
            assert_eq!(response.header("www-authenticate"), Some("Bearer"));
            assert_eq!(response.header("content-type"), Some("application/problem+json"));
        }
        assert_eq!(ask(&request).status, 401);
    }
    assert_eq!(host.read("/tenants").status, 200);
    // Nothing of it is where clients are.
    let request = Request::get(&format!("{API}/tenants"));
    for request in [request.clone(), request.header("authorization", format!("Bearer {TOKEN}"))] {
        assert_eq!(host.server.send(&request).status, 404);
    }
    assert!(!host.server.log().join("\n").contains(TOKEN));
}

#[test]
fn who_changes_what_they_have_not_seen_is_told_so() {
    let host = Host::start();
    let tenant = "/tenants/acme";
    let put = |condition: (&str, &str), description: &str| {
        let request = put_request(tenant, &json!({ "description": description }));
        host.ask(&request.header(condition.0, condition.1))
    };
    assert_eq!(put(("if-match", "*"), "").status, 404);
    let created = put(("if-none-match", "*"), "first");
    assert_eq!(created.status, 201);
    let seen = created.header("etag").expect("a tag").to_owned();
    assert_eq!(put(("if-none-match", "*"), "first").status, 412);
    let changed = put(("if-match", &seen), "second");
    assert_eq!(changed.status, 200);
    assert_ne!(changed.header("etag"), Some(&*seen));
    let late = put(("if-match", &seen), "third");
    assert_eq!(late.status, 412);
    assert!(late.json()["detail"].as_str().unwrap().contains("has changed since"), "{}", late.text());
    assert_eq!(host.read(tenant).json()["description"], "second");
    // The same again is no change.
    assert_eq!(put(("if-match", "*"), "second").header("etag"), changed.header("etag"));
    for wrong in ["second", "\"x\"", "W/\"1\"", "\"1\", \"2\""] {
        assert_eq!(put(("if-match", wrong), "fourth").status, 400, "{wrong}");
    }
    let delete = Request::new("DELETE", &format!("{API}{tenant}"));
    assert_eq!(host.ask(&delete.clone().header("if-match", &seen)).status, 412);
    assert_eq!(host.ask(&delete.clone().header("if-match", changed.header("etag").unwrap())).status, 204);
    assert_eq!(host.ask(&delete).status, 404);
}

#[test]
fn what_is_needed_by_something_is_not_deleted() {
    let host = Host::start();
    host.serving("acme/iris", "echo");
    assert_eq!(host.delete("/tenants/acme").status, 409);
    assert_eq!(host.delete(&address("acme/iris/blue")).status, 409);
    host.deploy("acme/iris/green", "echo");
    assert_eq!(host.delete(&address("acme/iris/green")).status, 204);
    assert_eq!(host.read(&address("acme/iris/green")).status, 404);
    let key = host.put(&format!("{}/keys/secondary", address("acme/iris")), &json!({})).json();
    let key = key["key"].as_str().unwrap();
    assert_eq!(host.score("acme/iris", key, "{}").status, 200);
    assert_eq!(host.delete(&address("acme/iris")).status, 204);
    assert_eq!(host.score("acme/iris", key, "{}").status, 401);
    assert_eq!(host.delete("/tenants/acme").status, 204);
    assert_eq!(host.read("/tenants").json()["items"], json!([]));
}

#[test]
fn names_shares_and_keys_are_checked() {
    let host = Host::start();
    host.serving("acme/iris", "echo");
    for name in ["Acme", "a_b", "-a", "%2e%2e", &"a".repeat(64)] {
        let response = host.put(&format!("/tenants/{name}"), &json!({}));
        assert_eq!(response.status, 422, "{name}: {}", response.text());
    }
    let traffic = |shares, mirror| {
        let spec = json!({"traffic": shares, "mirror": mirror});
        host.put(&format!("{}/traffic", address("acme/iris")), &spec).status
    };
    assert_eq!(traffic(json!({"blue": 99}), json!({})), 422);
    assert_eq!(traffic(json!({"blue": 101}), json!({})), 422);
    assert_eq!(traffic(json!({"blue": -1}), json!({})), 422);
    assert_eq!(traffic(json!({"green": 100}), json!({})), 422);
    assert_eq!(traffic(json!({"blue": 100}), json!({"blue": 10})), 422);
    assert_eq!(traffic(json!({"blue": 100}), json!({"green": 10})), 422);
    let key =
        |slot: &str, key: &str| host.put(&format!("{}/keys/{slot}", address("acme/iris")), &json!({"key": key})).status;
    let own = "a-key-of-somebody's-own-that-is-long";
    assert_eq!(key("primary", "short"), 422);
    assert_eq!(key("primary", own), 200);
    assert_eq!(key("primary", own), 200);
    // A key says whose a request is.
    assert_eq!(key("secondary", own), 409);
    host.endpoint("umbrella/iris");
    let other = host.put(&format!("{}/keys/primary", address("umbrella/iris")), &json!({"key": own}));
    assert_eq!(other.status, 409);
    assert_eq!(key("third", own), 404);
    assert_eq!(host.score("acme/iris", own, "{}").status, 200);
    let hosts = |hosts| host.put(&address("acme/iris"), &json!({ "hosts": hosts })).status;
    assert_eq!(hosts(json!(["a b"])), 422);
    assert_eq!(hosts(json!(["*.example.com"])), 422);
    assert_eq!(hosts(json!(vec!["a"; 17])), 422);
}

#[test]
fn an_upload_goes_on_where_it_broke_off() {
    let host = Host::start();
    let bundle: Vec<u8> = (0..3_000_000_u32).map(|number| (number % 251) as u8).collect();
    let digest = sha256(&bundle);
    let path = format!("/bundles/{digest}");
    let missing = host.read(&path);
    assert_eq!((missing.status, missing.header("upload-offset")), (404, Some("0")));
    // The client is gone after a third.
    let mut stream = TcpStream::connect(host.admin).unwrap();
    let length = bundle.len();
    let head = format!(
        "PUT {API}{path} HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {TOKEN}\r\ncontent-length: {length}\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).unwrap();
    stream.write_all(&bundle[..1_000_000]).unwrap();
    drop(stream);
    let mut offset = 0;
    scorebox_tests::wait::eventually(scorebox_tests::wait::PATIENCE, "what has come is kept", || {
        offset = host.read(&path).header("upload-offset").and_then(|offset| offset.parse().ok()).unwrap_or(0);
        offset == 1_000_000
    });
    let part = |range: &str, body: &[u8]| {
        host.ask(&Request::new("PUT", &format!("{API}{path}")).header("content-range", range).body(body))
    };
    // Little of it: what is refused before it has come may be cut, and the answer with it.
    let elsewhere = part(&format!("bytes 5-9/{length}"), &bundle[5..10]);
    assert_eq!((elsewhere.status, elsewhere.header("upload-offset")), (409, Some("1000000")));
    let more = part(&format!("bytes {offset}-1999999/{length}"), &bundle[offset..2_000_000]);
    assert_eq!((more.status, more.header("upload-offset")), (400, Some("2000000")), "{}", more.text());
    let rest = part(&format!("bytes 2000000-{}/{length}", length - 1), &bundle[2_000_000..]);
    assert_eq!(rest.status, 201, "{}", rest.text());
    assert_eq!(host.read(&path).json(), json!({"digest": digest, "size": length}));
    for range in ["bytes 1-0/5", "lines 1-2/5", "bytes 0-4/*"] {
        let other = Request::new("PUT", &format!("{API}/bundles/{}", "0".repeat(64)));
        assert_eq!(host.ask(&other.header("content-range", range)).status, 400, "{range}");
    }
}

/// Sends so many bytes of a bundle that says to have more, so that they stay without being made one.
fn leave(host: &Host, digest: &str, bytes: &[u8]) {
    let (last, size) = (bytes.len() - 1, bytes.len() + 1);
    let request = Request::new("PUT", &format!("{API}/bundles/{digest}")).body(bytes);
    let left = host.ask(&request.header("content-range", format!("bytes 0-{last}/{size}")));
    assert_eq!((left.status, left.header("upload-offset")), (400, Some(&*bytes.len().to_string())), "{}", left.text());
}

#[test]
fn an_upload_of_which_all_has_come_is_finished_and_what_is_no_part_of_it_is_uploaded_anew() {
    let host = Host::start();
    let put = |digest: &str| Request::new("PUT", &format!("{API}/bundles/{digest}"));
    let whole = b"all of a bundle";
    let digest = sha256(whole);
    leave(&host, &digest, whole);
    let finish = |digest: &str| host.ask(&put(digest).header("content-range", "bytes */15"));
    assert_eq!(finish(&digest).status, 201);
    assert_eq!(host.read(&format!("/bundles/{digest}")).json()["size"], 15);
    // Nothing is finished of which some is missing, or more is there.
    for (content, there) in [(&b"not all of it"[..], "13"), (b"more than all of it", "19")] {
        let digest = sha256(content);
        leave(&host, &digest, content);
        let refused = finish(&digest);
        assert_eq!((refused.status, refused.header("upload-offset")), (409, Some(there)), "{}", refused.text());
    }
    // What was left is given up for a bundle that comes whole and is not longer, and for nothing else.
    let bundle = b"a bundle of its own";
    let digest = sha256(bundle);
    leave(&host, &digest, b"shorter");
    let refused = host.ask(&put(&digest).body(bundle));
    assert_eq!((refused.status, refused.header("upload-offset")), (409, Some("7")), "{}", refused.text());
    let other = host.ask(&put(&digest).header("content-range", "bytes 7-18/19").body(&bundle[7..]));
    assert_eq!((other.status, other.header("upload-offset")), (422, Some("0")), "{}", other.text());
    leave(&host, &digest, b"something that is longer");
    assert_eq!(host.ask(&put(&digest).body(bundle)).status, 201);
    let bundle = b"another bundle";
    let digest = sha256(bundle);
    leave(&host, &digest, b"of as many (14");
    assert_eq!(host.ask(&put(&digest).body(bundle)).status, 201);
}

#[test]
fn a_client_that_goes_away_without_a_word_keeps_nobody_from_uploading_the_same() {
    let stalled = |host: &Host, bundle: &[u8]| {
        let path = format!("/bundles/{}", sha256(bundle));
        let head = format!(
            "PUT {API}{path} HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {TOKEN}\r\ncontent-length: {}\r\n\r\n",
            bundle.len()
        );
        let mut client = Client::connect(host.admin).unwrap();
        client.write(&[head.as_bytes(), &bundle[..5]].concat()).unwrap();
        eventually(PATIENCE, "it has begun", || host.read(&path).header("upload-offset") == Some("5"));
        client
    };
    let bundle = b"a bundle that somebody else has, too";
    // As long as it may come back, others are told to wait, and what there is.
    let host = Host::start();
    let client = stalled(&host, bundle);
    let rest = Request::new("PUT", &format!("{API}/bundles/{}", sha256(bundle))).body(&bundle[5..]);
    let busy = host.ask(&rest.header("content-range", "bytes 5-35/36"));
    assert_eq!((busy.status, busy.header("upload-offset")), (409, Some("5")), "{}", busy.text());
    assert!(busy.text().contains("is being uploaded or removed"), "{}", busy.text());
    drop((client, host));

    let host = Host::start_as(|serve| serve.args("--body-timeout 1s"));
    host.endpoint("acme/iris");
    let mut client = stalled(&host, bundle);
    let folder = fixtures::folder(&[("iris.scorebox", str::from_utf8(bundle).unwrap())]);
    let file = folder.path().join("iris.scorebox");
    let deployed = host.scorebox(&["deploy", "acme/iris/blue", file.to_str().unwrap(), "--no-wait"]);
    assert_eq!(deployed.code, Some(0), "{deployed:?}");
    assert_eq!(host.read(&format!("/bundles/{}", sha256(bundle))).json()["size"], 36);
    let late = client.read().expect("an answer");
    assert_eq!((late.status, late.header("upload-offset")), (408, Some("5")), "{}", late.text());
}

#[test]
fn a_bundle_that_is_another_or_too_large_is_refused() {
    let host = Host::start_as(|serve| serve.args("--max-bundle 1000"));
    let put = |digest: &str, bytes: usize| {
        host.ask(&Request::new("PUT", &format!("{API}/bundles/{digest}")).body(vec![b'a'; bytes]))
    };
    let other = put(&"0".repeat(64), 10);
    assert_eq!(other.status, 422, "{}", other.text());
    assert_eq!(other.header("upload-offset"), Some("0"));
    assert_eq!(host.read(&format!("/bundles/{}", "0".repeat(64))).header("upload-offset"), Some("0"));
    assert_eq!(put(&sha256(&[b'a'; 1001]), 1001).status, 413);
    // Nor when it does not say before how large it is.
    let chunked = Request::new("PUT", &format!("{API}/bundles/{}", sha256(&[b'a'; 1001])));
    assert_eq!(host.ask(&chunked.body(vec![b'a'; 1001]).chunked(100)).status, 413);
    let path = format!("/bundles/{}", sha256(&[b'a'; 1001]));
    assert_eq!(host.read(&path).header("upload-offset"), Some("0"), "nothing of it is kept");
    assert_eq!(put(&sha256(&[b'a'; 1000]), 1000).status, 201);
    assert_eq!(put("nothing", 10).status, 422);
    assert_eq!(host.read("/bundles").json()["items"].as_array().unwrap().len(), 1);
}

#[test]
fn a_client_that_sends_all_of_a_body_that_nobody_wants_reads_the_answer() {
    const SENT: usize = 32 << 20;
    let host = Host::start_as(|serve| serve.args("--max-bundle 1000"));
    let there = host.upload(b"a bundle");
    let put = |digest: &str, token: &str| {
        let request = Request::new("PUT", &format!("{API}/bundles/{digest}")).body(vec![b'a'; SENT]);
        let bytes = request.header("authorization", format!("Bearer {token}")).to_bytes();
        let mut client = Client::connect(host.admin).unwrap();
        // The server has answered, and closed its side, before most of the body is sent.
        for (number, piece) in bytes.chunks(1 << 20).enumerate() {
            client.write(piece).unwrap_or_else(|error| panic!("{number} MiB were taken: {error}"));
            if number == 0 {
                thread::sleep(Duration::from_millis(300));
            }
        }
        client.read().expect("the answer")
    };
    assert_eq!(put(&"0".repeat(64), TOKEN).status, 413);
    assert_eq!(put(&"0".repeat(64), "nothing").status, 401);
    assert_eq!(put("nothing", TOKEN).status, 422);
    assert_eq!(put(&there, TOKEN).status, 200, "it is there");

    // Nobody is listened to for ever.
    let head = format!(
        "PUT {API}/bundles/{there} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {TOKEN}\r\nContent-Length: 4000000000\r\n\r\n"
    );
    let mut client = Client::connect(host.admin).unwrap();
    client.write(head.as_bytes()).unwrap();
    assert_eq!(client.read().unwrap().status, 200);
    let start = Instant::now();
    while client.write(b"a").is_ok() {
        assert!(start.elapsed() < Duration::from_secs(15), "it is still listened to");
        thread::sleep(Duration::from_millis(50));
    }
    assert!(start.elapsed() > Duration::from_secs(2), "{:?}", start.elapsed());
}

#[test]
fn the_document_of_the_api_has_all_that_there_is() {
    let host = Host::start();
    let document = host.read("/openapi.json").json();
    let paths = document["paths"].as_object().expect("paths");
    for (path, methods) in paths {
        let asked = path.replace("{tenant}", "acme").replace("{endpoint}", "iris").replace("{deployment}", "blue");
        let asked =
            asked.replace("{slot}", "primary").replace("{digest}", &"0".repeat(64)).replace("{backup}", "first");
        for method in methods.as_object().unwrap().keys() {
            let response = host.ask(&Request::new(&method.to_uppercase(), &format!("{API}{asked}")));
            assert_ne!(response.status, 405, "{method} {path}");
            // Where there is no such thing, it is said which, and not that there is no such resource.
            assert!(!response.text().contains("there is no such resource"), "{method} {path}: {}", response.text());
        }
    }
    assert!(paths.len() >= 10, "{}", paths.len());
    assert_eq!(host.read("/nothing").status, 404);
    assert_eq!(host.ask(&Request::new("POST", &format!("{API}/tenants"))).status, 405);
}

#[test]
fn what_is_no_document_or_has_no_place_in_one_is_refused_with_a_problem_document() {
    let host = Host::start();
    host.endpoint("acme/iris");
    let large = put_request("/tenants/acme", &json!({"description": "d".repeat(9 << 20)}));
    let deployments = format!("{API}{}", address("acme/iris/blue"));
    for (request, status) in [
        (Request::get(&format!("{deployments}?wait=soon")), 400),
        (Request::get(&format!("{deployments}/logs?after=-1")), 400),
        (large, 413),
        (Request::new("PUT", &deployments).body("{"), 422),
        (Request::new("PATCH", &deployments), 405),
    ] {
        let response = host.ask(&request);
        assert_eq!(response.status, status, "{response:?}");
        assert_eq!(response.header("content-type"), Some("application/problem+json"));
        assert!(response.json()["detail"].as_str().is_some_and(|detail| !detail.is_empty()), "{response:?}");
    }
    // As much as a probe may have, with each byte written in six.
    let probe = format!("{{\"probe\": {{\"body\": \"{}\"}}}}", "\\u0001".repeat(1_000_000));
    let response = host.ask(&Request::new("PUT", &deployments).body(probe));
    assert_eq!(response.status, 422, "{response:?}");
    assert!(response.text().contains("bundle"), "it has been read: {response:?}");
}

#[test]
fn who_waits_for_what_is_to_come_does_not_delay_the_end() {
    let host = Host::start();
    host.serving("acme/iris", "echo");
    let waiting = ["", "/logs"].map(|what| {
        let target = format!("{API}{}{what}?wait=60", address("acme/iris/blue"));
        let mut client = Client::connect(host.admin).unwrap();
        client.write(&Request::get(&target).header("authorization", format!("Bearer {TOKEN}")).to_bytes()).unwrap();
        client
    });
    let [mut at_once, mut waits] = waiting;
    assert_eq!(at_once.read().unwrap().status, 200, "nothing is pending");
    assert!(!waits.readable_within(Duration::from_millis(300)).unwrap(), "nothing is said");
    let start = Instant::now();
    host.server.terminate();
    assert_eq!(waits.read().unwrap().json()["items"], json!([]));
    assert_eq!(host.server.wait(PATIENCE).code, Some(0));
    assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
}

#[test]
fn no_tenant_has_the_name_of_the_scorer_at_the_root() {
    let host = Host::start();
    let response = host.put("/tenants/default", &json!({}));
    assert_eq!(response.status, 422);
    assert!(response.text().contains("at the root of the server"), "{response:?}");
    assert_eq!(host.read("/tenants/default").status, 404);
}
