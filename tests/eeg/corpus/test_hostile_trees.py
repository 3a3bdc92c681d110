"""Trees from elsewhere: pipes and devices behind links, names that are no text, label files without an end."""

from __future__ import annotations

import os
import time
import tracemalloc
from pathlib import Path

import pytest
from helpers.edf_bytes import File, noise

from brainbrr.eeg.corpus.annotations import read_annotations
from brainbrr.eeg.corpus.tree import locate, scan
from brainbrr.eeg.edf.reader import read_header
from brainbrr.errors import AnnotationError, EdfError


def test_links_to_pipes_and_devices_are_no_recordings(tmp_path: Path) -> None:
    root = tmp_path / "demo"
    root.mkdir()
    File([noise("Cz")]).write(root, "a.edf")
    os.mkfifo(tmp_path / "pipe")
    (root / "pipe.edf").symlink_to(tmp_path / "pipe")
    (root / "device.edf").symlink_to("/dev/zero")
    (root / "a.csv_bi").symlink_to(tmp_path / "pipe")
    (found,) = scan(locate(root))
    assert (found.path, found.labels) == ("a.edf", {})


@pytest.mark.parametrize("target", ["pipe", "/dev/zero", "/dev/null", "."])
def test_what_has_no_end_is_refused_at_once(tmp_path: Path, target: str) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to(target)
    with pytest.raises(EdfError, match="cannot be read"):
        read_header(tmp_path / "link")
    with pytest.raises(AnnotationError, match="cannot be read"):
        read_annotations({".csv_bi": tmp_path / "link"})


@pytest.mark.parametrize("name", ["a\nb.edf", "a\tb.edf", "\x1b[2J.edf", "a\x7f.edf", "a\u0085.edf", "a\u2028b.edf"])
def test_a_name_with_control_characters_is_one_refusal_and_shown_without_them(tmp_path: Path, name: str) -> None:
    File([noise("Cz")]).write(tmp_path, name)
    File([noise("Cz")]).write(tmp_path, "plain.edf")
    odd, plain = sorted(scan(locate(tmp_path, name="demo")), key=lambda each: each.refusal is None)
    assert odd.refusal == "a file name holds a control character" and odd.edf == tmp_path / name
    assert f"{odd.path}{odd.patient}{odd.session}".isprintable() and not odd.labels
    assert (plain.path, plain.refusal) == ("plain.edf", None)


def test_an_escaped_name_that_another_file_has_gets_a_number(tmp_path: Path) -> None:
    for name in ("a\\nb.edf", "a\nb.edf"):
        File([noise("Cz")]).write(tmp_path, name)
    found = {file.path: file.refusal is None for file in scan(locate(tmp_path, name="demo"))}
    assert found == {"a\\nb.edf": True, "a\\nb.edf (1)": False}


def test_a_name_may_be_of_any_language_and_as_long_as_the_disk_takes_it(tmp_path: Path) -> None:
    names = {"Ærø 脑电图 😀.edf", "é" * 100 + ".edf", "a b'\"`$.edf", "x" * 251 + ".edf"}
    for name in names:
        File([noise("Cz")]).write(tmp_path, name)
    assert {file.path for file in scan(locate(tmp_path, name="demo"))} == names


@pytest.mark.slow
@pytest.mark.parametrize("role", [".csv", ".tse", ".lbl", "events.tsv"])
@pytest.mark.parametrize("line", ["\n", "#\n", "#a=b\n", "a\n", "a,", "9", "# {n}=\n", "\t\n"])
def test_a_label_file_of_anything_is_read_in_bounded_time_and_memory(tmp_path: Path, role: str, line: str) -> None:
    n = 30_000 // len(line)
    text = "".join(line.format(n=i) for i in range(n)) if "{" in line else line * n
    path = tmp_path / f"a{role}"
    head = {
        ".csv": "channel,start_time,stop_time,label,confidence\nTERM,0,1,bckg,",
        ".tse": "version = tse_v1.0.0\n0 1 bckg ",
    }
    path.write_text(head.get(role, "") * (line == "9") + text + "x")
    began = time.process_time()
    tracemalloc.start()
    try:
        with pytest.raises(AnnotationError):
            read_annotations({role: path})
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert time.process_time() - began < 4
    assert peak < 64 * path.stat().st_size


def test_a_label_file_above_the_limit_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.csv_bi"
    os.truncate(os.open(path, os.O_CREAT | os.O_WRONLY), 1 << 40)
    with pytest.raises(AnnotationError, match="more than"):
        read_annotations({".csv_bi": path})


@pytest.mark.parametrize("text", ["\x00", "\x1b[2J", "\x0c", "\x85"])
def test_a_control_character_in_a_label_file_is_named_by_its_line(tmp_path: Path, text: str) -> None:
    path = tmp_path / "a.csv_bi"
    path.write_text(f"# version = csv_v1.0.0\n# bname = a{text}\n", encoding="utf-8")
    with pytest.raises(AnnotationError, match="control character") as caught:
        read_annotations({".csv_bi": path})
    assert str(caught.value.where).endswith(":2")
