"""Library errors name the library's arguments; the configuration's name its keys. All without a model."""

import pickle
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import yaml
from builders import write_surface
from command import composed
from omegaconf import OmegaConf

from rli.errors import RLIError, SettingError, one_of, true_or_false, whole, within
from rli.method.attention.rli import RLI
from rli.method.records import EditSettings
from rli.runs.config import build, card_settings, keyed, read_config
from rli.runs.run import finish, remarks, work
from rli.runs.shards import Shard
from rli.store.failures import Failure, write_failure
from rli.tracking.tracker import Untracked


@dataclass(frozen=True)
class Knob:
    size: int = 1
    is_round: bool = False

    def __post_init__(self) -> None:
        whole("size", self.size, 1, 9)


@pytest.mark.parametrize(
    ("check", "arguments", "line"),
    [
        (one_of, ("a", "b", ("c", "d")), "a=b: unknown value; expected one of c, d"),
        (within, ("a", 2, 0, 1), "a=2: out of range; expected a number from 0 to 1"),
        (within, ("a", True, 0, 1), "a=True: out of range; expected a number from 0 to 1"),
        (whole, ("a", 0.5, 0, 1), "a=0.5: out of range; expected a whole number from 0 to 1"),
        (true_or_false, ("a", 1), "a=1: unknown value; expected true or false"),
    ],
)
def test_checks_say_what_and_what_to_do(check, arguments, line):
    with pytest.raises(SettingError) as caught:
        check(*arguments)
    assert str(caught.value) == line
    assert str(caught.value.renamed("x.y")) == line.replace("a=", "x.y=")
    assert str(pickle.loads(pickle.dumps(caught.value))) == line  # noqa: S301


def test_a_group_s_values_make_a_record_and_errors_name_its_keys():
    assert build(Knob, "some.knob", {"size": 3}) == Knob(3)
    for values, line in (
        ({"size": 0}, "some.knob.size=0: out of range"),
        ({"is_round": 2}, "some.knob.is_round=2: unknown value; expected true or false"),
        ({"colour": 2}, "some.knob.colour: unknown setting"),
        (None, "some.knob=None: expected a group of settings"),
    ):
        with pytest.raises(RLIError, match=line):
            build(Knob, "some.knob", values)


def test_an_argument_from_elsewhere_is_named_by_its_own_key():
    with pytest.raises(SettingError, match=r"^other\.key=0: "):
        build(Knob, "some.knob", {}, {"size": "other.key"}, size=0)
    with pytest.raises(SettingError, match=r"^other\.key=0: "), keyed("outer"), keyed("some", {"size": "other.key"}):
        Knob(0)


@pytest.mark.parametrize("text", ["4/4", "1", "a/b", "-1/2", "0/0", "1/2/3"])
def test_shards_that_cannot_be(text):
    with pytest.raises(SettingError, match=f"shard={text}: expected INDEX/COUNT"):
        Shard.parse(text)


def test_shards_share_out_every_photograph_once():
    assert Shard.parse(None).is_all and [*Shard.parse(None).photos("abc")] == ["a", "b", "c"]
    parts = [[*Shard.parse(f"{k}/3").photos("abcdefg")] for k in range(3)]
    assert parts == [["a", "d", "g"], ["b", "e"], ["c", "f"]]


@pytest.fixture
def config(tmp_path):
    cfg = OmegaConf.to_container(composed("model=mini", "tracking=off", f"out={tmp_path}"), resolve=True)
    return read_config(cfg)


def test_a_run_is_told_by_plain_values(config, tmp_path):
    """Where every photograph has failed already, no model is loaded; the story ends in the one reason."""
    (photo,) = config.source
    write_failure(tmp_path, Failure(photo.name, "surface: it was too dark"), config.job.key(photo))
    with pytest.raises(RLIError, match="it was too dark"):
        work(config, tmp_path)
    assert "too dark" in (tmp_path / "failed.csv").read_text()
    with pytest.raises(RLIError, match="it was too dark"):
        finish(config, tmp_path, Untracked())


def test_a_shard_s_folder_is_told_from_one_of_photographs(config, tmp_path):
    (photo,) = config.source
    shared = tmp_path / "shared"
    write_failure(shared, Failure(photo.name, "surface: it was too dark"), config.job.key(photo))
    part = replace(config, shard=Shard(0, 2), out=shared)
    with pytest.raises(RLIError, match="too dark"):
        work(part, tmp_path / "job")
    assert yaml.safe_load(Path(shared, ".hydra", "config.yaml").read_text()) == config.settings


def test_results_do_not_go_where_the_photographs_are(config, tmp_path):
    settings = {**config.settings, "data": {**config.settings["data"], "path": str(tmp_path)}}
    with pytest.raises(RLIError, match="holds the photographs"):
        work(replace(config, settings=settings), tmp_path)


@pytest.mark.parametrize("key", ["location", "alpha"])
def test_a_setting_of_rli_that_was_taken_out_has_its_default(key):
    cfg = composed("model=mini", "data=sample", "out=run", f"~rli.{key}")
    assert read_config(OmegaConf.to_container(cfg, resolve=True)).job.inversion.hooks == (RLI(),)


def test_data_sets_and_virtual_inversion_have_edit_defaults_of_their_own_and_what_is_typed_wins():
    def edit(*typed):
        cfg = composed("model=mini", "data=sample", "out=run", *typed)
        return read_config(OmegaConf.to_container(cfg, resolve=True)).job.edit

    assert edit() == EditSettings(cross=1.0, replace=0.8, fresh=0.0)
    assert edit("export=coco") == EditSettings(cross=0.4, replace=0.0, fresh=0.5)
    assert edit("export=coco", "edit.cross=1", "edit.fresh=0") == EditSettings(cross=1.0, replace=0.0, fresh=0.0)
    assert edit("inversion=virtual") == EditSettings(fresh=1.0, mask_from="photograph")
    assert edit("inversion=virtual", "export=coco", "edit.mask_from=edit") == EditSettings(
        cross=0.4, replace=0.0, fresh=1.0
    )


def test_a_defect_that_is_drawn_anew_without_a_label_is_told(tmp_path):
    write_surface(tmp_path / "crack" / "0.png", 0)

    def told(*typed):
        cfg = composed("model=mini", "data=folder", f"data.path={tmp_path}", "defect=rust", "out=run", *typed)
        return [*remarks(read_config(OmegaConf.to_container(cfg, resolve=True)))]

    virtual = "inversion=virtual", "export=coco"
    (line,) = told(*virtual)
    assert line.startswith("the prompt of rust still asks for “crack”") and "\n" not in line
    assert told(*virtual, "defect.target=photo of a rust image") == []
    assert told(*virtual, "relabel=false") == told(*virtual, "edit.fresh=0.5") == told("inversion=virtual") == []


def test_a_card_says_how_edits_are_made_and_not_where_an_example_lies():
    cfg = composed("model=mini", "data=sample", "out=run", "export=coco", "edit.example=/home/someone/ours.png")
    said = card_settings(OmegaConf.to_container(cfg, resolve=True))
    assert said["edit"]["cross"] == 0.4 and said["edit"]["example_strength"] == 1.0
    assert "someone" not in str(said)
