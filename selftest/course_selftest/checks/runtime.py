"""What PyTorch needs from the system around it: processes, shared memory, files, memory, an honest driver."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset

from course_selftest.context import Context
from course_selftest.net import Net, make_net
from course_selftest.outcome import Failed, Figure, Measured

MIB = 2**20
SHARED_MEMORY = Path("/dev/shm")

WORKERS = 2
IN_FLIGHT = 2 * WORKERS + 1  # batches: two prefetched by each worker, and the one in use
BATCH = 250  # CIFAR-10 images as float32: 2.9 MiB
# Docker gives 64 MiB unless told otherwise: enough for MNIST and CIFAR-10, not for photographs.
COMFORTABLE = 1024 * MIB
REMEDY = "give the container more with --shm-size=1g or --ipc=host"


class Pictures(Dataset[tuple[Tensor, int]]):
    """Images that can be told by their number, of the size of CIFAR-10's."""

    def __len__(self) -> int:
        return 12 * BATCH

    def __getitem__(self, number: int) -> tuple[Tensor, int]:
        return torch.full((3, 32, 32), float(number)), number


def dataloader(context: Context) -> Measured:
    """Every image arrives once and unharmed, from two processes, in pinned memory when there is a GPU."""
    needed = IN_FLIGHT * BATCH * 3 * 32 * 32 * 4
    figures: dict[str, Figure] = {}
    remark = ""
    if SHARED_MEMORY.is_dir():
        room = os.statvfs(SHARED_MEMORY)
        total, free = room.f_blocks * room.f_frsize, room.f_bavail * room.f_frsize
        figures |= {"shm_bytes": total, "shm_free_bytes": free}
        if free < needed:  # a worker would be killed by SIGBUS
            raise Failed(f"/dev/shm has {free // MIB} MiB free, and this takes {needed // MIB} MiB: {REMEDY}.", figures)
        remark = f", /dev/shm has {total // MIB} MiB"
        if total < COMFORTABLE:
            remark += f" (little for larger images: {REMEDY})"
    loader = DataLoader(Pictures(), batch_size=BATCH, num_workers=WORKERS, pin_memory=context.on_gpu)
    seen = []
    for images, numbers in loader:
        if context.on_gpu and not images.is_pinned():
            raise Failed("Batches do not arrive in pinned memory.", figures)
        images = images.to(context.device, non_blocking=True)
        numbers = numbers.to(context.device, non_blocking=True)
        if not bool((images == numbers.view(-1, 1, 1, 1)).all()):
            raise Failed("A batch arrived with other values than it was sent with.", figures)
        seen += numbers.tolist()
    if seen != list(range(len(Pictures()))):
        raise Failed(f"{len(seen)} of {len(Pictures())} images arrived, or not in their order.", figures)
    pinned = ", pinned" if context.on_gpu else ""
    return Measured(f"{len(seen)} images by {WORKERS} workers{pinned}{remark}", figures)


def checkpoint(context: Context) -> Measured:
    """Saved by torch.save, read with weights_only, put into a fresh net and optimizer: nothing has changed a bit."""
    net, optimizer = _with_some_steps(context, seed=0, steps=3)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "checkpoint.pt"
        torch.save({"net": net.state_dict(), "optimizer": optimizer.state_dict()}, file)
        size = file.stat().st_size
        loaded = torch.load(file, map_location=context.device, weights_only=True)
        on_cpu = torch.load(file, map_location="cpu", weights_only=True)
    other, other_optimizer = _with_some_steps(context, seed=1, steps=1)
    other.load_state_dict(loaded["net"])
    other_optimizer.load_state_dict(loaded["optimizer"])
    pairs = [
        *zip(net.state_dict().values(), other.state_dict().values(), strict=True),
        *zip(_moments(optimizer), _moments(other_optimizer), strict=True),
        *zip(net.state_dict().values(), on_cpu["net"].values(), strict=True),
    ]
    wrong = sum(not torch.equal(before.cpu(), after.cpu()) for before, after in pairs)
    if wrong:
        raise Failed(f"{wrong} of {len(pairs)} tensors came back changed.")
    return Measured(f"net and Adam, {size / 1e6:.1f} MB, bit for bit, on the CPU as well",
                    {"file_bytes": size, "tensors": len(pairs)})  # fmt: skip


def _with_some_steps(context: Context, seed: int, steps: int) -> tuple[Net, torch.optim.Adam]:
    net = make_net(seed).to(context.device)
    optimizer = torch.optim.Adam(net.parameters())
    for _ in range(steps):
        optimizer.zero_grad()
        F.cross_entropy(net(torch.randn(16, 1, 28, 28, device=context.device)),
                        torch.randint(0, 10, (16,), device=context.device)).backward()  # fmt: skip
        optimizer.step()
    return net, optimizer


def _moments(optimizer: torch.optim.Optimizer) -> list[Tensor]:
    return [value for state in optimizer.state_dict()["state"].values() for value in state.values()]


def memory(context: Context) -> Measured:
    """A training step takes memory; when its tensors have gone, PyTorch has given all of it back to the driver."""

    def settle() -> None:
        gc.collect()
        torch.cuda.synchronize(context.device)
        torch.cuda.empty_cache()

    _training_step(context)  # so that workspaces, which stay, are there before
    settle()
    torch.cuda.reset_peak_memory_stats(context.device)
    before = torch.cuda.memory_allocated(context.device), torch.cuda.memory_reserved(context.device)
    ballast = torch.zeros(64 * MIB, dtype=torch.float32, device=context.device)
    _training_step(context)
    peak = torch.cuda.max_memory_allocated(context.device)
    del ballast
    settle()
    after = torch.cuda.memory_allocated(context.device), torch.cuda.memory_reserved(context.device)
    figures: dict[str, Figure] = {"peak_bytes": peak, "allocated_bytes": after[0], "reserved_bytes": after[1]}
    if peak - before[0] < 256 * MIB:
        raise Failed(f"A tensor of 256 MiB and a training step took {(peak - before[0]) / MIB:.0f} MiB.", figures)
    if after[0] > before[0] or after[1] > before[1]:
        raise Failed(f"{(after[0] - before[0]) / MIB:.1f} MiB stay allocated and {(after[1] - before[1]) / MIB:.1f} "
                     "MiB reserved when all tensors have gone.", figures)  # fmt: skip
    return Measured(f"{(peak - before[0]) / MIB:.0f} MiB taken and all of it given back", figures)


def _training_step(context: Context) -> None:
    net = make_net(0).to(context.device)
    F.cross_entropy(net(torch.randn(1000, 1, 28, 28, device=context.device)),
                    torch.randint(0, 10, (1000,), device=context.device)).backward()  # fmt: skip


# An index out of range trips an assertion in the kernel, which spoils the process: so in one of its own.
FAULT = """
import torch
values = torch.zeros(4, device="cuda")
try:
    values[torch.tensor([9], device="cuda")].sum().item()
    torch.cuda.synchronize()
except RuntimeError as error:
    print("reported:", str(error).splitlines()[0])
else:
    print("nothing was reported")
"""


def fault(context: Context) -> Measured:
    """An error on the GPU becomes an exception in the program that made it, and other programs go on computing."""
    values = torch.arange(1000, device=context.device)
    try:
        done = subprocess.run(
            [sys.executable, "-c", FAULT], capture_output=True, text=True, timeout=300, check=False,
            env={name: value for name, value in os.environ.items() if name != "CUDA_LAUNCH_BLOCKING"},
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise Failed("A program with an index out of range hangs instead of ending with an error.") from None
    said = done.stdout.strip()
    if not said.startswith("reported:") or "device-side assert" not in said:
        how = said or f"it ended with exit code {done.returncode}"
        raise Failed(f"An index out of range on the GPU was not reported as a device-side assert: {how}.")
    if int(values.sum()) != 499500:
        raise Failed("Values in the memory of the GPU changed after another program's error.")
    return Measured(f"{said.removeprefix('reported: ')}; other programs compute on")
