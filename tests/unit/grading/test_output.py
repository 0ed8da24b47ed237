"""The results: whole or not at all, the folder owner's, and never through a link."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from course_grade import output

OWNER, GROUP = 61001, 61002  # nobody's numbers
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can write for another user")


def owner(path: Path) -> tuple[int, int]:
    status = path.lstat()
    return status.st_uid, status.st_gid


def test_files_are_replaced_as_a_whole(tmp_path: Path) -> None:
    output.make_folder(tmp_path / "a" / "b")
    for text in ("first, long", "größe"):
        output.write(tmp_path / "a" / "b" / "grades.csv", text)
    assert [path.name for path in (tmp_path / "a" / "b").iterdir()] == ["grades.csv"]
    assert (tmp_path / "a" / "b" / "grades.csv").read_bytes() == "größe".encode()


def test_a_link_is_replaced_and_not_followed(tmp_path: Path) -> None:
    (tmp_path / "thesis").write_text("years of work")
    (tmp_path / "grades.csv").symlink_to(tmp_path / "thesis")
    output.write(tmp_path / "grades.csv", "grades")
    assert (tmp_path / "thesis").read_text() == "years of work"
    assert not (tmp_path / "grades.csv").is_symlink() and (tmp_path / "grades.csv").read_text() == "grades"


def test_a_seed_is_drawn_once_and_kept_for_its_owner(tmp_path: Path) -> None:
    seed = output.kept_seed(tmp_path / "new" / "seed.txt")
    assert output.kept_seed(tmp_path / "new" / "seed.txt") == seed
    assert (tmp_path / "new" / "seed.txt").stat().st_mode & 0o777 == 0o600
    (tmp_path / "words").write_text("no number")
    with pytest.raises(ValueError, match="no number"):
        output.kept_seed(tmp_path / "words")


def test_a_seed_is_not_written_through_a_link(tmp_path: Path) -> None:
    (tmp_path / "seed.txt").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(FileExistsError):
        output.kept_seed(tmp_path / "seed.txt")
    assert not (tmp_path / "elsewhere").exists()


@pytest.fixture
def foreign(tmp_path: Path) -> Path:
    """A folder of somebody else, whom the folders above let pass."""
    folder = tmp_path / "theirs"
    folder.mkdir()
    os.chown(folder, OWNER, GROUP)
    for above in folder.parents:
        if above.stat().st_mode & 0o001 == 0:
            above.chmod(above.stat().st_mode | 0o011)
    return folder


@as_root
def test_root_writes_as_the_owner_of_the_folder(foreign: Path) -> None:
    output.kept_seed(foreign / "more" / "grades" / "seed.txt")
    output.write(foreign / "more" / "grades" / "grades.csv", "x")
    found = [foreign / "more", *(foreign / "more").rglob("*")]
    assert len(found) == 4 and {owner(path) for path in found} == {(OWNER, GROUP)}
    assert (os.geteuid(), os.getegid()) == (0, os.getgid())


@as_root
def test_a_link_does_not_lead_root_out_of_the_folder(foreign: Path, tmp_path: Path) -> None:
    ours = tmp_path / "ours"
    ours.mkdir(mode=0o755)
    (foreign / "grades").symlink_to(ours)
    with pytest.raises(PermissionError), output.as_owner_of(foreign):
        output.write(foreign / "grades" / "grades.csv", "x")
    assert list(ours.iterdir()) == [] and os.geteuid() == 0


@as_root
def test_root_is_root_again_after_an_error(foreign: Path) -> None:
    groups = os.getgroups()
    with pytest.raises(ZeroDivisionError), output.as_owner_of(foreign):
        assert (os.geteuid(), os.getegid(), os.getgroups()) == (OWNER, GROUP, [])
        raise ZeroDivisionError
    assert (os.geteuid(), os.getegid(), os.getgroups()) == (0, os.getgid(), groups)
