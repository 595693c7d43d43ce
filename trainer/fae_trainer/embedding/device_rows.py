"""Look up and update embedding rows on the device, in its own memory and in the host's.

Ids go in, slots are computed on the device, and its kernels read and write hot rows in its memory
and cold rows in page-locked memory of the host. No thread of the host takes part, so the order of
the kernels alone makes it exact.

Cold rows can be staged: read once into the device's memory, before the step that needs them, and
written back after it. Reading at random over the bus costs some 25 ns a row, whatever its size, and
writing 12 ns; staged rows do both while the network computes (`model/device_step.py`).
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec

import torch
from torch import Tensor

from fae_trainer.data.bags import select_features
from fae_trainer.data.batches import Batch
from fae_trainer.embedding.layout import Layout
from fae_trainer.embedding.optimizers import RowOptimizer, RowStep
from fae_trainer.embedding.shard import Shard

#: The most positions for each program of a kernel.
_BLOCK = 64

#: Bytes of rows that a program copies, and that it sums; more do not fit its registers.
_COPIED_BYTES, _SUMMED_BYTES = 8192, 4096

#: Programs that copy cold rows; they wait for the bus, and leave the device to the network.
_COPYING_PROGRAMS = {"cuda": 64, "cpu": 2}

#: Round after each operation, as the host does.
_LAUNCH = {"enable_fp_fusion": False}

#: Tiles that a program adds at a time for a row whose occurrences span many.
_TILES_AT_A_TIME = 32


def runs_kernels(device: torch.device) -> bool:
    """Tell whether Triton's kernels run on a device: compiled on a GPU, else interpreted."""
    interpreted = os.environ.get("TRITON_INTERPRET") == "1"
    # torch brings Triton where it supports the device.
    return (device.type == "cuda" or interpreted) and find_spec("triton") is not None


@dataclass(frozen=True)
class SlotsOnDevice:
    """The slots of a batch's ids, and the bag of each id where bags have any number of ids.

    All are (ids,); the ids from the last of `offsets`, (bags + 1,), on have no row.
    """

    slots: Tensor
    bags: Tensor | None
    offsets: Tensor | None
    bag_count: int


class StagedRows:
    """A batch's ids and its distinct cold rows, in arrays of fixed sizes on the device.

    `keys` are the batch's slots, sorted, and `order` their positions in the batch. `places` says
    for each id where its row is, as `find_places` describes. `rows`, (ids, width), holds a cold row
    at the last position of its slot in `keys`; other positions are unused.
    """

    def __init__(self, access: DeviceRows, ids: Tensor, offsets: Tensor | None) -> None:
        """Make empty arrays for batches of the sizes and types of `ids` and `offsets`."""
        self.ids, self.count = torch.zeros_like(ids), len(ids)
        self.offsets = None if offsets is None else torch.zeros_like(offsets)
        self.bags = None if offsets is None else torch.empty_like(ids, dtype=torch.int32)
        self.keys = torch.empty_like(ids, dtype=access.slot_type)
        self.order = torch.empty_like(ids, dtype=torch.int64)
        self.places = torch.empty_like(ids, dtype=torch.int64)
        self.rows = torch.empty((len(ids), access.width), dtype=access.dtype, device=ids.device)
        self.clear(access)

    def clear(self, access: DeviceRows) -> None:
        """Hold no row."""
        self.keys.fill_(access.row_total)

    def put(self, ids: Tensor, offsets: Tensor | None) -> None:
        """Set the ids of a batch; `DeviceRows.stage` computes the rest."""
        self.ids[: len(ids)].copy_(ids)
        if self.offsets is not None and offsets is not None:
            self.offsets.copy_(offsets)


class DeviceRows:
    """Looks up and updates rows of a hot shard on the device and a cold one in locked host memory.

    The kernels are launched on the current stream. With several `owners`, each updates the cold
    rows whose positions leave the rest `owner`, and all update the hot rows.
    """

    def __init__(
        self,
        layout: Layout,
        hot: Shard,
        cold: Shard,
        optimizer: RowOptimizer,
        *,
        pooling: str = "sum",
        owner: int = 0,
        owners: int = 1,
    ) -> None:
        """Make it for shards of at least one row, and a rule that has a kernel.

        A bag's vector is the sum or mean of its rows.
        """
        # Loads Triton, which training on a CPU does not need.
        from fae_trainer.embedding import kernels

        self._kernels = kernels
        self.hot = hot.packed
        self.cold = cold.packed if len(cold) else hot.packed  # Triton refuses unlocked memory
        self.device, self.dtype, self.dim = self.hot.device, self.hot.dtype, hot.dim
        self.width, self.row_total = self.hot.shape[1], layout.row_total
        self.hot_total = layout.hot_total
        self.features = len(layout.feature_table)
        self.slot_type = torch.from_numpy(layout.rows.astype(layout.slot_type)).dtype
        self._mean = pooling == "mean"
        self._adagrad = optimizer.scalars > 0
        self._owner = (owner, owners)
        below, to_hot, to_cold = layout.shifts()
        self._shifts = [
            torch.from_numpy(values.astype(layout.slot_type)).to(self.device)
            for values in (below, to_hot, to_cold)
        ]
        columns = layout.columns
        self._columns = None if columns is None else torch.from_numpy(columns).to(self.device)
        self._settings = torch.zeros(3, dtype=self.dtype, device=self.device)
        self._set = (0.0, 0.0, 0.0)
        self._sizes = {
            "WIDTH": self.width,
            "DIM": self.dim,
            "DIM_PADDED": _round_up(self.dim),
        }

    def set_step(self, step: RowStep) -> None:
        """Set what the next updates need, also of those in a captured graph (not its decay)."""
        settings = (step.rate, step.eps, step.weight_decay)
        if settings != self._set:
            self._settings.copy_(torch.tensor(settings, dtype=self.dtype))
            self._set = settings

    def select(self, batch: Batch) -> Batch:
        """Return the batch with the features of the layout, which may be some of the data set's."""
        return batch if self._columns is None else select_features(batch, self._columns)

    def find_slots(self, ids: Tensor, offsets: Tensor | None) -> SlotsOnDevice:
        """Return the slots of ids on the device, (ids,), ordered by sample and then by feature."""
        count = len(ids)
        slots = torch.empty(count, dtype=self.slot_type, device=self.device)
        lists = offsets is not None
        bags = torch.empty(count, dtype=torch.int32, device=self.device) if lists else None
        bag_count = count if offsets is None else len(offsets) - 1
        self._kernels.find_slots[_grid(count, _BLOCK)](
            ids, offsets if lists else ids, *self._shifts, slots, bags if lists else slots,
            count, bag_count, self.features, self.row_total,
            LISTS=lists, STEPS=(bag_count + 1).bit_length(), BLOCK=_BLOCK, **_LAUNCH,
        )  # fmt: skip
        return SlotsOnDevice(slots, bags, offsets, bag_count)

    def stage(self, staged: StagedRows) -> None:
        """Sort the slots of the ids that were put, and read their distinct cold rows."""
        slots = self.find_slots(staged.ids, staged.offsets)
        torch.sort(slots.slots, stable=True, out=(staged.keys, staged.order))
        if staged.bags is not None and slots.bags is not None:
            staged.bags.copy_(slots.bags)
        count = staged.count
        self._kernels.find_places[_grid(count, _BLOCK)](
            staged.keys, staged.order, staged.places, count, self.hot_total, self.row_total,
            STEPS=count.bit_length(), BLOCK=_BLOCK, **_LAUNCH,
        )  # fmt: skip
        self._copy_cold(staged, write=False)

    def write_back(self, staged: StagedRows) -> None:
        """Write a batch's staged cold rows to the host's memory."""
        self._copy_cold(staged, write=True)

    def look_up(self, slots: SlotsOnDevice) -> Tensor:
        """Return the bags' vectors, (bags, dim), from where their rows lie."""
        return self._look_up(slots.slots, slots.offsets, slots.bag_count, self.cold)

    def look_up_staged(self, staged: StagedRows) -> Tensor:
        """Return the bags' vectors, (bags, dim), with cold rows from where they are staged."""
        bags = staged.count if staged.offsets is None else len(staged.offsets) - 1
        return self._look_up(staged.places, staged.offsets, bags, staged.rows)

    def update(self, slots: SlotsOnDevice, gradient: Tensor) -> None:
        """Update rows where they lie by the gradient of the bags' vectors, (bags, dim)."""
        keys, order = slots.slots.sort(stable=True)
        self._update(keys, order, slots.bags, slots.offsets, gradient, None, None)

    def merge(self, parts: Sequence[tuple[SlotsOnDevice, Tensor]]) -> tuple[SlotsOnDevice, Tensor]:
        """Return several lookups and gradients of their bags' vectors as one."""
        if len(parts) == 1 and parts[0][0].bags is None:
            return parts[0]
        gradients = []
        for slots, gradient in parts:
            if slots.bags is not None and slots.offsets is not None:  # one gradient for each id
                lengths = slots.offsets.diff().clamp(min=1).unsqueeze(1)
                of_bag = gradient / lengths if self._mean else gradient
                gradients.append(of_bag.index_select(0, slots.bags))
            else:
                gradients.append(gradient)
        return self.plan_slots(torch.cat([slots.slots for slots, _ in parts])), torch.cat(gradients)

    def sum_rows(
        self, parts: Sequence[tuple[SlotsOnDevice, Tensor]]
    ) -> tuple[SlotsOnDevice, Tensor]:
        """Return distinct rows and their summed gradient, as `merge` returns all occurrences."""
        lookup, gradient = self.merge(parts)
        distinct, number = torch.unique(lookup.slots, return_inverse=True)
        summed = gradient.new_zeros((len(distinct), gradient.shape[1]))
        summed.index_put_((number,), gradient, accumulate=True)
        return self.plan_slots(distinct), summed

    def slots_of(self, lookup: SlotsOnDevice) -> Tensor:
        """Return the slot of each id of a lookup, (ids,)."""
        return lookup.slots

    def plan_slots(self, slots: Tensor) -> SlotsOnDevice:
        """Return the lookup of rows by their slots, (ids,) on the device."""
        return SlotsOnDevice(slots, None, None, len(slots))

    def update_staged(
        self, staged: StagedRows, gradient: Tensor, following: StagedRows | None
    ) -> None:
        """Update hot rows where they lie, and cold rows where they are staged.

        The rows that the next batch, `following`, has staged too are replaced there.
        """
        parts = (staged.keys, staged.order, staged.bags, staged.offsets)
        self._update(*parts, gradient, staged, following)

    def _copy_cold(self, staged: StagedRows, write: bool) -> None:
        if self.row_total > self.hot_total and staged.count:
            self._kernels.copy_cold[(_COPYING_PROGRAMS[self.device.type],)](
                staged.keys, self.cold, staged.rows, staged.count, self.hot_total, self.row_total,
                WRITE=write, WIDTH=self.width, WIDTH_PADDED=_round_up(self.width),
                STEPS=staged.count.bit_length(), BLOCK=self._fit(self.width, _COPIED_BYTES),
                **_LAUNCH,
            )  # fmt: skip

    def _fit(self, values: int, size: int) -> int:
        """Return how many positions of so many values a program of `size` bytes works on."""
        padded = _round_up(values)
        return max(4, min(_BLOCK, size // (padded * self.dtype.itemsize)))

    def _look_up(
        self, places: Tensor, offsets: Tensor | None, bag_count: int, cold: Tensor
    ) -> Tensor:
        vectors = torch.empty((bag_count, self.dim), dtype=self.dtype, device=self.device)
        lists = offsets is not None
        block = self._fit(self.dim, _COPIED_BYTES)
        self._kernels.look_up[_grid(bag_count, block)](
            places, offsets if lists else places, self.hot, cold, vectors,
            bag_count, self.hot_total,
            LISTS=lists, MEAN=self._mean, COLD_CACHE=".cv" if self._owner[1] > 1 else "",
            **self._sizes, BLOCK=block, **_LAUNCH,
        )  # fmt: skip
        return vectors

    def _update(
        self,
        keys: Tensor,
        order: Tensor,
        bags: Tensor | None,
        offsets: Tensor | None,
        gradient: Tensor,
        staged: StagedRows | None,
        following: StagedRows | None,
    ) -> None:
        """Sum the gradient by row and apply the rule; see the two kernels."""
        count, features = len(keys), self.features
        if gradient.dim() == 2:  # (bags, dim)
            gradient = gradient.contiguous().view(-1, 1, self.dim)
            features = 1
        elif gradient.stride()[1:] != (self.dim, 1):  # (samples, features, dim)
            gradient = gradient.contiguous()
        tile = self._fit(self.dim, _SUMMED_BYTES)
        tiles = -(-count // tile)
        tails, heads = (
            torch.empty((tiles, self.dim), dtype=self.dtype, device=self.device) for _ in range(2)
        )
        head_ends = torch.empty(tiles, dtype=torch.int32, device=self.device)
        cold = self.cold if staged is None else staged.rows
        next_keys = keys if following is None else following.keys
        next_rows = cold if following is None else following.rows
        then = (next_keys, next_rows, len(next_keys))
        rule = {
            "ADAGRAD": self._adagrad,
            "DECAYS": self._set[2] != 0,
            "STAGED": staged is not None,
            "NEXT_STEPS": 0 if following is None else len(next_keys).bit_length(),
            **self._sizes,
        }
        self._kernels.update_runs_in_tiles[(tiles,)](
            keys, order, keys if bags is None else bags, keys if offsets is None else offsets,
            gradient, self.hot, cold, self._settings, tails, heads, head_ends,
            count, self.hot_total, self.row_total, features, gradient.stride(0), *self._owner,
            *then, LISTS=bags is not None, MEAN=self._mean and bags is not None, **rule, BLOCK=tile,
            **_LAUNCH,
        )  # fmt: skip
        self._kernels.update_runs_across_tiles[(tiles,)](
            keys, self.hot, cold, self._settings, tails, heads, head_ends,
            count, self.hot_total, *self._owner, *then,
            **rule, STEPS=count.bit_length(), TILE=tile, BLOCK=_TILES_AT_A_TIME, num_warps=1,
            **_LAUNCH,
        )  # fmt: skip


def _grid(count: int, block: int) -> tuple[int]:
    return (max(1, -(-count // block)),)


def _round_up(values: int) -> int:
    """Return the least power of two that is not below `values`."""
    return 1 << (values - 1).bit_length()
