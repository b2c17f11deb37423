"""Which build of the heart is installed, and which one a process has loaded."""

from __future__ import annotations

import importlib
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path
from pkgutil import walk_packages
from types import ModuleType

import pytest

from muxproxy import mux, native, protocols
from muxproxy.native import COMPILED, HANDS, MIXED, PROGRAMS, PURE, installed, is_compiled, running
from muxproxy.packaging import backend
from muxproxy.protocols.dubbo import common
from muxproxy.protocols.redis.resp import scan
from tests.builds import TESTED


def module(name: str, file: str, *, is_package: bool = False) -> ModuleType:
    made = ModuleType(name)
    made.__file__ = file
    if is_package:
        made.__path__ = []
    return made


SOURCE = module("muxproxy.mux.work", "/x/work.py")
BINARY = module("muxproxy.protocols.contract", f"/x/contract{EXTENSION_SUFFIXES[0]}")
HAND = module("muxproxy.worker.client", "/x/client.py")
OUTSIDE = module("muxproxy.worker.control", "/x/control.py")
PACKAGE = module("muxproxy.mux.base", "/x/__init__.py", is_package=True)


@pytest.mark.parametrize(
    ("modules", "build"),
    [
        ([SOURCE, OUTSIDE], PURE),
        ([BINARY, OUTSIDE, PACKAGE], COMPILED),
        ([BINARY, SOURCE], MIXED),
        ([BINARY, HAND], MIXED),
        ([], MIXED),  # a process that has loaded nothing of the heart runs neither
    ],
)
def test_what_a_process_has_loaded_tells_its_build(modules: list[ModuleType], build: str) -> None:
    assert running(modules) == build


def test_all_of_the_heart_is_of_the_build_that_this_run_of_the_tests_is_to_prove() -> None:
    """tests/run.sh says which; where it says nothing it is the pure one."""
    for room in (mux, protocols):
        for found in walk_packages(room.__path__, f"{room.__name__}."):
            if found.name not in PROGRAMS:
                importlib.import_module(found.name)
    for name in HANDS:
        importlib.import_module(name)
    assert running() == installed() == TESTED


def test_what_is_compiled_is_what_is_asked_for_its_build() -> None:
    """The backend that builds it cannot import the package."""
    assert {f"muxproxy.{name[:-3].replace('/', '.')}" for name in backend.HANDS} == HANDS
    assert {f"muxproxy.{room}." for room in backend.ROOMS} == set(native.ROOMS)
    assert {f"muxproxy.{name[:-3].replace('/', '.')}" for name in backend.INTERPRETED} == set(PROGRAMS)


def test_a_module_with_two_ways_takes_its_own_builds() -> None:
    assert is_compiled(len)
    assert not is_compiled(module)
    is_c = TESTED == COMPILED
    assert scan.COMPILED is common.COMPILED is is_c


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
