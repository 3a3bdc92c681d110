"""The public CI workflow and the citation say what the project itself does."""

from __future__ import annotations

import re
import tomllib

import yaml
from helpers.support import ROOT

JOBS = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text(encoding="utf-8"))["jobs"]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def commands(job: str) -> list[str]:
    return [step["run"] for step in JOBS[job]["steps"] if "run" in step]


def python(job: str) -> str:
    [version] = [step["with"]["python-version"] for step in JOBS[job]["steps"] if "with" in step]
    return str(version)


def test_the_public_ci_runs_what_our_own_ci_runs() -> None:
    assert commands("pinned") == ["bash .ci/run"]
    assert f">={python('pinned')}" == PROJECT["requires-python"]


def test_the_public_ci_also_runs_the_newest_python_with_the_newest_libraries() -> None:
    newest = [name.rpartition(" ")[2] for name in PROJECT["classifiers"] if "Python :: 3." in name][-1]
    assert python("newest") == newest
    assert commands("newest") == ["bash .ci/newest python3"]
    own = (ROOT / ".ci" / "newest").read_text(encoding="utf-8")
    assert f"({newest.replace('.', ', ')})" in own
    assert "--constraint" not in own and "make setup" not in own


def test_our_own_ci_runs_the_tests_the_checks_the_gate_and_the_demo() -> None:
    own = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    for command in (
        "make setup",
        "make test",
        "make check",
        "bash .ci/gate",
        ".venv/bin/brainbrr demo --into .+",
    ):
        assert re.search(rf"^(?:[^#\n]* )?{command}$", own, flags=re.MULTILINE), command


def test_the_citation_is_of_this_version() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert (citation["title"], citation["version"], citation["license"], citation["keywords"]) == (
        PROJECT["name"], PROJECT["version"], PROJECT["license"], PROJECT["keywords"],
    )  # fmt: skip
    assert not {"doi", "url", "repository-code"} & set(citation)


def test_issue_templates_have_a_name_and_a_purpose() -> None:
    templates = sorted((ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.md"))
    assert templates
    for template in templates:
        fields = yaml.safe_load(template.read_text(encoding="utf-8").split("---\n")[1])
        assert fields["name"] and fields["about"], template.name
