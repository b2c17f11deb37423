#!/usr/bin/env bash
# All tests: makes a virtual environment, installs what the tests need, hands its arguments on to pytest.
#
#   bash tests/run.sh                       everything, two files of tests at a time
#   bash tests/run.sh tests/mux -k queue    any pytest arguments
#   bash tests/run.sh --full tests/mux      what is random at its full size: tests/sizes.py
#   PYTHON=python3.13 bash tests/run.sh     another interpreter (3.11 or later)
#
# Programs that the system tests talk to (nginx, curl ...) are installed with apt when it runs as root. Otherwise it
# says which are missing, and the tests that need them are skipped with that reason; with CI=true they fail.
set -euo pipefail
cd "$(dirname "$0")/.."
export PATH="$PATH:/usr/local/sbin:/usr/sbin:/sbin" # nginx lives there, and is not on every user's path
# A thousand processes of ours are started: they compile their modules once, even in a container image that says
# otherwise.
unset PYTHONDONTWRITEBYTECODE

say() { printf 'tests/run.sh: %s\n' "$*" >&2; }

# apt, without starting the services it installs: port 80 may be somebody else's, and no test needs a service.
apt_updated=no
apt_install() {
    local policy=/usr/sbin/policy-rc.d made=no code=0
    if [ ! -e "$policy" ]; then
        printf '#!/bin/sh\nexit 101\n' >"$policy" && chmod 755 "$policy" && made=yes
    fi
    export DEBIAN_FRONTEND=noninteractive
    if [ "$apt_updated" = no ]; then
        apt-get update -q >/dev/null && apt_updated=yes
    fi
    apt-get install -q -y --no-install-recommends "$@" >/dev/null || code=$?
    [ "$made" = no ] || rm -f "$policy"
    return "$code"
}
can_install() { [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; }

# The interpreter.
python=${PYTHON:-python3}
if ! command -v "$python" >/dev/null && [ -z "${PYTHON:-}" ] && can_install; then
    say "installing python3"
    apt_install python3 python3-venv
fi
version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])') || {
    say "no Python: install python3 (3.11 or later), or name one with PYTHON=..."
    exit 1
}
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || {
    say "$python is Python $version; muxproxy needs 3.11 or later: name another with PYTHON=..."
    exit 1
}

# The virtual environment, one per version, made again when what goes into it has changed.
venv=.venv-tests-$version
stamp=$venv/stamp
wanted=$({ "$python" -c 'import sys; print(sys.version, sys.prefix)' && pwd && cat pyproject.toml; } | sha256sum)
if [ "$(cat "$stamp" 2>/dev/null)" != "$wanted" ]; then
    say "making $venv"
    rm -rf "$venv"
    if ! "$python" -c 'import ensurepip, venv' 2>/dev/null && can_install; then
        apt_install "python$version-venv"
    fi
    "$python" -m venv "$venv"
    "$venv/bin/pip" install -q --disable-pip-version-check -e '.[test]'
    printf '%s\n' "$wanted" >"$stamp"
fi

# The programs. Command, Debian package, and the tests that are left out without it.
missing=()
while read -r command package tests; do
    command -v "$command" >/dev/null && continue
    if can_install && say "installing $package" && apt_install "$package" && command -v "$command" >/dev/null; then
        continue
    fi
    missing+=("$command")
    say "LEFT OUT for want of $command (Debian: $package): $tests"
done <<'PROGRAMS'
nginx nginx-light tests/system: all that have a real nginx behind
curl  curl        tests/system/test_real_clients.py: curl
ab    apache2-utils tests/system/test_real_clients.py: ab
wrk   wrk         tests/system/test_real_clients.py: wrk
node  nodejs      tests/system/test_real_clients.py: Node's fetch; tests/system/redis: node-redis, ioredis; tests/system/dubbo
npm   npm         tests/system/redis/test_node.py; tests/system/dubbo: all that have real providers or consumers
redis-server redis-server tests/system/redis: all; tests/system/tcp: redis-cli
redis-cli redis-tools tests/system/redis/test_redis_cli.py; tests/system/tcp: redis-cli, redis-benchmark
memcached memcached tests/system/tcp: memcached
memccapable libmemcached-tools tests/system/tcp: memcached
pg_ctlcluster postgresql tests/system/tcp: psql, pgbench (the server comes with it)
mariadbd mariadb-server-core tests/system/tcp/test_spares.py
mariadb mariadb-client-core tests/system/tcp/test_spares.py
PROGRAMS

# Packages of Node, outside the repository and one folder per version, so that branches do not undo each other's.
node_cache=${XDG_CACHE_HOME:-$HOME/.cache}/muxproxy-tests/node
while read -r package tests; do
    [ -e "$node_cache/$package/done" ] && continue
    if command -v npm >/dev/null && say "installing $package into $node_cache" &&
        npm install --silent --no-audit --no-fund --ignore-scripts --prefix "$node_cache/$package" "$package" </dev/null >&2; then
        touch "$node_cache/$package/done"
        continue
    fi
    missing+=("$package")
    say "LEFT OUT for want of $package (npm): $tests"
done <<'PACKAGES'
ioredis@5.11.1 tests/system/redis/test_node.py: ioredis
redis@6.3.1    tests/system/redis/test_node.py: node-redis
sofa-rpc-node@2.10.0 tests/system/dubbo: a provider and a consumer
js-remoting-for-apache-dubbo@1.0.0 tests/system/dubbo: the protocol of sofa-rpc-node
dubbo2.js@2.3.9 tests/system/dubbo: a consumer
PACKAGES
if [ "${#missing[@]}" -gt 0 ] && [ -n "${CI:-}" ]; then
    say "in CI nothing may be left out: ${missing[*]}"
    exit 1
fi

# Everything goes two files at a time: a test that waits for a program to start keeps one of two cores busy at best.
# Each file of system tests has a network of its own, if root runs them.
[ $# -gt 0 ] || set -- -n 2 --dist loadfile --no-loadscope-reorder --durations=20
exec "$venv/bin/python" -m pytest "$@"
