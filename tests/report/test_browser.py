"""The page in a real browser, opened from disk: clicked through, no error, no request, masks where they belong."""

from __future__ import annotations

import io
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from kits_submit.commands.report import report_command
from kits_submit.labels import KITS23, TUMOR
from kits_submit.report.viewer.server import LocalServer
from kits_submit.report.viewer.viewing import viewer_contents
from tests.conftest import save
from tests.report.scenes import EVIL, write_run

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
SOFTWARE_GL = ["--no-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--ignore-gpu-blocklist"]
PATIENT_MS = 90_000
TUMOR_RGB = (255, 96, 64)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    if CHROMIUM is None:
        pytest.skip("needs a browser: apt-get install chromium")
    playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright: make dev")
    with playwright.sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path=CHROMIUM, args=SOFTWARE_GL)
        yield chromium
        chromium.close()


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    output, source = write_run(tmp_path_factory.mktemp("run"))
    report_command(output, images=source, labels=None, out=None, protocol=None, full=False, watch=False)
    return output / "report.html"


class Watched:
    """A page with what went wrong on it, and what it asked for beyond the file itself."""

    def __init__(self, browser: Any, **options: Any) -> None:
        self.page = browser.new_page(viewport={"width": 900, "height": 700}, **options)
        self.page.set_default_timeout(PATIENT_MS)
        self.errors: list[str] = []
        self.requests: list[str] = []
        self.page.on("console", lambda m: self.errors.append(m.text) if m.type in ("error", "warning") else None)
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("dialog", lambda dialog: (self.errors.append("a dialog"), dialog.dismiss()))
        self.page.on("request", lambda r: self.requests.append(r.url))

    @property
    def asked(self) -> list[str]:
        return [url for url in self.requests if not url.startswith(("data:", "blob:", "file:"))]

    def cases(self) -> list[str]:
        return list(self.page.locator("#cases tbody tr:visible th").all_inner_texts())

    def where(self) -> str:
        return str(self.page.locator(".where:visible").inner_text())


def test_a_reader_clicks_through(browser: Any, report: Path) -> None:
    watched = Watched(browser)
    page = watched.page
    page.goto(report.as_uri())
    assert watched.cases() == ["case_00000", EVIL, "case_00009"]

    page.click("#cases th[data-key=kidney_dice] button")
    assert watched.cases() == [EVIL, "case_00000", "case_00009"]  # 0.81, 0.91, none
    page.click("#cases th[data-key=kidney_dice] button")
    assert watched.cases() == ["case_00000", EVIL, "case_00009"]
    page.select_option("#worst", "tumor_dice")
    assert watched.cases() == ["case_00009", "case_00000", EVIL]  # failed, 0.5, 0.7
    page.fill("#filter", "gzip")
    assert watched.cases() == ["case_00009"]
    page.fill("#filter", "")

    page.click("#cases a:has-text('case_00000')")
    page.wait_for_selector(".viewer[data-ready]")
    assert "slice 6 of 20" in watched.where()  # through the tumor's largest section
    page.focus(".viewer:visible canvas")
    page.keyboard.press("ArrowDown")
    assert "slice 7 of 20" in watched.where()
    page.mouse.move(150, 300)
    page.click(".jumps button:has-text('tumor') >> nth=0")
    assert "prediction: tumor" in watched.where()
    page.click(".viewer:visible >> text=label >> nth=0")
    for view in ("axial", "coronal", "surface", "multi"):
        page.click(f".viewer:visible button[data-value={view}]")
    page.click(".viewer:visible button[data-value=bone]")
    page.click(".viewer:visible button[data-value=fill]")
    page.click("#next")
    page.wait_for_selector(".viewer[data-ready]:visible")
    assert watched.errors == []
    assert watched.asked == []
    page.close()


def test_without_webgl_the_pictures_remain(browser: Any, report: Path) -> None:
    watched = Watched(browser)
    watched.page.add_init_script("HTMLCanvasElement.prototype.getContext = () => null")
    watched.page.goto(f"{report.as_uri()}#case-0")
    assert "no WebGL 2" in watched.page.locator(".without:visible").inner_text()
    assert watched.page.locator("section.case:visible .picture img").count() == 3
    assert not watched.page.locator(".viewer:visible").count()
    assert watched.errors == []
    watched.page.close()


def test_it_prints_every_case(browser: Any, report: Path) -> None:
    watched = Watched(browser)
    watched.page.goto(report.as_uri())
    watched.page.emulate_media(media="print")
    assert watched.page.locator("section.case:visible").count() == 2
    assert not watched.page.locator(".controls:visible").count()
    assert len(watched.page.pdf()) > 20_000
    watched.page.close()


SPACING = {"I": 4.0, "S": 4.0}


def affine_of(axes: str) -> np.ndarray:
    """Of a file whose axes run as named, 2 mm in plane and 4 mm along the body."""
    affine = np.zeros((4, 4))
    affine[3, 3] = 1
    for column, letter in enumerate(axes):
        row = ["LR", "PA", "IS"].index(next(pair for pair in ("LR", "PA", "IS") if letter in pair))
        affine[row, column] = SPACING.get(letter, 2.0) * (1 if letter in "RAS" else -1)
    return affine


def stored(canonical: np.ndarray, axes: str) -> np.ndarray:
    """A Z, Y, X array (to the feet, the back, the patient's left) in a file's axes."""
    order = [next(n for n, pair in enumerate(("IS", "PA", "LR")) if letter in pair) for letter in axes]
    flips = tuple(slice(None, None, 1 if letter in "IPL" else -1) for letter in axes)
    return canonical.transpose(order)[flips]


@pytest.mark.parametrize("axes", ["IPL", "RAS", "LPS", "ASL"])
def test_a_mask_sits_where_its_voxels_are(browser: Any, tmp_path: Path, axes: str) -> None:
    image, mask = np.full((16, 60, 80), -1000, np.int16), np.zeros((16, 60, 80), np.uint8)
    image[:, 5:55, 5:75] = 0
    block = (slice(3, 9), slice(36, 48), slice(12, 28))  # towards the back, on the patient's right
    image[block], mask[block] = 900, TUMOR
    scan = save(tmp_path / "imaging.nii.gz", stored(image, axes), affine_of(axes))
    label = save(tmp_path / "mask.nii.gz", stored(mask, axes), affine_of(axes))
    server = LocalServer(viewer_contents("a", scan, [label], KITS23))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    watched = Watched(browser)
    page = watched.page
    page.goto(server.address)
    page.wait_for_selector(".viewer[data-ready]")
    page.click("button[data-value=axial]")
    page.evaluate("document.documentElement.viewer.nv.setCrosshairWidth(0)")
    page.click("button[data-value=fill]")
    page.fill("input[name=opacity]", "1")
    painted = near(shot(page), TUMOR_RGB)
    page.click("input[name=overlay]")
    pixels = shot(page)
    bright, body = near(pixels, (255, 255, 255)), pixels.min(axis=-1) > 60
    server.shutdown()
    server.server_close()
    page.close()
    assert watched.errors == []
    assert painted.sum() > 500
    assert (painted & bright).sum() > 0.9 * (painted | bright).sum()
    rows, columns = np.nonzero(painted)
    body_rows, body_columns = np.nonzero(body)
    across = (columns.mean() - body_columns.min()) / np.ptp(body_columns)
    down = (rows.mean() - body_rows.min()) / np.ptp(body_rows)
    assert across == pytest.approx((20 - 5) / 70, abs=0.03)  # the patient's right is on the left
    assert down == pytest.approx((42 - 5) / 50, abs=0.03)


def shot(page: Any) -> np.ndarray:
    """The canvas's pixels, without its edge, where the letters are."""
    page.wait_for_timeout(300)
    pixels = np.asarray(Image.open(io.BytesIO(page.locator("canvas").screenshot())).convert("RGB")).astype(int)
    pixels[:28], pixels[-28:], pixels[:, :28], pixels[:, -28:] = 0, 0, 0, 0
    return pixels


def near(pixels: np.ndarray, colour: tuple[int, int, int]) -> np.ndarray:
    return np.asarray(np.abs(pixels - np.array(colour)).max(axis=-1) < 12)
