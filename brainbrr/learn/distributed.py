"""The processes that train together: their sums, their agreement, and the signals that stop them. Knows tensors only.

Gradients are added in one flat all-reduce, whose order of additions is the same in a process that resumes; torch's
DistributedDataParallel regroups them after its first step. A single process is a world of size 1 and sends nothing.
Signals wait until the current step is complete.
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

_STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)
"""Ctrl-C; a scheduler that ends the job; its warning before that, as with `#SBATCH --signal=USR1@120`."""


@contextmanager
def interrupts() -> Iterator[threading.Event]:
    """Catch the signals that stop a training: give an event that is set by the first. A second Ctrl-C acts at once.

    A scheduler may send its signal twice, once directly and once through the launcher, so only Ctrl-C counts again.
    """
    received = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield received
        return
    before = {number: signal.getsignal(number) for number in _STOPPING}

    def catch(number: int, *_: object) -> None:
        received.set()
        if number == signal.SIGINT:
            signal.signal(number, before[signal.SIGINT])

    for number in before:
        signal.signal(number, catch)
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


_NAME_BYTES = 255


@dataclass(frozen=True)
class World:
    """This process is `rank` of `size`; tensors that it shares with the others are on `device`."""

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
        with _all_alive():
            distributed.all_reduce(flat)
        for tensor, total in zip(tensors, torch.split(flat, [tensor.numel() for tensor in tensors]), strict=True):
            tensor.copy_(total.view_as(tensor))

    def all(self, number: int) -> list[int]:
        """Return the number of each process, in the order of ranks, once every process has given its own."""
        if self.size == 1:
            return [number]
        numbers = torch.zeros(self.size, dtype=torch.int64, device=self.device)
        numbers[self.rank] = number
        self.add([numbers])
        return [int(other) for other in numbers.tolist()]

    def meet(self) -> None:
        """Return once every process has called this: what rank 0 wrote before is on disk."""
        self.all(0)

    def any(self, flag: bool) -> bool:
        """Return whether the flag of any process is true."""
        return any(self.all(int(flag)))

    def name(self, name: str) -> str:
        """Return the name that rank 0 gave, of at most 255 bytes."""
        if self.size == 1:
            return name
        padded = name.encode().ljust(_NAME_BYTES, b"\0")
        letters = torch.tensor(list(padded), dtype=torch.uint8, device=self.device)
        with _all_alive():
            distributed.broadcast(letters, src=0)
        return bytes(letters.tolist()).rstrip(b"\0").decode()


@contextmanager
def _all_alive() -> Iterator[None]:
    """Raise BrainbrrError where another process has ended: its own error is the one to look at."""
    try:
        yield
    except RuntimeError as error:
        raise BrainbrrError(
            f"another process of the training has ended: {error!s:.200}", fix="see the output of that process"
        ) from None


def device_of(name: str) -> torch.device:
    """Return the device that `auto`, `cpu` or `cuda` means here. Raises DependencyError where it is missing."""
    has_cuda = torch.cuda.is_available()
    if name == "cuda" and not has_cuda:
        raise DependencyError("train.device is cuda, and torch finds no such device", fix='set train.device = "auto"')
    if has_cuda and name != "cpu":
        return torch.device("cuda", torch.cuda.current_device())
    return torch.device("cpu")


def is_set_up() -> bool:
    """Say whether torch.distributed is set up in this process."""
    return distributed.is_available() and distributed.is_initialized()


def this_world(device: torch.device) -> World:
    """Return the world of torch.distributed: of one process where that is not set up."""
    if not is_set_up():
        return World(0, 1, device)
    return World(distributed.get_rank(), distributed.get_world_size(), device)


@contextmanager
def joined(launch: Launch | None, *, cuda: bool) -> Iterator[None]:
    """Join the other processes of a launch, over nccl (CUDA) or gloo, and leave them at the end.

    Does nothing without a launch, and where the caller has set up torch.distributed already.
    With CUDA each process of a node takes the device of its local rank. Raises DependencyError where it has none.
    """
    if launch is None or is_set_up():
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
