"""Groups of redundant images: an image that is kept, with the pruned images that it represents."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False)
class Groups:
    """Groups in sequence, the tightest first.

    Attributes:
        members: [R] int64, indices of images: for each group the representative, then the pruned images by distance.
        start: [G] int64, the position in `members` at which each group begins.
        size: [G] int64, the number of members of each group.
        tightness: [G] float64, the largest distance of a member to the representative; tighter groups have smaller
            values.
    """

    members: np.ndarray
    start: np.ndarray
    size: np.ndarray
    tightness: np.ndarray

    def __len__(self) -> int:
        return len(self.start)


def find_groups(kept: np.ndarray, representative: np.ndarray, distance: np.ndarray) -> Groups:
    """Groups the pruned images of a selection by their representatives.

    Args:
        kept: [N] bool.
        representative: [N] integers; -1 for an image without a representative, which belongs to no group.
        distance: [N] float64, from every image to its representative.

    Returns:
        All groups; equally tight ones are ordered by the index of the representative.
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
    """Returns the `count` tightest groups."""
    stop = int(groups.size[:count].sum())
    return Groups(groups.members[:stop], groups.start[:count], groups.size[:count], groups.tightness[:count])


def groups_within(groups: Groups, bytes_of_members: np.ndarray, num_bytes: float) -> int:
    """Returns how many groups, the tightest first, fit into a number of bytes.

    Args:
        groups: groups with R members.
        bytes_of_members: [R] the size of every member.
        num_bytes: the available space.
    """
    ends = np.cumsum(bytes_of_members)[groups.start + groups.size - 1]
    return int(np.searchsorted(ends, num_bytes, side="right"))
