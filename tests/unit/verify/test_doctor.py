"""`make doctor`: each check in its good, its notable and its blocking state."""

from __future__ import annotations

import io
import platform
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace

import pytest
from rich.console import Console

from coursebox.core.errors import CourseboxError
from coursebox.core.paths import Cache
from coursebox.core.settings import described
from coursebox.host.gpu import Gpu
from coursebox.lock.lockfile import Deb, Locks, Wheel
from coursebox.verify import builder, containers, doctor, network, plain
from coursebox.verify.finding import Finding
from coursebox.verify.machine.accel import Verdict

COURSE = '[course]\nname = "a"\nversion = "1"\ntitle = "A"\n[user]\nname = "dave"\npassword = "x"\n'


@pytest.fixture
def healthy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine on which nothing is wrong, and a course file in the working directory."""
    (tmp_path / "labs").mkdir()
    (tmp_path / "course.toml").write_text(COURSE, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COURSEBOX_CACHE", str(tmp_path / "cache"))
    for name in ("COURSEBOX_CACHE_LIMIT", "DOCKER_HOST", "MIRROR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(doctor, "read_locks", lambda folder: LOCKS)
    monkeypatch.setattr(doctor, "system", lambda: Finding("system", "ok", "Debian"))
    monkeypatch.setattr(doctor, "disk", lambda cache: Finding("disk", "ok", "much"))
    monkeypatch.setattr(doctor, "missing_packages", lambda packages: [])
    monkeypatch.setattr(containers, "ask_engine", lambda: None)
    monkeypatch.setattr(containers, "find_gpus", lambda: [])
    monkeypatch.setattr(doctor, "kvm_verdict", lambda **_: Verdict(True, "a kernel ran with it"))
    monkeypatch.setattr(network, "read_apt", lambda: SimpleNamespace(main=("http://mirror.example/debian",)))
    monkeypatch.setattr(
        network, "read_pip", lambda: SimpleNamespace(indexes=("https://user:secret@index.example/simple",), cert=None)
    )
    monkeypatch.setattr(network, "_reachable", lambda address, **settings: True)
    monkeypatch.setattr(doctor, "check_ports", lambda forwards: None)
    return tmp_path


LOCKS = Locks(
    epoch=0,
    snapshot="20261101T000000Z",
    suite="trixie",
    architecture="amd64",
    debs={"vm": (Deb("a", "1", "all", "a", "main", "pool/a.deb", 1, "a" * 64),)},
    wheels={"vm": (Wheel("b", "1", "b.whl", 1, "b" * 64),)},
    requests={},
)


def found(healthy: Path, topic: str) -> list[Finding]:
    return [finding for finding in doctor.examine(healthy / "course.toml") if finding.topic == topic]


def test_a_healthy_machine_has_nothing_to_mend(healthy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert doctor.run(healthy / "course.toml") == 0
    printed = capsys.readouterr().out
    assert printed.endswith("Nothing blocks `make ova`.\n")
    assert "✗" not in printed
    assert "secret" not in printed
    for topic in ("course", "locks", "processors", "memory", "Docker", "KVM", "Debian mirror", "Python index", "cache"):
        assert topic in printed


def test_what_blocks_is_counted_and_is_the_exit_code(healthy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (healthy / "course.toml").write_text(COURSE.replace('"dave"', '"root"'), encoding="utf-8")
    assert doctor.run(healthy / "course.toml") == 1
    printed = capsys.readouterr().out
    assert 'user.name: "root" is a user or group of the system itself' in printed
    assert printed.endswith("1 of these findings blocks `make ova`.\n")


def test_brackets_are_not_markup() -> None:
    stream = io.StringIO()
    doctor.show([Finding("course", "blocks", "packages.debian[1]: [bold]")], Console(file=stream, width=120))
    assert "packages.debian[1]: [bold]" in stream.getvalue()


def test_missing_locks(healthy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def none(folder: Path) -> Locks:
        raise CourseboxError(f"there are no locks in {folder}", hint="run `make lock`")

    monkeypatch.setattr(doctor, "read_locks", none)
    assert found(healthy, "locks") == [
        Finding("locks", "blocks", f"there are no locks in {healthy / 'locks'}", "run `make lock`")
    ]


@pytest.mark.parametrize(
    ("release", "machine", "state", "text"),
    [
        ('ID=debian\nVERSION_ID="12"\nPRETTY_NAME="Debian 12"\n', "x86_64", "ok", "Debian 12, x86_64"),
        ('ID=debian\nVERSION_ID="13"\nPRETTY_NAME="Debian 13"\n', "x86_64", "ok", "Debian 13, x86_64"),
        ('ID=debian\nVERSION_ID="11"\nPRETTY_NAME="Debian 11"\n', "x86_64", "note", "Debian 11, x86_64"),
        ('ID=ubuntu\nVERSION_ID="12"\nPRETTY_NAME="Ubuntu"\n', "x86_64", "note", "Ubuntu, x86_64"),
        ('ID=debian\nVERSION_ID="13"\nPRETTY_NAME="Debian 13"\n', "aarch64", "blocks", "Debian 13, aarch64"),
        (None, "x86_64", "note", "an unknown system, x86_64"),
    ],
)
def test_system(tmp_path: Path, release: str | None, machine: str, state: str, text: str) -> None:
    if release is not None:
        (tmp_path / "os-release").write_text(release, encoding="utf-8")
    finding = builder.system(tmp_path / "os-release", machine)
    assert (finding.state, finding.text) == (state, text)


@pytest.mark.parametrize(("cores", "state"), [({0}, "note"), ({0, 1}, "ok")])
def test_processors(monkeypatch: pytest.MonkeyPatch, cores: set[int], state: str) -> None:
    monkeypatch.setattr(doctor.os, "sched_getaffinity", lambda pid: cores)
    assert builder.processors().state == state


@pytest.mark.parametrize(("kib", "state"), [(1_900_000, "blocks"), (2_000_000, "ok")])
def test_memory(kib: int, state: str) -> None:
    finding = builder.memory(f"MemTotal: 8000000 kB\nMemAvailable: {kib} kB\nHugePages_Total: 0\n")
    assert finding.state == state
    assert finding.text.endswith("of 8.2 GB available")


@pytest.mark.parametrize(
    ("warm", "free", "state"),
    [
        (False, builder.DISK_IMAGE, "ok"),
        (False, builder.DISK_IMAGE - 1, "note"),
        (False, builder.DISK_COLD, "note"),
        (False, builder.DISK_COLD - 1, "blocks"),
        (True, builder.DISK_WARM, "ok"),
        (True, builder.DISK_WARM - 1, "blocks"),
    ],
)
def test_disk(tmp_path: Path, warm: bool, free: float, state: str) -> None:
    cache = Cache(tmp_path / "not" / "yet")
    if warm:
        (cache.stages / "disk").mkdir(parents=True)
    finding = builder.disk(cache, int(free))
    assert finding.state == state
    assert finding.text.endswith(str(cache.root if warm else tmp_path))


@pytest.mark.parametrize(
    ("euid", "programs", "state", "advice"),
    [
        (0, ("apt-get",), "note", "`make ova` installs them"),
        (1000, ("apt-get", "sudo"), "note", "`make ova` installs them"),
        (1000, ("apt-get",), "blocks", "as root, run: apt-get install mmdebstrap"),
        (0, (), "blocks", "as root, run: apt-get install mmdebstrap"),
    ],
)
def test_packages(
    healthy: Path, monkeypatch: pytest.MonkeyPatch, euid: int, programs: Sequence[str], state: str, advice: str
) -> None:
    monkeypatch.setattr(
        doctor, "missing_packages", lambda names: [one for one in names if one in ("mmdebstrap", "ovmf")]
    )
    monkeypatch.setattr(doctor.os, "geteuid", lambda: euid)
    monkeypatch.setattr(doctor.shutil, "which", lambda name: name if name in programs else None)
    build, others = doctor.packages()
    assert (build.state, build.text, build.advice) == (state, "not installed: mmdebstrap", advice)
    assert (others.state, others.text) == ("note", "not installed, for trying and testing: ovmf")


@pytest.mark.parametrize(
    ("said", "environment", "euid", "state", "text"),
    [
        (None, {}, 1000, "ok", "an engine answers"),
        ("Cannot connect", {}, 0, "note", "no engine answers"),
        ("Cannot connect", {}, 1000, "blocks", "no engine answers"),
        ("permission denied while", {}, 1000, "blocks", "an engine runs, but this user may not talk to it"),
        ("x", {"DOCKER_HOST": "tcp://h.example"}, 0, "blocks", "no engine answers at tcp://h.example"),
    ],
)
def test_docker(
    healthy: Path,
    monkeypatch: pytest.MonkeyPatch,
    said: str | None,
    environment: dict[str, str],
    euid: int,
    state: str,
    text: str,
) -> None:
    monkeypatch.setattr(containers, "ask_engine", lambda: said)
    monkeypatch.setattr(doctor.os, "geteuid", lambda: euid)
    monkeypatch.setattr(doctor.shutil, "which", lambda name: None)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    finding = containers.docker()
    assert (finding.state, finding.text) == (state, text)
    assert bool(finding.advice) == (state != "ok")


def test_kvm_that_does_not_work_blocks_nothing(healthy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "kvm_verdict", lambda **_: Verdict(False, "there is no /dev/kvm"))
    (finding,) = found(healthy, "KVM")
    assert (finding.state, finding.text) == ("note", "does not work: there is no /dev/kvm")


def test_no_network_blocks_only_while_something_is_missing(healthy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(network, "_reachable", lambda address, **settings: False)
    (mirror,), (index,) = found(healthy, "Debian mirror"), found(healthy, "Python index")
    assert (mirror.state, mirror.text) == ("blocks", "trixie not found at http://mirror.example/debian")
    assert (index.state, index.text) == ("blocks", "no answer from https://index.example/simple")
    cache = Cache(healthy / "cache")
    for digest in ("a" * 64, "b" * 64):
        cache.object(digest).parent.mkdir(parents=True)
        cache.object(digest).touch()
    (mirror,), (index,) = found(healthy, "Debian mirror"), found(healthy, "Python index")
    assert (mirror.state, index.state) == ("note", "note")


def test_a_folder_is_a_mirror_too(tmp_path: Path) -> None:
    (tmp_path / "there").touch()
    assert network._reachable(f"file://{tmp_path}/there")
    assert not network._reachable(f"file://{tmp_path}/absent")
    assert not network._reachable("http://127.0.0.1:1/")


def test_a_mirror_that_was_asked_for_and_is_not_there(healthy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MIRROR", "nowhere")
    (finding,) = found(healthy, "data mirrors")
    assert (finding.state, finding.text) == ("blocks", "MIRROR names the folder nowhere, which does not exist")


def test_ports(healthy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def taken(forwards: object) -> None:
        raise CourseboxError("port 8888 is in use", hint="stop the other program")

    monkeypatch.setattr(doctor, "check_ports", taken)
    assert found(healthy, "ports") == [
        Finding("ports", "note", "port 8888 is in use", "for `make try`: stop the other program")
    ]


def test_gpu(healthy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert found(healthy, "gpu") == [Finding("gpu", "ok", "none: the image runs on the CPU here")]
    monkeypatch.setattr(containers, "find_gpus", lambda: [Gpu("T4", 580, (7, 5))])
    monkeypatch.setattr(containers, "engine_runtimes", lambda: '{"Runtimes": {"runc": {}, "nvidia": {}}}')
    assert found(healthy, "gpu") == [Finding("gpu", "ok", "T4, driver 580")]
    monkeypatch.setattr(containers, "engine_runtimes", lambda: '{"Runtimes": {"runc": {}}}')
    (finding,) = found(healthy, "gpu")
    assert (finding.state, finding.text) == ("note", "T4: the Docker engine cannot hand it to a container")


def test_cache(healthy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (finding,) = found(healthy, "cache")
    assert finding.text == f"{healthy}/cache: 0.0 GB, at most 40 GB; 2 locked packages are to be downloaded"
    monkeypatch.setenv("COURSEBOX_CACHE_LIMIT", "much")
    (finding,) = found(healthy, "settings")
    assert (finding.state, finding.text) == ("blocks", "COURSEBOX_CACHE_LIMIT=much is not possible")


def test_settings_are_shown_without_passwords(healthy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, _ in described():
        if name != "COURSEBOX_CACHE":
            monkeypatch.delenv(name, raising=False)
    assert found(healthy, "settings") == [Finding("settings", "ok", f"COURSEBOX_CACHE={healthy}/cache")]
    monkeypatch.setenv("MIRROR", "https://me:secret@host.example/sets /data")
    (finding,) = found(healthy, "settings")
    assert finding.text.startswith("MIRROR=https://…@host.example/sets /data, ")


def test_another_kernel_blocks() -> None:
    finding = builder.system(machine="arm64", kernel="Darwin")
    assert (finding.state, finding.text) == ("blocks", "Darwin, arm64") and "Debian 12 or 13" in finding.advice


@pytest.mark.parametrize(
    ("version", "library", "state"),
    [((3, 11), "glibc", "ok"), ((3, 13), "glibc", "ok"), ((3, 12), "glibc", "blocks"), ((3, 11), "", "blocks")],
)
def test_a_python_without_wheels_blocks(version: tuple[int, int], library: str, state: str) -> None:
    assert plain.python(version, library).state == state


def test_what_cannot_be_looked_at_is_a_note(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a system without /proc."""
    monkeypatch.setattr(plain, "processors", lambda: vars(platform)["no_such_function"])
    found = {finding.topic: finding for finding in plain.examine()}
    assert found["processors"].state == "note" and "could not be looked at (KeyError" in found["processors"].text
    assert found["system"].state in ("ok", "note")


def test_the_plain_doctor_looks_into_the_same_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for chosen in ({"COURSEBOX_CACHE": str(tmp_path)}, {"XDG_CACHE_HOME": str(tmp_path)}, {"HOME": str(tmp_path)}):
        for name in ("COURSEBOX_CACHE", "XDG_CACHE_HOME"):
            monkeypatch.delenv(name, raising=False)
        for name, value in chosen.items():
            monkeypatch.setenv(name, value)
        assert plain.cache_folder() == Cache.from_environment().root
