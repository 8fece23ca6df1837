
use builtin;
use str;

set edit:completion:arg-completer[lbc] = {|@words|
    fn spaces {|n|
        builtin:repeat $n ' ' | str:join ''
    }
    fn cand {|text desc|
        edit:complex-candidate $text &display=$text' '(spaces (- 14 (wcswidth $text)))$desc
    }
    var command = 'lbc'
    for word $words[1..-1] {
        if (str:has-prefix $word '-') {
            break
        }
        set command = $command';'$word
    }
    var completions = [
        &'lbc'= {
            cand --color 'When to colour what is printed'
            cand --output-format 'The form of diagnostics'
            cand -h 'Print help (see more with ''--help'')'
            cand --help 'Print help (see more with ''--help'')'
            cand -V 'Print version'
            cand --version 'Print version'
            cand compile 'Compile to rules, on standard output or into a file'
            cand check 'Report every error and lint of the files; fix what can be fixed'
            cand fmt 'Rewrite files in the one canonical form; standard input goes to standard output'
            cand explain 'Say what each service does, and why each rule has its number'
            cand trace 'Follow one new connection through the rules, and say what comes out'
            cand which 'Say which backend a client gets from a source-hash service'
            cand rule 'Explain errors and lints: what they find, why it hurts, an example, and the fix'
            cand server 'Speak the language server protocol on standard input and output, for editors'
            cand completions 'Print completions for a shell'
            cand man 'Print a man page: `lbc man | man -l -`'
            cand help 'Print this message or the help of the given subcommand(s)'
        }
        &'lbc;compile'= {
            cand --stdin-filename 'The name that standard input goes by'
            cand -D 'Declare a host that the files do not'
            cand --hosts 'Declare the hosts of a file in /etc/hosts form'
            cand --set 'Override the weight of a host or pool'
            cand --target 'What to compile to [default: that of lbc.toml]'
            cand --format 'The form of iptables output [default: restore]'
            cand --family 'The families of iptables output [default: those that the program uses]'
            cand --hooks 'Whether restore text holds the jumps from the built-in chains [default: include]'
            cand --layout 'The shape of the output: for a few services, or for thousands [default: auto]'
            cand --instance 'Give the chains or the table a name of their own, to keep a second program on one machine apart'
            cand --sticky-store 'Where iptables keeps the clients of `sticky` services [default: recent]'
            cand --nft-min 'The oldest nft that has to load the output: an error where it cannot'
            cand -o 'Write to a file, whole or not at all'
            cand --output 'Write to a file, whole or not at all'
            cand --check 'Compare with a file: exit code 1 and a diff where it is out of date'
            cand --color 'When to colour what is printed'
            cand --output-format 'The form of diagnostics'
            cand --no-validate 'Skip the proof that the rules do what the program means; for benchmarks only'
            cand -h 'Print help (see more with ''--help'')'
            cand --help 'Print help (see more with ''--help'')'
        }
        &'lbc;check'= {
            cand --stdin-filename 'The name that standard input goes by'
            cand -D 'Declare a host that the files do not'
            cand --hosts 'Declare the hosts of a file in /etc/hosts form'
            cand --set 'Override the weight of a host or pool'
            cand --select 'Only these lints: codes, prefixes of codes, names, or ALL [default: lbc.toml, else all]'
            cand --ignore 'Not these lints'
            cand --color 'When to colour what is printed'
            cand --output-format 'The form of diagnostics'
            cand --fix 'Rewrite files: apply fixes that keep the meaning'
            cand --unsafe-fixes 'With --fix or --diff: apply fixes that change the meaning, too'
            cand --diff 'Write nothing; print what --fix would change as a patch, with exit code 1'
            cand --project 'Without an lbc.toml, too, read the whole program whichever of its files are named: all of the git repository. For hooks'
            cand -h 'Print help (see more with ''--help'')'
            cand --help 'Print help (see more with ''--help'')'
        }
        &'lbc;fmt'= {
            cand --stdin-filename 'The name that standard input goes by'
            cand --color 'When to colour what is printed'
            cand --output-format 'The form of diagnostics'
            cand --check 'Write nothing; list the files that would change, with exit code 1'
            cand --diff 'Write nothing; print what would change as a patch, with exit code 1'
            cand -h 'Print help (see more with ''--help'')'
            cand --help 'Print help (see more with ''--help'')'
        }
        &'lbc;explain'= {
            cand --stdin-filename 'The name that standard input goes by'
            cand -D 'Declare a host that the files do not'
            cand --hosts 'Declare the hosts of a file in /etc/hosts form'
            cand --set 'Override the weight of a host or pool'
            cand --rules 'Rules that lbc did not write, in the place of PATH: an iptables-save dump or an `nft -j list ruleset`'
            cand --target 'Whose rules and numbers [default: iptables]'
            cand --local 'An address or prefix of this machine; repeatable [default: the destination of a packet that arrives; for explain addresses that no rule names]'
            cand --service 'Only this service; with --rules a listener: [PROTO/]ADDR:PORT'
            cand --layout 'The shape of the rules whose cost is told [default: auto]'
            cand --color 'When to colour what is printed'
            cand --output-format 'The form of diagnostics'
            cand --cost 'What the rules cost: rules and maps that a new connection passes, what the kernel holds, bytes'
            cand -h 'Print help (see more with ''--help'')'
            cand --help 'Print help (see more with ''--help'')'
        }
        &'lbc;trace'= {
            cand --stdin-filename 'The name that standard input goes by'
            cand -D 'Declare a host that the files do not'
            cand --hosts 'Declare the hosts of a file in /etc/hosts form'
            cand --set 'Override the weight of a host or pool'
            cand --rules 'Rules that lbc did not write, in the place of PATH: an iptables-save dump or an `nft -j list ruleset`'
            cand --target 'Whose rules and numbers [default: iptables]'
            cand --local 'An address or prefix of this machine; repeatable [default: the destination of a packet that arrives; for explain addresses that no rule names]'
            cand --color 'When to colour what is printed'
            cand --output-format 'The form of diagnostics'
            cand -h 'Print help (see more with ''--help'')'
            cand --help 'Print help (see more with ''--help'')'
        }
        &'lbc;which'= {
            cand --stdin-filename 'The name that standard input goes by'
            cand -D 'Declare a host that the files do not'
            cand --hosts 'Declare the hosts of a file in /etc/hosts form'
            cand --set 'Override the weight of a host or pool'
            cand --from 'A client, or a prefix for the shares of its clients; repeatable, or separated by commas'
            cand --service 'Only this service'
            cand --target 'Only this target; IPv6 clients are hashed in another way on each [default: both]'
            cand --color 'When to colour what is printed'
            cand --output-format 'The form of diagnostics'
            cand -h 'Print help (see more with ''--help'')'
            cand --help 'Print help (see more with ''--help'')'
        }
        &'lbc;rule'= {
            cand --color 'When to colour what is printed'
            cand --output-format 'The form of diagnostics'
            cand --all 'Every error and lint'
            cand -h 'Print help (see more with ''--help'')'
            cand --help 'Print help (see more with ''--help'')'
        }
        &'lbc;server'= {
            cand -D 'Declare a host that the files do not'
            cand --hosts 'Declare the hosts of a file in /etc/hosts form'
            cand --set 'Override the weight of a host or pool'
            cand --color 'When to colour what is printed'
            cand --output-format 'The form of diagnostics'
            cand -h 'Print help (see more with ''--help'')'
            cand --help 'Print help (see more with ''--help'')'
        }
        &'lbc;completions'= {
            cand --color 'When to colour what is printed'
            cand --output-format 'The form of diagnostics'
            cand -h 'Print help (see more with ''--help'')'
            cand --help 'Print help (see more with ''--help'')'
        }
        &'lbc;man'= {
            cand --color 'When to colour what is printed'
            cand --output-format 'The form of diagnostics'
            cand -h 'Print help (see more with ''--help'')'
            cand --help 'Print help (see more with ''--help'')'
        }
        &'lbc;help'= {
            cand compile 'Compile to rules, on standard output or into a file'
            cand check 'Report every error and lint of the files; fix what can be fixed'
            cand fmt 'Rewrite files in the one canonical form; standard input goes to standard output'
            cand explain 'Say what each service does, and why each rule has its number'
            cand trace 'Follow one new connection through the rules, and say what comes out'
            cand which 'Say which backend a client gets from a source-hash service'
            cand rule 'Explain errors and lints: what they find, why it hurts, an example, and the fix'
            cand server 'Speak the language server protocol on standard input and output, for editors'
            cand completions 'Print completions for a shell'
            cand man 'Print a man page: `lbc man | man -l -`'
            cand help 'Print this message or the help of the given subcommand(s)'
        }
        &'lbc;help;compile'= {
        }
        &'lbc;help;check'= {
        }
        &'lbc;help;fmt'= {
        }
        &'lbc;help;explain'= {
        }
        &'lbc;help;trace'= {
        }
        &'lbc;help;which'= {
        }
        &'lbc;help;rule'= {
        }
        &'lbc;help;server'= {
        }
        &'lbc;help;completions'= {
        }
        &'lbc;help;man'= {
        }
        &'lbc;help;help'= {
        }
    ]
    $completions[$command]
}
