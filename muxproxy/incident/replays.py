"""The three replays by name, and what all of them are: one table, so that nobody else names them."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import NamedTuple

from muxproxy.incident.dubbo import replay as dubbo
from muxproxy.incident.http import replay as http
from muxproxy.incident.observe import Show
from muxproxy.incident.record import Recording
from muxproxy.incident.redis import replay as redis
from muxproxy.incident.world import World
from muxproxy.stage.stage import Stage


class Replay(NamedTuple):
    programs: Callable[[], dict[str, str]]  # what must be installed: the package of Debian that has it
    recording: Callable[[str, World], Recording]  # of this size, before anything has happened
    play: Callable[[Stage, World, Recording, Show], None]
    problems: Callable[[Recording], list[str]]  # why it did not show what it is there to show
    finding: Callable[[Recording], str]  # the picture's title
    headlines: Callable[[Recording], dict[str, str]]  # for the picture, by leg
    limit: Callable[[Recording], tuple[int, str] | None]  # likewise, a line across


def _of(each: ModuleType) -> Replay:
    return Replay(*(getattr(each, name) for name in Replay._fields))


REPLAYS = {each.NAME: _of(each) for each in (http, redis, dubbo)}
