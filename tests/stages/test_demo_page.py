"""The demo's page in a browser, served by the command itself."""

import os
import pathlib
import shutil
import signal
import subprocess
import sys

import pytest
import tiny
from PIL import Image

from tf_simclr.config import ModelConfig
from tf_simclr.export.saved_model import export_network

for package in ("fastapi", "uvicorn", "selenium"):
    pytest.importorskip(package)
from selenium import webdriver  # noqa: E402
from selenium.webdriver.common.by import By  # noqa: E402
from selenium.webdriver.support.ui import WebDriverWait  # noqa: E402

BROWSER, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
pytestmark = pytest.mark.skipif(not (BROWSER and DRIVER), reason="needs chromium and chromedriver")
CLASSES = ("<b>left</b>", "<img src=x onerror=document.title='hit'>", "both & more")
FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync", "--window-size=1000,900"),
)


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    """Where a demo of three classes with hostile names is served; its end is checked too."""
    home = tmp_path_factory.mktemp("page")
    pixels, labels = tiny.images(30, 0)
    tiny.write_npz(home / "images.npz", pixels, labels, CLASSES)
    with pytest.MonkeyPatch.context() as patched:
        tiny.shorten(patched)
        spec = ModelConfig(depth=10, width=0.0625, stem="cifar2", image_size=16, channels=1)
        export_network(tiny.scattered_network(spec), CLASSES, home / "export")
    command = ["-m", "tf_simclr", "--stage=demo", f"--from={home / 'export'}", f"--data_dir={home / 'images.npz'}", "--port=0"]
    environment = {**os.environ, "PYTHONPATH": str(pathlib.Path(__file__).parents[2])}
    log = open(home / "log.txt", "w+")
    server = subprocess.Popen([sys.executable, *command], env=environment, stdout=subprocess.PIPE, stderr=log, text=True)
    with log, server:
        line = server.stdout.readline().strip()
        log.seek(0)
        assert line.startswith("http://127.0.0.1:"), log.read()
        yield line
        server.send_signal(signal.SIGTERM)
        assert server.wait(10) == 0
        log.seek(0)
        assert "Traceback" not in log.read()


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    options = webdriver.ChromeOptions()
    options.binary_location = BROWSER
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('browser')}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options, webdriver.ChromeService(DRIVER))
    yield driver
    driver.quit()


@pytest.fixture
def page(browser, address):
    """The browser, once it shows the page as it is at first."""
    browser.get(address)
    wait_for(browser, "#about", lambda texts: "3 classes" in texts[0])
    return browser


def wait_for(browser, selector, holds):
    """The texts of the elements that a selector finds, as soon as they are as they should be."""

    def texts(_):
        found = [element.text for element in browser.find_elements(By.CSS_SELECTOR, selector)]
        return found if holds(found) else None

    return WebDriverWait(browser, 15).until(texts)


def give(browser, path):
    browser.find_element(By.ID, "file").send_keys(str(path))


def save(path, number=4):
    Image.fromarray(tiny.images(30, 0)[0][number]).save(path)
    return path


def test_an_image_is_classified_and_its_neighbours_are_shown(page, tmp_path):
    give(page, save(tmp_path / "image.png"))
    (verdict,) = wait_for(page, "#verdict", lambda texts: texts[0] in CLASSES)  # as text, whatever it looks like
    names = wait_for(page, "#bars .name", lambda texts: len(texts) == 3)
    assert names[0] == verdict and set(names) == set(CLASSES)
    shares = [float(text.rstrip(" %")) for text in wait_for(page, "#bars .number", len)]
    widths = [element.size["width"] for element in page.find_elements(By.CSS_SELECTOR, "#bars .fill")]
    assert sum(shares) == pytest.approx(100, abs=0.2) and widths == sorted(widths, reverse=True) and widths[0] > widths[-1]
    labels = wait_for(page, "#neighbours .name", len)
    assert len(labels) == 8 and set(labels) <= set(CLASSES) and wait_for(page, "#neighbours .quiet", len)[0] == "1.000"
    loaded = "return [...document.images].every(i => i.complete && i.naturalWidth > 0) && document.images.length"
    WebDriverWait(page, 10).until(lambda _: page.execute_script(loaded) == 9)
    assert page.title == "tf_simclr demo"
    # The browser itself says what the policy refused; the page must not need any of it.
    assert [entry for entry in page.get_log("browser") if entry["level"] == "SEVERE"] == []


def test_what_is_no_image_is_rejected_with_the_reason(page, tmp_path):
    (tmp_path / "image.png").write_text("garbage")
    give(page, save(tmp_path / "first.png"))
    wait_for(page, "#neighbours .name", len)
    give(page, tmp_path / "image.png")
    wait_for(page, "#verdict", lambda texts: texts == ["Rejected"])
    assert wait_for(page, "#reason", len) == ["The image must be a JPEG, PNG, GIF or BMP image."]
    assert not page.find_element(By.ID, "nearest").is_displayed() and not page.find_elements(By.CSS_SELECTOR, "#bars li")
    with open(tmp_path / "large.png", "wb") as file:
        file.truncate(20_000_001)
    give(page, tmp_path / "large.png")
    wait_for(page, "#reason", lambda texts: texts == ["an image must have at most 20,000,000 bytes"])


def test_an_image_may_be_dropped_or_pasted(page):
    event = """
        const [way, done] = arguments, canvas = document.createElement("canvas");
        canvas.width = canvas.height = 16;
        canvas.toBlob((blob) => {
          const data = new DataTransfer();
          data.items.add(new File([blob], "image.png", {type: "image/png"}));
          document.body.dispatchEvent(way === "drop"
            ? new DragEvent("drop", {dataTransfer: data, bubbles: true, cancelable: true})
            : new ClipboardEvent("paste", {clipboardData: data, bubbles: true}));
          done();
        });"""
    for way in ("drop", "paste"):
        page.refresh()
        wait_for(page, "#about", lambda texts: "3 classes" in texts[0])
        page.execute_async_script(event, way)
        wait_for(page, "#bars .name", lambda texts: len(texts) == 3)


def test_it_fits_a_narrow_window(page, tmp_path):
    page.set_window_size(500, 800)
    give(page, save(tmp_path / "image.png"))
    wait_for(page, "#neighbours .name", len)
    width, inside = page.execute_script("return [document.documentElement.scrollWidth, document.documentElement.clientWidth]")
    assert width <= inside <= 500
