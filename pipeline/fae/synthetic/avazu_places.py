"""Where Avazu's ads are shown: on a site or in an app, with its domain and category."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from fae.synthetic import avazu_tables as tables
from fae.synthetic.hashing import Floats, Ids, mixed, salt, unit

APPS_FROM = 1 << 16  # places from here on are apps
FAMILIAR = 10  # sites and apps of lower ranks have C1 1005


@dataclass(frozen=True)
class Places:
    """Each row's site or app, and the columns that follow from it."""

    ids: Ids
    hex: dict[str, Ids]
    c1: npt.NDArray[np.int64]
    banner_pos: npt.NDArray[np.int64]
    without_device_id: Floats  # the share of its users who send none


def places(rng: np.random.Generator, campaign: Floats, user: Ids) -> Places:
    """The place of each row: mostly at the campaign's position, else the user's usual one."""
    rows = len(user)
    at_campaign = unit(user, salt("user", "at campaign")) < 0.88
    usual = rng.random(rows) < tables.USUAL
    other = np.where(usual, unit(user, salt("user", "place")), rng.random(rows))
    position = np.where(at_campaign, campaign, other)
    on_site = position < tables.ON_SITES
    site = tables.RANKS["site"].draw(np.minimum(position / tables.ON_SITES, 1 - 1e-12))
    in_apps = np.clip((position - tables.ON_SITES) / (1 - tables.ON_SITES), 0.0, 1 - 1e-12)
    app = tables.RANKS["app"].draw(in_apps)
    ids = np.where(on_site, site, APPS_FROM + app).astype(np.uint32)
    hexes = _of_sites(rng, site, on_site) | _of_apps(app, ~on_site)
    c1, banner_pos = _banner(ids, on_site)
    shares = np.clip(1.6 * unit(ids, salt("without device id")) - 0.2, 0.15, 1.0)
    return Places(ids, hexes, c1, banner_pos, np.where(on_site, 0.96, shares))


def _named(column: str, ids: Ids, here: npt.NDArray[np.bool_], none: int) -> Ids:
    return np.where(here, mixed(ids, salt(column, "hex")), none).astype(np.uint32)


def _of_sites(rng: np.random.Generator, site: Ids, here: npt.NDArray[np.bool_]) -> dict[str, Ids]:
    """site_id, site_category (a function of the site) and site_domain (nearly one)."""
    twin = unit(site, salt("site", "shares its domain")) < 0.1
    domain = np.where(twin & (site >= FAMILIAR), site // 3, site).astype(np.uint32)
    stray = rng.random(len(site)) < 0.004
    domain = np.where(stray, 5000 + (rng.random(len(site)) ** 3 * 3000), domain).astype(np.uint32)
    none = (unit(site, salt("site", "has no domain")) < 0.1) & (site >= FAMILIAR) & ~stray
    position = np.where(site == 0, 0.6, unit(site, salt("site", "category")))
    category = np.searchsorted(np.array(tables.SITE_CATEGORIES), position, side="right")
    named = here & (category > 0)
    return {
        "site_id": _named("site_id", site, here, tables.NO_SITE),
        "site_domain": _named("site_domain", domain, here & ~none, tables.NO_SITE_DOMAIN),
        "site_category": _named(
            "site_category", category.astype(np.uint32), named, tables.NO_SITE_CATEGORY
        ),
    }


def _of_apps(app: Ids, here: npt.NDArray[np.bool_]) -> dict[str, Ids]:
    """app_id and its functions app_domain and app_category."""
    domain = tables.APP_DOMAINS.draw(unit(app, salt("app", "domain")))
    position = unit(app, salt("app", "category"))
    category = np.searchsorted(np.array(tables.APP_CATEGORIES), position, side="right")
    return {
        "app_id": _named("app_id", app, here, tables.NO_APP),
        "app_domain": _named("app_domain", domain, here & (domain > 0), tables.NO_APP_DOMAIN),
        "app_category": _named(
            "app_category", category.astype(np.uint32), here & (category > 0),
            tables.NO_APP_CATEGORY,
        ),
    }  # fmt: skip


def _banner(
    place: Ids, on_site: npt.NDArray[np.bool_]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """C1 and banner_pos, functions of the place."""
    at = unit(place, salt("C1"))
    familiar = (place & np.uint32(APPS_FROM - 1)) < FAMILIAR
    c1 = np.where(on_site, valued("C1", at), valued("C1 in apps", at))
    c1 = np.where(familiar & on_site, 1005, c1)
    banner = valued("banner_pos", unit(place, salt("banner_pos")))
    banner = np.where(place == 0, 0, banner)
    for value, position in tables.BANNER_OF_C1.items():
        banner = np.where(c1 == value, position, banner)
    return c1, banner


def valued(column: str, positions: Floats) -> npt.NDArray[np.int64]:
    """The value of a column of few integers at each position in [0, 1)."""
    values, shares = zip(*tables.VALUES[column], strict=True)
    last = len(values) - 1
    index = np.minimum(np.searchsorted(np.array(shares), positions, side="right"), last)
    return np.array(values, dtype=np.int64)[index]
