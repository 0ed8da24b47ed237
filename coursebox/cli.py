"""The verbs: each one loads the course, calls the room that does the work, and turns errors into sentences.

Modules are imported inside the functions: a build with nothing to do must not pay for tools that it does not use.
"""

from __future__ import annotations

import argparse
import os
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from coursebox.core.errors import CourseboxError
from coursebox.core.paths import Cache

if TYPE_CHECKING:
    from coursebox.course import Course


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb. 0: done, 1: something the user can mend, 2: wrong usage, 70: a bug, 130: interrupted."""
    options = _parser().parse_args(arguments)
    # Tools of the locked environment (ansible-playbook, …) are found without activating it.
    os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
    run: Callable[[argparse.Namespace], int | None] = options.run
    try:
        return run(options) or 0
    except CourseboxError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted; what was finished stays in the cache", file=sys.stderr)
        return 130
    except Exception:
        print(_save_traceback(), file=sys.stderr)
        return 70


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="coursebox", description="Build a deep-learning course in a box.")
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")

    def verb(name: str, run: Callable[[argparse.Namespace], int | None], text: str) -> argparse.ArgumentParser:
        made = verbs.add_parser(name, help=text, description=text)
        made.set_defaults(run=run)
        made.add_argument(
            "--course",
            type=Path,
            default=Path(os.environ.get("COURSE") or "course.toml"),
            help="the course file (default: $COURSE, else course.toml)",
        )
        return made

    verb("build-ova", _build_ova, "build dist/<name>-<version>.ova").add_argument(
        "--dist", type=Path, help="where the file goes (default: dist/ of the checkout)"
    )
    docker = verb("build-docker", _build_docker, "build dist/<name>-<version>-cuda.oci.tar and load it into the engine")
    docker.add_argument("--dist", type=Path, help="where the file goes (default: dist/ of the checkout)")
    docker.add_argument("--no-load", action="store_true", help="leave the engine's <name>:<version> as it is")
    verb("try", _try, "boot the built OVA in QEMU and use it from this machine's browser")
    verb("test", _test, "build, then test the delivered file as a student would use it").add_argument(
        "pytest", nargs="*", metavar="PYTEST", help="instead of everything: files or options for pytest"
    )
    verb("test-quick", _test_quick, "unit tests and linters").add_argument(
        "pytest", nargs="*", metavar="PYTEST", help="further files or options for pytest"
    )
    verb("bench", _bench, "measure the build and the machine")
    verb("repro", _repro, "build twice under different circumstances and compare")
    verb("lock", _lock, "resolve everything that goes in and write locks/")
    verb("fetch", _fetch, "download everything that is locked into the cache")
    verb("doctor", _doctor, "tell what this machine has, what it lacks, and what to do about it")
    verb("clean", _clean, "remove dist/ and build/; with CACHE=1 also the stage results").add_argument(
        "--cache", action="store_true", default=_is_set("CACHE"), help="the stages too"
    )
    return parser


def _is_set(name: str) -> bool:
    """Whether a switch of the Makefile is on, STRICT=1 for one."""
    return os.environ.get(name, "") not in ("", "0")


def _course(options: argparse.Namespace) -> Course:
    from coursebox.course import load_course

    return load_course(options.course)


def _build_ova(options: argparse.Namespace) -> None:
    from coursebox.build import build_ova

    build_ova(_course(options), dist=options.dist)


def _build_docker(options: argparse.Namespace) -> None:
    from coursebox.build import build_docker

    build_docker(_course(options), dist=options.dist, load=not options.no_load)


def _try(options: argparse.Namespace) -> None:
    from coursebox.host.packages import ensure_packages
    from coursebox.verify.machine.run import try_course

    course = _course(options)
    ensure_packages("try")
    try_course(course)


def _test(options: argparse.Namespace) -> int:
    from coursebox.build import build_docker, build_ova
    from coursebox.host.packages import ensure_packages
    from coursebox.verify import hosted, lanes, products, testing
    from coursebox.verify.proofs import Proofs

    ensure_packages("test")
    course = _course(options)
    ova, image = build_ova(course), build_docker(course)
    if options.pytest:
        return hosted.run(options.pytest)
    delivered = {"vm": products.machine(ova), "cuda": products.image(image)}
    rows = [[lanes.unit_lane(), *lanes.room_lanes(course, delivered)], lanes.lab_lanes(delivered)]
    return testing.prove(rows, Proofs(Cache.from_environment(), fresh=_is_set("FRESH")))


def _test_quick(options: argparse.Namespace) -> int:
    from coursebox.host.packages import ensure_packages
    from coursebox.verify import hosted

    ensure_packages("test-quick")
    return hosted.run(["tests/unit", *options.pytest], parallel=True)


def _bench(options: argparse.Namespace) -> None:
    from coursebox.verify.bench import run

    run(_course(options))


def _repro(options: argparse.Namespace) -> int | None:
    from coursebox.host.packages import ensure_packages
    from coursebox.verify.repro import run

    ensure_packages("repro")
    return run(_course(options), fresh=_is_set("FRESH"))


def _lock(options: argparse.Namespace) -> None:
    from coursebox.lock.resolve import lock_course
    from coursebox.lock.toolchain import lock_toolchain

    lock_toolchain()
    lock_course(_course(options))


def _fetch(options: argparse.Namespace) -> None:
    from coursebox.fetch.course import fetch_course

    fetch_course(_course(options))


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


if __name__ == "__main__":
    sys.exit(main())
