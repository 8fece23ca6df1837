//! The options that are known, by the extension that brings them in.

/// An option: its name, how many words follow, and the name that it is another spelling of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spec {
    pub name: &'static str,
    pub words: u8,
    pub canonical: &'static str,
}

const fn spec(name: &'static str, words: u8) -> Spec {
    Spec { name, words, canonical: name }
}

const fn alias(name: &'static str, words: u8, canonical: &'static str) -> Spec {
    Spec { name, words, canonical }
}

/// Options of every rule.
pub const BASE: &[Spec] = &[
    spec("source", 1),
    spec("destination", 1),
    alias("src", 1, "source"),
    alias("dst", 1, "destination"),
    spec("protocol", 1),
    spec("in-interface", 1),
    spec("out-interface", 1),
    spec("match", 1),
    spec("jump", 1),
    spec("goto", 1),
    spec("fragments", 0),
    alias("fragment", 0, "fragments"),
    spec("ipv4", 0),
    spec("ipv6", 0),
    spec("set-counters", 2),
    spec("wait", 0),
];

/// The option of every rule that a letter stands for.
pub fn short(letter: u8) -> Option<Spec> {
    let name = match letter {
        b's' => "source",
        b'd' => "destination",
        b'p' => "protocol",
        b'i' => "in-interface",
        b'o' => "out-interface",
        b'm' => "match",
        b'j' => "jump",
        b'g' => "goto",
        b'f' => "fragments",
        b'4' => "ipv4",
        b'6' => "ipv6",
        b'c' => "set-counters",
        b'w' => "wait",
        _ => return None,
    };
    BASE.iter().find(|spec| spec.name == name).copied()
}

/// The matches whose options are known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Module {
    Tcp,
    Udp,
    Sctp,
    Multiport,
    Addrtype,
    Statistic,
    Conntrack,
    State,
    Comment,
    Mark,
    Connmark,
    Recent,
    Limit,
    Hashlimit,
    Connlimit,
    Cluster,
    Bpf,
    Iprange,
    Set,
}

impl Module {
    pub fn of(name: &str) -> Option<Module> {
        Some(match name {
            "tcp" => Module::Tcp,
            "udp" => Module::Udp,
            "sctp" => Module::Sctp,
            "multiport" | "mport" => Module::Multiport,
            "addrtype" => Module::Addrtype,
            "statistic" => Module::Statistic,
            "conntrack" => Module::Conntrack,
            "state" => Module::State,
            "comment" => Module::Comment,
            "mark" => Module::Mark,
            "connmark" => Module::Connmark,
            "recent" => Module::Recent,
            "limit" => Module::Limit,
            "hashlimit" => Module::Hashlimit,
            "connlimit" => Module::Connlimit,
            "cluster" => Module::Cluster,
            "bpf" => Module::Bpf,
            "iprange" => Module::Iprange,
            "set" => Module::Set,
            _ => return None,
        })
    }

    /// In two lists, because ports are options of several matches.
    pub fn options(self) -> [&'static [Spec]; 2] {
        let own = match self {
            Module::Tcp => return [PORTS, TCP],
            Module::Udp => return [PORTS, &[]],
            Module::Sctp => return [PORTS, SCTP],
            Module::Multiport => MULTIPORT,
            Module::Addrtype => ADDRTYPE,
            Module::Statistic => STATISTIC,
            Module::Conntrack => CONNTRACK,
            Module::State => STATE,
            Module::Comment => COMMENT,
            Module::Mark | Module::Connmark => MARK,
            Module::Recent => RECENT,
            Module::Limit => LIMIT,
            Module::Hashlimit => HASHLIMIT,
            Module::Connlimit => CONNLIMIT,
            Module::Cluster => CLUSTER,
            Module::Bpf => BPF,
            Module::Iprange => IPRANGE,
            Module::Set => SET,
        };
        [own, &[]]
    }
}

const PORTS: &[Spec] =
    &[spec("dport", 1), spec("sport", 1), alias("destination-port", 1, "dport"), alias("source-port", 1, "sport")];
const TCP: &[Spec] = &[spec("syn", 0), spec("tcp-flags", 2), spec("tcp-option", 1)];
const SCTP: &[Spec] = &[spec("chunk-types", 2)];
const MULTIPORT: &[Spec] = &[
    spec("dports", 1),
    spec("sports", 1),
    spec("ports", 1),
    alias("destination-ports", 1, "dports"),
    alias("source-ports", 1, "sports"),
];
const ADDRTYPE: &[Spec] =
    &[spec("dst-type", 1), spec("src-type", 1), spec("limit-iface-in", 0), spec("limit-iface-out", 0)];
const STATISTIC: &[Spec] = &[spec("mode", 1), spec("probability", 1), spec("every", 1), spec("packet", 1)];
const CONNTRACK: &[Spec] = &[
    spec("ctstate", 1),
    spec("ctproto", 1),
    spec("ctorigsrc", 1),
    spec("ctorigdst", 1),
    spec("ctreplsrc", 1),
    spec("ctrepldst", 1),
    spec("ctorigsrcport", 1),
    spec("ctorigdstport", 1),
    spec("ctreplsrcport", 1),
    spec("ctrepldstport", 1),
    spec("ctstatus", 1),
    spec("ctexpire", 1),
    spec("ctdir", 1),
];
const STATE: &[Spec] = &[spec("state", 1)];
const COMMENT: &[Spec] = &[spec("comment", 1)];
const MARK: &[Spec] = &[spec("mark", 1)];
const RECENT: &[Spec] = &[
    spec("set", 0),
    spec("rcheck", 0),
    spec("update", 0),
    spec("remove", 0),
    spec("seconds", 1),
    spec("reap", 0),
    spec("hitcount", 1),
    spec("rttl", 0),
    spec("name", 1),
    spec("rsource", 0),
    spec("rdest", 0),
    spec("mask", 1),
];
const LIMIT: &[Spec] = &[spec("limit", 1), spec("limit-burst", 1)];
const HASHLIMIT: &[Spec] = &[
    spec("hashlimit", 1),
    spec("hashlimit-upto", 1),
    spec("hashlimit-above", 1),
    spec("hashlimit-burst", 1),
    spec("hashlimit-mode", 1),
    spec("hashlimit-name", 1),
    spec("hashlimit-srcmask", 1),
    spec("hashlimit-dstmask", 1),
    spec("hashlimit-htable-size", 1),
    spec("hashlimit-htable-max", 1),
    spec("hashlimit-htable-expire", 1),
    spec("hashlimit-htable-gcinterval", 1),
    spec("hashlimit-rate-match", 0),
    spec("hashlimit-rate-interval", 1),
];
const CONNLIMIT: &[Spec] = &[
    spec("connlimit-above", 1),
    spec("connlimit-upto", 1),
    spec("connlimit-mask", 1),
    spec("connlimit-saddr", 0),
    spec("connlimit-daddr", 0),
];
const CLUSTER: &[Spec] = &[
    spec("cluster-total-nodes", 1),
    spec("cluster-local-node", 1),
    spec("cluster-local-nodemask", 1),
    spec("cluster-hash-seed", 1),
];
const BPF: &[Spec] = &[spec("bytecode", 1), spec("object-pinned", 1)];
const IPRANGE: &[Spec] = &[spec("src-range", 1), spec("dst-range", 1)];

const SET: &[Spec] = &[
    spec("match-set", 2),
    spec("return-nomatch", 0),
    spec("update-counters", 0),
    spec("update-subcounters", 0),
    spec("packets-eq", 1),
    spec("packets-lt", 1),
    spec("packets-gt", 1),
    spec("bytes-eq", 1),
    spec("bytes-lt", 1),
    spec("bytes-gt", 1),
];

const TO_REJECT: &[Spec] = &[spec("reject-with", 1)];
const TO_DNAT: &[Spec] = &[spec("to-destination", 1), spec("random", 0), spec("persistent", 0)];
const TO_SNAT: &[Spec] = &[spec("to-source", 1), spec("random", 0), spec("random-fully", 0), spec("persistent", 0)];
const TO_REDIRECT: &[Spec] = &[spec("to-ports", 1), spec("random", 0)];
const TO_MASQUERADE: &[Spec] = &[spec("to-ports", 1), spec("random", 0), spec("random-fully", 0)];
const TO_MARK: &[Spec] =
    &[spec("set-xmark", 1), spec("set-mark", 1), spec("and-mark", 1), spec("or-mark", 1), spec("xor-mark", 1)];
const TO_CONNMARK: &[Spec] = &[
    spec("set-xmark", 1),
    spec("set-mark", 1),
    spec("and-mark", 1),
    spec("or-mark", 1),
    spec("xor-mark", 1),
    spec("save-mark", 0),
    spec("restore-mark", 0),
    spec("mask", 1),
    spec("nfmask", 1),
    spec("ctmask", 1),
];
const TO_HMARK: &[Spec] = &[
    spec("hmark-tuple", 1),
    spec("hmark-mod", 1),
    spec("hmark-offset", 1),
    spec("hmark-rnd", 1),
    spec("hmark-src-prefix", 1),
    spec("hmark-dst-prefix", 1),
    spec("hmark-sport", 1),
    spec("hmark-dport", 1),
    spec("hmark-sport-mask", 1),
    spec("hmark-dport-mask", 1),
    spec("hmark-spi", 1),
    spec("hmark-spi-mask", 1),
    spec("hmark-proto-mask", 1),
];
const TO_CT: &[Spec] = &[
    spec("notrack", 0),
    spec("helper", 1),
    spec("ctevents", 1),
    spec("expevents", 1),
    spec("zone", 1),
    spec("zone-orig", 1),
    spec("zone-reply", 1),
    spec("timeout", 1),
];
const TO_LOG: &[Spec] = &[
    spec("log-level", 1),
    spec("log-prefix", 1),
    spec("log-tcp-sequence", 0),
    spec("log-tcp-options", 0),
    spec("log-ip-options", 0),
    spec("log-uid", 0),
    spec("log-macdecode", 0),
];
const TO_NFLOG: &[Spec] = &[
    spec("nflog-group", 1),
    spec("nflog-prefix", 1),
    spec("nflog-range", 1),
    spec("nflog-size", 1),
    spec("nflog-threshold", 1),
];
const TO_ULOG: &[Spec] =
    &[spec("ulog-nlgroup", 1), spec("ulog-prefix", 1), spec("ulog-cprange", 1), spec("ulog-qthreshold", 1)];
const TO_TCPMSS: &[Spec] = &[spec("set-mss", 1), spec("clamp-mss-to-pmtu", 0)];
const TO_SET: &[Spec] = &[
    spec("add-set", 2),
    spec("del-set", 2),
    spec("map-set", 2),
    spec("timeout", 1),
    spec("exist", 0),
    spec("map-mark", 0),
    spec("map-prio", 0),
    spec("map-queue", 0),
];
const TO_AUDIT: &[Spec] = &[spec("type", 1)];

/// The options of a known target; `None` for one that is not known.
pub fn target(name: &str) -> Option<&'static [Spec]> {
    Some(match name {
        "ACCEPT" | "DROP" | "RETURN" | "NOTRACK" => &[],
        "REJECT" => TO_REJECT,
        "DNAT" => TO_DNAT,
        "SNAT" => TO_SNAT,
        "REDIRECT" => TO_REDIRECT,
        "MASQUERADE" => TO_MASQUERADE,
        "MARK" => TO_MARK,
        "CONNMARK" => TO_CONNMARK,
        "HMARK" => TO_HMARK,
        "CT" => TO_CT,
        "LOG" => TO_LOG,
        "NFLOG" => TO_NFLOG,
        "ULOG" => TO_ULOG,
        "TCPMSS" => TO_TCPMSS,
        "AUDIT" => TO_AUDIT,
        "SET" => TO_SET,
        "TRACE" => &[],
        _ => return None,
    })
}

/// Finds an option in lists: its whole name first, else the only one that starts so.
pub fn find<'l>(lists: impl Iterator<Item = (usize, &'l [Spec])>, name: &str) -> Option<(usize, Spec)> {
    let mut start: Option<(usize, Spec)> = None;
    let mut ambiguous = false;
    for (place, list) in lists {
        for spec in list {
            if spec.name == name {
                return Some((place, *spec));
            }
            if spec.name.starts_with(name) {
                // Two matches may bring in the same option: the later one, which comes first here, gets it.
                match start {
                    Some((_, other)) if other.canonical != spec.canonical => ambiguous = true,
                    Some(_) => {}
                    None => start = Some((place, *spec)),
                }
            }
        }
    }
    start.filter(|_| !ambiguous && !name.is_empty())
}
