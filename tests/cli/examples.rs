//! The examples: what they compile to, on every target.

use std::path::{Path, PathBuf};

use super::harness::{Run, Test};

fn examples() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/examples");
    let entries = std::fs::read_dir(folder).expect("tests/examples is there");
    let all = entries.map(|entry| entry.expect("a readable entry").path());
    let mut all: Vec<PathBuf> = all.filter(|path| path.is_file()).collect();
    all.sort();
    all
}

fn name(path: &Path) -> String {
    path.file_name().expect("a file").to_string_lossy().into_owned()
}

fn with(path: &Path) -> Test {
    Test::new().file(&name(path), &std::fs::read_to_string(path).expect("examples are UTF-8"))
}

/// It compiled, with no more than the warning that iptables gives for `sticky`.
fn compiled(run: Run) -> Run {
    let warned = run.stderr.contains("LB109 sticky-capacity") && run.stdout.contains("-m recent --rcheck");
    assert!(run.code == Some(0) && (run.stderr.is_empty() || warned), "{}", run.show());
    run
}

/// Each on every target, under the name of the example and the form.
fn snapshots(form: &str, args: &str) {
    for path in examples() {
        let stem = path.file_stem().expect("a name").to_string_lossy();
        let args = format!("compile {args} {}", name(&path));
        compiled(with(&path).snapshot(&format!("example-{stem}-{form}"), &args));
    }
}

#[test]
fn compile_to_iptables_restore() {
    snapshots("restore", "--target iptables");
}

#[test]
fn compile_to_an_iptables_script() {
    snapshots("script", "--target iptables --format script");
}

#[test]
fn compile_to_nft() {
    snapshots("nft", "--target nft");
}

#[test]
fn compile_to_nft_json() {
    snapshots("nft-json", "--target nft-json");
}

#[test]
fn are_right_and_in_canonical_form() {
    for path in examples() {
        let test = with(&path);
        // The language's own first example leaves a weight out.
        let ignored = if name(&path) == "first.lb" { "--ignore LB203 " } else { "" };
        assert_eq!(test.run(&format!("check {ignored}{}", name(&path))).clean(), "");
        assert_eq!(test.run(&format!("fmt --diff {}", name(&path))).clean(), "");
    }
}

#[test]
fn the_first_is_the_one_that_the_language_starts_with() {
    let first = examples().into_iter().find(|path| name(path) == "first.lb").expect("tests/examples/first.lb");
    let text = std::fs::read_to_string(first).expect("examples are UTF-8");
    assert!(text.starts_with("# web.lb\n") && text.ends_with("balance tcp 80 -> a:8080 weight 2, b:8080\n"));
}

#[test]
fn two_runs_are_byte_identical() {
    for path in examples() {
        for args in ["--target iptables", "--target iptables --format script", "--target nft", "--target nft-json"] {
            let args = format!("compile {args} {}", name(&path));
            assert_eq!(with(&path).run(&args), with(&path).run(&args), "{args}");
        }
    }
}

#[test]
fn no_absolute_path_reaches_the_output() {
    for path in examples() {
        for args in ["--target iptables", "--target iptables --format script", "--target nft", "--target nft-json"] {
            let test = with(&path);
            let absolute = test.path(name(&path));
            let args = args.split(' ').map(|arg| arg.as_ref()).chain([absolute.as_os_str()]);
            let run = test.run_args(["compile".as_ref()].into_iter().chain(args));
            let here = test.path("").to_string_lossy().into_owned();
            assert!(!compiled(run).stdout.contains(here.trim_end_matches('/')));
        }
    }
}

#[test]
fn the_example_for_iptables_alone() {
    let read = |path: &str| {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/examples");
        std::fs::read_to_string(folder.join(path)).expect("an example")
    };
    let test = Test::new()
        .file("everything.lb", &read("everything.lb"))
        .file("iptables/accept.lb", &read("iptables/accept.lb"));
    assert_eq!(test.run("check iptables/accept.lb").clean(), "");
    assert_eq!(test.run("fmt --diff iptables/accept.lb").clean(), "");
    compiled(test.run("compile --target iptables iptables/accept.lb"));
    test.run("compile --target iptables --sticky-store ipset --format script iptables/accept.lb").clean();
    test.run("compile --target nft iptables/accept.lb").fails(1, "LB019 unsupported-on-target");
}
