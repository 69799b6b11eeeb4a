"""The page in headless Chromium: search by ID, by upload, at two sizes."""

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from astropy.io import fits
from commands import run_twinjet
from playwright.sync_api import Browser, FilePayload, Page, expect, sync_playwright
from requirements import require
from skies import write_sky

pytestmark = pytest.mark.slow

# Where the screenshots go; the test's own folder when absent.
SCREENSHOTS = os.environ.get("TWINJET_TEST_SCREENSHOTS")

# Whatever the policy of the page forbids is said aloud; whatever markup runs, too.
VIOLATIONS = """
document.addEventListener("securitypolicyviolation", (event) => {
  throw new Error(`${event.violatedDirective} forbids ${event.blockedURI}`);
});
"""
MARKUP = "<img src=x onerror=document.title='run'>"

SIZES = {"laptop": (1366, 768), "phone": (390, 844)}


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    require(
        "chromium", available=chromium is not None, reason="Chromium is not installed"
    )
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=chromium,
            args=[
                "--no-sandbox",
                "--disable-gpu",
                "--disable-quic",
                "--disable-background-networking",
                "--disable-component-update",
                "--disable-sync",
            ],
        )
        yield browser
        browser.close()


@pytest.fixture(params=SIZES)
def page(browser: Browser, request: pytest.FixtureRequest) -> Iterator[Page]:
    """A page that allows no script error and no request to another host."""
    width, height = SIZES[request.param]
    context = browser.new_context(viewport={"width": width, "height": height})
    page = context.new_page()
    page.add_init_script(VIOLATIONS)
    faults: list[str] = []
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("console", lambda m: faults.append(m.text) if m.type == "error" else None)

    def watch(url: str) -> None:
        if not url.startswith(("http://127.0.0.1", "data:")):
            faults.append(url)

    page.on("request", lambda request: watch(request.url))
    yield page
    context.close()
    assert faults == []


def picture_is_drawn(page: Page, selector: str) -> None:
    page.wait_for_function(
        """s => {
            const image = document.querySelector(s);
            return image && image.complete && image.naturalWidth > 0;
        }""",
        arg=selector,
    )


def keep(page: Page, name: str, tmp_path: Path) -> None:
    assert page.viewport_size is not None
    width = page.viewport_size["width"]
    folder = Path(SCREENSHOTS or tmp_path)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}-{width}.png"
    page.wait_for_load_state("networkidle")
    page.screenshot(path=path)
    assert path.stat().st_size > 20_000


def test_a_source_is_found_by_its_id(
    page: Page, mirabest_server: str, tmp_path: Path
) -> None:
    page.goto(mirabest_server)
    picture_is_drawn(page, "[data-testid=example] img")
    page.get_by_test_id("search-box").fill("MB011.019+001.031")
    page.get_by_test_id("search-box").press("Enter")
    expect(page.get_by_test_id("query-panel")).to_contain_text("MB011.019+001.031")
    cards = page.get_by_test_id("result-card")
    expect(cards).to_have_count(max(10, cards.count()))
    picture_is_drawn(page, "[data-testid=result-card] img")
    keep(page, "by-id", tmp_path)
    second = cards.nth(1).get_attribute("data-source-id")
    cards.nth(1).locator("h3 a").click()
    expect(page.get_by_test_id("query-panel")).to_contain_text(second or "?")
    page.go_back()
    expect(page.get_by_test_id("query-panel")).to_contain_text("MB011.019+001.031")


def test_an_upload_finds_its_source(
    page: Page, mirabest_server: str, shared_data: Path, tmp_path: Path
) -> None:
    page.goto(mirabest_server)
    file = shared_data / "mirabest" / "original" / "MB011.019+001.031.fits"
    page.get_by_test_id("file-input").set_input_files(file)
    first = page.get_by_test_id("result-card").first
    expect(first).to_have_attribute(
        "data-source-id", "MB011.019+001.031", timeout=20_000
    )
    picture_is_drawn(page, "[data-testid=query-panel] img")
    keep(page, "by-upload", tmp_path)


def test_a_key_opens_the_page_and_markup_in_data_is_text(
    browser: Browser,
    serve: Callable[[Path], str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sky, home = tmp_path / "sky", tmp_path / "home"
    write_sky(sky, 12)
    catalogue = sky / "catalogue.csv"
    catalogue.write_text(catalogue.read_text().replace("T100+001", MARKUP))
    with fits.open(sky / "T001.fits", mode="update") as file:
        file[0].header["OBJECT"] = MARKUP
    run_twinjet("index", sky, home=home)
    key = run_twinjet("keys", "create", "reader", home=home).strip()
    monkeypatch.setenv("TWINJET_ANONYMOUS", "none")
    root = serve(home)
    context = browser.new_context()
    page = context.new_page()
    page.add_init_script(VIOLATIONS)
    faults: list[str] = []
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.goto(root)
    page.get_by_test_id("key").fill(key)
    page.get_by_test_id("key").press("Enter")
    picture_is_drawn(page, "[data-testid=example] img")
    page.get_by_test_id("search-box").fill(MARKUP)
    page.get_by_test_id("search-box").press("Enter")
    expect(page.get_by_test_id("query-title")).to_have_text(MARKUP)
    picture_is_drawn(page, "[data-testid=result-card] img")
    cutout = (sky / "T001.fits").read_bytes()
    upload = FilePayload(name=MARKUP, mimeType="image/fits", buffer=cutout)
    page.get_by_test_id("file-input").set_input_files(upload)
    expect(page.get_by_test_id("query-panel")).to_contain_text("as the encoder saw it")
    expect(page.get_by_test_id("query-title")).to_have_text(MARKUP)
    with page.expect_download() as saved:
        page.locator("[data-testid=result-card] a[download]").first.click()
    assert saved.value.path().read_bytes() == cutout
    assert page.locator("img[onerror]").count() == 0
    assert page.title() != "run"
    assert key not in page.url
    assert faults == []
    context.close()


def test_nothing_spills_over_the_side(page: Page, mirabest_server: str) -> None:
    page.goto(f"{mirabest_server}/?id=MB011.019%2B001.031")
    page.get_by_test_id("result-card").first.wait_for()
    wide = page.evaluate("document.documentElement.scrollWidth - window.innerWidth")
    assert wide <= 0


def test_the_api_can_be_tried_without_internet(
    page: Page, mirabest_server: str
) -> None:
    page.goto(f"{mirabest_server}/docs")
    expect(page.locator("#swagger-ui")).to_contain_text(
        "Neighbours of an uploaded cutout"
    )
