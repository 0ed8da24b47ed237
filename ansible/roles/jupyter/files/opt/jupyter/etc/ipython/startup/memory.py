"""Say so in the next cell when Linux has ended a kernel for lack of memory.

JupyterLab starts such a kernel again and cannot know why it ended. The kernel of Linux counts what it ends in each
control group (https://docs.kernel.org/admin-guide/cgroup-v2.html, memory.events); each new Jupyter kernel compares the
count with the one that the kernel before has seen.
"""

import contextlib


def _watch_memory() -> None:
    import os
    import re
    import sys
    from pathlib import Path

    from IPython import get_ipython

    def count() -> int:
        """How often a program of this control group was ended for lack of memory."""
        with open("/proc/self/cgroup", encoding="ascii") as file:
            groups = dict(line.strip().split(":", 2)[1:] for line in file)
        # Version 2 of control groups, or 1; in a container the files of its own group lie at the top.
        for folder, group, name in (
            ("/sys/fs/cgroup", groups.get("", "/"), "memory.events"),
            ("/sys/fs/cgroup/memory", groups.get("memory", "/"), "memory.oom_control"),
        ):
            for path in (Path(f"{folder}{group}", name), Path(folder, name)):
                if path.is_file() and (found := re.search(r"^oom_kill (\d+)$", path.read_text(), re.MULTILINE)):
                    return int(found[1])
        return 0

    def tell(info: object = None) -> None:
        shell.events.unregister("pre_run_cell", tell)
        print(
            "The memory was used up, so Linux has ended a program of yours: this kernel or another one. What it had"
            " computed is gone.\nRemedy: work on less at once (smaller batches, fewer images), end kernels that you do"
            " not need (Kernel > Shut Down All Kernels), or give this machine more memory.",
            file=sys.stderr,
            flush=True,  # before what the cell itself prints
        )

    shell = get_ipython()
    if not hasattr(shell, "kernel"):
        return  # somebody has typed ipython
    from ipykernel.connect import get_connection_file

    # The connection files of all kernels lie in one folder, the runtime folder of their server.
    folder = Path(get_connection_file()).parent
    seen = folder / f"ended-for-memory-{os.environ.get('JPY_PARENT_PID', '')}"
    now = count()
    before = int(seen.read_text()) if seen.is_file() else 0
    seen.write_text(f"{now}\n")
    if now > before:
        shell.events.register("pre_run_cell", tell)


with contextlib.suppress(Exception):  # a kernel without this remark is better than none
    _watch_memory()
del contextlib, _watch_memory
