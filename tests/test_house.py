"""The house keeps its own rules: names, settings in the README, commands that exist, nothing of any one machine."""

import re
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text()
PACKAGES = ("farm", "flows", "tasks", "model", "db")


def test_every_setting_has_a_line_in_the_readme():
    from tasks.settings import Settings

    missing = [name for name in Settings.model_fields if f"`FARM_{name.upper()}`" not in README]
    assert not missing


def test_every_command_of_the_readme_exists():
    import typer

    from farm import commands

    app = typer.Typer()
    commands.mount(app)
    group = typer.main.get_command(app)
    known = set(group.commands)  # type: ignore[attr-defined]
    named = set(re.findall(r"`farm ([a-z-]+)", README))
    assert named <= known, named - known


def test_no_dependency_ships_a_package_of_our_names():
    shipped = packages_distributions()
    others = {name: set(shipped.get(name, [])) - {"avatar-farm"} for name in PACKAGES}
    assert not any(others.values()), others


def test_top_level_packages_are_found_for_the_wheel():
    include = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]["find"]["include"]
    assert {name.rstrip("*") for name in include} == set(PACKAGES)


def test_the_locks_pin_every_package_exactly_once():
    names = []
    for lock in ("core.lock", "dev.lock"):
        lines = (ROOT / "requirements" / lock).read_text().split()
        assert all(re.fullmatch(r"[a-z0-9-]+==[^=]+", line) for line in lines)
        names += [line.split("==")[0] for line in lines]
    assert len(names) == len(set(names))
    assert {"triton", "torchvision", "torchaudio"}.isdisjoint(names)


@pytest.mark.parametrize("module", ["episode", "segment", "shot", "reconcile", "resume"])
def test_flows_import_without_torch(module):
    code = f"import sys, flows.{module}; sys.exit('torch' in sys.modules)"
    run = subprocess.run([sys.executable, "-W", "ignore", "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr or f"{module} imports torch"


def test_flows_hold_only_flows():
    import ast

    for file in (ROOT / "flows").glob("*.py"):
        for node in ast.parse(file.read_text()).body:
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                assert any("flow" in ast.unparse(mark) for mark in node.decorator_list), f"{file.name}: {node.name}"
            assert not isinstance(node, ast.ClassDef), f"{file.name}: {node.name}"


def test_files_stay_within_their_size():
    long = {
        str(file.relative_to(ROOT)): lines
        for package in PACKAGES
        for file in (ROOT / package).rglob("*.py")
        if (lines := len(file.read_text().splitlines())) > 400
    }
    assert not long
