"""The autoencoder's start: a linear transform coder, written into its weights in closed form.

The encoder begins as the principal components of 8 x 8 blocks, three halvings with 2 x 2 blocks each. The decoder
begins as the linear one that comes closest through its nearest-neighbour upsampling. The residual branches begin at
zero and learn what is not linear. A start from random weights spends an hour of one thread on what this has in a
minute.

Normalisations are kept from acting by constants beside the signals; a signal x passes SiLU as silu(x) - silu(-x) = x.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL
from torch import nn

from rli.models.mini.networks import SCALING

_CONSTANT = 256.0  # beside signals of about 1: they do not move a group's deviation
_UNUSED = 0.1  # factor on the random weights of channels that the linear coder does not use
_SAMPLES = 60_000  # positions that a component analysis sees
_WINDOW = 40  # positions a side that a regression sees of each picture
LARGEST = 1.4  # deviation of the first latent channel, times SCALING; the others' fall to a tenth of it
LOGVAR = -9.0  # of the posterior at the start: noise of 1 % of the latents' deviation


@torch.no_grad()
def start(vae: AutoencoderKL, pictures: torch.Tensor) -> None:
    """Write the linear coder that suits pictures (N, 3, H, W) in [-1, 1] into an autoencoder with fresh weights."""
    for module in vae.modules():
        if type(module).__name__ == "ResnetBlock2D":
            _clear(module.conv2)
    levels = _start_encoder(vae, pictures)
    latents = vae.encode(pictures).latent_dist.mean
    _start_decoder(vae, latents, [pictures, *levels])


@torch.no_grad()
def as_convolution(vae: AutoencoderKL) -> nn.Conv2d:
    """The encoder, as long as it is the linear one, in one convolution: the same latents fifty times as fast."""
    touch = 0.02  # of a single pixel: little, so that no normalisation is moved; so little that it takes doubles
    inputs = torch.cat([torch.zeros(1, 192), touch * torch.eye(192)]).reshape(-1, 3, 8, 8).double()
    zero, *answers = copy.deepcopy(vae).double().encode(inputs).latent_dist.mean[..., 0, 0]
    conv = nn.Conv2d(3, len(zero), 8, 8).requires_grad_(False)
    conv.weight.copy_(((torch.stack(answers) - zero).T / touch).reshape(conv.weight.shape))
    _bias(conv).copy_(zero)
    return conv


def _bias(conv: nn.Conv2d) -> torch.Tensor:
    assert conv.bias is not None
    return conv.bias


def _clear(conv: nn.Conv2d, factor: float = 0.0) -> None:
    conv.weight.mul_(factor)
    _bias(conv).zero_()


def _pass(conv: nn.Conv2d, count: int) -> None:
    """A convolution that hands the first `count` channels on."""
    _clear(conv, _UNUSED)
    conv.weight[:count] = 0
    middle = conv.kernel_size[0] // 2
    for k in range(count):
        conv.weight[k, k, middle, middle] = 1


def _thinned(rows: torch.Tensor) -> torch.Tensor:
    return rows[:: max(1, len(rows) // _SAMPLES)]


def _components(rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Principal axes as columns, largest first, and the variances along them; rows (N, D)."""
    variances, axes = torch.linalg.eigh(torch.cov(_thinned(rows).T))
    return axes.flip(1), variances.flip(0)


def _rows(maps: torch.Tensor) -> torch.Tensor:
    """(N, C, h, w) -> (N h w, C)."""
    return maps.movedim(1, -1).flatten(0, -2)


def _start_encoder(vae: AutoencoderKL, pictures: torch.Tensor) -> list[torch.Tensor]:
    """Returns the coefficients of 2 x 2 and of 4 x 4 blocks, (N, C, H/2, W/2) and (N, C, H/4, W/4)."""
    encoder: Any = vae.encoder
    _pass(encoder.conv_in, 3)
    levels, x = [], pictures
    for block in encoder.down_blocks:
        if block.resnets[0].conv_shortcut is not None:
            _pass(block.resnets[0].conv_shortcut, x.shape[1])
        if block.downsamplers is None:
            break
        conv = block.downsamplers[0].conv
        squares = F.pixel_unshuffle(x, 2)  # (N, 4 C, h, w), a channel's four pixels together
        axes, _ = _components(_rows(squares))
        axes = axes[:, : conv.out_channels]
        count = axes.shape[1]
        _clear(conv, _UNUSED)
        conv.weight[:count] = 0
        conv.weight[:count, : x.shape[1], :2, :2] = axes.T.reshape(count, -1, 2, 2)
        x = torch.einsum("nchw,ck->nkhw", squares, axes)
        levels.append(x)
    _finish_encoder(vae, x)
    return levels[:-1]


def _finish_encoder(vae: AutoencoderKL, x: torch.Tensor) -> None:
    """From the coefficients of 8 x 8 blocks to latents whose deviation is the root of the components' own."""
    encoder: Any = vae.encoder
    count = vae.config.latent_channels
    axes, variances = _components(_rows(x))
    mean = _thinned(_rows(x)).mean(0)
    deviations = variances[:count].sqrt()
    axes = axes[:, :count] / deviations
    shortcut = encoder.down_blocks[-1].resnets[0].conv_shortcut
    _pass_pairs(shortcut, encoder.conv_norm_out, encoder.conv_out, axes.T, -(mean @ axes))
    into = vae.quant_conv
    into.weight.zero_()
    _bias(into).zero_()
    scale = LARGEST / SCALING * (deviations / deviations[0]).sqrt()
    into.weight[:count, :count, 0, 0] = torch.diag(scale)
    _bias(into)[count:] = LOGVAR + 2 * scale.log()


def _pass_pairs(
    before: nn.Conv2d, norm: nn.GroupNorm, after: nn.Conv2d, matrix: torch.Tensor, bias: torch.Tensor
) -> None:
    """Make after(silu(norm(before(x)))) the linear map matrix x + bias, for outputs of about unit variance.

    Each of the norm's groups holds signals, their negatives and constants: its mean and its deviation are known.
    """
    count, inputs = matrix.shape
    per, each = norm.num_channels // norm.num_groups, -(-count // norm.num_groups)
    assert 2 * each < per, "a group has no room for the signals, their negatives and a constant"
    _clear(before, _UNUSED)
    _clear(after)
    middle, centre = before.kernel_size[0] // 2, after.kernel_size[0] // 2
    for k in range(count):
        first = k // each * per + 2 * (k % each)
        for channel, sign in ((first, 1), (first + 1, -1)):
            before.weight[channel] = 0
            before.weight[channel, :inputs, middle, middle] = sign * matrix[k]
            _bias(before)[channel] = sign * bias[k]
            after.weight[k, channel, centre, centre] = sign
    beside = _CONSTANT * torch.tensor([1.0, -1.0]).repeat(per)[: per - 2 * each]  # as many up as down, if they are even
    mean = beside.sum() / per
    deviation = (beside.square().sum() / per - mean**2 + 2 * each / per).sqrt()
    for group in range(-(-count // each)):
        constants = slice(group * per + 2 * each, (group + 1) * per)
        before.weight[constants] = 0
        _bias(before)[constants] = beside
        norm.weight[group * per : (group + 1) * per] = deviation
        norm.bias[group * per : (group + 1) * per] = mean


def _start_decoder(vae: AutoencoderKL, latents: torch.Tensor, levels: list[torch.Tensor]) -> None:
    """Each upsampling's convolution is the least-squares one to the next finer coefficients, the last to pixels."""
    decoder: Any = vae.decoder
    _clear(vae.post_quant_conv)
    unit = latents.std((0, 2, 3)).max()
    vae.post_quant_conv.weight[:, :, 0, 0] = torch.eye(latents.shape[1]) / unit
    latents = latents / unit
    _spread(decoder.conv_in, latents.shape[1])
    x = decoder.conv_in(latents)
    for block, target in zip(decoder.up_blocks, reversed(levels), strict=False):
        shortcut, conv = block.resnets[0].conv_shortcut, block.upsamplers[0].conv
        if shortcut is not None:
            _pass(shortcut, min(x.shape[1], shortcut.out_channels))
            x = x[:, : shortcut.out_channels]
        x = F.interpolate(x, scale_factor=2.0, mode="nearest")
        _regress(conv, x, target)
        x = conv(x)
    last = decoder.up_blocks[-1].resnets[0].conv_shortcut
    loud = 3.0  # pixels are about 1/3 away from grey
    _pass_pairs(last, decoder.conv_norm_out, decoder.conv_out, loud * torch.eye(3), torch.zeros(3))
    decoder.conv_out.weight /= loud


def _spread(conv: nn.Conv2d, count: int) -> None:
    """Each latent beside its four neighbours', as far as there are channels."""
    _clear(conv, _UNUSED)
    for k in range(min(5 * count, conv.out_channels)):
        dy, dx = ((1, 1), (0, 1), (1, 0), (2, 1), (1, 2))[k // count]
        conv.weight[k] = 0
        conv.weight[k, k % count, dy, dx] = 1


def _regress(conv: nn.Conv2d, x: torch.Tensor, target: torch.Tensor) -> None:
    """Fit the convolution's first channels: x (N, C, h, w) to target (N, D, h, w), by ridge regression."""
    size, count = x.shape[1] * 9, target.shape[1]
    gram, cross = torch.zeros(size + 1, size + 1), torch.zeros(size + 1, count)
    for some, wanted in zip(x.split(8), target.split(8), strict=True):
        top, left = (int(torch.randint(0, edge - _WINDOW - 1, ())) for edge in some.shape[2:])
        window = some[:, :, top : top + _WINDOW + 2, left : left + _WINDOW + 2]
        patches = F.pad(_rows(F.unfold(window, 3)), (0, 1), value=1.0)
        gram += patches.T @ patches
        cross += patches.T @ _rows(wanted[:, :, top + 1 : top + 1 + _WINDOW, left + 1 : left + 1 + _WINDOW])
    ridge = 1e-5 * gram.diagonal().mean() * torch.eye(size + 1)
    solved = torch.linalg.solve((gram + ridge).double(), cross.double()).float()
    _clear(conv, _UNUSED)
    conv.weight[:count] = solved[:-1].T.reshape(count, x.shape[1], 3, 3)
    _bias(conv)[:count] = solved[-1]
