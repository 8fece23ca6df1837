//! Applying fixes to texts.

use std::collections::{BTreeMap, HashMap};

use crate::diagnostic::{Applicability, Diagnostic, Edit, Fix};
use crate::source::{SourceId, Sources, Span};

/// What a round of fixes makes of the texts.
#[derive(Debug, Default)]
pub struct Round {
    /// The new texts of the sources that change.
    pub texts: BTreeMap<SourceId, String>,
    /// How many fixes are in them.
    pub count: usize,
}

/// Whether a fix may be applied.
pub fn is_allowed(fix: &Fix, most: Applicability) -> bool {
    fix.applicability <= most && !fix.edits.is_empty()
}

/// Applies the fixes that do not get into each other's way, in the order in which they are found. What is left out is found
/// again in the next round. With `lines_touch` lines may go that stand directly one below the other; what is written about all of
/// them stays then.
pub fn apply<'a>(
    sources: &Sources,
    diagnostics: impl IntoIterator<Item = &'a Diagnostic>,
    most: Applicability,
    lines_touch: bool,
) -> Round {
    let mut moves: HashMap<(SourceId, u32), u32> = HashMap::new();
    let mut taken: HashMap<SourceId, BTreeMap<u32, u32>> = HashMap::new();
    let mut edits: BTreeMap<SourceId, Vec<&Edit>> = BTreeMap::new();
    let mut count = 0;
    for fix in diagnostics.into_iter().filter_map(|diagnostic| diagnostic.fix.as_deref()) {
        if !is_allowed(fix, most) {
            continue;
        }
        let mut extents = extents(fix);
        if let Some((source, start, end)) = moved(fix) {
            // What moves to one place keeps its order: only what is behind the last of them has to be free.
            if let Some(done) = moves.get(&(source, start)).filter(|done| **done < end) {
                extents.insert(source, Span::new(done + 1, end));
            }
        }
        let is_line = |span: Span, source: &SourceId| lines_touch && is_line(sources.get(*source).text(), fix, span);
        let in_the_way = |(source, span): (&SourceId, &Span)| {
            // Beside whole lines that go, whatever ends or starts with its line may go.
            let inner = match is_line(*span, source) {
                true => Span::new(span.start + 1, span.end - 1),
                false => *span,
            };
            taken.get(source).is_some_and(|taken| is_taken(taken, inner))
        };
        if extents.iter().any(in_the_way) {
            continue;
        }
        if let Some((source, start, end)) = moved(fix) {
            moves.insert((source, start), end);
        }
        for (source, span) in extents {
            taken.entry(source).or_default().insert(span.start, span.end);
        }
        count += 1;
        for edit in &fix.edits {
            edits.entry(edit.loc.source).or_default().push(edit);
        }
    }
    let texts = edits.into_iter().map(|(source, edits)| (source, edited(sources.get(source).text(), edits)));
    Round { texts: texts.collect(), count }
}

/// Where to and from where a fix moves something up: the place, and the end of what goes.
fn moved(fix: &Fix) -> Option<(SourceId, u32, u32)> {
    match fix.edits.as_slice() {
        [to, from]
            if to.loc.span.start == to.loc.span.end && from.text.is_empty() && to.loc.source == from.loc.source =>
        {
            (to.loc.span.end < from.loc.span.start).then_some((to.loc.source, to.loc.span.start, from.loc.span.end))
        }
        _ => None,
    }
}

/// Whether a fix does nothing but take out whole lines.
fn is_line(text: &str, fix: &Fix, span: Span) -> bool {
    let line_starts = |at: u32| at == 0 || text.as_bytes()[at as usize - 1] == b'\n';
    let is_removal = matches!(fix.edits.as_slice(), [edit] if edit.text.is_empty());
    is_removal && span.end > span.start + 1 && line_starts(span.start) && line_starts(span.end)
}

/// From the first to the last edit of a fix in each source: what lies between may be what the fix is based on.
fn extents(fix: &Fix) -> BTreeMap<SourceId, Span> {
    let mut extents: BTreeMap<SourceId, Span> = BTreeMap::new();
    for edit in &fix.edits {
        let span = edit.loc.span;
        extents.entry(edit.loc.source).and_modify(|extent| *extent = extent.to(span)).or_insert(span);
    }
    extents
}

/// Whether a span touches one that is taken.
fn is_taken(taken: &BTreeMap<u32, u32>, span: Span) -> bool {
    taken.range(..=span.end).next_back().is_some_and(|(_, end)| *end >= span.start)
}

/// The text with edits that do not overlap.
fn edited(text: &str, mut edits: Vec<&Edit>) -> String {
    edits.sort_by_key(|edit| (edit.loc.span.start, edit.loc.span.end));
    let mut new = String::with_capacity(text.len());
    let mut done = 0;
    for edit in edits {
        let range = edit.loc.span.range();
        debug_assert!(range.start >= done, "the edits of a fix do not overlap");
        if range.start < done {
            continue;
        }
        new.push_str(&text[done..range.start]);
        new.push_str(&edit.text);
        done = range.end;
    }
    new.push_str(&text[done..]);
    new
}
