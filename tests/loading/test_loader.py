"""Batches hold the view's windows, bit for bit, from wherever and however they are read."""

from __future__ import annotations

import errno
import gc
import os
import pickle
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import zarr

import brainbrr
from brainbrr.errors import BrainbrrError, IntegrityError, SpaceError, UsageError
from brainbrr.loading.augment import Augment
from brainbrr.loading.kernels import Numpy
from brainbrr.loading.loader import Batch, bfloat16
from brainbrr.loading.reader import Shards, WindowReader
from brainbrr.loading.windows import UNKNOWN
from brainbrr.store.store import Store
from brainbrr.views.view import View

ViewOf = Callable[..., View]

VIEWS: list[dict[str, Any]] = [
    {},
    {"tail": "shift", "normalise": "robust", "clip": "3"},
    {"normalise": "none", "missing": "zero", "channels": ["Cz", "Fp1"]},
    {"reference": "average", "normalise": "fixed", "scale_uv": "50"},
    {"reference": "bipolar", "missing": "nan", "length_s": "30"},
]


def copied(batch: Batch) -> Batch:
    """Keep a batch: the loader fills its buffers again."""
    return Batch(*(torch.as_tensor(each).clone() for each in batch))


def taken(n: int, view: View, **options: Any) -> list[Batch]:
    """Return the first n batches of a loader."""
    with brainbrr.loader(view, **{"batch": 5, "seed": 1, **options}) as batches:
        return [copied(batch) for batch in islice(batches, n)]


def same(ours: list[Batch], theirs: list[Batch]) -> bool:
    """Say whether batches are equal in every bit."""
    return len(ours) == len(theirs) and all(
        torch.equal(a.view(torch.uint8), b.view(torch.uint8))
        for one, other in zip(ours, theirs, strict=True)
        for a, b in zip(one, other, strict=True)
    )


def slow(view: View, window: int) -> np.ndarray:
    """Return a window by plain zarr and the definition of its rows, sample by sample of numpy."""
    recording, start = (int(each[0]) for each in view.index.locate(np.array([window])))
    content = view.recordings[recording].content
    array = zarr.open_array(view.store.location / "objects.zarr" / content[:2] / content, mode="r")
    x = np.asarray(array[:, start : start + view.length])
    rows, n = view.index.rows(recording), x.shape[1]
    out = np.zeros((len(view.channels), view.length), dtype=np.float32)
    for row, channel in enumerate(rows.source):
        if channel >= 0:
            out[row, :n] = (x[channel].astype(np.int64) - rows.centre[row]).astype(np.float32) * rows.gain[row]
        else:
            total = np.zeros(n)
            for weight, samples in zip(rows.weights[row], x, strict=True):
                total = total + weight * samples if weight != 0 else total
            out[row, :n] = total - rows.offset[row]
    limit = view.window.clip and np.float32(view.window.clip)
    return np.clip(out, -limit, limit) if limit else out


@pytest.mark.slow
@pytest.mark.parametrize("fields", VIEWS, ids=str)
def test_all_modes_threads_and_kernels_give_the_bits_of_plain_zarr(view_of: ViewOf, fields: dict[str, Any]) -> None:
    view = view_of(**fields)
    stream = taken(6, view, mode="stream")
    for batch in stream:
        for row, window in enumerate(batch.index.tolist()):
            expected = torch.from_numpy(slow(view, window))
            assert torch.equal(batch.signal[row].view(torch.int32), expected.view(torch.int32)) or (
                torch.equal(batch.signal[row].nan_to_num(9e9), expected.nan_to_num(9e9))
            )
            label, valid = np.empty(view.length, np.uint8), np.empty(view.length, np.bool_)
            view.fill(window, np.empty((len(view.channels), view.length), np.float32), label, valid)
            assert np.array_equal(batch.label[row], label)
            assert np.array_equal(batch.valid[row], valid & (label != UNKNOWN))
    for options in (
        {"mode": "resident"},
        {"mode": "resident", "threads": 2},
        {"mode": "stream", "threads": 3, "depth": 1},
        {"mode": "auto"},
        {"as_numpy": True},
        {"as_numpy": True, "mode": "resident"},
    ):
        assert same(taken(6, view, **options), stream), options
    dataset = brainbrr.loader(view, batch=5, seed=1, mode="map")
    assert same([copied(dataset.__getitems__(batch.index.tolist()).batch) for batch in stream], stream)
    item = dataset[int(stream[0].index[2])]
    assert torch.equal(item.signal.nan_to_num(9e9), stream[0].signal[2].nan_to_num(9e9))
    plain = WindowReader(view.index, Shards(view.index, view.store), compiled=False)
    for batch in stream[:2]:
        for row, (recording, start) in enumerate(zip(*view.index.locate(batch.index.numpy()), strict=True)):
            out = np.empty((len(view.channels), view.length), dtype=np.float32)
            plain.fill(int(recording), int(start), out)
            assert np.array_equal(out, batch.signal[row].numpy(), equal_nan=True)


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["stream", "resident"])
def test_stored_integers_come_as_they_are(view_of: ViewOf, mode: str) -> None:
    view = view_of(reference="bipolar")
    for batch in taken(4, view, mode=mode, dtype="int16"):
        assert batch.signal.dtype == torch.int16 and batch.signal.shape == (5, 19, 1024)
        for row, (recording, start) in enumerate(zip(*view.index.locate(batch.index.numpy()), strict=True)):
            array = view.store.open_array(view.recordings[recording].content)
            x = np.asarray(array[:, start : start + 1024])
            assert np.array_equal(batch.signal[row, :, : x.shape[1]], x)
            assert (batch.signal[row, :, x.shape[1] :] == -32768).all()


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_shorter_floats_are_the_nearest_ones(view_of: ViewOf, dtype: str) -> None:
    view = view_of(missing="nan")
    exact, rounded = taken(4, view), taken(4, view, dtype=dtype)
    for one, other in zip(exact, rounded, strict=True):
        assert other.signal.dtype == getattr(torch, dtype)
        assert torch.equal(one.signal.to(other.signal.dtype).nan_to_num(7), other.signal.nan_to_num(7))


def test_bfloat16_rounds_as_torch_does() -> None:
    values = np.random.default_rng(0).integers(0, 2**32, 100_000, dtype=np.uint32).view(np.float32)
    ours = torch.from_numpy(bfloat16(values)).view(torch.bfloat16)
    theirs = torch.from_numpy(values).to(torch.bfloat16)
    assert torch.equal(ours.isnan(), theirs.isnan()) and torch.equal(ours.nan_to_num(0), theirs.nan_to_num(0))


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["stream", "resident"])
@pytest.mark.parametrize("balance", [None, "balanced"])
def test_from_any_step_and_with_any_threads_the_same_batches_come(
    view_of: ViewOf, mode: str, balance: str | None
) -> None:
    options = {"mode": mode, "balance": balance, "batch": 3, "augment": Augment(gain=0.2, mirror=0.5, shift_s=1.0)}
    whole = taken(9, view_of(), **options)
    assert same(taken(4, view_of(), **options, start_step=5, threads=3), whole[5:])


@pytest.mark.slow
def test_ranks_read_the_parts_of_one_batch(view_of: ViewOf) -> None:
    options = {"balance": "balanced", "augment": Augment(gain=0.3, drop_channel=0.2)}
    whole = taken(4, view_of(), batch=6, **options)
    ranks = [taken(4, view_of(), batch=2, rank=rank, world=3, **options) for rank in range(3)]
    assert same([Batch(*map(torch.cat, zip(*parts, strict=True))) for parts in zip(*ranks, strict=True)], whole)


def test_one_epoch_holds_every_labelled_window_once_and_ends(view_of: ViewOf) -> None:
    view = view_of()
    batches = brainbrr.loader(view, batch=16, epochs=1, threads=2)
    sizes, windows = [], []
    for batch in batches:
        sizes.append(len(batch.signal))
        windows += batch.index.tolist()
    labelled = np.flatnonzero(view.classes() != 3)
    assert sorted(windows) == labelled.tolist()
    assert len(sizes) == batches.steps_per_epoch and sizes[:-1] == [16] * (len(sizes) - 1)
    assert list(brainbrr.loader(view, batch=16, epochs=1, start_step=len(sizes))) == []


@pytest.mark.slow
def test_a_shift_moves_labels_with_the_signal(view_of: ViewOf) -> None:
    view = view_of(tail="drop")
    plain = {int(w): s for b in taken(12, view, batch=8) for w, s in zip(b.index, b.signal, strict=True)}
    moved = 0
    for batch in taken(12, view, batch=8, augment=Augment(shift_s=1.0)):
        for window, signal, label in zip(batch.index.tolist(), batch.signal, batch.label, strict=True):
            recording, start = (int(each[0]) for each in view.index.locate(np.array([window])))
            whole = np.empty((19, view.recordings[recording].n_samples), dtype=np.float32)
            view.read(recording, 0, whole)
            at = next(
                a for a in range(max(start - 256, 0), start + 257) if np.array_equal(whole[:, a : a + 1024], signal)
            )
            times = (at + np.arange(1024)) / 256
            seizure = np.zeros(1024, dtype=bool)
            for onset, offset in view.recordings[recording].seizures:
                seizure |= (times >= onset / 1e6) & (times < offset / 1e6)
            assert np.array_equal(label == 1, seizure)
            moved += at != start
    assert moved > 80 and plain


def test_seizures_are_in_every_balanced_batch(view_of: ViewOf) -> None:
    for batch in taken(6, view_of(split="train"), batch=4, balance="balanced"):
        assert ((batch.label == 1).sum(1) > 0).sum() == 2


@pytest.mark.parametrize("per", ["sample", "window"])
@pytest.mark.parametrize(("labels", "rows"), [("type", ()), ("per-channel", (19,)), ("none", ())])
def test_labels_come_in_the_shape_that_was_asked_for(
    view_of: ViewOf, labels: str, rows: tuple[int, ...], per: str
) -> None:
    batch = taken(1, view_of(), labels=labels, per=per)[0]
    assert batch.label.shape == (5, *rows, *((1024,) if per == "sample" else ()))


def test_an_abandoned_loader_leaves_no_thread(view_of: ViewOf) -> None:
    batches = brainbrr.loader(view_of(), batch=2, seed=0)
    next(batches)
    assert any("brainbrr-loader" in thread.name for thread in threading.enumerate())
    batches.close()
    assert not any("brainbrr-loader" in thread.name for thread in threading.enumerate())


def test_nobody_reads_further_than_the_buffers(view_of: ViewOf, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[int] = []
    fill = WindowReader.fill
    monkeypatch.setattr(WindowReader, "fill", lambda self, *a: (read.append(1), fill(self, *a))[1])
    with brainbrr.loader(view_of(), batch=4, depth=2, as_numpy=True) as batches:
        for n in range(1, 6):
            next(batches)
            assert len(read) <= 4 * (n + 2)


def damaged(view: View, tmp_path: Path, *, at: int = 1000) -> View:
    location = Path(shutil.copytree(view.store.location, tmp_path / "store"))
    for shard in location.glob("objects.zarr/*/*/c.0.0"):
        shard.chmod(0o644)
        content = bytearray(shard.read_bytes())
        content[at] ^= 1
        shard.write_bytes(content)
    return View.from_json(Store.open(location), view.to_json())


def test_tiles_that_changed_places_stop_the_loader(view_of: ViewOf, tmp_path: Path) -> None:
    view = view_of()
    copied = Store.open(Path(shutil.copytree(view.store.location, tmp_path / "copy")))
    recording = view.recordings[0]
    shard, n = copied.layout.object(recording.content) / "c.0.0", recording.record.array.tile_bytes
    data = shard.read_bytes()
    shard.chmod(0o644)
    shard.write_bytes(data[n : 2 * n] + data[:n] + data[2 * n :])
    with pytest.raises(IntegrityError, match="another tile in the place"):
        view.over(copied)[0]


def test_without_a_catalog_damage_is_named_by_its_key(view_of: ViewOf, tmp_path: Path) -> None:
    view = damaged(view_of(), tmp_path)
    shutil.rmtree(view.store.location / "catalog")
    with pytest.raises(IntegrityError, match=f"in the recording of key {view.recordings[0].key}"):
        view[0]


@pytest.mark.parametrize("mode", ["stream", "resident", "map"])
def test_damage_stops_the_loader_and_says_where(view_of: ViewOf, tmp_path: Path, mode: str) -> None:
    view = damaged(view_of(), tmp_path)
    with pytest.raises(IntegrityError, match=r"damaged from 0 s to 10 s") as caught:
        if mode == "map":
            for window in range(20):
                brainbrr.loader(view, batch=1, mode="map")[window]
        taken(30, view, mode=mode)
    [recording] = [each for each in view.recordings if each.content in str(caught.value)]
    assert f"in recording {recording.path} of demo" in caught.value.what


@pytest.mark.parametrize("by", ["the kernels", "the reader of compiled kernels", "the reader"])
def test_damage_after_the_first_read_stops_the_loader(
    view_of: ViewOf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, by: str
) -> None:
    view = view_of()
    moved = View.from_json(Store.open(Path(shutil.copytree(view.store.location, tmp_path / "store"))), view.to_json())
    index = moved.index
    windows = WindowReader(index, Shards(index, moved.store), compiled=by != "the reader")
    if windows._many is not None:
        monkeypatch.setattr(windows._many, "verifies", by == "the kernels" and windows._many.verifies)
    recordings, starts = index.locate(np.arange(4))
    out = np.empty((4, len(index.frame.rows), index.frame.length), dtype=np.float32)
    windows.fill_many(recordings, starts, out)
    for shard in moved.store.location.glob("objects.zarr/*/*/c.0.0"):
        shard.chmod(0o644)
        with shard.open("r+b") as file:  # bit rot under an open file
            file.write(b"\xaa\x55" * 4)
    with pytest.raises(IntegrityError, match="crc32c of tile 0"):
        windows.fill_many(recordings, starts, out)


def test_objects_that_go_away_under_a_loader_are_a_clear_error(view_of: ViewOf, tmp_path: Path) -> None:
    view = view_of()
    location = Path(shutil.copytree(view.store.location, tmp_path / "store"))
    moved = View.from_json(Store.open(location), view.to_json())
    with brainbrr.loader(moved, batch=1, seed=0) as batches:
        next(batches)
        shutil.rmtree(location / "objects.zarr")
        with pytest.raises(IntegrityError, match=r"not there|no shard"):
            for _ in range(200):
                next(batches)


def test_a_view_that_does_not_fit_is_refused_with_the_figure(view_of: ViewOf, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("brainbrr.loading.reader.free_bytes", lambda: 10**9 // 2)
    with pytest.raises(SpaceError, match=r"takes 0\.0 GB as int16, and 0\.5 GB of memory are free"):
        brainbrr.loader(view_of(), batch=1, mode="resident")


def test_an_index_file_and_a_store_are_all_that_reading_needs(view_of: ViewOf, tmp_path: Path) -> None:
    view = view_of()
    view.index.save(tmp_path / "view.npz")
    index = brainbrr.Index.load(tmp_path / "view.npz")
    assert same(taken(3, index, store=view.store), taken(3, view))


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver", "none"])
@pytest.mark.filterwarnings("ignore:This process.*is multi-threaded:DeprecationWarning")
@pytest.mark.slow
def test_any_dataloader_reads_the_same(view_of: ViewOf, method: str) -> None:
    view = view_of()
    view[0]  # this process has read already: what it opened must not matter to others
    dataset = brainbrr.loader(view, batch=6, seed=3, mode="map", balance="balanced")
    workers = {} if method == "none" else {"num_workers": 2, "multiprocessing_context": method}
    loaded = torch.utils.data.DataLoader(dataset, batch_sampler=dataset.batches, collate_fn=dataset.whole, **workers)
    ours = [copied(batch) for batch in islice(loaded, 4)]
    assert same(ours, taken(4, view, batch=6, seed=3, balance="balanced"))
    del loaded
    gc.collect()


def test_tensors_that_are_kept_stay_and_a_loop_that_keeps_none_takes_no_more_memory(view_of: ViewOf) -> None:
    view = view_of()
    expected = taken(8, view)
    with brainbrr.loader(view, batch=5, seed=1) as batches:
        assert same(list(islice(batches, 8)), expected), "kept without a copy"
    with brainbrr.loader(view, batch=5, seed=1) as batches:
        rows = [batch.signal[2] for batch in islice(batches, 8)]
    assert all(torch.equal(row, batch.signal[2]) for row, batch in zip(rows, expected, strict=True)), "a part is kept"
    for options, most in (({}, 5), ({"reuse": True}, 3), ({"as_numpy": True}, 3)):
        places = set()
        with brainbrr.loader(view, batch=5, seed=1, **options) as batches:
            for batch in islice(batches, 30):
                places.add(torch.as_tensor(batch.signal).data_ptr())
        assert len(places) <= most, options
    with brainbrr.loader(view, batch=5, seed=1, reuse=True) as batches:
        assert not same(list(islice(batches, 8)), expected), "what it says"


def test_too_little_shared_memory_is_said_before_a_worker_hangs(
    view_of: ViewOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = brainbrr.loader(view_of(), batch=1, mode="map")
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=100_000))
    assert len(dataset.__getitems__([0, 1])) == 2, "this process needs none"
    workers = torch.utils.data.DataLoader(dataset, batch_size=2, num_workers=1, multiprocessing_context="fork")
    with pytest.raises(SpaceError, match="of shared memory are free") as refused:
        next(iter(workers))
    assert "num_workers=0" in str(refused.value)


def test_a_plain_dataloader_shuffles_and_batches_every_window_once(view_of: ViewOf) -> None:
    view = view_of()
    dataset = brainbrr.loader(view, batch=1, mode="map")
    batches = list(torch.utils.data.DataLoader(dataset, batch_size=8, shuffle=True))
    assert [len(batch.index) for batch in batches] == [8] * (len(view) // 8) + [len(view) % 8] * (len(view) % 8 > 0)
    assert sorted(int(i) for batch in batches for i in batch.index) == list(range(len(view)))
    for batch in batches[:2]:
        for row, window in enumerate(batch.index.tolist()):
            assert torch.equal(batch.signal[row], dataset[window].signal)


def test_a_plain_dataloader_collates_items(view_of: ViewOf) -> None:
    dataset = brainbrr.loader(view_of(), batch=1, mode="map")
    batch = next(iter(torch.utils.data.DataLoader([dataset[0], dataset[1]], batch_size=2)))
    assert [tuple(each.shape) for each in batch] == [(2, 19, 1024), (2, 1024), (2, 1024), (2,)]


def test_a_forked_child_reads_while_its_parents_threads_do(view_of: ViewOf) -> None:
    view = view_of()
    expected = view[7].signal
    with brainbrr.loader(view, batch=4, threads=2) as batches:
        next(batches)
        child = os.fork()
        if not child:
            os._exit(0 if np.array_equal(view[7].signal, expected) else 1)
        next(batches)
        assert os.waitpid(child, 0)[1] == 0


@pytest.mark.slow
def test_without_numba_the_same_batches_come(view_of: ViewOf, monkeypatch: pytest.MonkeyPatch) -> None:
    view = view_of(tail="shift", clip="2")
    options: list[dict[str, Any]] = [{}, {"dtype": "int16"}, {"augment": Augment(gain=0.2, mirror=0.5)}]
    compiled = [taken(3, view, **each) for each in options]
    monkeypatch.setattr("brainbrr.loading.reader.kernels", lambda compiled: Numpy())
    for each, expected in zip(options, compiled, strict=True):
        for mode in ("stream", "resident"):
            assert same(taken(3, view, mode=mode, **each), expected)


@pytest.mark.slow
def test_arrays_need_neither_torch_nor_zarr(view_of: ViewOf, tmp_path: Path) -> None:
    view = view_of()
    view.index.save(tmp_path / "view.npz")
    code = f"""
import sys, brainbrr
index = brainbrr.Index.load(__import__("pathlib").Path({str(tmp_path / "view.npz")!r}))
with brainbrr.loader(index, store={str(view.store.location)!r}, batch=4, as_numpy=True) as batches:
    assert next(batches).signal.shape == (4, 19, 1024)
print([name for name in ("torch", "zarr", "mne", "asyncio") if name in sys.modules])
"""
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout.strip() == "[]"


def test_readers_survive_pickling(view_of: ViewOf) -> None:
    view = view_of()
    reader = pickle.loads(pickle.dumps(WindowReader(view.index, Shards(view.index, view.store))))
    out = np.empty((19, 1024), dtype=np.float32)
    reader.fill(0, 0, out)
    assert np.array_equal(out, view[0].signal)


@pytest.mark.slow
def test_memory_does_not_grow_over_ten_thousand_batches(view_of: ViewOf) -> None:
    def resident() -> int:
        gc.collect()
        with open("/proc/self/statm") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    with brainbrr.loader(view_of(length_s="1"), batch=4, balance="balanced", threads=2, as_numpy=True) as batches:
        for _ in islice(batches, 1000):
            pass
        before = resident()
        for _ in islice(batches, 10_000):
            pass
        assert resident() - before < 4 << 20


@pytest.mark.parametrize(
    "wrong",
    [
        {"batch": 0}, {"threads": 0}, {"start_step": -1}, {"depth": 0}, {"epochs": 0}, {"dtype": "float64"},
        {"labels": "all"}, {"per": "hour"}, {"mode": "fast"}, {"seed": -1},
        {"as_numpy": True, "mode": "map"}, {"dtype": "int16", "augment": Augment(gain=0.1)},
        {"mode": "map", "augment": Augment(gain=0.1)}, {"device": "banana"}, {"device": "meta"},
    ],
    ids=str,
)  # fmt: skip
def test_nonsense_is_refused_at_once(view_of: ViewOf, wrong: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        brainbrr.loader(view_of(), **{"batch": 1, "seed": 0, **wrong})


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["stream", "map"])
def test_a_staged_loader_reads_the_copies_and_deletes_them_on_request(
    view_of: ViewOf, tmp_path: Path, mode: str
) -> None:
    view = view_of()
    loaded = brainbrr.loader(view, batch=5, seed=1, mode=mode, stage=tmp_path / "scratch")
    assert loaded.staged.n_copied == len({r.content for r in view.recordings})
    again = brainbrr.loader(view, batch=5, seed=1, mode=mode, stage=tmp_path / "scratch")
    assert again.staged.n_copied == 0
    if mode == "map":
        ours = [copied(pickle.loads(pickle.dumps(again)).__getitems__([0, 3]).batch)]
        assert same(ours, [copied(brainbrr.loader(view, batch=5, mode="map").__getitems__([0, 3]).batch)])
    else:
        assert same([copied(batch) for batch in islice(again, 3)], taken(3, view))
        again.close()
        loaded.close()
    again.staged.release()
    loaded.staged.remove()
    assert not list((tmp_path / "scratch").rglob("c.0.0"))


MANY = """
import resource, sys
import brainbrr
from brainbrr.errors import BrainbrrError
resource.setrlimit(resource.RLIMIT_NOFILE, (int(sys.argv[2]), resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
view = brainbrr.view(sys.argv[1], window=brainbrr.WindowSpec(2, stride_s=1))
held = [open("/dev/null") for _ in range(int(sys.argv[3]))]
loaders = [brainbrr.loader(view, batch=8, epochs=1, seed=i, as_numpy=True) for i in range(4)]
try:
    print(sum(len(batch.index) for each in zip(*loaders) for batch in each) / len(view))
except BrainbrrError as error:
    print(type(error).__name__, error.what)
"""


def test_many_loaders_share_the_descriptors_of_their_process(view_of: ViewOf) -> None:
    view = view_of()

    def told(limit: int, held: int) -> str:
        command = [sys.executable, "-c", MANY, str(view.store.location), str(limit), str(held)]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    assert len(view.recordings) == 18  # four loaders want 72 descriptors
    assert told(64, 0) == "4.0"
    assert told(64, 16) == "4.0", "what is full is shared anew"


def test_no_descriptor_left_is_an_error_that_says_what_to_do(view_of: ViewOf, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise OSError(errno.EMFILE, "Too many open files")

    view = view_of()
    reader = WindowReader(view.index, Shards(view.index, view.store))
    monkeypatch.setattr(Store, "reader", full)
    with pytest.raises(BrainbrrError, match="too many files open") as refused:
        reader.fill(0, 0, np.empty((len(view.channels), 4), dtype=np.float32))
    assert "ulimit -n" in str(refused.value.fix)
