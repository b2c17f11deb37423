#!/usr/bin/env bash
# All tests: makes a virtual environment, installs what the tests need, hands its arguments on to pytest.
#
#   bash tests/run.sh                       everything, two files of tests at a time
#   bash tests/run.sh tests/mux -k queue    any pytest arguments
#   bash tests/run.sh --full tests/mux      what is random at its full size: tests/sizes.py
#   PYTHON=python3.13 bash tests/run.sh     another interpreter (3.11 or later)
#   bash tests/run.sh --compiled [...]      the compiled build: what both must pass, or what is named
#
# Without arguments both builds are tested: everything with the pure one (an editable install), and what the heart
# and the hands do with the compiled one, which pip makes as for everybody, beside a copy of the tests.
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

# Compiled or pure?
builds=pure
if [ "${1:-}" = --compiled ]; then
    builds=compiled
    shift
elif [ $# = 0 ]; then
    builds=both
fi

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
    # Of all that is installed a part is imported: what is gets compiled then, and not twenty seconds' worth here.
    "$venv/bin/pip" install -q --disable-pip-version-check --no-compile -e '.[test]'
    printf '%s\n' "$wanted" >"$stamp"
fi

# The compiled build: a second environment that has the first one's packages, a muxproxy installed by pip as a person
# would (but that it must be compiled), and beside it the tests. Made again when the package has changed; what the C
# compiler has done is kept.
compiled=$venv-compiled
make_compiled() {
    local tree=$compiled/tree wanted site
    if ! command -v cc >/dev/null && can_install; then
        say "installing gcc"
        apt_install gcc libc6-dev
    fi
    if ! "$python" -c 'import sys, sysconfig as s; sys.exit(not __import__("os").path.exists(s.get_path("include") + "/Python.h"))' &&
        can_install; then
        say "installing python$version-dev"
        apt_install "python$version-dev"
    fi
    wanted=$({ cat "$stamp" && find muxproxy -name '*.py' -print0 -o -name '*.c' -print0 | sort -z | xargs -0 sha256sum; } | sha256sum)
    if [ "$(cat "$compiled/stamp" 2>/dev/null)" != "$wanted" ]; then
        say "compiling into $compiled"
        rm -rf "$tree" "$compiled/stamp"
        "$python" -m venv --without-pip "$compiled"
        MUXPROXY_PURE=0 MUXPROXY_BUILD=$PWD/$compiled/build "$venv/bin/pip" install -q --disable-pip-version-check \
            --no-deps --target "$tree" .
        for site in "$PWD/$tree" "$PWD/$venv"/lib/python*/site-packages; do
            printf '%s\n' "$site"
        done >"$(echo "$compiled"/lib/python*/site-packages)/tests.pth"
        printf '%s\n' "$wanted" >"$compiled/stamp"
    fi
}

# What it is tested with when nothing is named: all tests of what is compiled, of those who call it, and real programs
# of each protocol. tests/test_native.py and tests/worker/test_process.py fail if it is not the compiled one that runs.
compiled_tests=(
    tests/test_native.py tests/protocols tests/mux tests/metrics tests/worker tests/fuzz/test_framers.py tests/system/test_retries.py
    tests/system/redis/test_round_trips.py tests/system/tcp/test_sessions.py tests/system/dubbo/test_own.py
    tests/system/transparent/test_transparent.py
)

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
openssl openssl certificates of all tests by TLS (tests/certificates.py)
curl  curl        tests/system/test_real_clients.py: curl
ab    apache2-utils tests/system/test_real_clients.py: ab
wrk   wrk         tests/system/test_real_clients.py: wrk
node  nodejs      tests/system/test_real_clients.py: Node's fetch; tests/system/redis: node-redis, ioredis; tests/system/transparent; tests/system/dubbo
npm   npm         tests/system/redis/test_node.py; tests/system/dubbo: all that have real providers or consumers
redis-server redis-server tests/system/redis: all; tests/system/tcp: redis-cli
redis-cli redis-tools tests/system/redis/test_redis_cli.py; tests/system/tcp: redis-cli, redis-benchmark
systemd-analyze systemd tests/system/systemd: all, which need root, too
memcached memcached tests/system/tcp: memcached
memccapable libmemcached-tools tests/system/tcp: memcached
pg_ctlcluster postgresql tests/system/tcp: psql, pgbench (the server comes with it)
mariadbd mariadb-server-core tests/system/tcp/test_spares.py
nft nftables tests/system/transparent: all, which need root, too
ip iproute2 tests/system/transparent; tests/system/test_network.py
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
ioredis@5.11.1 tests/system/redis/test_node.py: ioredis; tests/system/transparent/test_cluster.py
redis@6.3.1    tests/system/redis/test_node.py: node-redis
sofa-rpc-node@2.10.0 tests/system/dubbo, tests/system/transparent/test_dubbo.py: a provider and a consumer
js-remoting-for-apache-dubbo@1.0.0 tests/system/dubbo: the protocol of sofa-rpc-node
dubbo2.js@2.3.9 tests/system/dubbo: a consumer
PACKAGES
if [ "${#missing[@]}" -gt 0 ] && [ -n "${CI:-}" ]; then
    say "in CI nothing may be left out: ${missing[*]}"
    exit 1
fi

# Everything goes two files at a time: a test that waits for a program to start keeps one of two cores busy at best.
# Each file of system tests has a network of its own, if root runs them.
two=(-n 2 --dist loadfile --no-loadscope-reorder --durations=20)
test_compiled() {
    local tree=$compiled/tree
    make_compiled
    rm -rf "$tree/tests" "$tree/config"
    cp -R tests config systemd README.md pyproject.toml "$tree/"
    (cd "$compiled/tree" && MUXPROXY_TESTED=compiled ../bin/python -m pytest -p no:cacheprovider "$@")
}

case $builds in
pure) exec "$venv/bin/python" -m pytest "$@" ;;
compiled)
    [ $# -gt 0 ] || set -- "${two[@]}" "${compiled_tests[@]}"
    test_compiled "$@"
    ;;
both)
    # Compiled meanwhile, of what the tests leave while they wait for programs: a minute less in all.
    (renice -n 19 "$BASHPID" >/dev/null && make_compiled) >"$venv/compiling.log" 2>&1 &
    compiling=$! code=0
    "$venv/bin/python" -m pytest "${two[@]}" || code=$?
    wait "$compiling" || { cat "$venv/compiling.log" >&2 && exit 1; }
    [ "$code" = 0 ] || exit "$code"
    test_compiled "${two[@]}" "${compiled_tests[@]}"
    ;;
esac
