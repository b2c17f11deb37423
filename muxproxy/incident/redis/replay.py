"""The second incident: a pool that closes what it cannot keep uses up the node's ports.

Three legs, each on machines of its own: direct; direct with the pool repaired as it was in the incident; and
through muxproxy with the pool as it was, but for its address, a unix socket. (By 127.0.0.1 it would use up
the node's ports towards muxproxy in the same way: a pool that churns wants a socket without ports.)
"""

from __future__ import annotations

import re
import socket
import tomllib
from pathlib import Path
from typing import NamedTuple

from muxproxy.incident.observe import Observer, Show
from muxproxy.incident.proxy import await_accepting, shown, start, wait
from muxproxy.incident.record import TIME_WAIT, Leg, Recording, count
from muxproxy.incident.redis.client import KEYS, value
from muxproxy.incident.world import World, look_for
from muxproxy.stage.hosts import Network
from muxproxy.stage.stage import Broken, Child, Stage

NAME = "redis"
BOUND = 8
PORT = 6379
HOLD = 10  # milliseconds of each burst for which Redis holds everybody's commands
EVERY = 0.1  # seconds between two bursts
BURST = (200, 320)  # commands, all at once
FEW = {
    "full": ", for with Linux's own 28,232 the first would be free again before the last is taken",
    "quick": ", few so that it is quick",
}
BROKEN = "dial: connect: Cannot assign requested address"
AS_IT_WAS = {"max_idle": 50, "max_active": 500, "wait": False}
REPAIRED = {"max_idle": 300, "max_active": 400, "wait": True}

CONFIG = """# /etc/muxproxy/backends/session-cache.toml
protocol = "redis"

[clients]
listen = ["unix:{listen}"]   # costs no ports
max_connections = 2000

[upstream]
servers = ["{server}"]
max_connections = {bound}
"""


class Size(NamedTuple):
    seconds: float  # of each leg
    ports: tuple[int, int]  # net.ipv4.ip_local_port_range
    bursts: int  # at least, however slow the machine is: enough to use them up


SIZES = {
    # TIME_WAITs by the ten thousand. With Linux's own 28,232 ports the first would be free again before the
    # last is taken: it takes every second one first, and then each connect() searches these, for 5 ms.
    "full": Size(30.0, (32768, 44767), 60),
    "quick": Size(4.0, (32768, 34767), 20),
    "small": Size(1.0, (32768, 33567), 10),
}


def programs() -> dict[str, str]:
    """What must be installed, and the Debian package that has it."""
    return {"redis-server": "redis-server"}


def recording(size: str, world: World) -> Recording:
    seconds, wanted, _ = SIZES[size]
    settings = world.settings({"ip_local_port_range": f"{wanted[0]} {wanted[1]}", "tcp_tw_reuse": "0"})
    few = FEW["full" if size == "full" else "quick"] if world.is_real else ""

    def leg(name: str, title: str, how: str, bound: int | None = None) -> Leg:
        return Leg(name, title, how, seconds, bound)

    notes = [
        f"bursts of {BURST[0]} to {BURST[1]} GETs every {EVERY * 1e3:.0f} ms, all at once; Redis is slow: "
        f"it holds all commands for {HOLD} ms of each (CLIENT PAUSE)",
        f"{ports(settings):,} local ports{few}",
        "through muxproxy by a unix socket: by 127.0.0.1 such a pool uses up the ports towards muxproxy, too",
    ]
    return Recording(
        NAME,
        "Redis: a pool that closes what it cannot keep uses up the node's ports",
        "MaxIdle 50 of MaxActive 500: at every burst 150 to 270 connections are dialled and closed again.",
        "commands",
        size,
        world.is_real,
        settings,
        world.machine,
        notes + world.notes,
        "",
        [
            leg("direct", "Direct", "MaxIdle 50, MaxActive 500, Wait false"),
            leg("repaired", "Direct, the pool repaired", "MaxIdle 300, MaxActive 400, Wait true"),
            leg("muxproxy", "Through muxproxy", "MaxIdle 50, MaxActive 500, Wait false: unchanged", BOUND),
        ],
    )


def ports(settings: dict[str, str]) -> int:
    first, last = map(int, settings["ip_local_port_range"].split())
    return last - first + 1


def play(stage: Stage, world: World, record: Recording, show: Show) -> None:
    for leg in record.legs:
        with world.network(1, record.settings) as network:
            _leg(stage, network, record, leg, show)


def _leg(stage: Stage, network: Network, record: Recording, leg: Leg, show: Show) -> None:
    port, inside = network.port(PORT), stage.folder / f"redis-{leg.name}.sock"
    address = f"{network.addresses[0]}:{port}"
    redis = stage.server(_redis(network.addresses[0], port, inside), "redis-server", network.server.before())
    await_accepting(stage, network.client, address)
    wait(stage, inside.exists, "no socket of Redis")
    _fill(inside)
    children: list[Child] = [redis]
    suggestion, until = stage.folder / "suggested.toml", ""
    if leg.name == "muxproxy":
        listen = str(stage.folder / "session-cache.sock")
        config = CONFIG.format(listen=listen, server=address, bound=BOUND)
        if record.suggested:
            config = by_unix_socket(suggestion.read_text(), listen)
            leg.bound = bound_of(config)
        record.config = shown(config, stage.folder)
        children.append(start(stage, network.client, {"session-cache": config}))
        address = listen
    elif leg.name == "direct" and record.suggested:
        stage.errand(("doctor", "--suggest", address), suggestion, network.client.before())
        until = str(suggestion)
    client = stage.program("muxproxy.incident.redis.client", "the client", network.client.before())
    children.append(client)
    stage.await_word(client, "ready", 20)
    order = {
        "address": address,
        "held": str(inside),
        "hold": HOLD,
        "pool": REPAIRED if leg.name == "repaired" else AS_IT_WAS,
        "burst": BURST,
        "every": EVERY,
        "seconds": leg.seconds,
        "bursts": SIZES[record.size].bursts,
        "until": until,
    }
    with Observer(stage, network, port, leg, show) as observer:
        observer.follow({client: order}, [redis])
    if leg.requests and leg.server_cpu is not None:
        leg.facts.append(f"Redis: {leg.server_cpu / leg.requests * 1e6:.0f} µs of CPU per command")
    for child in reversed(children):
        stage.end(child)


def by_unix_socket(suggested: str, path: str) -> str:
    """As its own comments say for an app that goes on churning: that one leaves no TIME_WAITs here."""
    found, count = re.subn(r'(?m)^listen = \[".*"\]', f'listen = ["unix:{path}"]', suggested)
    if count != 1:
        raise Broken(f"what muxproxy doctor suggests has {count} lines that say where to listen")
    return found


def bound_of(config: str) -> int:
    return int(tomllib.loads(config)["upstream"]["max_connections"])


def _redis(address: str, port: int, inside: Path) -> list[str]:
    plain = {"port": port, "bind": address, "save": "", "protected-mode": "no", "unixsocket": inside}
    more = {"maxclients": 2000, "tcp-backlog": 511, "dir": inside.parent, "unixsocketperm": 700}
    program = look_for("redis-server") or "redis-server"
    return [program, *(str(word) for key, each in (plain | more).items() for word in (f"--{key}", each))]


def _fill(inside: Path) -> None:
    """The keys that the client asks for."""
    words: list[bytes] = [b"MSET"]
    for key in range(KEYS):
        words += [b"key:%d" % key, value(key)]
    command = b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in words)
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(10)
        sock.connect(str(inside))
        sock.sendall(command)
        assert sock.recv(64) == b"+OK\r\n"


def problems(record: Recording) -> list[str]:
    """Why it did not show what it is there to show; empty if it did."""
    direct, repaired, through = (record.leg(name) for name in ("direct", "repaired", "muxproxy"))
    all_ports = ports(record.settings)
    found = []
    if record.namespaces:  # on loopback the machine's own settings hold
        if direct.most(TIME_WAIT) < 0.9 * all_ports:
            found.append(f"direct: {direct.most(TIME_WAIT):,} TIME_WAIT do not use up {all_ports:,} ports")
        if not direct.errors.get(BROKEN):
            found.append(f"direct: not once `{BROKEN}`")
    for leg in (repaired, through):
        if leg.failed:
            found.append(f"{leg.title}: {leg.errors}")
    if not through.requests:
        found.append("through muxproxy: no replies at all")
    bound = through.bound or 0
    if max(through.most_open, through.most_at_servers) > bound:
        found.append(f"through muxproxy: {through.most_open:,} sockets, above the bound of {bound}")
    return found


def finding(record: Recording) -> str:
    direct, _, through = record.legs
    broken = f"{direct.most(TIME_WAIT):,} TIME_WAIT"
    if direct.failed:
        broken = f"no port is left, {direct.failed:,} commands fail"
    cure = f"{count(through.most_open, 'socket')}, {count(through.failed, 'error')}"
    return f"Redis: {broken}. Through muxproxy: {cure}"


def headlines(record: Recording) -> dict[str, str]:
    """What a stranger is to see first, of each leg."""
    direct, repaired, through = record.legs
    return {
        direct.name: f"{direct.most(TIME_WAIT):,} TIME_WAIT" + (": no port is left" if direct.failed else ""),
        repaired.name: f"{repaired.most_open:,} sockets, {repaired.most(TIME_WAIT):,} TIME_WAIT",
        through.name: f"{through.most_open} sockets (the bound: {through.bound})",
    }


def limit(record: Recording) -> tuple[int, str]:
    return ports(record.settings), f"all {ports(record.settings):,} local ports"
