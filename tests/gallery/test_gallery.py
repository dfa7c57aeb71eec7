"""The gallery: groups, thumbnails, near-duplicates, merge heights, the map, and a gallery from arrays."""

import io
import sys

import numpy as np
import PIL.Image
import pytest
from scipy.spatial.distance import cdist
from sklearn.datasets import load_digits

import data_redundancy as dr
from data_redundancy import gallery
from data_redundancy.clustering import near_duplicates, neighbours
from data_redundancy.gallery import content, projection, thumbnails
from data_redundancy.gallery.groups import find_groups, first_groups, groups_within
from helpers import page_content


@pytest.fixture(scope="module")
def digits():
    """Images [300, 8, 8] uint8, labels [300], embeddings [300, 64]."""
    found = load_digits()
    images = (found.images[:300] * (255 / 16)).astype(np.uint8)
    return images, found.target[:300], found.data[:300].astype(np.float32)


@pytest.fixture(scope="module")
def selection(digits):
    _, labels, embeddings = digits
    return dr.select(dr.cluster(embeddings, labels), prune_fraction=0.4)


# Groups


def groups_by_brute_force(kept, representative, distance):
    found = []
    for head in np.flatnonzero(kept):
        others = [i for i in range(len(kept)) if not kept[i] and representative[i] == head]
        if others:
            others.sort(key=lambda i: (distance[i], i))
            found.append((max(distance[i] for i in others), head, [head, *others]))
    return sorted(found)


def test_groups_are_those_of_brute_force(selection):
    found = find_groups(selection.kept, selection.representative, selection.distance)
    expected = groups_by_brute_force(selection.kept, selection.representative, selection.distance)
    assert [found.members[a : a + n].tolist() for a, n in zip(found.start, found.size, strict=True)] == [
        members for _, _, members in expected
    ]
    assert found.tightness.tolist() == [tightness for tightness, _, _ in expected]
    assert found.size.max() > 2


def test_what_nothing_stands_for_is_in_no_group():
    found = find_groups(np.array([1, 0, 0, 1], bool), np.array([0, -1, 3, 3]), np.array([0, np.nan, 0.5, 0]))
    assert (found.members.tolist(), found.start.tolist(), found.size.tolist()) == ([3, 2], [0], [2])
    assert len(find_groups(np.ones(3, bool), np.arange(3), np.zeros(3))) == 0


def test_the_first_groups_are_the_tightest_that_fit(selection):
    found = find_groups(selection.kept, selection.representative, selection.distance)
    some = first_groups(found, 3)
    assert some.members.tolist() == found.members[: found.size[:3].sum()].tolist()
    ends = np.cumsum(found.size)
    each = np.full(len(found.members), 10)
    assert groups_within(found, each, 10 * ends[4]) == 5
    assert groups_within(found, each, 10 * ends[4] - 1) == 4
    assert groups_within(found, each, -1) == 0


# Thumbnails


def colours(count, shape):
    """Returns images of one colour each."""
    rng = np.random.default_rng(0)
    return np.broadcast_to(rng.integers(0, 256, (count, 1, 1, shape[-1]), np.uint8), (count, *shape))


@pytest.mark.parametrize(
    ("shape", "size"),
    [((8, 8, 1), (8, 8)), ((5, 7, 3), (5, 7)), ((96, 96, 3), (96, 96)), ((200, 100, 3), (96, 48)), ((9, 9, 4), (9, 9))],
)
def test_every_image_is_in_its_place_on_its_sheet(shape, size):
    images = colours(250, shape)
    layout = thumbnails.make_layout(shape, len(images))
    assert (layout.height, layout.width) == size
    sheets = [np.asarray(PIL.Image.open(io.BytesIO(s))) for s in thumbnails.make_sheets(iter(images), layout)]
    assert len(sheets) == -(-250 // layout.per_sheet)
    for row, image in enumerate(images):
        number, cell = divmod(row, layout.per_sheet)
        top, left = cell // layout.columns * layout.height, cell % layout.columns * layout.width
        found = sheets[number][top + size[0] // 2, left + size[1] // 2]
        expected = np.broadcast_to(image[0, 0, :3] if shape[-1] >= 3 else image[0, 0, :1], 3)
        assert np.abs(found.astype(int) - expected).max() <= (0 if layout.lossless else 12), row


def test_sheets_are_small_enough_to_be_drawn_and_made_one_at_a_time():
    taken = []

    def images():
        for image in colours(500, (96, 96, 3)):
            taken.append(1)
            yield image

    layout = thumbnails.make_layout((96, 96, 3), 100_000)
    assert max(layout.columns * layout.width, layout.rows * layout.height) <= 1024
    sheets = thumbnails.make_sheets(images(), layout)
    next(sheets)
    assert len(taken) == layout.per_sheet


def test_sheets_lie_beside_the_page_once_they_do_not_fit_into_it(tmp_path):
    sheets = [bytes([i]) * 300 for i in range(5)]
    inline = thumbnails.place_sheets(tmp_path, iter(sheets), num_bytes=1e4)
    assert [name[:23] for name in inline] == ["data:image/webp;base64,"] * 5
    assert list(tmp_path.iterdir()) == []
    names = thumbnails.place_sheets(tmp_path, iter(sheets), num_bytes=1000)
    assert [(tmp_path / name).read_bytes() for name in names] == sheets
    other = thumbnails.place_sheets(tmp_path, iter(sheets[::-1]), num_bytes=1000)
    assert [(tmp_path / name).read_bytes() for name in names] == sheets  # until the new page is there
    thumbnails.remove_others(tmp_path, other)
    assert sorted(f"thumbnails/{path.name}" for path in (tmp_path / "thumbnails").iterdir()) == sorted(other)
    thumbnails.remove_others(tmp_path, inline)
    assert list(tmp_path.iterdir()) == []


# Near-duplicates


def near_duplicates_by_brute_force(embeddings, labels, test, height, limit):
    between = cdist(embeddings.astype(np.float64), embeddings.astype(np.float64), "cosine")
    errors = sorted(
        (between[a, b], a, b)
        for a, b in zip(*np.triu_indices(len(labels), 1), strict=True)
        if labels[a] != labels[b] and between[a, b] <= height
    )
    to_train = cdist(test.astype(np.float64), embeddings.astype(np.float64), "cosine")
    nearest = to_train.argmin(1)
    leaks = sorted((to_train[t, n], t, n) for t, n in enumerate(nearest) if to_train[t, n] <= height)
    return errors[:limit], leaks[:limit]


def as_list(pairs):
    return list(zip(pairs.distance, pairs.first, pairs.second, strict=True))


def assert_same_pairs(found, expected):
    assert [pair[1:] for pair in as_list(found)] == [pair[1:] for pair in expected]
    np.testing.assert_allclose(found.distance, [pair[0] for pair in expected], atol=1e-12)


@pytest.mark.parametrize(("height", "limit"), [(0.08, 10_000), (0.3, 50), (0.3, 1), (0.001, 50)])
@pytest.mark.parametrize("whole", [True, False])
def test_near_duplicates_equal_brute_force(digits, monkeypatch, height, limit, whole):
    if not whole:  # in blocks, as of many images
        monkeypatch.setattr(neighbours, "SMALL_CLASS_ROWS", 0)
    _, labels, embeddings = digits
    train, test, labels = embeddings[:220], embeddings[220:], labels[:220]
    errors, leaks = near_duplicates.find_near_duplicates(train, labels, test, height=height, limit=limit)
    expected = near_duplicates_by_brute_force(train, labels, test, height, limit)
    assert_same_pairs(errors, expected[0])
    assert_same_pairs(leaks, expected[1])
    assert (len(errors) > 0) == (height > 0.01)


def test_of_equal_ones_the_lowest_indices_are_shown(monkeypatch):
    monkeypatch.setattr(neighbours, "SMALL_CLASS_ROWS", 0)
    same = np.ones((300, 3), np.float32)
    errors, leaks = near_duplicates.find_near_duplicates(same, np.arange(300) % 2, same[:90], height=0.1, limit=4)
    assert as_list(errors) == [(0, 0, 1), (0, 0, 3), (0, 0, 5), (0, 0, 7)]
    assert as_list(leaks) == [(0, 0, 0), (0, 1, 0), (0, 2, 0), (0, 3, 0)]


def test_without_test_images_there_are_no_leaks(digits):
    _, labels, embeddings = digits
    errors, leaks = near_duplicates.find_near_duplicates(embeddings, labels, height=0.08, limit=5)
    assert (len(errors), len(leaks)) == (5, 0)


def near_duplicate(selection):
    return gallery.default_near_duplicate(
        gallery.Selected("", "", 0.4, selection.kept, selection.representative, selection.distance)
    )


def test_near_duplicates_are_measured_by_what_goes(selection):
    height = near_duplicate(selection)
    nearer = np.mean(selection.distance[~selection.kept] <= height)
    assert 0.1 <= nearer < 0.12
    nothing = gallery.Selected("", "", 0.4, selection.kept, np.full(300, -1), np.full(300, np.nan))
    assert gallery.default_near_duplicate(nothing) is None


# Merge heights


def test_the_curve_of_heights_is_the_median_over_trees():
    trees = [np.array([0.1, 0.2, 0.4]), np.array([0.3, 0.3, 0.6, 0.7, 0.8, 0.9, 1.0]), np.array([0.5])]
    shares = np.array([0, 0.25, 0.5, 0.75])
    found = content.merge_heights(trees, [4, 8, 4], shares)
    np.testing.assert_array_equal(found, [0, 0.3, np.nan, np.nan])  # of the third tree there are no more merges
    np.testing.assert_array_equal(content.merge_heights(trees[:1], [4], shares), [0, 0.1, 0.2, 0.4])
    shown = gallery.heights_content(trees[:1], [4], 0.5)
    assert shown["cut"] == 0.2
    assert shown["height"] == sorted(shown["height"])
    assert shown["share"][-1] < 1
    assert gallery.heights_content([], [], 0.5) == {"share": [], "height": [], "cut": None}


def test_small_classes_do_not_end_the_curve_of_heights():
    """One image of a class is always kept; a class with one image has no merges and is left out."""
    trees = [np.linspace(0.1, 1, 99), np.linspace(0.1, 1, 49), np.array([0.3]), np.empty(0)]
    shown = gallery.heights_content(trees, [100, 50, 2, 1], 0.8)
    assert shown["share"][-1] > 0.99
    assert shown["cut"] == pytest.approx(np.median([trees[0][79], trees[1][39], 0.3]), rel=1e-5)
    assert gallery.heights_content([np.empty(0)], [1], 0.5)["share"] == []


# The map


def test_points_are_chosen_evenly_from_classes_and_from_what_goes():
    rng = np.random.default_rng(0)
    labels, kept = rng.choice(3, 5000, p=[0.7, 0.2, 0.1]), rng.random(5000) < 0.8
    index = projection.sample(labels, kept, 500)
    assert len(np.unique(index)) == 500
    for label in range(3):
        for is_kept in (False, True):
            share = np.mean((labels == label) & (kept == is_kept))
            assert abs(np.mean((labels[index] == label) & (kept[index] == is_kept)) - share) <= 1 / 500
    assert projection.sample(labels, kept, 5000).tolist() == list(range(5000))


def test_the_map_is_what_singular_vectors_give(digits):
    _, labels, embeddings = digits
    unit = embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)
    u, s, _ = np.linalg.svd(unit - unit.mean(0), full_matrices=False)
    points = projection.project(1e30 * embeddings, "pca")[0]
    np.testing.assert_allclose(np.abs(points), np.abs(u[:, :2] * s[:2]), atol=1e-4)
    shown = gallery.make_map(embeddings, labels, labels > 0, method="pca", max_points=100)
    assert (len(shown["x"]), shown["kept"].count(0)) == (100, np.sum(labels[shown["index"]] == 0))
    assert "100 of 300 images" in shown["note"]


@pytest.mark.parametrize("vectors", [np.ones((1, 4)), np.ones((6, 3)), np.arange(1, 5.0)[:, None]])
def test_a_map_of_hardly_anything(vectors):
    points = projection.project(vectors, "pca")[0]
    assert points.shape == (len(vectors), 2)
    np.testing.assert_allclose(points, 0, atol=1e-7)


def test_a_map_that_needs_a_package_says_which(monkeypatch):
    monkeypatch.setitem(sys.modules, "umap", None)
    with pytest.raises(dr.InputError) as caught:
        gallery.check_method("umap")
    assert str(caught.value) == (
        "map=umap: needs the package umap-learn, which is not installed. "
        "Install it with pip install 'data_redundancy[umap]'."
    )
    gallery.check_method("pca")


# From arrays


def test_a_gallery_from_arrays(digits, selection, tmp_path):
    images, labels, embeddings = digits
    names, ids = [f"digit {c}" for c in range(10)], [f"image-{i}" for i in range(300)]
    path = dr.write_gallery(
        tmp_path / "g",
        selection,
        embeddings=embeddings,
        labels=labels,
        images=images,
        class_names=names,
        ids=ids,
        title="Digits <& more>",
    )
    assert path == tmp_path / "g" / "index.html"
    assert [p.name for p in (tmp_path / "g").iterdir()] == ["index.html"]
    found = page_content.read(tmp_path / "g")
    assert (found["title"], found["dataset"]["class_names"], found["accuracy"]) == ("Digits <& more>", names, [])
    assert found["selection"] == {
        "name": "agglomerative-0.4", "method": "agglomerative", "fraction": 0.4, "num_kept": 180, "num_pruned": 120
    }  # fmt: skip
    expected = groups_by_brute_force(selection.kept, selection.representative, selection.distance)
    assert page_content.groups(found) == [members for _, _, members in expected]
    for row, index in enumerate(found["images"]["index"]):
        shown = page_content.thumbnail(tmp_path / "g", found, row)
        np.testing.assert_array_equal(shown, np.repeat(images[index][..., None], 3, 2))
        assert found["images"]["id"][row] == ids[index]
        assert found["images"]["label"][row] == labels[index]
        assert found["images"]["distance"][row] == pytest.approx(selection.distance[index], rel=1e-5, abs=1e-12)
    errors, _ = near_duplicates_by_brute_force(embeddings, labels, embeddings[:1], near_duplicate(selection), 200)
    shown = page_content.warning_pairs(found, "label_errors", ("a", "b"))
    assert [pair[:2] for pair in shown] == [pair[1:] for pair in errors]
    rows = [row for row in found["map"]["image"] if row >= 0]
    assert [found["images"]["index"][row] for row in rows] == [
        i for i, row in zip(found["map"]["index"], found["map"]["image"], strict=True) if row >= 0
    ]
    assert len(rows) >= 120


def test_a_gallery_of_embeddings_alone(digits, tmp_path):
    embeddings = digits[2]
    selection = dr.select(dr.cluster(embeddings, scope="dataset"), prune_fraction=0.2)
    dr.write_gallery(tmp_path, selection, embeddings=embeddings)
    found = page_content.read(tmp_path)
    assert (found["thumbnails"]["sheets"], found["dataset"]["class_names"]) == ([], ["0"])
    assert set(found["images"]["id"]) == {None}
    assert found["warnings"]["label_errors"] == []
    assert found["warnings"]["notes"] == ["Near-duplicates with different labels were not looked for."]
    assert sum(found["groups"]["size"]) == 60 + len(found["groups"]["size"])


def test_labels_far_apart_are_classes_of_their_own(tmp_path):
    """Such as numbers from another program: a list of names up to the largest would fill the memory."""
    labels, embeddings = np.array([7, 10**12]).repeat(20), np.random.default_rng(0).normal(size=(40, 5))
    selection = dr.select(dr.cluster(embeddings, labels), prune_fraction=0.3)
    dr.write_gallery(tmp_path, selection, embeddings=embeddings, labels=labels)
    found = page_content.read(tmp_path)
    assert found["dataset"]["class_names"] == ["7", "1000000000000"]
    assert found["classes"]["size"] == [20, 20]
    assert found["images"]["label"] == [int(index >= 20) for index in found["images"]["index"]]


def test_written_again_it_stays_as_it_is(digits, selection, tmp_path):
    images, labels, embeddings = digits
    for _ in range(2):
        dr.write_gallery(tmp_path, selection, embeddings=embeddings, labels=labels, images=images)
        times = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    dr.write_gallery(tmp_path / "other", selection, embeddings=embeddings, labels=labels, images=images)
    assert (tmp_path / "other" / "index.html").read_bytes() == (tmp_path / "index.html").read_bytes()
    assert all(path.stat().st_mtime_ns == time for path, time in times.items() if path.is_file())


@pytest.mark.parametrize(
    ("replaced", "told"),
    [
        ({"embeddings": np.ones((5, 2))}, r"^embeddings: must have one row per example, but has 5 for 300 examples$"),
        ({"labels": [0, 1]}, r"^labels: must have one label per embedding, but has 2 for 300 embeddings$"),
        (
            {"images": np.zeros((300, 8, 8))},
            r"^images: must be uint8 of shape .*, but are float64 of shape \(300, 8, 8\)$",
        ),
        ({"images": np.zeros((300, 0, 8), np.uint8)}, r"^images: must be .*, but are uint8 of shape \(300, 0, 8\)$"),
        ({"images": np.zeros((299, 8, 8), np.uint8)}, r"^images: must have .*, but has 299 for 300 embeddings$"),
        (
            {"images": [np.zeros((8 + i % 2, 8), np.uint8) for i in range(300)]},
            r"^images: must be uint8 of shape .*, but their shapes differ$",
        ),
        ({"class_names": ["a"]}, r"^class_names: must have a name for every label, but has 1 for labels up to 9$"),
        ({"ids": ["a"]}, r"^ids: must have one id per embedding, but has 1 for 300 embeddings$"),
        ({"max_warnings": -1}, r"^max_warnings=-1: must be an integer of at least 0$"),
    ],
)
def test_arrays_that_do_not_belong_together(digits, selection, tmp_path, replaced, told):
    images, labels, embeddings = digits
    arguments = {"embeddings": embeddings, "labels": labels, "images": images, **replaced}
    with pytest.raises(dr.InputError, match=told):
        dr.write_gallery(tmp_path / "g", selection, **arguments)
    assert not (tmp_path / "g").exists()


# Sizes


def many_groups(
    tmp_path, *, groups, html_bytes, side=48, num_images=60_000, names=True, map_points=None, label_errors=None
):
    """Writes a gallery of pairs with long names, all with the same few images."""
    rng = np.random.default_rng(0)
    index = np.arange(num_images)
    selected = gallery.Selected(
        "agglomerative-0.5",
        "agglomerative",
        0.5,
        index % 2 == 0,
        index - index % 2,
        rng.random(num_images) * (index % 2),
    )
    noise = rng.integers(0, 256, (64, side, side, 3), np.uint8)  # what takes most room

    def named(kind):
        return lambda rows: [f"imagenet-{kind}.tfrecord-<00000>-of-01024__{i}" if names else None for i in rows]

    train = gallery.PageSplit(
        labels=index % 1000,
        ids=named("train"),
        files=named("file"),
        images=lambda rows, _: (noise[i % 64] for i in rows),
    )
    empty = (np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0))
    report = gallery.Report(
        title="many",
        dataset={"name": "many", "version": "", "num_train": num_images, "num_test": 0, "digest": "",
                 "class_names": [str(c) for c in range(1000)]},
        selected=selected,
        train=train,
        test=None,
        image_shape=(side, side, 3),
        answer={"headline": "", "lines": []},
        evidence=gallery.NO_EVIDENCE,
        confidence=0.95,
        heights=gallery.heights_content([], [], 0.5),
        map_points=map_points,
        near_duplicates=gallery.NearDuplicates(label_errors or empty, empty),
        notes=[],
    )  # fmt: skip
    gallery.write(tmp_path, report, gallery.Limits(groups=groups, html_bytes=html_bytes))
    return selected, page_content.read(tmp_path)


@pytest.mark.parametrize("groups", [100, 700])
def test_thumbnails_go_beside_a_page_that_they_would_make_too_large(tmp_path, groups):
    _, found = many_groups(tmp_path, groups=groups, html_bytes=3e6, names=False)
    assert (tmp_path / "thumbnails").is_dir() == (groups == 700)
    assert (tmp_path / "index.html").stat().st_size < 3e6
    assert len(found["groups"]["size"]) == groups
    for number in range(len(found["thumbnails"]["sheets"])):
        assert page_content.sheet(tmp_path, found, number).shape[2] == 3


def test_a_page_never_grows_beyond_its_limit(tmp_path):
    selected, found = many_groups(tmp_path, groups=100_000, html_bytes=2.5e6, side=8)
    size = (tmp_path / "index.html").stat().st_size
    assert 1.3e6 < size < 2.5e6
    shown, everything = len(found["groups"]["size"]), 30_000
    assert found["groups"]["tightness"] == pytest.approx(np.sort(selected.distance[1::2])[:shown], rel=1e-5)
    note = f"The gallery shows the {shown:,} tightest groups, as many as fit into a page of 2.5 MB; "
    assert found["warnings"]["notes"] == [f"{note}{everything - shown:,} are left out."]


def test_nor_for_the_sake_of_warnings_and_points(tmp_path):
    rng, index = np.random.default_rng(0), np.arange(60_000)
    points = rng.normal(size=(len(index), 2))
    map_points = projection.map_content(points, "PCA", "", index=index, labels=index % 1000, kept=index % 2 == 0)
    errors = (rng.permutation(index)[:8000], rng.permutation(index)[:8000], np.full(8000, 0.125))
    _, found = many_groups(tmp_path, groups=100_000, html_bytes=8e6, side=8, map_points=map_points, label_errors=errors)
    assert 6e6 < (tmp_path / "index.html").stat().st_size < 8e6
    assert 0 < len(found["groups"]["size"]) < 30_000
    assert len(found["warnings"]["label_errors"]) == 8000
