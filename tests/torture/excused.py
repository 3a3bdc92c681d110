"""Mutants that no test can catch, each with the reason."""

_RANDOM = "the name is 128 random bits below tmp/, and nobody else ever has it"
_CLOEXEC = "Python opens every file so that other programs do not inherit it, whatever the flags (PEP 446)"
_TRASH = "the name is 128 random bits below trash/, and nobody else ever has it"
_NEW = "nothing has that name yet: the folder of the probe is new"

EXCUSED = {
    'files.py write: "xb" -> "wb"': _RANDOM,
    'writer.py Draft.__enter__: "xb" -> "wb"': _RANDOM,
    'writer.py Draft.__enter__: "xb" -> "wb" #2': _RANDOM,
    'filesystem.py _links: os.link(at / "a", at / "b") -> ((at / \'b\').unlink(missing_ok=True), '
    "os.link(at / 'a', at / 'b'))": _NEW,
    'filesystem.py _renames_folders: (at / "new").rename(at / "folder" / "object") -> '
    "(__import__('shutil').rmtree(at / 'folder' / 'object', ignore_errors=True), "
    "(at / 'new').rename(at / 'folder' / 'object'))": _NEW,
    "deletion.py cancel: folder.rename(ours) -> (__import__('shutil').rmtree(ours, ignore_errors=True), "
    "folder.rename(ours))": _TRASH,
    "deletion.py Deletion.__init__: made.rename(self.folder) -> (__import__('shutil').rmtree(self.folder, "
    "ignore_errors=True), made.rename(self.folder))": _TRASH,
    "deletion.py _move: path.rename(into / path.name) -> (__import__('shutil').rmtree(into / path.name, "
    "ignore_errors=True), path.rename(into / path.name))": "a deletion takes each thing once, into folders of its own",
    "deletion.py _move: not files.is_folder(into) -> False": "who moves it syncs that folder next, or finishes",
    "files.py open_plain: os.O_CLOEXEC -> 0": _CLOEXEC,
    "files.py opened_folder: os.O_CLOEXEC -> 0": _CLOEXEC,
    "leases.py holding: os.O_CLOEXEC -> 0": _CLOEXEC,
    "files.py opened_folder: os.O_DIRECTORY -> 0": "only a guard: no caller gives anything but a folder",
}
