"""The process in which the checks run; isolation.py describes what it says and hears."""

from __future__ import annotations

import ctypes
import gc
import importlib
import json
import os
import platform
import signal
import sys
import traceback
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast

from course_selftest import probe
from course_selftest.catalog import CHECKS, Check
from course_selftest.options import Options
from course_selftest.outcome import Failed, Measured, Row, Skipped, sentence

if TYPE_CHECKING:
    from course_selftest.context import Context

PR_SET_PDEATHSIG = 1

Function = Callable[["Context"], Measured]


def main(arguments: list[str]) -> None:
    """arguments: the number of the pipe to the parent, and the options as JSON."""
    die_with_parent()
    pipe = int(arguments[0])
    os.set_inheritable(pipe, False)
    channel = os.fdopen(pipe, "w", encoding="utf-8")

    def say(message: dict[str, Any]) -> None:
        channel.write(json.dumps(message) + "\n")
        channel.flush()

    try:
        import torch  # noqa: F401
    except Exception as error:  # a broken installation can raise anything
        say({"hello": {}, "error": sentence(error)})
        return
    context = make_context(Options(**json.loads(arguments[1])), lambda share: say({"progress": share}))
    say({"hello": machine(context)})
    checks = {check.name: check for check in CHECKS}
    for line in sys.stdin:
        row, healthy = run_check(checks[json.loads(line)["run"]], context)
        say({"row": row.as_dict(), "healthy": healthy})


def die_with_parent() -> None:
    """Ask Linux to end this process when the one that started it is killed (prctl(2)): nobody could read its rows."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def make_context(options: Options, progress: Callable[[float], None]) -> Context:
    import torch

    from course_selftest.context import Context

    no_gpu = options.no_gpu or probe.why_no_gpu(probe.gather())
    return Context(options, torch.device("cpu" if no_gpu else "cuda:0"), no_gpu, progress)


def machine(context: Context) -> dict[str, Any]:
    """The object `machine` of report.py."""
    import torch

    return {
        "device": context.device.type,
        "gpu": torch.cuda.get_device_name(context.device) if context.on_gpu else "",
        "no_gpu": context.no_gpu,
        "processor": processor(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__.split("+")[0],
        "cuda": torch.version.cuda or "",
        "python": platform.python_version(),
        "system": f"{system()}, {platform.machine()}",
    }


def processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as lines:
            return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def system() -> str:
    try:
        return platform.freedesktop_os_release()["PRETTY_NAME"]
    except (OSError, KeyError):
        return platform.system()


def run_check(check: Check, context: Context) -> tuple[Row, bool]:
    """The row of one check, and whether the process is fit for another one."""
    import torch

    try:
        if check.needs_gpu:
            context.require_gpu()
        torch.manual_seed(0)
        measured = function(check)(context)
        context.synchronize()
        row = Row(check.name, "ok", measured.text, figures=dict(measured.figures))
    except Skipped as reason:
        row = Row(check.name, "skipped", str(reason))
    except Failed as failure:
        row = Row(check.name, "FAILED", str(failure), figures=failure.figures, detail=traceback.format_exc())
    except torch.OutOfMemoryError as error:
        text = "Not enough memory on the GPU; see in nvidia-smi what else uses it."
        row = Row(check.name, "FAILED", text, detail=f"{error}\n{traceback.format_exc()}")
    except Exception as error:
        row = Row(check.name, "FAILED", f"{sentence(error)}", detail=traceback.format_exc())
    return row, is_healthy(context)


def function(check: Check) -> Function:
    module, name = check.function.split(":")
    return cast(Function, getattr(importlib.import_module(f"course_selftest.checks.{module}"), name))


def is_healthy(context: Context) -> bool:
    """Whether the GPU still computes for this process: after some errors, it never does again."""
    import torch

    gc.collect()
    if not context.on_gpu:
        return True
    try:
        torch.cuda.empty_cache()
        return (torch.ones(8, device=context.device) * 2).sum().item() == 16.0
    except Exception:
        return False


if __name__ == "__main__":
    main(sys.argv[1:])
