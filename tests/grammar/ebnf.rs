//! A reader of `grammar/lb.ebnf`; its notation is explained in the head of that file.

use std::collections::BTreeMap;

/// What a production, or a part of one, stands for. Choices carry a number, to count which were taken.
#[derive(Clone, Debug)]
pub enum Expr {
    /// These characters.
    Text(String),
    /// One character of a range, both ends included.
    Range(char, char),
    /// A production; `once` where no alternative of it may be taken twice.
    Name {
        name: String,
        once: bool,
    },
    Sequence(Vec<Expr>),
    /// Alternatives; the first has the number `id`, the others follow.
    Choice {
        id: usize,
        list: Vec<Expr>,
    },
    /// Taken or not: `id` and `id + 1`.
    Optional {
        id: usize,
        expr: Box<Expr>,
    },
    /// Not at all or some times: `id` and `id + 1`.
    Repeat {
        id: usize,
        expr: Box<Expr>,
    },
    Except(Box<Expr>, Box<Expr>),
    /// A terminal in words.
    Words(String),
    /// `~`
    Glue,
}

/// A grammar: its productions, and how many numbers its choices have.
pub struct Grammar {
    pub start: String,
    pub productions: BTreeMap<String, Expr>,
    pub choices: usize,
}

impl Grammar {
    pub fn read(text: &str) -> Grammar {
        let tokens = tokens(text);
        let mut reader = Reader { tokens: &tokens, at: 0, choices: 0 };
        let mut grammar = Grammar { start: String::new(), productions: BTreeMap::new(), choices: 0 };
        while reader.at < tokens.len() {
            let Token::Name(name) = reader.next() else { panic!("a production starts with its name") };
            reader.expect("=");
            let expr = reader.choice();
            reader.expect(";");
            if grammar.start.is_empty() {
                grammar.start = name.clone();
            }
            assert!(grammar.productions.insert(name.clone(), expr).is_none(), "`{name}` is there twice");
        }
        grammar.choices = reader.choices;
        grammar
    }

    pub fn get(&self, name: &str) -> &Expr {
        self.productions.get(name).unwrap_or_else(|| panic!("the grammar has no production `{name}`"))
    }

    /// The texts of a production that is a choice of texts.
    pub fn words(&self, name: &str) -> Vec<&str> {
        let Expr::Choice { list, .. } = self.get(name) else { panic!("`{name}` is a choice") };
        fn text(expr: &Expr) -> &str {
            match expr {
                Expr::Text(text) => text.as_str(),
                other => panic!("{other:?} is no text"),
            }
        }
        list.iter().map(text).collect()
    }

    /// Whether all of `text` is what `expr` stands for.
    pub fn matches(&self, expr: &Expr, text: &str) -> bool {
        self.ends(expr, text, 0).contains(&text.len())
    }

    /// Where a match of `expr` that starts at `from` can end. For the few lexical productions that are excepted.
    fn ends(&self, expr: &Expr, text: &str, from: usize) -> Vec<usize> {
        match expr {
            Expr::Text(wanted) if text[from..].starts_with(wanted) => vec![from + wanted.len()],
            Expr::Text(_) => Vec::new(),
            Expr::Choice { list, .. } => list.iter().flat_map(|expr| self.ends(expr, text, from)).collect(),
            Expr::Name { name, .. } => self.ends(self.get(name), text, from),
            other => panic!("an exception of {other:?} is not needed so far"),
        }
    }
}

/// Whether a production is lexical.
pub fn is_lexical(name: &str) -> bool {
    name.chars().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_')
}

#[derive(Clone, Debug, PartialEq)]
enum Token {
    Name(String),
    Text(String),
    Words(String),
    Sign(&'static str),
}

fn tokens(text: &str) -> Vec<Token> {
    const SIGNS: &[&str] = &["..", "=", ";", "|", "[", "]", "{", "}", "(", ")", "-", "!", "~"];
    let mut tokens = Vec::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        let until =
            |end: &str, from: usize| from + rest[from..].find(end).unwrap_or_else(|| panic!("`{end}` is missing"));
        let len = if rest.starts_with("(*") {
            until("*)", 2) + 2
        } else if matches!(first, '"' | '\'' | '?') {
            let end = until(&first.to_string(), 1);
            let text = rest[1..end].to_owned();
            tokens.push(if first == '?' { Token::Words(text.trim().to_owned()) } else { Token::Text(text) });
            end + 1
        } else if first.is_ascii_alphabetic() {
            let end = rest.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).unwrap_or(rest.len());
            tokens.push(Token::Name(rest[..end].to_owned()));
            end
        } else {
            let sign = SIGNS.iter().find(|sign| rest.starts_with(**sign));
            let sign = sign.unwrap_or_else(|| panic!("`{first}` is no sign of the notation"));
            tokens.push(Token::Sign(sign));
            sign.len()
        };
        rest = rest[len..].trim_start();
    }
    tokens
}

struct Reader<'a> {
    tokens: &'a [Token],
    at: usize,
    choices: usize,
}

impl Reader<'_> {
    fn next(&mut self) -> Token {
        self.at += 1;
        self.tokens[self.at - 1].clone()
    }

    fn accept(&mut self, sign: &'static str) -> bool {
        let found = self.tokens.get(self.at) == Some(&Token::Sign(sign));
        self.at += usize::from(found);
        found
    }

    fn expect(&mut self, sign: &'static str) {
        assert!(self.accept(sign), "`{sign}` is missing before {:?}", &self.tokens[self.at..]);
    }

    fn number(&mut self, count: usize) -> usize {
        self.choices += count;
        self.choices - count
    }

    fn choice(&mut self) -> Expr {
        let mut list = vec![self.sequence()];
        while self.accept("|") {
            list.push(self.sequence());
        }
        match list.len() {
            1 => list.remove(0),
            count => Expr::Choice { id: self.number(count), list },
        }
    }

    fn sequence(&mut self) -> Expr {
        let mut list = Vec::new();
        while !matches!(self.tokens.get(self.at), None | Some(Token::Sign(";" | "|" | "]" | "}" | ")"))) {
            let part = self.part();
            list.push(match self.accept("-") {
                true => Expr::Except(Box::new(part), Box::new(self.part())),
                false => part,
            });
        }
        if list.len() == 1 { list.remove(0) } else { Expr::Sequence(list) }
    }

    fn part(&mut self) -> Expr {
        match self.next() {
            Token::Text(first) if self.accept("..") => {
                let Token::Text(last) = self.next() else { panic!("a range ends with a character") };
                Expr::Range(one(&first), one(&last))
            }
            Token::Text(text) => Expr::Text(text),
            Token::Words(words) => Expr::Words(words),
            Token::Name(name) => Expr::Name { name, once: self.accept("!") },
            Token::Sign("~") => Expr::Glue,
            Token::Sign("(") => {
                let expr = self.choice();
                self.expect(")");
                expr
            }
            Token::Sign("[") => {
                let expr = Box::new(self.choice());
                self.expect("]");
                Expr::Optional { id: self.number(2), expr }
            }
            Token::Sign("{") => {
                let expr = Box::new(self.choice());
                self.expect("}");
                Expr::Repeat { id: self.number(2), expr }
            }
            Token::Sign(other) => panic!("`{other}` starts no expression"),
        }
    }
}

fn one(text: &str) -> char {
    let mut chars = text.chars();
    let first = chars.next().expect("a range is from a character to a character");
    assert!(chars.next().is_none(), "a range is from a character to a character");
    first
}
