"""What prepare_preferences makes of a pair, and of HH-RLHF's own files."""

from collections import Counter

import pytest
from preference_rows import SUBSETS, hh_test_rows

from hh_align.data.prepare_preferences import split_pair


@pytest.mark.parametrize(
    ("chosen", "rejected", "flags", "sft", "dpo"),
    [
        ("\n\nHuman: a\n\nAssistant: b", "\n\nHuman: a\n\nAssistant: c", [], True, True),
        ("\n\nHuman: a\n\nAssistant: b", "\n\nHuman: a\n\nAssistant: b", ["identical"], True, False),
        ("\n\nHuman: a\n\nAssistant: ", "\n\nHuman: a\n\nAssistant: c", ["empty_chosen"], False, False),
        ("\n\nHuman: a\n\nAssistant: b", "\n\nHuman: a\n\nAssistant:", ["empty_rejected"], True, False),
        ("\n\nHuman: a\n\nAssistant: b", "\n\nHuman: x\n\nAssistant: c", ["prompt_differs"], True, False),
        ("\n\nHuman: a\n\nAssistant: b\n\nHuman: d", "\n\nHuman: a\n\nAssistant: c", ["human_last"], False, False),
    ],
)
def test_flags_say_what_a_row_is_fit_for(chosen, rejected, flags, sft, dpo):
    # a row that cannot teach must not be trained on, and the prompts still need it
    row = split_pair({"chosen": chosen, "rejected": rejected})
    assert (row["flags"], row["use_sft"], row["use_dpo"]) == (flags, sft, dpo)
    assert row["prompt"] + row["chosen"] == chosen
    assert (row["rejected_prompt"] or row["prompt"]) + row["rejected"] == rejected


def test_real_files_are_kept_whole():
    # the counts of the published files and their known quirks
    rows = hh_test_rows()
    assert Counter(row["subset"] for row in rows) == dict(zip(SUBSETS, [2312, 2354, 1137, 2749], strict=True))
    flagged = {
        flag: [sum(flag in row["flags"] for row in rows if row["subset"] == subset) for subset in SUBSETS]
        for flag in ["identical", "prompt_differs"]
    }
    assert flagged == {"identical": [0, 2, 2, 32], "prompt_differs": [5, 9, 0, 3]}
    empty = [sum("empty_chosen" in row["flags"] or "empty_rejected" in row["flags"] for row in rows if row["subset"] == s) for s in SUBSETS]
    assert empty == [4, 4, 3, 0]
