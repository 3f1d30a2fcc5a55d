//! `scorebox apply`: makes a server be what a file says.
//!
//! All that can be known to be wrong is found before the first change: the file is read whole, and each scorer is packed. Then
//! the file is compared with the server, and the differences are shown and made, in an order in which nothing that answers
//! goes away before something else has taken its place: a host moves from one endpoint to another when all else is done, and
//! goes back where it cannot be given to that one. What somebody else has changed since is left as it is, also where it was
//! to be deleted, and the command fails.

mod change;
mod plan;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use scorebox_control::api::DeploymentStatus;
use scorebox_control::resource::{Deployment, Endpoint, LimitsSpec, ProbeSpec, QuotaSpec};
use scorebox_control::{EndpointPath, Name};
use serde::Deserialize;
use serde_json::json;

use self::change::{Change, make};
use self::plan::Plan;
use super::args::ApplyArgs;
use super::remote::Remote;
use super::{List, endpoint_address, pretty};
use crate::console;
use crate::failure::Failure;

/// What the file says: the tenants that there are to be, by name. Others are left alone.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    tenants: BTreeMap<Name, TenantEntry>,
}

/// A tenant.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct TenantEntry {
    #[serde(default)]
    description: String,
    #[serde(default)]
    quotas: QuotaSpec,
    #[serde(default)]
    endpoints: BTreeMap<Name, EndpointEntry>,
}

/// An endpoint.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct EndpointEntry {
    #[serde(default)]
    description: String,
    #[serde(default)]
    hosts: Vec<String>,
    /// Left out, the traffic is left alone.
    traffic: Option<BTreeMap<Name, u8>>,
    #[serde(default)]
    mirror: BTreeMap<Name, u8>,
    #[serde(default)]
    deployments: BTreeMap<Name, DeploymentEntry>,
}

/// A deployment. Paths are relative to the file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct DeploymentEntry {
    scorer: PathBuf,
    model_dir: Option<PathBuf>,
    version: Option<String>,
    #[serde(default)]
    environment: BTreeMap<String, String>,
    #[serde(default)]
    limits: LimitsSpec,
    probe: Option<ProbeSpec>,
}

/// `scorebox apply`
pub(crate) fn apply(args: &ApplyArgs) -> Result<(), Failure> {
    let file = read(&args.file)?;
    let folder = args.file.parent().unwrap_or(Path::new(""));
    let server = Remote::new(&args.remote)?;
    let mut plan = Plan::new(&server, args.prune, &file)?;
    for (name, tenant) in file.tenants {
        plan.tenant(&name, tenant, folder)?;
    }
    let mut changes = plan.end()?;
    if !args.remote.json {
        for change in &changes {
            console::said(change);
        }
        if changes.is_empty() {
            console::note("the server is as the file says");
        }
    }
    let (mut keys, mut made) = (Vec::new(), Ok(0));
    if !args.dry_run {
        made = make(&server, &mut changes, |created| {
            if !args.remote.json {
                let Endpoint { tenant, name, .. } = &created.endpoint;
                console::result(format_args!("primary key of {tenant}/{name}    {}", created.primary_key));
                console::result(format_args!("secondary key of {tenant}/{name}  {}", created.secondary_key));
            }
            keys.push(created);
        });
    }
    if args.remote.json {
        let changes: Vec<_> = changes.iter().map(Change::document).collect();
        let applied = !args.dry_run && made.is_ok();
        // Also where a change has failed: keys are not shown again.
        console::result(pretty(&json!({"applied": applied, "changes": changes, "created_endpoints": keys})));
    }
    let made = made?;
    if made > 0 && !args.remote.json {
        console::note(format_args!("{made} changes are made"));
    }
    Ok(())
}

/// The deployments of an endpoint as they are now.
fn deployments_of(server: &Remote, path: &EndpointPath) -> Result<Vec<Deployment>, Failure> {
    let list: List<DeploymentStatus> = server.get(&format!("{}/deployments", endpoint_address(path)))?;
    Ok(list.items.into_iter().map(|status| status.deployment).collect())
}

fn read(file: &Path) -> Result<File, Failure> {
    let text = fs::read_to_string(file)
        .map_err(|error| Failure::failed(format!("cannot read {}: {error}", file.display())))?;
    toml::from_str(&text).map_err(|error| Failure::failed(format!("{}: {error}", file.display())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_that_means_nothing_is_an_error_that_says_where() {
        let error = toml::from_str::<File>("[tenants.acme]\nqoutas = {}\n").unwrap_err().to_string();
        assert!(error.contains("line 2") && error.contains("qoutas"), "{error}");
    }
}
