//! The table of cells, the flat list of listeners and the reference meaning choose the same service.

use std::net::IpAddr;

use ipnet::IpNet;
use proptest::prelude::*;

use super::{AddressRange, Cell, Entry, Hook, Listener, Place, Table, Test, listeners, loopback, multicast, table};
use crate::generated::{Parts, config, program, statement};
use crate::ir::hash::Hash6;
use crate::ir::{Config, Destination, Family};
use crate::meaning::{Action, Connection, Direction, outcome};
use crate::statement::balance::Protocol;

/// Addresses of the machine in these tests.
fn local() -> Vec<IpNet> {
    ["10.0.0.1", "10.1.2.3", "192.0.2.1"].map(|net| IpNet::from(net.parse::<IpAddr>().expect("an address"))).to_vec()
}

fn is_local(address: IpAddr) -> bool {
    local().iter().any(|net| net.contains(&address))
}

fn is_broadcast(address: IpAddr) -> bool {
    [[0; 4], [255; 4]].map(IpAddr::from).contains(&address)
}

/// Asks an entry what its cell has left open; `true` where its service takes the connection.
fn takes(config: &Config, entry: &Entry, connection: &Connection) -> bool {
    let service = &config.services()[entry.service as usize];
    let test = match entry.test {
        Test::Nothing => true,
        Test::Local => is_local(connection.destination),
        Test::NotBroadcast => !is_broadcast(connection.destination),
    };
    let on = match (&connection.direction, entry.on) {
        (Direction::In(interface), true) => service.on.as_ref().is_some_and(|on| on.allows(interface)),
        (Direction::In(_) | Direction::Out, _) => true,
    };
    let from = !entry.from || service.from.as_ref().is_some_and(|from| from.allows(connection.source));
    test && on && from
}

/// Looks a connection up as a target does: stage by stage, and a hit is final.
fn look_up(config: &Config, table: &Table, connection: &Connection) -> Option<u32> {
    let family = Family::of(connection.destination);
    let at = AddressRange::of(IpNet::from(connection.destination));
    let in_loopback = loopback(family).contains(&connection.destination);
    let special = multicast(family).contains(&connection.destination);
    let interface = match &connection.direction {
        Direction::In(interface) => Some(interface),
        Direction::Out => None,
    };
    let hit = |cell: &&Cell| cell.protocol == connection.protocol && cell.ports.contains(connection.port);
    let decide = |cell: &Cell| Some(cell.entries.iter().find(|e| takes(config, e, connection)).map(|e| e.service));
    let stage = |cells: &[Cell]| {
        let place = |cell: &&Cell| match &cell.place {
            Place::Addresses(range) => range.contains(at),
            Place::Loopback => true,
            Place::Local { interface: wanted } | Place::Any { interface: wanted } => {
                wanted.as_ref().is_none_or(|wanted| Some(wanted) == interface)
            }
        };
        cells.iter().filter(hit).find(place).and_then(decide)
    };
    if let Some(found) = stage(&table.exact).or_else(|| stage(&table.ranges)) {
        return found;
    }
    if let Some(found) = table.linear.iter().find(|listener| flat(config, listener, connection)) {
        return Some(found.service);
    }
    if in_loopback {
        return stage(&table.loopback).flatten();
    }
    if special {
        return None;
    }
    if is_local(connection.destination)
        && let Some(found) = stage(&table.local)
    {
        return found;
    }
    if is_broadcast(connection.destination) { None } else { stage(&table.any).flatten() }
}

/// Whether a listener of the flat list matches, its statement's `on` and `from` included.
fn flat(config: &Config, listener: &Listener, connection: &Connection) -> bool {
    let destination = connection.destination;
    let here = match listener.destination {
        Destination::Prefix(net) => net.contains(&destination),
        Destination::Local | Destination::Any if destination.is_loopback() => listener.loopback,
        Destination::Local => is_local(destination),
        Destination::Any => !destination.is_multicast() && !is_broadcast(destination),
    };
    let entry = Entry { service: listener.service, test: Test::Nothing, on: true, from: true };
    let service = &config.services()[listener.service as usize];
    let entry =
        Entry { on: service.on.is_some(), from: super::falls_through(service, Family::of(destination)), ..entry };
    listener.protocol == connection.protocol
        && listener.ports.contains(connection.port)
        && here
        && takes(config, &entry, connection)
}

/// Parts of statements that overlap in many ways.
const PARTS: Parts = Parts {
    protocols: &[(1, "tcp"), (1, "udp"), (1, "tcp,udp")],
    destinations: &[
        (1, ""),
        (1, "*:"),
        (1, "local:"),
        (1, "10.0.0.1:"),
        (1, "10.0.0.2:"),
        (1, "10.0.0.0/8:"),
        (1, "10.1.0.0/16:"),
        (1, "10.1.2.0/24:"),
        (1, "0.0.0.0/0:"),
        (1, "127.0.0.0/8:"),
        (1, "{local, 10.1.2.3}:"),
        (1, "{10.0.0.2, 10.1.0.0/16}:"),
        (1, "224.0.0.0/4:"),
    ],
    ports: &[(1, "80"), (1, "81"), (1, "80,443"), (1, "80-90"), (1, "85-100"), (1, "1-65535"), (1, "82")],
    by: &[(1, "")],
    from: &[
        (2, ""),
        (1, " from 10.9.0.0/16"),
        (1, " from not 10.9.0.0/16"),
        (1, " from 10.9.0.0/16, 10.8.0.0/16"),
        (1, " from 10.9.0.0/16 else drop"),
        (1, " from not 10.9.0.0/16, 10.8.0.1 else reject"),
    ],
    on: &[
        (2, ""),
        (1, " on eth0"),
        (1, " on eth0, wg*"),
        (1, " on not eth0"),
        (1, " on not eth0, eth1"),
        (1, " on eth1"),
    ],
    output: &[(1, ""), (1, " output")],
    effects: &[(1, "")],
    backends: &[(1, "172.16.0.1:7"), (1, ":7"), (1, "172.16.0.1:7 weight 0")],
};

fn connection() -> impl Strategy<Value = Connection> {
    let destination = prop::sample::select(vec![
        "10.0.0.1",
        "10.0.0.2",
        "10.1.2.3",
        "10.1.2.4",
        "10.1.9.9",
        "10.200.0.1",
        "192.0.2.1",
        "192.0.2.2",
        "127.0.0.1",
        "127.3.0.1",
        "224.0.0.5",
        "255.255.255.255",
    ]);
    let source = prop::sample::select(vec!["10.9.0.7", "10.8.0.1", "10.8.0.2", "172.31.0.1"]);
    let port = prop::sample::select(vec![80u16, 81, 82, 85, 90, 91, 100, 443, 5000]);
    let direction = prop::sample::select(vec![Some("eth0"), Some("eth1"), Some("wg7"), Some("lo"), None]);
    let protocol = prop::sample::select(vec![Protocol::Tcp, Protocol::Udp]);
    (destination, source, port, direction, protocol).prop_map(|(destination, source, port, direction, protocol)| {
        Connection {
            protocol,
            source: source.parse().expect("an address"),
            destination: destination.parse().expect("an address"),
            port,
            direction: direction.map_or(Direction::Out, |name| Direction::In(name.to_owned())),
        }
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn cells_and_lists_choose_the_service_that_the_meaning_chooses(
        statements in prop::collection::vec(statement(&PARTS), 1..9),
        connections in prop::collection::vec(connection(), 40),
    ) {
        let Some((text, config)) = program("", &statements) else { return Ok(()) };
        let tables = Hook::ALL.map(|hook| (table(&config, Family::V4, hook), listeners(&config, Family::V4, hook)));
        for connection in &connections {
            let meaning = outcome(&config, connection, &local(), Hash6::Jhash);
            let (table, list) = match connection.direction {
                Direction::In(_) => &tables[0],
                Direction::Out => &tables[1],
            };
            let wanted = meaning.service.map(|index| index as u32);
            prop_assert_eq!(look_up(&config, table, connection), wanted, "{:?}\n{}", connection, text);
            let first = list.iter().find(|listener| flat(&config, listener, connection)).map(|l| l.service);
            prop_assert_eq!(first, wanted, "the flat list: {:?}\n{}", connection, text);
            prop_assert!(wanted.is_some() || meaning.shares == [(Action::Pass, num_traits::One::one())]);
        }
    }
}

#[test]
fn many_ranges_that_overlap_on_many_interfaces_stay_a_list() {
    let text: String =
        (0..300).map(|n| format!("balance tcp {}-{} on eth{n} as s{n} -> 172.16.0.1\n", 1 + n, 60_000 + n)).collect();
    let table = table(&config(&text), Family::V4, Hook::Prerouting);
    assert_eq!(table.linear.len(), 300);
    assert!(table.local.is_empty() && table.any.is_empty());
}

#[test]
fn an_exact_listener_before_a_wide_one_has_a_cell_of_its_own() {
    let text = "balance tcp 10.0.0.1:80 as a -> 172.16.0.1:7\nbalance tcp *:80 as b on eth0 -> 172.16.0.2:7\n";
    let table = table(&config(text), Family::V4, Hook::Prerouting);
    assert_eq!((table.exact.len(), table.any.len()), (1, 1));
    assert_eq!(table.exact[0].entries.len(), 1, "the exact statement comes first and is final");
}

#[test]
fn statements_for_one_interface_each_get_cells_by_interface() {
    let text = "balance tcp 80 as a on eth0 -> 172.16.0.1:7\nbalance tcp 80 as b on eth1 -> 172.16.0.2:7\n";
    let table = table(&config(text), Family::V4, Hook::Prerouting);
    let interfaces: Vec<_> = table.local.iter().map(|cell| cell.place.clone()).collect();
    let place = |name: &str| Place::Local { interface: Some(name.to_owned()) };
    assert_eq!(interfaces, [place("eth0"), place("eth1")]);
}
