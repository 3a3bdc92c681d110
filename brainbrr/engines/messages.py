"""Results and errors as JSON lines: how jobs on other machines report, without anything that runs when it is read."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from brainbrr import errors
from brainbrr.engines.engine import R, T, Transferable
from brainbrr.errors import BrainbrrError, Fix


def encode(work: Transferable[T, R], key: str | None, outcome: R | BrainbrrError | OSError) -> bytes:
    """Return the line that says how a task ended; key None: the error because of which a job cannot go on."""
    if isinstance(outcome, (BrainbrrError, OSError)):
        return json.dumps({"key": key, "error": error_to_json(outcome)}).encode()
    return json.dumps({"key": key, "result": work.result_to_json(outcome)}).encode()


def decode(work: Transferable[T, R], line: bytes) -> tuple[str | None, R | BrainbrrError | OSError]:
    """Return key and outcome of a line. Raises ValueError for anything else."""
    try:
        value = json.loads(line)
        key = value["key"]
        if not isinstance(key, str | None):
            raise TypeError("key")
        return key, error_of(value["error"]) if "error" in value else work.result_of(value["result"])
    except (KeyError, TypeError, AttributeError, RecursionError, BrainbrrError) as error:
        raise ValueError(f"not an outcome: {error!r}") from None


def error_to_json(error: BrainbrrError | OSError) -> dict[str, Any]:
    """Return an error's fields as JSON."""
    if isinstance(error, OSError):
        return {
            "errno": error.errno,
            "what": error.strerror,
            "where": None if error.filename is None else str(error.filename),
        }
    fix = list(error.fix.parts) if isinstance(error.fix, Fix) else error.fix
    return {"kind": type(error).__name__, "what": error.what, "where": error.where, "fix": fix, "code": error.code}


def error_of(value: Mapping[str, Any]) -> BrainbrrError | OSError:
    """Return the error that error_to_json() gave. Raises KeyError or TypeError for anything else."""
    if "errno" in value:
        return OSError(value["errno"], value["what"], value["where"])
    kind = getattr(errors, value["kind"], None)
    if not isinstance(kind, type) or not issubclass(kind, BrainbrrError):
        raise TypeError("kind")
    fix = Fix(*value["fix"]) if isinstance(value["fix"], list) else value["fix"]
    return kind(value["what"], where=value["where"], fix=fix, code=value["code"])
