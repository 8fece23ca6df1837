//! The one renderer of diagnostics, and the only user of miette.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{self, IsTerminal};

use miette::{
    GraphicalReportHandler, GraphicalTheme, LabeledSpan, MietteError, MietteSpanContents, SourceCode, SourceSpan,
    SpanContents, ThemeCharacters, ThemeStyles,
};
use serde::Serialize;

use crate::diagnostic::{Applicability, Diagnostic, Label, Severity};
use crate::source::{Loc, Source, Sources, Span};
use crate::syntax::MAX_ERRORS;

use super::output::write;
use super::{Color, Failure, Global, OutputFormat, formats};

/// Where diagnostics go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// `check`
    Out,
    /// Every other command.
    Err,
}

/// Prints all diagnostics in the form that was asked for. JSON is a whole object with none, too.
pub fn report(global: &Global, stream: Stream, sources: &Sources, list: &[Diagnostic]) -> Result<(), Failure> {
    let mut text = String::new();
    let (shown, left_out) = shown(global, sources, list);
    let list = &*shown;
    match global.output_format {
        OutputFormat::Full => full(global, stream, sources, list, &mut text),
        OutputFormat::Concise => {
            for diagnostic in list {
                let (source, span) = place(sources, &diagnostic.primary);
                let (line, column) = source.position(span.start);
                let message = printable(&diagnostic.message);
                // Writing to a string cannot fail.
                let (path, code) = (printable(&source.path), diagnostic.code.as_str());
                let _ = writeln!(text, "{path}:{line}:{column}: {code} {message}");
            }
            if !speaks_unicode() {
                text = text.replace('…', "...");
            }
        }
        OutputFormat::Json => {
            let all = list.iter().map(|diagnostic| json(sources, diagnostic)).collect();
            let report = Report { format_version: "1.0", diagnostics: all };
            text = escaped(&serde_json::to_string_pretty(&report).expect("plain values are JSON"));
            text.push('\n');
        }
        OutputFormat::JsonLines => {
            for diagnostic in list {
                let one = serde_json::to_string(&json(sources, diagnostic)).expect("plain values are JSON");
                text.push_str(&escaped(&one));
                text.push('\n');
            }
        }
        OutputFormat::Github => text = formats::github(sources, list),
        OutputFormat::Gitlab => text = formats::gitlab(sources, list),
        OutputFormat::Sarif => text = formats::sarif(sources, list),
        OutputFormat::Junit => text = formats::junit(sources, list),
    }
    match stream {
        Stream::Out => write(io::stdout().lock(), text.as_bytes()),
        Stream::Err => write(io::stderr().lock(), text.as_bytes()),
    }?;
    left_out.iter().try_for_each(|message| warn(global, message))
}

/// What people are shown, [`MAX_ERRORS`] warnings of a file at most, and what they are told of the others. Programs get all.
fn shown<'a>(global: &Global, sources: &Sources, list: &'a [Diagnostic]) -> (Cow<'a, [Diagnostic]>, Vec<String>) {
    let is_for_people = matches!(global.output_format, OutputFormat::Full | OutputFormat::Concise);
    if list.len() <= MAX_ERRORS || !is_for_people {
        return (Cow::Borrowed(list), Vec::new());
    }
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    let shown = list.iter().filter(|one| {
        let count = counts.entry(&sources.get(one.primary.loc.source).path).or_default();
        *count += usize::from(one.severity == Severity::Warning);
        one.severity == Severity::Error || *count <= MAX_ERRORS
    });
    let shown = shown.cloned().collect();
    let long = counts.into_iter().filter(|(_, count)| *count > MAX_ERRORS);
    let left_out = long.map(|(path, count)| {
        format!("{} has {count} findings; {} of them are not shown", printable(path), count - MAX_ERRORS)
    });
    (Cow::Owned(shown), left_out.collect())
}

/// `1 error`, `2 errors`
fn counted(count: usize, what: &str) -> String {
    let plural = match (count, what.strip_suffix('x')) {
        (1, _) => "",
        (_, Some(_)) => "es",
        (_, None) => "s",
    };
    format!("{count} {what}{plural}")
}

/// Prints how many findings were fixed, and how many can be: those whose fix keeps the meaning, and the others.
pub fn summary(global: &Global, stream: Stream, fixed: usize, fixable: (usize, usize)) -> Result<(), Failure> {
    let mut lines = String::new();
    if fixed > 0 {
        lines.push_str(&format!("{} applied\n", counted(fixed, "fix")));
    }
    let (safe, others) = fixable;
    if safe > 0 {
        lines.push_str(&format!("{safe} can be fixed with `--fix`\n"));
    }
    if others > 0 {
        let more = if safe > 0 { " more" } else { "" };
        lines
            .push_str(&format!("{others}{more} can be fixed with `--fix --unsafe-fixes`, which changes the meaning\n"));
    }
    match (global.output_format, stream) {
        (OutputFormat::Full, Stream::Out) => write(io::stdout().lock(), lines.as_bytes()),
        (OutputFormat::Full, Stream::Err) => write(io::stderr().lock(), lines.as_bytes()),
        (
            OutputFormat::Concise
            | OutputFormat::Json
            | OutputFormat::JsonLines
            | OutputFormat::Github
            | OutputFormat::Gitlab
            | OutputFormat::Sarif
            | OutputFormat::Junit,
            _,
        ) => Ok(()),
    }
}

/// Prints a line about the whole run on standard error. It has no place, and the JSON forms no field for it.
pub fn warn(global: &Global, message: &str) -> Result<(), Failure> {
    match global.output_format {
        OutputFormat::Full | OutputFormat::Concise => {
            write(io::stderr().lock(), format!("warning: {message}\n").as_bytes())
        }
        OutputFormat::Json
        | OutputFormat::JsonLines
        | OutputFormat::Github
        | OutputFormat::Gitlab
        | OutputFormat::Sarif
        | OutputFormat::Junit => Ok(()),
    }
}

fn place<'a>(sources: &'a Sources, label: &Label) -> (&'a Source, Span) {
    (sources.get(label.loc.source), label.loc.span)
}

// ---- for people -----------------------------------------------------------------------------------------------------

fn full(global: &Global, stream: Stream, sources: &Sources, list: &[Diagnostic], text: &mut String) {
    let terminal = match stream {
        Stream::Out => io::stdout().is_terminal(),
        Stream::Err => io::stderr().is_terminal(),
    };
    let color = colored(global, terminal);
    let unicode = speaks_unicode();
    let theme = GraphicalTheme {
        characters: if unicode { ThemeCharacters::unicode() } else { ThemeCharacters::ascii() },
        styles: if color { ThemeStyles::ansi() } else { ThemeStyles::none() },
    };
    let handler = GraphicalReportHandler::new_themed(theme).with_width(100).with_links(false).with_context_lines(1);
    for diagnostic in list {
        let mut one = String::new();
        let shown = Shown::new(sources, diagnostic);
        if handler.render_report(&mut one, &shown).is_err() {
            one = format!("{}: {}\n", diagnostic.code.as_str(), shown.message);
        }
        text.push_str(one.trim_start_matches('\n'));
        // Rules to be copied: no line break of ours may end up in them.
        for line in diagnostic.help.iter().flat_map(|help| help.lines().skip(1)) {
            let _ = writeln!(text, "    {}", printable(line));
        }
        text.push('\n');
    }
    if !list.is_empty() {
        let errors = list.iter().filter(|one| one.severity == Severity::Error).count();
        let counts = [(errors, "error"), (list.len() - errors, "warning")];
        let counts = counts.into_iter().filter(|(count, _)| *count > 0).map(|(count, what)| counted(count, what));
        let _ = writeln!(text, "{}", counts.collect::<Vec<_>>().join(", "));
    }
    if !unicode {
        let ascii = text.replace('…', "...");
        *text = ascii.chars().map(|c| if c.is_ascii() { c } else { '?' }).collect();
    }
}

/// Whether a stream gets colour: as asked for, else where it is a terminal and the environment does not object.
pub fn colored(global: &Global, terminal: bool) -> bool {
    match global.color {
        Color::Always => true,
        Color::Never => false,
        Color::Auto => {
            let set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty() && value != "0");
            std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty()) && (set("CLICOLOR_FORCE") || terminal)
        }
    }
}

/// Whether the locale says that the terminal can show more than ASCII.
pub fn speaks_unicode() -> bool {
    let set = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
    let locale = set("LC_ALL").or_else(|| set("LC_CTYPE")).or_else(|| set("LANG")).unwrap_or_default();
    let locale = locale.to_ascii_lowercase();
    locale.contains("utf-8") || locale.contains("utf8")
}

/// User text without what a terminal would obey.
pub fn printable(text: &str) -> String {
    text.chars().map(|c| if obeyed(c) { '\u{fffd}' } else { c }).collect()
}

/// Whether a terminal does something else with a character than to show it: control characters, and those that turn
/// the direction of writing, so that a line reads otherwise than it is.
fn obeyed(c: char) -> bool {
    c.is_control() || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// A diagnostic as miette wants it.
#[derive(Debug)]
struct Shown<'a> {
    diagnostic: &'a Diagnostic,
    message: String,
    sources: &'a Sources,
    excerpt: Excerpt,
    /// Labels in other files: each a report of its own.
    related: Vec<Elsewhere>,
}

impl<'a> Shown<'a> {
    fn new(sources: &'a Sources, diagnostic: &'a Diagnostic) -> Shown<'a> {
        let main = diagnostic.primary.loc.source;
        let spans = |id| {
            let all = std::iter::once(&diagnostic.primary).chain(&diagnostic.labels);
            all.filter(move |label| label.loc.source == id).map(|label| label.loc.span)
        };
        let related = diagnostic.labels.iter().filter(|label| label.loc.source != main).map(|label| Elsewhere {
            text: label.text.clone(),
            span: label.loc.span,
            excerpt: Excerpt::new(sources.get(label.loc.source), spans(label.loc.source)),
        });
        Shown {
            diagnostic,
            message: printable(&diagnostic.message),
            sources,
            excerpt: Excerpt::new(sources.get(main), spans(main)),
            related: related.collect(),
        }
    }
}

impl std::fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Shown<'_> {}

impl miette::Diagnostic for Shown<'_> {
    fn code<'b>(&'b self) -> Option<Box<dyn std::fmt::Display + 'b>> {
        let code = self.diagnostic.code;
        Some(Box::new(format!("{} {}", code.as_str(), code.name())))
    }

    fn severity(&self) -> Option<miette::Severity> {
        Some(match self.diagnostic.severity {
            Severity::Error => miette::Severity::Error,
            Severity::Warning => miette::Severity::Warning,
        })
    }

    fn help<'b>(&'b self) -> Option<Box<dyn std::fmt::Display + 'b>> {
        let help = self.diagnostic.help.as_ref()?;
        Some(Box::new(printable(help.lines().next()?)))
    }

    fn source_code(&self) -> Option<&dyn SourceCode> {
        Some(&self.excerpt)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        let main = self.diagnostic.primary.loc.source;
        let primary = &self.diagnostic.primary;
        debug_assert!(primary.loc.span.range().end <= self.sources.get(main).text().len());
        let text = |label: &Label| (!label.text.is_empty()).then(|| printable(&label.text));
        let first = LabeledSpan::new_primary_with_span(text(primary), miette_span(primary.loc.span));
        let others = self.diagnostic.labels.iter().filter(move |label| label.loc.source == main);
        let others = others.map(move |label| LabeledSpan::new_with_span(text(label), miette_span(label.loc.span)));
        Some(Box::new(std::iter::once(first).chain(others)))
    }

    fn related<'b>(&'b self) -> Option<Box<dyn Iterator<Item = &'b dyn miette::Diagnostic> + 'b>> {
        if self.related.is_empty() {
            return None;
        }
        Some(Box::new(self.related.iter().map(|other| other as &dyn miette::Diagnostic)))
    }
}

/// A label in another file than the diagnostic's own.
#[derive(Debug)]
struct Elsewhere {
    text: String,
    span: Span,
    excerpt: Excerpt,
}

impl std::fmt::Display for Elsewhere {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&printable(&self.text))
    }
}

impl std::error::Error for Elsewhere {}

impl miette::Diagnostic for Elsewhere {
    fn severity(&self) -> Option<miette::Severity> {
        Some(miette::Severity::Advice)
    }

    fn source_code(&self) -> Option<&dyn SourceCode> {
        Some(&self.excerpt)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        Some(Box::new(std::iter::once(LabeledSpan::new_with_span(None, miette_span(self.span)))))
    }
}

fn miette_span(span: Span) -> SourceSpan {
    (span.start as usize, (span.end - span.start) as usize).into()
}

/// The few lines around the labels: miette would scan and print the whole of a 64 MiB line otherwise.
#[derive(Debug)]
struct Excerpt {
    path: String,
    /// Each piece: its offset, line and column in the source (both from 0), and its text.
    pieces: Vec<Piece>,
}

#[derive(Debug)]
struct Piece {
    span: Span,
    line: usize,
    column: usize,
    lines: usize,
    text: String,
}

/// A line of more bytes than this is shown in part.
const LONG_LINE: u32 = 400;
/// What is shown of a long line on either side of a label, in bytes.
const AROUND: u32 = 40;
/// The most of a label's own text that is shown, in bytes.
const LONGEST_LABEL: u32 = 1_000;

impl Excerpt {
    fn new(source: &Source, spans: impl Iterator<Item = Span>) -> Excerpt {
        let spans: Vec<Span> = spans.collect();
        let whole = spans.iter().copied().reduce(Span::to).unwrap_or_default();
        // One piece for all labels where they stand near each other, else one for each.
        let near = whole.end - whole.start <= LONGEST_LABEL && spans.len() > 1;
        let wanted = if near { vec![whole] } else { spans };
        Excerpt { path: printable(&source.path), pieces: wanted.into_iter().map(|span| piece(source, span)).collect() }
    }
}

fn piece(source: &Source, span: Span) -> Piece {
    let text = source.text();
    let end = span.end.min(span.start + LONGEST_LABEL);
    let (first, last) = (source.line(span.start), source.line(end.max(span.start + 1) - 1));
    let before = source.line_span(first.max(2) - 1);
    let after = source.line_span((last + 1).min(source.line_count()));
    let crop = |line: Span, at: u32, start: bool| match (line.end - line.start > LONG_LINE, start) {
        (false, true) => line.start,
        (false, false) => line.end,
        (true, true) => boundary(text, at.saturating_sub(AROUND).max(line.start), false),
        (true, false) => boundary(text, (at + AROUND).min(line.end), true),
    };
    let short = |line: Span| line.end - line.start <= LONG_LINE;
    let (first_line, last_line) = (source.line_span(first), source.line_span(last));
    let start = match first > 1 && short(before) && short(first_line) {
        true => before.start,
        false => crop(first_line, span.start, true),
    };
    // What stands at a byte order mark is shown from there.
    let start = start.min(span.start);
    let stop = match short(after) && short(last_line) && last < source.line_count() {
        true => after.end,
        false => crop(last_line, end, false),
    };
    let cut = Span::new(start, stop.max(start));
    let line = source.line(start) - 1;
    Piece {
        span: cut,
        line,
        column: source.position(start).1 - 1,
        lines: source.line(stop) - line,
        text: harmless(&text[cut.range()]),
    }
}

/// The nearest character boundary, outwards.
fn boundary(text: &str, at: u32, forwards: bool) -> u32 {
    let mut at = at as usize;
    while !text.is_char_boundary(at) {
        at = if forwards { at + 1 } else { at - 1 };
    }
    at as u32
}

/// The same number of bytes without anything that a terminal would obey, tabs and line ends aside.
pub fn harmless(text: &str) -> String {
    let plain = |c: char| match (c, c.len_utf8()) {
        ('\n' | '\t', _) => c,
        ('\r', _) => ' ',
        (c, _) if !obeyed(c) => c,
        (_, 1) => '?',
        (_, 2) => '\u{bf}',
        (..) => '\u{fffd}',
    };
    text.chars().map(plain).collect()
}

impl SourceCode for Excerpt {
    fn read_span<'a>(
        &'a self,
        span: &SourceSpan,
        lines_before: usize,
        _: usize,
    ) -> Result<Box<dyn SpanContents<'a> + 'a>, MietteError> {
        let holds = |piece: &&Piece| {
            let range = piece.span.range();
            range.start <= span.offset() && (span.offset() + span.len().min(LONGEST_LABEL as usize) <= range.end)
        };
        let piece = self.pieces.iter().find(holds).ok_or(MietteError::OutOfBounds)?;
        if lines_before == 0 {
            // Without context miette asks where the label itself stands, for the line that names the place.
            let start = span.offset() - piece.span.start as usize;
            let before = &piece.text[..start];
            let line = piece.line + before.matches('\n').count();
            let column = match before.rsplit_once('\n') {
                Some((_, rest)) => rest.chars().count(),
                None => piece.column + before.chars().count(),
            };
            let end = (start + span.len()).min(piece.text.len());
            let text = &piece.text.as_bytes()[start..end];
            return Ok(Box::new(MietteSpanContents::new_named(self.path.clone(), text, *span, line, column, 1)));
        }
        Ok(Box::new(MietteSpanContents::new_named(
            self.path.clone(),
            piece.text.as_bytes(),
            (piece.span.start as usize, piece.text.len()).into(),
            piece.line,
            piece.column,
            piece.lines,
        )))
    }
}

// ---- for programs ---------------------------------------------------------------------------------------------------

#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct Report<'a> {
    /// `1.0`; a version with the same first number only adds fields.
    format_version: &'static str,
    /// Sorted by file, line, column and code.
    diagnostics: Vec<Json<'a>>,
}

#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct Json<'a> {
    /// Such as `LB104`; codes never change meaning.
    code: &'static str,
    /// Such as `loopback-backend`.
    name: &'static str,
    /// `error` or `warning`.
    severity: &'static str,
    message: &'a str,
    #[serde(flatten)]
    place: Place<'a>,
    labels: Vec<JsonLabel<'a>>,
    help: Option<&'a str>,
    fix: Option<JsonFix<'a>>,
}

#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct JsonFix<'a> {
    /// `safe` keeps the meaning, `unsafe` changes it.
    applicability: &'static str,
    message: &'a str,
    edits: Vec<JsonEdit<'a>>,
}

#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct JsonEdit<'a> {
    /// What stands there instead. The edits of a fix belong together, and do not overlap.
    content: &'a str,
    #[serde(flatten)]
    place: Place<'a>,
}

#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct Place<'a> {
    file: &'a str,
    /// Lines and columns are counted from 1, columns in characters; the end is the place behind the last one.
    line: usize,
    column: usize,
    end_line: usize,
    end_column: usize,
}

#[derive(Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct JsonLabel<'a> {
    message: &'a str,
    #[serde(flatten)]
    place: Place<'a>,
}

/// JSON text in which what a terminal would obey is escaped, beyond what JSON itself asks for. It stands in strings only.
pub fn escaped(json: &str) -> String {
    let mut text = String::with_capacity(json.len());
    for c in json.chars() {
        match obeyed(c) && c != '\n' {
            true => text.push_str(&format!("\\u{:04x}", u32::from(c))),
            false => text.push(c),
        }
    }
    text
}

fn json<'a>(sources: &'a Sources, diagnostic: &'a Diagnostic) -> Json<'a> {
    Json {
        code: diagnostic.code.as_str(),
        name: diagnostic.code.name(),
        severity: match diagnostic.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        },
        message: &diagnostic.message,
        place: json_place(sources, diagnostic.primary.loc),
        labels: diagnostic
            .labels
            .iter()
            .map(|label| JsonLabel { message: &label.text, place: json_place(sources, label.loc) })
            .collect(),
        help: diagnostic.help.as_deref(),
        fix: diagnostic.fix.as_deref().map(|fix| JsonFix {
            applicability: match fix.applicability {
                Applicability::Safe => "safe",
                Applicability::Unsafe => "unsafe",
            },
            message: &fix.message,
            edits: fix
                .edits
                .iter()
                .map(|edit| JsonEdit { content: &edit.text, place: json_place(sources, edit.loc) })
                .collect(),
        }),
    }
}

fn json_place(sources: &Sources, loc: Loc) -> Place<'_> {
    let (source, span) = (sources.get(loc.source), loc.span);
    let (line, column) = source.position(span.start);
    let (end_line, end_column) = source.position(span.end);
    Place { file: &source.path, line, column, end_line, end_column }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `LBC_BLESS=1 cargo test --lib schema` writes it anew.
    #[test]
    fn the_schema_that_is_checked_in_is_that_of_the_types() {
        let schema = serde_json::to_string_pretty(&schemars::schema_for!(Report<'_>)).expect("a schema is JSON") + "\n";
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("grammar/diagnostics.schema.json");
        if std::env::var_os("LBC_BLESS").is_some() {
            std::fs::write(&path, &schema).expect("a writable checkout");
        }
        assert_eq!(std::fs::read_to_string(path).ok().as_deref(), Some(schema.as_str()), "see this test's comment");
    }
}
