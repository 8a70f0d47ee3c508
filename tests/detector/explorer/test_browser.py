"""The page in a browser, served as the command serves it: photos are dropped, sliders moved, pictures watched."""

import base64
import os
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import uvicorn
from playwright.sync_api import Browser, Page, sync_playwright

from detector.explorer import Explanation
from detector.explorer.image_cache import ImageCache
from detector.explorer.page import make_page
from detector.explorer.regions import region_at
from detector.explorer.server import listen

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium on the path")

PANELS = ("segmentation", "levels", "proposals", "region", "regression", "suppression", "detections")


@pytest.fixture(scope="module")
def address(image_cache: ImageCache) -> Iterator[str]:
    listening = listen("127.0.0.1", 0)
    page = make_page(image_cache, megabytes=1, hosts=("127.0.0.1",))
    # The lifespan would close the image_cache, which other tests use.
    server = uvicorn.Server(uvicorn.Config(page, log_level="warning", lifespan="off"))
    thread = threading.Thread(target=lambda: server.run(sockets=[listening]))
    thread.start()
    yield f"http://127.0.0.1:{listening.getsockname()[1]}/"
    server.should_exit = True
    thread.join(20)
    listening.close()
    assert not thread.is_alive()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as started:
        options = ["--no-sandbox"] if hasattr(os, "geteuid") and os.geteuid() == 0 else []
        browser = started.chromium.launch(executable_path=CHROMIUM, args=options)
        yield browser
        browser.close()


class Visitor:
    """A visitor's page; remembers what it asked for and what it complained of."""

    def __init__(self, browser: Browser, address: str, **options: Any) -> None:
        self.page: Page = browser.new_page(**options)
        self.page.set_default_timeout(20_000)
        self.requested: list[str] = []
        self.complaints: list[str] = []
        self.page.on("request", lambda request: self.requested.append(request.url))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("console", lambda message: self.complaints.append(message.text))
        self.page.goto(address)

    def drop(self, path: Path) -> None:
        content = base64.b64encode(path.read_bytes()).decode()
        dropped = self.page.evaluate_handle(
            """([content, name]) => {
                const bytes = Uint8Array.from(atob(content), (letter) => letter.charCodeAt(0));
                const dropped = new DataTransfer();
                dropped.items.add(new File([bytes], name));
                return dropped;
            }""",
            [content, path.name],
        )
        self.page.dispatch_event("#drop", "drop", {"dataTransfer": dropped})

    def wait_for(self, name: str) -> None:
        self.page.wait_for_selector(f"#photo:has-text('{name}')")
        for panel in PANELS:
            self.page.wait_for_selector(f"#{panel} .panel img")

    def pictures(self, panel: str) -> list[str]:
        return self.page.eval_on_selector_all(f"#{panel} .panel img", "images => images.map((one) => one.src)")

    def wait_for_change(self, panel: str, before: list[str]) -> None:
        self.page.wait_for_function(
            """([panel, before]) => {
                const now = [...document.querySelectorAll(`#${panel} .panel img`)].map((one) => one.src);
                return now.length && now.join() !== before;
            }""",
            arg=[panel, ",".join(before)],
        )


@pytest.fixture(scope="module")
def visitor(browser: Browser, address: str, photos: Path) -> Visitor:
    visitor = Visitor(browser, address)
    visitor.drop(photos / "cat.jpg")
    visitor.wait_for("cat.jpg")
    return visitor


def test_a_dropped_photo_shows_every_stage(visitor: Visitor):
    assert len(visitor.pictures("segmentation")) == 8
    assert all(visitor.pictures(panel)[0].startswith("data:image/jpeg") for panel in PANELS)
    assert "cat" in visitor.page.inner_text("#detections tbody")
    sizes = visitor.page.eval_on_selector_all(".panel img", "images => images.map((one) => one.naturalWidth)")
    assert min(sizes) > 100, "the pictures are decoded"


@pytest.mark.parametrize(
    ("panel", "control", "key"),
    [
        ("levels", "count", "Home"), ("proposals", "count", "Home"), ("regression", "score", "End"),
        ("suppression", "score", "End"), ("suppression", "iou", "End"), ("detections", "score", "End"),
    ],
)  # fmt: skip
def test_a_slider_changes_pictures(visitor: Visitor, panel: str, control: str, key: str):
    slider = visitor.page.locator(f"#{panel} [name={control}]")
    start = slider.input_value()
    shown = visitor.page.locator(f"#{panel} label:has([name={control}]) output")
    before, told = visitor.pictures(panel), shown.inner_text()
    slider.press(key)
    visitor.wait_for_change(panel, before)
    assert shown.inner_text() != told
    after = visitor.pictures(panel)
    slider.fill(start)
    visitor.wait_for_change(panel, after)
    assert visitor.pictures(panel) == before


@pytest.mark.parametrize(
    ("panel", "control", "option"),
    [("segmentation", "k", "100"), ("levels", "space", "H"), ("proposals", "source", "3"), ("region", "label", "3")],
)
def test_a_choice_changes_pictures(visitor: Visitor, panel: str, control: str, option: str):
    before = visitor.pictures(panel)
    visitor.page.select_option(f"#{panel} [name={control}]", option)
    visitor.wait_for_change(panel, before)


def test_the_region_under_the_pointer_is_shown(visitor: Visitor, explanation: Explanation):
    photo = visitor.page.locator("#region img[data-pick]")
    before, person = visitor.pictures("region"), explanation.class_names.index("person")
    visitor.page.select_option("#region [name=label]", str(person))  # of "cat" the whole photo is surest everywhere
    visitor.wait_for_change("region", before)
    places, width, height = np.linspace(0.02, 0.98, 7), explanation.image.width, explanation.image.height
    surest = {region_at(explanation, x * width, y * height, person): (x, y) for x in places for y in places}
    surest.pop(int(visitor.page.input_value("#region [name=region]")), None)  # is shown already
    seen = set()
    for x, y in list(surest.values())[:2]:
        before = visitor.pictures("region")
        photo.scroll_into_view_if_needed()
        frame = photo.bounding_box()
        visitor.page.mouse.move(frame["x"] + x * frame["width"], frame["y"] + y * frame["height"])
        visitor.wait_for_change("region", before)
        seen.add(visitor.page.inner_text("#region .text"))
    assert len(seen) == 2


def test_what_is_no_photo_is_said_and_the_page_goes_on(visitor: Visitor, tmp_path: Path, photos: Path):
    (tmp_path / "notes.jpg").write_text("not a photo")
    visitor.drop(tmp_path / "notes.jpg")
    visitor.page.wait_for_selector("#status.error")
    assert visitor.page.inner_text("#status").startswith("notes.jpg: not a photo in a known format")
    (tmp_path / "large.jpg").write_bytes(b"\0" * 1_200_000)
    visitor.drop(tmp_path / "large.jpg")
    visitor.page.wait_for_selector("#status:has-text('larger than 1 MB')")
    assert "cat.jpg" in visitor.page.inner_text("#photo"), "the photo before is still there"
    visitor.page.set_input_files("#drop input", photos / "astronaut.jpg")
    visitor.wait_for("astronaut.jpg")
    assert visitor.page.inner_text("#status") == ""
    visitor.complaints[:] = [one for one in visitor.complaints if "422" not in one and "413" not in one]


def test_nothing_was_asked_of_another_machine_and_nothing_was_blocked(visitor: Visitor, address: str):
    own = [url for url in visitor.requested if url.startswith((address, "data:image/jpeg"))]
    assert own == visitor.requested
    assert visitor.complaints == []


def test_two_visitors_have_a_photo_each(visitor: Visitor, browser: Browser, address: str):
    other = Visitor(browser, address)
    other.page.click("button[title=cat]")
    other.wait_for("cat.jpg")
    before = visitor.pictures("detections")
    visitor.page.locator("#detections [name=score]").press("Home")
    visitor.wait_for_change("detections", before)
    assert "person" in visitor.page.inner_text("#detections tbody")
    assert "cat" in other.page.inner_text("#detections tbody")
    other.page.close()


def test_a_phone_at_night(browser: Browser, address: str):
    phone = Visitor(browser, address, viewport={"width": 390, "height": 800}, color_scheme="dark")
    phone.page.click("button[title=astronaut]")
    phone.wait_for("astronaut.jpg")
    assert phone.page.evaluate("document.documentElement.scrollWidth") == 390, "nothing sticks out"
    paper, ink = phone.page.evaluate(
        "[getComputedStyle(document.body).backgroundColor, getComputedStyle(document.body).color]"
    )
    assert sum(map(int, paper[4:-1].split(","))) < 150 < 500 < sum(map(int, ink[4:-1].split(",")))
    before = phone.pictures("region")
    phone.page.locator("#region img[data-pick]").click(position={"x": 340, "y": 200})
    phone.wait_for_change("region", before)
    phone.page.close()
