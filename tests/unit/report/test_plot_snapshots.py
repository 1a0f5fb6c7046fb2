"""The table and figure of snapshots: rates, rewards and drift along a training."""

import matplotlib.pyplot as plt
import pandas as pd

from hh_align.analysis.summarize_snapshots import ALONG, along
from hh_align.report import plot_snapshots


def test_the_table_leads_from_the_parent_over_the_steps_to_the_policy():
    arms = {"sft": 1, "sft_dpo_step5": 2, "sft_dpo": 3}
    metrics = pd.DataFrame(
        {"judge": "j", "policy": policy, "seed": 1, "metric": metric, "value": float(value), "n": 9, "ci_low": value - 1.0, "ci_high": value + 1.0}
        for policy, value in arms.items() for metric in ("HmR", "mean_reward_harmful", "words_harmful")
    )  # fmt: skip
    drift = pd.DataFrame(
        {"policy": policy, "seed": 1, "reference": reference, "kl_per_token": kl, "kl_low": kl - 0.1, "kl_high": kl + 0.1}
        for policy, reference, kl in (("sft", "base", 1.0), ("sft_dpo_step5", "sft", 0.25), ("sft_dpo_step5", "base", 1.5), ("sft_dpo", "sft", 0.5))
    )  # fmt: skip
    config = {"root": "base", "policies": {"sft_dpo": {"parent": "sft", "arms": {"sft_dpo_step5": 5}}}}
    table = pd.DataFrame(along(metrics, drift, config, {("sft_dpo", 1): 8}))
    assert set(table) == set(ALONG.names) and set(table["metric"]) == {"HmR", "mean_reward_harmful"}
    rewards = plot_snapshots.shown(table)
    assert rewards[["arm", "step", "value", "kl_parent"]].to_numpy().tolist() == [
        ["sft", 0, 1.0, 0.0], ["sft_dpo_step5", 5, 2.0, 0.25], ["sft_dpo", 8, 3.0, 0.5],
    ]  # fmt: skip
    assert rewards["kl_root"].tolist()[:2] == [1.0, 1.5] and pd.isna(rewards["kl_root"].iloc[2])
    (panel,) = plot_snapshots.plot(rewards).axes
    assert list(panel.containers[0][0].get_ydata()) == [1.0, 2.0, 3.0] and [text.get_text() for text in panel.texts] == ["0", "5", "8"]
    plt.close("all")
