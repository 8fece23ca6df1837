//! The rules as text for `iptables-restore --noflush` and `ip6tables-restore --noflush`.

use std::io::{self, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

use crate::address::bits;
use crate::endpoint::PortRange;
use crate::ir::Family;
use crate::option::limit::Unit;
use crate::statement::balance::Protocol;
use crate::target::split::Probability;

use super::model::{
    BpfProgram, Chain, Comment, CommentId, DestinationType, DnatPort, Interface, Match, Negatable, RateAbove, Rule,
    Ruleset, Table, TableName, Target, Translated,
};

/// Which families the text is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Families {
    /// Plain rules of one family.
    One(Family),
    /// One text for both tools: rules of one family start with `-4` or `-6`.
    Both,
}

/// Whether the jumps from the built-in chains are part of the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hooks {
    Include,
    Skip,
}

/// Prints the rules in pieces of 64 KiB.
pub fn print(rules: &Ruleset, families: Families, hooks: Hooks, to: &mut impl Write) -> io::Result<()> {
    let mut out = Out::new(rules, to);
    // Without rules there is nothing to jump to. What an earlier load brought in can still be taken out.
    if hooks == Hooks::Include && !has_rules(rules, families) {
        out.text(MADE_BY);
        out.text("# There are no rules in it: nothing is to be loaded.\n");
        return out.flush();
    }
    out.header(families, hooks);
    for set in &rules.sets {
        if matches!(families, Families::One(family) if family != set.family) {
            continue;
        }
        let (name, family, timeout) = (set.name.as_str(), set_family(set.family), set.timeout);
        out.text(&format!(
            "# Before: ipset -exist create {name} hash:ip family {family} timeout {timeout} maxelem 65536\n"
        ));
    }
    tables(rules, families, hooks, &mut out)?;
    out.flush()
}

/// As ipset names families.
pub(super) fn set_family(family: Family) -> &'static str {
    match family {
        Family::V4 => "inet",
        Family::V6 => "inet6",
    }
}

const MADE_BY: &str = concat!("# Made by lbc ", env!("CARGO_PKG_VERSION"), ". Edit the .lb files, not this one.\n");

/// Whether any rule is printed.
fn has_rules(rules: &Ruleset, families: Families) -> bool {
    let mut chains = rules.tables.iter().flat_map(|table| &table.chains);
    chains.any(|chain| match families {
        Families::One(family) => !chain.rules(family).is_empty(),
        Families::Both => !chain.v4.is_empty() || !chain.v6.is_empty(),
    })
}

fn tables<W: Write>(rules: &Ruleset, families: Families, hooks: Hooks, out: &mut Out<'_, W>) -> io::Result<()> {
    // Without jumps this replaces what an earlier load brought in: chains that are not used any more are emptied too.
    let emptied = |table: TableName| match hooks {
        Hooks::Include => Vec::new(),
        Hooks::Skip => unused_hooks(rules, table),
    };
    if hooks == Hooks::Skip && !rules.tables.iter().any(|table| table.name == TableName::Filter) {
        let empty = Table { name: TableName::Filter, chains: Vec::new(), hooks: Vec::new() };
        body(&empty, families, &emptied(TableName::Filter), out)?;
        out.text("COMMIT\n");
    }
    for table in &rules.tables {
        body(table, families, &emptied(table.name), out)?;
        if hooks == Hooks::Include {
            for hook in &table.hooks {
                let chain = &table.chains[hook.chain.0 as usize];
                out.text(prefix_of(chain, families));
                out.text("-I ");
                out.text(hook.built_in);
                out.text(" 1 -j ");
                out.text(chain.name.as_str());
                out.text("\n");
            }
        }
        out.text("COMMIT\n");
        out.spill()?;
    }
    Ok(())
}

/// Chains behind the hooks of a table that this program does not need, but an earlier one may have had.
fn unused_hooks(rules: &Ruleset, table: TableName) -> Vec<String> {
    let hooks: &[&str] = match table {
        TableName::Filter => &["INPUT", "FORWARD"],
        TableName::Nat => &["PREROUTING", "OUTPUT", "POSTROUTING"],
    };
    let used = |name: &String| {
        let own = rules.tables.iter().filter(|own| own.name == table).flat_map(|own| &own.chains);
        own.into_iter().any(|chain| chain.name.as_str() == name)
    };
    hooks.iter().map(|hook| format!("{}-{hook}", rules.prefix)).filter(|name| !used(name)).collect()
}

/// `*table`, its chains (`emptied` ones too) and their rules, without jumps and COMMIT: what the script format builds on.
pub(super) fn body<W: Write>(
    table: &Table,
    families: Families,
    emptied: &[String],
    out: &mut Out<'_, W>,
) -> io::Result<()> {
    out.text("*");
    out.text(table.name.as_str());
    out.text("\n");
    let printed = |chain: &&Chain| match families {
        Families::Both => true,
        Families::One(family) => {
            table.hooks.iter().any(|hook| table.chains[hook.chain.0 as usize].name == chain.name)
                || !chain.rules(family).is_empty()
        }
    };
    for name in emptied {
        out.text(&format!(":{name} - [0:0]\n"));
    }
    for chain in table.chains.iter().filter(printed) {
        out.text(":");
        out.text(chain.name.as_str());
        out.text(" - [0:0]\n");
        out.spill()?;
    }
    for chain in &table.chains {
        match families {
            Families::One(family) => out.rules(table, chain, chain.rules(family), "")?,
            Families::Both if chain.v4 == chain.v6 => out.rules(table, chain, &chain.v4, "")?,
            Families::Both => {
                out.rules(table, chain, &chain.v4, "-4 ")?;
                out.rules(table, chain, &chain.v6, "-6 ")?;
            }
        }
    }
    Ok(())
}

/// A jump into a chain that has rules for one family only is that family's.
fn prefix_of(chain: &Chain, families: Families) -> &'static str {
    match (families, chain.v4.is_empty(), chain.v6.is_empty()) {
        (Families::Both, false, true) => "-4 ",
        (Families::Both, true, false) => "-6 ",
        (Families::Both | Families::One(_), _, _) => "",
    }
}

/// A buffer that is written out whenever it is full: one huge one costs more than many small ones.
pub(super) struct Out<'w, W: Write> {
    buffer: Vec<u8>,
    to: &'w mut W,
    comments: &'w [Comment],
    /// The match for the comment that was printed last: the rules of a service follow each other.
    commented: (Option<CommentId>, Vec<u8>),
    /// The number that was printed last, its digits and how many they are: many servers have one port.
    numbered: (u32, [u8; MAX_DIGITS], usize),
}

/// Digits of the largest number.
const MAX_DIGITS: usize = 10;

/// Where the buffer is written out.
const PIECE: usize = 64 << 10;

impl<'w, W: Write> Out<'w, W> {
    pub fn new(rules: &'w Ruleset, to: &'w mut W) -> Out<'w, W> {
        let numbered = (0, *b"0000000000", 1);
        let buffer = Vec::with_capacity(PIECE + 4096);
        Out { buffer, to, comments: &rules.comments, commented: (None, Vec::new()), numbered }
    }

    #[inline]
    pub fn text(&mut self, text: &str) {
        self.buffer.extend_from_slice(text.as_bytes());
    }

    fn spill(&mut self) -> io::Result<()> {
        if self.buffer.len() >= PIECE {
            self.flush()?;
        }
        Ok(())
    }

    pub fn flush(&mut self) -> io::Result<()> {
        self.to.write_all(&self.buffer)?;
        self.buffer.clear();
        Ok(())
    }

    fn header(&mut self, families: Families, hooks: Hooks) {
        let tools = match families {
            Families::One(Family::V4) => &["iptables-restore"][..],
            Families::One(Family::V6) => &["ip6tables-restore"][..],
            Families::Both => &["iptables-restore", "ip6tables-restore"][..],
        };
        self.text(MADE_BY);
        for tool in tools {
            self.text("# Load with: ");
            self.text(tool);
            self.text(" --noflush < FILE\n");
        }
        self.text(match hooks {
            Hooks::Include => {
                "# The jumps from the built-in chains are included: a second load would add them again.\n\
                 # To replace rules that are loaded, compile with `--hooks skip` or `--format script`.\n"
            }
            Hooks::Skip => {
                "# The jumps from the built-in chains are left out (`--hooks skip`): this replaces rules whose\n\
                 # jumps are there already. For a first load compile without it, or with `--format script`.\n"
            }
        });
    }

    fn rules(&mut self, table: &Table, chain: &Chain, list: &[Rule], prefix: &str) -> io::Result<()> {
        let start = [prefix, "-A ", chain.name.as_str()].concat();
        for rule in list {
            self.text(&start);
            self.rule(table, rule);
            self.text("\n");
            self.spill()?;
        }
        Ok(())
    }

    fn rule(&mut self, table: &Table, rule: &Rule) {
        if let Some(source) = &rule.source {
            self.net(" -s ", source);
        }
        if let Some(destination) = &rule.destination {
            self.net(" -d ", destination);
        }
        if let Some(interface) = &rule.interface {
            self.interface(interface);
        }
        match rule.protocol {
            Some(Protocol::Tcp) => self.text(" -p tcp"),
            Some(Protocol::Udp) => self.text(" -p udp"),
            Some(Protocol::Sctp) => self.text(" -p sctp"),
            None => {}
        }
        for one in &rule.matches {
            self.one_match(one, rule.protocol);
        }
        if let Some(comment) = rule.comment {
            self.comment(comment);
        }
        self.target(table, rule);
    }

    #[inline]
    fn comment(&mut self, id: CommentId) {
        let (last, text) = &mut self.commented;
        if *last != Some(id) {
            *last = Some(id);
            let comment = &self.comments[id.0 as usize];
            text.clear();
            text.extend_from_slice(b" -m comment --comment ");
            match comment.is_plain() {
                true => {
                    [b"\"", comment.as_str().as_bytes(), b"\""].iter().for_each(|part| text.extend_from_slice(part))
                }
                false => text.extend_from_slice(quoted(comment.as_str()).as_bytes()),
            }
        }
        self.buffer.extend_from_slice(text);
    }

    fn net(&mut self, option: &str, net: &Negatable<IpNet>) {
        if net.not {
            self.text(" !");
        }
        self.text(option);
        self.prefix(net.value);
    }

    fn prefix(&mut self, net: IpNet) {
        self.address(net.network());
        self.text("/");
        self.number(u32::from(net.prefix_len()));
    }

    fn interface(&mut self, interface: &Negatable<Interface>) {
        self.text(if interface.not { " ! -i " } else { " -i " });
        let Interface { name, prefix } = &interface.value;
        let plus = if *prefix { "+" } else { "" };
        match name.contains(|c: char| c.is_whitespace() || matches!(c, '"' | '\\' | '\'' | '#')) {
            true => self.text(&quoted(&format!("{name}{plus}"))),
            false => {
                self.text(name);
                self.text(plus);
            }
        }
    }

    fn one_match(&mut self, one: &Match, protocol: Option<Protocol>) {
        match one {
            Match::Port(ports) => {
                self.text(" -m ");
                self.text(protocol.map_or("tcp", Protocol::name));
                self.text(" --dport ");
                self.ports(*ports);
            }
            Match::Multiport(list) => {
                self.text(" -m multiport --dports ");
                for (index, ports) in list.iter().enumerate() {
                    self.text(if index > 0 { "," } else { "" });
                    self.ports(*ports);
                }
            }
            Match::DestinationType(kind) => self.text(match kind {
                DestinationType::Local => " -m addrtype --dst-type LOCAL",
                DestinationType::NotBroadcastNorMulticast => " -m addrtype ! --dst-type BROADCAST,MULTICAST",
                DestinationType::NotMulticast => " -m addrtype ! --dst-type MULTICAST",
            }),
            Match::Random(probability) => {
                self.text(" -m statistic --mode random --probability ");
                self.probability(*probability);
            }
            Match::Nth { every } => {
                self.text(" -m statistic --mode nth --every ");
                self.number(*every);
                self.text(" --packet 0");
            }
            Match::Cluster { mask, seed } => {
                self.text(" -m cluster --cluster-total-nodes 7 --cluster-local-nodemask ");
                self.text(&format!("0x{:08x} --cluster-hash-seed 0x{seed:08x}", mask.bits()));
            }
            Match::Bpf(program) => self.bpf(program),
            Match::Translated(translated) => self.translated(translated),
            Match::RateAbove(above) => self.rate_above(above),
            Match::CountAbove { count, client } => {
                self.text(" -m connlimit --connlimit-above ");
                self.number(*count);
                self.text(" --connlimit-mask ");
                self.number(client.map_or(0, bits));
                self.text(" --connlimit-saddr");
            }
            Match::LogRate => self.text(" -m limit --limit 1/sec --limit-burst 10"),
            Match::Recent(recent) => {
                match recent.seconds {
                    Some(seconds) => self.text(&format!(" -m recent --rcheck --seconds {seconds} --reap")),
                    None => self.text(" -m recent --set"),
                }
                let mask = match recent.family {
                    Family::V4 => IpAddr::V4(Ipv4Addr::BROADCAST),
                    Family::V6 => IpAddr::V6(Ipv6Addr::from(u128::MAX)),
                };
                self.text(&format!(" --name {} --mask {mask} --rsource", recent.name));
            }
            Match::InSet(name) => {
                self.text(" -m set --match-set ");
                self.text(name.as_str());
                self.text(" src");
            }
        }
    }

    /// In the order in which iptables-save writes the parts.
    fn translated(&mut self, translated: &Translated) {
        let Translated { protocol, destination, port, client, backend } = translated;
        self.text(" -m conntrack --ctstate DNAT");
        if let Some(protocol) = protocol {
            self.text(" --ctproto ");
            self.text(&protocol.number().to_string());
        }
        if let Some(client) = client {
            self.text(if client.not { " ! --ctorigsrc " } else { " --ctorigsrc " });
            self.net_or_host(client.value);
        }
        if let Some(net) = destination {
            self.text(" --ctorigdst ");
            self.net_or_host(*net);
        }
        if let Some((address, _)) = backend {
            self.text(" --ctreplsrc ");
            self.address(*address);
        }
        if let Some(port) = port {
            self.text(" --ctorigdstport ");
            self.ports(*port);
        }
        if let Some((_, ports)) = backend {
            self.text(" --ctreplsrcport ");
            self.ports(*ports);
        }
    }

    fn net_or_host(&mut self, net: IpNet) {
        match net.prefix_len() == net.max_prefix_len() {
            true => self.address(net.addr()),
            false => self.prefix(net),
        }
    }

    fn rate_above(&mut self, above: &RateAbove) {
        let unit = match above.unit {
            Unit::Second => "sec",
            Unit::Minute => "min",
            Unit::Hour => "hour",
        };
        self.text(&format!(" -m hashlimit --hashlimit-above {}/{unit} --hashlimit-burst {}", above.rate, above.burst));
        self.text(if above.per_source { " --hashlimit-mode srcip" } else { "" });
        self.text(&format!(" --hashlimit-name {}", above.name));
        self.text(if above.per_source { " --hashlimit-htable-max 65536" } else { "" });
        self.text(&format!(" --hashlimit-htable-expire {}", above.expire));
    }

    fn bpf(&mut self, program: &BpfProgram) {
        self.text(" -m bpf --bytecode \"");
        self.number(program.instructions().len() as u32);
        for i in program.instructions() {
            self.text(",");
            for (number, behind) in
                [(u32::from(i.code), " "), (u32::from(i.jump_true), " "), (u32::from(i.jump_false), " "), (i.k, "")]
            {
                self.number(number);
                self.text(behind);
            }
        }
        self.text("\"");
    }

    fn target(&mut self, table: &Table, rule: &Rule) {
        match &rule.target {
            Target::Jump(chain) => {
                self.text(" -j ");
                self.text(table.chains[chain.0 as usize].name.as_str());
            }
            Target::Goto(chain) => {
                self.text(" -g ");
                self.text(table.chains[chain.0 as usize].name.as_str());
            }
            Target::Return => self.text(" -j RETURN"),
            Target::Dnat(address, port) => {
                self.text(" -j DNAT --to-destination ");
                self.destination(*address, *port);
            }
            Target::Redirect(port) => {
                self.text(" -j REDIRECT --to-ports ");
                self.number(u32::from(*port));
            }
            Target::Reject => {
                self.text(" -j REJECT");
                // `icmp-port-unreachable` is the default of both families, which name it differently.
                if rule.protocol == Some(Protocol::Tcp) {
                    self.text(" --reject-with tcp-reset");
                }
            }
            Target::Drop => self.text(" -j DROP"),
            Target::Count => {}
            Target::Log(prefix) => {
                self.text(" -j LOG");
                // iptables refuses an empty one.
                if !prefix.as_str().is_empty() {
                    self.text(" --log-prefix ");
                    self.text(&quoted(prefix.as_str()));
                }
            }
            Target::Accept => self.text(" -j ACCEPT"),
            Target::Masquerade => self.text(" -j MASQUERADE"),
            Target::Snat(address) => {
                self.text(" -j SNAT --to-source ");
                self.address(*address);
            }
            Target::Remember(name) => {
                self.text(" -j SET --add-set ");
                self.text(name.as_str());
                self.text(" src --exist");
            }
        }
    }

    fn destination(&mut self, address: IpAddr, port: DnatPort) {
        match (address, port) {
            (IpAddr::V6(_), DnatPort::Fixed(_) | DnatPort::Shifted { .. }) => {
                self.text("[");
                self.address(address);
                self.text("]");
            }
            (IpAddr::V4(_) | IpAddr::V6(_), _) => self.address(address),
        }
        match port {
            DnatPort::Kept => {}
            DnatPort::Fixed(port) => {
                self.text(":");
                self.number(u32::from(port));
            }
            DnatPort::Shifted { first, last, base } => self.text(&format!(":{first}-{last}/{base}")),
        }
    }

    fn ports(&mut self, ports: PortRange) {
        self.number(u32::from(ports.first()));
        if !ports.is_single() {
            self.text(":");
            self.number(u32::from(ports.last()));
        }
    }

    fn address(&mut self, address: IpAddr) {
        match address {
            IpAddr::V4(address) => {
                let (mut text, mut len) = ([0; 16], 0);
                for octet in address.octets() {
                    let (digits, count) = OCTETS[usize::from(octet)];
                    text[len..len + 4].copy_from_slice(&digits);
                    len += count + 1;
                }
                let end = self.buffer.len() + len - 1;
                self.buffer.extend_from_slice(&text);
                self.buffer.truncate(end);
            }
            IpAddr::V6(address) => self.text(&address.to_string()),
        }
    }

    /// As `Probability` displays itself.
    fn probability(&mut self, probability: Probability) {
        let mut text = *b"0.00000000000";
        let mut rest = probability.digits();
        for place in (3..text.len()).rev().step_by(2) {
            let pair = PAIRS[(rest % 100) as usize];
            (text[place - 1], text[place]) = (pair[0], pair[1]);
            rest /= 100;
        }
        (text[2], text[0]) = (b'0' + (rest % 10) as u8, b'0' + (rest / 10) as u8);
        self.buffer.extend_from_slice(&text);
    }

    #[inline]
    fn number(&mut self, number: u32) {
        if self.numbered.0 != number {
            self.numbered = digits(number);
        }
        let (_, text, count) = &self.numbered;
        // A copy of a fixed length is cheaper than one of the right length.
        let end = self.buffer.len() + count;
        self.buffer.extend_from_slice(text);
        self.buffer.truncate(end);
    }
}

/// A number with its digits, padded, and their count.
fn digits(number: u32) -> (u32, [u8; MAX_DIGITS], usize) {
    let mut text = [b'0'; MAX_DIGITS];
    let count = number.checked_ilog10().map_or(1, |log| log as usize + 1);
    let mut rest = number;
    for place in (0..count).rev() {
        text[place] = b'0' + (rest % 10) as u8;
        rest /= 10;
    }
    (number, text, count)
}

/// Two digits for each number below a hundred.
const PAIRS: [[u8; 2]; 100] = {
    let mut table = [[0; 2]; 100];
    let mut number = 0;
    while number < 100 {
        table[number] = [b'0' + (number / 10) as u8, b'0' + (number % 10) as u8];
        number += 1;
    }
    table
};

/// Each octet in decimal with a dot behind it, and the number of its digits.
const OCTETS: [([u8; 4], usize); 256] = {
    let mut table = [([b'.'; 4], 0); 256];
    let mut octet = 0;
    while octet < 256 {
        let (digits, count) = match octet {
            0..=9 => ([0, 0, octet], 1),
            10..=99 => ([0, octet / 10, octet % 10], 2),
            _ => ([octet / 100, octet / 10 % 10, octet % 10], 3),
        };
        let mut at = 0;
        while at < count {
            table[octet].0[at] = b'0' + digits[3 - count + at] as u8;
            at += 1;
        }
        table[octet].1 = count;
        octet += 1;
    }
    table
};

/// In double quotes, where `"` and `\` need a backslash.
fn quoted(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for c in text.chars() {
        if matches!(c, '"' | '\\') {
            quoted.push('\\');
        }
        quoted.push(c);
    }
    quoted.push('"');
    quoted
}
