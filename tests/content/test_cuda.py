"""Only the image for CUDA: its libraries once, for the promised GPUs."""

from __future__ import annotations

import re
import subprocess
import tarfile
from pathlib import PurePosixPath

import pytest

pytestmark = pytest.mark.parametrize("place", ["cuda"], indirect=True)


@pytest.mark.parametrize("library", ["libcudart", "libcudnn", "libcublas", "libcublasLt", "libnccl", "libnvrtc"])
def test_each_cuda_library_is_there_once(members: dict[str, tarfile.TarInfo], library: str):
    files = [name for name, member in members.items()
             if re.fullmatch(rf"{library}\.so[.\d]*", PurePosixPath(name).name) and member.isreg()]  # fmt: skip
    assert len(files) == 1, files


def test_torch_is_built_for_turing_to_blackwell(container: str):
    code = "import torch; print(torch.version.cuda, torch.backends.cuda.is_built(), *torch.cuda.get_arch_list())"
    done = subprocess.run(
        ["docker", "exec", container, "/opt/jupyter/bin/python", "-c", code], capture_output=True, text=True, check=True
    )
    cuda, built, *architectures = done.stdout.split()
    assert (cuda, built) == ("13.0", "True")
    assert {"sm_75", "sm_80", "sm_86", "sm_90", "sm_100", "sm_120"} <= set(architectures)


def test_cuda_libraries_load_without_a_search_path(container: str):
    """The wheels find each other by their own paths; LD_LIBRARY_PATH would be a way to break them."""
    code = (
        "import ctypes, importlib.util, pathlib; import torch;"
        "top = pathlib.Path(importlib.util.find_spec('nvidia').submodule_search_locations[0]);"
        "found = [p for n in ('libcudart.so*', 'libcublas.so*', 'libcudnn.so*') for p in sorted(top.rglob(n))];"
        "[ctypes.CDLL(str(p)) for p in found]; print(len(found))"
    )
    done = subprocess.run(
        ["docker", "exec", container, "sh", "-c", 'test -z "$LD_LIBRARY_PATH" && exec /opt/jupyter/bin/python -c "$1"',
         "sh", code], capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) >= 3
