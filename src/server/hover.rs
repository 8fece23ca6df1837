//! `textDocument/hover`: shares, declarations, words, and the documentation of findings.

use lsp_types::{Hover, HoverContents, MarkupContent, MarkupKind};

use crate::diagnostic::{Code, at};
use crate::ir::share::percent;
use crate::ir::{Body, Config, Family, Service};
use crate::lint::page;
use crate::source::{SourceId, Span};
use crate::statement::backends::Backend;
use crate::statement::balance::Balance;
use crate::statement::pool::Pool;
use crate::statement::{Item, Statement};
use crate::syntax::is_word_byte;

use super::analysis::Analysis;
use super::shares::{Shares, own, services, total, users, within};
use super::words::meaning;

/// Services of a pool, or backends of a service, that are listed.
const MOST: usize = 20;
/// The longest declaration that is shown, in lines.
const MOST_LINES: usize = 12;

/// What there is to say about a place.
pub fn hover(analysis: &Analysis, source: SourceId, offset: u32) -> Option<Hover> {
    let mut parts = Vec::new();
    let mut span = None;
    if let Some(found) = backend(analysis, source, offset) {
        span = Some(found.0);
        parts.push(found.1);
    }
    if let Some((name, place)) = analysis.names().find(source, offset) {
        span.get_or_insert(place);
        parts.extend(declaration(analysis, name));
    } else if let Some((place, text)) = word(analysis, source, offset) {
        span.get_or_insert(place);
        parts.push(text);
    }
    if span.is_none()
        && let Some(found) = listener(analysis, source, offset)
    {
        span = Some(found.0);
        parts.push(found.1);
    }
    let mut codes: Vec<Code> = Vec::new();
    for one in &analysis.diagnostics {
        let loc = one.primary.loc;
        if loc.source == source && (loc.span.start..=loc.span.end).contains(&offset) && !codes.contains(&one.code) {
            span.get_or_insert(loc.span);
            codes.push(one.code);
        }
    }
    parts.extend(codes.into_iter().map(page));
    let range = Some(analysis.range(source, span?));
    let value = parts.join("\n\n---\n\n");
    let contents = HoverContents::Markup(MarkupContent { kind: MarkupKind::Markdown, value });
    Some(Hover { contents, range }).filter(|_| !parts.is_empty())
}

fn holds(span: Span, offset: u32) -> bool {
    (span.start..=span.end).contains(&offset)
}

/// The statement at a place.
fn item(analysis: &Analysis, source: SourceId, offset: u32) -> Option<&Item> {
    let items = &analysis.program.files.get(source.0 as usize)?.items;
    let behind = items.partition_point(|item| item.span.start <= offset);
    items[..behind].last().filter(|item| holds(item.span, offset))
}

fn service<'a>(analysis: &'a Analysis, wanted: &Balance) -> Option<(&'a Config, &'a Service)> {
    let (_, _, _, service) = services(analysis).find(|(_, _, balance, _)| std::ptr::eq(*balance, wanted))?;
    Some((analysis.config.as_ref()?, service))
}

/// A backend and its share.
fn backend(analysis: &Analysis, source: SourceId, offset: u32) -> Option<(Span, String)> {
    let statement = &item(analysis, source, offset)?.statement;
    let list = match statement {
        Statement::Balance(balance) => &balance.backends.list,
        Statement::Pool(pool) => &pool.backends.list,
        Statement::Include(_) | Statement::Host(_) | Statement::Net(_) | Statement::Default(_) => return None,
    };
    let index = list.partition_point(|backend| backend.span.start <= offset).checked_sub(1)?;
    let backend = list.get(index).filter(|backend| holds(backend.span, offset))?;
    let written = code(analysis, source, backend);
    let text = match statement {
        Statement::Balance(balance) => {
            let (_, service) = service(analysis, balance)?;
            let shares = own(analysis, source, balance, service).swap_remove(index);
            format!("{written} gets {}", of_service(&shares, service)?)
        }
        Statement::Pool(pool) => in_pool(analysis, source, pool, index, &written)?,
        Statement::Include(_) | Statement::Host(_) | Statement::Net(_) | Statement::Default(_) => return None,
    };
    Some((backend.span, text))
}

fn code(analysis: &Analysis, source: SourceId, backend: &Backend) -> String {
    let text = analysis.at(at(source, backend.span));
    let end = text.find([' ', '\t']).unwrap_or(text.len());
    format!("`{}`", &text[..end])
}

fn of_service(shares: &Shares, service: &Service) -> Option<String> {
    let (fractions, percents) = (shares.fractions()?, shares.show(percent)?);
    Some(format!("**{fractions}** ({percents}) of `{}`", service.name))
}

/// A member of a pool: its share of the pool, and of every service that uses the pool.
fn in_pool(analysis: &Analysis, source: SourceId, pool: &Pool, index: usize, written: &str) -> Option<String> {
    analysis.config.as_ref()?;
    let name = analysis.at(at(source, pool.name));
    let shares = within(analysis, source, pool).swap_remove(index);
    let mut text = match (shares.fractions(), shares.show(percent)) {
        (Some(fractions), Some(percents)) => {
            format!("{written} gets **{fractions}** ({percents}) of the pool `{name}`")
        }
        (_, _) => format!("{written} is in the pool `{name}`, which no service uses"),
    };
    let users = users(analysis, name);
    let place = (source, pool.backends.list[index].span);
    let all: Vec<_> = services(analysis).collect();
    for &(source, _, balance, service) in users.iter().take(MOST).filter_map(|user| all.get(*user)) {
        if let Some(line) = of_service(&total(analysis, source, balance, service, place), service) {
            text.push_str(&format!("\n- {line}"));
        }
    }
    if users.len() > MOST {
        text.push_str(&format!("\n- and of {} more services", users.len() - MOST));
    }
    Some(text)
}

/// A service, at its listen part.
fn listener(analysis: &Analysis, source: SourceId, offset: u32) -> Option<(Span, String)> {
    let Statement::Balance(balance) = &item(analysis, source, offset)?.statement else { return None };
    let first = balance.protocols.first()?.span;
    let place = first.to(balance.listen.span);
    if !holds(place, offset) {
        return None;
    }
    let (config, service) = service(analysis, balance)?;
    let mut text = format!("service `{}` ({})", service.name, config.origin(service));
    for family in Family::ALL {
        match service.body(family) {
            None => {}
            Some(Body::Closed) => text.push_str(&format!("\n\n{}: every client is kept out", family.name())),
            Some(Body::Drained(_)) => {
                text.push_str(&format!("\n\n{}: drained, new connections are rejected", family.name()));
            }
            Some(Body::Balance(group)) => {
                let shares = crate::ir::share::shares(&group.members, group.backends.len());
                text.push_str(&format!("\n\n{}:\n", family.name()));
                for (backend, share) in group.backends.iter().zip(&shares).take(MOST) {
                    let fraction = crate::ir::share::fraction(share);
                    text.push_str(&format!("\n- `{backend}` {fraction} ({})", percent(share)));
                }
                if shares.len() > MOST {
                    text.push_str(&format!("\n- and {} more", shares.len() - MOST));
                }
            }
        }
    }
    Some((place, text))
}

/// The statement that declares a name, as it is written.
fn declaration(analysis: &Analysis, name: &str) -> Option<String> {
    let Some((source, item)) = analysis.names().statement(&analysis.program, name) else {
        let addresses = analysis.names().host(&analysis.program, name)?;
        let addresses: Vec<String> = addresses.iter().map(ToString::to_string).collect();
        return Some(format!("```lb\nhost {name} = {}\n```\nfrom the command line", addresses.join(", ")));
    };
    let text = analysis.at(at(source, item.span));
    let mut lines: Vec<&str> = text.lines().take(MOST_LINES).collect();
    if text.lines().nth(MOST_LINES).is_some() {
        lines.push("# …");
    }
    let shown: Vec<String> = lines.iter().map(|line| line.chars().take(200).collect()).collect();
    Some(format!("```lb\n{}\n```", shown.join("\n")))
}

/// A word of the language, outside of comments and strings.
fn word(analysis: &Analysis, source: SourceId, offset: u32) -> Option<(Span, String)> {
    let item = item(analysis, source, offset)?;
    let text = analysis.text(source);
    let bytes = text.as_bytes();
    let (mut start, mut end) = (offset as usize, offset as usize);
    // A word is far shorter than the bound.
    while start > 0 && is_word_byte(bytes[start - 1]) && offset as usize - start < 64 {
        start -= 1;
    }
    while end < bytes.len() && is_word_byte(bytes[end]) && end - (offset as usize) < 64 {
        end += 1;
    }
    let word = &text[start..end];
    let meaning = meaning(word)?;
    let before = &text[item.span.start as usize..start];
    let line = before.rsplit('\n').next().unwrap_or(before);
    if line.contains('#') || line.matches('"').count() % 2 == 1 {
        return None;
    }
    Some((Span::new(start as u32, end as u32), format!("`{word}`: {meaning}")))
}
