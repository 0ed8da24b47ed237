"""The small functions around the trees: labs, passwords, the repository, GRUB's boot code, failed programs."""

from __future__ import annotations

import ast
import os
import re
import shutil
import struct
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from coursebox.core.errors import CourseboxError
from coursebox.core.paths import CHECKOUT
from coursebox.core.run import capture, run
from coursebox.course import Course
from coursebox.disk import grub
from coursebox.identity import identity
from coursebox.trees import diff as changes
from coursebox.trees import provision, stage
from coursebox.trees.labs import labs_digest, look, say_litter
from coursebox.trees.machine import machine_variables
from coursebox.trees.stage import role_digests


def test_litter_of_tools_is_no_lab(tmp_path: Path) -> None:
    labs = tmp_path / "Übungen mit Leerzeichen"
    (labs / "a b" / "__pycache__").mkdir(parents=True)
    (labs / "a b" / "Löwe.py").write_text("1")
    (labs / "a b" / "__pycache__" / "x.pyc").write_text("2")
    (labs / "run.sh").write_text("3")
    assert [item.path.as_posix() for item in look(labs).items] == ["a b/Löwe.py", "run.sh"]


def test_what_authors_write_for_themselves_stays_and_does_not_count(tmp_path: Path) -> None:
    labs = tmp_path / "labs"
    (labs / "01_x" / "author").mkdir(parents=True)
    (labs / "01_x" / "check.py").write_text("1")
    before = labs_digest(labs)
    (labs / "01_x" / "author" / "lab.py").write_text("the solution")
    (labs / "AUTHORS.md").write_text("how to write a lab")
    assert labs_digest(labs) == before
    assert [item.path.as_posix() for item in look(labs).items] == ["01_x/check.py"]
    (labs / "01_x" / "authors.py").write_text("2")
    assert labs_digest(labs) != before


def odd_labs(folder: Path) -> Path:
    """Labs with all that was once left out without a word."""
    lab = folder / "labs" / "01_x"
    for place in ("01_x/results", "02_y/results", "02_y/empty", "02_y/only litter/__pycache__"):
        (folder / "labs" / place).mkdir(parents=True)
    for name in ("check.py", "results/picture.png", "notes.txt~", ".#lock"):
        (lab / name).write_text(name)
    for name in ("results/given.csv", "exercise.py", "only litter/__pycache__/x.pyc"):
        (folder / "labs" / "02_y" / name).write_text(name)
    (folder / "labs" / "results").write_text("a file of this name")
    (folder / "labs" / "01_x" / "tool").write_text("run me")
    (folder / "labs" / "01_x" / "tool").chmod(0o700)
    (lab / "dangling").symlink_to("nowhere")
    (lab / "linked file").symlink_to("check.py")
    (lab / "linked folder").symlink_to("../02_y")
    os.mkfifo(lab / "pipe")
    return folder / "labs"


def test_only_litter_is_left_out_and_it_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = look(odd_labs(tmp_path))
    say_litter(found)
    assert {item.path.as_posix() for item in found.items if not item.folder} == {
        "01_x/check.py", "01_x/linked file", "01_x/tool", "02_y/results/given.csv", "02_y/exercise.py", "results",
    }  # fmt: skip
    assert [item.path.as_posix() for item in found.items if item.folder] == ["02_y/empty"]
    assert [item.path.as_posix() for item in found.items if item.executable] == ["01_x/tool"]
    said = capsys.readouterr().err
    assert "  labs: by-products of tools are left out: 01_x/.#lock, 01_x/notes.txt~, 01_x/results, " in said


def test_what_cannot_be_taken_is_said_each_time(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    labs = odd_labs(tmp_path)
    labs_digest(labs)
    assert capsys.readouterr().err.splitlines() == [
        f"warning: labs: {labs}/01_x/dangling is a link that leads nowhere, and is left out: mend it, or remove it",
        f"warning: labs: {labs}/01_x/linked folder is a link to a folder, and is left out: put the folder itself there",
        f"warning: labs: {labs}/01_x/pipe is neither a file nor a folder, and is left out: remove it",
    ]


@pytest.mark.parametrize(
    ("change", "counts"),
    [
        (lambda labs: (labs / "results").write_text("edited"), True),
        (lambda labs: (labs / "02_y" / "results" / "given.csv").write_text("edited"), True),
        (lambda labs: (labs / "02_y" / "empty").rmdir(), True),
        (lambda labs: (labs / "02_y" / "another").mkdir(), True),
        (lambda labs: (labs / "01_x" / "tool").chmod(0o600), True),
        (lambda labs: (labs / "01_x" / "check.py").write_text("edited"), True),
        (lambda labs: (labs / "01_x" / "results" / "picture.png").write_text("edited"), False),
        (lambda labs: (labs / "01_x" / "notes.txt~").unlink(), False),
        (lambda labs: (labs / "01_x" / "dangling").unlink(), False),
    ],
)
def test_all_that_is_taken_counts_and_nothing_else(
    tmp_path: Path, change: Callable[[Path], object], counts: bool
) -> None:
    labs = odd_labs(tmp_path)
    before = labs_digest(labs)
    change(labs)
    assert (labs_digest(labs) != before) is counts


def named(name: str, version: str) -> Course:
    return SimpleNamespace(name=name, version=version)  # type: ignore[return-value]


def course(profile: str) -> SimpleNamespace:
    return SimpleNamespace(
        name="c", version="1", title="C", user=SimpleNamespace(name="dave", password='a"b:c$ü'),
        ports=SimpleNamespace(jupyter=1, ssh=2), security=SimpleNamespace(profile=profile),
    )  # fmt: skip


@pytest.mark.parametrize(("profile", "hardened"), [("open", False), ("hardened", True)])
def test_variables_of_the_roles(profile: str, hardened: bool) -> None:
    made = machine_variables(course(profile), 5)  # type: ignore[arg-type]
    assert made["course_password"] == 'a"b:c$ü' and made["course_hardened"] is hardened
    assert len(made["password_salt"]) == 16


def task(role: str, name: str) -> dict[str, Any]:
    """A task of a role, with the words of its command in which the salt stands as "saltsaltsaltsalt"."""
    tasks = yaml.safe_load((CHECKOUT / "ansible" / "roles" / role / "tasks" / "main.yml").read_text(encoding="utf-8"))
    found: dict[str, Any] = next(each for each in tasks if each["name"] == name)
    assert found["no_log"] is True and found["ansible.builtin.command"]["stdin"] == "{{ course_password }}"
    values = {"password_salt": "saltsaltsaltsalt", **found.get("vars", {})}
    words = [
        re.sub(r"{{ (\w+) }}", lambda match: values[match[1]], word)
        for word in found["ansible.builtin.command"]["argv"]
    ]
    return {**found, "words": words}


def perl_crypt(word: str, setting: str) -> str:
    words = task("student", "Make the hash of the password")["words"]
    done = subprocess.run([*words[:-1], setting], input=f"{word}\n", capture_output=True, text=True, check=True)
    return done.stdout


def test_the_password_of_the_system_is_hashed_slowly() -> None:
    setting = task("student", "Make the hash of the password")["words"][-1]
    start = time.perf_counter()
    stored = perl_crypt('a"b:c$ü', setting)
    assert time.perf_counter() - start > 0.05
    assert stored.startswith("$y$jBT$saltsaltsaltsalt$") and len(stored) > 60
    assert perl_crypt('a"b:c$ü', setting) == stored == perl_crypt('a"b:c$ü', stored)  # as login(1) compares
    assert perl_crypt('a"b:c$u', stored) != stored


def test_the_password_of_jupyterlab_is_hashed_by_argon2(tmp_path: Path) -> None:
    """With a stand-in for the library, which only the course machine has: what it is asked for."""
    (tmp_path / "argon2").mkdir()
    (tmp_path / "argon2" / "__init__.py").touch()
    (tmp_path / "argon2" / "low_level.py").write_text(
        "class Type: ID = 'id'\ndef hash_secret(*words, **costs): return repr((words, costs)).encode()"
    )
    words = task("service", "Make the hash of the password for JupyterLab")["words"]
    assert words[0] == "/opt/jupyter/bin/python3"
    done = subprocess.run([sys.executable, *words[1:]], input='a"b:c$ü\n'.encode(), capture_output=True, check=True,
                          env={"PYTHONPATH": str(tmp_path)})  # fmt: skip
    kind, _, asked = done.stdout.decode().partition(":")
    (word, salt), costs = ast.literal_eval(asked)
    assert (kind, word.decode(), salt) == ("argon2", 'a"b:c$ü', b"saltsaltsaltsalt")
    assert costs["type"] == "id" and costs["memory_cost"] >= 65536 and costs["time_cost"] >= 3


def test_each_edition_has_another_salt() -> None:
    one = course("hardened")
    salts = {
        machine_variables(each, epoch)["password_salt"]  # type: ignore[arg-type]
        for each in (
            one,
            SimpleNamespace(**{**vars(one), "version": "2"}),
            SimpleNamespace(**{**vars(one), "name": "d"}),
        )
        for epoch in (5, 6)
    }
    assert len(salts) == 6 and all(re.fullmatch("[0-9a-f]{16}", salt) for salt in salts)


@pytest.mark.parametrize(
    ("version", "alone"), [("1.6.6", True), ("1.7.0", False), ("1.9.5", False), ("1.14.2", False), ("2.0.0", False)]
)
def test_old_packers_get_the_one_file(tmp_path: Path, version: str, alone: bool) -> None:
    packer = tmp_path / "packer"
    packer.write_text(f"#!/bin/sh\necho 'Packer v{version}'\n")
    packer.chmod(0o755)
    chosen = provision.template(packer)
    assert chosen.is_file() is alone and chosen.exists()


BOOT = bytes([0xEB, 0x63]) + bytes(508) + b"\x55\xaa"


def test_grub_is_written_where_bios_and_core_look(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.write_bytes(bytes(0x1B8) + b"TABLE".ljust(510 - 0x1B8, b"T") + b"\x55\xaa" + bytes(5 << 20))
    core = bytes(range(256)) * 10
    grub.install(disk, BOOT, core)
    data = disk.read_bytes()
    assert data[:2] == BOOT[:2] and data[0x66:0x68] == b"\x90\x90" and data[0x1B8:0x1BD] == b"TABLE"
    assert struct.unpack_from("<Q", data, 0x5C) == (2048,)
    image = data[2048 * 512 : 2048 * 512 + len(core)]
    assert struct.unpack_from("<QHH", image, 500) == (2049, 4, 0x820)
    assert image[512:] == core[512:] and image[:500] == core[:500]


@pytest.mark.parametrize(
    ("boot", "core", "message"),
    [
        (b"short", b"", "boot.img of the tools tree is not a boot sector."),
        (bytes(512), b"", "boot.img of the tools tree is not a boot sector."),
        (BOOT, bytes(2049 * 512), "GRUB's core image has 2049 sectors; its partition holds 2048."),
    ],
)
def test_grub_that_does_not_fit(tmp_path: Path, boot: bytes, core: bytes, message: str) -> None:
    (tmp_path / "disk").write_bytes(bytes(4096))
    with pytest.raises(CourseboxError) as error:
        grub.install(tmp_path / "disk", boot, core)
    assert error.value.message == message


def test_names_of_a_disk_derive_from_the_course() -> None:
    assert identity(named("a", "1"), "root") == identity(named("a", "1"), "root")
    assert (
        len(
            {
                identity(named("a", "1"), "root"),
                identity(named("a", "2"), "root"),
                identity(named("b", "1"), "root"),
                identity(named("a", "1"), "esp"),
            }
        )
        == 4
    )


def test_a_failed_program_is_a_sentence_with_its_last_lines(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with pytest.raises(CourseboxError) as error:
        run(["sh", "-c", "seq 100; echo wrong >&2; exit 3"], what="counting", log=log)
    assert error.value.message.startswith("counting failed (exit status 3):\n") and error.value.message.endswith(
        "    wrong"
    )
    assert "    1\n" not in error.value.message and error.value.hint == f"The whole output is in {log}."


def test_a_missing_program_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(CourseboxError) as error:
        run(["no-such-program"], what="counting", log=tmp_path / "log")
    assert error.value.message == "counting failed: no-such-program is not installed."
    assert capture(["no-such-program"]).returncode == 127


DIFF = """C /etc
C /etc/passwd
A /home/student/labs/a b.py
D /usr/share/old
A /coursebox
A /coursebox/labs
C /run
A /run/lock
A /tmp/ansible
C /root
A /root/.ansible/tmp
"""


def test_changes_are_what_a_layer_keeps() -> None:
    kept, removed = changes.read_diff(DIFF)
    assert kept == ["etc", "etc/passwd", "home/student/labs/a b.py", "root", "run"]
    assert removed == ["usr/share/old"]


@pytest.mark.parametrize("kind", ["vm", "container"])
def test_every_role_of_a_playbook_counts(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An edited role, or a file that a role installs from elsewhere, is another input."""
    shutil.copytree(CHECKOUT / "ansible", tmp_path / "ansible")
    shutil.copytree(CHECKOUT / "docker", tmp_path / "docker")
    monkeypatch.setattr(stage, "ANSIBLE", tmp_path / "ansible")
    monkeypatch.setattr(stage, "SOURCES", {"container": tmp_path / "docker"})
    before = role_digests(f"{kind}-course")
    (tmp_path / "ansible" / "roles" / "student" / "tasks" / "main.yml").write_text("---\n")
    (tmp_path / "docker" / "another").write_text("")
    after = role_digests(f"{kind}-course")
    changed = {name for name in before if before[name] != after[name]}
    assert changed == ({"student"} if kind == "vm" else {"student", "container: sources"})
