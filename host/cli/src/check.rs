//! `scorebox check`: what a scorer needs and offers, and whether it can be served.

use std::sync::Arc;
use std::time::Duration;

use bytesize::ByteSize;
use scorebox_sandbox::{Bundle, Code, InputMode, Limits, Sandbox, SandboxConfig, SealedModule};

use crate::args::CheckArgs;
use crate::console::{self, Progress, StderrLog};
use crate::failure::Failure;
use crate::scorer::{self, Places, Scorer};
use crate::second_wall;

/// Asks the runner of scripts to say what it thinks of them.
const ADVICE: &str = "SCOREBOX_CHECK";

/// Deploys a scorer without serving it, and says what it found.
pub(crate) fn check(args: &CheckArgs) -> Result<(), Failure> {
    // How long run() may take is not checked.
    let limits = args.limits.limits(Duration::from_mins(5))?;
    let cannot =
        |error: &dyn std::fmt::Display| Failure::failed(format!("{} cannot be served: {error}", args.scorer.display()));
    let scorer = Scorer::Path(args.scorer.clone());
    let places = Places { scorer: &scorer, model_dir: args.model_dir.as_deref(), app_root: None, source_dir: None };
    let bundle = scorer::read(&places, &args.python, vec![(ADVICE.to_owned(), "1".to_owned())], limits.memory)
        .map_err(|error| cannot(&error))?;
    let config = SandboxConfig::default();
    let files = [Some(&args.scorer), args.model_dir.as_ref()].into_iter().flatten();
    let (cache, sealer) = second_wall::sealer(&config, &args.seal, &args.python, &args.cache, files)?;
    let sandbox = Sandbox::with_sealer(&config, cache, sealer).map_err(Failure::failed)?;
    let progress = Progress::new();
    let module = sandbox
        .seal_anew("check", "1", &bundle, &limits, Arc::new(StderrLog), &|stage| progress.stage(stage))
        .map_err(|error| cannot(&error))?;
    drop(progress);
    report(&bundle, &limits, &module);
    Ok(())
}

fn report(bundle: &Bundle, limits: &Limits, module: &SealedModule) {
    let files: u64 = bundle.files.iter().map(|file| file.contents.len() as u64).sum();
    match &bundle.code {
        Code::Component(component) => console::result(format_args!("component   {}", size(component.len() as u64))),
        Code::Runtime(runtime) => console::result(format_args!("runtime     {}", runtime.folder().display())),
    }
    console::result(format_args!("files       {} in {} files", size(files), bundle.files.len()));
    list("imports", &module.interface.imports);
    list("exports", &module.interface.exports);
    console::result(format_args!("snapshot    {} after init()", size(module.snapshot_bytes)));
    console::result(format_args!("memory      {} per instance at most", size(limits.memory)));
    console::result(format_args!(
        "input       {}",
        match module.schema.mode {
            InputMode::Plain => "plain: text",
            InputMode::Json => "json: a JSON object",
            InputMode::Raw => "raw: the request as it is",
        }
    ));
    let schema = |schema: &Option<String>| schema.clone().unwrap_or_else(|| "not declared".to_owned());
    console::result(format_args!("input schema\n  {}", schema(&module.schema.input)));
    console::result(format_args!("output schema\n  {}", schema(&module.schema.output)));
}

fn size(bytes: u64) -> ByteSize {
    ByteSize::b(bytes)
}

fn list(title: &str, names: &[String]) {
    console::result(title);
    if names.is_empty() {
        console::result("  nothing");
    }
    for name in names {
        console::result(format_args!("  {name}"));
    }
}
