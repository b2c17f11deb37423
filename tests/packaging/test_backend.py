"""The build backend: what it compiles, when it does not, and that it says so. A small package stands for
ours."""

from __future__ import annotations

import ast
import errno
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from muxproxy.packaging import backend
from muxproxy.packaging.backend import (
    INTERPRETED,
    _written,
    is_current,
    is_to_be_compiled,
    sources,
    wants_compiled,
    why_not,
)

ROOT = Path(__file__).resolve().parents[2]
MODULE = '"""Adds."""\n\n\ndef add(a: int, b: int) -> int:\n    return a + b\n'
# As `python -m build` does: what is built is what a source distribution has.
BUILD = """
import backend, os, sys, tarfile
place = sys.argv[1]
name = backend.build_sdist(place)
with tarfile.open(os.path.join(place, name)) as packed:
    packed.extractall(place, filter="data")
os.chdir(os.path.join(place, name.removesuffix(".tar.gz")))
print(backend.build_wheel(place))
"""
USE = """
import sys
sys.path.insert(0, sys.argv[1])
from muxproxy.mux import work
print(work.__file__, work.add(1, 2))
from muxproxy.worker.calls import direct
print(direct.__file__, direct.accept(-1))
"""
# A compiler that can make the probe, and nothing else.
BREAKS = (
    '#!/bin/sh\ncase "$*" in *probe.c*) exec cc "$@";; esac\necho "x.c: error: a wrong line" >&2\nexit 1\n'
)
UNFIT = '#!/bin/sh\necho "probe.c:1: fatal error: Python.h: No such file" >&2\nexit 1\n'


def tool(place: Path, script: str) -> str:
    path = place / "compiler"
    path.write_text(script)
    path.chmod(0o755)
    return str(path)


def build(place: Path, module: str = MODULE, **env: str) -> subprocess.CompletedProcess[str]:
    project = place / "project"
    (project / "muxproxy" / "mux").mkdir(parents=True)
    (project / "muxproxy" / "protocols").mkdir()
    for name, text in (("__init__", ""), ("mux/__init__", ""), ("mux/work", module)):
        (project / "muxproxy" / f"{name}.py").write_text(text)
    for name in backend.BY_HAND:
        (project / "muxproxy" / name).parent.mkdir(parents=True)
        shutil.copy(ROOT / "muxproxy" / name, project / "muxproxy" / name)
    (project / "pyproject.toml").write_text('[project]\nname = "muxproxy"\nversion = "1.0"\n')
    path = str(Path(backend.__file__).parent)
    return subprocess.run(
        [sys.executable, "-c", BUILD, str(place)],
        cwd=project,
        env=os.environ | {"PYTHONPATH": path, "MUXPROXY_BUILD": ""} | env,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )


def wheel(place: Path) -> list[str]:
    return [path.name for path in place.glob("*.whl")]


def test_with_a_compiler_the_wheel_is_compiled_and_the_checkout_stays_as_it_was(tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    done = build(tmp_path, MUXPROXY_PURE="0", MUXPROXY_BUILD=str(kept))
    assert done.returncode == 0, done.stderr
    (name,) = wheel(tmp_path)
    assert f"muxproxy: made {name}: compiled" in done.stderr
    assert f"cp{sys.version_info[0]}{sys.version_info[1]}-" in name
    assert list((tmp_path / "project").rglob("*.so")) == []
    assert not (tmp_path / "project" / "build").exists()
    inside = str(tmp_path / "inside")
    subprocess.run([sys.executable, "-m", "zipfile", "-e", str(tmp_path / name), inside], check=True)
    told = subprocess.run(
        [sys.executable, "-P", "-c", USE, inside], capture_output=True, text=True, check=True
    )
    work, direct = told.stdout.splitlines()
    assert work.endswith(".so 3")
    assert direct.endswith(f".so {-errno.EBADF}")
    assert backend._CALLS in (kept / "light" / "muxproxy" / "mux" / "work.c").read_text()
    parts = [path.read_text() for path in (kept / "c").glob("part*.c")]
    assert sum(part.count("\nRUNS_ONCE char ") for part in parts) == 1


@pytest.mark.parametrize("how", ["asked", "no compiler", "no headers"])
def test_else_it_is_pure_and_that_is_said(how: str, tmp_path: Path) -> None:
    env = {
        "asked": {"MUXPROXY_PURE": "1"},
        "no compiler": {"CC": "/nowhere/cc", "MUXPROXY_PURE": ""},
        "no headers": {"CC": tool(tmp_path, UNFIT), "MUXPROXY_PURE": ""},
    }[how]
    done = build(tmp_path, **env)
    assert done.returncode == 0, done.stderr
    assert wheel(tmp_path) == ["muxproxy-1.0-py3-none-any.whl"]
    why = {
        "asked": "MUXPROXY_PURE=1",
        "no compiler": "no C compiler (/nowhere/cc)",
        "no headers": "Python.h: No such",
    }
    assert "muxproxy: PURE, nothing is compiled: " in done.stderr
    assert why[how] in done.stderr


def test_a_compiler_that_fails_on_our_own_code_ends_the_build(tmp_path: Path) -> None:
    done = build(tmp_path, CC=tool(tmp_path, BREAKS), MUXPROXY_PURE="")
    assert done.returncode != 0
    assert "a wrong line" in done.stderr
    assert wheel(tmp_path) == []


def test_so_does_a_type_error(tmp_path: Path) -> None:
    done = build(tmp_path, MODULE.replace("a + b", "str(a)"), MUXPROXY_PURE="")
    assert done.returncode != 0
    assert "Incompatible return value type" in done.stdout + done.stderr
    assert wheel(tmp_path) == []


def test_whoever_wants_it_compiled_gets_no_pure_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MUXPROXY_PURE", "0")
    monkeypatch.setenv("CC", "/nowhere/cc")
    with pytest.raises(SystemExit, match=r"MUXPROXY_PURE=0, but there is no C compiler"):
        is_to_be_compiled("wheel")


@pytest.mark.parametrize(
    ("what", "value", "wanted"),
    [
        ("wheel", "", None),
        ("wheel", "1", False),
        ("wheel", "0", True),
        ("editable", "", False),
        ("editable", "1", False),
        ("editable", "0", True),
    ],
)
def test_an_editable_install_is_compiled_only_if_asked(what: str, value: str, wanted: bool | None) -> None:
    assert wants_compiled(what, {"MUXPROXY_PURE": value}) is wanted


def test_a_word_that_means_nothing_is_refused() -> None:
    with pytest.raises(SystemExit, match="MUXPROXY_PURE is 0, 1 or nothing, not 'yes'"):
        wants_compiled("wheel", {"MUXPROXY_PURE": "yes"})


def test_a_compiler_that_works_is_found_to_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CC", raising=False)
    assert why_not() == ""


def test_every_module_of_the_heart_is_compiled_that_does_anything() -> None:
    package = ROOT / "muxproxy"
    named = set(sources(package))
    assert {"mux/work.py", "protocols/contract.py", "protocols/http/__init__.py"} <= named
    assert set(backend.HANDS) <= named
    assert {path.relative_to(package).as_posix() for path in package.rglob("*.c")} == set(backend.BY_HAND)
    for room in backend.ROOMS:
        for path in (package / room).rglob("*.py"):
            name = path.relative_to(package).as_posix()
            if name not in named | INTERPRETED:
                assert len(ast.parse(path.read_text()).body) == 1, name
                assert path.name == "__init__.py"


def module_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix().removesuffix(".py").replace("/", ".").removesuffix(".__init__")


def test_what_stays_interpreted_inherits_only_from_what_the_compiler_was_told_of() -> None:
    """Else such a class refuses to be made, in the compiled build alone."""
    package = ROOT / "muxproxy"
    compiled = {module_of(package / name) for name in sources(package)}
    told, bases = set(), set()
    for path in package.rglob("*.py"):
        tree = ast.parse(path.read_text())
        origin = {
            name.asname or name.name: f"{node.module}.{name.name}"
            for node in ast.walk(tree)
            if isinstance(node, ast.ImportFrom) and node.module in compiled
            for name in node.names
        }
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef) and module_of(path) in compiled:
                if any("allow_interpreted_subclasses" in ast.unparse(said) for said in node.decorator_list):
                    told.add(f"{module_of(path)}.{node.name}")
            elif isinstance(node, ast.ClassDef):
                bases |= {origin[base] for base in map(ast.unparse, node.bases) if base in origin}
    assert "muxproxy.worker.listener.Listener" in bases <= told


def test_what_has_changed_is_compiled_again(tmp_path: Path) -> None:
    source, header, made = tmp_path / "a.c", tmp_path / "a.h", tmp_path / "a.o"
    assert _written(source, "int a;\n") == str(source)
    header.touch()
    for old in (source, header):
        os.utime(old, (100, 100))
    assert not is_current(made, source)
    made.touch()
    os.utime(made, (200, 200))
    _written(source, "int a;\n")
    assert is_current(made, source)
    for newer in (source, header):
        os.utime(newer, (300, 300))
        assert not is_current(made, source)
        os.utime(newer, (100, 100))
    _written(source, "int b;\n")
    assert not is_current(made, source)
