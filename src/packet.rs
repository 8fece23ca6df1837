//! `PACKET`, as the command line writes it: `tcp 198.51.100.7:40000 -> 203.0.113.10:80 in eth0`.

use std::net::{IpAddr, Ipv6Addr};

use crate::diagnostic::did_you_mean;
use crate::meaning::Direction;
use crate::statement::balance::Protocol;
use crate::trace::Packet;

const FORM: &str = "write `tcp 198.51.100.7 -> 203.0.113.10:80 in eth0`; `out` instead of `in IFACE` is a connection \
                    that this machine opens";

/// Reads a packet. The error says what was expected where, and how it is written.
///
/// The source port may be left out, and so may the interface: then it arrives on one that no rule names.
pub fn parse(text: &str) -> Result<Packet, String> {
    read(text).map_err(|error| format!("the packet `{text}`: {error}\nhelp: {FORM}"))
}

fn read(text: &str) -> Result<Packet, String> {
    let Some((left, right)) = text.split_once("->") else { return Err("expected `->`".to_owned()) };
    let mut left = left.split_whitespace();
    let protocol = protocol(left.next())?;
    let (source, source_port) = endpoint(left.next(), "the client's address")?;
    if let Some(more) = left.next() {
        return Err(format!("expected `->`, found `{more}`"));
    }
    let mut right = right.split_whitespace();
    let (destination, port) = endpoint(right.next(), "the destination and its port")?;
    let Some(port) = port else { return Err(format!("`{}` needs a port", show(destination))) };
    let direction = match (right.next(), right.next()) {
        (None, _) => Direction::In(String::new()),
        (Some("in"), Some(interface)) if interface.len() <= 15 => Direction::In(interface.to_owned()),
        (Some("in"), Some(interface)) => return Err(format!("`{interface}` is no interface: 15 bytes are the most")),
        (Some("in"), None) => return Err("expected an interface behind `in`".to_owned()),
        (Some("out"), None) => Direction::Out,
        (Some("out"), Some(more)) => return Err(format!("expected nothing behind `out`, found `{more}`")),
        (Some(other), _) => return Err(format!("expected `in IFACE` or `out`, found `{other}`")),
    };
    if let Some(more) = right.next() {
        return Err(format!("expected the end, found `{more}`"));
    }
    if source.is_ipv4() != destination.is_ipv4() {
        return Err("source and destination are of two families".to_owned());
    }
    Ok(Packet { protocol, source, source_port, destination, port, direction })
}

fn protocol(word: Option<&str>) -> Result<Protocol, String> {
    let Some(word) = word else { return Err("expected a protocol (`tcp`, `udp` or `sctp`)".to_owned()) };
    let names = Protocol::ALL.map(Protocol::name);
    Protocol::ALL.into_iter().find(|protocol| protocol.name() == word).ok_or_else(|| {
        let near = did_you_mean(word, names).map_or_else(String::new, |near| format!("; {near}"));
        format!("expected a protocol (`tcp`, `udp` or `sctp`), found `{word}`{near}")
    })
}

/// `ADDR`, `ADDR:PORT`, `[ADDR6]`, `[ADDR6]:PORT`
fn endpoint(word: Option<&str>, what: &str) -> Result<(IpAddr, Option<u16>), String> {
    let Some(word) = word else { return Err(format!("expected {what}, found the end")) };
    if let Ok(address) = word.parse() {
        return Ok((address, None));
    }
    let (address, port) = match word.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((inner, "")) => (inner.parse::<Ipv6Addr>().ok().map(IpAddr::from), None),
        Some((inner, rest)) => (inner.parse::<Ipv6Addr>().ok().map(IpAddr::from), rest.strip_prefix(':')),
        None => match word.rsplit_once(':') {
            Some((address, port)) => (address.parse().ok(), Some(port)),
            None => (None, None),
        },
    };
    let Some(address) = address else { return Err(format!("expected {what}, found `{word}`")) };
    let Some(port) = port else { return Ok((address, None)) };
    match port.parse::<u16>() {
        Ok(number) if number > 0 && port.bytes().all(|b| b.is_ascii_digit()) => Ok((address, Some(number))),
        Ok(_) | Err(_) => Err(format!("expected a port (1-65535), found `{port}`")),
    }
}

/// An address where a port may follow.
pub fn show(address: IpAddr) -> String {
    match address {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => format!("[{address}]"),
    }
}

impl std::fmt::Display for Packet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.protocol.name(), show(self.source))?;
        if let Some(port) = self.source_port {
            write!(f, ":{port}")?;
        }
        write!(f, " -> {}:{}", show(self.destination), self.port)?;
        match &self.direction {
            Direction::In(interface) if interface.is_empty() => Ok(()),
            Direction::In(interface) => write!(f, " in {interface}"),
            Direction::Out => write!(f, " out"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_printed_reads_back() {
        for text in [
            "tcp 198.51.100.7:40000 -> 203.0.113.10:80 in eth0",
            "udp 198.51.100.7 -> 203.0.113.10:53",
            "sctp [2001:db8::7] -> [2001:db8::10]:443 out",
            "tcp [2001:db8::7]:1 -> [2001:db8::10]:65535 in *",
        ] {
            assert_eq!(parse(text).expect(text).to_string(), text);
        }
        assert_eq!(
            parse(" tcp  2001:db8::7->[::1]:80 ").expect("short forms").to_string(),
            "tcp [2001:db8::7] -> [::1]:80"
        );
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (text, message) in [
            ("", "expected `->`"),
            ("tpc 1.2.3.4 -> 1.2.3.4:5", "found `tpc`; did you mean `tcp`?"),
            ("tcp -> 1.2.3.4:5", "expected the client's address, found the end"),
            ("tcp 1.2.3 -> 1.2.3.4:5", "expected the client's address, found `1.2.3`"),
            ("tcp 1.2.3.4 -> 1.2.3.4", "`1.2.3.4` needs a port"),
            ("tcp 1.2.3.4 -> 1.2.3.4:0", "expected a port (1-65535), found `0`"),
            ("tcp 1.2.3.4 -> 1.2.3.4:+5", "expected a port (1-65535), found `+5`"),
            ("tcp 1.2.3.4 -> [::1]:5", "two families"),
            ("tcp 1.2.3.4 -> 1.2.3.4:5 in", "expected an interface behind `in`"),
            ("tcp 1.2.3.4 -> 1.2.3.4:5 on eth0", "expected `in IFACE` or `out`, found `on`"),
            ("tcp 1.2.3.4 -> 1.2.3.4:5 out eth0", "expected nothing behind `out`"),
            ("tcp 1.2.3.4 x -> 1.2.3.4:5", "expected `->`, found `x`"),
            ("tcp 1.2.3.4 -> 1.2.3.4:5 in eth0 x", "expected the end, found `x`"),
            ("tcp ::1:80 -> ::2:5", "needs a port"),
        ] {
            let error = parse(text).expect_err(text);
            assert!(error.contains(message), "{text}: {error}");
        }
    }
}
