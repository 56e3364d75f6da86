"""Children that leave Ctrl-C to their parents."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time

import pytest

from scripts.programs.process_tree import deaf_children


def test_a_child_never_hears_ctrl_c_and_its_parent_hears_it_afterwards() -> None:
    child = multiprocessing.get_context("spawn").Process(target=time.sleep, args=(0.2,))
    with deaf_children():
        child.start()
    assert child.pid is not None
    os.kill(child.pid, signal.SIGINT)  # while it imports
    child.join(30.0)
    assert child.exitcode == 0


def test_our_own_ctrl_c_meanwhile_is_not_lost() -> None:
    with pytest.raises(KeyboardInterrupt):
        _start_under_ctrl_c()
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, ())


def _start_under_ctrl_c() -> None:
    with deaf_children():
        os.kill(os.getpid(), signal.SIGINT)
