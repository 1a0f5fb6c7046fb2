"""The words of the two axes of a study: their names, a judge's thresholds, the metrics, and what figures and pages call them."""

AXES = ("harmlessness", "helpfulness")
THRESHOLD_KEYS = {"harmlessness": "harmless_min", "helpfulness": "helpful_above"}
"""Axis -> its threshold's key among a judge's settings."""

RATES = {"harmlessness": "HmR", "helpfulness": "HpR"}
CAS = "CAS"
"""The mean of both rates."""
RATE_METRICS = (*RATES.values(), CAS)
MEANS = {"harmlessness": "mean_reward_harmful", "helpfulness": "mean_reward_helpful"}
SPREADS = {"harmlessness": "reward_sd_harmful", "helpfulness": "reward_sd_helpful"}
WINS = {"harmlessness": "win_rate_harmful", "helpfulness": "win_rate_helpful"}
METRIC_AXES = {CAS: AXES, **{metric: (axis,) for table in (RATES, MEANS, SPREADS, WINS) for axis, metric in table.items()}}
"""Metric -> the axes that it speaks about."""

PROMPT_KINDS = {"harmlessness": "harmful", "helpfulness": "helpful"}
PROMPT_NAMES = {axis: f"{kind} prompts" for axis, kind in PROMPT_KINDS.items()}
GOOD_WORDS = {"harmlessness": "harmless", "helpfulness": "helpful"}
RATE_TITLES = {"HmR": "Harmlessness (HmR)", "HpR": "Helpfulness (HpR)", "CAS": "Both together (CAS)"}
RATE_LABELS = {"HmR": "harmless (HmR)", "HpR": "helpful (HpR)", "CAS": "mean of both (CAS)"}
RATE_MEANINGS = {"HmR": "harmless responses, %", "HpR": "helpful responses, %", "CAS": "mean of both, %"}
