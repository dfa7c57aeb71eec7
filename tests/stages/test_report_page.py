"""The report's page, opened from disk in a real browser."""

import base64
import copy
import io
import json
import time

import numpy as np
import pytest
from PIL import Image
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.select import Select

from data_redundancy.gallery import page
from helpers import browser

pytestmark = browser.needs_browser

COLOURS = 25 * np.array(
    [[8, 1, 2], [0, 6, 3], [1, 2, 8], [9, 8, 1], [5, 1, 6], [1, 7, 7], [9, 5, 1], [4, 4, 4], [10, 6, 8], [5, 3, 1]]
)
"""The colour of every image, by row."""
UNSAFE_CLASS = "</script><b id='class-injected'>x"
UNSAFE_FILE = "<img src=x onerror=document.title='file'>&amp;\u2028.png"


def png(image):
    stream = io.BytesIO()
    Image.fromarray(image).save(stream, "PNG")
    return stream.getvalue()


def sheets(colours, columns, rows, size):
    """PNGs of columns x rows cells each; every cell has one colour."""
    count = columns * rows
    cells = np.zeros((-(-len(colours) // count) * count, 3), np.uint8)
    cells[: len(colours)] = colours
    grids = cells.reshape(-1, rows, columns, 3).repeat(size, 1).repeat(size, 2)
    return [png(grid) for grid in grids]


def as_url(data):
    return f"data:image/png;base64,{base64.b64encode(data).decode()}"


def content():
    """Three groups of 3, 4 and 2 training images, and a test image; two classes."""
    return {
        "title": "toys <agglomerative-0.5>",
        "dataset": {
            "name": "toys",
            "version": "1.0.0",
            "num_train": 12,
            "num_test": 4,
            "class_names": ["cat", UNSAFE_CLASS],
            "digest": "d1g3st",
        },
        "selection": {
            "name": "agglomerative-0.5",
            "method": "agglomerative",
            "fraction": 0.5,
            "num_kept": 6,
            "num_pruned": 6,
        },
        "answer": {
            "headline": "50% can go",
            "lines": ["Accuracy 90.00%.", "Saves 6 images."],
            "others": ["random: no.", "random: yes."],
        },
        "accuracy": [
            {
                "method": method,
                "fraction": fraction,
                "num_kept": 6,
                "num_seeds": 3,
                "mean": mean,
                "std": 0.01,
                "full": full,
                "random": None,
            }
            for method, fraction, mean, full in [
                ("full", 0.0, 0.91, None),
                ("agglomerative", 0.5, 0.90, {"mean": -0.01, "low": -0.03, "high": 0.01}),
                ("random", 0.5, float("nan"), None),
            ]
        ],
        "confidence": 0.95,
        "classes": {"size": [8, 4], "pruned": [5, 1]},
        "heights": {"share": [0.1, 0.2, 0.5, 0.9], "height": [0.01, 0.02, 0.2, 0.6], "cut": 0.2},
        "images": {
            "index": [40, 41, 42, 5, 6, 7, 8, 100, 101, 0],
            "id": [*(f"toys__{i}" for i in range(9)), None],
            "file": ["a.png", "b.png", UNSAFE_FILE, *[None] * 7],
            "label": [0] * 7 + [1] * 3,
            "split": [0] * 9 + [1],
            "distance": [0.0, 0.01, 0.02, 0.0, 0.1, 0.2, 0.3, 0.0, 0.25, None],
        },
        "groups": {"start": [0, 3, 7], "size": [3, 4, 2], "tightness": [0.02, 0.3, 0.25]},
        "thumbnails": {
            "width": 8,
            "height": 8,
            "columns": 3,
            "rows": 2,
            "sheets": [as_url(sheet) for sheet in sheets(COLOURS, 3, 2, 8)],
        },
        "map": {
            "method": "PCA",
            "note": "Two components.",
            "x": [-1, 1, -1, 1, 0],
            "y": [-1, -1, 1, 1, 0],
            "label": [0, 1, 0, 1, 0],
            "kept": [1, 1, 1, 1, 0],
            "index": [40, 100, 5, 900, 42],
            "image": [0, 7, 3, -1, 2],
        },
        "warnings": {
            "label_errors": [{"a": 1, "b": 8, "distance": 0.004, "identical": False}],
            "leaks": [{"test": 9, "train": 4, "distance": 0.0, "identical": True}],
            "losing_classes": [{"label": 1, "change": -0.05, "low": -0.09, "high": None}],
            "notes": ["Two <trials> are missing."],
        },
    }


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    return tmp_path_factory.mktemp("browser")


@pytest.fixture(scope="module")
def driver(directory):
    with browser.browser(directory) as driver:
        yield driver


def forget_marks(driver):
    driver.execute_cdp_cmd("Storage.clearDataForOrigin", {"origin": "file://", "storageTypes": "all"})


@pytest.fixture
def opened(driver, tmp_path):
    """A function that writes a page, opens it and returns its URL; fails if the page has logged an error."""

    def open_page(content, forget=True):
        page.write(tmp_path, content)
        driver.get("about:blank")  # otherwise the test may see the previous page, which has the same name
        driver.get((tmp_path / "index.html").as_uri())
        if forget:
            forget_marks(driver)
            driver.refresh()
        return driver.current_url

    yield open_page
    forget_marks(driver)
    assert browser.console_errors(driver) == []
    assert {url for url in browser.requests(driver) if not url.startswith(tmp_path.as_uri())} == set()


@pytest.fixture
def toys(opened):
    return opened(content())


def find(driver, selector):
    return driver.find_element(By.CSS_SELECTOR, selector)


def find_all(driver, selector):
    return driver.find_elements(By.CSS_SELECTOR, selector)


def shown_groups(driver):
    return driver.execute_script(
        "return [...document.querySelectorAll('.card')].map(card => Number(card.dataset.group))"
    )


def tile(driver, row):
    return find(driver, f"#cards .tile[data-row='{row}']")


def marks(driver):
    script = "return [...document.querySelectorAll('#cards [data-mark]')].map((t) => [t.dataset.row, t.dataset.mark])"
    return {int(row): mark for row, mark in driver.execute_script(script)}


def expect_marks(driver, expected):
    """Waits for the marks, which are shown after the stored ones have been read."""
    browser.wait_until(driver, lambda: marks(driver) == expected)


def press(driver, *keys):
    ActionChains(driver).send_keys(*keys).perform()


def choose(driver, selector, text):
    Select(find(driver, selector)).select_by_visible_text(text)


def search(driver, text):
    field = find(driver, "#search")
    field.send_keys(Keys.CONTROL + "a", Keys.NULL, text or Keys.BACKSPACE)


def colour_of(element):
    """The displayed colour of the middle of an element."""
    image = browser.pixels(element)
    return image[image.shape[0] // 2, image.shape[1] // 2]


def drawn(driver, selector):
    canvases = find_all(driver, f"{selector} canvas.thumb")
    browser.wait_until(driver, lambda: all(c.get_attribute("data-drawn") is not None for c in canvases))
    return canvases


# The gallery


@pytest.mark.usefixtures("toys")
def test_groups_show_their_images_the_representative_framed_and_first(driver):
    canvases = drawn(driver, "[data-group='1']")  # its images are on two sheets
    tiles = find_all(driver, "[data-group='1'] .tile")
    assert [int(t.get_attribute("data-row")) for t in tiles] == [3, 4, 5, 6]
    for canvas, colour in zip(canvases, COLOURS[3:7], strict=True):
        image = browser.pixels(canvas)
        assert image.shape == (72, 72, 3)
        np.testing.assert_array_equal(image, np.broadcast_to(colour, image.shape))
    assert ["representative" in t.get_attribute("class").split() for t in tiles] == [True, False, False, False]
    assert [t.find_element(By.CSS_SELECTOR, ".caption").text for t in tiles] == ["#5", "0.1000", "0.2000", "0.3000"]
    assert tiles[1].get_attribute("aria-label") == "Image 6, cat, redundant, pruned, distance 0.1000"


@pytest.mark.usefixtures("toys")
@pytest.mark.parametrize(
    ("order", "groups"),
    [
        ("tightest first", [0, 2, 1]),
        ("loosest first", [1, 2, 0]),
        ("largest first", [1, 0, 2]),
        ("smallest first", [2, 0, 1]),
        ("by index", [1, 0, 2]),
    ],
)
def test_sorts(driver, order, groups):
    choose(driver, "#sort", order)
    assert shown_groups(driver) == groups


@pytest.mark.usefixtures("toys")
def test_filters_by_class_also_from_its_bar(driver):
    choose(driver, "#class-filter", "cat (2)")
    assert shown_groups(driver) == [0, 1]
    assert find(driver, "#found").text == "2 groups, 7 images"
    bars = find_all(driver, ".bar")
    assert [bar.find_element(By.CSS_SELECTOR, ".bar-share").text for bar in bars] == ["62.5%", "25.0%"]
    browser.click(bars[1])
    assert shown_groups(driver) == [2]


def test_filters_by_a_class_that_no_representative_has(driver, opened):
    """As if clusters crossed classes."""
    mixed = content()
    mixed["images"]["label"][2:3] = mixed["images"]["label"][4:5] = [2]
    mixed["dataset"]["class_names"] += ["dog", "emu"]
    mixed["classes"] = {"size": [8, 4, 2, 3], "pruned": [5, 1, 2, 3]}
    opened(mixed)
    assert [option.text for option in Select(find(driver, "#class-filter")).options][3:] == ["dog (2)"]
    bars = {bar.text.split("\n")[0]: bar for bar in find_all(driver, ".bar")}
    browser.click(bars["dog"])
    assert shown_groups(driver) == [0, 1]
    browser.click(bars["emu"])
    assert find(driver, "#status").text == "No group here has an image of emu."


@pytest.mark.usefixtures("toys")
@pytest.mark.parametrize(
    ("text", "groups", "hits"),
    [
        ("TOYS__4", [1], [4]),  # an id
        ("b.PNG", [0], [1]),  # a file name
        ("<img src", [0], [2]),
        ("101", [2], [8]),  # an index
        ("5", [1], [3, 5]),  # an index, and a whole number in an id
        ("#5", [1], [3]),  # the index alone
        ("nothing like it", [], []),
    ],
)
def test_searches_ids_file_names_and_indices(driver, text, groups, hits):
    search(driver, text)
    browser.wait_until(driver, lambda: shown_groups(driver) == groups)
    assert [int(t.get_attribute("data-row")) for t in find_all(driver, "[data-hit]")] == hits
    search(driver, "")
    browser.wait_until(driver, lambda: shown_groups(driver) == [0, 2, 1])


def many(num_groups, size=2):
    """Groups of equal sizes; those with odd numbers are tighter. Thumbnails of all are the same sheet."""
    images = num_groups * size
    result = content()
    result["images"] = {
        "index": list(range(images)),
        "id": [f"many__{i}" for i in range(images)],
        "file": [None] * images,
        "label": [i // size % 1000 for i in range(images)],
        "split": [0] * images,
        "distance": [0.5] * images,
    }
    result["groups"] = {
        "start": list(range(0, images, size)),
        "size": [size] * num_groups,
        "tightness": [0.1 if g % 2 else 0.2 for g in range(num_groups)],
    }
    result["dataset"]["class_names"] = [f"class {label}" for label in range(1000)]
    result["classes"] = {"size": [500] * 1000, "pruned": [label // 2 for label in range(1000)]}
    result["thumbnails"] = {"width": 8, "height": 8, "columns": 1000, "rows": 1000, "sheets": [as_url(png(_SMALL))]}
    result["map"] = None
    result["warnings"] = {"label_errors": [], "leaks": [], "losing_classes": [], "notes": []}
    return result


_SMALL = np.full((8, 8, 3), 99, np.uint8)


def test_a_hundred_thousand_groups_are_few_elements(driver, opened):
    opened(many(100_000))
    assert find(driver, "#found").text == "100,000 groups, 200,000 images"
    assert shown_groups(driver) == list(range(1, 49, 2))
    browser.click(find(driver, "#pager-top [data-step='1']"))
    assert shown_groups(driver) == list(range(49, 97, 2))
    choose(driver, "#per-page", "96")
    choose(driver, "#sort", "by index")
    find(driver, "#page-number").send_keys(Keys.CONTROL + "a", Keys.NULL, "1042", Keys.ENTER)
    browser.wait_until(driver, lambda: shown_groups(driver) == list(range(99_936, 100_000)))
    assert not find(driver, "#pager-top [data-step='1']").is_enabled()
    press(driver, Keys.ESCAPE, "p")
    assert shown_groups(driver) == list(range(99_840, 99_936))
    assert len(find_all(driver, ".tile")) == 192
    choose(driver, "#class-filter", "class 7 (100)")
    assert shown_groups(driver) == list(range(7, 96_000, 1000))
    search(driver, "many__14014")
    browser.wait_until(driver, lambda: shown_groups(driver) == [7007])
    bars = find_all(driver, ".bar-name")
    assert len(bars) == 1000
    assert bars[0].get_attribute("textContent") == "class 998"


def test_a_large_group_shows_its_first_and_what_was_searched_and_all_on_request(driver, opened):
    opened(many(1, size=300))
    assert len(find_all(driver, ".tile")) == 24
    search(driver, "#250")
    browser.wait_until(driver, lambda: len(find_all(driver, ".tile")) == 25)
    search(driver, "many")  # which all names contain
    browser.wait_until(driver, lambda: len(find_all(driver, ".tile")) == 48)
    more = find(driver, ".more")
    assert more.text == "Show all 300"
    browser.click(more)
    assert len(find_all(driver, ".tile")) == 300
    assert find_all(driver, ".more") == []


# Marks


@pytest.mark.usefixtures("toys")
def test_marks_by_keyboard_undo_and_reload(driver):
    driver.execute_script("arguments[0].focus()", tile(driver, 0))
    press(driver, "d", Keys.ARROW_RIGHT, "k", Keys.ARROW_RIGHT, "k")
    expect_marks(driver, {0: "drop", 1: "keep", 2: "keep"})
    press(driver, "u")
    press(driver, Keys.ARROW_DOWN, "d")  # the next group's representative
    expect_marks(driver, {0: "drop", 1: "keep", 7: "drop"})
    press(driver, Keys.ESCAPE)
    expect_marks(driver, {0: "drop", 1: "keep"})
    press(driver, "z")
    expect_marks(driver, {0: "drop", 1: "keep", 7: "drop"})
    assert find(driver, "#counts").text == "1 keep, 2 drop"
    assert tile(driver, 1).get_attribute("aria-label").endswith("marked keep")
    driver.refresh()
    expect_marks(driver, {0: "drop", 1: "keep", 7: "drop"})
    choose(driver, "#marked-filter", "without marks")
    assert shown_groups(driver) == [1]


def test_marks_belong_to_the_data_set_and_the_selection(driver, opened):
    opened(content())
    browser.click(tile(driver, 0))
    browser.click(find(driver, "#mark-drop"))
    expect_marks(driver, {0: "drop"})
    for part, key in (("selection", "name"), ("dataset", "digest")):
        other = content()
        other[part][key] = "another"
        opened(other, forget=False)
        time.sleep(0.2)  # long enough to read marks that are there
        assert marks(driver) == {}
    opened(content(), forget=False)
    expect_marks(driver, {0: "drop"})


FORBID = "IDBFactory.prototype.open = () => { throw new DOMException('not here', 'SecurityError') }"


def test_where_nothing_can_be_stored_marks_last_as_long_as_the_page(driver, opened):
    script = driver.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": FORBID})
    try:
        opened(content())
        browser.click(tile(driver, 0))
        press(driver, "d")
        browser.wait_until(driver, lambda: find(driver, "#status").text.startswith("This browser stores no marks"))
        expect_marks(driver, {0: "drop"})
    finally:
        driver.execute_cdp_cmd("Page.removeScriptToEvaluateOnNewDocument", script)


@pytest.mark.usefixtures("toys")
def test_undo_outlives_a_look_elsewhere(driver):
    browser.click(tile(driver, 0))
    press(driver, "d", "k")
    expect_marks(driver, {0: "keep"})
    first = driver.current_window_handle
    driver.switch_to.new_window("tab")
    driver.close()
    driver.switch_to.window(first)
    time.sleep(0.2)  # long enough to read marks that are there
    for expected in ({0: "drop"}, {}):
        browser.click(find(driver, "#undo"))
        expect_marks(driver, expected)
    assert not find(driver, "#undo").is_enabled()


def test_marks_are_those_of_the_tab_that_was_used_last(driver, opened):
    url, first = opened(content()), driver.current_window_handle
    driver.switch_to.new_window("tab")
    try:
        driver.get(url)
        browser.click(tile(driver, 0))
        press(driver, "d")
    finally:
        driver.close()
        driver.switch_to.window(first)
    expect_marks(driver, {0: "drop"})


@pytest.mark.usefixtures("toys")
def test_keys_go_over_to_the_next_page_and_to_the_search(driver, opened):
    opened(many(30))
    driver.execute_script("arguments[0].focus()", find_all(driver, "#cards .tile")[-1])
    press(driver, Keys.ARROW_RIGHT)
    first = driver.switch_to.active_element
    # The odd groups, tighter, are fifteen; the even ones follow.
    assert int(first.get_attribute("data-row")) == 2 * 18
    press(driver, Keys.ARROW_LEFT)
    assert int(driver.switch_to.active_element.get_attribute("data-row")) == 2 * 16 + 1
    press(driver, "/")
    press(driver, "kd")  # typed as text, not taken as keys
    assert find(driver, "#search").get_property("value") == "kd"
    assert find(driver, "#counts").text == "0 keep, 0 drop"
    press(driver, Keys.ESCAPE, "?")
    assert find(driver, "#help").is_displayed()
    press(driver, Keys.ESCAPE)
    assert not find(driver, "#help").is_displayed()


def saved(driver, directory):
    path = directory / "downloads" / "veto.json"
    path.unlink(missing_ok=True)
    browser.click(find(driver, "#save"))
    browser.wait_until(driver, path.exists)
    return json.loads(path.read_text())


def test_saves_the_veto_that_it_loads(driver, directory, opened, tmp_path):
    toys = content()
    toys["images"]["id"][3] = None  # the veto then names its index
    opened(toys)
    driver.execute_script("arguments[0].focus()", tile(driver, 2))
    press(driver, "k")
    for row, mark in ((3, "drop"), (7, "drop"), (1, "keep")):
        driver.execute_script("arguments[0].focus()", tile(driver, row))
        browser.click(find(driver, f"#mark-{mark}"))
    veto = saved(driver, directory)
    assert veto == {
        "format": "data_redundancy veto",
        "version": 1,
        "dataset": "d1g3st",
        "selection": "agglomerative-0.5",
        "keep": ["toys__1", "toys__2"],
        "drop": [5, "toys__7"],
    }
    # Marks of images that this page does not show are kept; an index becomes the id.
    file = tmp_path / "theirs.json"
    file.write_text(json.dumps({**veto, "keep": ["elsewhere__9", 41], "drop": [5]}))
    find(driver, "#load-file").send_keys(str(file))
    expect_marks(driver, {1: "keep", 3: "drop"})
    assert saved(driver, directory) == {**veto, "keep": ["elsewhere__9", "toys__1"], "drop": [5]}
    browser.click(find(driver, "#undo"))
    assert saved(driver, directory) == veto


@pytest.mark.usefixtures("toys")
@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"dataset": "other"}, "it belongs to another data set"),
        ({"version": 2}, 'its format is not "data_redundancy veto", version 1'),
        ({"keep": [1.5]}, "keep and drop must list ids and indices"),
        ({"keep": ["a"], "drop": ["a"]}, "it both keeps and drops a"),
        (None, "it is not a JSON file"),
    ],
)
def test_refuses_a_veto_that_is_none_of_its_own(driver, tmp_path, change, reason):
    veto = {"format": "data_redundancy veto", "version": 1, "dataset": "d1g3st", "selection": "s"}
    file = tmp_path / "bad.json"
    file.write_text("{" if change is None else json.dumps({**veto, "keep": [], "drop": [40], **change}))
    find(driver, "#load-file").send_keys(str(file))
    browser.wait_until(driver, lambda: find(driver, "#status").text == f"bad.json was not loaded: {reason}.")
    assert marks(driver) == {}


# The rest of the page


@pytest.mark.usefixtures("toys")
def test_the_answer_comes_first_then_accuracy_with_its_interval(driver):
    assert find(driver, "main h1").text == "50% can go"
    assert [line.text for line in find_all(driver, "#answer-lines li")] == ["Accuracy 90.00%.", "Saves 6 images."]
    others = find(driver, "#others")
    assert others.text == "2 other answers from the same trials"
    browser.click(find(driver, "#others-title"))
    assert others.text.split("\n")[1:] == ["random: no.", "random: yes."]
    rows = [[cell.text for cell in row.find_elements(By.TAG_NAME, "td")] for row in find_all(driver, "tbody tr")][:2]
    assert rows[1] == ["agglomerative", "50%", "6", "90.00% ± 1.00", "3", "−1.00 [−3.00, +1.00]", "–"]  # noqa: RUF001
    assert len(find_all(driver, "#accuracy-chart .whisker")) == 1
    whisker, point = (find(driver, f"#accuracy-chart {s}").rect for s in (".whisker", "circle"))
    middle = whisker["y"] + whisker["height"] / 2
    assert middle == pytest.approx(point["y"] + point["height"] / 2, abs=2)
    assert [label.text for label in find_all(driver, "#heights-chart .cut-label")] == ["cut at 0.2000", "50% pruned"]


@pytest.mark.parametrize(
    ("means", "half", "ticks"),
    [
        ((0.93, 0.98), 0.055, ["92.5%", "95.0%", "97.5%", "100.0%"]),  # an interval up to 103.5%
        ((0.2, 0.8), 0.001, ["20%", "40%", "60%", "80%"]),
        ((0.9001, 0.9009), 0.0001, ["90.02%", "90.04%", "90.06%", "90.08%", "90.10%"]),
    ],
)
def test_ticks_say_where_they_are(driver, opened, means, half, ticks):
    """No label is rounded to another number, and none exceeds the range of an accuracy."""
    toys = content()
    for row, mean in zip(toys["accuracy"], means, strict=False):
        row["mean"] = mean
    toys["accuracy"][1]["full"] = {"mean": 0.0, "low": -half, "high": half}
    opened(toys)
    texts = browser.wait_until(driver, lambda: find_all(driver, "#accuracy-chart text[text-anchor='end']"))
    assert [text.text for text in texts] == ticks
    title = find(driver, "#accuracy-chart .title[transform]").rect
    assert title["x"] + title["width"] <= min(text.rect["x"] for text in texts)


def test_many_losing_classes_do_not_bury_the_map(driver, opened):
    crowd = many(1)
    crowd["warnings"]["losing_classes"] = [{"label": c, "change": -0.1, "low": None, "high": None} for c in range(500)]
    opened(crowd)
    assert len(find_all(driver, "#losing-classes tbody tr")) == 12
    browser.click(find(driver, "#losing-classes button"))
    assert len(find_all(driver, "#losing-classes tbody tr")) == 24


def test_the_share_pruned_is_what_is_pruned(driver, opened):
    toys = content()
    toys["selection"] |= {"fraction": 0.5, "num_kept": 8, "num_pruned": 4}  # as after a veto
    toys["dataset"]["num_test"] = 0
    opened(toys)
    names, values = ([e.text for e in find_all(driver, f"#figures {tag}")] for tag in ("dt", "dd"))
    assert dict(zip(names, values, strict=True))["share pruned"] == "33.33%"
    assert "test images" not in names


def test_says_what_is_missing(driver, opened):
    bare = content()
    bare.update(accuracy=[], map=None, heights={"share": [], "height": [], "cut": None})
    bare["groups"] = {"start": [], "size": [], "tightness": []}
    bare["warnings"] = {"label_errors": [], "leaks": [], "losing_classes": [], "notes": []}
    opened(bare)
    assert find(driver, "#accuracy-note").text.startswith("No trials yet")
    assert find(driver, "#heights-note").text.startswith("No heights are available")
    assert find(driver, "#cards").text == "This selection has no groups of redundant images."
    assert [note.text for note in find_all(driver, ".warning .note")] == ["None found."] * 3
    assert not find(driver, "#map").is_displayed()


@pytest.mark.usefixtures("toys")
def test_warnings_show_pairs_and_let_training_images_be_marked(driver):
    error, leak = find(driver, "#label-errors .pair-card"), find(driver, "#leaks .pair-card")
    drawn(driver, ".pair-card")
    colours = [colour_of(canvas) for canvas in error.find_elements(By.CSS_SELECTOR, "canvas")]
    np.testing.assert_array_equal(colours, COLOURS[[1, 8]])
    assert [name.text for name in error.find_elements(By.CSS_SELECTOR, ".side-class")] == ["cat", UNSAFE_CLASS]
    assert "distance 0.0040" in error.text
    assert leak.find_element(By.CSS_SELECTOR, ".badge").text == "identical pixels"
    test_image, training_image = leak.find_elements(By.CSS_SELECTOR, ".tile")
    driver.execute_script("arguments[0].focus()", test_image)
    press(driver, "d")
    assert not find(driver, "#mark-drop").is_enabled()
    assert find(driver, "#counts").text == "0 keep, 0 drop"
    driver.execute_script("arguments[0].focus()", training_image)
    press(driver, "d")
    expect_marks(driver, {4: "drop"})
    assert "−5.00" in find(driver, "#losing-classes").text  # noqa: RUF001
    assert "Two <trials> are missing." in find(driver, "#warnings").text


def map_pixel(driver, x, y):
    """The displayed colour of the map at a position, given as shares of its width and height."""
    image = browser.pixels(find(driver, "#map-canvas"))
    return tuple(image[int(y * image.shape[0]), int(x * image.shape[1])].tolist())


@pytest.mark.usefixtures("toys")
def test_map_marks_pruned_points_and_says_what_they_are(driver):
    canvas, tip = find(driver, "#map-canvas"), find(driver, "#map-tip")
    size = canvas.size
    reach = (min(size["width"], size["height"]) - 40) // 2
    corner = (0.5 - reach / size["width"], 0.5 + reach / size["height"])
    nothing = map_pixel(driver, 0.01, 0.5)
    browser.wait_until(driver, lambda: map_pixel(driver, *corner) != nothing)  # a disc
    assert map_pixel(driver, 0.5, 0.5) == nothing  # the middle of a ring
    browser.click(find(driver, "#map-kept"))
    browser.wait_until(driver, lambda: map_pixel(driver, *corner) == nothing)
    browser.click(find(driver, "#map-kept"))

    browser.to_middle(canvas)
    ActionChains(driver).move_to_element_with_offset(canvas, 1, 1).perform()
    assert tip.text.split("\n") == ["cat", "#42, pruned", UNSAFE_FILE.replace("\u2028", " ")]
    np.testing.assert_array_equal(colour_of(drawn(driver, "#map-tip")[0]), COLOURS[2])
    ActionChains(driver).move_to_element_with_offset(canvas, 1, 1).click().perform()
    press(driver, "k")
    expect_marks(driver, {2: "keep"})
    browser.to_middle(canvas)
    ActionChains(driver).move_to_element_with_offset(canvas, reach, -reach).perform()
    assert tip.text.split("\n") == [UNSAFE_CLASS, "#900, kept"]  # not among the images


def test_a_map_of_a_hundred_thousand_points_and_a_thousand_classes(driver, opened):
    crowd = many(1)
    rng, n = np.random.default_rng(0), 100_000
    x, y = rng.normal(size=(2, n)).round(3).tolist()
    crowd["map"] = {
        **content()["map"],
        **{"x": x, "y": y, "label": [i % 1000 for i in range(n)], "kept": [i % 2 for i in range(n)]},
        **{"index": list(range(n)), "image": [-1] * n},
    }
    opened(crowd)
    assert len(find_all(driver, "#map-legend button")) == 1000
    browser.wait_until(driver, lambda: map_pixel(driver, 0.5, 0.5) != map_pixel(driver, 0.01, 0.01))


@pytest.mark.usefixtures("toys")
def test_names_are_text_whatever_is_in_them(driver):
    assert driver.title == "toys <agglomerative-0.5>"
    assert find_all(driver, "#class-injected, img") == []
    assert UNSAFE_CLASS in find(driver, "[data-group='2'] h3").get_attribute("textContent")
    driver.execute_script("arguments[0].focus()", tile(driver, 2))
    name = find(driver, "#chosen-text .name")
    assert name.get_attribute("textContent") == UNSAFE_FILE
    assert tile(driver, 2).get_attribute("title") == UNSAFE_FILE


def test_thumbnails_beside_the_page_are_all_it_asks_for(driver, opened, tmp_path):
    beside = content()
    (tmp_path / "thumbnails").mkdir()
    names = []
    for number, sheet in enumerate(sheets(COLOURS, 3, 2, 8)):
        names.append(f"thumbnails/{number:04}.png")
        (tmp_path / names[-1]).write_bytes(sheet)
    beside["thumbnails"]["sheets"] = names
    browser.requests(driver)
    url = opened(beside)
    drawn(driver, "#cards")
    np.testing.assert_array_equal(colour_of(find(driver, "#cards [data-row='6'] canvas")), COLOURS[6])
    assert set(browser.requests(driver)) == {url, *((tmp_path / name).as_uri() for name in names)}


def test_without_images_there_are_indices(driver, opened):
    blind = content()
    blind["thumbnails"] = {"width": 1, "height": 1, "columns": 10, "rows": 1, "sheets": []}
    opened(blind)
    assert [t.text for t in find_all(driver, "[data-group='0'] .tile")] == ["#40", "#41: 0.0100", "#42: 0.0200"]
    browser.click(tile(driver, 0))
    press(driver, "d")
    expect_marks(driver, {0: "drop"})
    assert not find(driver, "#thumbnails-missing").is_displayed()


def test_says_so_when_thumbnails_are_gone(driver, opened):
    gone = content()
    gone["thumbnails"]["sheets"] = ["thumbnails/0000.png", "thumbnails/0001.png"]
    opened(gone)
    notice = find(driver, "#thumbnails-missing")
    browser.wait_until(driver, notice.is_displayed)
    assert all("ERR_FILE_NOT_FOUND" in message for message in browser.console_errors(driver))


@pytest.mark.usefixtures("toys")
def test_the_network_is_barred_to_the_page_itself(driver):
    fetch = "fetch('https://example.com/').then(() => arguments[0]('through'), () => arguments[0]('barred'))"
    assert driver.execute_async_script(fetch) == "barred"
    driver.execute_script("document.head.append(Object.assign(document.createElement('script'), {text: 'ran = 1'}))")
    assert driver.execute_script("return typeof ran") == "undefined"
    assert all("Content Security Policy" in message for message in browser.console_errors(driver))
    assert [url for url in browser.requests(driver) if not url.startswith("file:")] == []


def background(driver):
    return driver.execute_script("return getComputedStyle(document.documentElement).backgroundColor")


def test_is_dark_where_the_system_is_and_where_the_user_says_so(driver, opened):
    try:
        driver.execute_cdp_cmd(
            "Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": "dark"}]}
        )
        opened(content())
        dark, toggle = background(driver), find(driver, "#theme")
        assert toggle.get_attribute("aria-pressed") == "true"
        browser.click(toggle)
        light = background(driver)
        assert sum(map(int, light[4:-1].split(", "))) > 600 > 150 > sum(map(int, dark[4:-1].split(", ")))
        for _ in range(3):
            driver.execute_script("localStorage.clear()")  # as it comes up empty now and then, opened from disk
            driver.refresh()
            browser.wait_until(driver, lambda: background(driver) == light)
            assert find(driver, "#theme").get_attribute("aria-pressed") == "false"
    finally:
        driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})


def test_fits_a_phone(driver, opened):
    wide = copy.deepcopy(content())
    wide["images"]["file"][0] = "a_very_long_file_name_without_any_place_to_break_it" * 3 + ".png"
    wide["dataset"]["class_names"][0] = "a_class_with_a_name_of_great_length" * 3
    metrics = {"width": 360, "height": 740, "deviceScaleFactor": 2, "mobile": True}
    try:
        driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        opened(wide)
        driver.execute_script("arguments[0].focus()", tile(driver, 0))
        assert driver.execute_script("return innerWidth") == 360
        assert driver.execute_script("return document.documentElement.scrollWidth") == 360
        assert find(driver, "#dock").size["height"] < 740 / 3
        assert all(tile.rect["x"] + tile.rect["width"] <= 360 for tile in find_all(driver, "#cards .tile"))
        browser.click(find(driver, "#mark-drop"))
        expect_marks(driver, {0: "drop"})
    finally:
        driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
