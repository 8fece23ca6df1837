//! The rules that dumps have by the hundred thousand, read in one go. What is not plain is left to the reader proper.

use std::borrow::Cow;
use std::net::Ipv4Addr;

use crate::ir::Family;
use crate::statement::balance::Protocol;
use crate::survey::Side;
use crate::target::iptables::dump::{Match, Net, Rule, RuleProtocol, Target};
use crate::target::iptables::model::{DnatPort, Negatable};
use crate::target::iptables::restore::Families;

use super::{option, target, value};

/// A rule for the end of a chain.
pub struct Plain<'t> {
    pub chain: &'t str,
    pub rule: Rule<'t>,
    /// The chain that it leads to, and whether it stays there.
    pub aim: Option<(&'t str, bool)>,
}

/// What the rules of a chain repeat: the name of the chain and the comment of the rule before.
#[derive(Clone, Copy)]
pub struct Before<'t> {
    chain: &'t str,
    /// Without quotes and backslashes in it.
    comment: &'t str,
    /// Whether the text has other blanks than spaces.
    blanks: bool,
}

impl<'t> Before<'t> {
    /// Before the first rule of a text.
    pub fn in_text(text: &str) -> Before<'t> {
        Before { chain: "", comment: "", blanks: memchr::memchr2(b'\t', b'\r', text.as_bytes()).is_some() }
    }

    /// Behind a plain rule.
    pub fn rule(&mut self, chain: &'t str, rule: &Rule<'t>) {
        self.chain = chain;
        if let Some(Cow::Borrowed(comment)) = rule.comment {
            self.comment = comment;
        }
    }
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

    /// Takes some words and the space behind them, where they come next.
    #[inline(always)]
    fn skip(&mut self, words: &str) -> bool {
        let found = self.line.as_bytes().get(self.at..).is_some_and(|rest| rest.starts_with(words.as_bytes()));
        if found {
            self.at += words.len();
        }
        found
    }

    /// As [`Words::next`], where it may well be this word.
    #[inline]
    fn guessed(&mut self, guess: &'t str) -> Option<&'t str> {
        let rest = self.line.as_bytes().get(self.at..)?;
        if guess.is_empty() || !rest.starts_with(guess.as_bytes()) || rest.get(guess.len()) != Some(&b' ') {
            return self.next();
        }
        self.at += guess.len() + 1;
        Some(guess)
    }

    fn expect(&mut self, word: &str) -> Option<()> {
        (self.next()? == word).then_some(())
    }

    /// A word that may stand in double quotes, with nothing to unescape.
    fn quoted(&mut self, guess: &'t str) -> Option<&'t str> {
        let rest = self.line.as_bytes().get(self.at..)?;
        if let [b'"', rest @ ..] = rest
            && rest.starts_with(guess.as_bytes())
            && let [b'"', b' ', ..] = rest[guess.len()..]
        {
            self.at += guess.len() + 3;
            return Some(guess);
        }
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
pub fn plain<'t>(line: &'t str, families: Families, number: u32, before: Before<'t>) -> Option<Plain<'t>> {
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
    if before.blanks && memchr::memchr2(b'\t', b'\r', line.as_bytes()).is_some() {
        return None;
    }
    let mut words = Words { line, at: command };
    if !words.skip("-A ") {
        return None;
    }
    let chain = words.guessed(before.chain).filter(|chain| !chain.starts_with('-') && *chain != "!")?;
    let mut found = Plain { chain, rule: Rule::new(number, line, family), aim: None };
    let rule = &mut found.rule;
    while !words.is_over() {
        let start = words.at;
        // What most rules are made of.
        if words.skip("-m comment --comment ") {
            rule.comment.get_or_insert(Cow::Borrowed(words.quoted(before.comment)?));
            continue;
        }
        if rule.protocol.is_none() && words.skip("-p tcp ") {
            rule.protocol = Some(Negatable { not: false, value: RuleProtocol::One(Protocol::Tcp) });
            continue;
        }
        if words.skip("-m statistic --mode random --probability ") {
            one_match(rule, Match::Random { not: false, k: probability(&mut words)? });
            continue;
        }
        if words.skip("-j DNAT --to-destination ") {
            rule.target = dnat(&mut words, &mut rule.family)?;
            return words.is_over().then_some(found);
        }
        match words.next()? {
            "-s" if rule.source.is_none() => rule.source = Some(net(&mut words, &mut rule.family)?),
            "-d" if rule.destination.is_none() => rule.destination = Some(net(&mut words, &mut rule.family)?),
            "-p" if rule.protocol.is_none() => {
                rule.protocol = Some(Negatable { not: false, value: RuleProtocol::One(protocol(words.next()?)?) });
            }
            "-m" => match words.next()? {
                "comment" => {
                    words.expect("--comment")?;
                    rule.comment.get_or_insert(Cow::Borrowed(words.quoted(before.comment)?));
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
                        rule.target = dnat(&mut words, &mut rule.family)?;
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
            Some(Match::Random { not: false, k: probability(words)? })
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

/// `0.25000000000`
fn probability(words: &mut Words<'_>) -> Option<u32> {
    if let Some(digits) = words.line.as_bytes().get(words.at..)?.strip_prefix(b"0.") {
        let count = digits.iter().take_while(|digit| digit.is_ascii_digit()).count();
        if count == DECIMALS && digits.get(count) == Some(&b' ') {
            let number = digits[..count].iter().fold(0, |number, digit| number * 10 + u64::from(digit - b'0'));
            words.at += "0.".len() + count + 1;
            // Both are exact as doubles, so their ratio is the double nearest to the decimals.
            return Some((number as f64 / 1e11 * 2_147_483_648.0).round() as u32);
        }
    }
    value::probability(words.next()?)
}

/// As `iptables-save` writes.
const DECIMALS: usize = 11;

/// What stands behind `--to-destination`.
fn dnat<'t>(words: &mut Words<'t>, family: &mut Option<Family>) -> Option<Target<'t>> {
    let to = match host_and_port(words) {
        Some((address, port)) => Target::Dnat { address: Some(address.into()), port: DnatPort::Fixed(port) },
        None => target::translation(words.next()?)?,
    };
    if let Target::Dnat { address: Some(address), .. } = to {
        only(family, Family::of(address))?;
    }
    Some(to)
}

/// `192.0.2.1:8080` at the end of the line; `None`, and nothing taken, for anything else.
fn host_and_port(words: &mut Words<'_>) -> Option<(Ipv4Addr, u16)> {
    let (address, rest) = value::quad(words.line.get(words.at..)?)?;
    let [b':', first @ b'1'..=b'9', rest @ ..] = rest.as_bytes() else { return None };
    let mut port = u32::from(first - b'0');
    for digit in rest {
        if !digit.is_ascii_digit() || port > u32::from(u16::MAX) {
            return None;
        }
        port = port * 10 + u32::from(digit - b'0');
    }
    let port = u16::try_from(port).ok()?;
    words.at = words.line.len() + 1;
    Some((address, port))
}
