"""So many lines in so long, whoever makes them."""

from __future__ import annotations

from muxproxy.mux.base.voice import LINES, WINDOW, Voice
from muxproxy.protocols.contract import Sharing
from tests.mux.destinations.city import City


def test_there_are_so_many_lines_in_so_long() -> None:
    voice = Voice()
    assert [voice.may_speak(1.0) for _ in range(LINES + 1)] == [True] * LINES + [False]
    assert not voice.may_speak(WINDOW - 1.0)
    assert voice.may_speak(WINDOW)


def test_of_servers_that_clients_choose_only_so_many_are_told_and_those_are_told_to_be_back() -> None:
    city = City(Sharing.EXCLUSIVE, max_connections=100, timeout=60.0)
    for number in range(LINES + 5):
        city.goes(number, b"hello\n")
        city.refuses()
    assert [line[0] for line in city.world.lines] == ["server cannot be reached"] * LINES
    city.passes(1.0)
    while city.dials:
        city.connects()
    assert [line[0] for line in city.world.lines].count("server is back") == LINES
