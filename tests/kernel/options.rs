//! `from`, `on` and `output`.

use crate::case::check;
use crate::lab;

const NETS: &str = "\
net near = 10.20.0.0/25, fd20::/120
net far = 10.21.0.0/16, fd21::/64
";

#[test]
fn from_lets_its_clients_in_and_the_others_go_on() {
    let Some(lab) = lab!() else { return };
    check(
        &lab,
        &format!(
            "{NETS}host one = 10.9.0.2, fd09::2\n\
             balance tcp,udp vip:80 as near from near -> b1\n\
             balance tcp,udp vip:80 as far from far, one -> b2\n\
             balance tcp,udp vip:80 as rest -> b3\n\
             balance tcp,sctp 443 as strangers from not near, far -> b1\n\
             balance tcp,sctp 443 as friends -> b2, b2:8080\n\
             balance tcp 81 as hosts from b1, one, 10.20.0.5 -> :9050\n\
             balance tcp 8000 as away from not one -> b1\n\
             balance tcp *:8001 as star from far -> b1\n"
        ),
        "tcp,udp client@20.5 > LOCAL:80 = b1:80
         tcp,udp client@20.200 > LOCAL:80 = b3:80
         tcp,udp client2@21.9 > LOCAL:80 = b2:80
         tcp,udp client > LOCAL:80 = b2:80
         tcp,udp client2 > LOCAL:80 = b3:80
         tcp,sctp client@20.5 > LOCAL:443 = any b2:443 b2:8080
         tcp,sctp client2@21.9 > LOCAL:443 = any b2:443 b2:8080
         tcp,sctp client@20.200 > LOCAL:443 = b1:443
         tcp client > LOCAL:81 = lb:9050
         tcp b1 > LOCAL:81 = lb:9050
         tcp b2 > LOCAL:81 = lb:81
         tcp client@20.5 > LOCAL4:81 = lb:9050
         tcp client@20.5 > LOCAL6:81 = lb:81
         tcp client > LOCAL:8000 = lb:8000
         tcp client2 > LOCAL:8000 = b1:8000
         tcp client2@21.9 > TRANSIT:8001 LOCAL:8001 = b1:8001
         tcp client > TRANSIT:8001 = b3:8001",
    );
}

#[test]
fn from_else_decides_about_the_others_too() {
    let Some(lab) = lab!() else { return };
    check(
        &lab,
        &format!(
            "{NETS}balance tcp,udp,sctp vip:80 from near else reject -> b1\n\
             balance tcp,udp,sctp vip:81 from near, far else drop -> b1, b2\n\
             balance tcp,udp vip:443 from not near, far else reject -> b1\n\
             balance tcp vip:8000 from not near else drop -> b2:8080\n\
             balance tcp,udp vip:80,81,443,8000 as never -> b3\n\
             balance tcp,udp,sctp routed:80 from near else reject -> b1\n\
             balance tcp,udp routed:81 from far else drop -> b1\n\
             balance tcp,udp,sctp transit:80 from near, far else reject -> b1\n\
             balance tcp transit:81 from near else drop -> b1\n\
             balance tcp *:8001 from near else reject -> b1\n\
             balance tcp 8002 from near else reject -> :9050\n"
        ),
        "tcp,udp,sctp client@20.5 > LOCAL:80 ROUTED:80 TRANSIT:80 = b1:80
         tcp,udp,sctp client > LOCAL:80 ROUTED:80 TRANSIT:80 = refused
         tcp,udp client2@21.9 > LOCAL:80 ROUTED:80 = refused
         tcp,udp client2@21.9 > TRANSIT:80 = b1:80
         tcp,sctp client2@21.9 > LOCAL:81 = any b1:81 b2:81
         tcp,udp,sctp client > LOCAL:81 = dropped
         tcp,udp client2@21.9 > ROUTED:81 = b1:81
         tcp,udp client > ROUTED:81 = dropped
         tcp client > TRANSIT:81 = dropped
         tcp,udp client@20.5 > LOCAL:443 = refused
         tcp,udp client2@21.9 > LOCAL:443 = refused
         tcp,udp client > LOCAL:443 = b1:443
         tcp client@20.5 > LOCAL:8000 = dropped
         tcp client > LOCAL:8000 = b2:8080
         tcp client@20.5 > LOCAL:8001 TRANSIT:8001 ROUTED:8001 = b1:8001
         tcp client > LOCAL:8001 TRANSIT:8001 ROUTED:8001 = refused
         tcp b1 > LOCAL:8002 = refused
         tcp client@20.5 > LOCAL:8002 = lb:9050
         udp client > LOCAL:8001 = lb:8001",
    );
}

#[test]
fn from_else_closes_a_family_without_backends() {
    let Some(lab) = lab!() else { return };
    check(
        &lab,
        "balance tcp,udp,sctp vip:80 from 10.20.0.0/16 else reject -> 10.9.1.11\n\
         balance tcp,udp vip:81 from 10.20.0.0/16 else drop -> 10.9.1.11\n\
         balance tcp,udp routed:80 from fd20::/64 else reject -> [fd09:1::11]\n\
         balance tcp transit:80 from not fd20::/64 else reject -> 10.9.1.11\n\
         balance tcp,udp 443 from 10.20.0.0/16 else reject -> b1\n\
         balance tcp vip:80,81 as never -> b3\n",
        "tcp,udp,sctp client@20.5 > LOCAL4:80 = b1:80
         tcp,udp,sctp client@20.5 > LOCAL6:80 = refused
         tcp,udp,sctp client > LOCAL:80 = refused
         tcp,udp client@20.5 > LOCAL4:81 = b1:81
         tcp,udp client@20.5 > LOCAL6:81 = dropped
         tcp,udp client@20.5 > ROUTED6:80 = b1:80
         tcp,udp client@20.5 > ROUTED4:80 = refused
         tcp client@20.5 > TRANSIT4:80 = b1:80
         tcp client@20.5 > TRANSIT6:80 = refused
         tcp client > TRANSIT6:80 = refused
         tcp,udp client@20.5 > LOCAL4:443 = b1:443
         tcp,udp client@20.5 > OTHER6:443 = refused",
    );
}

#[test]
fn on_tests_where_a_connection_arrives() {
    let Some(lab) = lab!() else { return };
    check(
        &lab,
        &format!(
            "{NETS}balance tcp,udp 80 as exact on cl0 -> b1\n\
             balance tcp,udp 80 as wild on cl* -> b2\n\
             balance tcp,udp 80 as rest -> :9050\n\
             balance tcp,udp 81 as notone on not cl0 -> :9050\n\
             balance tcp 443 as notmany on not cl0, be0 -> b1\n\
             balance tcp,sctp transit:443 as several on cl0, cl1 -> b1\n\
             balance tcp 8000 as notwild on not cl* -> :9051\n\
             balance tcp 8001 as all on * -> :9051\n\
             balance tcp routed:80 as quoted on \"cl1\", nosuch0 -> b2\n"
        ),
        "tcp,udp client > LOCAL:80 = b1:80
         tcp,udp client2 > LOCAL:80 = b2:80
         tcp,udp b1 > LOCAL:80 = lb:9050
         tcp,udp client > LOCAL:81 = lb:81
         tcp,udp client2 > LOCAL:81 = lb:9050
         tcp b1 > LOCAL:81 = lb:9050
         tcp client > LOCAL:443 = lb:443
         tcp client2 > LOCAL:443 = b1:443
         tcp b1 > LOCAL:443 = lb:443
         tcp,sctp client > TRANSIT:443 = b1:443
         tcp client2 > TRANSIT:443 = b1:443
         tcp lb > TRANSIT:443 = b3:443
         tcp client > LOCAL:8000 = lb:8000
         tcp b1 > LOCAL:8000 LOCAL:8001 = lb:9051
         tcp client2 > LOCAL:8001 = lb:9051
         tcp client2 > ROUTED:80 = b2:80
         tcp client > ROUTED:80 = nowhere
         tcp lb > LOCAL:80 LOCAL:81 LOCAL:8000 = lb:=",
    );
}

#[test]
fn on_from_and_else_are_tested_together() {
    let Some(lab) = lab!() else { return };
    check(
        &lab,
        &format!(
            "{NETS}balance tcp vip:80 as one on cl0 from near else reject -> b1\n\
             balance tcp vip:80 as two from far else drop -> b2\n\
             balance tcp,udp vip:81 as three on not cl0, be0 from far -> b1, b2:8080\n\
             balance tcp,udp vip:81 as four on cl1, be0 from not far -> :9050\n\
             balance tcp 443 as five on not cl1, be0 from not near, far else drop -> b1\n\
             balance tcp 443 as six -> :9051\n\
             balance tcp *:8000 as seven on cl* from near, far else reject -> b1\n"
        ),
        "tcp client@20.5 > LOCAL:80 = b1:80
         tcp client > LOCAL:80 = refused
         tcp client2@21.9 > LOCAL:80 = b2:80
         tcp client2 > LOCAL:80 = dropped
         tcp b1 > LOCAL:80 = dropped
         tcp,udp client2@21.9 > LOCAL:81 = any b1:81 b2:8080
         tcp,udp client2 > LOCAL:81 = lb:9050
         tcp,udp b1 > LOCAL:81 = lb:9050
         tcp,udp client > LOCAL:81 = lb:81
         tcp client > LOCAL:443 = b1:443
         tcp client@20.5 > LOCAL:443 = dropped
         tcp client2 > LOCAL:443 = lb:9051
         tcp b1 > LOCAL:443 = lb:9051
         tcp client@20.5 > TRANSIT:8000 = b1:8000
         tcp client2 > TRANSIT:8000 ROUTED:8000 = refused
         tcp lb > TRANSIT:8000 = b3:8000",
    );
}

#[test]
fn output_balances_what_this_machine_opens() {
    let Some(lab) = lab!() else { return };
    check(
        &lab,
        "balance tcp,udp vip:80 output -> b1\n\
         balance tcp,udp,sctp transit:80 output -> b2\n\
         balance tcp,udp other:80 as ignored on cl0 output -> b3\n\
         balance tcp other:443 as sources from vip, 10.20.0.0/16, fd20::/64 output -> b1\n\
         balance tcp other:81 as closed from vip else reject output -> b1\n\
         balance tcp transit:81 as silent from vip else drop output -> b1\n\
         balance tcp,udp vip:81 as drained output -> b1 weight 0\n\
         balance tcp,udp transit:443 as gone output -> b1 weight 0\n\
         balance tcp,udp 8000 as own output -> b1:8080\n\
         balance tcp 8001 as inward -> b1\n",
        "tcp,udp lb > LOCAL:80 = b1:80
         tcp,udp client > LOCAL:80 = b1:80
         tcp,udp lb > TRANSIT:80 = b2:80
         tcp,udp,sctp client > TRANSIT:80 = b2:80
         sctp lb > TRANSIT:80 = b2:80
         tcp,udp lb > OTHER:80 = b3:80
         tcp,udp client > OTHER:80 = b3:80
         tcp,udp client2 > OTHER:80 = lb:80
         tcp lb@LOCAL > OTHER:443 = b1:443
         tcp lb > OTHER:443 = lb:443
         tcp client@20.5 > OTHER:443 = b1:443
         tcp lb@LOCAL > OTHER:81 = b1:81
         tcp lb > OTHER:81 = refused
         tcp lb > TRANSIT:81 = dropped
         tcp client > TRANSIT:81 = dropped
         tcp,udp lb > LOCAL:81 TRANSIT:443 = refused
         tcp,udp client > LOCAL:81 TRANSIT:443 = refused
         tcp,udp lb > LOCAL:8000 OTHER:8000 LB:8000 = b1:8080
         tcp,udp lb > LO:8000 = lb:8000
         tcp lb > LOCAL:8001 = lb:8001
         tcp client > LOCAL:8001 = b1:8001",
    );
}
