"""Rows learn as torch's optimisers teach, are copied and frozen like parameters, and say so."""

from __future__ import annotations

import copy
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from fae.format.errors import ParameterError
from fae.format.manifest import Manifest
from fae_trainer.embedding.distributed import Ranks
from fae_trainer.embedding.module import HotColdEmbedding
from fae_trainer.embedding.optimizers import RowStep, rowwise_adagrad
from fae_trainer.embedding.row_optimizer import HotColdOptimizer
from tests.support.trainer_data import RAGGED, Shape, write_dataset
from tests.support.trainer_runs import assert_same

EXACT = {"rtol": 1e-12, "atol": 1e-14}
IDS = torch.arange(4).expand(3, 4)
#: Every row of the small tables, some of them several times.
ALL_IDS = torch.arange(50)[:, None] % torch.tensor([50, 7, 30, 40])


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("rows") / "data"
    write_dataset(path, Shape())
    return path


@pytest.fixture(scope="module")
def manifest(data: Path) -> Manifest:
    return Manifest.read(data)


def made(manifest: Manifest, **given: Any) -> HotColdEmbedding:
    return HotColdEmbedding(manifest, dtype=torch.float64, **given)


def loss_of(vectors: Tensor) -> Tensor:
    return (vectors * torch.arange(16.0).cos().view(4, 4) + vectors.square()).sum()


def step_on(embedding: HotColdEmbedding, rows: torch.optim.Optimizer, ids: Tensor) -> None:
    rows.zero_grad()
    loss_of(embedding(ids)).backward()
    rows.step()


@pytest.mark.parametrize("decay", [0.0, 0.1])
@pytest.mark.parametrize(
    ("name", "rule"),
    [("sgd", torch.optim.SGD), ("adagrad", torch.optim.Adagrad), ("adam", torch.optim.Adam)],
)
def test_where_all_rows_take_part_the_rules_are_those_of_torch(
    manifest: Manifest, name: str, rule: type[torch.optim.Optimizer], decay: float
) -> None:
    embedding = made(manifest, optimizer=name)
    weights = [nn.Parameter(rows) for rows in embedding.tables.rows().values()]
    given = {"lr": 0.05, "weight_decay": decay, **({} if name == "sgd" else {"eps": 1e-5})}
    rows, expected = HotColdOptimizer(embedding, **given), rule(weights, **given)
    for _ in range(3):
        step_on(embedding, rows, ALL_IDS)
        expected.zero_grad()
        pairs = zip(ALL_IDS.unbind(1), weights, strict=True)
        loss_of(torch.stack([weight[ids] for ids, weight in pairs], 1)).backward()
        expected.step()
    for found, weight in zip(embedding.tables.rows().values(), weights, strict=True):
        torch.testing.assert_close(found, weight.detach(), **EXACT)


def test_adam_on_some_rows_is_that_of_sparse_gradients(manifest: Manifest) -> None:
    embedding = made(manifest, optimizer="adam", features=["a"])
    bag = nn.Embedding.from_pretrained(embedding.tables.rows()["a"], freeze=False, sparse=True)
    expected = torch.optim.SparseAdam(bag.parameters(), lr=0.05, eps=1e-30)
    rows = HotColdOptimizer(embedding, lr=0.05, eps=1e-30)
    for ids in (torch.tensor([[3], [40]]), torch.tensor([[40], [7]]), torch.tensor([[3], [3]])):
        for forward, optimizer in ((embedding, rows), (bag, expected)):
            optimizer.zero_grad()
            forward(ids).square().sum().backward()
            optimizer.step()
    torch.testing.assert_close(embedding.tables.rows()["a"], bag.weight.detach(), **EXACT)


@pytest.mark.parametrize("name", ["sgd", "rowwise_adagrad", "adagrad", "adam"])
def test_a_saved_state_goes_on(manifest: Manifest, name: str, tmp_path: Path) -> None:
    whole = made(manifest, optimizer=name)
    rows = HotColdOptimizer(whole, lr=0.3, eps=1e-4, weight_decay=0.01, betas=(0.8, 0.9))
    step_on(whole, rows, ALL_IDS)
    torch.save((whole.state_dict(), rows.state_dict()), tmp_path / "state.pt")
    step_on(whole, rows, IDS)
    part = made(manifest, optimizer=name, seed=9, hot_rows={"a": 0})
    after = HotColdOptimizer(part, lr=1.0)
    of_rows, of_states = torch.load(tmp_path / "state.pt", weights_only=True)
    part.load_state_dict(of_rows)
    after.load_state_dict(of_states)
    step_on(part, after, IDS)
    # Rows lie elsewhere than in the whole, and a fused multiplication rounds once.
    torch.testing.assert_close(part.tables.rows(), whole.tables.rows(), **EXACT)
    torch.testing.assert_close(part.tables.states(), whole.tables.states(), **EXACT)


def test_rowwise_adagrad_enlarges_rounding() -> None:
    """A first gradient that is rounding alone becomes half a step of the learning rate."""
    ends = []
    for gradient in (1e-8, -1e-8):
        rows, state = torch.zeros(1, 4), torch.zeros(1, 1)
        rowwise_adagrad(rows, state, torch.full((1, 4), gradient), RowStep(rate=0.02))
        ends.append(rows[0, 0].item())
    assert ends == pytest.approx([-0.01, 0.01])


def test_a_state_of_another_rule_is_refused(manifest: Manifest) -> None:
    state = HotColdOptimizer(made(manifest), lr=0.3).state_dict()
    with pytest.raises(ParameterError, match=r"is \(50, 1\), and this optimiser's is \(50, 8\)"):
        HotColdOptimizer(made(manifest, optimizer="adam"), lr=0.3).load_state_dict(state)
    with pytest.raises(ParameterError, match="weight_decay -1"):
        HotColdOptimizer(made(manifest), lr=0.3, weight_decay=-1)


@pytest.mark.parametrize("way", [copy.deepcopy, lambda both: pickle.loads(pickle.dumps(both))])
def test_a_copy_learns_by_itself(manifest: Manifest, way: Any) -> None:
    model = nn.ModuleDict({"rows": made(manifest)})
    rows = HotColdOptimizer(model["rows"], lr=0.3)
    step_on(model["rows"], rows, ALL_IDS)
    loss_of(model["rows"](IDS)).backward()  # a gradient that the copy does not get
    other, other_rows = way((model, rows))
    before = other["rows"].tables.rows()
    rows.step()
    assert_same(other["rows"].tables.rows(), before)
    other_rows.step()
    assert_same(other["rows"].tables.rows(), before)
    step_on(other["rows"], other_rows, IDS)
    assert_same(other["rows"].tables.rows(), model["rows"].tables.rows())
    assert_same(other_rows.state_dict()["state"], rows.state_dict()["state"])


def test_rows_of_several_processes_are_not_copied(manifest: Manifest) -> None:
    embedding = made(manifest)
    embedding.tables._ranks = Ranks(0, 2)
    with pytest.raises(ParameterError, match="belong to 2 processes together"):
        copy.deepcopy(embedding)


def test_frozen_rows_neither_learn_nor_hold_anything(manifest: Manifest) -> None:
    model = nn.ModuleDict({"rows": made(manifest), "top": nn.Linear(16, 1).double()})
    embedding = model["rows"]
    rows, before = HotColdOptimizer(embedding, lr=0.3), embedding.tables.rows()
    model.requires_grad_(False)
    assert not embedding(IDS).requires_grad
    model["top"].requires_grad_(True)
    model["top"](embedding(IDS).flatten(1)).sum().backward()
    rows.step()
    assert not embedding._arrived
    assert_same(embedding.tables.rows(), before)
    model.requires_grad_(True)
    step_on(embedding, rows, IDS)
    assert not torch.equal(embedding.tables.rows()["a"], before["a"])


def test_gradients_that_nobody_takes_are_not_kept_and_this_is_told(manifest: Manifest) -> None:
    embedding = made(manifest)
    with pytest.warns(UserWarning, match="nothing updates them. Make its HotColdOptimizer"):
        loss_of(embedding(IDS)).backward()
    assert not embedding._arrived


# torch looks at the gradient of an input of its own graph.
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor")
@pytest.mark.filterwarnings("ignore:Guards may run slower on Python 3.13.0")
def test_a_compiled_model_learns_what_it_learns_without(manifest: Manifest) -> None:
    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.rows, self.scale = made(manifest), nn.Parameter(torch.ones(4, 4).double())

        def forward(self, ids: Tensor) -> Tensor:
            return loss_of(torch.sin(self.rows(ids * 1) * self.scale))

    ends = []
    for prepare in (lambda model: model, lambda model: torch.compile(model, backend="aot_eager")):
        model = Model()
        optimizers = [HotColdOptimizer(model.rows, lr=0.3), torch.optim.SGD([model.scale], 0.1)]
        run = prepare(model)
        for ids in (ALL_IDS, IDS, IDS[:1], ALL_IDS):
            for optimizer in optimizers:
                optimizer.zero_grad()
            run(ids).backward()
            for optimizer in optimizers:
                optimizer.step()
        ends.append({**model.rows.tables.rows(), "scale": model.scale.detach()})
    torch.testing.assert_close(*ends, **EXACT)


def test_pretrained_vectors_come_to_the_rows_of_their_values(
    data: Path, manifest: Manifest, tmp_path: Path
) -> None:
    embedding = made(manifest)
    before = embedding.tables.rows()
    vectors = torch.arange(12.0).view(3, 4)
    embedding.load_pretrained(data, "a", ["a41", "a3", "a10"], vectors)
    rows = embedding.tables.rows()
    assert torch.equal(rows["a"][[41, 3, 10]], vectors.double())
    rest = [number for number in range(50) if number not in (41, 3, 10)]
    assert torch.equal(rows["a"][rest], before["a"][rest])
    assert_same({**rows, "a": before["a"]}, before)
    other = tmp_path / "other"
    write_dataset(other, RAGGED)
    for given, message in (
        ((data, "x", ["x1"], vectors[:1]), "no table 'x'"),
        ((data, "a", ["a1", "new"], vectors[:2]), "1 values are not in the vocabulary.*'new'"),
        ((data, "a", ["a1", "a1"], vectors[:2]), "'a1' of table a is given twice"),
        ((data, "a", [1], vectors[:1]), "of table a are of type"),
        ((data, "a", ["a1"], vectors), r"vectors are \(3, 4\), and 1 values of a need \(1, 4\)"),
        ((other, "a", ["a1"], vectors[:1]), "another data set"),
    ):
        with pytest.raises(ParameterError, match=message):
            embedding.load_pretrained(*given)
