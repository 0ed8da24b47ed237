"""What the container says, on standard error: standard output belongs to the command alone."""

from __future__ import annotations

import os


class Problem(Exception):
    """Something that the person who starts the container can mend: a sentence, and the remedy."""

    def __init__(self, sentence: str, *, hint: str) -> None:
        super().__init__(sentence)
        self.sentence = sentence
        self.hint = hint


def say(text: str) -> None:
    """One line about the start."""
    _line(f"‣ {_one_line(text)}")


def warn(text: str) -> None:
    """One line for what does not work as it should, with its remedy."""
    _line(f"warning: {_one_line(text)}")


def fail(problem: Problem) -> None:
    """Why the container ends, and what to do about it."""
    _line(f"error: {_one_line(problem.sentence)}\n  hint: {_one_line(problem.hint)}")


def _one_line(text: str) -> str:
    """A variable's value or a path may hold line ends: nobody writes lines of his own into the log."""
    return text.replace("\n", "\\n").replace("\r", "\\r")


def _line(text: str) -> None:
    # In one piece: two processes may write at the same time. "surrogateescape": file names need not be UTF-8.
    os.write(2, f"{text}\n".encode(errors="surrogateescape"))
