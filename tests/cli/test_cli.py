"""The command line as people and programs meet it."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import click
import pytest
from helpers.support import ROOT, Cli, leaves

from brainbrr.cli.app import EXIT_CODES, GROUPS
from brainbrr.cli.app import cli as group

COMMANDS = dict(leaves(group))


@pytest.mark.parametrize("name", COMMANDS)
def test_every_help_has_an_example_and_the_exit_codes_of_its_command(cli: Cli, name: str) -> None:
    told = cli(name, "--help")
    assert told.code == 0
    example, codes = told.out.split("Example:")[1].split("Exit codes:")
    assert f"brainbrr {name}" in example
    for code, meaning in EXIT_CODES.items():
        assert (f"{code}  {meaning}" in codes) == (code in COMMANDS[name].exits)
    assert max(map(len, told.out.splitlines())) < 100


def test_help_lists_every_command_in_a_group(cli: Cli) -> None:
    files = {path.stem for path in (ROOT / "brainbrr" / "cli").glob("*.py")} - {"__init__", "main", "app", "output"}
    assert COMMANDS.keys() == files
    told = cli("--help")
    for group_name, names in GROUPS.items():
        section = told.out.split(f"\n{group_name}:\n")[1].split("\n\n")[0]
        for name in names:
            assert f"\n  {name} " in f"\n{section}"
    assert cli("help").out.rstrip() == told.out.rstrip()


def test_the_version_says_by_what_kernels_are_compiled(cli: Cli) -> None:
    short, long = cli("--version").out, cli("--version", "--verbose").out
    assert short.startswith("brainbrr, version ") and long.startswith(short)
    assert "kernels: " in long and "kernels: " not in short
    assert cli("--verbose", "--version").out == long


def test_help_shows_a_command_and_the_exit_codes(cli: Cli) -> None:
    assert "--min-quality" in cli("help", "view").out
    assert cli("help", "exit-codes").out == "".join(f"{code}\t{meaning}\n" for code, meaning in EXIT_CODES.items())
    assert cli("help", "exit-codes", "--json").json["exit_codes"]["3"] == EXIT_CODES[3]
    assert cli("help", "nothing").code == 2


@pytest.mark.parametrize(
    ("words", "new"),
    [
        (["store", "init", "--shared"], "brainbrr init"),
        (["ingest", "ROOT", "--accept-refused"], "--accept refused"),
        (["predict", "RUN", "x.edf", "--accept-truncated"], "--accept truncated"),
        (["verify", "--accept-gone"], "--accept gone"),
    ],
)
def test_an_old_name_ends_with_one_line_that_says_the_new_one(cli: Cli, words: list[str], new: str) -> None:
    told = cli(*words)
    assert told.code == 2 and told.err.count("\n") == 1 and f"is now `{new}`" in told.err


def test_help_lists_commands_by_whole_sentences(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert "..." not in cli("--help").out.split("Start:")[1]


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_takes_json_and_store(name: str) -> None:
    options = {option for p in COMMANDS[name].params for option in p.opts if isinstance(p, click.Option)}
    assert {"--json", "--store"} <= options


CONTRACT = {
    "ingest": "corpus recordings new reused relabelled removed failed bytes_read bytes_written seconds",
    "view": "state profile split recipe recordings ready omitted missing windows hours seizures digest bytes",
    "status": "store objects bytes records corpora profiles recipes",
    "verify": "objects verified corrupt seconds",
    "check": "ok objects duplicate_objects duplicate_bytes orphans missing corrupt leaks",
    "dry run": "recordings hours bytes_needed bytes_free inodes_needed seconds_estimate problems new failed script",
    "why": "hit key nearest",
}


@pytest.mark.slow
def test_json_fields_are_the_contract(cli: Cli, corpus: Path) -> None:
    recording = next(corpus.rglob("*.edf")).stem
    arguments = {
        "ingest": ["ingest", corpus, "--workers", 1],
        "dry run": ["ingest", corpus, "--dry-run"],
        "why": ["why", recording],
    }
    for name, fields in CONTRACT.items():
        told = cli(*arguments.get(name, [name]), "--json")
        assert told.code == 0, (name, told.err)
        missing = set(fields.split()) - set(told.json)
        assert not missing, f"{name}: {missing}"
    assert set(cli("status", "--json").json["store"]) >= {"location", "origin"}


@pytest.mark.slow
def test_why_names_each_differing_field(cli: Cli, corpus: Path) -> None:
    cli("ingest", corpus, "--workers", 1, "--profile", "smoke")
    recording = cli("view", "--profile", "smoke", "--out", corpus.parent / "v.json")
    frozen = json.loads((corpus.parent / "v.json").read_bytes())
    path = frozen["recordings"][0]["path"]
    assert recording.code == 0
    assert cli("why", path, "--json").json["hit"] is True
    told = cli("why", path, "--set", "notch_hz=50", "--set", "quantum_uv=0.25", "--json").json
    assert told["hit"] is False
    assert told["nearest"]["differences"] == {"notch_hz": ["50", "60"], "quantum_uv": ["0.25", "0.125"]}
    assert told["nearest"]["key"] == frozen["recordings"][0]["key"]
    assert cli("why", frozen["recordings"][0]["key"], "--json").json["hit"] is True
    assert cli("why", path, "--set", "notch=50").code == 2


def test_wrong_flag_ends_with_2_and_points_to_help(cli: Cli) -> None:
    told = cli("view", "--profil", "dev")
    assert told.code == 2 and "brainbrr view --help" in told.err


def test_errors_are_one_json_object_too(cli: Cli, tmp_path: Path) -> None:
    told = cli("ingest", tmp_path / "nowhere", "--json")
    assert told.code == 2
    assert told.json["error"] == "UsageError" and "no such folder" in told.json["what"]
    assert (told.json["code"], told.json["exit"]) == ("usage", 2)


@pytest.mark.slow
def test_piped_output_is_tab_separated(cli: Cli, corpus: Path) -> None:
    cli("ingest", corpus, "--workers", 1, "--profile", "smoke")
    lines = cli("view", "--profile", "smoke").out.splitlines()
    assert "smoke" in lines[0]
    assert dict(line.split("\t", 1) for line in lines[1:])["state"] == "ready"
    assert "\x1b" not in "".join(lines)


ODD_NAMES = {
    b"\xff\xfe": "\\udcff\\udcfe",
    b"a\nb\tc": "a\\nb\\tc",
    b"\x1b[31mred": "\\x1b[31mred",
    b"[bold]": "[bold]",
}


@pytest.mark.slow
@pytest.mark.parametrize("terminal", [False, True])
def test_no_name_of_a_file_ends_a_line_moves_a_cursor_or_the_command(
    cli: Cli, corpus: Path, tmp_path: Path, terminal: bool
) -> None:
    cli("ingest", corpus, "--workers", 1, "--profile", "smoke")
    for name in ODD_NAMES:
        Path(os.fsdecode(os.fsencode(tmp_path / "store") + b"/" + name)).touch()
    for words, code in ((["verify"], 4), (["repair"], 0)):
        command = [sys.executable, "-m", "brainbrr", *words]
        if terminal:
            command = ["script", "-qec", shlex.join(command), "/dev/null"]
            if shutil.which("script") is None:
                pytest.skip("util-linux's script is not here")
        environment = {**os.environ, "PYTHONIOENCODING": "utf-8:strict"}
        ended = subprocess.run(command, env=environment, capture_output=True, check=False)
        lines = ended.stdout.decode().splitlines()
        assert ended.returncode == code, ended.stderr
        for shown in ODD_NAMES.values():
            assert sum("stranger" in line and shown in line for line in lines) == 1


@pytest.mark.slow
def test_output_names_profile_and_split_since_dev_is_both(cli: Cli, corpus: Path) -> None:
    cli("ingest", corpus, "--workers", 1)
    told = cli("view", "--profile", "dev", "--split", "dev")
    assert told.out.splitlines()[0].startswith("demo: profile dev, split dev")


@pytest.mark.slow
def test_selection_is_shown_and_narrows(cli: Cli, corpus: Path, tmp_path: Path) -> None:
    cli("ingest", corpus, "--workers", 1)
    everything = cli("view", "--json").json
    cli("view", "--out", tmp_path / "v.json")
    recordings = json.loads((tmp_path / "v.json").read_bytes())["recordings"]
    patient = recordings[0]["patient"]
    some = cli("view", "--patients", patient, "--json").json
    assert some["ready"] == sum(r["patient"] == patient for r in recordings)
    assert some["selection"] == {"patients": [patient]}
    assert some["digest"] != everything["digest"]
    (tmp_path / "bad.txt").write_text(f"# known artefacts\n{recordings[0]['path']}\n")
    assert cli("view", "--exclude", tmp_path / "bad.txt", "--json").json["ready"] == everything["ready"] - 1
    assert cli("view", "--where", "split=eval", "--json").json["ready"] == 4
    assert cli("view", "--patients", "nobody").code == 2
    assert cli("view", "--where", "colour=red").code == 2
    (tmp_path / "bad.txt").write_text("edf/train/gone.edf\n")
    assert cli("view", "--exclude", tmp_path / "bad.txt").code == 2


def test_empty_store_is_an_empty_view_with_exit_3(cli: Cli) -> None:
    told = cli("view", "--profile", "dev", "--json")
    assert (told.code, told.json["state"]) == (3, "empty")
    assert cli("status", "--json").json["store"]["exists"] is False


def test_quiet_keeps_results_and_errors_and_verbose_adds_where_settings_are_from(cli: Cli, tmp_path: Path) -> None:
    assert "no runs in" in cli("runs").err and cli("-q", "runs").err == ""
    assert cli("-q", "status").out == cli("status").out != ""
    assert cli("-q", "verify").err.startswith("error: ")
    assert f"store: {tmp_path / 'store'} (environment" in cli("-v", "status").err
    assert cli("-V").out == cli("--version").out and "kernels: " in cli("-v", "-V").out


def test_options_before_the_command_and_remotes_without_a_store_are_said_to_be_that(cli: Cli, tmp_path: Path) -> None:
    told = cli("--store", "store", "ls")
    assert told.code == 2 and "'--store' before a command; a command's options follow its name" in told.err
    assert "--version" in cli("--versio").err
    told = cli("pull", tmp_path / "nothing")
    assert told.code == 2 and "no store at this remote" in told.err and f"push {tmp_path / 'nothing'} " in told.err


@pytest.mark.slow
def test_ctrl_c_leaves_a_store_that_the_same_command_finishes(corpus: Path, tmp_path: Path) -> None:
    environment = {**os.environ, "XDG_CACHE_HOME": str(tmp_path / "host"), "BRAINBRR_STORE": str(tmp_path / "store")}
    command = [sys.executable, "-m", "brainbrr", "ingest", str(corpus), "--json"]
    running = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while not list((tmp_path / "store").glob("records/*/*.json")) and time.monotonic() < deadline:
        time.sleep(0.02)
    running.send_signal(signal.SIGINT)
    out, err = running.communicate(timeout=60)
    assert running.returncode in (0, 130), err
    if running.returncode == 130:
        assert "interrupted" in err and json.loads(out)["exit"] == 130
    again = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    told = json.loads(again.stdout)
    assert told["new"] + told["reused"] == 18 and told["reused"] > 0
    gate = subprocess.run([sys.executable, "-m", "brainbrr", "check"], env=environment, capture_output=True, text=True)
    assert gate.returncode == 0, gate.stdout


@pytest.mark.slow
def test_a_file_that_cannot_be_written_is_all_that_json_says(cli: Cli, corpus: Path) -> None:
    cli("ingest", corpus, "--workers", 1)
    for option in ("--out", "--index"):
        told = cli("view", option, corpus / "SYNTHETIC.json" / "view", "--json")
        assert told.code == 1 and "SYNTHETIC.json" in told.json["what"]
