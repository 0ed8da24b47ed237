"""A student's first minutes: the address from the log in a headless Chromium, and a network that learns digits."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from containers import Container

from coursebox.core.paths import CHECKOUT

# The same browser as for the course machine.
sys.path.append(str(Path(__file__).parents[1] / "vm"))

from browser import NOTEBOOK, Browser

# What JupyterLab says whenever somebody works, and no setting changes: each notebook that was not signed here, and a
# quarrel of jupyter_server with tornado about the unit of a time (jupyter_server/base/websocket.py).
USUAL = [
    r"Notebook labs/examples/mnist_convnet\.ipynb is not trusted$",
    r"The websocket_ping_timeout \(90000\) cannot be",
]
SCREENSHOTS = CHECKOUT / "build" / "screenshots" / "container"
TRAINING = 300  # seconds for ten epochs on 1000 images, several times what two slow cores need


@pytest.fixture(scope="module")
def server(start_shared) -> Container:
    container: Container = start_shared(options=["--publish", "127.0.0.1::8888", "--shm-size", "1g"], allowed=USUAL)
    container.wait_for_server()
    return container


@pytest.fixture(scope="module")
def browser(server: Container) -> Iterator[Browser]:
    port = server.inspect('{{(index (index .NetworkSettings.Ports "8888/tcp") 0).HostPort}}')
    with Browser(server.wait_for_server().replace(":8888/", f":{port}/"), SCREENSHOTS) as opened:
        yield opened


def test_the_address_opens_the_welcome_page(browser: Browser) -> None:
    browser.open()
    assert "welcome" in browser.current_tab().lower()
    assert len(browser.rendered_markdown()) > 200
    browser.photograph("welcome")


def test_the_notebook_of_the_first_lecture_trains_on_mnist(browser: Browser) -> None:
    """labs/examples/mnist_convnet.ipynb, Run All Cells: ten epochs, the error, and a picture."""
    page = browser.page
    browser.open_notebook("examples", "mnist_convnet.ipynb")
    page.get_by_role("menuitem", name="Run", exact=True).click()
    page.locator(".lm-Menu-itemLabel", has_text=re.compile("^Run All Cells$")).click()
    error = page.locator(f"{NOTEBOOK} .jp-OutputArea-output", has_text=re.compile(r"test error \d+\.\d+ %")).first
    error.wait_for(timeout=TRAINING * 1000)
    found = re.search(r"test error (\d+\.\d+) % \((\d+) of (\d+)\)", error.inner_text())
    assert found and found[3] == "1000"
    assert 3 < float(found[1]) < 25  # the lecture's network, on 1000 images: about 13 %
    page.locator(f"{NOTEBOOK} .jp-OutputArea-output img").first.wait_for(timeout=60_000)
    assert page.locator(f"{NOTEBOOK} .jp-OutputArea-output", has_text="Traceback").count() == 0
    error.scroll_into_view_if_needed()
    browser.photograph("mnist")


def test_a_new_notebook_computes_where_it_should(browser: Browser, server: Container) -> None:
    browser.new_notebook()
    code = (
        "import os, torch;"
        "print('cuda' if torch.cuda.is_available() else 'cpu', os.environ['HOME'], 'JUPYTER_TOKEN' in os.environ)"
    )
    assert "/home/student False" in browser.run_cell(code, r"(cpu|cuda) \S+ \w+", TRAINING)


def test_a_terminal_is_the_students(browser: Browser) -> None:
    browser.new_terminal()
    shown = browser.type_in_terminal("whoami; gpu-check; echo status-$?", r"status-[01]", 60)
    browser.photograph("terminal")
    assert "student" in shown and "GPU" in shown


def test_nothing_alarming_was_logged(server: Container) -> None:
    assert server.alarms() == []
