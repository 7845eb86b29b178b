"""What the pages say can be followed: links lead somewhere, commands compose, the library's lines run."""

import re
import shlex
from pathlib import Path

import pytest
from command import CONF, ROOT, run_process
from hydra import compose, initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf

pytestmark = pytest.mark.integration

PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]
# Pages from which people type settings.
TYPED = [ROOT / "README.md", *(ROOT / "docs" / f"{name}.md" for name in ("usage", "data_sets", "results"))]
SUBCOMMANDS = ("app", "gather", "offline")
MISSING = object()


def named(page: Path) -> str:
    return str(page.relative_to(ROOT))


def anchor(heading: str) -> str:
    """A heading's address as GitHub makes it."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-")


def anchors(page: Path) -> set[str]:
    return {anchor(heading) for heading in re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)}


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_every_link_leads_to_a_file_and_to_a_heading_of_it(page):
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if "://" in target:
            continue
        path, _, heading = target.partition("#")
        goal = (page.parent / path).resolve() if path else page
        assert goal.exists(), f"{target}: there is no such file"
        assert not heading or heading in anchors(goal), f"{target}: there is no such heading"


def commands(page: Path) -> list[list[str]]:
    """The arguments of every `rli …` and `python main.py …` of a page's code blocks."""
    lines = re.sub(r"\\\n\s*", "", page.read_text()).splitlines()
    words = [shlex.split(line, comments=True) for line in lines if re.match(r"\s+(rli|python main\.py) ", line)]
    return [line[1:] if line[0] == "rli" else line[2:] for line in words]


def compositions(arguments: list[str]) -> list[list[str]]:
    """The overrides of a command: one list, or for a multirun one for each value that it goes through."""
    choices = []
    for word in (word for word in arguments if word != "-m"):
        (parsed,) = OverridesParser.create().parse_overrides([word])
        values = parsed.sweep_string_iterator() if parsed.is_sweep_override() else ()
        choices.append([f"{parsed.get_key_element()}={value}" for value in values] or [word])
    return [[own[k % len(own)] for own in choices] for k in range(max(map(len, choices)))]


@pytest.fixture(scope="module")
def configured():
    # Hydra reads digits as a number, and a group's option must be text.
    def composed(overrides: list[str]):
        return compose("config", [re.sub(r"^resolution=(\d+)$", r'resolution="\1"', one) for one in overrides])

    with initialize_config_dir(str(CONF), version_base="1.3"):
        yield composed


@pytest.mark.parametrize("page", [page for page in TYPED if commands(page)], ids=named)
def test_every_command_composes(page, configured):
    for arguments in commands(page):
        if arguments[0] in SUBCOMMANDS:
            continue
        sweeps = len(compositions(arguments)) > 1
        assert not sweeps or "-m" in arguments, f"{arguments}: several values need -m"
        for overrides in compositions(arguments):
            configured(overrides)


def test_readme_shows_commands():
    assert len(commands(ROOT / "README.md")) >= 5


def options(page: Path) -> set[str]:
    """Settings with a value in a page's running text and tables, such as `edit.eq=2`."""
    outside = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
    spans = [word for span in re.findall(r"`([^`\n]+)`", outside) for word in shlex.split(span)]
    return {word for word in spans if re.match(r"[a-z_.]+=\S+$", word) and not word.startswith("hydra.")}


@pytest.fixture(scope="module")
def default(configured):
    return configured([])


@pytest.mark.parametrize("page", [page for page in TYPED if options(page)], ids=named)
def test_every_setting_that_is_named_exists(page, default):
    for option in options(page):
        key, _, value = option.partition("=")
        if (CONF / key).is_dir():
            assert (CONF / key / f"{value}.yaml").is_file(), f"{option}: the group has no such option"
        else:
            assert OmegaConf.select(default, key, default=MISSING) is not MISSING, f"{option}: there is no such key"


def test_the_reference_of_public_functions_is_built_from_their_docstrings(tmp_path):
    pytest.importorskip("pdoc", reason="the extra docs is not installed")
    options = ["--docformat", "google", "--output-directory", str(tmp_path)]
    built = run_process("-m", "pdoc", *options, "rli.method.sampler", folder=ROOT)
    assert built.status == 0, built.stderr
    assert "sampling_steps" in (tmp_path / "rli" / "method" / "sampler.html").read_text()


def test_the_table_of_packages_names_every_file_that_is_not_one_of_a_kind():
    page = (ROOT / "docs" / "architecture.md").read_text()
    one_of_a_kind = ("__", "formats/", "attention/", "inversion/", "solvers/", "mini/")
    files = [path.relative_to(ROOT / "rli").as_posix() for path in (ROOT / "rli").rglob("*.py")]
    assert [
        name for name in files if not any(k in name for k in one_of_a_kind) and f"`{name.rsplit('/')[-1]}`" not in page
    ] == []
