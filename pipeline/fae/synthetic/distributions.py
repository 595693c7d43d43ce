"""Rank distributions with a head and a tail, dependence that keeps them, and maps between ids.

A column's ids are ranks 0, 1, 2 …, the most frequent first. `Ranks` holds a few points of the
cumulative share ("the first 10 ids have 18.5 % of the rows"); between two points the share of a
rank falls as 1/rank, so that head, middle and tail each have their own slope, as in real logs,
and a draw costs one interpolation. No single Zipf exponent fits both head and tail.

Columns depend on each other without disturbing these shares: a row has uniform positions on a
circle, and columns that belong together draw at nearby positions (`near`).
"""

import heapq
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from fae.synthetic.hashing import Floats, Ids, salt, unit


@dataclass(frozen=True)
class Ranks:
    """Ids of one column: (rank, share of the rows that ids before that rank have) …, 1 at last."""

    points: tuple[tuple[int, float], ...]

    def _edges(self) -> tuple[Floats, Floats]:
        ranks = np.log([1.0, *(rank + 1.0 for rank, _ in self.points)])
        return ranks, np.array([0.0, *(share for _, share in self.points)])

    def draw(self, positions: Floats) -> Ids:
        """The rank at each position in [0, 1): the inverse of the cumulative share."""
        ranks, shares = self._edges()
        return (np.exp(np.interp(positions, shares, ranks)) - 1.0 + 1e-9).astype(np.uint32)

    def masses(self) -> Floats:
        """The share of every rank; for columns whose ids fit in a table."""
        ranks, shares = self._edges()
        size = self.points[-1][0]
        return np.diff(np.interp(np.log(np.arange(1.0, size + 2.0)), ranks, shares))


@dataclass(frozen=True)
class Zone:
    """Of the ids from rank `above`, this share merges into ids whose ranks lie in [low, high).

    With a `grain`, ids whose ranks differ by less than about that factor less 1 go to one parent.
    """

    above: int
    share: float
    low: int
    high: int
    grain: float = 0.0


def merged(ids: Ids, zones: tuple[Zone, ...], purpose: str) -> Ids:
    """The parent of each id: itself, or for the zones' shares a fixed id of a lower rank.

    Parents that attract follow 1/rank within their zone, so that families are heavy-tailed, as
    they must be for few ids to vanish among 10,000 rows while most vanish among 45 million. Of
    two zones that claim an id, the later has it.
    """
    parents = ids.copy()
    for index, zone in enumerate(zones):
        rows = np.flatnonzero(ids >= zone.above)
        chosen = unit(ids[rows], salt(purpose, str(index), "merges")) < zone.share
        rows = rows[chosen]
        families = ids[rows]
        if zone.grain:
            families = (np.log1p(families) / zone.grain).astype(np.uint32)
        exponent = unit(families, salt(purpose, str(index), "into"))
        span = np.log((zone.high + 1) / (zone.low + 1))
        parents[rows] = ((zone.low + 1) * np.exp(exponent * span) - 1.0 + 1e-9).astype(np.uint32)
    return parents


def packed(children: Floats, parents: Floats) -> Ids:
    """Child → parent such that the children's masses add up to the parents', as nearly as can be.

    Largest child first into the parent with most room left, but the smallest children go where
    they are needed for every parent to have one. Needs no fewer children than parents.
    """
    room = [(-mass, parent) for parent, mass in enumerate(parents.tolist())]
    heapq.heapify(room)
    empty = set(range(len(parents)))
    of_child = np.empty(len(children), dtype=np.uint32)
    order = np.argsort(-children, kind="stable").tolist()
    for index, child in enumerate(order):
        if len(order) - index == len(empty):
            of_child[order[index:]] = sorted(empty)
            break
        negative, parent = room[0]
        of_child[child] = parent
        empty.discard(parent)
        heapq.heapreplace(room, (negative + float(children[child]), parent))
    return of_child


@dataclass(frozen=True)
class Circle:
    """Each id's arc on a circle of length 1, as long as its share of the rows."""

    starts: Floats
    lengths: Floats

    def positions(self, ids: Ids, uniform: Floats) -> Floats:
        """A point in each id's arc; over the rows these are uniform."""
        points: Floats = self.starts[ids] + uniform * self.lengths[ids]
        return points


def circle(masses: Floats, order: npt.NDArray[np.intp] | None = None) -> Circle:
    """Arcs of the given masses, laid in the given order of ids (by default by rank)."""
    order = np.arange(len(masses)) if order is None else order
    lengths = masses / masses.sum()
    starts = np.empty(len(masses))
    starts[order] = np.concatenate([[0.0], np.cumsum(lengths[order])[:-1]])
    return Circle(starts, lengths)


def near(positions: Floats, width: float, shift: float, uniform: Floats) -> Floats:
    """Positions up to `width` of the circle after `shift`; uniform where the given ones are."""
    return np.mod(positions + (shift + width * uniform), 1.0)


def either(share: float, first: Floats, second: Floats, uniform: Floats) -> Floats:
    """`first` in that share of the rows, else `second`; uniform where both are."""
    return np.where(uniform < share, first, second)
