"""A sweep that somebody else made is gathered as far as its files can be believed, and nothing is written outside."""

import os
import shutil

import numpy as np
import pytest
import yaml
from builders import files_of, grey, photo_result

from rli.files import write_whole
from rli.reports.results import frame_of, read_results, write_results
from rli.reports.sweep import write_sweep
from rli.store.failures import write_status
from rli.store.records import read_record, write_photo

pytestmark = pytest.mark.integration


def job(folder, name, *photos, **settings):
    """A job's folder as a run leaves it."""
    place = folder / name
    write_whole(place / ".hydra" / "config.yaml", yaml.safe_dump({"edit": {"eq": float(name)}, **settings}))
    write_whole(place / ".hydra" / "overrides.yaml", yaml.safe_dump([f"edit.eq={name}"]))
    results = [photo_result(photo, picture=grey(32, 32)) for photo in photos or ("plate",)]
    for result in results:
        write_photo(place, result)
    write_results(frame_of([row for result in results for row in result.rows]), place / "results.csv")
    write_status(place)
    return place


@pytest.fixture
def folder(tmp_path):
    place = tmp_path / "deep" / "sweep"
    for name in "12":
        job(place, name)
    return place


def failed(out):
    """Names and reasons of failed.csv; none where there is no such file."""
    path = out / "failed.csv"
    lines = path.read_text().splitlines()[1:] if path.is_file() else []
    return dict(line.split(",", 1) for line in lines)


def test_a_name_of_results_csv_that_leads_out_writes_nothing_outside(folder, tmp_path):
    """An image named a/../../../../home/.ssh, with a folder a among the job's images; and other ways there."""
    home = tmp_path / "home"
    (home / ".ssh").mkdir(parents=True)
    (home / ".ssh" / "key").write_text("mine")
    names = ("a/../../../../home/.ssh", "../../../../../home/.ssh", str(home / ".ssh"), "C:/home")
    evil = {str(k): name for k, name in enumerate(names, start=3)}
    for own, name in evil.items():
        place = job(folder, own)
        (place / "images" / "a").mkdir()
        write_results(read_results(place / "results.csv").assign(image=name), place / "results.csv")
    before = files_of(tmp_path)
    write_sweep([folder], tmp_path / "deep" / "out")
    after = {k: v for k, v in files_of(tmp_path).items() if not k.startswith("deep/out")}
    assert after == before
    lost = failed(tmp_path / "deep" / "out")
    assert lost.keys() == {f"{own}/{name}" for own, name in evil.items()}
    assert all("its record is missing" in reason for reason in lost.values())


def test_links_that_lead_out_are_not_read(folder, tmp_path):
    """One in each of six jobs."""
    links = "images images/plate images/plate/rust.png records results.csv .hydra".split()
    jobs = {str(k): link for k, link in enumerate(links, start=3)}
    for own, link in jobs.items():
        elsewhere, place = tmp_path / f"elsewhere-{own}", job(folder, own) / link
        place.rename(elsewhere)
        place.symlink_to(elsewhere)
    write_sweep([folder], tmp_path / "out")
    told = {
        name.split("/")[0] for name, why in failed(tmp_path / "out").items() if "leads out" in why or "missing" in why
    }
    assert told == jobs.keys()
    found = {path.parent.parent.name for path in (tmp_path / "out" / "images").glob("*/plate/rust.png")}
    assert found == {"1", "2"}


def test_links_in_the_sweep_s_own_folder_are_not_written_through(folder, tmp_path):
    (tmp_path / "home").mkdir()
    (folder / "images").mkdir()
    (folder / "images" / "1").symlink_to(tmp_path / "home")
    write_sweep([folder], folder)
    assert not any((tmp_path / "home").iterdir())
    assert "leads out" in failed(folder)["1/plate"]


def test_a_table_s_name_that_leads_out_is_that_job_s_failure(folder, tmp_path):
    table = {"rows": ["eq"], "of": "edits", "metrics": ["psnr"]}
    job(folder, "3", table={"name": "../secret", **table})
    job(folder, "4", table={"name": "knobs", **table, "rows": [{"a": 1}]})
    write_sweep([folder], tmp_path / "out")
    lost = failed(tmp_path / "out")
    assert "table.name=../secret" in lost["3"] and "table.rows" in lost["4"]
    assert set(read_results(tmp_path / "out" / "results.csv")["job"].astype(str)) == {"1", "2"}


def big_yaml(place):
    lines = ["a: &a [x,x,x,x,x,x,x,x,x]"]
    for one, before in zip("bcdefghi", "abcdefgh", strict=True):
        lines.append(f"{one}: &{one} [{','.join([f'*{before}'] * 9)}]")
    (place / ".hydra" / "config.yaml").write_text("\n".join(lines))


def twice(place):
    text = (place / "results.csv").read_text()
    (place / "results.csv").write_text(text + text.splitlines()[-1] + "\n")


def other_cells(column, value):
    def change(place):
        rows = read_results(place / "results.csv").astype({column: "object"})
        rows.loc[0, column] = value
        rows.to_csv(place / "results.csv", index=False)

    return change


DAMAGES = {
    "no configuration": lambda place: (place / ".hydra" / "config.yaml").unlink(),
    "a configuration that is no mapping": lambda place: (place / ".hydra" / "config.yaml").write_text("[1"),
    "a configuration without end": lambda place: (place / ".hydra" / "config.yaml").write_text("[" * 2000),
    "a configuration of references": big_yaml,
    "overrides that are no text": lambda place: (place / ".hydra" / "overrides.yaml").write_bytes(b"\xff\xfe\0"),
    "a status that is none": lambda place: (place / "status.json").write_text("[1]"),
    "a pipe for a status": lambda place: ((place / "status.json").unlink(), os.mkfifo(place / "status.json")),
    "results that are no text": lambda place: (place / "results.csv").write_bytes(b"image,defect\n\xff"),
    "a folder for results": lambda place: ((place / "results.csv").unlink(), (place / "results.csv").mkdir()),
    "an edit that comes twice": twice,
    "a word for a number": other_cells("psnr", "abc"),
    "a resolution that is none": other_cells("resolution", "axb"),
    "a number of 400 digits": other_cells("eq", "9" * 400),
    "a defect that no record has": other_cells("defect", "dent"),
    "a list of failures that is none": lambda place: (place / "failed.csv").write_text('"'),
    "no record": lambda place: (place / "records" / "plate.safetensors").unlink(),
    "a record that is cut short": lambda place: (place / "records" / "plate.safetensors").write_bytes(bytes(9)),
    "no picture": lambda place: (place / "images" / "plate" / "rust.png").unlink(),
    "a picture that is none": lambda place: (place / "images" / "plate" / "input.png").write_text("x"),
    "a pipe for a picture": lambda place: (
        (place / "images" / "plate" / "rust.png").unlink(),
        os.mkfifo(place / "images" / "plate" / "rust.png"),
    ),
}


def test_damaged_jobs_do_not_end_the_gathering_of_all(folder, tmp_path):
    damaged = {str(k): damage for k, damage in enumerate(DAMAGES, start=3)}
    for own, damage in damaged.items():
        DAMAGES[damage](job(folder, own))
    write_sweep([folder], tmp_path / "out")
    lost = {name.split("/")[0] for name in failed(tmp_path / "out")}
    assert [damage for own, damage in damaged.items() if own not in lost] == []
    assert not lost & {"1", "2"}
    assert {"1", "2"} <= set(read_results(tmp_path / "out" / "results.csv")["job"].astype(str))
    assert (tmp_path / "out" / "report.html").is_file()


def test_another_photograph_s_record_is_not_believed(folder):
    place = job(folder, "5", "plate", "bolt")
    records = place / "records"
    shutil.copy(records / "bolt.safetensors", records / "plate.safetensors")
    assert read_record(place, "plate") is None and read_record(place, "bolt") is not None


def test_pictures_of_another_photograph_are_noticed(folder):
    place = job(folder, "5")
    other = photo_result(picture=np.full((32, 32, 3), 7, np.uint8))
    write_photo(folder / "6", other)
    shutil.copy(folder / "6" / "images" / "plate" / "input.png", place / "images" / "plate" / "input.png")
    assert read_record(place, "plate").damage() == "input.png is damaged, or another's"
