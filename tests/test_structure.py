"""The rules of the house: imports point one way, and one package alone knows the configuration library."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MODULES = sorted((ROOT / "rli").rglob("*.py"))
# From the bottom up: a module imports from its own package and from those before it, and from no other.
LEVELS = (
    {"errors", "version", "cells", "keys", "package_files", "markdown"},
    {"files", "progress"},
    {"images"},
    {"models"},
    {"method", "photos"},
    {"metrics"},
    {"store"},
    {"datasets", "tracking"},
    {"reports"},
    {"runs"},
    {"app"},
    {"cli"},
)
LEVEL = {name: k for k, names in enumerate(LEVELS) for name in names}
MOST_LINES, MOST_LINES_OF_A_FUNCTION = 350, 60
# Files and functions that are longer, each with its reason.
LONG = {"rli/metrics/columns.py": "one list, an entry for each column of results.csv"}


def imported(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def package(path: Path) -> str:
    """Which part of rli a file belongs to: a package, or a module beside them."""
    return path.relative_to(ROOT / "rli").with_suffix("").parts[0]


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(ROOT)))
def test_libraries_that_one_package_alone_imports(path):
    tops = {name.split(".")[0] for name in imported(path)}
    assert not tops & {"pickle", "main", "experiments", "tests"}
    assert package(path) == "cli" or not tops & {"hydra", "omegaconf"}
    assert package(path) == "tracking" or "wandb" not in tops
    assert package(path) == "app" or "gradio" not in tops


@pytest.mark.parametrize(
    "path", [p for p in MODULES if not package(p).startswith("__")], ids=lambda p: str(p.relative_to(ROOT))
)
def test_imports_point_one_way(path):
    own = package(path)
    for name in imported(path):
        parts = name.split(".")
        if parts[0] == "rli" and len(parts) > 1 and parts[1] != own:
            assert parts[1] in LEVEL, f"{name}: say in LEVELS where it belongs"
            assert LEVEL[parts[1]] < LEVEL[own], f"{path.relative_to(ROOT)} imports {name}"


def lengths(path: Path) -> dict[str, int]:
    """How many lines a file has, and how many each of its functions, where that is more than it should be."""
    text, name = path.read_text(), str(path.relative_to(ROOT))
    functions = {
        f"{name}:{node.name}": node.end_lineno - node.lineno + 1
        for node in ast.walk(ast.parse(text))
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
    }
    found = {key: lines for key, lines in functions.items() if lines > MOST_LINES_OF_A_FUNCTION}
    return found | ({name: lines} if (lines := len(text.splitlines())) > MOST_LINES else {})


def test_files_and_functions_are_short_or_say_why_not():
    found = {name: lines for path in MODULES for name, lines in lengths(path).items()}
    assert found.keys() == LONG.keys(), "split what is long, and take what is short out of LONG"


def test_nothing_is_pickled_or_trusted():
    for path in [*MODULES, ROOT / "main.py"]:
        text = path.read_text()
        assert "trust_remote_code" not in text
        for call in [
            n for n in ast.walk(ast.parse(text)) if isinstance(n, ast.Call) and ast.unparse(n.func) == "torch.load"
        ]:
            assert any(k.arg == "weights_only" and k.value.value is True for k in call.keywords), path


# Private names of other libraries for which there are no public ones.
OTHERS_PRIVATE = {
    *("_dynamo", "_spec", "_target_"),
    *("_C", "_allowed_determinism_checks_to_fns", "_cdata", "_has_compatible_shallow_copy_type", "_nn", "_parse_to"),
}


@pytest.mark.parametrize("path", sorted((ROOT / "tests").glob("test_*.py")), ids=lambda p: p.stem)
def test_tests_use_public_names_and_do_not_sleep(path):
    nodes = [*ast.walk(ast.parse(path.read_text()))]
    attributes = {node.attr for node in nodes if isinstance(node, ast.Attribute)}
    imports = {alias.name for node in nodes if isinstance(node, ast.ImportFrom) for alias in node.names}
    private = {name for name in attributes | imports if name.startswith("_") and not name.endswith("__")}
    assert private <= OTHERS_PRIVATE
    assert "sleep" not in attributes | imports
