"""Second preimages of XXH3-128, computed in milliseconds: why no file is identified by that hash.

XXH3 has no key. Beyond 240 bytes its state is eight 64-bit sums, to which each stripe of 64 bytes adds; nothing of the
file before a stripe counts but these sums. Two stripes of one's own choice (128 bytes) set all eight to any value:
in each lane one word whose low half cancels the secret's, another one whose high half does, so that both products
vanish and what is left is an addition of two free halves. Source: the XXH3 specification (xxHash, doc/xxhash_spec.md).
"""

from __future__ import annotations

import numpy as np

STRIPE, STRIPES_PER_BLOCK = 64, 16
BLOCK = STRIPE * STRIPES_PER_BLOCK
FREE_BYTES = 4 * STRIPE
"""So many bytes of free choice hold two whole stripes, wherever in a block they begin."""

_MASK = (1 << 64) - 1
_P32 = (0x9E3779B1, 0x85EBCA77, 0xC2B2AE3D)
_P64 = (0x9E3779B185EBCA87, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9, 0x85EBCA77C2B2AE63, 0x27D4EB2F165667C5)
_START = (_P32[2], _P64[0], _P64[1], _P64[2], _P64[3], _P32[1], _P64[4], _P32[0])
_SECRET = bytes.fromhex(
    "b8fe6c3923a44bbe7c01812cf721ad1cded46de9839097db7240a4a4b7b3671fcb79e64eccc0e578825ad07dccff7221b8084674f743248e"
    "e03590e6813a264c3c2852bb91c300cb88d0658b1b532ea371644897a20df94e3819ef46a9deacd8a8fa763fe39c343ff9dcbbc7c70b4f1d"
    "8a51e04bcdb45931c89f7ec9d9787364eac5ac8334d3ebc3c581a0fffa1363eb170ddd51b7f0da49d316552629d4689e2b16be587d47a1fc"
    "8ff8b8d17ad031ce45cb3a8f95160428afd7fbcabb4b407e"
)


def _secret(at: int) -> np.ndarray:
    return np.frombuffer(_SECRET, "<u8", 8, at)


def _sums_after(data: bytes, n_stripes: int) -> list[int]:
    """Return the eight sums after the first stripes of a file."""
    sums = np.array(_START, dtype=np.uint64)
    keys = np.stack([_secret(8 * n) for n in range(STRIPES_PER_BLOCK)])
    words = np.frombuffer(data, "<u8", 8 * n_stripes).reshape(-1, 8)
    for first in range(0, n_stripes, STRIPES_PER_BLOCK):
        block = words[first : first + STRIPES_PER_BLOCK]
        keyed = block ^ keys[: len(block)]
        products = (keyed & np.uint64(0xFFFFFFFF)) * (keyed >> np.uint64(32))
        crossed = block.sum(axis=0, dtype=np.uint64)[[1, 0, 3, 2, 5, 4, 7, 6]]
        sums = sums + products.sum(axis=0, dtype=np.uint64) + crossed
        if len(block) == STRIPES_PER_BLOCK and first + STRIPES_PER_BLOCK < n_stripes:
            sums = _scrambled(sums)
    return [int(value) for value in sums]


def _scrambled(sums: np.ndarray) -> np.ndarray:
    return ((sums ^ (sums >> np.uint64(47))) ^ _secret(128)) * np.uint64(_P32[0])


def forged(original: bytes, changed: bytes, *, free: int) -> bytes:
    """Return `changed` with two stripes within FREE_BYTES from `free` on, so that its XXH3-128 is the original's.

    Both must be of one length and equal behind the free bytes, and more than a block must follow them.
    """
    first = -(-free // STRIPE)
    if first % STRIPES_PER_BLOCK == STRIPES_PER_BLOCK - 1:
        first += 1  # both stripes in one block
    at = first * STRIPE
    assert len(original) == len(changed) > at + 2 * STRIPE + BLOCK
    assert at + 2 * STRIPE <= free + FREE_BYTES
    assert original[at + 2 * STRIPE :] == changed[at + 2 * STRIPE :]
    wanted = _sums_after(original, first + 2)
    blank = bytearray(changed)
    blank[at : at + 2 * STRIPE] = bytes(2 * STRIPE)
    before = _before(bytes(blank), first)
    keys = [_secret(8 * ((first + n) % STRIPES_PER_BLOCK)) for n in range(2)]
    for lane in range(8):
        need = (wanted[lane ^ 1] - before[lane ^ 1]) & _MASK  # a word is added to the sum beside its own
        low_of_one, high_of_two = int(keys[0][lane]) & 0xFFFFFFFF, int(keys[1][lane]) >> 32
        low_of_two = (need - low_of_one) & 0xFFFFFFFF
        rest = (need - low_of_one - low_of_two - (high_of_two << 32)) & _MASK
        one, two = rest & ~0xFFFFFFFF | low_of_one, (high_of_two << 32) | low_of_two
        blank[at + 8 * lane : at + 8 * lane + 8] = one.to_bytes(8, "little")
        blank[at + STRIPE + 8 * lane : at + STRIPE + 8 * lane + 8] = two.to_bytes(8, "little")
    return bytes(blank)


def _before(data: bytes, first: int) -> list[int]:
    """Return the sums that the stripe `first` is added to: scrambled where it begins a block."""
    sums = np.array(_sums_after(data, first) if first else _START, dtype=np.uint64)
    if first and first % STRIPES_PER_BLOCK == 0:
        sums = _scrambled(sums)
    return [int(value) for value in sums]
