//! Statements that overlap: the first match wins, whatever the targets' data structures are.

use crate::case::check;
use crate::lab;

#[test]
fn an_address_before_a_star_and_behind_it() {
    let Some(lab) = lab!() else { return };
    check(
        &lab,
        "balance tcp,udp vip:80 -> b1\n\
         balance tcp,udp *:80 on cl* -> b2\n\
         balance tcp,udp transit:80 as late -> b3:8080\n\
         balance tcp,udp *:443 on cl0 -> b1\n\
         balance tcp,udp vip:443 -> b2\n\
         balance tcp *:81 as everything -> b1\n\
         balance tcp routed:81 as never -> b2\n",
        "tcp,udp client > LOCAL:80 = b1:80
         tcp,udp client > OTHER:80 ROUTED:80 TRANSIT:80 = b2:80
         tcp,udp client > LOCAL:443 TRANSIT:443 = b1:443
         tcp,udp client2 > LOCAL:443 = b2:443
         tcp,udp client2 > TRANSIT:443 = b3:443
         tcp client > ROUTED:81 LOCAL:81 = b1:81
         udp client > LOCAL:81 = lb:81
         tcp lb > TRANSIT:80 = b3:80",
    );
}

#[test]
fn local_and_addresses_and_stars_in_every_order() {
    let Some(lab) = lab!() else { return };
    check(
        &lab,
        "balance tcp 80 as a1 -> b1\nbalance tcp vip:80 as a2 -> b2\nbalance tcp *:80 as a3 -> b3:8080\n\
         balance tcp vip:81 as b1 -> b2\nbalance tcp 81 as b2 -> b1\nbalance tcp *:81 as b3 -> b3:8080\n\
         balance tcp *:443 as c1 -> b3:8080\nbalance tcp 443 as c2 -> b1\nbalance tcp vip:443 as c3 -> b2\n\
         balance tcp vip:8000 as d1 -> b2\nbalance tcp *:8000 as d2 -> b3:8080\nbalance tcp 8000 as d3 -> b1\n\
         balance tcp {routed, other}:8001 as e1 -> b2\nbalance tcp 8001 as e2 -> b1\nbalance tcp routed:8001 from 10.0.0.0/8 as e3 -> b3\n\
         net upper = 203.0.113.0/27, 2001:db8:ffff::/122\n\
         balance tcp 8002 as f1 -> b1\nbalance tcp upper:8002 as f2 -> b2\n\
         balance tcp upper:8003 as g1 -> b2\nbalance tcp 8003 as g2 -> b1\n",
        "tcp client > LOCAL:80 OTHER:80 = b1:80
         tcp client > ROUTED:80 TRANSIT:80 = b3:8080
         tcp client > LOCAL:81 = b2:81
         tcp client > OTHER:81 LB:81 = b1:81
         tcp client > ROUTED:81 TRANSIT:81 = b3:8080
         tcp client > LOCAL:443 OTHER:443 ROUTED:443 = b3:8080
         tcp client > LOCAL:8000 = b2:8000
         tcp client > OTHER:8000 TRANSIT:8000 = b3:8080
         tcp client > ROUTED:8001 OTHER:8001 = b2:8001
         tcp client > LOCAL:8001 = b1:8001
         tcp client > LOCAL:8002 = b1:8002
         tcp client > ROUTED:8002 TRANSIT:8002 = b2:8002
         tcp client > LOCAL:8003 ROUTED:8003 = b2:8003
         tcp client > LB:8003 = b1:8003",
    );
}

#[test]
fn prefixes_in_prefixes_and_ranges_in_ranges() {
    let Some(lab) = lab!() else { return };
    check(
        &lab,
        "net wide = 203.0.113.0/24, 2001:db8:ffff::/64\n\
         net middle = 203.0.113.16/28, 2001:db8:ffff::20/123\n\
         net narrow = 203.0.113.28/30, 2001:db8:ffff::30/124\n\
         balance tcp narrow:80 -> b1\n\
         balance tcp middle:80 -> b2\n\
         balance tcp wide:80 -> b3\n\
         balance tcp wide:443 from 10.20.0.0/16, fd20::/64 -> b3\n\
         balance tcp middle:443 -> b2\n\
         balance tcp vip:8000-8001 -> b1\n\
         balance tcp wide:8000-8003 -> b2\n\
         balance tcp 8002,8003,8080-8083 -> b3\n\
         balance tcp *:1-65535 as everything on cl1 -> b3:9000\n\
         balance udp middle:1-9000 -> b1:8080\n\
         balance udp wide:8001-65535 -> b2:8081\n",
        "tcp client > TRANSIT:80 = b1:80
         tcp client > ROUTED:80 = b2:80
         tcp client > LOCAL:80 = b3:80
         tcp client2 > LOCAL:80 = b3:80
         tcp client@20.1 > TRANSIT:443 LOCAL:443 = b3:443
         tcp client > TRANSIT:443 ROUTED:443 = b2:443
         tcp client > LOCAL:443 = lb:443
         tcp client2 > LOCAL:443 = b3:9000
         tcp client > LOCAL:8000,8001 = b1:=
         tcp client > LOCAL:8002 OTHER:8000 ROUTED:8003 = b2:=
         tcp client > LB:8002 LOCAL:8080 = b3:=
         tcp client > LB:8000 = lb:8000
         tcp client2 > LB:8000 LOCAL:9050 TRANSIT:53 = b3:9000
         udp client > TRANSIT:80 ROUTED:8001,9000 = b1:8080
         udp client > TRANSIT:9001 LOCAL:8001,9050 = b2:8081
         udp client > LOCAL:8000 = lb:8000",
    );
}

#[test]
fn ranges_that_cross_each_other_are_cut_in_source_order() {
    let Some(lab) = lab!() else { return };
    check(
        &lab,
        "balance tcp,udp vip:8001-8002 -> b1\n\
         balance tcp,udp vip:8000-8001,8080 -> b2\n\
         balance udp,sctp vip:8002-8083 -> b3\n\
         balance tcp vip:8002-9000 from 10.20.0.0/16, fd20::/64 -> b3\n\
         balance tcp {vip, routed}:1-65535 as rest -> b1:8080\n\
         balance tcp 8000-8003,9000-9003 -> b2:9050\n",
        "tcp,udp client > LOCAL:8001,8002 = b1:=
         tcp,udp client > LOCAL:8000,8080 = b2:=
         udp,sctp client > LOCAL:8003,8083 = b3:=
         sctp client > LOCAL:8002 = b3:8002
         sctp client > LOCAL:8001 = lb:8001
         tcp client@20.3 > LOCAL:8003,9000 = b3:=
         tcp client > LOCAL:8003,9000,53 ROUTED:8001 = b1:8080
         tcp client > OTHER:8003,9001 = b2:9050
         udp client > LOCAL:9000 = lb:9000",
    );
}

#[test]
fn an_interface_before_and_behind_the_general_case() {
    let Some(lab) = lab!() else { return };
    check(
        &lab,
        "balance tcp,udp 80 as a on cl0 -> b1\nbalance tcp,udp 80 as b -> b2\n\
         balance tcp,udp 81 as c -> b2\nbalance tcp,udp 81 as d on cl0 -> b1\n\
         balance tcp *:443 as e on cl1 -> b1\nbalance tcp vip:443 as f on cl0 -> b2\nbalance tcp 443 as g -> b3\n\
         balance tcp 8000-8003 as h on cl0 -> b1\nbalance tcp vip:8001 as i -> b2\nbalance tcp *:8002 as j on not cl0 -> b3\n\
         balance tcp vip:8080 as k on cl* -> b1\nbalance tcp vip:8080 as l on cl1 -> b2\nbalance tcp *:8080 as m -> b3:8081\n",
        "tcp,udp client > LOCAL:80 = b1:80
         tcp,udp client2 > LOCAL:80 = b2:80
         tcp,udp client > LOCAL:81 = b2:81
         tcp client > LOCAL:443 = b2:443
         tcp client > OTHER:443 = b3:443
         tcp client2 > LOCAL:443 OTHER:443 ROUTED:443 = b1:443
         tcp client > ROUTED:443 = nowhere
         tcp client > LOCAL:8001,8002 = b1:=
         tcp client2 > LOCAL:8001 = b2:8001
         tcp client2 > LOCAL:8002 TRANSIT:8002 = b3:8002
         tcp client2 > LOCAL:8000 = lb:8000
         tcp client > LOCAL:8080 = b1:8080
         tcp client2 > LOCAL:8080 = b1:8080
         tcp client > OTHER:8080 ROUTED:8080 = b3:8081",
    );
}

#[test]
fn clients_fall_through_three_statements_and_more() {
    let Some(lab) = lab!() else { return };
    check(
        &lab,
        "net near = 10.20.0.0/25, fd20::/120\n\
         net all20 = 10.20.0.0/16, fd20::/64\n\
         net all21 = 10.21.0.0/16, fd21::/64\n\
         balance tcp,udp vip:80 as a from near -> b1\n\
         balance tcp,udp 80 as b from not all20, all21 on cl0 -> b2\n\
         balance tcp,udp vip:80 as c from all20 -> b3\n\
         balance tcp,udp *:80 as d from all21 else reject -> b1:8080\n\
         balance tcp,udp vip:80 as never -> b2\n\
         balance tcp vip:443 as e from near, 10.9.0.2 -> b1\n\
         balance tcp vip:443 as f from 10.9.2.2, fd09:2::2 -> b2\n\
         balance tcp vip:443 as g from all21 -> b3\n\
         balance tcp {vip, other}:443 as h from all20 -> b2:8080\n\
         balance tcp 443 as i on cl1 -> b1 weight 0\n",
        "tcp,udp client@20.1 > LOCAL:80 = b1:80
         tcp,udp client > LOCAL:80 OTHER:80 = b2:80
         tcp,udp client@20.200 > LOCAL:80 = b3:80
         tcp client@20.200 > OTHER:80 = refused
         tcp,udp client2@21.4 > LOCAL:80 ROUTED:80 = b1:8080
         tcp,udp client2 > LOCAL:80 TRANSIT:80 = refused
         tcp client@20.1 > LOCAL:443 = b1:443
         tcp client > LOCAL4:443 = b1:443
         tcp client > LOCAL6:443 = lb:443
         tcp client2 > LOCAL:443 = b2:443
         tcp client2@21.4 > LOCAL:443 = b3:443
         tcp client2@21.4 > OTHER:443 = refused
         tcp client@20.200 > LOCAL:443 OTHER:443 = b2:8080
         tcp client > OTHER:443 = lb:443",
    );
}

#[test]
fn one_port_has_a_service_for_each_destination_and_protocol() {
    let Some(lab) = lab!() else { return };
    check(
        &lab,
        "balance tcp vip:80 -> b1\nbalance udp vip:80 -> b2\nbalance sctp vip:80 -> b3\n\
         balance tcp other:80 by round-robin -> b2, b3\nbalance tcp,udp routed:80 by source-hash -> b3:8080\n\
         balance udp transit:80 -> b1:8080\nbalance tcp,udp,sctp 80 -> b1:8081\n",
        "tcp client > LOCAL:80 = b1:80
         udp client > LOCAL:80 = b2:80
         sctp client > LOCAL:80 = b3:80
         tcp client > OTHER:80 = seq b2:80 b3:80
         udp,sctp client > OTHER:80 LB:80 = b1:8081
         tcp,udp client > ROUTED:80 = b3:8080
         udp client > TRANSIT:80 = b1:8080
         tcp client > TRANSIT:80 = b3:80",
    );
}

/// More services of one kind than a dispatch by single rules would be good for.
#[test]
fn many_services_are_told_apart() {
    let Some(lab) = lab!() else { return };
    let mut program = String::new();
    let mut flows = String::new();
    let names = [("vip", "LOCAL"), ("other", "OTHER"), ("routed", "ROUTED"), ("transit", "TRANSIT")];
    for (nth, (name, table)) in names.into_iter().enumerate() {
        for (port, backend) in (8000..8040u16).zip((nth..).map(|number| number % 3 + 1)) {
            let to = [8080, 8081, 9000, 9001][usize::from(port % 4)];
            program += &format!("balance tcp,udp {name}:{port} -> b{backend}:{to}\n");
            if port % 13 == 0 {
                flows += &format!("tcp,udp client > {table}:{port} = b{backend}:{to}\n");
            }
        }
    }
    program += "balance tcp 8000-8100 as rest -> b1:9050\n";
    flows += "tcp client > LB:8013 LOCAL:8040 = b1:9050\n";
    check(&lab, &program, &flows);
}
