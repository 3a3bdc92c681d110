"""Views as other libraries take them: xarray, braindecode's EEGClassifier, Lightning's Trainer."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import brainbrr
from brainbrr.learn.lightning import Epochs
from brainbrr.loading.loader import Choices
from brainbrr.loading.order import Sampling
from brainbrr.views.view import View

pytestmark = pytest.mark.slow


@pytest.fixture
def view(view_of: Callable[..., View]) -> View:
    return view_of("train")


def test_windows_of_xarray_are_those_of_the_view(view: View) -> None:
    pytest.importorskip("xarray")
    found = view.to_xarray()
    assert found.signal.shape == (len(view), 19, view.length) and found.attrs["view"] == view.digest
    for i in (0, len(view) - 1):
        assert np.array_equal(found.signal[i].values, view[i].signal)
        assert (found.patient.values[i], found.start_s.values[i]) == (view[i].recording.patient, view[i].start_s)
    some = found.signal[5:1:-2, [3, 0], 100:200:7]
    assert np.array_equal(some.values, np.stack([view[i].signal for i in (5, 3)])[:, [3, 0], 100:200:7])
    assert np.array_equal(found.sel(channel="Cz").signal[2].values, view[2].signal[view.channels.index("Cz")])
    assert np.array_equal(found.label.values != "background", view.classes() != 0)
    assert found.where(found.label == "full", drop=True).sizes["window"] == (view.classes() == 2).sum()


def test_an_epoch_of_a_classifier_of_braindecode(view: View) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pytest.importorskip("braindecode", exc_type=ImportError)
        from braindecode import EEGClassifier

        found: Any = view.to_braindecode()
        assert len(found) == (view.classes() != 3).sum() and set(found.split("split")) == {"train"}
        signal, label, (_, start, stop) = found[0]
        assert np.array_equal(signal, view[0].signal) and (start, stop) == (0, view.length)
        labels = [each[1] for each in found]
        assert labels == (view.classes()[view.classes() != 3] > 0).astype(int).tolist() and label in (0, 1)
        net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(19 * view.length, 2))
        made = EEGClassifier(
            net, criterion=torch.nn.CrossEntropyLoss, max_epochs=1, train_split=None, batch_size=8, verbose=0
        )
        made.fit(found, y=None)
    assert np.isfinite(made.history[-1]["train_loss"])


def test_each_epoch_is_another_order_and_each_batch_its_own_memory(view: View) -> None:
    choices = Choices(batch=8, sampling=Sampling(3), per="window")
    epochs = Epochs(view, lambda: choices)
    first, second = list(epochs), list(epochs)
    assert len(first) == len(second) == len(epochs) and epochs.epoch == 2
    with brainbrr.loader(view, batch=8, seed=3, per="window") as batches:
        for mine in (*first, *second):
            theirs = next(batches)
            assert torch.equal(mine.signal, theirs.signal) and torch.equal(mine.index, theirs.index)
    again = Epochs(view, lambda: choices, epoch=1)
    assert all(torch.equal(a.index, b.index) for a, b in zip(again, second, strict=True))


def test_lightning_trains_and_continues_from_its_checkpoint(view_of: Callable[..., View], tmp_path: Path) -> None:
    lightning = pytest.importorskip("lightning", exc_type=ImportError)

    class Small(lightning.LightningModule):  # type: ignore[name-defined, misc]
        def __init__(self) -> None:
            super().__init__()
            self.net, self.seen = torch.nn.Linear(19, 1), []  # type: ignore[var-annotated]

        def training_step(self, batch: Any, _: int) -> Any:
            self.seen.append(batch.index)
            return torch.nn.functional.binary_cross_entropy_with_logits(
                self.net(batch.signal.mean(2))[:, 0], batch.label.float().clamp(max=1)
            )

        def validation_step(self, batch: Any, _: int) -> None:
            assert (batch.index.diff() > 0).all()

        def configure_optimizers(self) -> Any:
            return torch.optim.SGD(self.parameters(), 1e-3)

    def fit(epochs: int, **more: Any) -> Any:
        module = Small()
        data = brainbrr.data_module(view_of("train"), view_of("dev"), batch=8, per="window", seed=1)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            trainer = lightning.Trainer(
                max_epochs=epochs, accelerator="cpu", logger=False, default_root_dir=tmp_path,
                enable_progress_bar=False, enable_model_summary=False,
            )  # fmt: skip
            trainer.fit(module, datamodule=data, **more)
        trainer.save_checkpoint(tmp_path / "last.ckpt")
        return module.seen

    whole = fit(2)
    first = fit(1)
    rest = fit(2, ckpt_path=tmp_path / "last.ckpt")
    assert [each.tolist() for each in (*first, *rest)] == [each.tolist() for each in whole]
