"""The FAE authors' published preprocessing and profiler, as they are.

    python fae_authors.py LOG OUT CHECKOUT

CHECKOUT is a copy of their repository, which has the folder DLRM.
"""

import subprocess
import sys
from pathlib import Path

BUDGET_BYTES = 32 * 2**20

log, out, checkout = Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3])
kaggle = out / "input" / "kaggle"
(kaggle / "kaggle_hot_cold").mkdir(parents=True)
(kaggle / "train.txt").symlink_to(log.resolve())
program = checkout.resolve() / "DLRM" / "dlrm_input_profiler.py"
ended = subprocess.run(
    [
        sys.executable,
        str(program),
        "--arch-sparse-feature-size=16",
        "--data-generation=dataset",
        "--data-set=kaggle",
        "--raw-data-file=./input/kaggle/train.txt",
        "--processed-data-file=./input/kaggle/kaggleAdDisplayChallenge_processed.npz",
        f"--hot-emb-gpu-mem={BUDGET_BYTES}",
        "--ip-sampling-rate=5",
    ],
    cwd=out,
    stderr=subprocess.PIPE,
    text=True,
)
if "FAE pre-processing completed" not in ended.stderr:  # it exits with 1 on success, too
    sys.exit(ended.stderr)
