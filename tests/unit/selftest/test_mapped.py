"""Libraries in /proc/self/maps."""

from __future__ import annotations

from pathlib import Path

from course_selftest.mapped import mapped_libraries, own_maps

SITE = "/opt/jupyter/lib/python3.13/site-packages"
NAMES = ("cudart", "cublas", "cublasLt", "cudnn")


def line(path: str) -> str:
    return f"7f0000000000-7f0000001000 r-xp 00000000 08:01 123456                     {path}\n"


def test_one_copy_mapped_in_several_pieces() -> None:
    maps = line(f"{SITE}/nvidia/cu13/lib/libcudart.so.13") * 4 + line("[heap]") + line("")
    assert mapped_libraries(maps, NAMES) == {"cudart": [f"{SITE}/nvidia/cu13/lib/libcudart.so.13"]}


def test_two_copies_and_a_digest_in_a_name() -> None:
    paths = [f"{SITE}/nvidia/cu13/lib/libcudart.so.13", f"{SITE}/torch/lib/libcudart-9335f6a2.so.12"]
    assert mapped_libraries("".join(map(line, paths)), NAMES) == {"cudart": paths}


def test_names_are_whole() -> None:
    """cublas is not cublasLt, the parts of cuDNN are no copies of it, and a path with spaces is one."""
    paths = [
        f"{SITE}/nvidia/cu13/lib/libcublas.so.13", f"{SITE}/nvidia/cu13/lib/libcublasLt.so.13",
        f"{SITE}/nvidia/cudnn/lib/libcudnn_ops.so.9", f"{SITE}/nvidia/cudnn/lib/libcudnn_graph.so.9.24.0",
        "/a folder/libcudnn.so.9",
    ]  # fmt: skip
    assert mapped_libraries("".join(map(line, paths)), NAMES) == {
        "cublas": paths[:1], "cublasLt": paths[1:2], "cudnn": paths[-1:]
    }  # fmt: skip


def test_links_to_one_file_are_one_copy(tmp_path: Path) -> None:
    real = tmp_path / "libcudnn.so.9.24.0"
    real.touch()
    (tmp_path / "libcudnn.so.9").symlink_to(real)
    maps = line(str(real)) + line(str(tmp_path / "libcudnn.so.9"))
    assert mapped_libraries(maps, NAMES) == {"cudnn": [str(real)]}


def test_this_process_has_a_c_library() -> None:
    assert mapped_libraries(own_maps(), ["c"])["c"]
