"""The ledger of ids: whose reply each of those in flight is. Ids are ours, count from 1 and are never used
again.

A dict does the same. But ids are dense, and a place in a list is found without making a number an object,
hashing it and comparing it, five times a call. `tag & mask` is an id's place; where another one that is older
still has it, that id is left out. So a server that answers in any order costs no more than the list is long.
"""

from __future__ import annotations

from operator import attrgetter
from typing import Final

from muxproxy.errors import BugError
from muxproxy.mux.exchange import Exchange
from muxproxy.native import i64

LEAST: Final = 32  # places; a power of two, and so is every later number of them

_wire_tag: Final = attrgetter("wire_tag")


class Slots:
    """Bounded by what is in flight (max_in_flight): four places for each that ever was at once."""

    __slots__ = ("_mask", "_oldest", "_places", "given", "size")

    def __init__(self) -> None:
        self._places: list[Exchange | None] = [None] * LEAST
        self._mask: i64 = LEAST - 1
        self.given: i64 = 0  # the last id given out
        self._oldest: i64 = 1  # no id below it is in flight
        self.size: i64 = 0  # of them

    def add(self, exchange: Exchange) -> int:
        """Returns its id, which is its `wire_tag` now."""
        if self.size * 2 > self._mask:
            self._grow()
        places, mask = self._places, self._mask
        tag: i64 = self.given + 1
        while places[tag & mask] is not None:
            tag += 1
        places[tag & mask] = exchange
        self.given = tag
        self.size += 1
        exchange.wire_tag = tag
        return tag

    def skip(self) -> int:
        """An id that nobody has."""
        tag: i64 = self.given + 1
        self.given = tag
        return tag

    def get(self, tag: int) -> Exchange | None:
        """`tag`: whatever a server says, up to 2**64."""
        given: int = self.given  # compared with an i64, `tag` would have to be one, which raises beyond 2**63
        if not 0 < tag <= given:
            return None
        near: i64 = tag
        exchange = self._places[near & self._mask]
        return exchange if exchange is not None and exchange.wire_tag == tag else None

    def remove(self, exchange: Exchange) -> None:
        """It is on it."""
        tag: i64 = exchange.wire_tag
        place: i64 = tag & self._mask
        if self._places[place] is not exchange:
            raise BugError(f"no id {tag} is in flight")
        self._places[place] = None
        self.size -= 1

    def oldest(self) -> Exchange | None:
        if not self.size:
            self._oldest = self.given + 1
            return None
        places, mask = self._places, self._mask
        tag: i64 = self._oldest
        end: i64 = tag + mask + 1
        while tag < end:
            exchange = places[tag & mask]
            if exchange is not None and exchange.wire_tag == tag:
                self._oldest = tag
                return exchange
            tag += 1
        # It was alone with those that came as many ids later: as many were given out since the last time.
        oldest = self.all()[0]
        self._oldest = oldest.wire_tag
        return oldest

    def newest(self) -> Exchange | None:
        exchange = self.get(self.given)
        return exchange if exchange is not None or not self.size else self.all()[-1]

    def all(self) -> list[Exchange]:
        """Oldest first."""
        everything = [exchange for exchange in self._places if exchange is not None]
        everything.sort(key=_wire_tag)
        return everything

    def clear(self) -> None:
        self._places = [None] * (self._mask + 1)
        self.size = 0

    def _grow(self) -> None:
        """Twice as many places. Two ids that had two still do."""
        everything = self.all()
        self._mask = mask = self._mask * 2 + 1
        places: list[Exchange | None] = [None] * (mask + 1)
        for exchange in everything:
            tag: i64 = exchange.wire_tag
            places[tag & mask] = exchange
        self._places = places
