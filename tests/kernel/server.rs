//! Servers that answer every TCP connection and every datagram with who they are and whom they see.
//!
//! An answer is one line: `b1:8080 peer=10.9.0.2:10000 local=10.9.1.11:8080`.

use std::collections::HashMap;
use std::io::{self, PipeWriter, Read, Write, pipe};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::thread::{self, JoinHandle};

use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, SockaddrStorage, bind, listen, setsockopt, socket, sockopt,
};

use crate::datagram::{receive, send_from, tell_destination};
use crate::sys::Epoll;

/// One thread that serves some ports; dropping it closes them and every connection that it still holds.
pub struct Server {
    stop: Option<PipeWriter>,
    thread: Option<JoinHandle<()>>,
}

enum Endpoint {
    Stop,
    Listener(TcpListener),
    Datagrams(OwnedFd, u16),
    /// Kept until the client closes, so that a test can hold connections open.
    Connection(TcpStream),
}

impl Server {
    /// Binds the ports in the calling thread's namespace, for both families, and begins to serve them.
    pub fn bind(name: &'static str, ports: &[u16]) -> io::Result<Self> {
        let (stopped, stop) = pipe()?;
        let epoll = Epoll::new()?;
        epoll.watch(stopped.as_fd())?;
        let mut endpoints = HashMap::from([(stopped.as_raw_fd(), Endpoint::Stop)]);
        for &port in ports {
            let listener = tcp_listener(port)?;
            epoll.watch(listener.as_fd())?;
            endpoints.insert(listener.as_raw_fd(), Endpoint::Listener(listener));
            for ipv6 in [false, true] {
                let datagrams = udp_socket(ipv6, port)?;
                epoll.watch(datagrams.as_fd())?;
                endpoints.insert(datagrams.as_raw_fd(), Endpoint::Datagrams(datagrams, port));
            }
        }
        let thread = thread::Builder::new().name(format!("server {name}")).spawn(move || {
            // The read end lives as long as the loop, or the descriptor could be another one's.
            let _stopped = stopped;
            serve(name, &epoll, endpoints);
        })?;
        Ok(Self { stop: Some(stop), thread: Some(thread) })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // A server that panicked has shown itself by its silence.
            let _ = thread.join();
        }
    }
}

fn serve(name: &str, epoll: &Epoll, mut endpoints: HashMap<RawFd, Endpoint>) {
    loop {
        let ready = epoll.wait().expect("an epoll instance can be waited for");
        for fd in ready {
            match endpoints.get_mut(&fd) {
                Some(Endpoint::Stop) => return,
                Some(Endpoint::Listener(listener)) => {
                    if let Some(stream) = accept(name, listener) {
                        epoll.watch(stream.as_fd()).expect("an open socket can be watched");
                        endpoints.insert(stream.as_raw_fd(), Endpoint::Connection(stream));
                    }
                }
                Some(Endpoint::Datagrams(datagrams, port)) => answer(name, datagrams, *port),
                Some(Endpoint::Connection(stream)) => {
                    let open = matches!(stream.read(&mut [0; 256]), Ok(1..));
                    if !open {
                        endpoints.remove(&fd);
                    }
                }
                // Closed by an earlier event of the same batch.
                None => {}
            }
        }
    }
}

/// Accepts and greets one connection; `None` where the client has gone already.
fn accept(name: &str, listener: &TcpListener) -> Option<TcpStream> {
    let (mut stream, peer) = listener.accept().ok()?;
    let local = stream.local_addr().ok()?;
    stream.write_all(line(name, peer, local).as_bytes()).ok()?;
    stream.set_nonblocking(true).ok()?;
    Some(stream)
}

/// Answers one datagram from the address that it was sent to.
fn answer(name: &str, datagrams: &OwnedFd, port: u16) {
    let Ok(received) = receive(datagrams, &mut [0; 256]) else {
        return;
    };
    let text = line(name, received.peer, SocketAddr::new(received.local, port));
    // What cannot be sent is noticed by the client, which gets nothing.
    let _ = send_from(datagrams, received.local, received.peer, text.as_bytes());
}

fn line(name: &str, peer: SocketAddr, local: SocketAddr) -> String {
    let canonical = |address: SocketAddr| SocketAddr::new(address.ip().to_canonical(), address.port());
    format!("{name}:{} peer={} local={}\n", local.port(), canonical(peer), canonical(local))
}

/// The wildcard address of a family.
pub fn wildcard(ipv6: bool) -> IpAddr {
    if ipv6 { Ipv6Addr::UNSPECIFIED.into() } else { Ipv4Addr::UNSPECIFIED.into() }
}

/// One socket for both families; IPv4 peers appear as mapped addresses.
fn tcp_listener(port: u16) -> io::Result<TcpListener> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let fd = socket(AddressFamily::Inet6, SockType::Stream, flags, None)?;
    setsockopt(&fd, sockopt::Ipv6V6Only, &false)?;
    setsockopt(&fd, sockopt::ReuseAddr, &true)?;
    bind(fd.as_raw_fd(), &SockaddrStorage::from(SocketAddr::new(wildcard(true), port)))?;
    listen(&fd, Backlog::MAXCONN)?;
    Ok(fd.into())
}

fn udp_socket(ipv6: bool, port: u16) -> io::Result<OwnedFd> {
    let family = if ipv6 { AddressFamily::Inet6 } else { AddressFamily::Inet };
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let fd = socket(family, SockType::Datagram, flags, None)?;
    if ipv6 {
        setsockopt(&fd, sockopt::Ipv6V6Only, &true)?;
    }
    tell_destination(&fd, ipv6)?;
    bind(fd.as_raw_fd(), &SockaddrStorage::from(SocketAddr::new(wildcard(ipv6), port)))?;
    Ok(fd)
}
