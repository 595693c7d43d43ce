"""Rows like Criteo's: a label, 13 integers and 26 hashed categories that depend on each other.

Two families of columns carry the dependence. The placement: C15 → C18 → C2 and C15 → C14 are
functions; C2 decides whether C19, C20, C25 and C26 are missing, and attracts its own pages, of
which C3 → C12 → C21 → C16 → C4 → C24 are ever coarser names. The advertiser: C7 → C13 and
C11 → C13 are functions, and C10, C17 and C23 stay near C13. Drawn independently, the same
columns would make rows whose ids are all frequent 50 to 1,800 times rarer than they are.
"""

from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt
import polars as pl

from fae.synthetic import criteo_tables as tables
from fae.synthetic.criteo_integers import integers
from fae.synthetic.distributions import Circle, circle, either, merged, near, packed
from fae.synthetic.hashing import Floats, Ids, hex_keys, mixed, salt, unit
from fae.synthetic.label import effects, probabilities

Mask = npt.NDArray[np.bool_]

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


@dataclass(frozen=True)
class World:
    """The fixed maps between small columns; the same for every seed."""

    c11_of_c7: Ids
    sibling_of_c11: Ids
    c13_of_c11: Ids
    c18_of_c15: Ids
    c2_of_c18: Ids
    c14_of_c15: Ids
    lacks_block: Mask  # by C2
    advertisers: Circle  # of C13, by rank
    campaigns: Circle  # of C7, those of one C13 side by side
    placements: Circle  # of C18, those of one C2 side by side, those that lack the block first


@cache
def world() -> World:
    """Pack small columns into their parents; some 0.1 s, once."""
    masses = {column: tables.RANKS[column].masses() for column in ("C2", "C7", "C11", "C13",
                                                                   "C15", "C18")}  # fmt: skip
    c11_of_c7 = packed(masses["C7"], masses["C11"])
    c11 = _summed(c11_of_c7, masses["C7"], len(masses["C11"]))
    c13_of_c11 = packed(c11, masses["C13"])
    c18_of_c15 = packed(masses["C15"], masses["C18"])
    c18 = _summed(c18_of_c15, masses["C15"], len(masses["C18"]))
    c2_of_c18 = packed(c18, masses["C2"])
    c2 = _summed(c2_of_c18, c18, len(masses["C2"]))
    lacks = _subset(c2, tables.MISSING["C19 C20 C25 C26"])
    c13_of_c7 = c13_of_c11[c11_of_c7]
    c15 = np.arange(len(c18_of_c15), dtype=np.uint32)
    return World(
        c11_of_c7=c11_of_c7,
        sibling_of_c11=_siblings(c13_of_c11),
        c13_of_c11=c13_of_c11,
        c18_of_c15=c18_of_c15,
        c2_of_c18=c2_of_c18,
        c14_of_c15=_few("C14", unit(c15, salt("C14", "of C15"))),
        lacks_block=lacks,
        advertisers=circle(_summed(c13_of_c11, c11, len(masses["C13"]))),
        campaigns=circle(masses["C7"], np.argsort(_keys(c13_of_c7), kind="stable")),
        placements=circle(c18, np.lexsort((_keys(c2_of_c18), ~lacks[c2_of_c18]))),
    )


def _summed(parents: Ids, children: Floats, size: int) -> Floats:
    """The parents' masses."""
    return np.bincount(parents, children, size).astype(np.float64)


def _subset(masses: Floats, share: float) -> Mask:
    """Ids that together have the given share of the rows: rank 0, then whatever still fits."""
    inside = np.zeros(len(masses), dtype=np.bool_)
    for rank, mass in enumerate(masses.tolist()):
        if rank not in (1, 2) and mass <= share:
            inside[rank] = True
            share -= mass
    return inside


def _siblings(parents: Ids) -> Ids:
    """For each id the next id of the same parent, going round."""
    order = np.lexsort((np.arange(len(parents)), parents))
    _, first, counts = np.unique(parents[order], return_index=True, return_counts=True)
    following = np.roll(order, -1)
    following[first + counts - 1] = order[first]
    siblings = np.empty(len(parents), dtype=np.uint32)
    siblings[order] = following
    return siblings


def _few(column: str, positions: Floats) -> Ids:
    return np.searchsorted(np.array(tables.FEW[column]), positions, side="right").astype(np.uint32)


def _keys(parents: Ids) -> Ids:
    """Sorting by these shuffles families and keeps each together."""
    return mixed(parents, salt("order"))


def _advertiser(rng: np.random.Generator, rows: int) -> tuple[dict[str, Ids], Floats]:
    """C7, C10, C11, C13, C17, C23, and each row's position on the campaigns' circle."""
    maps = world()
    c7 = tables.RANKS["C7"].draw(rng.random(rows))
    c11 = maps.c11_of_c7[c7]
    strays = (unit(c7, salt("C7", "strays")) < 0.25) & (rng.random(rows) < 0.25)
    c11 = np.where(strays, maps.sibling_of_c11[c11], c11)
    c13 = maps.c13_of_c11[c11]
    campaign = maps.campaigns.positions(c7, rng.random(rows))
    advertiser = maps.advertisers.positions(c13, rng.random(rows))
    common = near(campaign, 0.15, 0.0, rng.random(rows)) < COMMON_C10
    c10 = tables.RANKS["C10"].draw(either(0.64, advertiser, rng.random(rows), rng.random(rows)))
    ids = {
        "C7": c7,
        "C10": np.where(common, 0, c10 + 1).astype(np.uint32),
        "C11": c11,
        "C13": c13,
        "C17": _few("C17", near(campaign * 61, 0.4, 0.0, rng.random(rows))),
        "C23": _few("C23", near(campaign * 13, 0.2, 0.0, rng.random(rows))),
    }
    return ids, campaign


def _placement(
    rng: np.random.Generator, rows: int, campaign: Floats
) -> tuple[dict[str, Ids], Mask]:
    """C2, C14, C15, C18, the pages' chain and the block, and where the block is missing."""
    maps = world()
    c15 = tables.RANKS["C15"].draw(either(0.5, campaign, rng.random(rows), rng.random(rows)))
    c18 = maps.c18_of_c15[c15]
    c2 = maps.c2_of_c18[c18]
    c14 = maps.c14_of_c15[c15]
    c14 = np.where(rng.random(rows) < 1e-4, (c14 + 1) % 26, c14)
    position = maps.placements.positions(c18, rng.random(rows))
    ids = {"C2": c2, "C14": c14, "C15": c15, "C18": c18}
    wide = rng.random(rows)
    ids |= _pages(tables.RANKS["C3"].draw(either(0.65, position, wide, rng.random(rows))))
    absent = tables.MISSING["C19 C20 C25 C26"]
    ids |= _block(rng, ids["C16"], np.clip((position - absent) / (1 - absent), 0.0, 1 - 1e-9))
    return ids, maps.lacks_block[c2]


def _pages(c3: Ids) -> dict[str, Ids]:
    """C3 and its chain, each a function of the one before."""
    ids = {"C3": c3}
    child = c3
    for column, zones in tables.CHAIN.items():
        child = ids[column] = merged(child, zones, column)
    return ids


def _block(rng: np.random.Generator, page: Ids, position: Floats) -> dict[str, Ids]:
    """C19, C20, C25 and C26: mostly what the page's C16 and the placement say."""
    rows = len(page)
    of_page = unit(page, salt("C26", "page"))
    c26 = tables.RANKS["C26"].draw(either(0.9, of_page, rng.random(rows), rng.random(rows)))
    c19 = either(0.5, unit(c26, salt("C19", "of C26")), rng.random(rows), rng.random(rows))
    c20 = either(0.9, unit(c26, salt("C20", "of C26")), rng.random(rows), rng.random(rows))
    c25 = either(0.75, near(position * 3, 0.04, 0.0, rng.random(rows)), rng.random(rows),
                 rng.random(rows))  # fmt: skip
    return {
        "C19": tables.RANKS["C19"].draw(c19),
        "C20": _few("C20", c20),
        "C25": tables.RANKS["C25"].draw(c25),
        "C26": c26,
    }


def rows_like_criteo(rng: np.random.Generator, rows: int) -> tuple[pl.DataFrame, Floats]:
    """Draw rows: 40 columns in the file's order, null where missing, and the true probabilities."""
    ids, advertiser = _advertiser(rng, rows)
    placed, lacks_block = _placement(rng, rows, advertiser)
    ids |= placed
    ids |= {column: tables.RANKS[column].draw(rng.random(rows)) for column in ALONE}
    ids |= {column: _few(column, rng.random(rows)) for column in ("C6", "C9", "C22")}
    lacks_page = rng.random(rows) < tables.MISSING["C3 C4 C12 C16 C21 C24"]
    missing = dict.fromkeys(PLACEMENT_BLOCK, lacks_block) | dict.fromkeys(PAGE_BLOCK, lacks_page)
    missing |= {column: rng.random(rows) < tables.MISSING[column] for column in ("C6", "C22")}
    counts, of_counts = integers(rng, rows)
    probability = probabilities(INTERCEPT + of_counts + _of_ids(ids, missing))
    label = (rng.random(rows) < probability).astype(np.uint8)
    columns = {"label": pl.Series(label)} | counts
    columns |= {c: hex_keys(mixed(ids[c], salt(c, "hex")), missing.get(c)) for c in CATEGORIES}
    return pl.DataFrame(columns), probability


def _of_ids(ids: dict[str, Ids], missing: dict[str, Mask]) -> Floats:
    """What the categories add to the log-odds; a missing one adds nothing."""
    total = effects(ids["C17"] * np.uint32(32) + ids["C14"], salt("C17", "C14"), PAIR_EFFECT)
    for column, deviation in EFFECTS.items():
        added = effects(ids[column], salt(column, "effect"), deviation)
        if column in missing:
            added[missing[column]] = 0.0
        total += added
    return total
