"""The answer in one paragraph, and the numbers that matter most beside it."""

from typing import TypedDict

from cis490_pipeline.evaluation.probes.learn import PROBES
from cis490_pipeline.evaluation.schema.parts import Pair
from cis490_pipeline.reporting.page.numbers import Board, Numbers
from cis490_pipeline.reporting.page.sections import host_out
from cis490_pipeline.reporting.page.words import (
    between,
    counted,
    device_time,
    listed,
    p_value,
    percent,
    rate,
    reasons,
    score,
    seconds,
    shown,
    signed,
    signed_between,
    verdict,
)


class Tile(TypedDict):
    """One number with its interval, and what it is of."""

    title: str
    value: str
    range: str
    text: str


class AnswerView(TypedDict):
    """The first section."""

    sentences: list[str]
    tiles: list[Tile]


def view(numbers: Numbers) -> AnswerView:
    """Return what the first section shows."""
    sentences = (_score, host_out.sentence, _against_probe, _worst, _alarm, _untested, _reach)
    return {
        "sentences": [text for write in sentences if (text := write(numbers))],
        "tiles": tiles(numbers),
    }


def strongest_probe(board: Board) -> Pair | None:
    """Comparison of the chosen model with the best shortcut; None without one that has a score.

    Best on validation where the board says which that is, else by score on the same windows.
    Probes that see real signal are no shortcut.
    """
    versus = board["best_vs_probe"]
    scores = {
        row["model"]: row["macro_f1"]
        for row in board["rows"]
        if row["kind"] == "probe" and row["macro_f1"] is not None
    }
    pairs = [
        pair
        for pair in versus["comparisons"]
        if pair["b"] in scores and pair["b"] not in versus.get("controls", [])
    ]
    named = versus.get("best_probe")
    best = [pair for pair in pairs if pair["b"] == named]
    return max(best or pairs, key=lambda pair: scores[pair["b"]], default=None)


def _score(numbers: Numbers) -> str:
    chosen, board = numbers.chosen, numbers.board
    n_models = sum(row["kind"] == "model" for row in board["rows"])
    return (
        f"On {numbers.tested_on}, {chosen['model']} reaches a macro F1 of "
        f"{score(chosen['macro_f1'])} ({between(chosen)}, 95 % by episode) over "
        f"{counted(chosen['n_episodes'], 'episode')} and "
        f"{counted(chosen['n_windows'], 'window')} of "
        f"{counted(len(chosen['per_host']), 'device')}. It was chosen on {numbers.chosen_on} "
        f"among {counted(n_models, 'model')}, not by this score."
    )


def _against_probe(numbers: Numbers) -> str | None:
    pair = strongest_probe(numbers.board)
    if pair is None or pair["difference"] is None:
        return None
    probe = numbers.named[pair["b"]]
    name = pair["b"].removeprefix("probe_").replace("_", " ")
    head = (
        f"The strongest shortcut, {name}, reaches {score(probe['macro_f1'])} on the same windows: "
    )
    ends = f"{signed(pair['difference'])} ({signed_between(pair)}), {p_value(pair['p_holm'])}"
    if not shown(pair):
        return f"{head}that the model is better is not shown, {ends}."
    word = "beats" if pair["difference"] > 0 else "is worse than"
    return f"{head}the model {word} it by {ends}."


def _worst(numbers: Numbers) -> str | None:
    worst = numbers.chosen["host_minimum"]
    if worst is None or len(numbers.chosen["per_host"]) < 2:
        return None
    host = next(h for h in numbers.chosen["per_host"] if h["host_id"] == worst["host_id"])
    return (
        f"Its hardest device is {worst['host_id']}: {score(worst['macro_f1'])} ({between(host)}) "
        f"over {counted(host['n_episodes'], 'episode')}."
    )


def _alarm(numbers: Numbers) -> str | None:
    found = numbers.chosen.get("detection")
    if not found:
        return None
    time, false = found["time_to_detection"], found["false_alarms"]
    half = "" if time["median_s"] is None else f", half within {seconds(time['median_s'])}"
    text = (
        f"Its alarm, set on {found['alarm']['fitted_on']}, finds {percent(time['share_detected'])} "
        f"({percent(time['share_low'])} to {percent(time['share_high'])}) of "
        f"{counted(time['n_infected'], 'infection')}{half}; "
    )
    observed = f"{device_time(false['device_days'])} of clean time"
    if false["per_day"] is None:
        return text + f"its rate of false alarms is n/a over {observed} ({reasons([false])[0]})."
    return text + (
        f"it raises {rate(false['per_day'])} false alarms a device-day "
        f"({rate(false['low'])} to {rate(false['high'])}) over {observed}."
    )


def _untested(numbers: Numbers) -> str:
    named = numbers.split["untested_profiles"]
    if not named:
        return "Every test device ran every profile."
    cells = [f"{listed(profiles)} on {host}" for host, profiles in named.items()]
    return f"Not tested at all: {'; '.join(cells)}."


def _reach(numbers: Numbers) -> str:
    return (
        "Nothing here says how it fares on other devices or on malware unlike the recorded "
        "samples (section 12)."
    )


def tiles(numbers: Numbers) -> list[Tile]:
    """State at the top: score, devices left out, hardest device, best shortcut, deployment."""
    board, chosen = numbers.board, numbers.chosen
    found = [_score_tile(numbers)]
    if (left_out := host_out.headline(numbers)) is not None:
        found.append(
            {
                "title": "Macro F1 on devices left out in turn",
                "value": score(left_out["macro_f1"]),
                "range": between(left_out),
                "text": host_out.text_of(left_out),
            }
        )
    worst = chosen["host_minimum"]
    if worst is not None and len(chosen["per_host"]) > 1:
        host = next(h for h in chosen["per_host"] if h["host_id"] == worst["host_id"])
        found.append(
            {
                "title": "Hardest device",
                "value": score(worst["macro_f1"]),
                "range": between(host),
                "text": f"{worst['host_id']}, {counted(host['n_episodes'], 'episode')}; "
                f"{len(chosen['per_host'])} devices were tested, each on its own in section 4",
            }
        )
    pair = strongest_probe(board)
    if pair is not None:
        what = PROBES.get(pair["b"], pair["b"])
        beside = f"({score(numbers.named[pair['b']]['macro_f1'])})"
        found.append(
            _difference_tile(
                "Against the best shortcut", pair, f"{pair['a']} minus {what} {beside}"
            )
        )
    found += [
        _difference_tile(
            "Price of deployment", pair, f"what {pair['a']} gains by seeing the lab's channels too"
        )
        for pair in board["pairs"]
        if pair["family"].startswith("oracle") and pair["b"] == chosen["model"]
    ]
    return found


def _score_tile(numbers: Numbers) -> Tile:
    chosen = numbers.chosen
    return {
        "title": f"Macro F1 on {numbers.tested_on}",
        "value": score(chosen["macro_f1"]),
        "range": between(chosen),
        "text": f"{chosen['model']}, the best {chosen['variant'] or 'model'} on "
        f"{numbers.chosen_on}; {counted(chosen['n_episodes'], 'episode')}, "
        f"{counted(chosen['n_windows'], 'window')}",
    }


def _difference_tile(title: str, pair: Pair, text: str) -> Tile:
    return {
        "title": title,
        "value": signed(pair["difference"]),
        "range": signed_between(pair),
        "text": f"{text}; {verdict(pair)}",
    }
