"""The grader under attack: each attack beside honest neighbours, who get all points; nothing outside changes."""

from __future__ import annotations

import os
import shutil
import socket
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import lab_cases as cases
import pytest
from attacks import Targets, attacks, steps
from bad_submissions import ALL, LAB, Bad
from course_grade import sandbox
from grading_runs import rows, run_grader, write

PROTECTION = sandbox.probe()
NOWHERE = Targets(Path("canary/thesis.txt"), Path("s"), "", 1, Path("seed"), Path("class/aaa"), Path("check"))
EXPECTED = attacks(NOWHERE, PROTECTION)
HONEST = ("aaa_honest", "mmm_honest", "zzz_honest")


@dataclass(frozen=True)
class Attacked:
    rows: dict[str, dict[str, str]]
    page: str
    terminal: str
    heard: list[bytes]
    canary: Path
    expected: dict[str, Bad]
    temporary: Path


def _listen(server: socket.socket, heard: list[bytes]) -> None:
    while True:
        try:
            if server.type == socket.SOCK_STREAM:
                connection = server.accept()[0]
                heard.append(b"connected")
                connection.close()
            else:
                heard.append(server.recv(100))
        except OSError:
            return


@pytest.fixture(scope="module")
def attacked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Attacked]:
    """One class, graded once: all attacks, with honest work before, between and after them."""
    room = tmp_path_factory.mktemp("attacked")
    canary, folder, seed = room / "canary" / "thesis.txt", room / "class", room / "seed.txt"
    canary.parent.mkdir()
    canary.write_text("years of work")
    canary.chmod(0o640)
    seed.write_text("7\n")
    heard: list[bytes] = []
    place = Path(os.path.relpath(room / "s"))  # such a path has 108 bytes at most
    unix, datagrams, abstract, tcp = (
        socket.socket(socket.AF_UNIX), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM),
        socket.socket(socket.AF_UNIX), socket.socket(),
    )  # fmt: skip
    unix.bind(str(place))
    datagrams.bind(f"{place}.d")
    name = f"\0attacked-{os.getpid()}"
    abstract.bind(name)
    tcp.bind(("127.0.0.1", 0))
    for server in (unix, abstract, tcp):
        server.listen()
    for server in (unix, datagrams, abstract, tcp):
        threading.Thread(target=_listen, args=(server, heard), daemon=True).start()
    targets = Targets(
        canary, room / "s", name, tcp.getsockname()[1], seed, folder / HONEST[0], cases.LABS / LAB / "check.py"
    )
    expected = attacks(targets, PROTECTION)
    # A place of its own, since other gradings beside this one use the common one, and some are killed.
    temporary = Path(tempfile.mkdtemp(prefix="attacked-"))
    temporary.chmod(0o711)
    for honest in HONEST:
        write(folder, honest, cases.solved(LAB))
    for attack, bad in expected.items():
        write(folder, attack, bad.text)
    done = run_grader(folder, "--lab", "02", "--out", str(room / "out"), "--jobs", "2", "--seconds", "60", "--memory",
                      "512", "--unprotected", "--patience", "0.2", "--seed-file", str(seed), cwd=room,
                      temporary=temporary)  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    page = (room / "out" / "report.html").read_text(encoding="utf-8")
    yield Attacked(rows(room / "out"), page, done.stdout + done.stderr, heard, canary, expected, temporary)
    shutil.rmtree(temporary, ignore_errors=True)
    for server in (unix, datagrams, abstract, tcp):
        server.close()


@pytest.mark.parametrize("name", HONEST)
def test_an_honest_neighbour_gets_all_points(attacked: Attacked, name: str) -> None:
    row = attacked.rows[name]
    assert (row["passed"], row["remark"]) == (str(ALL), "")


@pytest.mark.parametrize("name", EXPECTED)
def test_an_attack_is_without_effect(attacked: Attacked, name: str) -> None:
    row, bad = attacked.rows[name], attacked.expected[name]
    details = attacked.page[attacked.page.index(f"<summary>{name} ") :]
    details = row["remark"] + details[: details.index("</details>")]
    if bad.most == ALL:  # what was tried in front of a right solution is refused, and the solution counts
        assert int(row["passed"]) == ALL, details
    assert int(row["passed"]) <= bad.most
    assert bad.says in details
    assert "broke off" not in details


@pytest.mark.parametrize("name", steps(NOWHERE))
@pytest.mark.skipif(not (PROTECTION.calls and PROTECTION.files), reason="nothing would hold them back here")
def test_a_step_out_of_the_sandbox_is_refused(attacked: Attacked, name: str) -> None:
    assert f"'{name}'" not in "".join(row["remark"] for row in attacked.rows.values())


def test_nothing_outside_has_changed(attacked: Attacked) -> None:
    assert attacked.canary.read_text() == "years of work"
    assert attacked.canary.stat().st_mode & 0o777 == 0o640
    assert [path.name for path in attacked.canary.parent.iterdir()] == ["thesis.txt"]


def test_no_server_was_reached(attacked: Attacked) -> None:
    assert attacked.heard == []


def test_nothing_of_a_submission_reaches_the_terminal(attacked: Attacked) -> None:
    assert "\x1b" not in attacked.terminal and "99 submissions" not in attacked.terminal


def test_nothing_is_left(attacked: Attacked) -> None:
    assert attacked.temporary.is_dir() and [*attacked.temporary.iterdir()] == []
