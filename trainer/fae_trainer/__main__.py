"""Train on a prepared data set: `python -m fae_trainer train DIR --out RUN`; see --help."""

from __future__ import annotations

import importlib
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fae.format.errors import FaeError, explain_error
from fae.format.signals import Terminated, signals_deferred, terminate_on_sigterm
from fae_trainer.arguments import parser


def main(argv: Sequence[str] | None = None, prog: str = "python -m fae_trainer") -> int:
    """Run a command; the exit code: 0 done, 1 a user's error, 130 interrupted.

    A usage error exits with 2 and SIGTERM with 143, both by SystemExit.
    """
    given = vars(parser(prog).parse_args(argv))
    commands = {
        "train": _train,
        "evaluate": _evaluate,
        "import": _import,
        "bench-device": _bench_device,
    }
    command = commands[given.pop("command")]
    try:
        with terminate_on_sigterm():
            with signals_deferred():  # an exception in this import may be lost, or end the process
                importlib.import_module("torch")
            command(given)
    except FaeError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except (ImportError, MemoryError, OSError, RuntimeError) as error:
        told = explain_error(error)
        if told is None:
            raise
        print(f"error: {told}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted; the last checkpoint remains", file=sys.stderr)
        return 130
    except Terminated as terminated:
        print("terminated; the last checkpoint remains", file=sys.stderr)
        raise SystemExit(terminated.code) from None  # which `fae` does not report once more
    return 0


def _train(given: dict[str, Any]) -> None:
    from fae_trainer.run.checkpoint import FILE_NAME
    from fae_trainer.run.progress import summary
    from fae_trainer.run.train import CURVE, METRICS, train

    flags = {name: given.pop(name, False) for name in ("resume", "overwrite", "quiet")}
    metrics = train(given, **flags)
    if not flags["quiet"] and os.environ.get("RANK", "0") == "0":
        run = Path(given["out"])
        names = {"checkpoint": FILE_NAME, "metrics": METRICS, "curve": CURVE}
        print(summary(metrics, {name: str(run / file) for name, file in names.items()}))


def _evaluate(given: dict[str, Any]) -> None:
    from fae_trainer.run.evaluate import evaluate
    from fae_trainer.run.files import write_json

    data, run, split = Path(given.pop("data")), Path(given.pop("run")), given.pop("split")
    out = Path(given.pop("out", run / f"evaluation-{split}.json"))
    measured = evaluate(data, run, split, **given)
    out.parent.mkdir(parents=True, exist_ok=True)
    write_json(out, measured)
    print(json.dumps(measured, indent=1))


def _import(given: dict[str, Any]) -> None:
    from fae_trainer.run.import_run import transfer

    former = Path(given["former"]) if "former" in given else None
    places = Path(given["run"]), Path(given["data"]), Path(given["out"])
    carried = transfer(*places, former=former, overwrite=given.get("overwrite", False))
    for table in carried:
        print(f"{table.name}: {table.known:,} of {table.rows:,} rows carried over")
    print(f"run in {given['out']}; go on: train {given['data']} --out {given['out']} --resume")


def _bench_device(given: dict[str, Any]) -> None:
    from fae_trainer.run.bench_device import measure
    from fae_trainer.run.files import write_json

    out = Path(given.pop("out"))
    profile = measure(given)
    write_json(out, profile)
    print(json.dumps(profile, indent=1))


if __name__ == "__main__":
    sys.exit(main())
