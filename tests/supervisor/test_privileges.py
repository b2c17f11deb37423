"""What is left of root's rights in a process that has dropped them, and in what it execs."""

from __future__ import annotations

import json
import os
import pwd
import subprocess
import sys

import pytest

from muxproxy.supervisor.privileges import drop

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root has rights to drop")
KILL, SETGID, SETUID, BIND = 1 << 5, 1 << 6, 1 << 7, 1 << 10
NOBODY = pwd.getpwnam("nobody")

# argv: other_user, [uid, gid, group]. Says what it is, what its worker is, and how that ended. The
# shell gets `--control-fd N` as $0 and $1.
PROGRAM = """
import json, os, sys, trio
from muxproxy.config.identity import Identity
from muxproxy.supervisor.privileges import drop
from muxproxy.supervisor.process import RealProcess

def status(text):
    lines = dict(line.split(":", 1) for line in text.splitlines())
    return {key: lines[key].split() for key in
        ("Uid", "Gid", "Groups", "NoNewPrivs", "CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")}

async def main():
    numbers = [int(word) for word in sys.argv[2:]]
    run_as = Identity(numbers[0], numbers[1], numbers[2:]) if numbers else None
    drop(other_user=sys.argv[1] == "True")
    worker = RealProcess(["/bin/sh", "-c", 'cat /proc/self/status >&$1; exec sleep 60'], [], run_as)
    text = b""
    while b"nonvoluntary" not in text:
        text += await worker.channel.receive_some()
    worker.kill()
    ended = await worker.wait()
    print(json.dumps([status(open("/proc/self/status").read()), status(text.decode()), ended]))

trio.run(main)
"""


def run(*words: object) -> tuple[dict, dict, int]:
    command = [sys.executable, "-c", PROGRAM, *map(str, words)]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return tuple(json.loads(done.stdout))


def caps(status: dict, name: str) -> int:
    return int(status[f"Cap{name}"][0], 16)


@as_root
def test_root_keeps_what_low_ports_need_and_its_workers_nothing() -> None:
    supervisor, worker, ended = run(False)
    assert caps(supervisor, "Eff") == caps(supervisor, "Prm") == BIND
    for status in (supervisor, worker):
        assert [caps(status, name) for name in ("Bnd", "Inh", "Amb")] == [0, 0, 0]
        assert status["NoNewPrivs"] == ["1"]
        assert status["Uid"] == ["0"] * 4
    assert caps(worker, "Eff") == caps(worker, "Prm") == 0
    assert ended == -9


@as_root
def test_a_worker_of_another_user_has_his_groups_only_and_can_be_killed() -> None:
    supervisor, worker, ended = run(True, NOBODY.pw_uid, NOBODY.pw_gid, 12345)
    assert caps(supervisor, "Eff") == caps(supervisor, "Prm") == BIND | KILL | SETUID | SETGID
    assert worker["Uid"] == [str(NOBODY.pw_uid)] * 4
    assert worker["Gid"] == [str(NOBODY.pw_gid)] * 4
    assert worker["Groups"] == ["12345"]
    assert [caps(worker, name) for name in ("Eff", "Prm", "Inh", "Amb")] == [0] * 4
    assert caps(worker, "Bnd") == BIND | KILL | SETUID | SETGID  # for a successor, who is root; no_new_privs
    assert worker["NoNewPrivs"] == ["1"]
    assert ended == -9


@as_root
def test_what_root_execs_afterwards_has_the_same_rights_and_no_more() -> None:
    code = """import os
from muxproxy.supervisor.privileges import drop
drop(other_user=True)
os.execv("/bin/cat", ["cat", "/proc/self/status"])
"""
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    status = {
        key: value.split() for key, _, value in (line.partition(":") for line in done.stdout.splitlines())
    }
    kept = BIND | KILL | SETUID | SETGID
    assert [caps(status, name) for name in ("Eff", "Prm", "Inh", "Amb")] == [kept, kept, 0, 0]


def test_without_rights_there_are_none_to_drop_and_none_to_come() -> None:
    code = "from muxproxy.supervisor.privileges import drop\ndrop(other_user=False)\n"
    code += "print(open('/proc/self/status').read())"
    if os.geteuid() == 0:  # here, for nobody else may be able to read the interpreter
        code = f"import muxproxy.supervisor.privileges, os\nos.setgroups([])\nos.setuid(12345)\n{code}"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    lines = dict(line.split(":\t", 1) for line in done.stdout.splitlines() if line)
    assert [int(lines[f"Cap{name}"], 16) for name in ("Eff", "Prm", "Inh", "Amb")] == [0] * 4
    assert lines["NoNewPrivs"] == "1"


def test_who_cannot_become_another_user_is_told_before_a_worker_is_started(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("muxproxy.supervisor.privileges._permitted", lambda libc: BIND | SETUID | SETGID)
    with pytest.raises(PermissionError, match="CAP_KILL"):
        drop(other_user=True)
