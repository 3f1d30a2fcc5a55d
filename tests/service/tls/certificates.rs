//! Authorities, and the certificates that they sign.

use std::fs;
use std::path::{Path, PathBuf};

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, date_time_ymd};
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use tempfile::TempDir;

/// An authority that nobody else knows.
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: rcgen::Certificate,
}

/// A certificate with its key, in PEM format.
#[derive(Debug, Clone)]
pub(crate) struct Pair {
    pub(crate) certificate: String,
    pub(crate) key: String,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        let certificate = params.self_signed(&key).expect("a certificate");
        Self { issuer: Issuer::new(params, key), certificate }
    }

    /// A certificate for servers on this machine.
    pub(crate) fn sign(&self) -> Pair {
        self.sign_with(|_| ())
    }

    /// One that has expired.
    pub(crate) fn sign_expired(&self) -> Pair {
        self.sign_with(|params| {
            params.not_before = date_time_ymd(2019, 1, 1);
            params.not_after = date_time_ymd(2020, 1, 31);
        })
    }

    fn sign_with(&self, change: impl Fn(&mut CertificateParams)) -> Pair {
        let mut params = CertificateParams::new(["127.0.0.1".to_owned()]).expect("a name");
        change(&mut params);
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate");
        Pair { certificate: certificate.pem(), key: key.serialize_pem() }
    }

    /// Its own certificate, in PEM format.
    pub(crate) fn pem(&self) -> String {
        self.certificate.pem()
    }

    /// What a client trusts that trusts nobody else.
    pub(crate) fn roots(&self) -> RootCertStore {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::clone(self.certificate.der())).expect("a certificate of an authority");
        roots
    }
}

/// The files of a certificate, in a folder of their own.
pub(crate) struct Files {
    folder: TempDir,
}

impl Files {
    pub(crate) fn new(pair: &Pair) -> Self {
        let files = Self { folder: tempfile::tempdir().expect("a temporary folder can be made") };
        files.put(pair);
        files
    }

    /// Others in their place.
    pub(crate) fn put(&self, Pair { certificate, key }: &Pair) {
        replace(&self.certificate(), certificate);
        replace(&self.key(), key);
    }

    pub(crate) fn certificate(&self) -> PathBuf {
        self.folder.path().join("tls.crt")
    }

    pub(crate) fn key(&self) -> PathBuf {
        self.folder.path().join("tls.key")
    }
}

/// Puts a file in the place of another, at once.
pub(crate) fn replace(path: &Path, text: &str) {
    let new = path.with_extension("new");
    fs::write(&new, text).expect("it can be written to");
    fs::rename(new, path).expect("it can be written to");
}
