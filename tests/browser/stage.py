"""A real server, a real Chromium, and a teacher in front of it."""

import json
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import httpx2
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

from huleedu.platform.installation import CONTROL
from tests.acceptance.served import Served

ROOT = Path(__file__).parents[2]
CLASS = sorted((ROOT / "examples/class-9b").iterdir())
AXE = ROOT / "web/node_modules/axe-core/axe.min.js"
# A bare machine has no sandbox to give, no screen and no way out: Chromium shall not look for any.
FLAGS = [
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update"),
]
WIDE, NARROW = 1280, 390
PATIENCE_MS = 60_000
Scheme = Literal["light", "dark"]


@contextmanager
def chromium() -> Iterator[Browser]:
    """Run Debian's Chromium while the block runs."""
    found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if found is None:
        raise FileNotFoundError("The browser tests need Chromium: apt-get install chromium")
    expect.set_options(timeout=PATIENCE_MS)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=FLAGS)
        yield browser
        browser.close()


@dataclass
class Stage:
    """One server and its address; teachers come and go in contexts of their own."""

    server: Served
    data_dir: Path
    browser: Browser
    faults: list[str] = field(default_factory=list)
    """What the console of any page complained about: errors, and anything against the content policy."""

    def link(self, email: str) -> str:
        """Return a fresh sign-in link of an account, which is made if there is none."""
        self.operate("", email=email, name=email.partition("@")[0].title())
        return f"{self.server.url}{self.operate('/link', email=email)['path']}"

    def operate(self, path: str, **body: str) -> Any:  # noqa: ANN401 -- JSON
        """Ask the running server as the operator's commands do; they cannot run beside Playwright's own loop."""
        control = json.loads((self.data_dir / CONTROL).read_text())
        headers = {"authorization": f"Bearer {control['key']}"}
        url = f"{control['url']}/gateway/internal/v1/users{path}"
        return httpx2.post(url, json=body, headers=headers, trust_env=False, timeout=60).json()

    @contextmanager
    def context(
        self, *, language: str = "en-GB", scheme: Scheme = "light", width: int = WIDE, signed_in: str | None = None
    ) -> Iterator[BrowserContext]:
        """Open a browser of one's own, signed in as this account."""
        context = self.browser.new_context(
            locale=language,
            color_scheme=scheme,
            viewport={"width": width, "height": 844 if width == NARROW else 800},
            accept_downloads=True,
            reduced_motion="reduce",
        )
        context.set_default_timeout(PATIENCE_MS)
        context.on("console", lambda message: self._note(message.type, message.text))
        context.on("weberror", lambda error: self.faults.append(str(error.error)))
        if signed_in:
            page = context.new_page()
            page.goto(self.link(signed_in))
            page.wait_for_url(f"{self.server.url}/")
            page.close()
        yield context
        context.close()

    @contextmanager
    def page(self, **kind: Any) -> Iterator[Page]:  # noqa: ANN401 -- as `context`
        """Open one page in a browser of its own, at the start."""
        with self.context(**kind) as context:
            page = context.new_page()
            page.goto(self.server.url)
            yield page

    def _note(self, kind: str, text: str) -> None:
        # That a request was refused or the server away is told there too; the page tells it better.
        if kind == "error" and "Failed to load resource" not in text and "WebSocket connection" not in text:
            self.faults.append(text)


def origin(page: Page) -> str:
    """Return the address of the server that a page is from."""
    return "/".join(page.url.split("/", 3)[:3])


def ask(page: Page, method: str, path: str, body: object = None) -> Any:  # noqa: ANN401 -- JSON
    """Ask the interface in the name of whoever is signed in in this browser."""
    headers = {"origin": origin(page), "content-type": "application/json"}
    data = None if body is None else json.dumps(body)
    answer = page.request.fetch(f"{origin(page)}/v1{path}", method=method, headers=headers, data=data)
    assert answer.ok, (answer.status, answer.text())
    return answer.json() if answer.body() else None


def class_of(page: Page, files: Sequence[Path] = CLASS, *, title: str = "My place, 9B", start: bool = True) -> str:
    """Make a class with these files, quicker than by hand; return its id."""
    batch_id: str = ask(page, "POST", "/batches", {"title": title, "language": "en"})["batch_id"]
    boundary = "a-boundary-of-files"
    body = b"".join(
        f'--{boundary}\r\nContent-Disposition: form-data; name="files"; filename="{file.name}"\r\n\r\n'.encode()
        + file.read_bytes()
        + b"\r\n"
        for file in files
    )
    sent = page.request.fetch(
        f"{origin(page)}/v1/batches/{batch_id}/essays",
        method="POST",
        headers={"origin": origin(page), "content-type": f"multipart/form-data; boundary={boundary}"},
        data=body + f"--{boundary}--\r\n".encode(),
        timeout=60_000,
    )
    assert sent.ok, sent.text()
    if start:
        ask(page, "POST", f"/batches/{batch_id}/pipelines", {"requested_pipeline": "all"})
    return batch_id


def violations(page: Page) -> list[str]:
    """Return what axe finds wrong with a page: the rule, and where."""
    page.evaluate(AXE.read_text())
    found = page.evaluate("() => axe.run(document, {resultTypes: ['violations']})")
    return [
        f"{rule['id']}: {node['target']} {node.get('failureSummary', '')}"
        for rule in found["violations"]
        for node in rule["nodes"]
    ]


def overflows(page: Page) -> bool:
    """Whether the page as a whole has to be scrolled sideways."""
    return bool(page.evaluate("() => document.documentElement.scrollWidth > document.documentElement.clientWidth"))
