"""Compare what the machines of a Dask cluster run with what this process runs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from fae.format.errors import ClusterError
from fae.format.version import __version__

#: Packages that must be the same everywhere, by the names of their modules, and what to call them.
_OTHERS = {"python": "Python", "dask": "Dask", "distributed": "distributed"}
_PROGRAM = {"fae": "fae-recsys"}

Versions = Mapping[str, Any]


def check_versions(client: Any) -> None:
    """Raise ClusterError where the scheduler or a worker lacks a package or has another version."""
    versions = client.get_versions()
    found = next(find_differences(versions, _OTHERS), None)
    if found is None:  # functions travel between equal versions of Python alone
        found = next(find_differences(_ask_for_program(client), _PROGRAM), None)
    if found:
        raise ClusterError(
            f"{found}. Install the same versions on all machines: pip install 'fae-recsys=="
            f"{__version__}', and start the cluster again."
        )


def _ask_for_program(client: Any) -> Versions:
    """Return this program's version on each machine, as `get_versions` has that of others."""

    def read_version() -> str | None:  # sent by value, since the module may be absent there
        import importlib

        try:
            return str(importlib.import_module("fae.format.version").__version__)
        except ImportError:
            return None

    workers = client.run(read_version, on_error="return")
    answers = {address: answer for address, answer in workers.items() if _is_answer(answer)}
    return {
        "client": {"packages": {"fae": __version__}},
        "scheduler": {"packages": {"fae": client.run_on_scheduler(read_version)}},
        "workers": {address: {"packages": {"fae": answer}} for address, answer in answers.items()},
    }


def _is_answer(answer: object) -> bool:
    """Return whether a worker answered; one that dies meanwhile is no longer of the cluster."""
    return answer is None or isinstance(answer, str)


def find_differences(versions: Versions, names: Mapping[str, str]) -> Iterator[str]:
    """Yield which of some packages differ, by machine, in what Dask's `get_versions` returns."""
    own = versions["client"]["packages"]
    machines = {"the scheduler": versions["scheduler"]}
    machines |= {f"the worker {address}": found for address, found in versions["workers"].items()}
    for machine, found in machines.items():
        packages = found["packages"]
        for package, name in names.items():
            here, there = _shorten(package, own[package]), _shorten(package, packages.get(package))
            if there is None:
                yield f"{machine} lacks {name}, and this machine has {name} {here}"
            elif here != there:
                yield f"{machine} has {name} {there}, and this machine has {name} {here}"


def _shorten(package: str, version: str | None) -> str | None:
    """Return a version; of Python the first two parts, as the others make no difference."""
    return ".".join(version.split(".")[:2]) if version and package == "python" else version
