"""The READMEs are true where a machine can tell: links lead somewhere, examples pass `check`, commands can be
typed. Keys are test_reference_keys.py's, what operators read test_reference_words.py's.

What they must say is taken from the code, and each check is shown something wrong: one that cannot fail is a
defect.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from muxproxy.cli.exits import MEANINGS
from muxproxy.cli.main import cli
from muxproxy.config import keys
from muxproxy.config.load import examine
from tests.pages import READMES, ROOT, blocks, broken_links, links, prose, rows, section

LONGEST = 300  # lines of the first page: a newcomer's patience
each_page = pytest.mark.parametrize("name", READMES)


def test_every_page_is_checked() -> None:
    rooms = [ROOT / name for name in ("muxproxy", "config", "systemd", "tests")]
    pages = {*ROOT.glob("*.md"), *(path for room in rooms for path in room.rglob("*.md"))}
    assert pages == set(READMES.values())


@each_page
def test_links_lead_somewhere(name: str) -> None:
    path = READMES[name]
    assert list(broken_links(path, path.read_text())) == []


def test_a_link_to_nowhere_is_found() -> None:
    text = "# A `b` (c)\n[x](README.md) [x](#a-b-c) [x](nowhere.md) [y](#a) [z](README.md#nothing)\n"
    wrong = [line.partition(":")[0] for line in broken_links(ROOT / "PAGE.md", text)]
    assert wrong == ["nowhere.md", "#a", "README.md#nothing"]


def test_the_first_page_has_a_newcomers_length_and_leads_to_all_others() -> None:
    text = READMES["README.md"].read_text()
    assert len(text.splitlines()) <= LONGEST
    linked = {target.partition("#")[0] for target in links(text)}
    # the last one explains the architecture
    assert {*READMES, "muxproxy/__init__.py"} - {"README.md"} <= linked


# -- examples -----------------------------------------------------------------------------------------------


def problems(example: str, folder: Path) -> list[str]:
    """What `check` says of a backend's file."""
    name = re.search(r"backends/([\w-]+\.toml)", example)
    path = folder / (name[1] if name else "example.toml")
    path.write_text(example)
    return [str(problem) for problem in examine(path).problems]


@each_page
def test_examples_pass_check(name: str, tmp_path: Path) -> None:
    for example in blocks(READMES[name].read_text(), "toml"):
        assert problems(example, tmp_path) == [], example


def test_there_is_an_example_for_every_protocol_and_a_wrong_one_is_found(tmp_path: Path) -> None:
    examples = "".join(blocks(READMES["README.md"].read_text(), "toml"))
    assert set(re.findall(r'protocol = "(\w+)"', examples)) == set(keys.PROTOCOLS)
    assert problems('protocol = "http"\n[clients]\nlisten = ["127.0.0.1:80"]\n', tmp_path)


# -- commands -----------------------------------------------------------------------------------------------

_COMMAND = re.compile(
    r"(?:^|[\s`/])muxproxy "
    r"((?:run|check|status|reload|pause|resume|reconnect|drain|set|systemd|doctor|demo|incident)\b[^&|;#`\n]*)",
    re.MULTILINE,
)
_FILE = re.compile(r"(?<![\w/.-])(?:tests|config|systemd|muxproxy)/[\w./@-]+")


def wrong_commands(text: str) -> Iterator[str]:
    """Command lines that muxproxy would not understand; our programs and files that are not there."""
    shell = "".join(blocks(text, "sh"))
    spans = re.findall(r"`(muxproxy [^`]*)`", prose(text))
    for line in _COMMAND.findall("\n".join([shell, *spans])):
        command, *words = line.split()
        try:
            cli.commands[command].make_context(command, words)
        except Exception as error:
            yield f"muxproxy {line}: {error!r}"
    for module in re.findall(r"python -m (tests\.\w+)", text):
        if not (ROOT / module.replace(".", "/") / "__main__.py").exists():
            yield f"python -m {module}: no such program"
    for file in _FILE.findall(shell):
        if not (ROOT / file).exists():
            yield f"{file}: no such file"


@each_page
def test_commands_can_be_typed(name: str) -> None:
    text = READMES[name].read_text()
    assert list(wrong_commands(text)) == []
    for block in blocks(text, "sh"):
        done = subprocess.run(["bash", "-n"], input=block, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr


def test_a_command_that_cannot_be_typed_is_found() -> None:
    text = "```sh\n/opt/bin/muxproxy check --config-file x\nbash tests/ran.sh\n```\n`muxproxy status --jsn`\n"
    text += "`muxproxy run -c PATH` `python -m tests.flod`"
    assert len(list(wrong_commands(text))) == 4


def test_exit_codes_stand_in_the_reference() -> None:
    text = READMES["systemd/README.md"].read_text()
    assert [row["exit code"] for row in rows(section(text, "Exit codes"))] == list(MEANINGS)
