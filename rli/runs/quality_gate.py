"""Which edits are good enough for a data set, and what to try once more where one is not."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from rli.errors import RLIError, within
from rli.method.records import EditSettings
from rli.metrics.image import mean_change, psnr, ssim


@dataclass(frozen=True)
class Gate:
    """What an edit has to reach; the defaults are for 8-bit photographs.

    min_background_psnr (dB), min_background_ssim: outside the blend mask, edit against reconstruction: what the edit
    spoilt. min_reconstruction_psnr (dB): outside the mask, reconstruction against photograph: whether the inversion
    gave it back at all. min_strength, max_strength (grey levels of 255, None: no limit): mean change inside the blend
    mask. min_share, max_share: of the image, where the change shows. min_difference (grey levels, root mean square over
    the whole image): under it the edit is its source once more.
    """

    min_background_psnr: float = 28.0
    min_background_ssim: float = 0.85
    min_reconstruction_psnr: float = 20.0
    min_strength: float = 4.0
    max_strength: float | None = None
    min_share: float = 0.001
    max_share: float = 0.6
    min_difference: float = 0.5

    def __post_init__(self) -> None:
        within("gate.min_background_psnr", self.min_background_psnr, 0, 200)
        within("gate.min_background_ssim", self.min_background_ssim, -1, 1)
        within("gate.min_reconstruction_psnr", self.min_reconstruction_psnr, 0, 200)
        within("gate.min_strength", self.min_strength, 0, 255)
        within("gate.min_share", self.min_share, 0, 1)
        within("gate.max_share", self.max_share, 0, 1)
        within("gate.min_difference", self.min_difference, 0, 255)
        if self.max_strength is not None:
            within("gate.max_strength", self.max_strength, 0, 255)
            if self.max_strength < self.min_strength:
                raise RLIError(f"gate.max_strength={self.max_strength} is below gate.min_strength={self.min_strength}")
        if self.max_share < self.min_share:
            raise RLIError(f"gate.max_share={self.max_share} is below gate.min_share={self.min_share}")


@dataclass(frozen=True)
class Scores:
    """What the gate looks at; units as in Gate. NaN where the mask leaves no background or has no pixel."""

    background_psnr: float
    background_ssim: float
    reconstruction_psnr: float
    strength: float
    share: float
    difference: float


@dataclass(frozen=True)
class _Fault:
    """One thing that fails: by what part of its limit, in words, and what would mend it: stronger, wider,
    weaker, narrower, or nothing (None)."""

    miss: float
    reason: str
    cure: str | None


def score(
    edit: np.ndarray, reconstruction: np.ndarray, photo: np.ndarray, mask: np.ndarray, change: np.ndarray
) -> Scores:
    """The scores of one edit: three (H,W,3) uint8 images, the blend mask and the changed pixels, (H,W) bool.

    The edit is held against the reconstruction, for the VAE's own loss is no fault of the edit's and would hide what it
    spoilt; the photograph only judges the reconstruction.
    """
    error = edit.astype(np.float32) - reconstruction
    return Scores(
        background_psnr=psnr(edit, reconstruction, ~mask),
        background_ssim=ssim(edit, reconstruction, ~mask),
        reconstruction_psnr=psnr(reconstruction, photo, ~mask),
        strength=mean_change(edit, reconstruction, mask),
        share=float(change.mean()),
        difference=float(np.sqrt(np.square(error).mean())),
    )


def verdict(scores: Scores, gate: Gate) -> str | None:
    """None where an edit is kept; otherwise everything that fails, the worst first, as one line."""
    return "; ".join(fault.reason for fault in _faults(scores, gate)) or None


def adjusted(settings: EditSettings, scores: Scores, gate: Gate) -> EditSettings | None:
    """The settings for one more try, chosen by the worst fault.

    Too weak: eq up by half, cross and replace down by 0.2. Too strong, or the background suffers: the other way round.
    The region too small or too large, or the background suffers: threshold by 0.1, where the blend is local. None where
    nothing fails, nothing is left to turn, or the reconstruction fails, which no edit mends.
    """
    faults = _faults(scores, gate)
    if not faults or any(fault.cure is None for fault in faults):
        return None
    cure = faults[0].cure
    way = 1 if cure in ("stronger", "wider") else -1
    turned = replace(
        settings,
        eq=_toward(settings.eq * 1.5, settings.eq, 10) if way > 0 else _toward(settings.eq / 1.5, settings.eq, 1),
        cross=_toward(settings.cross - 0.2 * way, settings.cross, 0.2 if way > 0 else 1),
        replace=_toward(settings.replace - 0.2 * way, settings.replace, 0 if way > 0 else 1),
    )
    if settings.local_blend and cure in ("wider", "narrower"):
        turned = replace(
            turned, threshold=_toward(settings.threshold - 0.1 * way, settings.threshold, 0.1 if way > 0 else 0.9)
        )
    return None if turned == settings else turned


def _toward(wanted: float, now: float, limit: float) -> float:
    """The wanted value, but not past the limit, and no way back to it for a value that lies beyond."""
    if (wanted - now) * (limit - now) <= 0:
        return now
    return round(min(wanted, limit) if wanted > now else max(wanted, limit), 4)


def _faults(scores: Scores, gate: Gate) -> list[_Fault]:
    """Everything that fails, the worst first. A score that could not be measured does not fail."""
    checks = (
        ("background {:.1f} dB", scores.background_psnr, gate.min_background_psnr, None, "narrower"),
        ("background SSIM {:.3f}", scores.background_ssim, gate.min_background_ssim, None, "narrower"),
        ("reconstruction {:.1f} dB", scores.reconstruction_psnr, gate.min_reconstruction_psnr, None, None),
        ("strength {:.1f} grey levels", scores.strength, gate.min_strength, None, "stronger"),
        ("strength {:.1f} grey levels", scores.strength, None, gate.max_strength, "weaker"),
        ("share changed {:.2%}", scores.share, gate.min_share, None, "wider"),
        ("share changed {:.2%}", scores.share, None, gate.max_share, "narrower"),
        ("difference to the source {:.2f} grey levels", scores.difference, gate.min_difference, None, "stronger"),
    )
    found = []
    for told, value, low, high, cure in checks:
        limit, word = (low, "under") if high is None else (high, "over")
        if limit is not None and (value < limit if high is None else value > limit):
            bound = f"{limit:.2%}" if "%" in told else f"{limit:g}"
            found.append(_Fault(abs(value - limit) / max(limit, 1e-9), f"{told.format(value)}, {word} {bound}", cure))
    return sorted(found, key=lambda fault: -fault.miss)
