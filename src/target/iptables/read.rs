//! Reads what `iptables-save` wrote, or what `iptables-restore` would load, of whatever age and habit.
//!
//! The text is taken as one load into empty tables. Each `*table` starts an empty one: of a table that stands there
//! twice the second holds, as without `--noflush`. (Policies too, as with the nf_tables variant; the legacy one keeps
//! those that the second leaves out.) A chain that is declared twice in one table is emptied, a built-in one is not, as
//! the nf_tables variant does it (the legacy one refuses that without `--noflush`). Structure that iptables would refuse
//! is an error; a match or target that is not known is none, but kept as written: the evaluator says then that it cannot
//! tell.

mod matches;
mod option;
mod pieces;
mod plain;
mod rule;
mod saved;
mod stateful;
mod target;
mod token;
mod value;

use std::borrow::Cow;
use std::collections::VecDeque;

use foldhash::{HashMap, HashMapExt, HashSet};

use crate::ir::Family;

use super::dump::{Chain, ChainId, Dump, Match, Policy, Recent, Rule, Table, TableName, Target};
use super::restore::Families;
use pieces::{Piece, Stretch, lines, pieces};
use plain::{Before, Plain};
use rule::{ChainName, Draft};
use token::Token;

pub use saved::{Saved, read_saved};

/// A line that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadError {
    /// From 1.
    pub line: u32,
    pub message: String,
}

/// Reading stops behind so many errors: a text of another kind has one on each line.
const MAX_ERRORS: usize = 100;

/// Words in a line: iptables-restore takes 255 (MAX_ARGC).
const MAX_WORDS: usize = 255;

/// Rules that lists of addresses (`-s A,B`) may add in all.
const MAX_MULTIPLIED: usize = 1 << 17;

/// Rules that `-I CHAIN N` may move in all.
const MAX_MOVED: usize = 1 << 22;

/// Reads a text. `families` says for which tool it is: a rule without `-4` or `-6` is for those.
///
/// An address makes a rule one of its family, where the text is for both.
pub fn read(text: &str, families: Families) -> Result<Dump<'_>, Vec<ReadError>> {
    Ok(last_of_each(read_lines(text, Reader::new(families))?))
}

/// Reads a text word by word, plain rules too: what [`read`] is held against.
#[cfg(test)]
pub fn read_by_words(text: &str, families: Families) -> Result<Dump<'_>, Vec<ReadError>> {
    Ok(last_of_each(read_lines(text, Reader { by_words: true, ..Reader::new(families) })?))
}

/// What stands between a `*table` and its `COMMIT`.
struct Section<'t> {
    /// The line of the `*table`.
    line: u32,
    /// The family whose tool wrote the comment above it.
    header: Option<Family>,
    table: Table<'t>,
}

/// A later section replaces an earlier one of the same table.
fn last_of_each(sections: Vec<Section<'_>>) -> Dump<'_> {
    let mut tables: Vec<Table<'_>> = Vec::with_capacity(sections.len().min(TableName::ALL.len()));
    for Section { table, .. } in sections {
        match tables.iter_mut().find(|earlier| earlier.name == table.name) {
            Some(earlier) => *earlier = table,
            None => tables.push(table),
        }
    }
    Dump { tables }
}

fn read_lines<'t>(text: &'t str, mut reader: Reader<'t>) -> Result<Vec<Section<'t>>, Vec<ReadError>> {
    if reader.by_words {
        reader.take(lines(text).map(Piece::Line))?;
        return reader.finish();
    }
    let families = reader.families;
    let middle = if text.len() >= MIN_HALVES { line_behind(text, text.len() / 2) } else { text.len() };
    let (first, second) = text.split_at(middle);
    if second.is_empty() {
        reader.take(pieces(first, families, 1))?;
        return reader.finish();
    }
    let (first, second) = std::thread::scope(|scope| {
        let second = scope.spawn(move || {
            let number = memchr::memchr_iter(b'\n', first.as_bytes()).count() as u32;
            pieces(second, families, number + 1)
        });
        (pieces(first, families, 1), second.join().expect("reading does not panic"))
    });
    reader.take(first)?;
    reader.take(second)?;
    reader.finish()
}

/// Shorter texts are not worth a second thread.
const MIN_HALVES: usize = 1 << 20;

/// Where the next line starts, at most the end.
fn line_behind(text: &str, at: usize) -> usize {
    memchr::memchr(b'\n', &text.as_bytes()[at..]).map_or(text.len(), |length| at + length + 1)
}

/// A chain while rules are still put in front.
struct Growing<'t> {
    name: &'t str,
    policy: Option<Policy>,
    rules: VecDeque<Rule<'t>>,
    deleted: bool,
}

struct GrowingTable<'t> {
    line: u32,
    header: Option<Family>,
    name: TableName,
    chains: Vec<Growing<'t>>,
    ids: HashMap<&'t str, u32>,
    /// Targets that were no chain when their rule was read, by line.
    late: HashMap<u32, ChainName<'t>>,
}

struct Reader<'t> {
    families: Families,
    /// Plain rules are read as all others are.
    by_words: bool,
    /// One for each section.
    tables: Vec<GrowingTable<'t>>,
    /// The table that is not committed yet.
    open: Option<usize>,
    /// Whose tool wrote the last comment, until a table starts.
    header: Option<Family>,
    number: u32,
    multiplied: usize,
    moved: usize,
    /// Whether any rule asks a list of `recent`.
    lists: bool,
    errors: Vec<ReadError>,
}

impl<'t> Reader<'t> {
    fn new(families: Families) -> Reader<'t> {
        Reader {
            families,
            by_words: false,
            tables: Vec::new(),
            open: None,
            header: None,
            number: 0,
            multiplied: 0,
            moved: 0,
            lists: false,
            errors: Vec::new(),
        }
    }

    fn fail(&mut self, line: u32, message: String) {
        self.errors.push(ReadError { line, message });
    }

    /// Reads pieces, one after the other. The error is that there are too many errors.
    fn take(&mut self, pieces: impl IntoIterator<Item = Piece<'t>>) -> Result<(), Vec<ReadError>> {
        let mut tokens = Vec::new();
        for piece in pieces {
            match piece {
                Piece::Line(line) => {
                    self.number += 1;
                    if let Err(message) = self.line(line, &mut tokens) {
                        self.fail(self.number, message);
                    }
                }
                Piece::Rules(stretch) => {
                    let (first, count) = (self.number + 1, stretch.rules.len() as u32);
                    self.number += count;
                    if let Err(message) = self.stretch(stretch) {
                        // Every one of the rules is wrong.
                        let some = count.min(MAX_ERRORS as u32);
                        (first..first + some).for_each(|line| self.fail(line, message.clone()));
                    }
                }
            }
            if self.errors.len() >= MAX_ERRORS {
                self.errors.truncate(MAX_ERRORS);
                return Err(std::mem::take(&mut self.errors));
            }
        }
        Ok(())
    }

    /// One line without blanks around it.
    fn line(&mut self, line: &'t str, tokens: &mut Vec<Token<'t>>) -> Result<(), String> {
        match line.as_bytes() {
            [] => Ok(()),
            [b'#', ..] => {
                self.header = saved::header(line).or(self.header);
                Ok(())
            }
            [b'*', ..] => self.table(line[1..].trim()),
            [b':', ..] => self.declare(&line[1..]),
            _ if line == "COMMIT" => self.open.take().map(|_| ()).ok_or_else(|| "no table to commit".to_owned()),
            _ => {
                let line = without_counters(line)?;
                if !self.by_words
                    && let Some(plain) = plain::plain(line, self.families, self.number, Before::in_text(line))
                {
                    return self.append(plain);
                }
                tokens.clear();
                token::tokens(line, MAX_WORDS, tokens)?;
                self.command(line, tokens)
            }
        }
    }

    fn table(&mut self, name: &str) -> Result<(), String> {
        let name = TableName::ALL
            .into_iter()
            .find(|table| table.as_str() == name)
            .ok_or_else(|| format!("expected a table (raw, mangle, nat, filter, security), found `{name}`"))?;
        if let Some(open) = self.open {
            let open = self.tables[open].name.as_str();
            self.fail(self.number, format!("the table `{open}` is not committed"));
        }
        let (ids, late) = (HashMap::new(), HashMap::new());
        let (line, header) = (self.number, self.header.take());
        self.open = Some(self.tables.len());
        self.tables.push(GrowingTable { line, header, name, chains: Vec::new(), ids, late });
        Ok(())
    }

    fn current(&mut self) -> Result<&mut GrowingTable<'t>, String> {
        let open = self.open.ok_or_else(|| "outside any `*table`".to_owned())?;
        Ok(&mut self.tables[open])
    }

    /// `:NAME POLICY [PACKETS:BYTES]`; an own chain that is there already is emptied.
    fn declare(&mut self, text: &'t str) -> Result<(), String> {
        let mut words = text.split_whitespace();
        let name = words.next().ok_or("a chain without a name")?;
        let policy = words.next().unwrap_or("-");
        self.current()?.declare(name, policy)
    }

    fn command(&mut self, line: &'t str, tokens: &[Token<'t>]) -> Result<(), String> {
        let is_family = |token: &Token<'_>| match &*token.text {
            "-4" | "--ipv4" => Some(Family::V4),
            "-6" | "--ipv6" => Some(Family::V6),
            _ => None,
        };
        let front = tokens.iter().take_while(|token| is_family(token).is_some()).count();
        let behind = tokens.get(front + 2).and_then(is_family);
        let written = tokens.first().and_then(is_family).or(behind);
        let family = match (self.families, written) {
            (Families::One(own), Some(other)) if own != other => return Ok(()),
            (Families::One(own), _) => Some(own),
            (Families::Both, written) => written,
        };
        // What adds a rule may stand behind its options, and its chain may hang on it.
        let is_short =
            |token: &Token<'_>| token.is_option() && (token.text.starts_with("-A") || token.text.starts_with("-I"));
        let adds = |token: &Token<'_>| is_short(token) || matches!(&*token.text, "--append" | "--insert");
        let front = tokens.iter().position(adds).unwrap_or(front);
        let command = tokens.get(front).ok_or("a line without a command")?;
        let attached = match &command.text {
            Cow::Borrowed(text) if is_short(command) => Some(&text[2..]).filter(|rest| !rest.is_empty()),
            Cow::Borrowed(_) | Cow::Owned(_) => None,
        };
        let end = front + 1 + usize::from(attached.is_none());
        let argument = tokens.get(front + 1).filter(|token| !token.is_option());
        let name = || match (attached, argument.map(|token| &token.text)) {
            (Some(name), _) => Ok(name),
            (None, Some(Cow::Borrowed(name))) => Ok(*name),
            (None, Some(Cow::Owned(_))) => Err("quotes inside the name of a chain".to_owned()),
            (None, None) => Err(format!("`{}` needs a chain", command.text)),
        };
        let number = self.number;
        match if attached.is_some() { &command.text[..2] } else { &*command.text } {
            "-A" | "--append" => {
                let chain = self.current()?.existing(name()?)?;
                let draft = rule::rule(line, tokens, front..end, family, number)?;
                self.add(chain, None, draft)
            }
            "-I" | "--insert" => {
                let chain = self.current()?.existing(name()?)?;
                let place = tokens.get(end).and_then(|token| token.text.parse::<usize>().ok());
                let end = end + usize::from(place.is_some());
                let draft = rule::rule(line, tokens, front..end, family, number)?;
                self.add(chain, Some(place.unwrap_or(1)), draft)
            }
            "-N" | "--new-chain" | "--new" => {
                let name = name()?;
                let table = self.current()?;
                match table.find(name) {
                    Some(_) => Err(format!("the chain `{name}` exists already")),
                    None => table.declare(name, "-"),
                }
            }
            "-P" | "--policy" => {
                let policy = tokens.get(front + 2).ok_or("`-P` needs a policy")?;
                let name = name()?;
                let table = self.current()?;
                match table.name.built_in().contains(&name) {
                    true => table.declare(name, &policy.text),
                    false => Err(format!("the chain `{name}` is not built in, so it has no policy")),
                }
            }
            "-F" | "--flush" => {
                let name = argument.is_some().then(name).transpose()?;
                let table = self.current()?;
                match name {
                    Some(name) => {
                        let chain = table.existing(name)?;
                        table.chains[chain as usize].rules.clear();
                    }
                    None => table.chains.iter_mut().for_each(|chain| chain.rules.clear()),
                }
                Ok(())
            }
            "-X" | "--delete-chain" => {
                let name = argument.is_some().then(name).transpose()?;
                self.current()?.delete(name)
            }
            "-Z" | "--zero" => Ok(()),
            other => Err(format!("expected `-A CHAIN` or `-I CHAIN`, found `{other}`")),
        }
    }

    /// Adds a plain rule at the end of its chain.
    fn append(&mut self, plain: Plain<'t>) -> Result<(), String> {
        let Plain { chain, mut rule, aim } = plain;
        let table = self.current()?;
        let chain = table.existing(chain)?;
        if let Some((name, goto)) = aim {
            table.aim(&mut rule, ChainName { name: Cow::Borrowed(name), goto });
        }
        table.chains[chain as usize].rules.push_back(rule);
        Ok(())
    }

    /// Adds plain rules at the end of their chain.
    fn stretch(&mut self, stretch: Stretch<'t>) -> Result<(), String> {
        let Stretch { chain, mut rules, aims } = stretch;
        let table = self.current()?;
        let chain = table.existing(chain)?;
        for (place, name, goto) in aims {
            table.aim(&mut rules[place], ChainName { name: Cow::Borrowed(name), goto });
        }
        let own = &mut table.chains[chain as usize].rules;
        match own.is_empty() {
            true => *own = rules.into(),
            false => own.extend(rules),
        }
        Ok(())
    }

    /// Adds a rule for each pair of its addresses, at the end or at a place from 1.
    fn add(&mut self, chain: u32, place: Option<usize>, draft: Draft<'t>) -> Result<(), String> {
        let Draft { mut rule, sources, destinations, chain: aim } = draft;
        self.lists |= rule.matches.iter().any(|one| matches!(one, Match::Recent { .. }));
        let count = sources.len().max(1).saturating_mul(destinations.len().max(1));
        self.multiplied = self.multiplied.saturating_add(count - 1);
        if self.multiplied > MAX_MULTIPLIED {
            return Err("the lists of addresses make too many rules".to_owned());
        }
        let table = self.current()?;
        if let Some(aim) = aim {
            table.aim(&mut rule, aim);
        }
        let rules = table.chains[chain as usize].rules.len();
        let mut at = match place {
            None => rules,
            Some(0) => return Err("rules are counted from 1".to_owned()),
            Some(place) if place > rules + 1 => {
                return Err(format!("no place {place} in a chain of {rules} rules"));
            }
            Some(place) => place - 1,
        };
        self.moved = self.moved.saturating_add(at.min(rules - at).saturating_mul(count));
        if self.moved > MAX_MOVED {
            return Err("too many rules inserted in the middle".to_owned());
        }
        let list = &mut self.current()?.chains[chain as usize].rules;
        let mut put = |rule| {
            list.insert(at, rule);
            at += 1;
        };
        match (sources.as_slice(), destinations.as_slice()) {
            ([] | [_], [] | [_]) => {
                rule.source = sources.first().cloned();
                rule.destination = destinations.first().cloned();
                put(rule);
            }
            (sources, destinations) => {
                let any = [None];
                let list = |nets: &[_]| -> Vec<_> {
                    if nets.is_empty() { any.to_vec() } else { nets.iter().cloned().map(Some).collect() }
                };
                for source in list(sources) {
                    for destination in list(destinations) {
                        put(Rule { source: source.clone(), destination, ..rule.clone() });
                    }
                }
            }
        }
        Ok(())
    }

    fn finish(mut self) -> Result<Vec<Section<'t>>, Vec<ReadError>> {
        if let Some(open) = self.open {
            let name = self.tables[open].name.as_str();
            self.fail(self.number, format!("the table `{name}` is not committed"));
        }
        let mut sections = Vec::with_capacity(self.tables.len());
        for table in self.tables {
            let (line, header) = (table.line, table.header);
            let table = table.finish(&mut self.errors);
            for family in Family::ALL {
                if let Some(error) = cycle(&table, family) {
                    self.errors.push(error);
                    break;
                }
            }
            sections.push(Section { line, header, table });
        }
        if self.lists {
            mask_lists(&mut sections);
        }
        if self.errors.is_empty() { Ok(sections) } else { Err(self.errors) }
    }
}

/// A list of `recent` has one mask, that of the rule which was loaded first: it counts for all that ask the list. (Where a
/// second section holds, its rules are loaded before those of the first are gone.)
fn mask_lists(sections: &mut [Section<'_>]) {
    let mut asks: Vec<&mut Recent<'_>> = Vec::new();
    let chains = sections.iter_mut().flat_map(|section| &mut section.table.chains);
    for rule in chains.flat_map(|chain| &mut chain.rules) {
        asks.extend(rule.matches.iter_mut().filter_map(|one| match one {
            Match::Recent { ask, .. } => Some(&mut **ask),
            _ => None,
        }));
    }
    let masked: HashSet<String> = asks.iter().filter(|ask| ask.masked).map(|ask| ask.list.to_string()).collect();
    asks.into_iter().for_each(|ask| ask.masked = masked.contains(&*ask.list));
}

impl<'t> GrowingTable<'t> {
    fn find(&self, name: &str) -> Option<u32> {
        let id = self.ids.get(name).copied();
        id.filter(|id| !self.chains[*id as usize].deleted)
    }

    /// Makes a rule lead to a chain, now or when the chain is there.
    fn aim(&mut self, rule: &mut Rule<'t>, aim: ChainName<'t>) {
        match self.find(&aim.name) {
            Some(id) => rule.target = jump(id, aim.goto),
            None => {
                self.late.insert(rule.line, aim);
            }
        }
    }

    /// A chain that rules can be added to: one that was declared, or a built-in one.
    fn existing(&mut self, name: &'t str) -> Result<u32, String> {
        if let Some(id) = self.find(name) {
            return Ok(id);
        }
        match self.name.built_in().contains(&name) {
            true => Ok(self.grow(name, Some(Policy::Accept))),
            false => Err(format!("no chain `{name}` in table `{}`", self.name.as_str())),
        }
    }

    fn grow(&mut self, name: &'t str, policy: Option<Policy>) -> u32 {
        let id = self.chains.len() as u32;
        self.chains.push(Growing { name, policy, rules: VecDeque::new(), deleted: false });
        self.ids.insert(name, id);
        id
    }

    fn declare(&mut self, name: &'t str, policy: &str) -> Result<(), String> {
        let policy = match (self.name.built_in().contains(&name), policy) {
            (true, "ACCEPT" | "-") => Some(Policy::Accept),
            (true, "DROP") => Some(Policy::Drop),
            (true, other) => return Err(format!("expected a policy (ACCEPT or DROP), found `{other}`")),
            (false, _) => None,
        };
        match self.ids.get(name) {
            Some(id) => {
                let chain = &mut self.chains[*id as usize];
                chain.deleted = false;
                chain.policy = policy;
                if policy.is_none() {
                    chain.rules.clear();
                }
            }
            None => {
                self.grow(name, policy);
            }
        }
        Ok(())
    }

    /// Takes a chain out, or all own ones.
    fn delete(&mut self, name: Option<&'t str>) -> Result<(), String> {
        if let Some(name) = name {
            let id = self.find(name).ok_or_else(|| format!("no chain `{name}` in table `{}`", self.name.as_str()))?;
            let chain = &mut self.chains[id as usize];
            if chain.policy.is_some() || !chain.rules.is_empty() {
                return Err(format!("the chain `{name}` is built in or not empty"));
            }
            chain.deleted = true;
            return Ok(());
        }
        self.chains.iter_mut().filter(|chain| chain.policy.is_none()).for_each(|chain| {
            chain.deleted = true;
            chain.rules.clear();
        });
        Ok(())
    }

    /// Looks up what targets were late, and takes deleted chains out.
    fn finish(self, errors: &mut Vec<ReadError>) -> Table<'t> {
        let mut next = 0;
        let places: Vec<Option<u32>> = self
            .chains
            .iter()
            .map(|chain| {
                let place = (!chain.deleted).then_some(next);
                next += u32::from(!chain.deleted);
                place
            })
            .collect();
        let moved = places.iter().any(Option::is_none);
        let mut chains = Vec::with_capacity(self.chains.len());
        for chain in self.chains.into_iter().filter(|chain| !chain.deleted) {
            let mut rules = Vec::from(chain.rules);
            if moved || !self.late.is_empty() {
                for rule in &mut rules {
                    if let Target::Unknown(_) = &rule.target
                        && let Some(late) = self.late.get(&rule.line)
                        && let Some(id) = self.ids.get(&*late.name)
                    {
                        rule.target = jump(*id, late.goto);
                    }
                    if let Target::Jump(id) | Target::Goto(id) = &mut rule.target {
                        match places[id.0 as usize] {
                            Some(place) => *id = ChainId(place),
                            None => errors.push(ReadError {
                                line: rule.line,
                                message: "the chain that this leads to is deleted".to_owned(),
                            }),
                        }
                    }
                }
            }
            chains.push(Chain { name: chain.name, policy: chain.policy, rules });
        }
        errors.truncate(MAX_ERRORS);
        Table { name: self.name, chains }
    }
}

fn jump<'t>(id: u32, goto: bool) -> Target<'t> {
    if goto { Target::Goto(ChainId(id)) } else { Target::Jump(ChainId(id)) }
}

/// `[12:345] -A …`, as `iptables-save -c` writes.
fn without_counters(line: &str) -> Result<&str, String> {
    match line.strip_prefix('[') {
        Some(rest) => {
            rest.split_once(']').map(|(_, rest)| rest.trim_start()).ok_or_else(|| "the `[` is not closed".to_owned())
        }
        None => Ok(line),
    }
}

/// A rule by which a chain leads back to itself: the kernel refuses such tables.
fn cycle(table: &Table<'_>, family: Family) -> Option<ReadError> {
    #[derive(Clone, Copy, PartialEq)]
    enum Seen {
        Not,
        Above,
        Done,
    }
    let mut seen = vec![Seen::Not; table.chains.len()];
    for start in 0..table.chains.len() {
        if seen[start] != Seen::Not {
            continue;
        }
        seen[start] = Seen::Above;
        let mut path = vec![(start, 0)];
        while let Some((chain, next)) = path.last_mut() {
            let Some(rule) = table.chains[*chain].rules.get(*next) else {
                seen[*chain] = Seen::Done;
                path.pop();
                continue;
            };
            *next += 1;
            let (Target::Jump(id) | Target::Goto(id)) = &rule.target else { continue };
            let id = id.0 as usize;
            match seen.get(id).copied().filter(|_| rule.is_for(family)) {
                Some(Seen::Not) => {
                    seen[id] = Seen::Above;
                    path.push((id, 0));
                }
                Some(Seen::Above) => {
                    let message = format!("the chain `{}` leads back to itself", table.chains[id].name);
                    return Some(ReadError { line: rule.line, message });
                }
                Some(Seen::Done) | None => {}
            }
        }
    }
    None
}
