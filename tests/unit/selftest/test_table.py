"""The table for people and the report for machines."""

from __future__ import annotations

import json
import math
import os
import stat
from pathlib import Path

import pytest
from course_selftest import report, table
from course_selftest.outcome import Row

from .conftest import MACHINE

ROWS = [
    Row("matmul", "ok", "float32 2.5e-07, float32 94 GFLOP/s", 1.25, {"float32_error": 2.5e-07}),
    Row("gpu", "skipped", "no GPU: none was given to this container; start it with --gpus all"),
    Row("half", "FAILED", "bf16: relative error inf, at most 7.8e-03 is right.", 0.5,
        {"bf16_error": math.inf, "others": [1.0, math.nan]}, "Traceback …"),
]  # fmt: skip


def test_a_row_is_folded_under_its_own_column() -> None:
    assert table.text_row(ROWS[0], 6, 80) == "matmul  ok       float32 2.5e-07, float32 94 GFLOP/s"
    folded = table.text_row(ROWS[1], 6, 50).splitlines()
    assert folded[0] == "gpu     skipped  no GPU: none was given to this"
    assert all(line.startswith(" " * 17) and len(line) <= 50 for line in folded[1:]) and len(folded) == 3


def test_colours_change_no_width() -> None:
    plain, coloured = (table.text_row(ROWS[2], 6, 200, colour) for colour in (False, True))
    assert "\x1b" not in plain
    assert coloured == plain.replace("FAILED ", "\x1b[1;31mFAILED \x1b[0m")


def test_the_machine_in_one_line() -> None:
    assert table.machine_line(MACHINE) == (
        "AMD EPYC, 2 threads; PyTorch 2.6.0 (without CUDA), Python 3.13.5; Debian GNU/Linux 13 (trixie), x86_64"
    )
    with_gpu = table.machine_line({**MACHINE, "gpu": "NVIDIA H200", "cuda": "13.0"})
    assert with_gpu.startswith("NVIDIA H200; PyTorch 2.6.0 (CUDA 13.0),")
    assert table.machine_line({}) == "no PyTorch"


def test_summary_and_details() -> None:
    assert table.summary_line(ROWS, 12.4) == "1 ok, 1 FAILED, 1 skipped in 12 s"
    assert table.details(ROWS) == "--- half\nTraceback …"


def test_markdown() -> None:
    text = table.markdown(MACHINE, [Row("one", "ok", "a | b")], "course-selftest --full", "2026-11-21")
    assert text.splitlines() == [
        f"### {table.machine_line(MACHINE)}", "", "`course-selftest --full`, 2026-11-21", "",
        "| check | result | measured |", "| --- | --- | --- |", r"| one | ok | a \| b |",
    ]  # fmt: skip


def test_the_report_is_json_whatever_was_measured() -> None:
    text = report.to_json(report.build("course-selftest", MACHINE, ROWS, 12.3456))

    def refuse(name: str) -> None:
        raise AssertionError(f"{name} is no JSON")

    read = json.loads(text, parse_constant=refuse)
    assert read["schema"] == 1 and read["exit_code"] == 1 and read["seconds"] == 12.346
    assert read["summary"] == {"ok": 1, "FAILED": 1, "skipped": 1}
    assert read["machine"] == MACHINE
    assert read["checks"][2]["figures"] == {"bf16_error": None, "others": [1.0, None]}
    assert set(read["checks"][0]) == {"name", "result", "text", "seconds", "figures", "detail"}


@pytest.mark.parametrize(("rows", "code"), [(ROWS[:1], 0), (ROWS[:2], 0), (ROWS, 1), ([], 0)])
def test_exit_code(rows: list[Row], code: int) -> None:
    assert report.exit_code(rows) == code


def test_the_file_is_written_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "result.json"
    file.write_text("old")
    old_mask = os.umask(0o027)
    try:
        report.write(file, "new\n")
    finally:
        os.umask(old_mask)
    assert file.read_text() == "new\n" and stat.S_IMODE(file.stat().st_mode) == 0o640

    def full(source: str, target: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OSError, match="No space"):
        report.write(file, "newer\n")
    assert file.read_text() == "new\n" and list(tmp_path.iterdir()) == [file]
