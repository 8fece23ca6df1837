
using namespace System.Management.Automation
using namespace System.Management.Automation.Language

Register-ArgumentCompleter -Native -CommandName 'lbc' -ScriptBlock {
    param($wordToComplete, $commandAst, $cursorPosition)

    $commandElements = $commandAst.CommandElements
    $command = @(
        'lbc'
        for ($i = 1; $i -lt $commandElements.Count; $i++) {
            $element = $commandElements[$i]
            if ($element -isnot [StringConstantExpressionAst] -or
                $element.StringConstantType -ne [StringConstantType]::BareWord -or
                $element.Value.StartsWith('-') -or
                $element.Value -eq $wordToComplete) {
                break
        }
        $element.Value
    }) -join ';'

    $completions = @(switch ($command) {
        'lbc' {
            [CompletionResult]::new('--color', '--color', [CompletionResultType]::ParameterName, 'When to colour what is printed')
            [CompletionResult]::new('--output-format', '--output-format', [CompletionResultType]::ParameterName, 'The form of diagnostics')
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help (see more with ''--help'')')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help (see more with ''--help'')')
            [CompletionResult]::new('-V', '-V ', [CompletionResultType]::ParameterName, 'Print version')
            [CompletionResult]::new('--version', '--version', [CompletionResultType]::ParameterName, 'Print version')
            [CompletionResult]::new('compile', 'compile', [CompletionResultType]::ParameterValue, 'Compile to rules, on standard output or into a file')
            [CompletionResult]::new('check', 'check', [CompletionResultType]::ParameterValue, 'Report every error and lint of the files; fix what can be fixed')
            [CompletionResult]::new('fmt', 'fmt', [CompletionResultType]::ParameterValue, 'Rewrite files in the one canonical form; standard input goes to standard output')
            [CompletionResult]::new('explain', 'explain', [CompletionResultType]::ParameterValue, 'Say what each service does, and why each rule has its number')
            [CompletionResult]::new('trace', 'trace', [CompletionResultType]::ParameterValue, 'Follow one new connection through the rules, and say what comes out')
            [CompletionResult]::new('which', 'which', [CompletionResultType]::ParameterValue, 'Say which backend a client gets from a source-hash service')
            [CompletionResult]::new('rule', 'rule', [CompletionResultType]::ParameterValue, 'Explain errors and lints: what they find, why it hurts, an example, and the fix')
            [CompletionResult]::new('server', 'server', [CompletionResultType]::ParameterValue, 'Speak the language server protocol on standard input and output, for editors')
            [CompletionResult]::new('completions', 'completions', [CompletionResultType]::ParameterValue, 'Print completions for a shell')
            [CompletionResult]::new('man', 'man', [CompletionResultType]::ParameterValue, 'Print a man page: `lbc man | man -l -`')
            [CompletionResult]::new('help', 'help', [CompletionResultType]::ParameterValue, 'Print this message or the help of the given subcommand(s)')
            break
        }
        'lbc;compile' {
            [CompletionResult]::new('--stdin-filename', '--stdin-filename', [CompletionResultType]::ParameterName, 'The name that standard input goes by')
            [CompletionResult]::new('-D', '-D ', [CompletionResultType]::ParameterName, 'Declare a host that the files do not')
            [CompletionResult]::new('--hosts', '--hosts', [CompletionResultType]::ParameterName, 'Declare the hosts of a file in /etc/hosts form')
            [CompletionResult]::new('--set', '--set', [CompletionResultType]::ParameterName, 'Override the weight of a host or pool')
            [CompletionResult]::new('--target', '--target', [CompletionResultType]::ParameterName, 'What to compile to [default: that of lbc.toml]')
            [CompletionResult]::new('--format', '--format', [CompletionResultType]::ParameterName, 'The form of iptables output [default: restore]')
            [CompletionResult]::new('--family', '--family', [CompletionResultType]::ParameterName, 'The families of iptables output [default: those that the program uses]')
            [CompletionResult]::new('--hooks', '--hooks', [CompletionResultType]::ParameterName, 'Whether restore text holds the jumps from the built-in chains [default: include]')
            [CompletionResult]::new('--layout', '--layout', [CompletionResultType]::ParameterName, 'The shape of the output: for a few services, or for thousands [default: auto]')
            [CompletionResult]::new('--instance', '--instance', [CompletionResultType]::ParameterName, 'Give the chains or the table a name of their own, to keep a second program on one machine apart')
            [CompletionResult]::new('--sticky-store', '--sticky-store', [CompletionResultType]::ParameterName, 'Where iptables keeps the clients of `sticky` services [default: recent]')
            [CompletionResult]::new('--nft-min', '--nft-min', [CompletionResultType]::ParameterName, 'The oldest nft that has to load the output: an error where it cannot')
            [CompletionResult]::new('-o', '-o', [CompletionResultType]::ParameterName, 'Write to a file, whole or not at all')
            [CompletionResult]::new('--output', '--output', [CompletionResultType]::ParameterName, 'Write to a file, whole or not at all')
            [CompletionResult]::new('--check', '--check', [CompletionResultType]::ParameterName, 'Compare with a file: exit code 1 and a diff where it is out of date')
            [CompletionResult]::new('--color', '--color', [CompletionResultType]::ParameterName, 'When to colour what is printed')
            [CompletionResult]::new('--output-format', '--output-format', [CompletionResultType]::ParameterName, 'The form of diagnostics')
            [CompletionResult]::new('--no-validate', '--no-validate', [CompletionResultType]::ParameterName, 'Skip the proof that the rules do what the program means; for benchmarks only')
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help (see more with ''--help'')')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help (see more with ''--help'')')
            break
        }
        'lbc;check' {
            [CompletionResult]::new('--stdin-filename', '--stdin-filename', [CompletionResultType]::ParameterName, 'The name that standard input goes by')
            [CompletionResult]::new('-D', '-D ', [CompletionResultType]::ParameterName, 'Declare a host that the files do not')
            [CompletionResult]::new('--hosts', '--hosts', [CompletionResultType]::ParameterName, 'Declare the hosts of a file in /etc/hosts form')
            [CompletionResult]::new('--set', '--set', [CompletionResultType]::ParameterName, 'Override the weight of a host or pool')
            [CompletionResult]::new('--select', '--select', [CompletionResultType]::ParameterName, 'Only these lints: codes, prefixes of codes, names, or ALL [default: lbc.toml, else all]')
            [CompletionResult]::new('--ignore', '--ignore', [CompletionResultType]::ParameterName, 'Not these lints')
            [CompletionResult]::new('--color', '--color', [CompletionResultType]::ParameterName, 'When to colour what is printed')
            [CompletionResult]::new('--output-format', '--output-format', [CompletionResultType]::ParameterName, 'The form of diagnostics')
            [CompletionResult]::new('--fix', '--fix', [CompletionResultType]::ParameterName, 'Rewrite files: apply fixes that keep the meaning')
            [CompletionResult]::new('--unsafe-fixes', '--unsafe-fixes', [CompletionResultType]::ParameterName, 'With --fix or --diff: apply fixes that change the meaning, too')
            [CompletionResult]::new('--diff', '--diff', [CompletionResultType]::ParameterName, 'Write nothing; print what --fix would change as a patch, with exit code 1')
            [CompletionResult]::new('--project', '--project', [CompletionResultType]::ParameterName, 'Without an lbc.toml, too, read the whole program whichever of its files are named: all of the git repository. For hooks')
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help (see more with ''--help'')')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help (see more with ''--help'')')
            break
        }
        'lbc;fmt' {
            [CompletionResult]::new('--stdin-filename', '--stdin-filename', [CompletionResultType]::ParameterName, 'The name that standard input goes by')
            [CompletionResult]::new('--color', '--color', [CompletionResultType]::ParameterName, 'When to colour what is printed')
            [CompletionResult]::new('--output-format', '--output-format', [CompletionResultType]::ParameterName, 'The form of diagnostics')
            [CompletionResult]::new('--check', '--check', [CompletionResultType]::ParameterName, 'Write nothing; list the files that would change, with exit code 1')
            [CompletionResult]::new('--diff', '--diff', [CompletionResultType]::ParameterName, 'Write nothing; print what would change as a patch, with exit code 1')
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help (see more with ''--help'')')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help (see more with ''--help'')')
            break
        }
        'lbc;explain' {
            [CompletionResult]::new('--stdin-filename', '--stdin-filename', [CompletionResultType]::ParameterName, 'The name that standard input goes by')
            [CompletionResult]::new('-D', '-D ', [CompletionResultType]::ParameterName, 'Declare a host that the files do not')
            [CompletionResult]::new('--hosts', '--hosts', [CompletionResultType]::ParameterName, 'Declare the hosts of a file in /etc/hosts form')
            [CompletionResult]::new('--set', '--set', [CompletionResultType]::ParameterName, 'Override the weight of a host or pool')
            [CompletionResult]::new('--rules', '--rules', [CompletionResultType]::ParameterName, 'Rules that lbc did not write, in the place of PATH: an iptables-save dump or an `nft -j list ruleset`')
            [CompletionResult]::new('--target', '--target', [CompletionResultType]::ParameterName, 'Whose rules and numbers [default: iptables]')
            [CompletionResult]::new('--local', '--local', [CompletionResultType]::ParameterName, 'An address or prefix of this machine; repeatable [default: the destination of a packet that arrives; for explain addresses that no rule names]')
            [CompletionResult]::new('--service', '--service', [CompletionResultType]::ParameterName, 'Only this service; with --rules a listener: [PROTO/]ADDR:PORT')
            [CompletionResult]::new('--layout', '--layout', [CompletionResultType]::ParameterName, 'The shape of the rules whose cost is told [default: auto]')
            [CompletionResult]::new('--color', '--color', [CompletionResultType]::ParameterName, 'When to colour what is printed')
            [CompletionResult]::new('--output-format', '--output-format', [CompletionResultType]::ParameterName, 'The form of diagnostics')
            [CompletionResult]::new('--cost', '--cost', [CompletionResultType]::ParameterName, 'What the rules cost: rules and maps that a new connection passes, what the kernel holds, bytes')
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help (see more with ''--help'')')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help (see more with ''--help'')')
            break
        }
        'lbc;trace' {
            [CompletionResult]::new('--stdin-filename', '--stdin-filename', [CompletionResultType]::ParameterName, 'The name that standard input goes by')
            [CompletionResult]::new('-D', '-D ', [CompletionResultType]::ParameterName, 'Declare a host that the files do not')
            [CompletionResult]::new('--hosts', '--hosts', [CompletionResultType]::ParameterName, 'Declare the hosts of a file in /etc/hosts form')
            [CompletionResult]::new('--set', '--set', [CompletionResultType]::ParameterName, 'Override the weight of a host or pool')
            [CompletionResult]::new('--rules', '--rules', [CompletionResultType]::ParameterName, 'Rules that lbc did not write, in the place of PATH: an iptables-save dump or an `nft -j list ruleset`')
            [CompletionResult]::new('--target', '--target', [CompletionResultType]::ParameterName, 'Whose rules and numbers [default: iptables]')
            [CompletionResult]::new('--local', '--local', [CompletionResultType]::ParameterName, 'An address or prefix of this machine; repeatable [default: the destination of a packet that arrives; for explain addresses that no rule names]')
            [CompletionResult]::new('--color', '--color', [CompletionResultType]::ParameterName, 'When to colour what is printed')
            [CompletionResult]::new('--output-format', '--output-format', [CompletionResultType]::ParameterName, 'The form of diagnostics')
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help (see more with ''--help'')')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help (see more with ''--help'')')
            break
        }
        'lbc;which' {
            [CompletionResult]::new('--stdin-filename', '--stdin-filename', [CompletionResultType]::ParameterName, 'The name that standard input goes by')
            [CompletionResult]::new('-D', '-D ', [CompletionResultType]::ParameterName, 'Declare a host that the files do not')
            [CompletionResult]::new('--hosts', '--hosts', [CompletionResultType]::ParameterName, 'Declare the hosts of a file in /etc/hosts form')
            [CompletionResult]::new('--set', '--set', [CompletionResultType]::ParameterName, 'Override the weight of a host or pool')
            [CompletionResult]::new('--from', '--from', [CompletionResultType]::ParameterName, 'A client, or a prefix for the shares of its clients; repeatable, or separated by commas')
            [CompletionResult]::new('--service', '--service', [CompletionResultType]::ParameterName, 'Only this service')
            [CompletionResult]::new('--target', '--target', [CompletionResultType]::ParameterName, 'Only this target; IPv6 clients are hashed in another way on each [default: both]')
            [CompletionResult]::new('--color', '--color', [CompletionResultType]::ParameterName, 'When to colour what is printed')
            [CompletionResult]::new('--output-format', '--output-format', [CompletionResultType]::ParameterName, 'The form of diagnostics')
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help (see more with ''--help'')')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help (see more with ''--help'')')
            break
        }
        'lbc;rule' {
            [CompletionResult]::new('--color', '--color', [CompletionResultType]::ParameterName, 'When to colour what is printed')
            [CompletionResult]::new('--output-format', '--output-format', [CompletionResultType]::ParameterName, 'The form of diagnostics')
            [CompletionResult]::new('--all', '--all', [CompletionResultType]::ParameterName, 'Every error and lint')
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help (see more with ''--help'')')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help (see more with ''--help'')')
            break
        }
        'lbc;server' {
            [CompletionResult]::new('-D', '-D ', [CompletionResultType]::ParameterName, 'Declare a host that the files do not')
            [CompletionResult]::new('--hosts', '--hosts', [CompletionResultType]::ParameterName, 'Declare the hosts of a file in /etc/hosts form')
            [CompletionResult]::new('--set', '--set', [CompletionResultType]::ParameterName, 'Override the weight of a host or pool')
            [CompletionResult]::new('--color', '--color', [CompletionResultType]::ParameterName, 'When to colour what is printed')
            [CompletionResult]::new('--output-format', '--output-format', [CompletionResultType]::ParameterName, 'The form of diagnostics')
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help (see more with ''--help'')')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help (see more with ''--help'')')
            break
        }
        'lbc;completions' {
            [CompletionResult]::new('--color', '--color', [CompletionResultType]::ParameterName, 'When to colour what is printed')
            [CompletionResult]::new('--output-format', '--output-format', [CompletionResultType]::ParameterName, 'The form of diagnostics')
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help (see more with ''--help'')')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help (see more with ''--help'')')
            break
        }
        'lbc;man' {
            [CompletionResult]::new('--color', '--color', [CompletionResultType]::ParameterName, 'When to colour what is printed')
            [CompletionResult]::new('--output-format', '--output-format', [CompletionResultType]::ParameterName, 'The form of diagnostics')
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help (see more with ''--help'')')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help (see more with ''--help'')')
            break
        }
        'lbc;help' {
            [CompletionResult]::new('compile', 'compile', [CompletionResultType]::ParameterValue, 'Compile to rules, on standard output or into a file')
            [CompletionResult]::new('check', 'check', [CompletionResultType]::ParameterValue, 'Report every error and lint of the files; fix what can be fixed')
            [CompletionResult]::new('fmt', 'fmt', [CompletionResultType]::ParameterValue, 'Rewrite files in the one canonical form; standard input goes to standard output')
            [CompletionResult]::new('explain', 'explain', [CompletionResultType]::ParameterValue, 'Say what each service does, and why each rule has its number')
            [CompletionResult]::new('trace', 'trace', [CompletionResultType]::ParameterValue, 'Follow one new connection through the rules, and say what comes out')
            [CompletionResult]::new('which', 'which', [CompletionResultType]::ParameterValue, 'Say which backend a client gets from a source-hash service')
            [CompletionResult]::new('rule', 'rule', [CompletionResultType]::ParameterValue, 'Explain errors and lints: what they find, why it hurts, an example, and the fix')
            [CompletionResult]::new('server', 'server', [CompletionResultType]::ParameterValue, 'Speak the language server protocol on standard input and output, for editors')
            [CompletionResult]::new('completions', 'completions', [CompletionResultType]::ParameterValue, 'Print completions for a shell')
            [CompletionResult]::new('man', 'man', [CompletionResultType]::ParameterValue, 'Print a man page: `lbc man | man -l -`')
            [CompletionResult]::new('help', 'help', [CompletionResultType]::ParameterValue, 'Print this message or the help of the given subcommand(s)')
            break
        }
        'lbc;help;compile' {
            break
        }
        'lbc;help;check' {
            break
        }
        'lbc;help;fmt' {
            break
        }
        'lbc;help;explain' {
            break
        }
        'lbc;help;trace' {
            break
        }
        'lbc;help;which' {
            break
        }
        'lbc;help;rule' {
            break
        }
        'lbc;help;server' {
            break
        }
        'lbc;help;completions' {
            break
        }
        'lbc;help;man' {
            break
        }
        'lbc;help;help' {
            break
        }
    })

    $completions.Where{ $_.CompletionText -like "$wordToComplete*" } |
        Sort-Object -Property ListItemText
}
