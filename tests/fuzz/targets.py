"""What is fuzzed: for each kind of file, whole ones to begin with, and all that reads one.

hypothesis and atheris share these. Seals and checksums are put right again, or nothing would get past them.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from helpers.edf_bytes import File, noise
from helpers.store_values import arguments, catalog_of, eeg_of, meta_of, overwrite, row_of

from brainbrr.core import models
from brainbrr.core.digest import canonical_json, is_digest, sha256
from brainbrr.core.statcache import FileFacts, read_table
from brainbrr.core.statistics import Statistics
from brainbrr.eeg.corpus.annotations import Annotations, read_annotations
from brainbrr.eeg.edf.reader import EdfFile
from brainbrr.eeg.signal.channels import select
from brainbrr.eeg.signal.preprocess import check
from brainbrr.eeg.signal.recipe import PRESETS, Recipe, load_recipe
from brainbrr.errors import BrainbrrError, ConfigError, FormatError, IntegrityError, UsageError
from brainbrr.learn.config import load_train_config
from brainbrr.loading.index import Index
from brainbrr.loading.recordings import Members, Scope, ViewRecording, assemble
from brainbrr.loading.windows import WindowSpec
from brainbrr.profiles import load_profiles
from brainbrr.settings import resolve
from brainbrr.store import generation as generation_file
from brainbrr.store.formats import CODECS, CRC_BYTES, ArrayMeta, Codec, crc32c
from brainbrr.store.integrity import decode_object, verify_object, verify_record
from brainbrr.store.integrity import read_record as read_any_record
from brainbrr.store.records import Record
from brainbrr.store.store import Store
from brainbrr.views.view import View

META = meta_of(2, 400, absent=(1,))
SCOPE = Scope("demo", "full")
RECIPE = Recipe(rate_hz=16, channels=("Fp1", "F3"), bandpass_hz=("0.5", "7"), notch_hz=None)
VIEW_META = ArrayMeta(("Fp1", "F3"), (), 400, 16, "0.125", (0, 3))
LABELS = Annotations.from_json(
    {"labelled": True, "seizures": [[0, 5_000_000]], "typed": [[0, 5_000_000, "fnsz", ["F3"]]], "duration_us": None,
     "notes": ["a note"]}
)  # fmt: skip


@dataclass(frozen=True)
class Place:
    """Stores of both codecs, with one object for the store's sake and one that has a view."""

    folder: Path
    stores: dict[Codec, Store]
    record: Record
    viewed: Record
    view: View

    @classmethod
    def make(cls, folder: Path) -> Place:
        """Fill a folder."""
        stores = {codec: Store.create(folder / codec, codec=codec) for codec in CODECS}
        for store in stores.values():
            record = store.put(eeg_of(META), **arguments(META)).record
            store.put_findings(record.key, 1, {"score": 100})
            store.publish("demo", lambda _: catalog_of([row_of("a/b.edf", annotations=LABELS.to_json())]))
            samples = eeg_of(VIEW_META)
            statistics = Statistics(2, [0, 1])
            statistics.update(samples)
            said = arguments(VIEW_META, recipe_fields=RECIPE.identity()) | {"statistics": statistics.result()}
            viewed = store.put(samples, **said).record
        recordings = (ViewRecording("a/b.edf", "p", "train", viewed.source, True, LABELS, viewed),)
        window = WindowSpec(length_s="4", stride_s="2", reference="average")
        view = View(stores["none"], Members(recordings), scope=SCOPE, recipe=RECIPE, window=window)
        seen(view)  # loads and compiles what is loaded and compiled when it is first needed
        return cls(folder, stores, record, viewed, view)

    @property
    def store(self) -> Store:
        """The one without a codec."""
        return self.stores["none"]

    def put(self, name: str, data: bytes) -> Path:
        """Write a file outside of the stores."""
        path = self.folder / name
        path.write_bytes(data)
        return path


Read = Callable[[Place, bytes], object]
"""Reads bytes as a file of some kind, in every way that there is."""


@dataclass(frozen=True)
class Target:
    """A kind of file. `errors`: what may come of one that is not right."""

    seeds: Callable[[Place], list[bytes]]
    read: Read
    errors: tuple[type[BrainbrrError], ...] = (BrainbrrError,)


# EDF


def edfs(_: Place) -> list[bytes]:
    signals = [noise("EEG FP1-REF", rate=64, seconds=2), noise("F3", rate=64, seconds=2), noise("X", rate=1, seconds=2)]
    stamps = [b"+0\x14\x14", b"+1\x14\x14"]
    return [
        File(signals[:1]).bytes(),
        File(signals, reserved="EDF+C", stamps=stamps).bytes(),
        File(signals, reserved="EDF+D", stamps=stamps, trailing=b"xyz").bytes(),
        File(signals, declared="-1").bytes(),
    ]


def read_edf(place: Place, data: bytes) -> object:
    path = place.put("a.edf", data)
    for recipe in (RECIPE, PRESETS["upstream"]):
        with contextlib.suppress(BrainbrrError):
            check(path, recipe, accept=("truncated",))
    with EdfFile(path, accept_truncated=True) as edf:
        header = edf.header
        assert header.n_bytes + 2 * header.n_records * header.record_samples <= len(data)
        for i, signal in enumerate(header.signals):
            assert len(edf.digital(i)) == signal.samples_per_record * header.n_records
        assert is_digest(edf.source(), 64)
        select(header, RECIPE)
    with EdfFile(path):
        return header


# Labels

LABEL_TEXTS = {
    ".csv": "# version = csv_v1.0.0\n# bname = a\n# duration = 9.00 secs\nchannel,start_time,stop_time,label,"
    "confidence\nTERM,0.0000,3.0000,bckg,1.0000\nFP1-F7,3.0,4.5,fnsz,1.0\n",
    ".tse": "version = tse_v1.0.0\n\n0.0000 10.2775 bckg 1.0000\n10.2775 12.5 gnsz 1.0000\n",
    ".lbl": "version = lbl_v1.0.0\nmontage =  0, FP1-F7: EEG FP1-REF -- EEG F7-REF\nnumber_of_levels = 1\n"
    "level[0] = 1\nsymbols[0] = {0: '(null)', 1: 'spsw', 2: 'gnsz'}\n"
    "label = {0, 0, 0.0000, 10.2775, 0, [0.0, 0.0, 1.0]}\n",
    "events.tsv": "onset\tduration\teventType\tconfidence\tchannels\tdateTime\trecordingDuration\n"
    "3.0\t1.5\tsz_foc_ia\tn/a\tfp1,f3\t2020-01-01 00:00:00\t9.0\n",
}


def labels(role: str) -> Target:
    def read(place: Place, data: bytes) -> object:
        said = read_annotations({role: place.put("a" if role == "events.tsv" else f"a{role}", data)})
        assert Annotations.from_json(json.loads(canonical_json(said.to_json()))) == said
        return said

    return Target(lambda _: [LABEL_TEXTS[role].encode()], read)


# The store's small files


def resealed(data: bytes) -> bytes:
    """Return JSON with the seal that it ought to have."""
    return data[:-1] + b',"sha256":"' + sha256(data).encode() + b'"}'


def read_json(_: Place, data: bytes) -> object:
    said = models.decode_json(data, where="there")
    assert json.loads(canonical_json(said)) == said
    return said


def replaced(path: Path, data: bytes, read: Callable[[], object]) -> object:
    """Read with other bytes in a file's place, then put it right again."""
    whole = path.read_bytes()
    try:
        overwrite(path, data)
        return read()
    finally:
        overwrite(path, whole)


def read_record(place: Place, data: bytes) -> object:
    store, key = place.store, place.viewed.key

    def read() -> object:
        read_any_record(store, key)
        list(store.records())
        found = store.record(key)
        assert found is not None
        assert found.key == key
        assert canonical_json(found.to_json()) == canonical_json(models.decode_json(data, where=None))
        store.has_object(found)
        row = row_of("a/b.edf", source=found.source, annotations=LABELS.to_json())
        ready, _, _ = assemble(store, [row], recipe=RECIPE, labelled=True)
        for recording in ready:
            seen(View(store, Members((recording,)), scope=SCOPE, recipe=RECIPE, window=place.view.window))
        verify_record(store, key)
        return found

    return replaced(store.layout.record(key), resealed(data), read)


def seen(view: View) -> View:
    """Look at all of a view."""
    assert len(view.classes()) == len(view)
    view[0], view[-1], view.n_dropped, view.synthetic, view.digest
    return view


def read_findings(place: Place, data: bytes) -> object:
    store, key = place.store, place.record.key

    def read() -> object:
        assert store.has_findings(key, 1)
        store.has_findings(key, 1, prove=True)
        return store.findings(key, 1)

    return replaced(store.layout.findings_of(key, 1), resealed(data), read)


def read_generation(_: Place, data: bytes) -> object:
    found = generation_file.decode(
        data + b"\n" + canonical_json({"sha256": sha256(data + b"\n")}) + b"\n", where="there"
    )
    assert generation_file.decode(generation_file.encode(found), where=None) == found
    for row in found.rows.values():
        if row.annotations is not None:
            Annotations.from_json(row.annotations)
    return found


def read_frozen(place: Place, data: bytes) -> object:
    frozen = models.decode_json(data, where="there")
    return seen(View.from_json(place.store, frozen))


def read_mark(place: Place, data: bytes) -> object:
    return replaced(place.store.layout.mark, data, lambda: Store.open(place.store.location))


# Objects


def zarr_json(place: Place) -> list[bytes]:
    return [(store.layout.object(place.record.content) / "zarr.json").read_bytes() for store in place.stores.values()]


def read_zarr_json(place: Place, data: bytes) -> object:
    store, content = place.store, place.record.content

    path = store.layout.object(content) / "zarr.json"
    right = data == path.read_bytes()

    def read() -> object:
        with store.reader(content) as reader:
            reader.read(0, reader.meta.n_samples)
        decode_object(store, content)
        verify_object(store, content)
        verify_record(store, place.record.key)
        assert right  # nothing but the same bytes passes
        return content

    return replaced(path, data, read)


def shard(codec: Codec) -> Target:
    tiling = META.tiling(codec)

    def path(place: Place) -> Path:
        return place.stores[codec].layout.object(place.record.content) / "c.0.0"

    def read(place: Place, data: bytes) -> object:
        store, content = place.stores[codec], place.record.content
        whole = resummed(data, tiling.index_length)
        right = whole == path(place).read_bytes()

        def each() -> object:
            with store.reader(content, META) as reader:
                samples = reader.read(0, META.n_samples)
                reader.span(17, 399)
            assert samples.shape == (2, META.n_samples)
            assert (decode_object(store, content) == content) or not right
            verify_object(store, content)  # nothing but the same array passes
            return samples

        return replaced(path(place), whole, each)

    return Target(lambda place: [path(place).read_bytes()], read, (IntegrityError,))


def resummed(data: bytes, index_length: int) -> bytes:
    """Return a shard with the checksum that its index ought to have, and each tile that the index names."""
    out = bytearray(data)
    index = np.frombuffer(data[-index_length:-CRC_BYTES].ljust(index_length - CRC_BYTES, b"\0"), "<u8").reshape(-1, 2)
    for at, n_bytes in index.tolist():
        if n_bytes > CRC_BYTES and at + n_bytes <= len(out) - index_length:
            out[at + n_bytes - CRC_BYTES : at + n_bytes] = crc32c(bytes(out[at : at + n_bytes - CRC_BYTES]))
    out[-CRC_BYTES:] = crc32c(bytes(out[-index_length:-CRC_BYTES]))
    return bytes(out)


# Indexes


def indexes(place: Place) -> list[bytes]:
    place.view.index.save(place.folder / "view.npz")
    return [(place.folder / "view.npz").read_bytes()]


def read_index(place: Place, data: bytes) -> object:
    index = Index.load(place.put("view.npz", data))
    if len(index) < 10_000:
        index.classes(), index.n_uncovered
    for recording in range(len(index.n_samples)):
        index.rows(recording)
    return index


# What people write, and what this host remembers


def read_user_config(place: Place, data: bytes) -> object:
    return resolve(environ={"BRAINBRR_CONFIG": str(place.put("config.toml", data))}, cwd=place.folder)


def read_profiles(place: Place, data: bytes) -> object:
    return load_profiles(place.put("profiles.toml", data), corpus="tusz")


def read_recipe(place: Place, data: bytes) -> object:
    return load_recipe(str(place.put("mine.toml", data))).digest


def read_train_config(place: Place, data: bytes) -> object:
    config = load_train_config(str(place.put("train.toml", data)))
    return config.window_spec(), config.model_dump()


def read_host_table(place: Place, data: bytes) -> object:
    path = place.put("table.json", data)
    assert isinstance(read_table(path), dict)
    return FileFacts(path).known("a", path)


TARGETS: dict[str, Target] = {
    "edf": Target(edfs, read_edf),
    **{name: labels(role) for name, role in zip(("csv", "tse", "lbl", "tsv"), LABEL_TEXTS, strict=True)},
    "json": Target(lambda _: [b'{"a":[1,{"b":"\\ud83d\\ude00"}],"c":null}'], read_json, (IntegrityError,)),
    "record": Target(lambda place: [canonical_json(place.viewed.to_json())], read_record),
    "findings": Target(
        lambda place: [
            canonical_json(
                {"format": 1, "kind": "findings", "key": place.record.key, "version": 1, "findings": {"score": 9}}
            )
        ],
        read_findings,
        (IntegrityError, FormatError),
    ),
    "catalog": Target(
        lambda place: [generation_file.encode(place.store.catalog("demo")).rsplit(b"\n", 2)[0]],  # type: ignore[arg-type]
        read_generation,
    ),
    "view": Target(lambda place: [canonical_json(place.view.to_json())], read_frozen),
    "format": Target(lambda place: [place.store.layout.mark.read_bytes()], read_mark, (UsageError,)),
    "zarr": Target(zarr_json, read_zarr_json, (IntegrityError,)),
    "shard": shard("none"),
    "zstd": shard("zstd"),
    "index": Target(indexes, read_index, (IntegrityError,)),
    "config": Target(lambda _: [b'store = "here"\nruns = "there"\n'], read_user_config, (ConfigError,)),
    "profiles": Target(
        lambda _: [b'[smoke]\ntrain = 6\n[dev]\ntrain = 60\n[full]\ntrain = "all"\n[corpus.tusz.dev]\ntrain = 9\n'],
        read_profiles,
        (ConfigError,),
    ),
    "recipe": Target(
        lambda _: [b'name = "mine"\nrate_hz = 256\nchannels = ["Fp1", "F3"]\nbandpass_hz = [0.5, 70]\nnotch_hz = 60\n'],
        read_recipe,
        (ConfigError,),
    ),
    "train": Target(
        lambda _: [b'name = "x"\nprofile = "smoke"\n[train]\nsteps = 1\nbatch = 2\nlr = 1e-3\n[window]\nclip = "5"\n'],
        read_train_config,
        (ConfigError,),
    ),
    "table": Target(lambda _: [b'{"a":[1,2,3,4,"fact"]}'], read_host_table, ()),
}


def dictionary(value: Any) -> list[bytes]:
    """Return what is worth putting anywhere."""
    return [each if isinstance(each, bytes) else str(each).encode() for each in value]


TOKENS = dictionary(
    [0, 1, -1, 99999999, 2**31, 2**63, 2**64, -(2**63), "9" * 30, "1e308", "1e-308", "1e99", "nan", "inf", "-inf", "",
     b"\0", b"\xff", b"\x80" * 8, "\ud800".encode("utf-8", "surrogatepass"), "\\ud800", "[" * 70, "{" * 70, "]" * 70,
     "[" * 2000, "x = " + "[" * 2000, "a." * 2000 + "a = 1\n", '"', "'", ",", "\n", "\r", "\t", "\x1b[2J",
     "../../etc/passwd", "true", "null", "1.5", "[]", "{}", '"sz_"', "=", "#", "EDF+D", "+0\x14\x14", "EDF+C",
     " " * 80]
)  # fmt: skip
