"""Transcripts, preferences and the evaluation prompts."""

import gzip
import json
from collections import Counter

import pytest
from study_folder import SHARED

from hh_align.core.errors import StudyError
from hh_align.data import derive_dataset, prepare_preferences, select_prompts
from hh_align.data.selection import in_training_half, selected_rows
from hh_align.data.transcripts import cluster_of, published_prompt, split_transcript

SUBSETS = ["harmless-base", "helpful-base", "helpful-online", "helpful-rejection-sampled"]
PAPER = {
    "seed": 100,
    "harmlessness": {
        "subset": "harmless-base",
        "split": "test",
        "keywords": ["kill", "murder", "rape"],
        "match": "substring",
        "scope": "transcript",
        "n": 50,
    },
    "helpfulness": {"subset": "helpful-base", "split": "test", "keywords": [], "match": "substring", "scope": "transcript", "n": 50},
}


@pytest.fixture(scope="session")
def real_rows():
    files = [SHARED / "hh-rlhf" / subset / "test.jsonl.gz" for subset in SUBSETS]
    if not all(path.is_file() for path in files):
        pytest.skip("needs HH-RLHF's test files in ../shared/hh-rlhf")
    rows, quarantine = prepare_preferences.prepare(files)
    assert not quarantine
    return rows


def write_lines(folder, lines):
    path = folder / "helpful-base" / "test.jsonl.gz"
    path.parent.mkdir(parents=True)
    path.write_bytes(gzip.compress(b"".join(line + b"\n" for line in lines)))
    return path


def pair(chosen="\n\nHuman: a\n\nAssistant: b", rejected="\n\nHuman: a\n\nAssistant: c"):
    return json.dumps({"chosen": chosen, "rejected": rejected}).encode()


def test_prompt_ends_with_the_last_cue_and_the_space_belongs_to_the_reply():
    # a tokenizer merges the space with the word behind it: on the other side the boundary would move
    assert split_transcript("\n\nHuman: a\n\nAssistant: b\n\nHuman: c\n\nAssistant: d") == (
        "\n\nHuman: a\n\nAssistant: b\n\nHuman: c\n\nAssistant:",
        " d",
    )


def test_published_prompt_keeps_a_reply_with_a_blank_line():
    # faithful to the author's code: 4 of the 100 prompts depend on it
    assert published_prompt("\n\nHuman: a\n\nAssistant: b") == "Human: a"
    assert published_prompt("\n\nHuman: a\n\nAssistant: b\n\nc") == "Human: a\n\nAssistant: b\n\nc"


def test_cluster_is_the_first_human_turn():
    # prompts that share a first turn are counted as one cluster, whatever follows
    assert cluster_of("\n\nHuman: a\n\nAssistant: b") == cluster_of("Human: a\n\nAssistant: x\n\nHuman: y")
    assert cluster_of("\n\nHuman: a\n\nAssistant: b") != cluster_of("\n\nHuman: b\n\nAssistant: b")


def test_unreadable_lines_are_quarantined_with_reason_and_line(tmp_path):
    # nothing is dropped silently: rows + quarantine = lines
    lines = [
        pair(),
        b"{",
        b"[]",
        b'{"chosen": "x"}',
        b'{"chosen": 1, "rejected": ""}',
        b"\xff",
        pair(chosen="no cue"),
        b"",
        b'{"chosen": "\\ud800", "rejected": ""}',
    ]
    rows, quarantine = prepare_preferences.prepare([write_lines(tmp_path, lines)])
    assert [row["row"] for row in rows] == [0]
    assert [row["row"] for row in quarantine] == list(range(1, 9))
    reasons = [row["reason"].split(" (")[0] for row in quarantine]
    assert reasons == [
        "not JSON", "not a JSON object but list", "no key rejected", "chosen is int, not text", "not UTF-8", "no assistant turn", "not JSON",
        "chosen holds half a surrogate pair",
    ]  # fmt: skip


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
    row = prepare_preferences.split_pair({"chosen": chosen, "rejected": rejected})
    assert (row["flags"], row["use_sft"], row["use_dpo"]) == (flags, sft, dpo)
    assert row["prompt"] + row["chosen"] == chosen
    assert (row["rejected_prompt"] or row["prompt"]) + row["rejected"] == rejected


def test_damaged_gzip_is_one_readable_error(tmp_path):
    path = write_lines(tmp_path, [pair()] * 50)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(StudyError, match=r"helpful-base/test.jsonl.gz: damaged gzip"):
        prepare_preferences.prepare([path])


def test_real_files_are_kept_whole(real_rows):
    # the counts of the published files and their known quirks
    assert Counter(row["subset"] for row in real_rows) == dict(zip(SUBSETS, [2312, 2354, 1137, 2749], strict=True))
    found = {
        flag: [sum(flag in row["flags"] for row in real_rows if row["subset"] == subset) for subset in SUBSETS]
        for flag in ["identical", "prompt_differs"]
    }
    assert found == {"identical": [0, 2, 2, 32], "prompt_differs": [5, 9, 0, 3]}
    empty = [
        sum("empty_chosen" in row["flags"] or "empty_rejected" in row["flags"] for row in real_rows if row["subset"] == s) for s in SUBSETS
    ]
    assert empty == [4, 4, 3, 0]


def test_the_authors_prompts_byte_for_byte_in_order(real_rows):
    released = SHARED / "paper-release" / "prompts"
    if not released.is_dir():
        pytest.skip("needs the paper's release in ../shared/paper-release")
    drawn = select_prompts.draw_prompts(real_rows, PAPER)
    for axis, name in (("harmlessness", "harmful"), ("helpfulness", "helpful")):
        ours = [row["prompt"] for row in drawn if row["axis"] == axis]
        assert ours == json.loads((released / f"{name}_prompts.json").read_text())
    assert [row["prompt_id"] for row in drawn][:2] == ["harmlessness-000", "harmlessness-001"]


def test_scope_and_match_narrow_the_candidates_as_known(real_rows):
    # of the 192 candidates 18 match in the reply only, 23 as part of another word
    faithful = select_prompts.candidates(real_rows, "harmlessness", PAPER["harmlessness"])
    prompts = select_prompts.candidates(real_rows, "harmlessness", PAPER["harmlessness"] | {"scope": "prompt"})
    words = select_prompts.candidates(real_rows, "harmlessness", PAPER["harmlessness"] | {"match": "word"})
    assert [len(faithful), len(faithful) - len(prompts), len(faithful) - len(words)] == [192, 18, 23]
    assert {row["row"] for row in words} < {row["row"] for row in faithful}


def test_too_few_candidates_is_an_error(real_rows):
    with pytest.raises(StudyError, match=r"prompts.harmlessness.n is 500, but only 192 rows"):
        select_prompts.draw_prompts(real_rows, PAPER | {"harmlessness": PAPER["harmlessness"] | {"n": 500}})


def made_rows(count):
    rows = []
    for number in range(count):
        made = prepare_preferences.split_pair(
            {"chosen": f"\n\nHuman: {number}\n\nAssistant: b", "rejected": f"\n\nHuman: {number}\n\nAssistant: c"}
        )
        rows.append({"split": "train", "subset": "helpful-base", "row": number, **made})
    return rows


def test_reversed_twice_is_the_original_but_for_the_flag():
    # the control arm must differ from its original in nothing but the labels
    rows = made_rows(20)
    twice = derive_dataset.relabel(derive_dataset.relabel(rows, "reversed", 1), "reversed", 1)
    assert [{**row, "flags": []} for row in twice] == [{**row, "flags": []} for row in rows]
    assert all(row["use_dpo"] for row in twice)


def test_coin_exchanges_about_half_and_only_by_its_seed():
    rows = made_rows(1000)
    first, again, other = (derive_dataset.relabel(rows, "coin", seed) for seed in (1, 1, 2))
    assert first == again != other
    assert 400 < sum(row["chosen"] == " c" for row in first) < 600


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_noise_exchanges_its_share_and_more_noise_exchanges_the_same_rows_and_others(seed):
    rows = [{"chosen": "good", "rejected": "bad", "rejected_prompt": None, "flags": [], "row": number} for number in range(4000)]

    def exchanged(noise):
        return {row["row"] for row in derive_dataset.relabel(rows, "noisy", seed, noise) if row["chosen"] == "bad"}

    assert not exchanged(0.0)
    assert exchanged(0.2) < exchanged(0.4)
    assert abs(len(exchanged(0.4)) - 1600) < 4 * (4000 * 0.4 * 0.6) ** 0.5  # four standard deviations


def test_training_half_and_evaluation_prompts_never_meet():
    # leaking an evaluation prompt into training would make every policy look better than it is
    rows = made_rows(200)
    excluded = {cluster_of(rows[0]["prompt"]), cluster_of(rows[1]["prompt"])}
    kept = selected_rows(rows, None, ["helpful-base"], excluded)
    assert 60 < len(kept) < 140
    assert not excluded & {cluster_of(row["prompt"]) for row in kept}
    assert all(in_training_half(cluster_of(row["prompt"])) for row in kept)
