"""The two rules of the house: imports point one way, and rli knows no configuration library."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MODULES = sorted((ROOT / "rli").rglob("*.py"))

# From the bottom up: a module imports from its own level's left neighbours or from levels above it in this list only.
LEVELS = [
    {"types", "files", "progress", "review", "wandb_log"},
    {"ddim", "attention", "masks", "alignment", "images", "results", "table", "tracking"},
    {"pictures", "figures", "gallery", "report", "plots"},
    {"parts", "metrics", "labels"},
    {"gate", "splits", "manifest", "export"},
    {"random_model"},
    {"model"},
    {"text", "codec", "solvers", "naming", "layouts", "lists", "dataset", "rehearsal"},
    {"null_embedding", "memory"},
    {"inversion"},
    {"editing", "cache"},
    {"variants"},
    {"job"},
    {"run_folder"},
    {"production"},
    {"cluster", "settings"},
    {"outputs"},
    {"sweep"},
]
LEVEL = {name: k for k, names in enumerate(LEVELS) for name in names}


def imported(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return names


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(ROOT)))
def test_no_configuration_library_and_wandb_in_tracking_only(path):
    tops = {name.split(".")[0] for name in imported(path)}
    assert not tops & {"hydra", "omegaconf", "pickle", "main", "experiments"}
    assert "wandb" not in tops or path.name == "tracking.py"


@pytest.mark.parametrize(
    "path", [p for p in MODULES if p.parent.name == "rli" and p.stem != "__init__"], ids=lambda p: p.stem
)
def test_imports_point_one_way(path):
    assert path.stem in LEVEL, f"say in LEVELS where {path.stem} belongs"
    for name in imported(path):
        parts = name.split(".")
        if parts[0] == "rli" and len(parts) > 1 and parts[1] in LEVEL and parts[1] != path.stem:
            assert LEVEL[parts[1]] <= LEVEL[path.stem], f"{path.stem} imports {parts[1]}"


def test_outputs_of_a_run_know_records_not_stages():
    for stem in ("results", "report", "gallery", "tracking"):
        parts = {n.split(".")[1] for n in imported(ROOT / "rli" / f"{stem}.py") if n.startswith("rli.")}
        assert parts <= {"types", "files", "images", "pictures", "gallery", "figures", "wandb_log"}


def test_nothing_is_pickled_or_trusted():
    for path in [*MODULES, ROOT / "main.py"]:
        text = path.read_text()
        assert "trust_remote_code" not in text
        for call in [
            n for n in ast.walk(ast.parse(text)) if isinstance(n, ast.Call) and ast.unparse(n.func) == "torch.load"
        ]:
            assert any(k.arg == "weights_only" and k.value.value is True for k in call.keywords), path
