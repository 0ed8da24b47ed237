"""Grade a folder of submissions: `course-grade` in a container of the course's image. This machine needs no torch.

The container has no network, sees the submissions read-only, and can write into one folder of this machine. There lies
the journal, too: when the container is killed, the next one goes on.
"""

from __future__ import annotations

import csv
import io
import subprocess
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from coursebox.core.console import say
from coursebox.core.errors import CourseboxError
from coursebox.core.run import capture
from coursebox.course import Course
from coursebox.formats.oci.config import image_names
from coursebox.host.dockerd import ensure_engine
from coursebox.host.engine import have_image

SUBMISSIONS, GRADES = "/submissions", "/grades"  # in the container
COMMAND = "/usr/local/bin/course-grade"
# Not the label of a build's containers: a build that starts removes those, and would end a grading that runs.
LABEL = "org.coursebox.grade"
PATIENCE = 20.0  # seconds that an interrupted container has to end by itself
DOCKER_FAILED, NOT_EXECUTABLE, NOT_FOUND = 125, 126, 127  # exit statuses of `docker run` and of tini


@dataclass(frozen=True)
class Tables:
    """Files that the grader reads beside the submissions; None for one that is not used."""

    rules: Path | None = None
    roster: Path | None = None
    times: Path | None = None

    def mounted(self) -> dict[str, tuple[Path, str]]:
        """Option of course-grade → the file here, and its path in the container. Raises CourseboxError."""
        named = {"rules": self.rules, "roster": self.roster, "times": self.times}
        found = {}
        for option, file in named.items():
            if file is None:
                continue
            if not file.is_file():
                raise CourseboxError(f"there is no file {file}", hint=f"{option.upper()} names a file")
            found[f"--{option}"] = (file.resolve(), f"/tables/{option}{file.suffix if file.suffix.isascii() else ''}")
        return found


def grade(
    course: Course, folder: Path | None, lab: str, out: Path | None = None, options: Sequence[str] = (),
    tables: Tables = Tables(),
) -> int:  # fmt: skip
    """Grade the submissions of one lab in `folder`; the exit status of course-grade, 0 when all are graded.

    folder: or an archive with a whole class. lab: its number or its name. out: where the results go, FOLDER-grades
    beside it unless named. options: further ones of course-grade. A grading that was interrupted goes on with the
    same folders. Raises CourseboxError when a setting is missing or wrong, when the engine has no image of the course,
    and when no container starts.
    """
    submissions = _submissions(folder)
    if not lab:
        raise CourseboxError("no lab is named", hint="name its number: make grade FOLDER=… LAB=02")
    mounts = tables.mounted()
    name = submissions.name if submissions.is_dir() else submissions.stem
    grades = (out or submissions.parent / f"{name}-grades").resolve()
    ensure_engine()
    image = _image(course, gpu="--gpu" in options)
    with _folder_for(grades):
        say(f"‣ grading {submissions} with {image}; in the container it is {SUBMISSIONS}, and {grades} is {GRADES}")
        name = f"coursebox-grade-{uuid.uuid4().hex[:8]}"
        status = _run(_command(image, name, submissions, grades, lab, options, mounts), name)
    if status == DOCKER_FAILED:
        raise CourseboxError(f"no container of {image} starts; docker said why", hint="make doctor")
    if status in (NOT_EXECUTABLE, NOT_FOUND):
        raise CourseboxError(f"{image} has no {COMMAND}: it is of an earlier edition", hint="make docker")
    if status == 0:
        say(f"  the results are in {grades}")
    return status


def _image(course: Course, *, gpu: bool) -> str:
    """The course's image in the engine: that for CUDA, else that for the CPU unless a GPU is asked for."""
    names = [image_names(course.name, course.version, variant)[0] for variant in (("",) if gpu else ("", "cpu"))]
    for name in names:
        if have_image(name):
            return name
    smaller = "" if gpu else ", or make build TARGETS=image, which is smaller"
    raise CourseboxError(f"the Docker engine has no image {' or '.join(names)}", hint=f"make docker{smaller}")


def mount(source: Path, target: str, *, readonly: bool = False) -> str:
    """The value of docker's --mount for a folder, whatever its name.

    Docker reads it as one line of CSV: a field with a comma or a quote stands in quotes (encoding/csv of Go).
    """
    fields = ["type=bind", f"source={source}", f"target={target}", *(["readonly"] if readonly else [])]
    line = io.StringIO()
    csv.writer(line).writerow(fields)
    return line.getvalue().removesuffix("\r\n")


def _submissions(folder: Path | None) -> Path:
    """The folder of the submissions, absolute and without links: the engine looks for it by this path."""
    if folder is None:
        raise CourseboxError("no folder of submissions is named", hint="make grade FOLDER=… LAB=02")
    if not folder.is_dir() and not folder.is_file():
        raise CourseboxError(
            f"there is no folder {folder}",
            hint="FOLDER names a folder with a file or a folder for each student, or an archive of a class",
        )
    return folder.resolve()


@contextmanager
def _folder_for(grades: Path) -> Iterator[None]:
    """Make the folder of the results, as the user who grades; a new one that stays empty is removed again."""
    try:
        new = not grades.exists()
        grades.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CourseboxError(
            f"{grades}: {error.strerror or error}", hint="OUT names a folder that you can write to"
        ) from error
    try:
        yield
    finally:
        if new:
            with suppress(OSError):  # it holds results
                grades.rmdir()


def _command(
    image: str, name: str, submissions: Path, grades: Path, lab: str, options: Sequence[str],
    tables: Mapping[str, tuple[Path, str]],
) -> list[str | Path]:  # fmt: skip
    """`docker run` for course-grade.

    root makes a user and namespaces for each submission. For namespaces it needs CAP_SYS_ADMIN; with it, Docker's
    default seccomp profile allows the system call unshare: https://docs.docker.com/engine/security/seccomp/
    The entry point of the image, which prepares a home, is left out; but for its tini, which passes signals on.
    """
    return [
        "docker", "run", "--rm", "--name", name, "--label", LABEL, "--network", "none", "--user", "root",
        "--cap-add", "SYS_ADMIN", "--no-healthcheck", "--workdir", "/",
        *(["--gpus", "all"] if "--gpu" in options else []),
        "--mount", mount(submissions, SUBMISSIONS, readonly=True), "--mount", mount(grades, GRADES),
        *(word for file, place in tables.values() for word in ("--mount", mount(file, place, readonly=True))),
        "--entrypoint", "/usr/bin/tini", image, "-s", "--",
        COMMAND, SUBMISSIONS, f"--lab={lab}", f"--out={GRADES}",
        *(f"{option}={place}" for option, (_, place) in tables.items()), *options,
    ]  # fmt: skip


def _run(command: Sequence[str | Path], name: str) -> int:
    """Run a container in the foreground; its exit status. When this is interrupted, no container stays."""
    with subprocess.Popen(command, stdin=subprocess.DEVNULL) as docker:
        try:
            return docker.wait()
        except BaseException:
            # Ctrl-C reaches docker, too, which passes it on: course-grade ends and says so.
            with suppress(subprocess.TimeoutExpired, KeyboardInterrupt):
                docker.wait(PATIENCE)
            capture(["docker", "rm", "--force", "--volumes", name])
            raise
