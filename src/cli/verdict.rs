//! What several programs say of the files that they share.
//!
//! A name that one program leaves unused may be used in another, a suppression may be of use there, and a fix that keeps the meaning
//! of one may change that of the other. So this is settled once all programs are read.

use std::collections::{HashMap, HashSet};
use std::rc::Rc;

use crate::diagnostic::{Applicability, Code, Diagnostic};
use crate::lint;
use crate::program::Program;
use crate::source::Span;
use crate::statement::{Item, Statement};

use super::input::Identity;

/// What all programs of a run have said.
#[derive(Default)]
pub struct Verdict {
    /// How many programs each file is part of.
    programs: HashMap<Identity, usize>,
    findings: HashMap<(Identity, Code, Span), Heard>,
    /// Names that files speak of which are part of no program here.
    mentioned: Rc<HashSet<String>>,
}

/// How many programs have a finding, and what the worst of its fixes does.
struct Heard {
    count: usize,
    applicability: Applicability,
}

impl Verdict {
    /// Before any program was heard, with the names that files speak of which are part of none.
    pub fn new(mentioned: Rc<HashSet<String>>) -> Verdict {
        Verdict { mentioned, ..Verdict::default() }
    }

    /// Hears a program: the files of its sources, and what was found in them.
    pub fn hear(&mut self, files: &[Option<Identity>], found: &[Diagnostic]) {
        for file in files.iter().flatten() {
            *self.programs.entry(*file).or_default() += 1;
        }
        for one in found {
            let loc = one.primary.loc;
            let Some(Some(file)) = files.get(loc.source.0 as usize) else { continue };
            let applicability = one.fix.as_ref().map_or(Applicability::Safe, |fix| fix.applicability);
            let heard = self.findings.entry((*file, one.code, loc.span)).or_insert(Heard { count: 0, applicability });
            heard.count += 1;
            heard.applicability = heard.applicability.max(applicability);
        }
    }

    /// A finding in a file as it holds for all programs; `None` where one of them knows better.
    pub fn settle(&self, file: Option<Identity>, text: &str, mut one: Diagnostic) -> Option<Diagnostic> {
        let Some(file) = file else { return Some(one) };
        let programs = self.programs.get(&file).copied().unwrap_or_default();
        let heard = self.findings.get(&(file, one.code, one.primary.loc.span));
        let is_everywhere = programs > 0 && heard.is_some_and(|heard| heard.count >= programs);
        if lint::is_about_all(&one) && !is_everywhere {
            return None;
        }
        if one.code == Code::UnusedName && self.mentioned.contains(text) {
            return None;
        }
        if let Some(fix) = &mut one.fix {
            let worst = heard.map_or(fix.applicability, |heard| heard.applicability);
            fix.applicability = fix.applicability.max(worst);
            // In a program with errors, or one that nobody knows of, the turns of a list may count.
            if one.code == Code::DuplicateBackend && !is_everywhere {
                fix.applicability = Applicability::Unsafe;
            }
        }
        Some(one)
    }
}

/// Whether a program only declares what others are to use; one without any statement is for nobody.
pub fn is_library(program: &Program) -> bool {
    let is_service = |item: &Item| matches!(item.statement, Statement::Balance(_));
    !program.order.is_empty() && !program.items().any(|(_, item)| is_service(item))
}

/// Whether other programs may know better than the one that has a finding.
pub fn asks_others(one: &Diagnostic) -> bool {
    lint::is_about_all(one) || (one.code == Code::DuplicateBackend && one.fix.is_some())
}
