"""A file that was made to have another one's XXH3-128: it finds nothing and stands for nothing of the other."""

from __future__ import annotations

import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import xxhash
from helpers.edf_bytes import File, Made, noise
from helpers.xxh3_forger import forged

import brainbrr
from brainbrr.eeg.signal.montage import TEN_TWENTY

SECONDS, CHANGED, RATE = 20, 15, 256


def recording() -> tuple[bytes, bytes]:
    """Return an EDF, and one whose EEG is played backwards and whose EKG makes up for it: equal XXH3-128."""
    eeg = [noise(name, seconds=SECONDS, seed=seed) for seed, name in enumerate(TEN_TWENTY)]
    ekg = noise("ECG EKG", rate=2 * RATE, seconds=SECONDS)
    true = File([*eeg, ekg]).bytes()
    backwards = []
    for each in eeg:
        samples = each.samples.copy()
        samples[: CHANGED * RATE] = samples[: CHANGED * RATE][::-1]
        backwards.append(Made(each.label, samples, each.per_record))
    evil = File([*backwards, ekg]).bytes()
    record = 2 * RATE * (len(eeg) + 2)
    free = 256 * (len(eeg) + 2) + CHANGED * record + 2 * RATE * len(eeg)
    return true, forged(true, evil, free=free)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("forged")
    roots = {}
    for name, data in zip(("true", "evil"), recording(), strict=True):
        roots[name] = folder / name
        roots[name].mkdir()
        (roots[name] / "a.edf").write_bytes(data)
    return roots


def test_the_forgery_has_the_same_xxh3_and_other_samples(files: dict[str, Path]) -> None:
    true, evil = ((root / "a.edf").read_bytes() for root in files.values())
    assert true != evil and xxhash.xxh3_128_digest(true) == xxhash.xxh3_128_digest(evil)


def stored_signal(store: Path, corpus: str) -> np.ndarray:
    view = brainbrr.view(store, corpus=corpus, window=brainbrr.WindowSpec(length_s="15", normalise="none"))
    assert view.state == "ready"
    return view[0].signal


def correlation(store: Path, corpus: str, alone: Path) -> float:
    """How alike a corpus in a shared store and the same one in a store of its own are."""
    one, other = (stored_signal(each, corpus).ravel() for each in (store, alone))
    return float(np.corrcoef(one, other)[0, 1])


@pytest.mark.parametrize("order", [("evil", "true"), ("true", "evil"), ("both",)])
def test_a_forged_file_is_another_file_whenever_it_comes(
    files: dict[str, Path], order: tuple[str, ...], tmp_path: Path
) -> None:
    def ingest(name: str, store: str = "store") -> brainbrr.IngestReport:
        return brainbrr.ingest(files[name], store=tmp_path / store, corpus=name, labels="none")

    if order == ("both",):
        with ThreadPoolExecutor(2) as pool:
            reports = list(pool.map(ingest, files))
    else:
        reports = [ingest(name) for name in order]
    assert [(report.new, report.reused) for report in reports] == [(1, 0), (1, 0)]
    for name in files:
        ingest(name, f"{name} alone")
        assert correlation(tmp_path / "store", name, tmp_path / f"{name} alone") == pytest.approx(1)


def test_a_store_that_holds_the_forgery_repairs_nothing(files: dict[str, Path], tmp_path: Path) -> None:
    for name, root in files.items():
        brainbrr.ingest(root, store=tmp_path / name, corpus="c", labels="none")
    store = brainbrr.open_store(tmp_path / "true")
    [content] = store.contents()
    shutil.rmtree(tmp_path / "true" / "objects.zarr" / content[:2] / content)
    [record] = (tmp_path / "true" / "records").glob("*/*.json")
    record.unlink()
    (files["true"] / "a.edf").rename(tmp_path / "away.edf")
    try:
        report = brainbrr.repair(store, source=brainbrr.open_store(tmp_path / "evil"))
        assert report.exit_code != 0 and not list(store.contents())
    finally:
        (tmp_path / "away.edf").rename(files["true"] / "a.edf")
    assert brainbrr.repair(store, roots={"c": files["true"]}).exit_code == 0
    assert list(store.contents()) == [content]


def test_a_record_that_nothing_here_names_is_not_taken_from_another_store(
    files: dict[str, Path], tmp_path: Path
) -> None:
    brainbrr.ingest(files["true"], store=tmp_path / "store", corpus="c", labels="none")
    shutil.copytree(tmp_path / "store", tmp_path / "other")
    shutil.rmtree(tmp_path / "store" / "catalog" / "c")
    [record] = (tmp_path / "store" / "records").glob("*/*.json")
    record.chmod(0o600)
    record.write_bytes(b"{}")
    store, other = (brainbrr.open_store(tmp_path / name) for name in ("store", "other"))
    [result] = brainbrr.repair(store, source=other).results
    assert result.outcome == "not restored" and "no catalog and no frozen view says" in result.how
