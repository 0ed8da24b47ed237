"""The trusted side of a conversation with the student's process: calls go out, plain data come back."""

from __future__ import annotations

import re
import select
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from . import protocol
from .compare import describe
from .outcome import CheckFailed
from .processes import USED_UP, Limits, Start, Worker, clean
from .submission import Submission

PAUSES = 4  # times its time limit that a check may go without computing anything
LONGEST = 20  # times its time limit that a check may take by the clock: other work on the machine must not fail it
_REPLY = 128 << 20  # bytes that an answer may have: a model with 30 million weights
_REPLY_TIMES = 4  # or this times what was asked, when that is more
_TRANSFER = 10.0  # seconds in which an answer that has begun must be here
_DYING = 10.0  # seconds that a process which has hung up may take to end, on however busy a machine
_WATCH = 1.0  # seconds between two looks at whether a process computes
_ALONE = "the functions are checked with what the notebook's cells of code define: hand over all else as arguments"
_ASLEEP = "it waits for something that does not come, such as input(), a sleep or a lock"

Tick = Callable[[float, tuple[int, int, str] | None], None]


def silent(_seconds: float, _progress: tuple[int, int, str] | None) -> None:
    """A Tick that shows nothing."""


@dataclass
class Session:
    """One check's conversation. Every answer that is not a value becomes CheckFailed."""

    submission: Submission
    partner: Worker
    deadline: float
    limit: float
    seed: int
    tick: Tick = silent
    shown: str = ""
    started: float = field(default_factory=time.monotonic)
    _looked: float = 0.0
    _moved: float = 0.0
    _computed: float = -1.0

    def ask(self, order: dict[str, Any]) -> dict[str, Any]:
        """Send an order and wait for its answer."""
        progress, connection = None, self.partner.connection
        try:
            connection.settimeout(max(0.01, self.deadline - time.monotonic()))
            self._looked = self._moved = time.monotonic()
            limit = max(_REPLY, _REPLY_TIMES * protocol.send(connection, order))
            while True:
                left = self.deadline - time.monotonic()
                if left <= 0:
                    raise TimeoutError
                self.tick(time.monotonic() - self.started, progress)
                self._watch()
                if not select.select([connection], [], [], min(left, 0.2))[0]:
                    continue
                answer = protocol.receive(connection, limit, min(self.deadline, time.monotonic() + _TRANSFER))
                if "progress" not in answer:
                    return answer
                done, total, text = answer["progress"]
                progress = (int(done), int(total), clean(str(text), 40))
        except TimeoutError:
            raise self.too_slow() from None
        except MemoryError:  # of the grader, which has a limit of its own
            raise self.gone(protocol.Malformed("it is too large")) from None
        except (OSError, protocol.ProtocolError) as error:
            raise self.gone(error) from None
        except (ArithmeticError, LookupError, TypeError, ValueError):  # in what it says about its progress
            raise self.gone(protocol.Malformed("no answer to the question")) from None

    def _watch(self) -> None:
        """Raise CheckFailed where the process only waits; one that computes is ended by its limit of computing time.

        What is ready to compute gets a share of even a busy machine within seconds.
        """
        now = time.monotonic()
        if now < self._looked + _WATCH:
            return
        self._looked = now
        computed = self.partner.computed()
        if computed is None or computed > self._computed + 0.001:
            self._computed, self._moved = computed or 0.0, now
        elif now > self._moved + PAUSES * self.limit:
            raise CheckFailed("time", f"nothing has happened for {now - self._moved:.0f} s", seen=(_ASLEEP,))

    def too_slow(self, seen: Any = None) -> CheckFailed:
        """What to say of a call that used up its time; `seen`: where it was (timeup.py), from the untrusted side."""
        failed = CheckFailed("time", f"not done after {self.limit:g} s")
        if not isinstance(seen, dict):
            return failed
        loop, diverged = clean(str(seen.get("loop", "")), 120), clean(str(seen.get("diverged", "")), 40)
        if diverged and seen.get("nan"):
            failed.likely.append(
                f"`{diverged}` is not a number (nan) any more: look for 0/0, the root of a negative number"
            )
        elif diverged:
            failed.likely.append(f"the iteration diverges: `{diverged}` is larger than any number here")
        elif seen.get("recursive"):
            failed.likely.append("the function calls itself again and again: it lacks the case in which it stops")
        elif loop.startswith("while"):
            failed.likely.append(f"an endless loop: `{loop}` stays true")
        elif loop:
            failed.likely.append(f"the loop `{loop}` takes that long: one tensor operation may do what it does")
        line = seen.get("line")
        if isinstance(line, int) and line:
            number = f", line {line}" if self.submission.lines_count else ""
            failed.where = f"{self.submission.file.name}{number}: {clean(str(seen.get('code')), 120)}"
        return failed

    def gone(self, error: Exception) -> CheckFailed:
        """Why there is no answer any more."""
        if isinstance(error, protocol.Malformed):
            self.partner.end(0)
            return CheckFailed("stopped", f"the process sent no answer, but something else: {error}")
        how = self.partner.end(_DYING)
        if how == USED_UP:
            return self.too_slow()
        return CheckFailed("stopped", f"the process {how}" if how else f"the process sent no answer, but {error}")

    def value(self, order: dict[str, Any], may: Sequence[int] | None = ()) -> dict[str, Any]:
        """The answer to a call that returned; `may`: the arguments that it may change, None: all of them."""
        answer = self.ask(order)
        if "too_slow" in answer:
            raise self.too_slow(answer["too_slow"])
        if "not_yet" in answer:
            raise CheckFailed("not yet", clean(str(answer["not_yet"]), 200))
        if "missing_data" in answer:
            raise CheckFailed("no data", clean(str(answer["missing_data"])))
        if "missing" in answer:
            raise CheckFailed("unusable", f"there is no function {answer['missing']} in {self.submission.file.name}")
        if "raised" in answer:
            raise raised(answer["raised"], self.submission)
        if not isinstance(answer.get("changed"), list):
            raise self.gone(protocol.Malformed("no answer to the question"))
        changed = [int(n) for n in answer["changed"] if may is not None and n not in may]
        if changed:
            which = " and ".join(str(n + 1) for n in changed)
            raise CheckFailed(
                "wrong",
                f"argument {which} has changed: a function leaves its arguments as they were",
                seen=("an operation in place, such as x -= mean or x.add_(…): write x = x - mean instead",),
            )
        return answer


def raised(answer: Any, submission: Submission) -> CheckFailed:
    """An exception of the student's function in words; every field comes from the untrusted side."""
    answer = answer if isinstance(answer, dict) else {}
    kind, text = clean(str(answer.get("type")), 60), clean(str(answer.get("text")), 600)
    if answer.get("memory"):
        failed = CheckFailed(
            "memory", "needs more memory than there is", seen=("a table that is larger than the result needs",)
        )
    elif kind in ("SystemExit", "KeyboardInterrupt"):
        failed = CheckFailed(
            "error", f"the function ends the whole program ({kind})", seen=("return the result instead",)
        )
    elif kind == "OSError" and "File too large" in text:
        failed = CheckFailed("error", "printed or wrote more than is allowed", seen=("a print in an endless loop",))
    else:
        failed = CheckFailed("error", f"{kind}: {text}" if text else kind)
        if kind == "NameError" and not submission.lines_count:
            failed.seen.append(_undefined(text, submission))
    if isinstance(answer.get("line"), int) and answer["line"]:
        line = f", line {answer['line']}" if submission.lines_count else ""
        failed.where = f"{submission.file.name}{line}: {clean(str(answer.get('code')), 120)}"
    elif failed.kind == "error":
        failed.where = "raised while the check used what your functions returned"
    return failed


def _undefined(text: str, submission: Submission) -> str:
    """Why a name is not there where the functions of a notebook are checked."""
    name = (re.findall(r"'(\w+)'", text) or [""])[0]
    if name in submission.computed:
        where = submission.computed[name]
        return (
            f"`{name}` is made in {where}, which fails when the cells that the functions need run one after the other"
        )
    return f"no cell of code defines `{name}`" if any(name in names for _, names in submission.missing) else _ALONE


class Student:
    """The student's functions as a check sees them: `student.PCA(x)` runs in the student's process."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def __getattr__(self, name: str) -> Callable[..., Any]:
        if name.startswith("__"):
            raise AttributeError(name)

        def call(*args: Any, **kwargs: Any) -> Any:
            return self._order("call", name, args, kwargs, ())["value"]

        return call

    def _order(
        self,
        verb: str,
        name: str,
        args: Sequence[Any],
        kwargs: dict[str, Any],
        may: Sequence[int] | None,
        after: bool = False,
    ) -> dict[str, Any]:
        session = self._session
        shown = [describe(value) for value in args] + [f"{key}={describe(value)}" for key, value in kwargs.items()]
        session.shown = f"{name}({', '.join(shown)})" if verb == "call" else ""
        order = {verb: name, "args": list(args), "kwargs": kwargs, "seed": session.seed, "after": after}
        return session.value(order, may)

    def changing(self, name: str, *args: Any, may: Sequence[int], **kwargs: Any) -> tuple[Any, list[Any]]:
        """Call a function that may change the arguments numbered in `may` (from 0): its result, all arguments after."""
        answer = self._order("call", name, args, kwargs, may, after=True)
        after = answer.get("after")
        if not isinstance(after, list) or len(after) != len(args) + len(kwargs):
            raise self._session.gone(protocol.Malformed("no answer to the question"))
        return answer["value"], after

    def run(self, helper: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Run a @student_side function in the student's process; it gets the student's module before `args`."""
        may = None if helper.changes_arguments else ()  # type: ignore[attr-defined]
        return self._order("run", helper.__name__, args, kwargs, may)["value"]

    def source(self, part: str) -> str:
        """The text of a part as the student wrote it."""
        return self._session.submission.source(part)


@contextmanager
def conversation(
    start: Start,
    submission: Submission,
    helpers: str,
    substitutes: Sequence[str],
    labs: Path,
    limits: Limits,
    seed: int,
    tick: Tick = silent,
) -> Iterator[Student]:
    """A process with the student's code, for the time of one check."""
    partner = start(limits)
    deadline = min(time.monotonic() + LONGEST * limits.seconds, limits.until)
    session = Session(submission, partner, deadline, limits.seconds, seed, tick)
    loading = True
    try:
        order = {
            "source": submission.text,
            "file": str(submission.file),
            "helpers": helpers,
            "substitutes": list(substitutes),
            "labs": str(labs),
        }
        answer = session.ask({"load": order})
        if "too_slow" in answer:
            raise session.too_slow(answer["too_slow"])
        if "raised" in answer:
            raise raised(answer["raised"], submission)
        if "not_yet" in answer:
            raise CheckFailed("error", "it calls a part that is not written yet")
        loading = False
        with torch.random.fork_rng(devices=[]):
            yield Student(session)
    except CheckFailed as failed:
        raise _complete(failed, session, partner, loading) from None
    finally:
        partner.end()


def _complete(failed: CheckFailed, session: Session, partner: Worker, loading: bool) -> CheckFailed:
    partner.end()
    if loading:
        if failed.kind == "time" and session.submission.computed:
            values = ", ".join(f"`{name}`" for name in sorted(session.submission.computed)[:5])
            failed.seen.insert(
                0, f"the functions need {values}, which other cells compute: hand them over as arguments"
            )
        failed.text, failed.kind = f"{session.submission.file.name} cannot be loaded: {failed.text}", "unusable"
        failed.fatal = True
    failed.called = failed.called or session.shown
    failed.printed = partner.output()
    return failed
