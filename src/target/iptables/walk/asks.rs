//! What single matches ask of a packet: ports, kinds of addresses, the state of its connection.

use std::net::{IpAddr, Ipv4Addr};

use crate::ir::Family;
use crate::meaning::Action;
use crate::survey::Side;
use crate::target::iptables::dump::{AddressTypes, Ports, States};
use crate::trace::{Machine, Packet, Source};

use super::Flow;
use super::flow::Tracking;
use super::test::At;

/// Translation of the source may change its port.
pub(super) fn source_port(packet: &Packet, flow: &Flow<'_>) -> Option<u16> {
    packet.source_port.filter(|_| flow.translated == Source::Kept)
}

pub(super) fn port_in(side: Side, ports: &[Ports], at: At<'_>, flow: &Flow<'_>) -> Option<bool> {
    let packet = at.packet;
    if side == Side::Destination && flow.port_follows {
        at.ask(|asked| ports.iter().for_each(|ports| asked.port(flow.port, ports.first, ports.last)));
    }
    let any = |port| ports.iter().any(|ports| ports.contains(port));
    match side {
        Side::Source if ports.iter().any(|ports| (ports.first, ports.last) == (0, u16::MAX)) => Some(true),
        Side::Source => source_port(packet, flow).map(any),
        Side::Destination => Some(any(flow.port)),
    }
}

/// As xt_addrtype: for IPv4 the address's one type has to be in the set, for IPv6 every asked property has to hold.
pub(super) fn is_of_type(address: Option<IpAddr>, family: Family, types: AddressTypes, machine: &Machine) -> bool {
    let local = address.is_none_or(|address| machine.is_local(address));
    let multicast = address.is_some_and(|address| address.is_multicast());
    match family {
        Family::V4 => {
            let broadcast = [Ipv4Addr::BROADCAST, Ipv4Addr::UNSPECIFIED].map(IpAddr::V4);
            if address.is_some_and(|address| broadcast.contains(&address)) {
                types.broadcast
            } else if multicast {
                types.multicast
            } else if local {
                types.local
            } else {
                types.unicast
            }
        }
        Family::V6 => {
            let unicast = !multicast && !address.is_some_and(|address| address.is_unspecified());
            // ip6tables knows no broadcast.
            !types.broadcast
                && (!types.multicast || multicast)
                && (!types.unicast || unicast)
                && (!types.local || local)
        }
    }
}

/// The first packet is NEW once conntrack has seen it, unless that is told to leave it alone; SNAT and DNAT say that a translation changed it.
pub(super) fn in_state(states: States, flow: &Flow<'_>, at: At<'_>) -> Option<bool> {
    match flow.tracking {
        Tracking::Before => return Some(states.invalid),
        Tracking::Never => return Some(states.untracked),
        Tracking::Tracked => {}
    }
    if states.new || (states.snat && flow.translated != Source::Kept) {
        return Some(true);
    }
    if states.dnat { translated(flow, at) } else { Some(false) }
}

/// IPS_DST_NAT is set only where the new destination is another one.
fn translated(flow: &Flow<'_>, at: At<'_>) -> Option<bool> {
    let packet = at.packet;
    let changed = matches!(flow.action, Action::Dnat(..) | Action::Redirect(_));
    if let Some(address) = flow.destination.filter(|_| changed) {
        at.ask(|asked| {
            asked.range(Side::Destination, Some(packet.destination), address, address);
            // A port that moves with the packet's own is the same or another one whatever that is.
            if !flow.port_follows {
                asked.port(packet.port, flow.port, flow.port);
            }
        });
    }
    match flow.action {
        Action::Pass | Action::Drop | Action::Reject => Some(false),
        Action::Dnat(..) | Action::Redirect(_) => match flow.destination {
            Some(address) => Some((address, flow.port) != (packet.destination, packet.port)),
            None if flow.port != packet.port => Some(true),
            // Which of its own addresses this machine redirects to is not known.
            None => {
                at.ask(|asked| asked.local(packet.destination));
                (!at.machine.is_local(packet.destination)).then_some(true)
            }
        },
    }
}
