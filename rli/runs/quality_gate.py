"""Which edits are good enough for a data set, and with which settings a rejected one is tried again."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace

import numpy as np

from rli.errors import SettingError, within
from rli.keys import LATER
from rli.method.records import EditSettings
from rli.metrics.image import mean_known, mean_psnr

# What each limit may be.
RANGES = (
    ("min_background_psnr", 0, 200),
    ("min_background_ssim", -1, 1),
    ("min_reconstruction_psnr", 0, 200),
    ("min_strength", 0, 255),
    ("max_strength", 0, 255),
    ("min_share", 0, 1),
    ("max_share", 0, 1),
    ("min_difference", 0, 255),
    ("min_recognised_margin", -1, 1000),
    ("min_clip_margin", -200, 200),
)


@dataclass(frozen=True)
class Gate:
    """The limits that an edit has to keep; the defaults are for 8-bit photographs. Raises SettingError.

    The background is what lies outside the blend mask: where an edit without local blend should not have changed
    anything, either. None is no limit, for each of them.
    """

    # Background, edit against reconstruction: what the edit spoilt. In dB, and structural similarity.
    min_background_psnr: float | None = 28.0
    min_background_ssim: float | None = 0.85
    # Background, reconstruction against photograph, in dB: whether the inversion gave it back at all.
    min_reconstruction_psnr: float | None = 20.0
    # Mean change inside the blend mask, in grey levels of 255.
    min_strength: float | None = 4.0
    max_strength: float | None = None
    # Share of the image where the change shows.
    min_share: float | None = 0.001
    max_share: float | None = 0.6
    # Root mean square of the change over the whole image, in grey levels; below it an edit counts as unchanged.
    min_difference: float | None = 0.5
    # By what share of its own error the best other prompt has to explain the edit worse (see rli.method.recognition).
    min_recognised_margin: float | None = field(default=None, metadata=LATER)
    # By how many hundredths of cosine CLIP has to prefer the edit's own prompt (see rli.metrics.clip).
    min_clip_margin: float | None = field(default=None, metadata=LATER)

    def __post_init__(self) -> None:
        for name, low, high in RANGES:
            if (value := getattr(self, name)) is not None:
                within(name, value, low, high)
        for what in ("strength", "share"):
            low, high = getattr(self, f"min_{what}"), getattr(self, f"max_{what}")
            if low is not None and high is not None and high < low:
                raise SettingError(f"max_{what}", high, f"below min_{what}={low}")


@dataclass(frozen=True)
class Scores:
    """What the gate looks at; units as in Gate. NaN where the mask leaves no background or has no pixel."""

    background_psnr: float
    background_ssim: float
    reconstruction_psnr: float
    strength: float
    share: float
    difference: float
    # NaN where nobody asked the model, or CLIP.
    recognised_margin: float = math.nan
    clip_margin: float = math.nan

    @classmethod
    def pooled(cls, several: Sequence[Scores]) -> Scores:
        """The scores of an edit in several windows of one size."""
        if len(several) == 1:
            return several[0]
        values = {f.name: [getattr(one, f.name) for one in several] for f in fields(cls)}
        return cls(**{n: (mean_psnr if n.endswith("psnr") else mean_known)(found) for n, found in values.items()})


@dataclass(frozen=True)
class Violation:
    """One limit that an edit does not keep."""

    # By what part of the limit it is missed.
    excess: float
    # The score and the limit, in words.
    reason: str
    # Which edit would keep the limit: stronger, wider, weaker or narrower; None where none would.
    remedy: str | None


def score(
    edit: np.ndarray, reconstruction: np.ndarray, photo: np.ndarray, mask: np.ndarray, change: np.ndarray
) -> Scores:
    """Scores one edit.

    The edit is compared with the reconstruction: the VAE's own loss is not the edit's fault, and would hide what the
    edit spoilt. The photograph only judges the reconstruction.

    Args:
        edit, reconstruction, photo: (H,W,3) uint8.
        mask: The blend mask, (H,W) bool.
        change: The pixels that the edit visibly changed, (H,W) bool.

    Returns:
        The scores.
    """
    from rli.metrics.image import mean_change, psnr, ssim  # here, because limits are checked without scikit-image

    error = edit.astype(np.float32) - reconstruction
    return Scores(
        background_psnr=psnr(edit, reconstruction, ~mask),
        background_ssim=ssim(edit, reconstruction, ~mask),
        reconstruction_psnr=psnr(reconstruction, photo, ~mask),
        strength=mean_change(edit, reconstruction, mask),
        share=float(change.mean()),
        difference=float(np.sqrt(np.square(error).mean())),
    )


def reject_reason(scores: Scores, gate: Gate) -> str | None:
    """Why an edit is rejected: all its violations on one line, the worst first; None where it is kept."""
    return "; ".join(violation.reason for violation in violations(scores, gate)) or None


def adjusted(settings: EditSettings, scores: Scores, gate: Gate) -> EditSettings | None:
    """The settings for one more attempt at a rejected edit, chosen by its worst violation.

    Too weak: eq up by half, cross and replace down by 0.2. Too strong, or the background suffers: the other way round.
    With local blend threshold changes by 0.1 too, where the region is too small or too large or the background suffers.

    Args:
        settings: What the rejected edit was made with.
        scores: What it reached.
        gate: The limits.

    Returns:
        The changed settings. None where every limit is kept, where no value can change any further, and where the
        reconstruction fails, which no edit can change.
    """
    found = violations(scores, gate)
    if not found or any(violation.remedy is None for violation in found):
        return None
    remedy = found[0].remedy
    way = 1 if remedy in ("stronger", "wider") else -1
    changed = replace(
        settings,
        eq=_toward(settings.eq * 1.5, settings.eq, 10) if way > 0 else _toward(settings.eq / 1.5, settings.eq, 1),
        cross=_toward(settings.cross - 0.2 * way, settings.cross, 0.2 if way > 0 else 1),
        replace=_toward(settings.replace - 0.2 * way, settings.replace, 0 if way > 0 else 1),
    )
    if settings.local_blend and remedy in ("wider", "narrower"):
        changed = replace(
            changed, threshold=_toward(settings.threshold - 0.1 * way, settings.threshold, 0.1 if way > 0 else 0.9)
        )
    return None if changed == settings else changed


def _toward(wanted: float, now: float, limit: float) -> float:
    """The wanted value, but not past the limit, and no way back to it for a value that lies beyond."""
    if (wanted - now) * (limit - now) <= 0:
        return now
    return round(min(wanted, limit) if wanted > now else max(wanted, limit), 4)


def violations(scores: Scores, gate: Gate) -> list[Violation]:
    """The limits that an edit misses, the worst first. A score that could not be measured violates none."""
    checks = (
        ("background PSNR of {:.1f} dB", scores.background_psnr, gate.min_background_psnr, None, "narrower"),
        ("background SSIM of {:.3f}", scores.background_ssim, gate.min_background_ssim, None, "narrower"),
        ("reconstruction PSNR of {:.1f} dB", scores.reconstruction_psnr, gate.min_reconstruction_psnr, None, None),
        ("strength of {:.1f} grey levels", scores.strength, gate.min_strength, None, "stronger"),
        ("strength of {:.1f} grey levels", scores.strength, None, gate.max_strength, "weaker"),
        ("changed share of {:.2%}", scores.share, gate.min_share, None, "wider"),
        ("changed share of {:.2%}", scores.share, None, gate.max_share, "narrower"),
        (
            "difference of {:.2f} grey levels from the reconstruction",
            scores.difference,
            gate.min_difference,
            None,
            "stronger",
        ),
        (
            "margin of {:.1%} over what else the model sees",
            scores.recognised_margin,
            gate.min_recognised_margin,
            None,
            "stronger",
        ),
        ("CLIP's margin of {:.2f}", scores.clip_margin, gate.min_clip_margin, None, "stronger"),
    )
    found = []
    for text, value, low, high, remedy in checks:
        limit, word = (low, "below") if high is None else (high, "above")
        if limit is not None and (value < limit if high is None else value > limit):
            bound = f"{limit:.2%}" if "%" in text else f"{limit:g}"
            reason = f"{text.format(value)} is {word} {bound}"
            found.append(Violation(abs(value - limit) / max(limit, 1e-9), reason, remedy))
    return sorted(found, key=lambda violation: -violation.excess)
