"""The promise that a recording has one content, whatever computes it. Other versions and machines: `make digests`."""

from __future__ import annotations

from pathlib import Path

import pytest
from eeg.signal.digest_matrix import NO_INSTRUCTIONS, Environment, Outcome, here, quick, run

GOLDEN = Path(__file__).with_name("golden_contents.txt")


@pytest.fixture(scope="module")
def usual() -> Outcome:
    outcome = run(here())
    assert not outcome.failure
    return outcome


@pytest.mark.slow
@pytest.mark.parametrize("environment", quick(), ids=lambda environment: environment.name)
def test_digests_are_the_same_whatever_computes_them(environment: Environment, usual: Outcome) -> None:
    outcome = run(environment)
    if outcome.failure == NO_INSTRUCTIONS:
        pytest.skip(NO_INSTRUCTIONS)
    assert outcome.against(usual) == "equal"


def test_golden_contents_of_revisions_1_and_2(usual: Outcome) -> None:
    """When this fails, raise the recipe's revision; never edit the golden. Both give the same without gaps."""
    golden = dict(line.split() for line in GOLDEN.read_text(encoding="utf-8").splitlines())
    assert {name: digests.split()[0] for name, digests in usual.digests.items()} == golden
