"""The real pipe and real processes, with small programs in place of the worker."""

from __future__ import annotations

import json
import os
import sys
import textwrap
import time
from pathlib import Path

import pytest
from course_selftest.isolation import Died, Worker
from course_selftest.options import Options

# Every program begins like this: `say` writes to the pipe, `heard` gives the names of the checks.
PROLOGUE = """
import json, os, signal, subprocess, sys, time
channel = os.fdopen(int(sys.argv[1]), "w")
def say(message):
    print(json.dumps(message), file=channel, flush=True)
def heard():
    for line in sys.stdin:
        yield json.loads(line)["run"]
def row(name, text="fine"):
    return {"name": name, "result": "ok", "text": text, "seconds": 0, "figures": {}, "detail": ""}
"""
GOOD = """
say({"hello": {"torch": "2.6.0"}})
for name in heard():
    say({"row": row(name), "healthy": True})
"""


def start(tmp_path: Path, program: str, limit: float = 100, options: Options | None = None) -> Worker:
    file = tmp_path / "worker.py"
    file.write_text(PROLOGUE + textwrap.dedent(program))
    return Worker(options or Options(), [sys.executable, str(file)], start_limit=limit)


def gone(pid: int, within: float = 100) -> bool:
    """Whether a process ends; a zombie counts."""
    end = time.monotonic() + within
    while time.monotonic() < end:
        try:
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return True
        except OSError:
            return True
        time.sleep(0.05)
    return False


def test_rows_come_back(tmp_path: Path) -> None:
    with start(tmp_path, GOOD) as worker:
        assert worker.machine == {"torch": "2.6.0"} and worker.error == ""
        assert [worker.run(name, 100).name for name in ("one", "two")] == ["one", "two"]
        assert worker.healthy


def test_what_it_prints_disturbs_nothing(tmp_path: Path) -> None:
    noise = 'print("{\\"row\\": 1}" * 100000); os.system("echo noise; echo more >&2")'
    with start(tmp_path, GOOD.replace('say({"row"', f'{noise}; say({{"row"')) as worker:
        assert worker.run("one", 100).text == "fine"


def test_options_arrive(tmp_path: Path) -> None:
    program = 'say({"hello": json.loads(sys.argv[2])})'
    with start(tmp_path, program, options=Options(True, 3, "/data", "no")) as worker:
        assert worker.machine == {"full": True, "repeat": 3, "data": "/data", "no_gpu": "no"}


def test_progress_is_passed_on(tmp_path: Path) -> None:
    program = """
    say({"hello": {}})
    for name in heard():
        for share in (0.25, 0.5):
            say({"progress": share})
        time.sleep(4)
        say({"row": row(name), "healthy": False})
    """
    shares: list[float] = []
    with start(tmp_path, program) as worker:
        worker.run("one", 100, shares.append)
        assert not worker.healthy
    assert {0.25, 0.5} <= set(shares)
    assert shares.count(0.5) > 1  # so that the line on the terminal lives on


@pytest.mark.parametrize(
    ("death", "how"),
    [
        ("os.kill(os.getpid(), signal.SIGSEGV)", "the process of the checks was ended by signal 11 (SIGSEGV)"),
        ("os._exit(7)", "the process of the checks ended with exit code 7"),
    ],
)
def test_a_death_is_told(tmp_path: Path, death: str, how: str) -> None:
    program = f"""
    say({{"hello": {{}}}})
    for name in heard():
        print("about to die", flush=True)
        {death}
    """
    worker = start(tmp_path, program)
    with pytest.raises(Died, match="^" + how.replace("(", r"\(").replace(")", r"\)")) as died:
        worker.run("one", 100)
    assert died.value.printed == "about to die"
    assert not worker.healthy


def test_a_death_before_the_question_is_told(tmp_path: Path) -> None:
    worker = start(tmp_path, 'say({"hello": {}})')
    time.sleep(0.5)
    with pytest.raises(Died, match="exit code 0"):
        worker.run("one", 100)


def test_a_death_is_seen_although_a_grandchild_keeps_the_pipe(tmp_path: Path) -> None:
    program = """
    say({"hello": {}})
    for name in heard():
        if os.fork() == 0:
            time.sleep(60)
        os._exit(3)
    """
    begin = time.monotonic()
    with pytest.raises(Died, match="exit code 3"):
        start(tmp_path, program).run("one", 300)
    assert time.monotonic() - begin < 50  # the grandchild sleeps for 60 s


def test_a_check_that_hangs_is_ended_with_all_it_started(tmp_path: Path) -> None:
    program = f"""
    say({{"hello": {{}}}})
    for name in heard():
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
        open({str(tmp_path / "pids")!r}, "w").write(f"{{os.getpid()}} {{child.pid}}")
        time.sleep(60)
    """
    with pytest.raises(Died, match="did not end within 2 s"):
        start(tmp_path, program).run("one", 2)
    assert all(gone(int(pid)) for pid in (tmp_path / "pids").read_text().split())


def test_a_start_that_hangs_or_dies_is_told(tmp_path: Path) -> None:
    with pytest.raises(Died, match="did not end within 1 s"):
        start(tmp_path, "time.sleep(60)", limit=1)
    with pytest.raises(Died, match="exit code 1") as died:
        start(tmp_path, "raise RuntimeError('broken')")
    assert died.value.sentence().endswith("Its last words: RuntimeError: broken")


def test_its_files_are_gone_afterwards(tmp_path: Path) -> None:
    program = """
    import tempfile
    folder = tempfile.mkdtemp()
    say({"hello": {"folder": folder, "inductor": os.environ["TORCHINDUCTOR_CACHE_DIR"]}})
    os.mkdir(os.environ["TORCHINDUCTOR_CACHE_DIR"])
    for name in heard():
        os._exit(1)
    """
    worker = start(tmp_path, program)
    folder, inductor = Path(worker.machine["folder"]), Path(worker.machine["inductor"])
    assert folder.is_dir() and inductor.parent == folder.parent
    with pytest.raises(Died):
        worker.run("one", 100)
    assert not folder.parent.exists()


def test_no_module_comes_from_the_current_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A student's own random.py must not break PyTorch's import."""
    (tmp_path / "random.py").write_text("raise ImportError('the wrong one')")
    monkeypatch.chdir(tmp_path)
    program = 'import random; say({"hello": {"random": random.__file__}})'
    file = tmp_path / "elsewhere" / "course_probe.py"
    file.parent.mkdir()
    file.write_text(PROLOGUE + program)
    monkeypatch.setenv("PYTHONPATH", str(file.parent))
    with Worker(Options(), [sys.executable, "-m", "course_probe"], start_limit=100) as worker:
        assert Path(worker.machine["random"]).parent != tmp_path


def test_the_real_worker_says_when_torch_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Here PyTorch is hidden by a package that cannot be imported, whether it is installed or not."""
    (tmp_path / "torch").mkdir()
    (tmp_path / "torch" / "__init__.py").write_text("raise OSError('libcudart.so.13: cannot open shared object file')")
    # Behind the package of the checks, and before everything that is installed.
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")]))
    with Worker(Options()) as worker:
        assert worker.error == "OSError: libcudart.so.13: cannot open shared object file"
        assert json.dumps(worker.machine) == "{}"
