//! One line on every word of the language, for hover and completion.

/// What a word means; `None` for what is none.
pub fn meaning(word: &str) -> Option<&'static str> {
    Some(match word {
        "accept" => "also accept the forwarded connections in the filter table",
        "as" => "`as NAME`: the service's name",
        "backup" => "gets connections only where all beside it that is no backup is drained",
        "balance" => "`balance PROTO LISTEN [OPTION ...] -> BACKENDS`: a service",
        "buckets" => "`buckets 7`, `49` or `343`: how finely the hash divides the clients",
        "burst" => "`burst N`: connections above the rate that are let through at once",
        "by" => "`by random`, `by round-robin` or `by source-hash`: how a new connection picks its backend",
        "counter" => "count connections per service and per backend",
        "default" => "`default OPTION ...`: what every later `balance` of this file starts from",
        "drop" => "what is kept out is dropped",
        "else" => "`else drop` or `else reject`: what happens to what is kept out",
        "from" => "`from [not] NETS`: only clients in these nets, prefixes, hosts or addresses",
        "hairpin" => "`masquerade hairpin`: only where client and backend share a host or a net",
        "host" => "`host NAME = ADDRESS[, ADDRESS]`: a machine, with one address per family",
        "hour" => "`limit N/hour`",
        "include" => "`include \"PATH\"`: another file, relative to this one",
        "limit" => "`limit N/UNIT [burst N] [per source]`: the most new connections in a second, minute or hour",
        "local" => "addresses of this machine",
        "log" => "`log [\"PREFIX\"]`: log new connections, rate-limited",
        "masquerade" => "backends see this machine as the client",
        "max-connections" => "`max-connections N [per source]`: the most connections at a time",
        "minute" => "`limit N/minute`",
        "net" => "`net NAME = ITEM, ...`: addresses, prefixes, hosts and other nets",
        "not" => "all but these; it covers the whole list",
        "on" => "`on [not] IFACES`: only what arrives on these interfaces",
        "output" => "also balance connections that this machine itself opens",
        "per" => "`per source`: for each client address on its own",
        "pool" => "`pool NAME = BACKENDS`: a list of backends that can be used in several places",
        "random" => "each new connection picks a backend at random, by weight",
        "reject" => "what is kept out is told so: a TCP reset, or port unreachable",
        "round-robin" => "new connections take the backends in turn, by weight",
        "sctp" => "the protocol SCTP",
        "second" => "`limit N/second`",
        "seed" => "`seed N`: another way to deal the buckets",
        "snat" => "`snat ADDRESS[, ADDRESS]`: backends see this address as the client",
        "source" => "`per source`: for each client address on its own",
        "source-hash" => "`by source-hash [seed N] [buckets N]`: the client's address picks the backend",
        "sticky" => "`sticky DURATION`: a client stays on its backend for so long after its last new connection",
        "tcp" => "the protocol TCP",
        "udp" => "the protocol UDP",
        "weight" => "`weight N`, 0 to 65535: the share beside the others of the list; 0 drains",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_of_the_language_has_a_meaning_and_no_other() {
        assert!(crate::keyword::all().all(|word| meaning(word).is_some()));
        assert_eq!(meaning("web"), None);
        let source = include_str!("words.rs");
        let arms = source.lines().filter(|line| line.trim_start().starts_with('"')).count();
        assert_eq!(arms, crate::keyword::all().count());
    }
}
