"""The Docker engine as the builder uses it: images from tars, and throw-away containers without network."""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import IO

from coursebox.core.digests import sha256_bytes
from coursebox.core.paths import Cache
from coursebox.core.run import capture, run
from coursebox.core.settings import settings
from coursebox.host.dockerd import engine_security, ensure_engine

LABEL = "org.coursebox.build"


def label() -> str:
    """Marks what this process starts, so that a later one with the same cache can clear away what a killed one left."""
    return f"{LABEL}={_mark(Cache.from_environment())}-{os.getpid()}"


def _mark(cache: Cache) -> str:
    """What tells the things of this cache in the engine from those of others."""
    return sha256_bytes(os.fsencode(cache.root))[:12]


def image_name(kind: str, content: str) -> str:
    """What an image is called in the engine; kind: "tools" or "tree", content: the digest of all that is in it.

    Named by its content, it never stands for another. Each cache has names of its own for its images, so that a build
    in one cache leaves those of the others alone; the engine stores equal layers once.
    """
    return f"coursebox-{kind}:{_mark(Cache.from_environment())}-{content[:32]}"


def have_image(name: str) -> bool:
    """Whether the engine holds the image `name` (repository:tag)."""
    return image_id(name) is not None


def import_image(tar: Path, name: str, *, log: Path) -> None:
    """Make the root file system `tar` an image called `name`, unless the engine has it already.

    Starts the engine when none answers: a build with nothing to do never comes here, and needs none.
    """
    ensure_engine()
    remove_leftovers()
    if not have_image(name):
        run(["docker", "import", "--change", "ENV PATH=/usr/sbin:/usr/bin:/sbin:/bin", tar, name],
            what=f"loading {name} into the Docker engine", log=log)  # fmt: skip


def image_id(name: str) -> str | None:
    """The engine's id of image `name`, "sha256:…"; None when it has no such image."""
    done = capture(["docker", "image", "inspect", "--format", "{{.Id}}", name])
    return done.stdout.strip() if done.returncode == 0 else None


def has_image(names: Sequence[str], ids: Collection[str]) -> bool:
    """Whether the engine has an image under all of these names.

    ids: what the engine may call it, each "sha256:…": the digest of its config in the classic image store, of its
    manifest in that of containerd.
    """
    return all(image_id(name) in ids for name in names)


def load_archive(archive: Path, names: Sequence[str], *, log: Path) -> None:
    """Load an image archive that gives the image `names`; layers that the engine has are not loaded again."""
    run(["docker", "load", "--input", archive], what=f"loading {names[0]} into the Docker engine", log=log)


def run_container(
    image: str,
    command: Sequence[str],
    *,
    what: str,
    log: Path,
    mounts: Mapping[Path, str] | None = None,
    env: Mapping[str, str] | None = None,
    stdout: IO[bytes] | None = None,
    stdin: bytes | None = None,
    as_me: bool = False,
    scratch: str | None = None,
) -> None:
    """Run `command` in a new container of `image`, without network, and remove the container.

    mounts: host path → path in the container, `:ro` at its end for read-only. as_me: run with the caller's uid and
    gid, so that files written to a mount belong to the caller. scratch: a path inside that gets an anonymous volume,
    which is as fast as the engine's disk.
    """
    words: list[str] = ["docker", "run", "--rm", "--network", "none", "--label", label()]
    words += ["--interactive"] if stdin is not None else []
    words += _as_me() if as_me else []
    words += ["--volume", scratch] if scratch else []
    words += ["--cpuset-cpus", processors()] if processors() else []
    for host, inside in (mounts or {}).items():
        words += ["--volume", f"{host}:{inside}"]
    for name, value in (env or {}).items():
        words += ["--env", f"{name}={value}"]
    run([*words, image, *command], what=what, log=log, stdout=stdout, stdin=stdin)


def _as_me() -> list[str]:
    """How a container writes to a mount as the caller does.

    In a rootless engine the caller is root inside, and no other user (https://docs.docker.com/engine/security/rootless/).
    An engine that maps users is asked not to (https://docs.docker.com/engine/security/userns-remap/).
    """
    security = engine_security()
    if "name=rootless" in security:
        return ["--user", "0:0"]
    own = ["--userns", "host"] if "name=userns" in security else []
    return [*own, "--user", f"{os.getuid()}:{os.getgid()}"]


def processors() -> str:
    """Which processors the build's containers may use, such as "0" or "0-3"; all when empty."""
    return settings().processors


def remove_images(cache: Cache, keep: Collection[str] = ()) -> None:
    """Remove the images of builds in `cache`, but those named in `keep`; a container that uses one keeps it."""
    filters = [f"--filter=reference=coursebox-{kind}" for kind in ("tools", "tree")]
    command = ["docker", "images", "--format", "{{.Repository}}:{{.Tag}}", *filters]
    own = [name for name in capture(command).stdout.split() if name.partition(":")[2].startswith(f"{_mark(cache)}-")]
    if old := [name for name in own if name not in keep]:
        capture(["docker", "rmi", *old])


def remove_leftovers() -> None:
    """Remove the containers of processes that have ended. Those of other caches, and of running processes, stay."""
    shown = f'{{{{.ID}}}} {{{{.Label "{LABEL}"}}}}'
    listed = capture(["docker", "ps", "--all", "--filter", f"label={LABEL}", "--format", shown]).stdout
    found = re.findall(rf"^(\w+) {_mark(Cache.from_environment())}-(\d+)$", listed, re.MULTILINE)
    left = [container for container, process in found if not _runs(int(process))]
    if left:
        capture(["docker", "rm", "--force", "--volumes", *left])


def _runs(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True
