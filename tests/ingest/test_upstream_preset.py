"""The preset that is not exact: stored under a key of its own, and said to be outside of the promise."""

from __future__ import annotations

from pathlib import Path

from helpers.support import Cli


def test_upstream_is_another_recipe_and_every_report_says_that_it_is_not_exact(cli: Cli, corpus: Path) -> None:
    assert cli("ingest", corpus, "--profile", "smoke").code == 0
    told = cli("ingest", corpus, "--profile", "smoke", "--recipe", "upstream")
    assert told.code == 0 and "recipe upstream (floats: no promise of equal bytes)" in told.out
    fields = cli("view", "--profile", "smoke", "--recipe", "upstream", "--json").json
    assert fields["state"] == "ready" and fields["recipe"]["exact"] is False
    exact = cli("view", "--profile", "smoke", "--json").json
    assert exact["recipe"]["exact"] is True and exact["digest"] != fields["digest"]
    assert "floats" not in cli("view", "--profile", "smoke").out
