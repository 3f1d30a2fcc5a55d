//! Endpoints of tenants, where `serve` has a folder for them.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use axum::Router;
use scorebox_confinement::raise_descriptors;
use scorebox_control::Control;
use scorebox_control::api::{self, ApiConfig};
use scorebox_sandbox::Limits;
use scorebox_server::credentials::Key;
use scorebox_server::{App, ParkingSettings};
use scorebox_store::Store;

use crate::args::ServeArgs;
use crate::failure::Failure;
use crate::memory;
use crate::scorer::Uploaded;

/// Where tenants are managed, and by whom.
pub(crate) struct Admin {
    address: SocketAddr,
    config: ApiConfig,
}

/// Reads who may manage tenants, where somebody may. To be called before the server gives up its rights: the token is not
/// its to read again.
pub(crate) fn admin(args: &ServeArgs) -> Result<Option<Admin>, Failure> {
    let (Some(address), Some(file)) = (args.manage.admin, &args.manage.admin_token_file) else { return Ok(None) };
    let max_bundle = args.manage.max_bundle.as_u64();
    let config = ApiConfig { token: token(file)?, max_bundle, body_timeout: args.body_timeout };
    Ok(Some(Admin { address, config }))
}

/// The part of the memory that deployments may take, where nobody says: one of so many. The rest is for their instances, which
/// start with no more than the pages that they write, and for what the system keeps of files.
const PART: u64 = 2;

/// Descriptors that are for neither deployments nor connections: logs, pipes, the store, files of instances.
const OTHER_DESCRIPTORS: u64 = 256;
/// The most deployments that are resident, whatever the memory: Linux gives a process 65,530 mappings, and each takes three.
const MOST: u64 = 16 * 1024;

/// When deployments are parked. To be called as early as [`admin`]. Raises the limit on descriptors as far as it goes.
pub(crate) fn parking(args: &ServeArgs) -> ParkingSettings {
    let descriptors = raise_descriptors().unwrap_or(u64::MAX);
    if args.manage.state_dir.is_none() {
        return ParkingSettings::default();
    }
    let connections = args.max_connections.get() as u64;
    let free = descriptors.saturating_sub(connections.saturating_add(OTHER_DESCRIPTORS));
    // Where there are too few for all, connections may not get all that they could have.
    let most = free.max(descriptors / PART).min(MOST);
    ParkingSettings {
        budget: budget(args).unwrap_or(u64::MAX),
        most: usize::try_from(most).unwrap_or(usize::MAX),
        after: args.manage.park_after,
    }
}

/// Bytes that deployments may take which answer no request at the moment: what is asked for, else a part of what there is.
pub(crate) fn budget(args: &ServeArgs) -> Option<u64> {
    let asked = args.manage.memory_budget.map(|budget| budget.as_u64());
    asked.or_else(|| memory::available().map(|available| available / PART))
}

/// What is served for tenants.
pub(crate) struct Tenants {
    app: Arc<App>,
    control: Arc<Control>,
    admin: Option<Admin>,
}

/// Opens the state, where there is to be one. Nothing is served yet.
pub(crate) fn open(
    args: &ServeArgs,
    admin: Option<Admin>,
    app: &Arc<App>,
    limits: &Limits,
) -> Result<Option<Tenants>, Failure> {
    let (Some(folder), Some(backups)) = (args.manage.store(), args.manage.backups()) else { return Ok(None) };
    let store = Store::open(&folder).map_err(Failure::start)?;
    let bundles = Uploaded::new(args.python.python_runtime.clone());
    let control = Control::new(store, backups, Arc::clone(app), limits.clone(), Box::new(bundles));
    Ok(Some(Tenants { app: Arc::clone(app), control, admin }))
}

impl Tenants {
    /// Serves what the state has.
    pub(crate) async fn start(&self) -> Result<(), Failure> {
        let control = Arc::clone(&self.control);
        match tokio::task::spawn_blocking(move || control.start()).await {
            Ok(started) => started.map_err(Failure::start)?,
            Err(error) => return Err(Failure::failed(format!("serving what the state has broke off: {error}"))),
        }
        tokio::spawn(Arc::clone(self.app.parking()).park_unused());
        let control = Arc::clone(&self.control);
        tokio::spawn(async move { control.bring_back().await });
        Ok(())
    }

    /// Where it is managed, and by what.
    pub(crate) fn admin(&self) -> Option<(SocketAddr, Router)> {
        let Admin { address, config } = self.admin.as_ref()?;
        Some((*address, api::router(Arc::clone(&self.control), config)))
    }
}

/// The token in a file.
fn token(file: &Path) -> Result<Key, Failure> {
    let text = fs::read_to_string(file)
        .map_err(|error| Failure::start(format!("cannot read the token of --admin in {}: {error}", file.display())))?;
    Key::parse(text.trim()).map_err(|_| {
        Failure::start(format!(
            "{} has no token for --admin: write 32 to 512 visible characters into it, with `openssl rand -hex 32` for instance",
            file.display()
        ))
    })
}
