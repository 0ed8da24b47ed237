"""The one exception that reaches the user: a sentence, and what to do about it."""

from __future__ import annotations


class CourseboxError(Exception):
    """Something the user can understand and act on; the command line prints it without a traceback.

    message: one sentence that names the place (file, key, package, port).
    hint: one sentence that names the remedy, or None when the message says it all.
    """

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return self.message if self.hint is None else f"{self.message}\n  hint: {self.hint}"
