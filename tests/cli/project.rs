//! lbc.toml, and programs that are read whole.

use super::harness::Test;

/// The findings, one line each: place and code.
fn found(test: &Test, args: &str) -> Vec<String> {
    let run = test.run(&format!("check --output-format concise {args}"));
    assert!(matches!(run.code, Some(0 | 1)) && run.stderr.is_empty(), "{}", run.show());
    run.stdout.lines().map(|line| line.splitn(3, ' ').take(2).collect::<Vec<_>>().join(" ")).collect()
}

/// One program over several files, with a finding that no file shows by itself.
fn program() -> Test {
    Test::new()
        .file("p/a.lb", "include \"lib/hosts.lb\"\nbalance tcp 80 as one -> a\n")
        .file("p/b.lb", "balance tcp 80 as two -> a\n")
        .file("p/lib/hosts.lb", "host a = 10.0.0.1\nhost old = 10.0.0.2\n")
}

#[test]
fn a_program_is_read_whole_whichever_of_its_files_is_named() {
    let test = program().file("p/lbc.toml", "");
    let all = found(&test, "p");
    assert_eq!(all, ["p/b.lb:1:1: LB012"]);
    for file in ["p/a.lb", "p/b.lb", "p/lib/hosts.lb", "p/lib p/a.lb"] {
        assert_eq!(found(&test, file), all, "{file}");
    }
    // Without it, the PATHs are the program.
    assert_eq!(found(&program(), "p/b.lb"), ["p/b.lb:1:26: LB010"]);
    let test = test.file("p/b.lb", "balance tcp 81 as two -> a\n");
    assert_eq!(found(&test, "p/a.lb"), ["p/lib/hosts.lb:2:6: LB202"]);
    assert_eq!(found(&test, "p/lib/hosts.lb"), ["p/lib/hosts.lb:2:6: LB202"]);
}

#[test]
fn roots_are_programs_of_their_own() {
    let test = Test::new()
        .file("lbc.toml", "roots = [\"east\", \"west/main.lb\"]\n")
        .file("shared.lb", "host a = 10.0.0.1\nhost b = 10.0.0.2\nhost c = 10.0.0.3\n")
        .file("east/web.lb", "include \"../shared.lb\"\nbalance tcp 80 -> a\n")
        .file("west/main.lb", "include \"../shared.lb\"\nbalance tcp 80 -> b\n")
        .file("west/draft.lb", "balance tcp 22 -> 10.0.0.1\n");
    // What one of the programs uses is used.
    assert_eq!(found(&test, "shared.lb"), ["shared.lb:3:6: LB202"]);
    assert_eq!(found(&test, "."), ["shared.lb:3:6: LB202", "west/draft.lb:1:13: LB102"]);
    assert_eq!(found(&test, "west/draft.lb"), ["west/draft.lb:1:13: LB102"]);
    test.run("compile --target nft .").fails(2, "belong to 2 programs");
    assert_eq!(test.run("compile --target nft west/main.lb").code, Some(0));
    // A fix in a file of both is made once, and breaks neither.
    test.run("check --fix shared.lb");
    assert_eq!(test.read("shared.lb"), "host a = 10.0.0.1\nhost b = 10.0.0.2\n");
}

#[test]
fn the_closest_file_upwards_wins() {
    let test = Test::new()
        .file("lbc.toml", "ignore = [\"LB2\"]\n")
        .file("a/web.lb", "balance tcp 80 -> 10.0.0.1 weight 2, 10.0.0.2\n")
        .file("b/lbc.toml", "management-ports = [80, 443]\n")
        .file("b/web.lb", "balance tcp 80 -> 10.0.0.1 weight 2, 10.0.0.2\nbalance tcp 22 -> 10.0.0.1\n");
    assert_eq!(found(&test, "a/web.lb"), [""; 0]);
    assert_eq!(found(&test, "b"), ["b/web.lb:1:13: LB102", "b/web.lb:1:38: LB203"]);
    // The command line has the last word.
    assert_eq!(found(&test, "a/web.lb --select LB203"), ["a/web.lb:1:38: LB203"]);
    assert_eq!(found(&test, "b --ignore LB203"), ["b/web.lb:1:13: LB102"]);
}

#[test]
fn lints_are_chosen_for_a_project_and_for_files() {
    let web = "balance tcp 80 -> 10.0.0.1 weight 2, 10.0.0.2\nbalance tcp 22 -> 10.0.0.1\n";
    let test = Test::new()
        .file("lbc.toml", "select = [\"LB1\", \"mixed-weights\"]\n[per-file-ignores]\n\"old*.lb\" = [\"LB203\"]\n\"sub/*\" = [\"LB1\"]\n")
        .file("sub/web.lb", web)
        .file("old.lb", &web.replace("80", "81").replace("22", "20-23"));
    assert_eq!(found(&test, "."), ["old.lb:2:13: LB102", "sub/web.lb:1:38: LB203"]);
    // What a project selects, `compile` warns of, too.
    let run = test.run("compile --target nft --output-format concise sub/web.lb");
    assert!(run.stderr.contains("LB203") && !run.stderr.contains("LB102"), "{}", run.stderr);
}

#[test]
fn the_target_is_known() {
    let test =
        Test::new().file("lbc.toml", "target = \"nft\"\n").file("web.lb", "balance tcp 80 sticky 1m -> 10.0.0.1\n");
    assert_eq!(found(&test, "web.lb"), [""; 0]);
    assert!(test.run("compile web.lb").clean().contains("table inet lbc"));
    let test = test.file("web.lb", "balance tcp 80 accept -> 10.0.0.1\n");
    assert_eq!(found(&test, "web.lb"), ["web.lb:1:16: LB019"]);
    Test::web().run("compile web.lb").fails(2, "--target iptables|nft|nft-json");
}

#[test]
fn comments_of_rules_have_paths_relative_to_it() {
    let test =
        Test::new().file("top/lbc.toml", "").file("top/edge/web.lb", "include \"../x.lb\"\nbalance tcp 80 -> a\n");
    let test = test.file("top/x.lb", "host a = 10.0.0.1\nbalance tcp 81 -> a\n");
    let run = test.run("compile --target nft top/edge/web.lb");
    assert!(
        run.clean().contains("comment \"edge/web.lb:2 tcp-80\"") && run.stdout.contains("\"x.lb:2 tcp-81\""),
        "{}",
        run.stdout
    );
    let absolute = test.path("top/edge/web.lb").display().to_string();
    assert_eq!(test.run_args(["compile", "--target", "nft", &absolute]).stdout, run.stdout);
}

#[test]
fn what_is_wrong_with_it_is_a_failure() {
    for (text, message) in [
        ("targte = \"nft\"\n", "lbc.toml: unknown key `targte`; did you mean `target`?"),
        ("zzz = 1\n", "the keys are `roots`, `select`"),
        ("target = \"bpf\"\n", "`target` is one of `iptables`, `nft`, `nft-json`"),
        ("select = \"LB1\"\n", "`select` is a list of strings"),
        ("ignore = [\"LB010\"]\n", "cannot be ignored"),
        ("ignore = [\"LB999\"]\n", "no error or lint has the code `LB999`"),
        ("management-ports = [0]\n", "a list of ports (1-65535), found `0`"),
        ("roots = [\"nosuch.lb\"]\n", "cannot read `nosuch.lb`"),
        ("roots = []\n", "lists no program"),
        ("\n[\n", "lbc.toml: line 2"),
        ("per-file-ignores = { \"[\" = [] }\n", "per-file-ignores"),
    ] {
        let test = Test::new().file("lbc.toml", text).file("web.lb", "balance tcp 80 -> 10.0.0.1\n");
        test.run("check web.lb").fails(2, message);
    }
}
