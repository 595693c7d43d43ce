"""The arithmetic of the byte budget: what an embedding row costs on the device.

`hotset/problem.py` cuts a ranking where the rows' costs exceed the budget.
"""

from dataclasses import dataclass

#: Bytes of one element of an embedding row, by the names that schemas use.
DTYPE_BYTES = {"float32": 4, "float16": 2, "bfloat16": 2, "float64": 8}
#: Optimizer → state beside one embedding row: (float32 scalars, rows of its own dim and dtype).
OPTIMIZER_STATE = {"sgd": (0, 0), "rowwise_adagrad": (1, 0), "adagrad": (0, 1), "adam": (0, 2)}


@dataclass(frozen=True)
class Embedding:
    """What one row costs on the device: the byte budget counts dtype and optimizer state."""

    dtype: str
    optimizer: str

    def row_bytes(self, dim: int) -> int:
        """Return the bytes of one embedding row of `dim` elements with its optimizer state."""
        scalars, rows = OPTIMIZER_STATE[self.optimizer]
        return (1 + rows) * dim * DTYPE_BYTES[self.dtype] + 4 * scalars


@dataclass(frozen=True)
class Budget:
    """The bytes allowed for hot rows, the bytes that they take, and the rule that chose them."""

    bytes: int
    used_bytes: int
    rule: str
