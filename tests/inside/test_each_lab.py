"""Every lab keeps what it promises: stubs, solutions, single parts, mutants, alternatives, nothing given away."""

from __future__ import annotations

import ast
import json
import re
from typing import Any

import lab_cases as cases
import pytest
from checking.submission import hint

PARTS = [(name, part.name) for name in cases.NAMES for part in cases.source(name).parts]
VARIANTS = [(name, variant) for name in cases.NAMES for variant in cases.variants(name)]
MUTANTS = [(name, variant) for name, variant in VARIANTS if variant.says is not None]
ALTERNATIVES = [(name, variant) for name, variant in VARIANTS if variant.says is None]


def ids(listed: list[tuple[str, Any]]) -> list[str]:
    return [f"{name}-{getattr(item, 'name', item)}" for name, item in listed]


@pytest.mark.parametrize("name", cases.NAMES)
def test_as_shipped_every_check_says_not_yet(name: str) -> None:
    text = (cases.LABS / name / "exercise.py").read_text(encoding="utf-8")
    results = [result for result in cases.checked(name, text) if result.status != "skipped"]
    assert {part for result in results for part in result.check.parts} == set(cases.lab(name).parts)
    for result in results:
        assert result.status == "not yet", f"{result.check.name}: {result.status}\n{cases.told([result])}"
        assert result.failed is not None
        tags = [cases.lab(name).tag(part) for part in result.check.parts]
        assert any(re.fullmatch(rf"{re.escape(tag)}(\.\w+)?", result.failed.text) for tag in tags)


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("name", cases.NAMES)
def test_the_solution_passes(name: str, seed: int) -> None:
    results = cases.checked(name, cases.solved(name), seed)
    assert {result.status for result in results} <= {"passed", "skipped"}, cases.told(results)


@pytest.mark.parametrize(("name", "part"), PARTS, ids=ids(PARTS))
def test_one_part_passes_exactly_its_checks(name: str, part: str) -> None:
    for result in cases.checked(name, cases.filled_in(name, part)):
        expected = "passed" if set(result.check.parts) == {part} else "not yet"
        assert result.status in (expected, "skipped"), cases.told([result])


@pytest.mark.parametrize(("name", "variant"), MUTANTS, ids=ids(MUTANTS))
def test_a_mutant_is_rejected_and_its_mistake_named(name: str, variant: Any) -> None:
    rejecting = [result for result in cases.tried(name, variant) if result.status == "failed"]
    assert rejecting, "no check rejects it"
    naming = [r.check.name for r in rejecting if variant.says in cases.plain(r)]
    assert naming, f"no check says {variant.says!r}:\n{cases.told(rejecting)}"
    assert variant.check is None or variant.check in naming
    true = (variant.says, *variant.also)
    false = {s for r in rejecting if r.failed for s in r.failed.likely if not any(words in s for words in true)}
    assert false == set(), f"beside {variant.says!r}, this is said, too:\n{cases.told(rejecting)}"


@pytest.mark.parametrize("name", cases.NAMES)
def test_every_check_rejects_a_mutant(name: str) -> None:
    """A check that rejects nothing may test nothing."""
    mutants = [variant for lab, variant in MUTANTS if lab == name]
    rejecting = {r.check.name for variant in mutants for r in cases.tried(name, variant) if r.status == "failed"}
    checks = {c.name for c in cases.lab(name).of_kind("check") if c.rule is None and not (c.needs and c.needs())}
    assert checks - rejecting == set()


ONE_WRONG = list({(name, variant.part): (name, variant) for name, variant in MUTANTS}.values())  # the last of each part


@pytest.mark.parametrize(("name", "variant"), ONE_WRONG, ids=ids(ONE_WRONG))
def test_a_wrong_part_makes_no_other_fail(name: str, variant: Any) -> None:
    others = [part for part in cases.lab(name).parts if part != variant.part]
    for result in cases.checked(name, cases.variant_text(name, variant), only=others):
        if variant.part not in result.check.parts:
            assert result.status in ("passed", "skipped"), cases.told([result])


def promises(name: str) -> dict[str, list[str]]:
    """A part, or "Class.method", with the sentences of its docstring."""
    found = {}
    for part in cases.source(name).parts:
        found[part.name] = cases.labkit.sentences(ast.get_docstring(part.node) or "")
        for node in part.node.body if isinstance(part.node, ast.ClassDef) else ():
            if isinstance(node, ast.FunctionDef) and (words := ast.get_docstring(node)):
                found[f"{part.name}.{node.name}"] = cases.labkit.sentences(words)
    return {place: sentences for place, sentences in found.items() if sentences}


@pytest.mark.parametrize("name", cases.NAMES)
def test_each_sentence_has_the_check_that_tests_it(name: str) -> None:
    listed = cases.labkit.checked_by(cases.AUTHORS / name / "author" / "sentences.toml")
    promised = promises(name)
    assert {place: sorted(entries) for place, entries in listed.items()} == {
        place: sorted(sentences) for place, sentences in promised.items()
    }
    checks = {check.name: check for check in cases.lab(name).of_kind("check")}
    for place, entries in listed.items():
        for sentence, names in entries.items():
            for check in names:
                assert check in checks, f"“{sentence}” names {check}: no check"
                assert place.split(".")[0] in checks[check].parts, f"{check} is no check of {place}"
        assert any(entries.values()), f"no sentence of {place} is tested"


@pytest.mark.parametrize(("name", "variant"), ALTERNATIVES, ids=ids(ALTERNATIVES))
def test_another_right_way_is_accepted(name: str, variant: Any) -> None:
    for seed in (0, 1):
        results = cases.checked(name, cases.variant_text(name, variant), seed, only=[variant.part])
        assert {result.status for result in results} <= {"passed", "skipped"}, cases.told(results)


@pytest.mark.parametrize("name", cases.NAMES)
def test_nothing_of_the_solution_is_given_away(name: str) -> None:
    secret = set()
    lines = cases.source(name).script.splitlines()
    for begin, end in cases.generator.regions(cases.source(name).script, name):
        secret |= {line.strip() for line in lines[begin : end - 1] if len(line.strip()) >= 20}
    assert secret
    for file in sorted((cases.LABS / name).glob("*")):  # author/, where it is there, holds them all
        if file.suffix in (".py", ".md", ".ipynb"):
            text = file.read_text(encoding="utf-8")
            shown = {line.strip() for line in text.replace("\\n", "\n").replace('\\"', '"').splitlines()}
            given = {line for line in shown if line.lstrip('"').rstrip('",') in secret or line in secret}
            assert given == set(), f"{file.name} has lines of the solution"


@pytest.mark.parametrize("name", cases.NAMES)
def test_a_lab_is_complete(name: str) -> None:
    source, lab = cases.source(name), cases.lab(name)
    assert lab.parts == tuple(part.name for part in source.parts)
    assert 4 <= len(lab.parts) <= 9
    checked = {part for check in lab.of_kind("check") if check.function for part in check.parts}
    assert checked == set(lab.parts), "each part needs a check"
    assert lab.of_kind("experiment"), "a lab ends in a measured result"
    assert sum(n == name for n, _ in MUTANTS) >= 5 and sum(n == name for n, _ in ALTERNATIVES) >= 2
    titles = [(check.parts, check.title) for check in lab.checks]
    assert len(set(titles)) == len(titles)
    files = {file.name for file in (cases.LABS / name).iterdir()} - {"author", "results", "__pycache__"}
    assert files == {"sheet.md", "exercise.py", "exercise.ipynb", "check.py", "experiments.py"}


@pytest.mark.parametrize("name", cases.NAMES)
def test_its_notebook_carries_no_output(name: str) -> None:
    for cell in json.loads((cases.LABS / name / "exercise.ipynb").read_text(encoding="utf-8"))["cells"]:
        assert cell["cell_type"] == "markdown" or (cell["outputs"], cell["execution_count"]) == ([], None)


@pytest.mark.parametrize("name", cases.NAMES)
def test_every_part_has_a_hint_and_its_tag(name: str) -> None:
    tree = ast.parse((cases.LABS / name / "exercise.py").read_text(encoding="utf-8"))
    found = {node.name: node for node in tree.body if isinstance(node, (ast.FunctionDef, ast.ClassDef))}
    for part in cases.source(name).parts:
        assert len(hint(found[part.name])) > 20, f"{part.name} has no hint"
        assert f'raise NotImplementedError("{part.tag}' in ast.unparse(found[part.name]).replace("'", '"')


@pytest.mark.parametrize("name", cases.NAMES)
def test_the_sheet_fits_two_pages_and_names_its_machine(name: str) -> None:
    text = (cases.LABS / name / "sheet.md").read_text(encoding="utf-8")
    assert len(text.split("\n", 1)[1].split()) <= 1100, "two pages hold about a thousand words"
    assert re.search(r"\d+ cores, .+ GHz", text)
    assert re.match(rf"<!-- Made by .+ from labs/{name}/author/lab\.py\. -->\n\n# {name[:2]} · ", text)
