#!/bin/sh
# Runs every test: sh tests/all.sh
#
# On Debian as root it installs what the kernel tests need. Anyone else is told what is missing; the kernel tests then
# use an unprivileged user namespace where the system allows one, and say what they skip.
# LBC_KERNEL_TESTS=require makes anything skipped a failure (CI sets it, and LBC_TREE_SITTER=require).
set -eu
cd "$(dirname "$0")/.."

missing=
for pair in nft:nftables iptables-nft-restore:iptables iptables-legacy-restore:iptables ip:iproute2 \
    conntrack:conntrack ipset:ipset unshare:util-linux; do
    PATH="$PATH:/usr/sbin:/sbin" command -v "${pair%%:*}" >/dev/null 2>&1 || missing="$missing ${pair#*:}"
done
if [ -n "$missing" ]; then
    missing=$(printf '%s\n' $missing | sort -u | tr '\n' ' ')
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
        apt-get update -q
        # shellcheck disable=SC2086 # a list of package names
        DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends $missing
    else
        printf 'tests/all.sh: missing: %s(Debian, as root: apt-get install %s)\n' "$missing" "$missing" >&2
    fi
fi
PATH="$PATH:/usr/sbin:/sbin"
export PATH

# The tests of grammars install tree-sitter from npm, below target/.
if ! command -v tree-sitter >/dev/null 2>&1 && ! command -v npm >/dev/null 2>&1; then
    case ${LBC_TREE_SITTER:-} in
    require) what='is required (LBC_TREE_SITTER=require)' ;;
    *) what='will be skipped' ;;
    esac
    printf 'tests/all.sh: neither tree-sitter nor npm: the corpus of the tree-sitter grammar %s\n' "$what" >&2
fi

if cargo fmt --version >/dev/null 2>&1; then
    cargo fmt --check
fi
if cargo clippy --version >/dev/null 2>&1; then
    cargo clippy --locked --all-targets -- -D warnings
fi
INSTA_UPDATE=no cargo test --locked "$@"
