//! Logs and answers with as many bytes as it is asked to.

use schemars::{JsonSchema, generate::SchemaSettings};
use scorebox_guest::logging::{self, Level, Stream};
use scorebox_guest::{Deployment, Fault, InputMode, RawScorer, Request, Response, Result, Signature};
use serde::Deserialize;

struct Flood;

#[derive(Deserialize, JsonSchema)]
struct Input {
    /// Records to write to each stream.
    #[serde(default)]
    records: usize,
    /// Length of each record's text, in bytes.
    #[serde(default)]
    record_bytes: usize,
    /// Length of the name of the logger that writes one more record of each, in control characters.
    #[serde(default)]
    logger_bytes: usize,
    /// Length of the response's body, in bytes.
    #[serde(default)]
    body_bytes: usize,
    /// Headers `x-flood-0`, `x-flood-1`, ... of the response.
    #[serde(default)]
    headers: usize,
    /// Length of each of their values, in bytes.
    #[serde(default)]
    header_bytes: usize,
    /// Status of the response, also one that HTTP does not have.
    #[serde(default = "ok")]
    status: u16,
    /// A header as it is, also one that HTTP forbids.
    #[serde(default)]
    header: Option<(String, String)>,
    /// Length of the message of a fault `bad-input`, in bytes; no fault when left out.
    #[serde(default)]
    fault_bytes: Option<usize>,
}

fn ok() -> u16 {
    200
}

impl RawScorer for Flood {
    fn init(_: &Deployment) -> Result<Self> {
        Ok(Self)
    }

    fn run(&self, request: Request) -> Result<Response> {
        let input: Input = request.json()?;
        let text = "x".repeat(input.record_bytes);
        let logger = "\u{1}".repeat(input.logger_bytes);
        for _ in 0..input.records {
            logging::write(Stream::Logger, Level::Info, &text);
            logging::write(Stream::Stdout, Level::Info, &text);
            logging::write(Stream::Stderr, Level::Critical, &text);
            if !logger.is_empty() {
                log::info!(target: &logger, "{text}");
            }
        }
        if let Some(bytes) = input.fault_bytes {
            return Err(Fault::bad_input("x".repeat(bytes)));
        }
        let mut response =
            Response::new("application/octet-stream", vec![b'x'; input.body_bytes]).with_status(input.status);
        for index in 0..input.headers {
            response = response.with_header(&format!("x-flood-{index}"), vec![b'x'; input.header_bytes]);
        }
        if let Some((name, value)) = input.header {
            response = response.with_header(&name, value);
        }
        Ok(response)
    }

    fn schema(&self) -> Signature {
        let input = SchemaSettings::openapi3().into_generator().into_root_schema_for::<Input>();
        Signature { mode: InputMode::Json, input: Some(input.as_value().to_string()), ..Signature::raw() }
    }
}

scorebox_guest::export!(Flood);
