"""dask.dataframe by hand: counts by value_counts, ids by mapping, on its own default of threads.

python dask_dataframe.py LOG OUT
"""

import sys

import dask
import dask.dataframe as dd
import numpy as np
import pandas as pd
from columns import ALL, DENSE, SPARSE


def encode(frame: pd.DataFrame, maps: dict[str, pd.Series]) -> pd.DataFrame:
    """Return a partition with transformed counts and each category's id."""
    made: dict[str, object] = {"label": frame["label"].astype("int8")}
    for name in DENSE:
        made[name] = np.log1p(frame[name].fillna(0).clip(lower=0)).astype("float32")
    for name in SPARSE:
        made[name] = frame[name].fillna("").map(maps[name]).astype("int32")
    return pd.DataFrame(made, index=frame.index)


def main(log: str, out: str) -> None:
    """Count, remap and write."""
    types = {name: "string[pyarrow]" if name in SPARSE else "float32" for name in ALL}
    frame = dd.read_csv(log, sep="\t", header=None, names=ALL, dtype=types, blocksize="32MB")
    found = dask.compute(*(frame[name].fillna("").value_counts(sort=False) for name in SPARSE))
    counts = [one.sort_values(ascending=False) for one in found]
    maps = {
        name: pd.Series(np.arange(1, len(one) + 1, dtype=np.int32), index=one.index)
        for name, one in zip(SPARSE, counts, strict=True)
    }
    meta = encode(frame._meta, maps)
    frame.map_partitions(encode, dask.delayed(maps), meta=meta).to_parquet(
        f"{out}/rows", compression="zstd", write_index=False
    )
    for name, one in zip(SPARSE, counts, strict=True):
        one.to_frame().to_parquet(f"{out}/vocabulary-{name}.parquet")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
