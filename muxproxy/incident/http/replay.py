"""The first incident: coroutines x hosts = sockets, where each coroutine has a pool of its own.

Two legs, each on machines of its own: direct, and through muxproxy as a forward proxy, by one listener.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

from muxproxy.incident.observe import Observer, Show
from muxproxy.incident.proxy import START, await_accepting, start
from muxproxy.incident.record import Leg, Recording, duration
from muxproxy.incident.world import World, descriptors, look_for
from muxproxy.stage.hosts import Network
from muxproxy.stage.stage import Child, Stage

NAME = "http"
HOSTS = 30
EACH = 8
BOUND = HOSTS * EACH
PORT = 8080
LISTEN = 3128
WANTED = 20_000  # ESTABLISHED, in the incident
# All connections to muxproxy go to one address, and half of the range is found quickly. Not from 1024 on:
# a client's connection from port 8080 to muxproxy would be counted as one to a server.
PORTS = "10240 65535"
_SPARE = 1000  # descriptors that muxproxy's worker needs beside its clients'


class Size(NamedTuple):
    seconds: float  # of each leg
    sockets: int  # about so many, if a process may have them
    rates: tuple[int, int]  # requests per second, at the beginning and at the end


SIZES = {
    "full": Size(30.0, WANTED, (7000, 11000)),
    "quick": Size(4.0, 6000, (1500, 2500)),
    "small": Size(1.2, 600, (1000, 1500)),
}

CONFIG = """# /etc/muxproxy/backends/outbound.toml
protocol = "http"

[clients]
listen = ["{listen}"]   # http_proxy=http://{listen}
max_connections = {clients}
backlog = 512

[upstream]
to = "host"                   # where each request says
allow = ["{network}"]
max_connections = {bound}
max_connections_each = {each}
"""

NGINX = """{user}daemon off;
master_process off;
worker_rlimit_nofile {files};
pid {folder}/nginx.pid;
error_log stderr error;
events {{ worker_connections {connections}; }}
http {{
    access_log off;
    keepalive_timeout 300s;
    keepalive_requests 1000000;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    server {{
{listens}
        location / {{ return 200 "$server_addr$request_uri\\n"; }}
    }}
}}
"""


def programs() -> dict[str, str]:
    """What must be installed, and the Debian package that has it."""
    return {"nginx": "nginx-light"}


def coroutines(size: str, limit: int) -> int:
    """Each has a connection to each host; all of them are one process's, and muxproxy's worker's."""
    return min(SIZES[size].sockets, limit - _SPARE) // HOSTS


def recording(size: str, world: World) -> Recording:
    wanted, limit = SIZES[size], descriptors()
    number = coroutines(size, limit)
    sockets = number * HOSTS
    notes = [
        f"{number:,} coroutines x {HOSTS} hosts; {wanted.rates[0]:,} requests/s, rising to "
        f"{wanted.rates[1]:,} if the machine can",
        f"nginx is all {HOSTS} hosts, an address each; muxproxy is one address: more ports than usual "
        "may be used, for of Linux's own 28,232 only half are found quickly",
    ]
    if size != "full":
        notes.append(f"the incident had {WANTED:,} connections: fewer here so that it is {size}")
    elif sockets < wanted.sockets - HOSTS:
        notes.append(
            f"the incident had {WANTED:,} connections: here a process may have {limit:,} descriptors"
        )

    def leg(name: str, title: str, how: str, bound: int | None = None) -> Leg:
        return Leg(name, title, how, wanted.seconds, bound)

    return Recording(
        NAME,
        "HTTP: every coroutine has a pool of its own",
        f"{number:,} coroutines, a client each, x {HOSTS} hosts: keep-alive keeps {sockets:,} connections.",
        "requests",
        size,
        world.is_real,
        world.settings({"ip_local_port_range": PORTS}),
        world.machine,
        notes + world.notes,
        "",
        [
            leg("direct", "Direct", f"{number:,} pools"),
            leg("muxproxy", "Through muxproxy", f"{number:,} pools: unchanged, but http_proxy", BOUND),
        ],
    )


def play(stage: Stage, world: World, record: Recording, show: Show) -> None:
    for leg in record.legs:
        with world.network(HOSTS, record.settings) as network:
            _leg(stage, network, record, leg, show)
    direct, through = record.legs
    if direct.latency and through.latency:
        through.facts.append("added: " + ", ".join(_added(direct, through)))


def _added(direct: Leg, through: Leg) -> list[str]:
    said = []
    for name in ("p50", "p99"):
        more = through.latency[name] - direct.latency[name]
        said.append(f"{name} {'+' if more >= 0 else '-'}{duration(abs(more))}")
    return said


def _leg(stage: Stage, network: Network, record: Recording, leg: Leg, show: Show) -> None:
    port = network.port(PORT)
    hosts = [f"{address}:{port}" for address in network.addresses]
    listen = f"127.0.0.1:{network.port(LISTEN)}"
    nginx = stage.server(_nginx(stage.folder, hosts), "nginx", network.server.before())
    await_accepting(stage, network.client, hosts[-1])
    children: list[Child] = [nginx]
    number = coroutines(record.size, descriptors())
    if leg.name == "muxproxy":
        config = configuration(network.addresses[0], listen, number * HOSTS)
        record.config = config
        children.append(start(stage, network.client, {"outbound": config}))
    client = stage.program("muxproxy.incident.http.client", "the client", network.client.before())
    children.append(client)
    stage.await_word(client, "ready", START)
    order = {
        "hosts": hosts,
        "proxy": listen if leg.name == "muxproxy" else "",
        "coroutines": number,
        "rates": SIZES[record.size].rates,
        "seconds": leg.seconds,
    }
    with Observer(stage, network, port, leg, show) as observer:
        observer.follow({client: order}, [nginx])
    leg.facts.append(f"{leg.requests / leg.samples[-1].at:,.0f} requests/s")
    for child in reversed(children):
        stage.end(child)


def configuration(address: str, listen: str, clients: int) -> str:
    network = address.rpartition(".")[0] + ".0/24"
    return CONFIG.format(listen=listen, clients=clients + 100, network=network, bound=BOUND, each=EACH)


def _nginx(folder: Path, hosts: list[str]) -> list[str]:
    files = descriptors()
    user = "user root;\n" if os.geteuid() == 0 else ""  # who else there is, is not known in a user namespace
    listens = "\n".join(f"        listen {host} backlog=4096;" for host in hosts)
    text = NGINX.format(
        user=user, folder=folder, files=files, connections=2 * min(files, 100_000), listens=listens
    )
    path = folder / "nginx.conf"
    path.write_text(text)
    return [look_for("nginx") or "nginx", "-p", str(folder), "-c", str(path), "-e", "stderr"]


def problems(record: Recording) -> list[str]:
    """Why it did not show what it is there to show; empty if it did."""
    direct, through = record.legs
    expected = coroutines(record.size, descriptors()) * HOSTS
    found = []
    if direct.most("ESTABLISHED") < 0.95 * expected:
        found.append(f"direct: {direct.most('ESTABLISHED'):,} ESTABLISHED, and not {expected:,}")
    for leg in record.legs:
        if leg.failed or not leg.requests:
            found.append(f"{leg.title}: {leg.requests:,} replies, {leg.errors}")
    if max(through.most_open, through.most_at_servers) > BOUND:
        found.append(f"through muxproxy: {through.most_open:,} sockets, above the bound of {BOUND}")
    return found


def finding(record: Recording) -> str:
    direct, through = record.legs
    sockets = f"{direct.most('ESTABLISHED'):,} sockets to {HOSTS} hosts"
    return f"HTTP: {sockets}. Through muxproxy, with the same client: {through.most_open:,}"


def headlines(record: Recording) -> dict[str, str]:
    direct, through = record.legs
    return {
        direct.name: f"{direct.most('ESTABLISHED'):,} ESTABLISHED",
        through.name: f"{through.most_open} sockets (the bound: {HOSTS} x {EACH} = {through.bound})",
    }


def limit(record: Recording) -> None:
    """Nothing was used up but descriptors, of which each process has its own number."""
