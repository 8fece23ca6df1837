//! The terminals of the grammar that it describes in words.

use std::net::{Ipv4Addr, Ipv6Addr};

use ipnet::{Ipv4Net, Ipv6Net};

use crate::random::Random;

/// How many kinds [`make`] knows of a terminal; a test asks for each of them.
pub fn kinds(words: &str) -> usize {
    match words {
        "duration" => 6,
        "interface" => 5,
        "character of a text" | "character of a comment" => 3,
        "IPv6 address" => 7,
        "ascending range of ports" | "IPv4 network" | "IPv6 network" => 3,
        _ => 1,
    }
}

/// Makes a terminal. Returns which of its kinds it is, and the text.
pub fn make(words: &str, random: &mut Random) -> (usize, String) {
    let kind = random.below(kinds(words));
    let text = match words {
        "CR" => "\r".to_owned(),
        "LF" => "\n".to_owned(),
        "TAB" => "\t".to_owned(),
        "U+FEFF" => "\u{feff}".to_owned(),
        "IPv6 address" => ipv6(kind, random),
        "IPv4 network" => ipv4_network(kind, random).to_string(),
        "IPv6 network" => ipv6_network(kind, random).to_string(),
        "IPv6 network with its address in brackets" => {
            let net = ipv6_network(2, random);
            format!("[{}]/{}", net.addr(), net.prefix_len())
        }
        "ascending range of ports" => {
            let (a, b) = (random.between(1, 65_535), random.between(1, 65_535));
            match kind {
                0 => format!("{a}-{a}"),
                1 => "1-65535".to_owned(),
                _ => format!("{}-0{}", a.min(b), a.max(b)),
            }
        }
        "duration" => duration(kind, random),
        "interface" => interface(kind, random),
        "interface with separators" => {
            (*random.pick(&["a,b", ";", "{", "}", "#", "{}", "a->b", "->", "x#y*", "weight,", "é;é"])).to_owned()
        }
        "character of a text" => match kind {
            0 => (*random.pick(&["a", "Z", "0", "/", ".", "-", "_", " "])).to_owned(),
            1 => (*random.pick(&["#", "{", "}", ";", ",", "->", "'", "\\", "="])).to_owned(),
            _ => (*random.pick(&["é", "→", "\u{a0}", "\u{202e}", "🙂", "\u{feff}"])).to_owned(),
        },
        "at most 29 bytes of TEXT" => {
            let text = *random.pick(&[
                "",
                "x",
                "web: ",
                "#",
                "{;}",
                "->",
                "é",
                "12345678901234567890123456789",
                "éééééééééééééé",
            ]);
            assert!(text.len() <= 29);
            text.to_owned()
        }
        "character of a comment" => match kind {
            0 => (*random.pick(&["a", " ", "0", "#", "lbc: ignore[LB104] why"])).to_owned(),
            1 => (*random.pick(&["\"", "{", "}", ";", ",", "->", "~", "\t", "="])).to_owned(),
            _ => (*random.pick(&["é", "\u{7f}", "\u{1}", "\r", "\u{2028}", "🙂", "\u{feff}"])).to_owned(),
        },
        number => {
            let (low, high) =
                number.split_once("..").unwrap_or_else(|| panic!("`{words}` is a terminal that is not known"));
            let (low, high) = (low.parse().expect("a number"), high.parse().expect("a number"));
            match random.below(4) {
                0 => low,
                1 => high,
                2 => random.between(low, high.min(9)),
                _ => random.between(low, high),
            }
            .to_string()
        }
    };
    (kind, text)
}

fn ipv6(kind: usize, random: &mut Random) -> String {
    let address = Ipv6Addr::from(u128::from(random.next()) << 64 | u128::from(random.next()));
    match kind {
        0 => "::".to_owned(),
        1 => "::1".to_owned(),
        2 => address.to_string(),
        3 => format!("2001:DB8::{:X}", random.below(65_536)),
        4 => format!("::ffff:{}", Ipv4Addr::from(random.next() as u32)),
        5 => address.segments().map(|segment| format!("{segment:04x}")).join(":"),
        _ => format!("fe80:{:x}::", random.below(65_536)),
    }
}

fn ipv4_network(kind: usize, random: &mut Random) -> Ipv4Net {
    let len = [0, 32, random.below(33)][kind] as u8;
    Ipv4Net::new(Ipv4Addr::from(random.next() as u32), len).expect("at most 32").trunc()
}

fn ipv6_network(kind: usize, random: &mut Random) -> Ipv6Net {
    let address = Ipv6Addr::from(u128::from(random.next()) << 64 | u128::from(random.next()));
    let len = [0, 128, random.below(129)][kind] as u8;
    Ipv6Net::new(address, len).expect("at most 128").trunc()
}

fn duration(kind: usize, random: &mut Random) -> String {
    let small = random.between(1, 40);
    match kind {
        0 => format!("{small}ms"),
        1 => format!("{small}s"),
        2 => format!("{small}m0{small}s"),
        3 => format!("{small}h{small}m"),
        4 => format!("{small}d{small}h{small}m{small}s{small}ms"),
        _ => (*random.pick(&["4294967295ms", "1ms", "49d", "0d1s", "1s1s", "000001h"])).to_owned(),
    }
}

fn interface(kind: usize, random: &mut Random) -> String {
    match kind {
        0 => format!("eth{}", random.below(100)),
        1 => format!("br-{}.{}", random.below(10), random.below(10)),
        2 => format!("veth{}*", random.below(10)),
        3 => "*".to_owned(),
        _ => (*random.pick(&[
            "80",
            "-x",
            "!x",
            "é",
            "a-",
            "abcdefghijklmno",
            "abcdefghijklmno*",
            "@$%^&()",
            "a>b",
            "...",
            "_",
        ]))
        .to_owned(),
    }
}
