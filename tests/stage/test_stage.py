"""The processes of a show: heard, missed when they die, and gone with their folder at the end."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from muxproxy.stage import stage as stages
from muxproxy.stage.stage import Broken, Child, Stage, Stopped

LOAD = "muxproxy.cli.demo.load"


def started(stage: Stage) -> Child:
    child = stage.program(LOAD, "the load")
    assert stage.await_word(child, "ready", within=20) is True
    return child


def killed(stage: Stage) -> Child:
    child = started(stage)
    child.process.kill()
    child.process.wait()
    return child


def test_everything_is_gone_at_the_end() -> None:
    before = signal.getsignal(signal.SIGINT)
    with Stage("test") as stage:
        child = started(stage)
        folder = stage.folder
        assert folder.is_dir()
        assert child.process.poll() is None
    assert child.process.returncode == 0
    assert not folder.exists()
    assert signal.getsignal(signal.SIGINT) is before


@pytest.mark.parametrize("number", stages.SIGNALS)
def test_a_signal_is_obeyed_at_the_next_turn_and_leaves_nothing_behind(number: int) -> None:
    with Stage("test") as stage:
        child = started(stage)
        os.kill(os.getpid(), number)
        with pytest.raises(Stopped, match=signal.Signals(number).name):
            stage.turn()
    assert child.process.returncode == 0
    assert not stage.folder.exists()


def test_a_child_that_died_is_missed_by_name_with_the_end_of_its_log() -> None:
    with Stage("test") as stage:
        child = killed(stage)
        child.log.write_text("all was well\n")
        with pytest.raises(Broken) as failure:
            stage.turn()
    assert str(failure.value) == "the load ended by SIGKILL; there is no going on\n  all was well"


def test_an_order_to_a_child_that_died_says_that_it_died() -> None:
    with Stage("test") as stage:
        child = killed(stage)
        with pytest.raises(Broken, match="the load ended by SIGKILL"):
            child.tell({"port": 1})


def test_a_word_that_does_not_come_is_waited_for_no_longer_than_allowed() -> None:
    with Stage("test") as stage, pytest.raises(Broken, match=r"did not say 'never' within 0\.1s"):
        stage.await_word(started(stage), "never", within=0.1)


def test_a_child_that_does_not_end_when_asked_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stages, "GOODBYE", 0.1)
    with Stage("test") as stage:
        child = started(stage)
        os.kill(child.process.pid, signal.SIGSTOP)
    assert child.process.returncode == -signal.SIGKILL


def test_muxproxy_ends_when_the_demo_is_killed_outright(tmp_path: Path) -> None:
    """The stage in a process of its own, which gets SIGKILL: nobody is left to tidy up."""
    code = """
import sys, time
from pathlib import Path
from muxproxy.cli.demo.acts import write_config
from muxproxy.stage.stage import Stage
with Stage("test") as stage:
    write_config(stage.folder, str(stage.folder / "admin.sock"), 8080, 10)
    print(stage.proxy(stage.folder, "muxproxy").process.pid, flush=True)
    time.sleep(60)
"""
    env = os.environ | {"TMPDIR": str(tmp_path)}
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, env=env) as parent:
        assert parent.stdout is not None
        orphan = os.pidfd_open(int(parent.stdout.readline()))
        assert select.select([orphan], [], [], 0)[0] == []  # it runs
        parent.kill()
    try:
        assert select.select([orphan], [], [], 10)[0] == [orphan]  # it has ended
    finally:
        os.close(orphan)


def test_those_that_start_together_are_waited_for_together_and_one_may_end_before_the_others() -> None:
    with Stage("test") as stage:
        one, two = (stage.program(LOAD, name) for name in ("one", "two"))
        stage.await_all([one, two], "ready", within=20)
        stage.end(one)
        assert one.process.returncode == 0
        stage.turn()  # nobody misses it
        assert two.process.poll() is None
        with pytest.raises(Broken, match=r"two did not say 'never' within 0\.1s"):
            stage.await_all([two], "never", within=0.1)


def test_a_server_starts_with_what_is_done_before_it_and_ends_with_us() -> None:
    with Stage("test") as stage:
        child = stage.server(["sh", "-c", "pwd >&2; exec sleep 60"], "a server", lambda: os.chdir("/"))
        while "/\n" not in child.log.read_text():
            stage.turn()
    assert child.process.returncode == -signal.SIGTERM


def test_an_errand_may_come_to_an_end_and_what_it_printed_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stages, "program", lambda module: ["sh", "-c"])
    with Stage("test") as stage:
        child = stage.errand(("echo hello",), tmp_path / "said")
        assert child.process.wait(30) == 0
        stage.turn()
        assert (tmp_path / "said").read_text() == "hello\n"
        stage.errand(("exit 2",), tmp_path / "said").process.wait(30)
        with pytest.raises(Broken, match="muxproxy exit 2 ended with exit status 2"):
            stage.turn()
