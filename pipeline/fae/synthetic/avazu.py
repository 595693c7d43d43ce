"""Draw rows like Avazu's: an id, a click, an hour and 21 columns that follow user and campaign.

A user (an address, a model, at times a device id) has a usual campaign and a usual site or app;
a gateway's address has many users and mostly one campaign. The campaign decides C17, C18, C19
and C21; its creatives are C14 and decide C15 and C16. A site decides its category and nearly its
domain, an app both; in every row either site or app is the id that means none.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl

from fae.arrays.arrow import BoolArray, Int64Array
from fae.synthetic import avazu_tables as tables
from fae.synthetic.distributions import Floats, Ids, choose, make_circle, mix, to_hex, to_unit
from fae.synthetic.label import compute_effects, to_probabilities

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
SLOT_CIRCLE = make_circle(tables.SLOTS.shares())
_C14_PRIME, _C17_PRIME = 32_749, 2_749  # so that ids look as wide as the real ones
APPS_FROM = 1 << 16  # places from here on are apps
FAMILIAR = 10  # sites and apps of lower ranks have C1 1005


@dataclass(frozen=True)
class Placements:
    """Each row's site or app, and the columns that follow from it."""

    ids: Ids
    hex: dict[str, Ids]
    c1: Int64Array
    banner_pos: Int64Array
    without_device_id: Floats  # the share of its users who send none


def _draw_placements(rng: np.random.Generator, campaign: Floats, user: Ids) -> Placements:
    """Draw each row's site or app: mostly at the campaign's position, else the user's usual one.

    `campaign`, shape (rows,), is the position of the row's campaign in [0, 1).
    """
    rows = len(user)
    at_campaign = to_unit(user, "user", "at campaign") < 0.88
    usual = rng.random(rows) < tables.USUAL
    other = np.where(usual, to_unit(user, "user", "place"), rng.random(rows))
    position = np.where(at_campaign, campaign, other)
    on_site = position < tables.ON_SITES
    site = tables.RANKS["site"].draw(np.minimum(position / tables.ON_SITES, 1 - 1e-12))
    in_apps = np.clip((position - tables.ON_SITES) / (1 - tables.ON_SITES), 0.0, 1 - 1e-12)
    app = tables.RANKS["app"].draw(in_apps)
    ids = np.where(on_site, site, APPS_FROM + app).astype(np.uint32)
    hexes = _draw_site_columns(rng, site, on_site) | _derive_app_columns(app, ~on_site)
    c1, banner_pos = _derive_banner(ids, on_site)
    shares = np.clip(1.6 * to_unit(ids, "without device id") - 0.2, 0.15, 1.0)
    return Placements(ids, hexes, c1, banner_pos, np.where(on_site, 0.96, shares))


def _hex_ids(column: str, ids: Ids, here: BoolArray) -> Ids:
    """Return a column's 32-bit ids, and the one that means none where a row has no value."""
    return np.where(here, mix(ids, column, "hex"), tables.NONE[column]).astype(np.uint32)


def _draw_site_columns(rng: np.random.Generator, site: Ids, here: BoolArray) -> dict[str, Ids]:
    """Draw site_id, site_category (a function of the site) and site_domain (nearly one)."""
    # Some sites share another's domain, a few rows have a stray domain, and some sites have none.
    twin = to_unit(site, "site", "shares its domain") < 0.1
    domain = np.where(twin & (site >= FAMILIAR), site // 3, site).astype(np.uint32)
    stray = rng.random(len(site)) < 0.004
    domain = np.where(stray, 5000 + (rng.random(len(site)) ** 3 * 3000), domain).astype(np.uint32)
    none = (to_unit(site, "site", "has no domain") < 0.1) & (site >= FAMILIAR) & ~stray
    position = np.where(site == 0, 0.6, to_unit(site, "site", "category"))
    category = _find_rank(tables.SITE_CATEGORIES, position)
    return {
        "site_id": _hex_ids("site_id", site, here),
        "site_domain": _hex_ids("site_domain", domain, here & ~none),
        "site_category": _hex_ids("site_category", category, here & (category > 0)),
    }


def _derive_app_columns(app: Ids, here: BoolArray) -> dict[str, Ids]:
    """Return app_id and its functions app_domain and app_category."""
    domain = tables.APP_DOMAINS.draw(to_unit(app, "app", "domain"))
    category = _find_rank(tables.APP_CATEGORIES, to_unit(app, "app", "category"))
    return {
        "app_id": _hex_ids("app_id", app, here),
        "app_domain": _hex_ids("app_domain", domain, here & (domain > 0)),
        "app_category": _hex_ids("app_category", category, here & (category > 0)),
    }


def _find_rank(shares: tuple[float, ...], positions: Floats) -> Ids:
    """Return the rank at each position in [0, 1), given the cumulative share of each rank."""
    return np.searchsorted(np.array(shares), positions, side="right").astype(np.uint32)


def _derive_banner(place: Ids, on_site: BoolArray) -> tuple[Int64Array, Int64Array]:
    """Return C1 and banner_pos, functions of the site or app."""
    at = to_unit(place, "C1")
    familiar = (place & np.uint32(APPS_FROM - 1)) < FAMILIAR
    c1 = np.where(on_site, _draw_few("C1", at), _draw_few("C1 in apps", at))
    c1 = np.where(familiar & on_site, 1005, c1)
    banner = _draw_few("banner_pos", to_unit(place, "banner_pos"))
    banner = np.where(place == 0, 0, banner)
    for value, position in tables.BANNER_OF_C1.items():
        banner = np.where(c1 == value, position, banner)
    return c1, banner


def _draw_few(column: str, positions: Floats) -> Int64Array:
    """Return a column's value at each position in [0, 1), for columns of few integers."""
    values, shares = zip(*tables.VALUES[column], strict=True)
    last = len(values) - 1
    index = np.minimum(np.searchsorted(np.array(shares), positions, side="right"), last)
    return np.array(values, dtype=np.int64)[index]


def _scatter(keys: Ids, prime: int, low: int) -> Int64Array:
    """Return distinct integers for distinct keys, scattered over `prime` values or a multiple."""
    # Multiplying by a constant modulo a prime is a bijection; each full turn has its own range.
    turn, rest = np.divmod(keys.astype(np.int64), prime)
    scattered: Int64Array = low + (rest * 7919 + 101) % prime + turn * prime
    return scattered


def _draw_users(rng: np.random.Generator, rows: int) -> tuple[dict[str, Ids], Floats]:
    """Draw each row's device_ip and user, and the position of its campaign's slot."""
    # The address is the user's own, numbered after the gateways, or a gateway's.
    gateway = rng.random(rows) < tables.ON_GATEWAYS
    user = tables.RANKS["user"].draw(rng.random(rows))
    address = np.where(gateway, tables.RANKS["gateway"].draw(rng.random(rows)), GATEWAYS + user)
    usual = rng.random(rows) < tables.USUAL
    taste = np.where(usual, to_unit(user, "user", "campaign"), rng.random(rows))
    # Most rows on a gateway show its campaign, in the first slot. For the slots to keep their
    # shares, the other rows draw the first slot less often: `taste` is mapped piecewise linearly,
    # so that [0, others) becomes [0, first).
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


def _draw_campaigns(
    rng: np.random.Generator, position: Floats, first_row: int
) -> tuple[dict[str, Int64Array], Ids]:
    """Draw C14 to C19 and C21 of the campaign in each row's slot, and return the slot."""
    rows = len(position)
    slot = tables.SLOTS.draw(position)
    # Slots change campaigns every SLOT_ROWS rows, each at its own row; a campaign's number is new.
    age = to_unit(slot, "slot", "age") * tables.SLOT_ROWS
    epoch = ((first_row + np.arange(rows) + age) / tables.SLOT_ROWS).astype(np.uint32)
    campaign = slot + np.uint32(len(SLOT_CIRCLE.starts)) * epoch
    creatives = 1 + mix(campaign, "creatives") % np.uint32(4)
    ids = {c: _draw_few(c, to_unit(campaign, c, "of C17")) for c in ("C18", "C19", "C21")}
    for index, (c18, c19, c21, count) in enumerate(tables.FIRST_SLOTS):
        inside = slot == index
        creatives[inside] = count
        ids["C18"][inside], ids["C19"][inside], ids["C21"][inside] = c18, c19, c21
    # A row shows one of the campaign's 1 to 4 usual creatives, seldom one of four rare ones.
    usual = (rng.random(rows) * creatives).astype(np.uint32)
    rare = creatives + (rng.random(rows) * 4).astype(np.uint32)
    creative = campaign * np.uint32(16) + np.where(rng.random(rows) < 0.985, usual, rare)
    size = np.where(slot < 10, 0.0, to_unit(creative, "C15", "C16"))
    ids["C15"], ids["C16"] = np.divmod(_draw_few("C15 C16", size), 10_000)
    ids["C14"] = _scatter(creative, _C14_PRIME, 375)
    ids["C17"] = _scatter(campaign, _C17_PRIME, 112)
    return ids, slot


def _draw_devices(
    rng: np.random.Generator, ids: dict[str, Ids], place: Placements, position: Floats
) -> tuple[dict[str, Ids], dict[str, Int64Array]]:
    """Draw device_id and device_model, device_conn_type and device_type; change some device_ip."""
    user, rows = ids["user"], len(position)
    shared = ids["device_ip"] < GATEWAYS
    # Behind a gateway any device may be; some users' models follow the campaign.
    owner = np.where(shared, rng.random(rows), to_unit(user, "user", "model"))
    like_campaign = np.mod(position * 5 + 0.3 * owner, 1.0)
    of_campaign = to_unit(user, "user", "model kind") < 0.3
    model = tables.RANKS["device_model"].draw(np.where(of_campaign, like_campaign, owner))
    known = to_unit(user, "user", "device id") >= place.without_device_id
    # A device with an id may move: then its row has another user's address.
    moving = known & ~shared & (to_unit(user, "user", "moves") < 0.3)
    elsewhere = GATEWAYS + tables.RANKS["user"].draw(rng.random(rows))
    ids["device_ip"] = np.where(moving, elsewhere, ids["device_ip"]).astype(np.uint32)
    of_model, of_user = to_unit(model, "model", "link"), to_unit(user, "user", "link")
    kind = choose(0.7, of_model, of_user, to_unit(user, "user", "link kind"))
    type_ = np.where(place.c1 == 1002, 0, 1)
    tablet = np.where(to_unit(user, "user", "tablet") < 0.93, 4, 5)
    type_ = np.where(place.c1 == 1010, tablet, type_)
    keys = {"device_id": _hex_ids("device_id", user, known), "device_model": model}
    return keys, {"device_conn_type": _draw_few("device_conn_type", kind), "device_type": type_}


def _draw_c20(rng: np.random.Generator, slot: Ids, place: Ids) -> Ids:
    """Draw C20's rank, which mostly follows the campaign together with the site or app."""
    rows = len(slot)
    of_pair = to_unit(slot * np.uint32(1 << 20) + place, "C20")
    rank = tables.RANKS["C20"].draw(choose(0.8, of_pair, rng.random(rows), rng.random(rows)))
    of_first = _find_rank(tables.FIRST_SLOT_C20, rng.random(rows))
    return np.where(slot == 0, of_first, rank).astype(np.uint32)


def draw_avazu_rows(
    rng: np.random.Generator, rows: int, first: int, total: int
) -> tuple[pl.DataFrame, Floats]:
    """Draw rows [first, first + rows) of `total`: columns in the file's order, and probabilities.

    A probability, shape (rows,), is that of a click, from which the click is drawn.
    """
    ids, position = _draw_users(rng, rows)
    place = _draw_placements(rng, position, ids["user"])
    ads, slot = _draw_campaigns(rng, position, first)
    keys, small = _draw_devices(rng, ids, place, position)
    c20 = _draw_c20(rng, slot, place.ids)
    model = keys["device_model"]
    of: dict[str, Ids | Int64Array] = {
        "place": place.ids, "device_model": model, "device_ip": ids["device_ip"], "C20": c20,
        "banner_pos": place.banner_pos, **ads,
    }  # fmt: skip
    pair = ads["C17"] * 8 + small["device_conn_type"]
    total_effect = compute_effects(pair.astype(np.uint32), PAIR_EFFECT, "C17", "conn")
    for column, deviation in EFFECTS.items():
        total_effect += compute_effects(of[column].astype(np.uint32), deviation, column, "effect")
    probability = to_probabilities(INTERCEPT + total_effect)
    row = first + np.arange(rows)
    hour = np.minimum(row * len(tables.HOURS) // total, len(tables.HOURS) - 1)
    columns = {
        "id": pl.Series(_row_ids(row)),
        "click": pl.Series((rng.random(rows) < probability).astype(np.uint8)),
        "hour": pl.Series(np.array(tables.HOURS)[hour]),
        "C1": pl.Series(place.c1),
        "banner_pos": pl.Series(place.banner_pos),
        "device_id": to_hex(keys["device_id"]),
        "device_ip": to_hex(mix(ids["device_ip"], "device_ip", "hex")),
        "device_model": to_hex(mix(model, "device_model", "hex")),
        "C20": pl.Series(np.where(c20 == 0, -1, 100_000 + c20.astype(np.int64))),
    }
    columns |= {name: to_hex(key) for name, key in place.hex.items()}
    columns |= {name: pl.Series(values) for name, values in (ads | small).items()}
    return pl.DataFrame(columns).select(COLUMNS), probability


def _row_ids(row: Int64Array) -> npt.NDArray[np.uint64]:
    """Return a distinct 64-bit integer for each row number (the finaliser of SplitMix64)."""
    x = row.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))
