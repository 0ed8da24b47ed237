"""The stage behind every file: the list of the licences of what is inside."""

from __future__ import annotations

from pathlib import Path

from coursebox.core.context import Context
from coursebox.core.paths import CHECKOUT
from coursebox.delivery import licences

CODE = [Path(__file__), Path(licences.__file__)]
LIST = "licences.txt"


def build_licences(context: Context, product: str) -> Path | None:
    """The list for the file called `product`; None when no tree of Debian packages was made on the way to it."""
    tree = next((each for each in context.stages.results if each.name == f"bootstrap-{context.tree}"), None)
    if tree is None:
        return None
    fetched = context.fetched
    debs, wheels = fetched.debs[context.tree], fetched.wheels[context.tree]
    data = dict(fetched.data.sources) if fetched.data else {}
    labs = licences.labs_licence(context.course.labs.folder, [CHECKOUT / "labs"])

    def make(work: Path) -> None:
        text = licences.licence_list(product, debs, wheels, tree=tree.path("tree.tar"), data=data, labs=labs)
        (work / LIST).write_text(text, encoding="utf-8")

    inputs = {
        "product": product,
        "debs": [deb.sha256 for deb, _ in debs],
        "wheels": [wheel.sha256 for wheel, _ in wheels],
        "tree": tree.files["tree.tar"],
        "data": {name: dict(source) for name, source in data.items()},
        "labs": labs,
    }
    return context.stages.run(f"licences-{context.tree}", inputs, make, code=CODE).path(LIST)
