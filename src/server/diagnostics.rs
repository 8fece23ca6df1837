//! `textDocument/publishDiagnostics`: errors and lints, as the editor shows them.

use lsp_types::{DiagnosticRelatedInformation, DiagnosticSeverity, DiagnosticTag, NumberOrString};

use crate::diagnostic::{Code, Diagnostic, Severity};

use super::analysis::Analysis;

/// A finding for the editor. Its place is one of the analysis's documents.
pub fn diagnostic(analysis: &Analysis, one: &Diagnostic) -> lsp_types::Diagnostic {
    let severity = match one.severity {
        Severity::Error => DiagnosticSeverity::ERROR,
        Severity::Warning if one.code.as_str() < "LB2" => DiagnosticSeverity::WARNING,
        Severity::Warning => DiagnosticSeverity::INFORMATION,
    };
    let mut message = one.message.clone();
    if let Some(help) = &one.help {
        message.push_str("\nhelp: ");
        message.push_str(help);
    }
    let here = Some(&one.primary).filter(|label| !label.text.is_empty() && !one.labels.is_empty());
    let labels = here.into_iter().chain(&one.labels);
    let related = labels.filter_map(|label| {
        let location = analysis.location(label.loc)?;
        Some(DiagnosticRelatedInformation { location, message: label.text.clone() })
    });
    let related: Vec<DiagnosticRelatedInformation> = related.collect();
    lsp_types::Diagnostic {
        range: analysis.range(one.primary.loc.source, one.primary.loc.span),
        severity: Some(severity),
        code: Some(NumberOrString::String(one.code.as_str().to_owned())),
        source: Some("lbc".to_owned()),
        message,
        related_information: Some(related).filter(|related| !related.is_empty()),
        tags: is_dead(one.code).then(|| vec![DiagnosticTag::UNNECESSARY]),
        ..lsp_types::Diagnostic::default()
    }
}

/// Whether what a finding is about can be left out.
fn is_dead(code: Code) -> bool {
    matches!(code, Code::UnusedName | Code::UnreachableStatement | Code::RedundantOption | Code::UnusedSuppression)
}
