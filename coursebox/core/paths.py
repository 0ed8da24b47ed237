"""Where things lie: the checkout, and the cache folder outside of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from coursebox.core.settings import settings

CHECKOUT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Cache:
    """The one folder that outlives a checkout: verified downloads and finished stages.

    root/objects/<first two hex digits>/<sha256>   downloads, named by their content
    root/stages/<stage>/<key>/                     finished stages; written beside and renamed into place
    root/tmp/                                      what is being written; safe to delete when no build runs
    """

    root: Path

    @classmethod
    def from_environment(cls) -> Cache:
        """`$COURSEBOX_CACHE`, else `coursebox` in the user's cache folder (XDG Base Directory Specification)."""
        chosen = settings()
        folder = chosen.cache or chosen.user_cache / "coursebox"
        return cls(folder.expanduser().resolve())

    @property
    def stages(self) -> Path:
        return self.root / "stages"

    @property
    def tmp(self) -> Path:
        return self.root / "tmp"

    def object(self, sha256: str) -> Path:
        """The place of a download with this digest, whether it is there or not."""
        return self.root / "objects" / sha256[:2] / sha256
