"""The decision records: each has a date and a status, and the index lists them all."""

from __future__ import annotations

import re

from helpers.support import ROOT

FOLDER = ROOT / "docs" / "decisions"
RECORDS = sorted(FOLDER.glob("[0-9]*.md"))
INDEX = (FOLDER / "README.md").read_text(encoding="utf-8")
HEAD = re.compile(
    r"# (\d+)\. (.+)\n\n"
    r"Date: (\d{4}-\d\d-\d\d)\.(?: Revised: \d{4}-\d\d-\d\d\.)? Status: (accepted|superseded by \d+)\.(.*)\n"
)


def test_each_record_is_listed_with_its_date_and_status() -> None:
    rows = []
    for path in RECORDS:
        head = HEAD.match(path.read_text(encoding="utf-8"))
        assert head, f"{path.name}: begins with a title, a date and a status"
        number, title, date, status, _ = head.groups()
        assert path.name.startswith(f"{int(number):04d}-")
        rows.append(f"| {number} | [{title}]({path.name}) | {date} | {status} |")
    assert re.findall(r"^\| \d+ \| \[.*$", INDEX, flags=re.MULTILINE) == rows


def test_each_number_from_1_is_a_record_or_merged_into_one() -> None:
    own = [int(path.name[:4]) for path in RECORDS]
    merged = {}
    for path in RECORDS:
        head = HEAD.match(path.read_text(encoding="utf-8"))
        assert head
        merged |= {int(number): int(path.name[:4]) for number in re.findall(r"\d+", head[5])}
    assert sorted([*own, *merged]) == list(range(1, max(own) + 1))
    listed = re.findall(r"^\| (\d+) \| [^\[|]+ \| (\d+)", INDEX, flags=re.MULTILINE)
    assert {int(number): int(target) for number, target in listed} == merged


def test_references_name_a_record_that_exists() -> None:
    own = {int(path.name[:4]) for path in RECORDS}
    files = [
        path
        for folder in ("brainbrr", "tests", "benchmarks", "store", "docs", "configs")
        for path in (ROOT / folder).rglob("*")
        if path.suffix in (".py", ".md", ".toml")
    ]
    found = [
        (path, int(number))
        for path in [*files, ROOT / "README.md", ROOT / "CONTRIBUTING.md"]
        for number in re.findall(r"\bdecision (\d+)", path.read_text(encoding="utf-8"))
    ]
    assert found
    assert not [(str(path), number) for path, number in found if number not in own]


def test_modules_named_in_a_record_exist() -> None:
    bases = (ROOT, ROOT / "brainbrr", FOLDER)
    missing = [
        (path.name, name)
        for path in [*RECORDS, ROOT / "store" / "README.md"]
        for name in re.findall(r"`((?:[a-z_]+/)+[a-z_]+\.(?:py|md))`", path.read_text(encoding="utf-8"))
        if not any((base / name).exists() for base in bases)
    ]
    assert not missing
