"""The columns of a result."""

from __future__ import annotations

from dataclasses import dataclass, fields

# The name of the row that compares the reconstruction with the photograph.
ORIGINAL = "original"


@dataclass(frozen=True)
class Row:
    """One row of results.csv; units and references are the contract's. None is an empty cell.

    psnr, ssim, lpips: against the photograph; *_recon: against the reconstruction; psnr_vae: the VAE round trip against
    the photograph; *_background: outside the edit mask, against the photograph. lpips follows the published protocol
    (256×256, ImageNet-normalised); lpips_standard is the package's own (full size, [-1,1]). strength: mean absolute
    difference of edit and reconstruction inside the edit mask, in grey levels of 255; mask_share: the mask's share of
    the image; named: the probability that the miniature's classifier sees the wanted defect (miniature only).
    """

    image: str
    defect: str
    resolution: str
    model: str
    inversion: str
    alpha: float
    eq: float
    cross: float
    replace: float
    psnr: float
    ssim: float
    lpips: float | None = None
    psnr_recon: float | None = None
    ssim_recon: float | None = None
    lpips_recon: float | None = None
    psnr_vae: float | None = None
    psnr_background: float | None = None
    ssim_background: float | None = None
    seconds_inversion: float = 0.0
    seconds_edit: float = 0.0
    peak_memory_gb: float = 0.0
    lpips_standard: float | None = None
    lpips_standard_recon: float | None = None
    strength: float | None = None
    mask_share: float | None = None
    named: float | None = None


COLUMNS = tuple(f.name for f in fields(Row))
