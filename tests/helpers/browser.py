"""A real browser without a window: Debian's chromium and chromium-driver, or whatever has their names."""

import contextlib
import io
import json
import shutil

import numpy as np
import pytest
from PIL import Image
from selenium import webdriver
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.support.wait import WebDriverWait

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
DRIVER = shutil.which("chromedriver")

needs_browser = pytest.mark.skipif(
    CHROMIUM is None or DRIVER is None,
    reason="no browser: chromium and chromedriver must be on the path (Debian: apt install chromium chromium-driver)",
)

FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--no-first-run",
    "--force-device-scale-factor=1",
    "--force-prefers-reduced-motion",  # what scrolls is there at once
)
TIMEOUT_S = 20.0


@contextlib.contextmanager
def browser(directory, *, width=1280, height=900):
    """A browser with a profile of its own; what pages let it download comes to DIRECTORY/downloads."""
    options = Options()
    options.binary_location = CHROMIUM
    for flag in (*FLAGS, f"--window-size={width},{height}", f"--user-data-dir={directory / 'profile'}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"performance": "ALL", "browser": "ALL"})
    options.add_experimental_option("prefs", {"download.default_directory": str(directory / "downloads")})
    driver = webdriver.Chrome(options=options, service=Service(DRIVER))
    try:
        driver.get("about:blank")
        requests(driver)  # those of the page of new tabs
        yield driver
    finally:
        driver.quit()


def wait_until(driver, condition):
    """What `condition()` returns, once that is true."""
    return WebDriverWait(driver, TIMEOUT_S, poll_frequency=0.05).until(lambda _: condition())


def console_errors(driver):
    """What the page complained about since the last call."""
    return [entry["message"] for entry in driver.get_log("browser") if entry["level"] in ("SEVERE", "WARNING")]


def requests(driver):
    """The URLs asked for since the last call, but for data: and blob:, which stay within the page."""
    messages = [json.loads(entry["message"])["message"] for entry in driver.get_log("performance")]
    urls = [
        message["params"]["request"]["url"] for message in messages if message["method"] == "Network.requestWillBeSent"
    ]
    return [url for url in urls if not url.startswith(("data:", "blob:"))]


def to_middle(element):
    """Scrolls so far that neither the page's head nor its foot lies over an element."""
    element.parent.execute_script("arguments[0].scrollIntoView({block: 'center'})", element)
    return element


def click(element):
    to_middle(element).click()


def pixels(element):
    """[H, W, 3] uint8: an element as it is seen."""
    return np.asarray(Image.open(io.BytesIO(to_middle(element).screenshot_as_png)).convert("RGB"))
