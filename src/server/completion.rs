//! `textDocument/completion`: what may stand here, words of the language and names.

use lsp_types::{CompletionItem, CompletionItemKind, CompletionTextEdit, TextEdit};

use crate::keyword::{OPTIONS, PROTOCOLS, STATEMENTS, is_statement};
use crate::source::{SourceId, Span};
use crate::syntax::is_word_byte;

use super::analysis::Analysis;
use super::names::Kinds;
use super::words::meaning;

/// How far back the start of a statement is looked for, in bytes.
const MAX_BACK: usize = 16 * 1024;

/// What may stand at a place, names behind words.
pub fn completion(analysis: &Analysis, source: SourceId, offset: u32) -> Vec<CompletionItem> {
    let text = &analysis.text(source)[..offset as usize];
    let start = text.bytes().rposition(|byte| !is_word_byte(byte)).map_or(0, |at| at + 1);
    let Some(tokens) = tokens(statement(&text[..start])) else { return Vec::new() };
    let wanted = wanted(&tokens);
    let range = analysis.range(source, Span::new(start as u32, offset));
    let edit = |text: &str| Some(CompletionTextEdit::Edit(TextEdit::new(range, text.to_owned())));
    let words = wanted.words.iter().map(|word| CompletionItem {
        label: (*word).to_owned(),
        kind: Some(CompletionItemKind::KEYWORD),
        detail: meaning(word).map(str::to_owned),
        text_edit: edit(word),
        sort_text: Some(format!("1{word}")),
        ..CompletionItem::default()
    });
    let declared = analysis.names().declared(&analysis.program, wanted.names);
    let names = declared.into_iter().map(|(name, kind)| CompletionItem {
        label: name.to_owned(),
        kind: Some(CompletionItemKind::VARIABLE),
        detail: Some(
            match kind {
                Kinds::Host => "host",
                Kinds::Net => "net",
                Kinds::Pool => "pool",
            }
            .to_owned(),
        ),
        text_edit: edit(name),
        sort_text: Some(format!("0{name}")),
        ..CompletionItem::default()
    });
    names.chain(words).collect()
}

/// What may stand somewhere.
#[derive(Debug, Default, PartialEq, Eq)]
struct Wanted {
    words: Vec<&'static str>,
    names: &'static [Kinds],
}

impl Wanted {
    fn words(words: &[&'static str]) -> Wanted {
        Wanted { words: words.to_vec(), names: &[] }
    }

    fn names(names: &'static [Kinds]) -> Wanted {
        Wanted { words: Vec::new(), names }
    }
}

const CLIENTS: &[Kinds] = &[Kinds::Host, Kinds::Net];
const SERVERS: &[Kinds] = &[Kinds::Host, Kinds::Pool];

/// The text of the statement that a text ends in.
fn statement(text: &str) -> &str {
    let mut from = text.len().saturating_sub(MAX_BACK);
    while !text.is_char_boundary(from) {
        from += 1;
    }
    let text = &text[from..];
    let mut start = 0;
    // The last line that a statement's word starts, or that follows one which does not go on.
    let mut goes_on = false;
    let mut depth = 0usize;
    let mut at = 0;
    for line in text.split_inclusive('\n') {
        let code = code(line);
        let first = code.trim_start();
        let word = first.split(|c: char| !c.is_ascii() || !is_word_byte(c as u8)).next().unwrap_or("");
        let is_new = is_statement(word) || (!goes_on && depth == 0 && !first.starts_with("->"));
        if is_new && !(first.is_empty() && at + line.len() < text.len()) {
            (start, depth) = (at, 0);
        }
        for (index, byte) in code.bytes().enumerate() {
            match byte {
                b'{' => depth += 1,
                b'}' => depth = depth.saturating_sub(1),
                b';' if depth == 0 => start = at + index + 1,
                _ => {}
            }
        }
        let end = code.trim_end();
        if !end.is_empty() {
            goes_on = end.ends_with([',', '=']) || end.ends_with("->");
        }
        at += line.len();
    }
    if text.ends_with('\n') && !goes_on && depth == 0 { "" } else { &text[start..] }
}

/// A line without its comment; what strings hold is kept.
fn code(line: &str) -> &str {
    let mut quoted = false;
    for (at, byte) in line.bytes().enumerate() {
        match byte {
            b'"' => quoted = !quoted,
            b'#' if !quoted => return &line[..at],
            _ => {}
        }
    }
    line
}

/// The words and signs of a statement; `None` within a comment or a string.
fn tokens(text: &str) -> Option<Vec<&str>> {
    let last = text.rsplit('\n').next().unwrap_or(text);
    if code(last).len() < last.len() || last.matches('"').count() % 2 == 1 {
        return None;
    }
    let mut tokens = Vec::new();
    for line in text.lines().map(code) {
        let mut rest = line.trim_start();
        while let Some(first) = rest.chars().next() {
            let word = rest
                .bytes()
                .take_while(|byte| is_word_byte(*byte) || matches!(byte, b'.' | b':' | b'[' | b']'))
                .count();
            let len = match first {
                '"' => rest[1..].find('"').map_or(rest.len(), |end| end + 2),
                '-' if rest.starts_with("->") => 2,
                _ if word > 0 => crate::syntax::without_arrow(rest, word),
                _ => first.len_utf8(),
            };
            tokens.push(&rest[..len]);
            rest = rest[len..].trim_start();
        }
        tokens.push("\n");
    }
    if !text.ends_with('\n') {
        tokens.pop();
    }
    Some(tokens)
}

/// What may stand behind the tokens of a statement.
fn wanted(tokens: &[&str]) -> Wanted {
    let words: Vec<&str> = tokens.iter().copied().filter(|token| *token != "\n").collect();
    let Some((first, rest)) = words.split_first() else { return Wanted::words(STATEMENTS) };
    let last = rest.last().copied().unwrap_or("");
    match *first {
        "host" | "include" => Wanted::default(),
        "net" => match last {
            "=" | "," => Wanted::names(CLIENTS),
            _ => Wanted::default(),
        },
        "pool" => match tokens.iter().position(|token| *token == "=") {
            Some(at) => in_backends(&tokens[at + 1..]),
            None => Wanted::default(),
        },
        "default" => in_options(rest, false),
        "balance" => match tokens.iter().position(|token| *token == "->") {
            Some(at) => in_backends(&tokens[at + 1..]),
            None => in_balance(rest),
        },
        _ => Wanted::default(),
    }
}

/// Behind the arrow, or `pool NAME =`.
fn in_backends(tokens: &[&str]) -> Wanted {
    let is_block = tokens.contains(&"{");
    match tokens.iter().rev().find(|token| is_block || **token != "\n") {
        None | Some(&"," | &"{") => Wanted::names(SERVERS),
        Some(&"\n") => Wanted::names(SERVERS),
        Some(&("}" | "weight")) => Wanted::default(),
        Some(last) if last.ends_with(':') => Wanted::default(),
        Some(_) => {
            let element = tokens.rsplit(|token| matches!(*token, "," | "\n" | "{")).next().unwrap_or(&[]);
            let new = |word: &&&'static str| !element.contains(*word);
            Wanted::words(&["weight", "backup"].iter().filter(new).copied().collect::<Vec<_>>())
        }
    }
}

/// Behind `balance`, before the arrow.
fn in_balance(tokens: &[&str]) -> Wanted {
    let protocols = tokens.iter().take_while(|token| PROTOCOLS.contains(token) || **token == ",").count();
    let rest = &tokens[protocols..];
    match (rest, tokens[..protocols].last()) {
        ([], None | Some(&",")) => {
            let new = PROTOCOLS.iter().copied().filter(|protocol| !tokens.contains(protocol));
            Wanted::words(&new.collect::<Vec<_>>())
        }
        ([], Some(_)) | (["{"], _) => Wanted { words: vec!["local"], names: CLIENTS },
        (["{", list @ ..], _) if !list.contains(&"}") => match list.last() {
            Some(&",") => Wanted { words: vec!["local"], names: CLIENTS },
            Some(_) | None => Wanted::default(),
        },
        ([.., last], _) if last.ends_with(':') && rest.len() == 1 => Wanted::default(),
        (rest, _) => in_options(rest, true),
    }
}

/// Where options stand: behind the listen part, or `default`.
fn in_options(tokens: &[&str], is_balance: bool) -> Wanted {
    let last = tokens.last().copied().unwrap_or("");
    // The option that the place may still belong to.
    let option = tokens.iter().rposition(|token| OPTIONS.contains(token));
    let (name, own) = option.map_or(("", tokens), |at| (tokens[at], &tokens[at + 1..]));
    let open = own.iter().filter(|token| **token == "{").count() > own.iter().filter(|token| **token == "}").count();
    let mut words: Vec<&'static str> = match (name, last) {
        ("by", "by") => return Wanted::words(&["random", "round-robin", "source-hash"]),
        (_, "else") => return Wanted::words(&["drop", "reject"]),
        (_, "per") => return Wanted::words(&["source"]),
        ("limit", "/") => return Wanted::words(&["second", "minute", "hour"]),
        ("from", "from") => return Wanted { words: vec!["not"], names: CLIENTS },
        ("on", "on") => return Wanted::words(&["not"]),
        ("from", "not" | "," | "{") => return Wanted::names(CLIENTS),
        (
            _,
            "as" | "sticky" | "snat" | "limit" | "max-connections" | "seed" | "buckets" | "burst" | "not" | "," | "{",
        ) => {
            return Wanted::default();
        }
        _ if open => return Wanted::default(),
        ("by", _) if own.contains(&"source-hash") => vec!["seed", "buckets"],
        ("masquerade", "masquerade") => vec!["hairpin"],
        ("limit", _) if own.contains(&"/") => vec!["burst", "per", "else"],
        ("max-connections", _) => vec!["per", "else"],
        ("from", _) => vec!["else"],
        (_, _) => Vec::new(),
    };
    // `burst` stands before `per source`, and `else` behind everything.
    let is_over = |word: &str| own.contains(&"else") || (word == "burst" && own.contains(&"per"));
    words.retain(|word| !own.contains(word) && !is_over(word));
    let may_stand = |option: &str| is_balance || option != "as";
    let options = OPTIONS.iter().copied().filter(|option| !tokens.contains(option) && may_stand(option));
    words.extend(options);
    Wanted::words(&words)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The words, then the kinds of names, that are offered at the end of a text.
    fn offered(text: &str) -> String {
        let start = text.bytes().rposition(|byte| !is_word_byte(byte)).map_or(0, |at| at + 1);
        let Some(tokens) = tokens(statement(&text[..start])) else { return "-".to_owned() };
        let wanted = wanted(&tokens);
        let names = wanted.names.iter().map(|kind| format!("{kind:?}"));
        wanted.words.iter().map(|word| (*word).to_owned()).chain(names).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn what_is_offered_is_what_may_stand_there() {
        for (text, expected) in [
            ("", "balance default host include net pool"),
            ("ba", "balance default host include net pool"),
            ("host a = ::1\n", "balance default host include net pool"),
            ("host a = ::1; ", "balance default host include net pool"),
            ("host a = ", ""),
            ("net n = ", "Host Net"),
            ("net n = a,\n  ", "Host Net"),
            ("net n = a ", ""),
            ("balance ", "sctp tcp udp"),
            ("balance tcp,", "sctp udp"),
            ("balance tcp ", "local Host Net"),
            ("balance tcp {a, ", "local Host Net"),
            ("balance tcp 80 by ", "random round-robin source-hash"),
            ("balance tcp 80 from ", "not Host Net"),
            ("balance tcp 80 from not a, ", "Host Net"),
            ("balance tcp 80 from a else ", "drop reject"),
            ("balance tcp 80 limit 3/", "second minute hour"),
            ("balance tcp 80 limit 3/second per ", "source"),
            ("balance tcp 80 -> ", "Host Pool"),
            ("balance tcp 80\n    -> a:1, ", "Host Pool"),
            ("balance tcp 80 -> a:1 ", "weight backup"),
            ("balance tcp 80 -> a:1 weight 3 b", "backup"),
            ("balance tcp 80 -> {\n  a\n  ", "Host Pool"),
            ("balance tcp 80 -> {\n  a weight 2\n  b ", "weight backup"),
            ("balance tcp 80 -> {\n  a\n}\n", "balance default host include net pool"),
            ("pool p = ", "Host Pool"),
            ("host a = ::1 # ba", "-"),
            ("include \"ba", "-"),
            ("# é\npool é = ", "Host Pool"),
        ] {
            assert_eq!(offered(text), expected, "{text:?}");
        }
    }

    #[test]
    fn options_are_offered_once() {
        let options = offered("balance tcp 80 masquerade counter ");
        assert!(
            options.contains("sticky") && !options.contains("masquerade") && !options.contains("counter"),
            "{options}"
        );
        assert!(offered("balance tcp 80 masquerade ").starts_with("hairpin "));
        assert!(offered("balance tcp 80 limit 1/hour ").starts_with("burst per else "));
        assert!(offered("balance tcp 80 by source-hash seed 1 ").starts_with("buckets "));
        assert!(!offered("default ").split(' ').any(|word| word == "as"));
    }

    #[test]
    fn no_text_is_too_strange() {
        for text in
            ["}", "->", "\"", "balance {{{", "pool =", "é", "balance -> -> }", "[", "a-", "-", "balance tcp a-> "]
        {
            for end in ["", " ", "\n", ",", "{"] {
                offered(&format!("{text}{end}"));
            }
        }
    }
}
