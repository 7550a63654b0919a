#!/usr/bin/env bash
# See to it that the named commands are there; root installs missing ones from Debian.
# Usage: tools.sh nginx wrk    tools.sh redis-server postgres
# Exit status 3 and a loud message where one cannot be had.
set -euo pipefail

declare -A package=([nginx]=nginx-light [wrk]=wrk [postgres]=postgresql)

# Debian keeps the programs of PostgreSQL out of the path.
there() { command -v "$1" >/dev/null || compgen -G "/usr/sbin/$1" >/dev/null || compgen -G "/usr/lib/postgresql/*/bin/$1" >/dev/null; }

look() {
    missing=()
    for command in "$@"; do
        there "$command" || missing+=("${package[$command]:-$command}")
    done
    [ ${#missing[@]} -gt 0 ] || exit 0
}

look "$@"
# One at a time: several workers of a test run may miss the same program, and apt lets in only one.
if command -v flock >/dev/null; then
    exec 9>"${TMPDIR:-/tmp}/ailink-tools-$(id -u).lock"
    flock 9
    look "$@"
fi

if command -v apt-get >/dev/null; then
    run=()
    [ "$(id -u)" = 0 ] || run=(sudo -n)
    if [ "$(id -u)" = 0 ] || sudo -n true 2>/dev/null; then
        # RUNLEVEL=1: a package must not start its service. A cluster of its own is nothing that tests or benches use.
        if [[ " ${missing[*]} " == *" postgresql "* ]]; then
            "${run[@]}" sh -c 'mkdir -p /etc/postgresql-common/createcluster.d; echo "create_main_cluster = false" >/etc/postgresql-common/createcluster.d/ailink.conf'
        fi
        "${run[@]}" env RUNLEVEL=1 DEBIAN_FRONTEND=noninteractive apt-get update -qq
        "${run[@]}" env RUNLEVEL=1 DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" && exit 0
    fi
fi
echo "######## MISSING: ${missing[*]} (could not be installed; install it by hand) ########" >&2
exit 3
