"""What `make doctor` finds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Finding:
    """One line of the table. state: "ok", "note": worth knowing, "blocks": `make ova` cannot work like this."""

    topic: str
    state: Literal["ok", "note", "blocks"]
    text: str
    advice: str = ""
