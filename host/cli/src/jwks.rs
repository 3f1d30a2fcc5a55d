//! The keys that tokens are checked with: a JWKS in a file or at a URL, read again while the server serves.

use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use http::Uri;
use scorebox_server::jwt::{KeyCount, TokenRules, Tokens};
use ureq::Agent;

use crate::failure::Failure;
use crate::https;
use crate::renewal::{self, Files, Renewals};

/// How often a URL is read.
const INTERVAL: Duration = Duration::from_mins(5);
/// How soon again when that has failed, and at most how often because of keys that are not known: clients decide what they
/// show.
const SHORT_INTERVAL: Duration = Duration::from_secs(30);
/// How long it may take.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Bytes that it may have.
const MAX_SIZE: u64 = 1 << 20;

/// Tokens in place of keys.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Tokens of tenants (JWT)")]
pub(crate) struct TokenArgs {
    /// Take tokens that are signed with these keys in place of keys of endpoints: a JWKS in a file, or at an https URL. It
    /// is read again when it changes.
    #[arg(
        long,
        value_name = "FILE|URL",
        env = "SCOREBOX_JWKS",
        value_parser = Jwks::from_str,
        requires = "state_dir",
        requires = "jwt_issuer",
        requires = "jwt_audience"
    )]
    pub(crate) jwks: Option<Jwks>,
    /// Who issues them: their claim `iss`.
    #[arg(long, value_name = "TEXT", env = "SCOREBOX_JWT_ISSUER", requires = "jwks")]
    pub(crate) jwt_issuer: Option<String>,
    /// Whom they are for: one of their claim `aud`.
    #[arg(long, value_name = "TEXT", env = "SCOREBOX_JWT_AUDIENCE", requires = "jwks")]
    pub(crate) jwt_audience: Option<String>,
    /// Claim with the name of the tenant.
    #[arg(long, value_name = "NAME", env = "SCOREBOX_JWT_TENANT_CLAIM", default_value = "tenant")]
    pub(crate) jwt_tenant_claim: String,
}

/// Where keys are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Jwks {
    File(PathBuf),
    Url(String),
}

impl FromStr for Jwks {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let Some((scheme, _)) = text.split_once("://") else { return Ok(Self::File(PathBuf::from(text))) };
        let url = Uri::from_str(text).map_err(|error| error.to_string())?;
        let host = url.host().unwrap_or_default();
        let is_here = host == "localhost"
            || host.trim_matches(['[', ']']).parse::<IpAddr>().is_ok_and(|address| address.is_loopback());
        // Who can change what comes can make tokens.
        if scheme == "https" || (scheme == "http" && is_here) {
            Ok(Self::Url(text.to_owned()))
        } else {
            Err("keys come from a file, an https URL, or an http URL on this machine".to_owned())
        }
    }
}

impl TokenArgs {
    /// The file with the keys, if they are in one.
    pub(crate) fn file(&self) -> Option<&Path> {
        match self.jwks.as_ref()? {
            Jwks::File(file) => Some(file),
            Jwks::Url(_) => None,
        }
    }

    /// Whether the keys are somewhere else.
    pub(crate) fn connects(&self) -> bool {
        matches!(self.jwks, Some(Jwks::Url(_)))
    }

    /// What checks tokens, with the keys that there are now and, later, those that there are then.
    pub(crate) fn tokens(&self, renewals: &mut Renewals) -> Result<Option<Arc<Tokens>>, Failure> {
        let (Some(jwks), Some(issuer), Some(audience)) = (&self.jwks, &self.jwt_issuer, &self.jwt_audience) else {
            return Ok(None);
        };
        let rules = TokenRules {
            issuer: issuer.clone(),
            audience: audience.clone(),
            tenant_claim: self.jwt_tenant_claim.clone(),
        };
        match jwks {
            Jwks::File(file) => from_file(file, rules, renewals),
            Jwks::Url(url) => from_url(url, rules, renewals),
        }
        .map(Some)
    }
}

fn from_file(file: &Path, rules: TokenRules, renewals: &mut Renewals) -> Result<Arc<Tokens>, Failure> {
    let files = Files::new(vec![file.to_owned()]);
    let tokens = Arc::new(Tokens::new(rules, || ()));
    let name = file.display().to_string();
    let read = {
        let (tokens, file) = (Arc::clone(&tokens), file.to_owned());
        move || {
            let jwks = fs::read(&file).map_err(|error| format!("cannot read the keys of --jwks in {name}: {error}"))?;
            set(&tokens, &name, &jwks)
        }
    };
    tracing::info!("{}", read().map_err(Failure::start)?);
    renewals.watch(files, read)?;
    Ok(tokens)
}

fn from_url(url: &str, rules: TokenRules, renewals: &mut Renewals) -> Result<Arc<Tokens>, Failure> {
    let agent: Agent = https::client(url, None)?.timeout_global(Some(TIMEOUT)).build().into();
    let (ask, told) = renewals.channel();
    let last_asked = Mutex::new(None::<Instant>);
    let tokens = Arc::new(Tokens::new(rules, move || {
        let mut last = last_asked.lock().unwrap_or_else(PoisonError::into_inner);
        if last.is_none_or(|last| last.elapsed() >= SHORT_INTERVAL) {
            *last = Some(Instant::now());
            let _ = ask.send(());
        }
    }));
    let mut last = fetch(&agent, url).map_err(Failure::start)?;
    tracing::info!("{}", set(&tokens, url, &last).map_err(Failure::start)?);
    let (of_thread, url) = (Arc::clone(&tokens), url.to_owned());
    renewal::spawn(move || {
        let mut wait = INTERVAL;
        while renewal::next(&told, wait).is_some() {
            let fetched = fetch(&agent, &url);
            wait = if fetched.is_ok() { INTERVAL } else { SHORT_INTERVAL };
            if fetched.as_ref() == Ok(&last) {
                continue;
            }
            match fetched.and_then(|jwks| Ok((set(&of_thread, &url, &jwks)?, jwks))) {
                Ok((what, jwks)) => {
                    tracing::info!("{what}");
                    last = jwks;
                }
                Err(why) => tracing::warn!("the keys that there were go on: {why}"),
            }
        }
    })?;
    Ok(tokens)
}

/// Gets the keys.
fn fetch(agent: &Agent, url: &str) -> Result<Vec<u8>, String> {
    let jwks =
        agent.get(url).call().and_then(|mut response| response.body_mut().with_config().limit(MAX_SIZE).read_to_vec());
    jwks.map_err(|error| format!("cannot get the keys of --jwks from {url}: {error}"))
}

/// Checks tokens with these keys from now on, and says so.
fn set(tokens: &Tokens, from: &str, jwks: &[u8]) -> Result<String, String> {
    let KeyCount { used, left_out } =
        tokens.set_keys(jwks).map_err(|error| format!("{from} cannot be used: {error}"))?;
    Ok(format!("tokens are checked with {used} keys of {from}; {left_out} are for something else"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_come_from_a_file_or_from_where_nobody_can_change_them_on_the_way() {
        for file in ["/etc/jwks.json", "jwks.json", "./a:b"] {
            assert_eq!(file.parse(), Ok(Jwks::File(PathBuf::from(file))));
        }
        for url in ["https://example.com/keys", "http://127.0.0.1:80/keys", "http://[::1]/keys", "http://localhost/"] {
            assert_eq!(url.parse(), Ok(Jwks::Url(url.to_owned())));
        }
        for url in
            ["http://example.com/keys", "http://127.0.0.1.example.com/", "ftp://127.0.0.1/", "https://", "http://"]
        {
            assert!(url.parse::<Jwks>().is_err(), "{url}");
        }
    }
}
