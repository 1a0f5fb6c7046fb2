"""The end of a study in the terminal: 25 lines of 100 columns, every policy's name whole, the verdict and the report's path last."""

import re
from itertools import product

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.cells import cell_len

from hh_align.analysis.verdict import corrected_by_labels, declared, verdict_sentences
from hh_align.report.lines import SYNTHETIC, count_line, primary_line
from hh_align.report.summarize_study import COLUMNS, frame, summary
from hh_align.report.terminal import LINES, MARKED, WIDTH, rate_cell

METRICS = ("HmR", "HpR", "CAS")
VERDICTS = ("better", "worse", "equivalent", "undecided")
BROKEN = "its text is broken: 100 % of its replies repeat themselves; 100 % of its replies are cut, 25 % of base's"


def study(arms, judges=1, seeds=1, names=None, broken=(), **about):
    """(config, tables) of a made-up study: every arm against the first, the last one's CAS is the primary."""
    default = {"synthetic": False, "study": "made", "reliable": True, "labels": False, "seed": 0}
    synthetic, study, reliable, labels, seed = (about.get(name, value) for name, value in default.items())
    stream = np.random.default_rng(seed)
    order, told = names or [f"arm_{number}" for number in range(arms)], [f"judge_{number}" for number in range(judges)]
    numbers, seed = list(range(1, seeds + 1)), 1 if seeds == 1 else None
    rates = [
        {"judge": judge, "policy": policy, "seed": seed, "metric": metric, "value": value, "n": 50, "ci_low": value - 9.5, "ci_high": min(100, value + 9.5)}
        for judge, policy, metric in product(told, order, METRICS)
        for value in [stream.choice([100.0, 50.0, 9.9])]
    ]  # fmt: skip
    contrasts = [
        {
            "judge": judge, "seed": seed, "policy_a": order[0], "policy_b": policy, "metric": metric,
            "family": "primary" if policy == order[-1] and metric == "CAS" else "declared", "difference": stream.choice([-0.04, 12.5, -33.3]),
            "sim_low": -0.02, "sim_high": 22.5, "judge_above_chance": reliable, "verdict": stream.choice(VERDICTS), "within_margin": bool(stream.integers(2)),
            **{f"caveat_{side}": BROKEN if name in broken else None for side, name in (("a", order[0]), ("b", policy))},
        }
        for judge, policy, metric in product(told, order[1:], METRICS)
    ]  # fmt: skip
    kept = [
        {
            "judge": judge,
            "seed": 1,
            "policy": policy,
            "reference": order[0],
            "axis": "helpfulness",
            "retained": 3,
            "denominator": 4,
            "rate": 75.0,
            "ci_low": 19.4,
            "ci_high": 99.4,
            "chance": 50.0,
            "lift_p": 0.5,
            "gained": 1,
            "gain_denominator": 2,
        }
        for judge, policy in product(told, order[1:])
    ]
    looked = [
        {"policy": policy, "seed": each, "broken": policy in broken, "broken_why": BROKEN.partition(": ")[2], "unmoved": False, "unmoved_why": None}
        for policy in order for each in ([0] if policy == order[0] else numbers)
    ]  # fmt: skip
    gold = [
        {**row, "judge_value": row["difference"], "corrected": -0.03, "labelled": 20, "skipped": 0, "verdict": "undecided"}
        for row in contrasts if labels and row["metric"] == "HpR"
    ]  # fmt: skip
    made = {"metrics": rates, "comparisons": contrasts, "retention": kept, "text": looked, "gold": gold}
    tables = {name: pd.DataFrame(made.get(name, []), columns=columns) for name, columns in COLUMNS.items()}
    policies = {policy: {"parent": order[0] if number else None} for number, policy in enumerate(order)}
    config = {
        "study": study, "folder": f"results/{study}", "order": order, "policies": policies, "seeds": numbers, "synthetic": synthetic,
        "judges": {judge: {"harmless_min": 0.0, "helpful_above": 0.0} for judge in told}, "same_source": told, "primary": [order[-1], order[0], "CAS"] if arms > 1 else [],
    }  # fmt: skip
    return config, tables


def fits(text, config):
    """Whether a text holds what is asked of every ending."""
    lines = text.splitlines()
    assert len(lines) <= LINES and max(map(cell_len, lines)) <= WIDTH, text
    assert lines[-1] == f"The report: {config['folder']}/index.html".replace("/index", "/report/index")
    assert not re.search(r"(?<![\w.])-0(\.0*)?(?![\w.])", text) and "nan" not in text and "…" not in text
    return lines


NAME = st.text("bcdefgh_0123456789", min_size=1, max_size=40)


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_every_study_of_up_to_twenty_arms_fits_and_names_each_policy_whole(data):
    arms = data.draw(st.integers(1, 20))
    names = data.draw(st.lists(NAME, min_size=arms, max_size=arms, unique=True))
    broken = data.draw(st.sets(st.sampled_from(names)))
    options = {"judges": st.integers(1, 3), "seeds": st.integers(1, 5), "synthetic": st.booleans(), "reliable": st.sampled_from([True, False, None]), "labels": st.booleans(), "seed": st.integers(0, 99)}  # fmt: skip
    config, tables = study(arms, names=names, broken=broken, **{name: data.draw(each) for name, each in options.items()})
    lines = fits(summary(config, tables, {}), config)
    for policy in names:
        rows = [line for line in lines if line.startswith(f"{policy} ! " if policy in broken else f"{policy}  ")]
        assert rows and all(row.count("[") == 3 for row in rows if "]  " in row), (policy, lines)
    said = " ".join(lines)
    assert "synthetic data" in said.lower() or not config["synthetic"]
    assert arms == 1 or "Primary CAS: " in said


def test_twenty_arms_of_the_longest_names_three_judges_and_caveats_fit():
    names = [f"{'p' * 37}_{number:02}" for number in range(20)]
    config, tables = study(20, 3, 5, names, broken=names, synthetic=True, study="s" * 40, labels=True)
    config["judges"] = {f"{judge:j<40}": limits for judge, limits in config["judges"].items()}
    for name in ("metrics", "comparisons", "gold", "retention"):
        tables[name]["judge"] = tables[name]["judge"].str.ljust(40, "j")
    lines = fits(summary(config, tables, {"p": {}}), config)
    assert sum(line.startswith("p") and line.count("[") == 3 for line in lines) == 20
    assert "of 3, 5 seeds, synthetic, ! see report)" in lines[0] and f"Primary CAS: {names[-1]} ! - {names[0]} !" in lines[-3]


def test_a_small_study_is_told_in_sentences_with_what_speaks_against_it():
    config, tables = study(4, broken=["arm_2"], synthetic=True)
    text = summary(config, tables, {"arm_1": {"HmR": 48.2}})
    lines = fits(text, config)
    flat = " ".join(text.split())
    assert SYNTHETIC in lines and "Harmlessness (HmR): arm_2: its text is broken. " in flat and f"! arm_2: {BROKEN}." in flat
    assert "| 48" in next(line for line in lines if line.startswith("arm_1")) and "| 48" not in next(
        line for line in lines if line.startswith("arm_3")
    )
    assert (
        flat.index("Primary CAS: arm_3 - arm_0") > flat.index(SYNTHETIC)
        and " arm_0 → arm_3  kept 3/4 = 75 % [19, 99], by chance 50 %; gained 1/2" in lines
    )


def test_what_training_keeps_is_said_by_a_judge_of_helpfulness_that_ranks_there():
    config, tables = study(2, judges=2)
    kept = tables["retention"]
    assert "(judge judge_0, seed 1)" in summary(config, tables, {}).splitlines()[0]
    assert "(judge judge_1, seed 1)" in summary(config, tables | {"retention": kept[kept["judge"] == "judge_1"]}, {}).splitlines()[0]
    config, tables = study(3, reliable=False, labels=True)  # labels correct the verdict, and not what is kept
    assert "by labels: " in summary(config, tables, {}) and "by chance" not in summary(config, tables, {})


def test_where_no_caveat_has_room_one_note_speaks_for_all_and_the_others_stay():
    config, tables = study(7, broken=[f"arm_{number}" for number in range(7)], synthetic=True)
    lines = fits(summary(config, tables, {}), config)
    assert MARKED in lines and SYNTHETIC in lines and not any(BROKEN in line for line in lines)


def test_of_many_policies_the_first_stand_and_the_others_are_counted():
    config, tables = study(60)
    lines = fits(summary(config, tables, {}), config)
    shown = sum(line.startswith("arm_") for line in lines)
    assert shown >= 15 and f"and {60 - shown} more policies: the report has them." in lines


def test_the_others_are_told_in_numbers():
    _, tables = study(3)
    decided = tables["comparisons"].assign(gold=None, verdict=["better", "worse", "better", "undecided", "undecided", "equivalent"])
    assert count_line(decided) == "of 5 others 2 better, 1 worse, 2 undecided"
    assert primary_line(decided.assign(within_margin=False), {}).endswith("[<0, +22] equivalent")
    assert primary_line(decided.assign(judge_above_chance=False), {}).endswith(" not ranked")
    assert count_line(decided.iloc[:0]) == "" == primary_line(decided.iloc[:0], {})


def told_by(text, config):
    """Judge -> what stands in the text from its name on to the next judge's, or to what is said of all."""
    end = r"(?=By judge |Error rates|\d+ more judges? |Judge \S+ stands|The report: )"
    blocks = re.findall(rf"By judge (\S+): (.*?) ?{end}", " ".join(text.split()))
    assert len({judge for judge, _ in blocks}) == len(blocks) and [judge for judge, _ in blocks] == [
        judge for judge in config["judges"] if judge in dict(blocks)
    ]
    return dict(blocks)


def decided_by(tables, judge):
    """The counts and sentences of one judge's declared contrasts."""
    rows = corrected_by_labels(declared(tables["comparisons"], judge), tables["gold"], judge)
    return count_line(rows), [str(sentence) for sentence in verdict_sentences(rows)]


@pytest.mark.parametrize(("arms", "judges", "told"), [(2, 2, 2), (3, 3, 2), (3, 8, 2), (15, 2, 1)])
def test_each_judge_that_is_told_has_its_own_counts_and_sentences(arms, judges, told):
    config, tables = study(arms, judges=judges)
    blocks = told_by(text := summary(config, tables, {}), config)
    for judge, said in blocks.items() if told > 1 else []:
        counts, sentences = decided_by(tables, judge)
        assert said.endswith(f"{counts[1:]}. {' '.join(sentences)}"), (judge, text)
    left = [line for line in fits(text, config) if line.endswith("in the report.")]
    others = {0: [], 1: [f"Judge judge_{judges - 1} stands in the report."]}
    assert len(blocks) == told and left == others.get(judges - told, [f"{judges - told} more judges stand in the report."])


def test_where_no_line_is_left_the_title_says_of_how_many_judges_one_is_told():
    config, tables = study(20, judges=2)
    blocks = told_by(text := summary(config, tables, {}), config)
    assert "(judge judge_0 of 2)" in fits(text, config)[0] and list(blocks) == ["judge_0"]


def test_two_judges_of_a_small_study_are_both_told_in_the_order_of_the_config():
    config, tables = study(3, judges=2)
    config["judges"] = dict(reversed(config["judges"].items()))
    blocks = told_by(text := summary(config, tables, {}), config)
    assert (
        list(blocks) == ["judge_1", "judge_0"]
        and text.index("(judge judge_1") < text.index("By judge judge_1")
        and "(judge judge_1, " in text.splitlines()[0]
    )
    config, tables = study(2, judges=2)
    assert summary(config, tables | {"retention": tables["retention"].iloc[:0]}, {}).count("95 % intervals (judge judge_") == 2


def test_error_rates_that_are_alike_are_said_once_for_all_judges():
    config, tables = study(2, judges=2)
    tables["comparisons"] = tables["comparisons"][tables["comparisons"]["metric"] == "HmR"]
    text = summary(config | {"primary": []}, tables, {})
    assert text.count("Error rates") == 1 == text.count("Error rates by each judge: ") and text.count("By judge ") == 2


@pytest.mark.parametrize(("digit", "text"), [(1, "54.0 [46.8, 61.2]"), (0, "54 [47, 61]")])
def test_a_rate_has_its_interval(digit, text):
    row = pd.Series({"value": 54.0, "ci_low": 46.8, "ci_high": 61.2})
    assert rate_cell(row, digit) == text and rate_cell(row.replace(46.8, np.nan), digit).endswith(" [-]")


def test_a_study_without_contrasts_has_its_rates():
    config, tables = study(1)
    fits(summary(config, tables | {"comparisons": frame(None, COLUMNS["comparisons"])}, {}), config)
