"""A data set's README says what its manifest holds, and shows a user's words as words."""

import pandas as pd
from manifest_rows import write

from rli.datasets.card import dataset_card


def test_nothing_was_made(tmp_path):
    write(tmp_path, 0)
    dataset_card(tmp_path, title="Nothing", settings={})
    text = (tmp_path / "README.md").read_text()
    assert "0 images" in text and "No licence was stated" in text


def test_the_card_tells_what_there_is(tmp_path):
    write(tmp_path, 60)
    dataset_card(
        tmp_path,
        title="Bolts | <b>rusty</b>",
        settings={"edit": {"eq": 2.0, "method": "refine"}, "note": "a|b [x](http://x.y)"},
        about="Taken in hall *three*.",
        licence="CC BY 4.0",
    )
    text = (tmp_path / "README.md").read_text()
    assert "45 images: 15 photographs, 15 reconstructions and 15 synthetic edits" in text
    rows = pd.read_parquet(tmp_path / "manifest.parquet").query("kept")
    for label, group in rows.groupby("label"):
        counts = [int((group["split"] == split).sum()) for split in ("train", "val", "test")]
        assert f"| {label} | {counts[0]} | {counts[1]} | {counts[2]} | {len(group)} |" in text
    mean = rows.query("kind == 'edit'")["psnr"].mean()
    assert f"| psnr | {mean:.4g} | 15 |" in text
    assert "| background | 15 |" in text
    assert text.count("![") == 6 and "](images/part%202/rust.png)" in text
    assert "# Bolts \\| &lt;b&gt;rusty&lt;/b&gt;" in text and 'pretty_name: "Bolts | <b>rusty</b>"' in text
    assert "| edit.eq | 2.0 |" in text and "a\\|b \\[x\\](http\\://x.y)" in text
    assert "hall \\*three\\*" in text and "CC BY 4.0" in text
    for table in text.split("\n\n"):
        if table.startswith("|"):
            assert len({line.count("|") - line.count("\\|") for line in table.strip().split("\n")}) == 1
