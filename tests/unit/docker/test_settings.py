"""Variables of the environment, and the sentences for wrong ones."""

from __future__ import annotations

import pytest
from coursebox_container import notebook, settings, start
from coursebox_container.messages import Problem


@pytest.mark.parametrize(
    ("value", "yes"),
    [
        ("yes", True),
        ("1", True),
        ("TRUE", True),
        (" on ", True),
        ("no", False),
        ("0", False),
        ("", False),
        ("2", False),
    ],
)
def test_is_yes(value: str, yes: bool) -> None:
    assert settings.is_yes({"X": value}, "X") is yes
    assert settings.is_yes({}, "X") is False


@pytest.mark.parametrize(("text", "number"), [("", 7), ("  ", 7), ("0", 0), (" 42 ", 42), ("100", 100)])
def test_number(text: str, number: int) -> None:
    assert settings.number({"N": text}, "N", 7, highest=100) == number
    assert settings.number({}, "N", 7, highest=100) == 7


@pytest.mark.parametrize("text", ["-1", "101", "1e3", "0x10", "one", "1.5", "²", "٣"])
def test_what_is_no_number(text: str) -> None:
    with pytest.raises(Problem) as problem:
        settings.number({"N": text}, "N", 7, highest=100)
    assert problem.value.sentence == f"N={text} is not possible"
    assert problem.value.hint == "give a whole number from 0 to 100"


@pytest.mark.parametrize(("text", "mask"), [("", None), ("022", 0o22), ("2", 2), ("0777", 0o777)])
def test_umask(text: str, mask: int | None) -> None:
    assert settings.umask({"NB_UMASK": text}) == mask


@pytest.mark.parametrize("text", ["8", "u=rwx", "1000", "0o22", "-2"])
def test_what_is_no_umask(text: str) -> None:
    with pytest.raises(Problem, match="NB_UMASK"):
        settings.umask({"NB_UMASK": text})


def test_words_are_those_of_a_shell() -> None:
    assert settings.words({"W": "--a 'b c' d\\ e"}, "W") == ["--a", "b c", "d e"]
    assert settings.words({}, "W") == settings.words({"W": " "}, "W") == []
    with pytest.raises(Problem, match="open quotation mark"):
        settings.words({"W": "'"}, "W")


def test_names() -> None:
    assert settings.names({"N": "/a, /b c,,"}, "N") == ["/a", "/b c"]


@pytest.mark.parametrize(
    ("arguments", "command"),
    [
        ([], ["start-notebook"]),
        (["--ip=1"], ["start-notebook", "--ip=1"]),
        (["python", "-c", "x"], ["python", "-c", "x"]),
        (["start-notebook", "--x"], ["start-notebook", "--x"]),
    ],
)
def test_command_behind_the_images_name(arguments: list[str], command: list[str]) -> None:
    assert start.command_of(arguments) == command


@pytest.mark.parametrize("name", ["student", "alice.b", "a@uni.example", "Alice", "u+1", "_x", "1a", "a" * 32])
def test_user_names(name: str) -> None:
    assert start.USER_NAME.fullmatch(name)


@pytest.mark.parametrize("name", ["", "-a", ".a", "a:b", "a/b", "a b", "ä", "a" * 33, "a\n", "+a"])
def test_what_is_no_user_name(name: str) -> None:
    assert not start.USER_NAME.fullmatch(name)


def test_server_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notebook.shutil, "which", lambda name: f"/bin/{name}" if name in ("jupyter-lab",) else None)
    assert notebook.command_of({"NOTEBOOK_ARGS": "--a --b"}, ["--c"]) == ["jupyter-lab", "--a", "--b", "--c"]
    hub = {"JUPYTERHUB_API_TOKEN": "x", "NOTEBOOK_ARGS": "--a", "JUPYTER_PORT": "not read by it"}
    assert notebook.command_of(hub, ["--c"]) == ["jupyterhub-singleuser", "--a", "--c"]
    with pytest.raises(Problem, match="there is no jupyter notebook here"):
        notebook.command_of({"DOCKER_STACKS_JUPYTER_CMD": "notebook"}, [])
    with pytest.raises(Problem, match="JUPYTER_PORT=0 "):
        notebook.command_of({"JUPYTER_PORT": "0"}, [])


def test_an_empty_hub_token_is_no_hub() -> None:
    assert not notebook.by_hub({"JUPYTERHUB_API_TOKEN": ""})
