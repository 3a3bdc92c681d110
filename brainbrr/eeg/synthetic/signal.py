"""The signal model of the synthetic corpus: scalp potentials in microvolts from a random generator.

A plausible EEG to try a detector on, with artefacts and seizure look-alikes; no claim about any brain.
Knows electrodes and time. Knows nothing of files, labels on disk, patients or splits.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Literal

import numpy as np

from brainbrr.core.arrays import Float32, Float64
from brainbrr.eeg.signal.montage import EAR_LOBES, TEN_TWENTY, positions

Shape = Callable[[Float64], Float64]

ELECTRODES = (*TEN_TWENTY, *EAR_LOBES)
"""Rows of every potential in this module."""

FOCI = ("T3", "T4", "F7", "F8", "T5", "T6", "F3", "F4", "C3", "C4")
"""Where a focal seizure may start."""

_INVOLVED = 0.3  # share of the focus's amplitude from which an electrode counts as taking part
_LINE_HZ = 60.0


@dataclass(frozen=True)
class Seizure:
    """One seizure: focal with the electrode it starts at, or generalised (no focus)."""

    start_s: float
    stop_s: float
    focus: str | None
    reach: float = 1.0
    """How far a focal seizure spreads: 1 falls to 1/e at 0.9 head radii from the focus."""

    @property
    def kind(self) -> Literal["fnsz", "gnsz"]:
        """TUSZ's word for it: focal or generalised non-specific seizure."""
        return "fnsz" if self.focus else "gnsz"

    def spread(self) -> tuple[Float64, Float64]:
        """Return each electrode's share of the amplitude, and how many seconds it joins after the start."""
        if self.focus is None:
            return 0.45 + 0.55 * near("Fz", width=1.1), np.zeros(len(ELECTRODES))
        distance = _distances()[ELECTRODES.index(self.focus)]
        delays = 0.5 * (self.stop_s - self.start_s) * np.maximum(distance - 0.35, 0.0)
        return np.exp(-((distance / (0.9 * self.reach)) ** 2)), delays

    def joins(self) -> dict[str, float]:
        """Return for each electrode that takes part how many seconds after the start it does."""
        shares, delays = self.spread()
        return {
            name: float(delay)
            for name, share, delay in zip(ELECTRODES, shares, delays, strict=True)
            if share >= _INVOLVED and delay < 0.8 * (self.stop_s - self.start_s)
        }


@dataclass(frozen=True)
class Scene:
    """What one recording is of. The rest is left to the generator."""

    seconds: int
    rate_hz: int
    alpha_hz: float
    seizures: tuple[Seizure, ...] = ()
    linked_ears: bool = False
    rich: bool = False
    """With strong alpha, drowsy rhythms that grow and fade, movement and loose electrodes."""
    weakness: float = 1.0
    """Divides the amplitude of seizures."""


@cache
def _distances() -> Float64:
    """Return how far electrodes are apart, (21, 21), in head radii."""
    at = positions(ELECTRODES)
    return np.asarray(np.sqrt(((at[:, None] - at[None]) ** 2).sum(axis=2)), dtype=float)


def near(*centres: str, width: float) -> Float64:
    """Return a smooth topography (21,): 1 at the centres, 1/e at `width` head radii from them."""
    rows = [ELECTRODES.index(name) for name in centres]
    return np.asarray(np.exp(-((_distances()[rows].min(axis=0) / width) ** 2)), dtype=float)


def potentials(scene: Scene, rng: np.random.Generator) -> Float32:
    """Return a recording's potentials: float32 (21, seconds * rate_hz) in µV, rows as ELECTRODES.

    Against a distant reference, or against linked ears.
    """
    x = _background(scene, rng)
    _add_alpha(x, scene, rng)
    _add_events(x, scene, rng)
    if scene.rich:
        _add_look_alikes(x, scene, rng)
    _add_line_noise(x, scene, rng)
    for seizure in scene.seizures:
        _add_seizure(x, scene, seizure, rng)
    if scene.linked_ears:
        x -= x[[ELECTRODES.index(name) for name in EAR_LOBES]].mean(axis=0)
    return x


def noise(rng: np.random.Generator, shape: tuple[int, int], rate_hz: int, *parts: tuple[float, Shape]) -> Float32:
    """Return Gaussian noise, float32 (rows, n), as the sum of parts: each an rms and an amplitude over frequency."""
    rows, n = shape
    # A little longer than asked, to a length that is quick to transform.
    m = min(k * 2 ** math.ceil(math.log2(max(n, 2 * rate_hz) / k)) for k in (1, 9, 5, 3, 25, 27, 15))
    frequency = np.arange(m // 2 + 1) * (rate_hz / m)
    power = np.zeros(len(frequency))
    for rms, amplitude in parts:
        part = amplitude(frequency[1:]) ** 2
        power[1:] += part * (rms**2 / part.sum())
    spectrum = rng.standard_normal((rows, 2 * len(frequency)), dtype=np.float32).view(np.complex64)
    spectrum *= (0.5 * m * np.sqrt(power)).astype(np.float32)
    return np.asarray(np.fft.irfft(spectrum, m, axis=1)[:, :n], dtype=np.float32)


def _slow(rng: np.random.Generator, n: int, rate_hz: int, hz: float) -> Float32:
    """Return something of rms 1 that changes at up to `hz`, float32 (n,)."""
    row: Float32 = noise(rng, (1, n), rate_hz, (1.0, lambda f: np.exp(-((f / hz) ** 2))))[0]
    return row


def _background(scene: Scene, rng: np.random.Generator) -> Float32:
    """Correlated 1/f activity that rises and falls, and each electrode's own drift and amplifier noise."""
    n, rate_hz = scene.seconds * scene.rate_hz, scene.rate_hz
    shape = (len(ELECTRODES), n)
    exponent, rms_uv = rng.uniform(1.6, 2.2), rng.uniform(4.0 if scene.rich else 9.0, 16.0)
    drift_uv, sensor_uv = rng.uniform(8.0, 25.0), rng.uniform(0.5, 1.0)

    def one_over_f(f: Float64) -> Float64:  # with a knee below 1 Hz and the amplifier's low-pass
        return (f**2 + 1.0) ** (-exponent / 4) / (1.0 + (f / (0.42 * rate_hz)) ** 8)

    sources = noise(rng, shape, rate_hz, (rms_uv, one_over_f))
    sources *= np.exp(0.25 * _slow(rng, n, rate_hz, 0.05))
    mixing = np.exp(-((_distances() / 0.75) ** 2))
    mixing /= np.sqrt((mixing**2).sum(axis=1, keepdims=True))
    # einsum without optimize is a plain loop: no BLAS, whose sums depend on the number of threads.
    x = np.einsum("es,st->et", mixing.astype(np.float32), sources)
    x += noise(rng, shape, rate_hz, (drift_uv, lambda f: 1.0 / (1.0 + (f / 0.12) ** 2)), (sensor_uv, np.ones_like))
    return np.asarray(x, dtype=np.float32)


def _add_alpha(x: Float32, scene: Scene, rng: np.random.Generator) -> None:
    """Posterior rhythm of both hemispheres, waxing and waning, and a little frontal beta."""
    n, rate_hz = x.shape[1], scene.rate_hz
    hemispheres = noise(rng, (2, n), rate_hz, (1.0, lambda f: np.exp(-(((f - scene.alpha_hz) / 0.6) ** 2))))
    open_eyes = 1.0 / (1.0 + np.exp(-3.0 * (_slow(rng, n, rate_hz, 0.06) + rng.uniform(-0.3, 0.7))))
    rms_uv, width = rng.uniform(8.0, 18.0) * open_eyes, 0.8
    if scene.rich:  # from little alpha to eyes closed throughout, with alpha over most of the head
        closed = rng.random()
        rms_uv = rng.uniform(6.0, 35.0) * (closed + (1 - closed) * open_eyes)
        width = rng.uniform(0.7, 2.2)
    for wave, centre in zip(hemispheres + 0.4 * hemispheres[::-1], ("O1", "O2"), strict=True):
        x += _outer(near(centre, width=width), rms_uv * wave)
    beta = noise(rng, (1, n), rate_hz, (rng.uniform(1.0, 3.0), lambda f: np.exp(-(((f - 20.0) / 3.0) ** 2))))
    x += _outer(near("Fz", "Cz", width=0.9), beta[0])


def _add_events(x: Float32, scene: Scene, rng: np.random.Generator) -> None:
    """Add what comes and goes: artefacts, and rhythms that look like a seizure and are none."""
    rate_hz = scene.rate_hz

    def clock(length_s: float) -> Float64:
        return np.arange(round(length_s * rate_hz)) / rate_hz

    for start_s in _times(rng, 9.0, scene):  # blinks: the eye's dipole turns up
        t = clock(rng.uniform(0.25, 0.4))
        blink = np.sin(np.pi * (t * rate_hz / len(t)) ** 0.7) ** 2
        _add(x, scene, start_s, near("Fp1", "Fp2", width=0.6), rng.uniform(60.0, 170.0) * blink)
    for start_s in _times(rng, 1.5, scene):  # muscle
        length_s = rng.uniform(0.5, 4.0)
        _add_muscle(x, scene, start_s, np.hanning(round(length_s * rate_hz)) ** 0.5, rng)
    for start_s in _times(rng, 0.4, scene):  # chewing: rhythmic muscle with slow jaw movement
        t = clock(rng.uniform(4.0, 10.0))
        chews = np.maximum(np.sin(2 * np.pi * rng.uniform(1.0, 1.8) * t), 0.0) ** 2
        _add_muscle(x, scene, start_s, chews, rng)
        _add(x, scene, start_s, near("T3", "T4", width=0.6), rng.uniform(10.0, 30.0) * (chews - 0.25))
    for start_s in _times(rng, 0.4, scene):  # runs of alpha, or of temporal theta in drowsiness: they do not evolve
        t = clock(rng.uniform(3.0, 8.0))
        alpha = rng.random() < 0.5
        hz = scene.alpha_hz if alpha else rng.uniform(4.5, 6.5)
        where = near("O1", "O2", width=0.9) if alpha else near(str(rng.choice(["T3", "T4"])), width=0.7)
        phase = 2 * np.pi * hz * t + 0.4 * _slow(rng, len(t), rate_hz, 0.5)
        run = (np.sin(phase) + (0.0 if alpha else 0.3) * np.sin(2 * phase)) * np.hanning(len(t)) ** 0.5
        _add(x, scene, start_s, where, rng.uniform(25.0, 50.0) * run)
    for start_s in _times(rng, 0.3, scene):  # an electrode pops
        only = np.eye(len(ELECTRODES))[rng.integers(len(ELECTRODES))]
        decay_s = rng.uniform(0.05, 0.4)
        jump_uv = rng.uniform(80.0, 250.0) * rng.choice([-1.0, 1.0])
        _add(x, scene, start_s, only, jump_uv * np.exp(-clock(6 * decay_s) / decay_s))


def _add_look_alikes(x: Float32, scene: Scene, rng: np.random.Generator) -> None:
    """Add rhythms that grow and fade as a seizure does but keep their frequency, movement, and loose electrodes."""
    rate_hz = scene.rate_hz

    def clock(length_s: float) -> Float64:
        return np.arange(round(length_s * rate_hz)) / rate_hz

    for start_s in _times(rng, 0.5, scene):  # rhythmic theta or delta of drowsiness, sharp in some
        t = clock(rng.uniform(8.0, 25.0))
        hz, sharp = rng.uniform(2.0, 7.0), rng.uniform(0.0, 0.4)
        phase = 2 * np.pi * hz * t + 1.2 * _slow(rng, len(t), rate_hz, 0.5)
        where = near(str(rng.choice([*FOCI, "Fz", "Cz", "Pz"])), width=rng.uniform(0.5, 1.1))
        run = (np.sin(phase) + sharp * np.sin(2 * phase + 0.8)) * np.hanning(len(t))
        _add(x, scene, start_s, where, rng.uniform(20.0, 70.0) * run)
    for start_s in _times(rng, 0.3, scene):  # spindles and long runs of posterior alpha
        t = clock(rng.uniform(4.0, 20.0))
        phase = 2 * np.pi * scene.alpha_hz * t + 0.6 * _slow(rng, len(t), rate_hz, 0.4)
        wave = np.sin(phase) * np.hanning(len(t))
        _add(x, scene, start_s, near("O1", "O2", "Pz", width=1.0), rng.uniform(20.0, 80.0) * wave)
    for start_s in _times(rng, 0.4, scene):  # movement: slow, large, on a side or on all
        t = clock(rng.uniform(3.0, 12.0))
        sway = _slow(rng, len(t), rate_hz, rng.uniform(0.6, 2.0)) * np.hanning(len(t)) ** 0.5
        where = near(str(rng.choice(["Fp1", "Fp2", "T3", "T4", "Cz", "O1"])), width=rng.uniform(0.8, 2.0))
        _add(x, scene, start_s, where, rng.uniform(60.0, 250.0) * sway)
    for start_s in _times(rng, 0.3, scene):  # a loose electrode: pops in rhythm, as of a pulse or a breath
        t = clock(rng.uniform(3.0, 15.0))
        only = np.eye(len(ELECTRODES))[rng.integers(len(ELECTRODES))]
        saw = np.exp(-((t * rng.uniform(0.8, 2.5)) % 1.0) / 0.15)
        _add(x, scene, start_s, only, rng.uniform(40.0, 200.0) * saw * rng.choice([-1.0, 1.0]))


def _add_muscle(x: Float32, scene: Scene, start_s: float, envelope: Float64, rng: np.random.Generator) -> None:
    """Muscle noise of 20 to 70 Hz under an envelope, at either temple or both, each electrode its own."""
    temples = [("T3", "F7"), ("T4", "F8"), ("T3", "T4", "F7", "F8")][rng.integers(3)]
    emg = noise(
        rng,
        (len(ELECTRODES), len(envelope)),
        scene.rate_hz,
        (rng.uniform(8.0, 25.0), lambda f: 1.0 / ((1.0 + (20.0 / f) ** 4) * (1.0 + (f / 70.0) ** 4))),
    )
    _add(x, scene, start_s, near(*temples, width=0.5), envelope, own=emg)


def _add_line_noise(x: Float32, scene: Scene, rng: np.random.Generator) -> None:
    t = np.arange(x.shape[1]) / scene.rate_hz
    cycles = 2 * np.pi * (_LINE_HZ * t + rng.random())
    per_electrode = rng.uniform(0.3, 2.5) * rng.lognormal(0.0, 0.5, len(ELECTRODES))
    harmonic = 0.15 * np.sin(3 * cycles) if scene.rate_hz > 6.5 * _LINE_HZ else 0.0
    x += _outer(per_electrode, np.sin(cycles) + harmonic)


def _add_seizure(x: Float32, scene: Scene, seizure: Seizure, rng: np.random.Generator) -> None:
    rate_hz, length_s = scene.rate_hz, seizure.stop_s - seizure.start_s
    t = np.arange(round(length_s * rate_hz)) / rate_hz
    u = t / length_s
    wobble = _slow(rng, len(t), rate_hz, 0.4)
    shares, delays = seizure.spread()
    if seizure.focus is None:
        # 3 Hz spike and wave: sudden, slowing a little, largest in front; the cortex's negative is up on paper.
        amplitude_uv, ramp_s = rng.uniform(110.0, 200.0) * (1.0 + 0.12 * wobble), min(0.5, length_s / 8)
        hz = rng.uniform(3.1, 3.5) - rng.uniform(0.3, 0.8) * u + 0.05 * wobble
        wave_of: Callable[[Float64], Float64] = _spike_and_wave
    else:
        # Rhythmic theta that slows to delta while it grows, with harmonics that make it sharp.
        first_hz, last_hz = rng.uniform(5.5, 7.5), rng.uniform(2.5, 3.5)
        amplitude_uv = rng.uniform(60.0, 110.0) * np.minimum(0.3 + 1.75 * u, 1.0) * (1.0 + 0.12 * wobble)
        hz, ramp_s = last_hz + (first_hz - last_hz) * (1.0 - u) ** 1.3 + 0.15 * wobble, min(1.5, length_s / 5)
        wave_of = _sharp_theta
    cycles = np.cumsum(hz) / rate_hz + rng.random()
    end = np.minimum((length_s - t) / ramp_s, 1.0)
    start = round(seizure.start_s * rate_hz)
    for row, (share, delay_s) in enumerate(zip(shares, delays, strict=True)):
        ramp = np.clip((t - delay_s) / ramp_s, 0.0, 1.0) * end
        lag = 0.01 * rng.standard_normal() + (0.03 if seizure.focus is None else 0.008 * delay_s)
        x[row, start : start + len(t)] += (share * amplitude_uv / scene.weakness * ramp * wave_of(cycles - lag)).astype(
            np.float32
        )


def _spike_and_wave(cycles: Float64) -> Float64:
    p = cycles % 1.0
    spike = np.exp(-(((p - 0.15) / 0.055) ** 2)) - 0.35 * np.exp(-(((p - 0.28) / 0.06) ** 2))
    return 0.45 - spike - np.exp(-(((p - 0.62) / 0.2) ** 2))


def _sharp_theta(cycles: Float64) -> Float64:
    a = 2 * np.pi * cycles
    return np.sin(a) + 0.35 * np.sin(2 * a + 0.8) + 0.15 * np.sin(3 * a + 1.4)


def _times(rng: np.random.Generator, per_minute: float, scene: Scene) -> Iterator[float]:
    """Yield the starts of events that come at random, `per_minute` of them on average."""
    return iter(np.sort(rng.uniform(0.0, scene.seconds, rng.poisson(per_minute * scene.seconds / 60.0))).tolist())


def _add(
    x: Float32, scene: Scene, start_s: float, weights: Float64, wave: Float64 | Float32, *, own: Float32 | None = None
) -> None:
    """Add a wave to the electrodes by weight, times each electrode's own where given; what runs over is cut."""
    start = int(start_s * scene.rate_hz)
    n = min(len(wave), x.shape[1] - start)
    part = _outer(weights, wave[:n])
    x[:, start : start + n] += part if own is None else part * own[:, :n]


def _outer(weights: Sequence[float] | Float64, wave: Float64 | Float32) -> Float32:
    return np.multiply.outer(np.asarray(weights, dtype=np.float32), np.asarray(wave, dtype=np.float32))
