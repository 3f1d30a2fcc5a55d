//! A server, by its API.

use std::env;
use std::fmt::Write as _;
use std::fs;
use std::io::{Read, Seek, SeekFrom};
use std::thread;
use std::time::Duration;

use http::header::{AUTHORIZATION, CONTENT_RANGE, CONTENT_TYPE, ETAG, IF_MATCH, IF_NONE_MATCH};
use http::{Method, Request, StatusCode};
use indicatif::{ProgressBar, ProgressStyle};
use scorebox_control::api::Problem;
use scorebox_store::Digest;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use ureq::{Agent, AsSendBody, SendBody};

use super::args::RemoteArgs;
use crate::failure::Failure;
use crate::https;

/// What has the token where no file is named.
const TOKEN_VARIABLE: &str = "SCOREBOX_ADMIN_TOKEN";
/// Bytes of an answer that are read.
const MAX_ANSWER: u64 = 64 << 20;
/// How long an answer may take to begin, and how long a connection may take.
const ANSWER_TIMEOUT: Duration = Duration::from_mins(5);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How often an upload is tried of which no more comes: with pauses of 1, 2, 4, 8 and 16 s, in which a server has given up a
/// client that has gone away.
const ATTEMPTS: u32 = 6;

const FIRST_PAUSE: Duration = Duration::from_secs(1);

/// A server that is managed.
pub(super) struct Remote {
    agent: Agent,
    base: String,
    token: String,
}

/// An answer.
struct Answer {
    status: StatusCode,
    upload_offset: Option<u64>,
    tag: Option<String>,
    body: Vec<u8>,
}

impl Remote {
    /// The server that the command line names. Nothing is sent yet.
    pub(super) fn new(args: &RemoteArgs) -> Result<Self, Failure> {
        let token = match (&args.token_file, env::var(TOKEN_VARIABLE)) {
            (Some(file), _) => fs::read_to_string(file)
                .map_err(|error| Failure::failed(format!("cannot read the token in {}: {error}", file.display())))?,
            (None, Ok(token)) => token,
            (None, Err(_)) => {
                return Err(Failure::usage(format!(
                    "the server wants the operator's token: name its file with --token-file, or put it into {TOKEN_VARIABLE}"
                )));
            }
        };
        let agent: Agent = https::client(&args.server, args.ca_file.as_deref())?
            .http_status_as_error(false)
            .timeout_connect(Some(CONNECT_TIMEOUT))
            .timeout_recv_response(Some(ANSWER_TIMEOUT))
            .build()
            .into();
        let base = format!("{}/admin/v1", args.server.trim_end_matches('/'));
        Ok(Self { agent, base, token: token.trim().to_owned() })
    }

    /// Reads a resource.
    pub(super) fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, Failure> {
        self.json(self.send(Method::GET, path, &[], ())?)
    }

    /// Puts a resource.
    pub(super) fn put<T: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> Result<T, Failure> {
        let body = serde_json::to_vec(body).map_err(Failure::failed)?;
        self.json(self.send(Method::PUT, path, &[(CONTENT_TYPE.as_str(), "application/json")], &body[..])?)
    }

    /// Reads a resource and its entity tag, if it is there.
    pub(super) fn find<T: DeserializeOwned>(&self, path: &str) -> Result<Option<(T, String)>, Failure> {
        let answer = self.send(Method::GET, path, &[], ())?;
        if answer.status == StatusCode::NOT_FOUND {
            return Ok(None);
        }
        let tag = answer.tag.clone().unwrap_or_default();
        Ok(Some((self.json(answer)?, tag)))
    }

    /// Puts a resource that is not there yet. Returns it and its entity tag, as does the next.
    pub(super) fn put_new<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
    ) -> Result<(T, String), Failure> {
        self.put_if(path, (IF_NONE_MATCH.as_str(), "*"), body)
    }

    /// Puts a resource in the place of what had this entity tag.
    pub(super) fn put_seen<T: DeserializeOwned>(
        &self,
        path: &str,
        tag: &str,
        body: &impl Serialize,
    ) -> Result<(T, String), Failure> {
        self.put_if(path, (IF_MATCH.as_str(), tag), body)
    }

    fn put_if<T: DeserializeOwned>(
        &self,
        path: &str,
        condition: (&str, &str),
        body: &impl Serialize,
    ) -> Result<(T, String), Failure> {
        let body = serde_json::to_vec(body).map_err(Failure::failed)?;
        let headers = [(CONTENT_TYPE.as_str(), "application/json"), condition];
        let answer = self.send(Method::PUT, path, &headers, &body[..])?;
        let tag = answer.tag.clone().unwrap_or_default();
        Ok((self.json(answer)?, tag))
    }

    /// Deletes a resource.
    pub(super) fn delete(&self, path: &str) -> Result<(), Failure> {
        self.successful(self.send(Method::DELETE, path, &[], ())?).map(drop)
    }

    /// Deletes a resource that has this entity tag still.
    pub(super) fn delete_seen(&self, path: &str, tag: &str) -> Result<(), Failure> {
        self.successful(self.send(Method::DELETE, path, &[(IF_MATCH.as_str(), tag)], ())?).map(drop)
    }

    /// Uploads a bundle that the server does not have yet, and goes on where that breaks off.
    pub(super) fn upload(&self, digest: &Digest, mut bundle: impl Read + Seek, size: u64) -> Result<(), Failure> {
        let path = format!("/bundles/{digest}");
        let bar = ProgressBar::new(size);
        if let Ok(style) = ProgressStyle::with_template("uploading {bar:30} {bytes}/{total_bytes} ({eta})") {
            bar.set_style(style);
        }
        let (mut attempts, mut before) = (0, None);
        loop {
            let answer = self.send(Method::GET, &path, &[], ())?;
            if answer.status == StatusCode::OK {
                return Ok(());
            }
            let there = answer.upload_offset.unwrap_or(0);
            if before.replace(there).is_some_and(|before| there > before) {
                attempts = 0;
            }
            // Where there is more than all of it, it is no part of this bundle, and is uploaded anew.
            let offset = if there > size { 0 } else { there };
            bundle.seek(SeekFrom::Start(offset)).map_err(Failure::failed)?;
            bar.set_position(offset);
            let range = match size.checked_sub(1) {
                Some(last) if offset <= last => format!("bytes {offset}-{last}/{size}"),
                // All of it has come, but was not made a bundle.
                _ => format!("bytes */{size}"),
            };
            let length = (size - offset).to_string();
            let headers = [(CONTENT_RANGE.as_str(), &*range), ("content-length", &*length)];
            let mut read = bar.wrap_read(&mut bundle);
            let sent = self.send(Method::PUT, &path, &headers, SendBody::from_reader(&mut read));
            attempts += 1;
            match sent {
                Ok(answer) if answer.status.is_success() => return Ok(()),
                Ok(answer) if answer.upload_offset.is_none() || attempts == ATTEMPTS => {
                    return self.successful(answer).map(drop);
                }
                Err(failure) if attempts == ATTEMPTS => return Err(failure),
                _ => thread::sleep(FIRST_PAUSE * 2_u32.pow(attempts - 1)),
            }
        }
    }

    fn send(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: impl AsSendBody,
    ) -> Result<Answer, Failure> {
        let url = format!("{}{path}", self.base);
        let mut request =
            Request::builder().method(method).uri(&url).header(AUTHORIZATION, format!("Bearer {}", self.token));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let unreachable = |error: &dyn std::fmt::Display| {
            Failure::failed(format!("{url} cannot be reached: {error}; {}", self.hint()))
        };
        let request = request.body(body).map_err(|error| unreachable(&error))?;
        let mut response = self.agent.run(request).map_err(|error| unreachable(&error))?;
        let header = |name| response.headers().get(name).and_then(|value| value.to_str().ok());
        let offset = header("upload-offset").and_then(|offset| offset.parse().ok());
        let tag = header(ETAG.as_str()).map(str::to_owned);
        let body = response.body_mut().with_config().limit(MAX_ANSWER).read_to_vec();
        Ok(Answer {
            status: response.status(),
            upload_offset: offset,
            tag,
            body: body.map_err(|error| unreachable(&error))?,
        })
    }

    fn hint(&self) -> &'static str {
        if self.base.starts_with("https:") {
            "does `scorebox serve --admin --admin-tls-cert` run there, and does --ca-file name who has signed its certificate?"
        } else {
            "does `scorebox serve --admin` run there?"
        }
    }

    fn json<T: DeserializeOwned>(&self, answer: Answer) -> Result<T, Failure> {
        let body = self.successful(answer)?;
        serde_json::from_slice(&body).map_err(|error| {
            Failure::failed(format!(
                "{} answered what is not understood: {error}; is it of another version?",
                self.base
            ))
        })
    }

    /// The body of an answer that is none of an error.
    fn successful(&self, Answer { status, body, .. }: Answer) -> Result<Vec<u8>, Failure> {
        if status.is_success() {
            return Ok(body);
        }
        let detail = match serde_json::from_slice::<Problem>(&body) {
            Ok(problem) => problem.detail,
            Err(_) => format!("{} answered with {status}", self.base),
        };
        Err(Failure::failed(detail))
    }
}

/// A document of the API as it came, for `--json`.
pub(super) fn pretty(document: &impl Serialize) -> String {
    let value = serde_json::to_value(document).unwrap_or(Value::Null);
    escaped(&format!("{value:#}"))
}

/// JSON without the control characters that it need not escape, U+007F to U+009F: a terminal takes them for commands.
pub(super) fn escaped(json: &str) -> String {
    let mut text = String::with_capacity(json.len());
    for char in json.chars() {
        if matches!(char, '\u{7f}'..='\u{9f}') {
            let _ = write!(text, "\\u{:04x}", u32::from(char));
        } else {
            text.push(char);
        }
    }
    text
}
