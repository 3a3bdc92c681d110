"""The promise that a recording has one content, whatever computes it. Other versions and machines: `make digests`."""

from __future__ import annotations

import pytest
from digest_matrix import Environment, Outcome, here, quick, run


@pytest.fixture(scope="module")
def usual() -> Outcome:
    outcome = run(here())
    assert not outcome.failure
    return outcome


@pytest.mark.parametrize("environment", quick(), ids=lambda environment: environment.name)
def test_digests_are_the_same_whatever_computes_them(environment: Environment, usual: Outcome) -> None:
    assert run(environment).against(usual) == "equal"
