//! The rules as a POSIX shell script that installs or replaces them, and takes them out again.

use std::io::{self, Write};

use crate::ir::Family;

use super::model::{ClientSet, Ruleset};
use super::restore::{Families, Out, body};

/// Prints the script.
pub fn print(rules: &Ruleset, families: Families, to: &mut impl Write) -> io::Result<()> {
    let mut out = Out::new(rules, to);
    let used: Vec<Family> = match families {
        Families::One(family) => vec![family],
        Families::Both => vec![Family::V4, Family::V6],
    };
    out.text(concat!("#!/bin/sh\n# Made by lbc ", env!("CARGO_PKG_VERSION"), ". Edit the .lb files, not this one.\n"));
    out.text(HEAD);
    out.text(&format!("prefix='{}'\n", rules.prefix));
    let tools: Vec<&str> = used.iter().map(|family| tool(*family)).collect();
    out.text(&format!("tools='{}'\n", tools.join(" ")));
    out.text(&format!("forwards='{}'\n", if rules.forwards { "yes" } else { "no" }));
    out.text("# Built-in chains that jump into a chain of ours, as TABLE:BUILT-IN.\nhooks='");
    let hooks: Vec<String> = rules
        .tables
        .iter()
        .flat_map(|table| table.hooks.iter().map(|hook| format!("{}:{}", table.name.as_str(), hook.built_in)))
        .collect();
    out.text(&hooks.join(" "));
    out.text("'\n");
    out.text("# Sets of clients that the rules name, as FAMILY=TIMEOUT=NAME.\nsets='");
    let sets: Vec<String> = rules.sets.iter().filter(|set| used.contains(&set.family)).map(wanted).collect();
    out.text(&sets.join(" "));
    out.text("'\n");
    for table in ["filter", "nat"] {
        out.text(&format!("\nrules_{table}() {{\n    cat <<'LBC-RULES'\n"));
        match rules.tables.iter().find(|own| own.name.as_str() == table) {
            Some(own) => body(own, families, &[], &mut out)?,
            None => out.text(&format!("*{table}\n")),
        }
        out.text("LBC-RULES\n}\n");
    }
    out.text(TAIL);
    out.flush()
}

fn wanted(set: &ClientSet) -> String {
    format!("{}={}={}", super::restore::set_family(set.family), set.timeout, set.name.as_str())
}

fn tool(family: Family) -> &'static str {
    match family {
        Family::V4 => "iptables",
        Family::V6 => "ip6tables",
    }
}

const HEAD: &str = r#"#
# sh FILE           install the rules, or replace those of an earlier run
# sh FILE check     say what this machine lacks, change nothing
# sh FILE remove    take everything out again
#
# Running it twice is running it once. It touches only its own chains and the jumps into them.
# The variant is the one that `iptables` stands for; IPTABLES=iptables-legacy sh FILE chooses another
# (then IP6TABLES follows: ip6tables-legacy).
set -eu
export LC_ALL=C
: "${IPTABLES:=iptables}"
: "${IP6TABLES:=$(printf '%s\n' "$IPTABLES" | sed 's/iptables\([^/]*\)$/ip6tables\1/')}"

"#;

const TAIL: &str = r#"
say() { printf 'lbc: %s\n' "$*" >&2; }

# The real name of iptables or ip6tables.
real() {
    case $1 in
    ip6tables) printf '%s\n' "$IP6TABLES" ;;
    *) printf '%s\n' "$IPTABLES" ;;
    esac
}

# Says everything that is missing; fails where something is.
check() {
    missing=0
    if [ "$(id -u)" != 0 ]; then
        say "root is needed to change rules"
        missing=1
    fi
    for tool in $tools; do
        name=$(real "$tool")
        for command in "$name" "$name-restore" "$name-save"; do
            if ! command -v "$command" >/dev/null 2>&1; then
                say "$command is missing (Debian: apt-get install iptables)"
                missing=1
            fi
        done
        if command -v "$name" >/dev/null 2>&1; then
            version=$("$name" --version 2>/dev/null | sed -n 's/^[^ ]* v\([0-9][0-9]*\.[0-9][0-9]*\)\..*/\1/p')
            major=${version%%.*}
            minor=${version#*.}
            if [ -z "$version" ]; then
                say "$name --version says nothing that can be read"
                missing=1
            elif [ "$major" -lt 1 ] || { [ "$major" -eq 1 ] && [ "$minor" -lt 8 ]; }; then
                say "$name is version $version; 1.8 or later is needed"
                missing=1
            fi
        fi
        if [ "$forwards" = yes ]; then
            case $tool in
            iptables) key=net/ipv4/ip_forward ;;
            *) key=net/ipv6/conf/all/forwarding ;;
            esac
            if [ "$(cat "/proc/sys/$key" 2>/dev/null)" != 1 ]; then
                say "forwarding is off: sysctl -w $(printf '%s' "$key" | tr / .)=1"
                missing=1
            fi
        fi
    done
    if ! command -v awk >/dev/null 2>&1; then
        say "awk is missing (Debian: apt-get install mawk)"
        missing=1
    fi
    if [ -n "$sets" ] && ! command -v ipset >/dev/null 2>&1; then
        say "ipset is missing (Debian: apt-get install ipset)"
        missing=1
    fi
    [ "$missing" = 0 ]
}

# Makes the sets; one that is there keeps its clients.
make_sets() {
    for set in $sets; do
        rest=${set#*=}
        ipset -exist create "${rest#*=}" hash:ip family "${set%%=*}" timeout "${rest%%=*}" maxelem 65536
    done
}

# Takes out own sets that the rules do not name any more.
drop_sets() {
    command -v ipset >/dev/null 2>&1 || return 0
    for set in $(ipset list -n 2>/dev/null | grep "^$prefix:" || :); do
        case " $1 " in
        *"=$set "*) ;;
        *) ipset destroy "$set" 2>/dev/null || { say "the ipset $set stays: something refers to it"; left=1; } ;;
        esac
    done
}

# The names of own chains: those of this instance and no other.
own="$prefix-(PREROUTING|OUTPUT|POSTROUTING|INPUT|FORWARD|REJECT|DROP|SVC-[^ ]*|AT-[^ ]*)"

# Copies of own chains that are there while rules are replaced.
copies="$prefix-OLD-[0-9]*"

# The own chains that a table holds now.
loaded() {
    "$(real "$1")-save" -t "$2" | sed -n 's|^:\([^ ]*\) .*|\1|p' | grep -xE "$own" || :
}

# Rules of other chains that jump into an own one; our jumps from the built-in chains are none.
foreign() {
    "$(real "$1")-save" -t "$2" | grep -E "^-A .* -[jg] $own\$" | grep -vE "^-A $own " |
        grep -v "^-A \([A-Z]*\) -j $prefix-\\1\$" || :
}

# Of the chains $3, those that no foreign rule refers to: only they can be deleted. Says what keeps the others.
free() {
    printf '%s\n' "$3" | grep -vxF -e "$(foreign "$1" "$2" | sed 's/.* //')" || :
    foreign "$1" "$2" | while IFS= read -r rule; do
        if printf '%s\n' "$3" | grep -qxF -e "${rule##* }"; then
            say "$(real "$1") -t $2: ${rule##* } is empty now but stays, because this rule refers to it: $rule"
        fi
    done
}

# Jumps from the built-in chain $3 of table $2 into our chain of that name, while there are any.
unhook() {
    while "$(real "$1")" -w 5 -t "$2" -C "$3" -j "$prefix-$3" 2>/dev/null; do
        "$(real "$1")" -w 5 -t "$2" -D "$3" -j "$prefix-$3"
    done
}

# Replaces one table's own chains in one transaction; chains that are not wanted any more go with it.
replace() {
    tool=$1 table=$2
    rules=$("rules_$table")
    wanted=$(printf '%s\n' "$rules" | sed -n 's/^:\([^ ]*\) .*/\1/p')
    stale=$(loaded "$tool" "$table" | grep -vxF -e "$wanted" || :)
    if [ -z "$wanted$stale" ]; then
        return 0
    fi
    gone=$(free "$tool" "$table" "$stale")
    [ "$gone" = "$stale" ] || left=1
    {
        printf '%s\n' "$rules"
        for chain in $stale; do printf ':%s - [0:0]\n' "$chain"; done
        for chain in $gone; do
            case $chain in
            "$prefix-PREROUTING" | "$prefix-OUTPUT" | "$prefix-POSTROUTING" | "$prefix-INPUT" | "$prefix-FORWARD") ;;
            *) printf -- '-X %s\n' "$chain" ;;
            esac
        done
        printf 'COMMIT\n'
    } | "$(real "$tool")-restore" --noflush -w 5
    for hook in $hooks; do
        built_in=${hook#*:}
        if [ "${hook%%:*}" = "$table" ]; then
            "$(real "$tool")" -w 5 -t "$table" -C "$built_in" -j "$prefix-$built_in" 2>/dev/null ||
                "$(real "$tool")" -w 5 -t "$table" -I "$built_in" 1 -j "$prefix-$built_in"
        fi
    done
    for chain in $stale; do
        case $chain in
        "$prefix-PREROUTING" | "$prefix-OUTPUT" | "$prefix-POSTROUTING" | "$prefix-INPUT" | "$prefix-FORWARD")
            unhook "$tool" "$table" "${chain#"$prefix-"}"
            if printf '%s\n' "$gone" | grep -qxF -e "$chain"; then
                "$(real "$tool")" -w 5 -t "$table" -X "$chain"
            fi
            ;;
        esac
    done
}

# Keeps a copy of the filter rules that are loaded until the nat rules that send connections to them are gone.
hold() {
    held=$("$(real "$1")-save" -t filter | awk -v own="^$own\$" -v prefix="$prefix" '
        /^:/ && substr($1, 2) ~ own { copy[substr($1, 2)] = prefix "-OLD-" ++chains }
        /^-A / && ($2 in copy) {
            rule = "-A " copy[$2]
            for (at = 3; at <= NF; at++) {
                rule = rule " " ((($(at - 1) == "-j" || $(at - 1) == "-g") && ($at in copy)) ? copy[$at] : $at)
            }
            list[++rules] = rule
        }
        END {
            if (!rules) exit
            print "*filter"
            for (chain in copy) print ":" copy[chain] " - [0:0]"
            for (at = 1; at <= rules; at++) print list[at]
            if ((prefix "-INPUT") in copy) print "-I INPUT 1 -j " copy[prefix "-INPUT"]
            if ((prefix "-FORWARD") in copy) print "-I FORWARD 1 -j " copy[prefix "-FORWARD"]
            print "COMMIT"
        }')
    [ -z "$held" ] || printf '%s\n' "$held" | "$(real "$1")-restore" --noflush -w 5
}

# Takes the copies out.
release() {
    held=$("$(real "$1")-save" -t filter | grep -E "^(:$copies |-A (INPUT|FORWARD) -j $copies\$)" || :)
    [ -n "$held" ] || return 0
    {
        printf '*filter\n'
        printf '%s\n' "$held" | sed -n 's/^:\([^ ]*\) .*/:\1 - [0:0]/p'
        printf '%s\n' "$held" | sed -n 's/^-A /-D /p'
        printf '%s\n' "$held" | sed -n 's/^:\([^ ]*\) .*/-X \1/p'
        printf 'COMMIT\n'
    } | "$(real "$1")-restore" --noflush -w 5
}

# Takes one table's own chains out; one that a foreign rule refers to is emptied.
remove() {
    tool=$1 table=$2
    chains=$(loaded "$tool" "$table")
    [ -n "$chains" ] || return 0
    for chain in $chains; do
        case $chain in
        "$prefix-PREROUTING" | "$prefix-OUTPUT" | "$prefix-POSTROUTING" | "$prefix-INPUT" | "$prefix-FORWARD") unhook "$tool" "$table" "${chain#"$prefix-"}" ;;
        esac
    done
    gone=$(free "$tool" "$table" "$chains")
    [ "$gone" = "$chains" ] || left=1
    {
        printf '*%s\n' "$table"
        for chain in $chains; do printf ':%s - [0:0]\n' "$chain"; done
        for chain in $gone; do printf -- '-X %s\n' "$chain"; done
        printf 'COMMIT\n'
    } | "$(real "$tool")-restore" --noflush -w 5 || {
        say "$tool -t $table: the chains of ours could not be taken out"
        left=1
    }
}

# Whether a chain of ours had to stay.
left=0

case ${1:-install} in
install)
    check || { say "nothing was changed"; exit 1; }
    make_sets
    # Additions to filter come first, and what goes stays until the end: nat sends connections to them.
    for tool in $tools; do
        release "$tool"
        hold "$tool"
        replace "$tool" filter
        replace "$tool" nat
        release "$tool"
    done
    # What an earlier version of the program had for the other family goes too.
    for tool in iptables ip6tables; do
        case " $tools " in
        *" $tool "*) ;;
        *) if command -v "$(real "$tool")-save" >/dev/null 2>&1; then
            release "$tool"
            remove "$tool" nat
            remove "$tool" filter
        fi ;;
        esac
    done
    drop_sets "$sets"
    ;;
check)
    check
    ;;
remove)
    for tool in iptables ip6tables; do
        if command -v "$(real "$tool")-save" >/dev/null 2>&1; then
            release "$tool"
            remove "$tool" nat
            remove "$tool" filter
        fi
    done
    drop_sets ""
    ;;
*)
    say "usage: sh $0 [install|check|remove]"
    exit 2
    ;;
esac
exit "$left"
"#;
