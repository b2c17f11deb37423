"""The house rules that a machine can check: who may import whom, what stands where, how long a file may be.

The rules are DESIGN's section 3 as data. Each check is a function of source text or of a list of names, and
is itself shown something wrong here: a check that cannot fail is a defect.
"""

from __future__ import annotations

import ast
import fnmatch
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "muxproxy"

# Room -> the rooms it may import. Downwards only; a room may always import itself and muxproxy.__version__.
LEAVES = {"errors", "config", "metrics", "messages"}
MAY_IMPORT: dict[str, set[str]] = {
    "errors": set(),
    "config": {"errors"},
    "metrics": {"errors"},
    "messages": {"errors", "config"},
    "protocols": LEAVES,
    "mux": LEAVES | {"protocols"},
    "worker": LEAVES | {"protocols", "mux"},
    "supervisor": LEAVES,
    "cli": LEAVES | {"supervisor"},
    "__main__": {"cli"},
    "__init__": set(),
}

# The part that decides touches no socket, no loop and no clock. importlib would be a way around.
_WORLD = {
    "asyncio",
    "uvloop",
    "trio",
    "socket",
    "ssl",
    "time",
    "os",
    "logging",
    "threading",
    "random",
    "importlib",
}
# Module or room -> what it may not import from outside the house.
BANNED: dict[str, set[str]] = {
    "protocols": _WORLD,
    "mux": _WORLD,
    "metrics": _WORLD,
    "config.model": _WORLD,
    "errors": _WORLD,
    "messages": _WORLD,
    "worker": {"trio", "threading"},  # one event loop, no threads
    "supervisor": {"asyncio", "uvloop"},
}

# Modules without a test file of their own, each with the reason. `__init__.py` needs one only if it defines
# something.
UNTESTED: dict[str, str] = {
    "__main__": "one line; every system test starts muxproxy through it",
    "config.model": "only fields and defaults: tests/config/test_keys.py holds them against the keys",
    "metrics.snapshot": "types only, nothing to run",
    "mux.ports": "interfaces only, nothing to run",
    "protocols.contract": "interfaces and constants only, nothing to run",
}

TOP = {"README.md", "LICENSE", "pyproject.toml", "muxproxy", "config", "systemd", "tests"}
LONGEST_FILE = 500


def modules() -> dict[str, Path]:
    """`mux.pool` -> its file, `mux` -> its `__init__.py`; the package's own `__init__.py` is `__init__`."""
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        if parts[-1] == "__init__" and len(parts) > 1:
            parts = parts[:-1]
        found[".".join(parts)] = path
    return found


def python_files() -> list[Path]:
    return sorted([*PACKAGE.rglob("*.py"), *(ROOT / "tests").rglob("*.py")])


def imports(source: str, package: str) -> Iterator[str]:
    """Absolute names of everything that a module of `package` imports, wherever in the file it does."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                above = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*above, *([base] if base else [])])
            # `from muxproxy import worker` imports a room, `from muxproxy.errors import PeerError` a room's
            # name.
            yield from (f"{base}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "__import__":
            yield "__import__"


def trespasses(module: str, source: str, is_package: bool = False) -> list[str]:
    """What the module imports and may not, one line each."""
    room = module.split(".")[0]
    package = "muxproxy" if room in ("__init__", "__main__") else f"muxproxy.{module}"
    if not is_package and package != "muxproxy":
        package = package.rpartition(".")[0]
    wrong = []
    for name in imports(source, package):
        top, _, rest = name.partition(".")
        if top == "muxproxy":
            other = rest.split(".")[0]
            if other not in ("", "__version__", room) and other not in MAY_IMPORT[room]:
                wrong.append(f"{module} may not import {name}: {room} is not above {other}")
        elif name == "__import__" or top in BANNED.get(module, BANNED.get(room, set())):
            wrong.append(f"{module} may not import {name}")
    return wrong


@pytest.mark.parametrize("module", modules())
def test_imports_go_downwards_only_and_the_pure_rooms_know_nothing_of_the_world(module: str) -> None:
    path = modules()[module]
    assert trespasses(module, path.read_text(), path.name == "__init__.py") == []


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("mux.pool", "import time"),
        ("mux.pool", "from time import monotonic"),
        ("mux.pool", "def later():\n    import asyncio.events"),
        ("mux.pool", "if TYPE_CHECKING:\n    from muxproxy.worker import engine"),
        ("mux.pool", "from muxproxy import worker"),
        ("mux.pool", "from ..worker import engine"),
        ("mux.pool", "from .. import supervisor"),
        ("protocols.http", "from muxproxy.mux.pool import Pool"),
        ("worker.client", "import muxproxy.supervisor.main"),
        ("supervisor.main", "from muxproxy.worker.process import run"),
        ("cli.main", "from muxproxy.worker.process import run"),
        ("config.model", "import os"),
        ("errors", "import muxproxy.config"),
        ("messages", "from muxproxy.protocols import contract"),
        ("metrics.snapshot", "m = __import__('time')"),
        ("__init__", "from muxproxy.cli import main"),
    ],
)
def test_an_import_against_the_rule_is_found(module: str, source: str) -> None:
    assert len(trespasses(module, source)) == 1


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("mux.pool", "from muxproxy.protocols.contract import Frame\nfrom .queue import Queue\nimport math"),
        ("worker.client", "import asyncio\nfrom muxproxy.mux import client"),
        ("config.limits", "import os"),
        ("cli.main", "from muxproxy import __version__\nfrom muxproxy.supervisor import main"),
    ],
)
def test_an_import_that_the_rule_allows_is_not_reported(module: str, source: str) -> None:
    assert trespasses(module, source) == []


def test_every_room_has_its_place_in_the_import_rule() -> None:
    rooms = {module.split(".")[0] for module in modules()}
    assert rooms <= set(MAY_IMPORT)


def test_every_module_has_its_test_file() -> None:
    missing = []
    for module, path in modules().items():
        test = ROOT / "tests" / path.relative_to(PACKAGE).with_name(f"test_{path.stem}.py")
        if path.name == "__init__.py":
            if not defines_something(path.read_text()):
                continue
            test = test.with_name(f"test_{path.parent.name}.py")
        if module not in UNTESTED and not test.exists():
            missing.append(f"{module}: no {test.relative_to(ROOT)}")
    assert missing == []


def test_every_exception_from_having_a_test_file_is_still_one() -> None:
    for module in UNTESTED:
        path = modules()[module]
        assert not (ROOT / "tests" / path.relative_to(PACKAGE).with_name(f"test_{path.stem}.py")).exists()


def defines_something(source: str) -> bool:
    return any(isinstance(node, ast.FunctionDef | ast.ClassDef) for node in ast.walk(ast.parse(source)))


def test_the_map_names_every_room() -> None:
    words = (PACKAGE / "__init__.py").read_text().split('"""')[1].split()
    rooms = {path.parent.name + "/" for path in PACKAGE.glob("*/__init__.py")}
    files = {path.name for path in PACKAGE.glob("*.py") if not path.name.startswith("__")}
    assert rooms
    assert sorted((rooms | files) - set(words)) == []


def strangers(names: list[str], ignored: list[str]) -> list[str]:
    """Names that have no business at the top of the repository."""
    patterns = [pattern.rstrip("/") for pattern in ignored]
    return [
        name
        for name in names
        if name not in TOP
        and not name.startswith(".")
        and not any(fnmatch.fnmatch(name, pattern) for pattern in patterns)
    ]


def test_nothing_else_stands_at_the_top_of_the_repository() -> None:
    ignored = (ROOT / ".gitignore").read_text().split()
    assert strangers(sorted(path.name for path in ROOT.iterdir()), ignored) == []
    assert strangers(["docs", "README.md", ".ci", "muxproxy.egg-info"], ignored) == ["docs"]


def test_every_file_says_in_its_first_lines_what_it_is_for() -> None:
    def has_docstring(path: Path) -> bool:
        source = path.read_text()
        return not source.strip() or ast.get_docstring(ast.parse(source)) is not None

    assert [str(path.relative_to(ROOT)) for path in python_files() if not has_docstring(path)] == []


def test_no_file_is_longer_than_500_lines() -> None:
    lengths = {str(path.relative_to(ROOT)): len(path.read_text().splitlines()) for path in python_files()}
    assert len(lengths) > 50
    assert {path: length for path, length in lengths.items() if length > LONGEST_FILE} == {}


@pytest.mark.parametrize(
    "command",
    [("ruff", "check", "muxproxy", "tests"), ("ruff", "format", "--check", "muxproxy", "tests"), ("mypy",)],
    ids=" ".join,
)
def test_the_linters_and_the_type_checker_find_nothing(command: tuple[str, ...]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", *command], cwd=ROOT, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
