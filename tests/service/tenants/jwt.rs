//! Tokens in place of keys: who says which tenant somebody is, and for how long.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::hmac;
use ring::rand::SystemRandom;
use ring::rsa::{self, PublicKeyComponents};
use ring::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _, RSA_PKCS1_SHA256, RSA_PSS_SHA256,
};
use rustix::process::Signal;
use scorebox_tests::wait::{PATIENCE, eventually};
use scorebox_tests::{Request, Response, Serve};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::metrics::metrics;
use super::{Host, TOKEN};

const ISSUER: &str = "https://issuer.test";
const AUDIENCE: &str = "scorebox";
const UNAUTHORIZED: &str = "Show a key of the endpoint, as `Authorization: Bearer KEY` or `api-key: KEY`.";
/// A key for these tests only: ring makes none.
const RSA: &[u8] = include_bytes!("rsa.pk8");

/// A key, and its name.
struct Signer {
    id: String,
    key: Kind,
}

enum Kind {
    Rsa(rsa::KeyPair),
    Ec(EcdsaKeyPair),
    Ed(Ed25519KeyPair),
}

impl Signer {
    fn rsa() -> Self {
        Self { id: "rsa".to_owned(), key: Kind::Rsa(rsa::KeyPair::from_pkcs8(RSA).expect("a key")) }
    }

    fn ec(id: &str) -> Self {
        let random = SystemRandom::new();
        let key = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).expect("a key");
        let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, key.as_ref(), &random).expect("a key");
        Self { id: id.to_owned(), key: Kind::Ec(key) }
    }

    fn ed() -> Self {
        let key = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).expect("a key");
        Self { id: "ed".to_owned(), key: Kind::Ed(Ed25519KeyPair::from_pkcs8(key.as_ref()).expect("a key")) }
    }

    /// What is told of it.
    fn jwk(&self) -> Value {
        let mut jwk = match &self.key {
            Kind::Rsa(key) => {
                let PublicKeyComponents::<Vec<u8>> { n, e } = key.public().into();
                json!({"kty": "RSA", "n": base64(&n), "e": base64(&e)})
            }
            Kind::Ec(key) => {
                let (x, y) = key.public_key().as_ref()[1..].split_at(32);
                json!({"kty": "EC", "crv": "P-256", "x": base64(x), "y": base64(y)})
            }
            Kind::Ed(key) => json!({"kty": "OKP", "crv": "Ed25519", "x": base64(key.public_key().as_ref())}),
        };
        jwk["kid"] = json!(self.id);
        jwk
    }

    /// Its public half as it would be taken for a secret.
    fn public(&self) -> Vec<u8> {
        match &self.key {
            Kind::Rsa(key) => key.public().as_ref().to_vec(),
            Kind::Ec(key) => key.public_key().as_ref().to_vec(),
            Kind::Ed(key) => key.public_key().as_ref().to_vec(),
        }
    }

    fn algorithm(&self) -> &'static str {
        match &self.key {
            Kind::Rsa(_) => "RS256",
            Kind::Ec(_) => "ES256",
            Kind::Ed(_) => "EdDSA",
        }
    }

    fn sign(&self, algorithm: &str, message: &[u8]) -> Vec<u8> {
        let random = SystemRandom::new();
        match &self.key {
            Kind::Rsa(key) => {
                let padding: &dyn ring::signature::RsaEncoding =
                    if algorithm == "PS256" { &RSA_PSS_SHA256 } else { &RSA_PKCS1_SHA256 };
                let mut signature = vec![0; key.public().modulus_len()];
                key.sign(padding, &random, message, &mut signature).expect("a signature");
                signature
            }
            Kind::Ec(key) => key.sign(&random, message).expect("a signature").as_ref().to_vec(),
            Kind::Ed(key) => key.sign(message).as_ref().to_vec(),
        }
    }

    /// A token with these claims.
    fn token(&self, claims: &Value) -> String {
        self.token_as(&json!({"alg": self.algorithm(), "typ": "JWT", "kid": self.id}), claims)
    }

    /// One with this header.
    fn token_as(&self, header: &Value, claims: &Value) -> String {
        let message = message(header, claims);
        let signature = self.sign(header["alg"].as_str().expect("an algorithm"), message.as_bytes());
        format!("{message}.{}", base64(&signature))
    }
}

fn base64(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

fn message(header: &Value, claims: &Value) -> String {
    format!("{}.{}", base64(header.to_string().as_bytes()), base64(claims.to_string().as_bytes()))
}

fn jwks(signers: &[&Signer]) -> String {
    json!({"keys": signers.iter().map(|signer| signer.jwk()).collect::<Vec<_>>()}).to_string()
}

/// The time in so many seconds.
fn seconds_from_now(seconds: i64) -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("it is later than 1970").as_secs();
    i64::try_from(now).expect("it is not that late") + seconds
}

/// Claims that are good for a tenant, with others in their place: those that are null are left out.
fn claims(tenant: &str, others: Value) -> Value {
    let mut claims = json!({"iss": ISSUER, "aud": AUDIENCE, "exp": seconds_from_now(3600), "tenant": tenant});
    let (Value::Object(all), Value::Object(others)) = (&mut claims, others) else { panic!("claims are an object") };
    all.extend(others);
    all.retain(|_, value| !value.is_null());
    claims
}

/// A file with keys, in a folder of its own.
struct KeyFile {
    folder: TempDir,
}

impl KeyFile {
    fn new(jwks: &str) -> Self {
        Self { folder: scorebox_tests::fixtures::folder(&[("jwks.json", jwks)]) }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("jwks.json")
    }

    fn put(&self, jwks: &str) {
        let new = self.folder.path().join("new");
        std::fs::write(&new, jwks).expect("it can be written to");
        std::fs::rename(new, self.path()).expect("it can be written to");
    }

    fn host(&self) -> Host {
        Host::start_as(|serve| with_keys(serve, self.path()))
    }
}

fn with_keys(serve: Serve, jwks: impl AsRef<std::ffi::OsStr>) -> Serve {
    serve.arg("--jwks").arg(jwks).args(&format!("--jwt-issuer {ISSUER} --jwt-audience {AUDIENCE}"))
}

/// An answer without what is never the same.
fn plain(mut response: Response) -> Response {
    response.headers.retain(|(name, _)| !["date", "x-request-id", "x-ms-request-id"].contains(&&**name));
    response
}

#[track_caller]
fn assert_unauthorized(response: &Response, what: &str) {
    assert_eq!(response.status, 401, "{what}: {response:?}");
    response.assert_error(401, UNAUTHORIZED);
    assert_eq!(response.header("www-authenticate"), Some("Bearer"), "{what}");
}

#[test]
fn a_token_opens_all_endpoints_of_the_tenant_that_it_names() {
    let signers = [Signer::rsa(), Signer::ec("ec"), Signer::ed()];
    let file = KeyFile::new(&jwks(&signers.iter().collect::<Vec<_>>()));
    let host = file.host();
    let key = host.serving("acme/iris", "echo");
    host.serving("acme/second", "echo");
    host.serving("umbrella/iris", "echo");
    for signer in &signers {
        let [acme, umbrella] = ["acme", "umbrella"].map(|tenant| signer.token(&claims(tenant, json!({}))));
        for (path, token) in [("acme/iris", &acme), ("acme/second", &acme), ("umbrella/iris", &umbrella)] {
            let response = host.score(path, token, "{}");
            assert_eq!(response.status, 200, "{path} {}: {response:?}", signer.id);
            // It is not for the scorer.
            assert!(!response.text().contains(token.as_str()));
        }
    }
    let token = |header: Value, others: Value| signers[0].token_as(&header, &claims("acme", others));
    let rsa = json!({"alg": "RS256", "kid": "rsa"});
    for (what, token) in [
        ("one of many audiences", token(rsa.clone(), json!({"aud": ["other", AUDIENCE]}))),
        ("it has been valid for long", token(rsa.clone(), json!({"nbf": seconds_from_now(-60)}))),
        ("a clock that is a little late", token(rsa.clone(), json!({"exp": seconds_from_now(-5)}))),
        ("a clock that is a little early", token(rsa, json!({"nbf": seconds_from_now(10)}))),
        ("another padding", token(json!({"alg": "PS256", "kid": "rsa"}), json!({}))),
    ] {
        assert_eq!(host.score("acme/iris", &token, "{}").status, 200, "{what}");
    }
    // Keys are as good as before.
    assert_eq!(host.score("acme/iris", &key, "{}").status, 200);
}

#[test]
fn a_token_that_is_not_as_it_has_to_be_opens_nothing_and_no_scorer_sees_the_request() {
    let (rsa, ec, stranger) = (Signer::rsa(), Signer::ec("ec"), Signer::ec("ec"));
    let mut for_ps256 = rsa.jwk();
    (for_ps256["kid"], for_ps256["alg"]) = (json!("for-ps256"), json!("PS256"));
    let mut for_encryption = ec.jwk();
    (for_encryption["kid"], for_encryption["use"]) = (json!("for-encryption"), json!("enc"));
    let secret = json!({"kty": "oct", "kid": "secret", "k": base64(b"a secret of thirty-two characters")});
    let keys = json!({"keys": [rsa.jwk(), ec.jwk(), for_ps256, for_encryption, secret]}).to_string();
    let host = KeyFile::new(&keys).host();
    host.serving("acme/iris", "echo");
    let created = || metrics(&host)["scorebox_instances_created_total"];
    let before = created();
    let good = claims("acme", json!({}));
    let with = |others: Value| ec.token(&claims("acme", others));
    let with_secret = |kid: &str, secret: &[u8]| {
        let message = message(&json!({"alg": "HS256", "typ": "JWT", "kid": kid}), &good);
        let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
        format!("{message}.{}", base64(hmac::sign(&key, message.as_bytes()).as_ref()))
    };
    let token = ec.token(&good);
    let (signed, signature) = token.rsplit_once('.').expect("a signature");
    let header = token.split('.').next().expect("a header");
    let unsigned = |algorithm: &str| message(&json!({"alg": algorithm, "kid": "ec"}), &good);
    let mut tokens = vec![
        ("another issuer", with(json!({"iss": "https://other.test"}))),
        ("no issuer", with(json!({"iss": null}))),
        ("another audience", with(json!({"aud": "other"}))),
        ("other audiences", with(json!({"aud": ["other", "scorebox2"]}))),
        ("no audience", with(json!({"aud": null}))),
        ("expired", with(json!({"exp": seconds_from_now(-120)}))),
        ("no end", with(json!({"exp": null}))),
        ("an end that is no time", with(json!({"exp": "tomorrow"}))),
        ("not valid yet", with(json!({"nbf": seconds_from_now(120)}))),
        ("no tenant", with(json!({"tenant": null}))),
        ("a tenant that is no text", with(json!({"tenant": ["acme"]}))),
        ("an unknown key", Signer::ec("unknown").token(&good)),
        ("another key of the same name", stranger.token(&good)),
        ("no name of a key where there are several", ec.token_as(&json!({"alg": "ES256"}), &good)),
        ("a key for something else", ec.token_as(&json!({"alg": "ES256", "kid": "for-encryption"}), &good)),
        ("an algorithm that the key is not for", rsa.token_as(&json!({"alg": "RS256", "kid": "for-ps256"}), &good)),
        ("a key of another kind", rsa.token_as(&json!({"alg": "RS256", "kid": "ec"}), &good)),
        ("extensions", ec.token_as(&json!({"alg": "ES256", "kid": "ec", "crit": ["b64"], "b64": false}), &good)),
        ("not signed", format!("{}.", unsigned("none"))),
        ("not signed, with a signature", format!("{}.{signature}", unsigned("none"))),
        ("not signed, in capitals", format!("{}.", unsigned("NONE"))),
        ("no signature", format!("{signed}.")),
        ("two parts", signed.to_owned()),
        (
            "other claims",
            format!("{header}.{}.{signature}", base64(claims("umbrella", json!({})).to_string().as_bytes())),
        ),
        ("no JSON", format!("{}.{}.{signature}", base64(b"no"), base64(b"JSON"))),
        ("a secret of the keys", with_secret("secret", b"a secret of thirty-two characters")),
    ];
    for signer in [&rsa, &ec] {
        tokens.push(("the public key as a secret", with_secret(&signer.id, &signer.public())));
        tokens.push((
            "the key as it is written as a secret",
            with_secret(&signer.id, signer.jwk().to_string().as_bytes()),
        ));
    }
    // Each bit of a signature counts.
    let bytes = URL_SAFE_NO_PAD.decode(signature).expect("base64");
    for bit in (0..bytes.len() * 8).step_by(37) {
        let mut changed = bytes.clone();
        changed[bit / 8] ^= 1 << (bit % 8);
        tokens.push(("another signature", format!("{signed}.{}", base64(&changed))));
    }
    for (what, token) in &tokens {
        assert_unauthorized(&host.score("acme/iris", token, "{}"), what);
        // In the other header there are keys only.
        assert_unauthorized(
            &host.server.send(&Request::json("{}").to("/acme/iris/score").header("api-key", token)),
            what,
        );
    }
    assert_unauthorized(
        &host.server.send(&Request::json("{}").to("/acme/iris/score").header("api-key", &token)),
        "api-key",
    );
    assert!(created() <= before, "a scorer has seen a request");
    assert_eq!(host.score("acme/iris", &token, "{}").status, 200);
    assert!(created() > before);
    let log = host.server.log().join("\n");
    for (what, token) in tokens.iter().chain([&("the good one", token.clone())]) {
        let part = token.split('.').nth(1).unwrap_or(token);
        assert!(!log.contains(part), "{what} is in the log");
    }
}

#[test]
fn what_a_token_does_not_open_looks_the_same_as_what_is_not_there() {
    let signer = Signer::ec("ec");
    let host = KeyFile::new(&jwks(&[&signer])).host();
    host.serving("acme/iris", "echo");
    let key = host.serving("umbrella/iris", "echo");
    host.endpoint("acme/second");
    let hosts = host.put(&super::address("acme/iris"), &json!({"hosts": ["iris.example.com"]}));
    assert_eq!(hosts.status, 200, "{}", hosts.text());
    let token = signer.token(&claims("umbrella", json!({})));
    assert_eq!(host.score("umbrella/iris", &token, "{}").status, 200);
    let nothing = plain(host.score("nobody/nothing", &token, "{}"));
    assert_eq!(nothing.status, 404);
    // As it looks to who shows a key.
    assert_eq!(plain(host.score("nobody/nothing", &key, "{}")), nothing);
    for path in ["acme/iris", "acme/second", "acme/nothing", "umbrella/nothing", "umbrella/second"] {
        assert_eq!(plain(host.score(path, &token, "{}")), nothing, "{path}");
    }
    let by_host = Request::json("{}").to("http://iris.example.com/score");
    let ask = |token: &str| host.server.send(&by_host.clone().header("authorization", format!("Bearer {token}")));
    assert_eq!(plain(ask(&token)), nothing);
    assert_eq!(ask(&signer.token(&claims("acme", json!({})))).status, 200);
    // A tenant that there is not has nothing, and neither has one whose name is not quite right.
    for tenant in ["nobody", "Acme", "acme/iris", "", "acme "] {
        let token = signer.token(&claims(tenant, json!({})));
        assert_eq!(plain(host.score("acme/iris", &token, "{}")), nothing, "{tenant}");
    }
    // What is managed is not for tenants.
    let admin = Request::get("/admin/v1/tenants").header("authorization", format!("Bearer {token}"));
    let mut client = scorebox_tests::Client::connect(host.admin).expect("the API listens");
    assert_eq!(client.send(&admin).expect("an answer").status, 401);
}

#[test]
fn the_claim_with_the_tenant_can_have_another_name() {
    let signer = Signer::ed();
    let file = KeyFile::new(&jwks(&[&signer]));
    let claim = "https://scorebox.test/tenant";
    let host = Host::start_as(|serve| with_keys(serve, file.path()).args(&format!("--jwt-tenant-claim {claim}")));
    host.serving("acme/iris", "echo");
    let token = signer.token(&claims("umbrella", json!({claim: "acme"})));
    assert_eq!(host.score("acme/iris", &token, "{}").status, 200);
    assert_unauthorized(&host.score("acme/iris", &signer.token(&claims("acme", json!({}))), "{}"), "the other claim");
    // There is one key only, which needs no name then.
    let unnamed = signer.token_as(&json!({"alg": "EdDSA"}), &claims("", json!({claim: "acme"})));
    assert_eq!(host.score("acme/iris", &unnamed, "{}").status, 200);
}

#[test]
fn keys_in_a_file_are_replaced_while_requests_flow() {
    let (old, new) = (Signer::ec("old"), Signer::ec("new"));
    let file = KeyFile::new(&jwks(&[&old]));
    let host = file.host();
    host.serving("acme/iris", "echo");
    let [by_old, by_new] = [&old, &new].map(|signer| signer.token(&claims("acme", json!({}))));
    let status = |token: &str| host.score("acme/iris", token, "{}").status;
    assert_eq!((status(&by_old), status(&by_new)), (200, 401));
    file.put(&jwks(&[&old, &new]));
    eventually(PATIENCE, "the new key is known", || {
        assert_eq!(status(&by_old), 200);
        status(&by_new) == 200
    });
    // What cannot be used leaves the keys before.
    for (text, why) in [("{", "it is no JWKS"), (r#"{"keys": []}"#, "none of its 0 keys can be used")] {
        file.put(text);
        let line = host.server.logged(why);
        assert!(line.contains("what was there before goes on"), "{line}");
        assert_eq!((status(&by_old), status(&by_new)), (200, 200));
    }
    file.put(&jwks(&[&new]));
    eventually(PATIENCE, "the old key is not known any more", || status(&by_old) == 401);
    assert_eq!(status(&by_new), 200);
}

/// Serves keys, and counts how often.
struct KeyServer {
    address: SocketAddr,
    state: Arc<Mutex<(String, usize)>>,
}

impl KeyServer {
    fn start(jwks: &str) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("there is a free port");
        let address = listener.local_addr().expect("the listener has an address");
        let state = Arc::new(Mutex::new((jwks.to_owned(), 0)));
        let of_thread = Arc::clone(&state);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let head = BufReader::new(&stream).lines().map_while(Result::ok).take_while(|line| !line.is_empty());
                let _ = head.count();
                let mut state = of_thread.lock().expect("nobody panics with it");
                state.1 += 1;
                let status = if state.0.is_empty() { "500 Broken" } else { "200 OK" };
                let head =
                    format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", state.0.len());
                let _ = (&stream).write_all((head + &state.0).as_bytes());
            }
        });
        Self { address, state }
    }

    fn url(&self) -> String {
        format!("http://{}/keys", self.address)
    }

    /// Serves these from now on; with none it is broken.
    fn put(&self, jwks: &str) {
        jwks.clone_into(&mut self.state.lock().expect("nobody panics with it").0);
    }

    fn served(&self) -> usize {
        self.state.lock().expect("nobody panics with it").1
    }
}

#[test]
fn keys_at_a_url_are_fetched_again_for_a_key_that_is_not_known_and_clients_cannot_have_that_done_often() {
    let (old, new) = (Signer::ec("old"), Signer::ec("new"));
    let keys = KeyServer::start(&jwks(&[&old]));
    let host = Host::start_as(|serve| with_keys(serve, keys.url()));
    host.serving("acme/iris", "echo");
    let [by_old, by_new] = [&old, &new].map(|signer| signer.token(&claims("acme", json!({}))));
    let status = |token: &str| host.score("acme/iris", token, "{}").status;
    assert_eq!((status(&by_old), keys.served()), (200, 1));
    keys.put(&jwks(&[&new]));
    let start = Instant::now();
    eventually(PATIENCE, "the new key is known", || status(&by_new) == 200);
    assert_eq!((status(&by_old), keys.served()), (401, 2));
    for number in 0..100 {
        assert_eq!(status(&Signer::ec(&format!("unknown-{number}")).token(&claims("acme", json!({})))), 401);
    }
    let more = usize::try_from(start.elapsed().as_secs() / 30).expect("not that long");
    assert!(keys.served() <= 2 + more, "it was fetched {} times", keys.served());
    // While nothing comes, or nothing that can be used, the keys before go on.
    for (broken, why) in [("", "http status: 500"), ("{}", "it is no JWKS")] {
        keys.put(broken);
        host.server.process().signal(Signal::HUP);
        let line = host.server.logged(why);
        assert!(line.contains("the keys that there were go on") && line.contains(&keys.url()), "{line}");
        assert_eq!(status(&by_new), 200);
    }
    keys.put(&jwks(&[&old]));
    host.server.process().signal(Signal::HUP);
    eventually(PATIENCE, "the other key is known", || status(&by_old) == 200);
    assert_eq!(status(&by_new), 401);
}

#[test]
fn keys_at_a_url_of_http_are_fetched_without_a_proxy() {
    let signer = Signer::ec("a");
    let keys = KeyServer::start(&jwks(&[&signer]));
    let with_proxy = |serve: Serve, name: &str| serve.env(name, "http://127.0.0.1:1");
    let host = Host::start_as(|serve| {
        ["ALL_PROXY", "HTTPS_PROXY", "HTTP_PROXY"].into_iter().fold(with_keys(serve, keys.url()), with_proxy)
    });
    host.serving("acme/iris", "echo");
    assert_eq!(host.score("acme/iris", &signer.token(&claims("acme", json!({}))), "{}").status, 200);
    assert_eq!(keys.served(), 1);
}

#[test]
fn without_keys_that_can_be_used_the_server_does_not_start() {
    let folder = scorebox_tests::fixtures::folder(&[("token", TOKEN), ("broken", "{"), ("none", r#"{"keys": []}"#)]);
    let serve = || Serve::nothing().arg("--state-dir").arg(folder.path().join("state"));
    let file = |name: &str| folder.path().join(name).display().to_string();
    let broken = KeyServer::start("");
    for (from, why) in [
        (file("absent"), "cannot read the keys of --jwks in"),
        (file("broken"), "it is no JWKS"),
        (file("none"), "none of its 0 keys can be used"),
        (broken.url(), "http status: 500"),
        ("http://127.0.0.1:1/keys".to_owned(), "cannot get the keys of --jwks from http://127.0.0.1:1/keys"),
    ] {
        let ended = with_keys(serve(), &from).refused();
        assert!(ended.code == Some(3) && ended.stderr.contains(why), "{from}: {ended:?}");
    }
    for (arguments, why) in [
        ("--jwks http://example.com/keys --jwt-issuer a --jwt-audience b", "an https URL"),
        ("--jwks /keys --jwt-issuer a", "--jwt-audience"),
        ("--jwks /keys --jwt-audience b", "--jwt-issuer"),
    ] {
        let ended = serve().args(arguments).refused();
        assert!(ended.code == Some(2) && ended.stderr.contains(why), "{arguments}: {ended:?}");
    }
}
