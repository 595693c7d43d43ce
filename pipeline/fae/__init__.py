"""Click logs in, a hot/cold-partitioned data set out.

>>> import fae                                                              # doctest: +SKIP
>>> dataset = fae.prepare("logs/*.gz", schema="criteo-kaggle",
...                       hot_budget="256MiB", out="DIR")                   # doctest: +SKIP
>>> dataset.read("train")                                                   # doctest: +SKIP

Importing the package loads nothing else: each name below is loaded when it is first used, so that
`import fae` is quick and the trainer can use `fae.format` where no data engine is installed.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from fae.format.version import __version__

if TYPE_CHECKING:
    from fae.api.dataset import Dataset, open_dataset
    from fae.api.export import export
    from fae.api.exported import ExportedModel, load_exported
    from fae.api.predict import predict
    from fae.api.stages import append, calibrate, ingest, partition, prepare, profile
    from fae.dataset.encoder import Encoder
    from fae.format.errors import FaeError
    from fae.inference.infer import infer_schema
    from fae.logs.schema import Schema
    from fae.logs.schema_files import load_schema
    from fae_trainer.data.loader import HotColdLoader
    from fae_trainer.embedding.module import HotColdEmbedding
    from fae_trainer.embedding.row_optimizer import HotColdOptimizer

#: The module that each public name comes from.
_MODULES = {
    "Dataset": "fae.api.dataset",
    "Encoder": "fae.dataset.encoder",
    "ExportedModel": "fae.api.exported",
    "FaeError": "fae.format.errors",
    "HotColdEmbedding": "fae_trainer.embedding.module",
    "HotColdLoader": "fae_trainer.data.loader",
    "HotColdOptimizer": "fae_trainer.embedding.row_optimizer",
    "Schema": "fae.logs.schema",
    "append": "fae.api.stages",
    "calibrate": "fae.api.stages",
    "export": "fae.api.export",
    "infer_schema": "fae.inference.infer",
    "ingest": "fae.api.stages",
    "load_exported": "fae.api.exported",
    "load_schema": "fae.logs.schema_files",
    "open_dataset": "fae.api.dataset",
    "partition": "fae.api.stages",
    "predict": "fae.api.predict",
    "prepare": "fae.api.stages",
    "profile": "fae.api.stages",
}

__all__ = [
    "Dataset",
    "Encoder",
    "ExportedModel",
    "FaeError",
    "HotColdEmbedding",
    "HotColdLoader",
    "HotColdOptimizer",
    "Schema",
    "__version__",
    "append",
    "calibrate",
    "export",
    "infer_schema",
    "ingest",
    "load_exported",
    "load_schema",
    "open_dataset",
    "partition",
    "predict",
    "prepare",
    "profile",
]


def __getattr__(name: str) -> Any:
    """Load a public name from its module when it is first used."""
    if name not in _MODULES:
        raise AttributeError(f"module 'fae' has no attribute {name!r}")
    if _MODULES[name].startswith("fae_trainer."):
        from fae.format.errors import require

        require("torch", "train", f"fae.{name}")
    value = getattr(importlib.import_module(_MODULES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
