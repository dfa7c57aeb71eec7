"""Redundant groups: an image that is kept, with those it stands for."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False)
class Groups:
    """Groups one after the other, the tightest first.

    Attributes:
        members: [R] int64, indices: of every group the representative, then the redundant ones by distance.
        start: [G] int64, where in `members` a group begins.
        size: [G] int64, how many it has.
        tightness: [G] float64, the largest distance of a member to the representative; the smaller the tighter.
    """

    members: np.ndarray
    start: np.ndarray
    size: np.ndarray
    tightness: np.ndarray

    def __len__(self) -> int:
        return len(self.start)


def find_groups(kept: np.ndarray, representative: np.ndarray, distance: np.ndarray) -> Groups:
    """Groups the redundant images of a selection by what stands for them.

    Args:
        kept: [N] bool.
        representative: [N] integers; -1 where nothing stands for an image, which is then in no group.
        distance: [N] float64, of every image to its representative.

    Returns:
        All groups; of equally tight ones, that of the lowest representative first.
    """
    redundant = np.flatnonzero(~kept & (representative >= 0))
    heads, group = np.unique(representative[redundant], return_inverse=True)
    tightness = np.full(len(heads), -np.inf)
    np.maximum.at(tightness, group, distance[redundant])
    order = np.lexsort((heads, tightness))
    rank = np.empty(len(heads), np.int64)
    rank[order] = np.arange(len(heads))
    rows = np.concatenate([heads, redundant])
    place = np.concatenate([rank, rank[group]])
    is_member = np.arange(len(rows)) >= len(heads)
    members = rows[np.lexsort((rows, distance[rows], is_member, place))]
    size = np.bincount(place, minlength=len(heads))
    return Groups(members.astype(np.int64), np.cumsum(size) - size, size, tightness[order])


def first_groups(groups: Groups, count: int) -> Groups:
    """The `count` tightest."""
    stop = int(groups.size[:count].sum())
    return Groups(groups.members[:stop], groups.start[:count], groups.size[:count], groups.tightness[:count])


def groups_within(groups: Groups, bytes_of_members: np.ndarray, num_bytes: float) -> int:
    """How many groups, the tightest first, there is room for.

    Args:
        groups: G of R members.
        bytes_of_members: [R], what every member takes.
        num_bytes: the room there is.
    """
    ends = np.cumsum(bytes_of_members)[groups.start + groups.size - 1]
    return int(np.searchsorted(ends, num_bytes, side="right"))
