//! What the compiler makes of the sample files: the class of every token.

use std::path::{Path, PathBuf};

use lbc::file::{File, parse};
use lbc::keyword::is_reserved;
use lbc::option::{BalanceOption, Kind};
use lbc::source::{Source, SourceId, Span};
use lbc::statement::backends::{Backends, Server};
use lbc::statement::listen::Destination;
use lbc::statement::net::NetItem;
use lbc::statement::{Item, Statement};
use lbc::syntax::{comments, is_word_byte};

/// What a token is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Class {
    Comment,
    String,
    Keyword,
    Name,
    Number,
    Address,
    /// Signs and blanks.
    Other,
}

/// A sample and the class of each of its bytes; `None` where a grammar may say what it likes.
pub struct Sample {
    pub path: PathBuf,
    pub text: String,
    pub classes: Vec<Option<Class>>,
}

/// Every `.lb` file of the tests that parses.
pub fn samples() -> Vec<Sample> {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    let mut samples = Vec::new();
    for folder in ["examples", "examples/iptables", "fixtures/lint", "fixtures/resolve", "fixtures/syntax"] {
        let entries = std::fs::read_dir(tests.join(folder)).expect("a folder");
        let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
        paths.sort();
        for path in paths.into_iter().filter(|path| path.extension().is_some_and(|extension| extension == "lb")) {
            let Ok(text) = std::fs::read_to_string(&path) else { continue };
            samples.extend(sample(path, text));
        }
    }
    // What no file has: words next to arrows, keywords in names, strings and interfaces.
    let strange = "host tcp-1 = ::1; host weight2 = 10.0.0.1 # net \"x\" 80\nhost a--b = 10.0.0.2, dead:beef::1\n\
                   balance tcp,udp 80 as by-on log \"host # 1.2.3.4\" counter->tcp-1 weight 2,weight2:80 backup\n\
                   balance tcp {weight2, [dead::]/16, ::ffff:1.2.3.4}:1,2-3 on \"tcp\",eth0 by source-hash->a--b:9\n\
                   balance udp *:53 sticky 1h30m500ms limit 3/second per source else drop\n -> _x:5\nhost _x=10.0.0.3";
    samples.extend(sample(PathBuf::from("strange.lb"), strange.to_owned()));
    assert!(samples.len() >= 20, "{} samples", samples.len());
    samples
}

fn sample(path: PathBuf, text: String) -> Option<Sample> {
    let source = Source::new("x.lb", "x.lb", text.clone());
    let (file, errors) = parse(&source, SourceId(0));
    if !errors.is_empty() {
        assert!(path.file_name().is_none_or(|name| name != "strange.lb"), "{errors:?}");
        return None;
    }
    let classes = classes(&text, &file);
    Some(Sample { path, text, classes })
}

fn classes(text: &str, file: &File) -> Vec<Option<Class>> {
    // First what the tree knows, then the words and numbers between.
    let mut known: Vec<(Span, Option<Class>)> =
        comments(text).into_iter().map(|span| (span, Some(Class::Comment))).collect();
    for item in &file.items {
        of_item(item, &mut |span, class| known.push((span, class)));
    }
    known.sort_by_key(|(span, _)| *span);
    let mut classes = vec![Some(Class::Other); text.len()];
    let mut at = 0;
    for (span, class) in known {
        between(text, at..span.start as usize, &mut classes);
        let is_bracketed = text[span.range()].starts_with('[');
        for (offset, place) in classes[span.range()].iter_mut().enumerate() {
            *place = class;
            // What stands in brackets is the address; the signs around it are left open.
            if is_bracketed && (offset == 0 || text[span.range()][..=offset].contains(']')) {
                *place = None;
            }
        }
        at = span.end as usize;
    }
    between(text, at..text.len(), &mut classes);
    classes
}

fn between(text: &str, range: std::ops::Range<usize>, classes: &mut [Option<Class>]) {
    let bytes = text.as_bytes();
    let mut at = range.start;
    while at < range.end {
        let end = (at..range.end).find(|end| !is_word_byte(bytes[*end])).unwrap_or(range.end);
        let word = text[at..end].trim_end_matches('-');
        if word.is_empty() {
            at = end.max(at + 1);
            continue;
        }
        let class = match is_reserved(word) {
            true => Class::Keyword,
            false => {
                assert!(word.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-'), "{word}");
                Class::Number
            }
        };
        for index in at..at + word.len() {
            // The dash of a range of ports is left open.
            classes[index] = Some(class).filter(|_| class == Class::Keyword || bytes[index] != b'-');
        }
        at = end;
    }
}

type Tell<'a> = &'a mut dyn FnMut(Span, Option<Class>);

fn of_item(item: &Item, tell: Tell<'_>) {
    match &item.statement {
        Statement::Include(include) => tell(with_quotes(include.path), Some(Class::String)),
        Statement::Host(host) => {
            tell(host.name, Some(Class::Name));
            host.addresses.iter().for_each(|address| tell(address.span, Some(Class::Address)));
        }
        Statement::Net(net) => {
            tell(net.name, Some(Class::Name));
            net.items.iter().for_each(|item| of_net_item(item, tell));
        }
        Statement::Pool(pool) => {
            tell(pool.name, Some(Class::Name));
            of_backends(&pool.backends, tell);
        }
        Statement::Default(default) => default.options.iter().for_each(|option| of_option(option, tell)),
        Statement::Balance(balance) => {
            for destination in &balance.listen.destinations {
                match destination {
                    Destination::Name(span) => tell(*span, Some(Class::Name)),
                    Destination::Prefix(prefix) => tell(prefix.span, Some(Class::Address)),
                    Destination::Any(span) => tell(*span, None),
                    Destination::Local(_) => {}
                }
            }
            balance.options.iter().for_each(|option| of_option(option, tell));
            of_backends(&balance.backends, tell);
        }
    }
}

fn of_net_item(item: &NetItem, tell: Tell<'_>) {
    match item {
        NetItem::Name(span) => tell(*span, Some(Class::Name)),
        NetItem::Prefix(prefix) => tell(prefix.span, Some(Class::Address)),
    }
}

fn of_backends(backends: &Backends, tell: Tell<'_>) {
    for backend in &backends.list {
        match backend.server {
            Server::Name(span) => tell(span, Some(Class::Name)),
            Server::Address(_, span) => tell(span, Some(Class::Address)),
            Server::Local => {}
        }
    }
}

fn of_option(option: &BalanceOption, tell: Tell<'_>) {
    match &option.kind {
        Kind::As(name) => tell(*name, Some(Class::Name)),
        Kind::Sticky(sticky) => tell(sticky.millis.span, Some(Class::Number)),
        Kind::From(from) => from.nets.iter().for_each(|item| of_net_item(item, tell)),
        Kind::On(on) => {
            for interface in &on.interfaces {
                match interface.quoted {
                    true => tell(with_quotes(interface.name), Some(Class::String)),
                    // A grammar without context cannot tell it from a name.
                    false => tell(interface.name, None),
                }
            }
        }
        Kind::Snat(snat) => snat.addresses.iter().for_each(|address| tell(address.span, Some(Class::Address))),
        Kind::Log(Some(prefix)) => tell(with_quotes(*prefix), Some(Class::String)),
        Kind::By(_)
        | Kind::Masquerade { .. }
        | Kind::Output
        | Kind::Accept
        | Kind::Limit(_)
        | Kind::MaxConnections(_)
        | Kind::Counter
        | Kind::Log(None) => {}
    }
}

fn with_quotes(span: Span) -> Span {
    Span::new(span.start - 1, span.end + 1)
}

/// Fails at the first byte of which a grammar says something else than the compiler.
pub fn compare(grammar: &str, sample: &Sample, found: &[Class]) {
    assert_eq!(found.len(), sample.text.len());
    for (at, (expected, found)) in sample.classes.iter().zip(found).enumerate() {
        let byte = sample.text.as_bytes()[at];
        // A comment may take the blanks behind it, a grammar of lines not the byte order mark.
        let is_open = expected.is_none()
            || (*expected == Some(Class::Other) && byte.is_ascii_whitespace())
            || sample.text.starts_with('\u{feff}') && at < 3;
        if !is_open && *expected != Some(*found) {
            let line = sample.text[..at].matches('\n').count() + 1;
            let text: String = String::from_utf8_lossy(&sample.text.as_bytes()[at..]).chars().take(30).collect();
            panic!("{grammar}: {}:{line}: `{text}` is {expected:?}, found {found:?}", sample.path.display());
        }
    }
}
