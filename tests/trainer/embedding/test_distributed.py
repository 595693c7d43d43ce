"""Several processes train as one does: real processes, which exchange by gloo."""

from __future__ import annotations

import itertools
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing

from fae.format.errors import ParameterError
from fae.format.manifest import Manifest
from fae_trainer.__main__ import main
from fae_trainer.data import leaf_reader
from fae_trainer.data.batches import Batch
from fae_trainer.data.loader import HotColdLoader
from fae_trainer.data.sharing import share_windows
from fae_trainer.embedding.distributed import ALONE, Ranks, sum_by_row
from fae_trainer.embedding.module import HotColdEmbedding
from fae_trainer.embedding.row_optimizer import HotColdOptimizer
from fae_trainer.model.recommender import Recommender
from fae_trainer.parameters import resolve_parameters
from fae_trainer.run import checkpoint, train
from fae_trainer.run.train import open_loaders, schedule_epoch
from tests.support import quick_scans  # noqa: F401
from tests.support.forked import CONTEXT, forked
from tests.support.project import PYTHONPATH, ROOT
from tests.support.trainer_batches import epoch_batches
from tests.support.trainer_data import RAGGED, SEVERAL_DIMS, Shape, write_dataset
from tests.support.trainer_runs import OPTIONS, run, state

#: Few batches of each temperature, the last of which is smaller.
SHAPES = {
    name: replace(shape, hot=min(shape.hot, 24), cold=min(shape.cold, 40))
    for name, shape in {
        "plain": Shape(wide_ids=True),
        "ragged": RAGGED,
        "all hot": Shape(tables={"a": (50, 50), "b": (7, 7), "c": (30, 30), "d": (40, 40)}, cold=0),
        "none hot": Shape(tables={"a": (50, 0), "b": (7, 0), "c": (30, 0), "d": (40, 0)}, hot=0),
        "dims": SEVERAL_DIMS,
    }.items()
}
#: Shape, placement, optimiser, batch size, and whether devices share the cold rows; batches of 2
#: leave one of three ranks without samples.
CASES = [
    *itertools.product(SHAPES, ["hot-cold"], ["sgd", "rowwise_adagrad"], [16], [False]),
    *itertools.product(["ragged"], ["gpu", "hybrid", "cpu"], ["rowwise_adagrad"], [16], [False]),
    ("plain", "hot-cold", "rowwise_adagrad", 2, False),
]
BY_DEVICE = [
    ("plain", "hot-cold", "rowwise_adagrad", 15, True),
    ("ragged", "uva", "rowwise_adagrad", 16, True),
    ("plain", "gpu", "sgd", 2, True),
    ("dims", "hot-cold", "rowwise_adagrad", 16, True),
]
WIDTHS = {"bottom_mlp": (8, 4), "top_mlp": (8, 1), "device": "cpu", "dtype": "float64"}


def in_processes(work: Callable[..., Any], size: int, tmp: Path, *given: Any) -> list[Any]:
    """Return what `work(ranks, *given)` returns in each of `size` processes."""
    torch.multiprocessing.start_processes(
        _process, (size, tmp, work, given), nprocs=size, start_method=CONTEXT.get_start_method()
    )
    return [torch.load(tmp / f"rank-{rank}", weights_only=False) for rank in range(size)]


def _process(
    rank: int, size: int, tmp: Path, work: Callable[..., Any], given: tuple[Any, ...]
) -> None:
    torch.set_num_threads(1)
    os.environ["LOCAL_WORLD_SIZE"] = str(size)  # as torchrun sets it
    meeting = f"file://{tmp / f'meeting-{work.__name__}'}"
    dist.init_process_group("gloo", init_method=meeting, rank=rank, world_size=size)
    torch.save(work(Ranks(rank, size), *given), tmp / f"rank-{rank}")
    dist.destroy_process_group()


def trained(
    ranks: Ranks, data: Path, placement: str, optimizer: str, batch_size: int, by_device: bool
) -> dict[str, Any]:
    """Train an epoch; return losses, logits, the tables, and this rank's own values."""
    manifest = Manifest.read(data)
    chosen = {**WIDTHS, "placement": placement, "optimizer": optimizer, "batch_size": batch_size}
    p = resolve_parameters({"data": str(data), "out": "", **chosen}, manifest)
    recommender = Recommender(manifest, p, ranks, by_device=by_device and ranks.size > 1)
    recommender.initialise(1)
    order = schedule_epoch(manifest, p, 0)
    given = list(epoch_batches(data, manifest, batch_size, order, 0))
    if by_device:
        given = given[-4:]  # the interpreter is slow
    with recommender.prefetch(given, 4) as ahead:
        losses = [recommender.step(*pair) for pair in ahead]
    tables = recommender.tables
    scored = recommender.plan(given)
    return {
        "losses": torch.stack(losses),
        "logits": torch.cat([recommender.logits(*pair) for pair in scored]),
        "rows": tables.rows(),
        "states": tables.states(),
        "replica": [
            *(part for group in tables.groups for part in (group.hot.rows, group.hot.state)),
            *recommender.network.state_dict().values(),
        ],
        "cold": [len(group.cold.rows) for group in tables.groups],
    }


def all_trained(ranks: Ranks, root: Path, cases: Sequence[Any]) -> list[dict[str, Any]]:
    return [trained(ranks, root / name, *rest) for name, *rest in cases]


@pytest.mark.parametrize("cases", [CASES, BY_DEVICE], ids=["by host", "by device"])
def test_processes_equal_one_on_the_whole_batch(tmp_path: Path, cases: Sequence[Any]) -> None:
    for name, shape in SHAPES.items():
        write_dataset(tmp_path / name, shape)
    found = in_processes(all_trained, 3, tmp_path, tmp_path, cases)
    for number, (case, expected) in enumerate(
        zip(cases, all_trained(ALONE, tmp_path, cases), strict=True)
    ):
        ranks = [one[number] for one in found]
        for rank in ranks:
            assert all(map(torch.equal, rank["replica"], ranks[0]["replica"])), case
            assert torch.equal(rank["losses"], ranks[0]["losses"])
            assert torch.equal(rank["logits"], ranks[0]["logits"])
        for name in ("losses", "logits", "rows", "states"):
            one, other = {str(case): ranks[0][name]}, {str(case): expected[name]}
            torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-12)
        if cases is CASES:
            for total, *cold in zip(expected["cold"], *(r["cold"] for r in ranks), strict=True):
                assert sum(cold) == total
                assert max(cold) - min(cold) <= 1


def decoded(ranks: Ranks, data: Path, cache: str) -> tuple[int, list[tuple[Any, ...]]]:
    """Read two epochs by a run's loaders; return how many windows were decoded, and the batches."""
    windows, decode = [], leaf_reader.decode_row_groups
    leaf_reader.decode_row_groups = lambda *given: (windows.append(given), decode(*given))[1]
    manifest = Manifest.read(data)
    chosen = {"data": str(data), "out": "", "batch_size": 16, "cache": cache, "epochs": 2, **WIDTHS}
    p = resolve_parameters(chosen, manifest)
    try:
        with share_windows(ranks.rank, ranks.size, ranks.gather_objects, cache) as sharing:
            loader = open_loaders(manifest, p, ranks, sharing)["train"]
            batches = [
                (batch.hot, batch.ids.tolist(), batch.label.tolist())
                for batch in itertools.chain(loader, loader)
            ]
            ranks.gather_objects(None)  # none leaves before all have read
    finally:
        leaf_reader.decode_row_groups = decode
    return len(windows), batches


@pytest.mark.skipif(not os.access("/dev/shm", os.W_OK), reason="no memory to share")
@pytest.mark.parametrize("cache", ["none", "auto"])
def test_processes_decode_a_part_each_of_what_one_decodes(tmp_path: Path, cache: str) -> None:
    write_dataset(tmp_path / "data", RAGGED)
    windows, expected = decoded(ALONE, tmp_path / "data", cache)
    found = in_processes(decoded, 2, tmp_path, tmp_path / "data", cache)
    for (hot, ids, labels), *parts in zip(expected, *(b for _, b in found), strict=True):
        assert [kind for kind, _, _ in parts] == [hot, hot]
        assert [*parts[0][1], *parts[1][1]] == ids
        assert [*parts[0][2], *parts[1][2]] == labels
    assert sum(count for count, _ in found) == windows
    assert windows == (8 if cache == "none" else 4)


def interrupted(ranks: Ranks, data: Path, out: Path, stop: int, given: dict[str, Any]) -> str:
    """Start a run that is stopped before a step; return why it ended."""
    step, steps = Recommender.step, 0

    def broken(*arguments: Any) -> torch.Tensor:
        nonlocal steps
        steps += 1
        if steps > stop:
            raise KeyboardInterrupt
        return step(*arguments)

    train.Recommender.step = broken  # type: ignore[method-assign]
    try:
        run(data, out, **given)
    except KeyboardInterrupt:
        return "interrupted"
    return f"rank {ranks.rank} was not stopped"


def torchrun(size: int, *arguments: str) -> subprocess.CompletedProcess[str]:
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(size)]
    return subprocess.run(
        [sys.executable, *launch, "-m", "fae_trainer", *arguments],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": PYTHONPATH, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def test_a_run_resumes_with_another_number_of_processes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    schedule, stop = "adaptive", 10
    data = tmp_path / "data"
    write_dataset(data, replace(RAGGED, hot=45, cold=70, eval_rows=16))
    given = {"epochs": 2, "eval_every": 4, "schedule": schedule, "dtype": "float64"}
    whole = run(data, tmp_path / "whole", **given)
    broken = {**given, "checkpoint_every": 3}
    why = in_processes(interrupted, 2, tmp_path, data, tmp_path / "two", stop, broken)
    assert why == ["interrupted"] * 2
    with monkeypatch.context() as patch:
        patch.setattr(train.Recommender, "step", Recommender.step)  # restored afterwards
        assert interrupted(ALONE, data, tmp_path / "one", stop, broken) == "interrupted"
    assert checkpoint.load(tmp_path / "two").history["step"] == stop // 3 * 3
    done = torchrun(2, "train", str(data), "--out", str(tmp_path / "one"), "--resume")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("log loss") == 1
    run(data, tmp_path / "two", resume=True)
    expected = state(tmp_path / "whole")
    for name in ("one", "two"):
        found = state(tmp_path / name)
        assert found["history"]["step"] == whole["steps"]
        for part in ("rows", "states", "network"):
            torch.testing.assert_close(found[part], expected[part], rtol=1e-10, atol=1e-12)
        curve = [point[2:] for point in found["history"]["curve"]]
        wanted = [point[2:] for point in expected["history"]["curve"]]
        found_curve, wanted_curve = torch.tensor([curve, wanted], dtype=torch.float64)
        torch.testing.assert_close(found_curve, wanted_curve, rtol=1e-10, atol=0)
        names = {path.name for path in (tmp_path / name).iterdir()}
        assert names == {"checkpoint.pt", "metrics.json", "curve.csv", "parameters.json"}


def refusal(ranks: Ranks, data: Path, out: Path) -> list[str]:
    reasons = []
    for given in ({"placement": "fae"}, {"seed": ranks.rank}):
        with pytest.raises(ParameterError) as caught:
            run(data, out, **given)
        reasons.append(str(caught.value))
    return reasons


def test_what_processes_cannot_do_is_refused_by_all(tmp_path: Path) -> None:
    write_dataset(tmp_path / "data", RAGGED)
    for fae, seed in in_processes(refusal, 2, tmp_path, tmp_path / "data", tmp_path / "run"):
        assert "fae needs a single process, and there are 2." in fae
        assert "The processes differ in seed: 0, 1." in seed
    assert not (tmp_path / "run").exists()


def train_as_rank(arguments: list[str]) -> None:
    """Run the trainer as torchrun does, which sets a process's rank in its environment."""
    sys.exit(main(arguments))


def test_an_error_of_one_process_ends_them_all(tmp_path: Path) -> None:
    write_dataset(tmp_path / "data", RAGGED)
    (tmp_path / "file").write_text("")
    out = str(tmp_path / "file" / "run")  # which the first process alone tries to make
    arguments = ["train", str(tmp_path / "data"), "--out", out, *OPTIONS]
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        meeting = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free.getsockname()[1])}
    with ExitStack() as ends:
        processes = [
            ends.enter_context(
                forked(
                    train_as_rank,
                    arguments,
                    errors=tmp_path / f"errors-{rank}",
                    environment={"RANK": str(rank), "WORLD_SIZE": "2", **meeting},
                )
            )
            for rank in range(2)
        ]
        assert [process.wait(60) for process in processes] == [1, 1]
    assert f"error: Not a directory: {out}" in processes[0].errors
    assert "error: The connection" in processes[1].errors
    assert "RuntimeError" not in "".join(process.errors for process in processes)


@pytest.mark.parametrize("samples", [1, 3, 4, 17])
@pytest.mark.parametrize("offsets", [False, True])
def test_parts_make_the_batch(samples: int, offsets: bool) -> None:
    ids = torch.arange(samples * 2)
    bounds = torch.arange(samples * 2 + 1) if offsets else None
    batch = Batch(torch.arange(samples).float(), torch.zeros(samples, 1), ids, bounds, hot=True)
    parts = [Ranks(rank, 4).local_part(batch) for rank in range(4)]
    shares = [Ranks(rank, 4).share(batch) for rank in range(4)]
    assert sum(shares) == 1
    assert all(len(part) for part in parts)
    counted = [part for part, share in zip(parts, shares, strict=True) if share]
    assert torch.equal(torch.cat([part.label for part in counted]), batch.label)
    assert torch.equal(torch.cat([part.ids for part in counted]), batch.ids)
    assert [len(part) / samples for part in counted] == [share for share in shares if share]


def test_gradients_are_added_in_the_order_of_pieces() -> None:
    big = torch.tensor([[1e16]], dtype=torch.float64)
    one = torch.ones((1, 1), dtype=torch.float64)
    row = torch.tensor([5])
    rows, sums = sum_by_row(
        [(row, big), (row, -big), (torch.tensor([5, 3]), torch.cat([one, 2 * one]))]
    )
    assert rows.tolist() == [3, 5]
    assert sums.flatten().tolist() == [2.0, 1.0]
    assert sum_by_row([(row, big), (row, one), (row, -big)])[1].item() == 0.0


def module_steps(ranks: Ranks, data: Path, processes: str | None) -> dict[str, Any]:
    """Train rows on this rank's batches; return the tables, or the error."""
    embedding = HotColdEmbedding(Manifest.read(data), dtype=torch.float64)
    optimizer = HotColdOptimizer(embedding, lr=0.3, processes=processes)
    batches = list(HotColdLoader(data, batch_size=16, shuffle=False))[: 2 * ranks.size]
    for number, batch in enumerate(batches[ranks.rank :: ranks.size]):
        if number or ranks.rank:  # the first rank has no gradient in the first step
            embedding.of(batch).square().sum().backward()
        try:
            optimizer.step()
        except ParameterError as error:
            return {"error": str(error)}
    return embedding.tables.rows()


def module_runs(ranks: Ranks, data: Path) -> list[dict[str, Any]]:
    return [module_steps(ranks, data, processes) for processes in ("average", "alone", None)]


def test_rows_of_a_module_are_averaged_or_each_ranks_own_or_refused(tmp_path: Path) -> None:
    write_dataset(tmp_path / "data", RAGGED)
    ranks = in_processes(module_runs, 2, tmp_path, tmp_path / "data")
    (averaged, other), (alone, own), errors = zip(*ranks, strict=True)
    for name, rows in averaged.items():
        assert torch.equal(rows, other[name])
    assert any(not torch.equal(rows, own[name]) for name, rows in alone.items())
    for found in errors:
        assert "2 processes train" in found["error"]
        assert "processes='average'" in found["error"]
    # Averaged rows are those of the mean gradient.
    embedding = HotColdEmbedding(Manifest.read(tmp_path / "data"), dtype=torch.float64)
    optimizer = HotColdOptimizer(embedding, lr=0.3)
    batches = list(HotColdLoader(tmp_path / "data", batch_size=16, shuffle=False))[:4]
    for step in (batches[1:2], batches[2:4]):
        sum(embedding.of(batch).square().sum() / 2 for batch in step).backward()
        optimizer.step()
    torch.testing.assert_close(averaged, embedding.tables.rows(), rtol=1e-12, atol=1e-14)
