//! Asks for the network, and has to be refused for it.

use scorebox_guest::{Deployment, RawScorer, Request, Response, Result};
use wasip2::sockets::instance_network::instance_network;
use wasip2::sockets::network::IpAddressFamily;
use wasip2::sockets::tcp_create_socket::create_tcp_socket;

struct Sockets;

impl RawScorer for Sockets {
    fn init(_: &Deployment) -> Result<Self> {
        Ok(Self)
    }

    fn run(&self, _: Request) -> Result<Response> {
        let _network = instance_network();
        let socket = create_tcp_socket(IpAddressFamily::Ipv4);
        Ok(Response::new("text/plain", if socket.is_ok() { "a socket" } else { "no socket" }))
    }
}

scorebox_guest::export!(Sockets);
