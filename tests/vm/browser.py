"""JupyterLab in a headless Chromium, by what a student sees and types."""

from __future__ import annotations

import json
import re
import shutil
import time
from pathlib import Path
from types import TracebackType

from delivered import COMMAND, START
from playwright.sync_api import Browser as Chromium
from playwright.sync_api import BrowserContext, Page, Playwright, WebSocket, sync_playwright

ARGUMENTS = [
    "--no-sandbox",  # Chromium refuses to run as root otherwise
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
NOTEBOOK = ".jp-NotebookPanel:not(.lm-mod-hidden)"  # the one in front
KERNEL_READY = 300  # seconds for a Python kernel to start on an emulated processor


class Browser:
    """One window with JupyterLab in it. Screenshots go to `folder`."""

    def __init__(self, url: str, folder: Path) -> None:
        self._url, self._folder = url, folder
        self._terminal: list[str] = []
        self._kernel_answers = False

    def __enter__(self) -> Browser:
        chromium = shutil.which("chromium")
        assert chromium is not None, "chromium is not installed: run apt-get install chromium"
        self._playwright: Playwright = sync_playwright().start()
        self._chromium: Chromium = self._playwright.chromium.launch(executable_path=chromium, args=ARGUMENTS)
        self._context: BrowserContext = self._chromium.new_context(viewport={"width": 1280, "height": 800})
        self.page: Page = self._context.new_page()
        self.page.set_default_timeout(COMMAND * 1000)
        self.page.on("websocket", self._listen)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            self.photograph("failed")
        self._chromium.close()
        self._playwright.stop()

    def _listen(self, connection: WebSocket) -> None:
        if "/terminals/" in connection.url:
            connection.on("framereceived", self._hear_terminal)
        elif "/kernels/" in connection.url:
            connection.on("framereceived", self._hear_kernel)

    def _hear_kernel(self, frame: str | bytes) -> None:
        if b"kernel_info_reply" in (frame.encode() if isinstance(frame, str) else frame):
            self._kernel_answers = True

    def _hear_terminal(self, frame: str | bytes) -> None:
        """Keep what the terminal shows: jupyter_server_terminals sends ["stdout", text]."""
        kind, *rest = json.loads(frame)
        if kind == "stdout":
            self._terminal += rest

    def photograph(self, name: str) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        self.page.screenshot(path=self._folder / f"browser-{name}.png")

    def open(self) -> None:
        """Open the address that students are given, and wait until JupyterLab is drawn."""
        self.page.goto(self._url, timeout=START * 1000)
        self.page.locator("#jp-main-dock-panel .lm-TabBar-tab").first.wait_for(timeout=START * 1000)
        self.page.locator("#jupyterlab-splash").wait_for(state="detached", timeout=START * 1000)

    def current_tab(self) -> str:
        """Title of the tab in front."""
        return self.page.locator("#jp-main-dock-panel .lm-TabBar-tab.lm-mod-current").first.inner_text()

    def rendered_markdown(self) -> str:
        """Text of the Markdown page in front, as it is rendered."""
        body = self.page.locator(".jp-MarkdownViewer .jp-RenderedMarkdown")
        body.get_by_role("heading").first.wait_for()  # the viewer is there before its text
        return body.inner_text()

    def _launch(self, category: str) -> None:
        """Open the launcher by its menu entry and choose the first card of a category."""
        self.page.get_by_role("menuitem", name="File", exact=True).click()
        self.page.locator(".lm-Menu-itemLabel", has_text="New Launcher").first.click()
        card = self.page.locator(f".jp-Launcher:visible .jp-LauncherCard[data-category='{category}']").first
        card.wait_for(timeout=KERNEL_READY * 1000)
        card.click()

    def new_notebook(self) -> None:
        """A new notebook in the folder of the welcome page, with a kernel that is ready."""
        self._kernel_answers = False
        self._launch("Notebook")
        self.page.locator(f"{NOTEBOOK} .jp-Cell .cm-content").first.wait_for(timeout=KERNEL_READY * 1000)
        self._wait_for_kernel()

    def open_notebook(self, *path: str) -> None:
        """A notebook by its way through the list of files, with a kernel that is ready."""
        self._kernel_answers = False
        for name in path:
            self.page.locator(".jp-DirListing-item", has_text=name).dblclick()
        self.page.locator(f"{NOTEBOOK} .jp-CodeCell").first.wait_for(timeout=KERNEL_READY * 1000)
        self._wait_for_kernel()

    def _wait_for_kernel(self) -> None:
        # JupyterLab shows a kernel that does not run yet as idle, and forgets cells that are run meanwhile, or asks
        # which kernel to take.
        end = time.monotonic() + KERNEL_READY
        while not self._kernel_answers:
            assert time.monotonic() < end, f"no kernel answers after {KERNEL_READY} s"
            self.page.wait_for_timeout(500)
        self.page.locator(f"{NOTEBOOK} .jp-Notebook-ExecutionIndicator[data-status='idle']").wait_for()

    def send_cell(self, code: str) -> int:
        """Put code into the last cell and run it; the cell's place from the top, from 0."""
        cells = self.page.locator(f"{NOTEBOOK} .jp-CodeCell")
        place = cells.count() - 1
        cells.nth(place).locator(".cm-content").click()
        # In one piece: typed keys would be indented and completed by the editor.
        self.page.keyboard.insert_text(code)
        self.page.keyboard.press("Shift+Enter")
        return place

    def run_cell(self, code: str, pattern: str, seconds: float) -> str:
        """Run code in the last cell and return its output as soon as that matches; an error in the cell fails."""
        place = self.send_cell(code)
        output = self.page.locator(f"{NOTEBOOK} .jp-CodeCell").nth(place).locator(".jp-OutputArea")
        end = time.monotonic() + seconds
        while not re.search(pattern, text := "\n".join(output.all_inner_texts())):
            assert "Traceback" not in text, f"the cell failed:\n{text}"
            assert time.monotonic() < end, f"no {pattern!r} in the output after {seconds} s:\n{text}"
            self.page.wait_for_timeout(500)
        return text

    def new_terminal(self) -> None:
        self._launch("Other")
        self.page.locator(".jp-Terminal .xterm-helper-textarea").wait_for(state="attached", timeout=KERNEL_READY * 1000)

    def type_in_terminal(self, command: str, pattern: str, seconds: float) -> str:
        """Type a command line; what the terminal has been sent, once that matches."""
        self.page.locator(".jp-Terminal .xterm-helper-textarea").focus()
        self.page.keyboard.type(command, delay=30)
        self.page.keyboard.press("Enter")
        end = time.monotonic() + seconds
        while not re.search(pattern, text := "".join(self._terminal)):
            assert time.monotonic() < end, f"no {pattern!r} in the terminal after {seconds} s:\n{text}"
            self.page.wait_for_timeout(500)
        self.page.wait_for_timeout(1000)  # drawn, for the screenshot
        return text

    def back_to_notebook(self) -> None:
        self.page.locator("#jp-main-dock-panel .lm-TabBar-tab", has_text=".ipynb").first.click()
        self.page.locator(f"{NOTEBOOK} .jp-CodeCell").last.locator(".cm-content").wait_for()
