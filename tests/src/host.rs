//! A server with tenants, and its API.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;

use crate::process::{Ended, Process, hermetic};
use crate::server::free_port;
use crate::wait::{PATIENCE, eventually};
use crate::{Client, Request, Response, Serve, Server, fixtures};

/// The operator's token.
pub const TOKEN: &str = "0123456789abcdef0123456789abcdef";
/// What begins the path of all resources.
pub const API: &str = "/admin/v1";

/// A server with tenants, and its folder, which it may be started with again.
#[derive(Debug)]
pub struct Host {
    /// The server.
    pub server: Server,
    /// Where its API listens.
    pub admin: SocketAddr,
    /// Its state and its token.
    pub folder: TempDir,
}

impl Host {
    /// Started with nothing in it.
    pub fn start() -> Self {
        Self::start_as(|serve| serve)
    }

    /// With more on its command line.
    pub fn start_as(change: impl Fn(Serve) -> Serve) -> Self {
        let folder = fixtures::folder(&[("token", TOKEN)]);
        let (server, admin) = serve(folder.path(), change);
        Self { server, admin, folder }
    }

    /// Killed without a word, and started again.
    #[must_use]
    pub fn killed_and_started(self) -> Self {
        let Self { server, folder, .. } = self;
        server.kill();
        let (server, admin) = serve(folder.path(), |serve| serve);
        Self { server, admin, folder }
    }

    /// Asks the API.
    #[track_caller]
    pub fn ask(&self, request: &Request) -> Response {
        let request = request.clone().header("authorization", format!("Bearer {TOKEN}"));
        let mut client = Client::connect(self.admin).expect("the API listens");
        client.send(&request).unwrap_or_else(|error| panic!("no answer to {request:?}: {error}"))
    }

    /// Reads a resource.
    #[track_caller]
    pub fn read(&self, path: &str) -> Response {
        self.ask(&Request::get(&format!("{API}{path}")))
    }

    /// Puts a resource.
    #[track_caller]
    pub fn put(&self, path: &str, body: &Value) -> Response {
        self.ask(&put_request(path, body))
    }

    /// Deletes a resource.
    #[track_caller]
    pub fn delete(&self, path: &str) -> Response {
        self.ask(&Request::new("DELETE", &format!("{API}{path}")))
    }

    /// Creates an endpoint, and its tenant where there is none. Returns its primary key.
    #[track_caller]
    pub fn endpoint(&self, path: &str) -> String {
        let (tenant, _) = path.split_once('/').expect("a tenant and a name");
        assert!(matches!(self.put(&format!("/tenants/{tenant}"), &json!({})).status, 200 | 201));
        let response = self.put(&address(path), &json!({}));
        assert_eq!(response.status, 201, "{}", response.text());
        response.json()["primary_key"].as_str().expect("a key").to_owned()
    }

    /// Uploads a bundle. Returns its digest.
    #[track_caller]
    pub fn upload(&self, bundle: &[u8]) -> String {
        let digest = sha256(bundle);
        let response = self.ask(&Request::new("PUT", &format!("{API}/bundles/{digest}")).body(bundle));
        assert!(matches!(response.status, 200 | 201), "{response:?}");
        digest
    }

    /// Deploys a component of tests/guests, and waits until it answers.
    #[track_caller]
    pub fn deploy(&self, path: &str, guest: &str) -> Value {
        let bundle = self.upload(&fs::read(fixtures::guest(guest)).expect("a component"));
        let response = self.put(&address(path), &json!({ "bundle": bundle }));
        assert!(matches!(response.status, 200 | 202), "{}", response.text());
        let status = self.deployed(path);
        assert_eq!(last(&status)["state"]["state"], "ready", "{status}");
        status
    }

    /// The status of a deployment when nothing of it is pending any more.
    #[track_caller]
    pub fn deployed(&self, path: &str) -> Value {
        let mut status = Value::Null;
        eventually(PATIENCE, "it is deployed", || {
            status = self.read(&format!("{}?wait=5", address(path))).json();
            last(&status)["state"]["state"] != "pending"
        });
        status
    }

    /// Gives a deployment all traffic of its endpoint.
    #[track_caller]
    pub fn give_all_traffic(&self, path: &str) {
        let (endpoint, deployment) = path.rsplit_once('/').expect("an endpoint and a name");
        let response = self.put(&format!("{}/traffic", address(endpoint)), &json!({ "traffic": { deployment: 100 } }));
        assert_eq!(response.status, 200, "{}", response.text());
    }

    /// An endpoint with one deployment, `blue`, that has all traffic. Returns its key.
    #[track_caller]
    pub fn serving(&self, path: &str, guest: &str) -> String {
        let key = self.endpoint(path);
        self.deploy(&format!("{path}/blue"), guest);
        self.give_all_traffic(&format!("{path}/blue"));
        key
    }

    /// Has something scored.
    #[track_caller]
    pub fn score(&self, path: &str, key: &str, body: &str) -> Response {
        self.server.send(&score_request(path, key, body))
    }

    /// Runs `scorebox` against the API.
    pub fn scorebox(&self, arguments: &[&str]) -> Ended {
        let mut command = hermetic(fixtures::binary());
        command.args(arguments).env("SCOREBOX_SERVER", format!("http://{}", self.admin));
        command.env("SCOREBOX_ADMIN_TOKEN", TOKEN);
        Process::start(&mut command).wait(PATIENCE)
    }
}

/// Starts a server that has its state and the operator's token in a folder; and where its API listens.
pub fn serve(folder: &Path, change: impl Fn(Serve) -> Serve) -> (Server, SocketAddr) {
    let admin = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()));
    let serve = Serve::nothing().arg("--state-dir").arg(folder.join("state")).arg("--admin").arg(admin.to_string());
    let server = change(serve.arg("--admin-token-file").arg(folder.join("token"))).start();
    server.logged("tenants are managed on");
    (server, admin)
}

/// A request that puts a resource.
pub fn put_request(path: &str, body: &Value) -> Request {
    Request::new("PUT", &format!("{API}{path}")).header("content-type", "application/json").body(body.to_string())
}

/// A request of a client's.
pub fn score_request(path: &str, key: &str, body: &str) -> Request {
    Request::json(body).to(&format!("/{path}/score")).header("authorization", format!("Bearer {key}"))
}

/// Where a tenant, an endpoint or a deployment is in the API.
pub fn address(path: &str) -> String {
    let kinds = ["/tenants/", "/endpoints/", "/deployments/"];
    path.split('/').zip(kinds).flat_map(|(name, kind)| [kind, name]).collect()
}

/// The last revision of a deployment.
pub fn last(status: &Value) -> &Value {
    status["revisions"].as_array().and_then(|revisions| revisions.last()).unwrap_or(&Value::Null)
}

/// SHA-256 in hexadecimal.
pub fn sha256(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    Sha256::digest(bytes).iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").expect("a text takes all");
        text
    })
}
