"""The two builds of the heart and its hands: pure, the sources as they stand, and compiled, the same by mypyc
(packaging/).

What the compiler must be told of a class; which build is installed; which one a process runs.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path
from types import FunctionType, ModuleType
from typing import TYPE_CHECKING

PURE, COMPILED, MIXED = "pure", "compiled", "mixed"
# What is compiled, all of it or nothing, but for packages that only say what they are for.
ROOMS = ("muxproxy.mux.", "muxproxy.protocols.")
# And of these rooms what a connection or a request runs through.
HANDS = frozenset(
    (
        "muxproxy.metrics.histogram",
        "muxproxy.worker.adopt",
        "muxproxy.worker.client",
        "muxproxy.worker.engine",
        "muxproxy.worker.listener",
        "muxproxy.worker.reaching.dial",
        "muxproxy.worker.upstream",
        "muxproxy.worker.visit",
    )
)
# A package of two: what it has chosen tells its build. (Nobody asks it for the other but its test.)
CALLS = "muxproxy.worker.calls"
PROGRAMS = ("muxproxy.protocols.redis.commands.generate",)  # run by hand, as they stand

if TYPE_CHECKING:
    from mypy_extensions import i64 as i64
    from mypy_extensions import mypyc_attr as mypyc_attr
    from mypy_extensions import trait as trait
else:  # the compiler reads them in the source; where they are run they mean nothing, and need no package
    i64 = int  # what C has: a number below 2**63, in a register

    def trait(cls: type) -> type:
        return cls

    def mypyc_attr(**said: int) -> Callable[[type], type]:
        return trait


def is_compiled(function: Callable[..., object]) -> bool:
    """Asked by a module about itself, where its own best way is another one in each build."""
    return not isinstance(function, FunctionType)


def installed() -> str:
    """The build that a worker will load. Asked of the files, by who may not import the heart."""
    heart = Path(__file__).with_name("mux")
    is_compiled = any((heart / f"exchange{suffix}").exists() for suffix in EXTENSION_SUFFIXES)
    return COMPILED if is_compiled else PURE


def running(modules: Iterable[ModuleType] | None = None) -> str:
    """The build that this process has loaded; MIXED: some of each, which no installation leaves behind."""
    loaded = list(sys.modules.values() if modules is None else modules)
    builds = {
        PURE if (module.__file__ or "").endswith(".py") else COMPILED
        for module in loaded
        if (module.__name__.startswith(ROOMS) or module.__name__ in HANDS)
        and module.__name__ not in PROGRAMS
        and not hasattr(module, "__path__")
    }
    names = {module.__name__ for module in loaded}
    if CALLS in names:
        builds.add(COMPILED if f"{CALLS}.direct" in names else PURE)
    return builds.pop() if len(builds) == 1 else MIXED
