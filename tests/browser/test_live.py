"""What happens under an open page: reloads, other tabs, no network, a server that is killed, another teacher."""

import os
import re
import signal
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.acceptance.served import Served, served
from tests.browser.stage import CLASS, Stage, ask, class_of, origin

pytestmark = pytest.mark.timeout(180)


def open_class(page: Page, batch_id: str) -> None:
    page.goto(f"{origin(page)}/batches/{batch_id}")
    expect(page.locator("h1 ~ p .badge")).to_be_visible()
    expect(page.get_by_text("Live", exact=True)).to_be_visible()


def badge(page: Page, text: str) -> None:
    expect(page.locator("h1 ~ p .badge")).to_have_text(text)


def test_a_page_reloaded_in_the_middle_shows_the_truth(stage: Stage, anna: str) -> None:
    with stage.page(signed_in=anna) as page:
        open_class(page, class_of(page, start=False))
        page.get_by_role("button", name="Check the essays").click()
        page.locator(".essay .badge", has_text=re.compile("In progress|Done")).first.wait_for()
        page.reload()
        badge(page, "Done")
        expect(page.locator(".essay .badge")).to_have_text(["Done"] * 12)


def test_two_tabs_tell_the_same(stage: Stage, anna: str) -> None:
    with stage.context(signed_in=anna) as context:
        one, two = context.new_page(), context.new_page()
        for page in (one, two):
            page.goto(stage.server.url)
        batch_id = class_of(one, start=False)
        open_class(one, batch_id)
        open_class(two, batch_id)
        one.get_by_role("button", name="Check the essays").click()
        for page in (two, one):
            badge(page, "Done")
            expect(page.locator(".essay .badge")).to_have_text(["Done"] * 12)
        two.goto(stage.server.url)
        expect(two.locator("li .badge")).to_have_text("Done")
        ask(one, "DELETE", f"/batches/{batch_id}")
        expect(two.locator("li .badge")).to_have_count(0)
        expect(one.get_by_role("heading", level=1)).to_have_text("This class has been deleted")


def test_a_class_that_is_deleted_elsewhere_is_told_on_every_page_of_it(stage: Stage, anna: str) -> None:
    with stage.context(signed_in=anna) as context:
        pages = [context.new_page() for _ in range(3)]
        pages[0].goto(stage.server.url)
        batch_id = class_of(pages[0], CLASS[:1], start=False)
        open_class(pages[0], batch_id)
        pages[0].get_by_role("link", name=CLASS[0].name).wait_for()
        essay_id = ask(pages[0], "GET", f"/batches/{batch_id}/essays")["items"][0]["essay_id"]
        for page, path in zip(pages, ("", "/results", f"/essays/{essay_id}"), strict=True):
            page.goto(f"{stage.server.url}/batches/{batch_id}{path}")
            expect(page.get_by_role("heading", level=1)).to_have_text(re.compile(rf"My place|{CLASS[0].name}"))
            expect(page.get_by_text("Live", exact=True)).to_be_visible()
        ask(pages[0], "DELETE", f"/batches/{batch_id}")
        for page in pages:
            expect(page.get_by_role("heading", level=1)).to_have_text("This class has been deleted")
            expect(page.get_by_role("main").get_by_role("link", name="Your classes")).to_be_visible()
            page.reload()
            expect(page.get_by_role("heading", level=1)).to_have_text("This class cannot be shown")
            page.get_by_role("main").get_by_role("link", name="Your classes").click()
            page.wait_for_url(f"{stage.server.url}/")


def test_results_that_come_in_are_not_read_out_one_by_one(stage: Stage, anna: str) -> None:
    with stage.page(signed_in=anna) as page:
        batch_id = class_of(page, start=False)
        page.goto(f"{origin(page)}/batches/{batch_id}/results")
        ask(page, "POST", f"/batches/{batch_id}/pipelines", {"requested_pipeline": "all"})
        aloud = page.get_by_role("main").get_by_role("status")
        page.get_by_label("Status").select_option("completed")
        expect(aloud).to_have_text(re.compile("of 12 essays shown"))
        page.evaluate(
            """() => { window.said = 0
                const region = document.querySelector('main [role=status]')
                const follow = new MutationObserver(() => window.said++)
                follow.observe(region, { subtree: true, childList: true, characterData: true }) }"""
        )
        expect(page.get_by_text("12 of 12 essays shown").first).to_be_visible()
        assert page.evaluate("window.said") == 0
        page.get_by_label("Find an essay").fill("Tuva")
        expect(aloud).to_have_text("1 of 12 essays shown")


def test_offline_and_back(stage: Stage, anna: str) -> None:
    with stage.context(signed_in=anna) as context:
        page, other = context.new_page(), stage.browser.new_context(storage_state=context.storage_state())
        page.goto(stage.server.url)
        batch_id = class_of(page, start=False)
        open_class(page, batch_id)
        context.set_offline(True)
        page.evaluate("window.dispatchEvent(new Event('offline'))")
        expect(page.get_by_text(re.compile("Offline since")).first).to_be_visible()
        elsewhere = other.new_page()
        elsewhere.goto(stage.server.url)
        ask(elsewhere, "POST", f"/batches/{batch_id}/pipelines", {"requested_pipeline": "all"})
        elsewhere.goto(f"{stage.server.url}/batches/{batch_id}")
        badge(elsewhere, "Done")
        badge(page, "Ready to start")
        context.set_offline(False)
        badge(page, "Done")
        expect(page.get_by_text("Live", exact=True)).to_be_visible()
        other.close()


def test_the_server_is_killed_and_started_again_under_the_page(stage: Stage, tmp_path: Path) -> None:
    data_dir = tmp_path / "own"
    server = Served(data_dir)
    port = server.url.rpartition(":")[2]
    own = Stage(server, data_dir, stage.browser)
    try:
        with own.page(signed_in="anna@school.se") as page:
            open_class(page, class_of(page, start=False))
            page.get_by_role("button", name="Check the essays").click()
            page.locator(".essay .badge", has_text=re.compile("In progress|Done")).first.wait_for()
            os.kill(server.process.pid, signal.SIGKILL)
            server.ended()
            expect(page.get_by_text(re.compile("Offline since")).first).to_be_visible()
            with served(data_dir, "--port", port):
                badge(page, "Done")
                expect(page.get_by_text("Live", exact=True)).to_be_visible()
                expect(page.locator(".essay .badge")).to_have_text(["Done"] * 12)
    finally:
        if server.process.poll() is None:
            server.stop()


def test_another_teacher_finds_nothing_at_these_addresses(stage: Stage, anna: str) -> None:
    with stage.page(signed_in=anna) as page:
        batch_id = class_of(page, CLASS[4:5], title="Nobody else's", start=False)
        open_class(page, batch_id)
        page.get_by_role("link", name=CLASS[4].name).click()
        expect(page.get_by_role("heading", level=1)).to_contain_text(CLASS[4].name)
        essay = page.url.removeprefix(f"{stage.server.url}/batches/{batch_id}")
    with stage.page(signed_in=f"bo.{anna}") as page:
        expect(page.get_by_role("button", name="Try it with a sample class")).to_be_visible()
        for path in ("", "/results", essay):
            page.goto(f"{stage.server.url}/batches/{batch_id}{path}")
            expect(page.get_by_role("alert")).to_be_visible()
            assert "Nobody else's" not in page.content()
            assert CLASS[4].name not in page.content()


def test_signing_out_in_one_tab_shuts_the_other(stage: Stage, anna: str) -> None:
    with stage.context(signed_in=anna) as context:
        one, two = context.new_page(), context.new_page()
        two.goto(stage.server.url)
        expect(two.get_by_text("Live", exact=True)).to_be_visible()
        one.goto(f"{stage.server.url}/account")
        one.get_by_role("main").get_by_role("button", name="Sign out", exact=True).click()
        two.wait_for_url(re.compile("/sign-in"))
