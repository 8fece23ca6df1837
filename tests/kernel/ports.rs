//! What becomes of the port: kept, fixed, shifted, redirected, and all of that in one service.

use crate::case::check;
use crate::lab;

#[test]
fn a_range_is_shifted_port_by_port() {
    let Some(lab) = lab!() else { return };
    check(
        &lab,
        "balance tcp,udp,sctp vip:8000-8003 -> b1:9000-9003\n\
         balance tcp,udp 8080-8083 -> b2:9000-9003, b3:8000-8003\n\
         balance tcp,udp routed:9000-9003 -> :8000-8003\n\
         balance tcp,sctp transit:8000-8003 -> b2:8080-8083\n\
         balance udp {transit, other}:8000-8003 -> b1:8000-8003\n",
        "tcp,udp,sctp client > LOCAL:8000-8003 = b1:+1000
         tcp,udp client > LOCAL:8080 OTHER:8080 = any b2:9000 b3:8000
         tcp,udp client > LOCAL:8083 = any b2:9003 b3:8003
         tcp client > ROUTED:9000 = lb:8000
         tcp,udp client > ROUTED:9003 = lb:8003
         udp client > ROUTED:9001 = lb:8001
         tcp,sctp client > TRANSIT:8000-8003 = b2:+80
         udp client > TRANSIT:8000,8002 OTHER:8003 = b1:=",
    );
}

#[test]
fn kept_fixed_shifted_and_redirected_ports_mix_in_a_round_robin() {
    let Some(lab) = lab!() else { return };
    check(
        &lab,
        "balance tcp,udp vip:8000-8003 by round-robin -> b1, b2:8080, b3:9000-9003, :9050, :9000-9003\n",
        "tcp client > LOCAL:8001 = seq b1:8001 b2:8080
         udp client > LOCAL:8003 = seq b3:9003 lb:9050
         tcp client > LOCAL:8002 = seq lb:9002 b1:8002
         udp client > LOCAL:8000 = seq b2:8080 b3:9000 lb:9050 lb:9000",
    );
}

#[test]
fn kept_fixed_shifted_and_redirected_ports_mix_at_random() {
    let Some(lab) = lab!() else { return };
    check(
        &lab,
        "balance tcp,udp vip:8000-8003 -> b1, b2:8080, b3:9000-9003 weight 2, :9050, :9000-9003\n\
         balance sctp vip:8000-8003 -> b1:9000-9003, b2\n",
        "tcp client > LOCAL:8001 = shares 600 b1:8001=1 b2:8080=1 b3:9001=2 lb:9050=1 lb:9001=1
         udp client > LOCAL:8003 = shares 600 b1:8003=1 b2:8080=1 b3:9003=2 lb:9050=1 lb:9003=1
         sctp client > LOCAL:8002 = any b1:9002 b2:8002",
    );
}

#[test]
fn ports_of_this_machine_serve_connections_from_everywhere() {
    let Some(lab) = lab!() else { return };
    check(
        &lab,
        "balance tcp,udp,sctp 80 -> :9050\n\
         balance tcp,udp routed:80 -> :9051\n\
         balance tcp,udp transit:80 output -> :9051\n\
         balance tcp,udp 443 by round-robin output -> :9050, :9051\n",
        "tcp,udp,sctp client > LOCAL:80 LB:80 = lb:9050
         tcp,udp b1 > LOCAL:80 OTHER:80 = lb:9050
         tcp,udp client2 > ROUTED:80 TRANSIT:80 = lb:9051
         tcp,udp b2 > ROUTED:80 = lb:9051
         tcp,udp lb > TRANSIT:80 = lb:9051
         tcp,udp lb > LOCAL:80 LO:80 = lb:80
         tcp client > LOCAL:443 = seq lb:9050
         tcp lb > LO:443 = seq lb:9051
         udp lb > LOCAL:443 = seq lb:9050
         udp b3 > LOCAL:443 = seq lb:9051",
    );
}

#[test]
fn a_local_forwarder_serves_the_loopback_addresses() {
    let Some(lab) = lab!() else { return };
    check(
        &lab,
        "balance tcp,udp 80 output -> :9050\n\
         balance tcp 8000-8003 output -> :9000-9003\n\
         balance tcp *:443 output -> :9050, :9051\n\
         balance tcp 127.0.0.1:81 output -> :9051\n\
         balance tcp *:8080 output -> b1\n\
         balance tcp 8081 output -> b1, :9050\n",
        "tcp,udp lb > LO:80 LOCAL:80 LB:80 = lb:9050
         tcp,udp client > LOCAL:80 = lb:9050
         tcp lb > LO:8000,8003 = lb:+1000
         tcp lb > LO:443 TRANSIT:443 = any lb:9050 lb:9051
         tcp client > ROUTED:443 LOCAL:443 = any lb:9050 lb:9051
         tcp lb > LO4:81 = lb:9051
         tcp lb > LO6:81 = lb:81
         tcp lb > LOCAL:81 = lb:81
         tcp lb > LO:8080 = lb:8080
         tcp lb > TRANSIT:8080 = b1:8080
         tcp lb > LO:8081 = lb:8081
         udp lb > LO:443 = lb:443",
    );
}
