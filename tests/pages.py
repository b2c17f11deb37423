"""The READMEs and the Markdown that they use, for the tests that hold them to the code."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote

from muxproxy.config import keys

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = ("", "config", "systemd", "tests/bench", *(f"muxproxy/protocols/{name}" for name in keys.PROTOCOLS))
READMES = {str(Path(folder, "README.md")): ROOT / folder / "README.md" for folder in FOLDERS}

_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\[(?:[^\[\]]|\[[^\]]*\])*\]\(([^()\s]+)\)")


def blocks(text: str, language: str) -> list[str]:
    return [body for kind, body in _FENCE.findall(text) if kind == language]


def prose(text: str) -> str:
    return _FENCE.sub("", text)


def links(text: str) -> list[str]:
    return _LINK.findall(prose(text))


def anchors(text: str) -> set[str]:
    """As GitHub makes them of headings: lower case, no punctuation, hyphens for blanks, repeated ones
    numbered."""
    found: dict[str, int] = {}
    for title in re.findall(r"^#{1,6} +(.+?) *$", prose(text), re.MULTILINE):
        plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", title).replace("\\", "")
        slug = re.sub(r"[^\w\- ]", "", plain.lower()).replace(" ", "-")
        count = found.get(slug, 0)
        found[slug] = count + 1
        if count:
            found[f"{slug}-{count}"] = 1
    return set(found)


def broken_links(path: Path, text: str) -> Iterator[str]:
    for target in links(text):
        place, _, anchor = target.partition("#")
        if re.match(r"[a-z]+:", place):
            continue
        file = (path.parent / unquote(place)).resolve() if place else path
        if not (file == path or file.exists()) or not file.is_relative_to(ROOT):
            yield f"{target}: no such file"
        elif anchor and anchor not in anchors(text if file == path else file.read_text()):
            yield f"{target}: no such heading"


def section(text: str, title: str) -> str:
    """What stands below a heading, up to the next one."""
    match = re.search(rf"^#+ {re.escape(title)}\n(.*?)(?=^#{{1,6}} |\Z)", text, re.MULTILINE | re.DOTALL)
    assert match is not None, title
    return match[1]


def rows(text: str) -> list[dict[str, str]]:
    """Of all tables, by the names of their columns. A `|` in a cell is written `\\|`."""
    found = []
    for block in re.findall(r"(?:^\|.*\|\n)+", prose(text), re.MULTILINE):
        head, _, *body = [re.split(r"(?<!\\)\|", line.strip())[1:-1] for line in block.splitlines()]
        columns = [cell.strip() for cell in head]
        assert all(len(row) == len(columns) for row in body), block[:200]
        found += [{c: cell.strip() for c, cell in zip(columns, row, strict=True)} for row in body]
    return found


def coded(text: str) -> list[str]:
    """What stands between backticks."""
    return re.findall(r"`([^`]+)`", text)
