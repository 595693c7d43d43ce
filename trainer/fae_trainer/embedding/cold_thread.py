"""Fetch and update cold rows in a thread of the host, while the device runs hot batches.

The thread processes cold batches in order, one after the other: it fetches a batch's rows, waits
for their gradient, applies it, and only then fetches the next batch's rows. So no update is lost
and no read is stale, whatever the timing, without comparing or locking. Hot batches touch no cold
row: while the device runs those between two cold batches, the thread applies the first one's update
and fetches the second one's rows.
"""

from __future__ import annotations

import queue
import threading
from collections import deque
from concurrent.futures import Future
from dataclasses import dataclass, field

import torch
from torch import Tensor

from fae_trainer.embedding.optimizers import RowOptimizer
from fae_trainer.embedding.planner import Plan
from fae_trainer.embedding.shard import Shard


@dataclass(frozen=True)
class Fetched:
    """Rows as a copy on the host, `own`, and one on the device, complete after `arrived`."""

    own: Shard
    there: Tensor
    arrived: torch.cuda.Event | None


@dataclass(frozen=True)
class Sent:
    """The rows' gradient on the host, complete after `arrived`, and the learning rate."""

    gradient: Tensor
    rate: float
    arrived: torch.cuda.Event | None


@dataclass(frozen=True, eq=False)
class Request:
    """A cold batch's request, and what the threads hand each other to fulfil it."""

    plan: Plan
    rows: Future[Fetched] = field(default_factory=Future)
    gradient: Future[Sent] = field(default_factory=Future)
    done: Future[None] = field(default_factory=Future)


class ColdThread:
    """A thread that fetches and updates the rows of a shard on the host, request by request.

    `request` may be called from any one thread, in the order of the batches; `find`, `rows`, `send`
    and `settle` from the training thread. The next of them raises an error of this thread.
    """

    def __init__(self, shard: Shard, device: torch.device, optimizer: RowOptimizer) -> None:
        """Start the thread; `close` ends it."""
        self._shard = shard
        self._device = device
        self._optimizer = optimizer
        self._side = (
            torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
            if device.type == "cuda"
            else None
        )
        self._pending: deque[Request] = deque()
        self._last: Request | None = None
        self._queue: queue.SimpleQueue[Request | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="cold rows", daemon=True)
        self._thread.start()

    def request(self, plan: Plan) -> None:
        """Queue the next batch with cold rows."""
        request = Request(plan)
        self._pending.append(request)
        self._queue.put(request)

    def find(self, plan: Plan) -> Request | None:
        """Return the pending request of this plan, if it is the next one."""
        request = self._pending[0] if self._pending else None
        return request if request is not None and request.plan is plan else None

    def rows(self, request: Request) -> Tensor:
        """Return the rows on the device, (cold, dim), before its update and after all earlier."""
        fetched = request.rows.result()
        if fetched.arrived is not None:
            current = torch.cuda.current_stream(self._device)
            current.wait_event(fetched.arrived)
            fetched.there.record_stream(current)
        return fetched.there

    def send(self, request: Request, gradient: Tensor, rate: float) -> None:
        """Hand over the gradient, (cold, dim) on the device, without waiting for its copy."""
        arrived = None
        if self._side is not None:
            sent = torch.empty(gradient.shape, dtype=gradient.dtype, pin_memory=True)
            self._side.wait_stream(torch.cuda.current_stream(self._device))
            with torch.cuda.stream(self._side):
                sent.copy_(gradient, non_blocking=True)
                arrived = _record_event(self._side)
            gradient.record_stream(self._side)
            gradient = sent
        self._last = self._pending.popleft()
        request.gradient.set_result(Sent(gradient, rate, arrived))

    def settle(self) -> None:
        """Wait until all gradients that were sent are applied."""
        if self._last is not None:
            self._last.done.result()

    def close(self) -> None:
        """Apply what was sent, drop the requests without a gradient, and end the thread."""
        for request in self._pending:
            request.gradient.cancel()
        self._queue.put(None)
        self._thread.join()

    def _run(self) -> None:
        """Process requests; after an error, each further one fails with it."""
        error: BaseException | None = None
        while (request := self._queue.get()) is not None:
            try:
                if error is not None:
                    raise error
                self._process(request)
            except BaseException as caught:
                error = caught
                for promise in (request.rows, request.done):
                    if not promise.done():
                        promise.set_exception(caught)

    @torch.no_grad()
    def _process(self, request: Request) -> None:
        at = torch.from_numpy(request.plan.cold)
        fetched = self._fetch(at)
        request.rows.set_result(fetched)
        sent = request.gradient.result()
        self._update(at, fetched.own, sent)
        request.done.set_result(None)

    def _fetch(self, at: Tensor) -> Fetched:
        if self._side is None:
            return Fetched(*self._shard.fetch(at, self._device), None)
        with torch.cuda.stream(self._side):
            own, there = self._shard.fetch(at, self._device)
            arrived = _record_event(self._side)
        return Fetched(own, there, arrived)

    def _update(self, at: Tensor, own: Shard, sent: Sent) -> None:
        if sent.arrived is not None:
            sent.arrived.synchronize()
        self._shard.update(at, own, sent.gradient, self._optimizer, sent.rate)


def _record_event(stream: torch.cuda.Stream) -> torch.cuda.Event:
    """Return an event that marks the end of the stream's work so far."""
    event = torch.cuda.Event()  # type: ignore[no-untyped-call]
    event.record(stream)
    return event
