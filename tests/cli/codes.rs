//! What each error looks like: the source with the place underlined, the second place, and what to write instead.

use lbc::diagnostic::Code;

use super::harness::Test;

/// Compiles `web.lb` for nft and keeps what is printed as `code-LB….snap`.
fn shows(code: Code, test: Test) {
    let run = test.unicode().snapshot(&format!("code-{}", code.as_str()), "compile --target nft web.lb");
    run.fails(1, &format!("{} {}", code.as_str(), code.name()));
    run.is_harmless();
}

fn web(text: &str) -> Test {
    Test::new().file("web.lb", text)
}

/// The last of a thousand and one.
#[test]
fn too_many_errors() {
    let run = web(&"blance tcp 80\n".repeat(1_500)).unicode().run("compile --target nft web.lb");
    let (_, last) = run.stderr.rsplit_once("\n\nLB").expect("errors before it");
    super::harness::assert_snapshot("code-LB020", &format!("LB{last}"));
    run.fails(1, "LB020 too-many-errors");
}

#[test]
fn every_code_has_a_snapshot() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("snapshots");
    for code in Code::ALL {
        let path = folder.join(format!("code-{}.snap", code.as_str()));
        assert!(path.is_file(), "{} is missing", path.display());
    }
}

#[test]
fn invalid_text() {
    shows(Code::InvalidText, Test::new().bytes("web.lb", b"# saved as latin-1: caf\xe9\nhost a = 10.0.0.1\n"));
}

#[test]
fn syntax_error() {
    shows(Code::Syntax, web("host a = 10.0.0.1\nbalance tcp 80 -> a:8080 wieght 2, a:8081\nblance tcp 81 -> a\n"));
}

#[test]
fn invalid_number() {
    shows(Code::InvalidNumber, web("balance tcp 80 -> 10.0.0.1:80800 weight 99999999999, 10.0.0.2:0\n"));
}

#[test]
fn invalid_address() {
    shows(
        Code::InvalidAddress,
        web("host a = 10.0.0.1, 10.0.0.2\nnet lan = 10.20.0.1/16\nbalance tcp 80 from lan -> a\n"),
    );
}

#[test]
fn invalid_range() {
    shows(Code::InvalidRange, web("balance tcp 8000-8010 -> 10.0.0.1:9000-9011, 10.0.0.2:9010-9000\n"));
}

#[test]
fn invalid_name() {
    shows(Code::InvalidName, web("host weight = 10.0.0.1\nbalance tcp 80 -> 10.0.0.1\n"));
}

#[test]
fn repeated_option() {
    shows(Code::RepeatedOption, web("balance tcp 80 on eth0 counter on eth1 -> 10.0.0.1\n"));
}

#[test]
fn contradictory_options() {
    shows(Code::ContradictoryOptions, web("balance tcp 80 sticky 10m by source-hash -> 10.0.0.1, 10.0.0.2\n"));
}

#[test]
fn include_error() {
    shows(Code::Include, web("include \"lib/hosts.lb\"\n").file("lib/hosts.lb", "include \"../web.lb\"\n"));
}

#[test]
fn unknown_name() {
    shows(Code::UnknownName, web("host web1 = 10.0.0.1\nbalance tcp 80 -> wbe1, db1\n"));
}

#[test]
fn duplicate_name() {
    let test = web("include \"hosts.lb\"\nhost a = 10.0.0.1\nhost a = 10.0.0.2\nnet b = 10.0.0.0/8\n");
    shows(Code::DuplicateName, test.file("hosts.lb", "# the other file\nhost b = 10.0.0.3\n"));
}

#[test]
fn duplicate_listener() {
    shows(Code::DuplicateListener, web("balance tcp 80 -> 10.0.0.1\nbalance tcp 80,443 as late -> 10.0.0.2\n"));
}

#[test]
fn kept_own_port() {
    shows(Code::KeptOwnPort, web("balance tcp 80 -> :80\n"));
}

#[test]
fn no_backend_for_family() {
    shows(
        Code::NoBackendForFamily,
        web(
            "host a = 10.0.0.1\n\nbalance tcp {203.0.113.10, [2001:db8::10]}:80 -> {\n    a:8080\n    10.0.0.2:8080\n}\n",
        ),
    );
}

#[test]
fn pool_nesting() {
    shows(Code::PoolNesting, web("pool blue = green, 10.0.0.1\npool green = blue\nbalance tcp 80 -> blue\n"));
}

#[test]
fn unrepresentable_weight() {
    shows(
        Code::UnrepresentableWeight,
        web("balance tcp 80 by round-robin -> 10.0.0.1 weight 20000, 10.0.0.2 weight 40001\n\
             balance tcp 81 by source-hash -> 10.0.0.1 weight 200, 10.0.0.2\n"),
    );
}

#[test]
fn target_limit() {
    let prefix = "p".repeat(200);
    shows(Code::TargetLimit, web(&format!("balance tcp 80 log \"{prefix}\" -> 10.0.0.1\n")));
}

#[test]
fn not_an_address() {
    shows(Code::NotAnAddress, web("host a = www.example.org\nbalance tcp 80 -> www.example.org:8080\n"));
}

#[test]
fn unsupported_on_target() {
    shows(Code::UnsupportedOnTarget, web("balance tcp 80 accept masquerade -> 10.0.0.1, 10.0.0.2\n"));
}

#[test]
fn one_run_reports_every_error_of_every_file() {
    let test = Test::new()
        .unicode()
        .file("a.lb", "include \"sub/b.lb\"\nhost a = 10.0.0.256\nbalance tcp 80 -> nosuch1, nosuch2:0\n")
        .file("sub/b.lb", "include \"c.lb\"\nbalance tcp 81 by rnadom -> nosuch3\n")
        .file("sub/c.lb", "balance tcp 80 -> :80\nbalance tcp 82,82 -> nosuch4\n")
        .file("d.lb", "pool p = p\n");
    let run = test.snapshot("every-error", "check --output-format concise a.lb d.lb");
    assert_eq!(run.code, Some(1));
}

#[test]
fn an_error_in_a_long_line_shows_only_the_part_around_it() {
    let list = (1..200).map(|n| format!("10.0.0.{n}")).collect::<Vec<_>>().join(", ");
    let test = Test::new().unicode().bytes("long.lb", format!("balance tcp 80 -> {list}, nosuch, {list}\n").as_bytes());
    test.snapshot("long-line", "check long.lb");
}

#[test]
fn labels_in_other_files_are_shown_with_their_source() {
    let test = Test::new()
        .unicode()
        .file("a.lb", "# first\nhost web = 10.0.0.1\n")
        .file("b.lb", "# second\npool web = 10.0.0.2\n");
    test.snapshot("label-elsewhere", "check a.lb b.lb");
}

/// A warning: the rules come out all the same.
#[test]
fn sticky_capacity() {
    let text = "balance tcp 80 sticky 10m -> 10.0.0.1, 10.0.0.2\nbalance tcp 81 sticky 10m -> 10.0.0.1\n";
    let run = web(text).unicode().snapshot("code-LB109", "compile --target iptables web.lb");
    run.is_harmless();
    assert!(run.code == Some(0) && run.stdout.contains("-m recent --rcheck"), "{}", run.stderr);
    let silent = web(text).run("compile --target iptables --sticky-store ipset web.lb");
    assert!(
        silent.code == Some(0) && silent.stderr.is_empty() && silent.stdout.contains("--match-set LBC:"),
        "{}",
        silent.stderr
    );
    // Every set that a rule fills is made before, that of a service with one backend too.
    let filled = silent.stdout.lines().filter_map(|line| line.split_once("--add-set ")).map(|(_, rest)| rest);
    let filled: Vec<&str> = filled.filter_map(|rest| rest.split(' ').next()).collect();
    assert_eq!(filled.len(), 3, "{}", silent.stdout);
    for name in filled {
        assert!(silent.stdout.contains(&format!("# Before: ipset -exist create {name} ")), "{}", silent.stdout);
    }
}
