"""Skewed distributions of ids, dependence that keeps them, maps between ids, and hashes of ids.

A column's ids are ranks 0, 1, 2 …, the most frequent first. `Skew` has a few points of the
cumulative share ("the first 10 ids have 18.5 % of the rows"); between two points the share of a
rank falls as 1/rank, so that head, middle and tail each have their own slope, as in real logs,
and a draw costs one interpolation. No single Zipf exponent fits both head and tail.

Columns depend on each other without disturbing these shares: a row has uniform positions on a
circle, and columns that belong together draw at nearby positions (`move_positions`).
"""

import heapq
import zlib
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa

Ids = npt.NDArray[np.uint32]
Floats = npt.NDArray[np.float64]

_HEX = np.frombuffer(b"".join(b"%04x" % i for i in range(1 << 16)), dtype=np.uint32)


def mix(ids: Ids, *purpose: str) -> Ids:
    """Permute the 32-bit integers, differently for each purpose such as ("C3", "hex").

    The finaliser of MurmurHash3, salted: a bijection, so that no two ids collide. It depends on no
    seed: what an id is (its hex digits, its parent, its effect on the label) is the same in every
    log, and a seed only chooses which ids appear in which rows.
    """
    x = ids ^ np.uint32(zlib.crc32("/".join(purpose).encode()))
    x ^= x >> np.uint32(16)
    x *= np.uint32(0x85EBCA6B)
    x ^= x >> np.uint32(13)
    x *= np.uint32(0xC2B2AE35)
    x ^= x >> np.uint32(16)
    return x


def to_unit(ids: Ids, *purpose: str) -> Floats:
    """Return a fixed number in [0, 1) for each id, nearly uniform over the ids."""
    return mix(ids, *purpose).astype(np.float64) * 2.0**-32


def to_hex(keys: Ids, missing: npt.NDArray[np.bool_] | None = None) -> pl.Series:
    """Return keys as eight lower-case hex digits, null where missing.

    A table has the four digits of every 16-bit number as one 32-bit word, so a key is two look-ups.
    """
    digits = np.empty((len(keys), 2), dtype=np.uint32)  # (rows, two groups of four characters)
    digits[:, 0] = _HEX[keys >> np.uint32(16)]
    digits[:, 1] = _HEX[keys & np.uint32(0xFFFF)]
    offsets = np.arange(0, 8 * len(keys) + 1, 8, dtype=np.int64)
    valid = None if missing is None else pa.py_buffer(np.packbits(~missing, bitorder="little"))
    buffers = [valid, pa.py_buffer(offsets), pa.py_buffer(digits)]
    return pl.Series(pa.Array.from_buffers(pa.large_string(), len(keys), buffers))


@dataclass(frozen=True)
class Skew:
    """How skewed a column is: (rank, share of the rows that ids before it have) …, at last 1."""

    points: tuple[tuple[int, float], ...]

    def _edges(self) -> tuple[Floats, Floats]:
        """Return log(1 + rank) and the cumulative share at each point, from rank 0 on."""
        ranks = np.log([1.0, *(rank + 1.0 for rank, _ in self.points)])
        return ranks, np.array([0.0, *(share for _, share in self.points)])

    def draw(self, positions: Floats) -> Ids:
        """Return the rank at each position in [0, 1): the inverse of the cumulative share."""
        # A share that falls as 1/rank grows linearly in log(rank), so interpolation inverts it. The
        # addend keeps a rank that is an integer but for rounding from being cut to the one below.
        ranks, shares = self._edges()
        return (np.exp(np.interp(positions, shares, ranks)) - 1.0 + 1e-9).astype(np.uint32)

    def shares(self) -> Floats:
        """Return the share of every rank; for columns whose ids fit in a table."""
        ranks, shares = self._edges()
        size = self.points[-1][0]
        return np.diff(np.interp(np.log(np.arange(1.0, size + 2.0)), ranks, shares))


@dataclass(frozen=True)
class Zone:
    """A range of ids that merge: of those from rank `above`, `share` go to ids in [low, high).

    With a `grain`, ids whose ranks differ by a factor below about 1 + `grain` share a parent.
    """

    above: int
    share: float
    low: int
    high: int
    grain: float = 0.0


def merge_ids(ids: Ids, zones: tuple[Zone, ...], purpose: str) -> Ids:
    """Return the parent of each id: itself, or for the zones' shares a fixed id of a lower rank.

    Parents are chosen by 1/rank within their zone, so that families are heavy-tailed: few ids
    vanish among 10,000 rows, but most vanish among 45 million. Of two zones that claim an id, the
    later wins.
    """
    parents = ids.copy()
    for index, zone in enumerate(zones):
        # An id's own hash decides whether it merges, and its family's hash into which parent.
        rows = np.flatnonzero(ids >= zone.above)
        chosen = to_unit(ids[rows], purpose, str(index), "merges") < zone.share
        rows = rows[chosen]
        families = ids[rows]
        if zone.grain:
            families = (np.log1p(families) / zone.grain).astype(np.uint32)
        exponent = to_unit(families, purpose, str(index), "into")
        span = np.log((zone.high + 1) / (zone.low + 1))
        parents[rows] = ((zone.low + 1) * np.exp(exponent * span) - 1.0 + 1e-9).astype(np.uint32)
    return parents


def assign_parents(children: Floats, parents: Floats) -> Ids:
    """Assign each child a parent so that the children's shares add up to nearly the parents'.

    Greedy: the largest child first, to the parent with the most room left; the smallest children go
    to parents that would have none. Needs at least as many children as parents.
    """
    # A heap of the parents by the room that is left, negated since heapq gives the least.
    room = [(-share, parent) for parent, share in enumerate(parents.tolist())]
    heapq.heapify(room)
    empty = set(range(len(parents)))
    of_child = np.empty(len(children), dtype=np.uint32)
    order = np.argsort(-children, kind="stable").tolist()
    for index, child in enumerate(order):
        if len(order) - index == len(empty):
            # As many children are left as parents without any: one each.
            of_child[order[index:]] = sorted(empty)
            break
        negative, parent = room[0]
        of_child[child] = parent
        empty.discard(parent)
        heapq.heapreplace(room, (negative + float(children[child]), parent))
    return of_child


@dataclass(frozen=True)
class Circle:
    """A circle of length 1 on which each id has an arc as long as its share of the rows."""

    starts: Floats
    lengths: Floats

    def positions(self, ids: Ids, uniform: Floats) -> Floats:
        """Return a point in each id's arc; over the rows these are uniform."""
        points: Floats = self.starts[ids] + uniform * self.lengths[ids]
        return points


def make_circle(shares: Floats, order: npt.NDArray[np.intp] | None = None) -> Circle:
    """Lay out arcs of the given shares in an order of ids, by default by rank."""
    order = np.arange(len(shares)) if order is None else order
    lengths = shares / shares.sum()
    starts = np.empty(len(shares))
    starts[order] = np.concatenate([[0.0], np.cumsum(lengths[order])[:-1]])
    return Circle(starts, lengths)


def move_positions(positions: Floats, width: float, uniform: Floats) -> Floats:
    """Move positions on by up to `width` of the circle; uniform ones stay uniform."""
    return np.mod(positions + width * uniform, 1.0)


def choose(share: float, first: Floats, second: Floats, uniform: Floats) -> Floats:
    """Return `first` in `share` of the rows, else `second`; uniform where both are."""
    return np.where(uniform < share, first, second)
