"""What a trained network is worth on the test photographs: by scikit-learn, and PRO, which it does not have, here."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

# False positive rate up to which PRO is integrated (Bergmann et al. 2020).
MOST_FALSE = 0.3
# Thresholds that a curve is made of.
LEVELS = 200
_NEIGHBOURS = np.ones((3, 3), bool)


def curves(name: str, truth: np.ndarray, scores: np.ndarray) -> dict[str, float]:
    """AUROC, AP and the largest F1 over all thresholds, as <name>_auroc, <name>_ap, <name>_f1.

    Args:
        name: Of what: pixel or image.
        truth: Bool, any shape; whether there is a defect.
        scores: Of the same shape, larger for a defect.

    Returns:
        The three, from 0 to 1; none where scikit-learn is missing, or all or none are defective.
    """
    try:
        from sklearn.metrics import average_precision_score, precision_recall_curve, roc_auc_score
    except ImportError:  # an extra; the lack is told once (`run.remark`)
        return {}
    truth, scores = truth.ravel(), scores.ravel()
    if truth.all() or not truth.any():
        return {}
    precision, recall, _ = precision_recall_curve(truth, scores)
    return {
        f"{name}_auroc": float(roc_auc_score(truth, scores)),
        f"{name}_ap": float(average_precision_score(truth, scores)),
        f"{name}_f1": float((2 * precision * recall / np.maximum(precision + recall, 1e-12)).max()),
    }


def pro(truth: np.ndarray, scores: np.ndarray, most_false: float = MOST_FALSE) -> float:
    """Per-region overlap, integrated over the false positive rate up to a limit and divided by it (Bergmann et al.
    2020): each connected defect counts alike, whatever its size.

    Args:
        truth: (N,H,W) bool.
        scores: (N,H,W) float, larger for a defect.
        most_false: The limit, in (0,1].

    Returns:
        From 0 to 1; NaN where there is no defect, or nothing else.
    """
    labels, start = np.zeros(truth.shape, np.int64), 0
    for k, mask in enumerate(truth):
        own, count = ndimage.label(mask, _NEIGHBOURS)
        labels[k] = np.where(own > 0, own + start, 0)
        start += count
    if start == 0 or truth.all():
        return float("nan")
    levels = np.unique(np.quantile(scores, np.linspace(0, 1, LEVELS), method="nearest"))
    steps = np.searchsorted(levels, scores, side="right")  # a pixel is found at the first `steps` levels
    sizes = np.bincount(labels[truth])[1:]
    weights = (1 / sizes / start)[labels[truth] - 1]
    overlap = np.bincount(steps[truth], weights, len(levels) + 1)[::-1].cumsum()
    false = np.bincount(steps[~truth], minlength=len(levels) + 1)[::-1].cumsum() / (~truth).sum()
    grid = np.linspace(0, most_false, LEVELS)
    return float(np.trapezoid(np.interp(grid, np.r_[0, false], np.r_[0, overlap]), grid) / most_false)


def intersection_over_union(truth: np.ndarray, found: np.ndarray) -> float:
    """IoU of two masks (bool, the same shape); 1 where both are empty."""
    union = (truth | found).sum()
    return float((truth & found).sum() / union) if union else 1.0


def miou(truth: np.ndarray, found: np.ndarray) -> float:
    """Mean IoU of defect and background over all pixels of all pictures."""
    return (intersection_over_union(truth, found) + intersection_over_union(~truth, ~found)) / 2


def best_threshold(truth: np.ndarray, scores: np.ndarray) -> float:
    """The score from which on a pixel counts as defective, so that the defects' IoU is largest."""
    levels = np.linspace(0.05, 0.95, 19)
    return float(max(levels, key=lambda level: intersection_over_union(truth, scores >= level)))


def classified(truth: np.ndarray, found: np.ndarray) -> dict[str, float]:
    """Accuracy over all pictures, and its mean over the classes.

    Args:
        truth, found: (N,) int, the classes.
    """
    right = truth == found
    own = [float(right[truth == label].mean()) for label in np.unique(truth)]
    return {"accuracy": float(right.mean()), "class_accuracy": float(np.mean(own))}
