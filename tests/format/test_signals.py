"""Signals end the process by an exception, or wait for the end of a block."""

from __future__ import annotations

import signal
import threading

import pytest

from fae.format.signals import Terminated, signals_deferred, terminate_on_sigterm


def test_sigterm_raises_terminated_and_the_former_handler_returns() -> None:
    former = signal.getsignal(signal.SIGTERM)
    with pytest.raises(Terminated) as terminated, terminate_on_sigterm():
        signal.raise_signal(signal.SIGTERM)
    assert terminated.value.code == 143
    assert signal.getsignal(signal.SIGTERM) == former


@pytest.mark.parametrize(
    ("number", "error"), [(signal.SIGTERM, Terminated), (signal.SIGINT, KeyboardInterrupt)]
)
def test_deferred_signals_arrive_at_the_end_of_the_block(
    number: signal.Signals, error: type[BaseException]
) -> None:
    reached = []

    def work() -> None:
        with signals_deferred():
            signal.raise_signal(number)
            reached.append("end of the block")

    with pytest.raises(error), terminate_on_sigterm():
        work()
    assert reached == ["end of the block"]


def test_deferring_in_another_thread_changes_no_handler() -> None:
    handlers = []

    def defer() -> None:
        with signals_deferred():
            handlers.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=defer)
    thread.start()
    thread.join()
    assert handlers == [signal.getsignal(signal.SIGTERM)]
