"""A synthetic log of visits, with times, lists, texts and prices, which Criteo's lack."""

from __future__ import annotations

import numpy as np

SCHEMA = """\
name: visits
separator: ","
header: true
quote: '"'
embedding: {dim: 16}
columns:
  - {name: id, role: drop}
  - {name: click, role: label}
  - {name: when, role: time}
  - {name: price, role: dense, transform: log1p}
  - {name: age, role: dense, missing: 40, transform: none}
  - {name: city, role: sparse, encoding: string}
  - {name: user, role: sparse, encoding: hex}
  - {name: item, role: sparse, encoding: integer}
  - {name: seen, role: sparse, encoding: integer, table: item,
     multi: {separator: " ", max_length: 4}}
  - {name: hour, role: sparse, encoding: integer, source: when, derive: hour_of_day}
"""
HEADER = "id,click,when,price,age,city,user,item,seen\n"
_CITIES = ("Oslo", "Rome", "Köln", '"Washington, D.C."', "", "東京", "São Paulo", '"the ""Hague"""')
_BAD = 3000


def visits(seed: int, day: int, rows: int) -> bytes:
    """Return the log of a day: skewed ids, unordered times that rows share, malformed lines."""
    rng = np.random.default_rng([seed, day])
    user = rng.zipf(1.2, rows) % 40_000
    item = (rng.zipf(1.3, rows) + 7 * day) % 9_000
    city = rng.integers(0, len(_CITIES), rows) * rng.integers(0, 2, rows)
    click = rng.random(rows) < 0.2 + 0.4 * (item % 3 == 0)
    when = 1_400_000_000 + 86_400 * day + 60 * rng.integers(0, 1440, rows)
    price, age = rng.integers(-2, 500, rows) / 4, rng.integers(15, 90, rows)
    lengths = rng.integers(0, 7, rows)
    lines = [HEADER]
    for row in range(rows):
        seen = " ".join(map(str, item[row : row + lengths[row]]))
        years = "" if age[row] > 85 else age[row]
        text = "x" if row % _BAD == 17 else int(click[row])
        lines.append(
            f"{row},{text},{when[row]},{price[row]},{years},{_CITIES[city[row]]},"
            f"{user[row]:x},{item[row]},{seen}\n"
        )
    return "".join(lines).encode()
