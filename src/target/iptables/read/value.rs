//! Values of options, as iptables reads them. `None` is a value that iptables would refuse, or that only the machine
//! knows: a host's name, a group's name.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::statement::balance::Protocol;
use crate::target::iptables::dump::{Net, Ports, RuleProtocol};

/// `strtoul` with base 0: decimal, `0x` or with a leading `0` octal.
pub fn number(text: &str) -> Option<u32> {
    let digits = |text: &str, radix| (!text.starts_with('+')).then(|| u32::from_str_radix(text, radix).ok()).flatten();
    match text.as_bytes() {
        [b'0', b'x' | b'X', ..] => digits(&text[2..], 16),
        [b'0', _, ..] => digits(&text[1..], 8),
        _ => digits(text, 10),
    }
}

/// `VALUE` or `VALUE/MASK`; a missing mask is all ones.
pub fn masked(text: &str) -> Option<(u32, u32)> {
    match text.split_once('/') {
        Some((value, mask)) => Some((number(value)?, number(mask)?)),
        None => Some((number(text)?, u32::MAX)),
    }
}

/// Names of ports that people write by hand; `iptables-save` writes numbers.
const SERVICES: [(&str, u16); 20] = [
    ("ftp", 21),
    ("ssh", 22),
    ("telnet", 23),
    ("smtp", 25),
    ("domain", 53),
    ("tftp", 69),
    ("http", 80),
    ("www", 80),
    ("kerberos", 88),
    ("pop3", 110),
    ("ntp", 123),
    ("imap2", 143),
    ("snmp", 161),
    ("ldap", 389),
    ("https", 443),
    ("submission", 587),
    ("ldaps", 636),
    ("imaps", 993),
    ("pop3s", 995),
    ("mysql", 3306),
];

pub fn port(text: &str) -> Option<u16> {
    match number(text) {
        Some(number) => u16::try_from(number).ok(),
        None => SERVICES.iter().find(|(name, _)| *name == text).map(|(_, port)| *port),
    }
}

/// `P`, `P:P`, `:P` or `P:`.
pub fn ports(text: &str) -> Option<Ports> {
    let end = |text: &str, open| if text.is_empty() { Some(open) } else { port(text) };
    match text.split_once(':') {
        Some((first, last)) => {
            let ports = Ports { first: end(first, 0)?, last: end(last, u16::MAX)? };
            (ports.first <= ports.last).then_some(ports)
        }
        None => port(text).map(|port| Ports { first: port, last: port }),
    }
}

/// `lround(2^31 * strtod(text))`, as iptables computes what xt_statistic compares 31 random bits with.
pub fn probability(text: &str) -> Option<u32> {
    let number: f64 = text.parse().ok()?;
    ((0.0..=1.0).contains(&number)).then(|| (number * 2_147_483_648.0).round() as u32)
}

/// `ADDRESS`, `ADDRESS/LENGTH` or `ADDRESS/MASK`. An IPv4 address may leave out trailing zeros: `10/8`.
pub fn net(text: &str) -> Option<Net> {
    let (address, mask) = match text.split_once('/') {
        Some((address, mask)) => (address, Some(mask)),
        None => (text, None),
    };
    let address = match quad(address) {
        Some((address, "")) => address.into(),
        _ => match address.parse() {
            Ok(address) => address,
            Err(_) => short_ipv4(address)?,
        },
    };
    let max = match address {
        IpAddr::V4(_) => 32,
        IpAddr::V6(_) => 128,
    };
    let mask = match mask {
        None => ones(address, max),
        Some(mask) => match mask.parse::<u8>() {
            Ok(length) if length <= max => ones(address, length),
            Ok(_) => return None,
            Err(_) => mask.parse().ok()?,
        },
    };
    Net::new(address, mask)
}

/// An IPv4 address at the start of a text, and what follows it. As everywhere, no octet has a leading zero.
pub fn quad(text: &str) -> Option<(Ipv4Addr, &str)> {
    crate::endpoint::quad(text.as_bytes()).map(|(address, length)| (address, &text[length..]))
}

fn ones(like: IpAddr, length: u8) -> IpAddr {
    match like {
        IpAddr::V4(_) => Ipv4Addr::from(u32::MAX.checked_shl(32 - u32::from(length)).unwrap_or(0)).into(),
        IpAddr::V6(_) => Ipv6Addr::from(u128::MAX.checked_shl(128 - u32::from(length)).unwrap_or(0)).into(),
    }
}

/// `10`, `10.1` or `10.1.2`: what is left out is 0.
fn short_ipv4(text: &str) -> Option<IpAddr> {
    let mut octets = [0; 4];
    let mut parts = text.split('.');
    for octet in &mut octets {
        match parts.next() {
            Some(part) => *octet = part.parse().ok()?,
            None => break,
        }
    }
    parts.next().is_none().then_some(IpAddr::V4(octets.into()))
}

/// `-p`: the outer `None` is a name that is not known, the inner one is every protocol.
pub fn protocol(text: &str) -> Option<Option<RuleProtocol>> {
    const OTHERS: [&str; 24] = [
        "icmp",
        "igmp",
        "ggp",
        "ipencap",
        "ipip",
        "ipv6",
        "ipv6-route",
        "ipv6-frag",
        "rsvp",
        "gre",
        "esp",
        "ah",
        "icmpv6",
        "ipv6-icmp",
        "icmp6",
        "ipv6-nonxt",
        "ipv6-opts",
        "ospf",
        "pim",
        "vrrp",
        "l2tp",
        "dccp",
        "udplite",
        "mh",
    ];
    let one = |protocol| Some(Some(RuleProtocol::One(protocol)));
    if let Some(number) = number(text) {
        return match number {
            0 => Some(None),
            6 => one(Protocol::Tcp),
            17 => one(Protocol::Udp),
            132 => one(Protocol::Sctp),
            1..=255 => Some(Some(RuleProtocol::Other)),
            256.. => None,
        };
    }
    let is = |name: &&str| name.eq_ignore_ascii_case(text);
    match Protocol::ALL.into_iter().find(|protocol| is(&protocol.name())) {
        Some(protocol) => one(protocol),
        None if is(&"all") => Some(None),
        None => OTHERS.iter().any(is).then_some(Some(RuleProtocol::Other)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quad_is_an_address_and_no_more() {
        for (text, rest) in [("1.2.3.4", ""), ("0.0.0.0:1", ":1"), ("255.255.255.255/32", "/32"), ("1.2.3.4.5", ".5")] {
            let address = text[..text.len() - rest.len()].parse().expect("an address");
            assert_eq!(quad(text), Some((address, rest)));
        }
        for text in ["", "1", "1.2.3", "1.2.3.", "256.1.1.1", "1.2.3.4444", "01.2.3.4", "1.2..3", "1.2.3.00", "a.b.c.d"]
        {
            assert_eq!(quad(text), None, "{text}");
        }
    }
}
