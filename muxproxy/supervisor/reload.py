"""A reload: what the files say now becomes what runs, in place, all of it or nothing.

    read and check -> draft -> bind what is new -> tell the ledger and the workers -> close what is gone

A draft changes nothing, and may be shown (`--dry-run`). Whatever can fail fails there, or where its reload is
made, before anybody is told: a rule, a key that a running process cannot change, an address that cannot be
had. From then on only a bug is left, and a worker that has one is replaced
by another that begins with the new configuration. main.py says who does these things, and when.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from muxproxy.budget import Order
from muxproxy.config import limits
from muxproxy.config.address import usual
from muxproxy.config.model import Backend, Config
from muxproxy.config.plan import Plan, plan
from muxproxy.errors import ConfigError
from muxproxy.messages import Apply
from muxproxy.supervisor.ledger import Ledger
from muxproxy.supervisor.listening.sockets import Listener, ListenError, Listeners, explain, listen
from muxproxy.supervisor.systemd.handed import Handed

Live = Sequence[Sequence[str]]  # names of each worker's backends
Open = Callable[[str, int], tuple[int, dict[str, Order]]]  # a place in the ledger: (backend, worker)


class Place(NamedTuple):
    backend: str
    address: str  # in its usual spelling, whatever a file says

    @classmethod
    def of(cls, backend: str, text: str) -> Place:
        return cls(backend, usual(text))


class Part(NamedTuple):
    """Of one worker."""

    change: Apply
    backends: list[Backend]  # all that it has from now on
    descriptors: list[int]  # of change.opened


class Draft:
    """What a reload would do. Pure."""

    def __init__(self, old: Config, wanted: Config, nofile: int, live: Live) -> None:
        """Raises ConfigError: there are not so many descriptors."""
        self.old = old
        self.live = live
        self.config = limits.effective(wanted, nofile, live)  # with its effective numbers
        self.plan: Plan = plan(old, self.config)


class Reload:
    """One that can be carried out: all is checked, all that is new is bound."""

    def __init__(self, draft: Draft, handed: Handed | None = None) -> None:
        """`handed`: sockets that are bound already. Raises ConfigError, ListenError: nothing has changed."""
        self._live = draft.live
        self._handed = handed or Handed()
        self.config = draft.config
        self.plan = draft.plan
        if self.plan.refused:
            raise ConfigError(list(self.plan.refused))
        assigned = limits.assign_workers(self.config, self._live)
        self.told = limits.shares(self.config, assigned)  # of each worker
        self._backlogs = {backend.name: backend.clients.backlog for backend in draft.old.backends}
        self._opened = self._bind()
        self._closed: list[Place] = []
        self._listeners: dict[str, list[tuple[Place, Listener]]] = {}  # of each backend, from now on

    def _bind(self) -> list[tuple[Place, Listener]]:
        opened: list[tuple[Place, Listener]] = []
        clients = {backend.name: backend.clients for backend in self.config.backends}
        problems = []
        for name, text in self.plan.opened:
            try:
                its = clients[name]
                made = self._handed.take(name, text)
                listener = made or listen(text, its.backlog, transparent=its.transparent)
                opened.append((Place.of(name, text), listener))
            except OSError as error:
                problems.append(f"backend {name}: {explain(text, error)}")
        if problems:
            for _, listener in opened:
                self._handed.put(listener)
            raise ListenError("\n".join(problems))
        return opened

    def relist(self, listeners: Listeners) -> list[Listener]:
        """The listeners as they are from now on; returns those to close once no worker accepts on them."""
        at_hand: dict[Place, list[Listener]] = {}
        for name, mine in listeners.backends.items():
            for listener in mine:
                at_hand.setdefault(Place.of(name, listener.address), []).append(listener)
        for text, old, new in self.plan.handed:
            was, becomes = Place.of(old, text), Place.of(new, text)
            (listener,) = at_hand.pop(was)
            self._opened.append((becomes, listener))
            self._closed.append(was)
        self._closed += [Place.of(name, text) for name, text in self.plan.closed]
        for place, listener in self._opened:
            at_hand.setdefault(place, []).append(listener)
        listeners.backends = {
            backend.name: [at_hand[Place.of(backend.name, text)].pop(0) for text in backend.clients.listen]
            for backend in self.config.backends
        }
        for backend in self.config.backends:
            mine = listeners.backends[backend.name]
            self._listeners[backend.name] = [
                (Place.of(backend.name, text), listener)
                for text, listener in zip(backend.clients.listen, mine, strict=True)
            ]
            fresh = {id(listener) for place, listener in self._opened if place.backend == backend.name}
            is_other = self._backlogs.get(backend.name) != backend.clients.backlog
            for listener in mine:
                if is_other or id(listener) in fresh:  # one that changes hands has another's
                    listener.socket.listen(backend.clients.backlog)
        return [listener for left in at_hand.values() for listener in left]

    def settle(self, ledger: Ledger) -> None:
        """The bounds, before anybody opens or closes anything for them."""
        for worker, had in enumerate(self._live):
            for name in set(had) - self._staying(worker):
                ledger.retire(name, worker)
        for backend in self.plan.removed:
            ledger.forget(backend.name)
        for backend in (*self.plan.added, *(each.new for each in self.plan.changed)):
            ledger.set_bounds(backend.name, limits.numbers(backend))

    def _staying(self, worker: int) -> set[str]:
        """Backends whose pool there goes on."""
        had = self._live[worker] if worker < len(self._live) else ()
        return set(had) & {backend.name for backend in self.told[worker]} - self.plan.replaced

    def part(self, serial: int, worker: int, place_in_ledger: Open) -> Part:
        """A backend may stay and yet come to this worker, or leave it: when it has more shards, or fewer."""
        had = set(self._live[worker] if worker < len(self._live) else ())
        has = {backend.name: backend for backend in self.told[worker]}
        stays = self._staying(worker)
        changed = {each.new.name for each in self.plan.changed} & stays
        added = [backend for name, backend in has.items() if name not in stays]
        opened = [(place, listener) for place, listener in self._opened if place.backend in stays]
        opened += [each for backend in added for each in self._listeners[backend.name]]
        change = Apply(
            serial,
            self.config.node.memory,
            self.config.node.drain_timeout,
            removed=sorted(had - stays),
            added=added,
            holders={backend.name: place_in_ledger(backend.name, worker) for backend in added},
            changed=[has[name] for name in sorted(changed)],
            opened=[place for place, _ in opened],
            closed=[place for place in self._closed if place.backend in stays],
        )
        descriptors = [listener.socket.fileno() for _, listener in opened]
        return Part(change, self.told[worker], descriptors)
