"""The embedding module equals nn.EmbeddingBag a feature and a plain optimiser, step by step."""

from __future__ import annotations

import dataclasses
import multiprocessing
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from fae.format import memory
from fae.format.errors import ParameterError
from fae.format.manifest import Manifest
from fae_trainer.data.loader import HotColdLoader
from fae_trainer.embedding.module import HotColdEmbedding
from fae_trainer.embedding.row_optimizer import HotColdOptimizer
from tests.support.project import ROOT
from tests.support.trainer_data import RAGGED, Column, Shape, write_dataset
from tests.support.trainer_runs import assert_same

SHAPES = {
    "plain": Shape(),
    "ragged": RAGGED,
    "one table": Shape(
        tables={"a": (9, 3)}, columns=(Column("a"), Column("b", table="a"), Column("c", table="a"))
    ),
}
#: Above what Adagrad makes of the rounding of float64.
EXACT = {"rtol": 1e-10, "atol": 1e-12}


class Bags:
    """One nn.EmbeddingBag a table, and the rule for its rows spelt out on dense gradients."""

    def __init__(self, manifest: Manifest, like: HotColdEmbedding, optimizer: str) -> None:
        rows = like.tables.rows()
        self.manifest, self.optimizer = manifest, optimizer
        self.bags = {
            name: nn.EmbeddingBag.from_pretrained(
                values.clone(), freeze=False, mode=like.pooling, include_last_offset=True
            )
            for name, values in rows.items()
        }
        self.sums = {name: torch.zeros(len(values)).double() for name, values in rows.items()}

    def __call__(self, ids: Tensor, offsets: Tensor | None) -> Tensor:
        sparse = self.manifest.features.sparse
        if offsets is None:
            offsets = torch.arange(len(ids) + 1)
        bounds = offsets.tolist()
        vectors = []
        for index, feature in enumerate(sparse):
            lists = [
                ids[bounds[at] : bounds[at + 1]].long()
                for at in range(index, len(bounds) - 1, len(sparse))
            ]
            begins = torch.tensor([0, *(len(one) for one in lists)]).cumsum(0)
            vectors.append(self.bags[feature.table](torch.cat(lists), begins))
        return torch.stack(vectors, dim=1)

    @torch.no_grad()
    def step(self, rate: float) -> None:
        for name, bag in self.bags.items():
            gradient = bag.weight.grad
            if gradient is None:
                continue
            if self.optimizer == "rowwise_adagrad":
                self.sums[name] += gradient.square().mean(1)
                touched = gradient.ne(0).any(1)
                root = self.sums[name].sqrt() + 1e-8
                gradient = torch.where(touched[:, None], gradient / root[:, None], 0)
            bag.weight -= rate * gradient
            bag.weight.grad = None


def made(manifest: Manifest, **given: Any) -> HotColdEmbedding:
    return HotColdEmbedding(manifest, dtype=torch.float64, **given)


def loss_of(vectors: Tensor, label: Tensor) -> Tensor:
    """Something whose gradient differs by input, feature and element, and grows with the rows."""
    places = torch.arange(vectors[0].numel(), dtype=vectors.dtype, device=vectors.device)
    weights = places.cos().view(vectors.shape[1:])
    logit = (vectors * weights).sum((1, 2)) + vectors.square().sum((1, 2))
    return nn.functional.binary_cross_entropy_with_logits(logit, label.to(logit.dtype))


def assert_tables(embedding: HotColdEmbedding, bags: Bags) -> None:
    for name, rows in embedding.tables.rows().items():
        torch.testing.assert_close(rows, bags.bags[name].weight.detach(), **EXACT)
        if bags.optimizer == "rowwise_adagrad":
            state = embedding.tables.states()[name][:, 0]
            torch.testing.assert_close(state, bags.sums[name], **EXACT)


@pytest.mark.parametrize("optimizer", ["sgd", "rowwise_adagrad"])
@pytest.mark.parametrize("pooling", ["sum", "mean"])
@pytest.mark.parametrize("shape", SHAPES)
def test_training_equals_embedding_bags(
    tmp_path: Path, shape: str, pooling: str, optimizer: str
) -> None:
    manifest = write_dataset(tmp_path / "data", SHAPES[shape])
    embedding = made(manifest, optimizer=optimizer, pooling=pooling)
    bags = Bags(manifest, embedding, optimizer)
    rows = HotColdOptimizer(embedding, lr=0.3)
    for batch in HotColdLoader(tmp_path / "data", batch_size=16):
        expected = bags(batch.ids, batch.offsets)
        found = embedding.of(batch)
        torch.testing.assert_close(found, expected, **EXACT)
        loss_of(expected, batch.label).backward()
        bags.step(0.3)
        rows.zero_grad()
        loss_of(found, batch.label).backward()
        rows.step()
        assert_tables(embedding, bags)


def test_gradients_of_several_lookups_are_one_step(tmp_path: Path) -> None:
    manifest = write_dataset(tmp_path / "data", RAGGED)
    embedding = made(manifest)
    bags = Bags(manifest, embedding, "rowwise_adagrad")
    rows = HotColdOptimizer(embedding, lr=0.3)
    batches = list(HotColdLoader(tmp_path / "data", batch_size=16))
    for pair in zip(batches[::2], batches[1::2], strict=False):
        for forward in (lambda batch: bags(batch.ids, batch.offsets), embedding.of):
            sum(loss_of(forward(batch), batch.label) for batch in pair).backward()
        bags.step(0.3)
        rows.step()
        assert_tables(embedding, bags)


def test_a_gradient_that_comes_after_a_step_loses_no_update(tmp_path: Path) -> None:
    manifest = write_dataset(tmp_path / "data", Shape())
    embedding = made(manifest, optimizer="sgd")
    bags = Bags(manifest, embedding, "sgd")
    rows = HotColdOptimizer(embedding, lr=0.3)
    one, two = list(HotColdLoader(tmp_path / "data", batch_size=64))[:2]
    early, late = embedding.of(one), embedding.of(two)
    expected_late = bags(two.ids, two.offsets).detach().requires_grad_()
    loss_of(bags(one.ids, one.offsets), one.label).backward()
    loss_of(expected_late, two.label).backward()
    late_gradient = expected_late.grad
    bags.step(0.3)
    loss_of(early, one.label).backward()
    rows.step()
    bags(two.ids, two.offsets).backward(late_gradient)
    bags.step(0.3)
    late.backward(late_gradient)
    rows.step()
    assert_tables(embedding, bags)


def test_nothing_changes_without_a_gradient(tmp_path: Path) -> None:
    manifest = write_dataset(tmp_path / "data", RAGGED)
    embedding = made(manifest)
    rows = HotColdOptimizer(embedding, lr=0.3)
    before = embedding.tables.rows()
    batch = next(iter(HotColdLoader(tmp_path / "data", batch_size=16)))
    with torch.no_grad():
        embedding.of(batch)
    loss_of(embedding.of(batch), batch.label)
    rows.step()
    loss_of(embedding.of(batch), batch.label).backward()
    rows.zero_grad()
    rows.step()
    assert_same(embedding.tables.rows(), before)


def test_a_state_loads_under_another_placement(tmp_path: Path) -> None:
    manifest = write_dataset(tmp_path / "data", RAGGED)
    batches = list(HotColdLoader(tmp_path / "data", batch_size=16))
    names = [table.name for table in manifest.tables]
    placements = (None, dict.fromkeys(names, 0), {t.name: t.rows for t in manifest.tables})

    def trained(embedding: HotColdEmbedding, rows: HotColdOptimizer, part: slice) -> None:
        for batch in batches[part]:
            loss_of(embedding.of(batch), batch.label).backward()
            rows.step()

    whole = made(manifest)
    trained(whole, HotColdOptimizer(whole, lr=0.3), slice(None))
    first = nn.ModuleDict({"rows": made(manifest)})
    rows = HotColdOptimizer(first["rows"], lr=0.3)
    trained(first["rows"], rows, slice(7))
    assert list(first.state_dict()) == [f"rows.rows.{name}" for name in names]
    for hot_rows in placements:
        second = nn.ModuleDict({"rows": made(manifest, hot_rows=hot_rows, seed=9)})
        after = HotColdOptimizer(second["rows"], lr=0.1)
        second.load_state_dict(first.state_dict())
        after.load_state_dict(rows.state_dict())
        trained(second["rows"], after, slice(7, None))
        assert_same(second["rows"].tables.rows(), whole.tables.rows())
        assert_same(second["rows"].tables.states(), whole.tables.states())


def test_a_state_that_does_not_fit_is_named(tmp_path: Path) -> None:
    manifest = write_dataset(tmp_path / "data", Shape())
    embedding = made(manifest)
    state = embedding.state_dict()
    missing = {key: value * 2 for key, value in state.items() if key != "rows.a"}
    loaded = made(manifest, seed=3)
    first = loaded.tables.rows()["a"]
    told = loaded.load_state_dict({**missing, "x": first}, strict=False)
    assert (told.missing_keys, told.unexpected_keys) == (["rows.a"], ["x"])
    assert_same(dict(loaded.state_dict()), {"rows.a": first, **missing})
    for wrong, message in (
        (missing, "Missing key.*rows.a"),
        ({**state, "rows.x": state["rows.a"]}, "Unexpected key.*rows.x"),
        ({**state, "rows.a": state["rows.a"][1:]}, "it belongs to another data set"),
    ):
        with pytest.raises(RuntimeError, match=f"(?s){message}"):
            embedding.load_state_dict(wrong)


def test_it_stands_in_a_model_beside_other_optimisers(tmp_path: Path) -> None:
    manifest = write_dataset(tmp_path / "data", Shape())
    model = nn.ModuleDict({"rows": made(manifest), "top": nn.Linear(4, 1)})
    sizes = {name: parameter.numel() for name, parameter in model.named_parameters()}
    assert sizes == {"rows.anchor": 0, "top.weight": 4, "top.bias": 1}
    rows = HotColdOptimizer(model["rows"], lr=0.4)
    halved = torch.optim.lr_scheduler.StepLR(rows, step_size=1, gamma=0.5)
    rows.step()
    halved.step()
    group = rows.state_dict()["param_groups"][0]
    assert (group["lr"], group["initial_lr"], group["steps"]) == (0.2, 0.4, 0)
    model.to(torch.float32)
    assert model["rows"].tables.hot.rows.dtype == torch.float64
    assert "4 features, dim=4, 32 hot rows, 95 cold rows, 508 parameters" in repr(model["rows"])


@pytest.mark.parametrize("shape", ["plain", "ragged"])
def test_some_features_have_the_vectors_they_have_among_all(tmp_path: Path, shape: str) -> None:
    manifest = write_dataset(tmp_path / "data", SHAPES[shape])
    names = [feature.name for feature in manifest.features.sparse]
    for batch in HotColdLoader(tmp_path / "data", batch_size=16):
        both = made(manifest).of(batch)
        for chosen in (names[::-1], names[1:3]):
            found = made(manifest, features=chosen).of(batch)
            assert torch.equal(found, both[:, [names.index(name) for name in chosen]])


@dataclasses.dataclass
class Keyed:
    """What the adapter needs of a KeyedJaggedTensor: bags, features outermost."""

    names: list[str]
    lists: list[list[int]]
    by_offsets: bool = False
    weights: Tensor | None = None

    def __post_init__(self) -> None:
        sizes = torch.tensor([len(one) for one in self.lists])
        if self.by_offsets:
            self.offsets = lambda: nn.functional.pad(sizes.cumsum(0), (1, 0))
        else:
            self.lengths = lambda: sizes

    def keys(self) -> list[str]:
        return self.names

    def values(self) -> Tensor:
        return torch.tensor([one for each in self.lists for one in each], dtype=torch.int64)

    def weights_or_none(self) -> Tensor | None:
        return self.weights


def torchrec_keyed(names: list[str], lists: list[list[int]]) -> Any:
    sparse = pytest.importorskip("torchrec.sparse.jagged_tensor")
    mine = Keyed(names, lists)
    return sparse.KeyedJaggedTensor(names, mine.values(), lengths=mine.lengths())


@pytest.mark.parametrize(
    "keyed",
    [Keyed, lambda *given: Keyed(*given, by_offsets=True), torchrec_keyed],
    ids=["lengths", "offsets", "torchrec"],
)
def test_keyed_ids_are_looked_up_by_name(tmp_path: Path, keyed: Any) -> None:
    manifest = write_dataset(tmp_path / "data", RAGGED)
    names = [feature.name for feature in manifest.features.sparse]
    inputs = [[[3], [5, 5, 59], [0], []], [[49], [], [5], [1, 29]], [[0], [7], [8], [2, 2]]]
    shown = ["c", "unused", "a", "shown", "clicked"]
    lists = [one[names.index(n)] if n in names else [1] for n in shown for one in inputs]
    embedding = made(manifest, pooling="mean")
    flat = torch.tensor([one for each in inputs for bag in each for one in bag])
    sizes = torch.tensor([len(bag) for each in inputs for bag in each])
    expected = embedding(flat, nn.functional.pad(sizes.cumsum(0), (1, 0)))
    assert expected.shape == (3, 4, 4)
    assert not expected[0, 3].any()
    assert torch.equal(embedding.of_keyed(keyed(shown, lists)), expected)


def test_wrong_arguments_are_named(tmp_path: Path) -> None:
    manifest = write_dataset(tmp_path / "data", Shape())
    wide = dataclasses.replace(manifest.tables[0], dim=8)
    mixed = dataclasses.replace(manifest, tables=(wide, *manifest.tables[1:]))
    for make, message in (
        (lambda: made(manifest, optimizer="lamb"), "optimizer is lamb"),
        (lambda: made(manifest, pooling="max"), "pooling is max"),
        (lambda: made(manifest, features=["x"]), "no feature 'x'"),
        (lambda: made(manifest, features=[]), "no sparse features"),
        (lambda: made(manifest, hot_rows={"a": 51}), "hot_rows of a must be from 0 to 50"),
        (lambda: made(mixed), "a 8, b 4, c 4, d 4"),
        (lambda: made(manifest)(torch.tensor([[1, 7, 2, 3]])), "Id 7 is not a row of a table of 7"),
        (lambda: made(manifest)(torch.tensor([[1, 6, -1, 3]])), "Id -1 is not a row"),
        (
            lambda: made(manifest)(torch.tensor([1, 2, 3])),
            "3 bags do not make a batch of 4 features",
        ),
        (lambda: made(manifest)(torch.arange(4), torch.arange(5) * 2), "offsets end at 8"),
        (lambda: made(manifest)(torch.arange(4), torch.arange(1, 6)), "offsets must begin at 0"),
        (
            lambda: made(manifest)(torch.arange(4), torch.tensor([0, 2, 1, 3, 4])),
            "offsets must begin at 0 and never fall",
        ),
        (lambda: made(manifest).of_keyed(Keyed(["a"], [[1]])), "no feature 'b'"),
        (
            lambda: made(manifest, features=["a"]).of_keyed(
                Keyed(["a"], [[1]], weights=torch.ones(1))
            ),
            "have weights",
        ),
    ):
        with pytest.raises(ParameterError, match=message):
            make()
    assert made(mixed, features=["a"]).dim == 8


def test_the_example_learns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shape = Shape(hot=3000, cold=3000, eval_rows=1000, group=1000)
    write_dataset(tmp_path / "data", shape)
    monkeypatch.syspath_prepend(ROOT / "examples")
    import dcn

    measures = dcn.train(str(tmp_path / "data"), epochs=4, batch_size=64, device="cpu")
    assert measures[-1] < 0.6 < measures[0]


def test_an_empty_batch_has_no_vectors(tmp_path: Path) -> None:
    embedding = made(write_dataset(tmp_path / "data", RAGGED))
    nothing = torch.empty(0, dtype=torch.int64)
    assert embedding(nothing).shape == (0, 4, 4)
    assert embedding(nothing, torch.zeros(1, dtype=torch.int64)).shape == (0, 4, 4)


def test_gradients_without_a_step_hold_no_more_than_the_tables(tmp_path: Path) -> None:
    manifest = write_dataset(tmp_path / "data", Shape())
    embedding = made(manifest, optimizer="sgd")
    rows = HotColdOptimizer(embedding, lr=0.1)
    bags = Bags(manifest, embedding, "sgd")
    batches = list(HotColdLoader(tmp_path / "data", batch_size=8)) * 3
    for batch in batches:
        loss_of(embedding.of(batch), batch.label).backward()
        loss_of(bags(batch.ids, batch.offsets), batch.label).backward()
    held = sum(gradient.numel() for _, gradient in embedding._arrived)
    assert held < sum(table.rows for table in manifest.tables) * 4 + 8 * (8 * 4 * 4)
    rows.step()
    bags.step(0.1)
    assert_tables(embedding, bags)
    embedding.of(batches[0]).sum().backward()
    nn.ModuleDict({"rows": embedding})["rows"].zero_grad()
    assert not embedding._arrived


def test_a_scaled_loss_teaches_what_a_plain_one_does(tmp_path: Path) -> None:
    manifest = write_dataset(tmp_path / "data", Shape())
    batches = list(HotColdLoader(tmp_path / "data", batch_size=16))[:4]
    ends = []
    for scaled in (True, False):
        embedding, top = made(manifest), nn.Linear(16, 1).double()
        nn.init.constant_(top.weight, 0.1)
        nn.init.zeros_(top.bias)
        optimizers = [HotColdOptimizer(embedding, lr=0.3), torch.optim.SGD(top.parameters(), 0.1)]
        scaler = torch.amp.GradScaler("cpu", init_scale=2.0**10, enabled=scaled)
        for number, batch in enumerate(batches):
            logit = top(embedding.of(batch).flatten(1)).squeeze(1)
            loss = nn.functional.binary_cross_entropy_with_logits(logit, batch.label.double())
            if number == 2:
                loss = loss * torch.inf  # such a step is skipped
                if not scaled:
                    continue
            for optimizer in optimizers:
                optimizer.zero_grad()
            scaler.scale(loss).backward()
            for optimizer in optimizers:
                scaler.step(optimizer)
            scaler.update()
        ends.append(embedding.tables.rows())
    torch.testing.assert_close(*ends, **EXACT)


def test_unscaling_beforehand_is_refused(tmp_path: Path) -> None:
    embedding = made(write_dataset(tmp_path / "data", Shape()))
    rows = HotColdOptimizer(embedding, lr=0.3)
    scaler = torch.amp.GradScaler("cpu")
    scaler.scale(embedding(torch.zeros((2, 4), dtype=torch.int64)).sum()).backward()
    scaler.unscale_(rows)
    with pytest.raises(ParameterError, match="Do not call unscale_ for HotColdOptimizer"):
        scaler.step(rows)


def look_up_many(embedding: HotColdEmbedding) -> None:
    embedding(torch.zeros((20_000, 4), dtype=torch.int64))
    embedding(torch.arange(40_000).remainder(7).view(-1, 4))


def test_a_forked_process_looks_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With threads of its own: those of its parent are not there."""
    monkeypatch.setattr("fae_trainer.embedding.shard._ROWS_PER_THREAD", 2)
    embedding = made(write_dataset(tmp_path / "data", Shape()))
    look_up_many(embedding)
    process = multiprocessing.get_context("fork").Process(target=look_up_many, args=(embedding,))
    process.start()
    process.join(60)
    assert process.exitcode == 0


@pytest.mark.usefixtures("cuda")
def test_cuda_agrees_with_the_cpu(tmp_path: Path) -> None:
    manifest = write_dataset(tmp_path / "data", RAGGED)
    tables = []
    for device in ("cpu", "cuda"):
        embedding = made(manifest, device=device)
        rows = HotColdOptimizer(embedding, lr=0.3)
        for batch in HotColdLoader(tmp_path / "data", batch_size=16, device=device):
            loss_of(embedding.of(batch), batch.label.to(device)).backward()
            rows.step()
        tables.append(embedding.tables.rows())
    for name, rows_of in tables[0].items():
        torch.testing.assert_close(tables[1][name], rows_of)


def test_rows_that_no_memory_here_can_hold_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest = write_dataset(tmp_path / "data", Shape())
    size = 127 * (4 + 1) * 4  # of each row, its elements and one number of state
    monkeypatch.setattr(memory, "read_most_memory", lambda: size)
    HotColdEmbedding(manifest)
    monkeypatch.setattr(memory, "read_most_memory", lambda: size - 1)
    with pytest.raises(ParameterError, match=r"embedding rows .*, their optimizer state"):
        HotColdEmbedding(manifest)
