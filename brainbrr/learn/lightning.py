"""Two views as a LightningDataModule: every process reads its own part of each batch."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import islice
from typing import TYPE_CHECKING, Any

from brainbrr.errors import DependencyError
from brainbrr.learn.torch_loader import in_this_world, torch_loader
from brainbrr.loading.loader import Batch, Choices, order_of
from brainbrr.loading.order import Sampling
from brainbrr.views.view import View

if TYPE_CHECKING:
    from lightning import LightningDataModule


@dataclass
class Epochs:
    """Batches of a view, an epoch at each iteration, as Lightning wants them: with a length, and each in its own
    memory.

    `epoch` is the one that the next iteration begins. With `once` every iteration is the first epoch, no window twice.
    """

    view: View
    choices: Callable[[], Choices]
    """Asked at each iteration: Lightning sets torch.distributed up after it has made the loaders."""
    epoch: int = 0
    once: bool = False

    def __len__(self) -> int:
        return order_of(self.view.index, self.choices()).steps(1)

    def __iter__(self) -> Iterator[Batch]:
        steps = len(self)
        choices = replace(self.choices(), start_step=self.epoch * steps, epochs=1 if self.once else None)
        choices = replace(choices, reuse=False)  # Lightning fetches the next batch before this one is used
        with torch_loader(self.view.index, self.view.store, choices, mode="stream", device="cpu") as batches:
            yield from islice(batches, steps)
        self.epoch += not self.once


def data_module(train: View, dev: View | None, choices: Choices) -> LightningDataModule:
    """Return a data module of a view to train on and one to validate on. Raises DependencyError without Lightning."""
    try:
        from lightning import LightningDataModule
    except ImportError as error:
        raise DependencyError("data_module() needs Lightning", fix="pip install 'brainbrr[lightning]'") from error

    class Views(LightningDataModule):  # type: ignore[misc]  # Lightning's own, which mypy may not see
        """The loaders of two views; a checkpoint keeps how many epochs were read."""

        def __init__(self) -> None:
            super().__init__()
            self.epochs = Epochs(train, lambda: in_this_world(choices))

        def train_dataloader(self) -> Epochs:
            return self.epochs

        def val_dataloader(self) -> Epochs | list[Any]:
            plain = replace(choices, sampling=Sampling(shuffle="none"), augment=type(choices.augment)())
            return [] if dev is None else Epochs(dev, lambda: in_this_world(plain), once=True)

        def state_dict(self) -> dict[str, Any]:
            return {"epoch": self.epochs.epoch}

        def load_state_dict(self, state: dict[str, Any]) -> None:
            self.epochs.epoch = int(state["epoch"])

    return Views()
