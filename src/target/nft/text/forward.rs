//! Rules for a forward chain that is not ours: an accept in one table does not save a packet from a drop in another.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::IpAddr;

use crate::dispatch::owners::{Claim, Clients};
use crate::ir::Family;

use super::{WRITES, ip, joined};

/// The rules for a claim, a line each. They hold for both directions of a connection.
///
/// A backend is asked for as the source of replies: it is that in both directions, and nft 1.0.6 lists a test of
/// `tcp dport` behind `ct original proto-dst` in a way that it cannot load again.
pub fn rules(claim: &Claim<'_>, family: Family, verdict: &str) -> Vec<String> {
    let mut ports: BTreeMap<(u16, u16), Vec<IpAddr>> = BTreeMap::new();
    for backend in claim.backends.iter().flatten() {
        ports.entry((backend.ports.first(), backend.ports.last())).or_default().push(backend.address);
    }
    match claim.backends {
        None => vec![rule(claim, family, None, verdict)],
        Some(_) => ports.into_iter().map(|backends| rule(claim, family, Some(backends), verdict)).collect(),
    }
}

/// The rule for ICMP errors about connections of a claim: port unreachable, fragmentation needed.
///
/// Conntrack has them as related to the connection. They show no ports that nft 1.0.6 could ask for: it lists a test of
/// `ct original proto-dst` behind one of `icmp` in a way that it cannot load again. So the errors of other services'
/// connections between the same addresses are let through too.
pub fn errors(claim: &Claim<'_>, family: Family) -> String {
    let mut f = String::new();
    let mut all = || -> std::fmt::Result {
        let f = &mut f;
        let ip = ip(family);
        let icmp = match family {
            Family::V4 => "icmp",
            Family::V6 => "ipv6-icmp",
        };
        write!(f, "ct state related ct status dnat meta l4proto {icmp}")?;
        destination(f, claim, family)?;
        clients(f, claim, family)?;
        let mut addresses: Vec<IpAddr> = claim.backends.iter().flatten().map(|backend| backend.address).collect();
        addresses.sort_unstable();
        addresses.dedup();
        if !addresses.is_empty() {
            write!(f, " ct reply {ip} saddr {{ ")?;
            joined(f, ", ", &addresses, |f, address| write!(f, "{address}"))?;
            f.push_str(" }");
        }
        write!(f, " accept")
    };
    all().expect(WRITES);
    f
}

fn destination(f: &mut String, claim: &Claim<'_>, family: Family) -> std::fmt::Result {
    let Some(net) = claim.destination else { return Ok(()) };
    write!(f, " ct original {} daddr ", ip(family))?;
    match net.prefix_len() == net.max_prefix_len() {
        true => write!(f, "{}", net.addr()),
        false => write!(f, "{net}"),
    }
}

fn clients(f: &mut String, claim: &Claim<'_>, family: Family) -> std::fmt::Result {
    let (not, nets) = match claim.clients {
        Clients::All => return Ok(()),
        Clients::In(nets) => ("", nets),
        Clients::NotIn(nets) => ("!= ", nets),
    };
    write!(f, " ct original {} saddr {not}{{ ", ip(family))?;
    joined(f, ", ", nets, |f, net| write!(f, "{net}"))?;
    f.push_str(" }");
    Ok(())
}

fn rule(claim: &Claim<'_>, family: Family, backends: Option<((u16, u16), Vec<IpAddr>)>, verdict: &str) -> String {
    let mut f = String::new();
    let all = || -> std::fmt::Result {
        let f = &mut f;
        let ip = ip(family);
        write!(f, "ct status dnat meta l4proto {}", claim.protocol.name())?;
        destination(f, claim, family)?;
        write!(f, " ct original proto-dst {}", claim.ports)?;
        clients(f, claim, family)?;
        if let Some(((first, last), addresses)) = backends {
            write!(f, " ct reply {ip} saddr {{ ")?;
            joined(f, ", ", &addresses, |f, address| write!(f, "{address}"))?;
            write!(f, " }} ct reply proto-src {first}")?;
            if first != last {
                write!(f, "-{last}")?;
            }
        }
        write!(f, " {verdict}")
    };
    all().expect(WRITES);
    f
}
