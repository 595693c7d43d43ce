"""Train a run: step on each batch, evaluate, save checkpoints, and write the results."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from fae.format.atomic_files import write_json, write_text
from fae.format.errors import DatasetError, ParameterError
from fae.format.manifest import Manifest
from fae_trainer.data.cache import choose_cache, estimate_decoded_bytes
from fae_trainer.data.loader import HotColdLoader
from fae_trainer.data.schedule import Schedule, count_batches, make_schedule
from fae_trainer.data.sharing import WindowSharing, share_windows
from fae_trainer.embedding.distributed import Ranks, join_ranks
from fae_trainer.embedding.replicated import ReplicatedTables
from fae_trainer.model.memory import count_training_bytes
from fae_trainer.model.recommender import Recommender
from fae_trainer.parameters import TrainParameters, check_row_cost, resolve_parameters
from fae_trainer.run import checkpoint
from fae_trainer.run.callbacks import Callback, is_stale
from fae_trainer.run.evaluate import PREFETCH_DEPTH, measure_split, open_split, resolve_device
from fae_trainer.run.history import History
from fae_trainer.run.lock import lock_run
from fae_trainer.run.progress import Progress
from fae_trainer.storage.dataset_folder import open_folder

METRICS = "metrics.json"
CURVE = "curve.csv"
PARAMETERS = "parameters.json"

#: Parameters in which the processes of a run may differ.
_PER_PROCESS = ("data", "out", "threads", "cache", "verify")

OUTPUTS = (checkpoint.FILE_NAME, METRICS, CURVE, PARAMETERS)


def train(
    options: Mapping[str, Any],
    resume: bool = False,
    overwrite: bool = False,
    quiet: bool = False,
    callbacks: Sequence[Callback] = (),
) -> dict[str, Any]:
    """Train a run and return its metrics, which metrics.json holds too.

    `options` maps `data`, `out` and any other names of TrainParameters, and `model`, to values;
    the others have defaults. `callbacks` follow the run, and may stop it. Under torchrun each
    process calls this, all train together, and the first one writes and calls back. Raises
    FaeError for anything that the user can fix, and OSError where `out` cannot be written; the last
    checkpoint is kept.
    """
    with join_ranks() as ranks:
        return _train(options, ranks, resume, overwrite, quiet or not ranks.is_first, callbacks)


def _train(
    options: Mapping[str, Any],
    ranks: Ranks,
    resume: bool,
    overwrite: bool,
    quiet: bool,
    callbacks: Sequence[Callback],
) -> dict[str, Any]:
    out = Path(options["out"])
    manifest = open_folder(options["data"]).read_manifest()
    saved = _load_saved(out, manifest, resume, overwrite)
    p = resolve_device(resolve_parameters(options, manifest, saved.parameters if saved else None))
    _check_splits(manifest, p)
    _check_ranks(manifest, p, saved, ranks)
    recommender, history = _start_model(manifest, p, saved, ranks)
    rows = sum(leaf.rows for leaf in manifest.splits["train"].values())
    with ExitStack() as stack:
        sharing = stack.enter_context(
            share_windows(ranks.rank, ranks.size, ranks.gather_objects, p.cache)
        )
        # Checks the files before anything is written.
        loaders = open_loaders(manifest, p, ranks, sharing)
        if ranks.is_first:
            stack.enter_context(lock_run(out))
        progress = stack.enter_context(Progress(p.epochs * rows, history.samples, quiet))
        if ranks.size > 1 and sharing is None:
            progress.note("note: each process decodes all rows; they have no memory in common.")
        if warning := check_row_cost(manifest, p):
            progress.note(f"warning: {warning}")
        run = Run(loaders, out, manifest, p, recommender, history, progress, callbacks)
        if ranks.is_first:
            start_run(out, p, overwrite)
            for callback in callbacks:
                stack.callback(callback.close)
                callback.on_start(p.to_document(), resumed=saved is not None)
        stopped = is_stale(history.curve, p.patience)
        while history.epoch < p.epochs and not stopped:
            stopped = run.train_round()
        return run.finish()


@dataclass(frozen=True)
class Run:
    """A run in progress: it reads with a loader a split, and writes to `out`."""

    loaders: Mapping[str, HotColdLoader]
    out: Path
    manifest: Manifest
    parameters: TrainParameters
    recommender: Recommender
    history: History
    progress: Progress
    callbacks: Sequence[Callback]

    def train_round(self) -> bool:
        """Train the rest of the epoch, or the part whose order is known; evaluate and save.

        Returns whether an evaluation says that the run shall stop.
        """
        p, history = self.parameters, self.history
        order = schedule_epoch(self.manifest, p, history.epoch, history.feedback)
        if history.position >= order.batches:
            raise DatasetError(
                f"{self.out / checkpoint.FILE_NAME}: history: position {history.position} is none "
                f"of an epoch of {order.batches} batches. Train again."
            )
        batches = self.loaders["train"].batches(history.epoch, order, history.position)
        with self.recommender.prefetch(batches, PREFETCH_DEPTH) as ahead:
            history.resume_clock()
            stopped = False
            for batch, plan in ahead:
                history.add(self.recommender.step(batch, plan), batch)
                self.progress.show(history)
                last = history.position == order.batches
                if last or history.step % p.eval_every == 0:
                    stopped = self.evaluate()
                if last and p.schedule == "adaptive":
                    history.add_feedback()
                ended = last and order.complete
                if ended:
                    history.next_epoch()
                due = p.checkpoint_every and history.step % p.checkpoint_every == 0
                if ended or stopped or due:
                    self.save()
                if stopped:
                    break
        return stopped

    def evaluate(self) -> bool:
        """Evaluate the valid split and add a point to the curve; return whether to stop."""
        history, ranks, patience = self.history, self.recommender.ranks, self.parameters.patience
        with history.paused():
            history.record(self._measure("valid"))
            if ranks.is_first:
                write_text(self.out / CURVE, history.curve_csv())
            stopped = is_stale(history.curve, patience)
            if stopped:
                self.progress.note(
                    f"stopped: the valid log loss fell in none of {patience} evaluations."
                )
            if self.callbacks:
                answers = [call.on_evaluation(history.curve) for call in self._own_callbacks()]
                stopped = any(ranks.gather_objects(stopped or any(answers)))
        return stopped

    def _own_callbacks(self) -> Sequence[Callback]:
        """Return the callbacks on the first process, and none on the others."""
        return self.callbacks if self.recommender.ranks.is_first else ()

    def save(self) -> None:
        """Replace the checkpoint."""
        with self.history.paused():
            parts = (self.manifest, self.parameters, self.recommender, self.history)
            checkpoint.save(self.out, *parts)

    def finish(self) -> dict[str, Any]:
        """Evaluate the valid and test splits and write metrics.json, flat as DVC wants it."""
        p, history = self.parameters, self.history
        metrics = {
            f"{split}_{name}": value
            for split in ("valid", "test")
            for name, value in self._measure(split).items()
        }
        for split in ("valid", "test"):
            if metrics[f"{split}_auc"] is None:
                self.progress.note(
                    f"{split}_auc is undefined: the split does not have both labels."
                )
        results = {
            **metrics,
            "train_logloss": history.curve[-1].train_logloss,
            "train_samples": history.samples,
            "steps": history.step,
            "epochs": history.epoch,
            "hot_share": history.hot_samples / history.samples,
            "seconds": history.seconds,
            "samples_per_second": history.samples / history.seconds,
            "placement": p.placement,
            "schedule": p.schedule,
            "device": p.device,
            "optimizer": p.optimizer,
            **dataclasses.asdict(history.traffic),
        }
        if self.recommender.ranks.is_first:
            write_text(self.out / CURVE, history.curve_csv())
            write_json(self.out / METRICS, results)
        for callback in self._own_callbacks():
            callback.on_end(results)
        return results

    def _measure(self, split: str) -> dict[str, float | None]:
        return measure_split(self.recommender, self.loaders[split])


def open_loaders(
    manifest: Manifest, p: TrainParameters, ranks: Ranks, sharing: WindowSharing | None
) -> dict[str, HotColdLoader]:
    """Return a loader for each split.

    With `cache="auto"`, the rows of a single epoch of training are not cached, and several ranks
    cache what all have room for.
    """
    data = p.data
    if ranks.size > 1 and p.cache == "auto":
        kinds = set(ranks.gather_objects(_choose_cache(manifest, p, sharing)))
        p = dataclasses.replace(p, cache=kinds.pop() if len(kinds) == 1 else "none")
    cache = "none" if p.cache == "auto" and p.epochs == 1 else p.cache
    train = HotColdLoader(
        data, "train", p.batch_size, seed=p.seed, cache=cache, device=p.batch_device,
        threads=p.threads, mixed_windows=p.mixed_windows, verify=p.verify, sharing=sharing,
        part=(ranks.rank, ranks.size),
    )  # fmt: skip
    evaluated = {split: open_split(data, split, p, sharing) for split in ("valid", "test")}
    return {"train": train, **evaluated}


def _choose_cache(manifest: Manifest, p: TrainParameters, sharing: WindowSharing | None) -> str:
    """Return the cache that one of several ranks has room for.

    On the host they keep rows once, in the memory that they share; without that, each would keep
    all rows.
    """
    if sharing is None:
        return "none"
    kind = choose_cache("auto", manifest, "train", torch.device(p.batch_device))
    size = sum(estimate_decoded_bytes(manifest, split) for split in manifest.splits)
    return "none" if kind == "host" and size > sharing.budget * sharing.size else kind


def schedule_epoch(
    manifest: Manifest, p: TrainParameters, epoch: int, feedback: Sequence[float] = ()
) -> Schedule:
    """Return the order of an epoch's batches, the same for every placement."""
    train = manifest.splits["train"]
    hot, cold = (count_batches(train[kind].rows, p.batch_size) for kind in ("hot", "cold"))
    return make_schedule(hot, cold, p.seed, epoch, p.schedule, feedback)


def _check_splits(manifest: Manifest, p: TrainParameters) -> None:
    """Raise DatasetError where the train split is empty, or the valid one that `p` needs is."""
    if not any(leaf.rows for leaf in manifest.splits["train"].values()):
        raise DatasetError(f"{p.data} has no rows to train on: its train split is empty.")
    adaptive = p.schedule == "adaptive"
    if (adaptive or p.patience) and not any(
        leaf.rows for leaf in manifest.splits["valid"].values()
    ):
        option = "--schedule adaptive" if adaptive else "--patience"
        raise DatasetError(
            f"{p.data} has no valid rows, whose loss {option} needs. Prepare it with --valid, or "
            "omit the option."
        )


def _load_saved(
    out: Path, manifest: Manifest, resume: bool, overwrite: bool
) -> checkpoint.Checkpoint | None:
    """Return the checkpoint to resume, if any; raise ParameterError where `out` holds a run."""
    if resume and overwrite:
        raise ParameterError("--resume and --overwrite exclude each other. Use one of them.")
    check_out(out, resume or overwrite)
    if not (resume and (out / checkpoint.FILE_NAME).exists()):
        return None
    saved = checkpoint.load(out)
    saved.check_data(manifest, out)
    return saved


def check_out(out: Path, may_hold_a_run: bool) -> None:
    """Raise ParameterError where `out` is a file, or holds a run and may not."""
    if out.exists() and not out.is_dir():
        raise ParameterError(f"--out {out} is a file; it must be a directory.")
    exists = (out / checkpoint.FILE_NAME).exists() or (out / METRICS).exists()
    if exists and not may_hold_a_run:
        raise ParameterError(
            f"--out {out} already holds a run. Continue it with --resume, replace it with "
            "--overwrite, or choose another directory."
        )


def _check_ranks(
    manifest: Manifest, p: TrainParameters, saved: checkpoint.Checkpoint | None, ranks: Ranks
) -> None:
    """Raise ParameterError where several processes cannot train with these parameters."""
    if ranks.size > 1 and p.placement == "fae":
        raise ParameterError(
            f"--placement fae needs a single process, and there are {ranks.size}. Use --placement "
            "hot-cold."
        )
    same = {key: value for key, value in dataclasses.asdict(p).items() if key not in _PER_PROCESS}
    step = saved.history["step"] if saved else 0
    ranks.check_same({**same, "data set": manifest.fingerprint, "step": step})


def _start_model(
    manifest: Manifest, p: TrainParameters, saved: checkpoint.Checkpoint | None, ranks: Ranks
) -> tuple[Recommender, History]:
    """Return the model and the history at the start of the run, or where it resumes."""
    beside = count_training_bytes(manifest, p, ranks)
    recommender, history = Recommender(manifest, p, ranks, beside=beside), History()
    if saved is None:
        recommender.initialise(p.seed)
    else:
        saved.restore(recommender)
        history = History.from_document(saved.history, f"{p.out}/{checkpoint.FILE_NAME}: history")
    for tables in recommender.tables.groups:
        if isinstance(tables, ReplicatedTables):
            tables.traffic = history.traffic
    return recommender, history


def start_run(out: Path, p: TrainParameters, overwrite: bool) -> None:
    """Write the parameters to the run's directory; with `overwrite`, remove a previous run."""
    out.mkdir(parents=True, exist_ok=True)
    if overwrite:
        for name in OUTPUTS:
            (out / name).unlink(missing_ok=True)
    write_json(out / PARAMETERS, p.to_document())
