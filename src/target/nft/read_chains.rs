//! The chains of a large table in two halves that are read at the same time: none needs what stands before it.

use super::dump::{Chain, ReadError};
use super::read_text::chain;
use super::tokens::{Token, Tokens};

/// Reads chains up to the end of their table, from before the word `chain`. `None`, and nothing taken, where that is not
/// all that the table holds, or where there are too few.
pub fn read(tokens: &mut Tokens<'_>) -> Option<Vec<Chain>> {
    if tokens.rest().len() < MIN_HALVES { None } else { halves(tokens) }
}

/// Shorter texts are not worth a second thread.
const MIN_HALVES: usize = 1 << 20;

fn halves(tokens: &mut Tokens<'_>) -> Option<Vec<Chain>> {
    // No token holds a newline. If this does not stand between two chains, the first half ends within one.
    const START: &[u8] = b"\n\tchain ";
    let text = tokens.rest();
    let half = text.len() / 2;
    let middle = half + memchr::memmem::find(&text.as_bytes()[half..], START)?;
    let (first, second) = text.split_at(middle);
    let (mut list, behind) = std::thread::scope(|scope| {
        let second = scope.spawn(|| {
            let mut tokens = Tokens::new(second);
            let list = chains(&mut tokens).ok()?;
            (tokens.peek_on() == Token::Sign(b'}')).then(|| (list, tokens.rest().len()))
        });
        let mut tokens = Tokens::new(first);
        let list = chains(&mut tokens).ok().filter(|_| tokens.peek_on() == Token::End);
        let (more, behind) = second.join().expect("reading does not panic")?;
        let mut list = list?;
        list.extend(more);
        Some((list, behind))
    })?;
    tokens.skip_to(&text[text.len() - behind..]);
    list.shrink_to_fit();
    Some(list)
}

/// As many chains as follow each other.
fn chains(tokens: &mut Tokens<'_>) -> Result<Vec<Chain>, ReadError> {
    let mut list = Vec::new();
    while tokens.peek_on() == Token::Word("chain") {
        tokens.next();
        list.push(chain(tokens)?);
    }
    Ok(list)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::target::nft::Dump;

    const CHAIN: &str = "\tchain NAME {\n\t\tip daddr 10.0.0.1 drop comment \"}\"\n\t}\n";

    fn body(count: usize) -> String {
        (0..count).map(|nth| CHAIN.replace("NAME", &format!("c{nth}"))).collect()
    }

    #[test]
    fn halves_are_the_whole() {
        for count in 3..7 {
            let (body, end) = (body(count), "}\n\ntable inet other {\n\tmap\n");
            let text = format!("{body}{end}");
            let mut tokens = Tokens::new(&text);
            let chains = halves(&mut tokens).expect("nothing but chains");
            let whole = Dump::read_text(&format!("table inet t {{\n{body}}}\n")).expect("a table");
            assert_eq!(chains, whole.tables[0].chains());
            assert_eq!(tokens.rest(), end);
            let line = tokens.error::<()>("").expect_err("it was asked for").line;
            assert_eq!(line, Some(1 + body.lines().count()));
        }
    }

    #[test]
    fn what_is_not_chains_alone_is_left_alone() {
        for (text, to) in
            [("drop", "dropp"), ("}\n\tchain c3", "\tchain c3"), ("\tchain c3", "\tmap c3"), ("\n}\n", "\n")]
        {
            let whole = format!("{}}}\n", body(4));
            let changed = whole.replace(text, to);
            assert_ne!(whole, changed);
            let mut tokens = Tokens::new(&changed);
            assert_eq!(halves(&mut tokens), None, "{changed}");
            assert_eq!(tokens.rest(), changed);
        }
    }
}
