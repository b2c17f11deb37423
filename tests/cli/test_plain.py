"""What a terminal may be sent."""

from __future__ import annotations

import pytest

from muxproxy.cli.plain import plain, plain_all


@pytest.mark.parametrize("letter", ["\x00", "\x1b", "\n", "\x7f", "\x80", "\x9b", "\x9f", "\u202e", "\u2069"])
def test_control_characters_become_question_marks(letter: str) -> None:
    assert plain(f"a{letter}[2Jb") == "a?[2Jb"


def test_other_text_stays_as_it_is() -> None:
    assert plain("größe 日本 [::1]:80") == "größe 日本 [::1]:80"
    assert plain("") == ""


def test_every_string_of_a_report_is_treated_and_nothing_else() -> None:
    assert plain_all({"a\x1b": ["\x9b", 1, None, {"b": "c\x7f"}], "d": 1.5, "e": True}) == {
        "a?": ["?", 1, None, {"b": "c?"}],
        "d": 1.5,
        "e": True,
    }
