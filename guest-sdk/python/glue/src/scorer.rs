//! What the host calls: init, run and schema.
//!
//! The runner is a Python package of its own; it is told what there is to do by its functions `init`, `schema` and `run`,
//! which take and return bytes. Before `init` it may be told to `preload`.

use std::cell::OnceCell;

use serde::Deserialize;

use crate::bindings::export;
use crate::bindings::exports::scorebox::scoring::scoring::{
    Deployment, Exception, Fault, Guest, InputMode, Request, Response, Signature, SwaggerVersion,
};
use crate::python::{self, Failed, Object};
use crate::system;

/// Starts the interpreter: says where packages are, the runner's before all others, and goes to the script's folder.
const START: &str = "import os, sys
sys.path[:] = ['/usr/local/lib/scorebox.zip', *filter(None, sys.path), '/usr/local/lib/site']
if os.path.isdir('/var/azureml-app'): os.chdir('/var/azureml-app')
";
/// The path of what is to be preloaded: statements of Python.
const PRELOAD: &str = "preload";
/// The package that is the runner.
const RUNNER: &str = "scorebox_runner";

thread_local! {
    /// The runner's function `run`, found before the snapshot.
    static RUN: OnceCell<Object> = const { OnceCell::new() };
}

struct Glue;

export!(Glue with_types_in crate::bindings);

impl Guest for Glue {
    fn init(context: Deployment) -> Result<(), String> {
        init(context).map_err(|error| match error {
            InitError::Script(message) => message,
            InitError::Runtime(Failed(what)) => {
                format!("the Python runtime is broken: {what}; the log has the traceback")
            }
        })
    }

    fn run(request: Request) -> Result<Response, Fault> {
        let result = run(&request);
        system::flush_output();
        result.unwrap_or_else(|Failed(what)| {
            let message = format!("the Python runtime is broken: {what}");
            Err(Fault::Failed(Exception { kind: "RuntimeError".to_owned(), message, traceback: String::new() }))
        })
    }

    fn schema() -> Signature {
        // The host takes a trap for the error that it is.
        let answer = python::import(RUNNER)
            .and_then(|runner| runner.attribute("schema")?.call(&[])?.contents())
            .expect("the runner knows the signature of its script");
        let schema: Schema = serde_json::from_slice(&answer).expect("the runner writes the signature as JSON");
        schema.into()
    }
}

enum InitError {
    /// The user's script cannot be served.
    Script(String),
    Runtime(Failed),
}

impl From<Failed> for InitError {
    fn from(failed: Failed) -> Self {
        Self::Runtime(failed)
    }
}

/// Does what is asked for by one call, or by two: the first has a file [`PRELOAD`], and prepares for the second, in the same
/// instance or in one that starts from the state after it. The second has the files that the first was to do without.
fn init(context: Deployment) -> Result<(), InitError> {
    let Deployment { environment, mut files, .. } = context;
    let preload = files.iter().position(|file| file.path == PRELOAD).map(|index| files.remove(index).contents);
    if system::is_set_up() {
        system::add_files(files).map_err(InitError::Script)?;
    } else {
        system::set_up(environment, files).map_err(InitError::Script)?;
        python::start(START)?;
    }
    let runner = python::import(RUNNER)?;
    if let Some(statements) = preload {
        ask(runner, "preload", &[Object::bytes(&statements)?])?;
        if system::withheld_asked() {
            return Err(InitError::Script("what was preloaded has looked at what was still to come".to_owned()));
        }
    } else {
        ask(runner, "init", &[])?;
        let run = runner.attribute("run")?;
        RUN.with(|place| place.set(run)).map_err(|_| Failed("init was called twice"))?;
    }
    system::keep_time();
    Ok(())
}

/// Calls a function of the runner that returns nothing where all is well, else why the script cannot be served.
fn ask(runner: Object, function: &str, arguments: &[Object]) -> Result<(), InitError> {
    let message = runner.attribute(function)?.call(arguments)?.contents()?;
    system::flush_output();
    if message.is_empty() { Ok(()) } else { Err(InitError::Script(String::from_utf8_lossy(&message).into_owned())) }
}

fn run(request: &Request) -> Result<Result<Response, Fault>, Failed> {
    let run = RUN.with(|place| place.get().copied()).ok_or(Failed("run was called before init"))?;
    let answer = run.call(&[Object::bytes(&head(request))?, Object::body()?])?;
    let head = answer.item(0)?.contents()?;
    let body = answer.item(1)?.contents()?;
    let kind = head.split(|byte| matches!(byte, b'\n' | b' ')).next().unwrap_or_default();
    Ok(match kind {
        b"response" => {
            let head = Head::parse(&head).ok_or(Failed("the head of a response is malformed"))?;
            Ok(Response { status: head.status, headers: head.headers, body })
        }
        // It has gone to the host piece by piece.
        b"streamed" => Ok(Response { status: 200, headers: Vec::new(), body }),
        b"bad-input" => Err(Fault::BadInput(text(&body))),
        b"failed" | b"broken" => Err(Fault::Failed(exception(&body)?)),
        b"timed-out" => Err(Fault::TimedOut(exception(&body)?)),
        b"unencodable" => Err(Fault::Unencodable(exception(&body)?)),
        _ => return Err(Failed("an answer is of no kind that there is")),
    })
}

/// A request without its body, which is taken by itself, as the runner reads it: lines, in Latin-1 as HTTP's are.
fn head(request: &Request) -> Vec<u8> {
    let mut head = Vec::with_capacity(512);
    let mut line = |parts: &[&[u8]]| {
        for part in parts {
            head.extend_from_slice(part);
        }
        head.push(b'\n');
    };
    line(&[&latin_1(&request.id)]);
    line(&[&latin_1(request.client_request_id.as_deref().unwrap_or_default())]);
    line(&[request.method.as_bytes()]);
    line(&[request.scheme.as_bytes()]);
    line(&[request.path.as_bytes()]);
    match &request.query {
        Some(query) => line(&[b"?", query.as_bytes()]),
        None => line(&[]),
    }
    line(&[request.client_address.as_bytes()]);
    for (name, value) in &request.headers {
        line(&[name.as_bytes(), b": ", value]);
    }
    head.pop();
    head
}

/// The first lines of a response: `response <status>`, then a header on each line.
pub(crate) struct Head {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, Vec<u8>)>,
}

impl Head {
    pub(crate) fn parse(head: &[u8]) -> Option<Self> {
        let mut lines = head.split(|byte| *byte == b'\n');
        let status = std::str::from_utf8(lines.next()?).ok()?.strip_prefix("response ")?.parse().ok()?;
        let headers = lines
            .filter(|line| !line.is_empty())
            .map(|line| {
                let colon = line.iter().position(|byte| *byte == b':')?;
                let value = &line[colon + 1..];
                Some((text(&line[..colon]), value.strip_prefix(b" ").unwrap_or(value).to_vec()))
            })
            .collect::<Option<_>>()?;
        Some(Self { status, headers })
    }
}

/// A text of the host's in the encoding of heads. What Latin-1 does not have, which the host does not send, is a `?`.
fn latin_1(text: &str) -> Vec<u8> {
    text.chars().map(|character| u8::try_from(character).unwrap_or(b'?')).collect()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[derive(Deserialize)]
struct PythonException {
    kind: String,
    message: String,
    traceback: String,
}

fn exception(json: &[u8]) -> Result<Exception, Failed> {
    let PythonException { kind, message, traceback } =
        serde_json::from_slice(json).map_err(|_| Failed("an exception is not described as it should be"))?;
    Ok(Exception { kind, message, traceback })
}

/// What the runner says of its script.
#[derive(Deserialize)]
struct Schema {
    mode: Mode,
    input: Option<String>,
    output: Option<String>,
    versions: Vec<Version>,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Mode {
    Plain,
    Json,
    Raw,
}

#[derive(Deserialize)]
enum Version {
    #[serde(rename = "v2")]
    V2,
    #[serde(rename = "v3")]
    V3,
    #[serde(rename = "v3-1")]
    V31,
}

impl From<Schema> for Signature {
    fn from(schema: Schema) -> Self {
        Self {
            mode: match schema.mode {
                Mode::Plain => InputMode::Plain,
                Mode::Json => InputMode::Json,
                Mode::Raw => InputMode::Raw,
            },
            input: schema.input,
            output: schema.output,
            versions: schema
                .versions
                .iter()
                .map(|version| match version {
                    Version::V2 => SwaggerVersion::V2,
                    Version::V3 => SwaggerVersion::V3,
                    Version::V31 => SwaggerVersion::V31,
                })
                .collect(),
        }
    }
}
