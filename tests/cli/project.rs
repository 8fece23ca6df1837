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

/// As a hook needs it, which names the changed files alone.
#[test]
fn a_repository_without_an_lbc_toml_is_one_program_where_that_is_asked_for() {
    let test = program();
    let git = std::process::Command::new("git").args(["init", "-q"]).current_dir(test.path("p")).status();
    assert!(git.expect("git runs").success());
    let all = found(&test, "p");
    assert_eq!(all, ["p/b.lb:1:1: LB012"]);
    for file in ["p/a.lb", "p/b.lb", "p/lib/hosts.lb", "p/lib p/a.lb", "p"] {
        assert_eq!(found(&test, &format!("--project {file}")), all, "{file}");
    }
    // Outside of git it is the directory; an lbc.toml says more.
    let test = program();
    assert_eq!(found(&test, "--project p/a.lb"), all);
    assert_eq!(found(&test, "--project p/lib/hosts.lb"), ["p/lib/hosts.lb:1:6: LB202", "p/lib/hosts.lb:2:6: LB202"]);
    let test = test.file("p/lbc.toml", "roots = [\"b.lb\"]\n");
    assert_eq!(found(&test, "--project p/b.lb"), found(&test, "p/b.lb"));
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

/// Two roots that share a file with three hosts: each uses one, one is in a file that is in no root's directory.
fn shared() -> Test {
    Test::new()
        .file("lbc.toml", "roots = [\"edge\", \"dc/main.lb\"]\n")
        .file("hosts.lb", "host a = 10.0.0.1\nhost b = 10.0.0.2\nhost c = 10.0.0.3\n")
        .file("edge/a.lb", "include \"../hosts.lb\"\n")
        .file("edge/b.lb", "balance tcp 90 -> b\n")
        .file("dc/main.lb", "include \"../hosts.lb\"\ninclude \"x.lb\"\nbalance tcp 80 -> a\n")
        .file("dc/x.lb", "balance tcp 81 -> a\n")
}

#[test]
fn what_a_root_uses_that_was_not_named_is_used() {
    let test = shared();
    for path in [".", "dc/x.lb", "dc/main.lb", "edge/b.lb", "hosts.lb"] {
        assert_eq!(found(&test, path), ["hosts.lb:3:6: LB202"], "{path}");
    }
    test.run("check --fix dc/main.lb");
    assert_eq!(test.read("hosts.lb"), "host a = 10.0.0.1\nhost b = 10.0.0.2\n");
    assert_eq!(test.run("check .").clean(), "");
    // Nothing is told of a root that no file was named of.
    let test = shared().file("edge/b.lb", "balance tcp 90 -> nosuch\n");
    assert_eq!(found(&test, "dc/x.lb"), [""; 0], "what a broken program uses is not known");
    test.run("check --fix dc/x.lb").clean();
    assert!(test.read("hosts.lb").contains("host b"));
}

#[test]
fn a_suppression_is_of_use_where_any_root_has_its_finding() {
    let test = Test::new()
        .file("lbc.toml", "roots = [\"a.lb\", \"b.lb\"]\n")
        .file("pools.lb", "pool p = 10.0.0.1 # lbc: ignore[LB202] for b\n")
        .file("a.lb", "include \"pools.lb\"\nbalance tcp 80 -> 10.0.0.1\n")
        .file("b.lb", "include \"pools.lb\"\nbalance tcp 80 -> p\n");
    for path in [".", "a.lb", "b.lb"] {
        assert_eq!(found(&test, path), [""; 0], "{path}");
    }
}

#[test]
fn a_fix_is_unsafe_where_it_changes_any_root() {
    let pools = "pool p = 10.0.0.1, 10.0.0.1, 10.0.0.2, 10.0.0.3\n";
    let test = Test::new()
        .file("lbc.toml", "roots = [\"a.lb\", \"b.lb\"]\n")
        .file("pools.lb", pools)
        .file("a.lb", "include \"pools.lb\"\nbalance tcp 80 -> p\n")
        .file("b.lb", "include \"pools.lb\"\nbalance tcp 80 by round-robin -> p\n");
    for path in [".", "a.lb", "pools.lb"] {
        let run = test.run(&format!("check --fix {path}"));
        assert!(run.stdout.contains("1 can be fixed with `--fix --unsafe-fixes`"), "{}", run.show());
        assert_eq!(test.read("pools.lb"), pools);
    }
    let test = test.file("b.lb", "include \"pools.lb\"\nbalance tcp 80 -> p\n");
    test.run("check --fix a.lb");
    assert!(test.read("pools.lb").contains("10.0.0.1 weight 2"));
}

#[test]
fn without_it_the_files_beside_the_named_ones_count() {
    let hosts = "host a = 10.0.0.1\nhost b = 10.0.0.2\nhost c = 10.0.0.3\n";
    let test = Test::new().file("hosts.lb", hosts).file("main.lb", "include \"hosts.lb\"\nbalance tcp 80 -> a, b\n");
    assert_eq!(found(&test, "."), ["hosts.lb:3:6: LB202"]);
    assert_eq!(found(&test, "main.lb"), ["hosts.lb:3:6: LB202"]);
    assert_eq!(found(&test, "hosts.lb"), ["hosts.lb:3:6: LB202"]);
    // What was not named is not changed.
    test.run("check --fix main.lb");
    assert_eq!(test.read("hosts.lb"), hosts);
    assert_eq!(test.run("check --fix hosts.lb").code, Some(0));
    assert_eq!(test.read("hosts.lb"), "host a = 10.0.0.1\nhost b = 10.0.0.2\n");
    // Who else uses it may be further off, and need not include it.
    let test = Test::new()
        .file(".git/HEAD", "")
        .file("lib/hosts.lb", hosts)
        .file("one/main.lb", "include \"../lib/hosts.lb\"\nbalance tcp 80 -> a\n")
        .file("two/main.lb", "include \"../mid.lb\"\nbalance tcp 80 by round-robin -> b\n")
        .file("mid.lb", "include \"lib/hosts.lb\"\n")
        .file("loose.lb", "balance tcp 81 -> c:80\n");
    assert_eq!(found(&test, "lib/hosts.lb one/main.lb"), [""; 0]);
    // A file of declarations alone is for others.
    let test = Test::new().file("hosts.lb", hosts).file("pool.lb", "pool p = 10.0.0.1, 10.0.0.1\n");
    assert_eq!(found(&test, "hosts.lb"), [""; 0]);
    test.run("check --fix pool.lb");
    assert_eq!(test.read("pool.lb"), "pool p = 10.0.0.1, 10.0.0.1\n");
}

#[test]
fn standard_input_belongs_where_its_name_says() {
    let test = Test::new()
        .file("d/lbc.toml", "management-ports = [80]\n[per-file-ignores]\n\"./y.lb\" = [\"LB102\"]\n")
        .stdin("balance tcp 80 -> 10.0.0.1\n");
    assert_eq!(found(&test, "--stdin-filename d/x.lb -"), ["d/x.lb:1:13: LB102"]);
    assert_eq!(found(&test, "--stdin-filename d/y.lb -"), [""; 0]);
    assert_eq!(found(&test, "-"), [""; 0]);
}
