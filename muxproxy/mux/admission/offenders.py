"""Whose clients were cut because they held up others: they get less time for it next time (P5).

By what the kernel says of a client (World.identity): the process at the other end of a unix socket, the
address at the other end of a TCP connection. On loopback all share one address, so that an offence makes
nobody an outcast: what is cut short is the time that one may hold up others, and not below an eighth.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

MOST: Final = 1024  # that are remembered, those that offended last
HALF_LIFE: Final = 30.0  # seconds after which an offence counts half
LENIENT: Final = 2.0  # offences that cost nothing: the benefit of doubt
LEAST: Final = 8  # the time of who has lost it all is this part of the others'


class Offenders:
    __slots__ = ("_by_name",)

    def __init__(self) -> None:
        self._by_name: OrderedDict[str, tuple[float, float]] = OrderedDict()  # offences, when

    def __len__(self) -> int:
        return len(self._by_name)

    def add(self, name: str, now: float) -> None:
        offences = self.offences(name, now) + 1.0
        self._by_name[name] = (min(offences, 16.0), now)
        self._by_name.move_to_end(name)
        if len(self._by_name) > MOST:
            self._by_name.popitem(last=False)

    def offences(self, name: str, now: float) -> float:
        known = self._by_name.get(name)
        if known is None:
            return 0.0
        offences, since = known
        offences *= float(0.5 ** ((now - since) / HALF_LIFE))
        if offences < 0.5:
            del self._by_name[name]
            return 0.0
        return offences

    def share(self, name: str, now: float) -> float:
        """Of the time that others get."""
        beyond = self.offences(name, now) - LENIENT
        share = float(0.5 ** max(0.0, beyond))
        return max(1.0 / LEAST, share)
