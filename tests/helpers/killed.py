"""A process that is killed at one of its failpoints."""

from __future__ import annotations

import ctypes
import os
import signal
from collections.abc import Callable

from brainbrr.core import failpoints

_CLONE_NEWPID = 0x20000000


def killed(run: Callable[[], object], at: int) -> str | None:
    """Run in a process that is killed at its n-th failpoint, and return which that was; None when it ended."""
    told, tell = os.pipe()
    child = os.fork()
    if child == 0:
        reached = 0

        def die(point: str) -> None:
            nonlocal reached
            reached += 1
            if reached == at:
                os.write(tell, point.encode())
                os.kill(os.getpid(), signal.SIGKILL)

        failpoints.listener = die
        try:
            run()
        except BaseException as error:  # noqa: BLE001  # a child must not go on as its parent
            os.write(2, f"{error!r}\n".encode())
            os._exit(1)
        os._exit(0)
    os.close(tell)
    with os.fdopen(told, "rb") as pipe:
        point = pipe.read().decode()
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert status == (-signal.SIGKILL if point else 0), status
    return point or None


def killed_elsewhere(run: Callable[[], object], at: int) -> str | None:
    """Do as killed() in a pid namespace of its own, as a container has, which has ended when this returns."""
    told, tell = os.pipe()
    child = os.fork()
    if child == 0:
        if ctypes.CDLL(None, use_errno=True).unshare(_CLONE_NEWPID):
            os.write(2, f"unshare: {os.strerror(ctypes.get_errno())}\n".encode())
            os._exit(1)
        init = os.fork()  # its first process, which no signal from within can kill
        if init == 0:
            os.write(tell, (killed(run, at) or "").encode())
            os._exit(0)
        os._exit(os.waitstatus_to_exitcode(os.waitpid(init, 0)[1]))
    os.close(tell)
    with os.fdopen(told, "rb") as pipe:
        point = pipe.read().decode()
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    return point or None
