"""The synthetic corpus: equal seeds give equal bytes, training and test share no question, flips change labels alone."""

import gzip
import json
import sys

from preference_rows import WORDS_PATH

from hh_align.data import generate_corpus
from hh_align.data.grammar import Oracle, load_words


def generate(folder, seed=7, flips=True):
    paths = [folder / subset / f"{split}.jsonl.gz" for subset in ("harmless-base", "helpful-base") for split in ("train", "test")]
    config = {
        "seed": seed,
        "pairs": "labelled",
        "flips": flips,
        "train_rows": {"harmless-base": 400, "helpful-base": 400},
        "test_rows": {"harmless-base": 200, "helpful-base": 200},
    }
    sys.argv = ["generate_corpus", "--config", json.dumps(config), "--words", str(WORDS_PATH), "--output", *map(str, paths)]
    generate_corpus.main()
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


def prompts(content):
    return {
        json.loads(line)["chosen"].rpartition("\n\nHuman:")[2].split("\n\nAssistant:")[0] for line in gzip.decompress(content).splitlines()
    }


def test_equal_seeds_give_equal_bytes_and_other_seeds_others(tmp_path):
    first = generate(tmp_path / "a")
    assert first == generate(tmp_path / "b")
    assert not set(first.values()) & set(generate(tmp_path / "c", seed=8).values())


def test_train_and_test_share_no_question(tmp_path):
    # a question seen in training would measure memory
    files = generate(tmp_path)
    for subset in ("harmless-base", "helpful-base"):
        train, test = (prompts(files[f"{subset}/{split}.jsonl.gz"]) for split in ("train", "test"))
        assert train and test and not train & test


def test_without_flips_the_same_pairs_have_the_right_labels(tmp_path):
    # a noise of 0 % is none only where the corpus itself exchanges no label
    flipped, clean = (generate(tmp_path / str(flips), flips=flips) for flips in (True, False))
    exchanged, oracle = [], Oracle(load_words(WORDS_PATH))
    for name, content in clean.items():
        rows, others = ([json.loads(line) for line in gzip.decompress(packed).splitlines()] for packed in (content, flipped[name]))
        for row, other in zip(rows, others, strict=True):
            cue = row["chosen"].rindex("Assistant:")
            good, bad = (oracle.judge(row[side][:cue], row[side][cue:]) for side in ("chosen", "rejected"))
            assert good.harmless > bad.harmless or good.helpful > bad.helpful
            exchanged.append(row["chosen"] == other["rejected"] != row["rejected"])
            assert row == other or exchanged[-1]
    assert 0.3 < sum(exchanged) / len(exchanged) < 0.4
