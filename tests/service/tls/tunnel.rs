//! A way to a server for clients that know nothing of TLS.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};

use rustls::crypto::ring;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ProtocolVersion, SupportedProtocolVersion};
use scorebox_tests::wait::{PATIENCE, eventually};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio_rustls::TlsConnector;

use super::certificates::Authority;

/// Listens, and speaks TLS with a server on each connection.
pub(crate) struct Tunnel {
    address: SocketAddr,
    handshakes: Arc<Mutex<Vec<Result<Agreed, String>>>>,
    _runtime: Runtime,
}

/// What a handshake has led to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Agreed {
    pub(crate) version: Option<ProtocolVersion>,
    pub(crate) protocol: Option<String>,
}

impl Tunnel {
    /// To a server whose certificate this authority has signed.
    pub(crate) fn new(server: SocketAddr, authority: &Authority) -> Self {
        Self::with(server, authority, &["http/1.1"], rustls::ALL_VERSIONS)
    }

    /// One that offers these protocols, in these versions of TLS.
    pub(crate) fn with(
        server: SocketAddr,
        authority: &Authority,
        protocols: &[&str],
        versions: &[&'static SupportedProtocolVersion],
    ) -> Self {
        let mut config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_protocol_versions(versions)
            .expect("versions that ring knows")
            .with_root_certificates(authority.roots())
            .with_no_client_auth();
        config.alpn_protocols = protocols.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
        let runtime = Runtime::new().expect("a runtime");
        let listener = runtime.block_on(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))).expect("there is a free port");
        let address = listener.local_addr().expect("the listener has an address");
        let handshakes = Arc::<Mutex<Vec<_>>>::default();
        let (connector, seen) = (TlsConnector::from(Arc::new(config)), Arc::clone(&handshakes));
        runtime.spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let (connector, seen) = (connector.clone(), Arc::clone(&seen));
                tokio::spawn(async move {
                    let stream = TcpStream::connect(server).await.expect("the server listens");
                    let name = ServerName::IpAddress(server.ip().into());
                    let connected = connector.connect(name, stream).await;
                    let agreed = connected.as_ref().map_err(ToString::to_string).map(|stream| {
                        let (_, session) = stream.get_ref();
                        let protocol = session.alpn_protocol().map(|name| String::from_utf8_lossy(name).into_owned());
                        Agreed { version: session.protocol_version(), protocol }
                    });
                    seen.lock().expect("nobody panics with it").push(agreed);
                    let (Ok(mut encrypted), mut client) = (connected, client) else { return };
                    // Whoever ends it, the other sees it.
                    let _ = copy_bidirectional(&mut client, &mut encrypted).await;
                });
            }
        });
        Self { address, handshakes, _runtime: runtime }
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// What the last handshake has led to.
    #[track_caller]
    pub(crate) fn last(&self) -> Result<Agreed, String> {
        let last = || self.handshakes.lock().expect("nobody panics with it").last().cloned();
        eventually(PATIENCE, "there is a handshake", || last().is_some());
        last().expect("there is one")
    }
}
