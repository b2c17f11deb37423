"""One event is one line, whatever is in it."""

from __future__ import annotations

import json
import os

import pytest

from muxproxy.supervisor.log import Log, stderr_log


@pytest.fixture
def lines():
    return []


@pytest.fixture
def log(lines):
    return Log(lambda level, line: lines.append(f"{level} {line}"), "info")


def test_a_value_is_bare_where_that_is_unambiguous_and_quoted_elsewhere(log, lines):
    log.info("serving", address="[::1]:80", name="two words", empty="", equals="a=b", seconds=1.23456789, n=3)
    assert lines == [
        'info serving address=[::1]:80 name="two words" empty="" equals="a=b" seconds=1.23457 n=3',
    ]


def test_nothing_a_peer_sends_makes_a_second_line(log, lines):
    log.line("info", "odd\nevent", {"ke\ny": 'a\r\n<3>forged "line"\x00\x1b[2J'})
    [line] = lines
    assert line.isprintable()


@pytest.mark.parametrize("letter", list("\x1b\x7f\x80\x9b\x9f\u202e\u2066\u2028\U000e0001"))
def test_no_terminal_gets_what_drives_it(log, lines, letter):
    """ESC, DEL, C1 (U+009B is CSI), what turns text around, and what is a line's end to some."""
    for text in (letter, f"a{letter}[2Jb", f"a b{letter}"):
        log.line("info", f"event{letter}", {"error": text, f"key{letter}": 1})
        line = lines.pop()
        assert line.isprintable()
        assert json.loads(line.split(" error=")[1].rsplit(' "key')[0]) == text


def test_words_of_any_language_stay_as_they_are(log, lines):
    log.info("café", name="größe", text="日本 語")
    assert lines == ['info café name=größe text="日本 語"']


def test_lines_below_the_level_are_not_written_and_an_unknown_level_is_an_error(log, lines):
    log.line("debug", "chatter", {})
    log.line("shout", "odd", {})
    assert lines == ["error odd"]


def test_under_the_journal_a_line_starts_with_its_priority(capfd, monkeypatch):
    status = os.fstat(2)
    monkeypatch.setenv("JOURNAL_STREAM", f"{status.st_dev}:{status.st_ino}")
    with open(os.dup(2), "w") as stream:
        monkeypatch.setattr("sys.stderr", stream)
        stderr_log("info").warning("worker died", worker=0)
    assert capfd.readouterr().err == "<4>worker died worker=0\n"


def test_elsewhere_a_line_starts_with_the_time(capfd, monkeypatch):
    monkeypatch.setenv("JOURNAL_STREAM", "1:1")  # inherited, but stderr was redirected since
    stderr_log("info").info("serving")
    assert capfd.readouterr().err[24:] == " info    serving\n"


def test_a_reader_of_the_log_that_has_gone_does_not_end_the_service(monkeypatch):
    reader, writer = os.pipe()
    os.close(reader)
    with open(writer, "w") as stream:
        monkeypatch.setattr("sys.stderr", stream)
        log = stderr_log("info")
        log.info("one")
        log.info("two")
