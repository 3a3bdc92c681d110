"""SSH signatures of locks, made and verified by ssh-keygen (`man ssh-keygen`, -Y). Knows nothing of what is signed."""

from __future__ import annotations

import subprocess
from pathlib import Path

from brainbrr.errors import DependencyError, IntegrityError, UsageError

NAMESPACE = "brainbrr-lock"
"""So that a signature of anything else, such as a commit, never counts for a lock."""


def sign(file: Path, key: Path) -> Path:
    """Write FILE.sig with a private key, over an older one, which may need its passphrase. Raises UsageError."""
    signature = Path(f"{file}.sig")
    signature.unlink(missing_ok=True)
    done = _ssh_keygen("sign", "-f", str(key), "-n", NAMESPACE, "--", str(file))
    if done.returncode or not signature.exists():
        raise UsageError(f"ssh-keygen did not sign it: {_said(done)}", where=key, fix="a private SSH key")
    return signature


def verify(file: Path, signers: Path) -> str:
    """Return who of the allowed signers signed a file, by FILE.sig.

    Raises UsageError where there is no signature, IntegrityError where none of them made it, or of other bytes.
    """
    signature = Path(f"{file}.sig")
    for each, what in ((signature, "no signature"), (signers, "no file of allowed signers"), (file, "no lock")):
        if not each.is_file():
            raise UsageError(f"there is {what}", where=each)
    found = _ssh_keygen("find-principals", "-s", str(signature), "-f", str(signers))
    names = found.stdout.decode(errors="replace").split()
    if found.returncode or not names:
        raise IntegrityError(
            "none of the allowed signers signed this", where=signature, fix="ask who gave you the lock"
        )
    with file.open("rb") as data:
        identity = ("-I", names[0], "-n", NAMESPACE)
        done = _ssh_keygen("verify", "-f", str(signers), *identity, "-s", str(signature), stdin=data.fileno())
    if done.returncode:
        raise IntegrityError(f"the signature is not of this file: {_said(done)}", where=signature)
    return names[0]


def _ssh_keygen(action: str, *words: str, stdin: int | None = None) -> subprocess.CompletedProcess[bytes]:
    try:
        command = ["ssh-keygen", "-Y", action, *words]
        return subprocess.run(command, stdin=stdin, capture_output=True, check=False)  # noqa: S603  # no shell
    except FileNotFoundError as error:
        raise DependencyError("ssh-keygen is not installed", fix="install OpenSSH 8.2 or newer") from error


def _said(done: subprocess.CompletedProcess[bytes]) -> str:
    text = done.stderr.decode(errors="replace").strip() or done.stdout.decode(errors="replace").strip()
    return text.splitlines()[-1][:200] if text else f"exit {done.returncode}"
