//! Scorers that serve in the fuzzer's own process.

use std::collections::BTreeMap;
use std::sync::Arc;

use scorebox_sandbox::{Bundle, Limits, Sandbox, SandboxConfig};
use scorebox_server::{App, Deployed, LogSettings, Plan, Settings};
use scorebox_telemetry::Telemetry;
use scorebox_tests::fixtures;
use tokio::runtime::Runtime;

/// An app that serves a scorer of tests/guests, and what its requests run on.
pub(crate) struct Serving {
    pub(crate) app: Arc<App>,
    pub(crate) runtime: Runtime,
}

impl Serving {
    pub(crate) fn new(guest: &str, limits: Limits) -> Self {
        let sandbox = Arc::new(Sandbox::new(&SandboxConfig::default(), None).expect("a sandbox"));
        let bundle = Bundle::read(&fixtures::guest(guest), None, u64::MAX).expect("a bundle");
        let settings = Settings { log: LogSettings { requests: true, print_request_id: false }, ..Settings::default() };
        let plan = Plan {
            name: guest.to_owned(),
            version: "1".to_owned(),
            limits,
            swagger_files: BTreeMap::new(),
            journal: Arc::default(),
        };
        let deployed = Deployed::deploy(&sandbox, &settings, &Telemetry::off(), &bundle, plan, &|_| {});
        let app = App::new(sandbox, settings, Telemetry::off());
        app.put_single(deployed.expect("a deployment"));
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        Self { app, runtime: runtime.expect("a runtime") }
    }
}
