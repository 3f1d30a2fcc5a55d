//! A server with tenants, and the way to its API.

use std::fmt::Write as _;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use scorebox_tests::process::hermetic;
use scorebox_tests::server::free_port;
use scorebox_tests::{Client, Request, Response, fixtures};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::Result;

/// How long it may take until it answers.
const PATIENCE: Duration = Duration::from_mins(1);
/// Bytes of the end of its log that are shown.
const SHOWN: usize = 4000;
/// The operator's token.
const TOKEN: &str = "0123456789abcdef0123456789abcdef";

/// Where it listens.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Addresses {
    pub(crate) scoring: SocketAddr,
    pub(crate) admin: SocketAddr,
}

/// A server that runs until this is dropped.
#[derive(Debug)]
pub(crate) struct Managed {
    child: Child,
    folder: PathBuf,
    addresses: Addresses,
}

impl Managed {
    pub(crate) fn start(folder: &Path) -> Result<Self> {
        fs::write(folder.join("token"), TOKEN)?;
        let address = || SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()));
        let addresses = Addresses { scoring: address(), admin: address() };
        let child = spawn(folder, addresses)?;
        let mut server = Self { child, folder: folder.to_owned(), addresses };
        server.wait()?;
        Ok(server)
    }

    pub(crate) fn addresses(&self) -> Addresses {
        self.addresses
    }

    /// Kills it without a word, and waits until another answers.
    #[allow(dead_code, reason = "not all programs that have this module kill it")]
    pub(crate) fn kill_and_start(&mut self) -> Result {
        self.child.kill()?;
        self.child.wait()?;
        self.child = spawn(&self.folder, self.addresses)?;
        self.wait()
    }

    fn wait(&mut self) -> Result {
        let start = Instant::now();
        let answers = |address, path| {
            let answer = Client::connect(address).and_then(|mut client| client.send(&Request::get(path)));
            answer.is_ok_and(|answer| matches!(answer.status, 200 | 401))
        };
        while !(answers(self.addresses.scoring, "/readyz") && answers(self.addresses.admin, "/admin/v1/tenants")) {
            if let Some(status) = self.child.try_wait()? {
                return Err(format!("the server ended with {status}: {}", self.said()).into());
            }
            if start.elapsed() > PATIENCE {
                return Err(format!("the server did not answer within {PATIENCE:?}: {}", self.said()).into());
            }
            thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }

    /// The end of its log.
    pub(crate) fn said(&self) -> String {
        let log = fs::read(log(&self.folder)).unwrap_or_default();
        String::from_utf8_lossy(&log[log.len().saturating_sub(SHOWN)..]).into_owned()
    }
}

impl Drop for Managed {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn log(folder: &Path) -> PathBuf {
    folder.join("log")
}

fn spawn(folder: &Path, Addresses { scoring, admin }: Addresses) -> Result<Child> {
    let log = fs::File::create(log(folder))?;
    let mut command = Command::new(fixtures::binary());
    command.args(["serve", "--address", "127.0.0.1", "--port", &scoring.port().to_string()]);
    command.arg("--state-dir").arg(folder.join("state")).args(["--admin", &admin.to_string()]);
    command.arg("--admin-token-file").arg(folder.join("token")).env("SCOREBOX_ALLOW_ROOT", "true");
    // What was compiled by an earlier run is taken, as a machine has it that has served before.
    command.arg("--cache-dir").arg(scorebox_tests::python::compiled_cache());
    Ok(command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).spawn()?)
}

fn ask(addresses: Addresses, request: &Request) -> Result<Response> {
    let request = request.clone().header("authorization", format!("Bearer {TOKEN}"));
    let answer = Client::connect(addresses.admin)?.send(&request)?;
    if (200..300).contains(&answer.status) { Ok(answer) } else { Err(format!("{request:?}: {answer:?}").into()) }
}

/// Reads a resource.
pub(crate) fn get(addresses: Addresses, path: &str) -> Result<Value> {
    Ok(ask(addresses, &Request::get(&format!("/admin/v1{path}")))?.json())
}

/// Puts a resource.
pub(crate) fn put(addresses: Addresses, path: &str, body: &Value) -> Result<Value> {
    let request = Request::new("PUT", &format!("/admin/v1{path}")).header("content-type", "application/json");
    Ok(ask(addresses, &request.body(body.to_string()))?.json())
}

/// Uploads a bundle. Returns its digest.
pub(crate) fn upload(addresses: Addresses, bundle: &[u8]) -> Result<String> {
    let mut digest = String::new();
    for byte in Sha256::digest(bundle) {
        write!(digest, "{byte:02x}")?;
    }
    ask(addresses, &Request::new("PUT", &format!("/admin/v1/bundles/{digest}")).body(bundle))?;
    Ok(digest)
}

/// Makes a tenant with an endpoint `e` that answers with a bundle. Returns its key.
#[allow(dead_code, reason = "not all programs that have this module need it")]
pub(crate) fn serving(addresses: Addresses, tenant: &str, bundle: &str) -> Result<String> {
    put(addresses, &format!("/tenants/{tenant}"), &json!({}))?;
    let endpoint = format!("/tenants/{tenant}/endpoints/e");
    let created = put(addresses, &endpoint, &json!({}))?;
    let key = created["primary_key"].as_str().ok_or("no key of a new endpoint")?;
    let deployment = format!("{endpoint}/deployments/d");
    put(addresses, &deployment, &json!({ "bundle": bundle }))?;
    while get(addresses, &format!("{deployment}?wait=30"))?["current"] != 1 {}
    put(addresses, &format!("{endpoint}/traffic"), &json!({"traffic": {"d": 100}}))?;
    Ok(key.to_owned())
}

/// The bundle of a folder with a script.
pub(crate) fn archive(folder: &Path) -> Result<Vec<u8>> {
    let archive = tempfile::tempdir()?;
    let file = archive.path().join("score.scorebox");
    let built = hermetic(fixtures::binary()).arg("build").arg(folder).arg("-o").arg(&file).output()?;
    if !built.status.success() {
        return Err(format!("the script cannot be packed: {}", String::from_utf8_lossy(&built.stderr)).into());
    }
    Ok(fs::read(file)?)
}
