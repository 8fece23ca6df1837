//! Which lints run: `--select` and `--ignore`, with prefixes of codes.

use std::collections::BTreeSet;
use std::str::FromStr;

use crate::diagnostic::{Code, nearest};

/// Codes as a user names them: `LB104`, `loopback-backend`, a prefix such as `LB1`, or `ALL`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selector {
    /// What the codes start with; `LB` is all of them.
    prefix: String,
}

impl FromStr for Selector {
    type Err = String;

    fn from_str(text: &str) -> Result<Selector, String> {
        // As people write lists: `LB104, LB201`.
        let text = text.trim();
        let prefix = match Code::ALL.iter().find(|code| code.name() == text) {
            Some(code) => code.as_str().to_owned(),
            None if text.eq_ignore_ascii_case("all") => "LB".to_owned(),
            None => text.to_ascii_uppercase(),
        };
        let selector = Selector { prefix };
        if selector.prefix.len() >= 2 && selector.codes().next().is_some() {
            return Ok(selector);
        }
        let names = Code::ALL.iter().flat_map(|code| [code.as_str(), code.name()]);
        let near = nearest(text, names).map_or_else(String::new, |near| format!("; did you mean `{near}`?"));
        Err(format!("no error or lint has the code `{text}`{near}"))
    }
}

impl Selector {
    fn codes(&self) -> impl Iterator<Item = Code> + '_ {
        Code::ALL.iter().copied().filter(|code| code.as_str().starts_with(&self.prefix))
    }

    /// The prefix that it stands for.
    pub fn text(&self) -> &str {
        &self.prefix
    }

    /// Whether it names errors alone, which cannot be turned off.
    pub fn is_errors_only(&self) -> bool {
        self.codes().all(|code| !code.is_lint())
    }

    /// Whether it names a code.
    pub fn covers(&self, code: Code) -> bool {
        code.as_str().starts_with(&self.prefix)
    }
}

/// The lints that run. Errors are no part of it: they are always told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selection(BTreeSet<Code>);

impl Selection {
    pub fn all() -> Selection {
        Selection(Code::ALL.iter().copied().filter(|code| code.is_lint()).collect())
    }

    /// LB1xx: probable mistakes, without matters of cleanliness.
    pub fn mistakes() -> Selection {
        Selection(Selection::all().0.into_iter().filter(|code| code.as_str() < "LB2").collect())
    }

    /// The longest prefix decides; where two are equally long, the lint is ignored.
    pub fn new(base: &Selection, select: &[Selector], ignore: &[Selector]) -> Selection {
        let longest = |list: &[Selector], code: Code| {
            list.iter().filter(|one| one.covers(code)).map(|one| one.prefix.len()).max().unwrap_or(0)
        };
        let chosen = Selection::all().0.into_iter().filter(|&code| {
            let (on, off) = (longest(select, code), longest(ignore, code));
            match select.is_empty() {
                true => base.has(code) && off == 0,
                false => on > off,
            }
        });
        Selection(chosen.collect())
    }

    pub fn has(&self, code: Code) -> bool {
        self.0.contains(&code)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn selection(select: &[&str], ignore: &[&str]) -> Vec<&'static str> {
        let parse = |list: &[&str]| list.iter().map(|one| one.parse().expect("a selector")).collect::<Vec<Selector>>();
        let chosen = Selection::new(&Selection::all(), &parse(select), &parse(ignore));
        chosen.0.into_iter().map(Code::as_str).collect()
    }

    #[test]
    fn the_longest_prefix_decides() {
        assert_eq!(selection(&["LB101"], &["LB1"]), ["LB101"]);
        assert_eq!(selection(&["LB10"], &["LB1", "LB101", "loopback-backend"]).first(), Some(&"LB102"));
        assert_eq!(selection(&["LB2"], &["LB201", "LB202", "LB203", "LB204", "LB205"]), ["LB206"]);
        assert_eq!(selection(&["all"], &["all"]), [""; 0]);
        assert_eq!(selection(&["LB104"], &["LB104"]), [""; 0]);
        assert_eq!(selection(&[], &["LB1"]), ["LB201", "LB202", "LB203", "LB204", "LB205", "LB206"]);
        // Errors are told anyway.
        assert_eq!(selection(&["LB010"], &[]), [""; 0]);
    }

    #[test]
    fn what_names_no_code_is_refused() {
        for (text, near) in
            [("LB999", ""), ("LB1044", "LB104"), ("loopback-backnd", "loopback-backend"), ("", ""), ("L", "")]
        {
            let error = text.parse::<Selector>().expect_err(text);
            assert!(error.contains(near), "{error}");
        }
        assert!("LB0".parse::<Selector>().expect("errors").is_errors_only());
        assert!(!"LB".parse::<Selector>().expect("all").is_errors_only());
    }
}
