"""The files about the project: each one parses, and what it names exists."""

from __future__ import annotations

import configparser
import fnmatch
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import pytest
import yaml

import coursebox
from coursebox.core.paths import CHECKOUT
from coursebox.verify.sources import tracked

FORMS = CHECKOUT / ".github" / "ISSUE_TEMPLATE"
HOOKS = CHECKOUT / ".pre-commit-config.yaml"
WORKFLOW = CHECKOUT / ".github" / "workflows" / "ci.yml"
# What people read about the project. Each one may name verbs, paths and other pages.
PAGES = ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md", ".github/pull_request_template.md")
GENERATED = re.compile(r"labs/[^/]+/(?:sheet\.md|exercise\.py|exercise\.ipynb)|labs/examples/[^/]+\.ipynb|locks/.+")


def text(name: str) -> str:
    return (CHECKOUT / name).read_text(encoding="utf-8")


def project() -> dict[str, Any]:
    table: dict[str, Any] = tomllib.loads(text("pyproject.toml"))["project"]
    return table


def names() -> list[str]:
    """The files of the project, relative to the checkout."""
    return [path.relative_to(CHECKOUT).as_posix() for path in tracked()]


def verbs() -> set[str]:
    return set(re.findall(r"^\.PHONY: (\S+)$", text("Makefile"), re.MULTILINE))


# Licences. The tool of the REUSE specification is no test here: no release of it that reads REUSE.toml has wheels for
# both supported Pythons. What it would find wrong in a REUSE.toml with paths is found below.


def annotations() -> list[dict[str, Any]]:
    made: dict[str, Any] = tomllib.loads(text("REUSE.toml"))
    assert made["version"] == 1
    tables: list[dict[str, Any]] = made["annotations"]
    return tables


def reuse_pattern(path: str) -> re.Pattern[str]:
    """A path of REUSE.toml: * matches within a folder, ** across folders."""
    parts = re.split(r"(\*\*|\*)", path)
    return re.compile("".join({"**": ".*", "*": "[^/]*"}.get(part, re.escape(part)) for part in parts))


def covered(name: str) -> dict[str, Any] | None:
    """The annotation that counts for a file: the last one that matches."""
    return next((table for table in reversed(annotations()) if reuse_pattern(table["path"]).fullmatch(name)), None)


def licensed() -> list[str]:
    """The files that need a licence: all but the licences themselves and REUSE.toml."""
    return [name for name in names() if not re.match(r"LICENSES/|LICENSE$|REUSE\.toml$", name)]


def test_every_file_has_a_licence_and_a_holder() -> None:
    found = {name: covered(name) for name in licensed()}
    assert len(found) > 400
    bare = [
        name
        for name, table in found.items()
        if not table or not table["SPDX-License-Identifier"] or not table["SPDX-FileCopyrightText"]
    ]
    assert bare == []


def test_each_annotation_counts_for_some_file() -> None:
    used = [covered(name) for name in licensed()]
    assert [table["path"] for table in annotations() if table not in used] == []


def test_each_licence_is_there_in_full_and_is_used() -> None:
    there = {path.stem for path in (CHECKOUT / "LICENSES").iterdir()}
    assert there == {table["SPDX-License-Identifier"] for table in annotations()}
    for path in (CHECKOUT / "LICENSES").iterdir():
        assert path.suffix == ".txt" and path.stat().st_size > 5000


def test_the_licence_of_the_project_is_one() -> None:
    assert text("LICENSE") == text("LICENSES/Apache-2.0.txt")
    assert text("LICENSE").split()[:6] == "Apache License Version 2.0, January 2004".split()
    for article in range(1, 10):
        assert f"\n   {article}. " in text("LICENSE")
    assert project()["license"] == "Apache-2.0"
    for pattern in project()["license-files"]:
        assert list(CHECKOUT.glob(pattern)), pattern
    code = covered("coursebox/cli.py")
    assert code and code["SPDX-License-Identifier"] == "Apache-2.0"


def test_locks_are_nobodys_work() -> None:
    table = covered("locks/host/requirements-build.txt")
    assert table and table["SPDX-License-Identifier"] == "CC0-1.0"


# What people read.


def links(page: str) -> list[str]:
    found = re.findall(r"\[[^\]]*\]\(([^)#\s]+)[^)]*\)", text(page))
    return [link for link in found if not re.match(r"[a-z]+:", link)]


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_to_files(page: str) -> None:
    folder = (CHECKOUT / page).parent
    assert [link for link in links(page) if not (folder / link).exists()] == []


@pytest.mark.parametrize("page", [*PAGES, ".github/ISSUE_TEMPLATE/bug.yml"])
def test_verbs_are_verbs(page: str) -> None:
    named = re.findall(r"`make ([a-z][a-z-]*)", text(page)) + re.findall(r"^make ([a-z-]+)", text(page), re.MULTILINE)
    assert set(named) <= verbs()


def test_the_pages_name_verbs() -> None:
    assert re.findall(r"`make ([a-z][a-z-]*)", text("CONTRIBUTING.md"))


def named_paths(page: str) -> Iterator[str]:
    """The words in code that are paths: with a slash, or a name with an ending. NN_name and NAME stand for any."""
    for word in re.findall(r"`([^`\n]+)`", text(page)):
        if re.fullmatch(r"[\w.-]+(?:/[\w.-]+)*/?", word) and ("/" in word or re.search(r"[a-z]\.[a-z]+$", word)):
            yield word.replace("NN_name", "[0-9][0-9]_*").replace("NAME", "*")


@pytest.mark.parametrize("page", ["CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md", ".github/pull_request_template.md"])
def test_paths_exist(page: str) -> None:
    assert [word for word in named_paths(page) if not list(CHECKOUT.glob(word))] == []


def rows() -> list[list[str]]:
    """The table of CONTRIBUTING: what, files, tests."""
    section = text("CONTRIBUTING.md").split("## I want to …\n", 1)[1].split("\n## ", 1)[0]
    lines = [line for line in section.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


@pytest.mark.parametrize(
    "what",
    "package,data set,lab,check of a lab,format,architecture,environment variable,message,role,verb".split(","),
)
def test_contributing_tells_where_to_change_what_and_which_test_tells(what: str) -> None:
    [files, tests] = next(row[1:] for row in rows() if re.search(rf"\ban? {what}\b", row[0]))
    assert re.search(r"`[\w./\[\]-]+`", files)
    assert re.findall(r"`(tests/[^`]+)`", tests)


def test_the_version_is_the_newest_one_of_the_changelog() -> None:
    titles = re.findall(r"^## (.+)$", text("CHANGELOG.md"), re.MULTILINE)
    assert titles[0] == "[Unreleased]" or titles[0].startswith("[")
    released = [re.fullmatch(r"\[(\d+\.\d+\.\d+)\] - (\d{4}-\d{2}-\d{2})", title) for title in titles]
    found = [match.groups() for match in released if match]
    assert len(found) == len(titles) - titles.count("[Unreleased]")
    assert found[0][0] == project()["version"] == coursebox.__version__
    assert [day for _, day in found] == sorted((date.fromisoformat(day).isoformat() for _, day in found), reverse=True)


def test_the_changelog_has_the_sections_of_its_form_and_says_for_whom() -> None:
    kinds = set(re.findall(r"^### (.+)$", text("CHANGELOG.md"), re.MULTILINE))
    assert kinds <= {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}
    entries = re.findall(r"^\* (.+)$", text("CHANGELOG.md"), re.MULTILINE)
    assert [entry for entry in entries if not re.match(r"For (?:instructors|students)", entry)] == []


# What programs read.


def test_the_bug_form_asks_for_what_is_needed() -> None:
    form = yaml.safe_load((FORMS / "bug.yml").read_text(encoding="utf-8"))
    assert form["name"] and form["description"]
    fields = {item["id"]: item for item in form["body"] if item["type"] != "markdown"}
    assert "make doctor" in fields["doctor"]["attributes"]["description"]
    assert ".report.json" in fields["report"]["attributes"]["description"]
    for item in form["body"]:
        assert item["type"] in {"markdown", "textarea", "input", "dropdown", "checkboxes"}
        assert item["attributes"].get("label") or item["attributes"]["value"]
    assert fields["where"]["attributes"]["options"]


def test_the_forms_are_yaml() -> None:
    assert isinstance(yaml.safe_load((FORMS / "config.yml").read_text(encoding="utf-8"))["blank_issues_enabled"], bool)


def test_the_workflow_runs_what_everyone_runs() -> None:
    made = yaml.safe_load(WORKFLOW.read_text(encoding="utf-8"))
    assert {"push", "pull_request"} <= set(made[True])  # YAML 1.1 reads the key "on" as true
    [job] = made["jobs"].values()
    commands = [step["run"] for step in job["steps"] if "run" in step]
    assert commands == [".ci/run"]
    assert os.access(CHECKOUT / commands[0], os.X_OK)
    assert job["timeout-minutes"] >= 90
    # The cache stays: it is not in the checkout, which is cleaned before each run.
    assert Path(job["env"]["COURSEBOX_CACHE"]).is_absolute()


def test_strangers_do_not_run_their_code_on_our_machine() -> None:
    made = yaml.safe_load(WORKFLOW.read_text(encoding="utf-8"))
    assert made["permissions"] == {"contents": "read"}
    assert "pull_request_target" not in made[True]
    for job in made["jobs"].values():
        assert "self-hosted" not in job["runs-on"] or "head.repo.full_name == github.repository" in job["if"]


def hooks() -> dict[str, dict[str, Any]]:
    [repository] = yaml.safe_load(HOOKS.read_text(encoding="utf-8"))["repos"]
    assert repository["repo"] == "local"
    return {hook["id"]: hook for hook in repository["hooks"]}


def linters() -> dict[str, list[str]]:
    """Linter → the words of its command, from the tests that run one; Packer needs a fixture, it is left to pytest."""
    source = text("tests/unit/test_linters.py")
    found = {}
    for name, body in re.findall(r"^def test_(\w+)\(\) -> None:\n((?: .*\n|\n)+)", source, re.MULTILINE):
        if command := re.search(r"^    run\((.+)\)$", body, re.MULTILINE):
            words = re.findall(r'"([^"]+)"', command[1])
            found[name.replace("_", "-")] = [word for word in words if word not in ("-m", "--nocolor")]
    return found


def test_the_hooks_are_the_linters_of_the_tests() -> None:
    assert set(linters()) == set(hooks()) - {"tests"}
    assert {"ruff", "ruff-format", "mypy", "ansible-lint", "shellcheck"} <= set(linters())
    for name, words in linters().items():
        entry = hooks()[name]["entry"].replace("'", " ").split()
        assert [word for word in words if word not in entry] == [], name


@pytest.mark.parametrize("name", ["ruff", "ruff-format", "mypy", "ansible-lint", "tests"])
def test_a_hook_calls_a_program_of_the_projects_environment(name: str, tmp_path: Path) -> None:
    """With a stand-in for tools/bootstrap whose environment has programs that print how they were called."""
    programs = tmp_path / "an environment"
    programs.mkdir()
    for program in ("python", "ansible-lint"):
        (programs / program).write_text('#!/bin/sh\necho "$(basename "$0") $*"\n', encoding="utf-8")
        (programs / program).chmod(0o755)
    (tmp_path / "tools").mkdir()
    bootstrap = tmp_path / "tools" / "bootstrap"
    bootstrap.write_text(f'#!/bin/sh\n[ "$*" = test ] && echo "{programs}/python"\n', encoding="utf-8")
    bootstrap.chmod(0o755)
    hook = hooks()[name]
    command = shlex.split(hook["entry"])
    assert shutil.which(command[0]) and hook["pass_filenames"] is False and hook["language"] == "system"
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    program, *arguments = done.stdout.split()
    if program == "python":
        assert arguments[0] == "-m"
        found = subprocess.run([sys.executable, "-m", arguments[1], "--version"], capture_output=True, check=False)
        assert found.returncode == 0
    assert [word for word in arguments if "/" in word and not (CHECKOUT / word).exists()] == []
    bootstrap.write_text("#!/bin/sh\nexit 1\n", encoding="utf-8")
    assert subprocess.run(command, cwd=tmp_path, capture_output=True, check=False).returncode == 1


def test_shellcheck_gets_the_scripts() -> None:
    assert hooks()["shellcheck"]["types"] == ["shell"]
    assert hooks()["shellcheck"].get("pass_filenames", True)


def editor_settings(name: str) -> dict[str, str]:
    """What .editorconfig says for a file: all sections that match its name, the later ones count."""
    parser = configparser.ConfigParser()
    parser.read_string("[top]\n" + text(".editorconfig"))
    assert parser["top"]["root"] == "true"
    found: dict[str, str] = {}
    for section in parser.sections()[1:]:
        alternatives = re.fullmatch(r"(.*)\{(.+)\}(.*)", section)
        patterns = [section]
        if alternatives:
            patterns = [f"{alternatives[1]}{one}{alternatives[3]}" for one in alternatives[2].split(",")]
        if any(fnmatch.fnmatchcase(name.rsplit("/", 1)[-1], pattern) for pattern in patterns):
            found |= parser[section]
    return found


def test_editors_break_lines_where_ruff_does() -> None:
    assert (
        int(editor_settings("a.py")["max_line_length"])
        == tomllib.loads(text("pyproject.toml"))["tool"]["ruff"]["line-length"]
    )
    assert editor_settings("coursebox/cli.py")["indent_size"] == "4"
    assert editor_settings("Makefile")["indent_style"] == "tab"
    assert editor_settings("x.yaml")["indent_size"] == "2"


def test_the_files_are_as_editors_are_told_to_write_them() -> None:
    wrong = []
    for name in names():
        content = (CHECKOUT / name).read_bytes()
        settings = editor_settings(name)
        if b"\0" in content or not content:
            continue
        if settings["end_of_line"] == "lf" and b"\r" in content:
            wrong.append(f"{name}: a carriage return")
        if settings["insert_final_newline"] == "true" and not content.endswith(b"\n"):
            wrong.append(f"{name}: no new line at its end")
        if settings["trim_trailing_whitespace"] == "true" and re.search(rb"[ \t]$", content, re.MULTILINE):
            wrong.append(f"{name}: a space at the end of a line")
        if settings["indent_style"] == "space" and name.endswith(".py") and re.search(rb"^\t", content, re.MULTILINE):
            wrong.append(f"{name}: a tab")
    assert wrong == []


def test_generated_files_are_marked_and_no_others() -> None:
    files = names()
    command = ["git", "check-attr", "-z", "--stdin", "linguist-generated"]
    done = subprocess.run(command, cwd=CHECKOUT, input="\0".join(files), capture_output=True, text=True, check=True)
    answers = done.stdout.rstrip("\0").split("\0")
    marked = {name for name, value in zip(answers[::3], answers[2::3], strict=True) if value == "set"}
    assert marked == {name for name in files if GENERATED.fullmatch(name)}
    assert len(marked) > 60
