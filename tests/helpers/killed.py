"""A process that is killed at one of its failpoints."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable

from brainbrr.core import failpoints


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
