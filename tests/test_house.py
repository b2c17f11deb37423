"""The house rules that a machine can check: who may import whom, what stands where, how long a file may be.

The rules are DESIGN's section 3 as data. Each check is a function of source text or of a list of names, and
is itself shown something wrong here: a check that cannot fail is a defect.
"""

from __future__ import annotations

import ast
import fnmatch
import functools
import io
import re
import subprocess
import sys
import tokenize
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "muxproxy"

# Room -> the rooms it may import. Downwards only; a room may always import itself and muxproxy.__version__.
LEAVES = {"errors", "config", "metrics", "messages", "native", "budget"}
# Another, which knows of nothing in the house, and is for those who look at machines.
SOCKDIAG = "sockdiag"
MAY_IMPORT: dict[str, set[str]] = {
    "errors": set(),
    "config": {"errors"},
    "metrics": {"errors"},
    "messages": {"errors", "config", "budget"},
    "native": set(),
    "budget": set(),
    SOCKDIAG: set(),
    "protocols": LEAVES,
    "mux": LEAVES | {"protocols"},
    "worker": LEAVES | {"protocols", "mux"},
    "supervisor": LEAVES,
    "stage": LEAVES | {SOCKDIAG, "supervisor"},
    "incident": LEAVES | {"stage"},
    "doctor": {SOCKDIAG, "errors", "config"},  # it looks at machines, whether a muxproxy runs on them or not
    "cli": LEAVES | {"supervisor", "stage", "incident", "doctor"},
    "__main__": {"cli"},
    "packaging": set(),  # runs where muxproxy is built, never on a node
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
# Module, folder or room -> what it may not import from outside the house.
BANNED: dict[str, set[str]] = {
    "protocols": _WORLD,
    "mux": _WORLD,
    "metrics": _WORLD,
    "config.model": _WORLD,
    "errors": _WORLD,
    "messages": _WORLD,
    "budget": _WORLD,
    "doctor.facts": _WORLD,
    "doctor.report": _WORLD,
    "doctor.judging": _WORLD,
    "worker": {"trio", "threading"},  # one event loop, no threads
    "supervisor": {"asyncio", "uvloop"},
}

# Inside of mux/ as well (DESIGN section 3): what stands there -> what of it each may import. A way of sharing
# is a folder of its own, and one table names all of them.
_GROUND = {"exchange", "ports", "deadlines", "work"}
_BASE = _GROUND | {"admission", "base"}
MAY_IMPORT_IN_MUX: dict[str, set[str]] = {
    **dict.fromkeys(_GROUND, _GROUND),
    "admission": _GROUND,
    "base": _GROUND | {"admission"},
    "exclusive": _BASE,
    "dedicated": _BASE,
    "shared": _BASE,
    "ordered": _BASE | {"shared"},
    "tagged": _BASE | {"shared"},
    "sharings": _BASE | {"exclusive", "dedicated", "shared", "ordered", "tagged"},
    "destinations": _BASE | {"exclusive", "sharings"},
    "__init__": set(),
}

# And inside of doctor/: who judges does not read, and who reads does not judge.
MAY_IMPORT_IN_DOCTOR: dict[str, set[str]] = {
    "facts": set(),
    "report": {"facts"},
    "reading": {"facts"},
    "judging": {"facts", "report"},
    "__init__": set(),
}

# Modules without a test file of their own, each with the reason. `__init__.py` needs one only if it defines
# something.
UNTESTED: dict[str, str] = {
    "__main__": "one line; every system test starts muxproxy through it",
    "config.model": "only fields and defaults: tests/config/test_keys.py holds them against the keys",
    "metrics.snapshot": "types only, nothing to run",
    "mux.ports": "interfaces only, nothing to run",
    "protocols.contract": "base classes and constants only, nothing to run",
}

TOP = {"README.md", "LICENSE", "pyproject.toml", "muxproxy", "config", "systemd", "tests"}
LONGEST_FILE = 500
ELSEWHERE = {"argparse.py": "Python's own"}  # files that comments may name though they are not ours
NAMED_FILE = re.compile(r"(?<![\w./<>-])(?:\w+/)*\w+\.py\b")
FULLEST_FOLDER = 15  # modules


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


def banned(module: str) -> set[str]:
    """By itself, else with its folder, else with its room."""
    while module not in BANNED and "." in module:
        module = module.rpartition(".")[0]
    return BANNED.get(module, set())


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
        elif name == "__import__" or top in banned(module):
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
        ("protocols.http", "from muxproxy.mux.base.pool import Pool"),
        ("worker.client", "import muxproxy.supervisor.main"),
        ("supervisor.main", "from muxproxy.worker.process import run"),
        ("cli.main", "from muxproxy.worker.process import run"),
        ("config.model", "import os"),
        ("errors", "import muxproxy.config"),
        ("messages", "from muxproxy.protocols import contract"),
        ("metrics.snapshot", "m = __import__('time')"),
        ("__init__", "from muxproxy.cli import main"),
        ("doctor.judging.flows", "import time"),
        ("doctor.reading.look", "from muxproxy.supervisor import status"),
        ("worker.client", "from muxproxy.doctor import facts"),
    ],
)
def test_an_import_against_the_rule_is_found(module: str, source: str) -> None:
    assert len(trespasses(module, source)) == 1


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("mux.pool", "from muxproxy.protocols.contract import Frame\nfrom .queue import Queue\nimport math"),
        ("worker.client", "import asyncio\nfrom muxproxy.mux.base import client"),
        ("config.limits", "import os"),
        ("cli.main", "from muxproxy import __version__\nfrom muxproxy.supervisor import main"),
        ("doctor.reading.look", "import time"),
    ],
)
def test_an_import_that_the_rule_allows_is_not_reported(module: str, source: str) -> None:
    assert trespasses(module, source) == []


# -- no circles ----------------------------------------------------------------------------------------------

Graph = dict[str, set[str]]  # who -> whom it imports


def graph_of(sources: dict[str, str], packages: set[str]) -> Graph:
    """Between modules, type-checking imports included. `from room import name` imports the file that has the
    name: a module of the room, or else its `__init__.py`."""
    graph: Graph = {}
    for module, source in sources.items():
        package = f"muxproxy.{module}" if module in packages else f"muxproxy.{module}".rpartition(".")[0]
        graph[module] = set()
        for name in imports(source, package):
            top, _, target = name.partition(".")
            while target and target not in sources:
                target = target.rpartition(".")[0]
            if top == "muxproxy":
                graph[module].add(target or "__init__")
    return graph


@functools.cache
def house() -> Graph:
    found = modules()
    packages = {module for module, path in found.items() if path.name == "__init__.py"}
    return graph_of({module: path.read_text() for module, path in found.items()}, packages - {"__init__"})


def round_about(graph: Graph) -> Graph:
    """What is left when all is taken away that imports nothing of the rest, or is imported by nothing of it:
    circles, and what leads from one to the next."""
    left = {who: whom - {who} for who, whom in graph.items()}
    size = -1
    while size != len(left):
        size = len(left)
        imported = set().union(*left.values())
        left = {
            who: whom & left.keys() for who, whom in left.items() if who in imported and whom & left.keys()
        }
    return left


def side_by_side(graph: Graph, folder: str) -> Graph:
    """Between the files and folders that stand in `folder`: what is inside of one counts as that one."""

    def child(module: str) -> str:
        if module == folder:
            return "__init__"
        return module[len(folder) + 1 :].split(".")[0] if module.startswith(folder + ".") else ""

    inside: Graph = {}
    for who, whom in graph.items():
        if child(who):
            inside.setdefault(child(who), set()).update({child(each) for each in whom} - {"", child(who)})
    return inside


def folders() -> list[str]:
    return [name for name, path in modules().items() if path.name == "__init__.py" and name != "__init__"]


def test_no_import_goes_round_from_file_to_file() -> None:
    assert round_about(house()) == {}


def test_no_import_goes_round_between_what_stands_side_by_side_in_a_folder() -> None:
    graph = house()
    inside = {folder: round_about(side_by_side(graph, folder)) for folder in folders()}
    assert len(inside) > 5
    assert {folder: found for folder, found in inside.items() if found} == {}


@pytest.mark.parametrize(
    "planted",
    [
        {"mux.a": "from muxproxy.mux.b import B", "mux.b": "from muxproxy.mux import a"},
        {
            "mux.a": "if TYPE_CHECKING:\n    from muxproxy.mux.b import B",
            "mux.b": "def later():\n    from .a import A",
        },
        {
            "mux.a": "import muxproxy.mux.b",
            "mux.b": "from muxproxy.mux.c import C",
            "mux.c": "from muxproxy.mux.a import A",
        },
        {"mux": "from muxproxy.mux.a import A", "mux.a": "from muxproxy.mux import Pool"},
    ],
)
def test_a_circle_is_found(planted: dict[str, str]) -> None:
    sound = {"errors": "", "config": "from muxproxy.errors import X", "mux.d": "from muxproxy.mux.a import A"}
    graph = graph_of(sound | {"mux": ""} | planted, {"mux", "config"})
    assert round_about(graph).keys() == planted.keys()
    assert round_about(side_by_side(graph, "mux")) != {}


def test_a_circle_of_folders_is_found_though_no_file_is_in_one() -> None:
    graph = graph_of(
        {
            "mux.a.one": "from muxproxy.mux.b.one import X",
            "mux.b.one": "",
            "mux.b.two": "from muxproxy.mux.a import two",
            "mux.a.two": "from muxproxy.errors import X",
            "errors": "",
        },
        set(),
    )
    assert round_about(graph) == {}
    assert round_about(side_by_side(graph, "mux")).keys() == {"a", "b"}


def uphill(inside: Graph, order: dict[str, set[str]] = MAY_IMPORT_IN_MUX) -> list[str]:
    """What of a room imports something of it that does not stand below, and what has no place in the
    order."""
    wrong = [f"{who} has no place" for who in sorted(inside) if who not in order]
    return wrong + [
        f"{who} may not import {each}"
        for who, whom in sorted(inside.items())
        for each in sorted(whom - order.get(who, whom))
    ]


def test_inside_of_mux_imports_go_from_the_ways_of_sharing_to_the_ground() -> None:
    assert uphill(side_by_side(house(), "mux")) == []
    assert uphill({"tagged": {"shared", "base"}, "shared": {"base"}, "ordered": {"exchange"}}) == []
    assert uphill({"base": {"shared", "admission"}}) == ["base may not import shared"]
    assert uphill({"ordered": {"tagged"}}) == ["ordered may not import tagged"]
    assert uphill({"cleverness": {"base"}, "base": set()}) == ["cleverness has no place"]


def test_inside_of_doctor_judging_and_reading_know_the_facts_and_not_each_other() -> None:
    assert uphill(side_by_side(house(), "doctor"), MAY_IMPORT_IN_DOCTOR) == []
    assert uphill({"judging": {"reading"}}, MAY_IMPORT_IN_DOCTOR) == ["judging may not import reading"]


def crowded(paths: list[Path]) -> dict[Path, int]:
    count = Counter(path.parent for path in paths)
    return {folder: files for folder, files in count.items() if files > FULLEST_FOLDER}


def test_few_enough_modules_stand_side_by_side_to_be_told_apart_by_their_names() -> None:
    assert crowded(list(modules().values())) == {}
    assert crowded([Path(f"mux/{n}.py") for n in range(16)] + [Path("mux/a/b.py")]) == {Path("mux"): 16}


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


def said(source: str) -> Iterator[str]:
    """Comments and docstrings."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield ast.get_docstring(node) or ""
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            yield token.string


def lost_ways(source: str, ends: set[str]) -> list[str]:
    """Python files that comments and docstrings send a reader to, by their paths or the ends of these, and
    that are nowhere."""
    lost = {name for name in NAMED_FILE.findall(source) if name not in ends}
    return sorted(lost.intersection(NAMED_FILE.findall("\n".join(said(source))))) if lost else []


def test_a_file_that_a_comment_names_is_where_it_says() -> None:
    files = {path.relative_to(ROOT): path.read_text() for path in python_files()}
    ends = {"/".join(path.parts[at:]) for path in files for at in range(len(path.parts))}
    ends |= ELSEWHERE.keys()
    assert {str(path): ways for path, source in files.items() if (ways := lost_ways(source, ends))} == {}
    text = '"""As mux/pool.py."""\ndef f():\n    """a/x.py"""\n    a = "no.py"  # (a/b.py), c/d.pyx, x.py\n'
    assert lost_ways(text, {"x.py"}) == ["a/b.py", "a/x.py", "mux/pool.py"]
    assert lost_ways(text, {"x.py", "a/x.py", "a/b.py", "mux/pool.py"}) == []


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
