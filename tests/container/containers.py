"""Containers of the image under test: started as a student would, watched, and always removed."""

from __future__ import annotations

import os
import re
import subprocess
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TypeVar

import httpx

LABEL = "org.coursebox.test"
PATIENCE = 180  # seconds: ends a test that hangs, and judges nothing
# What a healthy start never says: in words, and as Jupyter abbreviates it.
ALARMING = re.compile(r"(?i)\b(?:warn|warning|error|traceback)\b|^\[[WE] ", re.MULTILINE)
INVITATION = re.compile(r"JupyterLab: (?P<url>https?://127\.0\.0\.1:\d+/\S*)")
BUSY = "while True: pass"

T = TypeVar("T")


def docker(*words: str | os.PathLike[str], stdin: str | None = None, check: bool = True) -> str:
    """What a docker command prints, both streams; a failing one fails the test with its own words."""
    done = subprocess.run(
        ["docker", *words], input=stdin, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=300
    )
    assert not check or done.returncode == 0, f"docker {' '.join(map(str, words))}:\n{done.stdout}"
    return done.stdout


def wait_for(question: Callable[[], T], what: str, patience: float = PATIENCE) -> T:
    """Ask again and again, until the answer is true; returns it."""
    end = time.monotonic() + patience
    while not (answer := question()):
        assert time.monotonic() < end, f"{what}: not within {patience} s"
        time.sleep(0.05)
    return answer


@dataclass
class Done:
    """A container that has run to its end: its exit status, and what it wrote."""

    status: int
    out: str
    err: str

    @property
    def alarms(self) -> list[str]:
        return [line for line in self.err.splitlines() if ALARMING.search(line)]


@dataclass
class Container:
    """One container. `allowed` are patterns of alarming lines that belong to what is tested."""

    image: str
    command: tuple[str, ...] = ()
    options: tuple[str, ...] = ()
    allowed: list[str] = field(default_factory=list)
    name: str = field(default_factory=lambda: f"coursebox-test-{uuid.uuid4().hex[:8]}")

    def start(self) -> Container:
        docker("run", "--detach", "--name", self.name, "--label", LABEL, *self.options, self.image, *self.command)
        return self

    def remove(self) -> None:
        docker("rm", "--force", "--volumes", self.name, check=False)

    @property
    def log(self) -> str:
        return docker("logs", self.name, check=False)

    def alarms(self) -> list[str]:
        """Alarming lines that nobody has allowed."""
        return [
            line
            for line in self.log.splitlines()
            if ALARMING.search(line) and not any(re.search(pattern, line) for pattern in self.allowed)
        ]

    def inspect(self, template: str) -> str:
        return docker("inspect", "--format", template, self.name).strip()

    @property
    def running(self) -> bool:
        return self.inspect("{{.State.Running}}") == "true"

    @property
    def address(self) -> str:
        return self.inspect("{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}")

    def wait_for_line(self, pattern: str, patience: float = PATIENCE) -> re.Match[str]:
        """The first match in the log; fails at once when the container ends before."""

        def look() -> re.Match[str] | None:
            running = self.running
            found = re.search(pattern, self.log, re.MULTILINE)
            assert found or running, f"the container has ended without {pattern!r}:\n{self.log}"
            return found

        found = wait_for(look, f"{pattern!r} in the log", patience)
        assert found is not None
        return found

    def wait_for_server(self) -> str:
        """The address for the student, as the log gives it, when the server listens."""
        return self.wait_for_line(INVITATION.pattern)["url"]

    @property
    def token(self) -> str:
        return self.wait_for_server().split("token=")[1]

    def execute(self, *command: str, user: str | None = None, status: int | None = 0, stdin: str = "") -> str:
        """What a command inside prints to both streams; its exit status must be `status`."""
        options = ["--user", user] if user else []
        done = subprocess.run(
            ["docker", "exec", "--interactive", *options, self.name, *command],
            input=stdin, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=120, check=False,
        )  # fmt: skip
        assert status is None or done.returncode == status, f"{command} ended with {done.returncode}:\n{done.stdout}"
        return done.stdout.strip()

    def http(self, path: str, *, method: str = "GET", port: int = 8888, scheme: str = "http", **more: object):  # type: ignore[no-untyped-def]
        """Ask the server on the container's own address."""
        url = f"{scheme}://{self.address}:{port}{path}"
        with httpx.Client(verify=False, timeout=PATIENCE, trust_env=False) as client:
            return client.request(method, url, **more)  # type: ignore[arg-type]

    def as_student(self, path: str, *, method: str = "GET", **more: object):  # type: ignore[no-untyped-def]
        """Ask with the token."""
        return self.http(path, method=method, headers={"Authorization": f"token {self.token}"}, **more)

    def start_busy_kernel(self) -> None:
        """Start a kernel by the server, and let it compute without an end."""
        kernel = self.as_student("/api/kernels", method="POST", json={"name": "python3"}).json()["id"]
        self.execute("python", "-", stdin=RUN_FOREVER.format(kernel=kernel, code=BUSY))

    def stop(self, signal: str = "TERM") -> float:
        """Send a signal; seconds until the container has ended."""
        start = time.time()
        docker("kill", "--signal", signal, self.name)
        docker("wait", self.name)
        finished = self.inspect("{{.State.FinishedAt}}")  # by the engine's own clock, without what its client takes
        return datetime.fromisoformat(finished).timestamp() - start

    @property
    def exit_status(self) -> int:
        return int(self.inspect("{{.State.ExitCode}}"))

    @property
    def server_process(self) -> str:
        """Process number of the server, as it is seen inside."""
        return self.execute("pgrep", "--oldest", "--full", r"^\S*python\S* \S*/jupyter(hub)?-(lab|server|singleuser)")

    def processes(self) -> list[str]:
        """State and command line of each process inside."""
        return self.execute("ps", "-e", "-ww", "-o", "stat=,args=").splitlines()


RUN_FOREVER = """
import glob
from jupyter_client import BlockingKernelClient
[file] = glob.glob("/tmp/coursebox-*/jupyter/kernel-{kernel}.json")
client = BlockingKernelClient()
client.load_connection_file(file)
client.start_channels()
client.wait_for_ready(timeout=60)
client.execute({code!r})
while client.get_iopub_msg(timeout=60)["content"].get("execution_state") != "busy":
    pass
"""


def run_once(image: str, *command: str, options: Sequence[str] = (), stdin: str = "") -> Done:
    """`docker run --rm` to its end."""
    name = f"coursebox-test-{uuid.uuid4().hex[:8]}"
    try:
        done = subprocess.run(
            ["docker", "run", "--rm", "--interactive", "--name", name, "--label", LABEL, *options, image, *command],
            input=stdin, text=True, capture_output=True, timeout=120, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        docker("rm", "--force", "--volumes", name, check=False)
        raise
    return Done(done.returncode, done.stdout, done.stderr)


def write(path: Path, text: str, mode: int = 0o644) -> Path:
    path.write_text(text, encoding="utf-8")
    path.chmod(mode)
    return path
