"""The whole way, as a teacher goes it: by mouse, by keyboard, and by the sample class."""

import csv
import io
import re
from pathlib import Path

import openpyxl
import pytest
from playwright.sync_api import Download, Page, Route, expect

from tests.browser.stage import CLASS, Stage, ask, class_of

pytestmark = pytest.mark.timeout(180)


def heading(page: Page, name: str) -> None:
    expect(page.get_by_role("heading", level=1, name=name)).to_be_visible()


def done(page: Page) -> None:
    expect(page.locator("h1 ~ p .badge")).to_have_text("Done")


def held_back(page: Page, address: str) -> list[Route]:
    """Let nothing that this page sends to an address leave; return what waits to be let go."""
    held: list[Route] = []
    page.route(address, lambda route: held.append(route) if route.request.method == "POST" else route.continue_())
    return held


def saved(page: Page, name: str, folder: Path) -> Path:
    with page.expect_download() as waiting:
        page.get_by_role("link", name=name).click()
    download: Download = waiting.value
    path = folder / download.suggested_filename
    download.save_as(path)
    return path


def test_from_the_link_to_the_export(stage: Stage, anna: str, tmp_path: Path) -> None:
    picture = tmp_path / "scan.png"
    picture.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(2000))
    with stage.context() as context:
        page = context.new_page()
        page.goto(stage.link(anna))
        page.wait_for_url(f"{stage.server.url}/")
        assert "#" not in page.url, "the secret stays in the address"
        page.get_by_role("link", name="New class").first.click()
        page.get_by_label("Name of the class").fill("=A place, 9B")
        page.locator("input[type=file]").set_input_files([*CLASS, picture])
        page.get_by_role("button", name="Make the class and upload 13 files").click()
        expect(page.get_by_text("1 file was refused")).to_be_visible()
        expect(page.get_by_text("The file is a picture. Upload the essay as typed text")).to_be_visible()
        page.get_by_role("link", name="Go to the class").click()
        heading(page, "=A place, 9B")
        page.get_by_role("button", name="Check the essays").click()
        expect(page.get_by_role("progressbar").first).to_be_visible()
        done(page)
        expect(page.locator(".essay .badge")).to_have_text(["Done"] * 12)

        page.get_by_role("link", name="See the results").click()
        heading(page, "Results =A place, 9B")
        expect(page.get_by_text("12 of 12 essays shown")).to_be_visible()
        words = page.get_by_role("columnheader", name=re.compile("Words")).first
        words.get_by_role("button").click()
        expect(words).to_have_attribute("aria-sort", re.compile("ascending|descending"))
        rows = list(csv.reader(io.StringIO(saved(page, "CSV", tmp_path).read_text("utf-8-sig"))))
        assert len(rows) == 13
        book = openpyxl.load_workbook(saved(page, "Excel", tmp_path))
        assert len(book.sheetnames) == 2
        assert book.worksheets[0].max_row == 13

        page.get_by_role("link", name="Tuva.txt").click()
        heading(page, "Tuva.txt")
        expect(page.get_by_role("button", name=re.compile("Spelling")).nth(5)).to_be_visible()
        page.keyboard.press("n")
        expect(page.get_by_text(re.compile(r"^Remark 1 of \d+"))).to_be_visible()
        page.get_by_role("button", name="Next essay").or_(page.get_by_role("link", name="Next essay")).click()
        expect(page.get_by_role("heading", level=1)).not_to_have_text("Tuva.txt")


def test_the_link_works_once(stage: Stage, anna: str) -> None:
    link = stage.link(anna)
    with stage.context() as first:
        page = first.new_page()
        page.goto(link)
        page.wait_for_url(f"{stage.server.url}/")
    with stage.context() as second:
        page = second.new_page()
        page.goto(link)
        expect(page.get_by_role("alert")).to_contain_text("has been used already")


def test_the_sample_class(stage: Stage, anna: str) -> None:
    with stage.page(signed_in=anna) as page:
        page.get_by_role("button", name="Try it with a sample class").click()
        heading(page, "Sample class 9B")
        expect(page.locator(".essay")).to_have_count(12)
        page.get_by_role("button", name="Check the essays").click()
        done(page)


def test_files_that_are_on_their_way_are_not_left_without_a_question(stage: Stage, anna: str) -> None:
    with stage.page(signed_in=anna) as page:
        uploads = held_back(page, "**/v1/batches/*/essays")
        page.get_by_role("link", name="New class").first.click()
        page.locator("input[type=file]").set_input_files(CLASS[:2])
        page.get_by_role("button", name="Make the class and upload 2 files").click()
        go_on = page.get_by_role("button", name="Go to the class")
        expect(go_on).to_be_disabled()
        question = page.get_by_role("alertdialog", name="Leave while files are being sent?")

        page.get_by_role("link", name="Your classes").click()
        question.get_by_role("button", name="Stay").click()
        expect(question).to_have_count(0)
        page.go_back()
        expect(question).to_be_visible()
        expect(page).to_have_url(re.compile("/batches/new$"))
        page.keyboard.press("Escape")
        heading(page, "New class")

        page.get_by_role("link", name="Your classes").click()
        question.get_by_role("button", name="Leave").click()
        heading(page, "Your classes")
        uploads.pop().continue_()
        expect(page.locator("li", has_text="2 essays")).to_be_visible()


def test_a_question_that_is_answered_by_the_last_file_goes_away(stage: Stage, anna: str, tmp_path: Path) -> None:
    picture = tmp_path / "scan.png"
    picture.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(2000))
    with stage.page(signed_in=anna) as page:
        classes = held_back(page, "**/v1/batches")
        page.get_by_role("link", name="New class").first.click()
        page.locator("input[type=file]").set_input_files(picture)
        page.get_by_role("button", name="Make the class and upload 1 file").click()
        page.get_by_role("link", name="Your classes").click()
        expect(page.get_by_role("alertdialog")).to_be_visible()
        classes.pop().continue_()
        expect(page.get_by_text("1 file was refused")).to_be_visible()
        expect(page.get_by_role("alertdialog")).to_have_count(0)
        expect(page.get_by_role("link", name="Go to the class")).to_be_visible()


def test_from_essay_to_essay_the_way_of_the_table(stage: Stage, anna: str) -> None:
    with stage.page(signed_in=anna) as page:
        batch_id = class_of(page, CLASS[:4], title="In order")
        page.goto(f"{stage.server.url}/batches/{batch_id}")
        done(page)
        page.get_by_role("link", name="See the results").click()
        essay = page.get_by_role("columnheader", name="Essay").get_by_role("button")
        essay.click()
        essay.click()
        names = [CLASS[3].name, CLASS[2].name, CLASS[1].name, CLASS[0].name]
        expect(page.get_by_role("rowheader")).to_have_text(names)
        page.get_by_role("link", name=names[0]).click()
        expect(page.get_by_text("Essay 1 of 4")).to_be_visible()
        asked: list[str] = []
        page.on("request", lambda request: asked.append(request.url.rpartition("/")[2]))
        page.keyboard.press("j")
        page.keyboard.press("j")
        heading(page, names[2])
        expect(page.locator(".reading")).to_be_visible()
        assert not {"status", "essays"} & set(asked)


def test_a_refusal_is_told_until_it_is_taken_off(stage: Stage, anna: str, tmp_path: Path) -> None:
    picture = tmp_path / "scan.png"
    picture.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(2000))
    with stage.page(signed_in=anna) as page:
        page.get_by_role("link", name="New class").first.click()
        page.get_by_label("Name of the class").fill("With a scan")
        page.locator("input[type=file]").set_input_files([CLASS[0], picture])
        page.get_by_role("button", name="Make the class and upload 2 files").click()
        page.get_by_role("link", name="Go to the class").click()
        heading(page, "With a scan")
        refusal = page.locator("li", has_text="The file is a picture")
        expect(refusal).to_be_visible()
        page.locator("input[type=file]").set_input_files(CLASS[1:])
        page.get_by_role("button", name="Upload 11 files").click()
        expect(page.get_by_text("11 files are stored. 1 file was refused")).to_be_visible()
        expect(page.get_by_role("listitem").filter(has_text="Stored")).to_have_count(0)

        page.evaluate("document.fonts.ready")
        apart = "() => document.querySelector('.essays').getBoundingClientRect().top"
        apart += " - document.querySelector('.drop').getBoundingClientRect().top"
        before = page.evaluate(apart)
        page.get_by_role("button", name="Check the essays").click()
        expect(page.get_by_text("Essays can be added again when the check is done")).to_be_visible()
        expect(refusal).to_be_visible()
        assert abs(page.evaluate(apart) - before) < 2
        done(page)
        refusal.get_by_role("button").click()
        expect(refusal).to_have_count(0)


def test_by_keyboard_alone(stage: Stage, anna: str) -> None:
    password = "a long password of mine"
    with stage.page(signed_in=anna) as page:
        ask(page, "PUT", "/me/password", {"password": password})
    with stage.context() as context:
        page = context.new_page()
        # Listened to from the start: a dialog that opens before anybody listens is the machine's own, and stays open.
        page.on("filechooser", lambda chooser: chooser.set_files(CLASS[4:6]))
        page.goto(f"{stage.server.url}/sign-in")
        page.get_by_label("E-mail").wait_for()
        _tab_to(page, "E-mail")
        page.keyboard.type(anna)
        _tab_to(page, "Password")
        page.keyboard.type(password)
        page.keyboard.press("Enter")
        heading(page, "Your classes")
        _tab_to(page, "New class")
        page.keyboard.press("Enter")
        heading(page, "New class")
        _tab_to(page, "Name of the class")
        page.keyboard.type("By keyboard")
        _tab_to(page, "Choose files")
        page.keyboard.press("Enter")
        page.get_by_role("button", name="Make the class and upload 2 files").wait_for()
        _tab_to(page, "Make the class and upload 2 files")
        page.keyboard.press("Enter")
        heading(page, "By keyboard")
        _tab_to(page, "Check the essays")
        page.keyboard.press("Enter")
        done(page)
        _tab_to(page, "See the results")
        page.keyboard.press("Enter")
        heading(page, "Results By keyboard")


def test_what_goes_away_when_it_is_pressed_leaves_the_focus_where_one_goes_on(stage: Stage, anna: str) -> None:
    with stage.page(signed_in=anna) as page:
        batch_id = class_of(page, CLASS[:1])
        page.goto(f"{stage.server.url}/?status=failed")
        page.get_by_role("button", name="Show all classes").press("Enter")
        expect(page.get_by_role("heading", level=1)).to_be_focused()

        page.goto(f"{stage.server.url}/batches/{batch_id}/results")
        page.get_by_label("Find an essay").fill("nowhere")
        page.get_by_role("button", name="Show all essays").press("Enter")
        expect(page.get_by_label("Find an essay")).to_be_focused()

        page.goto(f"{stage.server.url}/batches/new")
        page.locator("input[type=file]").set_input_files(CLASS[:3])
        files = page.locator("li button")
        files.nth(1).press("Enter")
        expect(files).to_have_count(2)
        expect(files.nth(1)).to_be_focused()
        files.nth(1).press("Enter")
        expect(page.get_by_role("button", name="Choose files")).to_be_focused()


def _tab_to(page: Page, name: str) -> None:
    """Press Tab until what has this name is in focus, which can be seen."""
    for _ in range(60):
        found = page.evaluate(
            """() => { const it = document.activeElement
                const label = it.labels?.[0]?.innerText ?? it.getAttribute('aria-label') ?? it.innerText ?? ''
                return [label.trim(), getComputedStyle(it).outlineStyle] }"""
        )
        if found[0].startswith(name):
            assert found[1] != "none" or page.evaluate("document.activeElement.matches('input')"), name
            return
        page.keyboard.press("Tab")
    raise AssertionError(f"{name} cannot be reached by Tab")
