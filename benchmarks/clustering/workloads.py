"""What is measured: inputs, rows of the table, and how often."""

from dataclasses import dataclass
from typing import Any

FRACTIONS = [0.1, 0.3, 0.5]
PEERS = ["fastcluster", "SciPy", "scikit-learn"]
GROWTH_SIZES = [2_500, 5_000, 10_000, 20_000, 40_000, 80_000]
LARGEST_OF_PEERS = 20_000
"""More examples in one class than this are not given to peers."""
IMAGENET_CLASSES = 1_000


@dataclass(frozen=True)
class Row:
    """One line of a table.

    Attributes:
        name: shown.
        contestant: a name in `contestants.CONTESTANTS`.
        fractions: where the trees are cut; the first cut is part of the time.
        options: keyword arguments for our function; none for peers.
    """

    name: str
    contestant: str
    fractions: list[float]
    options: dict[str, Any]

    @property
    def is_ours(self) -> bool:
        """Whether this project does the work."""
        return self.contestant.startswith("ours")


@dataclass(frozen=True)
class Workload:
    """One input and those who cluster it.

    Attributes:
        name: as in `--only`.
        title: the heading of the table.
        recipe: what `inputs.write` makes the input from.
        rows: the contestants.
        warm_up: how our rows warm up, see `measure.measure`.
        repeats: the most repetitions worth their time, None for as many as were asked for.
        scale: how many times the work stands for.
    """

    name: str
    title: str
    recipe: dict[str, Any]
    rows: list[Row]
    warm_up: str = "whole"
    repeats: int | None = None
    scale: float = 1

    @property
    def largest_tree(self) -> int:
        """Examples in the largest tree."""
        sizes = self.recipe["sizes"]
        return sum(sizes) if any(row.options.get("scope") == "dataset" for row in self.rows) else max(sizes)


def ours(fraction: float | None, **options: Any) -> Row:
    """Our trees, deep enough for a prune fraction, or whole."""
    if fraction is None:
        return Row("ours, whole trees", "ours", FRACTIONS, options)
    return Row(f"ours {fraction:.0%}", "ours", [fraction], {"max_prune_fraction": fraction, **options})


def peers() -> list[Row]:
    """All peers, on whole trees."""
    return [Row(peer, peer, FRACTIONS, {}) for peer in PEERS]


def recipe(kind: str, sizes: list[int], dimensions: int, real: dict[str, str] | None) -> dict[str, Any]:
    """See `inputs.write`; without real embeddings every kind is synthetic."""
    return {"kind": kind, "sizes": sizes, "dimensions": dimensions, "real": real}


def cpu_workloads(real: dict[str, str] | None, shrink: int, num_classes: int) -> list[Workload]:
    """The workloads that run anywhere.

    Args:
        real: where the real embeddings are, as `inputs.read_real` takes it; None for synthetic ones.
        shrink: divides the size of every class.
        num_classes: how many of ImageNet's 1,000 classes to measure.
    """
    origin = "real embeddings" if real else "SYNTHETIC embeddings"
    imitation = "imitating the real embeddings of one class" if real else "synthetic"
    five, thousand, twenty = 5_000 // shrink, 1_281 // shrink, 20_000 // shrink
    return [
        Workload(
            "cifar",
            f"10 classes x {five:,} x 64, {origin}",
            recipe("first_of_classes", [five] * 10, 64, real),
            [*(ours(fraction) for fraction in FRACTIONS), ours(None), *peers()],
        ),
        Workload(
            "imagenet",
            f"{num_classes} classes x {thousand:,} x 2,048, synthetic; scaled to {IMAGENET_CLASSES:,} classes",
            recipe("synthetic", [thousand] * num_classes, 2_048, None),
            [*(ours(fraction) for fraction in FRACTIONS), ours(None), *peers()],
            scale=IMAGENET_CLASSES / num_classes,
        ),
        Workload(
            "tree20k",
            f"one class of {twenty:,} x 64, whole tree, {origin}" + (" drawn across classes" if real else ""),
            recipe("drawn_across_classes", [twenty], 64, real),
            [Row("ours, linkage", "ours_linkage", FRACTIONS, {}), *peers()],
        ),
        *(
            Workload(
                f"large{size // 1000}k",
                f"one class of {size // shrink:,} x 64, {imitation}",
                recipe("imitated_class", [size // shrink], 64, real),
                [ours(fraction) for fraction in fractions],
                warm_up="none",
                repeats=1,
            )
            for size, fractions in ((100_000, [0.1, 0.3]), (300_000, [0.1]))
        ),
    ]


def growth_workloads(real: dict[str, str] | None, shrink: int) -> list[Workload]:
    """One class of more and more examples."""
    fastcluster = Row("fastcluster", "fastcluster", FRACTIONS, {})
    return [
        Workload(
            "growth",
            f"one class of {size // shrink:,} x 64",
            recipe("imitated_class", [size // shrink], 64, real),
            [ours(0.1), ours(0.5), *([fastcluster] if size <= LARGEST_OF_PEERS else [])],
            repeats=None if size <= LARGEST_OF_PEERS else 1,
        )
        for size in GROWTH_SIZES
    ]


def device_workloads(shrink: int) -> list[Workload]:
    """The workloads for an accelerator."""
    # ImageNet's number of training examples, its classes being almost equal in size.
    sizes = [(1_281 + (label < 167)) // shrink for label in range(IMAGENET_CLASSES)]
    imagenet = recipe("synthetic", sizes, 2_048, None)
    million = 1_000_000 // shrink
    return [
        Workload("gpu-imagenet", f"{IMAGENET_CLASSES:,} classes, {sum(sizes):,} x 2,048", imagenet, [ours(None)]),
        Workload(
            "gpu-1m",
            f"one class of {million:,} x 64, synthetic",
            recipe("synthetic", [million], 64, None),
            [ours(0.1)],
            warm_up="none",
            repeats=1,
        ),
        Workload(
            "gpu-dataset",
            f"{sum(sizes):,} x 2,048 regardless of classes, synthetic",
            imagenet,
            [ours(0.1, scope="dataset")],
            warm_up="none",
            repeats=1,
        ),
    ]
