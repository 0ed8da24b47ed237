"""Import once, before the processes fork, what each of them would otherwise import again."""

from __future__ import annotations

import contextlib
import importlib

# Word in a program → module that it will cause to be imported, and that takes a second or so.
_SLOW = {
    "optim": "torch._dynamo",  # every optimiser imports it on its first use (torch/_compile.py)
    "matplotlib": "matplotlib.pyplot",
    "torchvision": "torchvision",
}


def preload(*texts: str) -> None:
    """Import the slow modules that these programs mention; one that is not there is left for the program to miss."""
    for word, module in _SLOW.items():
        if any(word in text for text in texts):
            with contextlib.suppress(ImportError):
                importlib.import_module(module)
