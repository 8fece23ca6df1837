//! Every form of LISTEN: which destinations, ports and protocols a statement is for.

use std::net::{IpAddr, SocketAddr, SocketAddrV6, UdpSocket};

use nix::net::if_::if_nametoindex;

use crate::available::tool;
use crate::case::{check, with_hosts};
use crate::lab;
use crate::net::{Host, Lab};
use crate::target::Target;

#[test]
fn a_service_without_destination_takes_the_addresses_of_this_machine_and_no_others() {
    let Some(lab) = lab!() else { return };
    check(
        &lab,
        "balance tcp,udp 80 -> b1\nbalance sctp local:80 -> b2\n",
        "tcp,udp client > LOCAL:80 OTHER:80 LB:80 = b1:80
         sctp client2 > LOCAL:80 OTHER:80 LB:80 = b2:80
         tcp,udp,sctp client > TRANSIT:80 = b3:80
         tcp,udp client2 > B2:80 = b2:80
         tcp,udp client > ROUTED:80 = nowhere
         tcp,udp client > LOCAL:81 = lb:81
         tcp,udp client > LOCAL:7777 = refused
         tcp,udp lb > LOCAL:80 LO:80 = lb:80
         tcp lb > TRANSIT:80 = b3:80",
    );
}

#[test]
fn lists_and_ranges_of_ports_take_each_of_their_ports_and_no_other() {
    let Some(lab) = lab!() else { return };
    check(
        &lab,
        "balance tcp 53,80,81,443,8000-8001,8002,8003,8080,8081,8082,8083,9000,9001,9002,9003,9050 -> b1\n\
         balance udp 8000-8002,9000-9001,53 as names -> b2\n\
         balance sctp 1-79,65000-65535 -> b3:9000\n",
        "tcp client > LOCAL:53,80,81,443,8000-8003,8080-8083,9000-9003,9050 = b1:=
         tcp client > LOCAL:9051 = lb:9051
         udp client > LOCAL:8000-8002,9000-9001,53 = b2:=
         udp client > LOCAL:80,8003,9002 = lb:=
         sctp client > LOCAL:1,79,65000,65535 = b3:9000
         sctp client > LOCAL:80,64999 = lb:=",
    );
}

#[test]
fn an_address_is_taken_wherever_it_belongs_to() {
    let Some(lab) = lab!() else { return };
    check(
        &lab,
        "balance tcp,udp,sctp 203.0.113.10:80 -> b1\n\
         balance tcp,udp,sctp [2001:db8:ffff::10]:80 -> b2\n\
         balance tcp,udp,sctp {203.0.113.20, [2001:db8:ffff::20]}:80 -> b3\n\
         balance tcp,udp,sctp transit:80 -> b2\n\
         balance tcp {other, routed}:443 -> b1:8080\n",
        "tcp,udp,sctp client > LOCAL4:80 = b1:80
         tcp,udp,sctp client > LOCAL6:80 = b2:80
         tcp,udp,sctp client2 > ROUTED:80 = b3:80
         tcp,udp,sctp client > TRANSIT:80 = b2:80
         tcp,udp client > OTHER:80 LB:80 = lb:80
         tcp client > OTHER:443 ROUTED:443 = b1:8080
         udp client > OTHER:443 = lb:443
         tcp client > TRANSIT:443 = b3:443
         tcp client > TRANSIT:81 = b3:81
         tcp client > ROUTED:81 = nowhere",
    );
}

#[test]
fn a_net_is_taken_for_its_prefixes() {
    let Some(lab) = lab!() else { return };
    check(
        &lab,
        "net upper = 203.0.113.16/28, 2001:db8:ffff::20/123\n\
         net mixed = upper, other\n\
         balance tcp,udp upper:80 -> b1\n\
         balance tcp mixed:443,8000-8001 -> b2\n\
         balance sctp {local, upper}:80 -> b2\n\
         balance udp {203.0.113.0/29, 203.0.113.30}:8000-8003 -> 10.9.1.11\n",
        "tcp,udp client > ROUTED:80 TRANSIT:80 = b1:80
         tcp,udp client > LOCAL:80 OTHER:80 = lb:80
         tcp client > ROUTED:443,8000-8001 TRANSIT:443 OTHER:443,8001 = b2:=
         tcp client > LOCAL:443,8000 OTHER:8002 = lb:=
         sctp client > ROUTED:80 TRANSIT:80 LOCAL:80 OTHER:80 = b2:80
         udp client > TRANSIT4:8000,8003 = b1:=
         udp client > TRANSIT6:8000 TRANSIT:81 = b3:=
         udp client > OTHER:8000 = lb:8000",
    );
}

#[test]
fn a_star_takes_what_this_machine_forwards_too() {
    let Some(lab) = lab!() else { return };
    check(
        &lab,
        "balance tcp,udp *:80 on cl* -> b1\nbalance sctp *:8000-8003 on cl* -> b2\nbalance tcp *:443 output -> b2\n",
        "tcp,udp client > LOCAL:80 OTHER:80 LB:80 ROUTED:80 TRANSIT:80 B2:80 = b1:80
         sctp client2 > LOCAL:8000,8003 ROUTED:8001 TRANSIT:8002 B1:8003 = b2:=
         tcp,udp client > LOCAL:81 = lb:81
         tcp,udp client > TRANSIT:81 = b3:81
         tcp client > TRANSIT:443 LOCAL:443 ROUTED:443 = b2:443
         tcp lb > TRANSIT:443 LOCAL:443 B1:443 = b2:443
         tcp lb > LO:443 = lb:443
         tcp lb > LO:80 LOCAL:80 = lb:80",
    );
}

#[test]
fn a_family_without_backends_is_left_alone() {
    let Some(lab) = lab!() else { return };
    check(
        &lab,
        "balance tcp,udp 80 -> 10.9.1.11\n\
         balance tcp,udp 443 -> [fd09:1::12]\n\
         balance tcp,udp *:81 on cl0 -> 10.9.1.11, [fd09:1::12]:8080\n\
         balance tcp vip:8000 -> 10.9.1.11:8080\n",
        "tcp,udp client > LOCAL4:80 = b1:80
         tcp,udp client > LOCAL6:80 = lb:80
         tcp,udp client > LOCAL4:443 = lb:443
         tcp,udp client > LOCAL6:443 = b2:443
         tcp,udp client > LOCAL4:81 TRANSIT4:81 = b1:81
         tcp,udp client > LOCAL6:81 TRANSIT6:81 = b2:8080
         tcp client > LOCAL4:8000 = b1:8080
         tcp client > LOCAL6:8000 = lb:8000",
    );
}

#[test]
fn a_program_of_one_family_loads_for_that_family() {
    let Some(lab) = lab!() else { return };
    check(
        &lab,
        "balance tcp,udp,sctp 203.0.113.10:80 -> b1, b1:8080\n",
        "tcp,udp,sctp client > LOCAL4:80 = any b1:80 b1:8080
         tcp,udp client > LOCAL6:80 = lb:80",
    );
    check(
        &lab,
        "balance tcp,udp,sctp [2001:db8:ffff::20]:80 from fd20::/64 else reject -> b1\n",
        "tcp,udp,sctp client@20.7 > ROUTED6:80 = b1:80
         tcp,udp,sctp client > ROUTED6:80 = refused
         tcp client > ROUTED4:80 = nowhere",
    );
}

/// Sees datagrams to b1 behind the nat hook; one that was sent to many machines is never forwarded.
const WATCH: &str = "\
table inet watch {
    chain prerouting {
        type filter hook prerouting priority -50
        ip daddr 10.9.1.11 udp dport 53 counter
        ip6 daddr fd09:1::11 udp dport 53 counter
    }
}
";

/// Sends a datagram to port 53 of each address from the client; returns how many of each family went to b1.
fn watched(lab: &Lab, destinations: &[&str]) -> [u64; 2] {
    lab.run_ok(Host::Balancer, tool("nft").args(["-f", "-"]), WATCH).expect("a table beside ours");
    lab.enter(Host::Client, || {
        let scope = if_nametoindex("eth0").expect("the client's interface");
        for destination in destinations {
            let (from, to): (IpAddr, SocketAddr) = match destination.parse().expect("an address") {
                IpAddr::V4(to) => (Host::Client.address(false), (to, 53).into()),
                IpAddr::V6(to) => (Host::Client.address(true), SocketAddrV6::new(to, 53, 0, scope).into()),
            };
            let socket = UdpSocket::bind((from, 0)).expect("a free port");
            socket.set_broadcast(true).expect("a new socket");
            socket.send_to(b"?", to).unwrap_or_else(|error| panic!("a datagram to {to}: {error}"));
        }
    });
    let listing =
        lab.run_ok(Host::Balancer, tool("nft").args(["list", "table", "inet", "watch"]), "").expect("a listing");
    let counts: Vec<u64> =
        listing.split("packets ").skip(1).filter_map(|rest| rest.split(' ').next()?.parse().ok()).collect();
    counts.try_into().expect("two counters")
}

#[test]
fn a_star_leaves_multicast_and_broadcast_out() {
    let Some(lab) = lab!() else { return };
    if !lab.targets().any(|target| target == Target::Nft) {
        return;
    }
    let many = ["224.0.0.251", "239.1.2.3", "10.9.0.255", "255.255.255.255", "ff02::fb", "ff05::1:3", "ff0e::1"];
    let star = with_hosts("balance udp *:53 -> b1\nbalance udp local:53 as own -> b1\n");
    let prefixes =
        with_hosts("net many = 224.0.0.0/4, 10.9.0.255, 255.255.255.255, ff00::/8\nbalance udp many:53 -> b1\n");
    for target in lab.targets() {
        lab.install(target, &star).expect("a correct program");
        assert_eq!(watched(&lab, &many), [0, 0], "{target}");
        lab.install(target, &star).expect("a correct program");
        assert_eq!(watched(&lab, &["203.0.113.10", "203.0.113.30", "2001:db8:ffff::20"]), [2, 1], "{target}");
        // A prefix means each of its addresses, and shows that the datagrams above arrive.
        lab.install(target, &prefixes).expect("a correct program");
        assert_eq!(watched(&lab, &many), [4, 3], "{target}");
    }
}
