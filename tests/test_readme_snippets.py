"""The README's Python code runs: the Python API, and for other frameworks what the command beside it selects."""

import importlib.util
import json
import pathlib
import re
import subprocess
import sys

import numpy as np
import pytest

from data_redundancy.cli import main
from helpers.command import environment, write_digits
from helpers.imagenet_like import NUM_TRAIN, images
from helpers.imagenet_like import write as write_tfds

README = pathlib.Path(__file__).parents[1] / "README.md"
HEADING = "## In other frameworks"
NUM_DIGITS = 200


def snippet(framework):
    """The block of code after the line that begins with the framework's name."""
    section = README.read_text(encoding="utf-8").partition(f"\n{HEADING}\n")[2].partition("\n## ")[0]
    found = re.findall(rf"^{re.escape(framework)}\b[^\n]*:\n\n```python\n(.*?)^```$", section, re.M | re.S)
    assert len(found) == 1, f"{HEADING}: {len(found)} blocks of {framework}"
    return found[0]


def ran(code, cwd, **variables):
    """What a script prints, JSON."""
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=cwd,
        env={**environment(), "HF_HUB_OFFLINE": "1", "HF_HOME": str(cwd / "cache"), **variables},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def select(folder, name, embeddings, labels):
    np.save(folder / "e.npy", embeddings.astype(np.float32))
    np.save(folder / "l.npy", labels)
    out = folder / "runs" / name / "selections" / "agglomerative-0.1"
    flags = [f"--embeddings={folder / 'e.npy'}", f"--labels={folder / 'l.npy'}", "--fraction=0.1", f"--out={out}"]
    assert main.main(["select", *flags]) == 0
    return np.load(out / "keep.npy")


API = """
import json
import numpy as np
from sklearn.datasets import load_digits

images, labels = load_digits(return_X_y=True)
embeddings, scores, x, k = images, np.arange(len(images)), images[:99], 90
"""
SHOW = """
print(json.dumps([
    len(kept), len(table), len(groups), [len(selection.keep) for selection in selections],
    axes.get_xlabel(), hardest.redundant.tolist()[:2], len(across_classes.keep), Z.shape, int(clusters.max()),
]))
"""


def test_python_api(tmp_path):
    section = README.read_text(encoding="utf-8").partition("\n## Your own embeddings\n")[2].partition("\n## ")[0]
    (code,) = re.findall(r"^```python\n(.*?)^```$", section, re.M | re.S)
    found = ran(API + code + SHOW, tmp_path)
    assert (tmp_path / "kept" / "examples.parquet").is_file()
    num_groups = found.pop(2)
    assert 0 < num_groups <= 180
    # The scores rise with the index, so the first images of every class are pruned.
    assert found == [1617, 1797, [1617, 1438, 1258], "kept [%]", [0, 1], 1617, [98, 4], 89]


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    """A folder with `mine.npz`, `mine` and a selection; the images, labels and indices that it keeps."""
    import datasets

    folder = tmp_path_factory.mktemp("digits")
    arrays = np.load(write_digits(folder / "mine.npz", num_train=NUM_DIGITS))
    pixels, labels = arrays["image_train"], arrays["label_train"]
    keep = select(folder, "mine", pixels.reshape(NUM_DIGITS, -1), labels)
    assert len(keep) == NUM_DIGITS * 9 // 10
    datasets.disable_progress_bars()
    datasets.Dataset.from_dict({"pixels": pixels.tolist(), "label": labels.tolist()}).save_to_disk(folder / "mine")
    return folder, pixels, labels, keep


def in_any_order(pixels, labels):
    return sorted(zip(np.asarray(pixels).reshape(len(labels), -1).tolist(), np.asarray(labels).tolist(), strict=True))


def check_batches(digits, framework):
    """Every image that is kept is in one batch, with its label."""
    folder, pixels, labels, keep = digits
    show = "import json\nprint(json.dumps([(x.tolist(), y.tolist()) for x, y in batches]))"
    batches = ran(f"{snippet(framework)}\n{show}", folder)
    assert [len(y) for _, y in batches] == [64, 64, 52]
    found = in_any_order(np.concatenate([x for x, _ in batches]), np.concatenate([y for _, y in batches]))
    assert found == in_any_order(pixels[keep], labels[keep])


def test_grain(digits):
    check_batches(digits, "Grain")


def test_pytorch(digits):
    if importlib.util.find_spec("torch") is None:
        pytest.skip("PyTorch is not installed: pip install torch")
    check_batches(digits, "PyTorch")


def test_hugging_face(digits):
    folder, pixels, labels, keep = digits
    show = "import json\nprint(json.dumps([train.to_dict(), [len(batch['label']) for batch in batches]]))"
    found, sizes = ran(f"{snippet('Hugging Face')}\n{show}", folder)
    assert found == {"pixels": pixels[keep].tolist(), "label": labels[keep].tolist()}
    assert sizes == [64, 64, 52]


@pytest.mark.slow
def test_tf_data(tmp_path):
    write_tfds(tmp_path / "data", name="photos")
    pixels, labels = images()
    small = np.stack([np.resize(image, (20, 20, 3)).ravel() for image in pixels[:NUM_TRAIN]])
    keep = select(tmp_path, "photos", small, labels[:NUM_TRAIN])
    show = "print(json.dumps([[e['file_name'].decode(), int(e['label'])] for e in train.as_numpy_iterator()]))"
    found = ran(f"{snippet('tf.data')}\nimport json\n{show}", tmp_path, TFDS_DATA_DIR=str(tmp_path / "data"))
    assert found == [[f"n{labels[i]:08d}_{i}.JPEG", int(labels[i])] for i in keep]
    assert len(keep) < NUM_TRAIN
