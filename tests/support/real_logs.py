"""The public logs: where tests find them, and what was measured on them; no row of them is here.

The first rows of Criteo Kaggle and of Avazu lie in the folder that FAE_REAL_LOGS names, as
`criteo.tsv` and `avazu.csv`. Tests on them are skipped where it names none.
"""

import os
from pathlib import Path

import pytest

_FILES = {"criteo": "criteo.tsv", "avazu": "avazu.csv"}


def find_real_log(kind: str) -> Path:
    """Return the path of the real log of `criteo` or `avazu`; skip the test where there is none."""
    path = Path(os.environ.get("FAE_REAL_LOGS", "")) / _FILES[kind]
    if not path.is_file():
        pytest.skip(f"FAE_REAL_LOGS names no folder with {path.name}")
    return path


CRITEO = ["label", *(f"I{i}" for i in range(1, 14)), *(f"C{i}" for i in range(1, 27))]
CRITEO_IDS = CRITEO[14:]
AVAZU_HEADER = (
    "id,click,hour,C1,banner_pos,site_id,site_domain,site_category,app_id,app_domain,"
    "app_category,device_id,device_ip,device_model,device_type,device_conn_type,"
    "C14,C15,C16,C17,C18,C19,C20,C21"
)
AVAZU_IDS = AVAZU_HEADER.split(",")[3:]
AVAZU_HEX = AVAZU_IDS[2:11]

# Column: distinct ids, per cent of rows with the first, with the first ten, per cent of ids seen
# once; of the first 10,000 rows of Criteo (missing ones left out).
CRITEO_HEAD = {
    "C1": (175, 50.0, 91.1, 52),
    "C2": (386, 12.3, 43.2, 19),
    "C3": (5520, 4.7, 18.5, 87),
    "C4": (4032, 7.3, 24.5, 78),
    "C5": (56, 66.6, 98.0, 36),
    "C7": (3184, 1.1, 7.3, 51),
    "C8": (93, 58.9, 95.7, 44),
    "C10": (2986, 27.6, 33.8, 63),
    "C11": (2084, 2.0, 11.0, 40),
    "C12": (5283, 4.7, 18.8, 86),
    "C13": (1725, 2.2, 13.1, 36),
    "C15": (2035, 1.9, 11.0, 48),
    "C16": (4723, 4.7, 18.9, 83),
    "C18": (1149, 5.1, 21.9, 39),
    "C19": (546, 33.1, 39.7, 54),
    "C21": (5036, 4.7, 18.9, 85),
    "C24": (2524, 7.5, 37.7, 69),
    "C26": (1938, 4.5, 15.0, 70),
}
CRITEO_DISTINCT = [
    *(1460, 583, 10131227, 2202608, 305, 24, 12517, 633, 3, 93145, 5683, 8351593, 3194),
    *(27, 14992, 5461306, 10, 5652, 2173, 4, 7046547, 18, 15, 286181, 105, 142572),
]
CRITEO_MISSING = {
    "C3": 3.57, "C6": 13.32, "C19": 44.96, "C22": 81.82, "I1": 44.81, "I3": 20.37, "I4": 19.78,
    "I5": 4.94, "I6": 25.11, "I7": 4.92, "I8": 0.10, "I12": 77.35,
}  # fmt: skip
CRITEO_BLOCKS = [
    ["I1", "I10"],
    ["I4", "I13"],
    ["I7", "I9", "I11"],
    ["C3", "C4", "C12", "C16", "C21", "C24"],
    ["C19", "C20", "C25", "C26"],
]
# The first 8,087 rows of Avazu: distinct ids, per cent of rows with the first.
AVAZU_HEAD = {
    "site_id": (339, 35.6),
    "site_domain": (282, 35.6),
    "app_id": (289, 78.1),
    "device_id": (875, 87.4),
    "device_ip": (6116, 0.9),
    "device_model": (1054, 7.3),
    "C14": (251, 7.2),
    "C17": (109, 39.1),
    "C20": (102, 62.1),
}
AVAZU_DISTINCT = {
    "C1": 7, "banner_pos": 7, "site_id": 4737, "site_domain": 7745, "site_category": 26,
    "app_id": 8552, "app_domain": 559, "app_category": 36, "device_type": 5,
    "device_conn_type": 4, "C14": 2626, "C15": 8, "C16": 9, "C17": 435, "C18": 4, "C19": 68,
    "C20": 172, "C21": 60,
}  # fmt: skip
