"""The list of checks. It imports none of them, so that `--list` and `--help` need no PyTorch."""

from __future__ import annotations

from dataclasses import dataclass

MINUTE = 60.0

# Lecture 1a trains for ten epochs. That takes two processors two minutes; one epoch shows that training works.
EPOCHS = 10
CPU_EPOCHS = 1


@dataclass(frozen=True)
class Check:
    """One row of the table.

    function: `module:function` below course_selftest.checks; it takes a Context and returns Measured, or raises
    Skipped, Failed, or anything else, which then is a failure, too.
    cpu_seconds, gpu_seconds: about how long it takes, for the time left; 0 where it does not run.
    limit_seconds: when it counts as hung. Generous: an emulated machine is fifty times slower than a real one.
    needs_gpu: without a usable GPU the row says why there is none.
    trains: is repeated as often as was asked for. full_seconds: cpu_seconds with --full, where that is more.
    optional: runs only when asked for.
    """

    name: str
    title: str
    function: str
    cpu_seconds: float
    gpu_seconds: float
    limit_seconds: float = 10 * MINUTE
    needs_gpu: bool = False
    trains: bool = False
    full_seconds: float = 0
    optional: bool = False

    def expected_seconds(self, device: str, full: bool, repeat: int) -> float:
        """About how long it takes. device: "cuda" or "cpu"."""
        if device == "cuda":
            return self.gpu_seconds * (repeat if self.trains else 1)
        seconds = self.full_seconds if full and self.full_seconds else self.cpu_seconds
        return seconds * (repeat if self.trains else 1)


# fmt: off
CHECKS = (
    Check("versions", "PyTorch, torchvision and CUDA are of one make", "fit:versions", 0.5, 1),
    Check("cudnn", "cuDNN: the version that PyTorch was compiled for", "fit:cudnn", 0, 0.1),
    Check("nccl", "NCCL: the version that was installed with PyTorch", "fit:nccl", 0, 0.1),
    Check("driver", "the driver is new enough for PyTorch's CUDA", "graphics:driver", 0, 0.1),
    Check("gpu", "name, memory and state of the GPU", "graphics:gpu", 0, 0.2, needs_gpu=True),
    Check("architectures", "PyTorch has machine code for this GPU", "graphics:architectures", 0, 0.1),
    Check("matmul", "matrix product against float64", "arithmetic:matmul", 0.5, 2),
    Check("convolution", "convolution and its gradients against float64", "arithmetic:convolution", 0.5, 2),
    Check("half", "bf16 and fp16 against float64", "arithmetic:half", 0.5, 2),
    Check("svd", "singular value decomposition against float64", "arithmetic:svd", 0.5, 2),
    Check("attention", "each kernel of scaled dot product attention", "features:attention", 0.5, 3),
    Check("autocast", "mixed precision with GradScaler", "features:autocast", 1, 1),
    Check("compile", "torch.compile against eager execution", "features:compiled", 30, 20),
    Check("dataloader", "DataLoader with 2 workers through /dev/shm", "runtime:dataloader", 3, 6),
    Check("checkpoint", "a saved training state comes back bit for bit", "runtime:checkpoint", 0.5, 0.5),
    Check("memory", "memory of the GPU is given back", "runtime:memory", 0, 0.5, needs_gpu=True),
    Check("fault", "an error on the GPU is reported and survived", "runtime:fault", 0, 8, needs_gpu=True),
    Check("libraries", "one copy of each CUDA library is loaded", "fit:libraries", 0, 0.5),
    Check("lecture", "the training of lecture 1a", "lecture:plain", 13, 10,
          limit_seconds=120 * MINUTE, trains=True, full_seconds=125),
    Check("fast", "the training of lecture 1a, made fast", "lecture:fast", 40, 5,
          limit_seconds=120 * MINUTE, trains=True, optional=True),
)
# fmt: on

NAMES = tuple(check.name for check in CHECKS)


def choose(only: list[str], fast: bool) -> list[Check]:
    """The checks to run, in the order of the table. only: names; all that are not optional when empty."""
    return [
        check
        for check in CHECKS
        if (check.name in only if only else not check.optional) or (fast and check.name == "fast")
    ]
