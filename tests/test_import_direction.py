"""Who may import whom, and where each heavy package lives. A forbidden import is named with its line."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SIBLINGS = ("generators", "filters", "dedup", "shards")
OURS = ("synth", *SIBLINGS, "flows")
MAY_IMPORT = {"synth": {"synth"}, "flows": set(OURS), **{name: {"synth", name} for name in SIBLINGS}}
HOMES = {  # heavy packages -> the files that may import them
    "prefect": ("flows/pipeline.py", "flows/deploy.py"),
    "duckdb": ("synth/audit/",),
    "numba": (
        "synth/text/",
        "filters/pii_anchors.py",
        "filters/decontamination_kernels.py",
        "filters/fasttext_tables.py",
    ),
    "fasttext": ("filters/",),
    "torch": ("shards/",),
    "vllm": ("synth/engine/",),
    "xllamacpp": ("synth/engine/",),
    "aiohttp": ("synth/engine/",),
    "botocore": ("synth/s3.py", "synth/s3_errors.py"),
    "fsspec": ("synth/sources_remote.py",),
}
FORBIDDEN_MODULES = {"pickle", "cloudpickle", "marshal", "shelve", "dill"}
FORBIDDEN_CALLS = {"eval", "exec", "compile", "__import__"}


def sources() -> list[Path]:
    return sorted(path for name in OURS for path in (ROOT / name).rglob("*.py"))


def imports(path: Path) -> Iterator[tuple[int, str]]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno} imports relatively; name the package"
            yield node.lineno, node.module or ""


def test_every_package_is_installed_by_pyproject() -> None:
    import tomllib

    listed = set(tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"])
    there = {path.parent.relative_to(ROOT).as_posix().replace("/", ".") for path in sources()}
    assert there <= listed


def test_imports_point_downwards() -> None:
    wrong = [
        f"{path.relative_to(ROOT)}:{line} imports {module}"
        for path in sources()
        for line, module in imports(path)
        if module.split(".")[0] in OURS and module.split(".")[0] not in MAY_IMPORT[path.relative_to(ROOT).parts[0]]
    ]
    assert wrong == []


def test_only_the_engine_imports_the_journal() -> None:
    wrong = [
        f"{path.relative_to(ROOT)}:{line}"
        for path in sources()
        for line, module in imports(path)
        if module == "synth.engine.journal" and "synth/engine" not in path.as_posix()
    ]
    assert wrong == []


@pytest.mark.parametrize("package", sorted(HOMES))
def test_heavy_packages_have_one_home(package: str) -> None:
    wrong = [
        f"{path.relative_to(ROOT)}:{line} imports {module}"
        for path in sources()
        for line, module in imports(path)
        if module.split(".")[0] == package
        and not any(path.relative_to(ROOT).as_posix().startswith(home) for home in HOMES[package])
    ]
    assert wrong == []


def test_nothing_unpickles_or_evaluates() -> None:
    wrong = []
    for path in sources():
        tree = ast.parse(path.read_text(encoding="utf-8"))
        wrong += [
            f"{path}:{line} {module}" for line, module in imports(path) if module.split(".")[0] in FORBIDDEN_MODULES
        ]
        wrong += [
            f"{path}:{node.lineno} {node.func.id}()"
            for node in ast.walk(tree)
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in FORBIDDEN_CALLS
        ]
    assert wrong == []


def test_files_and_functions_stay_small() -> None:
    wrong = []
    for path in sources():
        text = path.read_text(encoding="utf-8")
        if text.count("\n") > 500:
            wrong.append(f"{path}: {text.count(chr(10))} lines")
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and (node.end_lineno or 0) - node.lineno >= 80:
                wrong.append(f"{path}:{node.lineno} {node.name}")
    assert wrong == []
