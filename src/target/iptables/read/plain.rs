//! The rules that dumps have by the hundred thousand, read in one go. What is not plain is left to the reader proper.

use std::borrow::Cow;

use crate::ir::Family;
use crate::statement::balance::Protocol;
use crate::survey::Side;
use crate::target::iptables::dump::{Match, Net, Rule, RuleProtocol, Target};
use crate::target::iptables::model::Negatable;
use crate::target::iptables::restore::Families;

use super::{option, target, value};

/// A rule for the end of a chain.
pub struct Plain<'t> {
    pub chain: &'t str,
    pub rule: Rule<'t>,
    /// The chain that it leads to, and whether it stays there.
    pub aim: Option<(&'t str, bool)>,
}

/// Words with one space between them, in a line without other blanks; none holds a quote but a comment.
struct Words<'t> {
    line: &'t str,
    at: usize,
}

impl<'t> Words<'t> {
    #[inline]
    fn next(&mut self) -> Option<&'t str> {
        let rest = self.line.get(self.at..)?;
        let length = memchr::memchr2(b' ', b'"', rest.as_bytes());
        let word = match length {
            None => rest,
            Some(length) if rest.as_bytes()[length] == b' ' => &rest[..length],
            Some(_) => return None,
        };
        self.at += word.len() + 1;
        (!word.is_empty()).then_some(word)
    }

    fn expect(&mut self, word: &str) -> Option<()> {
        (self.next()? == word).then_some(())
    }

    /// A word that may stand in double quotes, with nothing to unescape.
    fn quoted(&mut self) -> Option<&'t str> {
        let Some(rest) = self.line.get(self.at..)?.strip_prefix('"') else { return self.next() };
        let length = memchr::memchr2(b'"', b'\\', rest.as_bytes())?;
        let behind = rest.as_bytes().get(length + 1);
        (rest.as_bytes()[length] == b'"' && behind.is_none_or(|next| *next == b' ')).then(|| {
            self.at += length + 3;
            &rest[..length]
        })
    }

    /// Behind the last word.
    fn is_over(&self) -> bool {
        self.at > self.line.len()
    }
}

/// `None` where the line is not plain, right or wrong.
pub fn plain(line: &str, families: Families, number: u32) -> Option<Plain<'_>> {
    let (written, command) = match line.as_bytes() {
        [b'-', b'4', b' ', ..] => (Some(Family::V4), 3),
        [b'-', b'6', b' ', ..] => (Some(Family::V6), 3),
        _ => (None, 0),
    };
    let family = match (families, written) {
        (Families::One(own), Some(other)) if own != other => return None,
        (Families::One(own), _) => Some(own),
        (Families::Both, written) => written,
    };
    if memchr::memchr2(b'\t', b'\r', line.as_bytes()).is_some() {
        return None;
    }
    let mut words = Words { line, at: command };
    words.expect("-A")?;
    let chain = words.next().filter(|chain| !chain.starts_with('-') && *chain != "!")?;
    let mut found = Plain { chain, rule: Rule::new(number, line, family), aim: None };
    let rule = &mut found.rule;
    while !words.is_over() {
        let start = words.at;
        match words.next()? {
            "-s" if rule.source.is_none() => rule.source = Some(net(&mut words, &mut rule.family)?),
            "-d" if rule.destination.is_none() => rule.destination = Some(net(&mut words, &mut rule.family)?),
            "-p" if rule.protocol.is_none() => {
                rule.protocol = Some(Negatable { not: false, value: RuleProtocol::One(protocol(words.next()?)?) });
            }
            "-m" => match words.next()? {
                "comment" => {
                    words.expect("--comment")?;
                    rule.comment.get_or_insert(Cow::Borrowed(words.quoted()?));
                }
                "statistic" => one_match(rule, statistic(&mut words)?),
                module => {
                    let own = Negatable { not: false, value: RuleProtocol::One(protocol(module)?) };
                    if rule.protocol != Some(own) {
                        return None;
                    }
                    words.expect("--dport")?;
                    let ports = value::ports(words.next()?)?;
                    one_match(rule, Match::Port { not: false, side: Side::Destination, ports });
                }
            },
            "-j" => {
                let name = words.next()?;
                match name {
                    "DNAT" => {
                        words.expect("--to-destination")?;
                        let to = target::translation(words.next()?)?;
                        if let Target::Dnat { address: Some(address), .. } = to {
                            only(&mut rule.family, Family::of(address))?;
                        }
                        rule.target = to;
                    }
                    "ACCEPT" => rule.target = Target::Accept,
                    "DROP" => rule.target = Target::Drop,
                    "RETURN" => rule.target = Target::Return,
                    _ if option::target(name).is_some() => return None,
                    _ => {
                        rule.target = Target::Unknown(&line[start..words.at - 1]);
                        found.aim = Some((name, false));
                    }
                }
                return words.is_over().then_some(found);
            }
            "-g" => {
                let name = words.next()?;
                rule.target = Target::Unknown(&line[start..words.at - 1]);
                found.aim = Some((name, true));
                return words.is_over().then_some(found);
            }
            _ => return None,
        }
    }
    Some(found)
}

fn one_match<'t>(rule: &mut Rule<'t>, one: Match<'t>) {
    // Most rules have one.
    if rule.matches.capacity() == 0 {
        rule.matches.reserve_exact(1);
    }
    rule.matches.push(one);
}

/// Makes a rule one of a family.
fn only(own: &mut Option<Family>, family: Family) -> Option<()> {
    (*own.get_or_insert(family) == family).then_some(())
}

fn net(words: &mut Words<'_>, family: &mut Option<Family>) -> Option<Negatable<Net>> {
    let value = value::net(words.next()?)?;
    only(family, value.family())?;
    Some(Negatable { not: false, value })
}

fn protocol(name: &str) -> Option<Protocol> {
    match name {
        "tcp" => Some(Protocol::Tcp),
        "udp" => Some(Protocol::Udp),
        "sctp" => Some(Protocol::Sctp),
        _ => None,
    }
}

fn statistic<'t>(words: &mut Words<'t>) -> Option<Match<'t>> {
    words.expect("--mode")?;
    match words.next()? {
        "random" => {
            words.expect("--probability")?;
            Some(Match::Random { not: false, k: value::probability(words.next()?)? })
        }
        "nth" => {
            words.expect("--every")?;
            let every = value::number(words.next()?)?;
            words.expect("--packet")?;
            let packet = value::number(words.next()?)?;
            (packet < every).then_some(Match::Nth { not: false, every, packet })
        }
        _ => None,
    }
}
