"""The detector: mamba-ssm's names and shapes, what sees what, and its sizes."""

from __future__ import annotations

import pytest
import torch

from brainbrr.learn.config import ModelConfig, load_train_config
from brainbrr.learn.model import BiMamba2, Detector, Mamba2, n_parameters

TOKENS = ModelConfig(d_model=16, n_blocks=1, stem=(4, 4), stem_width=4)
UNET = ModelConfig(d_model=16, n_blocks=1, unet=True, stem=(2, 4), stem_width=8, residual_convs=1)
BOTH = pytest.mark.parametrize("config", [TOKENS, UNET], ids=["tokens", "unet"])


def test_mamba2_has_the_names_and_shapes_of_mamba_ssm() -> None:
    layer = Mamba2(ModelConfig(d_model=64, d_state=16, headdim=16))
    # from mamba_ssm.modules.mamba2.Mamba2(64, d_state=16, headdim=16)
    assert {name: tuple(value.shape) for name, value in layer.state_dict().items()} == {
        "dt_bias": (8,),
        "A_log": (8,),
        "D": (8,),
        "in_proj.weight": (2 * 128 + 2 * 16 + 8, 64),
        "conv1d.weight": (128 + 2 * 16, 1, 4),
        "conv1d.bias": (128 + 2 * 16,),
        "norm.weight": (128,),
        "out_proj.weight": (64, 128),
    }


@pytest.mark.slow
def test_mamba2_is_causal_and_the_detector_is_not() -> None:
    config = ModelConfig(d_model=16, n_blocks=1, stem=(4, 4), stem_width=4)
    torch.manual_seed(0)
    u = torch.randn(1, 40, 16)
    later = u.clone()
    later[:, 30:] += 1
    layer = Mamba2(config)
    assert torch.equal(layer(u)[:, :30], layer(later)[:, :30])
    assert not torch.equal(layer(u)[:, 30:], layer(later)[:, 30:])

    detector = Detector(3, config)
    signal = torch.randn(1, 3, 640)
    other = signal.clone()
    other[..., 600:] += 1
    assert not torch.equal(detector(signal)[:, :100], detector(other)[:, :100])


@pytest.mark.slow
def test_the_backward_layer_sees_what_comes_after_and_nothing_before() -> None:
    torch.manual_seed(0)
    block = BiMamba2(ModelConfig(d_model=16, n_blocks=1))
    with torch.no_grad():
        block.fuse.weight[:, :16] = 0  # the forward layer's half
    u = torch.randn(1, 40, 16)
    earlier = u.clone()
    earlier[:, :10] += 1
    changed = (block(u) != block(earlier)).any(-1)[0]
    assert changed[:10].all() and not changed[10:].any()
    later = u.clone()
    later[:, 30:] += 1
    assert (block(u) != block(later)).any(-1)[0].all()


@pytest.mark.slow
@BOTH
@pytest.mark.parametrize("length", [640, 650, 1])
def test_detector_gives_one_logit_per_sample(config: ModelConfig, length: int) -> None:
    detector = Detector(3, config)
    assert detector(torch.zeros(2, 3, length)).shape == (2, length)


@pytest.mark.slow
@BOTH
def test_every_parameter_learns(config: ModelConfig) -> None:
    detector = Detector(3, config)
    detector(torch.randn(2, 3, 640)).square().sum().backward()
    assert [name for name, p in detector.named_parameters() if p.grad is None or not p.grad.any()] == []


@pytest.mark.slow
@BOTH
def test_a_unets_and_a_stems_logits_stay_where_their_samples_are(config: ModelConfig) -> None:
    torch.manual_seed(0)
    detector = Detector(3, config)
    detector.blocks = torch.nn.ModuleList()  # what is left sees its neighbourhood only
    signal = torch.randn(1, 3, 640)
    if config.unet:  # a group norm sees all of the window
        detector.apply(lambda part: part.register_forward_hook(lambda _, i, o: i[0]) if _is_group_norm(part) else None)
    later = signal.clone()
    later[..., 320:] += 1
    changed = (detector(signal) != detector(later))[0]
    assert not changed[:200].any() and changed[340:].all()


def _is_group_norm(part: torch.nn.Module) -> bool:
    return isinstance(part, torch.nn.GroupNorm)


@pytest.mark.slow
@BOTH
def test_checkpointing_changes_no_bit_of_any_gradient(config: ModelConfig) -> None:
    torch.manual_seed(0)
    config = config.model_copy(update={"dropout": 0.3})
    plain, signal = Detector(3, config), torch.randn(2, 3, 640)
    lean = Detector(3, config.model_copy(update={"checkpoint": True}))
    lean.load_state_dict(plain.state_dict())
    calls = []
    lean.blocks[0].register_forward_pre_hook(lambda *_: calls.append(1))
    for detector in (plain, lean):
        torch.manual_seed(1)  # the same is dropped, in the second forward pass too
        detector(signal).square().sum().backward()
    assert not torch.equal(plain(signal), plain(signal)) and torch.equal(plain.eval()(signal), plain(signal))
    for one, other in zip(plain.parameters(), lean.parameters(), strict=True):
        assert one.grad is not None and other.grad is not None and torch.equal(one.grad, other.grad)
    assert len(calls) == 2  # forward, and again in the backward pass


@pytest.mark.slow
def test_bf16_autocast_keeps_the_dynamics_in_float32() -> None:
    torch.manual_seed(0)
    layer, u = Mamba2(ModelConfig(d_model=32, chunk=16)), torch.randn(2, 100, 32)
    exact = layer(u)
    with torch.autocast("cpu", torch.bfloat16):
        coarse = layer(u)
    assert coarse.dtype == torch.bfloat16
    assert (coarse - exact).abs().max() < 0.02 * exact.abs().max()
    coarse.float().square().sum().backward()
    for parameter in (layer.A_log, layer.dt_bias, layer.D):
        assert parameter.dtype == torch.float32
        assert parameter.grad is not None and parameter.grad.isfinite().all()


@pytest.mark.slow
@BOTH
def test_logits_of_a_bf16_forward_are_float32_and_near(config: ModelConfig) -> None:
    torch.manual_seed(0)
    detector, signal = Detector(3, config), torch.randn(2, 3, 640)
    exact = detector(signal)
    with torch.autocast("cpu", torch.bfloat16):
        coarse = detector(signal)
    assert coarse.dtype == torch.float32 and not torch.equal(coarse, exact)
    assert (coarse - exact).abs().max() < 0.1 * exact.std()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "n"), [("smoke", 148_049), ("base", 1_121_265), ("large", 5_492_049), ("upstream", 32_602_689)]
)
def test_sizes_of_the_configs(name: str, n: int) -> None:
    with torch.device("meta"):
        assert n_parameters(Detector(19, load_train_config(name).model)) == n


@pytest.mark.slow
def test_a_minute_is_960_tokens() -> None:
    for name in ("base", "large", "upstream"):
        with torch.device("meta"):
            tokens, _ = Detector(19, load_train_config(name).model).stem(torch.zeros(1, 19, 15_360))
        assert tokens.shape[1] == 960
