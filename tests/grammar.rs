//! The formal grammar, the parser and the formatter agree.
//!
//! Sentences are made from `grammar/lb.ebnf` as it stands. Each must be read without an error and survive formatting
//! with its meaning and its comments; broken ones must be refused in good order. Seeds are fixed, and a failure names its
//! own: `LBC_SEED=7 cargo test --test grammar` runs that one alone, `LBC_SEEDS=5000` more of them.
#![allow(clippy::disallowed_methods)]

#[path = "grammar/dump.rs"]
mod dump;
#[path = "grammar/ebnf.rs"]
mod ebnf;
#[path = "grammar/generate.rs"]
mod generate;
#[path = "grammar/random.rs"]
mod random;
#[path = "grammar/terminals.rs"]
mod terminals;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use lbc::diagnostic::Diagnostic;
use lbc::file::{File, format, parse};
use lbc::source::{Source, SourceId};
use lbc::syntax::comments;

use ebnf::{Expr, Grammar};
use generate::{Generator, Sentence};
use random::Random;

/// Sentences that one seed makes.
const SENTENCES: usize = 25;

fn grammar() -> Grammar {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("grammar/lb.ebnf");
    Grammar::read(&std::fs::read_to_string(path).expect("the grammar is a file of this project"))
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|text| text.parse().expect("a number"))
}

fn seeds(usual: u64) -> std::ops::Range<u64> {
    match number("LBC_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("LBC_SEEDS").unwrap_or(usual),
    }
}

fn read(text: &str) -> (Source, File, Vec<Diagnostic>) {
    let source = Source::new("x.lb", "x.lb", text);
    let (file, errors) = parse(&source, SourceId(0));
    (source, file, errors)
}

fn comments_of(text: &str) -> Vec<&str> {
    comments(text).into_iter().map(|span| &text[span.range()]).collect()
}

/// What formatting must keep, for a text without errors.
fn check_format(text: &str, from: &str) {
    let (source, file, errors) = read(text);
    assert_eq!(errors, [], "{from}: {text:?}");
    let formatted = format(&source, &file);
    let (source2, file2, errors2) = read(&formatted);
    let show = || format!("{from}\n--- text\n{text}\n--- formatted\n{formatted}\n--- {text:?}");
    assert_eq!(errors2, [], "formatting made errors: {}", show());
    assert_eq!(dump::dump(&source, &file), dump::dump(&source2, &file2), "formatting changed the meaning: {}", show());
    // A suppression may have to move to go on speaking of what it spoke of; it may not be lost.
    let suppresses = |comment: &&str| comment.trim_start_matches('#').trim_start().starts_with("lbc:");
    let [before, after] = [text, &formatted].map(|text| {
        let (mut moving, staying): (Vec<&str>, Vec<&str>) = comments_of(text).into_iter().partition(suppresses);
        moving.sort_unstable();
        (moving, staying)
    });
    assert_eq!(before, after, "formatting changed comments: {}", show());
    let again = format(&source2, &file2);
    assert_eq!(again, formatted, "formatting twice is not formatting once: {}", show());
    assert!(!formatted.contains("\r\n") && !formatted.starts_with('\u{feff}'), "{}", show());
    let empty = file.items.is_empty() && comments_of(text).is_empty();
    assert_eq!(formatted.is_empty(), empty, "{}", show());
    assert!(empty || (formatted.ends_with('\n') && !formatted.ends_with("\n\n")), "{}", show());
    assert!(formatted.lines().all(|line| line.trim_end_matches([' ', '\t']) == line), "{}", show());
}

/// What must hold for any text.
fn check_any(text: &str, from: &str) {
    let (source, file, errors) = read(text);
    for error in &errors {
        let labels = error.labels.iter().map(|label| label.loc.span);
        for span in labels.chain([error.primary.loc.span]) {
            assert!(text.get(span.range()).is_some(), "{from}: {error:?} is not in {text:?}");
            source.position(span.start);
        }
        let help = error.help.as_deref().unwrap_or_default();
        assert!(!error.message.is_empty() && !error.message.contains(char::is_control), "{from}: {error:?}");
        assert!(!help.contains(char::is_control), "{from}: {error:?}");
    }
    for pair in file.items.windows(2) {
        assert!(pair[0].span.end <= pair[1].span.start, "{from}: {text:?}");
    }
    for item in &file.items {
        assert!(text.get(item.span.range()).is_some(), "{from}: {text:?}");
    }
    if errors.is_empty() {
        assert!(file.items.iter().all(|item| !item.broken) && file.broken.is_empty(), "{from}: {text:?}");
        check_format(text, from);
    }
}

#[test]
fn the_parser_reads_every_sentence_of_the_grammar() {
    let grammar = grammar();
    let mut taken = vec![0; grammar.choices];
    let mut words: BTreeMap<String, BTreeSet<usize>> = BTreeMap::new();
    for seed in seeds(200) {
        let mut generator = Generator::new(&grammar, seed);
        for index in 0..SENTENCES {
            let text = generator.sentence().text();
            let (_, _, errors) = read(&text);
            assert_eq!(errors, [], "seed {seed}, sentence {index}: {text}");
        }
        for (sum, count) in taken.iter_mut().zip(&generator.taken) {
            *sum += count;
        }
        for (word, kinds) in generator.words {
            words.entry(word).or_default().extend(kinds);
        }
    }
    if number("LBC_SEED").is_some() {
        return;
    }
    for (name, expr) in &grammar.productions {
        for (id, what) in choices(expr) {
            assert!(taken[id] > 0 || name == "KEYWORD", "`{name}` never took {what}");
        }
    }
    for (word, kinds) in words {
        assert_eq!(kinds.len(), terminals::kinds(&word), "some kind of `{word}` was never made");
    }
}

/// The numbers of all choices in an expression, each with what it stands for.
fn choices(expr: &Expr) -> Vec<(usize, String)> {
    let within = |list: &[Expr]| -> Vec<(usize, String)> { list.iter().flat_map(choices).collect() };
    let two = |id: usize, expr: &Expr| {
        let mut list = choices(expr);
        list.extend([(id, format!("nothing instead of {expr:?}")), (id + 1, format!("{expr:?}"))]);
        list
    };
    match expr {
        Expr::Sequence(list) => within(list),
        Expr::Choice { id, list } => {
            let mut all = within(list);
            all.extend(list.iter().enumerate().map(|(index, expr)| (id + index, format!("{expr:?}"))));
            all
        }
        Expr::Optional { id, expr } | Expr::Repeat { id, expr } => two(*id, expr),
        Expr::Except(expr, _) => choices(expr),
        Expr::Text(_) | Expr::Range(..) | Expr::Name { .. } | Expr::Words(_) | Expr::Glue => Vec::new(),
    }
}

#[test]
fn every_production_is_used_and_every_name_is_a_production() {
    fn names(expr: &Expr, all: &mut BTreeSet<String>) {
        match expr {
            Expr::Name { name, .. } => {
                all.insert(name.clone());
            }
            Expr::Sequence(list) | Expr::Choice { list, .. } => list.iter().for_each(|expr| names(expr, all)),
            Expr::Optional { expr, .. } | Expr::Repeat { expr, .. } => names(expr, all),
            Expr::Except(expr, but) => [expr, but].into_iter().for_each(|expr| names(expr, all)),
            Expr::Text(_) | Expr::Range(..) | Expr::Words(_) | Expr::Glue => {}
        }
    }
    let grammar = grammar();
    let mut used = BTreeSet::from([grammar.start.clone()]);
    grammar.productions.values().for_each(|expr| names(expr, &mut used));
    assert_eq!(used, grammar.productions.keys().cloned().collect());
}

#[test]
fn the_keywords_of_the_grammar_are_those_of_the_parser() {
    let grammar = grammar();
    let listed = |name| -> BTreeSet<&str> { grammar.words(name).into_iter().collect() };
    assert_eq!(listed("KEYWORD"), lbc::keyword::all().collect());
    assert_eq!(listed("protocol"), lbc::keyword::PROTOCOLS.iter().copied().collect());
}

#[test]
fn every_word_of_the_grammar_is_reserved() {
    fn texts(expr: &Expr, all: &mut BTreeSet<String>) {
        match expr {
            Expr::Text(text) if text.starts_with(|c: char| c.is_ascii_lowercase()) => {
                all.insert(text.clone());
            }
            Expr::Sequence(list) | Expr::Choice { list, .. } => list.iter().for_each(|expr| texts(expr, all)),
            Expr::Optional { expr, .. } | Expr::Repeat { expr, .. } => texts(expr, all),
            Expr::Text(_) | Expr::Range(..) | Expr::Name { .. } | Expr::Except(..) | Expr::Words(_) | Expr::Glue => {}
        }
    }
    let grammar = grammar();
    let mut all = BTreeSet::new();
    for (name, expr) in &grammar.productions {
        if !ebnf::is_lexical(name) {
            texts(expr, &mut all);
        }
    }
    assert_eq!(all.iter().map(String::as_str).collect::<BTreeSet<_>>(), lbc::keyword::all().collect());
}

#[test]
fn formatting_keeps_meaning_and_comments() {
    let grammar = grammar();
    for seed in seeds(200) {
        let mut generator = Generator::new(&grammar, seed);
        for index in 0..SENTENCES {
            let sentence = generator.sentence();
            check_format(&sentence.text(), &format!("seed {seed}, sentence {index}"));
        }
    }
}

#[test]
fn broken_sentences_are_refused_in_good_order() {
    let grammar = grammar();
    for seed in seeds(100) {
        let mut generator = Generator::new(&grammar, seed);
        for index in 0..SENTENCES {
            let sentence = generator.sentence();
            for round in 0..6 {
                let text = broken(&sentence, generator.random());
                check_any(&text, &format!("seed {seed}, sentence {index}, round {round}"));
            }
        }
    }
}

/// A sentence with one to three of its parts lost, doubled, exchanged, or overwritten, or its end cut off.
fn broken(sentence: &Sentence, random: &mut Random) -> String {
    const NASTY: &[&str] = &[
        "{",
        "}",
        "\"",
        "#",
        ",",
        ";",
        "->",
        "-",
        ":",
        "::",
        "[",
        "]",
        "/",
        "=",
        "*",
        "\n",
        "\r",
        "\r\n",
        "é",
        "\u{a0}",
        "\u{feff}",
        "\u{1}",
        "\0",
        "0",
        "99999999999999999999",
        "a",
        "host",
        "balance",
        "else",
        "weight",
        "a.b",
        "%",
        "🙂",
    ];
    let mut parts = sentence.parts.clone();
    for _ in 0..1 + random.below(3) {
        let at = random.below(parts.len().max(1));
        match random.below(6) {
            _ if parts.is_empty() => parts.push((*random.pick(NASTY)).to_owned()),
            0 => drop(parts.remove(at)),
            1 => parts.insert(at, parts[at].clone()),
            2 => {
                let other = random.below(parts.len());
                parts.swap(at, other);
            }
            3 => parts.insert(at, (*random.pick(NASTY)).to_owned()),
            4 => {
                let mut bytes = std::mem::take(&mut parts[at]).into_bytes();
                if !bytes.is_empty() {
                    let index = random.below(bytes.len());
                    bytes[index] = random.next() as u8;
                }
                parts[at] = String::from_utf8_lossy(&bytes).into_owned();
            }
            _ => parts.truncate(at + 1),
        }
    }
    let mut text = parts.concat();
    if random.once_in(4) {
        let cut = random.below(text.len() + 1);
        text.truncate((0..=cut).rev().find(|&at| text.is_char_boundary(at)).unwrap_or(0));
    }
    text
}
