//! `lbc server`, as an editor speaks with it: JSON-RPC on its standard input and output.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout};

use serde_json::{Value, json};

use crate::harness::{Test, WEB};

/// A running server and the editor's end of it.
struct Editor<'a> {
    test: &'a Test,
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: BufReader<ChildStdout>,
    next: i64,
    /// What was told of each file last.
    diagnostics: BTreeMap<String, Vec<Value>>,
    shown: Vec<String>,
}

impl<'a> Editor<'a> {
    /// Before `initialize`.
    fn fresh(test: &'a Test, args: &str) -> Editor<'a> {
        let mut command = test.command(["server"].into_iter().chain(args.split_whitespace()));
        command.stdin(std::process::Stdio::piped());
        let mut child = command.spawn().expect("lbc starts");
        let stdin = child.stdin.take();
        let stdout = BufReader::new(child.stdout.take().expect("a pipe"));
        Editor { test, child, stdin, stdout, next: 0, diagnostics: BTreeMap::new(), shown: Vec::new() }
    }

    fn new(test: &'a Test) -> Editor<'a> {
        Editor::with(test, "")
    }

    fn with(test: &'a Test, args: &str) -> Editor<'a> {
        let mut editor = Editor::fresh(test, args);
        let nested = json!({ "documentSymbol": { "hierarchicalDocumentSymbolSupport": true } });
        let answer = editor.ok("initialize", json!({ "capabilities": { "textDocument": nested } }));
        assert_eq!(answer["serverInfo"]["name"], "lbc");
        editor.notify("initialized", json!({}));
        editor
    }

    fn raw(&mut self, bytes: &[u8]) {
        self.stdin.as_mut().expect("not closed").write_all(bytes).expect("the server reads");
    }

    fn send(&mut self, message: &Value) {
        let text = message.to_string();
        self.raw(format!("Content-Length: {}\r\n\r\n{text}", text.len()).as_bytes());
    }

    fn notify(&mut self, method: &str, params: Value) {
        self.send(&json!({ "jsonrpc": "2.0", "method": method, "params": params }));
    }

    fn start(&mut self, method: &str, params: Value) -> i64 {
        self.next += 1;
        self.send(&json!({ "jsonrpc": "2.0", "id": self.next, "method": method, "params": params }));
        self.next
    }

    /// The next message; `None` where the server has ended.
    fn receive(&mut self) -> Option<Value> {
        let mut length = 0;
        loop {
            let mut line = String::new();
            if self.stdout.read_line(&mut line).expect("UTF-8") == 0 {
                return None;
            }
            match line.trim_end().split_once(": ") {
                Some((_, value)) => length = value.parse().expect("a length"),
                None => break,
            }
        }
        let mut bytes = vec![0; length];
        self.stdout.read_exact(&mut bytes).expect("the whole message");
        let message: Value = serde_json::from_slice(&bytes).expect("JSON");
        assert_eq!(message["jsonrpc"], "2.0");
        match message["method"].as_str() {
            Some("textDocument/publishDiagnostics") => {
                let list = message["params"]["diagnostics"].as_array().expect("a list").clone();
                self.diagnostics.insert(message["params"]["uri"].as_str().expect("a URI").to_owned(), list);
            }
            Some("window/showMessage") => {
                self.shown.push(message["params"]["message"].as_str().expect("a text").to_owned());
            }
            _ => {}
        }
        Some(message)
    }

    /// The answer to a request.
    fn answer(&mut self, id: i64) -> Value {
        loop {
            let message = self.receive().expect("an answer");
            if message["id"] == id && message.get("method").is_none() {
                return message;
            }
        }
    }

    fn ask(&mut self, method: &str, params: Value) -> Value {
        let id = self.start(method, params);
        self.answer(id)
    }

    #[track_caller]
    fn ok(&mut self, method: &str, params: Value) -> Value {
        let answer = self.ask(method, params);
        assert_eq!(answer.get("error"), None, "{method}: {answer}");
        answer["result"].clone()
    }

    #[track_caller]
    fn fails(&mut self, method: &str, params: Value, code: i64) -> String {
        let answer = self.ask(method, params);
        assert_eq!(answer["error"]["code"], code, "{method}: {answer}");
        answer["error"]["message"].as_str().expect("a message").to_owned()
    }

    fn uri(&self, path: &str) -> String {
        format!("file://{}", self.test.path(path).canonicalize().unwrap_or_else(|_| self.test.path(path)).display())
    }

    fn open(&mut self, path: &str, text: &str) {
        let document = json!({ "uri": self.uri(path), "languageId": "lb", "version": 1, "text": text });
        self.notify("textDocument/didOpen", json!({ "textDocument": document }));
    }

    /// Opens a file as it is on the disk.
    fn open_file(&mut self, path: &str) {
        let text = self.test.read(path);
        self.open(path, &text);
    }

    /// Puts a text in the place of a document's.
    fn replace(&mut self, path: &str, text: &str) {
        self.change(path, json!([{ "text": text }]));
    }

    fn change(&mut self, path: &str, changes: Value) {
        let document = json!({ "uri": self.uri(path), "version": 2 });
        self.notify("textDocument/didChange", json!({ "textDocument": document, "contentChanges": changes }));
    }

    /// The codes that were told of a file, once the server has nothing more to say.
    fn codes(&mut self, path: &str) -> Vec<String> {
        self.settle();
        let list = self.diagnostics.get(&self.uri(path)).cloned().unwrap_or_default();
        list.iter().map(|one| one["code"].as_str().expect("a code").to_owned()).collect()
    }

    /// Waits until all that was sent is dealt with: diagnostics are told once nobody waits for an answer, so a document
    /// that nobody knows is opened and told of.
    fn settle(&mut self) {
        self.next += 1;
        let uri = format!("untitled:settled-{}", self.next);
        let document = json!({ "uri": uri, "languageId": "lb", "version": 1, "text": "" });
        self.notify("textDocument/didOpen", json!({ "textDocument": document }));
        while !self.diagnostics.contains_key(&uri) {
            self.receive().expect("the server goes on");
        }
        self.notify("textDocument/didClose", json!({ "textDocument": { "uri": uri } }));
    }

    fn at(&self, path: &str, line: u32, character: u32) -> Value {
        json!({ "textDocument": { "uri": self.uri(path) }, "position": { "line": line, "character": character } })
    }

    /// The text that hovering shows.
    fn hover(&mut self, path: &str, line: u32, character: u32) -> String {
        let params = self.at(path, line, character);
        let answer = self.ok("textDocument/hover", params);
        answer["contents"]["value"].as_str().unwrap_or_default().to_owned()
    }

    /// The exit code after `shutdown` and `exit`.
    fn end(mut self) -> Option<i32> {
        assert_eq!(self.ok("shutdown", Value::Null), Value::Null);
        self.notify("exit", Value::Null);
        self.child.wait().expect("it ends").code()
    }
}

impl Drop for Editor<'_> {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// `line:character-line:character` of a range.
fn range(range: &Value) -> String {
    let place = |place: &Value| format!("{}:{}", place["line"], place["character"]);
    format!("{}-{}", place(&range["start"]), place(&range["end"]))
}

/// `file line:character-line:character` of each place.
fn places(list: &Value) -> Vec<String> {
    let name = |uri: &Value| uri.as_str().expect("a URI").rsplit('/').next().unwrap_or_default().to_owned();
    let list = list.as_array().expect("a list").iter();
    list.map(|one| format!("{} {}", name(&one["uri"]), range(&one["range"]))).collect()
}

/// A text after edits, each `[range, new text]`, none of which overlap.
fn edited(text: &str, edits: &Value) -> String {
    let offset = |place: &Value| {
        let line: usize =
            text.split_inclusive('\n').take(place["line"].as_u64().expect("a line") as usize).map(str::len).sum();
        let mut left = place["character"].as_u64().expect("a character") as usize;
        let mut at = line;
        for c in text[line..].chars().take_while(|c| *c != '\n') {
            if left == 0 {
                break;
            }
            left -= c.len_utf16();
            at += c.len_utf8();
        }
        at
    };
    let mut list: Vec<(usize, usize, &str)> = edits
        .as_array()
        .expect("a list")
        .iter()
        .map(|edit| {
            let range = &edit["range"];
            (offset(&range["start"]), offset(&range["end"]), edit["newText"].as_str().expect("a text"))
        })
        .collect();
    list.sort_unstable();
    let mut new = text.to_owned();
    for (start, end, replacement) in list.into_iter().rev() {
        new.replace_range(start..end, replacement);
    }
    new
}

#[test]
fn a_session_from_initialize_to_exit() {
    let test = Test::web();
    let mut editor = Editor::new(&test);
    editor.open_file("web.lb");
    assert_eq!(editor.codes("web.lb"), ["LB203"]);
    // One character too many, and back.
    editor.change("web.lb", json!([{ "range": { "start": { "line": 3, "character": 15 }, "end": { "line": 3, "character": 15 } }, "text": "x" }]));
    let uri = editor.uri("web.lb");
    assert_eq!(editor.codes("web.lb"), ["LB002"]);
    assert!(editor.diagnostics[&uri][0]["range"]["start"]["line"] == 3);
    editor.replace("web.lb", &WEB.replace("b:8080", "c:8080"));
    assert_eq!(editor.codes("web.lb"), ["LB010"]);
    editor.replace("web.lb", WEB);
    assert_eq!(editor.codes("web.lb"), ["LB203"]);
    assert_eq!(editor.end(), Some(0));
}

#[test]
fn every_request_has_its_answer() {
    let test = Test::web();
    let mut editor = Editor::new(&test);
    editor.open_file("web.lb");
    let hover = editor.hover("web.lb", 3, 18);
    assert!(
        hover.starts_with("`a:8080` gets **2/3** (66.67 %) of `tcp-80`") && hover.contains("host a = 192.168.1.10"),
        "{hover}"
    );
    assert!(editor.hover("web.lb", 3, 36).contains("**1/3**"));
    assert!(editor.hover("web.lb", 3, 1).contains("`balance`: "));
    assert!(editor.hover("web.lb", 3, 12).contains("- `192.168.1.10:8080` 2/3 (66.67 %)"));
    assert_eq!(editor.hover("web.lb", 2, 0), "");
    let at = editor.at("web.lb", 3, 18);
    assert_eq!(places(&editor.ok("textDocument/definition", at.clone())), ["web.lb 0:5-0:6"]);
    let mut references = at.clone();
    references["context"] = json!({ "includeDeclaration": true });
    assert_eq!(
        places(&editor.ok("textDocument/references", references.clone())),
        ["web.lb 0:5-0:6", "web.lb 3:18-3:19"]
    );
    references["context"] = json!({ "includeDeclaration": false });
    assert_eq!(places(&editor.ok("textDocument/references", references)), ["web.lb 3:18-3:19"]);
    assert_eq!(editor.ok("textDocument/prepareRename", at.clone())["placeholder"], "a");
    let mut rename = at.clone();
    rename["newName"] = json!("front-1");
    let edit = editor.ok("textDocument/rename", rename.clone());
    let new = edited(WEB, &edit["changes"][&editor.uri("web.lb")]);
    assert_eq!(new, WEB.replace("host a", "host front-1").replace("-> a:", "-> front-1:"));
    for (name, why) in
        [("b", "declared already"), ("tcp", "word of the language"), ("1x", "cannot be a name"), ("", "cannot")]
    {
        rename["newName"] = json!(name);
        let message = editor.fails("textDocument/rename", rename.clone(), -32803);
        assert!(message.contains(why), "{message}");
    }
    let labels = |answer: &Value| -> Vec<String> {
        answer
            .as_array()
            .expect("a list")
            .iter()
            .map(|one| one["label"].as_str().expect("a label").to_owned())
            .collect()
    };
    let behind_arrow = editor.at("web.lb", 3, 18);
    assert_eq!(labels(&editor.ok("textDocument/completion", behind_arrow)), ["a", "b"]);
    let end = editor.at("web.lb", 4, 0);
    assert!(labels(&editor.ok("textDocument/completion", end)).contains(&"balance".to_owned()));
    let document = json!({ "textDocument": { "uri": editor.uri("web.lb") } });
    let symbols = editor.ok("textDocument/documentSymbol", document.clone());
    let names: Vec<&str> = symbols.as_array().expect("a list").iter().filter_map(|one| one["name"].as_str()).collect();
    assert_eq!(names, ["a", "b", "tcp 80"]);
    assert_eq!(symbols[2]["children"][0]["name"], "a:8080 weight 2");
    let mut hints = document.clone();
    hints["range"] = json!({ "start": { "line": 0, "character": 0 }, "end": { "line": 9, "character": 0 } });
    let hints = editor.ok("textDocument/inlayHint", hints);
    assert_eq!(labels(&hints), ["2/3", "1/3"]);
    assert_eq!(hints[0]["position"], json!({ "line": 3, "character": 33 }));
    editor.replace("web.lb", "host  a=::1\n# é\nhost b = ::2\n");
    let mut formatting = document.clone();
    formatting["options"] = json!({ "tabSize": 4, "insertSpaces": true });
    let edits = editor.ok("textDocument/formatting", formatting.clone());
    assert_eq!(edited("host  a=::1\n# é\nhost b = ::2\n", &edits), "host a = ::1\n# é\nhost b = ::2\n");
    assert_eq!(edits.as_array().map(Vec::len), Some(1));
    assert_eq!(range(&edits[0]["range"]), "0:0-1:0");
    editor.replace("web.lb", "host a\n");
    assert_eq!(editor.ok("textDocument/formatting", formatting), Value::Null);
    assert_eq!(editor.end(), Some(0));
}

#[test]
fn quick_fixes_are_those_of_the_lints() {
    let text = "# 🙂 é\nhost a = 10.0.0.1\nhost unused = 10.0.0.2\nbalance tcp 80 -> a:8080 weight 2 # 🙂\n";
    let test = Test::new().file("web.lb", text);
    let mut editor = Editor::new(&test);
    editor.open_file("web.lb");
    assert!(editor.codes("web.lb").contains(&"LB202".to_owned()));
    let uri = editor.uri("web.lb");
    let told = editor.diagnostics[&uri].iter().find(|one| one["code"] == "LB202").expect("the lint").clone();
    assert_eq!(range(&told["range"]), "2:5-2:11");
    assert_eq!((&told["severity"], &told["tags"]), (&json!(3), &json!([1])));
    let hover = editor.hover("web.lb", 2, 6);
    assert!(hover.contains("# LB202 unused-name") && hover.contains("## Why"), "{hover}");
    let params =
        json!({ "textDocument": { "uri": uri }, "range": told["range"], "context": { "diagnostics": [told] } });
    let actions = editor.ok("textDocument/codeAction", params.clone());
    let action = &actions[0];
    assert_eq!((&action["kind"], &action["isPreferred"]), (&json!("quickfix"), &json!(true)));
    assert_eq!(edited(text, &action["edit"]["changes"][&uri]), text.replace("host unused = 10.0.0.2\n", ""));
    let mut all = params.clone();
    all["context"]["only"] = json!(["source.fixAll"]);
    let all = editor.ok("textDocument/codeAction", all);
    assert_eq!(all[0]["kind"], "source.fixAll.lbc");
    let fixed = edited(text, &all[0]["edit"]["changes"][&uri]);
    assert!(!fixed.contains("unused") && fixed.contains("# 🙂"), "{fixed}");
    let mut none = params;
    none["context"]["only"] = json!(["refactor"]);
    assert_eq!(editor.ok("textDocument/codeAction", none), json!([]));
    // A name that is nearly right has a fix that changes the meaning.
    editor.replace("web.lb", "host front = 10.0.0.1\nbalance tcp 80 -> frnt:8080\n");
    let params = json!({ "textDocument": { "uri": uri }, "context": { "diagnostics": [] },
        "range": { "start": { "line": 1, "character": 20 }, "end": { "line": 1, "character": 20 } } });
    let actions = editor.ok("textDocument/codeAction", params);
    assert_eq!(actions[0]["title"], "write `front` (changes the meaning)");
    assert_eq!(actions[0]["isPreferred"], false);
}

/// What `source.fixAll.lbc` makes of a document.
fn fixed(editor: &mut Editor<'_>, path: &str, text: &str) -> String {
    let uri = editor.uri(path);
    let start = json!({ "line": 0, "character": 0 });
    let params = json!({ "textDocument": { "uri": uri }, "range": { "start": start, "end": start },
        "context": { "diagnostics": [], "only": ["source.fixAll"] } });
    match editor.ok("textDocument/codeAction", params)[0]["edit"]["changes"][&uri].clone() {
        Value::Null => text.to_owned(),
        edits => edited(text, &edits),
    }
}

#[test]
fn all_fixes_are_those_of_the_command_line() {
    let text = "host a = 10.0.0.1\npool p = a\npool q = p\nbalance tcp 80 -> 10.0.0.1 weight 50, 10.0.0.2 weight 50\n";
    let test = Test::new().file("web.lb", text);
    let mut editor = Editor::new(&test);
    editor.open_file("web.lb");
    assert_eq!(fixed(&mut editor, "web.lb", text), "balance tcp 80 -> 10.0.0.1, 10.0.0.2\n");
}

#[test]
fn what_files_that_are_not_open_use_is_used() {
    let hosts = "host a = 10.0.0.1\nhost b = 10.0.0.2\n";
    let main = "include \"hosts.lb\"\nbalance tcp 80 -> a, b\n";
    // Beside it, in another root, or nowhere to be seen.
    for test in [
        Test::new().file("hosts.lb", hosts).file("main.lb", main),
        Test::new()
            .file("hosts.lb", hosts)
            .file("main.lb", main)
            .file("lbc.toml", "roots = [\"hosts.lb\", \"main.lb\"]\n"),
        Test::new().file("hosts.lb", hosts),
    ] {
        let mut editor = Editor::new(&test);
        editor.open_file("hosts.lb");
        assert_eq!(editor.codes("hosts.lb"), [""; 0]);
        assert_eq!(fixed(&mut editor, "hosts.lb", hosts), hosts);
    }
}

#[test]
fn places_are_counted_in_utf_16() {
    let text = "# é🙂\nhost a = 10.0.0.1 # 🙂🙂\nbalance tcp 80 log \"🙂é\" -> a:8080, missing:80\n";
    let test = Test::new().file("web.lb", text);
    let mut editor = Editor::new(&test);
    editor.open_file("web.lb");
    assert_eq!(editor.codes("web.lb"), ["LB010"]);
    let uri = editor.uri("web.lb");
    assert_eq!(range(&editor.diagnostics[&uri][0]["range"]), "2:36-2:43");
    let at = editor.at("web.lb", 2, 28);
    assert_eq!(places(&editor.ok("textDocument/definition", at)), ["web.lb 1:5-1:6"]);
    // Between the two units of a character, and behind it.
    let edit = |character: u32, end: u32, text: &str| json!([{ "range": { "start": { "line": 0, "character": character }, "end": { "line": 0, "character": end } }, "text": text }]);
    editor.change("web.lb", edit(5, 5, "x"));
    editor.change("web.lb", edit(0, 6, "#🙂"));
    let document = json!({ "textDocument": { "uri": uri } });
    let symbols = editor.ok("textDocument/documentSymbol", document);
    assert_eq!(range(&symbols[0]["selectionRange"]), "1:5-1:6");
    assert_eq!(editor.codes("web.lb"), ["LB010"]);
}

#[test]
fn a_pool_is_told_of_by_its_services() {
    let text = "host a = 10.0.0.1, 2001:db8::1\nhost b = 10.0.0.2\npool p = a weight 3, b\npool q = p weight 1, 10.0.0.9 weight 3\n\
                balance tcp 80 -> q\nbalance tcp 81 -> p backup, 10.0.0.3\n";
    let test = Test::new().file("web.lb", text);
    let mut editor = Editor::new(&test);
    editor.open_file("web.lb");
    let hover = editor.hover("web.lb", 2, 9);
    assert!(hover.starts_with("`a` gets **IPv4 3/4, IPv6 1** (IPv4 75.00 %, IPv6 100 %) of the pool `p`"), "{hover}");
    assert!(hover.contains("- **IPv4 3/16, IPv6 1**") && hover.contains("of `tcp-80`"), "{hover}");
    assert!(hover.contains("- **IPv4 0, IPv6 1**") && hover.contains("of `tcp-81`"), "{hover}");
    let hints = editor.ok(
        "textDocument/inlayHint",
        json!({ "textDocument": { "uri": editor.uri("web.lb") },
                "range": { "start": { "line": 2, "character": 0 }, "end": { "line": 3, "character": 99 } } }),
    );
    let labels: Vec<&str> = hints.as_array().expect("a list").iter().filter_map(|one| one["label"].as_str()).collect();
    assert_eq!(labels, ["IPv4 3/4, IPv6 1", "1/4", "IPv4 1/4, IPv6 1", "3/4"]);
}

/// Whatever includes a file may use its names.
#[test]
fn names_are_followed_to_the_files_around_where_there_is_no_lbc_toml() {
    let test = Test::new()
        .file("hosts.lb", "host a = 10.0.0.1\n")
        .file("web.lb", "include \"hosts.lb\"\nbalance tcp 80 -> a:8080\n")
        .file("db.lb", "include \"hosts.lb\"\npool site = a\nbalance tcp 81 -> site\n");
    for (open, at) in [("web.lb", (1, 18)), ("hosts.lb", (0, 5))] {
        let mut editor = Editor::new(&test);
        editor.open_file(open);
        let mut rename = editor.at(open, at.0, at.1);
        let mut references = rename.clone();
        references["context"] = json!({ "includeDeclaration": true });
        let all = ["db.lb 1:12-1:13", "hosts.lb 0:5-0:6", "web.lb 1:18-1:19"];
        assert_eq!(places(&editor.ok("textDocument/references", references)), all);
        rename["newName"] = json!("front");
        let edit = editor.ok("textDocument/rename", rename.clone());
        assert_eq!(edit["changes"].as_object().map(serde_json::Map::len), Some(3));
        rename["newName"] = json!("site");
        assert!(editor.fails("textDocument/rename", rename, -32803).contains("declared already"));
    }
}

#[test]
fn names_are_followed_across_files() {
    let test = Test::new()
        .file("lbc.toml", "roots = [\"edge.lb\", \"dc.lb\"]\nignore = [\"LB203\"]\n")
        .file("hosts.lb", "host a = 10.0.0.1\nhost b = 10.0.0.2\nhost none = 10.0.0.3\n")
        .file("edge.lb", "include \"hosts.lb\"\nbalance tcp 80 -> a:8080\n")
        .file("dc.lb", "include \"hosts.lb\"\nbalance tcp 81 -> b:8080 weight 2, a:8080\n");
    let mut editor = Editor::new(&test);
    editor.open_file("edge.lb");
    // What edge.lb alone does not use may be used elsewhere.
    assert_eq!(editor.codes("edge.lb"), [""; 0]);
    assert_eq!(editor.codes("hosts.lb"), [""; 0]);
    let at = editor.at("edge.lb", 1, 18);
    assert_eq!(places(&editor.ok("textDocument/definition", at.clone())), ["hosts.lb 0:5-0:6"]);
    let mut references = at.clone();
    references["context"] = json!({ "includeDeclaration": true });
    let all = ["dc.lb 1:35-1:36", "edge.lb 1:18-1:19", "hosts.lb 0:5-0:6"];
    assert_eq!(places(&editor.ok("textDocument/references", references)), all);
    let mut rename = at;
    rename["newName"] = json!("front");
    let edit = editor.ok("textDocument/rename", rename.clone());
    assert_eq!(edit["changes"].as_object().map(serde_json::Map::len), Some(3));
    rename["newName"] = json!("b");
    editor.fails("textDocument/rename", rename, -32803);
    editor.open_file("hosts.lb");
    assert_eq!(editor.codes("hosts.lb"), ["LB202"]);
    let uri = editor.uri("hosts.lb");
    assert_eq!(range(&editor.diagnostics[&uri][0]["range"]), "2:5-2:9");
    // What is not saved yet counts for the other files.
    editor.replace("hosts.lb", "host b = 10.0.0.2\n");
    assert_eq!(editor.codes("edge.lb"), ["LB010"]);
    editor.notify("textDocument/didClose", json!({ "textDocument": { "uri": uri } }));
    assert_eq!(editor.codes("edge.lb"), [""; 0]);
    assert_eq!(editor.codes("hosts.lb"), [""; 0]);
}

#[test]
fn lbc_toml_holds_and_its_mistakes_are_shown() {
    let test = Test::new()
        .file("lbc.toml", "ignore = [\"LB202\"]\n")
        .file("web.lb", "host a = 10.0.0.1\nbalance tcp 80 -> 10.0.0.1\n");
    let mut editor = Editor::new(&test);
    editor.open_file("web.lb");
    assert_eq!(editor.codes("web.lb"), [""; 0]);
    std::fs::write(test.path("lbc.toml"), "ignor = []\n").expect("a file");
    editor.notify("workspace/didChangeWatchedFiles", json!({ "changes": [] }));
    assert_eq!(editor.codes("web.lb"), ["LB202"]);
    assert!(editor.shown.len() == 1 && editor.shown[0].contains("did you mean `ignore`"), "{:?}", editor.shown);
    std::fs::remove_file(test.path("lbc.toml")).expect("a file");
    editor.notify("workspace/didChangeWatchedFiles", json!({ "changes": [] }));
    assert_eq!(editor.codes("web.lb"), ["LB202"]);
}

#[test]
fn documents_without_a_file_are_programs_of_their_own() {
    let test = Test::new().file("hosts.lb", "host a = 10.0.0.1\n");
    let mut editor = Editor::new(&test);
    editor.open("new.lb", "include \"hosts.lb\"\nbalance tcp 80 -> a:8080, b:8080\n");
    assert_eq!(editor.codes("new.lb"), ["LB010"]);
    let uri = "untitled:Untitled-1";
    let document = json!({ "uri": uri, "languageId": "lb", "version": 1, "text": "host b = 10.0.0.1\nnonsense\n" });
    editor.notify("textDocument/didOpen", json!({ "textDocument": document }));
    editor.settle();
    assert_eq!(editor.diagnostics[uri].len(), 1, "{:?}", editor.diagnostics);
    // A file that an open document includes is no program of its own.
    test.read("hosts.lb");
    editor.open("hosts.lb", "host a = 10.0.0.1\nhost b = 10.0.0.2\n");
    assert_eq!(editor.codes("hosts.lb"), [""; 0]);
    assert_eq!(editor.codes("new.lb"), [""; 0]);
}

#[test]
fn hosts_of_the_command_line_are_known_and_not_renamed() {
    let test = Test::new().file("web.lb", "balance tcp 80 -> a:8080, b:8080\n");
    let mut editor = Editor::with(&test, "-D a=10.0.0.1 -D b=10.0.0.2");
    editor.open_file("web.lb");
    assert_eq!(editor.codes("web.lb"), [""; 0]);
    let hover = editor.hover("web.lb", 0, 18);
    assert!(hover.contains("**1/2**") && hover.contains("host a = 10.0.0.1"), "{hover}");
    let mut rename = editor.at("web.lb", 0, 18);
    rename["newName"] = json!("c");
    assert!(editor.fails("textDocument/rename", rename, -32803).contains("which is no document"));
}

#[test]
fn requests_have_their_order() {
    let test = Test::web();
    let mut editor = Editor::fresh(&test, "");
    editor.fails("textDocument/hover", json!({}), -32002);
    editor.notify("textDocument/didOpen", json!({}));
    editor.ok("initialize", json!({ "capabilities": {} }));
    editor.fails("initialize", json!({ "capabilities": {} }), -32600);
    editor.fails("no/such", json!([1]), -32601);
    editor.fails("textDocument/hover", json!({ "textDocument": 3 }), -32602);
    editor.notify("no/such", json!(null));
    editor.notify("$/cancelRequest", json!({ "id": 77 }));
    editor.notify("textDocument/didChange", json!({ "textDocument": 1 }));
    assert_eq!(editor.hover("web.lb", 0, 0), "", "nothing is open");
    assert_eq!(editor.ok("shutdown", Value::Null), Value::Null);
    editor.fails("textDocument/hover", json!({}), -32600);
    editor.notify("exit", Value::Null);
    assert_eq!(editor.child.wait().expect("it ends").code(), Some(0));
    // Without `shutdown`, and where the editor is gone.
    for sent in [true, false] {
        let mut editor = Editor::new(&test);
        match sent {
            true => editor.notify("exit", Value::Null),
            false => drop(editor.stdin.take()),
        }
        assert_eq!(editor.child.wait().expect("it ends").code(), Some(1));
    }
}

#[test]
fn a_request_that_is_cancelled_is_answered_once() {
    let test = Test::web();
    let mut editor = Editor::new(&test);
    editor.open_file("web.lb");
    editor.settle();
    // All in one write, so that the server may read the cancellations before it answers.
    let mut bytes = Vec::new();
    let mut add = |message: Value| {
        let text = message.to_string();
        bytes.extend(format!("Content-Length: {}\r\n\r\n{text}", text.len()).into_bytes());
    };
    let params = editor.at("web.lb", 3, 18);
    for id in 1000..1200 {
        add(json!({ "jsonrpc": "2.0", "id": id, "method": "textDocument/hover", "params": params }));
    }
    for id in 1000..1200 {
        add(json!({ "jsonrpc": "2.0", "method": "$/cancelRequest", "params": { "id": id } }));
    }
    editor.raw(&bytes);
    let mut seen = BTreeMap::new();
    while seen.len() < 200 {
        let message = editor.receive().expect("an answer");
        let Some(id) = message["id"].as_i64() else { continue };
        let code = message["error"]["code"].as_i64();
        assert!(matches!(code, None | Some(-32800)), "{message}");
        assert_eq!(seen.insert(id, code), None, "answered twice");
    }
    assert_eq!(editor.end(), Some(0));
}

#[test]
fn garbage_is_answered_or_ends_the_server_in_good_order() {
    let test = Test::web();
    let mut editor = Editor::new(&test);
    for (text, id, code) in [
        ("{", Value::Null, -32700),
        ("[]", Value::Null, -32600),
        ("\"é\"", Value::Null, -32600),
        ("{\"id\":5}", json!(5), -32600),
        ("{\"id\":null,\"method\":7}", Value::Null, -32600),
    ] {
        editor.raw(format!("Content-Length: {}\r\n\r\n{text}", text.len()).as_bytes());
        let answer = editor.receive().expect("an answer");
        assert_eq!((&answer["id"], &answer["error"]["code"]), (&id, &json!(code)), "{text}");
    }
    editor.open_file("web.lb");
    assert!(editor.hover("web.lb", 3, 18).contains("2/3"), "the server goes on");
    for garbage in ["hello\r\n\r\n", "Content-Length: 99999999999999999\r\n\r\n", "\u{1}\u{2}\n\n"] {
        let mut editor = Editor::new(&test);
        editor.raw(garbage.as_bytes());
        while editor.receive().is_some() {}
        assert_eq!(editor.child.wait().expect("it ends").code(), Some(2), "{garbage:?}");
        let mut told = String::new();
        editor.child.stderr.take().expect("a pipe").read_to_string(&mut told).expect("UTF-8");
        assert!(told.contains("error: standard input: ") && !told.contains("internal error"), "{told}");
    }
}

/// Every request at many places of broken texts: each is answered, none by an internal error.
#[test]
fn no_place_of_no_text_is_too_strange() {
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/examples/everything.lb");
    let everything = std::fs::read_to_string(examples).expect("an example");
    let test = Test::new().file("web.lb", "");
    let mut editor = Editor::new(&test);
    editor.open_file("web.lb");
    let mut random = 1u64;
    let mut next = |below: usize| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random as usize % below.max(1)
    };
    const NASTY: [&str; 16] =
        ["{", "}", "\"", "#", ",", ";", "->", ":", "[", "=", "\r", "\r\n", "é", "🙂", "\0", "balance tcp 80 -> "];
    for round in 0..60 {
        let mut text = everything.clone();
        for _ in 0..next(8) {
            let mut at = next(text.len() + 1);
            while !text.is_char_boundary(at) {
                at -= 1;
            }
            match next(3) {
                0 => text.truncate(at),
                1 => text.insert_str(at, NASTY[next(NASTY.len())]),
                _ => drop(text.drain(..at)),
            }
        }
        editor.replace("web.lb", &text);
        for _ in 0..6 {
            let (line, character) = (next(text.lines().count() + 3), next(90));
            let mut params = editor.at("web.lb", line as u32, character as u32);
            params["context"] = json!({ "includeDeclaration": true, "diagnostics": [], "triggerKind": 1 });
            params["newName"] = json!("renamed");
            params["options"] = json!({ "tabSize": 4, "insertSpaces": true });
            let (from, to) =
                (json!({ "line": line, "character": next(90) }), json!({ "line": next(200), "character": 7 }));
            params["range"] = json!({ "start": from, "end": to });
            for method in [
                "hover",
                "definition",
                "references",
                "prepareRename",
                "rename",
                "completion",
                "formatting",
                "codeAction",
                "documentSymbol",
                "inlayHint",
            ] {
                let answer = editor.ask(&format!("textDocument/{method}"), params.clone());
                let code = answer["error"]["code"].as_i64();
                assert!(matches!(code, None | Some(-32803)), "round {round}: {method}: {answer}\n{params}\n{text}");
            }
        }
        let edit = json!([{ "range": { "start": { "line": next(99), "character": next(99) },
            "end": { "line": next(99), "character": u32::MAX } }, "text": NASTY[next(NASTY.len())] }]);
        editor.change("web.lb", edit);
    }
    assert_eq!(editor.end(), Some(0));
}
