"""What is measured: inputs, rows of the tables, and the bounds on ratios between rows."""

from dataclasses import dataclass, field
from typing import Any

RESNET50 = {"model": "resnet50", "image_size": 224, "num_classes": 1000, "dtype": "bfloat16", "batch_size": 256}
RESNET32 = {"model": "resnet32", "image_size": 32, "num_classes": 10, "dtype": "bfloat16", "batch_size": 128}
ON_CPU = {"model": "resnet8", "image_size": 32, "num_classes": 10, "dtype": "float32", "batch_size": 128}
PRUNED = (0.1, 0.5)


@dataclass(frozen=True)
class Row:
    """One line of a table.

    Attributes:
        name: shown.
        contestant: MODULE.FUNCTION in this package.
        options: its keyword arguments.
        environment: variables of its process.
    """

    name: str
    contestant: str
    options: dict[str, Any]
    environment: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Bound:
    """What is asked for: images per second of a row, at least so many times those of another."""

    row: str
    peer: str
    least: float


@dataclass(frozen=True)
class Workload:
    """Rows that do the same work.

    Attributes:
        name: as in `--only`.
        title: the heading of the table.
        rows: the contestants.
        bounds: between them.
        recipe: what `inputs.write` makes the input from; None where there is none.
    """

    name: str
    title: str
    rows: list[Row]
    bounds: list[Bound]
    recipe: dict[str, Any] | None = None

    @property
    def needs_gpu(self) -> bool:
        """Whether it is meant for a GPU."""
        return self.name.startswith("gpu-")

    @property
    def needs_tensorflow(self) -> bool:
        """Whether it reads JPEGs."""
        return self.recipe is not None


def all_workloads(*, num_photos: int, shrink: int) -> list[Workload]:
    """Everything there is.

    Args:
        num_photos: JPEGs to write and read.
        shrink: divides numbers of steps and of images on devices, for a quick trial.
    """
    return [
        _train("gpu-resnet50", RESNET50, num_images=2048 // shrink, num_steps=400 // shrink, least=1.0),
        _train("gpu-cifar", RESNET32, num_images=50_000 // shrink, num_steps=6000 // shrink, least=3.0),
        _embed("gpu-embed-resnet50", RESNET50, num_images=16_384 // shrink),
        _embed("gpu-embed-cifar", RESNET32, num_images=50_000 // shrink),
        _embed("embed", ON_CPU, num_images=30_720 // shrink),
        _devices(num_steps=200 // shrink),
        _input(num_photos),
        *(_keep_list(num_photos, fraction, cold=cold) for cold in (False, True) for fraction in PRUNED),
    ]


def _train(name: str, work: dict[str, Any], *, num_images: int, num_steps: int, least: float) -> Workload:
    pad = 4 if work["image_size"] == 32 else 0
    options = {**work, "num_images": num_images, "num_steps": num_steps, "pad": pad}
    compiled, graphs = "PyTorch, torch.compile", "PyTorch, torch.compile, CUDA graphs"
    return Workload(
        name,
        f"training {_described(work)}, {num_images:,} synthetic images on the device, {num_steps:,} steps",
        [
            Row("ours", "ours.train", options),
            Row(compiled, "pytorch.train", {**options, "mode": "default"}),
            Row(graphs, "pytorch.train", {**options, "mode": "reduce-overhead"}),
        ],
        [Bound("ours", compiled, least)],
    )


def _embed(name: str, work: dict[str, Any], *, num_images: int) -> Workload:
    options = {**work, "dtype": "float32", "batch_size": 256, "num_images": num_images}
    return Workload(
        name,
        f"embedding with {_described(options)}, {num_images:,} images",
        [Row("ours", "ours.embed", options), Row("bare forward pass", "bare.forward", options)],
        [Bound("ours", "bare forward pass", 0.9)],
    )


def _devices(num_steps: int) -> Workload:
    options = {**ON_CPU, "num_images": 2048, "num_steps": num_steps, "pad": 4, "whole": True}
    rows = [
        Row(
            f"{count} virtual device{'s' * (count > 1)}",
            "ours.train",
            options,
            {"XLA_FLAGS": f"--xla_force_host_platform_device_count={count}", "JAX_PLATFORMS": "cpu"},
        )
        for count in (1, 8)
    ]
    return Workload(
        "devices",
        f"whole runs of {num_steps} steps, compilation and a checkpoint included, {_described(ON_CPU)}",
        rows,
        [Bound(rows[1].name, rows[0].name, 1 / 1.5)],
    )


def _described(work: dict[str, Any]) -> str:
    size = work["image_size"]
    return f"{work['model']}, {size}x{size}, {work['dtype']}, batch {work['batch_size']}"


def _photos(num_photos: int) -> dict[str, Any]:
    return {"num_photos": num_photos, "pruned": PRUNED}


def _input(num_photos: int) -> Workload:
    options = {"source": "all", "image_size": 224, "batch_size": 64}
    bare = "bare tf.data, the same graph"
    return Workload(
        "input",
        f"{num_photos:,} JPEGs of 300 to 600 pixels a side, read, decoded and cropped to 224x224 for training",
        [Row("ours", "ours.read", options), Row(bare, "bare.read", options)],
        [Bound("ours", bare, 0.9)],
        _photos(num_photos),
    )


def _keep_list(num_photos: int, fraction: float, *, cold: bool) -> Workload:
    options = {"image_size": 224, "batch_size": 64, "cold": cold}
    with_list, exported = "ours, with a keep list", "ours, an exported data set of what is kept"
    return Workload(
        f"keep{fraction:.0%}{'-cold' if cold else ''}".replace("%", ""),
        f"the same {num_photos:,} JPEGs, {fraction:.0%} pruned, {'nothing' if cold else 'all'} in the page cache",
        [
            Row(with_list, "ours.read", {**options, "source": "all", "keep": fraction}),
            Row(exported, "ours.read", {**options, "source": f"kept-{fraction}"}),
        ],
        [Bound(with_list, exported, 0.95)],
        _photos(num_photos),
    )
