"""What a build says while it works: one line when a stage starts and ends, and a progress bar on a terminal only."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

console = Console(stderr=True, highlight=False)

# Called with how much was done since the last call: bytes or items.
Advance = Callable[[int], None]


def silent(count: int) -> None:
    """Progress that nobody sees."""


def say(text: str) -> None:
    """Print one line of the build's story."""
    console.print(text, markup=False, soft_wrap=True)


def warn(text: str) -> None:
    """Print a line that must not be overlooked."""
    console.print(f"warning: {text}", style="bold yellow", markup=False, soft_wrap=True)


@contextmanager
def step(title: str) -> Iterator[None]:
    """Announce a long action, and say how long it took (seconds) when it succeeded."""
    say(f"‣ {title} …")
    start = time.monotonic()
    yield
    say(f"  {title}: {time.monotonic() - start:.1f} s")


@contextmanager
def progress(title: str, total: int | None, *, of_bytes: bool = True) -> Iterator[Advance]:
    """Show one bar; nothing is visible where there is no terminal.

    total: bytes or items, None when unknown. Yields a function that is called with what was done since the last call.
    """
    columns = [TextColumn("  {task.description}"), BarColumn(), TaskProgressColumn()]
    columns += [DownloadColumn()] if of_bytes else []
    with Progress(
        *columns, TimeRemainingColumn(), console=console, transient=True, disable=not console.is_terminal
    ) as bar:
        task = bar.add_task(title, total=total)

        def advance(count: int) -> None:
            bar.advance(task, count)

        yield advance
