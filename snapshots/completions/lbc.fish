# Print an optspec for argparse to handle cmd's options that are independent of any subcommand.
function __fish_lbc_global_optspecs
    string join \n color= output-format= h/help V/version
end

function __fish_lbc_needs_command
    # Figure out if the current invocation already has a command.
    set -l cmd (commandline -opc)
    set -e cmd[1]
    argparse -s (__fish_lbc_global_optspecs) -- $cmd 2>/dev/null
    or return
    if set -q argv[1]
        # Also print the command, so this can be used to figure out what it is.
        echo $argv[1]
        return 1
    end
    return 0
end

function __fish_lbc_using_subcommand
    set -l cmd (__fish_lbc_needs_command)
    test -z "$cmd"
    and return 1
    contains -- $cmd[1] $argv
end

complete -c lbc -n "__fish_lbc_needs_command" -l color -d 'When to colour what is printed' -r -f -a "auto\t''
always\t''
never\t''"
complete -c lbc -n "__fish_lbc_needs_command" -l output-format -d 'The form of diagnostics' -r -f -a "full\t'The source, with the place underlined'
concise\t'path:line:column: CODE message'
json\t'One object with every diagnostic'
json-lines\t'One object a line for each diagnostic'
github\t'Workflow commands of GitHub Actions'
gitlab\t'A Code Quality report of GitLab'
sarif\t'A SARIF 2.1.0 log'
junit\t'A JUnit report'"
complete -c lbc -n "__fish_lbc_needs_command" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c lbc -n "__fish_lbc_needs_command" -s V -l version -d 'Print version'
complete -c lbc -n "__fish_lbc_needs_command" -f -a "compile" -d 'Compile to rules, on standard output or into a file'
complete -c lbc -n "__fish_lbc_needs_command" -f -a "check" -d 'Report every error and lint of the files; fix what can be fixed'
complete -c lbc -n "__fish_lbc_needs_command" -f -a "fmt" -d 'Rewrite files in the one canonical form; standard input goes to standard output'
complete -c lbc -n "__fish_lbc_needs_command" -f -a "explain" -d 'Say what each service does, and why each rule has its number'
complete -c lbc -n "__fish_lbc_needs_command" -f -a "trace" -d 'Follow one new connection through the rules, and say what comes out'
complete -c lbc -n "__fish_lbc_needs_command" -f -a "which" -d 'Say which backend a client gets from a source-hash service'
complete -c lbc -n "__fish_lbc_needs_command" -f -a "rule" -d 'Explain errors and lints: what they find, why it hurts, an example, and the fix'
complete -c lbc -n "__fish_lbc_needs_command" -f -a "server" -d 'Speak the language server protocol on standard input and output, for editors'
complete -c lbc -n "__fish_lbc_needs_command" -f -a "completions" -d 'Print completions for a shell'
complete -c lbc -n "__fish_lbc_needs_command" -f -a "man" -d 'Print a man page: `lbc man | man -l -`'
complete -c lbc -n "__fish_lbc_needs_command" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c lbc -n "__fish_lbc_using_subcommand compile" -l stdin-filename -d 'The name that standard input goes by' -r
complete -c lbc -n "__fish_lbc_using_subcommand compile" -s D -d 'Declare a host that the files do not' -r
complete -c lbc -n "__fish_lbc_using_subcommand compile" -l hosts -d 'Declare the hosts of a file in /etc/hosts form' -r -F
complete -c lbc -n "__fish_lbc_using_subcommand compile" -l set -d 'Override the weight of a host or pool' -r
complete -c lbc -n "__fish_lbc_using_subcommand compile" -l target -d 'What to compile to [default: that of lbc.toml]' -r -f -a "iptables\t''
nft\t''
nft-json\t''"
complete -c lbc -n "__fish_lbc_using_subcommand compile" -l format -d 'The form of iptables output [default: restore]' -r -f -a "restore\t'Text for iptables-restore and ip6tables-restore'
script\t'A POSIX shell script that installs, replaces and removes'"
complete -c lbc -n "__fish_lbc_using_subcommand compile" -l family -d 'The families of iptables output [default: those that the program uses]' -r -f -a "ipv4\t''
ipv6\t''
both\t''"
complete -c lbc -n "__fish_lbc_using_subcommand compile" -l hooks -d 'Whether restore text holds the jumps from the built-in chains [default: include]' -r -f -a "include\t''
skip\t''"
complete -c lbc -n "__fish_lbc_using_subcommand compile" -l layout -d 'The shape of the output: for a few services, or for thousands [default: auto]' -r -f -a "auto\t'By size'
linear\t'The shape for a few services: one rule after the other'
tree\t'The shape for thousands of services'"
complete -c lbc -n "__fish_lbc_using_subcommand compile" -l instance -d 'Give the chains or the table a name of their own, to keep a second program on one machine apart' -r
complete -c lbc -n "__fish_lbc_using_subcommand compile" -l sticky-store -d 'Where iptables keeps the clients of `sticky` services [default: recent]' -r -f -a "recent\t'The `recent` match: 100 clients per backend, unless the module xt_recent was told otherwise'
ipset\t'An ipset per backend: 65,536 clients each; the script format makes them'"
complete -c lbc -n "__fish_lbc_using_subcommand compile" -l nft-min -d 'The oldest nft that has to load the output: an error where it cannot' -r
complete -c lbc -n "__fish_lbc_using_subcommand compile" -s o -l output -d 'Write to a file, whole or not at all' -r -F
complete -c lbc -n "__fish_lbc_using_subcommand compile" -l check -d 'Compare with a file: exit code 1 and a diff where it is out of date' -r -F
complete -c lbc -n "__fish_lbc_using_subcommand compile" -l color -d 'When to colour what is printed' -r -f -a "auto\t''
always\t''
never\t''"
complete -c lbc -n "__fish_lbc_using_subcommand compile" -l output-format -d 'The form of diagnostics' -r -f -a "full\t'The source, with the place underlined'
concise\t'path:line:column: CODE message'
json\t'One object with every diagnostic'
json-lines\t'One object a line for each diagnostic'
github\t'Workflow commands of GitHub Actions'
gitlab\t'A Code Quality report of GitLab'
sarif\t'A SARIF 2.1.0 log'
junit\t'A JUnit report'"
complete -c lbc -n "__fish_lbc_using_subcommand compile" -l no-validate -d 'Skip the proof that the rules do what the program means; for benchmarks only'
complete -c lbc -n "__fish_lbc_using_subcommand compile" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c lbc -n "__fish_lbc_using_subcommand check" -l stdin-filename -d 'The name that standard input goes by' -r
complete -c lbc -n "__fish_lbc_using_subcommand check" -s D -d 'Declare a host that the files do not' -r
complete -c lbc -n "__fish_lbc_using_subcommand check" -l hosts -d 'Declare the hosts of a file in /etc/hosts form' -r -F
complete -c lbc -n "__fish_lbc_using_subcommand check" -l set -d 'Override the weight of a host or pool' -r
complete -c lbc -n "__fish_lbc_using_subcommand check" -l select -d 'Only these lints: codes, prefixes of codes, names, or ALL [default: lbc.toml, else all]' -r
complete -c lbc -n "__fish_lbc_using_subcommand check" -l ignore -d 'Not these lints' -r
complete -c lbc -n "__fish_lbc_using_subcommand check" -l color -d 'When to colour what is printed' -r -f -a "auto\t''
always\t''
never\t''"
complete -c lbc -n "__fish_lbc_using_subcommand check" -l output-format -d 'The form of diagnostics' -r -f -a "full\t'The source, with the place underlined'
concise\t'path:line:column: CODE message'
json\t'One object with every diagnostic'
json-lines\t'One object a line for each diagnostic'
github\t'Workflow commands of GitHub Actions'
gitlab\t'A Code Quality report of GitLab'
sarif\t'A SARIF 2.1.0 log'
junit\t'A JUnit report'"
complete -c lbc -n "__fish_lbc_using_subcommand check" -l fix -d 'Rewrite files: apply fixes that keep the meaning'
complete -c lbc -n "__fish_lbc_using_subcommand check" -l unsafe-fixes -d 'With --fix or --diff: apply fixes that change the meaning, too'
complete -c lbc -n "__fish_lbc_using_subcommand check" -l diff -d 'Write nothing; print what --fix would change as a patch, with exit code 1'
complete -c lbc -n "__fish_lbc_using_subcommand check" -l project -d 'Without an lbc.toml, too, read the whole program whichever of its files are named: all of the git repository. For hooks'
complete -c lbc -n "__fish_lbc_using_subcommand check" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c lbc -n "__fish_lbc_using_subcommand fmt" -l stdin-filename -d 'The name that standard input goes by' -r
complete -c lbc -n "__fish_lbc_using_subcommand fmt" -l color -d 'When to colour what is printed' -r -f -a "auto\t''
always\t''
never\t''"
complete -c lbc -n "__fish_lbc_using_subcommand fmt" -l output-format -d 'The form of diagnostics' -r -f -a "full\t'The source, with the place underlined'
concise\t'path:line:column: CODE message'
json\t'One object with every diagnostic'
json-lines\t'One object a line for each diagnostic'
github\t'Workflow commands of GitHub Actions'
gitlab\t'A Code Quality report of GitLab'
sarif\t'A SARIF 2.1.0 log'
junit\t'A JUnit report'"
complete -c lbc -n "__fish_lbc_using_subcommand fmt" -l check -d 'Write nothing; list the files that would change, with exit code 1'
complete -c lbc -n "__fish_lbc_using_subcommand fmt" -l diff -d 'Write nothing; print what would change as a patch, with exit code 1'
complete -c lbc -n "__fish_lbc_using_subcommand fmt" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c lbc -n "__fish_lbc_using_subcommand explain" -l stdin-filename -d 'The name that standard input goes by' -r
complete -c lbc -n "__fish_lbc_using_subcommand explain" -s D -d 'Declare a host that the files do not' -r
complete -c lbc -n "__fish_lbc_using_subcommand explain" -l hosts -d 'Declare the hosts of a file in /etc/hosts form' -r -F
complete -c lbc -n "__fish_lbc_using_subcommand explain" -l set -d 'Override the weight of a host or pool' -r
complete -c lbc -n "__fish_lbc_using_subcommand explain" -l rules -d 'Rules that lbc did not write, in the place of PATH: an iptables-save dump or an `nft -j list ruleset`' -r -F
complete -c lbc -n "__fish_lbc_using_subcommand explain" -l target -d 'Whose rules and numbers [default: iptables]' -r -f -a "iptables\t''
nft\t''
nft-json\t''"
complete -c lbc -n "__fish_lbc_using_subcommand explain" -l local -d 'An address or prefix of this machine; repeatable [default: the destination of a packet that arrives; for explain addresses that no rule names]' -r
complete -c lbc -n "__fish_lbc_using_subcommand explain" -l service -d 'Only this service; with --rules a listener: [PROTO/]ADDR:PORT' -r
complete -c lbc -n "__fish_lbc_using_subcommand explain" -l layout -d 'The shape of the rules whose cost is told [default: auto]' -r -f -a "auto\t'By size'
linear\t'The shape for a few services: one rule after the other'
tree\t'The shape for thousands of services'"
complete -c lbc -n "__fish_lbc_using_subcommand explain" -l color -d 'When to colour what is printed' -r -f -a "auto\t''
always\t''
never\t''"
complete -c lbc -n "__fish_lbc_using_subcommand explain" -l output-format -d 'The form of diagnostics' -r -f -a "full\t'The source, with the place underlined'
concise\t'path:line:column: CODE message'
json\t'One object with every diagnostic'
json-lines\t'One object a line for each diagnostic'
github\t'Workflow commands of GitHub Actions'
gitlab\t'A Code Quality report of GitLab'
sarif\t'A SARIF 2.1.0 log'
junit\t'A JUnit report'"
complete -c lbc -n "__fish_lbc_using_subcommand explain" -l cost -d 'What the rules cost: rules and maps that a new connection passes, what the kernel holds, bytes'
complete -c lbc -n "__fish_lbc_using_subcommand explain" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c lbc -n "__fish_lbc_using_subcommand trace" -l stdin-filename -d 'The name that standard input goes by' -r
complete -c lbc -n "__fish_lbc_using_subcommand trace" -s D -d 'Declare a host that the files do not' -r
complete -c lbc -n "__fish_lbc_using_subcommand trace" -l hosts -d 'Declare the hosts of a file in /etc/hosts form' -r -F
complete -c lbc -n "__fish_lbc_using_subcommand trace" -l set -d 'Override the weight of a host or pool' -r
complete -c lbc -n "__fish_lbc_using_subcommand trace" -l rules -d 'Rules that lbc did not write, in the place of PATH: an iptables-save dump or an `nft -j list ruleset`' -r -F
complete -c lbc -n "__fish_lbc_using_subcommand trace" -l target -d 'Whose rules and numbers [default: iptables]' -r -f -a "iptables\t''
nft\t''
nft-json\t''"
complete -c lbc -n "__fish_lbc_using_subcommand trace" -l local -d 'An address or prefix of this machine; repeatable [default: the destination of a packet that arrives; for explain addresses that no rule names]' -r
complete -c lbc -n "__fish_lbc_using_subcommand trace" -l color -d 'When to colour what is printed' -r -f -a "auto\t''
always\t''
never\t''"
complete -c lbc -n "__fish_lbc_using_subcommand trace" -l output-format -d 'The form of diagnostics' -r -f -a "full\t'The source, with the place underlined'
concise\t'path:line:column: CODE message'
json\t'One object with every diagnostic'
json-lines\t'One object a line for each diagnostic'
github\t'Workflow commands of GitHub Actions'
gitlab\t'A Code Quality report of GitLab'
sarif\t'A SARIF 2.1.0 log'
junit\t'A JUnit report'"
complete -c lbc -n "__fish_lbc_using_subcommand trace" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c lbc -n "__fish_lbc_using_subcommand which" -l stdin-filename -d 'The name that standard input goes by' -r
complete -c lbc -n "__fish_lbc_using_subcommand which" -s D -d 'Declare a host that the files do not' -r
complete -c lbc -n "__fish_lbc_using_subcommand which" -l hosts -d 'Declare the hosts of a file in /etc/hosts form' -r -F
complete -c lbc -n "__fish_lbc_using_subcommand which" -l set -d 'Override the weight of a host or pool' -r
complete -c lbc -n "__fish_lbc_using_subcommand which" -l from -d 'A client, or a prefix for the shares of its clients; repeatable, or separated by commas' -r
complete -c lbc -n "__fish_lbc_using_subcommand which" -l service -d 'Only this service' -r
complete -c lbc -n "__fish_lbc_using_subcommand which" -l target -d 'Only this target; IPv6 clients are hashed in another way on each [default: both]' -r -f -a "iptables\t''
nft\t''
nft-json\t''"
complete -c lbc -n "__fish_lbc_using_subcommand which" -l color -d 'When to colour what is printed' -r -f -a "auto\t''
always\t''
never\t''"
complete -c lbc -n "__fish_lbc_using_subcommand which" -l output-format -d 'The form of diagnostics' -r -f -a "full\t'The source, with the place underlined'
concise\t'path:line:column: CODE message'
json\t'One object with every diagnostic'
json-lines\t'One object a line for each diagnostic'
github\t'Workflow commands of GitHub Actions'
gitlab\t'A Code Quality report of GitLab'
sarif\t'A SARIF 2.1.0 log'
junit\t'A JUnit report'"
complete -c lbc -n "__fish_lbc_using_subcommand which" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c lbc -n "__fish_lbc_using_subcommand rule" -l color -d 'When to colour what is printed' -r -f -a "auto\t''
always\t''
never\t''"
complete -c lbc -n "__fish_lbc_using_subcommand rule" -l output-format -d 'The form of diagnostics' -r -f -a "full\t'The source, with the place underlined'
concise\t'path:line:column: CODE message'
json\t'One object with every diagnostic'
json-lines\t'One object a line for each diagnostic'
github\t'Workflow commands of GitHub Actions'
gitlab\t'A Code Quality report of GitLab'
sarif\t'A SARIF 2.1.0 log'
junit\t'A JUnit report'"
complete -c lbc -n "__fish_lbc_using_subcommand rule" -l all -d 'Every error and lint'
complete -c lbc -n "__fish_lbc_using_subcommand rule" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c lbc -n "__fish_lbc_using_subcommand server" -s D -d 'Declare a host that the files do not' -r
complete -c lbc -n "__fish_lbc_using_subcommand server" -l hosts -d 'Declare the hosts of a file in /etc/hosts form' -r -F
complete -c lbc -n "__fish_lbc_using_subcommand server" -l set -d 'Override the weight of a host or pool' -r
complete -c lbc -n "__fish_lbc_using_subcommand server" -l color -d 'When to colour what is printed' -r -f -a "auto\t''
always\t''
never\t''"
complete -c lbc -n "__fish_lbc_using_subcommand server" -l output-format -d 'The form of diagnostics' -r -f -a "full\t'The source, with the place underlined'
concise\t'path:line:column: CODE message'
json\t'One object with every diagnostic'
json-lines\t'One object a line for each diagnostic'
github\t'Workflow commands of GitHub Actions'
gitlab\t'A Code Quality report of GitLab'
sarif\t'A SARIF 2.1.0 log'
junit\t'A JUnit report'"
complete -c lbc -n "__fish_lbc_using_subcommand server" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c lbc -n "__fish_lbc_using_subcommand completions" -l color -d 'When to colour what is printed' -r -f -a "auto\t''
always\t''
never\t''"
complete -c lbc -n "__fish_lbc_using_subcommand completions" -l output-format -d 'The form of diagnostics' -r -f -a "full\t'The source, with the place underlined'
concise\t'path:line:column: CODE message'
json\t'One object with every diagnostic'
json-lines\t'One object a line for each diagnostic'
github\t'Workflow commands of GitHub Actions'
gitlab\t'A Code Quality report of GitLab'
sarif\t'A SARIF 2.1.0 log'
junit\t'A JUnit report'"
complete -c lbc -n "__fish_lbc_using_subcommand completions" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c lbc -n "__fish_lbc_using_subcommand man" -l color -d 'When to colour what is printed' -r -f -a "auto\t''
always\t''
never\t''"
complete -c lbc -n "__fish_lbc_using_subcommand man" -l output-format -d 'The form of diagnostics' -r -f -a "full\t'The source, with the place underlined'
concise\t'path:line:column: CODE message'
json\t'One object with every diagnostic'
json-lines\t'One object a line for each diagnostic'
github\t'Workflow commands of GitHub Actions'
gitlab\t'A Code Quality report of GitLab'
sarif\t'A SARIF 2.1.0 log'
junit\t'A JUnit report'"
complete -c lbc -n "__fish_lbc_using_subcommand man" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c lbc -n "__fish_lbc_using_subcommand help; and not __fish_seen_subcommand_from compile check fmt explain trace which rule server completions man help" -f -a "compile" -d 'Compile to rules, on standard output or into a file'
complete -c lbc -n "__fish_lbc_using_subcommand help; and not __fish_seen_subcommand_from compile check fmt explain trace which rule server completions man help" -f -a "check" -d 'Report every error and lint of the files; fix what can be fixed'
complete -c lbc -n "__fish_lbc_using_subcommand help; and not __fish_seen_subcommand_from compile check fmt explain trace which rule server completions man help" -f -a "fmt" -d 'Rewrite files in the one canonical form; standard input goes to standard output'
complete -c lbc -n "__fish_lbc_using_subcommand help; and not __fish_seen_subcommand_from compile check fmt explain trace which rule server completions man help" -f -a "explain" -d 'Say what each service does, and why each rule has its number'
complete -c lbc -n "__fish_lbc_using_subcommand help; and not __fish_seen_subcommand_from compile check fmt explain trace which rule server completions man help" -f -a "trace" -d 'Follow one new connection through the rules, and say what comes out'
complete -c lbc -n "__fish_lbc_using_subcommand help; and not __fish_seen_subcommand_from compile check fmt explain trace which rule server completions man help" -f -a "which" -d 'Say which backend a client gets from a source-hash service'
complete -c lbc -n "__fish_lbc_using_subcommand help; and not __fish_seen_subcommand_from compile check fmt explain trace which rule server completions man help" -f -a "rule" -d 'Explain errors and lints: what they find, why it hurts, an example, and the fix'
complete -c lbc -n "__fish_lbc_using_subcommand help; and not __fish_seen_subcommand_from compile check fmt explain trace which rule server completions man help" -f -a "server" -d 'Speak the language server protocol on standard input and output, for editors'
complete -c lbc -n "__fish_lbc_using_subcommand help; and not __fish_seen_subcommand_from compile check fmt explain trace which rule server completions man help" -f -a "completions" -d 'Print completions for a shell'
complete -c lbc -n "__fish_lbc_using_subcommand help; and not __fish_seen_subcommand_from compile check fmt explain trace which rule server completions man help" -f -a "man" -d 'Print a man page: `lbc man | man -l -`'
complete -c lbc -n "__fish_lbc_using_subcommand help; and not __fish_seen_subcommand_from compile check fmt explain trace which rule server completions man help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
