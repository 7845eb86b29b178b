"""docs/extending.md is true: its files, as they are printed, extend a copy of the package, and its code runs there."""

import json
import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest
from command import ROOT, run_process
from hydra import compose, initialize_config_dir

pytestmark = pytest.mark.integration

PAGE = (ROOT / "docs" / "extending.md").read_text()

# Runs each section's code in one process, so that the libraries are loaded once: title → traceback, null where it ran.
DRIVER = """
import json, sys, traceback
outcomes = {}
for title, code in json.load(sys.stdin).items():
    try:
        exec(compile(code, title, "exec"), {"__name__": "__main__"})
        outcomes[title] = None
    except BaseException:
        outcomes[title] = traceback.format_exc()
print(json.dumps(outcomes))
"""


@dataclass(frozen=True)
class Section:
    """One thing to add, as the page shows it."""

    title: str
    # New files: path → text.
    files: dict[str, str]
    # (path, name of a dictionary or tuple in it, what is added to the file).
    additions: tuple[tuple[str, str, str], ...]
    # Code that shows the result at work.
    code: str

    @property
    def options(self) -> list[tuple[str, str]]:
        """The groups of the configuration that get an option, with the option's name."""
        return [(Path(path).parent.name, Path(path).stem) for path in self.files if path.startswith("conf/")]

    @property
    def touched(self) -> str:
        """How many files are touched, in the words of the page's table."""
        counts = (len(self.files), "new file", "new files"), (len(self.additions), "entry", "entries")
        return ", ".join(f"{count} {one if count == 1 else several}" for count, one, several in counts if count)


def section(text: str) -> Section:
    title, _, body = text.partition("\n")
    files, additions, code = {}, [], ""
    for block in re.findall(r"^```(?:python|yaml)\n(.*?)^```$", body, re.DOTALL | re.MULTILINE):
        first, _, rest = block.partition("\n")
        if added := re.match(r"# in (\S+), add to (\w+)$", first):
            additions.append((added[1], added[2], rest))
        elif named := re.match(r"# ((?:rli|conf)/\S+\.(?:py|yaml))$", first):
            files[named[1]] = rest
        else:
            code += block
    return Section(title, files, tuple(additions), code)


SECTIONS = {one.title: one for one in map(section, re.split(r"^## ", PAGE, flags=re.MULTILINE)[1:])}


def with_addition(text: str, name: str, lines: str) -> str:
    """A module's text with further imports, and further entries at the end of one of its dictionaries or tuples."""
    parts = lines.splitlines(keepends=True)
    imports = "".join(line for line in parts if line.startswith(("from ", "import ")))
    entries = "".join(line for line in parts if line.startswith("    "))
    shape = re.compile(rf"^({name}\b[^\n]* = [({{]\n.*?)^([)}}]\n)", re.DOTALL | re.MULTILINE)
    text, found = shape.subn(lambda match: match[1] + entries + match[2], text)
    assert found == 1, f"there is no dictionary or tuple {name} with an entry a line"
    head = "from __future__ import annotations\n"
    return text.replace(head, f"{head}\n{imports}", 1) if imports else text


@pytest.fixture(scope="module")
def extended(tmp_path_factory) -> Path:
    """A copy of the package and its configuration with all that the page adds."""
    folder = tmp_path_factory.mktemp("extended")
    ignored = shutil.ignore_patterns("__pycache__")
    for name in ("rli", "conf"):
        shutil.copytree(ROOT / name, folder / name, ignore=ignored)
    for one in SECTIONS.values():
        for path, text in one.files.items():
            assert not (folder / path).exists(), f"{path} is there already"
            (folder / path).write_text(text)
        for path, name, lines in one.additions:
            (folder / path).write_text(with_addition((folder / path).read_text(), name, lines))
    return folder


@pytest.fixture(scope="module")
def outcomes(extended) -> dict[str, str | None]:
    """What came of each section's code: a traceback, or None where it ran."""
    code = json.dumps({one.title: one.code for one in SECTIONS.values() if one.code})
    path = os.pathsep.join([str(extended), os.environ["PYTHONPATH"]])
    ran = run_process("-c", DRIVER, folder=extended, env={"PYTHONPATH": path}, stdin=code)
    assert ran.status == 0, ran.stderr
    return json.loads(ran.stdout.splitlines()[-1])


@pytest.mark.parametrize("title", [title for title, one in SECTIONS.items() if one.code])
def test_the_code_runs_as_it_is_printed(title, outcomes):
    if error := outcomes[title]:
        pytest.fail(error, pytrace=False)


@pytest.mark.parametrize("title", [title for title, one in SECTIONS.items() if one.options])
def test_what_is_added_can_be_chosen_on_the_command_line(title, extended):
    with initialize_config_dir(str(extended / "conf"), version_base="1.3"):
        for group, option in SECTIONS[title].options:
            assert compose("config", [f"{group}={option}"])[group]


def test_the_table_counts_the_files_that_are_touched():
    rows = re.findall(r"^\| \[(.*?)\]\(.*?\) \| .*? \| (.*?) \|$", PAGE, re.MULTILINE)
    assert dict(rows) == {one.title[0].lower() + one.title[1:]: one.touched for one in SECTIONS.values()}


@pytest.mark.parametrize("title", SECTIONS)
def test_a_section_shows_files_and_what_comes_of_them(title):
    one = SECTIONS[title]
    assert one.files or one.additions
    assert one.code or one.options
