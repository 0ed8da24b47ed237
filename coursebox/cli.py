"""The verbs: each one loads the course, calls the room that does the work, and turns errors into sentences.

Modules are imported inside the functions: a build with nothing to do must not pay for tools that it does not use.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from coursebox import __version__
from coursebox.core.errors import CourseboxError, of_packages, of_system
from coursebox.core.paths import CHECKOUT, Cache
from coursebox.core.settings import settings

if TYPE_CHECKING:
    from coursebox.course import Course


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb. 0: done, 1: something the user can mend, 2: wrong usage, 70: a bug, 130: interrupted."""
    # Tools of the locked environment (ansible-playbook, …) are found without activating it.
    os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
    try:
        words, behind = _split(list(sys.argv[1:] if arguments is None else arguments))
        options = _parser().parse_args(words, argparse.Namespace(behind=behind))
        run: Callable[[argparse.Namespace], int | None] = options.run
        return run(options) or 0
    except CourseboxError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted; what was finished stays in the cache", file=sys.stderr)
        return 130
    except Exception as error:
        if isinstance(error, OSError) and (sentence := of_system(error)) is not None:
            print(f"error: {sentence}", file=sys.stderr)
            return 1
        if _is_damage(error):
            print(f"error: {of_packages(error)}", file=sys.stderr)
            return 1
        print(_save_traceback(), file=sys.stderr)
        return 70


def _is_damage(error: BaseException) -> bool:
    """Whether a package of the environment cannot be imported: it was whole when it was installed."""
    if isinstance(error, SyntaxError):
        return bool(error.filename) and not Path(str(error.filename)).is_relative_to(CHECKOUT)
    ours = isinstance(error, ImportError) and (error.name or "").split(".")[0] == "coursebox"
    return isinstance(error, ImportError) and not ours


def _split(words: list[str]) -> tuple[list[str], list[str]]:
    """What follows `--` are options of course-grade, for the verb that runs it; argparse cannot tell them apart."""
    if words[:1] != ["grade"] or "--" not in words:
        return words, []
    place = words.index("--")
    return words[:place], words[place + 1 :]


def _parser() -> argparse.ArgumentParser:
    chosen = settings()
    parser = argparse.ArgumentParser(prog="coursebox", description="Build a deep-learning course in a box.")
    parser.add_argument("--version", action="version", version=f"coursebox {__version__}")
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")

    def verb(name: str, run: Callable[[argparse.Namespace], int | None], text: str) -> argparse.ArgumentParser:
        made = verbs.add_parser(name, help=text, description=text)
        made.set_defaults(run=run)
        made.add_argument(
            "--course", type=Path, default=chosen.course, help="the course file (default: $COURSE, else course.toml)"
        )
        return made

    def builds(made: argparse.ArgumentParser) -> argparse.ArgumentParser:
        made.add_argument("--dist", type=Path, help="where the files go (default: dist/ of the checkout)")
        made.add_argument("--no-load", action="store_true", help="leave the container engine's images as they are")
        return made

    builds(verb("ova", _build, "build the OVA")).set_defaults(targets=["ova"])
    builds(verb("docker", _build, "build the container image and load it into the engine")).set_defaults(
        targets=["image-cuda"]
    )
    builds(verb("build", _build, "build targets")).add_argument(
        "targets", nargs="*", default=chosen.targets, metavar="TARGET", help="names of targets (default: $TARGETS)"
    )
    verb("targets", _targets, "list what can be built, for whom, and what the last build was")
    verb("try", _try, "boot the built OVA in QEMU and use it from this machine's browser")
    verb("test", _test, "build, then prove on the delivered files what is not proved yet").add_argument(
        "pytest", nargs="*", metavar="PYTEST", help="instead of everything: files or options for pytest"
    )
    verb("test-quick", _test_quick, "unit tests and linters").add_argument(
        "pytest", nargs="*", metavar="PYTEST", help="further files or options for pytest"
    )
    verb("lab", _lab, "lay out a new lab").add_argument(
        "name", nargs="?", default=chosen.name, metavar="NAME", help="number and topic, as in 21_topic (default: $NAME)"
    )
    verb("solutions", _solutions, "write the solved labs into dist/solutions")
    grade = verb("grade", _grade, "grade a folder of submissions of one lab, in a container of the image")
    grade.usage = (
        "coursebox grade [FOLDER] [--lab LAB] [--out FOLDER] [--student NAME] [--format moodle|canvas] [--rules FILE] "
        "[--roster FILE] [--times FILE] [--again] [--course FILE] [-- options of course-grade]"
    )
    grade.add_argument(
        "folder", nargs="?", type=Path, default=chosen.folder, metavar="FOLDER",
        help="a file, a folder or an archive for each student, or a platform's download (default: $FOLDER)",
    )  # fmt: skip
    grade.add_argument("--lab", default=chosen.lab, help="the lab: 02, or its whole name (default: $LAB)")
    grade.add_argument("--out", type=Path, default=chosen.out, metavar="FOLDER",
                       help="where the results go (default: $OUT, else FOLDER-grades beside FOLDER)")  # fmt: skip
    grade.add_argument("--student", action="append", default=[*chosen.student], metavar="NAME",
                       help="grade this student again, and nobody else (default: $STUDENT)")  # fmt: skip
    grade.add_argument("--format", default=chosen.format, metavar="moodle|canvas",
                       help="write what this platform imports, too (default: $FORMAT)")  # fmt: skip
    for name, text in (
        ("rules", "weights of parts, a late rule, points by hand: a TOML file"),
        ("roster", "the class list: a CSV file of Moodle, of Canvas, or of your own"),
        ("times", "names and times of handing in: a CSV file"),
    ):
        default = getattr(chosen, name)
        grade.add_argument(f"--{name}", type=Path, default=default, metavar="FILE",
                           help=f"{text} (default: ${name.upper()})")  # fmt: skip
    grade.add_argument("--again", action="store_true", default=chosen.again, help="grade all anew (default: $AGAIN)")
    verb("bench", _bench, "measure the build and the machine")
    verb("repro", _repro, "build twice under different circumstances and compare")
    verb("lock", _lock, "resolve everything that goes in and write locks/")
    verb("fetch", _fetch, "download everything that is locked into the cache")
    verb("doctor", _doctor, "tell what this machine has, what it lacks, and what to do about it")
    verb("clean", _clean, "remove dist/ and build/; with CACHE=1 also the stage results").add_argument(
        "--cache", action="store_true", default=chosen.clean_cache, help="the stages too"
    )
    return parser


def _course(options: argparse.Namespace) -> Course:
    from coursebox.course import load_course

    return load_course(options.course)


def _build(options: argparse.Namespace) -> None:
    from coursebox.build import build_all
    from coursebox.formats.table import chosen, targets

    if not options.targets:
        raise CourseboxError("no target is named", hint=f'make build TARGETS="…"; targets are: {", ".join(targets())}')
    build_all(_course(options), chosen(options.targets), dist=options.dist, load=not options.no_load)


def _targets(options: argparse.Namespace) -> None:
    from coursebox.delivery.listing import show_targets

    show_targets(_course(options))


def _try(options: argparse.Namespace) -> None:
    from coursebox.host.packages import ensure_packages
    from coursebox.verify.machine.run import try_course

    course = _course(options)
    ensure_packages("try")
    try_course(course)


def _test(options: argparse.Namespace) -> int:
    from coursebox.build import build_all
    from coursebox.formats.table import chosen
    from coursebox.host.packages import ensure_packages
    from coursebox.verify import hosted, lanes, products, testing
    from coursebox.verify.proofs import Proofs

    ensure_packages("test")
    course = _course(options)
    built = build_all(course, chosen(products.TESTED))
    if options.pytest:
        return hosted.run(options.pytest, course=course.source)
    delivered = products.delivered(built)
    return testing.prove(lanes.rows(course, delivered), Proofs(Cache.from_environment(), fresh=settings().fresh))


def _test_quick(options: argparse.Namespace) -> int:
    from coursebox.host.packages import ensure_packages
    from coursebox.verify import hosted

    ensure_packages("test-quick")
    return hosted.run(["tests/unit", *options.pytest], parallel=True)


# What makes labs stands alone: the tests run it inside the trees, where coursebox is not.
def _lab(options: argparse.Namespace) -> int:
    if not options.name:
        raise CourseboxError("the new lab has no name", hint="make lab NAME=21_topic: two digits, _, a topic")
    command = [sys.executable, f"{CHECKOUT}/tools/new_lab.py", options.name]
    return subprocess.run(command, cwd=CHECKOUT, check=False).returncode


def _solutions(options: argparse.Namespace) -> int:
    command = [sys.executable, f"{CHECKOUT}/tools/labs.py", "--solve", f"{CHECKOUT}/dist/solutions"]
    return subprocess.run(command, cwd=CHECKOUT, check=False).returncode


def _grade(options: argparse.Namespace) -> int:
    from coursebox.grade import Tables, grade

    tables = Tables(options.rules, options.roster, options.times)
    if options.format not in ("", "moodle", "canvas"):
        raise CourseboxError(f"FORMAT={options.format} is not possible", hint="use FORMAT=moodle or FORMAT=canvas")
    words = [f"--student={name}" for name in options.student]
    words += [f"--format={options.format}"] if options.format else []
    words += ["--again"] if options.again else []
    return grade(_course(options), options.folder, options.lab, options.out, [*words, *options.behind], tables)


def _bench(options: argparse.Namespace) -> None:
    from coursebox.verify.bench import run

    run(_course(options))


def _repro(options: argparse.Namespace) -> int:
    from coursebox.host.packages import ensure_packages
    from coursebox.verify.repro import run

    ensure_packages("repro")
    return run(_course(options), fresh=settings().fresh)


def _lock(options: argparse.Namespace) -> None:
    from coursebox.lock.resolve import lock_course
    from coursebox.lock.toolchain import lock_toolchain

    lock_toolchain()
    lock_course(_course(options))


def _fetch(options: argparse.Namespace) -> None:
    from coursebox.fetch.course import fetch_course

    fetch_course(_course(options), strict=settings().strict, fresh=settings().fresh)


def _doctor(options: argparse.Namespace) -> int:
    from coursebox.verify.doctor import run

    return run(options.course)


def _clean(options: argparse.Namespace) -> None:
    from coursebox.prune import clean

    clean(stages=options.cache)


def _save_traceback() -> str:
    """Keep a bug's traceback in a file; the sentence that says where."""
    text = traceback.format_exc()
    last = text.strip().splitlines()[-1]
    try:
        folder = Cache.from_environment().root
        folder.mkdir(parents=True, exist_ok=True)
        file = folder / "traceback.txt"
        file.write_text(text, encoding="utf-8")
    except OSError:
        return f"error: a bug in coursebox, and its traceback could not be saved:\n{text}"
    return f"error: a bug in coursebox ({last})\n  hint: report it with the file {file}"
