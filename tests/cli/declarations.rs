//! Declarations of the command line: `-D`, `--hosts` and `--set`.

use super::harness::Test;

const WEB: &str = "balance tcp 80 -> a:8080, b:8080\n";

fn web() -> Test {
    Test::new().file("web.lb", WEB)
}

#[test]
fn hosts_are_defined_by_option() {
    let test = web();
    test.snapshot("define", "compile --target nft -D a=10.0.0.1,2001:db8::1 -D b=10.0.0.2 web.lb").warns(&["107"]);
    // The same as in a file.
    let file = Test::new().file("web.lb", &format!("{WEB}host a = 10.0.0.1, 2001:db8::1\nhost b = 10.0.0.2\n"));
    assert_eq!(
        test.run("compile --target nft -Da=10.0.0.1,2001:db8::1 -D b=10.0.0.2 web.lb").stdout,
        file.run("compile --target nft web.lb").stdout
    );
}

#[test]
fn what_is_no_definition_is_a_usage_error() {
    for wrong in [
        "",
        "a",
        "a=",
        "=10.0.0.1",
        "a=b",
        "a=10.0.0.256",
        "a=10.0.0.1/8",
        "a=10.0.0.1,",
        "a=10.0.0.1 b=10.0.0.2",
        "a=10.0.0.1;host c = 10.0.0.3",
        "a=10.0.0.1\nhost c = 10.0.0.3",
        "weight=10.0.0.1",
        "a b=10.0.0.1",
        "1=10.0.0.1",
        "a=10.0.0.1#",
        "a=[::1]",
        "a=www.example.org",
    ] {
        let run = web().run_args(["compile", "--target", "nft", "-D", wrong, "web.lb"]);
        run.fails(2, "-D");
        run.is_harmless();
    }
}

#[test]
fn what_the_files_declare_too_is_an_error() {
    let test = Test::new().unicode().file("web.lb", "host a = 10.0.0.1\nnet n = 10.0.0.0/8\nbalance tcp 80 -> a\n");
    test.snapshot("define-twice", "compile --target nft -D a=10.0.0.2 -D n=10.0.0.3 web.lb").fails(1, "LB011");
    let twice = test.run("compile --target nft -D c=10.0.0.2 -D c=10.0.0.3 web.lb");
    twice.fails(1, "`c` is declared twice");
    assert!(
        twice.stderr.contains("-D c=10.0.0.3:1:1") && twice.stderr.contains("-D c=10.0.0.2:1:1"),
        "{}",
        twice.show()
    );
    let test = test.file("hosts", "10.0.0.2 a\n");
    test.run("compile --target nft --hosts hosts web.lb").fails(1, "`a` is declared twice");
    test.run("compile --target nft --hosts hosts -D a=10.0.0.2 /dev/null").fails(1, "`a` is declared twice");
    test.run("compile --target nft -D c=10.0.0.2,10.0.0.3 web.lb").fails(1, "at most one IPv4 address");
}

#[test]
fn hosts_come_from_a_file() {
    let test = web().file(
        "hosts",
        "# /etc/hosts form\r\n127.0.0.1\tlocalhost\n::1 localhost ip6-localhost\n\n\
         10.0.0.1 a.example.org a  # the first\n10.0.0.2 b b.example.org\n2001:db8::2 b\nfe80::1%eth0 link\n10.0.0.1 a\n",
    );
    test.snapshot("hosts-file", "compile --target iptables --hosts hosts web.lb").warns(&["107"]);
}

#[test]
fn a_wrong_hosts_file_is_an_error_where_it_is_wrong() {
    let test = web().unicode().file("hosts", "10.0.0.1 a\n10.0.0.300 b\n10.0.0.2 b\n");
    test.snapshot("hosts-wrong", "compile --target nft --hosts hosts web.lb").fails(1, "hosts:2:1]");
    test.run("compile --target nft --hosts nosuch web.lb").fails(2, "cannot read `nosuch`");
    let test = test.bytes("binary", b"10.0.0.1 a\xff\n");
    test.run("compile --target nft --hosts binary web.lb").fails(2, "invalid UTF-8");
}

#[test]
fn several_addresses_of_a_host_are_an_error_only_where_it_is_used() {
    let test = Test::new().unicode().file("web.lb", "balance tcp 80 -> a\n");
    let test = test.file("hosts", "10.0.0.1 a\n10.0.0.2 c\n10.0.0.3 c\n");
    test.run("compile --target nft --hosts hosts web.lb").clean();
    let test = test.file("hosts", "10.0.0.1 a\n10.0.0.2 a\n");
    test.snapshot("hosts-several", "compile --target nft --hosts hosts web.lb").fails(1, "LB004");
}

#[test]
fn an_unknown_name_says_how_to_declare_it() {
    web().run("compile --target nft -D a=10.0.0.1 web.lb").fails(1, "-D b=ADDRESS");
    web().run("compile --target nft -D a=10.0.0.1 -D bb=10.0.0.2 web.lb").fails(1, "LB010");
}

#[test]
fn weights_are_set_by_option() {
    let test = Test::new().file(
        "web.lb",
        "host a = 10.0.0.1\nhost b = 10.0.0.2\npool p = a, b\nbalance tcp 80 -> p weight 3, 10.0.0.3\n",
    );
    test.snapshot("set-drain", "compile --target iptables --set a=0 web.lb").clean();
    test.snapshot("set-pool", "compile --target iptables --set p=1 --set b=4 web.lb").clean();
    test.snapshot("set-drain-all", "compile --target nft --set p=0 web.lb").clean();
    // The last one counts, as with other options.
    assert_eq!(
        test.run("compile --target nft --set a=5 --set a=0 web.lb"),
        test.run("compile --target nft --set a=0 web.lb")
    );
}

#[test]
fn a_weight_is_set_wherever_the_name_stands() {
    let test = Test::new()
        .file("web.lb", "host a = 10.0.0.1\nbalance tcp 80 -> a weight 7, 10.0.0.2\nbalance tcp 81 -> a:8080\n");
    let run = test.run("compile --target nft --set a=0 web.lb");
    assert!(run.warns(&["111"]).contains(". 81 comment \"web.lb:3 tcp-81\" : goto refuse"), "{}", run.stdout);
    assert!(!run.stdout.contains("10.0.0.1"), "{}", run.stdout);
}

#[test]
fn what_is_no_weight_is_a_usage_error() {
    let test = Test::new().file("web.lb", "host web1 = 10.0.0.1\nnet n = 10.0.0.0/8\nbalance tcp 80 from n -> web1\n");
    for (wrong, message) in [
        ("web1", "NAME=WEIGHT"),
        ("web1=", "expected a weight (0-65535)"),
        ("web1=65536", "expected a weight (0-65535), found `65536`"),
        ("web1=-1", "expected a weight"),
        ("web1=+1", "expected a weight"),
        ("web1=1.5", "expected a weight"),
        ("wbe1=0", "did you mean `web1`?"),
        ("n=0", "no host or pool is named `n`"),
        ("=0", "no host or pool"),
    ] {
        test.run(&format!("compile --target nft --set {wrong} web.lb")).fails(2, message);
    }
    // Weights that come from the command line are checked like those of a file.
    let test = Test::new().file("web.lb", "host a = 10.0.0.1\nbalance tcp 80 by round-robin -> a, 10.0.0.2\n");
    test.run("compile --target nft --set a=65535 web.lb").fails(1, "LB016");
}

#[test]
fn hosts_of_the_command_line_take_weights() {
    web().run("compile --target nft -D a=10.0.0.1 -D b=10.0.0.2 --set a=0 web.lb").clean();
}
