"""What all tests share: the repository's root on the import path, and laws that do not judge the machine.

`tests.system.load` is then one module for pytest and for the children that run it with `python -m` from the
root.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from muxproxy.native import COMPILED, installed

ROOT = str(Path(__file__).resolve().parents[1])
if ROOT not in sys.path:
    sys.path.insert(0, ROOT)


def pytest_addoption(parser: pytest.Parser) -> None:
    what = "all that is random at its full size (tests/sizes.py)"
    parser.addoption("--full", action="store_true", help=what)


INSIDE = "inside: puts something of its own in the place of what compiled code does not look up by name"


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", INSIDE)
    config.pluginmanager.import_plugin("tests.alone")
    full: bool = config.getoption("--full")
    if full:
        os.environ["MUXPROXY_FULL"] = "1"
    # An example may take as long as a busy machine needs; what judges that judges the machine, not the law.
    both = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True)
    settings.register_profile("every run", both, derandomize=True, database=None)
    settings.register_profile("full", both, max_examples=5000)
    settings.load_profile("full" if full else "every run")


def pytest_report_header() -> str:
    return f"muxproxy: {installed()}"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """What reaches inside is left to the pure build; pytest counts it as deselected. Where two run at a time
    the long files go first, so that both end at once."""
    if installed() == COMPILED:
        inside = [item for item in items if item.get_closest_marker("inside") is not None]
        config.hook.pytest_deselected(items=inside)
        items[:] = [item for item in items if item.get_closest_marker("inside") is None]
    for item in items:
        if " at 0x" in item.nodeid or tempfile.gettempdir() in item.nodeid:
            raise pytest.UsageError(f"another name in each process, give it `ids` or an `id`: {item.nodeid}")
    if os.environ.get("PYTEST_XDIST_WORKER"):
        items.sort(key=lambda item: not item.nodeid.startswith("tests/system/"))
