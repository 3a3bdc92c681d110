"""Where mamba-ssm's own kernels run: on CUDA, else in Triton's interpreter, which `make parity` switches on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext
from types import SimpleNamespace

import pytest
import torch

HAS_CUDA = torch.cuda.is_available()


@pytest.fixture(scope="session")
def device() -> Iterator[torch.device]:
    """Make a device that the kernels run on; in the interpreter, mamba-ssm's questions about CUDA are answered."""
    triton = pytest.importorskip("triton", reason="Triton is not installed: make parity")
    pytest.importorskip("einops", reason="mamba-ssm is not installed: make parity")
    if HAS_CUDA:
        yield torch.device("cuda")
        return
    if not triton.knobs.runtime.interpret:
        pytest.skip("needs CUDA, or TRITON_INTERPRET=1: make parity")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.cuda, "device", lambda *_: nullcontext())
        patch.setattr(torch.cuda, "get_device_properties", lambda *_: SimpleNamespace(multi_processor_count=1))
        yield torch.device("cpu")
