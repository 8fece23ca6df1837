//! What is known of one program: the answers to all requests are read from here.

use std::cell::OnceCell;

use lsp_types::{Location, Range, Uri};

use crate::diagnostic::Diagnostic;
use crate::ir::Config;
use crate::program::Program;
use crate::source::{Loc, SourceId, Span};

use super::names::Names;
use super::text::Lines;

/// One program as it stands in the editor.
pub struct Analysis {
    pub program: Program,
    /// The services; none where names or checks have errors.
    pub config: Option<Config>,
    pub diagnostics: Vec<Diagnostic>,
    /// Where each source comes from; `None` for what the command line declares.
    uris: Vec<Option<Uri>>,
    lines: Vec<OnceCell<Lines>>,
    names: OnceCell<Names>,
}

impl Analysis {
    pub fn new(
        program: Program,
        config: Option<Config>,
        diagnostics: Vec<Diagnostic>,
        uris: Vec<Option<Uri>>,
    ) -> Analysis {
        let lines = program.sources.ids().map(|_| OnceCell::new()).collect();
        Analysis { program, config, diagnostics, uris, lines, names: OnceCell::new() }
    }

    pub fn uri(&self, source: SourceId) -> Option<&Uri> {
        self.uris.get(source.0 as usize)?.as_ref()
    }

    /// The source that a document is.
    pub fn source(&self, uri: &Uri) -> Option<SourceId> {
        self.uris.iter().position(|own| own.as_ref() == Some(uri)).map(|at| SourceId(at as u32))
    }

    pub fn text(&self, source: SourceId) -> &str {
        self.program.sources.get(source).text()
    }

    pub fn at(&self, loc: Loc) -> &str {
        self.program.sources.text(loc)
    }

    pub fn lines(&self, source: SourceId) -> &Lines {
        self.lines[source.0 as usize].get_or_init(|| Lines::new(self.text(source)))
    }

    pub fn range(&self, source: SourceId, span: Span) -> Range {
        self.lines(source).range(self.text(source), span)
    }

    /// A place for the editor; `None` where it is in no document.
    pub fn location(&self, loc: Loc) -> Option<Location> {
        Some(Location::new(self.uri(loc.source)?.clone(), self.range(loc.source, loc.span)))
    }

    pub fn names(&self) -> &Names {
        self.names.get_or_init(|| Names::of(&self.program))
    }
}
