"""What a check can find, in the words that a student reads."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


class CheckFailed(Exception):
    """A check that did not pass.

    kind is "not yet", "wrong", "error", "time", "memory", "stopped", "no data" or "unusable"; `text` says what
    happened; `seen` is what the values show ("the sign is wrong"); `likely` are the mistakes that explain it, each by
    evidence; `look` is where to look, without evidence; `where` is the student's own line; `printed` is what the
    function printed.
    """

    def __init__(
        self, kind: str, text: str, likely: tuple[str, ...] = (), where: str = "", seen: tuple[str, ...] = ()
    ) -> None:
        super().__init__(text)
        self.kind, self.text, self.where = kind, text, where
        self.likely: list[str] = list(likely)
        self.seen: list[str] = list(seen)
        self.look = ""
        self.cases: list[str] = []
        self.called = ""
        self.printed = ""
        self.fatal = False  # the submission cannot even be loaded: no other check needs to try


class Skipped(Exception):
    """A part that cannot run here; the message is the reason."""


@contextmanager
def case(text: str, look: str | None = None) -> Iterator[None]:
    """Name the case that a check is at; `look`: what to look at when it fails and nothing explains why."""
    try:
        yield
    except CheckFailed as failed:
        if failed.kind != "not yet":
            failed.cases.insert(0, text)
            failed.look = failed.look or look or ""
        raise


def require(condition: object, wrong: str, likely: str | None = None, *, look: str = "") -> None:
    """Fail with the sentence `wrong` unless the condition holds.

    likely: the mistake that a broken condition proves. look: where to look, when it proves none.
    """
    if not condition:
        failed = CheckFailed("wrong", wrong, (likely,) if likely else ())
        failed.look = look
        raise failed
