"""Triton kernels that look up and update embedding rows where they lie.

Hot rows are in the device's memory and cold rows in page-locked memory of the host, which the
device reads and writes over the bus. Both are arrays of `WIDTH` values a row: `DIM` values of the
row, then its optimiser state, if any. A slot is a row's position in the hot array, or the number of
hot rows plus its position in the cold array, so that sorted slots have all hot rows first. A slot
of `row_total` means no row.

Every kernel works on blocks of `BLOCK` positions; `_PADDED` sizes are powers of two, as Triton
needs them. Tests compare each kernel with what `host_rows.py` computes.
"""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def count_at_most(values, count, wanted, STEPS: tl.constexpr):
    """Return how many of `count` ascending `values` are at most `wanted`, by bisection.

    2 ** STEPS is above `count`.
    """
    low = wanted * 0
    high = low + count
    for _ in range(STEPS):
        middle = (low + high) // 2
        inside = low < high
        above = tl.load(values + middle, mask=inside, other=0) <= wanted
        low = tl.where(inside & above, middle + 1, low)
        high = tl.where(inside & (above == 0), middle, high)
    return low


@triton.jit
def find_slots(
    ids, offsets, hot_rows, hot_shift, cold_shift, slots, bags,
    id_count, bag_count, features, row_total,
    LISTS: tl.constexpr, STEPS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Compute the slot of every id, and with LISTS its bag, from the ids' shifts by feature.

    `hot_rows`, `hot_shift` and `cold_shift` are (features,). Ids behind the last offset get no row.
    """
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    valid = at < id_count
    if LISTS:
        valid = valid & (at < tl.load(offsets + bag_count))
        # The bag of an id is the last one that does not begin behind it.
        bag = count_at_most(offsets, bag_count + 1, at, STEPS) - 1
        tl.store(bags + at, bag, mask=valid)
    else:
        bag = at
    feature = bag % features
    row = tl.load(ids + at, mask=valid, other=0)
    hot = row < tl.load(hot_rows + feature, mask=valid, other=0)
    to_hot = tl.load(hot_shift + feature, mask=valid, other=0)
    to_cold = tl.load(cold_shift + feature, mask=valid, other=0)
    slot = row + tl.where(hot, to_hot, to_cold)
    tl.store(slots + at, tl.where(valid, slot, row_total), mask=at < id_count)


@triton.jit
def find_places(
    keys, order, places, count, hot_total, row_total, STEPS: tl.constexpr, BLOCK: tl.constexpr
):
    """Say where a batch's rows are once its cold rows are staged.

    `keys` are the batch's slots, sorted, and `order` their positions before. The place of a hot row
    is its slot; that of a cold row is the number of hot rows plus the last position of its slot in
    `keys`, where `copy_cold` stages it. No row has the place -1.
    """
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    valid = at < count
    key = tl.load(keys + at, mask=valid, other=row_total)
    place = key.to(tl.int64)
    if tl.max(key) >= hot_total:
        last = count_at_most(keys, count, key, STEPS) - 1
        place = tl.where(key >= hot_total, last.to(tl.int64) + hot_total, place)
        place = tl.where(key >= row_total, -1, place)
    tl.store(places + tl.load(order + at, mask=valid, other=0), place, mask=valid)


@triton.jit
def copy_cold(
    keys, memory, staging, count, hot_total, row_total,
    WRITE: tl.constexpr, WIDTH: tl.constexpr, WIDTH_PADDED: tl.constexpr,
    STEPS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Copy a batch's distinct cold rows from the host's memory to `staging`, or with WRITE back.

    A row is staged at the last position of its slot in the sorted `keys`. The cold slots lie
    together, so a few programs share them: the bus, not their number, limits the speed.
    """
    program = tl.program_id(0)
    begin = count_at_most(keys, count, program * 0 + hot_total - 1, STEPS)
    end = count_at_most(keys, count, program * 0 + row_total - 1, STEPS)
    column = tl.arange(0, WIDTH_PADDED)
    for start in range(begin + program * BLOCK, end, tl.num_programs(0) * BLOCK):
        at = start + tl.arange(0, BLOCK)
        key = tl.load(keys + at, mask=at < end, other=0)
        following = tl.load(keys + at + 1, mask=at + 1 < end, other=-1)
        mask = ((at < end) & (key != following))[:, None] & (column < WIDTH)[None, :]
        row = memory + (key - hot_total).to(tl.int64)[:, None] * WIDTH + column[None, :]
        copy = staging + at.to(tl.int64)[:, None] * WIDTH + column[None, :]
        if WRITE:
            tl.store(row, tl.load(copy, mask=mask, other=0.0), mask=mask)
        else:
            tl.store(copy, tl.load(row, mask=mask, other=0.0), mask=mask)


@triton.jit
def _read_rows(
    places, at, mask, hot, cold, hot_total,
    COLD_CACHE: tl.constexpr, WIDTH: tl.constexpr, DIM: tl.constexpr, DIM_PADDED: tl.constexpr,
):  # fmt: skip
    """Return the rows at positions `at` of `places`, zeros where there is none."""
    column = tl.arange(0, DIM_PADDED)
    place = tl.load(places + at, mask=mask, other=-1).to(tl.int64)
    fits = (column < DIM)[None, :]
    in_hot = ((place >= 0) & (place < hot_total))[:, None] & fits
    in_cold = (place >= hot_total)[:, None] & fits
    hot_row = hot + place[:, None] * WIDTH + column[None, :]
    cold_row = cold + (place - hot_total)[:, None] * WIDTH + column[None, :]
    rows = tl.load(hot_row, mask=in_hot, other=0.0)
    return rows + tl.load(cold_row, mask=in_cold, other=0.0, cache_modifier=COLD_CACHE)


@triton.jit
def look_up(
    places, offsets, hot, cold, vectors, bag_count, hot_total,
    LISTS: tl.constexpr, MEAN: tl.constexpr, COLD_CACHE: tl.constexpr, WIDTH: tl.constexpr,
    DIM: tl.constexpr, DIM_PADDED: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Write each bag's row, or with LISTS the sum or mean of its rows in their order.

    Places below `hot_total` are in `hot`, the others, less `hot_total`, in `cold`: staged rows, or
    the host's memory where `places` are slots. `vectors` is (bags, DIM). Where other devices write
    the host's memory too, COLD_CACHE is ".cv": what this device's caches hold of it may be old.
    """
    bag = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    valid = bag < bag_count
    if LISTS:
        begin = tl.load(offsets + bag, mask=valid, other=0).to(tl.int32)
        end = tl.load(offsets + bag + 1, mask=valid, other=0).to(tl.int32)
        total = tl.zeros((BLOCK, DIM_PADDED), dtype=vectors.dtype.element_ty)
        for step in range(0, tl.max(end - begin)):
            at = begin + step
            total += _read_rows(
                places, at, at < end, hot, cold, hot_total, COLD_CACHE, WIDTH, DIM, DIM_PADDED
            )
        if MEAN:
            total = total / tl.maximum(end - begin, 1).to(total.dtype)[:, None]
    else:
        total = _read_rows(
            places, bag, valid, hot, cold, hot_total, COLD_CACHE, WIDTH, DIM, DIM_PADDED
        )
    column = tl.arange(0, DIM_PADDED)
    out = vectors + bag.to(tl.int64)[:, None] * DIM + column[None, :]
    tl.store(out, total, mask=valid[:, None] & (column < DIM)[None, :])


@triton.jit
def _apply_rule(
    key, at, gradient, mask, hot, cold, settings, hot_total, owner, owners,
    next_keys, next_staging, next_count,
    ADAGRAD: tl.constexpr, DECAYS: tl.constexpr, STAGED: tl.constexpr, WIDTH: tl.constexpr,
    DIM: tl.constexpr, DIM_PADDED: tl.constexpr, NEXT_STEPS: tl.constexpr,
):  # fmt: skip
    """Update distinct rows by the sums of their gradients, (rows, DIM_PADDED).

    `at` are the last positions of the slots `key` in the sorted slots. The new values also replace
    those that the next batch has staged, unless NEXT_STEPS is 0. Cold rows of other owners stay.
    `settings` are the learning rate, the eps and the weight decay.
    """
    column = tl.arange(0, DIM_PADDED)
    fits = (column < DIM)[None, :]
    in_hot = mask & (key < hot_total)
    in_cold = mask & (key >= hot_total) & ((key - hot_total) % owners == owner)
    hot_row = hot + key.to(tl.int64) * WIDTH
    cold_row = cold + (at if STAGED else key - hot_total).to(tl.int64) * WIDTH
    hot_cells = hot_row[:, None] + column[None, :]
    cold_cells = cold_row[:, None] + column[None, :]
    row = tl.load(hot_cells, mask=in_hot[:, None] & fits, other=0.0)
    row += tl.load(cold_cells, mask=in_cold[:, None] & fits, other=0.0)
    if DECAYS:
        gradient += tl.load(settings + 2) * row
    change = tl.load(settings) * gradient
    if ADAGRAD:
        state = tl.load(hot_row + DIM, mask=in_hot, other=0.0)
        state += tl.load(cold_row + DIM, mask=in_cold, other=0.0)
        state += tl.sum(gradient * gradient, 1) / DIM
        tl.store(hot_row + DIM, state, mask=in_hot)
        tl.store(cold_row + DIM, state, mask=in_cold)
        change = change / (tl.sqrt(state) + tl.load(settings + 1))[:, None]
    row -= change
    tl.store(hot_cells, row, mask=in_hot[:, None] & fits)
    tl.store(cold_cells, row, mask=in_cold[:, None] & fits)
    if NEXT_STEPS > 0:  # noqa: SIM102
        if tl.max(in_cold.to(tl.int32)) > 0:
            found = count_at_most(next_keys, next_count, key, NEXT_STEPS) - 1
            same = tl.load(next_keys + found, mask=in_cold & (found >= 0), other=-1) == key
            copied = in_cold & (found >= 0) & same
            copy = next_staging + found.to(tl.int64) * WIDTH
            tl.store(copy[:, None] + column[None, :], row, mask=copied[:, None] & fits)
            if ADAGRAD:
                tl.store(copy + DIM, state, mask=copied)


@triton.jit
def _add_in_run(left, left_begins, right, right_begins):
    """Combine two neighbouring parts of a segmented sum; `begins` marks where runs begin."""
    return tl.where(right_begins != 0, right, left + right), left_begins | right_begins


@triton.jit
def update_runs_in_tiles(
    keys, order, bags, offsets, gradient, hot, cold, settings, tails, heads, head_ends,
    count, hot_total, row_total, features, sample_stride, owner, owners,
    next_keys, next_staging, next_count,
    LISTS: tl.constexpr, MEAN: tl.constexpr, ADAGRAD: tl.constexpr, DECAYS: tl.constexpr,
    STAGED: tl.constexpr, WIDTH: tl.constexpr, DIM: tl.constexpr, DIM_PADDED: tl.constexpr,
    NEXT_STEPS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Sum each row's gradient over its occurrences and update the rows that lie within one tile.

    Equal slots are neighbours in the sorted `keys`: a run. A tile has BLOCK positions. The part of
    a run that goes on behind the tile is left in `tails`, (tiles, DIM), and the part of one that
    began before it in `heads`, with its last position in `head_ends`, or -1. `gradient` has the
    vector of feature f of sample i at `i * sample_stride + f * DIM`.
    """
    tile = tl.program_id(0)
    at = tile * BLOCK + tl.arange(0, BLOCK)
    column = tl.arange(0, DIM_PADDED)
    fits = (column < DIM)[None, :]
    key = tl.load(keys + at, mask=at < count, other=row_total)
    valid = key < row_total
    before = tl.load(keys + at - 1, mask=(at > 0) & (at < count), other=-1)
    after = tl.load(keys + at + 1, mask=at + 1 < count, other=row_total)
    bag = tl.load(order + at, mask=valid, other=0).to(tl.int64)
    if LISTS:
        bag = tl.load(bags + bag, mask=valid, other=0).to(tl.int64)
    vector = (bag // features) * sample_stride + (bag % features) * DIM
    summand = tl.load(
        gradient + vector[:, None] + column[None, :], mask=valid[:, None] & fits, other=0.0
    )
    if MEAN:
        begin = tl.load(offsets + bag, mask=valid, other=0)
        length = tl.load(offsets + bag + 1, mask=valid, other=1) - begin
        summand = summand / length.to(summand.dtype)[:, None]
    begins = ((key != before) & valid).to(tl.int32)
    spread = begins[:, None] + tl.zeros((BLOCK, DIM_PADDED), dtype=tl.int32)
    total, began = tl.associative_scan((summand, spread), 0, _add_in_run)
    began_here = tl.max(began, axis=1) != 0
    ends = valid & (key != after)
    _apply_rule(
        key, at, total, ends & began_here, hot, cold, settings, hot_total, owner, owners,
        next_keys, next_staging, next_count,
        ADAGRAD, DECAYS, STAGED, WIDTH, DIM, DIM_PADDED, NEXT_STEPS,
    )  # fmt: skip
    head = ends & (began_here == 0)
    last = valid & (ends == 0) & (at == tile * BLOCK + BLOCK - 1)
    cell = tile.to(tl.int64) * DIM + column
    tl.store(heads + cell, tl.sum(tl.where(head[:, None], total, 0.0), 0), mask=column < DIM)
    tl.store(head_ends + tile, tl.max(tl.where(head, at, -1), 0))
    tl.store(tails + cell, tl.sum(tl.where(last[:, None], total, 0.0), 0), mask=column < DIM)


@triton.jit
def update_runs_across_tiles(
    keys, hot, cold, settings, tails, heads, head_ends,
    count, hot_total, owner, owners, next_keys, next_staging, next_count,
    ADAGRAD: tl.constexpr, DECAYS: tl.constexpr, STAGED: tl.constexpr, WIDTH: tl.constexpr,
    DIM: tl.constexpr, DIM_PADDED: tl.constexpr, STEPS: tl.constexpr, NEXT_STEPS: tl.constexpr,
    TILE: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Update the rows whose runs span tiles, after `update_runs_in_tiles`.

    The program of the tile where a run ends adds the tails of the tiles from the run's begin on,
    BLOCK at a time.
    """
    tile = tl.program_id(0)
    end = tl.load(head_ends + tile)
    if end >= 0:
        column = tl.arange(0, DIM_PADDED)
        fits = column < DIM
        key = tl.load(keys + end)
        begin = count_at_most(keys, count, key - 1, STEPS)
        total = tl.load(heads + tile.to(tl.int64) * DIM + column, mask=fits, other=0.0)
        for start in range(begin // TILE, tile, BLOCK):
            part = start + tl.arange(0, BLOCK)
            cells = tails + part.to(tl.int64)[:, None] * DIM + column[None, :]
            mask = (part < tile)[:, None] & fits[None, :]
            total += tl.sum(tl.load(cells, mask=mask, other=0.0), 0)
        one = tl.arange(0, 1)
        _apply_rule(
            key + one, end + one, total[None, :] + one[:, None].to(total.dtype), one == 0,
            hot, cold, settings, hot_total, owner, owners, next_keys, next_staging, next_count,
            ADAGRAD, DECAYS, STAGED, WIDTH, DIM, DIM_PADDED, NEXT_STEPS,
        )  # fmt: skip
