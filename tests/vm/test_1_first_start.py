"""The first start of the delivered OVA, by BIOS: what a student sees, in that order, up to `!bye` in a notebook."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator

import pytest
from browser import Browser
from delivered import COMMAND, CONSOLE_PAGE, MENU, POWER_OFF, SCREENSHOTS, TORCH, Delivered, Session, record

MEMORY_LIMIT = 350  # MB used by the idle machine
TRAINING = """
import torch, dlc_practical_prologue as prologue
prologue.args.tiny = True
inputs, targets, _, _ = prologue.load_data(cifar=False, normalize=True)
model = torch.nn.Sequential(torch.nn.Linear(784, 50), torch.nn.ReLU(), torch.nn.Linear(50, 10))
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
losses = []
for epoch in range(20):
    loss = torch.nn.functional.cross_entropy(model(inputs), targets)
    optimizer.zero_grad(); loss.backward(); optimizer.step()
    losses.append(loss.item())
print("images", tuple(inputs.shape), "digits", sorted(set(targets.tolist())))
print("loss", round(losses[0], 3), "->", round(losses[-1], 3))
""".strip()


@pytest.fixture(scope="module")
def session(delivered: Delivered) -> Iterator[Session]:
    with delivered.start("first-start", firmware="bios") as started:
        record(start_to_jupyterlab_s=round(delivered.wait_for_jupyter(started), 1))
        yield started


@pytest.fixture(scope="module")
def browser(session: Session) -> Iterator[Browser]:
    with Browser(f"http://localhost:{session.jupyter}", SCREENSHOTS) as opened:
        yield opened


def test_menu_asks_for_the_keyboard_while_jupyterlab_answers_already(session: Session) -> None:
    # The fixture has waited for JupyterLab, and nobody has pressed a key so far.
    text = session.wait_for_screen(MENU)
    session.photograph("first-start")
    assert "English (US)" in text
    assert session.jupyter_answers(session.jupyter)


def test_ssh_with_the_password(session: Session) -> None:
    assert session.guest.output("id -un") == session.course.user.name


def test_su_with_the_same_password(session: Session) -> None:
    done = session.guest.as_root("id -u")
    assert (done.rc, done.out) == (0, "0\n"), done


def test_start_ends_without_a_failed_unit(session: Session) -> None:
    state = session.wait_until_started()
    failed = session.guest.output("systemctl --failed --no-legend --plain")
    assert (state, failed) == ("running", "")


def test_memory_used_by_the_idle_machine(session: Session) -> None:
    time.sleep(10)  # what the logins before have started is gone
    meminfo = session.guest.output("cat /proc/meminfo")
    kilobytes = dict(re.findall(r"^(\w+):\s+(\d+) kB", meminfo, re.MULTILINE))
    used = (int(kilobytes["MemTotal"]) - int(kilobytes["MemAvailable"])) * 1024 / 1e6
    record(idle_memory_mb=round(used, 1))
    assert used <= MEMORY_LIMIT


def test_menu_is_answered_by_keystrokes(session: Session, delivered: Delivered) -> None:
    stored = delivered.choose_keyboard(session)
    assert stored == "de-latin1-nodeadkeys"
    page = session.wait_for_screen(CONSOLE_PAGE)
    session.photograph("console-page")
    course = session.course
    assert f"http://localhost:{course.ports.jupyter}" in page
    assert f"ssh -p {course.ports.ssh} {course.user.name}@localhost" in page
    assert "bye" in page


def test_chosen_layout_is_in_force(session: Session) -> None:
    session.machine.qmp.press("y")
    session.wait_for_screen(r"login: z *$")
    session.machine.qmp.press("backspace")


def test_host_keys_were_made_at_this_start(session: Session, delivered: Delivered) -> None:
    booted = int(session.guest.output("awk '/^btime/ {print $2}' /proc/stat"))
    keys = session.guest.output("stat --format '%Y %n' /etc/ssh/ssh_host_*_key").splitlines()
    assert keys
    for line in keys:
        # Seconds: the clock may be set once while the machine starts.
        assert int(line.split()[0]) >= booted - 5, f"{line} is older than this start at {booted}"
    delivered.remember_identity(session)
    assert re.fullmatch(r"[0-9a-f]{32}", delivered.facts["machine-id"])


def test_jupyterlab_opens_the_welcome_page_without_a_password(browser: Browser) -> None:
    browser.open()
    assert "welcome" in browser.current_tab().lower()
    assert len(browser.rendered_markdown()) > 200
    browser.photograph("welcome")


def test_notebook_trains_on_real_mnist(browser: Browser, session: Session) -> None:
    browser.new_notebook()
    output = browser.run_cell(TRAINING, r"loss [\d.]+ -> [\d.]+", TORCH)
    browser.photograph("notebook")
    assert "images (500, 784) digits [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]" in output
    first, last = (float(number) for number in re.findall(r"loss ([\d.]+) -> ([\d.]+)", output)[0])
    assert last < 0.7 * first
    # The data is the real one, not a stand-in: the first training images of MNIST are a 5, a 0, a 4, a 1, a 9.
    labels = session.guest.output(
        "od -An -tu1 -j8 -N5 $PYTORCH_DATA_DIR/mnist/MNIST/raw/train-labels-idx1-ubyte"
        " || od -An -tu1 -j8 -N5 /usr/share/coursebox/data/mnist/MNIST/raw/train-labels-idx1-ubyte"
    )
    assert labels.split() == ["5", "0", "4", "1", "9"]


def test_terminal_opens_and_echoes(browser: Browser) -> None:
    browser.new_terminal()
    shown = browser.type_in_terminal("echo terminal-$((6*7))-$PYTORCH_DATA_DIR", r"terminal-42-/\S+", COMMAND)
    browser.photograph("terminal")
    assert "/usr/share/coursebox/data" in shown


def test_bye_in_a_notebook_switches_the_machine_off(browser: Browser, session: Session) -> None:
    browser.back_to_notebook()
    browser.send_cell("!bye")
    record(bye_to_off_s=round(session.machine.wait_until_off(POWER_OFF), 1))
