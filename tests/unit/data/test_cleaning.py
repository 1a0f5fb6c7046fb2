"""Cleaning of derived datasets: what is planted is found, little else is, every row is accounted for, and the same comes out twice."""

import copy
import random
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from command_line import call
from study_folder import REPOSITORY, SHARED
from tinymodels import write_judge

from hh_align.core.artifacts import read_table, write_manifest, write_table
from hh_align.core.errors import StudyError
from hh_align.data import derive_dataset, select_prompts
from hh_align.data.cleaning import (
    contaminated,
    contamination,
    exact_duplicates,
    jaccard,
    length_difference,
    low_margins,
    near_duplicates,
    near_identical,
    reply_similarity,
    shingles,
    surplus_lengths,
    words_of,
)
from hh_align.data.derive_dataset import CENSUS, CONTAMINATED, DROPPED, derive
from hh_align.data.generate_corpus import make_rows
from hh_align.data.grammar import load_words
from hh_align.data.preferences import SCHEMA
from hh_align.data.prepare_preferences import prepare, split_pair
from hh_align.data.selection import MARGINS
from hh_align.evaluation import score_pairs, score_training_pairs
from hh_align.models import import_model

SEEDS = [1, 2, 3]
SUBSETS = ["harmless-base", "helpful-base", "helpful-online", "helpful-rejection-sampled"]
NEAR = {"threshold": 0.8, "ngram": 3, "num_perm": 128, "seed": 1}
PLAIN = {"training_half": [], "labels": True, "label_seed": 1, "train_split": "train"}
PLANTED = 50


def row(number, prompt, chosen, rejected, subset="s", split="train"):
    pair = {"chosen": f"{prompt} {chosen}", "rejected": f"{prompt} {rejected}"}
    return {"split": split, "subset": subset, "row": number, **split_pair(pair)}


def asked(text):
    return f"\n\nHuman: {text}\n\nAssistant:"


def numbered(rows):
    return [{**found, "split": "train", "row": number} for number, found in enumerate(rows)]


def synthetic_rows(seed, count=3000):
    words, config = load_words(REPOSITORY / "resources/synthetic.yaml"), {"seed": seed, "pairs": "labelled", "flips": True}
    made = [
        {"subset": subset, **split_pair(pair)}
        for subset in SUBSETS[:2]
        for pair in make_rows(count // 2, "train", subset == "harmless-base", config, words)
    ]
    return numbered(made)


@pytest.fixture(scope="session")
def real():
    """(rows, evaluation prompts as the paper drew them, rows that were not drawn) of HH-RLHF's test files."""
    files = [SHARED / "hh-rlhf" / subset / "test.jsonl.gz" for subset in SUBSETS]
    if not all(path.is_file() for path in files):
        pytest.skip("needs HH-RLHF's test files in ../shared/hh-rlhf")
    rows, _ = prepare(files)
    axis = {"split": "test", "keywords": [], "match": "substring", "scope": "transcript", "n": 50}
    settings = {"seed": 100, "harmlessness": axis | {"subset": SUBSETS[0]}, "helpfulness": axis | {"subset": SUBSETS[1]}}
    prompts = select_prompts.draw_prompts(rows, settings)
    drawn = {(prompt["subset"], prompt["row"]) for prompt in prompts}
    return rows, prompts, [found for found in rows if (found["subset"], found["row"]) not in drawn]


def changed_word(text, stream):
    """The text with one of its words replaced by one that is nowhere else."""
    parts = text.split(" ")
    at = stream.choice([place for place, part in enumerate(parts) if part.isalpha() and part not in ("Human", "Assistant")])
    return " ".join([*parts[:at], f"zz{stream.randrange(10**6)}", *parts[at + 1 :]])


def leaks(prompts, stream, size=8):
    """PLANTED transcripts of the kinds that `decontaminate` promises to find, in turn: (kind, prompt of a row, prompt_id)."""
    long = [prompt for prompt in prompts if len(words_of(prompt["prompt"])) >= 5 * size]
    kinds = {
        "verbatim": (prompts, lambda text: text),
        "inside a longer dialogue": (prompts, lambda text: f"Human: Good morning.\n\nAssistant: Hello!\n\n{text}"),
        "other case and punctuation": (prompts, lambda text: text.replace(",", " ;").replace("?", " !").swapcase().replace("hUMAN:", "Human:").replace("aSSISTANT:", "Assistant:")),
        "its first 60 %": (long, lambda text: " ".join(text.split(" ")[: (len(text.split(" ")) * 6 + 9) // 10])),
        "one word changed": (long, lambda text: changed_word(text, stream)),
    }  # fmt: skip
    for number in range(PLANTED):
        kind = list(kinds)[number % len(kinds)] if long else list(kinds)[number % 3]
        pool, change = kinds[kind]
        prompt = stream.choice(pool)
        yield kind, "\n\n" + change(prompt["prompt"]) + "\n\nAssistant:", prompt["prompt_id"]


def planted(rows, transcripts, stream):
    """(rows with the transcripts as prompts of new rows at random places, the places' indices)."""
    made = [*rows, *({**rows[0], "prompt": prompt, "planted": number} for number, prompt in enumerate(transcripts))]
    stream.shuffle(made)
    return made, {found["planted"]: index for index, found in enumerate(made) if "planted" in found}


@pytest.mark.parametrize("seed", SEEDS)
def test_planted_leaks_are_found_in_real_data(real, seed):
    _, prompts, others = real
    stream = random.Random(seed)
    found = list(leaks(prompts, stream))
    rows, places = planted(others, [prompt for _, prompt, _ in found], stream)
    hits = contamination(rows, prompts, 8, 0.3)
    pairs = {(hit["index"], hit["prompt_id"]) for hit in hits}
    missed = [kind for number, (kind, _, name) in enumerate(found) if (places[number], name) not in pairs]
    false = contaminated(hits).keys() - set(places.values())
    print(f"seed {seed}: {PLANTED - len(missed)} of {PLANTED} leaks found, {len(false)} of {len(others):,} other rows flagged")
    assert missed == []
    assert len(false) <= 0.01 * len(others)


@pytest.mark.parametrize("seed", SEEDS)
def test_planted_leaks_are_found_where_every_text_is_of_one_grammar(seed):
    # prompts of one template share n-grams by nature: with n above their length a whole turn must be the same
    words, stream = load_words(REPOSITORY / "resources/synthetic.yaml"), random.Random(seed)
    tests = [split_pair(pair)["prompt"] for pair in make_rows(60, "test", True, {"seed": seed, "pairs": "labelled", "flips": True}, words)]
    plain = [text.strip().removesuffix("Assistant:").strip() for text in tests if text.count("Human:") == 1]
    prompts = [{"prompt_id": f"harmlessness-{number:03d}", "prompt": text} for number, text in enumerate(plain)]
    found = list(leaks(prompts, stream, size=40))
    others = synthetic_rows(seed)
    rows, places = planted(others, [prompt for _, prompt, _ in found], stream)
    hits = contamination(rows, prompts, 40, 1.0)
    pairs = {(hit["index"], hit["prompt_id"]) for hit in hits}
    false = contaminated(hits).keys() - set(places.values())
    print(f"seed {seed}: {sum((places[n], name) in pairs for n, (_, _, name) in enumerate(found))} of {PLANTED}, {len(false)} others")
    assert all((places[number], name) in pairs for number, (_, _, name) in enumerate(found))
    assert len(false) <= 0.01 * len(others)


def near_copies(rows, stream, threshold):
    """PLANTED rows with one word of the prompt or of a reply changed, or another case and punctuation, all above the threshold."""
    made = []
    while len(made) < PLANTED:
        original = stream.choice(rows)
        part = stream.choice(["prompt", "chosen", "rejected"])
        if not any(word.isalpha() and word not in ("Human", "Assistant") for word in original[part].split(" ")):
            continue
        copied = (
            {**original, part: changed_word(original[part], stream)}
            if len(made) % 5
            else {**original, "chosen": original["chosen"].upper() + " !"}
        )
        alike = jaccard(shingles(original, 3), shingles(copied, 3))
        if alike >= threshold:
            made.append(copied)
    return made


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("corpus", ["real", "synthetic"])
def test_planted_near_duplicates_are_found(request, corpus, seed):
    rows = request.getfixturevalue("real")[0] if corpus == "real" else synthetic_rows(seed)
    stream = random.Random(seed)
    rows = stream.sample(rows, 3000)
    threshold = 0.8 if corpus == "real" else 0.95  # of short texts of few templates many are nearly the same
    settings = NEAR | {"threshold": threshold, "seed": seed}
    natural = near_duplicates(rows, **settings)
    long = [found for number, found in enumerate(rows) if number not in natural and len(shingles(found, 3)) >= 60]
    copies = near_copies(long, stream, threshold) if corpus == "real" else [{**copied, "chosen": copied["chosen"] + " ?!", "prompt": copied["prompt"].upper()} for copied in stream.sample([found for number, found in enumerate(rows) if number not in natural], PLANTED)]  # fmt: skip
    losses = near_duplicates([*rows, *copies], **settings)
    found = [number for number in losses if number >= len(rows)]
    false = [number for number in losses if number < len(rows) and number not in natural]
    print(f"{corpus}, seed {seed}: {len(found)} of {PLANTED} near-duplicates found, {len(natural)} that were there, {len(false)} others")
    assert len(found) == PLANTED
    assert len(natural) + len(false) <= 0.01 * len(rows) if corpus == "real" else not false
    assert near_duplicates([*rows, *copies], **settings) == losses  # deterministic


def test_the_first_of_a_group_is_kept_and_named():
    rows = [
        row(0, asked("one"), "a", "b"),
        row(1, asked("two"), "a", "b"),
        row(2, asked("ONE "), "a", " b"),
        row(3, asked("one"), "b", "a"),
        row(4, asked("one"), "a", "b"),
    ]
    assert exact_duplicates(rows) == {2: ("s/train:1", 1.0), 4: ("s/train:1", 1.0)}  # the exchanged pair says something else
    assert near_duplicates(rows, **NEAR) == exact_duplicates(rows)


def test_a_short_prompt_leaks_as_a_whole_turn_only():
    prompts = [{"prompt_id": "p", "prompt": "Human: how are you"}]
    rows = [row(0, asked("How are you?"), "a", "b"), row(1, asked("Tell me how are you made"), "a", "b")]
    rows.append(row(2, asked("Hello\n\nAssistant: hi\n\nHuman: how are you"), "a", "b"))
    assert [(hit["index"], hit["shared"]) for hit in contamination(rows, prompts, 8, 0.3)] == [(0, 1.0), (2, 1.0)]


def test_a_row_is_listed_with_every_prompt_and_dropped_once():
    text = "one two three four five six seven eight nine ten"
    prompts = [{"prompt_id": "a", "prompt": f"Human: {text}"}, {"prompt_id": "b", "prompt": f"Human: {text} eleven twelve thirteen"}]
    rows = [row(0, asked(text), "a", "b"), row(1, asked("else"), "a", "b")]
    kept, _, dropped, hits = derive(rows, PLAIN | {"decontaminate": {"ngram": 8, "overlap": 0.5}}, prompts, None, {})
    assert [found["row"] for found in kept] == [1]
    assert [(hit["prompt_id"], hit["shared"]) for hit in hits] == [("a", 1.0), ("b", 0.5)]
    assert [(found["row"], found["partner"], found["value"]) for found in dropped] == [(0, "a", 1.0)]


@pytest.mark.parametrize(
    ("chosen", "rejected", "similarity"),
    [("yes it is", "Yes, it is!", 1), ("a b c d", "a b c e", 3 / 5), ("no", "no no no", 1 / 3), ("a", "b", 0), ("", "", 1), ("", "a", 0)],
)
def test_similarity_of_replies(chosen, rejected, similarity):
    rows = [row(0, asked("x"), chosen, rejected)]
    assert reply_similarity(rows[0]) == pytest.approx(similarity)
    assert bool(near_identical(rows, 0.6)) == (similarity >= 0.6)


def test_the_pairs_below_the_quantile_go_and_rows_without_a_pair_stay():
    rows = [row(number, asked(str(number)), "a", "b") for number in range(10)] + [row(10, asked("x"), "a", "a")]
    margins = {("train", "s", number): float(number) for number in range(10)}
    assert sorted(low_margins(rows, margins, 0.2)) == [0, 1]
    with pytest.raises(StudyError, match=r"the margins lack 1 pairs \(s/train:4\)"):
        low_margins(rows, {key: value for key, value in margins.items() if key[2] != 3}, 0.2)


@pytest.mark.parametrize("seed", SEEDS)
def test_the_longer_reply_is_chosen_in_half_of_the_pairs(seed):
    stream = random.Random(seed)
    rows = [
        row(n, asked(str(n)), "a" * stream.randint(1, 300), "b" * stream.randint(1, 200), stream.choice("st"))
        for n in range(2000)
    ]  # fmt: skip
    lost = surplus_lengths(rows, seed)
    kept = [found for number, found in enumerate(rows) if number not in lost]
    assert lost == surplus_lengths(rows, seed) != surplus_lengths(rows, seed + 1)
    for subset in "st":
        for low in (1, 8, 64, 128):
            sizes = [length_difference(found) for found in kept if found["subset"] == subset]
            sizes = [size for size in sizes if low <= abs(size) < 2 * low]
            assert sizes and 2 * sum(size > 0 for size in sizes) == len(sizes)
    assert all(length_difference(rows[number]) == value for number, (_, value) in lost.items())


ALL = PLAIN | {
    "subsets": ["s", "t"], "deduplicate": "near", "near": NEAR, "decontaminate": {"ngram": 8, "overlap": 0.3}, "drop_near_identical": 0.9,
    "judge_margin": {"judge": "j", "quantile": 0.2}, "balance_length": True, "balance_seed": 1, "exclude_prompts": False,
}  # fmt: skip


def mixed(count=400):
    stream = random.Random(5)
    return [
        row(n, asked(f"word{stream.randrange(150)}"), "a " * stream.randint(1, 3), "b " * stream.randint(1, 9), stream.choice("stu"), stream.choice(["train", "train", "test"]))
        for n in range(count)
    ]  # fmt: skip


def test_every_row_is_kept_or_listed_and_the_census_adds_up():
    rows = mixed()
    margins = {(found["split"], found["subset"], found["row"]): float(found["row"] % 7) for found in rows}
    before = copy.deepcopy(rows)
    kept, census, dropped, _ = derive(rows, ALL, [{"prompt_id": "p", "prompt": "Human: word1"}], None, margins)
    assert rows == before
    names = [found["row"] for found in [*kept, *dropped]]
    assert sorted(names) == list(range(len(rows))) and len(set(names)) == len(names)
    order = ["from", "subsets", "deduplicate", "decontaminate", "drop_near_identical", "judge_margin", "balance_length"]
    assert list(dict.fromkeys(line["step"] for line in census)) == order
    for line in census:
        lost = [found for found in dropped if all(found[key] == line[key] for key in ("step", "split", "subset"))]
        assert line["before"] - line["dropped"] == line["after"] and line["dropped"] == len(lost)
    assert {found["step"] for found in dropped if found["split"] == "test"} == {"subsets"}  # cleaning looks at training rows only
    last = [line for line in census if line["step"] == "balance_length"]
    assert sum(line["after"] for line in last) == len(kept)


def test_a_step_that_leaves_nothing_is_named():
    rows = [row(number, asked(str(number)), "a b", "a b") for number in range(3)]
    with pytest.raises(StudyError, match="no row of split train is left after drop_near_identical"):
        derive([*rows, row(3, asked("x"), "a", "b", split="test")], PLAIN | {"drop_near_identical": 0.5}, [], None, {})


def derived(folder, rows, config, **more):
    write_table(folder / "preferences.parquet", rows, SCHEMA, {})
    names = ("output", "census", "dropped", "contaminated")
    options = {"config": config, "preferences": folder / "preferences.parquet", **{name: folder / f"{name}.parquet" for name in names}}
    status, output = call(derive_dataset, **options, **more)
    assert status == 0, output
    return {name: (folder / f"{name}.parquet").read_bytes() for name in names}


def test_the_same_bytes_twice_and_the_stated_schemas(tmp_path):
    config = {key: value for key, value in ALL.items() if key not in ("judge_margin", "decontaminate")}
    first, again = (derived(tmp_path, mixed(), config) for _ in range(2))
    assert first == again
    for name, schema in (("census", CENSUS), ("dropped", DROPPED), ("contaminated", CONTAMINATED)):
        assert pq.read_schema(tmp_path / f"{name}.parquet").remove_metadata() == schema


def test_without_a_cleaning_key_the_rows_are_the_selected_ones(tmp_path):
    rows = mixed()
    derived(tmp_path, rows, {"training_half": [], "labels": True, "label_seed": 1, "subsets": ["s"]})
    kept = read_table(tmp_path / "output.parquet", SCHEMA).to_pylist()
    assert kept == [found for found in rows if found["subset"] == "s"]
    assert read_table(tmp_path / "contaminated.parquet").num_rows == 0
    assert read_table(tmp_path / "dropped.parquet").num_rows == len(rows) - len(kept)


# --- margins


@pytest.fixture(scope="session")
def judge(tmp_path_factory):
    folder = tmp_path_factory.mktemp("judge")
    write_judge(folder / "source")
    write_manifest(folder / "source", [path.name for path in (folder / "source").iterdir()])
    options = {
        "config": {"kind": "judge", "notice": ""},
        "source": folder / "source/manifest.json",
        "manifest": folder / "made/manifest.json",
    }
    status, output = call(import_model, **options)
    assert status == 0, output
    return folder / "made/manifest.json"


READING = {"device": "cpu", "dtype": "float32", "batch_tokens": 200}


def score(module, folder: Path, judge: Path, config: dict):
    job = {"threads": 1, "state": folder / "state", "output": folder / "scored.parquet", "timing": folder / "timing.json"}
    status, output = call(module, config=READING | config, judge=judge, preferences=folder / "preferences.parquet", **job)
    assert status == 0, output
    return read_table(folder / "scored.parquet").to_pylist()


def test_margins_are_what_the_examination_of_the_judge_reads(tmp_path, judge):
    # another way to read a pair would filter by another judge than the one that was examined
    rows = [row(n, asked(f"question {n}"), f"good {n}", "bad", "s" if n < 900 else "t") for n in range(1100)]
    rows += [row(5000, asked("x"), "same", "same"), row(1, asked("x"), "a", "b", split="test")]
    write_table(tmp_path / "preferences.parquet", rows, SCHEMA, {})
    found = score(score_training_pairs, tmp_path, judge, {"training_half": [], "train_split": "train", "subsets": ["s"]})
    assert pq.read_schema(tmp_path / "scored.parquet").remove_metadata() == MARGINS
    assert [(line["subset"], line["row"]) for line in found] == [("s", n) for n in range(900)]
    examined = score(
        score_pairs, tmp_path, judge, {"subsets": {"s": {"axis": "helpfulness", "split": "train"}}, "reply_tokens": 5, "format_pairs": 10}
    )
    as_evaluated = {line["row"]: line for line in examined if line["format"] == score_pairs.AS_EVALUATED}
    for line in found:
        for side in ("chosen_reward", "rejected_reward"):
            assert line[side] == pytest.approx(as_evaluated[line["row"]][side], abs=1e-5)
