"""A container with a limit of memory: the kernel that is started after one was ended tells the student why."""

from __future__ import annotations

from containers import docker

# One server's kernels, one after the other: the second takes all memory.
KERNELS = """
from jupyter_client.manager import KernelManager

def run(code, patience=60):
    manager = KernelManager(transport="ipc")
    manager.start_kernel()
    client = manager.blocking_client()
    client.start_channels()
    client.wait_for_ready(timeout=60)
    try:
        client.execute_interactive(code, timeout=patience, output_hook=show)
    except TimeoutError:
        print("ended:", not manager.is_alive())
    client.stop_channels()
    manager.shutdown_kernel(now=True)

def show(message):
    if message["msg_type"] == "stream":
        print(message["content"]["text"])

run("print('first')")
run("x = bytes(range(256)) * (1 << 23)", patience=15)
run("print('third')")
run("print('fourth')")
"""


def test_the_next_kernel_says_that_memory_was_used_up(image: str) -> None:
    limit = ["--memory", "500m", "--memory-swap", "500m"]
    said = docker("run", "--rm", "--network", "none", *limit, image, "python", "-c", KERNELS)
    lines = [line for line in said.splitlines() if line.startswith(("first", "ended", "The memory", "third", "fourth"))]
    # Once, before what the cell itself prints; and never again.
    assert [line.split()[0] for line in lines] == ["first", "ended:", "The", "third", "fourth"], said
    assert "ended: True" in lines
    assert "Remedy: work on less at once" in said
