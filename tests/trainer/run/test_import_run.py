"""A trained model carried to a data set with further logs, or with another hot budget."""

from __future__ import annotations

import dataclasses
import io
import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import torch

from fae.api.export import export
from fae.appending.append import append
from fae.dataset.encoder import Encoder
from fae.execution.executor import Executor
from fae.format.errors import DatasetError, ParameterError
from fae.format.manifest import Manifest
from fae.logs.files import find_logs
from fae.logs.schema import Schema
from fae.preparation import prepare
from fae_trainer.__main__ import main
from fae_trainer.data.batches import Batch
from fae_trainer.embedding.tables import Tables
from fae_trainer.run import checkpoint
from fae_trainer.run.evaluate import load_recommender
from fae_trainer.run.import_run import import_run
from tests.support.oracle import Options
from tests.support.small_logs import (
    SHOP,
    SHOP_BUDGET,
    SHOP_LOG,
    digests,
    parameters_of,
    resigned,
    signed,
    written,
)
from tests.support.trainer_runs import assert_same, run

HEADER, *LINES = SHOP_LOG.splitlines(keepends=True)
#: Oslo is known; Kyiv and items from 20 on are new, and take the first ranks.
NEWS = "".join(
    f"{n},{n % 2},{2000 + n},1,{'Kyiv' if n % 3 else 'Oslo'},{n % 3 + 20},7 20\n" for n in range(40)
)
OOV = "out of vocabulary"
#: The shop with rows of another dim for its items.
SHOP_OF_DIMS = SHOP.model_copy(
    update={
        "columns": tuple(
            column.model_copy(update={"dim": 6}) if column.name in ("item", "seen") else column
            for column in SHOP.columns
        )
    }
)


def prepared(place: Path, name: str, budget: int = SHOP_BUDGET, schema: Schema = SHOP) -> Path:
    """Prepare the shop's first day so that days can be appended."""
    found = find_logs(written(place, {"day0.csv": SHOP_LOG}), schema)
    parameters = parameters_of(Options(budget=budget))
    prepare(found, schema, place / name, Executor(1), parameters, keep_work=True)
    return place / name


def add_day(data: Path, **given: object) -> None:
    found = find_logs(written(data.parent, {"day1.csv": HEADER + NEWS}), SHOP)
    append(found, SHOP, data, Executor(1), given)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return prepared(tmp_path, "data")


def scores(data: Path, out: Path, placement: str, lines: slice = slice(16)) -> torch.Tensor:
    """Return the logits of the first day's train rows, encoded by `data` and scored by a run."""
    frame = pl.read_csv(io.StringIO(HEADER + "".join(LINES[lines])), infer_schema=False)
    rows = Encoder(data).encode(frame)
    columns = [rows[column.name].to_list() for column in SHOP.sparse]
    cells = [
        cell if isinstance(cell, list) else [cell]
        for row in zip(*columns, strict=True)
        for cell in row
    ]
    batch = Batch(
        label=torch.zeros(len(rows)),
        dense=rows.select(column.name for column in SHOP.dense).to_torch().float(),
        ids=torch.tensor([one for cell in cells for one in cell]),
        offsets=torch.tensor([0, *map(len, cells)]).cumsum(0),
        hot=False,
    )
    changes = {"placement": placement, "device": "cpu"}
    model, _ = load_recommender(data, Manifest.read(data), out, changes)
    ((_, plan),) = model.plan([batch])
    return model.logits(batch, plan)


def by_value(data: Path, out: Path, what: str) -> dict[str, dict[Any, list[float]]]:
    """Each table's `rows` or `states` in a run by raw value, in the order of ids."""
    found = getattr(checkpoint.load(out), what)
    tables = {}
    for table in Manifest.read(data).tables:
        values = pl.read_parquet(data / table.vocabulary.path)["value"].to_list()
        tables[table.name] = dict(zip([OOV, *values], found[table.name].tolist(), strict=True))
    return tables


def rome(data: Path) -> int:
    """Return the id of Rome."""
    return int(Encoder(data).encode([{"city": "Rome"}])["city"].item())


@pytest.mark.parametrize("placement", ["hot-cold", "fae"])
def test_known_rows_score_alike_after_a_day_is_added(
    data: Path, tmp_path: Path, placement: str
) -> None:
    run(data, tmp_path / "old", epochs=3, placement=placement)
    before = scores(data, tmp_path / "old", placement)
    place = rome(data)
    add_day(data)
    assert rome(data) != place
    import_run(tmp_path / "old", data, tmp_path / "new")
    assert torch.equal(scores(data, tmp_path / "new", placement), before)
    assert before.unique().numel() > 10
    parts = [scores(data, tmp_path / "new", placement, lines) for lines in (slice(1), slice(1, 16))]
    torch.testing.assert_close(torch.cat(parts).sigmoid(), before.sigmoid(), rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("budget", "schema"), [(2 * 20, SHOP), (8 * 20, SHOP), (10_000, SHOP), (8 * 20, SHOP_OF_DIMS)]
)
def test_a_model_goes_to_another_hot_budget(tmp_path: Path, budget: int, schema: Schema) -> None:
    data = prepared(tmp_path, "data", schema=schema)
    other = prepared(tmp_path, "other", budget, schema)
    run(data, tmp_path / "old", epochs=3)
    import_run(tmp_path / "old", other, tmp_path / "new")
    assert torch.equal(
        scores(other, tmp_path / "new", "hot-cold"), scores(data, tmp_path / "old", "hot-cold")
    )
    for what in ("rows", "states"):
        assert by_value(other, tmp_path / "new", what) == by_value(data, tmp_path / "old", what)


def test_rows_go_by_raw_value_and_new_ones_begin_as_in_training(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(data, tmp_path / "old", epochs=2, seed=5)
    before = {what: by_value(data, tmp_path / "old", what) for what in ("rows", "states")}
    add_day(data, min_count={"city": 2})
    carried = import_run(tmp_path / "old", data, tmp_path / "new").tables
    with monkeypatch.context() as patch:  # an optimiser that learns nothing leaves first values
        patch.setattr(Tables, "update", lambda *_: None)
        run(data, tmp_path / "fresh", seed=5)
    kept = dropped = begun = 0
    for what in ("rows", "states"):
        after, first = (
            by_value(data, tmp_path / "new", what),
            by_value(data, tmp_path / "fresh", what),
        )
        for table, rows in after.items():
            known = before[what][table]
            assert rows == {value: known.get(value, first[table][value]) for value in rows}
            kept += len(rows.keys() & known.keys())
            begun += len(rows.keys() - known.keys())
            dropped += len(known.keys() - rows.keys())
    assert min(dropped, begun) > 0
    assert sum(one.known for one in carried) * 2 == kept
    old, new = (checkpoint.load(tmp_path / name) for name in ("old", "new"))
    assert_same(new.network, old.network)
    assert_same(new.network_optimizer, old.network_optimizer)


def test_an_imported_run_trains_on(data: Path, tmp_path: Path) -> None:
    run(data, tmp_path / "old", epochs=2, lr=0.05)
    add_day(data)
    arguments = ["import", str(tmp_path / "old"), "--data", str(data), "--out"]
    assert main([*arguments, str(tmp_path / "new")]) == 0
    carried = checkpoint.load(tmp_path / "new")
    assert carried.parameters["lr"] == 0.05
    network = {name: value.clone() for name, value in carried.network.items()}
    assert main(["evaluate", str(data), "--run", str(tmp_path / "new")]) == 0
    train = ["train", str(data), "--out", str(tmp_path / "new"), "--resume", "--quiet"]
    assert main(train) == 0
    metrics = json.loads((tmp_path / "new" / "metrics.json").read_text())
    train_rows = sum(leaf.rows for leaf in Manifest.read(data).splits["train"].values())
    assert metrics["train_samples"] == 2 * train_rows
    learned = checkpoint.load(tmp_path / "new").network
    assert any(not torch.equal(learned[name], network[name]) for name in network)
    assert main([*arguments, str(tmp_path / "new")]) == 1
    assert main([*arguments, str(tmp_path / "new"), "--overwrite"]) == 0
    assert not (tmp_path / "new" / "metrics.json").exists()
    assert_same(checkpoint.load(tmp_path / "new").network, network)


# ── What is refused ──────────────────────────────────────────────────────────────────────────────


def test_a_run_of_an_unknown_data_set_is_refused(data: Path, tmp_path: Path) -> None:
    former = Path(f"{tmp_path}/former")
    data.rename(former)
    (tmp_path / "data.work").rename(tmp_path / "former.work")
    run(former, tmp_path / "old")
    other = prepared(tmp_path, "data", SHOP_BUDGET * 2)
    add_day(former)
    with pytest.raises(DatasetError, match="Name the data set that it was trained on"):
        import_run(tmp_path / "old", other, tmp_path / "new")
    with pytest.raises(DatasetError, match="was trained on the data set"):
        import_run(tmp_path / "old", other, tmp_path / "new", former=former)
    assert not (tmp_path / "new").exists()
    again = prepared(tmp_path, "again")
    import_run(tmp_path / "old", other, tmp_path / "new", former=again)
    assert torch.equal(
        scores(other, tmp_path / "new", "cpu"), scores(again, tmp_path / "old", "cpu")
    )


def test_another_schema_is_refused(data: Path, tmp_path: Path) -> None:
    run(data, tmp_path / "old")
    other = prepared(tmp_path, "other", SHOP_BUDGET * 2)
    manifest = Manifest.read(other)
    dataclasses.replace(manifest, schema={**manifest.schema, "name": "mall"}).write(other)
    signed(other)
    with pytest.raises(DatasetError, match="have different schemas"):
        import_run(tmp_path / "old", other, tmp_path / "new")


def test_a_run_is_never_imported_onto_itself(data: Path, tmp_path: Path) -> None:
    run(data, tmp_path / "old")
    before = digests(tmp_path / "old")
    add_day(data)
    with pytest.raises(ParameterError, match="is the run to convert; choose another directory"):
        import_run(tmp_path / "old", data, tmp_path / "old", overwrite=True)
    assert digests(tmp_path / "old") == before


@pytest.mark.parametrize("text", ["{", "[]", "{}"])
def test_damaged_drift_is_one_message(data: Path, tmp_path: Path, text: str) -> None:
    run(data, tmp_path / "old")
    add_day(data)
    (data / "drift.json").write_text(text)
    resigned(data, "drift.json")
    with pytest.raises(DatasetError, match=r"drift\.json is damaged"):
        import_run(tmp_path / "old", data, tmp_path / "new")


def test_a_damaged_vocabulary_is_not_used(data: Path, tmp_path: Path) -> None:
    run(data, tmp_path / "old")
    other = prepared(tmp_path, "other", SHOP_BUDGET * 2)
    vocabulary = data / "vocabulary" / "city.parquet"
    content = bytearray(vocabulary.read_bytes())
    content[len(content) // 2] ^= 1
    vocabulary.write_bytes(content)
    for use in (
        lambda: import_run(tmp_path / "old", other, tmp_path / "new"),
        lambda: export(data, tmp_path / "old", tmp_path / "tables"),
        lambda: add_day(data),
    ):
        with pytest.raises(DatasetError, match=r"city\.parquet is damaged: its sha256"):
            use()
