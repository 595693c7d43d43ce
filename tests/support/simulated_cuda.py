"""A CUDA device made of host memory, which forgives less than a CPU and less than a GPU.

Its tensors compute on the CPU, at once. What a GPU refuses is refused: mixing tensors of host and
device, and waiting for the device while a graph is captured. What a GPU lets pass and which may
have other results tomorrow is an error as well (`stream_clocks.py`). A captured graph has not run,
and graphs that share a pool overwrite each other's memory, whose values are NaN then.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves, tree_map

from tests.support import stream_clocks
from tests.support.captured_graphs import Graph, capturing, forget_graphs, memory
from tests.support.stream_clocks import MACHINE, Event, Machine, Stream, streaming

CUDA, HOST = torch.device("cuda", 0), torch.device("cpu")

#: Operators whose result makes the host wait for the device.
_WAITING = {"_local_scalar_dense", "nonzero", "masked_select", "equal", "_unique2"}

#: Operators that leave their result's memory as it is.
_UNWRITTEN = {"empty_like", "new_empty", "empty_strided", "new_empty_strided"}

#: The memory of all tensors, so that no address is used twice.
_kept: list[torch.UntypedStorage] = []

_to, _new_empty = torch.Tensor.to, torch.Tensor.new_empty
_factories = {name: getattr(torch, name) for name in ("zeros", "empty", "arange")}


class Simulated(torch.Tensor):
    """A tensor on the device, or in pinned memory of the host; `elem` has its values."""

    elem: Tensor
    place: torch.device

    @staticmethod
    def __new__(cls, elem: Tensor, place: torch.device) -> Simulated:
        made: Simulated = torch.Tensor._make_wrapper_subclass(
            cls,
            elem.shape,
            strides=elem.stride(),
            storage_offset=elem.storage_offset(),
            dtype=elem.dtype,
            device="meta",
        )
        return made

    def __init__(self, elem: Tensor, place: torch.device) -> None:
        self.elem, self.place = elem, place
        _kept.append(elem.untyped_storage())
        if place == CUDA:
            MACHINE.hold(memory(elem))
        else:
            MACHINE.pinned.add(memory(elem))

    def __del__(self) -> None:
        if self.place == CUDA:
            with MACHINE.lock:
                MACHINE.release(memory(self.elem))

    @property
    def device(self) -> torch.device:
        return self.place

    @property
    def is_cuda(self) -> bool:
        return self.place == CUDA

    def is_pinned(self, *_: Any) -> bool:
        return self.place == HOST

    def numpy(self, *_: Any, **__: Any) -> Any:
        assert self.place == HOST
        MACHINE.touch(memory(self.elem), False, "numpy")
        return self.elem.detach().numpy()

    def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
        return np.asarray(self.numpy(), dtype)

    def tolist(self) -> Any:
        return self.cpu().tolist()

    def __reduce_ex__(self, protocol: Any) -> Any:
        return self.cpu().__reduce_ex__(protocol)

    def record_stream(self, stream: Stream) -> None:
        MACHINE.use(memory(self.elem)).recorded.add(stream.number)

    @classmethod
    def __torch_dispatch__(cls, func: Any, _: Any, args: Any = (), kwargs: Any = None) -> Any:
        with MACHINE.lock:
            return dispatched(func, args, kwargs or {})


def dispatched(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    """Run an operator of which some argument is simulated."""
    name = func.overloadpacket.__name__
    if name == "copy_":
        return copied(*args, **kwargs)
    if name == "_to_copy":
        return converted(*args, **kwargs)
    tensors = [one for one in tree_leaves((args, kwargs)) if isinstance(one, Tensor)]
    cuda = any(one.is_cuda for one in tensors)
    if cuda and any(not one.is_cuda and one.dim() for one in tensors):
        raise RuntimeError(f"{name} of tensors on the device and on the host")
    known = {key: kwargs[key] for key in kwargs if key not in ("device", "pin_memory")}
    bare = tree_map(elem_of, (args, known))
    changed = changed_by(func, args, known)
    writes = {memory(elem_of(one)) for one in changed}
    reads = {memory(elem_of(one)) for one in tensors} - writes
    if cuda and MACHINE.graph is not None and name not in _WAITING:
        found = MACHINE.graph.note(func, bare, reads, writes)
    else:
        found = func(*bare[0], **bare[1])
        made = {memory(one) for one in tree_leaves(found) if isinstance(one, Tensor)}
        is_view = not writes and made and made <= reads
        if cuda and not is_view:
            MACHINE.launch(reads, writes if name in _UNWRITTEN else writes | made, name)
        elif not is_view:
            for one in (reads | writes) & MACHINE.pinned:
                MACHINE.touch(one, one in writes, name)
        if cuda and name in _WAITING:
            MACHINE.wait(MACHINE.stream.clock)
    if changed:
        return changed[0] if len(changed) == 1 else tuple(changed)
    return tree_map(lambda one: wrapped(one, cuda) if isinstance(one, Tensor) else one, found)


def changed_by(func: Any, args: Any, kwargs: dict[str, Any]) -> list[Tensor]:
    """Return the arguments that an operator writes to."""
    arguments = func._schema.arguments
    given = [
        *zip(arguments, args, strict=False),
        *((one, kwargs[one.name]) for one in arguments if one.name in kwargs),
    ]
    return [value for one, value in given if one.alias_info is not None and one.alias_info.is_write]


def wrapped(made: Tensor, cuda: bool) -> Tensor:
    """Return an operator's result as a tensor of the device or the host."""
    if cuda:
        return Simulated(made, CUDA)
    return Simulated(made, HOST) if memory(made) in MACHINE.pinned else made


def elem_of(one: Any) -> Any:
    return one.elem if isinstance(one, Simulated) else one


def copied(to: Tensor, source: Tensor, non_blocking: bool = False) -> Tensor:
    """Copy between any two places; only pinned memory is used behind the host's back."""
    into, values = elem_of(to), elem_of(source)
    on_host = {memory(elem_of(one)): one is to for one in (to, source) if not one.is_cuda}
    if MACHINE.graph is not None:
        if on_host:
            raise RuntimeError("a graph that copies between host and device")
        operator = torch.ops.aten.copy_.default
        MACHINE.graph.note(operator, ((into, values), {}), {memory(values)}, {memory(into)})
        return to
    behind = non_blocking and on_host.keys() <= MACHINE.pinned
    if not behind:
        for one, is_written in on_host.items():
            MACHINE.touch(one, is_written, "copy_")
    if to.is_cuda or source.is_cuda:
        apart = set() if behind else on_host.keys()
        MACHINE.launch({memory(values)} - apart, {memory(into)} - apart, "copy_")
        if on_host and not behind:
            MACHINE.wait(MACHINE.stream.clock)
    into.copy_(values)
    return to


def converted(
    source: Tensor,
    dtype: torch.dtype | None = None,
    device: torch.device | None = None,
    non_blocking: bool = False,
    **_: Any,
) -> Tensor:
    """Return a copy on `device`, or where the source is."""
    made = torch.empty_like(elem_of(source), dtype=dtype)
    place = source.device if device is None or device.type == "meta" else device
    to = Simulated(made, CUDA) if place.type == "cuda" else made
    return copied(to, source, non_blocking)


def moved(self: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    """Tensor.to."""
    device, dtype, non_blocking, _ = torch._C._nn._parse_to(*args, **kwargs)
    if device is None or device.type != "cuda":
        return _to(self, *args, **kwargs)
    if self.is_cuda:
        return self if dtype is None else _to(self, dtype)
    assert not (self.requires_grad and torch.is_grad_enabled()), "no gradient crosses the bus"
    with MACHINE.lock:
        return converted(self, dtype, CUDA, non_blocking)


def pinned(self: Tensor) -> Tensor:
    """Tensor.pin_memory."""
    return Simulated(elem_of(self).clone(), HOST)


def new_empty(self: Tensor, *args: Any, pin_memory: bool = False, **kwargs: Any) -> Tensor:
    """Tensor.new_empty."""
    made = _new_empty(self, *args, **kwargs)
    return Simulated(made, HOST) if pin_memory else made


def factory(name: str) -> Callable[..., Tensor]:
    """Return torch.zeros or the like, which a graph notes if it is on the device."""

    def make(*args: Any, device: Any = None, pin_memory: bool = False, **kwargs: Any) -> Tensor:
        make_one = _factories[name]
        if device is None or torch.device(device).type != "cuda":
            made = make_one(*args, device=device, **kwargs)
            return Simulated(made, HOST) if pin_memory else made
        with MACHINE.lock:
            if MACHINE.graph is not None:
                made = MACHINE.graph.note(make_one, (args, kwargs), set(), set())
            else:
                made = make_one(*args, **kwargs)
                MACHINE.launch(set(), {memory(made)}, name)
        return Simulated(made, CUDA)

    return make


@contextlib.contextmanager
def simulated() -> Iterator[Machine]:
    """Give torch a CUDA device in the block; fail at its end if memory was given away in use."""
    MACHINE.begin()
    forget_graphs()
    _kept.clear()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.Tensor, "to", moved)
        patch.setattr(torch.Tensor, "pin_memory", pinned)
        patch.setattr(torch.Tensor, "new_empty", new_empty)
        for name in _factories:
            patch.setattr(torch, name, factory(name))
        for name, value in {
            "is_available": lambda: True,
            "mem_get_info": lambda *_: (1 << 34, 1 << 34),
            "Stream": Stream,
            "Event": Event,
            "stream": streaming,
            "current_stream": lambda *_: MACHINE.stream,
            "default_stream": lambda *_: MACHINE.default,
            "synchronize": MACHINE.synchronize,
            "CUDAGraph": Graph,
            "graph": capturing,
            "graph_pool_handle": object,
        }.items():
            patch.setattr(torch.cuda, name, value)
        patch.setattr(Future, "set_result", stream_clocks.set_result)
        patch.setattr(Future, "result", stream_clocks.result)
        yield MACHINE
    assert not MACHINE.errors, MACHINE.errors[0]
