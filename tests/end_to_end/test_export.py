"""Trained tables in raw values."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import torch

from fae.api.export import export
from fae.format.errors import DatasetError
from fae_trainer.run.checkpoint import load_table_weights
from tests.support.small_logs import SHOP_BUDGET, Stages, shop_stages, vocabularies
from tests.support.trainer_runs import run


def test_each_row_goes_by_its_raw_value(shop: Stages, tmp_path: Path) -> None:
    run(shop.dataset, tmp_path / "run")
    files = export(shop.dataset, tmp_path / "run", tmp_path / "tables")
    assert [(file.path, file.rows) for file in files] == [("city.parquet", 6), ("item.parquet", 5)]
    weights = load_table_weights(tmp_path / "run")
    for name, values in vocabularies(shop.dataset, shop.manifest).items():
        frame = pl.read_parquet(tmp_path / "tables" / f"{name}.parquet")
        assert frame["id"].to_list() == list(range(len(values) + 1))
        assert frame["value"].to_list() == [None, *values.values()]
        kinds = ["missing" if value is None else "value" for value in values.values()]
        assert frame["kind"].to_list() == ["out of vocabulary", *kinds]
        assert frame["embedding"].to_list() == weights[name].tolist()


def test_a_run_on_another_data_set_of_the_same_sizes_is_refused(
    shop: Stages, tmp_path: Path
) -> None:
    other = shop_stages(tmp_path / "other", budget=SHOP_BUDGET * 2)
    run(other.dataset, tmp_path / "run")
    with pytest.raises(DatasetError, match="its ids mean other values"):
        export(shop.dataset, tmp_path / "run", tmp_path / "tables")
    assert not (tmp_path / "tables").exists()


@pytest.mark.parametrize(
    ("damage", "named"),
    [
        (lambda saved: saved["rows"]["city"][2].fill_(math.nan), "RUN: table 'city' has values"),
        (lambda saved: saved["network"]["top.0.bias"].fill_(math.inf), r"network's top\.0\.bias"),
        (lambda saved: saved["rows"].pop("item"), "table 'item' has no rows"),
        (lambda saved: saved["rows"].update(item=torch.ones(5, 3)), "table 'item' has 5 x 3"),
    ],
    ids=["a NaN row", "an infinite bias", "no table", "another dim"],
)
def test_a_model_that_cannot_score_is_refused(
    shop: Stages, tmp_path: Path, damage: Callable[[dict[str, Any]], object], named: str
) -> None:
    run(shop.dataset, tmp_path / "RUN")
    saved = torch.load(tmp_path / "RUN" / "checkpoint.pt", weights_only=True)
    damage(saved)
    torch.save(saved, tmp_path / "RUN" / "checkpoint.pt")
    for to in ("parquet", "onnx"):
        with pytest.raises(DatasetError, match=named):
            export(shop.dataset, tmp_path / "RUN", tmp_path / "OUT", to=to)
    assert not (tmp_path / "OUT").exists()
