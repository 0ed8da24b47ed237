"""The student's side: a process that runs the student's functions and answers with plain data.

It knows the submission, the helpers that a check sends along, and the arguments of each call. It knows no expected
value, no seed and no verdict. Whatever a submission does to this process, the most it can change are the values that
go back, and those are compared elsewhere.
"""

from __future__ import annotations

import contextlib
import faulthandler
import linecache
import os
import random
import re
import resource
import socket
import sys
import time
import traceback
import types
from collections.abc import Iterable, Iterator, Sized
from pathlib import Path
from typing import Any

import numpy as np
import torch

# The text of a check imports the kit, where a sandbox hides its file: it must be in memory before.
from . import kit, protocol, timeup  # noqa: F401
from .datasets import DataSets, MissingData

NOT_YET = re.compile(r"\d\d\.\d+ \S+")
_MEMORY = ("can't allocate memory", "not enough memory", "CUDA out of memory")


def address_space() -> int:
    """What this process has reserved, in bytes."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
    return pages * resource.getpagesize()


def limit_resources(seconds: int, address_space: int | None, file_size: int, processes: int | None) -> None:
    """Bound what this process can take: seconds of computing, sizes in bytes; None leaves a limit as it is."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 2))  # first SIGXCPU, then SIGKILL
    resource.setrlimit(resource.RLIMIT_FSIZE, (file_size, file_size))
    if processes is not None:
        resource.setrlimit(resource.RLIMIT_NPROC, (processes, processes))
    if address_space is not None:
        resource.setrlimit(resource.RLIMIT_AS, (address_space, address_space))


def capture_output(descriptor: int) -> None:
    """Let everything that this process prints go to the file `descriptor`."""
    for stream in (1, 2):
        os.dup2(descriptor, stream)
    sys.stdout = open(1, "w", buffering=1, encoding="utf-8", errors="replace", closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", buffering=1, encoding="utf-8", errors="replace", closefd=False)  # noqa: SIM115


def _seed(seed: int) -> None:
    torch.default_generator.manual_seed(seed)  # torch.manual_seed notes a stack trace for each kind of device: slow
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        torch.cuda.manual_seed_all(seed)
    random.seed(seed)
    np.random.seed(seed % 2**32)


def _same(a: Any, b: Any) -> bool:
    """Whether two arguments are the same to the last bit; a NaN equals itself."""
    if isinstance(a, torch.Tensor) and isinstance(b, torch.Tensor):
        if a.shape != b.shape or a.dtype != b.dtype or a.layout != b.layout:
            return False
        if a.layout != torch.strided:
            a, b = a.detach().to_dense(), b.detach().to_dense()
        return bool(torch.equal(a, b)) or bool(
            (a.is_floating_point() or a.is_complex())
            and torch.equal(a.isnan(), b.isnan())
            and torch.equal(a.nan_to_num(7.0), b.nan_to_num(7.0))
        )
    if isinstance(a, np.ndarray) and isinstance(b, np.ndarray):
        return a.shape == b.shape and a.dtype == b.dtype and a.tobytes() == b.tobytes()
    if isinstance(a, (list, tuple)) and isinstance(b, (list, tuple)):
        return len(a) == len(b) and all(_same(x, y) for x, y in zip(a, b, strict=True))
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(_same(a[key], b[key]) for key in a)
    if isinstance(a, (torch.Tensor, np.ndarray, list, tuple, dict)):
        return False
    return type(a) is type(b) and (a == b or a != a)


def _copy(value: Any) -> Any:
    if isinstance(value, torch.Tensor):
        return value.detach().clone()
    if isinstance(value, np.ndarray):
        return value.copy()
    if isinstance(value, (list, tuple)):
        return type(value)([_copy(item) for item in value]) if type(value) in (list, tuple) else value
    if isinstance(value, dict):
        return {key: _copy(item) for key, item in value.items()}
    return value


class StudentSide:
    """The student's module and the helpers, and the calls of them that the checker asks for."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._module = types.ModuleType("exercise")
        self._helpers: dict[str, Any] = {}
        self._told = 0.0

    def progress(self, items: Iterable[Any], text: str = "") -> Iterator[Any]:
        """Go through `items` and let the checker draw a bar."""
        total = len(items) if isinstance(items, Sized) else 0
        for count, item in enumerate(items):
            if time.monotonic() - self._told > 0.1:
                self._told = time.monotonic()
                protocol.send(self._connection, {"progress": [count, total, text]})
            yield item

    def load(self, order: dict[str, Any]) -> None:
        """Make the student's module from `source`, and the helpers from `helpers`."""
        _seed(0)
        self._module.__file__ = order["file"]
        sys.modules["exercise"] = self._module
        sys.path.insert(0, str(Path(order["file"]).parent))
        linecache.cache[order["file"]] = (0, None, order["source"].splitlines(keepends=True), order["file"])
        # Without this module's own `from __future__ import annotations`: as `python exercise.py` would.
        exec(compile(order["source"], order["file"], "exec", dont_inherit=True), self._module.__dict__)
        data = DataSets(Path(order["labs"]))
        self._helpers = {"__name__": "student_side", "progress": self.progress, "data": data}
        linecache.cache["<check>"] = (0, None, order["helpers"].splitlines(keepends=True), "<check>")
        exec(compile(order["helpers"], "<check>", "exec"), self._helpers)
        for name in order["substitutes"]:
            self._module.__dict__[name] = self._helpers[name]

    def call(self, order: dict[str, Any]) -> dict[str, Any]:
        """Call the student's function `call`, or the helper `run` with the student's module before its arguments."""
        args, kwargs = order["args"], order["kwargs"]
        before = [_copy(value) for value in (*args, *kwargs.values())]
        _seed(order["seed"])
        if "run" in order:
            result = self._helpers[order["run"]](self._module, *args, **kwargs)
        elif not callable(function := self._module.__dict__.get(order["call"])):
            return {"missing": order["call"]}
        else:
            result = function(*args, **kwargs)
        after = [*args, *kwargs.values()]
        changed = [n for n, (a, b) in enumerate(zip(before, after, strict=True)) if not _same(a, b)]
        return {"value": result, "changed": changed} | ({"after": after} if order["after"] else {})

    def _explain(self, error: BaseException) -> dict[str, Any]:
        """An exception as data: its type, its words, and the student's line that caused it."""
        if isinstance(error, NotImplementedError) and NOT_YET.match(text := str(error)):
            return {"not_yet": text}
        if isinstance(error, MissingData):
            return {"missing_data": str(error)}
        if isinstance(error, timeup.TimeUp):
            return {"too_slow": timeup.explain(error, self._module.__dict__)}
        if isinstance(error, MemoryError):
            traceback.clear_frames(error.__traceback__)  # what filled the memory, so that there is room to say so
        raised: dict[str, Any] = {"type": type(error).__name__, "text": str(error)[:2000], "line": 0, "code": ""}
        if isinstance(error, SyntaxError):
            raised |= {"line": error.lineno or 0, "code": (error.text or "").strip(), "text": error.msg}
        for frame, line in traceback.walk_tb(error.__traceback__):
            if frame.f_globals is self._module.__dict__ and not isinstance(error, SyntaxError):
                code = linecache.getline(frame.f_code.co_filename, line, frame.f_globals).strip()
                raised |= {"line": line, "code": code, "function": frame.f_code.co_name}
        if isinstance(error, MemoryError) or any(text in str(error) for text in _MEMORY):
            raised["memory"] = True
        return {"raised": raised}

    def serve(self) -> None:
        """Answer orders until the checker hangs up."""
        while True:
            try:
                order = protocol.receive(self._connection)
            except (protocol.ProtocolError, OSError):
                return
            try:
                if "load" in order:
                    self.load(order["load"])
                    answer = {}
                else:
                    answer = self.call(order)
            except BaseException as error:  # sys.exit and Ctrl-C of a submission are findings, too
                answer = self._explain(error)
            try:
                protocol.send(self._connection, answer)
            except OSError:
                return
            except Exception as error:  # a value that cannot be sent, such as a tensor without memory
                protocol.send(self._connection, self._explain(error))


def run(connection: socket.socket, output: int, limits: dict[str, Any]) -> None:
    """The life of a worker, in a process of its own: never returns."""
    status = 1
    with contextlib.suppress(BaseException):
        faulthandler.disable()  # a crash is told in a sentence
        capture_output(output)
        torch.set_num_threads(1)
        sys.argv = ["exercise.py", "--force_cpu"]
        timeup.watch()
        limit_resources(**limits)
        StudentSide(connection).serve()
        status = 0
    os._exit(status)
