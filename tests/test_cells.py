"""No cell of a CSV file is computed by a spreadsheet, and every one is read back as it was."""

import pytest
from builders import row

from rli.cells import as_written, harmless
from rli.reports.outputs import write_failures
from rli.reports.results import frame_of, read_results, write_results
from rli.store.failures import Failure, read_failures

TEXTS = ("=1+1", "+1", "-1", "@a", "'=1", "''+2", "\t=1", "plain", "'quoted'", "", "a=1")


@pytest.mark.parametrize("text", TEXTS)
def test_a_text_comes_back(text):
    assert as_written(harmless(text)) == text
    assert not harmless(text).startswith(("=", "+", "-", "@", "\t"))
    assert harmless(text) == text or harmless(text) == f"'{text}"


def test_numbers_are_no_texts():
    assert [harmless(value) for value in (-1, -0.5, None)] == [-1, -0.5, None]


def test_results_and_failures_come_back(tmp_path):
    rows = frame_of([row(image=text or "x", alpha=0.1, psnr=-1.5) for text in TEXTS])
    write_results(rows, tmp_path / "results.csv")
    assert "\n=" not in (tmp_path / "results.csv").read_text() and ",-1.5" in (tmp_path / "results.csv").read_text()
    assert [*read_results(tmp_path / "results.csv")["image"]] == [text or "x" for text in TEXTS]
    write_failures([Failure(text, text) for text in TEXTS], tmp_path)
    assert [failure.reason for failure in read_failures(tmp_path)] == [*TEXTS]
