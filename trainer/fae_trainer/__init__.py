"""Train on a prepared data set, with hot rows on the device and cold rows on the host.

    import fae_trainer
    loader = fae_trainer.HotColdLoader("DIR", batch_size=2048)
    embedding = fae_trainer.HotColdEmbedding(loader.manifest, device="cuda")
    rows_optimizer = fae_trainer.HotColdOptimizer(embedding, lr=0.02)

These three serve any model. `train` and `evaluate` train and score a DLRM, as the commands do.

arguments    the command line's options
commands     what each command calls and prints
parameters   the parameters of a run, and their defaults
storage/     a data set's files, on the local disk or in S3
data/        batches of a data set, read ahead in threads
embedding/   tables of rows on the device and the host, and how they learn
model/       the DLRM, and one step of its training
run/         training, evaluation, checkpoints, metrics
serving/     a run as a model that scores without this package

The package needs torch, numpy and pyarrow, and of this project only `fae.format`. A room imports
only from those listed before it. Public names are loaded when they are first used, so importing the
package does not import torch, and help and usage errors are instant.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fae_trainer.data.loader import HotColdLoader
    from fae_trainer.embedding.module import HotColdEmbedding
    from fae_trainer.embedding.row_optimizer import HotColdOptimizer
    from fae_trainer.run.callbacks import Callback
    from fae_trainer.run.evaluate import evaluate
    from fae_trainer.run.loggers import open_logger
    from fae_trainer.run.train import train

#: The module of each public name.
_MODULES = {
    "Callback": "fae_trainer.run.callbacks",
    "HotColdEmbedding": "fae_trainer.embedding.module",
    "HotColdLoader": "fae_trainer.data.loader",
    "HotColdOptimizer": "fae_trainer.embedding.row_optimizer",
    "evaluate": "fae_trainer.run.evaluate",
    "open_logger": "fae_trainer.run.loggers",
    "train": "fae_trainer.run.train",
}

__all__ = [
    "Callback",
    "HotColdEmbedding",
    "HotColdLoader",
    "HotColdOptimizer",
    "evaluate",
    "open_logger",
    "train",
]


def __getattr__(name: str) -> Any:
    """Load a public name from its module when it is first used."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(_MODULES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
