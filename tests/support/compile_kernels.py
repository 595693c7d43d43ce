"""Compile the trainer's kernels for GPUs, which takes no GPU: python compile_kernels.py."""

from __future__ import annotations

import itertools
import sys
from typing import Any

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from fae_trainer.embedding import kernels

#: Compute capabilities: A100, H100 and H200.
TARGETS = (80, 90)
DIM, STATE, STEPS = 20, 1, 21


def types(row: str, slot: str) -> dict[str, str]:
    """Return the type of each argument for rows and slots of a type."""
    rows = ("memory", "staging", "hot", "cold", "vectors", "gradient", "settings", "tails")
    slots = ("ids", "offsets", "hot_rows", "hot_shift", "cold_shift", "slots", "keys", "next_keys")
    narrow = ("id_count", "bag_count", "features", "count", "sample_stride", "owner", "owners")
    return {
        **dict.fromkeys((*rows, "heads", "next_staging"), f"*{row}"),
        **dict.fromkeys(slots, f"*{slot}"),
        **dict.fromkeys(("bags", "head_ends"), "*i32"),
        **dict.fromkeys(("order", "places"), "*i64"),
        **dict.fromkeys((*narrow, "next_count"), "i32"),
        **dict.fromkeys(("hot_total", "row_total"), slot),
    }


def constants(lists: bool) -> dict[str, Any]:
    width, padded = DIM + STATE, triton.next_power_of_2(DIM)
    return {
        **dict.fromkeys(("LISTS", "MEAN"), lists),
        **dict.fromkeys(("ADAGRAD", "DECAYS", "STAGED", "WRITE"), True),
        **dict.fromkeys(("STEPS", "NEXT_STEPS"), STEPS),
        **dict.fromkeys(("BLOCK", "TILE"), 32),
        "COLD_CACHE": ".cv" if lists else "",
        "DIM": DIM,
        "DIM_PADDED": padded,
        "WIDTH": width,
        "WIDTH_PADDED": triton.next_power_of_2(width),
    }


def compile_kernel(name: str, target: int, row: str, slot: str, lists: bool) -> str:
    """Return the machine code of a kernel as PTX."""
    function = getattr(kernels, name)
    given, of = constants(lists), types(row, slot)
    signature = {each: "constexpr" if each in given else of[each] for each in function.arg_names}
    chosen = {
        (number,): given[each] for number, each in enumerate(function.arg_names) if each in given
    }
    source = ASTSource(fn=function, signature=signature, constexprs=chosen)
    made = triton.compile(
        source, target=GPUTarget("cuda", target, 32), options={"enable_fp_fusion": False}
    )
    return str(made.asm["ptx"])


def main() -> None:
    names = (
        "find_slots",
        "find_places",
        "copy_cold",
        "look_up",
        "update_runs_in_tiles",
        "update_runs_across_tiles",
    )
    for target, name in itertools.product(TARGETS, names):
        kinds = [("fp32", "i32", False)] if target == 80 else [("fp64", "i64", True)]
        for row, slot, lists in kinds:
            assert f".target sm_{target}" in compile_kernel(name, target, row, slot, lists)
            print(f"{name} for sm_{target}, {row}, {slot}")


if __name__ == "__main__":
    sys.exit(main())
