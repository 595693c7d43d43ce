"""Rows like Avazu's: an id, a click, an hour and 21 columns that hang on users and campaigns.

A user (an address, a model, at times a device id) has a usual campaign and a usual site or app;
a gateway's address has many users and mostly one campaign. The campaign decides C17, C18, C19
and C21; its creatives are C14 and decide C15 and C16. A site decides its category and nearly its
domain, an app both; in every row either site or app is the id that means none.
"""

import numpy as np
import numpy.typing as npt
import polars as pl

from fae.synthetic import avazu_tables as tables
from fae.synthetic.avazu_places import Places, places, valued
from fae.synthetic.distributions import circle, either
from fae.synthetic.hashing import Floats, Ids, hex_keys, mixed, salt, unit
from fae.synthetic.label import effects, probabilities

Integers = npt.NDArray[np.int64]

COLUMNS = (
    "id", "click", "hour", "C1", "banner_pos", "site_id", "site_domain", "site_category", "app_id",
    "app_domain", "app_category", "device_id", "device_ip", "device_model", "device_type",
    "device_conn_type", "C14", "C15", "C16", "C17", "C18", "C19", "C20", "C21",
)  # fmt: skip

# How strongly an id moves the log-odds, as a standard deviation over the column's ids.
EFFECTS = {
    "place": 0.8, "C14": 0.5, "C17": 0.75, "C19": 0.25, "C21": 0.3, "C20": 0.25,
    "device_model": 0.5, "device_ip": 0.5, "banner_pos": 0.2,
}  # fmt: skip
PAIR_EFFECT = 0.35  # of (C17, device_conn_type) together
INTERCEPT = -1.31

GATEWAYS = tables.RANKS["gateway"].points[-1][0]
SLOT_CIRCLE = circle(tables.SLOTS.masses())
_C14_PRIME, _C17_PRIME = 32_749, 2_749  # so that ids look as wide as the real ones


def _spread(keys: Ids, prime: int, low: int) -> Integers:
    """Distinct integers for distinct keys, scattered over `prime` values where keys are few."""
    turn, rest = np.divmod(keys.astype(np.int64), prime)
    scattered: Integers = low + (rest * 7919 + 101) % prime + turn * prime
    return scattered


def _users(rng: np.random.Generator, rows: int) -> tuple[dict[str, Ids], Floats]:
    """device_ip and the user in each row, and the position of the campaign's slot."""
    gateway = rng.random(rows) < tables.ON_GATEWAYS
    user = tables.RANKS["user"].draw(rng.random(rows))
    address = np.where(gateway, tables.RANKS["gateway"].draw(rng.random(rows)), GATEWAYS + user)
    usual = rng.random(rows) < tables.USUAL
    taste = np.where(usual, unit(user, salt("user", "campaign")), rng.random(rows))
    mine = rng.random(rows) < tables.GATEWAY_CAMPAIGN
    first = tables.SLOTS.points[0][1]
    by_gateway = tables.ON_GATEWAYS * tables.GATEWAY_CAMPAIGN
    others = (first - by_gateway) / (1.0 - by_gateway)
    remaining = np.where(
        taste < others,
        taste * (first / others),
        first + (taste - others) * ((1.0 - first) / (1.0 - others)),
    )
    position = np.where(gateway & mine, taste * first, remaining)
    ids = {"user": user, "device_ip": address.astype(np.uint32)}
    return ids, np.minimum(position, 1.0 - 1e-12)


def _campaigns(
    rng: np.random.Generator, position: Floats, first_row: int
) -> tuple[dict[str, Integers], Ids]:
    """C14 to C19 and C21 of the campaign in each row's slot, and the slot."""
    rows = len(position)
    slot = tables.SLOTS.draw(position)
    age = unit(slot, salt("slot", "age")) * tables.SLOT_ROWS
    epoch = ((first_row + np.arange(rows) + age) / tables.SLOT_ROWS).astype(np.uint32)
    campaign = slot + np.uint32(len(SLOT_CIRCLE.starts)) * epoch
    creatives = 1 + mixed(campaign, salt("creatives")) % np.uint32(4)
    ids = {c: valued(c, unit(campaign, salt(c, "of C17"))) for c in ("C18", "C19", "C21")}
    for index, (c18, c19, c21, count) in enumerate(tables.FIRST_SLOTS):
        inside = slot == index
        creatives[inside] = count
        ids["C18"][inside], ids["C19"][inside], ids["C21"][inside] = c18, c19, c21
    usual = (rng.random(rows) * creatives).astype(np.uint32)
    rare = creatives + (rng.random(rows) * 4).astype(np.uint32)
    creative = campaign * np.uint32(16) + np.where(rng.random(rows) < 0.985, usual, rare)
    size = np.where(slot < 10, 0.0, unit(creative, salt("C15", "C16")))
    ids["C15"], ids["C16"] = np.divmod(valued("C15 C16", size), 10_000)
    ids["C14"] = _spread(creative, _C14_PRIME, 375)
    ids["C17"] = _spread(campaign, _C17_PRIME, 112)
    return ids, slot


def _devices(
    rng: np.random.Generator, ids: dict[str, Ids], place: Places, position: Floats
) -> tuple[dict[str, Ids], dict[str, Integers]]:
    """device_id and device_model, device_conn_type and device_type; alters device_ip of some."""
    user, rows = ids["user"], len(position)
    shared = ids["device_ip"] < GATEWAYS
    owner = np.where(shared, rng.random(rows), unit(user, salt("user", "model")))
    like_campaign = np.mod(position * 5 + 0.3 * owner, 1.0)
    of_campaign = unit(user, salt("user", "model kind")) < 0.3
    model = tables.RANKS["device_model"].draw(np.where(of_campaign, like_campaign, owner))
    known = unit(user, salt("user", "device id")) >= place.without_device_id
    moving = known & ~shared & (unit(user, salt("user", "moves")) < 0.3)
    elsewhere = GATEWAYS + tables.RANKS["user"].draw(rng.random(rows))
    ids["device_ip"] = np.where(moving, elsewhere, ids["device_ip"]).astype(np.uint32)
    of_model, of_user = unit(model, salt("model", "link")), unit(user, salt("user", "link"))
    kind = either(0.7, of_model, of_user, unit(user, salt("user", "link kind")))
    type_ = np.where(place.c1 == 1002, 0, 1)
    tablet = np.where(unit(user, salt("user", "tablet")) < 0.93, 4, 5)
    type_ = np.where(place.c1 == 1010, tablet, type_)
    keys = {
        "device_id": np.where(known, mixed(user, salt("device_id", "hex")), tables.NO_DEVICE),
        "device_model": model,
    }
    return keys, {"device_conn_type": valued("device_conn_type", kind), "device_type": type_}


def _c20(rng: np.random.Generator, slot: Ids, place: Ids) -> Ids:
    """C20's rank: much by the campaign and the place together."""
    rows = len(slot)
    of_pair = unit(slot * np.uint32(1 << 20) + place, salt("C20"))
    rank = tables.RANKS["C20"].draw(either(0.8, of_pair, rng.random(rows), rng.random(rows)))
    of_first = np.searchsorted(np.array(tables.FIRST_SLOT_C20), rng.random(rows), side="right")
    return np.where(slot == 0, of_first, rank).astype(np.uint32)


def rows_like_avazu(
    rng: np.random.Generator, rows: int, first: int, total: int
) -> tuple[pl.DataFrame, Floats]:
    """Draw rows [first, first + rows) of `total`: columns in the file's order, probabilities."""
    ids, position = _users(rng, rows)
    place = places(rng, position, ids["user"])
    ads, slot = _campaigns(rng, position, first)
    keys, small = _devices(rng, ids, place, position)
    c20 = _c20(rng, slot, place.ids)
    model = keys["device_model"]
    of: dict[str, Ids | Integers] = {
        "place": place.ids, "device_model": model, "device_ip": ids["device_ip"], "C20": c20,
        "banner_pos": place.banner_pos, **ads,
    }  # fmt: skip
    pair = ads["C17"] * 8 + small["device_conn_type"]
    total_effect = effects(pair.astype(np.uint32), salt("C17", "conn"), PAIR_EFFECT)
    for column, deviation in EFFECTS.items():
        total_effect += effects(of[column].astype(np.uint32), salt(column, "effect"), deviation)
    probability = probabilities(INTERCEPT + total_effect)
    row = first + np.arange(rows)
    hour = np.minimum(row * len(tables.HOURS) // total, len(tables.HOURS) - 1)
    columns = {
        "id": pl.Series(_row_ids(row)),
        "click": pl.Series((rng.random(rows) < probability).astype(np.uint8)),
        "hour": pl.Series(np.array(tables.HOURS)[hour]),
        "C1": pl.Series(place.c1),
        "banner_pos": pl.Series(place.banner_pos),
        "device_id": hex_keys(keys["device_id"].astype(np.uint32)),
        "device_ip": hex_keys(mixed(ids["device_ip"], salt("device_ip", "hex"))),
        "device_model": hex_keys(mixed(model, salt("device_model", "hex"))),
        "C20": pl.Series(np.where(c20 == 0, -1, 100_000 + c20.astype(np.int64))),
    }
    columns |= {name: hex_keys(key) for name, key in place.hex.items()}
    columns |= {name: pl.Series(values) for name, values in (ads | small).items()}
    return pl.DataFrame(columns).select(COLUMNS), probability


def _row_ids(row: Integers) -> npt.NDArray[np.uint64]:
    """A distinct 64-bit integer for each row (the finaliser of SplitMix64)."""
    x = row.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))
