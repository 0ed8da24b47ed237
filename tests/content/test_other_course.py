"""A second course is a second file: odd passwords, odd file names and the hardened profile, down to the sealed tree."""

from __future__ import annotations

import os
import shutil
import subprocess
import tarfile
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import testinfra
from testinfra.host import Host

from coursebox.core.paths import CHECKOUT
from coursebox.course import load_course
from coursebox.host.engine import import_image
from coursebox.prepare import prepared
from coursebox.trees.machine import build_machine

PASSWORD = "a\"b':c$HOME`d`\\ü ß"
LABS = {"Übung 1/Löwe & Bär.py": "print('Grüße')\n", "mit Leerzeichen.md": "# Titel\n", "welcome.md": "# Hallo\n"}


@dataclass(frozen=True)
class Other:
    profile: str
    tree: Path
    host: Host


@pytest.fixture(scope="module", params=["open", "hardened"])
def other(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Other]:
    """The delivered course with another password, other labs and this profile: its sealed tree, in a container."""
    folder = tmp_path_factory.mktemp("andere Kurse")
    for name, text in LABS.items():
        (folder / "Übungen" / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / "Übungen" / name).write_text(text, encoding="utf-8")
    shutil.copytree(CHECKOUT / "locks", folder / "locks")
    delivered = load_course(Path(os.environ.get("COURSE") or CHECKOUT / "course.toml"))
    escaped = PASSWORD.replace("\\", "\\\\").replace('"', '\\"')
    (folder / "other.toml").write_text(
        f'[course]\nname = "{delivered.name}"\nversion = "{delivered.version}"\ntitle = "{delivered.title}"\n'
        f'[user]\nname = "eva"\npassword = "{escaped}"\n[labs]\nfolder = "Übungen"\n'
        f'[security]\nprofile = "{request.param}"\n',
        encoding="utf-8",
    )
    course = load_course(folder / "other.toml")
    with prepared(course, "vm") as (context, _):
        tree = build_machine(context)
    image = f"coursebox-sealed:{tree.key}"
    import_image(tree.path("tree.tar"), image, log=folder / "log")
    name = f"coursebox-other-{uuid.uuid4().hex[:8]}"
    start = ["docker", "run", "--detach", "--rm", "--network", "none", "--name", name, image, "sleep", "infinity"]
    subprocess.run(start, check=True, stdout=subprocess.DEVNULL)
    yield Other(request.param, tree.path("tree.tar"), testinfra.get_host(f"docker://{name}"))
    subprocess.run(["docker", "rm", "--force", name], check=True, stdout=subprocess.DEVNULL)
    subprocess.run(["docker", "rmi", image], check=True, stdout=subprocess.DEVNULL)
    shutil.rmtree(tree.folder)


def test_the_password_is_the_one_in_the_file(other: Other) -> None:
    stored = other.host.user("eva").password
    assert stored.startswith("$y$")
    made = other.host.run("printf %%s %s | perl -e 'print crypt(<STDIN>, $ARGV[0])' %s", PASSWORD, stored)
    assert made.stdout.strip() == stored
    assert other.host.user("root").password == ("*" if other.profile == "hardened" else stored)


def test_the_console_shows_it_only_in_the_open_profile(other: Other) -> None:
    page = other.host.file("/etc/issue").content_string
    shown = PASSWORD.replace("\\", "\\\\")  # agetty takes a backslash for the start of an escape
    assert (f"Password: {shown} " in page) is (other.profile == "open")
    assert "User: eva" in page


def test_jupyterlab_asks_for_it_only_in_the_hardened_profile(other: Other) -> None:
    code = (
        "import runpy, sys; from traitlets.config import Config; c = Config();"
        "runpy.run_path('/opt/jupyter/etc/jupyter/jupyter_server_config.py', {'get_config': lambda: c});"
        "from jupyter_server.auth.security import passwd_check;"
        "stored = c.PasswordIdentityProvider.hashed_password;"
        "print(stored != '' and passwd_check(stored, sys.argv[1]), stored != '' and passwd_check(stored, 'wrong'),"
        " 'token' in c.IdentityProvider and c.IdentityProvider.token == '')"
    )
    done = other.host.run("/opt/jupyter/bin/python -c %s %s", code, PASSWORD)
    assert done.stdout.split() == (
        ["True", "False", "False"] if other.profile == "hardened" else ["False", "False", "True"]
    )


def test_labs_with_odd_names_are_there_with_their_contents(other: Other) -> None:
    with tarfile.open(other.tree) as tar:
        members = {member.name: member for member in tar}
        for place, owner in (("home/eva/labs", 1000), ("usr/share/coursebox/labs", 0)):
            for name, text in LABS.items():
                member = members[f"{place}/{name}"]
                file = tar.extractfile(member)
                assert file is not None and file.read().decode() == text and member.uid == owner
