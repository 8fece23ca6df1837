//! Words that nft takes: names and comments, checked once.

use std::fmt;
use std::sync::Arc;

use crate::target::cut_front;

/// The name of a table, map or chain: at most 255 bytes of letters, digits and `_ - . /`, a letter or `_` in front,
/// and no word of nft's own grammar.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(Arc<str>);

/// A text that cannot be a [`Name`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadName(pub String);

/// Bytes in a name: NFT_NAME_MAXLEN - 1.
const MAX_NAME: usize = 255;

impl Name {
    pub fn new(text: &str) -> Result<Name, BadName> {
        let starts = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
        let right = starts && text.len() <= MAX_NAME && text.chars().all(fits_name) && !is_keyword(text);
        if right { Ok(Name(text.into())) } else { Err(BadName(text.to_owned())) }
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Whether a character may stand inside a name.
pub fn fits_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | '/')
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A comment on a rule or an element: at most 128 bytes, without `"` (nft has no escape) and control characters.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Comment(Arc<str>);

/// Bytes in a comment: NFTNL_UDATA_COMMENT_MAXLEN.
const MAX_COMMENT: usize = 128;

impl Comment {
    /// Takes a text as it is; `None` where it is too long or holds what cannot be written.
    pub fn new(text: &str) -> Option<Comment> {
        (text.len() <= MAX_COMMENT && !text.contains(unwritable)).then(|| Comment(text.into()))
    }

    /// Makes any text fit: `'` for what cannot be written, `…` for what is cut in front.
    pub fn fitted(text: &str) -> Comment {
        Comment::new(text).unwrap_or_else(|| {
            let text = text.replace(unwritable, "'");
            Comment::new(&cut_front(&text, MAX_COMMENT)).expect("what is replaced and cut fits")
        })
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn unwritable(c: char) -> bool {
    c == '"' || c.is_control()
}

impl fmt::Display for Comment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The words of nft's scanner (src/scanner.l) that are keywords everywhere or somewhere, ascending.
#[rustfmt::skip]
const KEYWORDS: &[&str] = &[
    "a-rwnd", "abort", "accept", "ackseq", "add", "ah", "alert", "all", "and", "arp", "asconf", "asconf-ack", "audit",
    "auto-merge", "avgpkt", "bridge", "broute", "burst", "bypass", "bytes", "cfi", "cgroup", "cgroupv2", "chain",
    "chains", "check", "checksum", "chunk", "class", "classid", "code", "comment", "comp", "constant", "continue",
    "cookie-ack", "cookie-echo", "count", "counter", "counters", "cpi", "cpu", "create", "crit", "csumcov", "ct",
    "cum-tsn-ack", "cwr", "daddr", "data", "day", "dccp", "debug", "define", "dei", "delete", "describe", "destroy",
    "device", "devices", "direction", "dnat", "doff", "dport", "drop", "dscp", "dst", "dup", "dynamic", "echo", "ecn",
    "ecne", "egress", "element", "elements", "emerg", "eol", "eq", "err", "error", "erspan", "esp", "ether", "event",
    "exists", "expectation", "expiration", "expires", "export", "exthdr", "fanout", "fastopen", "fib", "filter",
    "flags", "flow", "flowlabel", "flowtable", "flowtables", "flush", "forward-tsn", "frag", "frag-off",
    "fully-random", "fwd", "gateway", "gbp", "gc-interval", "ge", "geneve", "get", "goto", "gre", "gretap", "group",
    "gt", "handle", "hbh", "hdrlength", "heartbeat", "heartbeat-ack", "helper", "helpers", "hlen", "hook", "hooks",
    "hoplimit", "hour", "htype", "ibrhwaddr", "ibriport", "ibrname", "ibrpvid", "ibrvproto", "icmp", "icmpv6", "icmpx",
    "id", "igmp", "iif", "iifgroup", "iifkind", "iifname", "iiftype", "import", "in", "inc", "include", "index",
    "inet", "info", "ingress", "init", "init-ack", "init-tag", "initial-tsn", "insert", "interval", "ip", "ip6",
    "ipsec", "jhash", "json", "jump", "l3proto", "l4proto", "label", "last", "last-entry", "le", "left", "length",
    "level", "limit", "limits", "list", "ll", "loose", "lowest-tsn", "lshift", "lsrr", "lt", "map", "maps", "mark",
    "masquerade", "max-delay", "maxseg", "md5sig", "memory", "meta", "meter", "meters", "mh", "minute", "missing",
    "mod", "monitor", "more-fragments", "mptcp", "mrt", "mss", "mtu", "nat", "ne", "netdev", "never", "new",
    "new-cum-tsn", "nexthdr", "nexthop", "nfproto", "nftrace", "nh", "noop", "nop", "not", "notice", "notrack", "num",
    "num-dup-tsns", "num-gap-ack-blocks", "num-inbound-streams", "num-outbound-streams", "numgen", "obriport",
    "obrname", "offload", "offset", "oif", "oifgroup", "oifkind", "oifname", "oiftype", "operation", "opt-type",
    "option", "options", "or", "original", "osf", "out", "over", "packets", "param-problem", "path", "pcp",
    "performance", "persistent", "pkttype", "plen", "policy", "port", "position", "ppid", "prefix", "priority",
    "proto-dst", "proto-src", "protocol", "ptr", "ptype", "queue", "queue-threshold", "quota", "quotas", "ra",
    "random", "rate", "redefine", "redirect", "reject", "rename", "replace", "reply", "reqid", "reserved",
    "reserved2", "reset", "return", "right", "route", "rr", "rshift", "rt", "rt0", "rt2", "rtclassid", "rule", "rules",
    "ruleset", "sack", "sack-perm", "sack-permitted", "sack0", "sack1", "sack2", "sack3", "saddr", "sctp", "sdif",
    "sdifname", "secmark", "secmarks", "second", "secpath", "seed", "seg-left", "seqno", "sequence", "set", "sets",
    "shutdown", "shutdown-ack", "shutdown-complete", "sid", "size", "skgid", "skip", "skuid", "snaplen", "snat",
    "socket", "spnum", "sport", "srh", "ssn", "ssrr", "state", "states", "status", "stream", "subtype", "symhash",
    "synproxy", "synproxys", "table", "tables", "taddr", "tag", "tcp", "th", "time", "timeout", "timestamp", "to",
    "tos", "tproxy", "trace", "transparent", "tsecr", "tsn", "tsval", "ttl", "tunnel", "tunnels", "type", "typeof",
    "udp", "udplite", "undefine", "until", "update", "urgptr", "used", "value", "version", "vlan", "vm", "vmap", "vni",
    "vtag", "vxlan", "warn", "week", "wildcard", "window", "with", "wscale", "xml", "xor", "xt", "zone",
];

fn is_keyword(word: &str) -> bool {
    KEYWORDS.binary_search(&word).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keywords_are_ascending() {
        assert!(KEYWORDS.windows(2).all(|pair| pair[0] < pair[1]));
    }

    #[test]
    fn names_are_checked() {
        for name in ["lbc", "lbc-edge", "prerouting", "output", "refuse", "svc-tcp-10.0.0.0/24-80-ip4", "_x"] {
            assert!(Name::new(name).is_ok(), "{name}");
        }
        let long = "x".repeat(256);
        for name in ["", "8080", "-x", "reject", "map", "a:b", "a b", "é", "a~b", &long] {
            assert_eq!(Name::new(name), Err(BadName(name.to_owned())));
        }
    }

    #[test]
    fn comments_are_made_to_fit() {
        assert_eq!(Comment::fitted("a \"b\"\n").as_str(), "a 'b''");
        let cut = Comment::fitted(&"é".repeat(100));
        assert!(cut.as_str().len() <= MAX_COMMENT && cut.as_str().starts_with("…é"), "{cut}");
        assert_eq!(Comment::new(&"x".repeat(129)), None);
        assert_eq!(Comment::fitted(&"x".repeat(128)).as_str(), "x".repeat(128));
    }
}
