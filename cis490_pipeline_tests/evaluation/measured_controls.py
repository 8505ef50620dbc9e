"""What the recorder shows, as a made-up leaderboard carries it."""

from cis490_pipeline.domain import CHANNELS

STEPPING = "guest.top_rss_bytes"


def step_row(channel, p_holm):
    return {
        "channel": channel,
        "transition": "infected_running",
        "unit": "bytes",
        "n_steps": 18,
        "n_controls": 6,
        "step": 10_300.0,
        "usual": 270.7,
        "size": 10_300.0,
        "usual_size": 1255.0,
        "infected": 9000.0,
        "n_infected": 12,
        "effect": 1.97,
        "p_step": p_holm,
        "p_size": p_holm,
        "p_holm": p_holm,
    }


STEPS = {
    "n_controls": 6,
    "n_controls_needed": 5,
    "n_hosts_needed": 2,
    "n_steps": 18,
    "n_left_out": 6,
    "n_infected": 12,
    "controls_by_host": {"garage-pi": 3, "lab-nuc": 3},
    "level": 0.05,
    "seed": 0,
    "n_permutations": 20_000,
    "quarantined": [
        {
            "channel": STEPPING,
            "transitions": ["infected_running", "any"],
            "reason": "steps by +1.03e+04 bytes at would-be infected_running in clean controls",
            "median": 10_200.0,
            "n_larger": 6,
            "n_look_alikes": 9,
            "look_alike": 120.0,
            "look_alike_size": 900.0,
            "line": 'top_rss_bytes = "steps"',
        }
    ],
    "rows": [step_row(c.name, 0.015 if c.name == STEPPING else 1.0) for c in CHANNELS],
    "why": None,
}


def block(features, at):
    return {
        "features": features,
        "n_windows": 200,
        "episodes_by_block": {"1": 5, "2": 5},
        "blocks_left_out": ["3"],
        "seed": 0,
        "chance_balanced": 0.5,
        "host_balanced": 0.6,
        "scores": {
            "accuracy": at,
            "accuracy_low": at - 0.1,
            "accuracy_high": at + 0.1,
            "balanced_accuracy": at,
            "balanced_low": at - 0.1,
            "balanced_high": at + 0.1,
            "ci_method": "percentile bootstrap by episode",
        },
        "why": None,
    }


def control_score(model):
    return {
        "model": model,
        "n_controls": 6,
        "n_windows": 114,
        "n_shams": 24,
        "false_share": 0.58,
        "macro_f1": 0.41,
        "macro_f1_chance": 0.39,
        "p_macro_f1": 0.2,
        "accuracy": 0.5,
        "accuracy_chance": 0.49,
        "p_accuracy": 0.3,
        "around": [{"transition": "any", "n_shams": 6, "before": 0.1, "after": 0.73}],
        "p_around": 0.03,
        "seed": 0,
        "n_permutations": 10_000,
        "why": None,
    }


def controls(models):
    return {
        "hosts": ["garage-pi", "lab-nuc"],
        "n_episodes": 40,
        "n_episodes_read": 60,
        "n_episodes_in_all": 60,
        "unreadable": {"lab-nuc/01M818T3B21K3XM3WCNJE8F1GP": "raw"},
        "steps": STEPS,
        "blocks": [block("before calibration", 0.71), block("after calibration", 0.64)],
        "models": [control_score(model) for model in models],
        "why": None,
    }


def no_controls(why):
    nothing = {"steps": None, "blocks": [], "models": [], "unreadable": {}, "hosts": []}
    return {**controls(()), **nothing, "n_episodes": 0, "why": why}
