"""Our numbers beside the published ones: inside our interval or not."""

import pandas as pd

from hh_align.analysis.compare_published import compare_with_published


def test_published_numbers_inside_and_outside():
    metrics = pd.DataFrame([{"judge": "j", "policy": "sft", "seed": 42, "metric": "HmR", "value": 50.0, "ci_low": 40.0, "ci_high": 60.0}])
    inside, outside = (compare_with_published(metrics, {"sft": {"HmR": value}}, "j", ["sft"])[0]["inside"] for value in (48, 70))
    assert (inside, outside) == (True, False)
