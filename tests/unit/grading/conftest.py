"""The command line of course-grade, its sandbox and its output need no PyTorch, and neither do these tests."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "grading"))
