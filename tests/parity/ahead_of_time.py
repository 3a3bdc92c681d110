"""Compile every Triton kernel that a training step of mamba-ssm's scan launches, for sm_90, on a machine without a GPU.

Prints one line per kernel: its name and the bytes of its machine code. Nothing is launched, so no number is computed.
"""

from __future__ import annotations

import os
import sys
import warnings
from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

os.environ.update(TRITON_CACHE_DIR=sys.argv[1], TRITON_INTERPRET="0", MAMBA_DETERMINISTIC="1")  # one config per kernel

import torch
import triton
from triton.backends.compiler import GPUTarget
from triton.runtime import JITFunction

from brainbrr.learn import scans

SM_90 = GPUTarget("cuda", 90, 32)


class Compiler:
    """A driver for a GPU that is not there."""

    def get_current_target(self) -> GPUTarget:
        return SM_90

    def get_current_device(self) -> int:
        return 0

    def get_current_stream(self, _: int) -> int:
        return 0


def main() -> None:
    """Run one step with compilation in place of launches."""
    warnings.simplefilter("ignore")
    triton.runtime.driver.set_active(Compiler())
    torch.cuda.device = lambda *_: nullcontext()
    torch.cuda.get_device_properties = lambda *_: SimpleNamespace(multi_processor_count=132)
    sizes: dict[str, int] = {}
    launch = JITFunction.run

    def compiled(kernel: JITFunction, *args: Any, **options: Any) -> Any:
        made = launch(kernel, *args, **{**options, "warmup": True})
        sizes[kernel.__name__] = len(made.asm["cubin"])
        return made

    JITFunction.run = compiled
    for dtype in (torch.float32, torch.bfloat16):
        x, b, c = (torch.zeros(1, 512, *shape, dtype=dtype) for shape in ((8, 32), (32,), (32,)))
        inputs = [x, torch.zeros(1, 512, 8), torch.zeros(8), b, c, torch.zeros(8)]
        scans.in_triton(*(t.requires_grad_() for t in inputs)).float().sum().backward()
    for name, size in sizes.items():
        print(f"{name}\t{size}\tbytes for sm_90")


if __name__ == "__main__":
    main()
