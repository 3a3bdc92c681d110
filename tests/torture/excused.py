"""Mutants that no test can catch, each with the reason."""

_RANDOM = "the name is 128 random bits below tmp/, and nobody else ever has it"
_CLOEXEC = "Python opens every file so that other programs do not inherit it, whatever the flags (PEP 446)"

EXCUSED = {
    'files.py write: "xb" -> "wb"': _RANDOM,
    'objects.py Draft.__enter__: "xb" -> "wb"': _RANDOM,
    'objects.py Draft.__enter__: "xb" -> "wb" #2': _RANDOM,
    'probing.py _links: os.link(at / "a", at / "b") -> ((at / \'b\').unlink(missing_ok=True), '
    "os.link(at / 'a', at / 'b'))": "nothing has that name yet: the probe's folder is new",
    "files.py open_plain: os.O_CLOEXEC -> 0": _CLOEXEC,
    "files.py sync_folder: os.O_CLOEXEC -> 0": _CLOEXEC,
    "leases.py _take: os.O_CLOEXEC -> 0": _CLOEXEC,
    "files.py sync_folder: os.O_DIRECTORY -> 0": "only a guard: no caller gives anything but a folder",
}
