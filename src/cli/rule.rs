//! `lbc rule`

use clap::Args;
use serde::Serialize;

use crate::diagnostic::{Code, did_you_mean};
use crate::lint::{document, page};

use super::output::print;
use super::show::{print_json, wants_json};
use super::{Exit, Failure, Global};

/// Explain errors and lints: what they find, why it hurts, an example, and the fix
#[derive(Debug, Args)]
pub struct Rule {
    /// Codes or names, such as LB104 or loopback-backend
    #[arg(value_name = "CODE", required_unless_present = "all")]
    codes: Vec<String>,
    /// Every error and lint
    #[arg(long, conflicts_with = "codes")]
    all: bool,
}

/// One code, for programs.
#[derive(Serialize)]
struct Documented {
    code: &'static str,
    name: &'static str,
    is_lint: bool,
    summary: &'static str,
    what: &'static str,
    why: &'static str,
    example: &'static str,
    instead: &'static str,
    fix: Option<&'static str>,
}

impl Rule {
    pub fn run(&self, global: &Global) -> Result<Exit, Failure> {
        let codes = match self.all {
            true => Code::ALL.to_vec(),
            false => self.codes.iter().map(|text| find(text)).collect::<Result<_, _>>()?,
        };
        if wants_json(global) {
            print_json(global, &codes.into_iter().map(documented).collect::<Vec<_>>())?;
        } else {
            let pages: Vec<String> = codes.into_iter().map(page).collect();
            print(pages.join("\n").as_bytes())?;
        }
        Ok(Exit::Clean)
    }
}

fn find(text: &str) -> Result<Code, Failure> {
    let upper = text.to_ascii_uppercase();
    Code::find(text).or_else(|| Code::find(&upper)).ok_or_else(|| {
        let known = Code::ALL.iter().flat_map(|code| [code.as_str(), code.name()]);
        let help = did_you_mean(text, known).unwrap_or_else(|| "`lbc rule --all` has them all".to_owned());
        Failure::new(format!("no error or lint has the code `{text}`; {help}"))
    })
}

fn documented(code: Code) -> Documented {
    let doc = document(code);
    Documented {
        code: code.as_str(),
        name: code.name(),
        is_lint: code.is_lint(),
        summary: code.summary(),
        what: doc.what,
        why: doc.why,
        example: doc.example,
        instead: doc.instead,
        fix: Some(doc.fix).filter(|fix| !fix.is_empty()),
    }
}
