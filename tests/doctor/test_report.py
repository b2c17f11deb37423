"""The published shape, and how numbers are said."""

from __future__ import annotations

import msgspec
import pytest

from muxproxy.doctor.judging.judge import Question, judge
from muxproxy.doctor.report import Report, count, percent, span, times
from tests.doctor.made import facts, flow


def test_what_is_published_can_be_read_back() -> None:
    report = judge(facts(flow(27_900, 8, timed=500.0, growth=100.0)), Question((1024, 20000)))
    told = msgspec.json.encode(msgspec.to_builtins(report, str_keys=True))
    assert msgspec.json.decode(told, type=Report, strict=False) == report


def test_its_schema_names_what_programs_look_for() -> None:
    schema = msgspec.json.schema(Report)["$defs"]
    assert {"shape", "verdict", "findings", "flows", "settings", "unseen"} <= schema["Report"][
        "properties"
    ].keys()
    assert {"level", "title", "type", "evidence", "remote"} <= schema["Finding"]["properties"].keys()


@pytest.mark.parametrize(
    ("said", "number"),
    [
        (times(0.0), "0"),
        (times(0.5), "0.5"),
        (times(1234.4), "1,234"),
        (percent(1, 400), "0.2 %"),
        (percent(1998, 2000), "100 %"),
        (percent(1, 0), "0 %"),
        (span(0.2), "1 s"),
        (span(90), "90 s"),
        (span(1200), "20 min"),
        (span(1e5), "28 h"),
        (span(1e6), "12 d"),
        (count(1, "socket"), "1 socket"),
        (count(2000, "process"), "2,000 processes"),
    ],
)
def test_numbers_are_said_as_people_do(said: str, number: str) -> None:
    assert said == number
