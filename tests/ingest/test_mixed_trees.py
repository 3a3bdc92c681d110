"""Any mix of what is wrong in one tree: no traceback, and every file on disk is stored, refused or counted by name."""

from __future__ import annotations

import gzip
import tempfile
from functools import cache
from pathlib import Path

import hypothesis.strategies as st
from helpers.edf_bytes import File, noise
from hypothesis import HealthCheck, example, given, settings

from brainbrr.eeg.corpus import census
from brainbrr.eeg.signal.montage import TEN_TWENTY
from brainbrr.ingest.ingest import ingest
from brainbrr.ingest.options import IngestOptions

SECONDS = 3
STORED = {"sound", "gap", "marked", "odd rate", "reference"}
"""Kinds of EDF that are stored where their labels are right."""


@cache
def edf(kind: str) -> bytes:
    """A small EDF of one kind; those that may be stored have samples of their own."""
    form = "{}-X1X2" if kind == "reference" else "EEG {}-REF"
    seed = sum(kind.encode())
    unit = {"physical": ("-3276800", "3276700")} if kind == "coarse" else {}
    record_s = "0.999941" if kind == "odd rate" else "1"
    signals = [
        noise(form.format(name), rate=64, seconds=SECONDS, seed=seed + i, **unit) for i, name in enumerate(TEN_TWENTY)
    ]
    onsets = {"gap": (0, 1, 9), "back": (0, 1, 0), "marked": (0, 1, 2)}.get(kind)
    stamps = [b"+%d\x14\x14\0" % onset for onset in onsets] if onsets else None
    if kind == "marked" and stamps:
        stamps[1] = b"+1\x14\x14\0+1\x151\x14Pause\x14\0"
    reserved = "EDF+C" if stamps else ""
    chosen = signals[:3] if kind == "few channels" else signals
    data = File(chosen, record_s=record_s, reserved=reserved, stamps=stamps).bytes()
    return {"cut": data[:-500], "empty": b"", "gzip": gzip.compress(data, mtime=0), "page": b"<html>" * 99}.get(
        kind, data
    )


KINDS = (*sorted(STORED), *("coarse", "back", "few channels", "cut", "empty", "gzip", "page"))
OTHERS = ("a.edf.gz", "a.edf.part", "a.vhdr", "a.set", "a.bdf", "a.fif", "a.rec", "a.edf.1", "sub/a.cnt")
ROWS = {
    "right": "0\t1\tsz\n",
    "no length": "1\t0\tsz\n",
    "late": "90\t5\tsz\n",
    "other word": "0\t1\tied\n",
    "no table": None,
    "no text": "\0",
}
PLACES = {
    "plain": "p{n}/r{n}.edf",
    "bids": "sub-{n}/eeg/sub-{n}_task-rest_eeg.edf",
    "tusz": "edf/train/aaaaaaa{n}/s001_2020/01_tcp_ar/aaaaaaa{n}_s001_t000.edf",
}


@example(layout="plain", entries=[("sound", "right"), *((kind, "right") for kind in KINDS)], others=list(OTHERS))
@given(
    layout=st.sampled_from(sorted(PLACES)),
    entries=st.lists(st.tuples(st.sampled_from(KINDS), st.sampled_from(sorted(ROWS))), min_size=1, max_size=4),
    others=st.lists(st.sampled_from(OTHERS), max_size=3, unique=True),
)
@settings(max_examples=5, suppress_health_check=[HealthCheck.too_slow])
def test_every_file_of_a_tree_is_stored_or_refused_by_name(
    layout: str, entries: list[tuple[str, str]], others: list[str]
) -> None:
    with tempfile.TemporaryDirectory() as name:
        root = Path(name) / "lab"
        expected: dict[str, bool] = {}
        for n, (kind, rows) in enumerate(entries):
            path = PLACES[layout].format(n=n)
            (root / path).parent.mkdir(parents=True)
            (root / path).write_bytes(edf(kind))
            expected[path] = kind in STORED and rows == "right"
            if ROWS[rows] is not None:
                table = (root / path).with_name((root / path).stem.removesuffix("_eeg") + "_events.tsv")
                table.write_text("onset\tduration\teventType\n" + str(ROWS[rows]))
        folder = Path(PLACES[layout].format(n=0)).parent
        for other in others:
            (root / folder / other).parent.mkdir(parents=True, exist_ok=True)
            (root / folder / other).write_bytes(b"other")
            expected[str(folder / other)] = False
        report = ingest(IngestOptions(root=root, store=Path(name) / "store", workers=1))
        failed = {each.recording for each in report.failed}
        assert report.recordings == len(expected) == report.new + report.reused + len(failed)
        assert failed == {path for path, stored in expected.items() if not stored}
        assert all(each.reason and each.fix for each in report.failed)
        unread = {path for paths in report.not_read.values() for path in paths}
        assert unread == {path for path in expected if census.format_of(path) is not None}
