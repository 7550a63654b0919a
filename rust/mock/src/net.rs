//! Listening sockets, one per thread: the kernel spreads connections over them (SO_REUSEPORT), so the threads share
//! nothing on the way.

use std::net::{SocketAddr, TcpListener, ToSocketAddrs};

use socket2::{Domain, Protocol, Socket, Type};

use crate::Error;

/// Connections that may wait to be accepted.
const BACKLOG: i32 = 4096;

/// Binds `count` non-blocking listeners to one address; port 0 takes a free one.
pub fn listen(host: &str, port: u16, count: usize) -> Result<(Vec<TcpListener>, SocketAddr), Error> {
    let what = || format!("bind {host}:{port}");
    let mut address = (host, port)
        .to_socket_addrs()
        .map_err(Error::io(what()))?
        .next()
        .ok_or_else(|| Error::usage(format!("{host} has no address")))?;
    let mut listeners = Vec::with_capacity(count);
    for _ in 0..count {
        let listener = bind(address, count > 1).map_err(Error::io(what()))?;
        address = listener.local_addr().map_err(Error::io(what()))?;
        listeners.push(listener);
    }
    Ok((listeners, address))
}

fn bind(address: SocketAddr, shared: bool) -> std::io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(shared)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}
