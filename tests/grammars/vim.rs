//! `grammar/lb.vim`, by Vim itself.

use std::collections::BTreeSet;
use std::process::Command;

use crate::oracle::{Class, compare, samples};
use crate::{file, listed, read, skip};

fn class(group: &str) -> Class {
    match group {
        "lbComment" | "lbSuppression" => Class::Comment,
        "lbString" => Class::String,
        "lbStatement" | "lbProtocol" | "lbOption" | "lbAttribute" | "lbKeyword" => Class::Keyword,
        "lbName" => Class::Name,
        "lbNumber" => Class::Number,
        "lbAddress" => Class::Address,
        "" | "lbOperator" => Class::Other,
        _ => panic!("the group {group} belongs to no class"),
    }
}

/// Prints, for each line of the buffer, the names of the groups of its bytes.
const SCRIPT: &str = "\
let lines = []
for line in range(1, line('$'))
  let names = []
  for column in range(1, strlen(getline(line)))
    call add(names, synIDattr(synID(line, column, 0), 'name'))
  endfor
  call add(lines, join(names, ' ,'))
endfor
call writefile(lines, $LBC_GROUPS)
qall!
";

#[test]
fn says_what_the_compiler_says() {
    let usable = Command::new("vim").arg("--version").output();
    let usable = usable.is_ok_and(|output| {
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        text.contains("+syntax") && text.contains("+eval")
    });
    if !usable {
        return skip("LBC_VIM", "vim with syntax and eval is not on the PATH");
    }
    let directory = tempfile::tempdir().expect("a temporary directory");
    let script = directory.path().join("groups.vim");
    std::fs::write(&script, SCRIPT).expect("a file");
    let groups = directory.path().join("groups");
    let sample_file = directory.path().join("sample.lb");
    for sample in samples() {
        // Vim takes line ends and the mark at the start apart; as bytes they are none of the grammar's business.
        let text = sample.text.replace('\r', " ");
        std::fs::write(&sample_file, &text).expect("a file");
        let mut command = Command::new("vim");
        command.args(["-N", "-u", "NONE", "-i", "NONE", "-n", "-es", "--cmd", "set enc=utf-8 nobomb fencs=utf-8"]);
        command.arg("-c").arg(format!("source {}", file("lb.vim").display()));
        command.arg("-c").arg(format!("source {}", script.display())).arg(&sample_file);
        let output = command.env("LBC_GROUPS", &groups).env("TERM", "dumb").output().expect("vim runs");
        let named = std::fs::read_to_string(&groups).unwrap_or_else(|error| panic!("{error}: {output:?}"));
        std::fs::remove_file(&groups).expect("a file");
        let mut found = Vec::new();
        for (line, names) in text.split_inclusive('\n').zip(named.lines()) {
            let classes: Vec<Class> = names.split(" ,").map(class).collect();
            let len = line.trim_end_matches('\n').len();
            if len > 0 {
                assert_eq!(classes.len(), len, "{line}");
                found.extend(classes);
            }
            found.resize(found.len() + line.len() - len, Class::Other);
        }
        compare("Vim", &sample, &found);
    }
}

#[test]
fn knows_every_word_of_the_language() {
    let text = read("lb.vim");
    let mut words = BTreeSet::new();
    for line in text.lines().filter(|line| line.starts_with("syntax match lb")) {
        let group = line.split_whitespace().nth(2).expect("a group");
        if class(group) == Class::Keyword {
            let list = line.split("1<!\\%(").nth(1).and_then(|text| text.split("\\)").next()).expect("a list");
            words.extend(listed(list, "\\|"));
        }
    }
    assert_eq!(words, lbc::keyword::all().map(str::to_owned).collect());
}
