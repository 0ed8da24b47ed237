"""The result for machines. Its schema, version 1:

    {
      "schema": 1,
      "command": "course-selftest --fast",
      "machine": {                            empty when PyTorch cannot be imported
        "device": "cuda" | "cpu",             where the checks ran
        "gpu": "NVIDIA H200" | "",
        "no_gpu": "" | reason,
        "processor": "AMD EPYC 9354", "threads": 2,
        "torch": "2.13.0", "cuda": "13.0" | "", "python": "3.13.5", "system": "Debian GNU/Linux 13 (trixie), x86_64"
      },
      "checks": [                             in the order of the table
        {
          "name": "matmul", "result": "ok" | "FAILED" | "skipped",
          "text": "…",                        the third column of the table
          "seconds": 1.25,                    wall clock, the start of a process included
          "figures": {"float32_error": 3e-07},    what was measured; a unit ends the name: _seconds, _percent, …
          "detail": "…"                       of a failed check: traceback or output
        }
      ],
      "summary": {"ok": 14, "FAILED": 0, "skipped": 5},
      "seconds": 31.5,
      "exit_code": 0 | 1
    }

A figure is null when it is infinite or no number. Names may be added to these objects under the same version; a change
of meaning raises it.
"""

from __future__ import annotations

import json
import math
import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from course_selftest.outcome import Row

SCHEMA = 1


def build(command: str, machine: Mapping[str, Any], rows: Sequence[Row], seconds: float) -> dict[str, Any]:
    results = [row.result for row in rows]
    return {
        "schema": SCHEMA,
        "command": command,
        "machine": dict(machine),
        "checks": [row.as_dict() for row in rows],
        "summary": {result: results.count(result) for result in ("ok", "FAILED", "skipped")},
        "seconds": round(seconds, 3),
        "exit_code": exit_code(rows),
    }


def exit_code(rows: Sequence[Row]) -> int:
    """0: no check failed, 1: at least one did."""
    return int(any(row.result == "FAILED" for row in rows))


def to_json(report: Mapping[str, Any]) -> str:
    return json.dumps(_finite(report), ensure_ascii=False, indent=2, allow_nan=False) + "\n"


def _finite(value: Any) -> Any:
    """The same with null for what JSON has no number for: infinity and NaN, which failed checks measure."""
    if isinstance(value, Mapping):
        return {name: _finite(part) for name, part in value.items()}
    if isinstance(value, list):
        return [_finite(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def write(path: Path, text: str) -> None:
    """Write the file whole or not at all. Raises OSError."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as stream:
            stream.write(text)
        umask = os.umask(0)
        os.umask(umask)
        os.chmod(name, 0o666 & ~umask)
        os.replace(name, path)
    except BaseException:
        os.unlink(name)
        raise
