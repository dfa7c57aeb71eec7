"""A veto from end to end: marked in the page of a real report, saved by the browser, applied by `select`."""

import json

import numpy as np
import pyarrow.parquet as pq
import pytest
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from helpers import browser, page_content
from helpers.command import TINY, run_here, write_digits

pytestmark = [pytest.mark.slow, browser.needs_browser]

NUM_TRAIN, NUM_TEST = 200, 40
FLAGS = (*TINY, "--config.dataset.name=d.npz", "--config.select.fraction=0.2", "--workdir=w")


def find(driver, selector):
    return driver.find_element(By.CSS_SELECTOR, selector)


def tile(driver, content, index):
    """The element that shows a training image, found with the search field, because there are many groups."""
    row = list(zip(content["images"]["split"], content["images"]["index"], strict=True)).index((0, index))
    field = find(driver, "#search")
    field.clear()
    field.send_keys(str(index), Keys.ENTER)
    selector = f"#cards .tile[data-row='{row}']"
    browser.wait_until(driver, lambda: driver.find_elements(By.CSS_SELECTOR, selector))
    return find(driver, selector)


def expect_counts(driver, text):
    browser.wait_until(driver, lambda: find(driver, "#counts").text == text)


def test_marks_in_the_page_are_obeyed(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    write_digits(tmp_path / "d.npz", NUM_TRAIN, NUM_TEST)
    for stage in ("train", "embed", "cluster", "select", "report"):
        done = run_here(capfd, stage, *FLAGS)
        assert done.code == 0, done.err
    report = tmp_path / "w" / "report"
    content = page_content.read(report)
    (heir_group, other_group, *_) = sorted(page_content.groups(content), key=len, reverse=True)
    representative, heir, *_ = heir_group
    spared = other_group[-1]

    with browser.browser(tmp_path) as driver:
        driver.get((report / "index.html").as_uri())
        # One mark by keys, two by clicks.
        driver.execute_script("arguments[0].focus()", tile(driver, content, representative))
        ActionChains(driver).send_keys("d").perform()
        expect_counts(driver, "0 keep, 1 drop")
        for index, counts in ((heir, "1 keep, 1 drop"), (spared, "2 keep, 1 drop")):
            browser.click(tile(driver, content, index))
            browser.click(find(driver, "#mark-keep"))
            expect_counts(driver, counts)
        browser.click(find(driver, "#save"))
        veto = tmp_path / "downloads" / "veto.json"
        browser.wait_until(driver, veto.exists)
        assert browser.console_errors(driver) == []
        assert {url for url in browser.requests(driver) if not url.startswith(report.as_uri())} == set()

    before = np.load("w/selections/agglomerative-0.2/keep.npy")
    done = run_here(capfd, "select", *FLAGS, f"--veto={veto}")
    assert done.code == 0, done.err
    (directory,) = (tmp_path / "w" / "selections").glob("agglomerative-0.2-veto-*")
    keep = np.load(directory / "keep.npy")
    assert keep.tolist() == sorted({*before.tolist(), heir, spared} - {representative})
    manifest = json.loads((directory / "manifest.json").read_text())
    told = {name: manifest["veto"][name] for name in ("keep", "drop", "num_kept_without")}
    assert told == {"keep": sorted([heir, spared]), "drop": [representative], "num_kept_without": len(before)}
    assert manifest["fingerprint"]["select.veto"] == manifest["veto"]["digest"]
    assert directory.name.endswith(manifest["veto"]["digest"][:8])
    # The cluster that lost its representative is represented by the marked image.
    rows = pq.read_table(directory / "examples.parquet").to_pydict()
    rest = [index for index in heir_group if index not in (heir, spared)]
    assert representative in rest
    assert [rows["representative"][index] for index in rest] == [heir] * len(rest)
    assert np.array_equal(np.load("w/selections/agglomerative-0.2/keep.npy"), before)
