"""Variables of the environment, and the sentences for wrong ones."""

from __future__ import annotations

from pathlib import Path

import pytest
from coursebox_container import notebook, settings, start
from coursebox_container.accounts import Account
from coursebox_container.image import Image
from coursebox_container.messages import Problem, fail, say, warn


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


IMAGE = Image("student", 1000, 100, "cuda")


@pytest.mark.parametrize("name", ["root", "daemon", "www-data"])
def test_names_of_the_systems_accounts_are_refused(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """For root that becomes someone, and for `--user 4242`."""
    with pytest.raises(Problem, match=f"NB_USER={name} is an account of the system, with uid"):
        start.account_as_root({"NB_USER": name}, IMAGE)
    monkeypatch.setattr(start.os, "getuid", lambda: 4242)
    with pytest.raises(Problem, match=f"NB_USER={name} is an account"):
        start.account_as_is({"NB_USER": name}, IMAGE)


def test_an_account_of_the_system_may_be_itself() -> None:
    assert start.account_as_root({"NB_USER": "root", "NB_UID": "0", "NB_GID": "0"}, IMAGE).name == "root"
    assert start.account_as_root({"NB_USER": "nobody", "NB_UID": "65534"}, IMAGE).uid == 65534


def test_a_name_of_a_person_takes_another_uid(monkeypatch: pytest.MonkeyPatch) -> None:
    """As the image's own: student is 1000 in /etc/passwd."""
    monkeypatch.setattr(start.accounts, "read_text", lambda _: "student:x:1000:100::/home/student:/bin/bash\n")
    assert start.account_as_root({"NB_USER": "student", "NB_UID": "5000"}, IMAGE).uid == 5000


@pytest.mark.parametrize("name", ["a:b", "a\nroot:x:0:student", "a,b", "a/b", "x" * 33, "a\r"])
def test_what_is_no_group_name(name: str) -> None:
    for account in (start.account_as_root, start.account_as_is):
        with pytest.raises(Problem, match="is no group name"):
            account({"NB_GROUP": name}, IMAGE)


@pytest.mark.parametrize("name", ["class", "Domain Users", "räume", "a@uni.example"])
def test_group_names(name: str) -> None:
    assert start.account_as_root({"NB_GROUP": name}, IMAGE).group == name


@pytest.fixture
def alice(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A user of a cluster, whom Apptainer has entered into /etc/passwd; her home lies elsewhere than in /home."""
    entry = f"student:x:1000:100::/home/student:/bin/bash\nalice:x:5001:5001:Alice:{tmp_path}:/bin/bash\n"
    monkeypatch.setattr(start.accounts, "read_text", lambda _: entry)
    monkeypatch.setattr(start.os, "getuid", lambda: 5001)
    monkeypatch.setattr(start.os, "getgid", lambda: 5001)
    return tmp_path


def test_the_home_that_apptainer_enters_is_used(alice: Path) -> None:
    found = start.account_as_is({"HOME": str(alice), "NB_USER": "student"}, IMAGE)
    assert found == Account("alice", 5001, 5001, "alice", str(alice))


def test_an_entered_home_that_cannot_be_written_is_not(alice: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As that of www-data, /var/www, which an engine takes from /etc/passwd."""
    monkeypatch.setattr(start.os, "access", lambda *_: False)
    assert start.account_as_is({"HOME": str(alice), "NB_USER": "student"}, IMAGE).home == "/home/student"


@pytest.mark.parametrize("name", ["APPTAINER_CONTAINER", "SINGULARITY_CONTAINER"])
def test_packages_of_the_computer_do_not_come_first(name: str) -> None:
    environment = {"HOME": "/cluster/alice", name: "/x.sif"}
    start.prefer_image(environment)
    assert environment["PYTHONUSERBASE"] == "/cluster/alice/.local/share/coursebox/python"
    assert environment["JUPYTER_PREFER_ENV_PATH"] == "1"
    mine = {**environment, "PYTHONUSERBASE": "/mine"}
    start.prefer_image(mine)
    assert mine["PYTHONUSERBASE"] == "/mine"
    plain = {"HOME": "/home/student"}
    start.prefer_image(plain)
    assert plain == {"HOME": "/home/student"}


def test_a_message_is_one_line_whatever_a_variable_holds(capfd: pytest.CaptureFixture[str]) -> None:
    fail(Problem("X=a\nb is wrong", hint="c\rd"))
    warn("e\nf")
    say("g\nh")
    assert capfd.readouterr().err == "error: X=a\\nb is wrong\n  hint: c\\rd\nwarning: e\\nf\n‣ g\\nh\n"


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


# Spelled out: a list that the program itself gives would agree with any.
@pytest.mark.parametrize("name", ["JUPYTER_PORT", "SSH_PORT", "MASTER_PORT"])
@pytest.mark.parametrize(
    "value", ["tcp://10.43.73.21:80", "udp://10.0.0.1:53", "sctp://10.0.0.1:7", "tcp://[fd00::1]:8888", "tcp://h:1\r"]
)
def test_an_address_of_a_service_is_no_port(name: str, value: str) -> None:
    environment = {name: value, "OTHER_PORT": "tcp://10.0.0.1:1"}
    settings.clean(environment)
    assert name not in environment and "OTHER_PORT" in environment


@pytest.mark.parametrize("value", ["tcp", "tcp://", "http://10.0.0.1:80", "80 tcp://x:1", "eighty"])
def test_wrong_ports_of_a_person_still_end_in_a_sentence(value: str) -> None:
    environment = {"JUPYTER_PORT": value}
    settings.clean(environment)
    with pytest.raises(Problem, match="JUPYTER_PORT"):
        notebook.command_of(environment, [])


def test_windows_line_ends_behind_values_go() -> None:
    environment = {"NB_UID": "1000\r", "RESTARTABLE": "yes\r", "KEY": "a\r\nb\r", "EMPTY": "\r", "INNER": "a\rb"}
    settings.clean(environment)
    assert environment == {"NB_UID": "1000", "RESTARTABLE": "yes", "KEY": "a\r\nb", "EMPTY": "", "INNER": "a\rb"}
