"""SIGTERM and a closed terminal end a command as Ctrl-C does."""

from __future__ import annotations

import signal

import pytest

from ecsconsul.cli.interrupts import SIGNALS, ended_like_ctrl_c


@pytest.mark.parametrize("number", SIGNALS)
def test_signal_interrupts_and_means_afterwards_what_it_did_before(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    with pytest.raises(KeyboardInterrupt), ended_like_ctrl_c():
        signal.raise_signal(number)
    assert signal.getsignal(number) == before


def test_signal_that_is_ignored_stays_so() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with ended_like_ctrl_c():
            signal.raise_signal(signal.SIGHUP)
    finally:
        signal.signal(signal.SIGHUP, before)
