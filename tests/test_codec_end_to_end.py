"""A store's codec from end to end: what is built, staged and given to a model does not depend on it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.support import Cli

import brainbrr
from brainbrr.loading.windows import WindowSpec
from brainbrr.store.recompress import recompress
from brainbrr.views.stage import stage
from brainbrr.views.view import View

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def views(generated: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[View, View]]:
    """One view of a store without a codec, and of the same store in zstd."""
    folder = tmp_path_factory.mktemp("codecs")
    window = WindowSpec.model_validate({"length_s": "7", "stride_s": "3"})
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(folder / "host"))
        brainbrr.ingest(generated, store=folder / "none", profile="smoke", workers=1)
        recompress(brainbrr.open_store(folder / "none"), folder / "zstd")
        none, zstd = (brainbrr.view(folder / codec, profile="smoke", window=window) for codec in ("none", "zstd"))
        yield none, zstd


def test_a_view_of_either_store_is_the_same_view(views: tuple[View, View]) -> None:
    none, zstd = views
    assert (none.store.codec, zstd.store.codec) == ("none", "zstd")
    assert none.digest == zstd.digest is not None
    for position in (0, len(none) // 2, len(none) - 1):
        assert none[position].signal.tobytes() == zstd[position].signal.tobytes()


def test_a_store_that_is_built_in_zstd_is_the_one_that_was_recompressed(
    cli: Cli, corpus: Path, tmp_path: Path, views: tuple[View, View]
) -> None:
    assert cli("ingest", corpus, "--profile", "smoke", "--codec", "zstd", "--workers", 2).code == 0
    built = brainbrr.open_store(tmp_path / "store")
    assert built.codec == "zstd"
    for content in views[1].store.contents():
        for name in ("zarr.json", "c.0.0"):
            assert (built.layout.object(content) / name).read_bytes() == (
                views[1].store.layout.object(content) / name
            ).read_bytes()
    assert cli("ingest", corpus, "--profile", "smoke", "--json").json["reused"] == len(list(built.contents()))
    told = cli("ingest", corpus, "--codec", "none")
    assert (told.code, "has codec zstd, not none" in told.err) == (2, True)


def batches(view: View, **options: Any) -> list[tuple[torch.Tensor, ...]]:
    with brainbrr.loader(view, batch=4, seed=3, **options) as found:
        return [tuple(torch.as_tensor(each).clone() for each in batch) for batch in islice(found, 5)]


@pytest.mark.parametrize("options", [{"mode": "stream"}, {"mode": "resident"}], ids=str)
def test_batches_of_either_store_are_equal_in_every_bit(views: tuple[View, View], options: dict[str, Any]) -> None:
    for one, other in zip(*(batches(view, **options) for view in views), strict=True):
        assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def test_a_view_of_a_compressed_store_is_staged_as_it_is(views: tuple[View, View], tmp_path: Path) -> None:
    staged = stage(views[1], tmp_path)
    try:
        assert staged.view.store.codec == "zstd"
        assert staged.view.digest == views[0].digest
        assert staged.view[0].signal.tobytes() == views[0][0].signal.tobytes()
        assert staged.n_bytes < 0.85 * sum(views[0].store.object_bytes(r.content) for r in views[0].recordings)
    finally:
        staged.release()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
@pytest.mark.parametrize("mapped", [True, False], ids=["mapped", "read"])
def test_a_reader_of_zstd_survives_a_fork_after_it_has_read(views: tuple[View, View], mapped: bool) -> None:
    recording = views[1].recordings[0]
    reader = views[1].store.reader(recording.content, recording.record.array, mapped=mapped)
    expected = reader.read(0, 3000).tobytes()
    pid = os.fork()
    if pid == 0:
        os._exit(0 if reader.read(0, 3000).tobytes() == expected else 1)
    assert os.waitpid(pid, 0)[1] == 0
    assert reader.read(0, 3000).tobytes() == expected
