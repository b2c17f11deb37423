"""The build backend that pyproject.toml names (PEP 517): setuptools', and the heart and its hands through
mypyc.

    with a C compiler            the heart is compiled              a wheel for this very Python
    without one                  it is installed as it stands       a wheel for any
    MUXPROXY_PURE=1              the same, whatever there is
    MUXPROXY_PURE=0              compiled, or it fails; an editable install, too, which else is pure

What is missing is told from what is wrong: a compiler that cannot make an extension of one line is none, and
behind one that can every error ends the build. The wheel's name, which pip shows, tells which it is.

The sources are copied to where the compiler works, so that a checkout stays as it is. MUXPROXY_BUILD names a
directory that is kept: what has not changed since is not compiled again.
"""

from __future__ import annotations

import ast
import contextlib
import os
import platform
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import tomllib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from setuptools import Extension, setup
from setuptools.build_meta import _BuildMetaBackend
from setuptools.command.build_ext import build_ext

PACKAGE = "muxproxy"
ROOMS = ("mux", "protocols")
# And what every connection or request runs through elsewhere. (native.py names the same, to tell which runs.)
HANDS = (
    "metrics/histogram.py",
    "worker/adopt.py",
    "worker/client.py",
    "worker/engine.py",
    "worker/listener.py",
    "worker/reaching/dial.py",
    "worker/upstream.py",
    "worker/visit.py",
)
# In C by hand, beside the module that is its reference, and what takes its place where nothing is compiled.
BY_HAND = ("worker/calls/direct.c",)
INTERPRETED = {"protocols/redis/commands/generate.py"}  # a program, run by hand
GROUP = "muxproxy"  # of the library that all compiled modules share: muxproxy__mypyc
# Of it, so many files for the C compiler: few, because the headers cost it half a second each; more than
# there are processors, so that all of these have something to do to the end.
PARTS = 6
OPTIMIZE = "1"
# What mypy must not be asked again: the tests ask it, strictly, with every library at hand.
_MYPY = ["--ignore-missing-imports", "--follow-imports=silent", "--no-error-summary", "--hide-error-context"]
# What a module does when it is imported is a quarter of all C, in functions that grow with it, and runs once:
# left as it stands it is compiled sooner, and no request notices. (Unless GCC is told to omit the frame
# pointer there, it keeps that register from all other functions of the file, too.)
_ONCE = re.compile(r"^char CPyDef_\w*__top_level__\(void\) \{$", re.MULTILINE)
_AS_IT_STANDS = """\
#if defined(__clang__)
#define RUNS_ONCE __attribute__((optnone))
#elif defined(__GNUC__)
#define RUNS_ONCE __attribute__((optimize("O0", "omit-frame-pointer")))
#else
#define RUNS_ONCE
#endif
"""
# A module's own library only calls the one that all share. There are more than a hundred; with Python.h each
# costs the compiler four times as much as with these, which every Python has (PEP 384).
_PYTHON = "#include <Python.h>\n"
_CALLS = """\
#define NULL ((void *)0)
#define PyMODINIT_FUNC __attribute__((visibility("default"))) PyObject *
#define Py_DECREF Py_DecRef
typedef struct _object PyObject;
void Py_DecRef(PyObject *);
void PyErr_Clear(void);
PyObject *Py_BuildValue(const char *, ...);
PyObject *PyImport_ImportModuleLevel(const char *, PyObject *, PyObject *, PyObject *, int);
PyObject *PyObject_GetAttrString(PyObject *, const char *);
void *PyCapsule_GetPointer(PyObject *, const char *);
"""
_PROBE = "#include <Python.h>\nPyMODINIT_FUNC PyInit_probe(void) { return NULL; }\n"


def say(text: str) -> None:
    print(f"muxproxy: {text}", file=sys.stderr, flush=True)


# -- whether to compile --------------------------------------------------------------------------------------


def wants_compiled(what: str, environ: dict[str, str] | os._Environ[str] = os.environ) -> bool | None:
    """None: if it can be done."""
    pure = environ.get("MUXPROXY_PURE", "")
    if pure not in ("", "0", "1"):
        raise SystemExit(f"MUXPROXY_PURE is 0, 1 or nothing, not {pure!r}")
    if pure:
        return pure == "0"
    return None if what == "wheel" else False


def why_not() -> str:
    """Why nothing can be compiled here, in a line; nothing if it can."""
    if platform.python_implementation() != "CPython" or sysconfig.get_config_var("Py_GIL_DISABLED"):
        return f"mypyc does not compile for {sys.version.splitlines()[0]}"
    command = (os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc").split()
    if shutil.which(command[0]) is None:
        return f"there is no C compiler ({command[0]})"
    includes = [f"-I{sysconfig.get_path(name)}" for name in ("include", "platinclude")]
    with tempfile.TemporaryDirectory() as place:
        source = Path(place, "probe.c")
        source.write_text(_PROBE)
        probe = [*command, "-shared", "-fPIC", *includes, str(source), "-o", str(Path(place, "probe.so"))]
        done = subprocess.run(probe, capture_output=True, text=True, check=False)
    if done.returncode == 0:
        return ""
    errors = [line for line in done.stderr.splitlines() if "error" in line] or ["it says nothing"]
    return f"{command[0]} cannot make an extension for this Python (its headers: python3-dev): {errors[0]}"


def is_to_be_compiled(what: str) -> bool:
    """What: "wheel" or "editable". Says why, and ends the build where it must be and cannot."""
    wanted = wants_compiled(what)
    if wanted is False:
        return False
    problem = why_not()
    if problem and wanted:
        raise SystemExit(f"MUXPROXY_PURE=0, but {problem}")
    return not problem


# -- what is compiled ----------------------------------------------------------------------------------------


def sources(package: Path) -> list[str]:
    """Every module of the rooms, but for packages that only say what they are for, and the hands; relative to
    `package`."""
    found = []
    for room in ROOMS:
        for path in sorted((package / room).rglob("*.py")):
            name = path.relative_to(package).as_posix()
            if name not in INTERPRETED and (path.name != "__init__.py" or _does_something(path.read_text())):
                found.append(name)
    return [*found, *(name for name in HANDS if (package / name).exists())]


def _does_something(source: str) -> bool:
    return any(not isinstance(node, ast.Expr) for node in ast.parse(source).body)


def extensions(base: Path) -> list[Any]:
    """Through mypyc to C, below `base`; a type error ends the build."""
    from mypyc.build import mypycify

    root = Path.cwd()
    with contextlib.chdir(root):
        made = mypycify(
            [*_MYPY, *(f"{PACKAGE}/{name}" for name in sources(root / PACKAGE))],
            opt_level=OPTIMIZE,
            debug_level="0",
            multi_file=True,
            group_name=GROUP,
            target_dir=str(base / "c"),
        )
    for extension in made:
        if len(extension.sources) > PARTS:
            extension.sources = [*_joined(extension.sources, base / "c")]
        else:
            extension.sources = [_light(name, base) for name in extension.sources]
    return [*made, *by_hand()]


def by_hand() -> list[Any]:
    return [
        Extension(f"{PACKAGE}.{name[:-2].replace('/', '.')}", [f"{PACKAGE}/{name}"])
        for name in BY_HAND
        if Path(PACKAGE, name).exists()
    ]


def _joined(names: Sequence[str], place: Path) -> Iterator[str]:
    """The same C in few files of about one size."""
    parts: list[tuple[int, int, list[str]]] = [(0, number, []) for number in range(PARTS)]
    generated = [name for name in names if Path(name).name.startswith("__native")]
    for name in sorted(generated, key=lambda name: (-Path(name).stat().st_size, name)):
        size, number, members = min(parts)
        parts[number] = (size + Path(name).stat().st_size, number, [*members, name])
    for _, number, members in parts:
        text = "".join(Path(name).read_text() for name in sorted(members))
        yield _written(place / f"part{number}.c", _AS_IT_STANDS + _ONCE.sub(r"RUNS_ONCE \g<0>", text))
    runtime = "".join(Path(name).read_text() for name in names if name not in generated)  # mypyc's own
    yield _written(place / "runtime.c", runtime)


def _light(name: str, base: Path) -> str:
    """What only calls the shared library, without all of Python.h."""
    within = Path(name).resolve().relative_to(base / "c")
    return _written(base / "light" / within, Path(name).read_text().replace(_PYTHON, _CALLS))


def _written(path: Path, text: str) -> str:
    """As mypyc does it: a file that says the same stays as old as it is."""
    if not path.exists() or path.read_text() != text:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return str(path)


class ParallelBuild(build_ext):
    """As setuptools', with all processors: at one extension's files, too, and at the others meanwhile."""

    def initialize_options(self) -> None:
        super().initialize_options()
        self.parallel = os.cpu_count() or 1

    def build_extensions(self) -> None:
        compiler: Any = self.compiler
        compile_some = compiler.compile
        with ThreadPoolExecutor(os.cpu_count() or 1) as pool:

            def compile_one(file: str, output_dir: str, options: dict[str, Any]) -> str:
                made: str = compiler.object_filenames([file], output_dir=output_dir)[0]
                if not is_current(Path(made), Path(file)):
                    compile_some([file], output_dir=output_dir, **options)
                return made

            def compile_all(files: Sequence[str], output_dir: str = "", **options: Any) -> list[str]:
                return list(pool.map(lambda file: compile_one(file, output_dir, options), files))

            compiler.compile = compile_all
            super().build_extensions()


def is_current(made: Path, source: Path) -> bool:
    """It was compiled from what stands there now; what says the same is not written again."""
    if not made.exists():
        return False
    inputs = [source, *source.parent.glob("*.h")]
    return all(path.stat().st_mtime < made.stat().st_mtime for path in inputs)


# -- PEP 517 -------------------------------------------------------------------------------------------------


class Backend(_BuildMetaBackend):
    compiled = False

    def run_setup(self, setup_script: str = "setup.py") -> None:
        """There is no such script: what it would say is said here."""
        if "sdist" in sys.argv:
            setup(ext_modules=by_hand())  # of which it takes the sources
            return
        if not self.compiled or not {"bdist_wheel", "editable_wheel"} & set(sys.argv):
            setup()
            return
        kept = os.environ.get("MUXPROXY_BUILD")
        base = Path(kept or tempfile.mkdtemp(prefix="muxproxy-build-")).resolve()
        try:
            for old in base.glob("lib*"):  # a module that is gone would get into the wheel
                shutil.rmtree(old)
            setup(
                ext_modules=extensions(base),
                cmdclass={"build_ext": ParallelBuild},
                options={"build": {"build_base": str(base)}},
            )
        finally:
            if not kept:
                shutil.rmtree(base, ignore_errors=True)

    def get_requires_for_build_wheel(self, config_settings: Any = None) -> list[str]:
        return [*super().get_requires_for_build_wheel(config_settings), *_compilers("wheel")]

    def get_requires_for_build_editable(self, config_settings: Any = None) -> list[str]:
        return [*super().get_requires_for_build_editable(config_settings), *_compilers("editable")]

    def build_wheel(
        self, wheel_directory: Any, config_settings: Any = None, metadata_directory: Any = None
    ) -> str:
        self._choose("wheel")
        name = super().build_wheel(wheel_directory, config_settings, metadata_directory)
        say(f"made {name}: {'compiled' if self.compiled else 'pure'}")
        return name

    def build_editable(
        self, wheel_directory: Any, config_settings: Any = None, metadata_directory: Any = None
    ) -> str:
        self._choose("editable")
        return super().build_editable(wheel_directory, config_settings, metadata_directory)

    def _choose(self, what: str) -> None:
        self.compiled = is_to_be_compiled(what)
        if self.compiled:
            say("mux/, protocols/ and the hands are compiled: a minute or so (MUXPROXY_PURE=1 leaves it)")
        elif what == "wheel":
            why = "MUXPROXY_PURE=1" if wants_compiled(what) is False else why_not()
            say(f"PURE, nothing is compiled: {why}")


def _compilers(what: str) -> list[str]:
    """What compiling needs besides, asked for only where it is done."""
    if not is_to_be_compiled(what):
        return []
    project = tomllib.loads(Path("pyproject.toml").read_text())["project"]
    needed: list[str] = project["optional-dependencies"]["compile"]
    return needed


_backend = Backend()
get_requires_for_build_sdist = _backend.get_requires_for_build_sdist
get_requires_for_build_wheel = _backend.get_requires_for_build_wheel
get_requires_for_build_editable = _backend.get_requires_for_build_editable
prepare_metadata_for_build_wheel = _backend.prepare_metadata_for_build_wheel
prepare_metadata_for_build_editable = _backend.prepare_metadata_for_build_editable
build_sdist = _backend.build_sdist
build_wheel = _backend.build_wheel
build_editable = _backend.build_editable
