"""The export as folders of images: SPLIT/CLASS/FILE, one folder per class.

Keras and torchvision read the folder of a split, `datasets` reads all splits. All of them number the classes in the
order of the names of their folders. The labels of the source are in `examples.csv` (one row per image: split, path,
index, tfds_id, file_name, label, class_name) and `dataset.json` (the folder of every class). README.md assigns
the folders to splits, for `datasets`.
"""

import csv
import pathlib
import shutil
from collections.abc import Iterable
from typing import Any, TextIO

from data_redundancy.exporting import about as descriptions
from data_redundancy.exporting import files
from data_redundancy.exporting.format import Description, Example, Shard
from data_redundancy.exporting.paths import image_name, unique_name_of, unique_names

_TABLE = "examples.csv"
_ROWS = ".examples"
"""The folder of the rows of each shard, until all shards are complete."""
_COLUMNS = ("split", "path", "index", "tfds_id", "file_name", "label", "class_name")


class ImageFolder:
    """Writes image files; a `Format`."""

    def write_shard(
        self, directory: pathlib.Path, shard: Shard, examples: Iterable[Example], about: Description
    ) -> None:
        """See `Format`."""
        split, folders = unique_name_of(shard.split, about.num_examples), unique_names(about.class_names)
        with (
            files.renamed(directory / _rows_name(shard, about)) as partial,
            partial.open("w", encoding="utf-8", newline="") as rows,
        ):
            table = _csv_writer(rows)
            for e in examples:
                path = f"{split}/{folders[e.label]}/{image_name(e.file_name, e.index, e.extension)}"
                with files.renamed(directory / path) as image:
                    image.write_bytes(e.encoded)
                class_name = about.class_names[e.label]
                table.writerow([shard.split, path, e.index, e.tfds_id, e.file_name, e.label, class_name])

    def finish(self, directory: pathlib.Path, shards: list[Shard], about: Description) -> None:
        """See `Format`."""
        folders = unique_names(about.class_names)
        splits = dict(zip(about.num_examples, unique_names(about.num_examples), strict=True))
        for split in splits.values():
            for folder in folders:
                (directory / split / folder).mkdir(parents=True, exist_ok=True)
        descriptions.write_dataset_json(directory, about, folders=folders)
        patterns = {split: f"{splits[split]}/**" for split, number in about.num_examples.items() if number}
        configs = [{**config, "drop_labels": False} for config in descriptions.configs(patterns)]
        front = {"task_categories": ["image-classification"], "configs": configs}
        files.write_text(directory / "README.md", descriptions.card(about, front))
        if not (directory / _TABLE).exists():  # otherwise a run was killed after it had written the table
            _join_rows(directory, shards, about)
        shutil.rmtree(directory / _ROWS, ignore_errors=True)


def _join_rows(directory: pathlib.Path, shards: list[Shard], about: Description) -> None:
    with files.renamed(directory / _TABLE) as partial:
        with partial.open("w", encoding="utf-8", newline="") as table:
            _csv_writer(table).writerow(_COLUMNS)
        with partial.open("ab") as table:
            for shard in shards:
                with (directory / _rows_name(shard, about)).open("rb") as rows:
                    shutil.copyfileobj(rows, table)


def _rows_name(shard: Shard, about: Description) -> str:
    return f"{_ROWS}/{unique_name_of(shard.split, about.num_examples)}-{shard.number}.csv"


def _csv_writer(file: TextIO) -> Any:
    # All text is quoted, so that text with digits, commas or line ends is read as the same text.
    return csv.writer(file, quoting=csv.QUOTE_NONNUMERIC, lineterminator="\n")
