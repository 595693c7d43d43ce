"""NVTabular on CPU: Categorify, FillMissing, Clip and LogOp, two worker processes.

python nvtabular_workflow.py LOG OUT
"""

import sys

import nvtabular as nvt
from columns import ALL, DENSE, SPARSE
from dask.distributed import Client, LocalCluster
from nvtabular import ops


def main(log: str, out: str) -> None:
    """Fit the workflow, transform and write."""
    types = {name: "str" if name in SPARSE else "float32" for name in ALL}
    types["label"] = "int8"
    data = nvt.Dataset(
        log, engine="csv", sep="\t", header=None, names=ALL, dtype=types, part_size="32MB", cpu=True
    )
    sparse = SPARSE >> ops.Categorify(out_path=f"{out}/categories")
    dense = DENSE >> ops.FillMissing() >> ops.Clip(min_value=0) >> ops.LogOp()
    workflow = nvt.Workflow(["label"] + dense + sparse)  # noqa: RUF005
    workflow.fit(data)
    workflow.transform(data).to_parquet(f"{out}/rows")


if __name__ == "__main__":
    with LocalCluster(n_workers=2, threads_per_worker=1) as cluster, Client(cluster):
        main(sys.argv[1], sys.argv[2])
