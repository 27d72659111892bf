"""The page in Chromium: how soon it shows and answers on a processor a quarter as fast, and how it scrolls.

Each load is a first visit, with nothing kept by the browser. Times are the page's own, from where its navigation began:
interactive is the moment when a real click, made as soon as heading and rows are there, has been handled and drawn;
it includes the way of the click from this process. The baseline is the sign-in page, loaded in the same way. Scrolling
is at the speed of a flick of a finger, 15,000 px/s, on this processor and on one a quarter as fast; its baseline is as
tall a page without anything on it.
"""

import gzip
import time
from collections.abc import Iterator
from contextlib import contextmanager
from statistics import median
from typing import NamedTuple

from _essays import essays
from _figures import duration, percentile, told
from _figures import time as figure_of
from _server import Teacher, served
from playwright.sync_api import Browser, Page

from huleedu.gateway.page import FOLDER
from tests.browser.stage import chromium

SLOWER, TIMES = 4, 3
SMALL, LARGE = 30, 2_000
WORDS = 40  # of an essay: how many there are matters here, not how long they are
LIMIT_KB = 250
FRAME_MS, FRAMES, STEP_PX = 50, 400, 250
PATIENCE_MS = 120_000
REST_MS = 3_000  # what is drawn after the rows is no part of scrolling
ROWS = "main a[href*='/essays/'], main tbody th"

NOTE = """
window.noted = {paint: 0, clicked: 0, long: 0}
new PerformanceObserver((list) => { for (const one of list.getEntries()) noted.paint = one.startTime })
  .observe({type: 'largest-contentful-paint', buffered: true})
new PerformanceObserver((list) => { for (const one of list.getEntries()) noted.long += one.duration })
  .observe({type: 'longtask', buffered: true})
addEventListener('click', () => requestAnimationFrame(() => setTimeout(() => noted.clicked = performance.now())), true)
"""
THERE = """
(rows) => new Promise((done) => {
  const look = () => {
    const heading = document.querySelector('h1')
    if (!heading || !document.querySelector(rows)) return requestAnimationFrame(look)
    const { x, y, width, height } = heading.getBoundingClientRect()
    done([x + width / 2, y + height / 2])
  }
  look()
})
"""
ANSWERED = """
() => new Promise((done) => {
  const look = () => (noted.clicked ? done(noted) : requestAnimationFrame(look))
  look()
})
"""
FIRST_PAINT = "performance.getEntriesByName('first-contentful-paint')[0].startTime"
SCRIPTS = "performance.getEntriesByType('resource').map((one) => one.name).filter((name) => name.endsWith('.js'))"
SCROLL = """
async ([step, most]) => {
  const scrolls = (one) => /auto|scroll/.test(getComputedStyle(one).overflowY)
  const rest = (one) => one.scrollHeight - one.clientHeight
  const boxes = [document.scrollingElement, ...[...document.querySelectorAll('main *')].filter(scrolls)]
  const box = boxes.reduce((one, other) => (rest(other) > rest(one) ? other : one))
  const frames = []
  await new Promise((done) => requestIdleCallback(done, {timeout: 5000}))
  await new Promise((done) => {
    let last = performance.now()
    const frame = (now) => {
      frames.push(now - last)
      last = now
      box.scrollTop += step
      if (frames.length < most && box.scrollTop < rest(box) - 1) requestAnimationFrame(frame)
      else done()
    }
    requestAnimationFrame(frame)
  })
  return [frames, box.scrollTop]
}
"""


class Load(NamedTuple):
    """One visit, in seconds; `long` is what long tasks took together until it answered."""

    first: float
    largest: float
    interactive: float
    long: float
    scripts: frozenset[str]


class Scroll(NamedTuple):
    """The frames of a way down, in milliseconds, and how far it was."""

    frames: list[float]
    height: float

    @property
    def slow(self) -> float:
        """The share of frames that took too long."""
        return sum(frame > FRAME_MS for frame in self.frames) / len(self.frames)


@contextmanager
def visit(browser: Browser, session: str | None, slower: int = SLOWER) -> Iterator[Page]:
    """Open an empty page in a browser of its own, signed in by this cookie, on a processor so much slower."""
    context = browser.new_context(viewport={"width": 1280, "height": 800})
    context.set_default_timeout(PATIENCE_MS)
    if session:
        context.add_cookies([{"name": "huleedu", "value": session, "domain": "127.0.0.1", "path": "/"}])
    page = context.new_page()
    page.add_init_script(NOTE)
    context.new_cdp_session(page).send("Emulation.setCPUThrottlingRate", {"rate": slower})
    yield page
    context.close()


def load(browser: Browser, url: str, session: str | None, rows: str) -> Load:
    with visit(browser, session) as page:
        page.goto(url, wait_until="commit")
        page.mouse.click(*page.evaluate(THERE, rows))
        noted = page.evaluate(ANSWERED)
        times = [page.evaluate(FIRST_PAINT), noted["paint"], noted["clicked"], noted["long"]]
        first, largest, interactive, long = (time / 1000 for time in times)
        scripts = frozenset(name.rpartition("/")[2] for name in page.evaluate(SCRIPTS))
        return Load(first, largest, interactive, long, scripts)


def scroll(browser: Browser, url: str, session: str, slower: int, height: float = 0) -> Scroll:
    """Go down the page, or one of this height with nothing on it."""
    with visit(browser, session, slower) as page:
        if height:
            page.set_content("<main></main>")
            page.evaluate("(height) => document.querySelector('main').style.height = `${height}px`", height)
        else:
            page.goto(url)
            page.evaluate(THERE, ROWS)
            page.wait_for_timeout(REST_MS)
        return Scroll(*page.evaluate(SCROLL, [STEP_PX, FRAMES]))


def scrolls(browser: Browser, url: str, session: str, slower: int) -> tuple[Scroll, Scroll]:
    """Go down the page, and down as tall a one with nothing on it."""
    down = scroll(browser, url, session, slower)
    return down, scroll(browser, "about:blank", session, slower, down.height)


def usual(loads: list[Load]) -> Load:
    """Return the medians."""
    first, largest, interactive, long, scripts = zip(*loads, strict=True)
    return Load(median(first), median(largest), median(interactive), median(long), frozenset.union(*scripts))


def zipped(names: frozenset[str] | None = None) -> float:
    """Return the size of these scripts, or of all, compressed, in kB."""
    scripts = [path for path in FOLDER.rglob("*.js") if names is None or path.name in names]
    return sum(len(gzip.compress(path.read_bytes())) for path in scripts) / 1000


def tell(what: str, found: Load, baseline: Load) -> None:
    for name in ("first", "largest", "interactive"):
        title = name if name == "interactive" else f"{name} contentful paint"
        more = (f"long tasks: {found.long:.2f} s",) if name == "interactive" else ()
        duration(f"{what}, {title}", getattr(found, name), ("sign-in page", getattr(baseline, name)), *more)


def checked(teacher: Teacher, count: int) -> str:
    """Make a class of so many short essays, have their spelling checked, and return its id."""
    began = time.perf_counter()
    batch_id = teacher.upload([" ".join(text.split()[:WORDS]) for text in essays(count)])
    sent = time.perf_counter() - began
    teacher.start(batch_id, "spellcheck")
    teacher.wait(batch_id)
    told(f"{count:,} essays sent and checked", figure_of(time.perf_counter() - began), f"sent in {figure_of(sent)}")
    return batch_id


def main() -> None:
    with served() as server:
        teacher = server.teacher("anna")
        pages = {count: f"{server.url}/batches/{checked(teacher, count)}" for count in (SMALL, LARGE)}
        session = server.session("anna")
        with chromium() as browser:
            sign_in = usual([load(browser, f"{server.url}/sign-in", None, "input") for _ in range(TIMES)])
            classes = {
                count: usual([load(browser, url, session, ROWS) for _ in range(TIMES)]) for count, url in pages.items()
            }
            results = load(browser, f"{pages[LARGE]}/results", session, ROWS)
            ways = {slower: scrolls(browser, f"{pages[LARGE]}/results", session, slower) for slower in (1, SLOWER)}
    for count, found in classes.items():
        tell(f"class of {count:,}", found, sign_in)
    tell(f"results of {LARGE:,}", results, sign_in)
    for slower, (down, bare) in ways.items():
        told(
            f"{LARGE:,} results scrolled{f', {slower} x slower' if slower > 1 else ''}, frames over {FRAME_MS} ms",
            f"{down.slow:.1%}",
            f"nothing on the page: {bare.slow:.1%}",
            f"{len(down.frames)} frames, {down.height:,.0f} px",
            *(f"p{percent} {percentile(down.frames, percent):.0f} ms" for percent in (50, 90, 99)),
        )
    limit, smallest = f"limit: {LIMIT_KB}", f"sign-in page: {zipped(sign_in.scripts):.0f}"
    told("JavaScript, all together", f"{zipped():.0f} kB gzip", limit, smallest)
    for what, found in (("a class", classes[LARGE]), ("its results", results)):
        told(f"JavaScript that the page of {what} loads", f"{zipped(found.scripts):.0f} kB gzip", limit, smallest)


if __name__ == "__main__":
    main()
