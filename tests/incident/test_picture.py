"""The picture: drawn of what was recorded, on the same axes, as PNG and SVG."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from muxproxy.incident import picture
from muxproxy.incident.record import Sample
from tests.incident.records import recorded


def test_states_are_grouped_by_what_they_mean() -> None:
    sample = Sample(0.0, {"ESTABLISHED": 1, "SYN_SENT": 2, "SYN_RECV": 3, "LAST_ACK": 4, "TIME_WAIT": 5}, {})
    assert picture.grouped(sample) == {"ESTABLISHED": 1, "opening": 5, "closing": 4, "TIME_WAIT": 5}


def test_it_is_a_png_and_an_svg_that_says_what_is_to_be_seen(tmp_path: Path) -> None:
    record = recorded()
    headlines = {"direct": "1,500 TIME_WAIT", "muxproxy": "8 sockets"}
    limit = (1500, "all 1,500 ports")
    picture.draw(record, "No port is left", headlines, limit, tmp_path / "redis")
    assert (tmp_path / "redis.png").read_bytes().startswith(b"\x89PNG")
    drawn = (tmp_path / "redis.svg").read_text()
    for word in (
        "No port is left",
        record.story,
        "TIME_WAIT 1,500",  # each band has its name, and the axis its unit
        "ESTABLISHED 8",
        "1,500 sockets",
        "errors from here",
        "8 sockets",
        "5 errors",
        "0 errors",
        "Cannot assign",
        "all 1,500 ports",
        "a note",
    ):
        assert f"<!-- {word}" in drawn  # what matplotlib says of the outlines that it draws
    assert "SYN_SENT" not in drawn  # one of 1,551


def test_without_matplotlib_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    assert picture.is_possible()
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert not picture.is_possible()
