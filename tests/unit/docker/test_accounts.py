"""Texts of passwd and group, before and after."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest
from coursebox_container import accounts
from coursebox_container.accounts import Account

PASSWD = """root:x:0:0:root:/root:/bin/bash
www-data:x:33:33:www-data:/var/www:/usr/sbin/nologin
student:x:1000:100:Deep Learning:/home/student:/bin/bash
"""
GROUP = "root:x:0:\nwww-data:x:33:\nusers:x:100:\nclass:x:200:\n"


def account(name: str = "student", uid: int = 5000, gid: int = 5001, group: str = "pupils") -> Account:
    return Account(name, uid, gid, group, f"/home/{name}")


def users(text: str) -> list[tuple[str, str]]:
    return [(line.split(":")[0], line.split(":")[2]) for line in text.splitlines()]


def test_the_images_user_is_replaced() -> None:
    text = accounts.with_user(PASSWD, account(), "student")
    assert users(text) == [("root", "0"), ("www-data", "33"), ("student", "5000")]
    assert text.endswith("student:*:5000:5001::/home/student:/bin/bash\n")


def test_another_name_takes_the_place_of_the_images_user() -> None:
    assert users(accounts.with_user(PASSWD, account("alice"), "student"))[-1] == ("alice", "5000")
    assert "student" not in accounts.with_user(PASSWD, account("alice"), "student")


def test_a_uid_that_others_have_too_gets_our_name() -> None:
    text = accounts.with_user(PASSWD, account("alice", uid=33), "student")
    assert accounts.name_of(text, 33) == "alice"
    assert ("www-data", "33") in users(text)


def test_with_user_twice_is_with_user_once() -> None:
    once = accounts.with_user(PASSWD, account("alice"), "student")
    assert accounts.with_user(once, account("alice"), "student") == once


def test_root_stays_the_name_of_root() -> None:
    assert accounts.name_of(accounts.with_user(PASSWD, account(), "student"), 0) == "root"


@pytest.mark.parametrize(
    ("gid", "group", "last"),
    [(5001, "pupils", "pupils:x:5001:"), (100, "pupils", "class:x:200:"), (5001, "class", "class-5001:x:5001:")],
)
def test_with_group(gid: int, group: str, last: str) -> None:
    assert accounts.with_group(GROUP, account(gid=gid, group=group)).splitlines()[-1] == last


def test_damaged_lines_harm_nothing() -> None:
    assert accounts.name_of("\n::\n#\nroot\n", 0) is None
    assert accounts.with_user("a:x\n", account(), "student").splitlines()[0] == "a:x"


@pytest.fixture
def etc(tmp_path: Path) -> Path:
    folder = tmp_path / "etc"
    folder.mkdir()
    (folder / "passwd").write_text(PASSWD)
    (folder / "group").write_text(GROUP)
    return folder


def test_write_names(etc: Path) -> None:
    assert not accounts.is_named(account(), str(etc))
    assert accounts.write_names(account(), "student", str(etc))
    assert accounts.is_named(account(), str(etc))
    assert sorted(path.name for path in etc.iterdir()) == ["group", "passwd"]
    assert stat.S_IMODE((etc / "passwd").stat().st_mode) == 0o644


def test_names_that_are_there_are_not_written(etc: Path) -> None:
    assert accounts.write_names(account(), "student", str(etc))
    before = (etc / "passwd").stat().st_ino
    assert accounts.write_names(account(), "student", str(etc))
    assert (etc / "passwd").stat().st_ino == before


def test_write_names_where_that_is_not_possible(tmp_path: Path) -> None:
    assert not accounts.write_names(account(), "student", str(tmp_path / "missing"))


def test_wrap_names(etc: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LD_PRELOAD", "libother.so")
    variables = accounts.wrap_names(account(), "student", str(tmp_path), str(etc))
    assert variables["LD_PRELOAD"] == "libother.so libnss_wrapper.so"
    assert accounts.name_of(Path(variables["NSS_WRAPPER_PASSWD"]).read_text(), 5000) == "student"
    assert "pupils:x:5001:" in Path(variables["NSS_WRAPPER_GROUP"]).read_text()
    assert (etc / "passwd").read_text() == PASSWD
    monkeypatch.setenv("LD_PRELOAD", variables["LD_PRELOAD"])
    assert accounts.wrap_names(account(), "student", str(tmp_path), str(etc)) == variables


def test_text_that_is_not_utf_8_survives(etc: Path) -> None:
    (etc / "passwd").write_bytes(b"caf\xe9:x:7:7::/:/bin/sh\n")
    accounts.write_names(account(), "student", str(etc))
    assert (etc / "passwd").read_bytes().startswith(b"caf\xe9:x:7:7::/:/bin/sh\n")


def test_a_colon_in_a_home_opens_no_field() -> None:
    evil = Account("student", 5000, 100, "users", "/home/x:/bin/evil")
    assert accounts.with_user("", evil, "student") == "student:*:5000:100::/home/x_/bin/evil:/bin/bash\n"
