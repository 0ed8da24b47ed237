"""QEMU's machine protocol: commands as JSON lines over a Unix socket, and text turned into key strokes.

Source: QEMU, docs/interop/qmp-spec.txt (messages) and qapi/ui.json (`QKeyCode`, `send-key`, `screendump`).
"""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from coursebox.core.errors import CourseboxError

# QKeyCode of each character on a US keyboard, without and with shift; letters and digits are named by themselves.
PLAIN = {
    " ": "spc", "\n": "ret", "\t": "tab", "-": "minus", "=": "equal", "[": "bracket_left", "]": "bracket_right",
    ";": "semicolon", "'": "apostrophe", "`": "grave_accent", "\\": "backslash", ",": "comma", ".": "dot", "/": "slash",
}  # fmt: skip
SHIFTED = {
    "!": "1", "@": "2", "#": "3", "$": "4", "%": "5", "^": "6", "&": "7", "*": "8", "(": "9", ")": "0",
    "_": "minus", "+": "equal", "{": "bracket_left", "}": "bracket_right", ":": "semicolon", '"': "apostrophe",
    "~": "grave_accent", "|": "backslash", "<": "comma", ">": "dot", "?": "slash",
}  # fmt: skip


def chord(character: str) -> tuple[str, ...]:
    """The keys held together that give `character` on a US keyboard; CourseboxError when there are none."""
    if character in PLAIN:
        return (PLAIN[character],)
    if character in SHIFTED:
        return ("shift", SHIFTED[character])
    if len(character) == 1 and character.isascii() and character.isalnum():
        return ("shift", character.lower()) if character.isupper() else (character,)
    raise CourseboxError(f"no key of a US keyboard gives {character!r}", hint="type ASCII characters only")


class Qmp:
    """One open QMP connection. Not for several threads."""

    def __init__(self, path: Path, *, timeout: float = 30.0, alive: Callable[[], bool] = lambda: True) -> None:
        """Connect to the socket at `path`; wait at most `timeout` seconds for it, and only while `alive()`."""
        self._path = path
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        end = time.monotonic() + timeout
        while True:
            try:
                self._socket.connect(str(path))
                break
            except (FileNotFoundError, ConnectionRefusedError):
                if not alive() or time.monotonic() > end:
                    self._socket.close()
                    raise CourseboxError(f"QEMU opened no control socket within {timeout:.0f} s") from None
                time.sleep(0.02)
        self._socket.settimeout(timeout)
        self._stream = self._socket.makefile("rb")
        self._receive()
        self.execute("qmp_capabilities")

    def _receive(self) -> dict[str, Any]:
        try:
            line = self._stream.readline()
        except OSError as error:
            raise CourseboxError(f"QEMU does not answer on its control socket: {error}") from None
        if not line:
            raise CourseboxError("QEMU closed its control socket")
        message: dict[str, Any] = json.loads(line)
        return message

    def execute(self, command: str, **arguments: object) -> Any:
        """Run one command and return its `return` value; events that arrive meanwhile are dropped.

        An argument whose QMP name holds a dash is given with an underscore. CourseboxError carries QEMU's own words.
        """
        named = {name.replace("_", "-"): value for name, value in arguments.items()}
        request = {"execute": command, "arguments": named}
        try:
            self._socket.sendall(json.dumps(request).encode() + b"\n")
        except OSError as error:
            raise CourseboxError(f"QEMU is gone: {error}") from None
        while True:
            answer = self._receive()
            if "error" in answer:
                raise CourseboxError(f"QEMU refuses {command}: {answer['error'].get('desc', 'no reason given')}")
            if "return" in answer:
                return answer["return"]

    def press(self, *keys: str, hold: int = 60) -> None:
        """Hold `keys` (QKeyCode names such as "ret", "down") together for `hold` milliseconds."""
        self.execute("send-key", keys=[{"type": "qcode", "data": key} for key in keys], hold_time=hold)

    def type(self, text: str, *, pause: float = 0.15) -> None:
        """Type `text` as on a US keyboard, one character each `pause` seconds: an emulated guest loses faster ones."""
        for keys in [chord(character) for character in text]:
            self.press(*keys)
            time.sleep(pause)

    def close(self) -> None:
        self._stream.close()
        self._socket.close()
