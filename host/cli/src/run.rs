//! `scorebox run`: one score, without a server.

use std::fs;
use std::io::{self, Read as _, Write as _};
use std::sync::Arc;

use http::HeaderValue;
use scorebox_sandbox::{
    Deployment, Fault, InputMode, Outcome, Piece, Request, Response, Run, Sandbox, SandboxConfig, Streamed,
};
use scorebox_server::{input, probe};

use crate::args::RunArgs;
use crate::console::{Progress, StderrLog};
use crate::failure::Failure;
use crate::scorer::{self, Places, Scorer};
use crate::second_wall;

/// Scores one request.
pub(crate) fn run(args: &RunArgs) -> Result<(), Failure> {
    let limits = args.limits.limits(args.timeout)?;
    let data = read_data(args)?;
    let scorer = Scorer::Path(args.scorer.clone());
    let places = Places { scorer: &scorer, model_dir: args.model_dir.as_deref(), app_root: None, source_dir: None };
    let bundle = scorer::read(&places, &args.python, Vec::new(), limits.memory).map_err(Failure::failed)?;
    let config = SandboxConfig::default();
    let files = [Some(&args.scorer), args.model_dir.as_ref()].into_iter().flatten();
    let (cache, sealer) = second_wall::sealer(&config, &args.seal, &args.python, &args.cache, files)?;
    let sandbox = Sandbox::with_sealer(&config, cache, sealer).map_err(Failure::failed)?;
    let progress = Progress::new();
    let module = sandbox
        .seal("run", "1", &bundle, &limits, Arc::new(StderrLog), &|stage| progress.stage(stage))
        .map_err(|error| Failure::failed(format!("{} cannot be run: {error}", args.scorer.display())))?;
    drop(progress);
    let request = request(args, data, module.schema.mode)?;
    let deployment = Deployment { name: "run".to_owned(), version: "1".to_owned(), limits, module };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .map_err(|error| Failure::failed(format!("cannot wait for the answer: {error}")))?;
    let run = runtime.block_on(sandbox.run(&deployment, request, Arc::new(StderrLog)));
    match run.outcome {
        Outcome::Response(response) => write(&response),
        Outcome::Fault(Fault::BadInput(message)) => Err(Failure::failed(format!("bad input (400): {message}"))),
        Outcome::Fault(Fault::UnsupportedInput(message)) => {
            Err(Failure::failed(format!("unsupported input (415): {message}")))
        }
        Outcome::Stream(streamed) => write(&runtime.block_on(collect(streamed))?),
        Outcome::Fault(Fault::Failed(exception) | Fault::TimedOut(exception) | Fault::Unencodable(exception)) => {
            Err(Failure::failed(format!(
                "run() failed: {}: {}\n{}",
                exception.kind, exception.message, exception.traceback
            )))
        }
        Outcome::Trap(trap) => Err(Failure::failed(format!("run() was stopped: {}\n{}", trap.reason, trap.backtrace))),
        Outcome::OutOfMemory { limit, .. } => {
            Err(Failure::failed(format!("run() needed more memory than the limit of {limit} bytes; raise --memory")))
        }
        Outcome::Deadline(limit) => {
            Err(Failure::failed(format!("run() did not end within {} s; raise --timeout", limit.as_secs_f64())))
        }
        Outcome::Refused(refused) => Err(Failure::failed(refused)),
    }
}

fn read_data(args: &RunArgs) -> Result<Vec<u8>, Failure> {
    let mut data = Vec::new();
    let result = if args.data.as_os_str() == "-" {
        io::stdin().read_to_end(&mut data).map(|_| data)
    } else {
        fs::read(&args.data)
    };
    result.map_err(|error| Failure::failed(format!("cannot read {}: {error}", args.data.display())))
}

fn request(args: &RunArgs, data: Vec<u8>, mode: InputMode) -> Result<Request, Failure> {
    let content_type = HeaderValue::from_str(&args.content_type)
        .map_err(|_| Failure::failed(format!("{:?} is no content type", args.content_type)))?;
    let mode = match mode {
        InputMode::Plain => input::InputMode::Plain,
        InputMode::Json => input::InputMode::Json,
        InputMode::Raw => input::InputMode::Raw,
    };
    probe::request(mode, &content_type, data).map_err(Failure::failed)
}

/// Waits for the whole of a body that is sent while it is made.
async fn collect(mut streamed: Streamed) -> Result<Response, Failure> {
    let mut body = Vec::new();
    loop {
        match std::future::poll_fn(|cx| streamed.poll_next(cx)).await {
            Piece::Body(piece) => body.extend(piece),
            Piece::End(Run { outcome: Outcome::Response(_), .. }) => {
                return Ok(Response { status: streamed.status, headers: streamed.headers, body });
            }
            Piece::End(run) => return Err(Failure::failed(format!("run() broke off: {:?}", run.outcome))),
        }
    }
}

/// Writes the body to standard output. An answer with an error's status is a failure.
fn write(response: &Response) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    let written = out
        .write_all(&response.body)
        .and_then(|()| if response.body.ends_with(b"\n") { Ok(()) } else { out.write_all(b"\n") });
    written.and_then(|()| out.flush()).map_err(|error| Failure::failed(format!("cannot write the answer: {error}")))?;
    if response.status >= 400 {
        return Err(Failure::failed(format!("the scorer answered with status {}", response.status)));
    }
    Ok(())
}
