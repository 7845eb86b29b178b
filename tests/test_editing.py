from dataclasses import replace
from itertools import chain

import numpy as np
import pytest
import torch
from builders import SOURCE

from rli.errors import RLIError
from rli.images import to_tensor
from rli.method import blend, editing, inversion
from rli.method.attention.rli import RLI
from rli.method.inversion.direct import Direct
from rli.method.inversion.null_text import NullText
from rli.method.inversion.settings import INVERTERS, InversionSettings
from rli.method.inversion.virtual import Virtual
from rli.method.photograph_region import photograph_region
from rli.method.prompts import align
from rli.method.records import EditSettings, Target
from rli.method.sampler import sampling_steps
from rli.method.solvers.adam import Adam
from rli.models import vae
from rli.models.loading import load
from rli.models.mini.classifier import defect_probabilities, load_classifier
from rli.models.mini.surfaces import DEFECTS, UNSEEN, surface
from rli.photos.region import grown

pytestmark = pytest.mark.integration

RUST, LONG = "photo of a crack rust image", "photo of a large crack corrosion image"


@pytest.fixture(scope="module", params=["null_text", "ddim", "negative_prompt"])
def inverted(request, tiny, photo):
    return inversion.invert(tiny, photo, SOURCE, InversionSettings(INVERTERS[request.param](), steps=6))


@pytest.fixture(scope="module")
def direct(tiny, photo):
    return inversion.invert(tiny, photo, SOURCE, InversionSettings(Direct(), steps=6))


@pytest.fixture(scope="module")
def several(tiny, photo):
    """Two photographs whose walks and null embeddings differ."""
    other = torch.from_numpy(surface(UNSEEN + 2, ("crack",), 64, 64).image).permute(2, 0, 1)[None].float() / 127.5 - 1
    settings = InversionSettings(NullText(Adam(inner_steps=3, early_stop=0.0, learning_rate=0.1)), steps=4)
    return inversion.invert_batch(tiny, torch.cat([photo, other]), SOURCE, settings)


def region(rows, columns):
    """(64,64) bool: True in a rectangle."""
    mask = np.zeros((64, 64), bool)
    mask[slice(*rows), slice(*columns)] = True
    return mask


REGIONS = [region((16, 32), (24, 48)), region((40, 64), (0, 32))]


def agree(ours, theirs):
    """Two runs' edits of the same photographs: the same pictures, masks and maps within rounding."""
    for a, b in zip(chain(*ours), chain(*theirs), strict=True):
        assert a.target == b.target
        assert (a.image - b.image).abs().mean() < 1e-4
        assert (a.mask == b.mask).mean() > 0.99
        for x, y in zip(a.maps + a.source_maps, b.maps + b.source_maps, strict=True):
            assert x.word == y.word
            assert np.allclose(x.map, y.map, atol=1e-5)


def test_an_edit_to_the_same_prompt_is_the_reconstruction(tiny, inverted, monkeypatch):
    """Everything injected from the source, nothing amplified, the target prompt the source's (which is refused by the
    alignment of the words: it is given here)."""
    same = replace(
        align(tiny.tokenizers[0], SOURCE, [Target("x", RUST)], EditSettings()),
        mapper=torch.eye(77)[None],
        keep_own_map=torch.zeros(1, 77),
        equalizer=torch.ones(1, 77),
    )
    monkeypatch.setattr(editing, "align", lambda *args, **_: same)
    edited = editing.edit(tiny, inverted, [SOURCE], EditSettings(local_blend=False))[0]
    assert torch.allclose(edited.image, editing.reconstruct(tiny, inverted), atol=1e-2)


def test_a_reconstruction_that_is_given_is_not_decoded_again(tiny, direct, monkeypatch):
    plain, back = editing.edit(tiny, direct, [RUST])[0], editing.reconstruct(tiny, direct)
    decoded, decode = [], vae.decode
    monkeypatch.setattr(vae, "decode", lambda model, z: decoded.append(len(z)) or decode(model, z))
    assert torch.equal(editing.edit(tiny, direct, [RUST], reconstruction=back)[0].image, plain.image)
    assert decoded == [1]


def test_targets_edited_together_come_out_as_alone(tiny, direct):
    together = editing.edit(tiny, direct, [RUST, LONG])
    apart = editing.edit(tiny, direct, [RUST, LONG], batch=1)
    for a, b in zip(together, apart, strict=True):
        assert torch.allclose(a.image, b.image, atol=2e-2)
        assert (a.mask == b.mask).mean() > 0.99


@pytest.fixture(scope="module")
def each_alone(tiny, several):
    """Both photographs' edits by themselves, with attention's mask and in a given region, with and without blend."""
    return {
        (k, given, blend): editing.edit(
            tiny, one, [RUST, LONG], EditSettings(local_blend=blend, threshold=0.9), mask=REGIONS[k] if given else None
        )
        for k, one in enumerate(several)
        for given in (True, False)
        for blend in (True, False)
    }


@pytest.mark.parametrize("blend", [True, False])
@pytest.mark.parametrize(
    "masks",
    [[None, None], REGIONS, [None, REGIONS[1]]],
    ids=["found", "given", "mixed"],
)
@pytest.mark.parametrize("batch", [8, 3, 1])
def test_photographs_edited_together_come_out_as_each_alone(tiny, several, each_alone, blend, masks, batch):
    """With batch=3 the first call has two pairs of the first photograph and one of the second."""
    settings = EditSettings(local_blend=blend, threshold=0.9)
    together = editing.edit_batch(tiny, several, [RUST, LONG], settings, masks=masks, batch=batch)
    agree(together, [each_alone[k, mask is not None, blend] for k, mask in enumerate(masks)])


def test_photographs_change_places_and_so_do_their_edits(tiny, several):
    settings = EditSettings(threshold=0.9)
    there, back = (editing.edit_batch(tiny, photos, [RUST, LONG], settings) for photos in (several, several[::-1]))
    agree(there, back[::-1])
    (first, _), (second, _) = there
    assert not np.array_equal(first.mask, second.mask)
    assert (first.image - second.image).abs().mean() > 0.1


@pytest.mark.parametrize(("batch", "rows"), [(4, [10]), (3, [8, 3]), (1, [3, 3, 3, 3])])
def test_a_step_is_one_unet_call_for_each_batch_of_pairs(tiny, several, batch, rows):
    """Two photographs, two targets: a source row for each photograph of a call, two for each pair."""
    seen = []
    handle = tiny.unet.register_forward_pre_hook(lambda unet, given: seen.append(len(given[0])))
    try:
        editing.edit_batch(tiny, several, [RUST, LONG], batch=batch)
    finally:
        handle.remove()
    moves = sum(not step.is_identity for step in sampling_steps(4))
    assert seen == [count for count in rows for _ in range(moves)]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("steps", 5),
        ("guidance", 2.0),
        ("hooks", (RLI(location="mid"),)),
        ("hooks", (RLI(0.5),)),
        ("hooks", ()),
        ("time_ids", "reference"),
    ],
)
def test_photographs_of_other_settings_are_not_edited_together(tiny, several, name, value):
    first, second = several
    other = replace(second, settings=replace(second.settings, **{name: value}))
    with pytest.raises(RLIError, match=f"only with equal {name}"):
        editing.edit_batch(tiny, [first, other], [RUST])


def test_photographs_of_another_prompt_or_size_or_count_of_masks_are_not_edited_together(tiny, several):
    first, second = several
    for other, name in (
        (replace(second, prompt="photo of a scratch defect image"), "source prompt"),
        (replace(second, source_latents=second.source_latents[..., :4]), "size"),
    ):
        with pytest.raises(RLIError, match=f"only with equal {name}"):
            editing.edit_batch(tiny, [first, other], [RUST])
    with pytest.raises(RLIError, match="2 photographs need 2 masks"):
        editing.edit_batch(tiny, several, [RUST], masks=[None])


@pytest.mark.parametrize("local_blend", [True, False])
def test_outside_the_given_mask_nothing_changes(tiny, direct, local_blend, monkeypatch):
    mask = region((16, 32), (24, 48))
    latents = []
    decode = vae.decode
    monkeypatch.setattr(vae, "decode", lambda model, z: latents.insert(0, z) or decode(model, z))
    done = editing.edit(tiny, direct, [RUST], EditSettings(local_blend=local_blend), mask=mask)[0]
    inside = blend.to_latent(mask, (8, 8))
    changed = (latents[0] != direct.source_latents[-1:]).any(1, keepdim=True)
    assert torch.equal(changed, inside)
    assert np.array_equal(done.mask, mask)
    back = editing.reconstruct(tiny, direct)
    assert torch.equal(done.image[0, :, ~mask], back[0, :, ~mask])
    assert not torch.equal(done.image[0, :, mask], back[0, :, mask])


@pytest.mark.parametrize("method", ["refine", "replace"])
def test_outside_attention_s_mask_the_picture_is_the_reconstruction(tiny, direct, method):
    back = editing.reconstruct(tiny, direct)
    for done in editing.edit(tiny, direct, [RUST], EditSettings(method=method, threshold=0.95)):
        assert 0 < done.mask.mean() < 1
        assert torch.equal(done.image[0, :, ~done.mask], back[0, :, ~done.mask])


def test_a_mask_of_another_size_is_refused(tiny, direct):
    with pytest.raises(RLIError, match="10×20 pixels and its photograph 64×64"):
        editing.edit(tiny, direct, [RUST], mask=np.ones((20, 10), bool))


@pytest.mark.parametrize("method", ["refine", "replace"])
def test_every_knob_changes_the_edit(tiny, direct, method):
    def image(**options):
        return editing.edit(tiny, direct, [RUST], EditSettings(method=method, local_blend=False, **options))[0].image

    plain = image()
    for knob in ({"eq": 5.0}, {"cross": 0.2}, {"replace": 0.0}):
        assert not torch.allclose(plain, image(**knob), atol=1e-4), knob


def test_word_maps_have_a_name_for_every_word(tiny, direct):
    done = editing.edit(tiny, direct, [Target("x", LONG)])[0]
    assert [m.word for m in done.maps] == LONG.split()
    assert [m.word for m in done.source_maps] == SOURCE.split()
    assert done.maps[0].map.shape == (4, 4)


def test_prompts_of_another_length_cannot_be_replaced(tiny, direct):
    with pytest.raises(RLIError, match="the same number of words"):
        editing.edit(tiny, direct, [LONG], EditSettings(method="replace"))


def test_no_target_is_no_edit(tiny, direct):
    assert editing.edit(tiny, direct, []) == []
    assert editing.edit_batch(tiny, [direct, direct], []) == [[], []]
    assert editing.edit_batch(tiny, [], [RUST]) == []


def test_photographs_need_not_be_square(tiny):
    wide = torch.rand(1, 3, 32, 96) * 2 - 1
    done = inversion.invert(tiny, wide, SOURCE, InversionSettings(steps=3))
    edited = editing.edit(tiny, done, [RUST])[0]
    assert edited.image.shape == wide.shape
    assert edited.mask.shape == (32, 96)


@pytest.mark.parametrize("wrong", [{"replace": 8.2}, {"cross": -0.1}, {"threshold": 2}, {"method": "x"}, {"eq": -1}])
def test_settings_out_of_range_are_refused(wrong):
    with pytest.raises(RLIError):
        EditSettings(**wrong)


def rows_of(model, work) -> tuple[list, int]:
    """What the work gives, and the batch rows that went through the UNet for it."""
    rows: list[int] = []
    handle = model.unet.register_forward_pre_hook(lambda _, given: rows.append(len(given[0])))
    try:
        return work(), sum(rows)
    finally:
        handle.remove()


def test_in_a_given_region_the_source_is_predicted_only_where_it_is_injected(tiny, photo):
    """Beside a photograph whose region attention finds, the source has a row at every step: the pictures are the
    same."""
    steps = 5
    one, other = inversion.invert_batch(
        tiny, torch.cat([photo, photo.flip(3)]), SOURCE, InversionSettings(Direct(), steps=steps)
    )
    region = np.zeros((64, 64), bool)
    region[16:48, 8:40] = True
    loose = EditSettings(cross=0.4, replace=0.2)
    words = [SOURCE.replace("crack", "rust"), SOURCE.replace("crack", "dent")]
    (alone,), few = rows_of(tiny, lambda: editing.edit_batch(tiny, [one], words, loose, masks=[region]))
    (beside, _), _ = rows_of(tiny, lambda: editing.edit_batch(tiny, [one, other], words, loose, masks=[region, None]))
    moves, injected = steps - 1, 2
    assert few == moves * 2 * len(words) + injected
    for a, b in zip(alone, beside, strict=True):
        assert torch.allclose(a.image, b.image, atol=1e-4)
        assert [word.word for word in a.source_maps] == [word.word for word in b.source_maps]
        assert all(np.isfinite(word.map).all() for word in a.source_maps)


def test_without_an_inversion_a_known_region_shows_what_was_asked_for():
    """The old crack is gone, the new defects are seen, and nothing else is touched."""
    mini, drawn, wanted = load("mini"), surface(UNSEEN + 2001, ("crack",), 128, 128), ("rust", "peeling")
    around = grown(drawn.mask, 8)
    settings = InversionSettings(Virtual(), steps=10)
    inverted = inversion.invert(mini, to_tensor(drawn.image), SOURCE, settings)
    targets = [Target(word, f"photo of a {word} defect image") for word in wanted]
    edits = editing.edit(mini, inverted, targets, EditSettings(cross=0.4, replace=0.0, fresh=1.0), mask=around)
    seen = defect_probabilities(load_classifier(), torch.cat([edit.image for edit in edits]))
    for row, word in zip(seen, wanted, strict=True):
        assert row[DEFECTS.index(word)] > 0.5
        assert row[DEFECTS.index("crack")] < 0.5
    back, outside = editing.reconstruct(mini, inverted), torch.from_numpy(~around)
    assert all(torch.equal(edit.image[..., outside], back[..., outside]) for edit in edits)


def test_a_crack_is_found_in_the_photograph_before_it_is_edited():
    """Most of what is found lies at the crack, for words that change; and an edit holds to it as to a given region."""
    mini, drawn, wanted = load("mini"), surface(UNSEEN + 2001, ("crack",), 256, 256), [Target("rust", RUST)]
    inverted = inversion.invert(mini, to_tensor(drawn.image), SOURCE, InversionSettings(Virtual(), steps=4))
    settings = EditSettings(mask_from="photograph", fresh=1.0)
    found = photograph_region(mini, inverted, wanted, settings)
    assert (found & grown(drawn.mask, 14)).sum() > 0.9 * found.sum() > 0
    (ours,) = editing.edit(mini, inverted, wanted, settings)
    (given,) = editing.edit(mini, inverted, wanted, replace(settings, mask_from="edit"), mask=found)
    assert torch.equal(ours.image, given.image)
    assert (ours.mask == found).all()


def test_without_a_changed_word_a_region_is_not_found_before_the_edit():
    mini, settings = load("mini"), EditSettings(mask_from="photograph", fresh=1.0)
    image = to_tensor(surface(UNSEEN, ("crack",), 64, 64).image)
    inverted = inversion.invert(mini, image, "photo of a crack", InversionSettings(Virtual(), steps=2))
    with pytest.raises(RLIError, match=r"no word of .* changes"):
        editing.edit(mini, inverted, ["photo of a crack with rust"], settings)
