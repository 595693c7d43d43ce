"""Replay a computation as a CUDA graph, and have a second stream work beside the first.

A GPU finishes a small batch before the host has launched its kernels one by one; a graph launches
them together.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable

import torch
from torch import Tensor

from fae.format.errors import FaeError

#: Calls before a graph is captured: kernels are compiled and libraries set up in them.
_WARM_UP_CALLS = 2


class Graphs:
    """The graphs of a computation on fixed arrays, one for each key."""

    def __init__(self, enabled: bool, count_step: Callable[[], None]) -> None:
        """Make it without a graph; `count_step` does what a replay leaves out on the host."""
        self._enabled = enabled
        self._count_step = count_step
        self._calls = 0
        self._made: dict[Hashable, tuple[torch.cuda.CUDAGraph, Tensor]] = {}

    def run(self, key: Hashable, compute: Callable[[], Tensor]) -> Tensor:
        """Return what `compute` returns, by a graph if enabled, once it is captured.

        The next call may overwrite the result.
        """
        self._calls += 1
        if not self._enabled or self._calls <= _WARM_UP_CALLS:
            return compute()
        if key in self._made:
            self._count_step()
        else:
            self._made[key] = self._capture(compute)
        graph, result = self._made[key]
        graph.replay()
        return result

    def _capture(self, compute: Callable[[], Tensor]) -> tuple[torch.cuda.CUDAGraph, Tensor]:
        """Capture the computation without running it; other threads are not affected."""
        graph = torch.cuda.CUDAGraph()
        pool = next((made.pool() for made, _ in self._made.values()), None)
        try:
            with torch.cuda.graph(graph, pool=pool, capture_error_mode="thread_local"):
                result = compute()
        except RuntimeError as error:
            reason = str(error).splitlines()[0]
            raise FaeError(
                f"Cannot capture the step in a CUDA graph ({reason}). Use --no-cuda-graph."
            ) from error
        return graph, result


class Beside:
    """Work on a second stream, beside that of the current one until both join."""

    def __init__(self, device: torch.device) -> None:
        """Make the stream; the CPU has none, and works in the order of the program."""
        self._stream = (
            torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
            if device.type == "cuda"
            else None
        )

    def start(self, work: Callable[[], None]) -> None:
        """Do the work after all that the current stream has been given so far."""
        if self._stream is None:
            work()
            return
        self._stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self._stream):
            work()

    def join(self) -> None:
        """Have the current stream wait for the work."""
        if self._stream is not None:
            torch.cuda.current_stream().wait_stream(self._stream)
