"""Who a recording's patient is: how each layout names patients, and the rules that a person may give instead."""

from __future__ import annotations

import re

from brainbrr.errors import UsageError


def patient_rule(layout: str, patient_from: str | None) -> str:
    """Return in words what names the patients of a corpus."""
    if patient_from in ("folder", "file"):
        return {"folder": "the folder that holds a recording", "file": 'file names up to the first "_"'}[patient_from]
    if patient_from is not None:
        return f"paths, by {patient_from}"
    return {
        "tusz": "file names, as TUSZ does",
        "bids": "the sub-* folders",
        "plain": "the first folder below the root, the file name where there is none",
    }[layout]


def chosen_patient(path: str, patient_from: str) -> str:
    """Return the patient of a recording by a rule: "folder", "file" or a regular expression. Raises UsageError."""
    *folders, name = path.split("/")
    if patient_from == "file":
        return name.rpartition(".")[0].partition("_")[0] or name
    if patient_from == "folder":
        if not folders:
            raise UsageError(
                f"recording {path} is in no folder, which should name its patient",
                fix="choose --patient-from file, or a regular expression",
            )
        return folders[-1]
    try:
        found = re.search(patient_from, path)
    except re.error as error:
        raise UsageError(
            f"--patient-from {patient_from}: no regular expression: {error}",
            fix="give folder, file, or an expression whose first group is the patient, as '(P[0-9]+)_'",
        ) from None
    patient = (found[1] if found.re.groups else found[0]) if found else None
    if not patient:
        raise UsageError(
            f"--patient-from {patient_from} finds no patient in {path}",
            fix="give an expression that matches the path of every recording",
        )
    return patient
