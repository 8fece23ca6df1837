#!/bin/sh
# Runs every test: sh tests/all.sh
#
# On Debian as root it installs what the kernel tests need. Anyone else is told what is missing; the kernel tests then
# use an unprivileged user namespace where the system allows one, and say what they skip.
# LBC_KERNEL_TESTS=require makes anything skipped a failure (CI sets it).
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

if cargo fmt --version >/dev/null 2>&1; then
    cargo fmt --check
fi
if cargo clippy --version >/dev/null 2>&1; then
    cargo clippy --locked --all-targets -- -D warnings
fi
INSTA_UPDATE=no cargo test --locked "$@"
