"""The container's own modules, which use nothing but Python's standard library."""

from __future__ import annotations

import sys

from coursebox.core.paths import CHECKOUT

sys.path.insert(0, str(CHECKOUT / "docker"))
