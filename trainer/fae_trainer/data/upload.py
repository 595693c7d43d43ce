"""Copy batches to a GPU ahead of their use, beside the work of the steps before."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator

import torch

from fae_trainer.data.batches import Batch


def upload_ahead(
    batches: Iterable[Batch], device: torch.device | str, depth: int
) -> Iterator[Batch]:
    """Yield the batches on `device`, each copied while up to `depth` batches before it are used.

    On the CPU the batches are passed on untouched, and none is taken ahead. On a GPU, take each
    batch in the thread and on the stream that use it. Why nothing is read too early, or overwritten
    while it is read:

    - Copies run on a stream of their own, each followed by an event. The stream that is current
      when a batch is taken waits for that event, and so does all work that it is given later.
    - A batch's memory on the device belongs to the copying stream, where the allocator may give it
      to a later copy as soon as its last tensor is gone. `record_stream` has the allocator wait for
      what the using stream had been given by then.
    - Its memory on the host is given out again only after its copy (see `allocate_pinned`); memory
      that is not page-locked has been read when the call that copies it returns.
    - A batch that a loader's cache keeps on the device was made by the default stream, in a thread
      of the loader, before it was taken here. So the same holds with that stream in the place of
      the copying one.
    """
    device = torch.device(device)
    if device.type != "cuda":
        yield from batches
        return
    copying = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
    default = torch.cuda.default_stream(device)
    ahead: deque[tuple[Batch, torch.cuda.Event]] = deque()
    for batch in batches:
        with torch.cuda.stream(copying):
            there = batch.to(device, non_blocking=True)
        done = torch.cuda.Event()  # type: ignore[no-untyped-call]
        done.record(default if batch.label.is_cuda else copying)
        ahead.append((there, done))
        if len(ahead) > depth:
            yield _hand_over(*ahead.popleft())
    while ahead:
        yield _hand_over(*ahead.popleft())


def _hand_over(batch: Batch, done: torch.cuda.Event) -> Batch:
    """Return the batch for use by the current stream."""
    stream = torch.cuda.current_stream(batch.label.device)
    stream.wait_event(done)
    batch.record_stream(stream)
    return batch
