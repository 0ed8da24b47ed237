"""Files that appear whole or not at all."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from coursebox.core import files
from coursebox.core.files import atomic, flush_tree, write_text


def test_a_file_appears_at_the_end_of_the_block(tmp_path: Path) -> None:
    with atomic(tmp_path / "ü b") as part:
        part.write_text("new")
        assert part.parent == tmp_path and not (tmp_path / "ü b").exists()
    assert (tmp_path / "ü b").read_text() == "new" and os.listdir(tmp_path) == ["ü b"]


def test_after_an_error_the_old_file_stands_and_nothing_else(tmp_path: Path) -> None:
    write_text(tmp_path / "x", "old")
    with pytest.raises(ZeroDivisionError), atomic(tmp_path / "x") as part:
        part.write_text("half")
        raise ZeroDivisionError
    assert (tmp_path / "x").read_text() == "old" and os.listdir(tmp_path) == ["x"]


def test_a_block_that_writes_nothing_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), atomic(tmp_path / "x"):
        pass
    assert os.listdir(tmp_path) == []


def test_a_killed_writer_leaves_the_old_file(tmp_path: Path) -> None:
    write_text(tmp_path / "x", "old")
    code = (
        "import os, signal, sys; from pathlib import Path; from coursebox.core.files import atomic\n"
        "with atomic(Path(sys.argv[1])) as part: part.write_text('half'); os.kill(os.getpid(), signal.SIGKILL)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path / "x")], check=False)
    assert done.returncode == -signal.SIGKILL and (tmp_path / "x").read_text() == "old"


def test_two_writers_do_not_disturb_each_other(tmp_path: Path) -> None:
    both = threading.Barrier(2)

    def write(text: str) -> None:
        with atomic(tmp_path / "x") as part:
            part.write_text(text)
            both.wait(10)

    threads = [threading.Thread(target=write, args=(text * 1000,)) for text in "ab"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (tmp_path / "x").read_text() in ("a" * 1000, "b" * 1000) and os.listdir(tmp_path) == ["x"]


def test_the_content_is_on_the_disk_before_the_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    acts: list[str] = []
    flush, replace = files.flush, os.replace
    monkeypatch.setattr(files, "flush", lambda path: (acts.append(f"flush {path.name}"), flush(path)))
    monkeypatch.setattr(files.os, "replace", lambda one, two: (acts.append("rename"), replace(one, two)))
    write_text(tmp_path / "x", "text")
    assert len(acts) == 3 and acts[0].startswith("flush .x.") and acts[1:] == ["rename", f"flush {tmp_path.name}"]


def test_a_tree_is_flushed_with_all_that_is_in_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: set[str] = set()
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "b" / "c").touch()
    (tmp_path / "link").symlink_to("/nowhere")
    monkeypatch.setattr(files, "flush", lambda path: seen.add(path.name))
    flush_tree(tmp_path)
    assert seen == {"a", "b", "c", tmp_path.name}
