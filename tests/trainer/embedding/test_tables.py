"""Tables: initial values by id alone, and loading to where ids say."""

from __future__ import annotations

import numpy as np
import torch

from fae_trainer.embedding.layout import Layout
from fae_trainer.embedding.optimizers import ROW_OPTIMIZERS
from fae_trainer.embedding.tables import Tables


def _tables(hot: list[int], dtype: torch.dtype = torch.float32) -> Tables:
    rows = np.array([70_000, 9], dtype=np.int64)
    places = Layout(("big", "small"), rows, np.array(hot, dtype=np.int64), np.array([0, 1]))
    cpu = torch.device("cpu")
    return Tables(places, 3, cpu, dtype, ROW_OPTIMIZERS["rowwise_adagrad"])


def test_first_values_do_not_depend_on_the_layout() -> None:
    plain = _tables([0, 0])
    plain.initialise(5)
    for hot in ([70_000, 9], [66_000, 4], [1, 0]):
        other = _tables(hot)
        other.initialise(5)
        double = _tables(hot, torch.float64)
        double.initialise(5)
        for name, rows in plain.rows().items():
            assert torch.equal(other.rows()[name], rows)
            torch.testing.assert_close(double.rows()[name].float(), rows, rtol=1e-6, atol=0)
    bound = 9**-0.5
    small = plain.rows()["small"]
    assert small.abs().max() <= bound
    assert small.abs().max() > bound / 2
    again = _tables([0, 0])
    again.initialise(6)
    assert not torch.equal(again.rows()["small"], small)


def test_loading_puts_rows_and_states_where_their_ids_say() -> None:
    rows = {"big": torch.randn(70_000, 3), "small": torch.randn(9, 3)}
    states = {"big": torch.rand(70_000, 1), "small": torch.rand(9, 1)}
    tables = _tables([500, 4])
    tables.load(rows, states)
    assert torch.equal(tables.hot.rows[500:504], rows["small"][:4])
    assert torch.equal(tables.cold.rows[:69_500], rows["big"][500:])
    for found, given_values in ((tables.rows(), rows), (tables.states(), states)):
        assert all(torch.equal(found[name], given_values[name]) for name in rows)
