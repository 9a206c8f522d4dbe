"""The dependencies are these, and the pinned versions are complete and in the declared ranges."""

import tomllib
from importlib.metadata import distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
INSTALLED_EXTRAS = ("analysis", "lab", "test")


def requirements(*groups: str) -> list[Requirement]:
    texts = [text for group in groups for text in PROJECT["optional-dependencies"][group]]
    return [Requirement(text) for text in texts]


def pins() -> dict[str, str]:
    lines = (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
    pairs = (line.split("==") for line in lines if line and not line.startswith("#"))
    return {canonicalize_name(package): version for package, version in pairs}


def test_the_core_is_twelve_packages() -> None:
    assert [Requirement(text).name for text in PROJECT["dependencies"]] == [
        "torch",
        "lark",
        "numpy",
        "ipython",
        "ipykernel",
        "ipywidgets",
        "anywidget",
        "traitlets",
        "matplotlib",
        "graphviz",
        "graphviz-pure",
        "safetensors",
    ]


def test_the_extras_are_these() -> None:
    groups = PROJECT["optional-dependencies"]
    assert {
        name: sorted(r.name for r in requirements(name)) for name in groups if name != "test"
    } == {
        "analysis": ["arviz", "pandas", "xarray"],
        "compiler": ["ziglang"],
        "distributed": ["dask"],
        "lab": ["jupyterlab"],
    }


def test_torch_is_pinned_first() -> None:
    assert next(iter(pins())) == "torch"


@pytest.mark.parametrize(
    "requirement",
    [Requirement(text) for text in PROJECT["dependencies"]] + requirements(*INSTALLED_EXTRAS),
    ids=str,
)
def test_a_pin_lies_in_the_declared_range(requirement: Requirement) -> None:
    assert requirement.specifier.contains(pins()[canonicalize_name(requirement.name)])


def test_the_pins_are_closed_under_requirement_and_hold_nothing_else() -> None:
    todo = [Requirement(text) for text in PROJECT["dependencies"]]
    todo += requirements(*INSTALLED_EXTRAS)
    seen: set[tuple[str, frozenset[str]]] = set()
    while todo:
        requirement = todo.pop()
        key = (canonicalize_name(requirement.name), frozenset(requirement.extras))
        if key in seen:
            continue
        seen.add(key)
        for text in distribution(requirement.name).requires or ():
            needed = Requirement(text)
            extras = requirement.extras or {""}
            if needed.marker is None or any(needed.marker.evaluate({"extra": e}) for e in extras):
                todo.append(needed)
    assert {package for package, _ in seen} == set(pins())


def test_what_is_installed_is_what_is_pinned() -> None:
    installed = {package: distribution(package).version for package in pins()}
    assert {p: v.split("+")[0] for p, v in installed.items()} == pins()
