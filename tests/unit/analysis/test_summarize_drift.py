"""The summary of drift: known answers, tokens weighed, prompts resampled."""

import math

import pandas as pd
import pytest

from hh_align.analysis.summarize_drift import summarize


def drift_rows(nats, tokens, reference):
    keys = [f"helpfulness-{number // 2:03}" for number in range(len(nats))]
    rows = {
        "measure": "sample",
        "reference": reference,
        "key": keys,
        "tokens": tokens,
        "ended": [token < 5 for token in tokens],
        "nats": nats,
    }
    return pd.DataFrame(rows)


def test_the_summary_weighs_tokens_and_resamples_prompts():
    tokens = [2, 4, 5, 5, 1, 3]
    texts = pd.DataFrame({"measure": ["chosen", "chosen", "text"], "tokens": [3, 1, 10], "nats": [3 * math.log(8), math.log(8), 0.0]})
    rows = pd.concat([drift_rows([6.0] * 6, tokens, None), drift_rows([1.0, 2.0, 2.5, 2.5, 0.5, 1.5], tokens, "base"), texts])
    clusters = pd.Series({f"helpfulness-{number:03}": number for number in range(3)})
    (row,) = summarize(rows, ["base"], clusters, {"samples": 500, "seed": 1})
    assert row["kl_per_token"] == row["kl_low"] == row["kl_high"] == 0.5  # 0.5 nats per token everywhere: no uncertainty
    assert row["kl_per_response"] == pytest.approx(10 / 6) and row["mean_length"] == pytest.approx(20 / 6)
    assert row["length_low"] == 2.0 and row["length_high"] == 5.0  # three prompts: a resample may hold one of them only
    assert (row["n"], row["samples"], row["ended"]) == (3, 6, pytest.approx(400 / 6))
    assert row["perplexity_chosen"] == pytest.approx(8) and row["perplexity_text"] == 1.0
    (root,) = summarize(rows, [None], clusters, {"samples": 500, "seed": 1})
    assert root["reference"] is None and "kl_per_token" not in root and root["mean_length"] == row["mean_length"]
    (other,) = summarize(rows, ["theirs"], clusters, {"samples": 500, "seed": 1})  # from which it was not measured
    assert other["reference"] == "theirs" and "kl_per_token" not in other and other["mean_length"] == row["mean_length"]
