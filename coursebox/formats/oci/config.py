"""A course → the OCI image config: what an engine starts, as whom, and what the image says about itself.

https://github.com/opencontainers/image-spec/blob/v1.1.0/config.md, with `Healthcheck` as Docker extends it
(https://github.com/moby/docker-image-spec/blob/main/spec.md); engines that do not know it pass over it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from coursebox.core.errors import CourseboxError
from coursebox.formats.oci.layers import Layer
from coursebox.formats.oci.rules import DATA_SETS

PATH = "/opt/jupyter/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
PORT = 8888
ANNOTATION = "org.opencontainers.image"
OWN = "org.coursebox"
# What is inside has many licences; the file ….licences.txt beside the image lists them. Here are their kinds, as SPDX
# writes them (https://spdx.github.io/spdx-spec/v2.3/SPDX-license-expressions/): our own programs, and those of others.
LICENCES = "Apache-2.0 AND LicenseRef-Debian-packages AND LicenseRef-Python-packages"
CUDA_LICENCES = f"{LICENCES} AND LicenseRef-NVIDIA-EULA"
WHERE = "/usr/share/doc/*/copyright, and the dist-info folders below /opt/jupyter; a list lies beside the file"
# For NVIDIA's container toolkit: https://docs.nvidia.com/datacenter/cloud-native/container-toolkit/
NVIDIA = {"NVIDIA_VISIBLE_DEVICES": "all", "NVIDIA_DRIVER_CAPABILITIES": "compute,utility"}
_SECOND = 1_000_000_000  # Docker counts times in nanoseconds
# One part of the name of a repository: https://github.com/distribution/reference/blob/main/regexp.go
_REPOSITORY = re.compile(r"[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*")


@dataclass(frozen=True)
class About:
    """What decides the config beside the layers.

    name, version, title: of the course. user, uid, gid: the account in the container; its home is /home/<user>.
    epoch: seconds since 1970, the date of the image. torch: its version. cuda: the version that torch brings, "" where
    it was made for the CPU. locks: the digest of the locks. variant: a part of the tags, "" or "cpu".
    architecture: the processors that it runs on, in Go's words.
    more: labels beside those that are made here.
    """

    name: str
    version: str
    title: str
    user: str
    epoch: int
    torch: str
    cuda: str
    locks: str
    architecture: str
    variant: str = ""
    uid: int = 1000
    gid: int = 100
    more: Mapping[str, str] = field(default_factory=dict)

    @property
    def created(self) -> str:
        """The epoch as RFC 3339 wants it."""
        return timestamp(self.epoch)

    @property
    def platform(self) -> dict[str, str]:
        """What the image runs on, in the words of Go."""
        return {"architecture": self.architecture, "os": "linux"}


def image_names(name: str, version: str, variant: str = "") -> list[str]:
    """What the image of a course is called in an engine: <name>:<version> and <name>:latest.

    A variant goes into the tags: <name>:<version>-<variant> and <name>:<variant>. Raises CourseboxError when engines
    could not take the name.
    """
    if not _REPOSITORY.fullmatch(name):
        raise CourseboxError(
            f"course.name: {name} cannot be the name of an image",
            hint='put a letter or digit between signs, and no two dots together, as in "deep-learning"',
        )
    tags = [f"{version}-{variant}", variant] if variant else [version, "latest"]
    return list(dict.fromkeys(f"{name}:{tag}" for tag in tags))


def labels(about: About) -> dict[str, str]:
    """What the image says about itself, by the names of the OCI; its labels and the manifest's annotations.

    https://github.com/opencontainers/image-spec/blob/v1.1.0/annotations.md
    """
    device = f"with CUDA {about.cuda}" if about.cuda else "for the CPU"
    return {
        f"{ANNOTATION}.title": about.title,
        f"{ANNOTATION}.description": f"{about.title}: JupyterLab, PyTorch {about.torch} {device}, "
        "the labs and the data sets of the course",
        f"{ANNOTATION}.version": about.version,
        f"{ANNOTATION}.created": about.created,
        f"{ANNOTATION}.licenses": CUDA_LICENCES if about.cuda else LICENCES,
        f"{ANNOTATION}.ref.name": image_names(about.name, about.version, about.variant)[0],
        f"{OWN}.course": about.name,
        f"{OWN}.licences": WHERE,
        f"{OWN}.torch": about.torch,
        **({f"{OWN}.cuda": about.cuda} if about.cuda else {}),
        f"{OWN}.locks": about.locks,
        **about.more,
    }


def environment(about: About) -> dict[str, str]:
    """The variables of every container; names as in jupyter/docker-stacks where they exist there.

    NVIDIA_REQUIRE_CUDA is not among them: with too old a driver a container shall start and say so.
    """
    return {
        "PATH": PATH,
        "LANG": "C.UTF-8",
        # For `docker exec`, too, under any uid: the engine would take "/" for one without an entry in /etc/passwd.
        "HOME": f"/home/{about.user}",
        "PYTORCH_DATA_DIR": f"/{DATA_SETS}",
        "NB_USER": about.user,
        "NB_UID": str(about.uid),
        "NB_GID": str(about.gid),
        "JUPYTER_PORT": str(PORT),
        "OMP_WAIT_POLICY": "PASSIVE",  # threads that compute while they wait hold up those that they wait for
        **(NVIDIA if about.cuda else {}),
    }


def image_config(about: About, layers: Sequence[Layer]) -> dict[str, Any]:
    """The config, JSON-like, for these layers from the bottom to the top.

    The home is no volume: what a derived image writes into a volume of its base vanishes while it is built.
    """
    home = f"/home/{about.user}"
    return {
        "created": about.created,
        **about.platform,
        "config": {
            "User": str(about.uid),
            "WorkingDir": home,
            "Env": [f"{name}={value}" for name, value in environment(about).items()],
            # tini -g: signals reach kernels and terminals, too; -s: no zombie stays, under `docker run --init` neither
            "Entrypoint": ["/usr/bin/tini", "-s", "-g", "--", "/usr/local/bin/start"],
            "Cmd": ["start-notebook"],
            "ExposedPorts": {f"{PORT}/tcp": {}},
            "Healthcheck": {
                "Test": ["CMD", "/usr/local/bin/healthcheck"],
                "Interval": 30 * _SECOND,
                "Timeout": 3 * _SECOND,
                "StartPeriod": 60 * _SECOND,
                "Retries": 3,
            },
            "Labels": labels(about),
        },
        **_layers(about.created, layers),
    }


def base_config(epoch: int, layers: Sequence[Layer], architecture: str) -> dict[str, Any]:
    """The config of the system alone, for the build to go on from: root, without volumes, which would swallow files."""
    created = timestamp(epoch)
    return {
        "created": created,
        "architecture": architecture,
        "os": "linux",
        "config": {"Env": [f"PATH={PATH}"], "Cmd": ["/bin/sh"]},
        **_layers(created, layers),
    }


def timestamp(epoch: int) -> str:
    """Seconds since 1970 in the form of RFC 3339."""
    return datetime.fromtimestamp(epoch, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _layers(created: str, layers: Sequence[Layer]) -> dict[str, Any]:
    return {
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{layer.blob.diff_id}" for layer in layers]},
        "history": [{"created": created, "created_by": f"coursebox: {layer.name}"} for layer in layers],
    }
