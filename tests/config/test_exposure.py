"""Whose files they are, and who may write or read them."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from muxproxy.config.exposure import anybody_may_add, exposures
from muxproxy.config.load import examine

OTHER = 12345
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
REDIS = """
protocol = "redis"
[clients]
listen = ["127.0.0.1:6380"]
[upstream]
servers = ["127.0.0.1:6379"]
[redis]
"""


@pytest.fixture
def folder() -> Iterator[Path]:
    """One that every user may enter, which pytest's own are not."""
    with tempfile.TemporaryDirectory(prefix="muxproxy-exposure-") as path:
        Path(path).chmod(0o755)
        yield Path(path)


def made(path: Path, mode: int, text: str = "x") -> Path:
    path.write_text(text)
    path.chmod(mode)
    return path


def told(path: Path, *, has_secret: bool = False) -> list[str]:
    return [rule.partition(":")[0].partition(",")[0] for rule in exposures(path, has_secret=has_secret)]


def test_a_file_is_for_who_owns_it_and_the_group(folder: Path) -> None:
    for mode in (0o644, 0o640, 0o664):
        assert told(made(folder / "a", mode)) == []
    assert told(made(folder / "b", 0o660), has_secret=True) == []
    assert told(folder / "missing") == []
    assert told(folder) == []


def test_what_every_user_may_write_is_told_and_what_he_may_read_if_it_has_a_secret(folder: Path) -> None:
    assert told(made(folder / "a", 0o646)) == ["every user may write it"]
    assert told(made(folder / "b", 0o644), has_secret=True) == ["every user may read it"]
    assert told(made(folder / "c", 0o602), has_secret=True) == ["every user may write it"]
    (folder / "link").symlink_to(folder / "a")
    assert told(folder / "link") == ["every user may write it"]


def test_a_directory_that_every_user_may_write_is_as_bad(folder: Path) -> None:
    file = made(folder / "a", 0o644)
    assert not anybody_may_add(folder)
    folder.chmod(0o777)
    assert told(file) == ["every user may put another file in its place"]
    assert anybody_may_add(folder)
    folder.chmod(0o1777)
    assert told(file) == []
    assert anybody_may_add(folder)
    assert not anybody_may_add(file)
    assert not anybody_may_add(folder / "missing")


def test_a_directory_that_is_closed_to_others_makes_up_for_its_files(folder: Path) -> None:
    file = made(folder / "a", 0o666)
    folder.chmod(0o750)
    assert told(file, has_secret=True) == []


@as_root
def test_a_file_of_another_user_is_told(folder: Path) -> None:
    file = made(folder / "a", 0o600)
    os.chown(file, OTHER, OTHER)
    folder.chmod(0o700)
    assert told(file) == ["belongs to another user (uid 12345)"]


def test_check_and_run_are_told_of_every_file_once(folder: Path) -> None:
    secret = made(folder / "secret", 0o604, "hush")
    (folder / "backends").mkdir(mode=0o755)
    (folder / "backends").chmod(0o777)
    made(folder / "muxproxy.toml", 0o646, "")
    made(folder / "backends/a.toml", 0o644, f"{REDIS}password = 'hush'\n")
    text = REDIS.replace("6380", "6381")
    made(folder / "backends/b.toml", 0o644, f"{text}password_file = '{secret}'\n")
    reading = examine(folder)
    assert reading.config is not None
    said = [str(warning).replace(f"{folder}/", "") for warning in reading.warnings]
    password = "every user may read it, and it has a password in it: chmod o-r"
    replaced = f"every user may put another file in its place: chmod o-w {folder}/backends".replace(
        f"{folder}/", ""
    )
    assert said == [
        "backends: every user may add files to it: chmod o-w",
        "muxproxy.toml: every user may write it: chmod o-w",
        f"backends/a.toml: {replaced}",
        f"backends/a.toml: {password}",
        f"backends/b.toml: {replaced}",
        f'backends/b.toml: redis.password_file = "secret": {password}',
    ]
    assert "hush" not in "".join(said)
