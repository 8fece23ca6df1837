//! `lbc compile`: its options. What comes out for whole programs is in the examples.

use super::harness::{Run, Test, WEB};

const DUAL: &str = "host a = 10.0.0.1, 2001:db8::1\nbalance tcp 80 -> a:8080\n";
const SIX: &str = "balance tcp 80 -> [2001:db8::1]:8080\n";

#[test]
fn families_of_restore_text() {
    let test = Test::new().file("dual.lb", DUAL);
    test.snapshot("family-both", "compile --target iptables dual.lb").clean();
    test.snapshot("family-ipv4", "compile --target iptables --family ipv4 dual.lb").clean();
    test.snapshot("family-ipv6", "compile --target iptables --family ipv6 dual.lb").clean();
    assert_eq!(
        test.run("compile --target iptables --family both dual.lb"),
        test.run("compile --target iptables dual.lb")
    );
}

#[test]
fn one_family_alone_is_printed_plainly() {
    let test = Test::new().file("six.lb", SIX).file("four.lb", WEB);
    let plain = |args: &str| {
        let run = test.run(args);
        assert!(!run.clean().lines().any(|line| line.starts_with("-4 ") || line.starts_with("-6 ")), "{}", run.stdout);
        run.stdout
    };
    assert_eq!(plain("compile --target iptables six.lb"), plain("compile --target iptables --family ipv6 six.lb"));
    assert_eq!(plain("compile --target iptables four.lb"), plain("compile --target iptables --family ipv4 four.lb"));
}

#[test]
fn hooks_are_left_out_on_demand() {
    let test = Test::web();
    let skipped = test.snapshot("hooks-skip", "compile --target iptables --hooks skip web.lb");
    assert!(!skipped.clean().contains("-I PREROUTING"));
    assert!(test.run("compile --target iptables --hooks include web.lb").clean().contains("-I PREROUTING 1 -j"));
}

#[test]
fn an_instance_has_names_of_its_own() {
    let test = Test::web();
    let restore = test.snapshot("instance-restore", "compile --target iptables --instance edge web.lb");
    assert!(!restore.clean().contains("LBC-PREROUTING") && restore.stdout.contains("LBC-edge-PREROUTING"));
    let nft = test.run("compile --target nft --instance edge web.lb");
    assert!(nft.clean().contains("table inet lbc-edge {") && !nft.stdout.contains("table inet lbc {"));
    let json = test.run("compile --target nft-json --instance edge web.lb");
    assert!(json.clean().contains("\"lbc-edge\"") && !json.stdout.contains("\"lbc\""));
    let script = test.run("compile --target iptables --format script --instance edge web.lb");
    assert!(script.clean().contains("LBC-edge-PREROUTING") && !script.stdout.contains("LBC-PREROUTING"));
}

#[test]
fn an_instance_that_is_no_name_is_a_usage_error() {
    for name in ["", "123456789", "a-b", "a.b", "a b", "é", "SVC", "prerouting", "$(id)", "a;b"] {
        Test::web().run_args(["compile", "--target", "nft", "--instance", name, "web.lb"]).fails(2, "--instance");
    }
}

#[test]
fn options_of_another_target_are_usage_errors() {
    for (option, value) in [("--format", "restore"), ("--family", "ipv4"), ("--hooks", "skip")] {
        for target in ["nft", "nft-json"] {
            let run = Test::web().run(&format!("compile --target {target} {option} {value} web.lb"));
            run.fails(2, &format!("{option} belongs to --target iptables"));
        }
    }
    let run = Test::web().run("compile --target iptables --format script --hooks skip web.lb");
    run.fails(2, "--hooks belongs to --format restore");
}

#[test]
fn several_paths_are_one_program() {
    let test = Test::new()
        .file("hosts.lb", "host a = 10.0.0.1\n")
        .file("one.lb", "balance tcp 80 -> a\n")
        .file("two.lb", "balance tcp 80-90 as rest -> a:8080\n");
    test.snapshot("several-paths", "compile --target nft two.lb hosts.lb one.lb").warns(&["113"]);
    // First match wins, in the order of the files.
    let first = test.run("compile --target nft one.lb two.lb hosts.lb");
    assert_ne!(first.clean(), test.run("compile --target nft two.lb one.lb hosts.lb").stdout);
}

#[test]
fn defaults_hold_for_the_rest_of_their_own_file() {
    let test = Test::new()
        .file("a.lb", "default on eth0\ninclude \"b.lb\"\nbalance tcp 1 -> 10.0.0.1\n")
        .file("b.lb", "balance tcp 2 -> 10.0.0.1\ndefault on eth1\nbalance tcp 3 -> 10.0.0.1\n");
    let run = test.run("compile --target iptables a.lb");
    let rule = |port: u16| {
        let mut rules = run.clean().lines().filter(|line| line.contains(&format!("--dport {port} ")));
        rules.next().expect("a rule for the port")
    };
    assert!(
        rule(1).contains(" -i eth0 ") && !rule(2).contains(" -i ") && rule(3).contains(" -i eth1 "),
        "{}",
        run.stdout
    );
}

#[test]
fn standard_input_goes_by_the_name_that_it_is_given() {
    let test = Test::new().stdin(WEB);
    assert!(test.run("compile --target nft -").clean().contains("<stdin>:4 tcp-80"));
    test.snapshot("stdin", "compile --target iptables --stdin-filename conf/web.lb -").clean();
    let wrong = Test::new().stdin("balance tcp 80 -> nosuch\n");
    let run = wrong.run("check --output-format concise --stdin-filename conf/web.lb -");
    assert_eq!((run.code, run.stdout.starts_with("conf/web.lb:1:19: LB010 ")), (Some(1), true), "{}", run.show());
    test.run("compile --target nft - -").fails(2, "only once");
}

#[test]
fn what_standard_input_includes_is_relative_to_its_name() {
    let test =
        Test::new().file("conf/hosts.lb", "host a = 10.0.0.1\n").stdin("include \"hosts.lb\"\nbalance tcp 80 -> a\n");
    test.run("compile --target nft --stdin-filename conf/web.lb -").clean();
    test.run("compile --target nft -").fails(1, "LB009");
}

#[test]
fn a_program_without_services_compiles() {
    let test = Test::new().file("empty.lb", "# nothing yet\n");
    let warning = "warning: the program has no services; the output is empty\n";
    let warned = |run: Run| assert_eq!((run.code, run.stderr.as_str()), (Some(0), warning), "{}", run.show());
    warned(test.snapshot("empty-nft", "compile --target nft empty.lb"));
    warned(test.snapshot("empty-restore", "compile --target iptables empty.lb"));
    warned(test.snapshot("empty-hooks-skip", "compile --target iptables --hooks skip empty.lb"));
    warned(test.run("compile --target iptables --format script empty.lb"));
    warned(test.run("compile --target nft-json empty.lb"));
    warned(test.run("compile --target nft -o out.nft empty.lb"));
    // JSON stays whole.
    let run = test.run("compile --target nft --output-format json empty.lb");
    assert!(serde_json::from_str::<serde_json::Value>(&run.stderr).is_ok(), "{}", run.show());
    assert_eq!(test.run("check empty.lb").clean(), "");
}

#[test]
fn a_family_without_services_is_warned_of() {
    let test = Test::new().file("six.lb", SIX).file("four.lb", WEB);
    for (family, file, name) in [("ipv4", "six.lb", "IPv4"), ("ipv6", "four.lb", "IPv6")] {
        let warning = format!("warning: no service has an {name} backend; the output is empty\n");
        let run = test.run(&format!("compile --target iptables --family {family} {file}"));
        assert_eq!((run.code, &run.stderr), (Some(0), &warning), "{}", run.show());
        assert!(run.stdout.lines().all(|line| line.starts_with('#')), "{}", run.stdout);
        // What replaces an earlier version empties its chains.
        let run = test.run(&format!("compile --target iptables --hooks skip --family {family} {file}"));
        assert_eq!((run.code, &run.stderr), (Some(0), &warning), "{}", run.show());
        assert!(run.stdout.contains("*nat\n") && run.stdout.contains(":LBC-PREROUTING - [0:0]\n"), "{}", run.stdout);
        let run = test.run(&format!("compile --target iptables --format script --family {family} {file}"));
        assert_eq!((run.code, &run.stderr), (Some(0), &warning), "{}", run.show());
    }
    test.run("compile --target iptables --family both six.lb").clean();
    // Kept out is not nothing.
    let total = Test::new().file("web.lb", "balance tcp 80 from 10.0.0.0/8 else drop -> 192.0.2.1\n");
    total.run("compile --target iptables --family ipv6 web.lb").clean();
}

#[test]
fn every_option_compiles_on_every_target_but_accept_on_nft() {
    let options = [
        "sticky 10m",
        "masquerade",
        "masquerade hairpin",
        "snat 203.0.113.1",
        "accept",
        "limit 10/second",
        "max-connections 5",
        "counter",
        "log",
    ];
    for option in options {
        let test = Test::new().file("web.lb", &format!("balance tcp 80 {option} -> 10.0.0.1, 10.0.0.2\n"));
        test.run("check --ignore LB109 web.lb").clean();
        for target in
            ["iptables --sticky-store ipset", "nft", "nft-json", "iptables --sticky-store ipset --format script"]
        {
            let run = test.run(&format!("compile --target {target} web.lb"));
            if option == "accept" && target.starts_with("nft") {
                let help = run.fails(1, "LB019");
                assert!(help.contains("ct original proto-dst 80") && help.contains("accept"), "{help}");
                continue;
            }
            let plain = Test::new().file("web.lb", "balance tcp 80 -> 10.0.0.1, 10.0.0.2\n");
            assert_ne!(run.clean(), plain.run(&format!("compile --target {target} web.lb")).clean(), "{option}");
        }
    }
}
