//! Comments that suppress findings, `# lbc: ignore[LB104] why` and `# lbc: ignore-file[LB104] why`, and what they speak of.
//!
//! One above a statement or behind its end speaks of the whole statement; statements that stand on one line count as one. One within
//! a statement speaks of its own line or, on a line of its own, of the next line that is no comment.

use crate::source::{Source, Span};
use crate::statement::{Item, Statement};

/// A comment that suppresses, or means to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Suppression {
    pub is_for_file: bool,
    /// What stands between its brackets; none where it has no brackets.
    pub codes: Option<Span>,
}

/// What a suppression that is not for the whole file speaks of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// A line, counted from 1.
    pub line: usize,
    /// A row of statements, see [`Rows`].
    pub row: Option<usize>,
}

/// The statements of a file by rows: what starts on the line on which the one before it ends is of the same row.
pub struct Rows<'a> {
    items: &'a [Item],
    /// The first statement of each.
    firsts: Vec<usize>,
    /// The first and the last line of each, from 1.
    lines: Vec<(usize, usize)>,
}

/// Whether a text may hold suppressions at all.
pub fn may_suppress(text: &str) -> bool {
    memchr::memmem::find(text.as_bytes(), b"lbc:").is_some()
}

/// What a comment suppresses; `None` where it is another comment.
pub fn parse(text: &str, comment: Span) -> Option<Suppression> {
    let whole = &text[comment.range()];
    let body = whole.trim_start_matches('#').trim_start().strip_prefix("lbc:")?.trim_start();
    let (is_for_file, rest) = match body.strip_prefix("ignore-file") {
        Some(rest) => (true, rest),
        None => (false, body.strip_prefix("ignore")?),
    };
    let codes = rest.trim_start().strip_prefix('[').and_then(|rest| rest.split_once(']')).map(|(codes, _)| {
        let start = comment.start + (codes.as_ptr() as usize - whole.as_ptr() as usize) as u32;
        Span::new(start, start + codes.len() as u32)
    });
    Some(Suppression { is_for_file, codes })
}

impl<'a> Rows<'a> {
    pub fn new(source: &Source, items: &'a [Item]) -> Rows<'a> {
        let mut rows = Rows { items, firsts: Vec::new(), lines: Vec::new() };
        for (index, item) in items.iter().enumerate() {
            let (start, end) = (source.line(item.span.start), source.line(item.span.end));
            match rows.lines.last_mut().filter(|(_, last)| *last == start) {
                Some((_, last)) => *last = end,
                None => {
                    rows.firsts.push(index);
                    rows.lines.push((start, end));
                }
            }
        }
        rows
    }

    /// The row that a place in the text is in.
    pub fn at(&self, offset: u32) -> Option<usize> {
        let item = self.items.partition_point(|item| item.span.start <= offset).checked_sub(1)?;
        (offset <= self.items[item].span.end).then(|| self.of(item))
    }

    /// The row of a statement.
    pub fn of(&self, item: usize) -> usize {
        self.firsts.partition_point(|first| *first <= item) - 1
    }

    /// The statements of a row, by number.
    pub fn items(&self, row: usize) -> std::ops::Range<usize> {
        self.firsts[row]..self.firsts.get(row + 1).copied().unwrap_or(self.items.len())
    }

    /// How many statements of a row have something on a line.
    fn count_on(&self, source: &Source, row: usize, line: usize) -> usize {
        let of_row = &self.items[self.items(row)];
        let is_on = |item: &&Item| (source.line(item.span.start)..=source.line(item.span.end)).contains(&line);
        of_row.iter().filter(is_on).count()
    }

    /// The rows of several statements of which a suppression speaks that is not of one statement alone, ascending.
    fn bound(&self, source: &Source, comments: &[Span], places: &[Place]) -> Vec<usize> {
        let mut bound: Vec<usize> = Vec::new();
        for (comment, place) in comments.iter().zip(places) {
            let Some(row) = place.row.or_else(|| self.at(comment.start)) else { continue };
            let is_common = self.items(row).len() > 1
                && parse(source.text(), *comment).is_some_and(|one| !one.is_for_file)
                && (place.row.is_some() || self.count_on(source, row, place.line) > 1);
            if is_common && bound.last() != Some(&row) {
                bound.push(row);
            }
        }
        bound
    }

    /// What each of the comments of the file speaks of, should it be a suppression.
    pub fn places(&self, source: &Source, comments: &[Span]) -> Vec<Place> {
        let own: Vec<usize> = comments.iter().map(|comment| source.line(comment.start)).collect();
        let mut places: Vec<Place> = own.iter().map(|line| Place { line: *line, row: None }).collect();
        for index in (0..comments.len()).rev() {
            if !is_alone(source.text(), comments[index]) {
                let item = self.items.partition_point(|item| item.span.end <= comments[index].start).checked_sub(1);
                places[index].row = item.map(|item| self.of(item)).filter(|row| self.lines[*row].1 == own[index]);
                continue;
            }
            let next = index + 1;
            let is_stacked =
                next < comments.len() && own[next] == own[index] + 1 && is_alone(source.text(), comments[next]);
            places[index] = match is_stacked {
                true => places[next],
                false => {
                    let line = own[index] + 1;
                    Place { line, row: self.lines.binary_search_by_key(&line, |(first, _)| *first).ok() }
                }
            };
        }
        places
    }
}

/// Whether nothing but blanks and the ends of statements above stands before something on its line.
fn is_alone(text: &str, place: Span) -> bool {
    let before = text[..place.start as usize].trim_end_matches([' ', '\t', ';']);
    before.is_empty() || before.ends_with('\n') || before == "\u{feff}"
}

/// The text with each suppression above its statement that speaks of more than its line will hold when every element of a list has a
/// line of its own. Statements on one line that have one in common have all comments within them above the first. `None` where there
/// is nothing to move.
pub fn lifted(source: &Source, items: &[Item], comments: &[Span]) -> Option<String> {
    let text = source.text();
    let rows = Rows::new(source, items);
    let starts: Vec<u32> = items.iter().flat_map(elements).collect();
    let places = rows.places(source, comments);
    let bound = rows.bound(source, comments, &places);
    let mut moves: Vec<(u32, Span)> = Vec::new();
    for (comment, place) in comments.iter().zip(places) {
        let is_inside = |row: &usize| comment.start < items[rows.items(*row).end - 1].span.end;
        let inside = rows.at(comment.start).filter(|row| bound.binary_search(row).is_ok() && is_inside(row));
        if let Some(row) = inside {
            moves.push((items[rows.firsts[row]].span.start, *comment));
            continue;
        }
        let is_line = place.row.is_none() && parse(text, *comment).is_some_and(|one| !one.is_for_file);
        if !is_line || rows.at(comment.start).is_none() {
            continue;
        }
        let of_statement = items[items.partition_point(|item| item.span.start <= comment.start) - 1].span.start;
        let line = source.line_span(place.line);
        let of_line =
            starts.partition_point(|start| *start < line.end) - starts.partition_point(|start| *start < line.start);
        if place.line <= source.line(of_statement) || of_line > 1 {
            moves.push((of_statement, *comment));
        }
    }
    if moves.is_empty() {
        return None;
    }
    let mut new = String::with_capacity(text.len());
    let (mut done, mut taken) = (0, 0);
    while taken < moves.len() {
        let to = moves[taken].0;
        let own: Vec<Span> =
            moves[taken..].iter().take_while(|(start, _)| *start == to).map(|(_, span)| *span).collect();
        new.push_str(&text[done..to as usize]);
        if !is_alone(text, Span::new(to, to)) {
            // Behind another statement it would be that one's.
            new.push('\n');
        }
        own.iter().for_each(|comment| new.extend([&text[comment.range()], "\n"]));
        done = to as usize;
        for comment in &own {
            let before = &text[..comment.start as usize];
            let start = match is_alone(text, *comment) {
                // With the line end before it.
                true => before.trim_end_matches([' ', '\t', '\r', '\n']).len(),
                false => before.len(),
            };
            new.push_str(&text[done..start.max(done)]);
            // With blanks behind it that are no part of it, and could stand nowhere else.
            done = text[comment.end as usize..].find('\n').map_or(text.len(), |end| comment.end as usize + end);
        }
        taken += own.len();
    }
    new.push_str(&text[done..]);
    Some(new)
}

/// The statements, by number, that have to stay on one line with the next: a suppression speaks of both. No comments are left within
/// them, see [`lifted`].
pub fn held(source: &Source, items: &[Item], comments: &[Span]) -> Vec<usize> {
    let rows = Rows::new(source, items);
    let bound = rows.bound(source, comments, &rows.places(source, comments));
    let all_but_last = |row: usize| rows.items(row).rev().skip(1).rev();
    bound.into_iter().flat_map(all_but_last).collect()
}

/// Where the elements of a statement's list start.
fn elements(item: &Item) -> Vec<u32> {
    match &item.statement {
        Statement::Host(host) => host.addresses.iter().map(|one| one.span.start).collect(),
        Statement::Net(net) => net.items.iter().map(|one| one.span().start).collect(),
        Statement::Pool(pool) => pool.backends.list.iter().map(|one| one.span.start).collect(),
        Statement::Balance(balance) => balance.backends.list.iter().map(|one| one.span.start).collect(),
        Statement::Include(_) | Statement::Default(_) => Vec::new(),
    }
}
