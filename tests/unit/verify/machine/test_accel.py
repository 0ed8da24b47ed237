"""KVM is believed only after a kernel ran under it, and the answer is remembered for this start of this machine."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from coursebox.core.errors import CourseboxError
from coursebox.core.paths import Cache
from coursebox.verify.machine import accel
from coursebox.verify.machine.accel import Verdict, choose_accelerator, kvm_verdict

KERNEL_RUNS = "echo 'Kernel panic - not syncing: VFS: Unable to mount root fs on unknown-block(0,0)'; sleep 60"
KERNEL_HANGS = "echo 'Booting from ROM..'; exec sleep 60"
KERNEL_FAILS = "echo 'KVM internal error. Suberror: 1'; exec sleep 60"


class Bench:
    """A machine with a /dev/kvm and a QEMU that behaves as a test says."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.cache = Cache(folder / "cache")
        self.kernel = folder / "vmlinuz-6.12"
        self.kernel.write_bytes(b"kernel")
        self.calls = folder / "calls"
        self.boot_id = folder / "boot_id"
        self.boot_id.write_text("first\n")

    def qemu(self, *, alone: str = "exec sleep 60", kernel: str = KERNEL_RUNS, version: str = "7.2") -> None:
        """What QEMU does when started without (`alone`) and with a kernel."""
        path = self.folder / "qemu-system-x86_64"
        path.write_text(
            "#!/bin/sh\n"
            f'[ "$1" = --version ] && {{ echo "QEMU emulator version {version}"; exit 0; }}\n'
            f"echo called >> {self.calls}\n"
            f'case "$*" in *-kernel*) {kernel};; *) {alone};; esac\n'
        )
        path.chmod(path.stat().st_mode | stat.S_IXUSR)

    def verdict(self) -> Verdict:
        return kvm_verdict(kernel=self.kernel, cache=self.cache)

    def number_of_calls(self) -> int:
        return len(self.calls.read_text().splitlines()) if self.calls.exists() else 0


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    made = Bench(tmp_path)
    device = tmp_path / "kvm"
    device.touch()
    monkeypatch.setattr(accel, "DEVICE", device)
    monkeypatch.setattr(accel, "BOOT_ID", made.boot_id)
    monkeypatch.setattr(accel, "LIMIT", 0.3)
    monkeypatch.setattr(accel, "PROCESSOR_LIMIT", 0.3)
    monkeypatch.setattr(accel, "host_kernel", lambda: None)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    made.qemu()
    return made


def test_a_kernel_that_comes_to_its_end_is_a_yes(bench: Bench) -> None:
    works, why = bench.verdict()
    assert works
    assert why.startswith("the kernel vmlinuz-6.12 ran with it in ")


def test_a_kernel_that_hangs_is_a_no(bench: Bench) -> None:
    bench.qemu(kernel=KERNEL_HANGS)
    assert bench.verdict() == (False, "the kernel vmlinuz-6.12 hangs with it (tried for 0 s)")


def test_an_error_of_kvm_is_a_no_at_once(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(accel, "LIMIT", 30.0)
    bench.qemu(kernel=KERNEL_FAILS)
    assert bench.verdict() == (False, "the kernel vmlinuz-6.12 stops with it: KVM internal error. Suberror: 1")


def test_a_qemu_that_ends_is_a_no(bench: Bench) -> None:
    bench.qemu(kernel="exit 1")
    assert bench.verdict() == (False, "QEMU ends with it before the kernel vmlinuz-6.12 has started")


def test_a_processor_that_cannot_be_made_is_a_no_without_any_kernel(bench: Bench) -> None:
    bench.qemu(alone="echo 'qemu-system-x86_64: error: failed to set MSR 0x10a' >&2; exit 134")
    assert kvm_verdict(cache=bench.cache) == (False, "QEMU ends at once with it: error: failed to set MSR 0x10a")


def test_without_a_kernel_nothing_is_claimed_and_nothing_remembered(bench: Bench) -> None:
    works, why = kvm_verdict(cache=bench.cache)
    assert not works
    assert why.startswith("not tried: ")
    assert bench.verdict().works


def test_the_kernel_of_the_host_is_tried_when_there_is_one(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(accel, "host_kernel", lambda: bench.kernel)
    assert kvm_verdict(cache=bench.cache).works


def test_without_the_device(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(accel, "DEVICE", bench.folder / "none")
    assert bench.verdict() == (False, f"there is no {bench.folder / 'none'}")


def test_without_qemu(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(bench.cache.root))
    assert bench.verdict() == (False, "not tried: qemu-system-x86_64 is not installed")


def test_the_answer_is_remembered(bench: Bench) -> None:
    first = bench.verdict()
    calls = bench.number_of_calls()
    assert calls == 2
    bench.qemu(kernel=KERNEL_HANGS)
    assert bench.verdict() == first
    assert bench.number_of_calls() == calls


def test_a_restart_of_the_machine_or_another_qemu_asks_again(bench: Bench) -> None:
    assert bench.verdict().works
    bench.qemu(kernel="exit 1")
    bench.boot_id.write_text("second\n")
    assert not bench.verdict().works
    bench.qemu(version="10.0")
    assert bench.verdict().works


def test_a_damaged_memory_is_no_answer(bench: Bench) -> None:
    bench.cache.root.mkdir()
    (bench.cache.root / "kvm.json").write_text("{")
    assert bench.verdict().works


@pytest.mark.parametrize("chosen", ["kvm", "tcg"])
def test_accel_overrides_without_a_trial(bench: Bench, chosen: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACCEL", chosen)
    assert choose_accelerator(kernel=bench.kernel, cache=bench.cache) == chosen
    assert bench.number_of_calls() == 0


def test_the_trial_decides(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ACCEL", raising=False)
    assert choose_accelerator(kernel=bench.kernel, cache=bench.cache) == "kvm"
    bench.qemu(kernel=KERNEL_HANGS, version="8")
    monkeypatch.setenv("ACCEL", "")
    assert choose_accelerator(kernel=bench.kernel, cache=bench.cache) == "tcg"


def test_an_unknown_accelerator(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACCEL", "KVM!")
    with pytest.raises(CourseboxError) as caught:
        choose_accelerator()
    assert caught.value.message == "ACCEL=KVM! is not possible"
    assert caught.value.hint == "use ACCEL=kvm or ACCEL=tcg, or leave it out"


def test_a_kernel_of_the_host_must_be_readable(tmp_path: Path) -> None:
    assert accel.host_kernel(tmp_path) is None
    (tmp_path / "vmlinuz-6.1").touch()
    (tmp_path / "vmlinuz-6.12").touch()
    (tmp_path / "vmlinuz.gone").symlink_to("nowhere")
    assert accel.host_kernel(tmp_path) == tmp_path / "vmlinuz-6.12"
