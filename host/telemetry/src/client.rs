//! How batches are posted: one request at a time, on the thread of whoever sends.

use std::sync::Arc;
use std::time::Duration;

use http::header::{CONTENT_ENCODING, CONTENT_TYPE, LOCATION, RETRY_AFTER};
use http::{HeaderName, HeaderValue, Request, StatusCode, Uri};
use ureq::Agent;
use ureq::tls::{Certificate, RootCerts, TlsConfig};

use crate::batch::Batch;

/// Bytes of an answer that are read.
const RESPONSE_BYTES: u64 = 1 << 20;

/// How often a request is sent on to where the service is.
const REDIRECTS: usize = 3;

/// What an endpoint answered.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    /// The header `Retry-After`, as it came.
    pub(crate) retry_after: Option<String>,
    pub(crate) body: Vec<u8>,
}

/// Posts to one endpoint and keeps the connection.
#[derive(Debug)]
pub(crate) struct Client {
    agent: Agent,
    url: Uri,
    headers: Vec<(HeaderName, HeaderValue)>,
    timeout: Duration,
    redirects: usize,
}

impl Client {
    /// A client that trusts the system's certificates, or those given. Proxies are those of the environment
    /// (`HTTPS_PROXY`, `NO_PROXY` and the like).
    pub(crate) fn new(url: Uri, timeout: Duration, certificates: Option<Vec<Certificate<'static>>>) -> Self {
        let certificates = match certificates {
            Some(certificates) => certificates,
            None if url.scheme_str() == Some("https") => system_certificates(),
            None => Vec::new(),
        };
        let tls = TlsConfig::builder()
            .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .root_certs(RootCerts::from(certificates))
            .build();
        let config = Agent::config_builder()
            .tls_config(tls)
            .http_status_as_error(false)
            .max_redirects(0)
            .user_agent(concat!("scorebox/", env!("CARGO_PKG_VERSION")))
            .build();
        Self { agent: config.into(), url, headers: Vec::new(), timeout, redirects: 0 }
    }

    /// Headers that are sent with each request, credentials among them.
    pub(crate) fn with_headers(mut self, headers: Vec<(HeaderName, HeaderValue)>) -> Self {
        self.headers = headers;
        self
    }

    /// Follows the service when it says that it is elsewhere (307, 308).
    pub(crate) fn follow_redirects(mut self) -> Self {
        self.redirects = REDIRECTS;
        self
    }

    /// Posts a batch and waits for the answer, for `within` at most and never longer than the client's timeout.
    pub(crate) fn post(&self, batch: &Batch, within: Option<Duration>) -> Result<Answer, ureq::Error> {
        let timeout = within.map_or(self.timeout, |within| within.min(self.timeout)).max(Duration::from_millis(10));
        let mut url = self.url.clone();
        for _ in 0..self.redirects {
            let answer = self.post_to(&url, batch, timeout)?;
            match answer.1.filter(|_| matches!(answer.0.status.as_u16(), 307 | 308)) {
                Some(elsewhere) => url = elsewhere,
                None => return Ok(answer.0),
            }
        }
        self.post_to(&url, batch, timeout).map(|(answer, _)| answer)
    }

    /// The answer, and where to ask instead if it says so. Nothing that went encrypted goes on in clear text.
    fn post_to(&self, url: &Uri, batch: &Batch, timeout: Duration) -> Result<(Answer, Option<Uri>), ureq::Error> {
        let mut request = Request::post(url).header(CONTENT_TYPE, &batch.content_type);
        if let Some(encoding) = &batch.content_encoding {
            request = request.header(CONTENT_ENCODING, encoding);
        }
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        let request = request.body(&batch.body[..])?;
        let request = self.agent.configure_request(request).timeout_global(Some(timeout)).build();
        let mut response = self.agent.run(request)?;
        let header = |name| response.headers().get(name).and_then(|value: &HeaderValue| value.to_str().ok());
        let retry_after = header(RETRY_AFTER).map(str::to_owned);
        let location = header(LOCATION).and_then(|location| location.parse::<Uri>().ok()).filter(|location| {
            location.authority().is_some()
                && (location.scheme_str() == Some("https") || location.scheme() == url.scheme())
        });
        let status = response.status();
        let body = response.body_mut().with_config().limit(RESPONSE_BYTES).read_to_vec()?;
        Ok((Answer { status, retry_after, body }, location))
    }
}

/// The certificates that the system trusts. Those that cannot be read are left out.
fn system_certificates() -> Vec<Certificate<'static>> {
    let found = rustls_native_certs::load_native_certs();
    if found.certs.is_empty() {
        tracing::warn!(
            target: "azmlinfsrv",
            "No certificates of authorities were found, so no https endpoint for telemetry can be trusted. Install the \
             package ca-certificates, or set SSL_CERT_FILE."
        );
    }
    found.certs.iter().map(|certificate| Certificate::from_der(certificate).to_owned()).collect()
}

/// The certificates of a file in PEM format.
pub(crate) fn certificates(pem: &[u8]) -> Result<Vec<Certificate<'static>>, String> {
    let mut certificates = Vec::new();
    for item in ureq::tls::parse_pem(pem) {
        if let ureq::tls::PemItem::Certificate(certificate) = item.map_err(|error| error.to_string())? {
            certificates.push(certificate);
        }
    }
    if certificates.is_empty() { Err("there is no certificate in PEM format".to_owned()) } else { Ok(certificates) }
}
