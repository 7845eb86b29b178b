import numpy as np
import torch
import torch.nn.functional as F

from rli.method.blend import feathered, local_blend_mask, to_latent


def test_the_mask_is_where_the_chosen_word_looks():
    maps = torch.zeros(2, 8, 8, 4)
    maps[0, 2, 3, 1] = 1.0
    maps[1, 6, 6, 2] = 1.0
    maps[:, :, :, 3] = 5.0  # a word that nobody asked for
    mask = local_blend_mask(maps, torch.tensor([[0, 1.0, 0, 0], [0, 0, 1.0, 0]]), (16, 16), 0.3)
    assert mask.shape == (2, 1, 16, 16)
    assert mask[0, 0].nonzero().amin(0).tolist() == [2, 4]  # pooled 3×3, then doubled
    assert mask[0, 0].nonzero().amax(0).tolist() == [7, 9]
    assert not (mask[0] & mask[1]).any()


def test_the_threshold_is_a_share_of_the_maximum():
    maps = torch.linspace(0, 1, 64).view(1, 8, 8, 1)
    shares = [
        local_blend_mask(k * maps, torch.ones(1, 1), (8, 8), t).float().mean() for k in (1, 100) for t in (0.3, 0.6)
    ]
    assert shares[0] > shares[1]
    assert shares[:2] == shares[2:]


def test_contours_follow_the_heat_and_squares_its_grid():
    """A round spot of heat: the smooth mask lies closer to the disc that a fine grid would give."""
    coarse, fine = (
        torch.exp(-((torch.linspace(-1, 1, n)[:, None] - 0.1) ** 2 + torch.linspace(-1, 1, n)[None] ** 2) / 0.1)
        for n in (16, 128)
    )
    one = torch.ones(1, 1)
    truth = F.max_pool2d(fine[None, None], 17, 1, 8) > 0.3 * fine.max()
    masks = {w: local_blend_mask(coarse[None, :, :, None], one, (128, 128), 0.3, w) for w in ("nearest", "bicubic")}
    overlap = {way: (m & truth).sum() / (m | truth).sum() for way, m in masks.items()}
    assert overlap["bicubic"] > overlap["nearest"]
    edges = [np.diff(mask[0, 0].int().numpy(), axis=1).nonzero()[1] for mask in masks.values()]
    assert len({*edges[0]}) < len({*edges[1]})  # squares end at few columns


def test_no_word_is_no_mask():
    assert not local_blend_mask(torch.rand(1, 8, 8, 4), torch.zeros(1, 4), (8, 8), 0.3).any()


def test_a_latent_position_belongs_when_any_pixel_does():
    mask = np.zeros((32, 32), bool)
    mask[9, 17] = True
    latent = to_latent(mask, (4, 4))
    assert latent[0, 0].nonzero().tolist() == [[1, 2]]


def test_a_mask_thinner_than_its_feather_keeps_its_middle():
    thin = np.zeros((32, 32), bool)
    thin[10, 4:28] = True
    assert (feathered(thin, 4)[0, 0, 10, 8:24] == 1).all()
    assert (feathered(thin, 4)[0, 0].numpy()[~thin] == 0).all()
    one = np.zeros((32, 32), bool)
    one[5, 5] = True
    assert feathered(one, 4)[0, 0, 5, 5] == 1


def test_a_feather_rises_inside_the_mask_only():
    mask = np.zeros((32, 32), bool)
    mask[8:24, 8:] = True
    weights = feathered(mask, 3)[0, 0].numpy()
    assert (weights[~mask] == 0).all()
    assert (weights[11:21, 11:] == 1).all()  # up to the picture's own edge
    assert (np.diff(weights[16, 7:12]) >= 0).all()
