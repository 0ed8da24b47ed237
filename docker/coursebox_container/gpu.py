"""The state of the GPUs, in one line each. A line about a problem names the remedy."""

from __future__ import annotations

import marshal
import os
import select
import signal
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

from coursebox_container import messages, nvidia
from coursebox_container.image import read_image
from coursebox_container.nvidia import OK, Answer, Facts, Gpu

DRIVER = 580  # R580: the oldest driver for the CUDA 13 that torch brings
TURING = (7, 5)  # the oldest GPUs that this torch has code for
SHM = 256 << 20  # bytes; two DataLoader workers with batches of images need about that
PATIENCE = 20.0  # seconds for the driver to answer
CPU = "Everything runs on the CPU."

GPU_IS_LOST, VERSION_MISMATCH, UNKNOWN = 15, 18, 999  # nvmlReturn_t
NO_DEVICE, NOT_READY = 100, 802  # CUresult


class Finding(NamedTuple):
    """One line; `trouble` where a GPU should work and does not."""

    text: str
    trouble: bool = False

    def report(self) -> None:
        messages.warn(self.text) if self.trouble else messages.say(self.text)


class Diagnosis(NamedTuple):
    """What to say, whether torch can use a GPU, and the CUDA_VISIBLE_DEVICES that hides those it cannot use."""

    findings: tuple[Finding, ...]
    usable: bool
    visible: str | None = None


def diagnose(facts: Facts) -> Diagnosis:
    """Judge the facts: one finding about the GPUs, with one remedy, and one about /dev/shm."""
    judged = _gpus(facts)
    return judged._replace(findings=(*judged.findings, *_shm(facts)))


def diagnose_unused(facts: Facts) -> Diagnosis:
    """Judge the facts for a PyTorch that was made for the CPU. A GPU that was passed in is a mistake to tell."""
    if facts.nodes:
        judged = _trouble(
            f"{facts.nodes[0]} is here, but PyTorch is made for the CPU in this image:"
            f" for the GPU take the image of the file …-cuda.oci.tar. {CPU}"
        )
    else:
        other = " For a GPU there is the image of the file …-cuda.oci.tar." if facts.host_driver else ""
        judged = Diagnosis((Finding(f"GPU: not used, PyTorch is made for the CPU in this image. {CPU}{other}"),), False)
    return judged._replace(findings=(*judged.findings, *_shm(facts)))


def _gpus(facts: Facts) -> Diagnosis:
    nvml, cuda = facts.nvml, facts.cuda
    if nvml is None and cuda is None:
        return _without_libraries(facts)
    driver = (nvml.driver if nvml else "") or facts.host_driver or ""
    if driver[:1].isdigit() and int(driver.split(".")[0]) < DRIVER:
        return _trouble(
            f"the NVIDIA driver {driver} of this computer is older than {DRIVER}, which PyTorch needs here: update it."
            f" Until then: {CPU}"
        )
    if nvml and nvml.status != OK:
        return _trouble(_nvml_failure(nvml))
    if cuda and cuda.status not in (OK, NO_DEVICE):
        return _trouble(_cuda_failure(cuda))
    gpus = nvml.gpus if nvml else cuda.gpus if cuda else ()
    if gpus and (cuda is None or cuda.gpus):
        return _by_age(gpus, driver)
    if nvml is None and facts.nodes:
        return _trouble(_lost("libcuda finds no device"))
    return Diagnosis((Finding(f"GPU: hidden by NVIDIA_VISIBLE_DEVICES or CUDA_VISIBLE_DEVICES. {CPU}"),), False)


def _by_age(gpus: Sequence[Gpu], driver: str) -> Diagnosis:
    """GPUs that answer. Those since Turing work; older ones are hidden, because torch would fail on them."""
    new = [gpu for gpu in gpus if gpu.capability >= TURING]
    old = [gpu for gpu in gpus if gpu.capability < TURING]
    findings = []
    if new:
        names = ", ".join(f"{gpu.name} (compute capability {_number(gpu)})" for gpu in new)
        findings.append(Finding(f"GPU: {names}" + (f", driver {driver}" if driver else "")))
    if not old:
        return Diagnosis(tuple(findings), True)
    names = ", ".join(f"{gpu.name} (compute capability {_number(gpu)})" for gpu in old)
    rest = "The other ones are used." if new else CPU
    findings.append(
        Finding(f"{names}: older than Turing (7.5), and PyTorch has no code for it; use a GPU since 2018. {rest}", True)
    )
    known = all(gpu.uuid for gpu in new)
    return Diagnosis(tuple(findings), bool(new), ",".join(gpu.uuid for gpu in new) if known else None)


def _without_libraries(facts: Facts) -> Diagnosis:
    if facts.nodes:
        return _trouble(
            f"{facts.nodes[0]} is here, but libcuda.so.1 is not: start with docker run --gpus all, for which the"
            f" computer needs nvidia-container-toolkit. Until then: {CPU}"
        )
    if facts.host_driver:
        text = (
            f"GPU: this computer has the NVIDIA driver {facts.host_driver}, but the container has no GPU: start it with"
            f" docker run --gpus all. Until then: {CPU}"
        )
    else:
        text = f"GPU: none. {CPU} On a computer with an NVIDIA GPU, start with docker run --gpus all."
    return Diagnosis((Finding(text),), False)


def _nvml_failure(answer: Answer) -> str:
    """One sentence for an NVML that does not work, and the remedy."""
    said = f"the driver says “{answer.message or answer.status}”"
    if answer.status == UNKNOWN:
        return _lost(said)
    if answer.status == GPU_IS_LOST:
        return f"GPU lost: {said}, it has dropped off the bus: restart the computer. Until then: {CPU}"
    if answer.status == VERSION_MISMATCH:
        return f"{said}, for it was updated while in use: restart the computer, then the container. Until then: {CPU}"
    return _other_failure(said)


def _cuda_failure(answer: Answer) -> str:
    said = f"CUDA says “{answer.message or answer.status}”"
    if answer.status == NOT_READY:
        return f"{said}: start the service nvidia-fabricmanager on the computer. Until then: {CPU}"
    return _other_failure(said)


def _other_failure(said: str) -> str:
    return f"GPU: {said}: check nvidia-smi on the computer itself, then start the container again. Until then: {CPU}"


def _lost(said: str) -> str:
    return (
        f"GPU lost: {said}. A reload of systemd on the computer takes the devices away from running containers: restart"
        f" this one; --device nvidia.com/gpu=all (CDI) instead of --gpus all prevents it. Until then: {CPU}"
    )


def _shm(facts: Facts) -> list[Finding]:
    if facts.shm is None or facts.shm >= SHM:
        return []
    return [
        Finding(
            f"/dev/shm has {facts.shm >> 20} MB, too little for DataLoader workers:"
            " docker run --shm-size=2g, or --ipc=host"
        )
    ]


def _trouble(text: str) -> Diagnosis:
    return Diagnosis((Finding(text, True),), False)


def _number(gpu: Gpu) -> str:
    return ".".join(str(part) for part in gpu.capability)


def diagnose_in_time(collect: Callable[[], Facts] = nvidia.collect, patience: float = PATIENCE) -> Diagnosis:
    """Collect and judge in a separate process: a broken driver may hang or crash, and the start must go on.

    Nobody waits for the end of that process: it may hang in the kernel, where no signal ends it. Its parent has gone
    before it, so process 1 buries it.
    """
    reading, writing = os.pipe()
    parent = os.fork()
    if parent == 0:
        try:
            if os.fork() == 0:
                os.write(writing, b"%d\n" % os.getpid())
                found = diagnose(collect())
                # marshal takes plain tuples only, and costs no import.
                os.write(writing, marshal.dumps((tuple(map(tuple, found.findings)), found.usable, found.visible)))
        finally:
            os._exit(0)
    os.close(writing)
    os.waitpid(parent, 0)
    child, data, in_time = _answer(reading, time.monotonic() + patience)
    os.close(reading)
    if not in_time:
        if child:  # 0 would mean the whole group
            os.kill(child, signal.SIGKILL)
        return _trouble(
            f"the NVIDIA driver has not answered within {patience:g} s, and the start goes on without it. Is it slow?"
            " nvidia-smi -pm 1 on the computer keeps it awake, and gpu-check in a terminal asks it again. Does it hang?"
            " Restart the computer. Until it answers, everything runs on the CPU."
        )
    if not data:
        return _trouble(
            "the NVIDIA driver crashes when it is asked: check nvidia-smi on the computer, or restart it."
            f" Until then: {CPU}"
        )
    findings, usable, visible = marshal.loads(data)
    return Diagnosis(tuple(Finding(*finding) for finding in findings), usable, visible)


def _answer(reading: int, end: float) -> tuple[int, bytes, bool]:
    """The asking process's number, what it wrote until `end`, and whether that was all."""
    data = b""
    while True:
        number, newline, rest = data.partition(b"\n")
        if newline and rest:
            return int(number), rest, True
        if not select.select([reading], [], [], max(0.0, end - time.monotonic()))[0]:
            return int(number or b"0"), b"", False
        piece = os.read(reading, 1 << 16)
        if not piece:
            return int(number or b"0"), b"", True
        data += piece


def diagnose_image(device: str) -> Diagnosis:
    """The diagnosis for an image whose PyTorch was made for `device`, "cpu" or "cuda"."""
    return diagnose_unused(nvidia.collect_without_libraries()) if device == "cpu" else diagnose_in_time()


def main() -> int:
    """gpu-check: the same lines as at the start, for a terminal; status 0 when torch can use a GPU."""
    diagnosis = diagnose_image(read_image().device)
    for finding in diagnosis.findings:
        finding.report()
    return 0 if diagnosis.usable else 1
