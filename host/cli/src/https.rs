//! How the program asks others over HTTPS, and whom it trusts then.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use ureq::Agent;
use ureq::config::ConfigBuilder;
use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig, parse_pem};
use ureq::typestate::AgentScope;

use crate::failure::Failure;

/// A client for this URL, and no other. It trusts the authorities whose certificates are in a file, or else those that the
/// system trusts. Proxies are those of the environment (`HTTPS_PROXY`, `NO_PROXY` and the like), and none for what is not
/// https: a proxy would read tokens, and change keys.
pub(crate) fn client(url: &str, ca_file: Option<&Path>) -> Result<ConfigBuilder<AgentScope>, Failure> {
    let is_https = url.starts_with("https:");
    let authorities = match ca_file {
        Some(file) => authorities(file)?,
        None if !is_https => Vec::new(),
        None => {
            let found = rustls_native_certs::load_native_certs();
            found.certs.iter().map(|certificate| Certificate::from_der(certificate).to_owned()).collect()
        }
    };
    let tls = TlsConfig::builder()
        .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .root_certs(RootCerts::from(authorities))
        .build();
    let agent = concat!("scorebox/", env!("CARGO_PKG_VERSION"));
    let config = Agent::config_builder().tls_config(tls).max_redirects(0).user_agent(agent);
    Ok(if is_https { config } else { config.proxy(None) })
}

fn authorities(file: &Path) -> Result<Vec<Certificate<'static>>, Failure> {
    let pem = fs::read(file).map_err(|error| {
        Failure::failed(format!("cannot read the certificates of authorities in {}: {error}", file.display()))
    })?;
    let certificates: Vec<_> = parse_pem(&pem)
        .filter_map(|item| match item {
            Ok(PemItem::Certificate(certificate)) => Some(certificate),
            _ => None,
        })
        .collect();
    if certificates.is_empty() {
        return Err(Failure::failed(format!("{} has no certificate in PEM format", file.display())));
    }
    Ok(certificates)
}
