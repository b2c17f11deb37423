"""The order of events: start origin, muxproxy and clients; run the load direct, then through muxproxy.

Nothing is measured here: each number is passed from who knows it (figures.py) to who shows it (view.py).
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any, Protocol

from muxproxy.cli.demo.figures import BOUND, Leg
from muxproxy.cli.exits import Exit, Failure
from muxproxy.cli.status import ask
from muxproxy.stage.stage import Child, Stage

BACKEND = "demo"
START = 15.0  # seconds for a process to be ready; a cold, busy machine takes five
ANSWER = 5.0  # seconds for a word from a process that runs
ASK_EVERY = 0.2  # seconds between two looks at /status

NODE = """admin = "{admin}"
drain_timeout = "2s"
"""
CONFIG = """# What `muxproxy demo` runs with; your own may look like this.
protocol = "http"

[clients]
listen = ["127.0.0.1:0"]        # the kernel chooses a port
max_connections = {twice}
backlog = {clients}

[queue]
max_waiting = {clients}
timeout = "10s"

[upstream]
servers = ["127.0.0.1:{port}"]
max_connections = {bound}
"""


class View(Protocol):
    def show(self, direct: Leg, through: Leg) -> None:
        """Called many times a second."""
        ...


class Acts:
    def __init__(self, stage: Stage, clients: int, seconds: float) -> None:
        self._stage = stage
        self._clients = clients
        # What goes through muxproxy is what people came to see: it gets the larger part.
        self.direct = Leg("direct", 0.4 * seconds)
        self.through = Leg("through muxproxy", 0.6 * seconds, has_pool=True)
        self._admin = str(stage.folder / "admin.sock")
        self.port = 0  # muxproxy's

    def play(self, view: View) -> None:
        view.show(self.direct, self.through)
        self._prepare()
        self._run(self.direct, self._origin_port, view)
        self._await_quiet()
        self._run(self.through, self.port, view)

    def _prepare(self) -> None:
        stage = self._stage
        self._origin = stage.program("muxproxy.cli.demo.origin", "the demo's origin")
        self._origin_port = stage.await_word(self._origin, "port", START)
        write_config(stage.folder, self._admin, self._origin_port, self._clients)
        self._proxy = stage.proxy(stage.folder, "muxproxy")
        self._load = stage.program("muxproxy.cli.demo.load", "the demo's load")
        stage.await_word(self._load, "ready", START)
        self.port = self._await_proxy()

    def _await_proxy(self) -> int:
        """The port it listens on, once it serves."""
        deadline = time.monotonic() + START
        while time.monotonic() < deadline:
            self._stage.turn()
            try:
                report = ask([self._admin])
            except Failure:
                continue  # it is not listening yet
            if report.get("state") == "serving":
                return int(report["backends"][BACKEND]["listen"][0].rpartition(":")[2])
        raise Failure(Exit.DEMO_FAILED, f"muxproxy did not serve within {START:g}s")

    def _run(self, leg: Leg, port: int, view: View) -> None:
        self._mark()
        leg.state = "running"
        began = time.monotonic()
        next_ask = began
        self._load.tell({"port": port, "clients": self._clients, "seconds": leg.seconds})
        while leg.state == "running":
            for child, message in self._stage.turn():
                self._take(leg, child, message, time.monotonic() - began)
            if time.monotonic() > began + leg.seconds + START:
                raise Failure(Exit.DEMO_FAILED, f"{leg.name}: the clients did not come to an end")
            if leg.has_pool and time.monotonic() >= next_ask:
                self._look(leg)
                next_ask = time.monotonic() + ASK_EVERY
            view.show(self.direct, self.through)
        counts = self._mark()
        leg.peak, leg.opened = counts["peak"], counts["opened"]
        view.show(self.direct, self.through)

    def _take(self, leg: Leg, child: Child, message: dict[str, Any], at: float) -> None:
        if child is self._origin and "sockets" in message:
            leg.on_sockets(message["sockets"], at)
        elif "tick" in message:
            leg.on_tick(message["tick"])
        elif "done" in message:
            leg.on_done(message["done"])
            leg.state = "done"

    def _look(self, leg: Leg) -> None:
        """muxproxy's own numbers; where it is too busy to answer, the last ones stand."""
        try:
            leg.on_pool(ask([self._admin])["backends"][BACKEND])
        except Failure:
            pass

    def _mark(self) -> dict[str, int]:
        """The origin's numbers since the last mark; it counts anew from here."""
        self._origin.tell({"mark": True})
        return dict(self._stage.await_word(self._origin, "marked", ANSWER))

    def _await_quiet(self) -> None:
        """The direct connections are the clients' own: all gone before the next leg is counted."""
        deadline = time.monotonic() + ANSWER
        while self._mark()["open"]:
            if time.monotonic() > deadline:
                raise Failure(Exit.DEMO_FAILED, f"the origin still has connections after {ANSWER:g}s")


def write_config(folder: Path, admin: str, port: int, clients: int) -> None:
    """A directory that `muxproxy check`, `run` and `status` take with -c."""
    (folder / "backends").mkdir()
    (folder / "muxproxy.toml").write_text(NODE.format(admin=admin))
    # Twice: the next client may be accepted before the close of the last one is seen.
    text = CONFIG.format(port=port, clients=clients, twice=2 * clients, bound=BOUND)
    (folder / "backends" / f"{BACKEND}.toml").write_text(text)
