"""Signals stop in order, once; a block that must not be torn ends first."""

import os
import signal
import subprocess
import sys

import pytest

from greenlit.stage.stopping import Stopped, postponed, stoppable


def send(number: int) -> None:
    os.kill(os.getpid(), number)


@pytest.mark.parametrize(("number", "code", "name"), [(signal.SIGTERM, 143, "SIGTERM"), (signal.SIGINT, 130, "SIGINT")])
def test_a_signal_is_raised_where_the_program_is(number: int, code: int, name: str) -> None:
    before = signal.getsignal(number)
    with pytest.raises(Stopped) as stopped, stoppable():
        send(number)
        raise AssertionError("not reached")
    assert (stopped.value.exit_code, stopped.value.name) == (code, name)
    assert signal.getsignal(number) is before


def test_what_is_postponed_ends_first_and_hears_of_it(capsys) -> None:
    heard = []
    with pytest.raises(Stopped), stoppable(), postponed() as stopping:
        heard.append(stopping())
        send(signal.SIGTERM)
        heard.append(stopping())
        send(signal.SIGTERM)  # a second one is no hurry
        heard.append(stopping())
    assert heard == [False, True, True]
    assert capsys.readouterr().err == "stopping; Ctrl-C again ends at once\n"


def test_a_fault_in_a_postponed_block_comes_out_as_it_is() -> None:
    with pytest.raises(ValueError, match="mine"), stoppable(), postponed():
        send(signal.SIGTERM)
        raise ValueError("mine")


def test_clearing_up_is_not_disturbed_by_a_second_sigterm() -> None:
    cleared = []
    with pytest.raises(Stopped), stoppable():
        try:
            send(signal.SIGTERM)
        finally:
            send(signal.SIGTERM)
            cleared.append(True)
    assert cleared == [True]


def test_each_block_starts_anew() -> None:
    for _ in range(2):
        with pytest.raises(Stopped), stoppable():
            send(signal.SIGTERM)
    with stoppable(), postponed() as stopping:
        assert not stopping()


def test_a_signal_that_was_ignored_stays_ignored() -> None:
    code = (
        "import os, signal\n"
        "from greenlit.stage.stopping import stoppable\n"
        "signal.signal(signal.SIGINT, signal.SIG_IGN)\n"
        "with stoppable():\n"
        "    os.kill(os.getpid(), signal.SIGINT)\n"
        "    print('still here')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "still here\n"
