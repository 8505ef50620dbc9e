import hashlib
import json
import re
from pathlib import Path

import pytest

import cis490_pipeline_tests
from cis490_pipeline.dashboard.server.files import FOLDER, TYPES, load_files

TESTS = Path(cis490_pipeline_tests.__file__).parent
VENDORED = [FOLDER / "vendor", TESTS / "browser" / "vendor"]
LICENCES = {
    "MIT": "MIT License",
    "BSD-3-Clause": "BSD 3-Clause",
    "MPL-2.0": "Mozilla Public License",
}
MAX_PAGE_BYTES = 120_000
OWN = [path for path in sorted(FOLDER.iterdir()) if path.suffix in TYPES]


def packages():
    for folder in VENDORED:
        for package in json.loads((folder / "vendored.json").read_text()):
            yield pytest.param(folder, package, id=package["package"])


@pytest.mark.parametrize(("folder", "package"), list(packages()))
def test_vendored_files_are_those_of_the_named_release(folder, package):
    for name, file in package["files"].items():
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == file["sha256"], name


@pytest.mark.parametrize(("folder", "package"), list(packages()))
def test_vendored_files_come_with_their_licence(folder, package):
    (name,) = [name for name in package["files"] if name.endswith("LICENSE")]
    text = (folder / name).read_text(encoding="utf-8")

    word = LICENCES[package["licence"]]
    # uPlot's file has the MIT text and its title, lit-html's says BSD 3-Clause.
    assert word.lower() in text.lower()


def test_every_vendored_file_is_listed():
    for folder in VENDORED:
        listed = {
            name
            for package in json.loads((folder / "vendored.json").read_text())
            for name in package["files"]
        }
        found = {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()}
        assert found == listed | {"vendored.json"}


def test_the_whole_page_is_small():
    files = load_files()
    page = [file for name, file in files.items() if not name.startswith("login")]

    assert sum(len(file.body) for file in page) < MAX_PAGE_BYTES


@pytest.mark.parametrize("path", OWN, ids=lambda path: path.name)
def test_nothing_is_inline_and_nothing_comes_from_elsewhere(path):
    text = path.read_text(encoding="utf-8")

    assert not re.search(r"\sstyle=|<style|\son\w+=|javascript:|<script(?![^>]*\ssrc=)", text)
    assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)|(?<!:)//[\w-]+\.\w+", text)


@pytest.mark.parametrize("path", OWN, ids=lambda path: path.name)
def test_names_from_events_have_no_way_into_markup(path):
    text = path.read_text(encoding="utf-8")

    assert not re.search(
        r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function|unsafe"
        r"|srcdoc|createContextualFragment",
        text,
    )


def test_every_file_the_page_asks_for_is_served():
    files = load_files()
    wanted = set()
    for name, file in files.items():
        text = file.body.decode()
        wanted |= set(re.findall(r"[\"'(]/static/([^\"')]+)", text))
        if name.endswith(".js") and not name.startswith("vendor"):
            wanted |= set(re.findall(r"from '\./([^']+)'", text))

    assert wanted <= files.keys()
    assert len(wanted) > 10
