"""Every kind of file, changed in every way: only our own errors come out, memory is bounded, nothing else is written.

Short in `make test`; BRAINBRR_TORTURE=1 tries thousands of each.
"""

from __future__ import annotations

import json
import os
import zipfile
from pathlib import Path
from typing import Any

import pytest
from fuzz.oracle import survives, watched
from fuzz.targets import TARGETS, TOKENS, Place, read_edf
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from brainbrr.core.digest import canonical_json
from brainbrr.errors import BrainbrrError

TORTURE = bool(os.environ.get("BRAINBRR_TORTURE"))
settings.register_profile("fuzz", max_examples=50, derandomize=True, database=None, deadline=None,
                          suppress_health_check=list(HealthCheck))  # fmt: skip
settings.register_profile("torture", settings.get_profile("fuzz"), max_examples=2000, derandomize=False)
FUZZ = settings.get_profile("torture" if TORTURE else "fuzz")
JSON = ("record", "findings", "view", "zarr", "format", "json", "table")

values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**64), 2**64) | st.floats() | st.text(max_size=6) | st.just("../" * 30),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)


@st.composite
def mutated(draw: st.DrawFn, data: bytes) -> bytes:
    """Some bytes that were cut, doubled, or written over, in a few places."""
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(data)))
        end = draw(st.integers(at, min(len(data), at + 64))) if draw(st.booleans()) else at
        new = draw(st.sampled_from(TOKENS) | st.binary(max_size=9) | st.just(data[at:end] * 2))
        cut = at if draw(st.booleans()) else end  # in between, or instead
        data = data[:at] + new + data[max(cut, at + len(new) if draw(st.booleans()) else 0) :]
    return data[: draw(st.integers(0, len(data)))] if draw(st.integers(0, 9)) == 0 else data


def places(value: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every place inside a JSON value."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [at, *(place for name, item in inner for place in places(item, (*at, name)))]


def replaced(value: Any, place: tuple[Any, ...], new: Any) -> Any:
    if not place:
        return new
    copy = dict(value) if isinstance(value, dict) else list(value)
    copy[place[0]] = replaced(value[place[0]], place[1:], new)
    return copy


@st.composite
def damaged(draw: st.DrawFn, value: Any) -> Any:
    """A JSON value in which something else stands in one or two places."""
    for _ in range(draw(st.integers(1, 2))):
        place = draw(st.sampled_from(places(value)))
        value = replaced(value, place, draw(values))
    return value


def tried(name: str, place: Place, data: bytes) -> object:
    target = TARGETS[name]
    measured = TORTURE or len(data) % 4 == 0  # it takes three times as long
    found = survives(
        lambda: target.read(place, data), n_bytes=len(data) + (1 << 12), within=place.folder, measured=measured
    )
    if isinstance(found, BrainbrrError):
        assert isinstance(found, target.errors), found
    return found


@pytest.mark.parametrize("name", TARGETS)
def test_a_whole_file_is_read(place: Place, name: str) -> None:
    for seed in TARGETS[name].seeds(place)[:1]:
        assert not isinstance(found := tried(name, place, seed), BrainbrrError), found


@pytest.mark.slow
@pytest.mark.parametrize("name", TARGETS)
def test_a_file_with_each_token_before_it_after_it_and_instead(place: Place, name: str) -> None:
    seed = TARGETS[name].seeds(place)[0]
    for token in TOKENS:
        for data in (token, token + seed, seed + token):
            tried(name, place, data)


@pytest.mark.slow
@pytest.mark.parametrize("name", TARGETS)
@FUZZ
@given(data=st.data())
def test_a_file_that_was_changed(place: Place, name: str, data: st.DataObject) -> None:
    tried(name, place, data.draw(mutated(data.draw(st.sampled_from(TARGETS[name].seeds(place))))))


@pytest.mark.slow
@pytest.mark.parametrize("name", TARGETS)
@FUZZ
@given(data=st.binary(max_size=600))
def test_a_file_of_any_bytes(place: Place, name: str, data: bytes) -> None:
    tried(name, place, data)


@pytest.mark.slow
@pytest.mark.parametrize("name", JSON)
@FUZZ
@given(data=st.data())
def test_json_with_something_else_in_it(place: Place, name: str, data: st.DataObject) -> None:
    value = data.draw(damaged(json.loads(TARGETS[name].seeds(place)[0])))
    tried(name, place, json.dumps(value, separators=(",", ":"), sort_keys=True).encode())


@pytest.mark.slow
@FUZZ
@given(data=st.data())
def test_a_catalog_with_something_else_in_a_row(place: Place, data: st.DataObject) -> None:
    header, row = TARGETS["catalog"].seeds(place)[0].split(b"\n")
    for line in (header, row):
        said = json.dumps(data.draw(damaged(json.loads(line)))).encode()
        tried("catalog", place, header + b"\n" + said if line is row else said + b"\n" + row)


EDF_FIELDS = [(0, 8), (8, 80), (168, 8), (176, 8), (184, 8), (192, 44), (236, 8), (244, 8), (252, 4)]
SIGNAL_FIELDS = [16, 80, 8, 8, 8, 8, 8, 80, 8, 32]


@pytest.mark.slow
@FUZZ
@given(data=st.data())
def test_an_edf_with_other_fields(place: Place, data: st.DataObject) -> None:
    edf = data.draw(st.sampled_from(TARGETS["edf"].seeds(place)))
    n = int(edf[252:256])
    fields, at = list(EDF_FIELDS), 256
    for width in SIGNAL_FIELDS:
        fields += [(at + i * width, width) for i in range(n)]
        at += n * width
    for at, width in data.draw(st.lists(st.sampled_from(fields), min_size=1, max_size=3)):
        new = data.draw(st.sampled_from(TOKENS) | st.integers(-(10**7), 10**8).map(lambda i: b"%d" % i))
        edf = edf[:at] + new[:width].ljust(width) + edf[at + width :]
    tried("edf", place, edf)


@pytest.mark.slow
@FUZZ
@given(data=st.data())
def test_an_index_with_other_members(place: Place, data: st.DataObject) -> None:
    path = place.put("view.npz", TARGETS["index"].seeds(place)[0])
    with zipfile.ZipFile(path) as file:
        members = {name: file.read(name) for name in file.namelist()}
    name = data.draw(st.sampled_from(sorted(members)))
    member = members[name]
    if name == "frame.npy" and data.draw(st.booleans()):
        head = json.dumps(data.draw(damaged(json.loads(member[128:])))).encode()
        shape = b"%d" % len(head)
        member = member[:128].replace(b"(%d,)" % (len(member) - 128), b"(%s,)" % shape) + head
        member = member[:10] + member[10 : member.index(b"}") + 1].ljust(117) + b"\n" + head
    members[name] = data.draw(mutated(member)) if data.draw(st.booleans()) else member
    with zipfile.ZipFile(path, "w", data.draw(st.sampled_from([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED]))) as file:
        for each, content in members.items():
            file.writestr(each, content)
    tried("index", place, path.read_bytes())


@pytest.mark.slow
@pytest.mark.parametrize(("signals", "samples"), [("1", "99999999"), ("2000", "99999999"), ("4", "1" * 8)])
def test_a_header_with_impossible_sizes_allocates_no_memory(place: Place, signals: str, samples: str) -> None:
    edf = bytearray(TARGETS["edf"].seeds(place)[0])
    edf[252:256] = signals.ljust(4).encode()
    edf[184:192] = str(256 * (int(signals) + 1)).ljust(8).encode()
    edf[236:244] = b"99999999"
    edf += b"\0" * 256 * int(signals)
    edf[256 + 216 * int(signals) :][:8] = samples.encode()
    assert isinstance(
        survives(lambda: read_edf(place, bytes(edf)), n_bytes=len(edf) // 32, within=place.folder), BrainbrrError
    )


def test_the_oracle_sees_what_it_is_there_for(place: Place, tmp_path: Path) -> None:
    there, gone = tmp_path / "x", tmp_path / "y"
    for wrong in (there.touch, gone.mkdir, gone.rmdir, lambda: there.rename(gone), gone.unlink):
        with pytest.raises(AssertionError), watched(place.folder):
            wrong()
    with pytest.raises(AssertionError, match="of memory"):
        survives(lambda: bytearray(1 << 24), n_bytes=0, within=place.folder)
    with pytest.raises(KeyError):
        survives(lambda: {}["x"], n_bytes=0, within=place.folder)
    assert canonical_json({}) == b"{}"
