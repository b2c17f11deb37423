"""One backend as this worker serves it: its pool, its listeners, who resolves its servers' names.

It begins with its worker or with a reload, is changed by reloads, and ends with its last socket: removed, it
accepts nobody, finishes what is owed, and closes its upstream connections once its last client has left.
"""

from __future__ import annotations

from collections.abc import Callable

from muxproxy.budget import Order, Report
from muxproxy.config import sources
from muxproxy.config.address import parse_listen, usual
from muxproxy.config.limits import PLACES
from muxproxy.config.model import Backend
from muxproxy.metrics.snapshot import BackendSnapshot
from muxproxy.mux.admission.memory import Memory
from muxproxy.mux.base.failures import Failures
from muxproxy.mux.base.pool import Pool
from muxproxy.mux.base.statistics import statistics
from muxproxy.mux.destinations import totals
from muxproxy.mux.destinations.front import Front
from muxproxy.mux.sharings import new_pool
from muxproxy.protocols import build
from muxproxy.worker.backend.outside import Surroundings
from muxproxy.worker.backend.resolver import Resolver
from muxproxy.worker.engine import Engine
from muxproxy.worker.listener import Listener
from muxproxy.worker.original import OriginalListener
from muxproxy.worker.tls.contexts import Secured

Place = tuple[int, dict[str, Order]]  # its pool's number in the supervisor's ledger, what it has been lent
GENTLE = 0.5  # of the time for a drain: then whoever is owed nothing is closed
REMOVED = "backend removed"  # why its connections are closed


class Service:
    """`holder`: its pool's number in the supervisor's ledger. `lenient`: messages.Configure."""

    def __init__(
        self,
        engine: Engine,
        backend: Backend,
        memory: Memory,
        place: Place | None = None,
        lenient: float = 0.0,
    ) -> None:
        self._engine = engine
        self.backend = backend
        self.holder, orders = place or (0, {})
        self._front: Front | None = None  # where requests have destinations
        self._surroundings: Surroundings | None = None
        if backend.upstream.to == "servers":
            self.pool: Pool = new_pool(backend, build(backend), engine, engine.fine, engine.slow)
        else:
            self._surroundings = Surroundings(engine)
            self.pool = self._front = self._surroundings.new_front(backend)
        self.pool.memory = memory
        self.pool.lenient_until = engine.time() + lenient
        self.pool.begin(orders, engine.time())
        self.failures = Failures(self.pool)
        self.listeners: list[tuple[str, Listener]] = []
        self._resolver = Resolver(self.pool, engine.time)

    def on_lend(self, number: str, order: Order) -> None:
        """How much it may have of that, from now on; it may have gone with a reload."""
        now = self._engine.time()
        if number == PLACES:
            self.pool.allowance.on_order(order, now)
        elif number in self.pool.rations:
            self.pool.rations[number].on_order(order, now)

    def report(self, number: str) -> Report:
        lent = self.pool.allowance if number == PLACES else self.pool.rations[number]
        return lent.report()

    def start(self) -> None:
        self._secure()
        if self._front is None:
            self._resolver.start()

    def statistics(self, now: float) -> BackendSnapshot:
        pool, front = self.pool, self._front
        told = statistics(pool, now) if front is None else totals.statistics(front, now)
        by_tls = self._engine.contexts.statistics(self.backend.name)
        if by_tls:
            told["tls"] = by_tls["tls"]
        return told

    def _secure(self) -> None:
        """Its files are read before anybody comes, and what they lack is logged."""
        ways = (self.backend.upstream.tls, self.backend.clients.tls)
        self._engine.contexts.keep_only(self.backend.name, ways)
        for tls in ways:
            if tls is not None:
                self._engine.contexts.of(self.backend.name, self.backend.protocol, tls)

    def _secured(self, address: str, *, was: bool) -> Secured | None:
        """Of a listener. `address` in any spelling: the configuration says which are `tls:`, but for those of
        port 0, of which there may be some of either kind (`was` it?)."""
        tls, here = self.backend.clients.tls, parse_listen(address)
        told = {each.tls for each in map(parse_listen, self.backend.clients.listen) if each == here}
        if tls is None or not (was if len(told) > 1 else True in told):
            return None
        return self._engine.contexts.of(self.backend.name, self.backend.protocol, tls)

    def listen(self, address: str, descriptor: int) -> Listener:
        """Takes the descriptor over; it does not accept yet."""
        who = sources.of(self.backend.clients.from_, parse_listen(address))
        if self._front is not None and self.backend.upstream.to == "original":
            kind: Callable[..., Listener] = OriginalListener
        else:
            kind = Listener
        secured = self._secured(address, was=parse_listen(address).tls)
        listener = kind(self._engine, self.pool, descriptor, who, secured)
        self.listeners.append((usual(address), listener))
        return listener

    def stop_listening(self, address: str) -> Listener:
        """For the caller to close. `address` in its usual spelling."""
        place = next(each for each in self.listeners if each[0] == address)
        self.listeners.remove(place)
        return place[1]

    def configure(self, backend: Backend) -> None:
        """New numbers for all, new servers; who may connect is asked of those that connect from now on."""
        self.backend = backend
        self.pool.configure(backend, self._engine.time())
        if self._front is None:
            self._resolver.configure()
        self._secure()
        for address, listener in self.listeners:
            listener.admit(sources.of(backend.clients.from_, parse_listen(address)))
            listener.secure(self._secured(address, was=listener.is_secure()))

    def drain(self, timeout: float, *, gently: bool) -> None:
        """Nobody new; what is owed is finished within `timeout`. `gently`: others accept."""
        now = self._engine.time()
        self.pool.drain(now, now + timeout * GENTLE if gently else 0.0)

    def remove(self, timeout: float) -> None:
        """By a reload. Another shard may serve its clients, or a new backend of that name."""
        self._resolver.close()
        if self._surroundings is not None:
            self._surroundings.close()
        self._engine.contexts.keep_only(self.backend.name, ())
        self.drain(timeout, gently=True)

    def close_connections(self) -> bool:
        """Once its clients have left. True: no socket is left either."""
        return self.pool.close_connections(REMOVED, self._engine.time())
