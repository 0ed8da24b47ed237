"""The process in which the checks run, seen from the one that shows the table.

The two speak JSON, a line for each message. Parent to worker, on its standard input: {"run": name}. Worker to parent,
on a pipe of its own, because libraries print what they like: first {"hello": machine}, or {"hello": {}, "error":
sentence}; then for each check any number of {"progress": share} and one {"row": …, "healthy": bool}. What the worker
prints goes to a file and is shown only when it dies.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from course_selftest.options import Options
from course_selftest.outcome import Row

PACKAGES = Path(__file__).resolve().parent.parent
COMMAND = (sys.executable, "-m", "course_selftest.worker")
START_LIMIT = 600.0
TICK = 0.5

Progress = Callable[[float], None]


class Died(Exception):
    """The worker ended, or was ended, before it answered: how, and what it had printed."""

    def __init__(self, how: str, printed: str) -> None:
        super().__init__(how)
        self.printed = printed

    def sentence(self) -> str:
        """For the table: how it ended, and the last line that it had printed."""
        how = f"{str(self)[0].upper()}{str(self)[1:]}."
        lines = self.printed.splitlines()
        return f"{how} Its last words: {lines[-1].strip()[:200]}" if lines else how


class Worker:
    """A process that has imported PyTorch and waits for the names of checks. Use it as a context manager."""

    def __init__(self, options: Options, command: Sequence[str] = COMMAND, start_limit: float = START_LIMIT) -> None:
        """Start it; raises Died when it does not come up within `start_limit` seconds."""
        # Made and removed by this process, since the other one may be killed.
        self._folder = tempfile.TemporaryDirectory(prefix="course-selftest-", ignore_cleanup_errors=True)
        self._output = tempfile.TemporaryFile()  # noqa: SIM115
        read, write = os.pipe()
        self._messages = os.fdopen(read, "rb", buffering=0)
        self._buffer = b""
        try:
            self._process = subprocess.Popen(
                [*command, str(write), json.dumps(asdict(options))],
                stdin=subprocess.PIPE, stdout=self._output, stderr=subprocess.STDOUT, pass_fds=[write],
                env=_environment(self._folder.name), start_new_session=True,
            )  # fmt: skip
        finally:
            os.close(write)
        self.healthy = True
        with self._closed_on_error():
            message = next(self._answers(start_limit, lambda share: None))
        self.machine: dict[str, Any] = message["hello"]
        self.error: str = message.get("error", "")

    def run(self, name: str, limit: float, progress: Progress = lambda share: None) -> Row:
        """Run one check. Raises Died when the worker dies, or has not answered after `limit` seconds and is killed.

        progress: called about twice a second, with the share that is done (0 to 1) as far as the check tells.
        Afterwards `healthy` says whether the worker can be given another check.
        """
        assert self._process.stdin is not None
        with self._closed_on_error():
            try:
                self._process.stdin.write(json.dumps({"run": name}).encode() + b"\n")
                self._process.stdin.flush()
            except BrokenPipeError:
                raise self._died() from None
            message = next(self._answers(limit, progress))
        self.healthy = bool(message["healthy"])
        return Row(**message["row"])

    def close(self) -> None:
        """End the process and all that it has started."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        # A process that hangs inside a broken driver cannot be killed; leave it to the kernel then.
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout=10)
        with contextlib.suppress(BrokenPipeError):
            assert self._process.stdin is not None
            self._process.stdin.close()
        self._messages.close()
        self._output.close()
        self._folder.cleanup()
        self.healthy = False

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    @contextlib.contextmanager
    def _closed_on_error(self) -> Iterator[None]:
        try:
            yield
        except BaseException:
            self.close()
            raise

    def _answers(self, limit: float, progress: Progress) -> Iterator[dict[str, Any]]:
        """The messages that are no report of progress, as they come in."""
        end, share = time.monotonic() + limit, 0.0
        while True:
            line, found, rest = self._buffer.partition(b"\n")
            if found:
                self._buffer = rest
                message: dict[str, Any] = json.loads(line)
                if "progress" not in message:
                    yield message
                    continue
                share = float(message["progress"])
            progress(share)
            if time.monotonic() > end:
                raise Died(f"did not end within {limit:.0f} s", self._printed())
            if select.select([self._messages], [], [], min(TICK, limit))[0]:
                received = self._messages.read(65536)
                if not received:
                    raise self._died()
                self._buffer += received
            elif self._process.poll() is not None:  # and what it has started keeps the pipe open
                raise self._died()

    def _died(self) -> Died:
        try:
            status = self._process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            return Died("the process of the checks closed its end of the pipe", self._printed())
        if status < 0:
            how = f"the process of the checks was ended by signal {-status} ({signal.Signals(-status).name})"
        else:
            how = f"the process of the checks ended with exit code {status}"
        return Died(how, self._printed())

    def _printed(self) -> str:
        """The end of what the worker has printed."""
        size = self._output.seek(0, os.SEEK_END)
        self._output.seek(max(0, size - 8000))
        return self._output.read().decode("utf-8", "replace").strip()


def _environment(folder: str) -> dict[str, str]:
    """The worker's environment. It finds this package, and no file of the current folder passes for a module. What it
    writes goes to `folder`, and torch.compile finds nothing there that an earlier run has compiled."""
    return os.environ | {
        "PYTHONPATH": os.pathsep.join(filter(None, [str(PACKAGES), os.environ.get("PYTHONPATH", "")])),
        "PYTHONSAFEPATH": "1",
        "PYTHONUNBUFFERED": "1",
        "TMPDIR": folder,
        "TORCHINDUCTOR_CACHE_DIR": f"{folder}/inductor",
        "TRITON_CACHE_DIR": f"{folder}/triton",
        "TORCHINDUCTOR_COMPILE_THREADS": "1",  # else a pool of processes that outlives the check
    }
