"""Draw rows like Criteo's: a label, 13 integers and 26 hashed categories that depend on each other.

Two families of columns carry the dependence. The placement: C15 → C18 → C2 and C15 → C14 are
functions; C2 decides whether C19, C20, C25 and C26 are missing, and attracts its own pages, of
which C3 → C12 → C21 → C16 → C4 → C24 are ever coarser names. The advertiser: C7 → C13 and
C11 → C13 are functions, and C10, C17 and C23 stay near C13. Drawn independently, the same
columns would make rows whose ids are all frequent 50 to 1,800 times rarer than they are.
"""

from dataclasses import dataclass
from functools import cache

import numpy as np
import polars as pl

from fae.arrays.arrow import BoolArray, Int64Array
from fae.synthetic import criteo_tables as tables
from fae.synthetic.distributions import (
    Circle,
    Floats,
    Ids,
    assign_parents,
    choose,
    make_circle,
    merge_ids,
    mix,
    move_positions,
    to_hex,
    to_unit,
)
from fae.synthetic.label import compute_effects, to_probabilities

INTEGERS = tuple(f"I{i}" for i in range(1, 14))
CATEGORIES = tuple(f"C{i}" for i in range(1, 27))
ALONE = ("C1", "C5", "C8")
PLACEMENT_BLOCK = ("C19", "C20", "C25", "C26")
PAGE_BLOCK = ("C3", *tables.CHAIN)

# How strongly an id moves the log-odds, as a standard deviation over the column's ids.
EFFECTS = {
    "C1": 0.2, "C2": 0.35, "C4": 0.35, "C7": 0.45, "C8": 0.15, "C10": 0.45, "C11": 0.4,
    "C13": 0.25, "C14": 0.3, "C15": 0.45, "C17": 0.3, "C23": 0.25, "C24": 0.45, "C26": 0.45,
}  # fmt: skip
PAIR_EFFECT = 0.35  # of (C17, C14) together: what no sum over columns can express
INTERCEPT = -1.9
COMMON_C10 = 0.276  # of the rows have one C10, and the other ids share the rest
# Log-odds per unit of log(1 + value), about the typical logarithm of 1 + value.
INTEGER_EFFECTS = {
    "I1": (0.25, 0.8), "I3": (0.06, 2.0), "I5": (-0.08, 7.5), "I6": (-0.12, 3.6),
    "I7": (0.15, 1.3), "I11": (0.15, 0.9), "I13": (0.08, 1.9),
}  # fmt: skip


@dataclass(frozen=True)
class World:
    """The fixed maps between small columns; the same for every seed."""

    c11_of_c7: Ids
    sibling_of_c11: Ids
    c13_of_c11: Ids
    c18_of_c15: Ids
    c2_of_c18: Ids
    c14_of_c15: Ids
    lacks_block: BoolArray  # by C2
    advertisers: Circle  # of C13, by rank
    campaigns: Circle  # of C7, those of one C13 side by side
    placements: Circle  # of C18, those of one C2 side by side, those that lack the block first


@cache
def build_world() -> World:
    """Assign the ids of small columns to their parents; takes about 0.1 s, once a process."""
    shares = {column: tables.RANKS[column].shares() for column in ("C2", "C7", "C11", "C13",
                                                                   "C15", "C18")}  # fmt: skip
    c11_of_c7 = assign_parents(shares["C7"], shares["C11"])
    c11 = _sum_shares(c11_of_c7, shares["C7"], len(shares["C11"]))
    c13_of_c11 = assign_parents(c11, shares["C13"])
    c18_of_c15 = assign_parents(shares["C15"], shares["C18"])
    c18 = _sum_shares(c18_of_c15, shares["C15"], len(shares["C18"]))
    c2_of_c18 = assign_parents(c18, shares["C2"])
    c2 = _sum_shares(c2_of_c18, c18, len(shares["C2"]))
    lacks = _choose_subset(c2, tables.MISSING["C19 C20 C25 C26"])
    c13_of_c7 = c13_of_c11[c11_of_c7]
    c15 = np.arange(len(c18_of_c15), dtype=np.uint32)
    return World(
        c11_of_c7=c11_of_c7,
        sibling_of_c11=_find_siblings(c13_of_c11),
        c13_of_c11=c13_of_c11,
        c18_of_c15=c18_of_c15,
        c2_of_c18=c2_of_c18,
        c14_of_c15=_draw_few("C14", to_unit(c15, "C14", "of C15")),
        lacks_block=lacks,
        advertisers=make_circle(_sum_shares(c13_of_c11, c11, len(shares["C13"]))),
        campaigns=make_circle(shares["C7"], np.argsort(_family_keys(c13_of_c7), kind="stable")),
        placements=make_circle(c18, np.lexsort((_family_keys(c2_of_c18), ~lacks[c2_of_c18]))),
    )


def _sum_shares(parents: Ids, children: Floats, size: int) -> Floats:
    """Return the parents' shares: the sums of their children's."""
    return np.bincount(parents, children, size).astype(np.float64)


def _choose_subset(shares: Floats, total: float) -> BoolArray:
    """Choose ids that together have `total` of the rows: rank 0, then whatever still fits."""
    chosen = np.zeros(len(shares), dtype=np.bool_)
    for rank, share in enumerate(shares.tolist()):
        if rank not in (1, 2) and share <= total:
            chosen[rank] = True
            total -= share
    return chosen


def _find_siblings(parents: Ids) -> Ids:
    """Return for each id the next id of the same parent; the last one's is the first."""
    order = np.lexsort((np.arange(len(parents)), parents))
    _, first, counts = np.unique(parents[order], return_index=True, return_counts=True)
    following = np.roll(order, -1)
    following[first + counts - 1] = order[first]
    siblings = np.empty(len(parents), dtype=np.uint32)
    siblings[order] = following
    return siblings


def _draw_few(column: str, positions: Floats) -> Ids:
    """Return a column's id at each position in [0, 1), for columns of few ids."""
    return np.searchsorted(np.array(tables.FEW[column]), positions, side="right").astype(np.uint32)


def _family_keys(parents: Ids) -> Ids:
    """Return sort keys that shuffle families and keep each together."""
    return mix(parents, "order")


def _draw_advertisers(rng: np.random.Generator, rows: int) -> tuple[dict[str, Ids], Floats]:
    """Draw C7, C10, C11, C13, C17, C23, and each row's position on the campaigns' circle."""
    maps = build_world()
    # The campaign C7 decides C11 and C13, except that some campaigns stray to a sibling C11.
    c7 = tables.RANKS["C7"].draw(rng.random(rows))
    c11 = maps.c11_of_c7[c7]
    strays = (to_unit(c7, "C7", "strays") < 0.25) & (rng.random(rows) < 0.25)
    c11 = np.where(strays, maps.sibling_of_c11[c11], c11)
    c13 = maps.c13_of_c11[c11]
    # Positions on the circles are uniform, so columns drawn near them keep their own shares: C10
    # follows the advertiser, and C17 and C23 the campaign (the factors spread neighbours apart).
    campaign = maps.campaigns.positions(c7, rng.random(rows))
    advertiser = maps.advertisers.positions(c13, rng.random(rows))
    common = move_positions(campaign, 0.15, rng.random(rows)) < COMMON_C10
    c10 = tables.RANKS["C10"].draw(choose(0.64, advertiser, rng.random(rows), rng.random(rows)))
    ids = {
        "C7": c7,
        "C10": np.where(common, 0, c10 + 1).astype(np.uint32),
        "C11": c11,
        "C13": c13,
        "C17": _draw_few("C17", move_positions(campaign * 61, 0.4, rng.random(rows))),
        "C23": _draw_few("C23", move_positions(campaign * 13, 0.2, rng.random(rows))),
    }
    return ids, campaign


def _draw_placements(
    rng: np.random.Generator, rows: int, campaign: Floats
) -> tuple[dict[str, Ids], BoolArray]:
    """Draw C2, C14, C15, C18, the pages' chain, the block, and where the block is missing."""
    maps = build_world()
    # C15 follows the campaign in half of the rows; C18, C2 and almost always C14 follow from C15.
    c15 = tables.RANKS["C15"].draw(choose(0.5, campaign, rng.random(rows), rng.random(rows)))
    c18 = maps.c18_of_c15[c15]
    c2 = maps.c2_of_c18[c18]
    c14 = maps.c14_of_c15[c15]
    c14 = np.where(rng.random(rows) < 1e-4, (c14 + 1) % 26, c14)
    position = maps.placements.positions(c18, rng.random(rows))
    ids = {"C2": c2, "C14": c14, "C15": c15, "C18": c18}
    # Pages follow the placement, and the block of columns follows page and placement.
    wide = rng.random(rows)
    ids |= _derive_pages(tables.RANKS["C3"].draw(choose(0.65, position, wide, rng.random(rows))))
    # Placements without the block come first on the circle; stretch the rest to [0, 1).
    absent = tables.MISSING["C19 C20 C25 C26"]
    ids |= _draw_block(rng, ids["C16"], np.clip((position - absent) / (1 - absent), 0.0, 1 - 1e-9))
    return ids, maps.lacks_block[c2]


def _derive_pages(c3: Ids) -> dict[str, Ids]:
    """Return C3 and its chain, in which each column is a function of the one before."""
    ids = {"C3": c3}
    child = c3
    for column, zones in tables.CHAIN.items():
        child = ids[column] = merge_ids(child, zones, column)
    return ids


def _draw_block(rng: np.random.Generator, page: Ids, position: Floats) -> dict[str, Ids]:
    """Draw C19, C20, C25 and C26, which mostly follow the page's C16 and the placement."""
    rows = len(page)
    of_page = to_unit(page, "C26", "page")
    c26 = tables.RANKS["C26"].draw(choose(0.9, of_page, rng.random(rows), rng.random(rows)))
    c19 = choose(0.5, to_unit(c26, "C19", "of C26"), rng.random(rows), rng.random(rows))
    c20 = choose(0.9, to_unit(c26, "C20", "of C26"), rng.random(rows), rng.random(rows))
    c25 = choose(0.75, move_positions(position * 3, 0.04, rng.random(rows)), rng.random(rows),
                 rng.random(rows))  # fmt: skip
    return {
        "C19": tables.RANKS["C19"].draw(c19),
        "C20": _draw_few("C20", c20),
        "C25": tables.RANKS["C25"].draw(c25),
        "C26": c26,
    }


def _integer_at(column: str, positions: Floats) -> Int64Array:
    """Return a column's value at each quantile in [0, 1).

    Between two points of its distribution, log(1 + value) grows linearly with the quantile.
    """
    points = tables.INTEGERS[column]
    lowest = points[0][0]
    heights = np.log([1.0, *(value - lowest + 2.0 for value, _ in points)])
    shares = np.array([0.0, *(share for _, share in points)])
    drawn = np.exp(np.interp(positions, shares, heights)) + 1e-9
    return drawn.astype(np.int64) - 1 + lowest


def _draw_missing_integers(rng: np.random.Generator, rows: int) -> dict[str, BoolArray]:
    """Draw which values are missing, by column; the columns of a block share a mask."""
    masks: dict[str, BoolArray] = {}
    for block, share in tables.MISSING.items():
        if block.startswith("I"):
            masks |= dict.fromkeys(block.split(), rng.random(rows) < share)
    for column, (block, there, elsewhere) in tables.MISSING_WITH.items():
        beside = masks[block.split()[0]]
        masks[column] = rng.random(rows) < np.where(beside, there, elsewhere)
    return masks


def draw_integers(rng: np.random.Generator, rows: int) -> tuple[dict[str, pl.Series], Floats]:
    """Draw I1 to I13, null where missing, and what they add to the log-odds, shape (rows,)."""
    # A column draws at the position of its hidden quantity in some rows (or at the opposite one,
    # where its share is negative), else anywhere; either way its own distribution holds.
    hidden = (rng.random(rows), rng.random(rows))
    masks = _draw_missing_integers(rng, rows)
    columns, total = {}, np.zeros(rows)
    for column in tables.INTEGERS:
        quantity, share = tables.SHARED.get(column, (0, 0.0))
        shared = hidden[quantity] if share >= 0 else 1.0 - 1e-12 - hidden[quantity]
        positions = np.where(rng.random(rows) < abs(share), shared, rng.random(rows))
        values = _integer_at(column, positions)
        mask = masks.get(column)
        if column in INTEGER_EFFECTS:
            slope, centre = INTEGER_EFFECTS[column]
            added = slope * (np.log1p(values) - centre)
            total += added if mask is None else np.where(mask, 0.0, added)
        columns[column] = pl.Series(values)
        if mask is not None:
            columns[column] = columns[column].set(pl.Series(mask), None)
    return columns, total


def draw_criteo_rows(rng: np.random.Generator, rows: int) -> tuple[pl.DataFrame, Floats]:
    """Draw rows: 40 columns in the file's order, null where missing, and their probabilities.

    A probability, shape (rows,), is that of a click, from which the label is drawn.
    """
    ids, advertiser = _draw_advertisers(rng, rows)
    placed, lacks_block = _draw_placements(rng, rows, advertiser)
    ids |= placed
    ids |= {column: tables.RANKS[column].draw(rng.random(rows)) for column in ALONE}
    ids |= {column: _draw_few(column, rng.random(rows)) for column in ("C6", "C9", "C22")}
    lacks_page = rng.random(rows) < tables.MISSING["C3 C4 C12 C16 C21 C24"]
    missing = dict.fromkeys(PLACEMENT_BLOCK, lacks_block) | dict.fromkeys(PAGE_BLOCK, lacks_page)
    missing |= {column: rng.random(rows) < tables.MISSING[column] for column in ("C6", "C22")}
    counts, of_counts = draw_integers(rng, rows)
    probability = to_probabilities(INTERCEPT + of_counts + _sum_id_effects(ids, missing))
    label = (rng.random(rows) < probability).astype(np.uint8)
    columns = {"label": pl.Series(label)} | counts
    columns |= {c: to_hex(mix(ids[c], c, "hex"), missing.get(c)) for c in CATEGORIES}
    return pl.DataFrame(columns), probability


def _sum_id_effects(ids: dict[str, Ids], missing: dict[str, BoolArray]) -> Floats:
    """Return what the categories add to the log-odds; a missing one adds nothing."""
    total = compute_effects(ids["C17"] * np.uint32(32) + ids["C14"], PAIR_EFFECT, "C17", "C14")
    for column, deviation in EFFECTS.items():
        added = compute_effects(ids[column], deviation, column, "effect")
        if column in missing:
            added[missing[column]] = 0.0
        total += added
    return total
