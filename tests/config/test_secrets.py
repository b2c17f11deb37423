"""Which keys may hold a password, and how one is read from a file."""

from __future__ import annotations

from pathlib import Path

import pytest

from muxproxy.config import keys, secrets
from muxproxy.config.model import SECRETS
from muxproxy.config.secrets import SECRET_MAX


def test_no_secret_is_shown_under_its_own_key_or_one_that_was_meant() -> None:
    own = {f"redis.{key}" for key, reader in keys.PROTOCOL_TABLES["redis"].items() if reader == keys.Secret()}
    assert own == {f"redis.{key}" for key in SECRETS}
    for key in [*own, "password", "redis.pasword", "redis.psswrd", "upstream.PASSWORD", "redis.requirepass"]:
        assert secrets.is_hidden(key, "x"), key


def test_other_keys_are_shown() -> None:
    tables = {**keys.TABLES, **keys.PROTOCOL_TABLES, "": keys.NODE}
    dotted = {f"{name}.{key}" for name, table in tables.items() for key in table}
    hidden = {key for key in dotted if secrets.is_hidden(key, "/x" if key.endswith("_file") else "x")}
    assert hidden == {"redis.password", "redis.client_password", "redis.auth"}


@pytest.mark.parametrize(
    "key",
    ["credentials", "key", "api_key", "secret", "token", "login", "masterauth", "redis.user_pass", "KEY"],
)
def test_an_unknown_key_that_sounds_like_a_secret_is_not_shown(key: str) -> None:
    assert secrets.is_hidden(key, "x")
    assert secrets.is_hidden(key, 5)


def test_a_user_name_is_shown_if_it_is_nothing_else() -> None:
    assert not secrets.is_hidden("redis.username", "cache-reader.2")
    for value in ("cache hush", "cache:hush", "cache@hush", "", 5, ["hush"], "x" * 65):
        assert secrets.is_hidden("redis.username", value)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("redis://:hush@cache:6379", "redis://...@cache:6379"),
        ("redis://user:hu/s@h@cache", "redis://...@cache"),
        ("user:hush@cache:6379", "...@cache:6379"),
        ("redis://cache/0?password=hush", "redis://cache/0?..."),
        ("redis://:hush@cache?a=b", "redis://...@cache?..."),
        ("redis://cache:6379", "redis://cache:6379"),
        ("10.0.0.5:80", "10.0.0.5:80"),
        ("get?", "get?"),
    ],
)
def test_of_an_address_user_and_password_are_not_shown(text: str, shown: str) -> None:
    assert secrets.masked(text) == shown


def test_a_password_where_its_file_should_stand_is_not_shown() -> None:
    assert secrets.is_hidden("redis.password_file", "hush")
    assert secrets.is_hidden("redis.client_password_file", ["/hush"])
    assert not secrets.is_hidden("redis.password_file", "/run/secret")


@pytest.mark.parametrize(
    ("content", "password"),
    [
        (b"hush", "hush"),
        (b"hush\n", "hush"),
        (b"hush\r\n", "hush"),
        (b" hush \n", " hush "),
        ("größe\n".encode(), "größe"),
        (b"x" * SECRET_MAX + b"\r\n", "x" * SECRET_MAX),
    ],
)
def test_the_files_one_line_is_the_password(tmp_path: Path, content: bytes, password: str) -> None:
    (tmp_path / "secret").write_bytes(content)
    assert secrets.read(tmp_path / "secret") == password


@pytest.mark.parametrize(
    ("content", "rule"),
    [
        (b"", "the file is empty"),
        (b"\n", "the file is empty"),
        (b"hush\nhush\n", "the file has several lines"),
        (b"hush\n\n", "the file has several lines"),
        (b"caf\xe9", "not UTF-8"),
        (b"x" * (SECRET_MAX + 1), "longer than 8192 bytes"),
        (b"x" * (SECRET_MAX + 100), "longer than 8192 bytes"),
    ],
)
def test_a_file_that_is_something_else_is_refused_and_not_quoted(
    tmp_path: Path, content: bytes, rule: str
) -> None:
    (tmp_path / "secret").write_bytes(content)
    with pytest.raises(ValueError, match=rule) as caught:
        secrets.read(tmp_path / "secret")
    assert "hush" not in str(caught.value)


def test_a_file_that_cannot_be_read_says_why(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="cannot be read: Is a directory"):
        secrets.read(tmp_path)
