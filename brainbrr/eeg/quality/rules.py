"""From evidence to findings and a score: every threshold, with the reason for it. Knows no files and no blocks.

flat          seconds of one value (PREP's flat channels: Bigdely-Shamlo et al. 2015, Front. Neuroinform. 9:16)
railed        flat at a digital limit, or for 3 s on end at the channel's own extreme: an amplifier's stop
saturated     seconds with 1 % of the samples at a digital limit; single ones are where a writer scaled to the peak
disconnected  seconds that are not flat, but below 2 µV peak to peak, by which a brain is called silent (ACNS guideline
              3): nothing is connected. Or in a quarter of the places looked at no other channel correlates by 0.4
              in the EEG band (PREP's criterion; clean recordings had at most 8 %)
line_noise    50 or 60 Hz stand out by 10 dB and are 2.5 µV rms: 1 mm high at 7 µV/mm, as EEG is read (ACNS
              guideline 1). Its time is where the line is louder than the whole EEG band
quantised     moves in steps of 4 digital ones or more, and of 0.5 µV or more, the resolution asked of digital EEG
              (IFCN: Nuwer et al. 1998); useless from 10 µV on, above which `preprocess` refuses a header's own step
spike         4,000 steps or more from end to end, while in half of the places the signal is below 4 steps rms, and a
              step is 0.5 µV or more: the range was made for one peak, and what is beside it is lost in rounding. The
              step is the EDF's, or the stored one where the peak makes that the coarser
duplicate     the samples of another channel
interpolated  what the other channels say it must be, to half a step rms; rounding leaves 0.3 to 0.4
gap           seconds in which all channels are flat, in a recording that is not flat throughout
mixed_rates   the channels differ in rate
odd_rate      a rate is no integer
header        what the header's reader noted: truncation, timestamps, ...

The last four are about the recording. The score is the per cent of channel-time that is usable, rounded down: 100 says
that nothing counts against it. Flat, railed, saturated and silent seconds are lost; so are the places of a disconnected
or line_noise channel that gave it the finding, and all of a duplicate, interpolated or useless one, and of a spiked one
whose signal is below one step. These overlap, so
a channel loses the largest of the three. Absent channels do not count: the header tells of them without any samples,
and what to do about them is the view's to say.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import numpy as np

from brainbrr.core.arrays import Bool, Float64, Int16, UInt8
from brainbrr.eeg.quality import spectra as segs

FLAT, SILENT, SATURATED = 1, 2, 4
"""What a second can be; a flat one at a digital limit is saturated too."""

SILENT_UV = 2
SATURATED_PER_CENT = 1
RAILED_S = 3
MIN_CORRELATION = 0.4
DISCONNECTED_PER_MILLE = 250
LINE_DB, LINE_UV = 10, 2.5
COARSE_STEPS, COARSE_UV, USELESS_UV = 4, Fraction(1, 2), 10
SPIKE_STEPS, SPIKED_RMS_STEPS = 4000, 4
LARGEST = 32767  # of stored samples
RESIDUAL_STEPS, JUDGED_STEPS = 0.5, 5
_MIN_CHANNELS = 4  # fewer can hardly be asked whether they resemble each other
_MIN_PLACES = 3  # one or two spectra are too rough to call a peak a line


@dataclass(frozen=True)
class Evidence:
    """What was seen of one channel: per second its flags and lowest value, and the samples of a few places."""

    name: str
    rate: Fraction
    gain_uv: Fraction
    limits: tuple[int, int]
    flags: UInt8
    low: Int16
    highest: int
    n_at_limit: int
    segments: Int16
    quantum_uv: Fraction = Fraction(1, 8)

    @property
    def step_uv(self) -> Fraction:
        """The coarser of the EDF's step and the one that holds its peak in int16, as `Lattice` chooses it."""
        middle = int(np.median(self.segments))
        peak_uv = max(self.highest - middle, middle - int(self.low.min())) * self.gain_uv
        stored_uv = self.quantum_uv
        while stored_uv * LARGEST < peak_uv:
            stored_uv *= 2
        return max(self.gain_uv, stored_uv)

    @property
    def constant(self) -> bool:
        """Whether all of it is one value."""
        return int(self.low.min()) == self.highest


@dataclass
class _Verdict:
    """Findings so far, and what each channel loses of its time."""

    findings: list[dict[str, Any]] = field(default_factory=list)
    lost: Counter[str] = field(default_factory=Counter)

    def add(
        self,
        name: str,
        channel: str | None = None,
        per_mille: int | None = None,
        *,
        measured: Mapping[str, Any],
        threshold: Mapping[str, Any],
    ) -> None:
        self.findings.append(
            {
                "name": name,
                "channel": channel,
                "per_mille": per_mille,
                "measured": dict(measured),
                "threshold": dict(threshold),
            }
        )

    def lose(self, channel: str, per_mille: int) -> None:
        self.lost[channel] = max(self.lost[channel], per_mille)


def judge(channels: Sequence[Evidence], notes: Iterable[str]) -> dict[str, Any]:
    """Return {"score", "n_channels", "n_seconds", "findings"} of a recording, without floats."""
    verdict = _Verdict()
    for channel in channels:
        _seconds(channel, verdict)
    _steps(channels, verdict)
    _spikes(channels, verdict)
    for same_rate in _by_rate(_copies(channels, verdict)):
        _interpolated(same_rate, verdict)
    _places(channels, verdict)
    _recording(channels, notes, verdict)
    usable = sum(1000 - verdict.lost[channel.name] for channel in channels)
    return {
        "score": usable // (10 * len(channels)),
        "n_channels": len(channels),
        "n_seconds": max(len(channel.flags) for channel in channels),
        "findings": verdict.findings,
    }


def reason_of(found: Mapping[str, Any]) -> str:
    """Return in words what costs a recording most of its score: the finding with most channel-time, its channels."""
    cost: Counter[str] = Counter()
    names: dict[str, list[str]] = {}
    for each in found["findings"]:
        if each["channel"] is not None:
            cost[each["name"]] += 1000 if each["per_mille"] is None else each["per_mille"]
            names.setdefault(each["name"], []).append(each["channel"])
    if not cost:
        return "nothing found against it"
    name, _ = max(cost.items(), key=lambda pair: (pair[1], pair[0]))
    channels = ", ".join(names[name][:3]) + (" ..." if len(names[name]) > 3 else "")
    return f"{name} in {len(names[name])} of {found['n_channels']} channels: {channels}"


def _per_mille(mask: Bool) -> int:
    """Return how much of a mask is set, rounded up: a finding never shows as 0."""
    return -(-1000 * int(np.count_nonzero(mask)) // mask.size)


def _seconds(channel: Evidence, verdict: _Verdict) -> None:
    if not channel.flags.any():
        return
    flat, silent, at_limit = (channel.flags & flag != 0 for flag in (FLAT, SILENT, SATURATED))
    railed = flat & at_limit
    if not channel.constant:
        for extreme in (channel.low.min(), channel.highest):
            railed |= _runs(flat & (channel.low == extreme), RAILED_S)
    saturated = at_limit & ~flat
    kinds: dict[str, tuple[Bool, dict[str, Any], dict[str, Any]]] = {
        "flat": (flat & ~railed, {}, {"peak_to_peak_steps": 0}),
        "railed": (railed, {}, {"peak_to_peak_steps": 0, "seconds_at_extreme": RAILED_S}),
        "saturated": (saturated, {"n_samples": channel.n_at_limit}, {"per_cent_at_limit": SATURATED_PER_CENT}),
        "disconnected": (silent, {}, {"peak_to_peak_uv": SILENT_UV}),
    }
    for name, (mask, measured, threshold) in kinds.items():
        if mask.any():
            seconds = {"n_seconds": int(np.count_nonzero(mask))}
            verdict.add(name, channel.name, _per_mille(mask), measured=seconds | measured, threshold=threshold)
    verdict.lose(channel.name, _per_mille(flat | silent | saturated))


def _runs(mask: Bool, n: int) -> Bool:
    """Return a mask without its runs that are shorter than n."""
    kept = np.zeros_like(mask)
    if mask.size >= n:
        starts = np.all([mask[i : mask.size - n + 1 + i] for i in range(n)], axis=0)
        for i in range(n):
            kept[i : mask.size - n + 1 + i] |= starts
    return kept


def _steps(channels: Sequence[Evidence], verdict: _Verdict) -> None:
    for channel in channels:
        steps = segs.step_of(channel.segments, channel.limits)
        step_uv = steps * channel.gain_uv
        if steps >= COARSE_STEPS and step_uv >= COARSE_UV:
            verdict.add(
                "quantised",
                channel.name,
                measured={"step_uv": _text(float(step_uv), 2), "header_steps": steps},
                threshold={"step_uv": _text(float(COARSE_UV), 2), "header_steps": COARSE_STEPS},
            )
            if step_uv >= USELESS_UV:
                verdict.lose(channel.name, 1000)


def _spikes(channels: Sequence[Evidence], verdict: _Verdict) -> None:
    for channel in channels:
        reach = channel.highest - int(channel.low.min())
        if reach < SPIKE_STEPS or (step_uv := channel.step_uv) < COARSE_UV:
            continue
        rms_steps = float(np.median(channel.segments.std(axis=1, dtype=np.float64))) * float(channel.gain_uv / step_uv)
        if 0 < rms_steps < SPIKED_RMS_STEPS:
            measured = {"rms_steps": _text(rms_steps), "reach_steps": reach, "step_uv": _text(float(step_uv), 2)}
            threshold = {
                "rms_steps": SPIKED_RMS_STEPS,
                "reach_steps": SPIKE_STEPS,
                "step_uv": _text(float(COARSE_UV), 2),
            }
            verdict.add("spike", channel.name, measured=measured, threshold=threshold)
            if rms_steps < 1:
                verdict.lose(channel.name, 1000)


def _copies(channels: Sequence[Evidence], verdict: _Verdict) -> list[Evidence]:
    """Judge copies: equal in every place, and in flags and lowest value of every second. Return the others."""
    seen: dict[tuple[object, ...], Evidence] = {}
    originals: list[Evidence] = []
    for channel in channels:
        parts = (channel.segments, channel.low, channel.flags)
        original = seen.setdefault((channel.rate, *(part.tobytes() for part in parts)), channel)
        if original is channel or channel.constant:
            originals.append(channel)
            continue
        verdict.add("duplicate", channel.name, measured={"of": original.name}, threshold={"different_samples": 0})
        verdict.lose(channel.name, 1000)
    return originals


def _by_rate(channels: Sequence[Evidence]) -> list[list[Evidence]]:
    rates = dict.fromkeys(channel.rate for channel in channels)
    return [[channel for channel in channels if channel.rate == rate] for rate in rates]


def _interpolated(channels: Sequence[Evidence], verdict: _Verdict) -> None:
    """Judge electrodes at one rate: loops of electrode pairs add up to nothing by themselves."""
    judged = [channel for channel in channels if "-" not in channel.name]
    if len(judged) < _MIN_CHANNELS:
        return
    for i in segs.dependent([channel.segments for channel in judged], below=RESIDUAL_STEPS, above=JUDGED_STEPS):
        verdict.add(
            "interpolated",
            judged[i].name,
            measured={},
            threshold={"residual_steps_rms": _text(RESIDUAL_STEPS), "signal_steps_rms": JUDGED_STEPS},
        )
        verdict.lose(judged[i].name, 1000)


def _places(channels: Sequence[Evidence], verdict: _Verdict) -> None:
    """Judge what spectra say: channels that resemble no other, and mains."""
    groups = _by_rate(channels)
    spectra = [
        segs.Spectra(
            [channel.segments for channel in group],
            rate=group[0].rate,
            steps_uv=[float(channel.gain_uv) for channel in group],
        )
        for group in groups
    ]
    bands = [each.band() for each in spectra]
    n_bins = min(band.shape[2] for band in bands)  # the same frequencies at every rate, as far as all of them reach
    correlations, rms_uv = segs.kinship(np.concatenate([band[:, :, :n_bins] for band in bands]))
    ordered = [channel for group in groups for channel in group]
    if len(channels) >= _MIN_CHANNELS:
        _strangers(ordered, (correlations < MIN_CORRELATION) & (rms_uv > 0), verdict)
    if len(channels[0].segments) >= _MIN_PLACES:
        eeg_uv = {channel.name: each for channel, each in zip(ordered, rms_uv, strict=True)}
        for group, each in zip(groups, spectra, strict=True):
            for line_hz in segs.LINES_HZ:
                _mains(group, line_hz, each.mains(line_hz), eeg_uv, verdict)


def _strangers(channels: Sequence[Evidence], alone: Bool, verdict: _Verdict) -> None:
    for channel, mask in zip(channels, alone, strict=True):
        if _per_mille(mask) >= DISCONNECTED_PER_MILLE:
            verdict.add(
                "disconnected",
                channel.name,
                _per_mille(mask),
                measured={"n_places": int(np.count_nonzero(mask))},
                threshold={"correlation": _text(MIN_CORRELATION), "per_mille": DISCONNECTED_PER_MILLE},
            )
            verdict.lose(channel.name, _per_mille(mask))


def _mains(
    channels: Sequence[Evidence],
    line_hz: int,
    found: tuple[Float64, Float64] | None,
    eeg_uv: Mapping[str, Float64],
    verdict: _Verdict,
) -> None:
    if found is None:
        return
    for channel, line_uv, db in zip(channels, *found, strict=True):
        rms_uv = float(np.sqrt(np.square(line_uv).mean()))
        if db >= LINE_DB and rms_uv >= LINE_UV:
            louder = line_uv > eeg_uv[channel.name]
            verdict.add(
                "line_noise",
                channel.name,
                _per_mille(louder),
                measured={"line_hz": line_hz, "rms_uv": _text(rms_uv), "above_beside_db": _text(float(db))},
                threshold={"rms_uv": _text(LINE_UV), "above_beside_db": LINE_DB},
            )
            verdict.lose(channel.name, _per_mille(louder))


def _recording(channels: Sequence[Evidence], notes: Iterable[str], verdict: _Verdict) -> None:
    n = min(len(channel.flags) for channel in channels)
    together = np.all([channel.flags[:n] & FLAT != 0 for channel in channels], axis=0)
    if together.any() and not together.all():
        seconds = int(np.count_nonzero(together))
        verdict.add(
            "gap", None, _per_mille(together), measured={"n_seconds": seconds}, threshold={"channels": len(channels)}
        )
    rates = Counter(str(channel.rate) for channel in channels)
    if len(rates) > 1:
        verdict.add("mixed_rates", measured={"channels_by_rate_hz": dict(rates)}, threshold={"rates": 1})
    odd = sorted({str(channel.rate) for channel in channels if channel.rate.denominator > 1})
    if odd:
        verdict.add("odd_rate", measured={"rates_hz": odd}, threshold={"denominator": 1})
    said = list(notes)
    if said:
        verdict.add("header", measured={"notes": said}, threshold={"notes": 0})


def _text(number: float, digits: int = 1) -> str:
    return f"{number:.{digits}f}"
