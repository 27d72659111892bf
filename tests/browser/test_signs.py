"""What the page says when something is not as it should be, and what can be done about it there."""

import pytest
from playwright.sync_api import expect

from tests.browser.stage import CLASS, Stage, class_of

pytestmark = pytest.mark.timeout(180)


def test_a_link_is_not_lost_with_the_network(stage: Stage, anna: str) -> None:
    with stage.context() as context:
        page = context.new_page()
        page.route("**/v1/session", lambda route: route.abort())
        page.goto(stage.link(anna))
        expect(page.get_by_role("alert")).to_contain_text("cannot be reached")
        again = page.get_by_role("button", name="Try again")
        again.click()
        expect(again).to_be_focused()
        page.unroute("**/v1/session")
        page.keyboard.press("Enter")
        page.wait_for_url(f"{stage.server.url}/")
        expect(page.get_by_role("heading", level=1)).to_have_text("Your classes")


def test_an_old_link_leads_on_whom_it_let_in(stage: Stage, anna: str) -> None:
    link = stage.link(anna)
    with stage.context() as context:
        page = context.new_page()
        for _ in range(2):
            page.goto(link)
            page.wait_for_url(f"{stage.server.url}/")
            page.goto(f"{stage.server.url}/nowhere")
            expect(page.get_by_role("button", name="Account")).to_be_visible()


def test_signing_out_without_a_network_is_no_signing_out(stage: Stage, anna: str) -> None:
    with stage.context(signed_in=anna) as context:
        page = context.new_page()
        page.goto(f"{stage.server.url}/")
        account = page.get_by_role("button", name="Account")
        account.wait_for()
        context.set_offline(True)
        account.click()
        page.get_by_role("menuitem", name="Sign out").click()
        note = page.get_by_role("alert").filter(has_text="You are still signed in.")
        note.wait_for()
        context.set_offline(False)
        note.get_by_role("button", name="Try again").click()
        page.wait_for_url(f"{stage.server.url}/sign-in")
        expect(page.get_by_role("alert")).to_have_count(0)


def test_an_essay_opened_without_a_network_comes_with_it(stage: Stage, anna: str) -> None:
    with stage.context(signed_in=anna) as context:
        page = context.new_page()
        page.goto(f"{stage.server.url}/")
        batch_id = class_of(page, CLASS[4:5], start=False)
        page.goto(f"{stage.server.url}/batches/{batch_id}")
        page.route("**/v1/batches/*/essays/*", lambda route: route.abort())
        page.get_by_role("link", name=CLASS[4].name).click()
        again = page.get_by_role("alert").get_by_role("button", name="Try again")
        again.wait_for()
        page.unroute("**/v1/batches/*/essays/*")
        again.click()
        expect(page.get_by_role("region", name="The text")).to_be_visible()
