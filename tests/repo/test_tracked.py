"""No file of the project names a machine, a folder of one, or a package index."""

import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
TOP = (
    ".ci", "benchmarks", "binder", "magics", "notebooks", "quivers_nb", "tests",
    ".gitignore", "CHANGELOG.md", "CONTRIBUTING.md", "LICENSE", "Makefile", "README.md",
    "pyproject.toml", "requirements.txt",
)  # fmt: skip
IGNORED = {"__pycache__", ".ipynb_checkpoints", ".pytest_cache", "node_modules"}
BINARY = {".png", ".zip", ".gz", ".npz", ".safetensors", ".so"}

URL = re.compile(r"\bhttps?://([\w.\-\[\]:]+)")
# standards, papers, the source of a data set, a launch page, a server that a test starts itself
HOSTS = {
    "www.w3.org",
    "doi.org",
    "github.com",
    "mybinder.org",
    "json-schema.org",
    "127.0.0.1",
    "localhost",
}
FOLDER = re.compile(r"(?<![\w.}/])/(?:work|root|tmp|home|Users|mnt|opt)/\w")
INDEX = re.compile(r"\bpypi\b|pythonhosted|anaconda\.org|extra-index-url\s*=?\s*\w", re.IGNORECASE)


def lines() -> Iterator[tuple[str, str]]:
    """Every line of every text file, with its place."""
    for top in TOP:
        files = (ROOT / top).rglob("*") if (ROOT / top).is_dir() else [ROOT / top]
        for file in sorted(files):
            if not file.is_file() or IGNORED & set(file.parts) or file.suffix in BINARY:
                continue
            if file == Path(__file__):
                continue
            text = file.read_text(encoding="utf-8")
            for number, line in enumerate(text.splitlines(), start=1):
                yield f"{file.relative_to(ROOT)}:{number}", line


def test_addresses_are_of_standards_and_papers_only() -> None:
    found = {
        f"{place} {host}"
        for place, line in lines()
        for host in URL.findall(line)
        if host.split(":")[0] not in HOSTS
    }
    assert found == set()


def test_no_line_names_a_folder_of_a_machine() -> None:
    assert [f"{place} {line.strip()}" for place, line in lines() if FOLDER.search(line)] == []


def test_no_line_names_a_package_index() -> None:
    assert [f"{place} {line.strip()}" for place, line in lines() if INDEX.search(line)] == []


def test_the_top_level_is_complete() -> None:
    assert [top for top in TOP if not (ROOT / top).exists()] == []
