//! Reserving a port before anything is written, and listening on it only once the identity is checked.

use socket2::{Domain, Protocol, SockRef, Socket, Type};
use std::{
    io,
    net::{SocketAddr, ToSocketAddrs as _},
};

/// How many connections may wait to be accepted.
const BACKLOG: i32 = 1024;

/// A port that is bound and does not listen: nobody else gets it, and nobody gets an answer from it.
#[derive(Debug)]
pub struct ReservedPort {
    socket: Socket,
    address: SocketAddr,
}

/// The port can't be had.
#[derive(Debug, thiserror::Error)]
#[error("cannot {operation} {address}")]
pub struct PortError {
    /// `resolve`, `bind` or `listen on`.
    pub operation: &'static str,
    /// As it was asked for.
    pub address: String,
    /// The system's own words.
    #[source]
    pub source: io::Error,
}

impl ReservedPort {
    /// Binds `host:port`. Port 0 takes any free one.
    ///
    /// # Errors
    /// Where the name means nothing, or the port is in use.
    pub fn reserve(address: &str) -> Result<Self, PortError> {
        let error = |operation| move |source| PortError { operation, address: address.to_owned(), source };
        let resolved = address.to_socket_addrs().map_err(error("resolve"))?.next();
        let resolved =
            resolved.ok_or_else(|| error("resolve")(io::Error::other("the name has no address")))?;
        // Two sockets with SO_REUSEADDR can both bind a port and both fail to listen. So it is asked for only where
        // the plain way fails: on connections of an earlier life that the kernel still remembers.
        let socket = bind(resolved, false).or_else(|_| bind(resolved, true)).map_err(error("bind"))?;
        let bound = socket.local_addr().map_err(error("bind"))?.as_socket().unwrap_or(resolved);
        Ok(Self { socket, address: bound })
    }

    /// The address that was bound.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Starts to listen.
    ///
    /// # Errors
    /// Where somebody else has started to listen there in between.
    pub fn listen(self) -> Result<tokio::net::TcpListener, PortError> {
        let address = self.address.to_string();
        let error = |source| PortError { operation: "listen on", address: address.clone(), source };
        self.socket.listen(BACKLOG).map_err(error)?;
        // From here on, so that the connections of this life don't keep the next one from binding.
        SockRef::from(&self.socket).set_reuse_address(true).map_err(error)?;
        tokio::net::TcpListener::from_std(self.socket.into()).map_err(error)
    }
}

fn bind(address: SocketAddr, reuse: bool) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    socket.set_reuse_address(reuse)?;
    socket.bind(&address.into())?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reserved_port_refuses_connections_and_other_owners() {
        let reserved = ReservedPort::reserve("127.0.0.1:0").expect("a free port");
        let address = reserved.address();
        assert!(std::net::TcpStream::connect(address).is_err(), "nobody listens yet");
        let second = ReservedPort::reserve(&address.to_string()).expect_err("it is taken");
        assert_eq!(second.source.kind(), io::ErrorKind::AddrInUse);
    }

    #[tokio::test]
    async fn a_port_can_be_had_again_at_once() {
        let address = {
            let listener =
                ReservedPort::reserve("127.0.0.1:0").expect("a free port").listen().expect("listens");
            let address = listener.local_addr().expect("an address");
            let client = std::net::TcpStream::connect(address).expect("connects");
            let (server, _) = listener.accept().await.expect("accepts");
            // The server closes first, so the kernel keeps its side in TIME_WAIT.
            drop(server);
            drop(client);
            address
        };
        ReservedPort::reserve(&address.to_string())
            .expect("the next life binds")
            .listen()
            .expect("and listens");
    }
}
