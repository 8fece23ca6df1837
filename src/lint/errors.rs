//! The documentation of the errors, LB0xx.

use crate::diagnostic::Code;

use super::Doc;

macro_rules! errors {
    ($($code:ident: $what:literal, $why:literal, $example:literal, $instead:literal, $fix:literal;)*) => {
        const ERRORS: &[(Code, Doc)] = &[$(
            (Code::$code, Doc { what: $what, why: $why, example: $example, instead: $instead, fix: $fix }),
        )*];
    };
}

/// The documentation of an error; `None` for a lint.
pub fn document(code: Code) -> Option<&'static Doc> {
    ERRORS.iter().find(|(documented, _)| *documented == code).map(|(_, doc)| doc)
}

errors! {
    InvalidText:
        "A file holds a NUL byte or invalid UTF-8, or is larger than 64 MiB.",
        "It is not the text file that it was taken for, or it was saved in another encoding.",
        "host a = 10.0.0.1\0\n",
        "host a = 10.0.0.1\nbalance tcp 80 -> a\n",
        "";
    Syntax:
        "Something stands where the grammar expects something else. The message says what was expected and what was found.",
        "Nothing is guessed: a typo in an option would otherwise balance in another way than was written.",
        "balance tcp 80 -> 10.0.0.1:8080 wieght 2\n",
        "balance tcp 80 -> 10.0.0.1:8080\n",
        "";
    InvalidNumber:
        "A number, port, weight or duration is out of its range.",
        "Ports go from 1 to 65535, weights from 0 to 65535. The kernel's tools cut or wrap larger numbers in silence.",
        "balance tcp 80 -> 10.0.0.1:80800\n",
        "balance tcp 80 -> 10.0.0.1:8080\n",
        "";
    InvalidAddress:
        "An address or prefix is malformed, a prefix has host bits set, or a host has two addresses of one family.",
        "Tools differ in what they make of `10.0.0.1/16` or of `010.0.0.1`. A host of two addresses is a pool of two hosts.",
        "net lan = 10.20.0.1/16\nbalance tcp 80 from lan -> 10.0.0.1\n",
        "net lan = 10.20.0.0/16\nbalance tcp 80 from lan -> 10.0.0.1\n",
        "";
    InvalidRange:
        "A port range is inverted, or the ranges of a listener and its backend do not fit each other.",
        "A range is shifted port by port, so both need the same number of ports, and the listener no other.",
        "balance tcp 8000-8010 -> 10.0.0.1:9000-9011\n",
        "balance tcp 8000-8010 -> 10.0.0.1:9000-9010\n",
        "";
    InvalidName:
        "A name is a word of the language, is longer than 63 bytes, or ends with `-`.",
        "Reserved words keep the language readable, and leave room for what it may learn.",
        "host weight = 10.0.0.1\n",
        "host heavy = 10.0.0.1\nbalance tcp 80 -> heavy\n",
        "";
    RepeatedOption:
        "An option, attribute or protocol is written twice in one statement.",
        "Which of the two holds would be a guess.",
        "balance tcp 80 on eth0 on eth1 -> 10.0.0.1\n",
        "balance tcp 80 on eth0, eth1 -> 10.0.0.1\n",
        "";
    ContradictoryOptions:
        "Two options exclude each other, or an option does not fit its backends.",
        "A source hash keeps every client on its backend already; a redirected connection never leaves this machine, so there is \
         nothing to masquerade.",
        "balance tcp 80 sticky 10m by source-hash -> 10.0.0.1, 10.0.0.2\n",
        "balance tcp 80 by source-hash -> 10.0.0.1, 10.0.0.2\n",
        "";
    Include:
        "An included file cannot be read, includes itself, or is nested more than 16 deep.",
        "The program would not be whole. Paths are relative to the file that includes.",
        "include \"nosuch.lb\"\n",
        "balance tcp 80 -> 10.0.0.1\n",
        "";
    UnknownName:
        "A host, net or pool is not declared, or is of a kind that cannot stand there.",
        "Other tools make an empty string of it, and load rules for `:8080`.",
        "host web = 10.0.0.1\nbalance tcp 80 -> wbe:8080\n",
        "host web = 10.0.0.1\nbalance tcp 80 -> web:8080\n",
        "Unsafe: it writes the nearest name, where one is near.";
    DuplicateName:
        "A name is declared twice, or two services have one name.",
        "Hosts, nets and pools share their names. Elsewhere the last one wins, in silence.",
        "host a = 10.0.0.1\nhost a = 10.0.0.2\nbalance tcp 80 -> a\n",
        "host a = 10.0.0.1\nhost b = 10.0.0.2\nbalance tcp 80 -> a, b\n",
        "";
    DuplicateListener:
        "Two services have the same protocol, destination, port, interface and clients.",
        "The first match wins, so the second would never get a connection. Netfilter loads it without a word.",
        "balance tcp 80 as a -> 10.0.0.1\nbalance tcp 80 as b -> 10.0.0.2\n",
        "balance tcp 80 -> 10.0.0.1, 10.0.0.2\n",
        "";
    KeptOwnPort:
        "A service on this machine's addresses redirects to the very port that it listens on.",
        "It would change nothing, and take the port from the program that listens there.",
        "balance tcp 80 -> :80\n",
        "balance tcp 80 -> :8080\n",
        "";
    NoBackendForFamily:
        "A service listens on an address of a family, and no backend has an address of it.",
        "NAT does not translate between families: there is nowhere to send such a connection.",
        "balance tcp {203.0.113.10, [2001:db8::10]}:80 -> 10.0.0.1:8080\n",
        "balance tcp {203.0.113.10, [2001:db8::10]}:80 -> 10.0.0.1:8080, [fd00::1]:8080\n",
        "";
    PoolNesting:
        "A pool or net contains itself, pools are nested more than 16 deep, or a service has more than 65,536 backends.",
        "Its shares could not be computed, or nobody could load the rules.",
        "pool blue = green, 10.0.0.1\npool green = blue\nbalance tcp 80 -> blue\n",
        "pool blue = green, 10.0.0.1\npool green = 10.0.0.2\nbalance tcp 80 -> blue\n",
        "";
    UnrepresentableWeight:
        "A share rounds to nothing, or the weights need too many slots or buckets.",
        "A backend with a weight would get no connection at all: a probability of 1e-10 is stored as 0.",
        "balance tcp 80 by source-hash -> 10.0.0.1 weight 200, 10.0.0.2 weight 1\n",
        "balance tcp 80 by source-hash buckets 343 -> 10.0.0.1 weight 200, 10.0.0.2 weight 1\n",
        "";
    TargetLimit:
        "More is written than a target can hold.",
        "iptables cuts what is too long, nft refuses the whole file when it is loaded.",
        "balance tcp 80 log \"a prefix that goes on for more than 29 bytes\" -> 10.0.0.1\n",
        "balance tcp 80 log \"a short prefix\" -> 10.0.0.1\n",
        "";
    NotAnAddress:
        "A DNS name stands where an address or a declared host is needed.",
        "Names are never looked up: without DNS at boot, a firewall with names in it does not load.",
        "balance tcp 80 -> www.example.org:8080\n",
        "host www = 192.0.2.10\nbalance tcp 80 -> www:8080\n",
        "";
    UnsupportedOnTarget:
        "The target cannot do what is written. The message names the target, the reason and the way out. `check` tells it where \
         lbc.toml names a target.",
        "Something similar in its place would be worse: nobody would know.",
        "balance tcp 80 accept -> 10.0.0.1\n",
        "balance tcp 80 -> 10.0.0.1\n",
        "";
    TooManyErrors:
        "A file has more than 1,000 errors; the others are not shown, in no output format. A file of which so many statements cannot \
         be read is not read to its end.",
        "It is probably not the file that was meant, or was made by a program: the first errors say what is wrong with all of it.",
        "",
        "",
        "";
}
