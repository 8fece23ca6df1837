//! One file: its statements, or all its syntax errors.

use nom::Err;

use crate::diagnostic::{Code, Diagnostic, at};
use crate::keyword;
use crate::print::Printer;
use crate::source::{Source, SourceId, Span};
use crate::statement::{self, Item};
use crate::suppression::{held, lifted, may_suppress};
use crate::syntax::{
    Errors, In, MAX_ERRORS, SyntaxError, comments, expected, go_on, next_statement, recover, statement_end,
};

/// The statements of a file, in order. Where it has errors, those that could be read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct File {
    pub items: Vec<Item>,
    /// Whether it is a file of statements at all, if only of comments; not so the declarations of the command line.
    pub is_lb: bool,
    /// The names that statements declare which could not be read: who uses them need not be told that they are unknown.
    pub broken: Vec<Span>,
}

/// Parses a source. Returns every statement that is right and every error.
pub fn parse(source: &Source, id: SourceId) -> (File, Vec<Diagnostic>) {
    let errors = Errors::default();
    let text = source.text();
    let mut file = match text.find('\0') {
        Some(offset) => {
            let span = Span::new(offset as u32, offset as u32 + 1);
            errors.record(
                SyntaxError::new(Code::InvalidText, span, format!("a NUL byte at offset {offset}"))
                    .help("`.lb` files are UTF-8 text; this looks like another kind of file"),
            );
            File::default()
        }
        None => file(In::new(text, &errors)),
    };
    file.is_lb = true;
    let mut diagnostics: Vec<Diagnostic> = errors.take().into_iter().map(|error| diagnostic(error, id)).collect();
    diagnostics.sort_by_key(|diagnostic| diagnostic.primary.loc.span.start);
    (file, diagnostics)
}

/// `file = [ BOM ] [ statement ] { END [ statement ] } [ COMMENT ]`
fn file(start: In<'_>) -> File {
    let errors = start.errors();
    let mut file = File::default();
    let mut i = match start.rest.strip_prefix('\u{feff}') {
        Some(_) => start.skip('\u{feff}'.len_utf8()),
        None => start,
    };
    loop {
        i = next_statement(i);
        if i.rest.is_empty() || errors.full() {
            return file;
        }
        if errors.overflow() {
            let message = format!("{MAX_ERRORS} errors in this file; the rest of it was not read");
            let last = SyntaxError::new(Code::TooManyErrors, i.here(), message);
            errors.record_last(last.help("mend those that are shown, and run it again"));
            return file;
        }
        i = item(i, &mut file);
    }
}

/// Reads the statement at `begin` into `file` and returns where it ends; where it is wrong, its errors are recorded.
fn item<'a>(begin: In<'a>, file: &mut File) -> In<'a> {
    let errors = begin.errors();
    let before = errors.count();
    let end = |_: In<'a>| statement_end(begin, keyword::role);
    let parsed = recover(begin, statement::statement, end).and_then(|(rest, item)| {
        begin.count(item.as_ref().map_or(0, Item::bytes))?;
        Ok((rest, item))
    });
    let error = match parsed {
        Ok((rest, Some(item))) => {
            file.items.push(Item { broken: errors.count() > before, ..item });
            return rest;
        }
        Ok((rest, None)) => {
            file.broken.extend(statement::declared_name(begin));
            return rest;
        }
        Err(error) => error,
    };
    match error {
        Err::Failure(problem) => problem.record(errors),
        Err::Error(_) | Err::Incomplete(_) => errors.record(expected(begin, "a statement")),
    }
    file.broken.extend(statement::declared_name(begin));
    // Of a file that is read no further, no end of the statement need be found.
    match go_on(begin) {
        Ok(()) => end(begin),
        Err(_) => begin,
    }
}

fn diagnostic(error: SyntaxError, source: SourceId) -> Diagnostic {
    let mut diagnostic = Diagnostic::error(error.code, at(source, error.span), error.message).maybe_help(error.help);
    if let Some((span, text)) = error.label {
        diagnostic = diagnostic.label(at(source, span), text);
    }
    diagnostic
}

/// The canonical form of a file without syntax errors.
pub fn format(source: &Source, file: &File) -> String {
    let text = source.text();
    let comments = comments(text);
    if !may_suppress(text) {
        return written(text, &comments, &file.items, |_| false);
    }
    if let Some(lifted) = lifted(source, &file.items, &comments) {
        let source = Source::new("", "", lifted);
        let (file, errors) = parse(&source, SourceId(0));
        if errors.is_empty() {
            return format(&source, &file);
        }
    }
    let held = held(source, &file.items, &comments);
    written(text, &comments, &file.items, |index| held.binary_search(&index).is_ok())
}

/// The statements, with a line end behind each, or `;` behind those that have to stay on one line with the next.
fn written(text: &str, comments: &[Span], items: &[Item], is_held: impl Fn(usize) -> bool) -> String {
    let mut p = Printer::new(text, comments);
    let mut is_first = true;
    for (index, item) in items.iter().enumerate() {
        let goes_on = is_held(index);
        statement::format(item, &mut p, is_first, goes_on);
        is_first = !goes_on;
    }
    p.rest();
    p.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn formatted(text: &str) -> String {
        let source = Source::new("x.lb", "x.lb", text);
        let (file, errors) = parse(&source, SourceId(0));
        assert_eq!(errors, [], "{text}");
        format(&source, &file)
    }

    #[test]
    fn comments_stay_with_what_they_speak_of() {
        for (text, canonical) in [
            // Behind the comma of a list, and between its elements.
            ("host a = ::1, # c\n# d\n 10.0.0.1 # e\n", "host a =\n    ::1, # c\n    # d\n    10.0.0.1 # e\n"),
            ("pool p = a, # c\n b\n", "pool p = {\n    a # c\n    b\n}\n"),
            ("net n = # c\n a, b\n", "# c\nnet n = a, b\n"),
            // Between the options and the arrow, and behind it.
            (
                "balance tcp 80 counter # c\n\n # d\n -> # e\n a # f\n",
                "# c\n# d\n# e\nbalance tcp 80 counter -> a # f\n",
            ),
            // In braces that the canonical form has on one line, or not at all.
            (
                "balance tcp { # c\n a, # d\n b # e\n # f\n}:80 -> a\n",
                "# c\n# d\n# e\n# f\nbalance tcp {a, b}:80 -> a\n",
            ),
            ("balance tcp 80 from { a, # c\n b } -> a\n", "# c\nbalance tcp 80 from a, b -> a\n"),
            // Behind the opening brace, before the closing one, behind that.
            (
                "pool p = { # c\n\n\n a,# d\n # e\n\n # f\n b # g\n\n # h\n\n} # i\n# j",
                "pool p = {\n    # c\n\n    a # d\n    # e\n\n    # f\n    b # g\n\n    # h\n} # i\n# j\n",
            ),
            ("pool p = { a, b } # c\n", "pool p = a, b # c\n"),
            // Between the equals sign and the list: above, with no blank line that nobody wrote.
            ("net n =\n # y\n 10.0.0.0/8, # z\n 11.0.0.0/8\n", "# y\nnet n =\n    10.0.0.0/8, # z\n    11.0.0.0/8\n"),
            ("host a = # x\n # y\n\n ::1,\n 10.0.0.1\n", "# x\n# y\nhost a =\n    ::1,\n    10.0.0.1\n"),
            // Of statements on one line.
            ("host a = ::1; # c\nhost b = ::1;; # d\n; # e\n", "host a = ::1 # c\nhost b = ::1 # d\n# e\n"),
        ] {
            assert_eq!(formatted(text), canonical, "{text}");
            assert_eq!(formatted(canonical), canonical);
        }
    }

    #[test]
    fn suppressions_go_on_speaking_of_what_they_spoke_of() {
        let long = (0..12).map(|number| format!("name-number-{number}")).collect::<Vec<_>>();
        let (line, lines) = (long.join(", "), long.join("\n    "));
        for (text, canonical) in [
            // Behind the statement, and not behind its last backend.
            (
                format!("pool p = {line} # lbc: ignore[LB202] x\n"),
                format!("pool p = {{\n    {lines}\n}} # lbc: ignore[LB202] x\n"),
            ),
            (format!("pool p = {line} # all\n"), format!("pool p = {{\n    {lines}\n}} # all\n")),
            // Above the statement where its line is taken apart.
            (
                "pool p = { # lbc: ignore[LB202] x\n a, b\n}\n".to_owned(),
                "# lbc: ignore[LB202] x\npool p = {\n    a\n    b\n}\n".to_owned(),
            ),
            (
                "# c\npool p = {\n # lbc: ignore[LB104] x\n a, b\n c # lbc: ignore[LB104] y\n}\n".to_owned(),
                "# c\n# lbc: ignore[LB104] x\npool p = {\n    a\n    b\n    c # lbc: ignore[LB104] y\n}\n".to_owned(),
            ),
            (
                "pool p = {\r\n # lbc: ignore[LB104] x\r\n\r\n # y\r\n # lbc: ignore[LB104] z\r\n a, b\r\n}\r\n"
                    .to_owned(),
                "# lbc: ignore[LB104] z\npool p = {\n    # lbc: ignore[LB104] x\n\n    # y\n    a\n    b\n}\n"
                    .to_owned(),
            ),
            (
                "host a=::1;pool p={\n # lbc: ignore[LB202] x\n a, b\n}\n".to_owned(),
                "host a = ::1\n# lbc: ignore[LB202] x\npool p = {\n    a\n    b\n}\n".to_owned(),
            ),
            // Statements that have one in common stay on its line.
            (
                "host a=::1;host b=::1 # lbc: ignore[LB202] x\nhost c=::1;host d=::1 # c\n".to_owned(),
                "host a = ::1; host b = ::1 # lbc: ignore[LB202] x\nhost c = ::1\nhost d = ::1 # c\n".to_owned(),
            ),
            // With all comments within them above.
            (
                "host a=::1;pool p={ # lbc: ignore[LB202] x\n a # c\n};host c=::1\n".to_owned(),
                "# lbc: ignore[LB202] x\n# c\nhost a = ::1; pool p = {\n    a\n}; host c = ::1\n".to_owned(),
            ),
            (
                "\u{feff}host a=::1;net n=::/64,\r\n # c\r\n fd00::/64;host c=::1 # lbc: ignore[LB202] x\r\n"
                    .to_owned(),
                "# c\nhost a = ::1; net n =\n    ::/64,\n    fd00::/64; host c = ::1 # lbc: ignore[LB202] x\n"
                    .to_owned(),
            ),
            (
                "pool p={ a, # c\u{2028}\n b};include \"x\"# lbc: ignore[LB202] x\u{2028}\n".to_owned(),
                "# c\npool p = {\n    a\n    b\n}; include \"x\" # lbc: ignore[LB202] x\n".to_owned(),
            ),
            (
                "balance tcp 1,\n# lbc: ignore[LB104]\n2 -> a;pool p=a, b,\n c # c\n".to_owned(),
                "# lbc: ignore[LB104]\nbalance tcp 1,2 -> a; pool p = a, b, c # c\n".to_owned(),
            ),
            (
                "balance tcp 1,\n# lbc: ignore[LB104]\n2 -> a;pool p=NAMES,\n c # c\n".replace("NAMES", &line),
                format!("# lbc: ignore[LB104]\nbalance tcp 1,2 -> a; pool p = {{\n    {lines}\n    c\n}} # c\n"),
            ),
            // Behind a `;` that ends a statement above.
            (
                "host a=::1\n; # lbc: ignore[LB202]\nhost b=::1;host c=::1\n".to_owned(),
                "host a = ::1\n# lbc: ignore[LB202]\nhost b = ::1; host c = ::1\n".to_owned(),
            ),
        ] {
            assert_eq!(formatted(&text), canonical, "{text}");
            assert_eq!(formatted(&canonical), canonical);
        }
    }

    #[test]
    fn blank_lines_group_and_one_is_enough() {
        let text = "\n\n# a\n\n\n\n# b\nhost a=::1;host b=::1\n\n\nhost c=::1\npool p = {\n\n a\n\n\n b\n\n}\n\n\n";
        let canonical = "# a\n\n# b\nhost a = ::1\nhost b = ::1\n\nhost c = ::1\npool p = {\n    a\n\n    b\n}\n";
        assert_eq!(formatted(text), canonical);
        assert_eq!(formatted(canonical), canonical);
    }

    #[test]
    fn a_list_has_one_element_a_line_where_that_was_written_or_it_is_long() {
        assert_eq!(formatted("net n = a,\n b"), "net n =\n    a,\n    b\n");
        assert_eq!(formatted("pool p = {\n a, b }"), "pool p = {\n    a\n    b\n}\n");
        assert_eq!(formatted("pool p = {a, b}"), "pool p = a, b\n");
        assert_eq!(formatted("pool p = a,\n b"), "pool p = a, b\n");
        let names: Vec<String> = (0..40).map(|number| format!("name{number}")).collect();
        let list = names.join(", ");
        assert_eq!(formatted(&format!("net n = {list}")), format!("net n =\n    {}\n", names.join(",\n    ")));
        assert_eq!(formatted(&format!("pool p = {list}")), format!("pool p = {{\n    {}\n}}\n", names.join("\n    ")));
    }

    #[test]
    fn values_have_one_spelling() {
        for (text, canonical) in [
            ("host a=2001:DB8:0::01,010.0.0.1", None),
            ("host a=2001:DB8:0::01", Some("host a = 2001:db8::1\n")),
            ("net n=10.0.0.0/08,10.0.0.1/32", Some("net n = 10.0.0.0/8, 10.0.0.1\n")),
            (
                "balance tcp , udp 080 , 8000-8000,1-002->a:0080 backup weight 007",
                Some("balance tcp,udp 80,8000,1-2 -> a:80 weight 7 backup\n"),
            ),
            (
                "balance tcp {[::1],::2, [2001:db8::]/32 , [2001:db8::/48]}:1->[::0]",
                Some("balance tcp {[::1], [::2], [2001:db8::/32], [2001:db8::/48]}:1 -> [::]\n"),
            ),
            (
                r#"balance tcp 1 on "eth0","tcp","a,b","a->b","*" -> a"#,
                Some("balance tcp 1 on eth0, \"tcp\", \"a,b\", \"a->b\", * -> a\n"),
            ),
            ("include\"a\"", Some("include \"a\"\n")),
        ] {
            let source = Source::new("x.lb", "x.lb", text);
            let (file, errors) = parse(&source, SourceId(0));
            assert_eq!(errors.is_empty().then(|| format(&source, &file)).as_deref(), canonical, "{errors:?}");
        }
    }

    #[test]
    fn nothing_but_lf_and_no_byte_order_mark_comes_out() {
        assert_eq!(formatted("\u{feff}# a \t\r\nhost a =\r\n ::1\r\n\r\n\r\n# b"), "# a\nhost a = ::1\n\n# b\n");
        assert_eq!(formatted(""), "");
        assert_eq!(formatted("\u{feff}\r\n ; \n\n"), "");
    }

    #[test]
    fn a_broken_statement_leaves_its_name_and_what_could_be_read() {
        let source = Source::new(
            "x.lb",
            "x.lb",
            "host a 10.0.0.1\nnet n = 10.0.0.0/8, 10.0.0.x\npool p = { { a }\nhost b = ::1\n",
        );
        let (file, errors) = parse(&source, SourceId(0));
        assert_eq!(errors.len(), 3);
        let names: Vec<&str> = file.broken.iter().map(|span| &source.text()[span.range()]).collect();
        assert_eq!(names, ["a", "p"]);
        assert_eq!(file.items.iter().map(|item| item.broken).collect::<Vec<_>>(), [true, false]);
    }

    #[test]
    fn too_many_errors_end_the_file() {
        let source = Source::new("x.lb", "x.lb", "x;".repeat(5_000));
        let (_, errors) = parse(&source, SourceId(0));
        assert_eq!(errors.len(), MAX_ERRORS + 1);
        assert_eq!(errors[MAX_ERRORS].code, Code::TooManyErrors);
    }
}
