"""What the documentation says exists, and what it counts is so."""

import importlib
import importlib.util
import io
import json
import re
import shlex
import struct
import tomllib
from itertools import chain, pairwise
from pathlib import Path

import click
import polars as pl
import pytest
from rich.console import Console

from cis490_pipeline.cli.main import COMMANDS, EXIT_FINDINGS, cis490
from cis490_pipeline.cli.tables import MIN_WIDTH, print_leaderboard
from cis490_pipeline.domain import CHANNELS, EpisodeRef, Recipe
from cis490_pipeline.domain.catalogue import MODELS
from cis490_pipeline.store.episode import open_episode
from cis490_pipeline.store.reasons import Reason
from cis490_pipeline.store.receiver import LocalStore
from docs.make_reference.files import BLOCKS, MEASURED, made_files
from docs.make_reference.results import result

ROOT = Path(__file__).resolve().parents[1]
DOCS = sorted(
    [*ROOT.glob("*.md"), ROOT / "data" / "README.md", *(ROOT / "docs").rglob("*.md")],
    key=lambda path: path.relative_to(ROOT).as_posix(),
)
FENCE = re.compile(r"^(\s*)```(\w*)\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)
TOP_LEVEL = ("cis490_pipeline", "cis490_pipeline_tests", "docs", "deploy", "data/sample", ".ci")
ROOT_FILES = re.compile(r"[\w.-]+\.(?:toml|yaml|txt|md)|Makefile")
NAMES = sorted(
    [
        *BLOCKS,
        "docs/reference.md",
        *(page.PAGE.relative_to(ROOT).as_posix() for page in MEASURED.values()),
        *(path.relative_to(ROOT).as_posix() for path in (ROOT / "docs" / "schema").glob("*.json")),
    ]
)
MADE_BY_USERS = {"cis490.toml"}


def name_of(path):
    return path.relative_to(ROOT).as_posix()


def prose(text):
    """The text without fenced blocks."""
    return FENCE.sub("", text)


def inline_code(text):
    return re.findall(r"(?<!`)`([^`\n]+)`(?!`)", prose(text))


def shell_lines():
    for path in DOCS:
        for _, language, body in FENCE.findall(path.read_text(encoding="utf-8")):
            if language in ("sh", "console"):
                for line in body.splitlines():
                    words = shlex.split(line, comments=True)
                    if words:
                        yield pytest.param(words, id=f"{name_of(path)}: {' '.join(words)}")


def slug(heading):
    """Anchor of a heading, as code hosts make it."""
    kept = re.sub(r"[^\w\- ]", "", heading.strip().lower().replace("`", ""))
    return kept.replace(" ", "-")


@pytest.fixture(scope="module")
def made():
    return made_files()


@pytest.mark.parametrize("name", NAMES)
def test_what_is_made_from_code_data_and_results_is_up_to_date(made, name):
    assert (ROOT / name).read_text(encoding="utf-8") == made[name], (
        "run: python -m docs.make_reference"
    )


def test_every_file_that_is_made_is_compared(made):
    assert sorted(made) == NAMES


def test_the_readme_shows_what_the_committed_board_prints():
    stream = io.StringIO()
    print_leaderboard(result("run")["board"], Console(file=stream, width=MIN_WIDTH))

    assert "\n".join(line.rstrip() for line in stream.getvalue().splitlines()) in (
        ROOT / "README.md"
    ).read_text(encoding="utf-8")


def by_hand(text):
    """What of a document nobody makes, without code, links and comments."""
    text = re.sub(r"<!-- made: [^>]*-->.*?<!-- end -->", "", text, flags=re.DOTALL)
    text = re.sub(r"`[^`\n]*`", "", prose(text))
    return re.sub(r"\]\([^)]*\)|<!--.*?-->", "", text, flags=re.DOTALL)


README_NUMBERS = {
    *("3.11", "3.12", "3.13"),  # Python
    *("0", "1", "2", "130"),  # exit codes
    *("490", "10"),  # the course, and the grid's rate in Hz
}


def test_no_number_of_the_readme_is_written_by_hand_but_versions_and_codes():
    text = by_hand((ROOT / "README.md").read_text(encoding="utf-8"))

    assert set(re.findall(r"\d[\d.,]*\d|\d", text)) <= README_NUMBERS


SCORE = re.compile(r"(?<![\d.,])[−+-]?0?\.\d{2,}(?![\d.]*[ \n]?s\b)")
"""A number such as 0.57 or +.115."""
LOGS = {"docs/decisions.md", "docs/concepts/calibration.md"}
"""What was measured once, when a choice was made, and is not measured again."""
STATED = {"0.01", "0.001", "0.05", "0.25"}
"""Levels, priors and limits that the code sets; no result is so round."""


@pytest.mark.parametrize("path", DOCS, ids=name_of)
def test_scores_in_documents_are_made_from_results(path):
    name = name_of(path)
    whole = {page.PAGE.relative_to(ROOT).as_posix() for page in MEASURED.values()}
    if name in LOGS | whole | {"docs/reference.md"}:
        return

    assert set(SCORE.findall(by_hand(path.read_text(encoding="utf-8")))) <= STATED


@pytest.mark.parametrize("text", ["it is 0.57", "(+0.115)", "lies at .083,"])
def test_a_score_written_by_hand_is_found(text):
    assert SCORE.search(by_hand(text))


def test_a_number_within_a_made_block_is_not_written_by_hand():
    assert by_hand("a <!-- made: x -->\n0.57\n<!-- end --> b `0.57` [c](0.57)") == "a  b  [c"


def test_the_documented_run_names_its_commit_and_its_processor():
    run = result("run")

    assert re.fullmatch(r"[0-9a-f]{40}", run["commit"])
    assert {"name", "model", "instructions", "torch", "mkl", "onednn"} <= run["computed_on"].keys()
    assert run["command"] == "cis490 run --split host"


def test_contributing_and_readme_name_every_floor_and_no_other():
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    layers = project.split("\nlayers = [\n")[1].split("]")[0].replace("(__main__)", "")
    floors = set(re.findall(r"[a-z]+", layers))

    for name, form in (
        ("README.md", r"`cis490_pipeline/(\w+)(?:\.py)?`"),
        ("CONTRIBUTING.md", r"`(\w+)`"),
    ):
        text = (ROOT / name).read_text(encoding="utf-8")
        block = text.split("<!-- made: floors -->")[1].split("<!-- end -->")[0]
        assert set(re.findall(form, block)) == floors


def test_the_changes_name_every_command():
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    block = text.split("<!-- made: commands -->")[1].split("<!-- end -->")[0]

    assert re.findall(r"`([\w-]+)`", block) == list(COMMANDS)


@pytest.mark.parametrize("words", list(shell_lines()))
def test_documented_commands_and_their_options_exist(words):
    program, *arguments = words
    if program == "make":
        targets = re.findall(r"^(\w[\w-]*):", (ROOT / "Makefile").read_text(), re.MULTILINE)
        assert set(arguments) <= set(targets)
    elif program == "python":
        flag, module, *options = arguments
        assert flag == "-m"
        assert importlib.util.find_spec(module) is not None
        if options:
            # Producers are commands of their own and of cis490.
            package, _, name = module.rpartition(".")
            assert package == "cis490_pipeline.dashboard.producers"
            require_options(["produce", name, *options])
    elif program == "cis490":
        require_options(arguments)
    else:
        assert program in {"export", "dagster"}


def require_options(arguments):
    if arguments == ["--help"]:
        return
    context = click.Context(cis490, info_name="cis490")
    command = cis490.get_command(context, arguments[0])
    assert command is not None, f"no command {arguments[0]}"
    if isinstance(command, click.Group):
        inner = click.Context(command, info_name=arguments[0], parent=context)
        # Not by name alone: a group may take a file's name for one of its commands.
        name, command, rest = command.resolve_command(inner, list(arguments[1:]))
        context, arguments = inner, [name, *rest]
        assert command is not None, f"no command {name}"
    inner = click.Context(command, info_name=arguments[0], parent=context)
    given, rest, _ = command.make_parser(inner).parse_args(list(arguments[1:]))
    assert not rest
    for parameter in command.params:
        if isinstance(parameter.type, click.Choice) and parameter.name in given:
            chosen = given[parameter.name]
            for value in chosen if isinstance(chosen, list) else [chosen]:
                parameter.type.convert(value, parameter, inner)


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["--help"], 0),
        (["validate", "data/sample"], EXIT_FINDINGS),
        (["validate", "data/sample", "--json"], EXIT_FINDINGS),
        (["doctor"], 0),
        (["split", "--split", "host"], 0),
    ],
)
def test_quick_documented_commands_run(arguments, code, tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("CIS490_DATA", str(tmp_path))
    monkeypatch.setenv("CIS490_WORKERS", "1")

    result = cis490.main(args=arguments, prog_name="cis490", standalone_mode=False)

    assert (result or 0) == code


def test_the_tutorial_shows_what_validate_prints(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("CIS490_DATA", str(tmp_path))
    monkeypatch.setenv("CIS490_WORKERS", "1")
    text = (ROOT / "docs" / "tutorial.md").read_text(encoding="utf-8")
    (shown,) = [json.loads(body) for _, language, body in FENCE.findall(text) if language == "json"]

    cis490.main(args=["validate", "data/sample", "--json"], standalone_mode=False)

    printed = json.loads(capsys.readouterr().out)
    assert shown.items() <= printed.items()


@pytest.mark.parametrize("path", DOCS, ids=name_of)
def test_named_modules_and_their_members_exist(path):
    names = [
        code
        for code in inline_code(path.read_text(encoding="utf-8"))
        if re.fullmatch(r"cis490_pipeline(\.\w+)+", code)
    ]

    for name in names:
        assert resolve(name), name


def resolve(name):
    parts = name.split(".")
    for end in range(len(parts), 0, -1):
        try:
            found = importlib.import_module(".".join(parts[:end]))
        except ModuleNotFoundError:
            continue
        for part in parts[end:]:
            found = getattr(found, part)
        return True
    return False


@pytest.mark.parametrize("path", DOCS, ids=name_of)
def test_named_files_exist(path):
    for code in inline_code(path.read_text(encoding="utf-8")):
        in_tree = re.fullmatch(r"[\w.-]+(/[\w.-]+)*/?", code) and code.startswith(
            tuple(f"{top}/" for top in TOP_LEVEL)
        )
        at_root = ROOT_FILES.fullmatch(code) and code not in MADE_BY_USERS
        if in_tree or at_root:
            assert (ROOT / code).exists(), code


@pytest.mark.parametrize("path", DOCS, ids=name_of)
def test_links_lead_somewhere(path):
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(path.read_text(encoding="utf-8"))):
        file, _, anchor = target.partition("#")
        linked = (path.parent / file).resolve() if file else path
        assert linked.is_relative_to(ROOT), target
        assert linked.exists(), target
        if anchor:
            headings = re.findall(r"^#+ (.+)$", prose(linked.read_text("utf-8")), re.MULTILINE)
            assert anchor in map(slug, headings), target


def test_every_document_is_reached_from_the_readme():
    reached, waiting = set(), [ROOT / "README.md"]
    while waiting:
        path = waiting.pop()
        if path in reached or path.suffix != ".md":
            continue
        reached.add(path)
        links = re.findall(r"\]\(([^)#\s]+)", prose(path.read_text(encoding="utf-8")))
        waiting += [(path.parent / link).resolve() for link in links]

    assert sorted(map(name_of, set(DOCS) - reached)) == []


def test_the_picture_is_a_png_of_modest_size():
    data = (ROOT / "docs" / "images" / "report.png").read_bytes()

    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    assert struct.unpack(">I", data[16:20])[0] == 1280
    assert len(data) < 400_000


def rows_of(text, heading):
    section = text.split(f"\n## {heading}\n", 1)[1].split("\n## ", 1)[0]
    return [
        [cell.strip(" `") for cell in line.strip("|").split("|")]
        for line in section.splitlines()
        if line.startswith("| `")
    ]


def test_the_format_explains_every_reason_code_with_its_verdict():
    text = (ROOT / "docs" / "concepts" / "format.md").read_text(encoding="utf-8")

    told = [(code, verdict) for code, verdict, _ in rows_of(text, "Reason codes")]

    assert told == [(str(reason), str(reason.verdict)) for reason in Reason]


def test_the_channel_table_lists_the_registry_in_order():
    text = (ROOT / "docs" / "concepts" / "channels.md").read_text(encoding="utf-8")

    listed = re.findall(r"^\| \d+ \| `([\w.]+)` \| (\w+)", text, re.MULTILINE)

    assert listed == [(channel.name, str(channel.kind)) for channel in CHANNELS]


def test_the_data_card_counts_the_corpus():
    card = (ROOT / "data" / "README.md").read_text(encoding="utf-8")
    frame = pl.read_parquet(ROOT / "data" / "sample.validation.parquet")
    store = LocalStore(ROOT / "data" / "sample")
    index = store.read_index()
    refs = [EpisodeRef(*row) for row in frame.select("host_id", "episode_id").rows()]
    labels = [open_episode(store, ref, index.rows[ref]).labels for ref in refs]
    woken = sum(
        any(
            (before.phase, after.phase) == ("dormant", "infected_running")
            for before, after in pairwise(of)
        )
        for of in labels
    )
    usable = frame["status"].is_in(["accepted", "degraded"]).sum()

    assert f"{frame.height} recorded episodes" in card
    assert f"In {woken} of them the\nsample wakes again" in card
    assert f"Of the {usable} usable episodes" in card
    low, high = frame["duration_s"].min(), frame["duration_s"].max()
    assert f"An episode lasts {low:.0f} to {high:.0f} seconds" in card


def test_the_readme_shows_the_two_commands_and_what_they_end_with():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    first = next(body for _, language, body in FENCE.findall(text) if language == "sh")
    (board,) = [body for _, language, body in FENCE.findall(text) if language == "text"]

    assert [shlex.split(line, comments=True) for line in first.splitlines()] == [
        ["make", "run"],
        ["make", "test"],
    ]
    for architecture, variant in MODELS:
        assert f"│ {architecture}_{variant} " in board


def test_the_readme_shows_every_command():
    text = (ROOT / "README.md").read_text(encoding="utf-8")

    shown = re.findall(r"^cis490 (\w+)", text, re.MULTILINE)

    assert sorted(set(shown)) == sorted(COMMANDS)


def test_the_drawn_assets_are_those_of_the_graph():
    from cis490_pipeline.orchestration.definitions import defs

    text = (ROOT / "README.md").read_text(encoding="utf-8")
    (drawn,) = [body for _, language, body in FENCE.findall(text) if language == "mermaid"]
    keys = {key.to_user_string() for key in defs.resolve_asset_graph().get_all_asset_keys()}
    named = set(re.findall(r"\[\"?((?:corpus|dataset|model|dashboard)/[^\]\"]+)", drawn))
    sets = {name for name in named if "{" in name}

    assert named - sets == {key for key in keys if not re.match(r"model/\w+/\w+/", key)}
    assert {name.rsplit("/", 1)[1] for name in sets} == {"checkpoint", "eval_report"}


def test_the_splits_are_all_explained():
    text = (ROOT / "docs" / "concepts" / "splits.md").read_text(encoding="utf-8")

    assert re.findall(r"^\| `(\w+)` \|", text, re.MULTILINE) == [str(recipe) for recipe in Recipe]


def test_every_dependency_has_its_line_and_no_other_does():
    text = (ROOT / "docs" / "dependencies.md").read_text(encoding="utf-8")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    asked = [*project["dependencies"], *chain(*project["optional-dependencies"].values())]
    names = {re.match(r"[\w.-]+", requirement)[0] for requirement in asked} - {project["name"]}

    lines = re.findall(r"^\| (`[^|]+) \|", text, re.MULTILINE)

    assert {name for line in lines for name in re.findall(r"`([^`]+)`", line)} == names


FOREIGN = re.compile(
    r"(?<![\w.])/(?:work|tmp|home|root|opt|usr)\b|pypi\.org|pythonhosted|npmjs|crates\.io|"
    r"https?://(?!127\.0\.0\.1)",
    re.IGNORECASE,
)


@pytest.mark.parametrize("path", DOCS, ids=name_of)
def test_documents_name_no_machine_and_no_place_on_the_network(path):
    assert FOREIGN.findall(path.read_text(encoding="utf-8")) == []
