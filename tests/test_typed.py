"""What is typed reaches Hydra as it was meant."""

import pytest
from command import composed, run
from omegaconf import OmegaConf

from rli.cli.typed import TEXT_GROUPS, TEXTS, as_hydra_reads, quoted
from rli.method.records import Target
from rli.runs import schema
from rli.runs.groups import check_type


@pytest.mark.parametrize(
    ("typed", "read"),
    [
        ("resolution=512,1024", 'resolution="512","1024"'),
        ("edit.eq=1,2", "edit.eq=1,2"),
        ("--help", "--help"),
        ("~task", "~task"),
        ("defect.name=7", "defect.name='7'"),
        ("+defect.all.dent=a, b", "+defect.all.dent='a, b'"),
        ("defect.target=it's", r"defect.target='it\'s'"),
        ("defect.target='a, b'", "defect.target='a, b'"),
        ('defect.target="a, b"', 'defect.target="a, b"'),
        ('defect.target="a" and "b"', 'defect.target=\'"a" and "b"\''),
        ("data.path=null", "data.path=null"),
        ("data.path=", "data.path=''"),
    ],
)
def test_texts_are_quoted_where_they_are_not(typed, read):
    assert quoted(typed) == read


def test_in_a_sweep_commas_separate_and_grammar_is_the_user_s():
    typed = ["a=1", "defect.name=7,8", "defect.target=choice(a,b)", "-m"]
    assert as_hydra_reads(typed) == ["-m", "a=1", "defect.name='7','8'", "defect.target=choice(a,b)"]


@pytest.mark.parametrize("argument", ["resolution=[512,640]", "defect=[rust,dent]", "data=[]", "model=['mini','sd15']"])
def test_a_list_of_options_is_refused_where_one_is_expected(argument):
    line = run(argument).error
    assert line.startswith(f"error: {argument}: a list, where one option is expected; -m ")
    assert ("resolution.height=…" in line) == argument.startswith("resolution")


def test_lists_stay_lists_where_several_are_meant():
    lists = ["experiment=[a,b]", "export=[coco,yolo]", "data.samples=[brick]", "tracking.tags=[a]"]
    assert as_hydra_reads(lists) == lists


def test_every_free_text_of_the_configuration_is_one():
    """Whichever key takes any text, and no number, is quoted; those that take one of a few words need not be."""
    words = {
        "data.fit",
        "data.kind",
        "data.region",
        "dataset.originals",
        "model.name",
        "runtime.dtype",
        "runtime.memory",
    }
    groups = {"defect", "tracking", "runtime", "model", "dataset"}
    found = {"shard", "out", "placement.part"} | {f"data.{name}" for name in ("path", "mask_path", "truth_path")}
    for group in groups:
        for name, value in schema.GROUPS[group].__annotations__.items():
            if value in ("str", "str | None"):
                found.add(f"{group}.{name}")
    assert found - words == TEXTS
    assert TEXT_GROUPS == ("defect.all.",)


def test_the_configuration_as_it_is_passes():
    for overrides in ((), ("defect=all", "tracking=off"), ("runtime=ray",), ("method=null_text_rli",)):
        settings = OmegaConf.to_container(composed(*overrides, "out=x"), resolve=True)
        schema.check_settings(settings)


@pytest.mark.parametrize(
    ("value", "kind", "is_taken"),
    [
        (1, int, True),
        (True, int, False),
        (1.0, int, False),
        (1, float, True),
        (float("inf"), float, False),
        (float("nan"), float, False),
        ("off", bool, False),
        (None, int | None, True),
        (["a"], list[str], True),
        (["a", 1], list[str], False),
        ("a", list[str], False),
        ({"a": 1}, dict[str, int], True),
        ({"a": "b"}, dict[str, int], False),
        ("a", Target, False),
    ],
)
def test_values_are_of_their_types(value, kind, is_taken):
    if is_taken:
        check_type("key", value, kind)
    else:
        with pytest.raises(ValueError, match=r"^key=.*: unknown value; expected"):
            check_type("key", value, kind)
