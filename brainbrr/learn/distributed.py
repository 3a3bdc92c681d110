"""The processes that train together: what they add up, and what they agree on. Knows tensors only.

Gradients are added in one flat all-reduce, whose order of additions is the same in a process that resumes; torch's
DistributedDataParallel regroups them after its first step. One process is a world of its own and talks to nobody.

How a person or a scheduler stops a training: signals wait until the step is whole. Knows nothing of training.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, distributed

from brainbrr.errors import BrainbrrError, DependencyError
from brainbrr.settings import Launch

_ASKING = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)
"""Ctrl-C; a scheduler's end; a scheduler's warning, as of `#SBATCH --signal=USR1@120`."""


@contextmanager
def interrupts() -> Iterator[threading.Event]:
    """Hold signals back: give what is set when one came. A second Ctrl-C does at once what it did before.

    A scheduler may say it twice, to all of a job's processes while their launcher passes it on: only a person means
    more by that.
    """
    asked = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield asked
        return
    before = {number: signal.getsignal(number) for number in _ASKING}

    def hold(number: int, *_: object) -> None:
        asked.set()
        if number == signal.SIGINT:
            signal.signal(number, before[signal.SIGINT])

    for number in before:
        signal.signal(number, hold)
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


_NAME_BYTES = 255


@dataclass(frozen=True)
class World:
    """This process is `rank` of `size`; tensors that it shares with the others lie on `device`."""

    rank: int
    size: int
    device: torch.device

    @property
    def writes(self) -> bool:
        """Whether this is the process that writes the run's folder."""
        return self.rank == 0

    def add(self, tensors: Sequence[Tensor]) -> None:
        """Replace each tensor, of one dtype, by its sum over all processes."""
        if self.size == 1:
            return
        flat = torch.cat([tensor.reshape(-1) for tensor in tensors])
        with _all_there():
            distributed.all_reduce(flat)
        for tensor, total in zip(tensors, torch.split(flat, [tensor.numel() for tensor in tensors]), strict=True):
            tensor.copy_(total.view_as(tensor))

    def all(self, number: int) -> list[int]:
        """Return what each process says, in the order of ranks. Nobody returns before everybody has said it."""
        if self.size == 1:
            return [number]
        told = torch.zeros(self.size, dtype=torch.int64, device=self.device)
        told[self.rank] = number
        self.add([told])
        return [int(other) for other in told.tolist()]

    def meet(self) -> None:
        """Return once every process is here: what rank 0 wrote before is there now."""
        self.all(0)

    def any(self, flag: bool) -> bool:
        """Return whether any process says so."""
        return any(self.all(int(flag)))

    def name(self, name: str) -> str:
        """Return the name that rank 0 gave, of at most 255 bytes."""
        if self.size == 1:
            return name
        told = name.encode().ljust(_NAME_BYTES, b"\0")
        letters = torch.tensor(list(told), dtype=torch.uint8, device=self.device)
        with _all_there():
            distributed.broadcast(letters, src=0)
        return bytes(letters.tolist()).rstrip(b"\0").decode()


@contextmanager
def _all_there() -> Iterator[None]:
    """Raise BrainbrrError where another process is gone: what ended it is the error to look at."""
    try:
        yield
    except RuntimeError as error:
        raise BrainbrrError(
            f"another process of the training is gone: {error!s:.200}", fix="see what that process said"
        ) from None


def this_world(device: torch.device) -> World:
    """Return the world as torch.distributed knows it: of one process where nobody has set it up."""
    if not (distributed.is_available() and distributed.is_initialized()):
        return World(0, 1, device)
    return World(distributed.get_rank(), distributed.get_world_size(), device)


@contextmanager
def joined(launch: Launch | None, *, cuda: bool) -> Iterator[None]:
    """Meet the other processes of a launch at the address in the environment, over nccl or gloo, and part at the end.

    With CUDA each process of a node takes the device of its local rank. Raises DependencyError where it has none.
    """
    if launch is None or (distributed.is_available() and distributed.is_initialized()):
        yield
        return
    if cuda:
        if launch.local_rank >= torch.cuda.device_count():
            raise DependencyError(
                f"process {launch.local_rank} of this node finds {torch.cuda.device_count()} CUDA devices",
                fix='launch as many processes as there are devices, or set train.device = "cpu"',
            )
        torch.cuda.set_device(launch.local_rank)
    distributed.init_process_group("nccl" if cuda else "gloo", rank=launch.rank, world_size=launch.size)
    try:
        yield
    finally:
        distributed.destroy_process_group()
