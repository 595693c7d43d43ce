"""Signals end the process by an exception, or wait for the end of a block."""

from __future__ import annotations

import signal
import threading

import pytest

from fae.format.signals import Terminated, signals_deferred, terminate_by_exception


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_a_signal_raises_terminated_and_the_former_handler_returns(
    number: signal.Signals, code: int
) -> None:
    former = signal.getsignal(number)
    with pytest.raises(Terminated) as terminated, terminate_by_exception():
        signal.raise_signal(number)
    assert terminated.value.code == code
    assert signal.getsignal(number) == former


def test_a_signal_that_is_ignored_stays_so() -> None:
    former = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with terminate_by_exception(), signals_deferred():
            signal.raise_signal(signal.SIGHUP)  # as under nohup
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, former)


@pytest.mark.parametrize(
    ("number", "error"),
    [
        (signal.SIGTERM, Terminated),
        (signal.SIGHUP, Terminated),
        (signal.SIGINT, KeyboardInterrupt),
    ],
)
def test_deferred_signals_arrive_at_the_end_of_the_block(
    number: signal.Signals, error: type[BaseException]
) -> None:
    reached = []

    def work() -> None:
        with signals_deferred():
            signal.raise_signal(number)
            reached.append("end of the block")

    with pytest.raises(error), terminate_by_exception():
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
