"""The library under the checks, piece by piece: data between the sides, comparisons and their words, rules, inputs."""

from __future__ import annotations

import json
import socket
import struct
import threading
from pathlib import Path
from typing import Any

import lab_cases as cases  # puts the delivered labs on the path
import numpy as np
import pytest
import torch
from checking import Lab, case, expect, protocol, require, rules
from checking.lab import Check
from checking.outcome import CheckFailed
from checking.processes import clean, how_it_ended
from checking.report import plain
from checking.results import Result
from checking.rng import Rng
from checking.submission import hint, is_stub, parse

assert cases.LABS.is_dir()

# --- the protocol


def there_and_back(value: object) -> Any:
    one, other = socket.socketpair()
    sender = threading.Thread(target=protocol.send, args=(one, {"value": value}))
    sender.start()
    received = protocol.receive(other)["value"]
    sender.join()
    return received


@pytest.mark.parametrize(
    "value",
    [None, True, 0, -(2**80), 1.5, float("inf"), "ü\n", b"\0\xff", 1 + 2j, (1, [2.0, {"a": None}], set()), {3: "x"},
     torch.float32, torch.device("cpu"), slice(1, None, 2), np.float32(2.5)],
)  # fmt: skip
def test_plain_values_travel(value: object) -> None:
    received = there_and_back(value)
    assert received == value and type(received) is type(value)


TENSORS = {
    "plain": torch.arange(6.0).reshape(2, 3),
    "transposed": torch.arange(6).reshape(2, 3).T,
    "every second": torch.arange(10.0)[1::2],
    "expanded": torch.tensor([[1.0], [2.0]]).expand(2, 5),
    "half": torch.tensor([1.5, -2.0], dtype=torch.bfloat16),
    "complex": torch.tensor([1 + 2j]),
    "boolean": torch.tensor([True, False]),
    "empty": torch.empty(0, 3),
    "a number": torch.tensor(7),
    "one element of a matrix": torch.randn(3, 3)[:, 1:2][1:2],
    "wants a gradient": torch.ones(2, requires_grad=True),
    "nan": torch.tensor([float("nan"), float("inf")]),
}


@pytest.mark.parametrize("tensor", TENSORS.values(), ids=TENSORS)
def test_tensors_travel(tensor: torch.Tensor) -> None:
    received = there_and_back(tensor)
    torch.testing.assert_close(received, tensor.detach(), rtol=0, atol=0, equal_nan=True)
    if tensor.numel() > 1:
        assert received.is_contiguous() == tensor.is_contiguous()


def test_sparse_tensors_and_arrays_travel() -> None:
    sparse = torch.eye(3).to_sparse()
    assert torch.equal(there_and_back(sparse).to_dense(), torch.eye(3))
    array = np.arange(6, dtype=np.int16).reshape(2, 3).T
    received = there_and_back(array)
    assert np.array_equal(received, array) and received.dtype == array.dtype


def test_one_tensor_twice_stays_one() -> None:
    tensor = torch.ones(2)
    first, second = there_and_back((tensor, tensor))
    assert first is second


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (torch.nn.Linear(1, 1), "Linear"),
        (iter([1]), "list_iterator"),
        (lambda: 1, "function"),
        (np.array(["x"]), "numpy array of <U1"),
    ],
)
def test_what_is_no_data_arrives_as_its_kind(value: object, kind: str) -> None:
    assert there_and_back(value) == protocol.Opaque(kind)


def frame(document: object, blob: bytes = b"", head: bytes = b"lab1") -> bytes:
    text = json.dumps(document).encode()
    sizes = struct.pack("<QQ", 1, len(blob))
    return struct.pack("<4sQQ", head, len(text), len(sizes) + len(blob)) + text + sizes + blob


TENSOR = {"": "tensor", "d": "float32", "n": [2], "b": 0, "id": 0}


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"GET / HTTP/1.1\r\n\r\n" + b" " * 40,
        frame({"value": 1}, head=b"labX"),
        struct.pack("<4sQQ", b"lab1", 1 << 40, 8),
        frame([1, 2]),
        frame({"value": [1]}),
        frame({"value": {"": "pickle", "b": 0}}, b"cos\nsystem\n"),
        frame({"value": {"no kind": 1}}),
        frame({"value": TENSOR}, b"123"),
        frame({"value": TENSOR | {"d": "nn"}}, b"12345678"),
        frame({"value": TENSOR | {"n": [-1]}}, b"12345678"),
        frame({"value": TENSOR | {"b": 7}}, b"12345678"),
        frame({"value": TENSOR | {"s": [4000]}}, b"12345678"),
        frame({"value": TENSOR | {"n": [1 << 20, 1 << 20], "s": [0, 0]}}, b"12345678"),
        frame({"value": {"": "array", "d": "|O", "n": [1], "b": 0}}, b"12345678"),
        frame({"value": {"": "dict", "v": [[{"": "list", "v": []}, 1]]}}),
        frame({"value": {"": "int", "v": "9" * 10_000}}),
    ],
)
def test_what_is_no_message_is_refused(content: bytes) -> None:
    one, other = socket.socketpair()
    one.sendall(content)
    one.close()
    with pytest.raises(protocol.ProtocolError):
        protocol.receive(other)


# --- comparisons


CHECK = Check("check", ("f",), "check", "title", None, 1.0)


def words(got: object, want: object, **options: Any) -> str:
    """What `expect` says, with the likely mistakes behind a bar; "" when it is content."""
    try:
        expect(got, want, **options)
    except CheckFailed as failed:
        return " | ".join(
            [failed.text, *failed.seen, *failed.likely, *([f"look at {failed.look}"] if failed.look else [])]
        )
    return ""


table = torch.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 7.0]])
square = torch.tensor([[1.0, 2.0], [3.0, 5.0]])


@pytest.mark.parametrize(
    ("got", "want"),
    [
        (table, table), (table.double(), table), (table + 1e-6, table), (3, 3), (0.5, 0.5), (1, 1.0), (None, None),
        (np.float64(0.5), 0.5), ((1, table), (1, table)), ([1, 2], (1, 2)), ({"a": table}, {"a": table}),
        (torch.tensor([float("nan")]), torch.tensor([float("nan")])), (torch.eye(2).to_sparse(), torch.eye(2)),
    ],
)  # fmt: skip
def test_right_results_are_accepted(got: object, want: object) -> None:
    assert words(got, want) == ""


@pytest.mark.parametrize(
    ("got", "want", "said"),
    [
        (None, table, "expected a tensor (2×3 float32), got None | is the return missing?"),
        ([1.0], table, "expected a tensor (2×3 float32), got a list"),
        (table.numpy(), table, "expected a tensor (2×3 float32), got a numpy ndarray | torch.from_numpy makes"),
        (protocol.Opaque("Linear"), table, "expected a tensor (2×3 float32), got Linear"),
        (table.T, table, "expected shape 2×3, got 3×2 | looks transposed"),
        (table[None], table, "expected shape 2×3, got 1×2×3 | a dimension of size 1 is too many or missing"),
        (table.sum(), table, "expected shape 2×3, got one number | everything was reduced to one number"),
        (table.sum(0), table, "expected shape 2×3, got 3 | one dimension too many or too few"),
        (table, table.double(), "expected float64 numbers, got float32 | digits are lost on the way"),
        (table.long(), table, "expected float32 numbers, got int64 | a result of floating-point numbers was made"),
        (table, table.long(), "expected int64 numbers, got float32 | class numbers and counts are integers"),
        (table + 0j, table, "expected float32 numbers, got complex64 | the numbers are complex: is .real missing?"),
        (table - 1e-2, table, "first wrong at [0, 0]: expected 1, got 0.99; 6 of 6 are wrong; largest difference 0.01"),
        (torch.tensor(3), torch.tensor(4), "expected 4, got 3"),
        (-table, table, "| the sign is wrong"),
        (square.T, square, "| looks transposed"),
        (2 * table, table, "| off by a constant factor of 2"),
        (table / 6, table, "| off by a constant factor of 1/(number of elements)"),
        (table + 3, table, "| off by a constant, 3"),
        (table.flip(0), table, "| looks reversed along dimension 0"),
        (torch.tensor([[4.0, 5.0, 7.0], [3.0, 1.0, 2.0]]), table, "| the right values, in another order"),
        (torch.zeros(2, 3), table, "| everything is zero"),
        (torch.full((2, 3), 5.0), table, "| all values are the same"),
        (table.log() - float("inf") + float("inf"), table, "| not a number (nan)"),
        (table / 0, table, "| infinite"),
        (torch.tensor([True, False]), torch.tensor([False, True]), "| true and false are exchanged"),
        (torch.tensor(3), 3, "expected an int, got a tensor (one number int64) | call .item()"),
        (3.0, 3, "expected an int, got a float | the value is right, but it is a floating-point number: int(…)"),
        (2.5, 3, "expected an int, got a float | a whole number is expected: a count, a position or a class"),
        (torch.tensor(1.0).double() + 3e-8, torch.tensor(1.0).double(), "expected 1, got 1.00000003; largest"),
        (1 + 3e-5, 1.0, "expected 1, got 1.00003"),
        (0.1 + 0.2, 0.3 + 1e-4, "expected 0.3001, got 0.3"),
        (table.double() / 0, table.double(), "expected 1, got infinity; 6 of 6 are wrong"),
        (table + 0j, (table + 0j) / 0, "expected real part infinity, imaginary part not a number (nan), got 1+0j"),
        (table + 1j, table + 0j, "expected 1+0j, got 1+1j; 6 of 6 are wrong; largest difference 1, a right answer is"),
        (torch.tensor(float("-inf")), torch.tensor(2.0), "expected 2, got minus infinity | infinite"),
        (True, 1, "expected an int, got a bool"),
        (0.25, 0.5, "expected 0.5, got 0.25"),
        ("a", "b", "expected 'b', got 'a'"),
        (1, (1, 2), "expected a tuple of 2, got an int"),
        ((1, 2, 3), (1, 2), "expected 2 results, got 3"),
        ((1, 3), (1, 2), "result[1]: expected 2, got 3"),
        ({"a": 1}, {"a": 1, "b": 2}, "expected the keys ['a', 'b']; missing: b"),
        ({"a": 2}, {"a": 1}, "result['a']: expected 1, got 2"),
    ],
)  # fmt: skip
def test_wrong_results_are_explained(got: object, want: object, said: str) -> None:
    assert said in words(got, want)


def test_the_mistake_of_the_lab_goes_before_the_general_one() -> None:
    said = words(-table, table, mistakes={"a": 7, "no": lambda: 1 / 0, "it is minus": lambda: -table})
    assert said.endswith(" | it is minus")


def test_mistakes_that_these_inputs_do_not_tell_apart_are_alternatives() -> None:
    mistakes = {"first": -table, "other": table, "second": -table, "third": -table, "fourth": -table}
    assert words(-table, table, mistakes=mistakes).endswith(" | first; or: second; or: third")


def test_members_have_names_and_their_own_mistakes() -> None:
    pair, wrong = (table, 3), (table, 4)
    said = words(wrong, pair, names=("mean", "count"), mistakes={"one too many": {1: 4}, "other": {0: -table}})
    assert said == "count: expected 3, got 4 | one too many"


def test_a_mistake_that_explains_the_whole_result_goes_first() -> None:
    mistakes = {"both": (-table, 4), "one": (table, 4), "of one": {1: 5}}
    assert words((table, 4), (table, 3), mistakes=mistakes).endswith(" | one")
    assert words((-table, 4), (table, 3), mistakes=mistakes).endswith(" | both")
    assert words((-table, 7), (table, 3), mistakes=mistakes).endswith(" | both")  # at least in this member
    assert words((table, 5), (table, 3), mistakes=mistakes).endswith(" | of one")


def test_a_function_makes_the_value_of_one_member_too() -> None:
    table = torch.tensor([1.0, 2.0, 4.0])
    by_place = {"it is minus": {0: lambda: -table}}
    assert words((-table, 3), (table, 3), mistakes=by_place).endswith(" | it is minus")
    assert words({"a": -table}, {"a": table}, mistakes={"it is minus": {"a": lambda: -table}}).endswith("it is minus")
    whole = {"one": {0: -table}, "both": [lambda: -table, lambda: 7]}
    assert words((-table, 7), (table, 3), mistakes=whole).endswith(" | both")
    twice = {"it is minus": lambda: {0: lambda: -table}, "impossible": {0: lambda: 1 / 0}}
    assert words((-table, 3), (table, 3), mistakes=twice).endswith(" | it is minus")


def test_tolerances() -> None:
    assert words(table * (1 + 1e-3), table) and not words(table * (1 + 1e-3), table, rtol=1e-2)
    assert words(table.double() + 1e-6, table.double())


def test_cases_and_requirements() -> None:
    with pytest.raises(CheckFailed) as caught, case("outer", look="outside"), case("inner", look="inside"):
        require(False, "so not", likely="first")
    assert (caught.value.cases, caught.value.likely, caught.value.look) == (["outer", "inner"], ["first"], "inside")
    with pytest.raises(CheckFailed) as caught, case("x", look="y"):
        raise CheckFailed("not yet", "02.1 f")
    assert (caught.value.cases, caught.value.likely, caught.value.look) == ([], [], "")


def test_where_to_look_is_said_where_nothing_explains_the_difference() -> None:
    """A guess that stands beside the true mistake, or in its place, misleads."""
    unlike = table + table.T[0, 0] * torch.rand(2, 3)
    assert words(unlike, table, look="the borders").endswith(" | look at the borders")

    def shown(got: torch.Tensor) -> str:
        with pytest.raises(CheckFailed) as caught:
            expect(got, table, look="the borders")
        return plain(Result(CHECK, "failed", 0.0, caught.value))

    assert shown(unlike).endswith("\nlook at: the borders")
    assert shown(-table).endswith("\nseen: the sign is wrong\nlook at: the borders")
    with pytest.raises(CheckFailed) as caught:
        expect(-table, table, look="the borders", mistakes={"it is minus": -table})
    assert plain(Result(CHECK, "failed", 0.0, caught.value)).endswith("\nlikely: it is minus")


# --- rules


def broken(text: str, **rule: Any) -> str:
    """What the rule says about function f in this text."""
    chosen = rules.Rule("f", rule.get("loops", False), tuple(rule.get("names", ())), "why")
    try:
        rules.check(chosen, parse(text, Path("exercise.py")), ["f", "g"], "01.1 f")
    except CheckFailed as failed:
        return f"{failed.kind}: {failed.text} @ {failed.where}"
    return ""


@pytest.mark.parametrize(
    ("text", "rule", "said"),
    [
        (
            "def f(x):\n    for y in x:\n        pass",
            {"loops": True},
            "wrong: a loop is not allowed here: why @ line 2",
        ),
        ("def f(x):\n    return [y for y in x]", {"loops": True}, "a loop is not allowed"),
        ("def f(x):\n    return list(map(abs, x))", {"loops": True}, "map is a loop in disguise"),
        ("def h(x):\n    while x: x -= 1\n\ndef f(x):\n    return h(x)", {"loops": True}, "a loop is not allowed"),
        ("def g(x):\n    while x: x -= 1\n\ndef f(x):\n    return g(x)", {"loops": True}, ""),
        ("import torch\ndef f(x):\n    return torch.cdist(x, x)", {"names": ["cdist"]}, "cdist is not allowed here"),
        ("from torch import cdist as d\ndef f(x):\n    return d(x, x)", {"names": ["cdist"]}, "cdist is not allowed"),
        ("import torch.optim as o\ndef f(x):\n    return o.SGD(x)", {"names": ["torch.optim"]}, "torch.optim is not"),
        ("def f(x):\n    return x.unfold(0, 2, 1)", {"names": ["unfold"]}, "unfold is not allowed"),
        ("def f(x):\n    return x @ x", {"names": ["@"]}, "@ is not allowed"),
        ("def f(x):\n    cdistance = 1\n    return cdistance", {"names": ["cdist"]}, ""),
        ("def f(x):\n    raise NotImplementedError('01.1 f')", {"loops": True}, "not yet: 01.1 f"),
        ("def h(x):\n    pass", {"loops": True}, "unusable: there is no f in exercise.py"),
    ],
)
def test_rules(text: str, rule: dict[str, Any], said: str) -> None:
    found = broken(text, **rule)
    assert said in found if said else found == ""


# --- submissions


def test_notebooks_are_read_for_their_definitions() -> None:
    cells = ["import torch\n%matplotlib inline", "LR = 0.1\nx = torch.ones(3)\nprint(x)", "def f():\n    return LR",
             "!ls", "from checking import notebook\ncheck = notebook('x')",
             "@torch.no_grad()\ndef g():\n    pass"]  # fmt: skip
    document = {"cells": [{"cell_type": "code", "source": [cell]} for cell in cells]
                + [{"cell_type": "markdown", "source": ["# Text"]}]}  # fmt: skip
    text = cases.script_of_notebook(json.dumps(document), Path("a.ipynb"))
    assert text.split("\n\n") == [
        "try:\n    import torch\nexcept Exception as _error:\n"  # where it is missing, it costs what uses it
        "    print('code cell 1: ' + type(_error).__name__, _error, sep=': ')",
        "LR = 0.1", "def f():\n    return LR", "@torch.no_grad()\ndef g():\n    pass\n",
    ]  # fmt: skip


@pytest.mark.parametrize("text", ["{}", "no", "[]", '{"cells": [{}]}', '{"worksheets": [{}]}', '{"cells": 3}'])
def test_broken_notebooks(text: str) -> None:
    with pytest.raises(CheckFailed, match=r"a\.ipynb is not a notebook\."):
        cases.script_of_notebook(text, Path("a.ipynb"))


def test_hints_and_stubs() -> None:
    text = 'def f():\n    """Do.\n\n    Hint: use\n    both hands.\n    """\n    raise NotImplementedError("01.1 f")\n'
    node = parse(text, Path("a.py")).definitions()["f"]
    assert hint(node) == "use both hands." and is_stub(node)
    assert not is_stub(parse("def f():\n    raise NotImplementedError('soon')", Path("a.py")).definitions()["f"])


# --- inputs, words


def test_inputs_follow_from_seed_and_name() -> None:
    first, again, other = Rng(0, "a"), Rng(0, "a"), Rng(1, "a")
    assert torch.equal(first.normal(2, 3), again.normal(2, 3)) and not torch.equal(first.normal(4), other.normal(4))
    assert not torch.equal(Rng(0, "a").normal(4), Rng(0, "b").normal(4))
    assert sorted(first.permutation(5).tolist()) == [0, 1, 2, 3, 4]
    assert 2 <= first.number(2, 3) < 3 and 4 <= first.int(4, 6) < 6
    assert first.uniform(100, low=-1, high=1, dtype=torch.float64).abs().max() <= 1


def test_text_of_a_student_cannot_steer_the_terminal() -> None:
    assert clean("a\x1b[2Jb\tc\n\u202e") == "a?[2Jb\tc\n?"
    assert clean("x" * 5000, 10) == "x" * 10 + " …"


def test_how_it_ended() -> None:
    assert how_it_ended(9) == "was killed, probably for its use of memory"
    assert how_it_ended(11) == "crashed (SIGSEGV)" and how_it_ended(15) == "was stopped by SIGTERM"
    assert how_it_ended(3 << 8) == "ended itself with status 3"


def test_what_a_lab_can_declare_wrongly(tmp_path: Path) -> None:
    lab = Lab(str(tmp_path / "07_x" / "check.py"), ["f"])
    with pytest.raises(Exception, match="g: no part of this lab"):
        lab.check("g")(lambda student, rng: None)
    with pytest.raises(Exception, match="needs a docstring"):
        lab.check("f")(lambda student, rng: None)
    with pytest.raises(Exception, match="no part of this lab"):
        lab.reference(lambda: None)
