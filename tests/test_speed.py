"""Presets of speed change how photographs are inverted, and nothing else; what is typed goes before them."""

import pytest
from command import composed
from omegaconf import OmegaConf

pytestmark = pytest.mark.integration


def settings(*typed: str) -> dict:
    return OmegaConf.to_container(composed("model=mini", *typed), resolve=False)


@pytest.mark.parametrize(
    ("speed", "method", "steps"), [("paper", "null_text", 50), ("balanced", "null_text", 20), ("fast", "direct", 15)]
)
def test_a_preset_changes_the_inversion_alone(speed, method, steps):
    default, chosen = settings(), settings(f"speed={speed}")
    assert (chosen["inversion"]["method"], chosen["inversion"]["steps"]) == (method, steps)
    assert default.pop("inversion") | {"method": method, "steps": steps} == chosen.pop("inversion")
    assert default == chosen


def test_what_is_typed_goes_before_a_preset():
    assert settings("speed=fast", "inversion=ddim")["inversion"]["method"] == "ddim"
    assert settings("speed=fast", "inversion.steps=30")["inversion"]["steps"] == 30
    assert settings("speed=balanced", "inversion.solver=adam")["inversion"]["solver"] == "adam"
