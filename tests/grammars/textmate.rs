//! `grammar/lb.tmLanguage.json`, by the rules of TextMate: at each place of a line the pattern that matches first, of several the
//! one that is listed first.

use std::collections::BTreeSet;

use fancy_regex::Regex;
use serde_json::Value;

use crate::oracle::{Class, compare, samples};
use crate::{listed, read};

fn class(scope: &str) -> Class {
    let classes = [
        ("comment.", Class::Comment),
        ("string.", Class::String),
        ("keyword.", Class::Keyword),
        ("variable.", Class::Name),
        ("constant.numeric.", Class::Number),
        ("constant.other.address.", Class::Address),
        ("punctuation.", Class::Other),
    ];
    let found = classes.into_iter().find(|(prefix, _)| scope.starts_with(prefix));
    found.unwrap_or_else(|| panic!("the scope {scope} belongs to no class")).1
}

fn patterns() -> Vec<(Class, Regex)> {
    let grammar: Value = serde_json::from_str(&read("lb.tmLanguage.json")).expect("JSON");
    assert_eq!(grammar["scopeName"], "source.lb");
    assert_eq!(grammar["fileTypes"], serde_json::json!(["lb"]));
    let patterns = grammar["patterns"].as_array().expect("a list").iter();
    patterns
        .map(|pattern| {
            // Patterns that open and close something would need more of an engine than this.
            assert_eq!(pattern.as_object().map(serde_json::Map::len), Some(2), "{pattern}");
            let text = pattern["match"].as_str().expect("a pattern");
            let scope = pattern["name"].as_str().expect("a scope");
            assert!(scope.ends_with(".lb"), "{scope}");
            (class(scope), Regex::new(text).unwrap_or_else(|error| panic!("{text}: {error}")))
        })
        .collect()
}

#[test]
fn says_what_the_compiler_says() {
    let patterns = patterns();
    for sample in samples() {
        let mut found = vec![Class::Other; sample.text.len()];
        let mut start = 0;
        for line in sample.text.split_inclusive('\n') {
            let (whole, line) = (line, line.trim_end_matches('\n'));
            let mut at = 0;
            while at < line.len() {
                let matches = patterns.iter().filter_map(|(class, regex)| {
                    let found = regex.find_from_pos(line, at).expect("a pattern without end")?;
                    Some((found.start(), found.end(), *class))
                });
                // Of equals the first.
                let Some((from, to, class)) = matches.min_by_key(|(from, _, _)| *from) else { break };
                assert!(to > from, "an empty match in `{line}`");
                found[start + from..start + to].fill(class);
                at = to;
            }
            start += whole.len();
        }
        compare("TextMate", &sample, &found);
    }
}

#[test]
fn knows_every_word_of_the_language() {
    let grammar: Value = serde_json::from_str(&read("lb.tmLanguage.json")).expect("JSON");
    let patterns = grammar["patterns"].as_array().expect("a list").iter();
    let keywords = patterns.filter(|pattern| pattern["name"].as_str().is_some_and(|name| name.starts_with("keyword.")));
    let mut words = BTreeSet::new();
    for pattern in keywords {
        let text = pattern["match"].as_str().expect("a pattern");
        let group = text.split("(?:").nth(1).and_then(|text| text.split(')').next()).expect("a group");
        words.extend(listed(group, "|"));
    }
    assert_eq!(words, lbc::keyword::all().map(str::to_owned).collect());
}
