"""Path → layer. What changes rarely lies at the bottom, what an instructor edits on top.

A layer is named by what is in it. Its digest changes only with the files that these rules send there. So a student who
has one edition of a course pulls only what differs in the next one.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

DATA_SETS = "usr/share/coursebox/data"

_SITE = r"opt/jupyter/lib/python3\.\d+/site-packages"
_CUDA = r"nvidia|nvidia_[^/]+\.dist-info|cuda|cuda_[^/]+\.dist-info"
_TORCH = (
    r"torch|torchgen|functorch|torchvision(?:\.libs)?|triton"
    r"|torch-[^/]+\.dist-info|torchvision-[^/]+\.dist-info|triton-[^/]+\.dist-info"
)

# Debian's PyTorch, with the large libraries that only it uses.
_DEBIAN_TORCH = (
    r"usr/lib/python3/dist-packages/(?:torch|torchgen|functorch|torchvision|torch(?:vision)?-[^/]+\.egg-info)"
    r"|usr/lib/[^/]+/lib(?:torch|c10|caffe2|dnnl|onnx|shm)[^/]*\.so[^/]*"
)


@dataclass(frozen=True)
class Layering:
    """How one tar is cut: layers from the bottom to the top, and the first rule that fits a path wins.

    rules: (layer, regular expression for the path of a file, folder or link, or of a folder above it).
    rest: the layer of every path that no rule names.
    """

    names: Sequence[str]
    rules: Sequence[tuple[str, re.Pattern[str]]]
    rest: str

    def layer_of(self, path: str) -> str:
        """The layer of `path`, which is relative to the root, without a slash at its end."""
        return next((layer for layer, rule in self.rules if rule.match(f"{path}/")), self.rest)


def _below(expression: str) -> re.Pattern[str]:
    return re.compile(f"(?:{expression})/")


SYSTEM = Layering(
    names=("system", "cuda", "torch", "python"),
    rules=(
        ("cuda", _below(f"{_SITE}/(?:{_CUDA})")),
        ("torch", _below(f"{_SITE}/(?:{_TORCH})|{_DEBIAN_TORCH}")),
        ("python", _below(r"opt/jupyter|usr/lib/python3/dist-packages")),
    ),
    rest="system",
)
CHANGES = Layering(names=("data", "course"), rules=(("data", _below(re.escape(DATA_SETS))),), rest="course")


def layer_of_whiteout(path: str) -> str:
    """The layer of the changes that says that `path`, a path of the layers of the system, is gone.

    In "course" it would hide what the layer "data" below holds at or under that path.
    """
    return "data" if f"{DATA_SETS}/".startswith(f"{path}/") else CHANGES.layer_of(path)
