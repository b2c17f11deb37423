"""Which build of the heart is installed, and which one a process has loaded."""

from __future__ import annotations

from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path
from types import ModuleType

import pytest

from muxproxy import native
from muxproxy.native import COMPILED, MIXED, PURE, installed, running


def module(name: str, file: str, *, is_package: bool = False) -> ModuleType:
    made = ModuleType(name)
    made.__file__ = file
    if is_package:
        made.__path__ = []
    return made


SOURCE = module("muxproxy.mux.work", "/x/work.py")
BINARY = module("muxproxy.protocols.contract", f"/x/contract{EXTENSION_SUFFIXES[0]}")
OUTSIDE = module("muxproxy.worker.engine", "/x/engine.py")
PACKAGE = module("muxproxy.mux.base", "/x/__init__.py", is_package=True)


@pytest.mark.parametrize(
    ("modules", "build"),
    [
        ([SOURCE, OUTSIDE], PURE),
        ([BINARY, OUTSIDE, PACKAGE], COMPILED),
        ([BINARY, SOURCE], MIXED),
        ([], MIXED),  # a process that has loaded nothing of the heart runs neither
    ],
)
def test_what_a_process_has_loaded_tells_its_build(modules: list[ModuleType], build: str) -> None:
    assert running(modules) == build


def test_this_process_runs_the_build_that_is_installed() -> None:
    from muxproxy.mux import sharings

    assert sharings is not None
    assert running() == installed()


@pytest.mark.parametrize(
    ("name", "build"), [("exchange.py", PURE), (f"exchange{EXTENSION_SUFFIXES[0]}", COMPILED)]
)
def test_what_is_installed_is_asked_of_the_files(
    name: str, build: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mux").mkdir()
    (tmp_path / "mux" / name).touch()
    monkeypatch.setattr(native, "__file__", str(tmp_path / "native.py"))
    assert installed() == build
