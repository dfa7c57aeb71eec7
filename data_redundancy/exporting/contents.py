"""The contents of an export: which examples of which splits are written, shard by shard."""

import dataclasses
import itertools
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from data_redundancy.errors import InputError, did_you_mean
from data_redundancy.exporting.format import Example, Shard
from data_redundancy.exporting.source import Source

MIN_SHARD_BYTES, MAX_SHARD_BYTES = 2**26, 2**30
"""The size of a file, unless its number of examples is given; the same as in TFDS."""
_MANY = 1024


@dataclasses.dataclass(frozen=True, eq=False)
class Part:
    """The examples of one split that are written.

    Attributes:
        expression: the split expression in the source.
        indices: [n] int64, the positions of the examples in it in canonical order, ascending.
        shard_lengths: the number of examples of each shard, in order.
    """

    expression: str
    indices: np.ndarray
    shard_lengths: tuple[int, ...]


@dataclasses.dataclass(frozen=True, eq=False)
class Contents:
    """The contents of an export.

    Attributes:
        source: the source of the examples.
        pruned: the name of the split of which only some examples are kept.
        parts: all splits by name, the pruned one first.
    """

    source: Source
    pruned: str
    parts: Mapping[str, Part]

    @property
    def num_examples(self) -> dict[str, int]:
        """The number of examples of every split."""
        return {split: len(part.indices) for split, part in self.parts.items()}

    @property
    def shards(self) -> list[Shard]:
        """All shards, split by split."""
        return [shard for split, part in self.parts.items() for shard in _shards(split, part.shard_lengths)]

    def indices(self, shard: Shard) -> np.ndarray:
        """Returns the positions of the examples of a shard in its split expression."""
        return self.parts[shard.split].indices[shard.first : shard.first + shard.length]

    def examples(self, shard: Shard) -> Iterator[Example]:
        """Reads the examples of a shard."""
        return self.source.examples(self.parts[shard.split].expression, self.indices(shard))


def choose(
    source: Source,
    expression: str,
    keep: np.ndarray,
    *,
    splits: str,
    num_shards: int | None,
    shard_lengths: Mapping[str, Sequence[int]] | None = None,
) -> Contents:
    """Determines the contents of an export.

    The kept examples get the name of the split that they come from (of a sum: `train` if it is a term, else the first).

    Args:
        source: the source of the examples.
        expression: the split expression that was selected from.
        keep: [K] int64, the positions of the kept examples in it, ascending.
        splits: the other splits of the source that are written as well: `all`, `none`, or names with commas.
        num_shards: the number of files per split; None: it follows from their size.
        shard_lengths: the number of examples per file, for other splits whose files are copied.

    Raises:
        InputError: naming `splits`, for an unknown split, or `num_shards`, if there are fewer examples.
    """
    taken_from = source.splits_of(expression)
    pruned = "train" if "train" in taken_from else taken_from[0]
    rest = [split for split in source.sizes if split not in taken_from]
    parts = {pruned: _part(source, expression, keep, num_shards)}
    if num_shards is not None and num_shards > len(keep):
        raise InputError("num_shards", num_shards, f"must be at most {len(keep)}, the number of kept examples")
    for split in _named(splits, rest):
        indices = np.arange(source.sizes[split])
        lengths = (shard_lengths or {}).get(split)
        made = _part(source, split, indices, num_shards)
        parts[split] = made if lengths is None else dataclasses.replace(made, shard_lengths=tuple(lengths))
    return Contents(source, pruned, parts)


def shards_for(num_bytes: int, num_examples: int) -> int:
    """Returns the number of files of a split: a power of two up to 1024, so that no file is much smaller than 64 MiB.

    Splits of more than 1 TiB get more files.
    """
    if num_bytes > _MANY * MAX_SHARD_BYTES:
        return min(num_examples, _MANY * -(-num_bytes // (_MANY * MAX_SHARD_BYTES)))
    most = max(1, min(num_bytes // MIN_SHARD_BYTES, num_examples, _MANY))
    return 1 << (int(most).bit_length() - 1)


def _named(splits: str, rest: Sequence[str]) -> list[str]:
    if splits in ("all", "none"):
        return list(rest) if splits == "all" else []
    names = [name.strip() for name in splits.split(",")]
    for name in names:
        if name not in rest:
            others = f", or names with commas out of {', '.join(rest)}" if rest else ", as there is no other split"
            raise InputError("splits", splits, f"must be all or none{others}", did_you_mean(name, rest))
    return [split for split in rest if split in names]


def _part(source: Source, expression: str, indices: np.ndarray, num_shards: int | None) -> Part:
    if num_shards is None:
        whole = max(1, sum(source.sizes[split] for split in source.splits_of(expression)))
        num_shards = shards_for(source.num_bytes(expression) * len(indices) // whole, len(indices))
    num_shards = min(num_shards, len(indices))
    ends = [round(len(indices) * number / max(1, num_shards)) for number in range(num_shards + 1)]
    lengths = tuple(stop - start for start, stop in itertools.pairwise(ends))
    return Part(expression, indices, lengths)


def _shards(split: str, lengths: Sequence[int]) -> Iterator[Shard]:
    first = 0
    for number, length in enumerate(lengths):
        yield Shard(split=split, number=number, of=len(lengths), first=first, length=length)
        first += length
