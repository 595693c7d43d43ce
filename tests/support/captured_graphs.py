"""CUDA graphs of a simulated device: operators that are noted, and run again by a replay."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves

from tests.support.stream_clocks import MACHINE, Stream, streaming


def memory(tensor: Tensor) -> int:
    """Return the address of a tensor's memory, or 0 if it has none."""
    return tensor.untyped_storage().data_ptr()


def whole(tensor: Tensor) -> Tensor:
    """Return all of a tensor's memory as a tensor."""
    return torch.empty(0, dtype=tensor.dtype).set_(tensor.untyped_storage())


@dataclass(eq=False)
class Graph:
    """torch.cuda.CUDAGraph: operators on the device, noted as they are captured."""

    operators: list[tuple[Any, Any, Any]] = field(default_factory=list)
    reads: set[int] = field(default_factory=set)
    writes: set[int] = field(default_factory=set)
    made: dict[int, Tensor] = field(default_factory=dict)
    former: dict[int, tuple[Tensor, Tensor]] = field(default_factory=dict)
    pool: object = None

    def note(self, func: Any, bare: Any, reads: set[int], writes: set[int]) -> Any:
        """Note an operator, and run it for the shapes of its results."""
        for one in tree_leaves(bare):
            if isinstance(one, Tensor) and memory(one) in writes - self.made.keys():
                self.former.setdefault(memory(one), (whole(one), whole(one).clone()))
        found = func(*bare[0], **bare[1])
        self.operators.append((func, bare, found))
        self.reads |= reads - self.made.keys()
        self.writes |= writes - self.made.keys()
        for one in tree_leaves(found):
            if isinstance(one, Tensor) and memory(one) not in reads | writes:
                self.made.setdefault(memory(one), one)
        return found

    def undo(self) -> None:
        """Restore what the operators wrote to, and spoil their results: nothing has run yet."""
        for changed, values in self.former.values():
            changed.copy_(values)
        self.spoil()

    def spoil(self) -> None:
        """Overwrite the results, as other users of their memory would."""
        for one in self.made.values():
            if one.is_floating_point():
                whole(one).fill_(float("nan"))

    def replay(self) -> None:
        with MACHINE.lock:
            others = [one for one in GRAPHS if one is not self and one.pool is self.pool]
            made = set().union(self.made, *(one.made for one in others))
            MACHINE.launch(self.reads, self.writes | made, "a graph")
            REPLAYS.append(self)
            for one in others:
                one.spoil()
            for func, bare, found in self.operators:
                again = func(*bare[0], **bare[1])
                for old, new in zip(tree_leaves(found), tree_leaves(again), strict=True):
                    if isinstance(old, Tensor) and memory(old) != memory(new):
                        old.copy_(new)


#: The graphs that are there, and those that ran, in order.
GRAPHS: list[Graph] = []
REPLAYS: list[Graph] = []


@contextlib.contextmanager
def capturing(graph: Graph, pool: object = None, capture_error_mode: str = "") -> Iterator[None]:
    """torch.cuda.graph."""
    MACHINE.synchronize()
    graph.pool = pool or object()
    with streaming(Stream()):
        MACHINE.graph = graph
        try:
            yield
        finally:
            MACHINE.graph = None
    graph.undo()
    GRAPHS.append(graph)


def forget_graphs() -> None:
    """Forget all graphs and replays."""
    GRAPHS.clear()
    REPLAYS.clear()
