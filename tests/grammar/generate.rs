//! Sentences of a grammar.

use std::collections::{BTreeMap, BTreeSet};

use crate::ebnf::{Expr, Grammar, is_lexical};
use crate::random::Random;
use crate::terminals;

/// Makes sentences; what was seldom taken so far is taken more often.
pub struct Generator<'a> {
    grammar: &'a Grammar,
    random: Random,
    /// How often each choice was taken.
    pub taken: Vec<u32>,
    /// Which kinds of each terminal in words were made.
    pub words: BTreeMap<String, BTreeSet<usize>>,
    sentence: Sentence,
}

/// A sentence in its parts; together they are the text.
#[derive(Clone, Debug, Default)]
pub struct Sentence {
    pub parts: Vec<String>,
    /// No blanks may stand before the next part.
    glued: bool,
}

impl Sentence {
    pub fn text(&self) -> String {
        self.parts.concat()
    }
}

impl<'a> Generator<'a> {
    pub fn new(grammar: &'a Grammar, seed: u64) -> Generator<'a> {
        Generator {
            grammar,
            random: Random::new(seed),
            taken: vec![0; grammar.choices],
            words: BTreeMap::new(),
            sentence: Sentence::default(),
        }
    }

    pub fn random(&mut self) -> &mut Random {
        &mut self.random
    }

    pub fn sentence(&mut self) -> Sentence {
        self.sentence = Sentence { parts: Vec::new(), glued: true };
        self.syntactic(self.grammar.get(&self.grammar.start), &mut BTreeMap::new());
        std::mem::take(&mut self.sentence)
    }

    /// One of the numbers `id..id + allowed.len()`, among those that are allowed.
    fn choose(&mut self, id: usize, allowed: &[bool]) -> Option<usize> {
        let open: Vec<usize> = (0..allowed.len()).filter(|&index| allowed[index]).collect();
        let rare = open.iter().copied().min_by_key(|&index| self.taken[id + index])?;
        let index = if self.random.once_in(3) { rare } else { *self.random.pick(&open) };
        self.taken[id + index] += 1;
        Some(index)
    }

    fn repeats(&mut self, id: usize) -> usize {
        match self.choose(id, &[true, true]) {
            Some(1) if self.random.once_in(20) => 20 + self.random.below(20),
            Some(1) => 1 + self.random.below(3),
            Some(_) | None => 0,
        }
    }

    /// Adds what `expr` stands for. `used` holds, for each production marked `!`, the alternatives taken so far.
    ///
    /// False where every alternative was taken already: then nothing is added.
    fn syntactic(&mut self, expr: &Expr, used: &mut BTreeMap<String, BTreeSet<usize>>) -> bool {
        match expr {
            Expr::Text(text) => self.part(text.clone()),
            Expr::Glue => self.sentence.glued = true,
            Expr::Sequence(list) => {
                for expr in list {
                    if !self.syntactic(expr, used) {
                        // Only `!` fails, and the grammar has it at ends: `, protocol!` takes back the comma.
                        return false;
                    }
                }
            }
            Expr::Choice { id, list } => {
                let index = self.choose(*id, &vec![true; list.len()]).expect("a choice has alternatives");
                return self.syntactic(&list[index], used);
            }
            Expr::Optional { id, expr } => {
                if self.choose(*id, &[true, true]) == Some(1) {
                    self.syntactic(expr, used);
                }
            }
            Expr::Repeat { id, expr } => {
                for _ in 0..self.repeats(*id) {
                    let before = self.sentence.clone();
                    if !self.syntactic(expr, used) {
                        self.sentence = before;
                        break;
                    }
                }
            }
            Expr::Name { name, .. } if is_lexical(name) => {
                let text = self.lexical(expr);
                self.part(text);
            }
            Expr::Name { name, once: true } => {
                let Expr::Choice { id, list } = self.grammar.get(name) else { panic!("`{name}!` is a choice") };
                let taken = used.entry(name.clone()).or_default();
                let allowed: Vec<bool> = (0..list.len()).map(|index| !taken.contains(&index)).collect();
                let Some(index) = self.choose(*id, &allowed) else { return false };
                used.entry(name.clone()).or_default().insert(index);
                return self.syntactic(&list[index], &mut BTreeMap::new());
            }
            Expr::Name { name, once: false } => return self.syntactic(self.grammar.get(name), &mut BTreeMap::new()),
            Expr::Range(..) | Expr::Except(..) | Expr::Words(_) => {
                let text = self.lexical(expr);
                self.part(text);
            }
        }
        true
    }

    /// Adds a part, and blanks before it: where they must stand, and often where they may.
    fn part(&mut self, text: String) {
        let glued = std::mem::take(&mut self.sentence.glued);
        if text.is_empty() {
            self.sentence.glued = glued;
            return;
        }
        if !glued {
            let before = self.sentence.parts.iter().rev().find_map(|part| part.chars().next_back());
            let must = before.is_some_and(|before| runs_together(before, &text));
            let blanks = if must { &[" ", " ", "\t", "  "][..] } else { &["", "", " ", " \t"][..] };
            self.sentence.parts.push((*self.random.pick(blanks)).to_owned());
        }
        self.sentence.parts.push(text);
    }

    fn lexical(&mut self, expr: &Expr) -> String {
        match expr {
            Expr::Text(text) => text.clone(),
            Expr::Range(first, last) => {
                let code = self.random.between(u64::from(u32::from(*first)), u64::from(u32::from(*last)));
                char::from_u32(code as u32).expect("ranges of the grammar are ASCII").to_string()
            }
            Expr::Sequence(list) => list.iter().map(|expr| self.lexical(expr)).collect(),
            Expr::Choice { id, list } => {
                let index = self.choose(*id, &vec![true; list.len()]).expect("a choice has alternatives");
                self.lexical(&list[index])
            }
            Expr::Optional { id, expr } => match self.choose(*id, &[true, true]) {
                Some(1) => self.lexical(expr),
                Some(_) | None => String::new(),
            },
            Expr::Repeat { id, expr } => (0..self.repeats(*id).min(6)).map(|_| self.lexical(expr)).collect(),
            Expr::Name { name, once: _ } => {
                assert!(is_lexical(name), "`{name}` stands within a lexical production");
                self.lexical(self.grammar.get(name))
            }
            Expr::Except(expr, but) => loop {
                let text = self.lexical(expr);
                if !self.grammar.matches(but, &text) {
                    return text;
                }
            },
            Expr::Words(words) => {
                let (kind, text) = terminals::make(words, &mut self.random);
                self.words.entry(words.clone()).or_default().insert(kind);
                text
            }
            Expr::Glue => panic!("`~` is for productions that are not lexical"),
        }
    }
}

/// Whether a part would be read as one with what stands before it.
fn runs_together(before: char, text: &str) -> bool {
    let separates = |c: char| " \t\r\n,;{}=\"#".contains(c);
    let after = text.chars().next().expect("a part is not empty");
    // Only the arrow ends with `>`: an interface that did would be followed by blanks, which hide the case.
    !(separates(before) || separates(after) || before == '>' || text.starts_with("->"))
}
