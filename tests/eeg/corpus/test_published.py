"""Labels as CHB-MIT, Siena and SeizeIT1 publish them."""

from __future__ import annotations

import re
import struct
from pathlib import Path

import pytest

from brainbrr.eeg.corpus.annotations import Annotations, read_annotations
from brainbrr.eeg.corpus.label_rows import END_US, Event
from brainbrr.eeg.corpus.tree import locate, scan
from brainbrr.errors import AnnotationError

S = 1_000_000


def spans(annotations: Annotations) -> list[tuple[float, float]]:
    return [(event.start_us / S, event.stop_us / S) for event in annotations.seizures]


def read(path: Path, role: str, recording: str = "") -> Annotations:
    return read_annotations({role: path}, recording=recording)


# Real files


def test_every_recording_of_the_real_trees_is_labelled(data: Path) -> None:
    found: dict[str, list[tuple[float, float]]] = {}
    n = 0
    for tree in ("chbmit", "siena", "seizeit"):
        for each in scan(locate(data / "other_corpora_layout" / tree)):
            annotations = read_annotations(each.labels, recording=each.edf.name)
            assert annotations.labelled and annotations.duration_us is None
            n += 1
            if annotations.seizures:
                found[each.edf.stem] = spans(annotations)
    assert n == 54
    assert found == {  # what epilepsy2bids 0.0.6 finds in them
        "chb05_06": [(417, 532)], "chb05_13": [(1086, 1196)], "chb05_16": [(2317, 2413)],
        "chb05_17": [(2451, 2571)], "chb05_22": [(2348, 2465)],
        "PN00-1": [(1143, 1213)], "PN00-2": [(1220, 1274)], "PN00-3": [(765, 825)],
        "PN00-4": [(1006, 1080)], "PN00-5": [(904, 971)],
        "P_ID64_r1": [(8971, 9001)], "P_ID64_r2": [(1949, 1980)], "P_ID64_r3": [(781, 807), (7145, 7175)],
        "P_ID64_r4": [(6319, 6339), (11512, 11544), (13962, 13992)],
    }  # fmt: skip


# CHB-MIT

HEAD = "Data Sampling Rate: 256 Hz\n*****\n\nChannels in EDF Files:\nChannel 1: FP1-F7\n\n"
SUMMARY = (
    HEAD + "File Name: chb01_01.edf\nFile Start Time: 11:42:54\nFile End Time: 12:42:54\n"
    "Number of Seizures in File: 0\n\nChannels changed:\nChannel 1: F7-T7\n\n"
    "File Name: chb01_03.edf\nFile Start Time: 23:43:04\nFile End Time: 24:43:04\nNumber of Seizures in File: 2\n"
    "Seizure 1 Start Time: 2996 seconds\nSeizure 1 End Time: 3036 seconds\n"
    "Seizure 2 Start Time:  3100 seconds\nSeizure 2 End Time: 3101.5 seconds\n\n"
    "File Name: chb01_04.edf\nNumber of Seizures in File: 1\n"
    "Seizure Start Time: 1467 seconds\r\nSeizure End Time: 1494 seconds\r\n"
)


def summary(folder: Path, text: str = SUMMARY) -> Path:
    path = folder / "chb01-summary.txt"
    path.write_text(text, newline="")
    return path


def test_a_summary_gives_each_recording_its_own_seizures(tmp_path: Path) -> None:
    path = summary(tmp_path)
    assert read(path, "summary.txt", "chb01_01.edf") == Annotations(True)
    assert spans(read(path, "summary.txt", "chb01_03.edf")) == [(2996, 3036), (3100, 3101.5)]
    assert spans(read(path, "summary.txt", "chb01_04.edf")) == [(1467, 1494)]


def test_a_recording_that_a_summary_does_not_list_has_none_only_where_seizures_files_say_so(tmp_path: Path) -> None:
    path = summary(tmp_path)
    with pytest.raises(AnnotationError, match=r"chb01-summary.txt does not list chb01_05.edf"):
        read(path, "summary.txt", "chb01_05.edf")
    (tmp_path / "chb01_03.edf.seizures").touch()
    with pytest.raises(AnnotationError, match=r"does not list chb01_05.edf"):  # which may be chb01_03.edf, renamed
        read(path, "summary.txt", "chb01_05.edf")
    (tmp_path / "chb01_03.edf").touch()
    annotations = read(path, "summary.txt", "chb01_05.edf")
    assert annotations.labelled and not annotations.seizures
    assert "no .seizures file as others here" in annotations.notes[0]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("File: 2", "File: 3", "3 seizures are stated, the times of 2 follow"),
        ("File: 2", "File: two", "the number of seizures is not a number"),
        ("Number of Seizures in File: 2\n", "", "the section does not say how many seizures"),
        ("3036 seconds", "2900 seconds", "stops before it starts"),
        ("3036 seconds", "2996 seconds", "a seizure of no length"),
        ("3036 seconds", "00:50:36", "not a time in seconds"),
        ("Seizure 2 End Time: 3101.5 seconds\n", "", "without its other time"),
        ("Seizure 1 End", "Seizure 1 Start", "do not alternate"),
        ("chb01_04.edf", "chb01_03.edf", "a second section for this recording"),
    ],
)
def test_a_malformed_section_is_refused_with_its_line(tmp_path: Path, old: str, new: str, message: str) -> None:
    path = summary(tmp_path, SUMMARY.replace(old, new))
    assert old in SUMMARY
    with pytest.raises(AnnotationError, match=message) as error:
        read(path, "summary.txt", "chb01_03.edf")
    assert re.search(r"summary.txt:\d+$", error.value.where or "") and error.value.fix


def wfdb(samples: list[tuple[int, int]], *, resolution: int | None = 256) -> bytes:
    """Return annotations (code, sample) as WFDB 10 writes them: each after a skip of 32 bits, high half first."""
    note = b"" if resolution is None else f"## time resolution: {resolution}".encode()
    data = b"\x00\x58" + struct.pack("<H", 63 << 10 | len(note)) + note + b"\0" * (len(note) % 2) if note else b""
    at = 0
    for code, sample in samples:
        step, at = sample - at, sample
        data += struct.pack("<HHHH", 59 << 10, step >> 16, step & 0xFFFF, code << 10)
    return data + b"\0\0"


WRITTEN_BY_WFDB = bytes.fromhex(
    "005817fc23232074696d65207265736f6c7574696f6e3a203235360000ecffffffff010000ec0b0000b4008000ec0000002800840000"
)  # wfdb.wrann("a", "seizures", np.array([2996, 3036]) * 256, ["[", "]"], fs=256)


def test_a_seizures_file_is_read_as_wfdb_reads_it(tmp_path: Path) -> None:
    path = tmp_path / "chb01_03.edf.seizures"
    path.write_bytes(WRITTEN_BY_WFDB)
    assert spans(read(path, ".edf.seizures")) == [(2996, 3036)]
    path.write_bytes(wfdb([(32, 100), (33, 70_000), (32, 921_600), (33, 921_700)], resolution=256))
    annotations = read(path, ".edf.seizures")
    assert spans(annotations) == [(100 / 256, 70_000 / 256), (3600, 3600.390625)]


def test_a_summary_decides_and_a_seizures_file_that_differs_is_a_note(tmp_path: Path) -> None:
    path = tmp_path / "chb01_04.edf.seizures"
    path.write_bytes(wfdb([(32, 1467 * 256), (33, 1500 * 256)]))
    annotations = read_annotations({"summary.txt": summary(tmp_path), ".edf.seizures": path}, recording="chb01_04.edf")
    assert spans(annotations) == [(1467, 1494)]
    [note] = annotations.notes
    assert "6 s of seizure only in .edf.seizures, 0 s only in summary.txt, which decides" in note


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "ends in the middle"),
        (b"seizure 1 2\n", "an annotation of code|ends in the middle"),
        (wfdb([(32, 1), (33, 2)], resolution=None), "no time resolution"),
        (wfdb([(32, 1), (33, 2)], resolution=0), "no time resolution"),
        (wfdb([]), "no seizures"),
        (wfdb([(32, 1)]), "do not alternate"),
        (wfdb([(33, 1), (32, 2)]), "do not alternate"),
        (wfdb([(32, 5), (33, 5)]), "a seizure from"),
        (wfdb([(1, 5)]), "an annotation of code 1"),
        (WRITTEN_BY_WFDB[:40], "ends in the middle"),
    ],
)
def test_what_is_no_seizures_file_is_refused(tmp_path: Path, data: bytes, message: str) -> None:
    path = tmp_path / "a.edf.seizures"
    path.write_bytes(data)
    with pytest.raises(AnnotationError, match=message) as error:
        read(path, ".edf.seizures")
    assert error.value.where == str(path) and error.value.fix


# Siena


def section(name: str, start: str, end: str, *, began: str = "19.39.33", n: int = 1) -> str:
    return (
        f"Seizure n {n} \nFile name: {name}\nRegistration start time: {began}\nRegistration end time:  20.22.58\n"
        f"Seizure start time: {start}\nSeizure end time: {end}\n\n"
    )


def siena(folder: Path, text: str) -> Path:
    path = folder / "Seizures-list-PN00.txt"
    path.write_text("PN00\n\nData Sampling Rate: 512 Hz\n\nChannel 1: Fp1      \r\n\n" + text, newline="")
    return path


def test_a_siena_list_gives_seconds_from_its_recordings_start_over_midnight_too(tmp_path: Path) -> None:
    text = section("PN00-1.edf", "19.58.36", "19.59.46") + section(
        "PN00-2.edf", "00.10.00", "00.11.00", began="23:50:00"
    )
    path = siena(tmp_path, text + section("PN00-3.edf", "23.59.50", "00.00.10", began=" 23.59.00"))
    assert spans(read(path, "Seizures-list.txt", "PN00-1.edf")) == [(1143, 1213)]
    assert spans(read(path, "Seizures-list.txt", "PN00-2.edf")) == [(1200, 1260)]
    assert spans(read(path, "Seizures-list.txt", "PN00-3.edf")) == [(50, 70)]


def test_several_seizures_of_a_recording_are_read_in_both_ways_that_lists_have_them(tmp_path: Path) -> None:
    text = section("PN10-4.5.6.edf", "19.49.50", "19.49.55") + section("PN10-4.5.6.edf", "20.00.25", "20.00.44")
    assert spans(read(siena(tmp_path, text), "Seizures-list.txt", "PN10-4.5.6.edf")) == [(617, 622), (1252, 1271)]
    once = section("PN12-1.2.edf", "19.49.50", "19.49.55")
    again = "Seizure n 2\nFile name: PN12-1.2.edf\nSeizure start time: 20.00.25\nSeizure end time: 20.00.44\n"
    assert spans(read(siena(tmp_path, once + again), "Seizures-list.txt", "PN12-1.2.edf")) == [(617, 622), (1252, 1271)]
    text = (
        "File name: PN01.edf\nRegistration start time: 19.00.44\nRegistration end time: 08.35.00\n\n"
        "Seizure n 1\nStart time: 21:51:02\nEnd time: 21:51:56\n\n"
        "Seizure n 2\nStart time: 07:53:17\nEnd time: 07:54:31\n"
    )
    annotations = read(siena(tmp_path, text), "Seizures-list.txt", "PN01-1.edf")
    assert spans(annotations) == [(10218, 10272), (46353, 46427)]
    assert annotations.notes == ("Seizures-list.txt: Seizures-list-PN00.txt calls PN01-1.edf 'PN01.edf'",)


@pytest.mark.parametrize(
    ("recording", "text", "expected", "note"),
    [
        (
            "PN00-3.edf",
            section("PN00-3.edf", "18.28.29", "19.29.29", began="18.15.44"),
            (765, 825),
            "19.29.29 is a known",
        ),
        (
            "PN10-7.8.9.edf",
            section("PN10-7.8.9.edf", "17.00.00", "17.00.30", began="1 6.49.25"),
            (635, 665),
            "1 6.49.25 is a known mistake: read as 16.49.25",
        ),
        ("PN06-1.edf", section("PNO6-1.edf", "19.58.36", "19.59.46"), (1143, 1213), "calls PN06-1.edf 'PNO6-1.edf'"),
        ("PN11-1.edf", section("PN11-.edf", "19.58.36", "19.59.46"), (1143, 1213), "calls PN11-1.edf 'PN11-.edf'"),
    ],
)
def test_known_mistakes_of_the_siena_lists_are_corrected_by_row_with_a_note(
    tmp_path: Path, recording: str, text: str, expected: tuple[float, float], note: str
) -> None:
    annotations = read(siena(tmp_path, text), "Seizures-list.txt", recording)
    assert spans(annotations) == [expected]
    assert len(annotations.notes) == 1 and note in annotations.notes[0]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (section("PN00-2.edf", "19.58.36", "19.59.46"), "does not list PN00-1.edf"),
        (section("PN00-1.edf", "1 9.58.36", "19.59.46"), "not a time of day"),
        (section("PN00-1.edf", "19.68.36", "19.59.46"), "not a time of day"),
        (section("PN00-1.edf", "19.58.36", "19.58.36"), "a seizure of no length"),
        (section("PN00-1.edf", "19.58.36", "x").replace("Seizure end time: x\n", ""), "without its other time"),
        (section("PN00-1.edf", "19.58.36", "19.59.46").replace("end time: 19", "start time: 19"), "do not alternate"),
        (
            section("PN00-1.edf", "19.58.36", "19.59.46").replace("Registration start time: 19.39.33\n", ""),
            "before its recording's start time",
        ),
    ],
)
def test_a_malformed_siena_list_is_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(AnnotationError, match=message) as error:
        read(siena(tmp_path, text), "Seizures-list.txt", "PN00-1.edf")
    assert error.value.fix


# SeizeIT1

A1 = "# Source: SeizeIt1\n# Recording: r1\n \n\n"


def a1(folder: Path, text: str) -> Path:
    path = folder / "P_ID1_r1_a1.tsv"
    path.write_text(text)
    return path


def test_a_seizeit_table_gives_types_and_without_rows_says_that_there_is_no_seizure(tmp_path: Path) -> None:
    assert read(a1(tmp_path, A1), "a1.tsv") == Annotations(True)
    annotations = read(a1(tmp_path, A1 + "20\t30\tF-BTC\tHem:L\n1949\t1980\tFIA\tHem:L, Orig:Temp, bhe: 0\n"), "a1.tsv")
    assert annotations == Annotations(
        True,
        seizures=(Event(20 * S, 30 * S, "seiz"), Event(1949 * S, 1980 * S, "seiz")),
        typed=(Event(20 * S, 30 * S, "sz_foc_f2b"), Event(1949 * S, 1980 * S, "sz_foc_ia")),
    )


def test_after_a_seizure_without_an_end_nothing_is_background_up_to_the_next_one(tmp_path: Path) -> None:
    annotations = read(a1(tmp_path, A1 + "500\t520\tFA\tx\n100\tNone\tFIA\tx\n600\tNone\tFIA\tx\n"), "a1.tsv")
    assert spans(annotations) == [(100, 130), (500, 520), (600, 630)]
    assert annotations.unknown == ((130 * S, 500 * S), (630 * S, END_US))
    assert annotations.notes[0].startswith("a1.tsv: the seizure at 100 s has no end: 30 s are taken as seizure")
    near = read(a1(tmp_path, A1 + "100\tNone\tFIA\tx\n110\t120\tFIA\tx\n"), "a1.tsv")
    assert spans(near) == [(100, 120)] and near.unknown == ()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1\t2\tFIA\tx\n", "not a table of SeizeIT1"),
        ("# another table\n", "not a table of SeizeIT1"),
        (A1 + "1\t2\tGTC\tx\n", "'GTC' is not a label"),
        (A1 + "1\t2\n", "malformed row"),
        (A1 + "None\t2\tFIA\tx\n", "'None' is not a number"),
        (A1 + "2\t2\tFIA\tx\n", "a seizure of no length"),
        (A1 + "2\t1\tFIA\tx\n", "stops before it starts"),
    ],
)
def test_a_malformed_seizeit_table_is_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(AnnotationError, match=message) as error:
        read(a1(tmp_path, text), "a1.tsv")
    assert error.value.fix
