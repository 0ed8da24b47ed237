"""What students hand in becomes one line each: the file that counts, what it brings along, or the reason."""

from __future__ import annotations

import json
import os
import zipfile
from pathlib import Path

import pytest
from course_grade import candidates, likeness, names, submissions, support
from course_grade.submissions import Submitted

from coursebox.core.paths import CHECKOUT

LABS = CHECKOUT / "labs"
EXERCISE = candidates.read_exercise(LABS / "02_neighbours")
STUBS = EXERCISE.stubs
OLD, NEW = 1_700_000_000, 1_700_000_900


def solved(*parts: str) -> str:
    """The exercise with these parts written, right or wrong."""
    text = STUBS
    for number, part in enumerate(EXERCISE.parts, start=1):
        if part in parts:
            text = text.replace(f'raise NotImplementedError("02.{number} {part}")', "return x + 1")
    return text


DONE = solved(*EXERCISE.parts)


def put(file: Path, content: str | bytes = DONE, when: int = OLD) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content.encode() if isinstance(content, str) else content)
    os.utime(file, (when, when))
    return file


def find(tmp_path: Path, best: bool = False) -> dict[str, Submitted]:
    room = tmp_path / f"room{len(list(tmp_path.iterdir()))}"
    room.mkdir()
    return {f"{one.name}{one.attempt if best else ''}": one for one in
            submissions.find(tmp_path / "class", EXERCISE, room, best)}  # fmt: skip


def brought(one: Submitted) -> set[str]:
    assert one.folder is not None
    return {path.relative_to(one.folder).as_posix() for path in one.folder.rglob("*") if path.is_file()}


def test_the_lab_is_read_without_its_checks() -> None:
    assert EXERCISE.parts[0] == "nearest_classification" and len(EXERCISE.parts) == 6
    assert {"counts_errors", "kmeans_finds_digits", "form_of_PCA"} <= set(EXERCISE.checks)
    for folder in sorted(LABS.glob("[0-9][0-9]_*")):
        assert candidates.read_exercise(folder).parts, folder


@pytest.mark.parametrize(("parts", "count"), [((), 0), (("PCA",), 1), (EXERCISE.parts, 6)])
def test_parts_that_are_written_count(parts: tuple[str, ...], count: int) -> None:
    assert candidates.work_of(solved(*parts), EXERCISE) == candidates.Work(EXERCISE.parts, tuple(parts))
    cells = [{"cell_type": "code", "source": [solved(*parts)]}, {"cell_type": "code", "source": "%magic ("}]
    notebook = json.dumps({"cells": [*cells, {"cell_type": "markdown", "source": "def PCA(x): 1"}]}).encode()
    assert len(candidates.work_of(candidates.code_of(notebook, True), EXERCISE).written) == count


def test_a_part_that_is_bound_or_is_no_python_yet_is_written() -> None:
    assert candidates.work_of("PCA = lambda x: x\ndef kmeans(x:\n    return 1\n", EXERCISE).written == ("PCA", "kmeans")


def test_what_an_exercise_brings_along(tmp_path: Path) -> None:
    work = tmp_path / "class" / "eva" / "labs" / "02_neighbours"
    put(work / "exercise.py")
    put(work / "utils" / "__init__.py", "")
    put(work / "data" / "x.csv", "1")
    for other in ("exercise.ipynb", "check.py", "sheet.md", "results/p.png", "__pycache__/x.pyc", "big.bin"):
        put(work / other, b"{}" if other != "big.bin" else bytes(11_000_000))
    put(work.parent / "03_linear" / "exercise.py")
    put(work.parent / "dlc_practical_prologue.py", "")
    one = find(tmp_path)["eva"]
    assert brought(one) == {"exercise.py", "utils/__init__.py", "data/x.csv", "sheet.md"}
    assert "1 files beside it were left out: more than 10 MB or 200 files." in one.remark


def test_what_is_laid_out_is_readable_for_whoever_gets_it(tmp_path: Path) -> None:
    put(tmp_path / "class" / "eva" / "exercise.py")
    put(tmp_path / "class" / "eva" / "utils" / "x.py", "").chmod(0o200 if os.geteuid() == 0 else 0o600)
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    support.lay_out(find(tmp_path)["eva"].folder, scratch)
    assert {path.name: path.stat().st_mode & 0o777 for path in scratch.rglob("*")} == {
        "exercise.py": 0o644, "utils": 0o755, "x.py": 0o644,
    }  # fmt: skip


def test_a_file_of_the_class_brings_nothing_of_a_neighbour(tmp_path: Path) -> None:
    put(tmp_path / "class" / "eva.py")
    put(tmp_path / "class" / "tom.py")
    assert brought(find(tmp_path)["eva"]) == {"eva.py"}


@pytest.mark.parametrize(
    ("files", "counts", "why"),
    [
        ({"a.py": (solved("PCA"), OLD), "b.py": (DONE, OLD)}, "b.py", "6 of 6 parts are written in it, 1 in a.py"),
        ({"a.py": (DONE, OLD), "b.py": (DONE + "\n", NEW)}, "b.py", "it is the newest"),
        ({"exercise.py": (DONE, OLD), "b.py": (DONE + "\n", OLD)}, "exercise.py", "their times are equal"),
        ({"exercise.py": (DONE, OLD), "b.py": (DONE, OLD)}, "exercise.py", "all have the same content"),
        ({"a.py": (DONE, OLD), "help.py": ("x = 1", NEW)}, "a.py", ""),
        ({"a.py": ("x = 1", OLD), "exercise.py": ("y = 1", OLD)}, "exercise.py", ""),
        (
            {"a.py": (STUBS, NEW), "b.py": (STUBS, OLD), "c.py": (solved("PCA"), OLD)},
            "c.py",
            "none in each of the 2 others",
        ),
    ],
)
def test_which_file_counts(tmp_path: Path, files: dict[str, tuple[str, int]], counts: str, why: str) -> None:
    for name, (text, when) in files.items():
        put(tmp_path / "class" / "eva" / name, text, when)
    one = find(tmp_path)["eva"]
    assert one.file is not None and one.file.name == counts and why in one.remark and bool(one.remark) == bool(why)


def test_attempts(tmp_path: Path) -> None:
    for number, text in enumerate((solved("PCA"), DONE, STUBS)):
        suffix = f"-{number}" if number else ""
        put(tmp_path / "class" / f"bauereva_1_{number}5_exercise{suffix}.py", text)
    assert find(tmp_path)["bauereva"].remark == (
        "Handed in 3 times: attempt 2 counts, the latest that was worked on; not attempt 1, attempt 3."
    )
    assert set(find(tmp_path, best=True)) == {"bauereva1", "bauereva2", "bauereva3"}


def test_one_person_in_two_forms_and_two_of_one_name(tmp_path: Path) -> None:
    put(tmp_path / "class" / "Eva Bauer_11_assignsubmission_file_" / "exercise.py", DONE, OLD)
    put(tmp_path / "class" / "eva_bauer.py", DONE, NEW)
    put(tmp_path / "class" / "Tom_1_assignsubmission_file_a.py")
    put(tmp_path / "class" / "Tom_2_assignsubmission_file_a.py")
    found = find(tmp_path)
    assert sorted(found) == ["Eva Bauer", "Tom", "Tom (2)"] or sorted(found) == ["Tom", "Tom (2)", "eva_bauer"]
    assert {one.id for one in found.values()} == {"11", "1", "2"}
    assert any(one.remark.startswith("Handed in 2 times: eva_bauer.py counts, the latest") for one in found.values())


def test_an_archive_in_an_archive_in_an_archive_stays_closed(tmp_path: Path) -> None:
    inner = b""
    for depth in range(4):
        file = tmp_path / f"{depth}.zip"
        with zipfile.ZipFile(file, "w") as out:
            out.writestr("inner.zip" if inner else "exercise.py", inner or DONE)
        inner = file.read_bytes()
        put(tmp_path / "class" / f"s{depth}.zip", inner)
    found = find(tmp_path)
    assert [one.file is not None for one in found.values()] == [True, True, False, False]
    assert "an archive in an archive in an archive" in found["s2"].remark


def test_archives_share_one_limit_and_leave_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        submissions._Room, "__init__", lambda self, path: vars(self).update(path=path, opened=0, left=5000)
    )
    for name in ("a.zip", "b.zip", "c.zip"):
        with zipfile.ZipFile(put(tmp_path / "class" / "eva" / name, b""), "w") as out:
            out.writestr(f"{name}.txt", b"x" * 2000)
    one = find(tmp_path)["eva"]
    assert "c.zip cannot be opened: unpacked it is larger than" in one.remark and "b.zip cannot" not in one.remark
    for number in range(9):
        put(tmp_path / "class" / "tom" / f"{number}.zip", (tmp_path / "class" / "eva" / "a.zip").read_bytes())
    assert "8.zip was not opened: there are more than 5 archives." in find(tmp_path)["tom"].remark
    assert [path for path in tmp_path.glob("room*/*/archive-*")] == []


def test_the_digest_follows_the_content(tmp_path: Path) -> None:
    file = put(tmp_path / "class" / "eva" / "exercise.py")
    first = find(tmp_path)["eva"].digest
    os.utime(file, (NEW, NEW))
    assert find(tmp_path)["eva"].digest == first
    put(tmp_path / "class" / "eva" / "data.txt", "1")
    assert find(tmp_path)["eva"].digest != first


def test_names_that_are_one_when_shown_stay_two(tmp_path: Path) -> None:
    for name in (b"x\xfc", b"x\xe4"):
        put(Path(os.fsdecode(os.fsencode(tmp_path) + b"/class/" + name)) / "exercise.py")
    assert list(find(tmp_path)) == ["x\ufffd", "x\ufffd (2)"]


@pytest.mark.parametrize(
    ("name", "stem"),
    [
        ("Eva Bauer", "Eva Bauer"),
        ("../x", "_x"),
        ("a/b", "a_b"),
        ("-rf", "_-rf"),
        ("CON", "_CON"),
        ("...", "_"),
        ("<b>", "_b_"),
    ],
)
def test_names_of_files(name: str, stem: str) -> None:
    assert names.file_stem(name) == stem


def test_likeness_looks_through_names_comments_and_layout() -> None:
    body = """def kmeans(x, k, seed):
    g = torch.Generator().manual_seed(seed)
    centres = x[torch.randperm(len(x), generator=g)[:k]]
    old, losses = None, []
    while True:
        d = torch.cdist(x, centres)
        best = d.argmin(1)
        losses.append(d.min(1).values.square().sum())
        if old is not None and (best == old).all():
            return centres, best, torch.stack(losses)
        old = best
        for j in range(k):
            if (best == j).any():
                centres[j] = x[best == j].mean(0)
"""
    copied = body.replace("centres", "c").replace("best", "assigned").replace("    ", "  ").replace("\n", "  # mine\n")
    other = """def kmeans(x, k, seed):
    torch.manual_seed(seed)
    mu = x[torch.randperm(x.shape[0])[:k]].clone()
    history = []
    label = torch.zeros(x.shape[0], dtype=torch.long) - 1
    for step in itertools.count():
        dist = (x[:, None] - mu[None]).pow(2).sum(-1)
        new = torch.argmin(dist, dim=1)
        history += [dist.gather(1, new[:, None]).sum()]
        if torch.equal(new, label): break
        label = new
        mask = torch.nn.functional.one_hot(label, k).float()
        mu = torch.where(mask.sum(0)[:, None] > 0, mask.T @ x / mask.sum(0)[:, None].clamp(min=1), mu)
    return mu, label, torch.tensor(history)
"""
    prints = {name: likeness.fingerprint(code, EXERCISE) for name, code in
              {"eva": body, "tom": copied, "ada": other, "stub": STUBS}.items()}  # fmt: skip
    (pair,) = likeness.alike(prints)
    assert (pair.first, pair.second, pair.parts) == ("eva", "tom", ("kmeans",)) and pair.share == 1.0
    many = {f"s{n}": likeness.fingerprint(body, EXERCISE) for n in range(500)}
    assert likeness.alike(many) == []  # that is how one does it
