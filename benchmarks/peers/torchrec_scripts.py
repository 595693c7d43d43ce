"""TorchRec's Criteo scripts: text to npy, contiguous ids, shuffle.

    python torchrec_scripts.py LOG OUT

They want 24 files, a day each. Ids that occur once are folded, since without a threshold nothing is
counted.
"""

import sys
from itertools import islice
from pathlib import Path

from torchrec.datasets.scripts import (
    contiguous_preproc_criteo,
    npy_preproc_criteo,
    shuffle_preproc_criteo,
)

DAYS = 24

if __name__ == "__main__":
    log, out = Path(sys.argv[1]), Path(sys.argv[2])
    days, arrays, ids, shuffled = (out / one for one in ("days", "arrays", "ids", "shuffled"))
    for made in (days, arrays, ids, shuffled):
        made.mkdir(parents=True)
    with log.open("rb") as lines:
        rows = sum(1 for _ in lines)
        lines.seek(0)
        for day in range(DAYS):
            count = rows * (day + 1) // DAYS - rows * day // DAYS
            (days / f"day_{day}").write_bytes(b"".join(islice(lines, count)))
    npy_preproc_criteo.main(["--input_dir", str(days), "--output_dir", str(arrays)])
    contiguous_preproc_criteo.main(
        ["--input_dir", str(arrays), "--output_dir", str(ids), "--frequency_threshold", "2"]
    )
    for day in range(DAYS):  # the shuffle looks for the name that the ids had before
        (ids / f"day_{day}_sparse_contig_freq.npy").rename(ids / f"day_{day}_sparse.npy")
    shuffle_preproc_criteo.main(
        [
            *("--input_dir_labels_and_dense", str(arrays)),
            *("--input_dir_sparse", str(ids)),
            *("--output_dir_shuffled", str(shuffled)),
        ]
    )
