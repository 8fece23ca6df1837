//! Masks with holes.

use std::net::{IpAddr, Ipv4Addr};

use super::{address, dump, machine, to};
use crate::ir::Family;
use crate::survey::Survey;
use crate::target::iptables::Evaluator;
use crate::target::iptables::dump::Net;

#[test]
fn an_answer_holds_up_to_the_next_address_that_differs() {
    for (own, mask) in [
        (0x0000_0003, 0x0000_0007),
        (0x0000_0001, 0x0000_00f1),
        (0x0000_0050, 0x0000_00f0),
        (0x0000_0080, 0x0000_0081),
        (0x0000_0000, 0x0000_0000),
        (0x0000_0010, 0x0000_0090),
    ] {
        let v4 = |bits: u32| IpAddr::V4(Ipv4Addr::from_bits(bits));
        let net = Net::new(v4(own), v4(mask)).expect("one family");
        for at in 0..0x300u32 {
            let IpAddr::V4(last) = net.alike_up_to(v4(at)) else { panic!("another family") };
            let is = net.contains(v4(at));
            let wanted = (at..0x1000).find(|next| net.contains(v4(*next)) != is).map_or(u32::MAX, |next| next - 1);
            assert_eq!(last.to_bits(), wanted, "{at:x} {own:x}/{mask:x}");
        }
    }
    let high = Net::new(address("8000::1"), address("8000::ffff")).expect("one family");
    assert_eq!(high.alike_up_to(address("::5")), address("8000::"));
    assert_eq!(high.alike_up_to(address("ffff:ffff::2")), address("ffff:ffff::1:0"));
    assert_eq!(
        high.alike_up_to(address("ffff:ffff:ffff:ffff:ffff:ffff:ffff:2")),
        address("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff")
    );
}

#[test]
fn few_stretches_are_cut_and_many_are_bits_of_the_client() {
    let asked = |source: &str| {
        let text = format!("*nat\n-A PREROUTING -s {source} -p tcp -j DNAT --to-destination 10.0.0.2\nCOMMIT\n");
        let dump = dump(&text);
        let answer = Evaluator::new(&dump, Family::V4).answer(&to("203.0.113.10", 80), &machine(&[]));
        (answer.horizon.source, answer.hashed.is_some())
    };
    // The client is 198.51.100.7.
    assert_eq!(asked("199.0.0.1/255.0.255.255"), (Some(0xc700_0001), false));
    assert_eq!(asked("0.0.0.7/0.0.0.7"), (None, true));
}
