"""Label files: what they say, which decides, and what is refused."""

from __future__ import annotations

import json
import re
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from brainbrr.core.digest import canonical_json
from brainbrr.eeg.corpus.annotations import (
    UNLABELLED,
    Annotations,
    check_length,
    label_digest,
    length_difference,
    read_annotations,
)
from brainbrr.eeg.corpus.label_formats import FORMATS, ROLES
from brainbrr.eeg.corpus.label_rows import END_US, Event, microseconds
from brainbrr.eeg.corpus.vocabulary import TUSZ, read_label_map
from brainbrr.errors import AnnotationError

STEM = "aaaaaajy_s001_t000"
HEAD = f"# version = csv_v1.0.0\n# bname = {STEM}\n# duration = 100.00 secs\n#\n"
COLUMNS = "channel,start_time,stop_time,label,confidence\n"
CSV = HEAD + COLUMNS
TSE = "version = tse_v1.0.0\n\n"
TSV = "onset\tduration\teventType\tconfidence\tchannels\tdateTime\trecordingDuration\n"
LBL = (
    "\nversion = lbl_v1.0.0\n\nmontage = 0, FP1-F7: EEG FP1-REF -- EEG F7-REF\n"
    "montage = 1, F7-T3: EEG F7-REF -- EEG T3-REF\n"
    "\nnumber_of_levels = 1\n\nlevel[0] = 1\n\nsymbols[0] = {0: '(null)', 1: 'bckg', 2: 'fnsz'}\n\n"
)


def write(folder: Path, role: str, text: str | bytes) -> Path:
    path = folder / f"{STEM}{role if role.startswith('.') else '_' + role}"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def read(folder: Path, **texts: str | bytes) -> Annotations:
    """Read files given as csv_bi=..., csv=..., events=..."""
    roles = {("events.tsv" if name == "events" else f".{name}"): text for name, text in texts.items()}
    return read_annotations({role: write(folder, role, text) for role, text in roles.items()})


def spans(annotations: Annotations) -> list[tuple[int, int]]:
    return [(event.start_us, event.stop_us) for event in annotations.seizures]


# Real files


def real_files(data: Path, *patterns: str) -> list[Path]:
    return sorted(path for pattern in patterns for path in data.glob(pattern))


def test_every_real_csv_bi_gives_the_seizures_that_a_plain_search_for_its_rows_finds(data: Path) -> None:
    files = real_files(data, "**/*.csv_bi")
    assert len(files) > 75
    found = 0
    for path in files:
        rows = re.findall(r"^TERM,([\d.]+),([\d.]+),seiz,", path.read_text(), re.MULTILINE)
        annotations = read_annotations({".csv_bi": path})
        assert spans(annotations) == [(int(Decimal(a) * 10**6), int(Decimal(b) * 10**6)) for a, b in rows], path
        assert all(event == Event(event.start_us, event.stop_us, "seiz") for event in annotations.seizures)
        duration = re.search(r"# duration = ([\d.]+) secs", path.read_text())
        assert duration and annotations.duration_us == int(Decimal(duration[1]) * 10**6)
        assert annotations.notes == ()
        found += len(rows)
    assert found > 300


def test_real_csv_agrees_with_its_csv_bi_and_adds_channels(data: Path) -> None:
    files = real_files(data, "tusz_like/**/*.csv")
    assert len(files) == 9
    for path in files:
        annotations = read_annotations({".csv": path, ".csv_bi": path.with_suffix(".csv_bi")})
        assert annotations.notes == ()
        if "ltma" in path.name:
            assert spans(annotations) == [(0, 5_000_000)]
            assert [(event.label, len(event.channels)) for event in annotations.typed] == [("seiz", 22)]
            assert annotations.typed[0].channels[:2] == ("FP1-F7", "F7-T3")
        else:
            assert annotations.seizures == annotations.typed == ()


@pytest.mark.parametrize("stem", ["00000258_s002_t000", "00000258_s002_t002"])
def test_real_tse_and_lbl_files_are_background_over_their_rows(data: Path, stem: str) -> None:
    seconds = {"00000258_s002_t000": 20, "00000258_s002_t002": 272}[stem]
    folder = data / "labels/tusz_v1.5_tse_lbl"
    files = {role: folder / f"{stem}{role}" for role in (".tse", ".tse_bi", ".lbl", ".lbl_bi")}
    for chosen in (files, *({role: path} for role, path in files.items())):
        assert read_annotations(chosen) == Annotations(True, duration_us=seconds * 10**6)


def test_a_real_lbl_file_with_one_seizure_marked_gives_its_type_and_channel(data: Path, tmp_path: Path) -> None:
    text = (data / "labels/tusz_v1.5_tse_lbl/00000258_s002_t000.lbl").read_text()
    row = next(line for line in text.split("\n") if line.startswith("label = {0, 0, 0.0000, 20.0000, 3, "))
    seizure = row.replace(
        "[0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0", "[0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0"
    )
    assert seizure != row
    annotations = read(tmp_path, lbl=text.replace(row, seizure.replace("0.0000, 20", "4.5000, 20")))
    assert annotations.typed == (Event(4_500_000, 20_000_000, "fnsz", ("T5-O1",)),)
    assert spans(annotations) == [(4_500_000, 20_000_000)]


def test_the_real_tse_bi_without_rows_is_refused_since_it_says_nothing_about_any_time(data: Path) -> None:
    with pytest.raises(AnnotationError, match="no rows, and nothing that says how much time") as error:
        read_annotations({".tse_bi": data / "labels/tusz_v1.5_tse_lbl/tuh_empty.tse_bi"})
    assert error.value.where and error.value.where.endswith("tuh_empty.tse_bi")


# What decides


def test_csv_bi_decides_seizure_time_and_csv_adds_type_and_channels(tmp_path: Path) -> None:
    annotations = read(
        tmp_path,
        csv_bi=CSV + "TERM,0.0000,10.0000,bckg,1.0000\nTERM,10.00,20.00,seiz,1.0000\nTERM,20.0,100.0,bckg,1.0\n",
        csv=CSV + "F7-T3,10.0,20.0,fnsz,1.0\nFP1-F7, 10.0000, 20.0000, fnsz, 1.0000\nFP1-F7,40,41.5,eyem,1\n",
    )
    assert annotations == Annotations(
        True,
        seizures=(Event(10_000_000, 20_000_000, "seiz"),),
        typed=(
            Event(10_000_000, 20_000_000, "fnsz", ("F7-T3", "FP1-F7")),
            Event(40_000_000, 41_500_000, "eyem", ("FP1-F7",)),
        ),
        duration_us=100_000_000,
    )


def test_disagreement_beyond_a_second_is_a_note_and_within_it_is_not(tmp_path: Path) -> None:
    binary = CSV + "TERM,10,20,seiz,1\n"
    far = read(tmp_path, csv_bi=binary, csv=CSV + "C3-P3,12.5,30,gnsz,1\n")
    assert spans(far) == [(10_000_000, 20_000_000)]
    assert far.notes == (
        ".csv and .csv_bi disagree: 10 s of seizure only in .csv, 2.5 s only in .csv_bi, which decides",
    )
    more = read(tmp_path, csv_bi=binary, csv=CSV + "C3-P3,8,20,gnsz,1\n")
    assert "2 s of seizure only in .csv, 0 s only in .csv_bi" in more.notes[0]
    near = read(tmp_path, csv_bi=binary, csv=CSV + "C3-P3,9.5,20.5,gnsz,1\n")
    assert near.notes == ()
    none = read(tmp_path, csv_bi=binary, csv=CSV + "C3-P3,0,100,bckg,1\n")
    assert "10 s only in .csv_bi" in none.notes[0]


def test_where_only_csv_is_there_seizure_time_is_the_union_of_its_seizure_rows(tmp_path: Path) -> None:
    annotations = read(
        tmp_path,
        csv=CSV
        + "F7-T3,30,40,tcsz,1\nFP1-F7,10,20,fnsz,1\nF7-T3,15,25,fnsz,1\nC3-P3,25,26,absz,1\nC3-P3,50,60,eyem,1\n",
    )
    assert spans(annotations) == [(10_000_000, 26_000_000), (30_000_000, 40_000_000)]
    assert [event.label for event in annotations.typed] == ["fnsz", "fnsz", "absz", "tcsz", "eyem"]


@pytest.mark.parametrize("label", sorted(TUSZ.seizures))
def test_every_seizure_type_of_tusz_is_seizure_time(tmp_path: Path, label: str) -> None:
    assert spans(read(tmp_path, csv=CSV + f"FP1-F7,10,20,{label},1\n")) == [(10_000_000, 20_000_000)]


def test_an_event_marked_on_the_whole_head_has_no_channels_and_background_of_no_length_is_left_out(
    tmp_path: Path,
) -> None:
    annotations = read(tmp_path, csv=CSV + "C3-P3,1,2,fnsz,1\nTERM,1,2,fnsz,1\nP3-O1,1,2,fnsz,1\nC3-P3,3,3,bckg,1\n")
    assert annotations.typed == (Event(1_000_000, 2_000_000, "fnsz"),)


def test_the_first_of_the_roles_decides_whatever_else_is_there(tmp_path: Path) -> None:
    texts: dict[str, str | bytes] = {
        "csv_bi": CSV + "TERM,1,2,seiz,1\n",
        "tse_bi": TSE + "0 2 bckg 1\n2 3 seiz 1\n",
        "lbl_bi": LBL + "label = {0, 0, 3.0, 4.0, 0, [0.0, 0.0, 1.0]}\n",
        "csv": CSV + "FP1-F7,4,5,fnsz,1\n",
        "tse": TSE + "5 6 fnsz 1\n",
        "lbl": LBL + "label = {0, 0, 6.0, 7.0, 0, [0.0, 0.0, 1.0]}\n",
        "events": TSV + "7\t1\tsz\tn/a\tn/a\tn/a\t100\n",
    }
    for n, name in enumerate(list(texts), 1):
        assert spans(read(tmp_path, **texts)) == [(n * 10**6, (n + 1) * 10**6)]
        del texts[name]


def test_overlapping_and_adjacent_seizures_are_one(tmp_path: Path) -> None:
    rows = "TERM,30,40,seiz,1\nTERM,10,20,seiz,1\nTERM,20,25,seiz,1\nTERM,35,38,seiz,1\nTERM,25.0001,26,seiz,1\n"
    assert spans(read(tmp_path, csv_bi=CSV + rows)) == [
        (10_000_000, 25_000_000),
        (25_000_100, 26_000_000),
        (30_000_000, 40_000_000),
    ]


def test_a_background_stub_or_no_row_at_all_is_background_over_the_stated_duration(tmp_path: Path) -> None:
    stub = read(tmp_path, csv_bi=CSV + "TERM,0.0182,0.9827,bckg,1.0000\n")
    assert stub == Annotations(True, duration_us=100_000_000)
    empty = read(tmp_path, csv_bi=CSV)
    assert empty.seizures == () and empty.duration_us == 100_000_000
    assert empty.notes == (".csv_bi: no rows: background over the stated duration",)


def test_szcore_events_give_types_channels_and_the_duration(tmp_path: Path) -> None:
    rows = (
        "296.0\t40.0    \tsz_foc_ia_m_tonic     \tn/a     \tFp1-Avg, F3-Avg\t2016-11-06 13:43:04\t 3600.00\r\n"
        "0.25\t3.5\tsz\t0.87\tall\t2016-11-06 13:43:04\t3600.0\r\n"
    )
    annotations = read(tmp_path, events=TSV.replace("\n", "\r\n") + rows)
    assert annotations == Annotations(
        True,
        seizures=(Event(250_000, 3_750_000, "seiz"), Event(296_000_000, 336_000_000, "seiz")),
        typed=(
            Event(250_000, 3_750_000, "sz"),
            Event(296_000_000, 336_000_000, "sz_foc_ia_m_tonic", ("Fp1-Avg", "F3-Avg")),
        ),
        duration_us=3_600_000_000,
    )


def test_bids_events_may_call_their_labels_trial_type_and_state_no_duration(tmp_path: Path) -> None:
    annotations = read(tmp_path, events="trial_type\tonset\tduration\nsz-gen-m-tonic_clonic\t1\t2\nbckg\t3\t9\n")
    assert spans(annotations) == [(1_000_000, 3_000_000)]
    assert annotations.duration_us is None
    assert annotations.notes == ("no file states a duration: the labels are taken to cover the whole recording",)


def test_each_format_is_read_by_its_own_vocabulary(tmp_path: Path) -> None:
    with pytest.raises(AnnotationError, match="'fnsz' is not a label of SzCORE"):
        read(tmp_path, events="onset\tduration\teventType\n1\t2\tfnsz\n")
    with pytest.raises(AnnotationError, match="'sz_foc' is not a label of TUSZ"):
        read(tmp_path, csv_bi=CSV + "TERM,1,2,sz_foc,1\n")


def test_a_byte_order_mark_windows_line_ends_and_capital_labels_change_nothing(tmp_path: Path) -> None:
    plain = read(tmp_path, csv_bi=CSV + "TERM,10,20,seiz,1\n")
    odd = "\ufeff" + (HEAD + "\n" + COLUMNS + "TERM,10,20,SEIZ,1\n\n").replace("\n", "\r\n")
    assert read(tmp_path, csv_bi=odd) == plain


# Times


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0", 0),
        ("-0.0", 0),
        ("301.0000", 301_000_000),
        ("0.0182", 18_200),
        ("1.1", 1_100_000),
        ("877.3977", 877_397_700),
        ("0.0000005", 0),
        ("0.0000015", 2),
        ("1.0000005", 1000000),
        ("0.00000250000000000000000000000000001", 3),
        ("1e-05", 10),
        (".5", 500_000),
        ("5.", 5_000_000),
        ("1000000000", 10**15),
    ],
)
def test_times_are_exact_to_the_microsecond_half_to_even(text: str, expected: int) -> None:
    assert microseconds(text) == expected


@pytest.mark.parametrize(
    "text", ["", "nan", "NaN", "inf", "-1", "1_000", "１", "0x10", "1,5", "1e999", "1000000000.5", "9" * 5000, "TERM"]
)
def test_what_is_not_a_time_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"is not a number|is negative|is not a time"):
        microseconds(text)


# What is said of odd files


@pytest.mark.parametrize(
    ("texts", "note"),
    [
        ({"csv_bi": CSV.replace(STEM, "other") + "TERM,1,2,seiz,1\n"}, "bname says 'other', the file is called"),
        ({"csv_bi": COLUMNS + "TERM,1,2,seiz,1\n"}, ".csv_bi: no `# duration`"),
        ({"csv_bi": CSV + "TERM,1,1,bckg,1\n"}, ".csv_bi: rows of no length, left out: 1"),
        ({"csv_bi": CSV + "TERM,1,101,seiz,1\n"}, ".csv_bi: rows that end after the stated 100 s: 1"),
        ({"csv_bi": CSV + "TERM,1,2,fnsz,1\n"}, ".csv_bi: holds fnsz beside bckg and seiz"),
        ({"csv_bi": CSV + "TERM,0,100,bckg,1\nTERM,1,2.5,seiz,1\n"}, "1.5 s are both seizure and background"),
        ({"csv": CSV + "FP1-F7,1,2,nesz,1\n"}, ".csv: nesz (non-epileptic) rows count as seizure time"),
        ({"tse": TSE + "0 1 bckg 1\n2 3 fnsz 1\n"}, ".tse: 1 s between rows are not labelled"),
        ({"csv_bi": CSV, "csv": CSV.replace("100.00", "98.5")}, ".csv covers 98.5 s, .csv_bi 100 s"),
    ],
)
def test_what_is_odd_but_readable_is_read_and_noted(tmp_path: Path, texts: dict[str, str], note: str) -> None:
    annotations = read(tmp_path, **texts)
    assert annotations.labelled
    assert any(note in line for line in annotations.notes), annotations.notes


# What is refused


ROW = "TERM,1,2,seiz,1\n"


@pytest.mark.parametrize(
    ("role", "text", "line", "message"),
    [
        (".csv_bi", "", None, "the label file is empty"),
        (".csv_bi", b"\xef\xbb\xbf \r\n\n", None, "the label file is empty"),
        ("events.tsv", b"\xef\xbb\xbf", None, "the label file is empty"),
        (".csv_bi", COLUMNS, None, "no rows, and nothing that says how much time"),
        (".csv_bi", HEAD, None, "the column row channel,start_time"),
        (".csv_bi", HEAD + ROW, 5, "the column row is missing: 'TERM,1,2,seiz,1'"),
        (".csv_bi", HEAD + "start_time,stop_time,label,confidence\n1,2,seiz,1\n", 5, "the column row is missing"),
        (".csv_bi", CSV + "TERM,1,2,seiz\n", 6, "malformed row: 'TERM,1,2,seiz'"),
        (".csv_bi", CSV + "TERM,1,2,seiz,1,x\n", 6, "malformed row"),
        (".csv_bi", CSV + ",1,2,seiz,1\n", 6, "malformed row"),
        (".csv_bi", CSV + "\n" + ROW + "1,TERM,2,seiz,1\n", 8, "'TERM' is not a number of seconds"),
        (".csv_bi", CSV + "TERM,2,1,seiz,1\n", 6, "stops before it starts: 'TERM,2,1,seiz,1'"),
        (".csv_bi", CSV + "TERM,-1,2,seiz,1\n", 6, "-1 s is negative"),
        (".csv_bi", CSV + "TERM,nan,2,seiz,1\n", 6, "'nan' is not a number"),
        (".csv_bi", CSV + "TERM,1,2,seiz,high\n", 6, "confidence 'high' is not a number"),
        (".csv_bi", CSV + "TERM,1,2,siez,1\n", 6, "'siez' is not a label of TUSZ"),
        (".csv_bi", CSV + "TERM,1,2,,1\n", 6, "'' is not a label of TUSZ"),
        (".csv_bi", CSV.encode() + b"TERM,1,2,seiz,1\xb5\n", 6, "byte 0xb5 is not UTF-8"),
        (".csv_bi", CSV.replace("csv_v1.0.0", "csv_v2.0.0"), 1, "unknown format version 'csv_v2.0.0'"),
        (".csv_bi", CSV.replace("100.00 secs", "5 mins"), 3, "the duration is not a positive number of seconds"),
        (".csv_bi", CSV.replace("100.00", "0.00"), 3, "the duration is not a positive number of seconds"),
        (".csv_bi", CSV.replace("100.00", "-3"), 3, "the duration is not a positive number of seconds"),
        (".csv_bi", "# duration = 4 secs\n" + CSV, 4, "a second 'duration' that differs"),
        (".csv", "version https://git-lfs.github.com/spec/v1\noid sha256:0\n", None, "git-LFS pointer"),
        (".csv_bi", "<!DOCTYPE html>\n<html></html>\n", 1, "the column row is missing"),
        (".tse", "0 1 bckg 1\n", 1, "not a .tse file of version 1"),
        (".tse", TSE.replace("v1", "v2") + "0 1 bckg 1\n", 1, "not a .tse file of version 1"),
        (".tse", TSE, None, "no rows"),
        (".tse", TSE + "0 0 bckg 1\n", None, "the rows cover no time"),
        (".tse_bi", TSE + "0 1 bckg\n", 3, "malformed row"),
        (".tse_bi", TSE + "0 1 seiz nan\n", 3, "confidence 'nan' is not a number"),
        (".tse_bi", TSE + "0 x bckg 1\n", 3, "'x' is not a number of seconds"),
        (".lbl", LBL + "label\n", 13, "malformed line"),
        (".lbl", LBL + "colour = red\n", 13, "unknown line"),
        (".lbl", LBL + "montage = a, FP1\n", 13, "malformed montage line"),
        (".lbl", LBL + "symbols[1] = __import__('os')\n", 13, "malformed symbol table"),
        (".lbl", LBL + "symbols[1] = {0: 'bckg', 0: 'seiz'}\n", 13, "malformed symbol table"),
        (".lbl", LBL + "label = {0, 0, 0.0, 1.0, 0}\n", 13, "malformed row"),
        (".lbl", LBL + "label = {0, 0, 0.0, 1.0, 0, [0.0, nan, 1.0]}\n", 13, "malformed row"),
        (".lbl", LBL + "label = {0, 0, 0.0, 1.0, 0, [0.0, 0.5, 0.5]}\n", 13, "2 of 3 labels are marked"),
        (".lbl", LBL + "label = {0, 0, 0.0, 1.0, 0, [0.0, 0.0, 0.0]}\n", 13, "0 of 3 labels are marked"),
        (
            ".lbl",
            LBL + "label = {0, 0, 0.0, 1.0, 9, [0.0, 0.0, 1.0]}\n",
            13,
            "channel '9' is not in the file's montage",
        ),
        (".lbl", LBL + "label = {0, 0, 0.0, 1.0, 0, [0.0, 0.0, 0.0, 1.0]}\n", 13, "label 3 of level '0' is not in"),
        (".lbl", LBL + "label = {2, 0, 0.0, 1.0, 0, [0.0, 0.0, 1.0]}\n", 13, "label 2 of level '2' is not in"),
        ("events.tsv", "onset\teventType\n1\tsz\n", 1, "missing columns duration"),
        ("events.tsv", "onset,duration,eventType\n1,2,sz\n", 1, "missing columns onset, duration, eventType"),
        ("events.tsv", "onset\tduration\tduration\teventType\n", 1, "a column occurs twice"),
        ("events.tsv", TSV, None, "no rows"),
        ("events.tsv", TSV + "1\t2\tsz\n", 2, "3 fields for 7 columns"),
        ("events.tsv", TSV + "1\tn/a\tsz\tn/a\tn/a\tn/a\t9\n", 2, "'n/a' is not a number of seconds"),
        ("events.tsv", TSV + "-1\t2\tsz\tn/a\tn/a\tn/a\t9\n", 2, "-1 s is negative"),
        ("events.tsv", TSV + "1\t2\tn/a\tn/a\tn/a\tn/a\t9\n", 2, "'n/a' is not a label of SzCORE"),
        ("events.tsv", TSV + "1\t2\tszfoc\tn/a\tn/a\tn/a\t9\n", 2, "'szfoc' is not a label of SzCORE"),
        ("events.tsv", TSV + "1\t2\tsz\thigh\tn/a\tn/a\t9\n", 2, "confidence 'high' is not a number"),
        ("events.tsv", TSV + "1\t2\tsz\tn/a\tn/a\tn/a\t0\n", 2, "recordingDuration is 0"),
        ("events.tsv", TSV + "1\t2\tsz\t1\tall\tn/a\t9\n3\t2\tsz\t1\tall\tn/a\t8\n", 3, "not that of the rows above"),
    ],
)
def test_a_malformed_file_is_refused_with_its_line_and_a_way_out(
    tmp_path: Path, role: str, text: str | bytes, line: int | None, message: str
) -> None:
    path = write(tmp_path, role, text)
    with pytest.raises(AnnotationError) as error:
        read_annotations({role: path})
    assert message in error.value.what
    assert error.value.where == (str(path) if line is None else f"{path}:{line}")
    assert line is None or error.value.what.endswith(f"line {line} of the {path.suffix}")  # a catalog keeps no `where`
    assert error.value.fix


def test_a_malformed_csv_is_an_error_even_where_csv_bi_decides(tmp_path: Path) -> None:
    with pytest.raises(AnnotationError, match="'fnzs' is not a label of TUSZ"):
        read(tmp_path, csv_bi=CSV + ROW, csv=CSV + "FP1-F7,1,2,fnzs,1\n")


def test_no_label_file_is_an_error_that_lists_what_was_looked_for(tmp_path: Path) -> None:
    with pytest.raises(AnnotationError, match="no label file") as error:
        read_annotations({})
    assert all(role.lstrip(".") in error.value.what for role in ROLES if not FORMATS[role].shared)
    assert error.value.fix and "--labels optional" in error.value.fix
    with pytest.raises(AnnotationError, match="cannot be read: No such file"):
        read_annotations({".csv_bi": tmp_path / "gone.csv_bi"})
    with pytest.raises(ValueError, match="not a kind of label file"):
        read_annotations({".txt": tmp_path / "notes.txt"})


@pytest.mark.slow
@given(
    role=st.sampled_from([role for role in ROLES if not FORMATS[role].shared]),
    body=st.one_of(
        st.binary(max_size=200),
        st.text(max_size=200).map(str.encode),
        st.lists(
            st.lists(st.sampled_from(["TERM", "0", "1.5", "2e-3", "-1", "seiz", "sz", "bckg", "", "nan", "9" * 50])),
            max_size=4,
        ).map(lambda rows: rows),
    ),
    head=st.booleans(),
)
@settings(max_examples=400, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_whatever_a_file_holds_it_is_read_or_refused_by_our_own_error(
    tmp_path: Path, role: str, body: bytes | list[list[str]], head: bool
) -> None:
    heads = {
        ".csv": CSV, ".tse": TSE, ".lbl": LBL, "events.tsv": "onset\tduration\teventType\n",
        "a1.tsv": "# Source: SeizeIt1\n", ".edf.seizures": "\x17\xfc## time resolution: 256\0",
    }  # fmt: skip
    gap = {".csv": ",", ".lbl": ", ", "events.tsv": "\t", "a1.tsv": "\t"}.get(role.removesuffix("_bi"), " ")
    if isinstance(body, list):
        start = "label = {" if role.startswith(".lbl") else ""
        body = "\n".join(start + gap.join(row) for row in body).encode()
    path = write(tmp_path, role, (heads[role.removesuffix("_bi")].encode() if head else b"") + body)
    try:
        annotations = read_annotations({role: path})
    except AnnotationError as error:
        assert error.where and error.where.startswith(str(path)) and error.fix
    else:
        assert annotations.labelled
        assert Annotations.from_json(json.loads(canonical_json(annotations.to_json()))) == annotations


@pytest.mark.slow
@given(
    rows=st.lists(
        st.tuples(st.integers(0, 200), st.integers(1, 60), st.sampled_from(["seiz", "fnsz", "bckg", "artf"])),
        min_size=1,
        max_size=12,
    )
)
@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_seizure_time_is_exactly_the_time_that_seizure_rows_cover(
    tmp_path: Path, rows: list[tuple[int, int, str]]
) -> None:
    text = CSV + "".join(f"FP1-F7,{a / 10},{(a + n) / 10},{label},1\n" for a, n, label in rows)
    annotations = read(tmp_path, csv=text)
    expected = {t for a, n, label in rows if label in ("seiz", "fnsz") for t in range(a, a + n)}
    covered = [t for a, b in spans(annotations) for t in range(a // 10**5, b // 10**5)]
    assert sorted(expected) == covered
    assert not expected & {t for a, b in annotations.unknown for t in range(a // 10**5, min(b // 10**5, 300))}
    assert all(left[1] < right[0] for left, right in zip(spans(annotations), spans(annotations)[1:], strict=False))


# Time that is not background


@pytest.mark.parametrize(
    ("role", "text"),
    [
        (".csv_bi", CSV + "TERM,10.0000,10.0000,seiz,1.0000\n"),
        (".csv", CSV + "FP1-F7,1,2,bckg,1\nFP1-F7,10,10.0000001,fnsz,1\n"),
        (".tse", TSE + "0 1 bckg 1\n1 1 cpsz 1\n"),
        (".lbl_bi", LBL + "label = {0, 0, 4.0, 4.0, 0, [0.0, 0.0, 1.0]}\n"),
        ("events.tsv", TSV + "10.0\t0.0\tsz\tn/a\tn/a\tn/a\t30.0\n"),
        ("events.tsv", TSV + "10.0\t0\tSZ_foc\tn/a\tn/a\tn/a\t30.0\n"),
    ],
)
def test_a_seizure_of_no_length_is_an_error_and_never_background(tmp_path: Path, role: str, text: str) -> None:
    with pytest.raises(AnnotationError, match=r"a seizure of no length: '.*', line ") as error:
        read_annotations({role: write(tmp_path, role, text)})
    assert error.value.fix


def test_an_impedance_check_is_not_background(tmp_path: Path) -> None:
    rows = "0.0\t30.0\tbckg\tn/a\tn/a\tn/a\t30.0\n10.0\t10.0\timpd\tn/a\tn/a\tn/a\t30.0\n"
    annotations = read(tmp_path, events=TSV + rows + "18.0\t4.0\tsz\tn/a\tn/a\tn/a\t30.0\n")
    assert annotations.unknown == ((10_000_000, 18_000_000),)
    assert spans(annotations) == [(18_000_000, 22_000_000)]
    assert "events.tsv: 10 s of impd are not background" in annotations.notes


def test_only_rows_make_background_where_a_corpus_lists_artefacts(tmp_path: Path) -> None:
    annotations = read(tmp_path, csv=CSV + "TERM,10,20,bckg,1\nFP1-F7,15,30,eyem_musc,1\nC3-P3,40,50,fnsz,1\n")
    assert [event.label for event in annotations.typed] == ["eyem_musc", "fnsz"]
    assert annotations.unknown == ((0, 10_000_000), (20_000_000, 40_000_000), (50_000_000, 100_000_000))
    assert any("time is background only where a row says so: 10 s" in note for note in annotations.notes)
    whole = read(tmp_path, csv=CSV + "TERM,10,20,bckg,1\nTERM,15,30,spsw,1\n")
    assert whole.unknown == ((0, 10_000_000), (20_000_000, 100_000_000))
    each = read(tmp_path, csv=CSV + "A1,0,9,bckg,1\nB1,3,12,bckg,1\nTERM,20,30,bckg,1\nB1,40,50,gped,1\n")
    assert each.unknown == ((0, 3_000_000), (9_000_000, 20_000_000), (30_000_000, 100_000_000))


def test_where_csv_bi_decides_what_is_not_listed_is_background_whatever_the_csv_lists(tmp_path: Path) -> None:
    annotations = read(tmp_path, csv_bi=CSV + "TERM,0,100,bckg,1\n", csv=CSV + "FP1-F7,40,41.5,eyem,1\n")
    assert annotations.unknown == () and annotations.notes == ()


def test_without_a_length_unknown_time_reaches_any_end(tmp_path: Path) -> None:
    text = CSV.replace("# duration = 100.00 secs\n", "") + "TERM,10,20,bckg,1\nTERM,15,30,artf,1\n"
    assert read(tmp_path, csv=text).unknown == ((0, 10_000_000), (20_000_000, END_US))


def test_a_label_map_gives_a_laboratory_s_words_their_meaning(tmp_path: Path) -> None:
    file = tmp_path / "map.toml"
    file.write_text('ied = "unknown"\nSpike = "background"\n"Seizure onset" = "seizure"\n')
    rows = "5\t5\tIED\n20\t1\tspike\n30\t10\tseizure onset\n"
    events = write(tmp_path, "events.tsv", "onset\tduration\ttrial_type\n" + rows)
    with pytest.raises(AnnotationError, match="'IED' is not a label of SzCORE") as error:
        read_annotations({"events.tsv": events})
    assert error.value.fix and "--label-map" in error.value.fix
    annotations = read_annotations({"events.tsv": events}, label_map=read_label_map(file))
    assert annotations.unknown == ((5_000_000, 10_000_000),)
    assert spans(annotations) == [(30_000_000, 40_000_000)]
    assert [event.label for event in annotations.typed] == ["ied", "seizure onset"]
    assert Annotations.from_json(json.loads(canonical_json(annotations.to_json()))) == annotations
    for wrong in ({"IED": "unknown"}, {"ied": "maybe"}, {"ied": ["unknown"]}, ["ied"]):
        with pytest.raises(AnnotationError):
            Annotations.from_json({**annotations.to_json(), "label_map": wrong})


def test_a_label_map_may_give_known_words_another_meaning(tmp_path: Path) -> None:
    path = write(tmp_path, ".csv_bi", CSV + "TERM,10,20,nesz,1\nTERM,30,40,spsw,1\n")
    annotations = read_annotations({".csv_bi": path}, label_map={"nesz": "background", "spsw": "unknown"})
    assert annotations.seizures == () and annotations.unknown == ((30_000_000, 40_000_000),)


def test_bids_columns_and_labels_may_be_in_any_case(tmp_path: Path) -> None:
    text = "Onset\tDURATION\tEventType\tChannels\trecordingduration\n1\t2\tSZ_Foc\tALL\t9\n4\t1\tBCKG\tN/A\t9\n"
    annotations = read(tmp_path, events=text)
    assert annotations == Annotations(
        True,
        seizures=(Event(1_000_000, 3_000_000, "seiz"),),
        typed=(Event(1_000_000, 3_000_000, "sz_foc"),),
        duration_us=9_000_000,
    )


def test_a_quoted_channel_is_the_channel(tmp_path: Path) -> None:
    annotations = read(tmp_path, csv=CSV + '"FP1-F7",1,2,"fnsz",1\n')
    assert annotations.typed == (Event(1_000_000, 2_000_000, "fnsz", ("FP1-F7",)),)


def test_a_table_without_rows_says_no_event_only_where_that_was_asked_for(tmp_path: Path) -> None:
    path = write(tmp_path, "events.tsv", TSV)
    with pytest.raises(AnnotationError, match="no rows"):
        read_annotations({"events.tsv": path})
    assert read_annotations({"events.tsv": path}, empty=True).seizures == ()


# Length


def labelled(*spans: tuple[float, float], declared: float | None = 20) -> Annotations:
    events = tuple(Event(int(a * 10**6), int(b * 10**6), "seiz") for a, b in spans)
    return Annotations(True, seizures=events, duration_us=None if declared is None else int(declared * 10**6))


@pytest.mark.parametrize(
    ("annotations", "signal_s", "problem"),
    [
        (labelled(declared=711), 20, "the labels cover 711 s, the signal 20 s"),
        (labelled(declared=21.000001), 20, "the labels cover 21.000001 s, the signal 20 s"),
        (labelled((20, 20.5)), 20, "seiz from 20 s to 20.5 s is not in the signal of 20 s"),
        (labelled((19, 21.5)), 20, "seiz from 19 s to 21.5 s is not in the signal of 20 s"),
        (labelled((30, 40), declared=None), 20, "seiz from 30 s to 40 s is not in the signal of 20 s"),
    ],
)
def test_labels_of_more_time_than_the_signal_has_are_refused_unless_accepted(
    annotations: Annotations, signal_s: int, problem: str
) -> None:
    with pytest.raises(AnnotationError) as error:
        check_length(annotations, signal_s * 10**6)
    assert problem in error.value.what and error.value.fix and "--accept label-length" in error.value.fix
    with pytest.raises(AnnotationError):
        check_length(annotations, signal_s * 10**6, accept=frozenset({"refused", "contacts"}))
    for accepted in ("label-length", "truncated"):
        checked = check_length(annotations, signal_s * 10**6, accept=frozenset({accepted}))
        assert f"{problem}: accepted" in checked.notes
        assert check_length(checked, signal_s * 10**6, accept=frozenset({accepted})) == checked
    assert length_difference(annotations, signal_s * 10**6) > 0


@pytest.mark.parametrize(
    ("annotations", "signal_s", "notes", "longer_s"),
    [
        (labelled((5, 10)), 20, (), 0),
        (labelled(declared=21), 20, (), 1),
        (labelled((19, 21), declared=None), 20, ("seizures that end after the signal, cut to it: 1",), 1),
        (labelled((5, 10), declared=None), 20, (), 0),
        (labelled(declared=19), 20, (), -1),
        (labelled(declared=12.5), 20, ("7.5 s at the end are unlabelled",), -7.5),
        (labelled((0, 1), declared=1), 300, ("299 s at the end are unlabelled",), -299),
    ],
)
def test_labels_within_a_second_or_of_less_time_than_the_signal_are_kept(
    annotations: Annotations, signal_s: int, notes: tuple[str, ...], longer_s: float
) -> None:
    checked = check_length(annotations, signal_s * 10**6)
    assert checked.notes == notes
    assert length_difference(annotations, signal_s * 10**6) == longer_s * 10**6


def test_a_dropped_partial_record_widens_the_tolerance_by_its_length() -> None:
    annotations = labelled((21, 29.5), declared=29.5)
    with pytest.raises(AnnotationError, match="the labels cover"):
        check_length(annotations, 20 * 10**6)
    with pytest.raises(AnnotationError, match="seiz from 21 s"):  # no sample of it is there
        check_length(annotations, 20 * 10**6, partial_us=9 * 10**6)
    [note] = check_length(labelled((15, 29.5), declared=29.5), 20 * 10**6, partial_us=9 * 10**6).notes
    assert note == "seizures that end after the signal, cut to it: 1"


def test_the_background_row_of_a_csv_bi_is_no_declared_length(tmp_path: Path) -> None:
    annotations = read(tmp_path, csv_bi=CSV + "TERM,0.0182,0.9827,bckg,1.0000\n")
    assert check_length(annotations, 100_000_000).notes == ()


@pytest.mark.parametrize(
    ("head", "last"),
    [
        (CSV, "TERM,150,711,bckg,1\n"),
        (COLUMNS, "TERM,5,711,bckg,1\n"),
        (COLUMNS, "TERM,5,10,seiz,1\nTERM,10,711,bckg,1\n"),
    ],
)
def test_a_background_row_after_the_signal_is_refused_whatever_length_is_stated(
    tmp_path: Path, head: str, last: str
) -> None:
    annotations = read(tmp_path, csv_bi=head + last)
    with pytest.raises(AnnotationError, match=r"bckg from \d+ s to 711 s is not in the signal of 100 s"):
        check_length(annotations, 100_000_000)
    assert Annotations.from_json(json.loads(canonical_json(annotations.to_json()))) == annotations
    assert length_difference(annotations, 100_000_000) == 611_000_000
    assert read(tmp_path, csv_bi=CSV + "TERM,50,100.9,bckg,1\n").last is None


# JSON and digest


def test_annotations_survive_json_without_a_float(tmp_path: Path) -> None:
    annotations = read(tmp_path, csv_bi=CSV + "TERM,10,20.5,seiz,1\n", csv=CSV + "FP1-F7,1,2,fnsz,1\n")
    assert annotations.notes
    text = canonical_json(annotations.to_json())  # raises TypeError for a float
    assert Annotations.from_json(json.loads(text)) == annotations
    assert Annotations.from_json(UNLABELLED.to_json()) == UNLABELLED
    assert UNLABELLED.labelled is False and UNLABELLED.duration_us is None


@pytest.mark.parametrize(
    "change",
    [
        {"labelled": 1},
        {"labelled": False},
        {"seizures": [[5, 5]]},
        {"seizures": [[-1, 5]]},
        {"seizures": [[1.0, 5]]},
        {"seizures": [[True, 5]]},
        {"seizures": [[1, 5], [5, 6]]},
        {"seizures": [[8, 9], [5, 6]]},
        {"seizures": [[1, 5, "seiz"]]},
        {"seizures": "none"},
        {"typed": [[1, 2, "fnsz"]]},
        {"typed": [[1, 2, 3, []]]},
        {"typed": [[1, 2, "fnsz", [1]]]},
        {"typed": [[1, 2, "fnsz", "C3"]]},
        {"typed": [[3, 4, "fnsz", []], [1, 2, "fnsz", []]]},
        {"duration_us": 0},
        {"duration_us": 1.5},
        {"duration_us": "9"},
        {"notes": [1]},
        {"notes": "odd"},
        {"patient": "x"},
    ],
)
def test_json_that_we_did_not_write_is_refused(change: dict[str, object]) -> None:
    good = Annotations(True, (Event(1, 5, "seiz"),), (Event(1, 2, "fnsz", ("C3",)),), 9, ("odd",)).to_json()
    assert Annotations.from_json(good).duration_us == 9
    with pytest.raises(AnnotationError, match="not annotations as brainbrr writes them"):
        Annotations.from_json({**good, **change})
    for name in good:
        with pytest.raises(AnnotationError):
            Annotations.from_json({key: value for key, value in good.items() if key != name})
    for value in (None, [], "text", 1):
        with pytest.raises(AnnotationError):
            Annotations.from_json(value)


def test_the_digest_of_labels_follows_bytes_and_roles_not_names(tmp_path: Path) -> None:
    first, second = write(tmp_path, ".csv_bi", CSV + ROW), write(tmp_path, ".csv", CSV)
    digest = label_digest({".csv_bi": first, ".csv": second})
    moved = tmp_path / "other.csv_bi"
    moved.write_bytes(first.read_bytes())
    assert label_digest({".csv": second, ".csv_bi": moved}) == digest
    assert label_digest({".csv_bi": second, ".csv": first}) != digest
    assert label_digest({".csv_bi": first}) != digest
    first.write_text(CSV + ROW + "\n")
    assert label_digest({".csv_bi": first, ".csv": second}) != digest
    with pytest.raises(AnnotationError, match="cannot be read"):
        label_digest({".csv_bi": tmp_path / "gone"})
