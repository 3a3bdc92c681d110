"""Mutants that no test can catch, each with the reason."""

_RANDOM = "the name is 128 random bits below tmp/, and nobody else ever has it"
_CLOEXEC = "Python opens every file so that other programs do not inherit it, whatever the flags (PEP 446)"
_NEW = "nothing has that name yet: the folder of the probe is new"

EXCUSED = {
    'files.py write: "xb" -> "wb"': _RANDOM,
    'objects.py Draft.__enter__: "xb" -> "wb"': _RANDOM,
    'objects.py Draft.__enter__: "xb" -> "wb" #2': _RANDOM,
    'probing.py _links: os.link(at / "a", at / "b") -> ((at / \'b\').unlink(missing_ok=True), '
    "os.link(at / 'a', at / 'b'))": _NEW,
    'probing.py _renames_folders: (at / "new").rename(at / "folder" / "object") -> '
    "(__import__('shutil').rmtree(at / 'folder' / 'object', ignore_errors=True), "
    "(at / 'new').rename(at / 'folder' / 'object'))": _NEW,
    "files.py open_plain: os.O_CLOEXEC -> 0": _CLOEXEC,
    "files.py sync_folder: os.O_CLOEXEC -> 0": _CLOEXEC,
    "leases.py _take: os.O_CLOEXEC -> 0": _CLOEXEC,
    "files.py sync_folder: os.O_DIRECTORY -> 0": "only a guard: no caller gives anything but a folder",
}
