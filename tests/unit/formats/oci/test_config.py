"""The image config: the whole of it, once, as an engine reads it."""

from __future__ import annotations

from pathlib import Path

import pytest
from small_trees import EPOCH, about, course_layers, system_layers

from coursebox.core.errors import CourseboxError
from coursebox.formats.oci.config import WHERE, image_config, image_names


def test_the_whole_config(tmp_path: Path) -> None:
    layers = system_layers(tmp_path) + course_layers(tmp_path)
    assert image_config(about(more={"org.example.campus": "north"}), layers) == {
        "created": "2023-11-14T22:13:20Z",
        "architecture": "amd64",
        "os": "linux",
        "config": {
            "User": "1000",
            "WorkingDir": "/home/student",
            "Env": [
                "PATH=/opt/jupyter/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
                "LANG=C.UTF-8",
                "HOME=/home/student",
                "PYTORCH_DATA_DIR=/usr/share/coursebox/data",
                "NB_USER=student",
                "NB_UID=1000",
                "NB_GID=100",
                "JUPYTER_PORT=8888",
                "OMP_WAIT_POLICY=PASSIVE",
                "NVIDIA_VISIBLE_DEVICES=all",
                "NVIDIA_DRIVER_CAPABILITIES=compute,utility",
            ],
            "Entrypoint": ["/usr/bin/tini", "-s", "-g", "--", "/usr/local/bin/start"],
            "Cmd": ["start-notebook"],
            "ExposedPorts": {"8888/tcp": {}},
            "Healthcheck": {
                "Test": ["CMD", "/usr/local/bin/healthcheck"],
                "Interval": 30_000_000_000,
                "Timeout": 3_000_000_000,
                "StartPeriod": 60_000_000_000,
                "Retries": 3,
            },
            "Labels": {
                "org.opencontainers.image.title": "Deep Learning",
                "org.opencontainers.image.description": "Deep Learning: JupyterLab, PyTorch 2.13.0 with CUDA 13.0, "
                "the labs and the data sets of the course",
                "org.opencontainers.image.version": "2026.11",
                "org.opencontainers.image.created": "2023-11-14T22:13:20Z",
                "org.opencontainers.image.licenses": "Apache-2.0 AND LicenseRef-Debian-packages AND "
                "LicenseRef-Python-packages AND LicenseRef-NVIDIA-EULA",
                "org.opencontainers.image.ref.name": "deep-learning:2026.11",
                "org.coursebox.course": "deep-learning",
                "org.coursebox.licences": WHERE,
                "org.coursebox.torch": "2.13.0",
                "org.coursebox.cuda": "13.0",
                "org.coursebox.locks": "f" * 64,
                "org.example.campus": "north",
            },
        },
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{layer.blob.diff_id}" for layer in layers]},
        "history": [
            {"created": "2023-11-14T22:13:20Z", "created_by": f"coursebox: {name}"}
            for name in ("system", "cuda", "torch", "python", "data", "course")
        ],
    }


def test_the_account_decides_the_home() -> None:
    config = image_config(about(user="eva", uid=1234, gid=7, epoch=EPOCH + 1), [])
    inner = config["config"]
    assert (inner["User"], inner["WorkingDir"]) == ("1234", "/home/eva")
    assert {"HOME=/home/eva", "NB_USER=eva", "NB_UID=1234", "NB_GID=7"} <= set(inner["Env"])
    assert config["created"] == "2023-11-14T22:13:21Z"


def test_an_image_for_the_cpu_promises_no_gpu() -> None:
    config = image_config(about(torch="2.6.0", cuda="", variant="cpu"), [])["config"]
    assert not [line for line in config["Env"] if "NVIDIA" in line]
    labels = config["Labels"]
    assert "org.coursebox.cuda" not in labels and "NVIDIA" not in labels["org.opencontainers.image.licenses"]
    assert "PyTorch 2.6.0 for the CPU" in labels["org.opencontainers.image.description"]
    assert labels["org.opencontainers.image.ref.name"] == "deep-learning:2026.11-cpu"


def test_names() -> None:
    """An engine with both images tells them apart by the tag."""
    assert image_names("deep-learning", "2026.11") == ["deep-learning:2026.11", "deep-learning:latest"]
    assert image_names("deep-learning", "2026.11", "cpu") == ["deep-learning:2026.11-cpu", "deep-learning:cpu"]
    assert image_names("dl", "latest") == ["dl:latest"]
    for name in ("a.-b", "a..b", "-a", "Deep"):
        with pytest.raises(CourseboxError, match=r"course\.name: .* cannot be the name of an image"):
            image_names(name, "1")
