//! SCTP by raw INIT packets: enough to see where a first packet goes, without SCTP in the kernel.
//!
//! A backend's raw socket receives what is delivered to it, behind its INPUT hook. A refusal is an ICMP
//! message that quotes the packet.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;

use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, SockaddrStorage, bind, recv, sendto};

use crate::datagram::{receive, tell_destination};
use crate::net::Host;
use crate::sys::{self, IPPROTO_SCTP};
use crate::traffic::{Outcome, Probe};

/// The common header and one INIT chunk without parameters.
const INIT_LENGTH: usize = 32;

/// The last initiate tag. Every raw socket of a host hears the INITs of all probes, also of those at the same time.
static TAG: AtomicU32 = AtomicU32::new(0);

/// Sends the INITs of a probe, window by window, and says where each arrived.
pub fn send_inits(probe: &Probe<'_>) -> Vec<Outcome> {
    let ipv6 = probe.to.is_ipv6();
    let raw = |protocol| {
        let socket = sys::raw_socket(ipv6, protocol).expect("raw sockets are allowed in own namespaces");
        tell_destination(&socket, ipv6).expect("a raw socket tells the destination");
        socket
    };
    let receivers = Host::SERVING.map(|host| (host, probe.lab.enter(host, || raw(IPPROTO_SCTP))));
    let icmp = if ipv6 { libc::IPPROTO_ICMPV6 } else { libc::IPPROTO_ICMP };
    probe.lab.enter(probe.from, || {
        let mut sender = Sender { probe, sockets: HashMap::new(), errors: raw(icmp) };
        let mut outcomes = Vec::with_capacity(probe.count);
        for start in (0..probe.count).step_by(probe.window) {
            let mut flights: Vec<Flight> =
                (start..probe.count.min(start + probe.window)).map(|index| sender.start(index)).collect();
            sender.collect(&receivers, &mut flights, sys::in_time(probe.timeout));
            outcomes.extend(flights.into_iter().map(|flight| flight.outcome.unwrap_or(Outcome::TimedOut)));
        }
        outcomes
    })
}

/// One INIT on its way.
struct Flight {
    port: u16,
    /// The initiate tag: NAT may change the ports, but not this.
    tag: u32,
    outcome: Option<Outcome>,
}

struct Sender<'probe> {
    probe: &'probe Probe<'probe>,
    sockets: HashMap<IpAddr, OwnedFd>,
    errors: OwnedFd,
}

impl Sender<'_> {
    fn start(&mut self, index: usize) -> Flight {
        let port = self.probe.port();
        let tag = TAG.fetch_add(1, Ordering::Relaxed).wrapping_add(1);
        let sent = self.send(self.probe.source_of(index), port, tag);
        let outcome = sent.err().map(|error| match error {
            Errno::ECONNREFUSED => Outcome::Refused,
            other => Outcome::Unreachable(other),
        });
        Flight { port, tag, outcome }
    }

    fn send(&mut self, source: IpAddr, port: u16, tag: u32) -> Result<(), Errno> {
        let to = self.probe.to;
        let socket = match self.sockets.entry(source) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(new) => {
                let socket = sys::raw_socket(to.is_ipv6(), IPPROTO_SCTP)
                    .map_err(|error| Errno::from_raw(error.raw_os_error().unwrap_or(0)))?;
                bind(socket.as_raw_fd(), &SockaddrStorage::from(SocketAddr::new(source, 0)))?;
                new.insert(socket)
            }
        };
        let packet = init(port, to.port(), tag);
        // A raw socket's "port" is the protocol; zero stands for its own.
        let address = SockaddrStorage::from(SocketAddr::new(to.ip(), 0));
        sendto(socket.as_raw_fd(), &packet, &address, MsgFlags::empty()).map(drop)
    }

    /// Reads arrivals and refusals until every flight has an outcome or the deadline passes.
    fn collect(&self, receivers: &[(Host, OwnedFd)], flights: &mut [Flight], deadline: Instant) {
        let mut waiting: Vec<libc::pollfd> = receivers
            .iter()
            .map(|(_, socket)| socket)
            .chain([&self.errors])
            .map(|s| sys::pollfd(s.as_raw_fd()))
            .collect();
        while flights.iter().any(|flight| flight.outcome.is_none()) {
            if sys::poll(&mut waiting, deadline).expect("open sockets can be polled") == 0 && Instant::now() >= deadline
            {
                return;
            }
            for (host, socket) in receivers {
                while let Some((tag, outcome)) = arrival(*host, socket) {
                    if let Some(flight) = flights.iter_mut().find(|flight| flight.tag == tag) {
                        flight.outcome = Some(outcome);
                    }
                }
            }
            while let Some((port, outcome)) = refusal(&self.errors, self.probe.to.is_ipv6()) {
                if let Some(flight) = flights.iter_mut().find(|flight| flight.port == port) {
                    flight.outcome = Some(outcome);
                }
            }
        }
    }
}

/// The next INIT that a host received, by its tag; `None` when there is no more.
fn arrival(host: Host, socket: &OwnedFd) -> Option<(u32, Outcome)> {
    let mut buffer = [0; 512];
    loop {
        let received = receive(socket, &mut buffer).ok()?;
        let packet = &buffer[..received.length];
        // IPv4 raw sockets deliver the IP header too, IPv6 ones do not.
        let packet = if received.peer.is_ipv4() { packet.get(ipv4_header(packet)..)? } else { packet };
        if packet.len() != INIT_LENGTH || packet[12] != 1 {
            continue;
        }
        let port = |at: usize| u16::from_be_bytes([packet[at], packet[at + 1]]);
        let tag = u32::from_be_bytes([packet[16], packet[17], packet[18], packet[19]]);
        if packet != init(port(0), port(2), tag) {
            let text = format!("an INIT with a wrong checksum or content reached {}", host.name());
            return Some((tag, Outcome::Strange(text)));
        }
        let outcome = Outcome::Reached {
            server: format!("{}:{}", host.name(), port(2)),
            peer: SocketAddr::new(received.peer.ip(), port(0)),
            local: SocketAddr::new(received.local, port(2)),
        };
        return Some((tag, outcome));
    }
}

/// The next ICMP error about an SCTP packet, by the packet's source port; `None` when there is no more.
fn refusal(socket: &OwnedFd, ipv6: bool) -> Option<(u16, Outcome)> {
    const IPV6_HEADER: usize = 40;
    let mut buffer = [0; 1500];
    loop {
        let length = recv(socket.as_raw_fd(), &mut buffer, MsgFlags::MSG_DONTWAIT).ok()?;
        let message = &buffer[..length];
        let message = if ipv6 { message } else { message.get(ipv4_header(message)..)? };
        let (Some(&kind), Some(&code), Some(quoted)) = (message.first(), message.get(1), message.get(8..)) else {
            continue;
        };
        let (unreachable, port_code, protocol_at) = if ipv6 { (1, 4, 6) } else { (3, 3, 9) };
        let header = if ipv6 { IPV6_HEADER } else { ipv4_header(quoted) };
        let Some(ports) = quoted.get(header..header + 2) else {
            continue;
        };
        if kind != unreachable || i32::from(quoted[protocol_at]) != IPPROTO_SCTP {
            continue;
        }
        let outcome = if code == port_code { Outcome::Refused } else { Outcome::Unreachable(Errno::EHOSTUNREACH) };
        return Some((u16::from_be_bytes([ports[0], ports[1]]), outcome));
    }
}

fn ipv4_header(packet: &[u8]) -> usize {
    packet.first().map_or(0, |first| usize::from(first & 0x0f) * 4)
}

/// RFC 9260, 3.1 and 3.3.2: the common header and an INIT chunk.
fn init(source: u16, destination: u16, tag: u32) -> [u8; INIT_LENGTH] {
    let mut packet = [0; INIT_LENGTH];
    packet[0..2].copy_from_slice(&source.to_be_bytes());
    packet[2..4].copy_from_slice(&destination.to_be_bytes());
    // 4..8 is the verification tag: zero in an INIT. 8..12 is the checksum.
    packet[12] = 1;
    packet[14..16].copy_from_slice(&20_u16.to_be_bytes());
    packet[16..20].copy_from_slice(&tag.to_be_bytes());
    packet[20..24].copy_from_slice(&65_535_u32.to_be_bytes());
    packet[24..26].copy_from_slice(&1_u16.to_be_bytes());
    packet[26..28].copy_from_slice(&1_u16.to_be_bytes());
    packet[28..32].copy_from_slice(&tag.to_be_bytes());
    let checksum = crc32c(&packet);
    packet[8..12].copy_from_slice(&checksum.to_le_bytes());
    packet
}

/// CRC-32C (Castagnoli), as SCTP uses it.
fn crc32c(bytes: &[u8]) -> u32 {
    let mut crc = u32::MAX;
    for &byte in bytes {
        crc ^= u32::from(byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 { (crc >> 1) ^ 0x82f6_3b78 } else { crc >> 1 };
        }
    }
    !crc
}

#[cfg(test)]
mod tests {
    use super::crc32c;

    #[test]
    fn crc32c_of_the_check_string() {
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
    }
}
