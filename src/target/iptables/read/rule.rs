//! One rule: its words become options, and those of one extension become one match.

use std::borrow::Cow;
use std::ops::Range;

use smallvec::SmallVec;

use crate::ir::Family;
use crate::statement::balance::Protocol;
use crate::target::iptables::dump::{Interface, Match, Net, Rule, RuleProtocol, Target};
use crate::target::iptables::model::Negatable;

use super::option::{self, BASE, Module, Spec};
use super::token::Token;
use super::{matches, target, value};

/// A rule before addresses are multiplied and names of chains are looked up.
pub struct Draft<'t> {
    /// Without source and destination.
    pub rule: Rule<'t>,
    /// No address is any; a list stands for one rule each.
    pub sources: Addresses,
    pub destinations: Addresses,
    /// The chain that the target may be, where it is no known target.
    pub chain: Option<ChainName<'t>>,
}

pub type Addresses = SmallVec<[Negatable<Net>; 1]>;

/// Where `-j NAME` or `-g NAME` leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChainName<'t> {
    pub name: Cow<'t, str>,
    pub goto: bool,
}

/// An option as it was given.
pub struct Given<'t> {
    /// Its canonical name.
    pub name: &'static str,
    pub not: bool,
    /// Empty where the option has none.
    pub value: Cow<'t, str>,
    /// The second of two values.
    pub second: Cow<'t, str>,
    /// As written, with `!`.
    pub text: &'t str,
}

type Options<'t> = SmallVec<[Given<'t>; 4]>;

#[allow(clippy::large_enum_variant, reason = "a rule has a few, and most are of the large kind")]
enum Entry<'t> {
    Known(Module, Options<'t>),
    /// Bytes of the line.
    Unknown(Range<usize>),
}

struct Aim<'t> {
    name: Cow<'t, str>,
    goto: bool,
    options: Options<'t>,
    /// Has an option that is not known.
    foreign: bool,
    span: Range<usize>,
}

/// What an option that is not known belongs to.
enum Context {
    Nothing,
    Match,
    Target,
}

struct Reader<'t, 'w> {
    line: &'t str,
    tokens: &'w [Token<'t>],
    /// The words of the command, which are no options.
    command: Range<usize>,
    at: usize,
    rule: Rule<'t>,
    sources: Addresses,
    destinations: Addresses,
    entries: SmallVec<[Entry<'t>; 4]>,
    aim: Option<Aim<'t>>,
    context: Context,
}

/// Reads the options around a command, `-A CHAIN` say.
pub fn rule<'t>(
    line: &'t str,
    tokens: &[Token<'t>],
    command: Range<usize>,
    family: Option<Family>,
    number: u32,
) -> Result<Draft<'t>, String> {
    let rule = Rule::new(number, line, family);
    let mut reader = Reader {
        line,
        tokens,
        command,
        at: 0,
        rule,
        sources: Addresses::new(),
        destinations: Addresses::new(),
        entries: SmallVec::new(),
        aim: None,
        context: Context::Nothing,
    };
    reader.options()?;
    reader.finish()
}

impl<'t> Reader<'t, '_> {
    fn options(&mut self) -> Result<(), String> {
        let mut not: Option<usize> = None;
        while self.at < self.tokens.len() {
            if self.at == self.command.start {
                self.at = self.command.end;
                continue;
            }
            let token = &self.tokens[self.at];
            if token.is_not() {
                if not.replace(token.span.start).is_some() {
                    return Err("two `!` before one option".to_owned());
                }
                self.at += 1;
                continue;
            }
            if !token.is_option() {
                return Err(format!("expected an option, found `{}`", token.text));
            }
            self.option(not.take())?;
        }
        match not {
            Some(_) => Err("a `!` with no option behind it".to_owned()),
            None => Ok(()),
        }
    }

    /// One option from `at` on; `not` is where its `!` stands.
    fn option(&mut self, not: Option<usize>) -> Result<(), String> {
        let token = &self.tokens[self.at];
        let start = not.unwrap_or(token.span.start);
        let name = token.text.trim_start_matches('-');
        let (found, inline) = match token.text.starts_with("--") {
            true => {
                let (name, inline) = match name.split_once('=') {
                    Some((name, value)) => (name, Some(value.to_owned())),
                    None => (name, None),
                };
                (self.find(name), inline)
            }
            false => {
                let letter = token.text.as_bytes()[1];
                let rest = token.text.get(2..).filter(|rest| !rest.is_empty());
                (option::short(letter).map(|spec| (self.entries.len() + 1, spec)), rest.map(str::to_owned))
            }
        };
        let Some((place, spec)) = found else {
            self.foreign(start);
            return Ok(());
        };
        self.at += 1;
        let mut given = Given {
            name: spec.canonical,
            not: not.is_some(),
            value: Cow::Borrowed(""),
            second: Cow::Borrowed(""),
            text: "",
        };
        match (spec.words, inline) {
            (0, None) => {}
            (0, Some(_)) => return Err(format!("`--{}` takes no value", spec.name)),
            (words, inline) => {
                if inline.is_none() && !given.not && self.tokens.get(self.at).is_some_and(Token::is_not) {
                    // The old way to write `! -s x`.
                    given.not = true;
                    self.at += 1;
                }
                given.value = match inline {
                    Some(value) => Cow::Owned(value),
                    None => self.word(&spec)?,
                };
                if words > 1 {
                    given.second = self.word(&spec)?;
                }
            }
        }
        let end = self.tokens[self.at - 1].span.end;
        given.text = &self.line[start..end];
        match place {
            place if place < self.entries.len() => {
                if let Entry::Known(_, options) = &mut self.entries[place] {
                    options.push(given);
                }
                Ok(())
            }
            place if place == self.entries.len() => {
                if let Some(aim) = &mut self.aim {
                    aim.options.push(given);
                    aim.span.end = end;
                }
                self.context = Context::Target;
                Ok(())
            }
            _ => self.base(given, start..end),
        }
    }

    fn peek(&self) -> Option<&str> {
        self.tokens.get(self.at).map(|token| &*token.text)
    }

    fn word(&mut self, spec: &Spec) -> Result<Cow<'t, str>, String> {
        let token = self.tokens.get(self.at).filter(|_| self.at != self.command.start);
        self.at += 1;
        token.map(|token| token.text.clone()).ok_or_else(|| format!("`--{}` needs a value", spec.name))
    }

    /// Where an option belongs: the index of a match, behind them the target, behind that the rule itself.
    fn find(&mut self, name: &str) -> Option<(usize, Spec)> {
        if let Some(found) = self.look_up(name) {
            return Some(found);
        }
        // `-p tcp --dport 80` needs no `-m tcp`.
        let module = match self.rule.protocol {
            Some(Negatable { not: false, value: RuleProtocol::One(Protocol::Tcp) }) => Module::Tcp,
            Some(Negatable { not: false, value: RuleProtocol::One(Protocol::Udp) }) => Module::Udp,
            Some(Negatable { not: false, value: RuleProtocol::One(Protocol::Sctp) }) => Module::Sctp,
            Some(Negatable { not: _, value: RuleProtocol::One(_) | RuleProtocol::Other }) | None => return None,
        };
        let loaded = |entry: &Entry<'_>| matches!(entry, Entry::Known(own, _) if *own == module);
        if self.entries.iter().any(loaded) {
            return None;
        }
        self.entries.push(Entry::Known(module, Options::new()));
        let found = self.look_up(name);
        if found.is_none_or(|(place, _)| place + 1 != self.entries.len()) {
            self.entries.pop();
            return None;
        }
        self.context = Context::Match;
        found
    }

    fn look_up(&self, name: &str) -> Option<(usize, Spec)> {
        let count = self.entries.len();
        let known = self.entries.iter().enumerate().rev().filter_map(|(place, entry)| match entry {
            Entry::Known(module, _) => Some((place, module.options())),
            Entry::Unknown(_) => None,
        });
        let matches = known.flat_map(|(place, lists)| lists.map(|list| (place, list)));
        let aim = self.aim.as_ref().filter(|aim| !aim.goto).and_then(|aim| option::target(&aim.name));
        let lists = matches.chain(aim.map(|list| (count, list))).chain([(count + 1, BASE)]);
        let found = option::find(lists, name)?;
        // A match that is not known may have an option that a known one starts with.
        let exact = found.1.name == name;
        let foreign = matches!((&self.context, self.entries.last()), (Context::Match, Some(Entry::Unknown(_))));
        (exact || !foreign).then_some(found)
    }

    /// An option that is not known, with the words behind it.
    fn foreign(&mut self, start: usize) {
        self.at += 1;
        while self.at != self.command.start
            && let Some(token) = self.tokens.get(self.at)
            && !token.is_option()
            && !token.is_not()
        {
            self.at += 1;
        }
        let end = self.tokens[self.at - 1].span.end;
        match (&self.context, self.entries.last_mut(), &mut self.aim) {
            (Context::Target, _, Some(aim)) => {
                aim.foreign = true;
                aim.span.end = end;
            }
            (Context::Match, Some(Entry::Unknown(span)), _) => span.end = end,
            (Context::Match | Context::Nothing | Context::Target, _, _) => {
                self.entries.push(Entry::Unknown(start..end));
                self.context = Context::Match;
            }
        }
    }

    /// An option of the rule itself.
    fn base(&mut self, given: Given<'t>, span: Range<usize>) -> Result<(), String> {
        match given.name {
            "source" => self.sources = self.addresses(&given, span)?,
            "destination" => self.destinations = self.addresses(&given, span)?,
            "protocol" => match value::protocol(&given.value) {
                Some(Some(protocol)) => self.rule.protocol = Some(Negatable { not: given.not, value: protocol }),
                Some(None) if !given.not => {}
                Some(None) | None => self.entries.push(Entry::Unknown(span)),
            },
            "in-interface" => self.rule.input = Some(interface(given)?),
            "out-interface" => self.rule.output = Some(interface(given)?),
            "fragments" => self.rule.matches.push(Match::Fragment { not: given.not }),
            "ipv4" => self.only(Family::V4)?,
            "ipv6" => self.only(Family::V6)?,
            "match" => {
                self.entries.push(match Module::of(&given.value) {
                    Some(module) => Entry::Known(module, Options::new()),
                    None => Entry::Unknown(span),
                });
                self.context = Context::Match;
            }
            "jump" | "goto" => {
                if self.aim.is_some() {
                    return Err("a second target".to_owned());
                }
                let goto = given.name == "goto";
                self.aim = Some(Aim { name: given.value, goto, options: Options::new(), foreign: false, span });
                self.context = Context::Target;
            }
            "wait" if self.peek().is_some_and(|word| value::number(word).is_some()) => self.at += 1,
            // Counters say nothing about what a rule does.
            _ => {}
        }
        Ok(())
    }

    fn addresses(&mut self, given: &Given<'t>, span: Range<usize>) -> Result<Addresses, String> {
        let nets: Option<SmallVec<[Net; 1]>> = given.value.split(',').map(|text| value::net(text.trim())).collect();
        let Some(nets) = nets else {
            self.entries.push(Entry::Unknown(span));
            return Ok(Addresses::new());
        };
        if given.not && nets.len() > 1 {
            return Err("`!` before more than one address".to_owned());
        }
        for net in &nets {
            self.only(net.family())?;
        }
        Ok(nets.into_iter().map(|value| Negatable { not: given.not, value }).collect())
    }

    /// Makes the rule one of a family.
    fn only(&mut self, family: Family) -> Result<(), String> {
        if self.rule.family.is_some_and(|own| own != family) {
            return Err(format!("an {} rule with something of {}", other(family).name(), family.name()));
        }
        self.rule.family = Some(family);
        Ok(())
    }

    fn finish(mut self) -> Result<Draft<'t>, String> {
        for entry in std::mem::take(&mut self.entries) {
            match entry {
                Entry::Unknown(span) => self.rule.matches.push(Match::Unknown(&self.line[span])),
                Entry::Known(Module::Comment, options) => {
                    for option in options {
                        self.rule.comment.get_or_insert(option.value);
                    }
                }
                Entry::Known(module, options) => {
                    let protocol = self.rule.protocol.as_ref();
                    if let Some(family) = matches::build(module, options, protocol, &mut self.rule.matches) {
                        self.only(family)?;
                    }
                }
            }
        }
        let mut chain = None;
        if let Some(aim) = self.aim.take() {
            let text = &self.line[aim.span];
            let known = !aim.goto && option::target(&aim.name).is_some();
            if known {
                let (target, family) = target::build(&aim.name, &aim.options, aim.foreign, text);
                self.rule.target = target;
                if let Some(family) = family {
                    self.only(family)?;
                }
            } else {
                self.rule.target = Target::Unknown(text);
                let plain = !aim.foreign && aim.options.is_empty();
                chain = plain.then_some(ChainName { name: aim.name, goto: aim.goto });
            }
        }
        Ok(Draft { rule: self.rule, sources: self.sources, destinations: self.destinations, chain })
    }
}

fn other(family: Family) -> Family {
    match family {
        Family::V4 => Family::V6,
        Family::V6 => Family::V4,
    }
}

fn interface(given: Given<'_>) -> Result<Negatable<Interface<'_>>, String> {
    if given.value.is_empty() {
        return Err("an interface without a name".to_owned());
    }
    let prefix = given.value.ends_with('+');
    let name = match (prefix, given.value) {
        (false, name) => name,
        (true, Cow::Borrowed(name)) => Cow::Borrowed(&name[..name.len() - 1]),
        (true, Cow::Owned(mut name)) => {
            name.pop();
            Cow::Owned(name)
        }
    };
    Ok(Negatable { not: given.not, value: Interface { name, prefix } })
}
