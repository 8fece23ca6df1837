//! `textDocument/formatting`: the canonical form, as one edit of the lines that change.

use lsp_types::TextEdit;

use crate::file::{format, parse};
use crate::source::{SourceId, Span};

use super::analysis::Analysis;

/// The edits; none where nothing changes, `None` where the file has syntax errors.
pub fn formatting(analysis: &Analysis, source: SourceId) -> Option<Vec<TextEdit>> {
    let (file, errors) = parse(analysis.program.sources.get(source), source);
    if !errors.is_empty() {
        return None;
    }
    let (old, new) = (analysis.text(source), format(analysis.program.sources.get(source), &file));
    if old == new {
        return Some(Vec::new());
    }
    let (span, text) = difference(old, &new);
    Some(vec![TextEdit::new(analysis.range(source, span), text.to_owned())])
}

/// The lines that differ: their place in the old text, and the new ones.
fn difference<'a>(old: &str, new: &'a str) -> (Span, &'a str) {
    let same = |(one, other): &(&str, &str)| one == other;
    let start: usize =
        old.split_inclusive('\n').zip(new.split_inclusive('\n')).take_while(same).map(|(line, _)| line.len()).sum();
    let (old_rest, new_rest) = (&old[start..], &new[start..]);
    let back = |text: &str| text.split_inclusive('\n').map(str::len).collect::<Vec<usize>>();
    let (mut old_end, mut new_end) = (old_rest.len(), new_rest.len());
    for (one, other) in back(old_rest).into_iter().rev().zip(back(new_rest).into_iter().rev()) {
        if old_rest[old_end - one..old_end] != new_rest[new_end - other..new_end] {
            break;
        }
        (old_end, new_end) = (old_end - one, new_end - other);
    }
    (Span::new(start as u32, (start + old_end) as u32), &new_rest[..new_end])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_lines_that_differ_change() {
        for (old, new, span, text) in [
            ("a\nb\nc\n", "a\nx\nc\n", 2..4, "x\n"),
            ("a\na\n", "a\n", 2..4, ""),
            ("a\n", "a\na\n", 2..2, "a\n"),
            ("a", "a\n", 0..1, "a\n"),
            ("a\r\nb\r\n", "a\nb\n", 0..6, "a\nb\n"),
            ("", "a\n", 0..0, "a\n"),
        ] {
            assert_eq!(difference(old, new), (Span::new(span.start, span.end), text), "{old:?}");
        }
    }
}
