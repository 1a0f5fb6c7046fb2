"""Preference rows for tests: made ones, and those of HH-RLHF's own test files where they lie beside the checkout."""

from functools import cache
from pathlib import Path

import pytest
from study_folder import REPOSITORY, SHARED

from hh_align.data.generate_corpus import make_rows
from hh_align.data.grammar import load_words
from hh_align.data.prepare_preferences import named_sources, read_preferences, split_pair

SUBSETS = ["harmless-base", "helpful-base", "helpful-online", "helpful-rejection-sampled"]
WORDS_PATH = REPOSITORY / "resources/synthetic.yaml"


def asked(text: str) -> str:
    """The prompt of a dialogue whose one human turn is this text."""
    return f"\n\nHuman: {text}\n\nAssistant:"


def made_row(number: int, prompt: str, chosen: str, rejected: str, subset: str = "s", split: str = "train") -> dict:
    """A row of the preferences table."""
    pair = {"chosen": f"{prompt} {chosen}", "rejected": f"{prompt} {rejected}"}
    return {"split": split, "subset": subset, "row": number, **split_pair(pair)}


def synthetic_rows(seed: int, count: int = 3000) -> list[dict]:
    """Training rows of the synthetic corpus, half of each subset."""
    words, config = load_words(WORDS_PATH), {"seed": seed, "pairs": "labelled", "flips": True}
    rows = [
        {"subset": subset, **split_pair(pair)}
        for subset in SUBSETS[:2]
        for pair in make_rows(count // 2, "train", subset == "harmless-base", config, words)
    ]
    return [{**row, "split": "train", "row": number} for number, row in enumerate(rows)]


def shared_folder(*names: str) -> Path:
    """A folder of data beside the checkout; without it the test is skipped."""
    folder = SHARED.joinpath(*names)
    if not folder.is_dir():
        pytest.skip(f"needs ../shared/{'/'.join(names)}")
    return folder


@cache
def hh_test_rows() -> tuple[dict, ...]:
    """The rows of HH-RLHF's four test files, none of which is quarantined; read once, so leave them as they are."""
    folder = shared_folder("hh-rlhf")
    rows, quarantine = read_preferences(named_sources([folder / subset / "test.jsonl.gz" for subset in SUBSETS]))
    assert not quarantine
    return tuple(rows)
