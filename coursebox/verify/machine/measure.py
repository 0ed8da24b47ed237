"""Figures of a starting machine, of a starting container and of the labs in one, for `make bench`."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from pathlib import Path

from coursebox.core.errors import CourseboxError
from coursebox.core.paths import CHECKOUT, Cache
from coursebox.core.run import capture
from coursebox.course import Course
from coursebox.host.engine import label
from coursebox.verify.machine import accel
from coursebox.verify.machine.guest import Guest, wait_for_http
from coursebox.verify.machine.qemu import Forward, Qemu, Spec, free_port

LIMIT = 900.0  # seconds
SETTLE = 60.0  # seconds after which a started machine counts as idle


@dataclass(frozen=True)
class Start:
    """seconds: from power-on to an answer of JupyterLab; memory: bytes in use in the idle machine."""

    accelerator: str
    seconds: float
    memory: int


def measure_start(course: Course, ova: Path, folder: Path) -> Start:
    """Boot the OVA with the course's memory and processors, wait for JupyterLab, then look at the idle machine."""
    chosen = accel.choose_accelerator(disk=ova, cache=Cache.from_environment())
    web, ssh = free_port(), free_port()
    spec = Spec(
        ova,
        accelerator=chosen,
        memory=course.machine.memory,
        processors=course.machine.processors,
        forwards=(Forward(web, 8888), Forward(ssh, 22)),
    )
    with Qemu(spec, folder=folder) as machine:
        wait_for_http(f"http://127.0.0.1:{web}/lab", LIMIT, alive=machine.running)
        seconds = machine.uptime()
        time.sleep(SETTLE)
        with Guest(ssh, course.user.name, course.user.password) as guest:
            fields = dict(line.split(":") for line in guest.output("cat /proc/meminfo").splitlines())
        used = int(fields["MemTotal"].split()[0]) - int(fields["MemAvailable"].split()[0])
        return Start(chosen, seconds, used * 1024)


def measure_container(image: str, processors: str = "0,1") -> tuple[float, float]:
    """Seconds from `docker run` to an answering JupyterLab: the first start (cold page cache or not), and the best of
    three more. `processors`: those that the container may use.
    """
    seconds = []
    for _ in range(4):
        port = free_port()
        name = f"coursebox-bench-{port}"
        command = ["docker", "run", "--detach", "--rm", "--name", name, "--label", label(), "--cpuset-cpus", processors,
                   "--publish", f"127.0.0.1:{port}:8888", image]  # fmt: skip
        start = time.monotonic()
        if capture(command).returncode != 0:
            raise CourseboxError(f"no container of {image} starts.", hint="Run `make docker` first.")
        try:
            wait_for_http(f"http://127.0.0.1:{port}/api", LIMIT, pause=0.05)
            seconds.append(time.monotonic() - start)
        finally:
            capture(["docker", "rm", "--force", "--volumes", name])
    return seconds[0], min(seconds[1:])


def measure_labs(image: str, folder: Path) -> dict[str, float]:
    """Seconds of the labs' checks, their training, and the grading of a class, with the image's labs, torch and data.

    folder: gets the figures while they are made. What a figure is about: tools/labs_bench.py.
    """
    folder.mkdir()
    folder.chmod(0o777)  # the container's user writes there
    done = capture(
        ["docker", "run", "--rm", "--network", "none", "--label", label(), "--volume", f"{CHECKOUT}:/checkout:ro",
         "--volume", f"{folder}:/figures", image, "python", "/checkout/tools/labs_bench.py",
         "--labs", "/usr/share/coursebox/labs", "--json", "/figures/labs.json"]
    )  # fmt: skip
    if done.returncode != 0:
        raise CourseboxError(f"the labs cannot be measured in {image}: {done.stderr.strip()[-500:]}")
    figures: dict[str, float] = json.loads((folder / "labs.json").read_text(encoding="utf-8"))
    return figures
