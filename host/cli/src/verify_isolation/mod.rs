//! `scorebox verify-isolation`: shows that nothing of a request is left for a later one, and that it would be seen if it were.
//!
//! Every request brings a secret that no other has and leaves it wherever a scorer can leave anything. Two look for secrets
//! of earlier requests:
//! - *the scorer*, where it is one that Scorebox brings ([`built_in`], [`script`]): in every fresh instance, before it plants
//!   its own, it looks through all that it can reach, after neighbours that answered, trapped, ran into their deadline, used
//!   up their memory or lost their client, in places that instances of several deployments have had in turn;
//! - *the host* ([`pool`]), for any scorer: it reads the memory of its own process that belongs to the engine's pool, when all
//!   instances are destroyed, and looks at every answer and every record of the log.
//!
//! The control is the same scorer with an instance that is used again, on purpose. Both must find secrets there: a search
//! that cannot find anything shows nothing.
//!
//! What this does not show: the values of globals, which the engine keeps in memory of the host's heap, are looked at by
//! scorers only; no scorer can read its stack before it has written to it, so that is looked at by the host only; and the
//! machine's memory is not made scarce, only that of instances.

mod built_in;
mod drive;
mod given;
mod pool;
mod report;
mod script;
mod secret;

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use scorebox_sandbox::{Bundle, Deployment, Limits, NoLog, Runtime, Sandbox, SandboxConfig};

use self::built_in::BuiltIn;
use self::drive::{Drive, Scanner};
use self::given::Given;
use self::report::{Report, Section};
use self::script::Script;
use self::secret::Secrets;
use crate::args::VerifyIsolationArgs;
use crate::console::{self, Progress};
use crate::failure::Failure;
use crate::scorer::{self, Places, Scorer};
use crate::second_wall;

/// Instances at the same time. Deployments that each have had so many use up the places that stay theirs, and get each
/// other's.
const RUNNING: usize = 8;
/// The deadline is kept to a tick; a short one makes many of them.
const TICK: Duration = Duration::from_millis(2);
/// Memory of the scanner that is a component: it fills it.
const MEMORY: u64 = 16 << 20;
/// Its time, which some of its requests use up. On a busy machine others need more than half of it.
const DEADLINE: Duration = Duration::from_millis(100);
/// Time of requests that are held while the host looks at the pool.
const HOLD: Duration = Duration::from_mins(1);
/// One request goes to the scanner in Python for so many that go to the other: it takes about a hundred times as long.
const SHARE_OF_PYTHON: u64 = 200;
/// Deployments of a scorer that is given: the same one under two names.
const TWICE: [&str; 2] = ["canary-a", "canary-b"];

/// Verifies, and prints the report. A failure if anything was found, or if the control found nothing.
pub(crate) fn verify(args: &VerifyIsolationArgs) -> Result<(), Failure> {
    // For a runtime of ours. It has to be there before the processes that seal give up what they do not need.
    let folder = tempfile::tempdir().map_err(Failure::failed)?;
    let sandbox = sandbox(args, folder.path())?;
    let secrets = Arc::new(Secrets::new());
    let numbers = AtomicU64::new(1);
    let progress = Progress::new();
    let audit = Audit { args, sandbox: &sandbox, secrets, numbers: &numbers, progress: &progress };
    // All is deployed before the first request: a long run does not end with a scorer that cannot be.
    let parts = match &args.scorer {
        Some(path) => vec![audit.given(path)?],
        None => [Some(audit.built_in(folder.path())?), audit.python()?].into_iter().flatten().collect(),
    };
    let mut scanners = Vec::new();
    let mut reasons = Vec::new();
    for part in parts {
        let section = audit.drive(part)?;
        reasons.extend(section.reasons(args.scorer.is_none()));
        scanners.push(section);
    }
    drop(progress);
    let report = Report::new(scanners, reasons);
    if args.json {
        let json = serde_json::to_string_pretty(&report).map_err(Failure::failed)?;
        console::result(json);
    } else {
        console::result(&report);
    }
    if report.passed { Ok(()) } else { Err(Failure::failed(report.reasons.join("\n"))) }
}

/// The one place that makes the sandbox.
fn sandbox(args: &VerifyIsolationArgs, folder: &Path) -> Result<Sandbox, Failure> {
    let config = SandboxConfig {
        max_running: RUNNING,
        tick: TICK,
        // On a busy machine a request waits for longer than it may run.
        queue_timeout: Some(HOLD),
        note_pool: true,
        ..SandboxConfig::default()
    };
    let files = [Some(folder), args.scorer.as_deref(), args.model_dir.as_deref()].into_iter().flatten();
    let (cache, sealer) = second_wall::sealer(&config, &args.seal, &args.python, &args.cache, files)?;
    Sandbox::with_sealer(&config, cache, sealer).map_err(Failure::failed)
}

/// What is deployed for one scanner.
struct Part {
    name: String,
    scanner: Arc<dyn Scanner>,
    deployments: Vec<Deployment>,
    /// Those whose requests are held while the host looks at the pool.
    held: Vec<Deployment>,
    requests: u64,
}

struct Audit<'a> {
    args: &'a VerifyIsolationArgs,
    sandbox: &'a Sandbox,
    secrets: Arc<Secrets>,
    numbers: &'a AtomicU64,
    progress: &'a Progress,
}

impl Audit<'_> {
    /// The one place that deploys.
    fn deploy(&self, name: &str, bundle: &Bundle, limits: &Limits) -> Result<Deployment, Failure> {
        let module = self
            .sandbox
            .seal(name, "1", bundle, limits, Arc::new(NoLog), &|stage| self.progress.stage(stage))
            .map_err(|error| Failure::failed(format!("{name} cannot be deployed: {error}")))?;
        Ok(Deployment { name: name.to_owned(), version: "1".to_owned(), limits: limits.clone(), module })
    }

    fn drive(&self, part: Part) -> Result<Section, Failure> {
        let Part { name, scanner, deployments, held, requests } = part;
        let secrets = Arc::clone(&self.secrets);
        let drive =
            Drive { sandbox: self.sandbox, running: RUNNING, secrets, scanner, deployments, held, next: self.numbers };
        drive
            .run(&name, requests, &|served| self.progress.say(format_args!("{name}: {served} of {requests} requests")))
            .map_err(Failure::failed)
    }

    /// The scanner that is a component, as two kinds of deployment with memories of several sizes. The last letter of a
    /// name stands for the size.
    fn built_in(&self, folder: &Path) -> Result<Part, Failure> {
        let limits = Limits { memory: MEMORY, deadline: DEADLINE, ..Limits::default() };
        let patient = Limits { deadline: HOLD, ..limits.clone() };
        let component = built_in::component().map_err(Failure::failed)?;
        let runtime = built_in::runtime(folder).map_err(Failure::failed)?;
        let deploy = |names: &[&str], bundle: &Bundle, limits: &Limits| {
            names.iter().map(|name| self.deploy(name, bundle, limits)).collect::<Result<Vec<_>, _>>()
        };
        // The control goes to the first, which is the one that has tables.
        let mut deployments = deploy(&["runtime-a"], &runtime, &limits)?;
        deployments.extend(deploy(&["component-a", "component-c"], &component, &limits)?);
        deployments.extend(deploy(&["runtime-b"], &runtime, &limits)?);
        let mut held = deploy(&["held-component-a", "held-component-d"], &component, &patient)?;
        held.extend(deploy(&["held-runtime-b"], &runtime, &patient)?);
        let (name, scanner) = ("built-in".to_owned(), Arc::new(BuiltIn));
        Ok(Part { name, scanner, deployments, held, requests: self.args.requests })
    }

    /// The scanner in Python, where there is a runtime.
    fn python(&self) -> Result<Option<Part>, Failure> {
        let requests = self.args.python_requests.unwrap_or(self.args.requests / SHARE_OF_PYTHON);
        if requests == 0 {
            return Ok(None);
        }
        let runtime = match scorer::find_runtime(self.args.python.python_runtime.as_deref()) {
            Ok(folder) => folder,
            // Whoever asks for it is told that it is not there.
            Err(error) if self.args.python_requests.is_some() => return Err(Failure::failed(error)),
            Err(_) => return Ok(None),
        };
        let runtime = Runtime::open(&runtime).map_err(Failure::failed)?;
        let bundle = script::bundle(runtime);
        let limits = Limits { memory: script::MEMORY, deadline: script::DEADLINE, ..Limits::default() };
        let patient = Limits { deadline: HOLD, ..limits.clone() };
        let deployments =
            TWICE.iter().map(|name| self.deploy(name, &bundle, &limits)).collect::<Result<Vec<_>, _>>()?;
        let held = vec![self.deploy("held", &bundle, &patient)?];
        let (name, scanner) = ("python".to_owned(), Arc::new(Script));
        Ok(Some(Part { name, scanner, deployments, held, requests }))
    }

    /// A scorer that the auditor gives.
    fn given(&self, path: &Path) -> Result<Part, Failure> {
        let args = self.args;
        let limits = args.limits.limits(args.timeout)?;
        let scorer = Scorer::Path(path.to_owned());
        let places = Places { scorer: &scorer, model_dir: args.model_dir.as_deref(), app_root: None, source_dir: None };
        let bundle = scorer::read(&places, &args.python, Vec::new(), limits.memory).map_err(Failure::failed)?;
        let body = args
            .data
            .as_ref()
            .map(|file| {
                fs::read(file).map_err(|error| Failure::failed(format!("cannot read {}: {error}", file.display())))
            })
            .transpose()?;
        let deployments =
            TWICE.iter().map(|name| self.deploy(name, &bundle, &limits)).collect::<Result<Vec<_>, _>>()?;
        let scanner = Arc::new(Given { body, content_type: args.content_type.clone() });
        let name = path.display().to_string();
        Ok(Part { name, scanner, deployments, held: Vec::new(), requests: args.requests })
    }
}
