"""The third incident: a thousand connections for each of ten interfaces to each of two providers.

All are opened at start-up. Three legs, each on machines of its own: direct as it was; direct with ten
connections, which was the cure; and through muxproxy with a thousand again. Two consumers and two providers,
a process each; and for each provider a backend of muxproxy's, in a worker of its own: where this was written
a process may have 20,000 descriptors, and so many are the consumers' connections.
"""

from __future__ import annotations

from muxproxy.incident.observe import Observer, Show
from muxproxy.incident.proxy import START, start
from muxproxy.incident.record import Leg, Recording, count, duration, size_of
from muxproxy.incident.world import World, descriptors
from muxproxy.stage.hosts import Host, Network
from muxproxy.stage.stage import Child, Stage

NAME = "dubbo"
EACH = 4
PORT = 20880
PROVIDERS = 2
BOUND = EACH * PROVIDERS
INTERFACES = 10
CURED = 10  # connections
RATE = 250.0  # calls per second, of each consumer
# connections of each interface to each provider, and seconds for which it calls when they are open
SIZES = {"full": (1000, 8.0), "quick": (200, 2.0), "small": (50, 0.5)}
_SHARE = 0.8  # of the limit: what a worker of muxproxy is to hold of clients

CONFIG = """# /etc/muxproxy/backends/{name}.toml
protocol = "dubbo"

[clients]
listen = ["{listen}"]
max_connections = {clients}

[upstream]
servers = ["{server}"]
max_connections = {bound}
"""


def programs() -> dict[str, str]:
    """Consumers and providers are ours."""
    return {}


def connections(size: str, limit: int) -> int:
    """As many as the incident's, or as a process may have."""
    return min(SIZES[size][0], int(_SHARE * limit) // INTERFACES)


def recording(size: str, world: World) -> Recording:
    wanted, limit = SIZES[size], descriptors()
    each = connections(size, limit)
    total = each * INTERFACES * PROVIDERS
    notes = [
        f"{each:,} connections x {INTERFACES} interfaces x {PROVIDERS} providers, for each a consumer and a "
        f"worker of muxproxy: {total:,} sockets, and a process may have {limit:,}",
        f"consumers and providers are Dubbo2 programs of our own; then {RATE * PROVIDERS:.0f} calls/s",
    ]
    if size != "full":
        notes.append(f"the incident had {SIZES['full'][0]:,} connections: fewer here so that it is {size}")
    elif each < wanted[0]:
        notes.append(f"the incident had {wanted[0]:,}: here a process may have {limit:,} descriptors")

    def leg(name: str, title: str, how: str, bound: int | None = None) -> Leg:
        return Leg(name, title, how, wanted[1], bound)

    return Recording(
        NAME,
        "Dubbo: every interface opens its connections to every provider, at start-up",
        f"connections = {each:,} looks like a limit, and is a number that is opened: "
        f"x {INTERFACES} interfaces x {PROVIDERS} providers.",
        "calls",
        size,
        world.is_real,
        world.settings({"ip_local_port_range": "32768 60999"}),
        world.machine,
        notes + world.notes,
        "",
        [
            leg("direct", "Direct", f"connections = {each:,}"),
            leg("cured", "Direct, cured", f"connections = {CURED}"),
            leg("muxproxy", "Through muxproxy", f"connections = {each:,}: unchanged", BOUND),
        ],
    )


def play(stage: Stage, world: World, record: Recording, show: Show) -> None:
    for leg in record.legs:
        with world.network(PROVIDERS, record.settings) as network:
            _leg(stage, network, record, leg, show)


def _leg(stage: Stage, network: Network, record: Recording, leg: Leg, show: Show) -> None:
    port = network.port(PORT)
    addresses = [f"{address}:{port}" for address in network.addresses]
    providers = [_program(stage, "provider", at, network.server) for at in addresses]
    consumers = [_program(stage, "consumer", at, network.client) for at in addresses]
    stage.await_all([*providers, *consumers], "ready", START)
    for provider, address in zip(providers, addresses, strict=True):
        provider.tell({"address": address})
    stage.await_all(providers, "listening", START)
    each = CURED if leg.name == "cured" else connections(record.size, descriptors())
    proxies: list[Child] = []
    asked = addresses
    if leg.name == "muxproxy":
        asked = [f"127.0.0.1:{network.port(PORT + 1 + number)}" for number in range(PROVIDERS)]
        backends = configuration(addresses, asked, each * INTERFACES)
        record.config = "\n".join(backends.values())
        proxies.append(start(stage, network.client, backends, workers=PROVIDERS))
    order = {"connections": each, "interfaces": INTERFACES, "rate": RATE, "seconds": leg.seconds}
    orders = {each: order | {"address": at} for each, at in zip(consumers, asked, strict=True)}
    with Observer(stage, network, port, leg, show) as observer:
        observer.follow(orders, providers)
    leg.facts = [
        f"ready after {duration(leg.ready)}" if leg.ready is not None else "never ready",
        f"providers' memory: {size_of(leg.server_memory or 0)}",
    ]
    for child in reversed([*providers, *proxies, *consumers]):
        stage.end(child)


def configuration(servers: list[str], listen: list[str], clients: int) -> dict[str, str]:
    """Backends by name, each with so many clients."""
    most = clients + clients // 10
    return {
        (name := f"orders-{number}"): CONFIG.format(
            name=name, listen=at, clients=most, server=server, bound=EACH
        )
        for number, (server, at) in enumerate(zip(servers, listen, strict=True), 1)
    }


def _program(stage: Stage, what: str, address: str, host: Host) -> Child:
    """A provider, or its consumer."""
    return stage.program(f"muxproxy.incident.dubbo.{what}", f"the {what} of {address}", host.before())


def problems(record: Recording) -> list[str]:
    """Why it did not show what it is there to show; empty if it did."""
    direct, cured, through = record.legs
    total = direct.dialled
    found = []
    if not total or direct.most_at_servers < total:
        found.append(f"direct: {direct.most_at_servers:,} sockets at the providers, and not {total:,}")
    if cured.most_at_servers != CURED * INTERFACES * PROVIDERS:
        found.append(f"cured: {cured.most_at_servers:,} sockets at the providers")
    for leg in record.legs:
        if leg.failed or leg.ready is None or not leg.requests:
            found.append(f"{leg.title}: {count(leg.requests, 'reply')}, {leg.errors}, ready: {leg.ready}")
    if through.dialled != total:
        found.append(f"through muxproxy: {through.dialled:,} connections of the consumers, and not {total:,}")
    if max(through.most_open, through.most_at_servers) > BOUND:
        found.append(f"through muxproxy: {through.most_at_servers:,} sockets, above the bound of {BOUND}")
    return found


def finding(record: Recording) -> str:
    direct, _, through = record.legs
    connections = f"{direct.most_at_servers:,} connections before the first call"
    return f"Dubbo: {connections}. Through muxproxy, unchanged: {through.most_at_servers:,}"


def headlines(record: Recording) -> dict[str, str]:
    direct, cured, through = record.legs
    return {
        direct.name: f"{direct.most_at_servers:,} sockets",
        cured.name: f"{cured.most_at_servers:,} sockets",
        through.name: f"{through.most_at_servers} sockets (the bound: {through.bound})",
    }


def limit(record: Recording) -> None:
    """Nothing was used up: providers and node had to carry them."""
