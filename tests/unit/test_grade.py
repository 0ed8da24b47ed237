"""`make grade`: which container is started, what of this machine it sees, what is said when something is missing."""

from __future__ import annotations

import csv
import io
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from coursebox import cli, grade
from coursebox.core.errors import CourseboxError
from coursebox.core.paths import CHECKOUT
from coursebox.course import Course, load_course

# Answers as an engine with one image does, and keeps the words of each `docker run`, one file for each call.
DOCKER = """#!{python}
import json, os, signal, sys, time
here, words = {folder!r}, sys.argv[1:]
with open(here + "/calls", "a") as calls:
    calls.write(json.dumps(words) + "\\n")
if words[0] == "version":
    print("28.0.0")
elif words[:2] == ["image", "inspect"]:
    sys.exit(not os.path.exists(here + ("/image-cpu" if words[-1].endswith("-cpu") else "/image")))
elif words[0] == "run":
    if os.path.exists(here + "/slow"):
        signal.signal(signal.SIGINT, lambda *_: sys.exit(130))
        open(here + "/started", "w").close()
        time.sleep(30)
    sys.exit(int(open(here + "/status").read()))
"""
SETTINGS = ("FOLDER", "LAB", "OUT", "STUDENT", "FORMAT", "RULES", "ROSTER", "TIMES", "AGAIN")
ODD_NAMES = ["class", "my class", "a,b", "a:b", 'say "hi"', "it's", "a,b: \"c\" $HOME 'd'", "größe", "new\nline", "-x"]


class Engine:
    """A docker program that does nothing, and what it was asked."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        program = folder / "bin" / "docker"
        program.parent.mkdir()
        program.write_text(DOCKER.format(python=sys.executable, folder=str(folder)), encoding="utf-8")
        program.chmod(0o755)
        (folder / "image").touch()
        self.ends_with(0)

    def ends_with(self, status: int) -> None:
        (self.folder / "status").write_text(str(status), encoding="ascii")

    @property
    def calls(self) -> list[list[str]]:
        return [json.loads(line) for line in (self.folder / "calls").read_text(encoding="utf-8").splitlines()]

    @property
    def started(self) -> list[str]:
        (words,) = [words for words in self.calls if words[0] == "run"]
        return words

    @property
    def mounts(self) -> dict[str, tuple[str, bool]]:
        """Path in the container → path here, whether it is read-only; the line is read as CSV, as docker does."""
        found = {}
        for option, value in zip(self.started, self.started[1:], strict=False):
            if option == "--mount":
                (fields,) = list(csv.reader(io.StringIO(value, newline=""), strict=True))
                pairs = dict(field.split("=", 1) for field in fields if "=" in field)
                assert pairs["type"] == "bind" and len(pairs) == 3
                found[pairs["target"]] = (pairs["source"], "readonly" in fields)
        return found


@pytest.fixture
def engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Engine:
    engine = Engine(tmp_path)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}")
    for name in ("DOCKER_HOST", "COURSE", *SETTINGS):
        monkeypatch.delenv(name, raising=False)
    return engine


@pytest.fixture(scope="module")
def course() -> Course:
    return load_course(CHECKOUT / "course.toml")


def made(folder: Path) -> Path:
    folder.mkdir(parents=True)
    return folder


@pytest.mark.parametrize("name", ODD_NAMES)
def test_folders_of_any_name_are_mounted(engine: Engine, course: Course, tmp_path: Path, name: str) -> None:
    folder = made(tmp_path / "year" / name)
    assert grade.grade(course, folder, "02") == 0
    grades = tmp_path / "year" / f"{name}-grades"
    assert engine.mounts == {"/submissions": (str(folder), True), "/grades": (str(grades), False)}


@pytest.mark.parametrize(
    ("folder", "line"),
    [
        ("/a b:c", "type=bind,source=/a b:c,target=/x"),
        ("/a,b", 'type=bind,"source=/a,b",target=/x'),
        ('/a"b', 'type=bind,"source=/a""b",target=/x'),
    ],
)
def test_a_mount_is_a_line_of_csv(folder: str, line: str) -> None:
    assert grade.mount(Path(folder), "/x") == line
    assert grade.mount(Path(folder), "/x", readonly=True) == f"{line},readonly"


def test_the_container(engine: Engine, course: Course, tmp_path: Path) -> None:
    """No network, root with the one capability that the sandbox needs, and course-grade instead of the entry point."""
    options = ["--jobs", "3", "--targets"]
    grade.grade(course, made(tmp_path / "class"), "02_neighbours", tmp_path / "out", options)
    words = engine.started
    image = words.index(f"{course.name}:{course.version}")
    before, behind = words[:image], words[image + 1 :]
    for option, value in (
        ("--network", "none"), ("--user", "root"), ("--cap-add", "SYS_ADMIN"), ("--label", "org.coursebox.grade"),
        ("--entrypoint", "/usr/bin/tini"),
    ):  # fmt: skip
        assert before[before.index(option) + 1] == value
    assert "--rm" in before and "--privileged" not in before and "--gpus" not in before
    assert before[before.index("--name") + 1].startswith("coursebox-grade-")
    command = ["/usr/local/bin/course-grade", "/submissions", "--lab=02_neighbours", "--out=/grades"]
    assert behind == ["-s", "--", *command, *options]


def test_each_container_has_a_name_of_its_own(engine: Engine, course: Course, tmp_path: Path) -> None:
    folder = made(tmp_path / "class")
    for _ in range(2):
        grade.grade(course, folder, "02")
    names = [words[words.index("--name") + 1] for words in engine.calls if words[0] == "run"]
    assert len(set(names)) == 2


def test_gpus_are_handed_over_when_they_are_asked_for(engine: Engine, course: Course, tmp_path: Path) -> None:
    grade.grade(course, made(tmp_path / "class"), "19", options=["--gpu"])
    assert engine.started[engine.started.index("--gpus") + 1] == "all"


def test_links_are_resolved_since_the_engine_does_not_see_ours(engine: Engine, course: Course, tmp_path: Path) -> None:
    folder = made(tmp_path / "disk" / "class")
    (tmp_path / "link").symlink_to(tmp_path / "disk")
    grade.grade(course, tmp_path / "link" / "class", "02", tmp_path / "link" / "results" / "lab 2")
    assert engine.mounts["/submissions"][0] == str(folder)
    assert engine.mounts["/grades"][0] == str(tmp_path / "disk" / "results" / "lab 2")


def test_relative_folders(engine: Engine, course: Course, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(made(tmp_path / "class"))
    grade.grade(course, Path("."), "02")
    assert engine.mounts["/grades"][0] == str(tmp_path / "class-grades")


def test_the_folder_of_the_results_is_made_before_and_goes_when_it_stays_empty(
    engine: Engine, course: Course, tmp_path: Path
) -> None:
    """Docker would make it as root."""
    folder, out = made(tmp_path / "class"), tmp_path / "class-grades"
    engine.ends_with(1)
    assert grade.grade(course, folder, "77") == 1
    assert not out.exists()
    made(out)
    grade.grade(course, folder, "77")
    assert out.is_dir()


@pytest.mark.parametrize(
    ("folder", "lab", "said", "hint"),
    [
        (None, "02", "no folder of submissions is named", "make grade FOLDER=… LAB=02"),
        ("nowhere", "02", "there is no folder nowhere", "FOLDER names a folder with"),
        ("/dev/null", "02", "there is no folder /dev/null", "FOLDER names a folder with"),
        ("/usr", "", "no lab is named", "name its number: make grade FOLDER=… LAB=02"),
    ],
)
def test_what_is_missing_is_said(
    engine: Engine, course: Course, folder: str | None, lab: str, said: str, hint: str
) -> None:
    with pytest.raises(CourseboxError) as caught:
        grade.grade(course, None if folder is None else Path(folder), lab)
    assert caught.value.message.startswith(said) and (caught.value.hint or "").startswith(hint)
    assert not (engine.folder / "calls").exists()


def test_no_image(engine: Engine, course: Course, tmp_path: Path) -> None:
    (engine.folder / "image").unlink()
    with pytest.raises(CourseboxError) as caught:
        grade.grade(course, made(tmp_path / "class"), "02")
    image = f"{course.name}:{course.version}"
    assert str(caught.value) == (
        f"the Docker engine has no image {image} or {image}-cpu\n"
        "  hint: make docker, or make build TARGETS=image, which is smaller"
    )
    assert not (tmp_path / "class-grades").exists()


def test_the_image_for_the_cpu_grades_where_it_is_alone(engine: Engine, course: Course, tmp_path: Path) -> None:
    """But not what asks for a GPU."""
    (engine.folder / "image").rename(engine.folder / "image-cpu")
    assert grade.grade(course, made(tmp_path / "class"), "02") == 0
    (run,) = [call for call in engine.calls if call[0] == "run"]
    assert f"{course.name}:{course.version}-cpu" in run
    with pytest.raises(CourseboxError) as caught:
        grade.grade(course, tmp_path / "class", "02", options=["--gpu"])
    assert caught.value.message.endswith(f"has no image {course.name}:{course.version}")


@pytest.mark.parametrize(("status", "said"), [(125, "no container of "), (127, " has no /usr/local/bin/course-grade")])
def test_a_container_that_does_not_start(
    engine: Engine, course: Course, tmp_path: Path, status: int, said: str
) -> None:
    engine.ends_with(status)
    with pytest.raises(CourseboxError, match=said):
        grade.grade(course, made(tmp_path / "class"), "02")


def test_results_that_cannot_be_written(engine: Engine, course: Course, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(CourseboxError, match="File exists\n  hint: OUT names"):
        grade.grade(course, made(tmp_path / "class"), "02", tmp_path / "file")


def test_an_interruption_ends_the_container(engine: Engine, tmp_path: Path) -> None:
    (engine.folder / "slow").touch()
    program = "import sys; from coursebox.cli import main; sys.exit(main())"
    running = subprocess.Popen(
        [sys.executable, "-c", program, "grade", str(made(tmp_path / "class")), "--lab", "02"],
        cwd=CHECKOUT, stderr=subprocess.PIPE, start_new_session=True,
        # As in a terminal: a shell starts what runs in the background with SIGINT ignored, and so do its children.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )  # fmt: skip
    deadline = time.monotonic() + 30
    while not (engine.folder / "started").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    os.killpg(running.pid, signal.SIGINT)  # as a terminal does
    said = running.communicate(timeout=30)[1].decode()
    assert said.endswith("interrupted; what was finished stays in the cache\n"), said
    assert running.returncode == 130
    name = engine.started[engine.started.index("--name") + 1]
    assert engine.calls[-1] == ["rm", "--force", "--volumes", name]


def test_settings_come_from_the_environment_or_from_options(
    engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, other = made(tmp_path / 'it\'s, a "class"'), made(tmp_path / "other")
    for name, value in (("FOLDER", folder), ("LAB", "02"), ("OUT", tmp_path / "out")):
        monkeypatch.setenv(name, str(value))
    assert cli.main(["grade", "--", "--jobs", "2"]) == 0
    assert engine.mounts == {"/submissions": (str(folder), True), "/grades": (str(tmp_path / "out"), False)}
    assert engine.started[-4:] == ["--lab=02", "--out=/grades", "--jobs", "2"]
    (engine.folder / "calls").unlink()
    assert cli.main(["grade", str(other), "--lab", "03", "--out", str(tmp_path / "more")]) == 0
    assert engine.mounts == {"/submissions": (str(other), True), "/grades": (str(tmp_path / "more"), False)}
    assert engine.started[-2:] == ["--lab=03", "--out=/grades"]


def test_rules_lists_and_students_go_into_the_container(
    engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, rules, roster = made(tmp_path / "class"), tmp_path / "my, rules.toml", tmp_path / "list.csv"
    rules.touch()
    roster.touch()
    for name, value in (("RULES", rules), ("STUDENT", " Eva Bauer; Tom "), ("FORMAT", "moodle"), ("AGAIN", "1")):
        monkeypatch.setenv(name, str(value))
    assert cli.main(["grade", str(folder), "--lab", "02", "--roster", str(roster), "--", "--jobs", "2"]) == 0
    assert engine.mounts["/tables/rules.toml"] == (str(rules), True)
    assert engine.mounts["/tables/roster.csv"] == (str(roster), True)
    assert engine.started[engine.started.index("--out=/grades") + 1 :] == [
        "--rules=/tables/rules.toml", "--roster=/tables/roster.csv",
        "--student=Eva Bauer", "--student=Tom", "--format=moodle", "--again", "--jobs", "2",
    ]  # fmt: skip


def test_the_download_of_a_class_is_mounted_as_a_file(engine: Engine, course: Course, tmp_path: Path) -> None:
    download = tmp_path / "class.zip"
    download.touch()
    assert grade.grade(course, download, "02") == 0
    assert engine.mounts["/submissions"] == (str(download), True)
    assert engine.mounts["/grades"] == (str(tmp_path / "class-grades"), False)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--rules", "nowhere.toml"], "error: there is no file nowhere.toml\n  hint: RULES names a file"),
        (["--format", "excel"], "error: FORMAT=excel is not possible\n  hint: use FORMAT=moodle or FORMAT=canvas"),
    ],
)
def test_wrong_options_are_said(
    engine: Engine, tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], said: str
) -> None:
    assert cli.main(["grade", str(made(tmp_path / "class")), "--lab", "02", *words]) == 1
    assert capsys.readouterr().err.strip() == said


def test_make_hands_on_names_as_they_are(tmp_path: Path) -> None:
    """The recipe names no setting: they travel through the environment, where nothing splits them."""
    shown = tmp_path / "Makefile"
    text = (CHECKOUT / "Makefile").read_text(encoding="utf-8")
    shown.write_text(text + '\nshow:\n\t@printf "%s|" "$$FOLDER" "$$LAB" "$$OUT" "$$STUDENT"\n', encoding="utf-8")
    words = ['FOLDER=it\'s, a "class": 2', "LAB=02", "OUT=a b", "STUDENT=O'Hara, Tom; x"]
    done = subprocess.run(["make", "--file", shown, "show", *words], capture_output=True, text=True, check=True)
    assert done.stdout == "it's, a \"class\": 2|02|a b|O'Hara, Tom; x|"
