"""Planted redundancy: altered copies of digits, which the whole method is to find among the images."""

import numpy as np
import pyarrow.parquet as pq
import pytest
from sklearn.datasets import load_digits

from helpers.command import run_process

NUM_DIGITS, COPIES_PER_DIGIT = 1000, 1 / 9  # so that a tenth of what is trained on, and of every class, are copies

STAGES = """
import sys
from data_redundancy.cli import main
for stage in ("train", "embed", "cluster", "select"):
    assert main.main([stage, *sys.argv[1:]]) == 0
"""


def planted_copies(images, labels, rng):
    """Which images are copied, a ninth of every class; and the copies: up to 15% darker, with noise of 4 of 255."""
    copied = np.concatenate([
        rng.choice(members, round(len(members) * COPIES_PER_DIGIT), replace=False)
        for members in (np.flatnonzero(labels == label) for label in range(10))
    ])  # fmt: skip
    darker = images[copied] * rng.uniform(0.85, 1, size=(len(copied), 1, 1))
    return copied, np.clip(darker + rng.normal(0, 4, darker.shape), 0, 255).round().astype(np.uint8)


@pytest.mark.slow
def test_a_tenth_pruned_is_to_a_large_part_the_planted_tenth(tmp_path):
    """Recall is the share of planted pairs of which just one image is kept, as the other's representative.

    Only as many images go as there are pairs: recall is 1 if nothing but planted redundancy is removed. Of 111 pairs
    (seeds 0, 1, 2) 77%, 75% and 80% were found; the bound leaves room for other devices and versions. At random both
    images of a pair lie in no cluster; that one or both are removed, the most a random subset can do, has probability
    1 - 0.9**2 = 19%. What the embedding does not see as alike is not found: of copies shifted by a pixel, an eighth of
    these pictures, no more go than at random.
    """
    digits = load_digits()
    images, labels = (digits.images * (255 / 16)).astype(np.uint8), digits.target
    originals, copies = planted_copies(images[:NUM_DIGITS], labels[:NUM_DIGITS], np.random.default_rng(0))
    all_labels = np.concatenate([labels[:NUM_DIGITS], labels[originals]])
    np.savez(
        tmp_path / "planted.npz",
        image_train=np.concatenate([images[:NUM_DIGITS], copies]),
        label_train=all_labels,
        image_test=images[NUM_DIGITS:],
        label_test=labels[NUM_DIGITS:],
    )
    done = run_process(
        "--config=digits",
        "--config.dataset.name=planted.npz",
        "--config.train.steps=150",
        "--config.train.warmup_steps=20",
        "--config.train.batch_size=64",
        "--workdir=w",
        cwd=tmp_path,
        code=STAGES,
    )
    assert done.code == 0, done.err
    rows = pq.read_table(tmp_path / "w" / "selections" / "agglomerative-0.1" / "examples.parquet").to_pydict()
    kept, representative = np.array(rows["kept"]), np.array(rows["representative"])
    assert abs((~kept).sum() - len(copies)) <= 1

    pairs = np.stack([originals, NUM_DIGITS + np.arange(len(copies))], axis=1)
    found = (kept[pairs].sum(axis=1) == 1) & (representative[pairs[:, 0]] == representative[pairs[:, 1]])
    assert found.mean() > 0.6, f"recall {found.mean():.2f}"
    assert (~kept[pairs]).any(axis=1).mean() > 3 * (1 - 0.9**2)
