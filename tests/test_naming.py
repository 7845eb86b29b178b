"""Names of what is made from photographs are safe anywhere, unique, and stay when others come."""

import random
import unicodedata

import pytest
from builders import job, targets, write_images
from photo_lists import names

from rli.errors import RLIError
from rli.photos.naming import by_name, numbered, safe
from rli.photos.sources import photos

LETTERS = 'aAbB.  ~-_/\\:*?"<>|\n\t\x00é\u0301ßS日\u200b\ud800'


def random_entries(rng):
    def name():
        return "".join(rng.choices(LETTERS.replace("/", ""), k=rng.randint(1, 5))) * rng.choice([1, 1, 1, 90])

    return {name() + rng.choice([".png", ".jpg", "/", "~2.png", "-2.png"]) for _ in range(rng.randint(1, 40))}


@pytest.mark.parametrize("seed", range(50))
def test_names_are_safe_and_unique_and_depend_on_their_folder_alone(seed):
    entries = random_entries(random.Random(seed))
    named = [*numbered(by_name(entries))]
    assert sorted(entry for _, entry in named) == sorted(entries)
    assert named == [*numbered(by_name(sorted(entries, reverse=True)))]
    assert len({unicodedata.normalize("NFC", name.casefold()) for name, _ in named}) == len(entries)
    for name, entry in named:
        assert name.isprintable() and not set('/\\:*?"<>|') & set(name)
        assert name == name.strip(" .") and 0 < len(name.encode()) <= 150
        assert not entry.endswith("/") or "." not in name
        assert safe(entry) == safe(f"{safe(entry)}{'/' if entry.endswith('/') else '.png'}")


def test_names_stay_where_folders_come_and_go(tmp_path):
    write_images(tmp_path, "b/a.png", "b/a.jpg", "b/A.gif", "b/a~2.png", "b/a/x.png")
    before = names(photos("folder", str(tmp_path)))
    assert before == ["b/A", "b/a~2", "b/a~3", "b/a_2", "b/a~4/x"]
    write_images(tmp_path, "a/a.png", "c.png", "b.png/a.png")
    assert names(photos("folder", str(tmp_path))) == ["c", "a/a", *before, "b_png/a"]


@pytest.mark.parametrize("device", ["CON", "nul", "Aux", "prn", "com1", "COM9", "lpt³", "LPT0"])
def test_no_name_is_a_device_of_windows_whatever_suffix_follows(device):
    for entry in (f"{device}.png", f"{device}/", f"{device}.tar.png", f" {device} .png", f"{device}.x/"):
        head = safe(entry).split(".")[0]
        assert head.casefold() != device.casefold() and head.casefold().startswith(device.casefold())
    for other in (f"{device}x.png", f"x{device}.png", f"{device}-1/"):
        assert safe(other) == other.removesuffix(".png").removesuffix("/")


def test_a_device_and_what_its_name_becomes_stay_two():
    named = {entry: part for part, entry in numbered(by_name(["con.png", "con_.png", "CON/"]))}
    assert len({part.casefold() for part in named.values()}) == 3


def test_a_defect_named_like_a_device_is_refused(tmp_path):
    for name in ("con", "NUL", "com1.x"):
        with pytest.raises(RLIError, match="cannot be used"):
            job(tmp_path, targets=targets(name))
    job(tmp_path, targets=targets("console"))
