"""Children that do not outlive their parents, whatever kills those, and that leave Ctrl-C to them."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager

_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None, use_errno=True)


def die_with_parent(number: signal.Signals, parent_pid: int) -> None:
    """Have the kernel send this process `number` when its parent dies; end at once where it has died already.

    Ref: Linux prctl(2), PR_SET_PDEATHSIG.
    """
    if _libc.prctl(_PR_SET_PDEATHSIG, int(number), 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG) failed: is this Linux?")
    if os.getppid() != parent_pid:
        sys.exit(1)


def is_running(pid: int) -> bool:
    """Return whether a process of this id runs, whoever's it is."""
    if pid <= 0:
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # somebody else's process
        return True
    return True


def before_exec(number: signal.Signals) -> Callable[[], None]:
    """Return what `subprocess.Popen(preexec_fn=...)` runs in a child that shall get `number` when we die."""
    parent_pid = os.getpid()
    return lambda: die_with_parent(number, parent_pid)


@contextmanager
def deaf_children() -> Generator[None]:
    """Have processes that are started meanwhile never hear Ctrl-C, their imports included; ours is not lost.

    Ref: Linux signal(7): the mask of blocked signals is inherited, across execve too.
    """
    from multiprocessing import resource_tracker  # a server on a Pi starts none, and need not load it

    resource_tracker.ensure_running()  # or multiprocessing starts it with the first child, and unblocks SIGINT then
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
