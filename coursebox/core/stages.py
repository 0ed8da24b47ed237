"""Stages: each is a function of its inputs, done once, and either whole or absent.

A stage's key is the digest of everything it reads: values, digests of files, and the source of the code that does
the work. Its result is a folder in the cache. The folder is filled beside its place, then renamed. So a build that is
killed leaves nothing half-made, and the next build goes on where it stood.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from coursebox.core.code import code_digests
from coursebox.core.console import say, warn
from coursebox.core.digests import sha256_bytes, sha256_file, sha256_value
from coursebox.core.errors import CourseboxError
from coursebox.core.files import flush, flush_tree
from coursebox.core.paths import Cache
from coursebox.core.records import RECORD, file_digest, files_in, is_whole, read_record, write_record

# By-products of tools: caches, version control, what systems and editors (copies, locks) leave in folders.
LITTER = frozenset(
    "__pycache__ .ipynb_checkpoints .mypy_cache .pytest_cache .ruff_cache .git .svn .hg .DS_Store Thumbs.db".split()
)
ENDINGS = (".pyc", "~", ".swp")


@dataclass(frozen=True)
class Result:
    """A finished stage.

    folder: where its files are; files: name → sha256 of each; facts: what the stage says about its result;
    seconds: the time it took when it was made; reused: True when this build found it done.
    """

    name: str
    key: str
    folder: Path
    files: Mapping[str, str]
    facts: Mapping[str, Any]
    seconds: float
    reused: bool

    def path(self, name: str) -> Path:
        """The result file called `name`."""
        return self.folder / name


@dataclass
class Stages:
    """Runs the stages of one build in one cache, and remembers them in order for the summary."""

    cache: Cache
    results: list[Result] = field(default_factory=list)

    def run(
        self,
        name: str,
        inputs: Mapping[str, Any],
        make: Callable[[Path], Mapping[str, Any] | None],
        *,
        code: Sequence[Path] = (),
    ) -> Result:
        """Return the result of stage `name` for these inputs; call `make(folder)` only when it is not in the cache.

        inputs: JSON-like values; files are named by their digests.
        code: source files whose text decides the bytes; what they import counts, too.
        make: writes its files into an empty folder and returns facts worth keeping (JSON-like), or None.
        """
        key = stage_key(name, inputs, code)
        place = self.cache.stages / name / key
        result = self._finished(name, key, place)
        if result is None:
            result = self._make(name, key, place, inputs, make, code)
        self.results.append(result)
        return result

    def latest(self, name: str, inputs: Mapping[str, Any], *, code: Sequence[Path]) -> Path | None:
        """The folder of the whole result of stage `name` that was used last; None without one.

        Only of results that this very code made, with at least these inputs.
        """
        folders = [path for path in (self.cache.stages / name).glob("*") if path.is_dir()]
        for folder in sorted(folders, key=lambda path: path.stat().st_mtime, reverse=True):
            record = read_record(folder)
            if record is None or record.get("code") != code_digests(code):
                continue
            same = all(record.get("inputs", {}).get(one) == value for one, value in inputs.items())
            if same and is_whole(folder, record):
                return folder
        return None

    def _finished(self, name: str, key: str, place: Path) -> Result | None:
        record = read_record(place)
        if record is None:
            return None
        if not is_whole(place, record):
            warn(f"the result of {name} in the cache is damaged ({place}) and will be made again")
            return None
        os.utime(place)  # pruning removes what was used longest ago
        return Result(name, key, place, record["files"], record["facts"], record["seconds"], reused=True)

    def _estimate(self, name: str) -> str:
        """How long this stage took the last time on this machine, for those who wait."""
        records = sorted((self.cache.stages / name).glob(f"*/{RECORD}"), key=lambda path: path.stat().st_mtime)
        for record in reversed(records):
            if (read := read_record(record.parent)) is not None:
                return f" about {read['seconds']:.0f} s"
        return ""

    def _make(
        self,
        name: str,
        key: str,
        place: Path,
        inputs: Mapping[str, Any],
        make: Callable[[Path], Mapping[str, Any] | None],
        code: Sequence[Path],
    ) -> Result:
        say(f"‣ {name} …{self._estimate(name)}")
        self.cache.tmp.mkdir(parents=True, exist_ok=True)
        work = Path(tempfile.mkdtemp(prefix=f"{name}-", dir=self.cache.tmp))
        start = time.monotonic()
        try:
            facts = dict(make(work) or {})
            seconds = round(time.monotonic() - start, 1)
            files = {name: file_digest(path) for name, path in files_in(work).items()}
            write_record(work, {"stage": name, "inputs": inputs, "code": code_digests(code), "files": files,
                                "facts": facts, "seconds": seconds})  # fmt: skip
            work.chmod(0o755)
            place.parent.mkdir(parents=True, exist_ok=True)
            if place.is_symlink() or place.is_file():
                place.unlink()
            elif place.exists():  # without its record it is not a result
                shutil.rmtree(place)
            flush_tree(work)  # after a power cut a record must not stand beside files that are empty
            work.rename(place)
            flush(place.parent)
        except OSError as error:
            shutil.rmtree(work, ignore_errors=True)
            raise storage_error(error, self.cache) from error
        except BaseException:
            shutil.rmtree(work, ignore_errors=True)
            raise
        say(f"  {name}: {seconds:.1f} s")
        return Result(name, key, place, files, facts, seconds, reused=False)


def stage_key(name: str, inputs: Mapping[str, Any], code: Sequence[Path] = ()) -> str:
    """The digest (32 hex digits) of all that a stage reads; code: with what it imports, as code.py follows it."""
    return sha256_value({"stage": name, "inputs": inputs, "code": code_digests(code)})[:32]


def tree_digest(folder: Path) -> str:
    """Digest of the files below `folder`: their paths, whether they are executable, and their bytes.

    Times, owners, the umask of the checkout and litter of tools do not count.
    """
    lines = []
    for path in sorted(folder.rglob("*")):
        relative = path.relative_to(folder)
        if path.is_file() and not is_litter(relative):
            executable = "x" if path.stat().st_mode & 0o100 else "-"
            lines.append(f"{sha256_file(path)} {executable} {relative.as_posix()}")
    return sha256_bytes("\n".join(lines).encode())


def is_litter(relative: Path) -> bool:
    """Whether a path is a by-product of tools, which never belongs into an image: LITTER and ENDINGS are the list."""
    name = relative.name
    return bool(LITTER.intersection(relative.parts)) or name.endswith(ENDINGS) or name.startswith(".#")


def storage_error(error: OSError, cache: Cache) -> CourseboxError:
    """Turn a failed write into a sentence; the most frequent one is a full disk."""
    free = shutil.disk_usage(cache.root).free / 1e9 if cache.root.exists() else 0.0
    place = error.filename or cache.root
    return CourseboxError(
        f"{place}: {error.strerror or error}",
        hint=f"{free:.1f} GB are free below {cache.root}; `make clean CACHE=1` frees finished stages, "
        "COURSEBOX_CACHE=<folder> moves the cache to another disk.",
    )


@contextmanager
def exclusive(cache: Cache) -> Iterator[None]:
    """Hold the cache for one build, and clear away what killed builds left in its tmp folder."""
    try:
        cache.root.mkdir(parents=True, exist_ok=True)
        lock = (cache.root / "lock").open("w")
    except OSError as error:
        raise storage_error(error, cache) from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise CourseboxError(
                f"another build is using the cache {cache.root}.",
                hint="Wait until it ends, or give this build its own with COURSEBOX_CACHE=<folder>.",
            ) from None
        for left in sorted(cache.tmp.glob("*")):
            shutil.rmtree(left, ignore_errors=True) if left.is_dir() else left.unlink(missing_ok=True)
        yield
