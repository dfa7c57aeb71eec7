"""What is written of a data set: which examples of which splits, shard by shard."""

import dataclasses
import itertools
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from data_redundancy.errors import InputError
from data_redundancy.exporting.format import Example, Shard
from data_redundancy.exporting.source import Source

MIN_SHARD_BYTES, MAX_SHARD_BYTES = 2**26, 2**30
"""Of a file, where there is a choice; as TFDS has it."""
_MANY = 1024


@dataclasses.dataclass(frozen=True, eq=False)
class Part:
    """One split as it is written.

    Attributes:
        expression: what it is called in the source.
        indices: [n] int64, positions in it in canonical order, ascending.
        shard_lengths: how many of them each shard has, in order.
    """

    expression: str
    indices: np.ndarray
    shard_lengths: tuple[int, ...]


@dataclasses.dataclass(frozen=True, eq=False)
class Contents:
    """What is written.

    Attributes:
        source: of the examples.
        pruned: the name of the split of which only some examples are kept.
        parts: all splits by name, the pruned one first.
    """

    source: Source
    pruned: str
    parts: Mapping[str, Part]

    @property
    def num_examples(self) -> dict[str, int]:
        """How many examples of every split are written."""
        return {split: len(part.indices) for split, part in self.parts.items()}

    @property
    def shards(self) -> list[Shard]:
        """All shards, split by split."""
        return [shard for split, part in self.parts.items() for shard in _shards(split, part.shard_lengths)]

    def indices(self, shard: Shard) -> np.ndarray:
        """The positions, in the split's expression, of a shard's examples."""
        return self.parts[shard.split].indices[shard.first : shard.first + shard.length]

    def examples(self, shard: Shard) -> Iterator[Example]:
        """Reads a shard's examples."""
        return self.source.examples(self.parts[shard.split].expression, self.indices(shard))


def choose(
    source: Source,
    expression: str,
    keep: np.ndarray,
    *,
    others: str,
    num_shards: int | None,
    shard_lengths: Mapping[str, Sequence[int]] | None = None,
) -> Contents:
    """Decides what is written.

    What is kept gets the name of the split it comes from (of a sum: `train` if that is one of them, or else the first).

    Args:
        source: of the examples.
        expression: the split that was selected from.
        keep: [K] int64, positions in it, ascending.
        others: which of the source's other splits are written as well: `all`, `none`, or names with commas.
        num_shards: files per split; from their size if None.
        shard_lengths: of other splits that have their files already.

    Raises:
        InputError: naming `others` or `num_shards`.
    """
    taken_from = source.splits_of(expression)
    pruned = "train" if "train" in taken_from else taken_from[0]
    rest = [split for split in source.sizes if split not in taken_from]
    parts = {pruned: _part(source, expression, keep, num_shards)}
    if num_shards is not None and num_shards > len(keep):
        raise InputError(f"num_shards: is {num_shards}, allowed: 1 to {len(keep)}, one for each example that is kept")
    for split in _named(others, rest):
        indices = np.arange(source.sizes[split])
        lengths = (shard_lengths or {}).get(split)
        made = _part(source, split, indices, num_shards)
        parts[split] = made if lengths is None else dataclasses.replace(made, shard_lengths=tuple(lengths))
    return Contents(source, pruned, parts)


def shards_for(num_bytes: int, num_examples: int) -> int:
    """How many files to write: a power of two up to 1024, none much smaller than 64 MiB; of huge splits, more."""
    if num_bytes > _MANY * MAX_SHARD_BYTES:
        return min(num_examples, _MANY * -(-num_bytes // (_MANY * MAX_SHARD_BYTES)))
    most = max(1, min(num_bytes // MIN_SHARD_BYTES, num_examples, _MANY))
    return 1 << (int(most).bit_length() - 1)


def _named(others: str, rest: Sequence[str]) -> list[str]:
    if others in ("all", "none"):
        return list(rest) if others == "all" else []
    names = [name.strip() for name in others.split(",")]
    for name in names:
        if name not in rest:
            raise InputError(
                f"splits: there is no {name!r} besides what is pruned; allowed: all, none, or of these with commas: "
                f"{', '.join(rest) or '(there is no other)'}"
            )
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
