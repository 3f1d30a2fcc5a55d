//! `scorebox tenant`, `endpoint`, `deploy`, `deployment`, `traffic`, `keys`, `logs`, `state` and `apply`: what a server
//! serves, managed from a terminal or a script, by its API.

pub(crate) mod apply;
pub(crate) mod args;
mod pack;
mod remote;

use std::collections::BTreeMap;
use std::fs;
use std::io::Cursor;

use scorebox_control::api::DeploymentStatus;
use scorebox_control::resource::{
    Backup, CreatedEndpoint, CurrentSpec, DeploymentSpec, Endpoint, EndpointSpec, KeySlot, KeySpec, LimitsSpec,
    Revision, RevisionState, ShownKey, Tenant, TenantSpec, TrafficSpec,
};
use scorebox_control::{DeploymentPath, EndpointPath, Name, check_store};
use scorebox_server::LogLine;
use scorebox_server::credentials::Key;
use scorebox_store::{Digest, Store};
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use self::args::{
    DeployArgs, DeploymentCommand, EndpointCommand, KeysCommand, LogsArgs, RemoteArgs, Share, StateCommand,
    TenantCommand, TrafficArgs,
};
use self::remote::{Remote, escaped, pretty};
use crate::args::store_of;
use crate::console::{self, Progress};
use crate::failure::Failure;

/// Lines of a log that are asked for at a time.
const MAX_LINES: u64 = 10_000;

/// A list, as the API gives it.
#[derive(Serialize, Deserialize)]
struct List<T> {
    items: Vec<T>,
}

/// `scorebox tenant`
pub(crate) fn tenant(command: &TenantCommand) -> Result<(), Failure> {
    match command {
        TenantCommand::List { remote } => {
            let tenants: List<Tenant> = Remote::new(remote)?.get("/tenants")?;
            let rows: Vec<_> = tenants
                .items
                .iter()
                .map(|tenant| [tenant.name.to_string(), moment(tenant.created), tenant.description.clone()])
                .collect();
            show(remote, &tenants, || console::table(["TENANT", "CREATED", "DESCRIPTION"], &rows));
        }
        TenantCommand::Create { tenant, description, quotas, remote } => {
            let spec = TenantSpec { description: description.clone(), quotas: quotas.spec() };
            let tenant: Tenant = Remote::new(remote)?.put(&tenant_address(tenant), &spec)?;
            show(remote, &tenant, || console::result(format_args!("tenant {} is there", tenant.name)));
        }
        TenantCommand::Delete { tenant, remote } => {
            Remote::new(remote)?.delete(&tenant_address(tenant))?;
            console::note(format_args!("tenant {tenant} is deleted"));
        }
    }
    Ok(())
}

/// `scorebox endpoint`
pub(crate) fn endpoint(command: &EndpointCommand) -> Result<(), Failure> {
    match command {
        EndpointCommand::List { tenant, remote } => {
            let endpoints: List<Endpoint> = Remote::new(remote)?.get(&format!("/tenants/{tenant}/endpoints"))?;
            let rows: Vec<_> = endpoints
                .items
                .iter()
                .map(|endpoint| [endpoint.name.to_string(), shares(&endpoint.traffic), endpoint.hosts.join(" ")])
                .collect();
            show(remote, &endpoints, || console::table(["ENDPOINT", "TRAFFIC", "HOSTS"], &rows));
        }
        EndpointCommand::Create { endpoint: path, description, hosts, remote } => {
            let spec = EndpointSpec { description: description.clone(), hosts: hosts.clone() };
            let put: serde_json::Value = Remote::new(remote)?.put(&endpoint_address(path), &spec)?;
            show(remote, &put, || match serde_json::from_value::<CreatedEndpoint>(put.clone()) {
                Ok(created) => {
                    console::result(format_args!("primary key    {}", created.primary_key));
                    console::result(format_args!("secondary key  {}", created.secondary_key));
                    console::note(format_args!("endpoint {path} is there; its keys are not shown again"));
                }
                Err(_) => console::note(format_args!("endpoint {path} was there, and has its keys still")),
            });
        }
        EndpointCommand::Show { endpoint: path, remote } => {
            let server = Remote::new(remote)?;
            let endpoint: Endpoint = server.get(&endpoint_address(path))?;
            let deployments: List<DeploymentStatus> = server.get(&format!("{}/deployments", endpoint_address(path)))?;
            let row = |status: &DeploymentStatus| {
                let name = &status.deployment.name;
                [
                    name.to_string(),
                    percent(&endpoint.traffic, name),
                    percent(&endpoint.mirror, name),
                    status.deployment.current.map_or_else(|| "-".to_owned(), |number| number.to_string()),
                    status.residence.clone().unwrap_or_else(|| "-".to_owned()),
                    last_state(status),
                ]
            };
            let rows: Vec<_> = deployments.items.iter().map(row).collect();
            let all = serde_json::json!({ "endpoint": endpoint, "deployments": deployments.items });
            show(remote, &all, || {
                console::table(["DEPLOYMENT", "TRAFFIC", "MIRROR", "REVISION", "MEMORY", "STATE"], &rows);
            });
        }
        EndpointCommand::Delete { endpoint, remote } => {
            Remote::new(remote)?.delete(&endpoint_address(endpoint))?;
            console::note(format_args!("endpoint {endpoint} is deleted, with its deployments"));
        }
    }
    Ok(())
}

/// `scorebox deploy`
pub(crate) fn deploy(args: &DeployArgs) -> Result<(), Failure> {
    let server = Remote::new(&args.remote)?;
    let bundle = pack::pack(&args.scorer, args.model_dir.as_deref()).map_err(Failure::failed)?;
    let digest = Digest::of(&bundle);
    let size = bundle.len() as u64;
    server.upload(&digest, Cursor::new(bundle), size)?;
    let millis = |time: std::time::Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    let spec = DeploymentSpec {
        bundle: digest,
        version: args.version.clone(),
        environment: args.env.iter().map(|variable| (variable.name.clone(), variable.value.clone())).collect(),
        limits: LimitsSpec {
            memory: args.memory.map(|memory| memory.as_u64()),
            timeout_ms: args.timeout.map(millis),
            ..LimitsSpec::default()
        },
        probe: args.probe.spec()?,
    };
    let path = &args.deployment;
    // What somebody else makes of the traffic while it is waited is left as it is.
    let seen = if args.all_traffic { server.find::<Endpoint>(&endpoint_address(&path.endpoint))? } else { None };
    let mut status: DeploymentStatus = server.put(&deployment_address(path), &spec)?;
    let asked = latest(&status).map_or(0, |latest| latest.number);
    if !args.no_wait {
        status = wait_until_ready(&server, path, status)?;
    }
    if let Some((_, tag)) = seen {
        let traffic =
            TrafficSpec { traffic: BTreeMap::from([(path.deployment.clone(), 100)]), mirror: BTreeMap::new() };
        server.put_seen::<Endpoint>(&traffic_address(&path.endpoint), &tag, &traffic)?;
    }
    show(&args.remote, &status, || {
        let does = if is_pending(&status, asked) { "is being made ready" } else { "answers" };
        console::result(format_args!("revision {asked} of {path} {does}"));
    });
    Ok(())
}

/// Waits until the latest revision of a deployment, as it is now, is ready. A failure if it has failed, or is gone.
fn wait_until_ready(
    server: &Remote,
    path: &DeploymentPath,
    mut status: DeploymentStatus,
) -> Result<DeploymentStatus, Failure> {
    let Some(&Revision { number: asked, created, .. }) = latest(&status) else { return Ok(status) };
    let progress = Progress::new();
    while is_pending(&status, asked) {
        progress.say(status.stage.as_deref().unwrap_or("waiting for its turn"));
        status = server.get(&format!("{}?wait=1", deployment_address(path)))?;
    }
    // A deployment that somebody has put in its place may have one of that number.
    let revision = status.deployment.revision(asked).filter(|revision| revision.created == created);
    match revision.map(|revision| &revision.state) {
        Some(RevisionState::Failed { reason }) => {
            let goes_on = status.deployment.current.map_or_else(
                || "it has no revision that answers".to_owned(),
                |current| format!("revision {current} goes on answering"),
            );
            Err(Failure::failed(format!("revision {asked} of {path} failed, {goes_on}: {reason}")))
        }
        None => Err(Failure::failed(format!(
            "revision {asked} of {path} is not there any more; somebody else has changed the deployment meanwhile"
        ))),
        Some(RevisionState::Pending | RevisionState::Ready) => Ok(status),
    }
}

/// `scorebox deployment`
pub(crate) fn deployment(command: &DeploymentCommand) -> Result<(), Failure> {
    match command {
        DeploymentCommand::Show { deployment: path, remote } => {
            let status: DeploymentStatus = Remote::new(remote)?.get(&deployment_address(path))?;
            let row = |revision: &Revision| {
                let is_current = status.deployment.current == Some(revision.number);
                let (state, reason) = match &revision.state {
                    RevisionState::Ready if is_current => ("answers", String::new()),
                    RevisionState::Ready => ("ready", String::new()),
                    RevisionState::Pending => ("pending", status.stage.clone().unwrap_or_default()),
                    RevisionState::Failed { reason } => ("failed", reason.clone()),
                };
                let version = revision.spec.version.clone().unwrap_or_default();
                [revision.number.to_string(), state.to_owned(), version, moment(revision.created), reason]
            };
            let rows: Vec<_> = status.deployment.revisions.iter().map(row).collect();
            show(remote, &status, || {
                console::table(["REVISION", "STATE", "VERSION", "CREATED", "REASON"], &rows);
            });
        }
        DeploymentCommand::Rollback { deployment: path, to, remote } => {
            let server = Remote::new(remote)?;
            let status: DeploymentStatus = server.get(&deployment_address(path))?;
            let current = status.deployment.current;
            let is_before =
                |revision: &&Revision| revision.state == RevisionState::Ready && Some(revision.number) < current;
            let before = status.deployment.revisions.iter().rev().find(is_before).map(|revision| revision.number);
            let revision = to.or(before).ok_or_else(|| {
                Failure::failed(format!("{path} has no earlier revision that was ready; name one with --to"))
            })?;
            let address = format!("{}/current", deployment_address(path));
            let status: DeploymentStatus = server.put(&address, &CurrentSpec { revision })?;
            show(remote, &status, || console::result(format_args!("revision {revision} of {path} answers")));
        }
        DeploymentCommand::Delete { deployment, remote } => {
            Remote::new(remote)?.delete(&deployment_address(deployment))?;
            console::note(format_args!("deployment {deployment} is deleted"));
        }
    }
    Ok(())
}

/// `scorebox traffic`
pub(crate) fn traffic(args: &TrafficArgs) -> Result<(), Failure> {
    let map = |shares: &mut dyn Iterator<Item = &Share>| -> BTreeMap<Name, u8> {
        shares.map(|share| (share.deployment.clone(), share.percent)).collect()
    };
    let spec = TrafficSpec { traffic: map(&mut args.shares.iter()), mirror: map(&mut args.mirror.iter()) };
    if spec.traffic.len() < args.shares.len() {
        return Err(Failure::usage("a deployment is named twice; give each of them one share"));
    }
    let endpoint: Endpoint = Remote::new(&args.remote)?.put(&traffic_address(&args.endpoint), &spec)?;
    show(&args.remote, &endpoint, || {
        console::result(format_args!("traffic of {}: {}", args.endpoint, shares(&endpoint.traffic)));
    });
    Ok(())
}

/// `scorebox keys`
pub(crate) fn keys(command: &KeysCommand) -> Result<(), Failure> {
    let KeysCommand::Rotate { endpoint, slot, remote } = command;
    let slot = match KeySlot::from(*slot) {
        KeySlot::Primary => "primary",
        KeySlot::Secondary => "secondary",
    };
    // It is made here, so that the same is asked for when the answer is lost and the command given again by a program.
    let spec = KeySpec { key: Some(Key::random().reveal().to_owned()) };
    let key: ShownKey = Remote::new(remote)?.put(&format!("{}/keys/{slot}", endpoint_address(endpoint)), &spec)?;
    show(remote, &key, || console::result(&key.key));
    Ok(())
}

/// `scorebox logs`
pub(crate) fn logs(args: &LogsArgs) -> Result<(), Failure> {
    let server = Remote::new(&args.remote)?;
    let address = format!("{}/logs", deployment_address(&args.deployment));
    let (mut after, mut query) = (0, format!("limit={}", args.tail));
    loop {
        let lines: List<LogLine> = server.get(&format!("{address}?{query}"))?;
        for line in &lines.items {
            after = line.number;
            if args.remote.json {
                console::result(escaped(&serde_json::to_string(line).map_err(Failure::failed)?));
            } else {
                let id = line.request_id.as_deref().unwrap_or("-");
                // A line that a scorer begins does not look like a record.
                let text = line.text.replace('\n', "\n\t");
                console::said(format_args!("{} {:8} {id} {text}", moment(line.time), line.level));
            }
        }
        if !args.follow {
            return Ok(());
        }
        query = format!("after={after}&limit={MAX_LINES}&wait=30");
    }
}

/// `scorebox state`
pub(crate) fn state(command: &StateCommand) -> Result<(), Failure> {
    match command {
        StateCommand::Backup { name, remote } => {
            let nothing = serde_json::Map::new();
            let backup: Backup = Remote::new(remote)?.put(&format!("/backups/{name}"), &nothing)?;
            show(remote, &backup, || console::result(&backup.folder));
        }
        StateCommand::Restore { backup, state_dir } => {
            fs::create_dir_all(state_dir)
                .map_err(|error| Failure::failed(format!("cannot make {}: {error}", state_dir.display())))?;
            Store::restore(backup, &store_of(state_dir)).map_err(Failure::failed)?;
            console::note(format_args!("{} is restored; serve it with --state-dir", state_dir.display()));
        }
        StateCommand::Check { state_dir } => {
            let folder = store_of(state_dir);
            if !folder.is_dir() {
                return Err(Failure::failed(format!("{} has no state of a server", state_dir.display())));
            }
            let wrong = check_store(&Store::open(&folder).map_err(Failure::failed)?).map_err(Failure::failed)?;
            if !wrong.is_empty() {
                return Err(Failure::failed(format!("{}; restore a backup", wrong.join("; "))));
            }
            console::result("whole");
        }
    }
    Ok(())
}

/// Shows a result, to a person or to a program.
fn show(remote: &RemoteArgs, document: &impl Serialize, to_person: impl FnOnce()) {
    if remote.json { console::result(pretty(document)) } else { to_person() }
}

fn tenant_address(name: &Name) -> String {
    format!("/tenants/{name}")
}

fn traffic_address(path: &EndpointPath) -> String {
    format!("{}/traffic", endpoint_address(path))
}

fn endpoint_address(path: &EndpointPath) -> String {
    format!("/tenants/{}/endpoints/{}", path.tenant, path.endpoint)
}

fn deployment_address(path: &DeploymentPath) -> String {
    format!("{}/deployments/{}", endpoint_address(&path.endpoint), path.deployment)
}

fn latest(status: &DeploymentStatus) -> Option<&Revision> {
    status.deployment.latest()
}

fn is_pending(status: &DeploymentStatus, number: u64) -> bool {
    status.deployment.revision(number).is_some_and(|revision| revision.state == RevisionState::Pending)
}

fn last_state(status: &DeploymentStatus) -> String {
    match latest(status).map(|latest| &latest.state) {
        None => "empty".to_owned(),
        Some(RevisionState::Pending) => {
            format!("pending: {}", status.stage.as_deref().unwrap_or("waiting for its turn"))
        }
        Some(RevisionState::Ready) => "ready".to_owned(),
        Some(RevisionState::Failed { reason }) => {
            format!("failed: {}", reason.lines().next().unwrap_or_default())
        }
    }
}

/// As in the API.
fn moment(time: OffsetDateTime) -> String {
    time.format(&Rfc3339).unwrap_or_default()
}

fn percent(shares: &BTreeMap<Name, u8>, name: &Name) -> String {
    shares.get(name).map_or_else(|| "-".to_owned(), |share| format!("{share} %"))
}

fn shares(shares: &BTreeMap<Name, u8>) -> String {
    let shares: Vec<_> = shares.iter().map(|(name, share)| format!("{name}={share}")).collect();
    if shares.is_empty() { "none".to_owned() } else { shares.join(" ") }
}
