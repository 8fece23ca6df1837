//! The documentation of errors and lints: what `lbc rule` prints.

use crate::diagnostic::Code;

use super::{LINTS, errors};

/// What is said of a code.
#[derive(Clone, Copy, Debug)]
pub struct Doc {
    pub what: &'static str,
    pub why: &'static str,
    /// A program that has the finding; empty where no file by itself can.
    pub example: &'static str,
    /// The same without it.
    pub instead: &'static str,
    /// What the fix does and whether it is safe; empty where there is none.
    pub fix: &'static str,
}

/// How a finding comes about that no file has by itself.
const STALE_FLOWS: &str = "\
```console
$ lbc compile --target nft -o rules.nft dns.lb
$ sed -i s/10.0.0.1/10.0.0.2/ dns.lb    # balance udp 53 -> 10.0.0.1
$ lbc compile --target nft --check rules.nft dns.lb
```";

/// The documentation of a code.
pub fn document(code: Code) -> &'static Doc {
    let lint = LINTS.iter().find(|lint| lint.code == code).map(|lint| &lint.doc);
    lint.or_else(|| errors::document(code)).expect("every code is documented: a test says so")
}

/// The documentation as Markdown.
pub fn page(code: Code) -> String {
    let doc = document(code);
    let mut text = format!("# {} {}\n\n", code.as_str(), code.name());
    text.push_str(match code.is_lint() {
        true if code.as_str() < "LB2" => "Lint: a probable mistake.\n",
        true => "Lint: cleanliness.\n",
        false => "Error: it cannot be suppressed.\n",
    });
    let block = |text: &str| match text {
        "" => String::new(),
        // A NUL byte that is printed as it is makes the page a binary file.
        text => format!("```lb\n{}```", text.replace('\0', "\\0")),
    };
    let example = block(doc.example);
    let mut section = |title: &str, body: &str| {
        if !body.is_empty() {
            text.push_str(&format!("\n## {title}\n\n{body}\n"));
        }
    };
    section("What it does", &filled(doc.what));
    section("Why", &filled(doc.why));
    section("Example", if code == Code::UdpStaleFlows { STALE_FLOWS } else { &example });
    section("Write instead", &block(doc.instead));
    section("Fix", &filled(doc.fix));
    text
}

/// Words in lines of at most 100 characters.
fn filled(text: &str) -> String {
    let (mut lines, mut line) = (Vec::new(), String::new());
    for word in text.split_whitespace() {
        if !line.is_empty() && line.chars().count() + 1 + word.chars().count() > 100 {
            lines.push(std::mem::take(&mut line));
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
    }
    lines.push(line);
    lines.join("\n")
}
