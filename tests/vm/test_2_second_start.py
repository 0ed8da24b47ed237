"""The second start, by UEFI, on a processor without AVX, and with a neighbour on a second network."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator

import httpx
import pytest
from delivered import CONSOLE_PAGE, MENU, POWER_OFF, START, TORCH, Delivered, Session, qemu

TRAINING = """
import math
import torch
import dlc_practical_prologue as prologue
inputs, targets, _, _ = prologue.load_data(cifar=False, normalize=True, flatten=False)
model = torch.nn.Sequential(
    torch.nn.Conv2d(1, 8, 5), torch.nn.ReLU(), torch.nn.MaxPool2d(4), torch.nn.Flatten(), torch.nn.Linear(288, 10)
)
optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
for epoch in range(8):
    loss = torch.nn.functional.cross_entropy(model(inputs), targets)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    print("loss", loss.item())
"""


EAT = """sh -c 'echo $$ > /sys/fs/cgroup/system.slice/jupyterlab.service/cgroup.procs
exec python3 -c "x = [bytes([1]) * (1 << 24) for _ in iter(int, 1)]"'"""
NEXT_KERNEL = """
from jupyter_client.manager import KernelManager
manager = KernelManager()
manager.start_kernel()
client = manager.blocking_client()
client.start_channels()
client.wait_for_ready(timeout=300)
client.execute_interactive("1", timeout=300)
manager.shutdown_kernel(now=True)
"""
IN_SERVICE = (
    "echo $$ > /sys/fs/cgroup/system.slice/jupyterlab.service/cgroup.procs; exec runuser -u {user} -- env HOME={home}"
)
MOUNT = r'#!/bin/sh\nfor place; do :; done\nexec /usr/bin/mount -t tmpfs -o "$4" tmpfs "$place"\n'


@pytest.fixture(scope="module")
def session(delivered: Delivered) -> Iterator[Session]:
    delivered.ensure_first_start()
    with delivered.start("second-start", firmware="uefi", cpu=qemu.WITHOUT_AVX, neighbour=True) as started:
        delivered.wait_for_jupyter(started)
        delivered.prepare_power_cuts(started)
        yield started


def test_firmware_and_processor_are_those_of_this_test(session: Session) -> None:
    assert session.guest.run("test -d /sys/firmware/efi").rc == 0
    flags = session.guest.output("grep -m1 ^flags /proc/cpuinfo").split()
    assert "sse4_2" in flags
    assert [flag for flag in flags if flag.startswith("avx")] == []


def test_menu_does_not_come_back_and_the_layout_is_in_force(session: Session) -> None:
    page = session.wait_for_screen(CONSOLE_PAGE)
    session.photograph("second-start")
    assert not re.search(MENU, page)
    session.machine.qmp.press("y")
    session.wait_for_screen(r"login: z *$")
    session.machine.qmp.press("backspace")


def test_neighbour_reaches_ssh_but_not_jupyterlab(session: Session) -> None:
    with session.login(session.neighbour_ssh) as neighbour:
        # The neighbour is there, and has an address of its own: so the refusal below is one.
        origin = neighbour.output("echo $SSH_CONNECTION").split()
    assert (origin[0], origin[2]) == (qemu.NEIGHBOUR_HOST, qemu.NEIGHBOUR_GUEST)
    assert session.jupyter_answers(session.jupyter)
    assert not session.jupyter_answers(session.neighbour_jupyter)


def test_torch_imports_and_trains_without_avx(session: Session) -> None:
    session.guest.write("trains.py", TRAINING)
    done = session.guest.run("cd labs && PYTHONPATH=. bash -lc 'python ~/trains.py --tiny'", timeout=TORCH)
    assert done.rc == 0, done.err
    losses = [float(number) for number in re.findall(r"^loss (\S+)$", done.out, re.MULTILINE)]
    assert len(losses) == 8
    assert losses[-1] < 0.8 * losses[0]


def main_process(session: Session) -> str:
    return session.guest.output("systemctl show --property=MainPID --value jupyterlab.service")


def test_jupyterlab_comes_back_after_shut_down(session: Session) -> None:
    """As *File, Shut Down* does it: the server ends properly."""
    before = main_process(session)
    with httpx.Client(base_url=session.url, trust_env=False, timeout=60) as client:
        client.get("/lab")
        client.post("/api/shutdown", headers={"X-XSRFToken": client.cookies["_xsrf"]})
    end = time.monotonic() + START
    while main_process(session) in ("0", before) or not session.jupyter_answers(session.jupyter):
        assert time.monotonic() < end, "JupyterLab does not come back"
        time.sleep(2)


def test_a_process_that_takes_all_memory_ends_alone(session: Session) -> None:
    """In the place of a kernel: a process in the service's control group. The server and the others go on."""
    before = main_process(session)
    done = session.guest.as_root(EAT, timeout=TORCH)
    assert done.rc == 137, done  # by SIGKILL, the kernel's answer to a lack of memory
    assert session.root("journalctl --boot --dmesg --grep='Out of memory: Killed process' --quiet --no-pager") != ""
    assert main_process(session) == before
    assert session.jupyter_answers(session.jupyter)
    # The kernel that JupyterLab starts in its place tells the student.
    session.guest.write("next_kernel.py", NEXT_KERNEL)
    home = session.guest.output("pwd")
    in_service = IN_SERVICE.format(user=session.course.user.name, home=home)
    told = session.guest.as_root(f"{in_service} /opt/jupyter/bin/python {home}/next_kernel.py", timeout=TORCH)
    assert told.rc == 0 and "The memory was used up" in told.out + told.err, told


def test_ssh_shows_umlauts_whatever_the_locale_of_the_client(session: Session) -> None:
    channel = session.guest.client.get_transport().open_session()
    for name in ("LANG", "LC_ALL", "LC_CTYPE"):
        channel.set_environment_variable(name, "de_DE.UTF-8")
    channel.exec_command("bash -lc 'perl -e 1; touch Übung; ls; rm Übung'".encode())
    out, err = channel.makefile("rb").read().decode(), channel.makefile_stderr("rb").read().decode()
    assert err == ""
    assert "Übung" in out.splitlines()


def test_a_program_on_the_students_computer_reaches_the_kernels_by_ssh(session: Session) -> None:
    """What VS Code's Remote-SSH needs: a shell that says nothing of its own, files, and forwards to local ports."""
    assert session.guest.run("true").out == ""
    missing = session.guest.output(
        "for tool in bash tar gzip curl wget ps; do command -v $tool >/dev/null || echo $tool; done"
    )
    assert missing == ""
    forward = session.guest.client.get_transport().open_channel("direct-tcpip", ("127.0.0.1", 8888), ("127.0.0.1", 0))
    forward.sendall(b"GET /api HTTP/1.0\r\nHost: localhost:8888\r\n\r\n")
    assert forward.recv(12).endswith(b"200")
    with session.guest.client.open_sftp() as files:
        assert "labs" in files.listdir(".")


def test_the_shared_folder_lies_outside_of_the_home(session: Session) -> None:
    """With tmpfs in the place of vboxsf. A link that the student puts in its way leads root nowhere."""
    fake = "/var/tmp/fake"  # programs below /run are not executed
    session.root(f"mkdir {fake} && printf '{MOUNT}' > {fake}/mount && printf '#!/bin/sh\\n' > {fake}/modprobe")
    session.root(f"chmod 755 {fake}/mount {fake}/modprobe")
    helper = f"PATH={fake}:$PATH /usr/lib/coursebox/mount-work {session.course.user.name}"
    session.guest.output("ln -s /etc work")
    assert "is there already" in session.root(helper)
    assert session.root("stat --format=%U /etc") == "root" and session.guest.run("mountpoint /etc").rc != 0
    session.root("umount /media/work")
    session.guest.output("rm work && mkdir work")
    session.root(helper)
    session.guest.output("echo mine > work/file")
    assert session.guest.output("readlink work; cat /media/work/file") == "/media/work\nmine"
    session.root("umount /media/work")
    session.guest.output("rm work")


def test_no_failed_unit(session: Session) -> None:
    assert session.wait_until_started() == "running"


def test_identity_of_the_machine_stays(session: Session, delivered: Delivered) -> None:
    assert delivered.identity(session) == delivered.facts


def test_bye_in_a_terminal_switches_the_machine_off(session: Session) -> None:
    shell = session.guest.client.invoke_shell()
    shell.send(b"bye\n")
    session.machine.wait_until_off(POWER_OFF)
