"""Typing on a US keyboard, and what a QMP conversation looks like."""

from __future__ import annotations

import json
import socket
import string
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from coursebox.core.errors import CourseboxError
from coursebox.verify.machine.qmp import Qmp, chord


@pytest.mark.parametrize(
    ("character", "keys"),
    [
        ("a", ("a",)),
        ("Z", ("shift", "z")),
        ("7", ("7",)),
        ("&", ("shift", "7")),
        (" ", ("spc",)),
        ("\n", ("ret",)),
        ("!", ("shift", "1")),
        (":", ("shift", "semicolon")),
        ("/", ("slash",)),
        ("?", ("shift", "slash")),
        ('"', ("shift", "apostrophe")),
        ("|", ("shift", "backslash")),
        ("_", ("shift", "minus")),
    ],
)
def test_keys_of_a_character(character: str, keys: tuple[str, ...]) -> None:
    assert chord(character) == keys


def test_every_printable_character_has_keys_of_its_own() -> None:
    printable = string.digits + string.ascii_letters + string.punctuation + " \n\t"
    assert len({chord(character) for character in printable}) == len(printable)


@pytest.mark.parametrize("character", ["ä", "€", "\x1b", ""])
def test_a_character_without_a_key_is_an_error(character: str) -> None:
    with pytest.raises(CourseboxError, match="no key of a US keyboard gives"):
        chord(character)


@contextmanager
def fake_qemu(path: Path, answers: list[object]) -> Iterator[list[dict[str, object]]]:
    """A QMP server that greets, then gives `answers`, one after each line that it receives, which it keeps.

    A list among the answers is sent as several messages.
    """
    received: list[dict[str, object]] = []
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    listener.listen()

    def serve() -> None:
        connection, _ = listener.accept()
        with connection, connection.makefile("rwb") as stream:
            stream.write(b'{"QMP": {"version": {}, "capabilities": []}}\n')
            stream.flush()
            for answer in [{"return": {}}, *answers]:
                received.append(json.loads(stream.readline()))
                for message in answer if isinstance(answer, list) else [answer]:
                    stream.write(json.dumps(message).encode() + b"\n")
                stream.flush()

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    yield received
    thread.join(5)
    listener.close()


def test_a_command_gets_its_own_answer_though_events_come_first(tmp_path: Path) -> None:
    answers: list[object] = [[{"event": "RESUME"}, {"return": {"status": "running"}}]]
    with fake_qemu(tmp_path / "qmp", answers) as received:
        qmp = Qmp(tmp_path / "qmp")
        assert qmp.execute("query-status") == {"status": "running"}
        qmp.close()
    assert [message["execute"] for message in received] == ["qmp_capabilities", "query-status"]


def test_keys_are_pressed_together(tmp_path: Path) -> None:
    with fake_qemu(tmp_path / "qmp", [{"return": {}}]) as received:
        qmp = Qmp(tmp_path / "qmp")
        qmp.press("ctrl", "c", hold=5)
        qmp.close()
    keys = [{"type": "qcode", "data": "ctrl"}, {"type": "qcode", "data": "c"}]
    assert received[1] == {"execute": "send-key", "arguments": {"keys": keys, "hold-time": 5}}


def test_text_is_typed_key_by_key(tmp_path: Path) -> None:
    with fake_qemu(tmp_path / "qmp", [{"return": {}}] * 3) as received:
        qmp = Qmp(tmp_path / "qmp")
        qmp.type("Hi\n", pause=0)
        qmp.close()
    pressed = [[key["data"] for key in message["arguments"]["keys"]] for message in received[1:]]  # type: ignore[index]
    assert pressed == [["shift", "h"], ["i"], ["ret"]]


def test_a_refused_command_says_why(tmp_path: Path) -> None:
    with fake_qemu(tmp_path / "qmp", [{"error": {"class": "GenericError", "desc": "Device 'x' not found"}}]):
        qmp = Qmp(tmp_path / "qmp")
        with pytest.raises(CourseboxError, match="QEMU refuses device_del: Device 'x' not found"):
            qmp.execute("device_del", id="x")
        qmp.close()


def test_a_socket_that_never_opens_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(CourseboxError, match="QEMU opened no control socket"):
        Qmp(tmp_path / "none", alive=lambda: False)


def test_a_closed_connection_is_an_error(tmp_path: Path) -> None:
    with fake_qemu(tmp_path / "qmp", []):
        qmp = Qmp(tmp_path / "qmp")
    with pytest.raises(CourseboxError, match=r"QEMU (is gone|closed its control socket|does not answer)"):
        qmp.execute("quit")
    qmp.close()
