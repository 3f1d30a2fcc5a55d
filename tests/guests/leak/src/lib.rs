//! Answers with the body of the request before, or `none`: what must not work.
#![forbid(unsafe_code)]

use std::sync::Mutex;

use scorebox_guest::{Deployment, RawScorer, Request, Response, Result};

static PREVIOUS: Mutex<Option<Vec<u8>>> = Mutex::new(None);

struct Leak;

impl RawScorer for Leak {
    fn init(_: &Deployment) -> Result<Self> {
        Ok(Self)
    }

    fn run(&self, request: Request) -> Result<Response> {
        let previous = PREVIOUS.lock()?.replace(request.body);
        Ok(Response::new("application/octet-stream", previous.unwrap_or_else(|| b"none".to_vec())))
    }
}

scorebox_guest::export!(Leak);
