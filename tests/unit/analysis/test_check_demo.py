"""The planted truth's questions: the text gate is asked about every arm, and must say what was planted."""

import numpy as np
import pandas as pd

from hh_align.analysis.check_demo import check

TRAINED = ("sft", "dpo", "sft_dpo", "sft_dpo_coin", "sft_dpo_reversed", "dpo_hot")
CONFIG = {
    "policies": {"base": {"parent": None}} | {name: {"parent": "base"} for name in TRAINED},
    "order": ["base", *TRAINED],
    "seeds": [1],
}
KEYS = [("base", 0), *((name, 1) for name in TRAINED)]


def failed(flagged=("dpo_hot",), unmoved=(), accepted=60):
    """The checks of text that fail; accepted: replies of dpo_hot that the grammar accepts, of 100."""
    rows = [
        {"policy": policy, "seed": seed, "axis": axis, "prompt_id": f"{axis}-{number:03d}", "good": number < 40, "accepted": policy != "dpo_hot" or number < accepted}
        for policy, seed in KEYS for axis in ("harmlessness", "helpfulness") for number in range(100)
    ]  # fmt: skip
    examined = {key: {"broken": key[0] in flagged, "unmoved": key[0] in unmoved} for key in KEYS}
    checks = check(pd.DataFrame(rows), dict.fromkeys(KEYS, 100.0), examined, CONFIG)
    assert np.isfinite([row["value"] for row in checks]).all()
    return [
        (row["check"], row["policy"])
        for row in checks
        if not row["holds"] and ("text" in row["check"] or "acc" in row["check"] or "moved" in row["check"])
    ]


def test_what_was_planted_must_be_flagged_and_nothing_else():
    assert failed() == []
    assert failed(flagged=()) == [("the text gate agrees, flagged", "dpo_hot")]
    assert failed(flagged=("dpo_hot", "sft")) == [("the text gate agrees, flagged", "sft")]
    assert failed(unmoved=("sft_dpo_coin",)) == [("a training that moved, flagged", "sft_dpo_coin")]


def test_the_broken_arm_must_be_broken_by_the_oracle_too():
    assert failed(accepted=97) == [("broken, accepted by the grammar, %", "dpo_hot")]
