"""FuxiCTR's FeatureProcessor and build_dataset, which transform through Ray.

python fuxictr_processor.py LOG OUT
"""

import shutil
import sys
from pathlib import Path

from columns import ALL, DENSE, SPARSE
from fuxictr.preprocess import FeatureProcessor, build_dataset

if __name__ == "__main__":
    log, out = sys.argv[1], Path(sys.argv[2])
    out.mkdir()
    named = out / "log.csv"  # FuxiCTR finds columns by a header
    with Path(log).open("rb") as source, named.open("wb") as target:
        target.write("\t".join(ALL).encode() + b"\n")
        shutil.copyfileobj(source, target, 1 << 20)
    processor = FeatureProcessor(
        feature_cols=[
            {"name": DENSE, "active": True, "dtype": "float", "type": "numeric"},
            {"name": SPARSE, "active": True, "dtype": "str", "type": "categorical"},
        ],
        label_col={"name": "label", "dtype": "float"},
        dataset_id="criteo",
        data_root=str(out),
    )
    build_dataset(processor, train_data=str(named), data_format="csv", sep="\t")
