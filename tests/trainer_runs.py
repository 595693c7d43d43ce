"""Small runs for tests: how to make one, and what of it must be the same again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from trainer.training import train

ROOT = Path(__file__).parent.parent
SMALL = {"bottom_mlp": (8, 4), "top_mlp": (8, 1), "batch_size": 16, "device": "cpu"}
OPTIONS = ["--bottom-mlp", "8-4", "--top-mlp", "8-1", "--batch-size", "16", "--device", "cpu"]


def run(data: Path, out: Path, **given: Any) -> dict[str, Any]:
    flags = {name: given.pop(name, False) for name in ("resume", "overwrite")}
    return train({"data": str(data), "out": str(out), **SMALL, **given}, quiet=True, **flags)


def state(out: Path) -> dict[str, Any]:
    document = torch.load(out / "checkpoint.pt", weights_only=True)
    for name in ("seconds", "traffic"):
        document["history"].pop(name)
    document["parameters"] = {
        k: v
        for k, v in document["parameters"].items()
        if k not in ("out", "checkpoint_every", "placement", "epochs")
    }
    return document


def assert_same(one: Any, two: Any) -> None:
    if isinstance(one, torch.Tensor):
        assert torch.equal(one, two)
    elif isinstance(one, dict):
        assert list(one) == list(two)
        for key in one:
            assert_same(one[key], two[key])
    else:
        assert one == two
