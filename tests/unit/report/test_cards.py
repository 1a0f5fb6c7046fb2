"""Model cards: the hub's own classes read them, and every number in them is the artifact's."""

import json

import pandas as pd
import pytest
from huggingface_hub import DatasetCard, ModelCard
from study_folder import REPOSITORY

from hh_align.core.artifacts import write_table
from hh_align.core.errors import StudyError
from hh_align.report.write_dataset_card import card as dataset_card
from hh_align.report.write_dataset_card import size_category
from hh_align.report.write_model_card import card
from hh_align.training.loop import LOG_SCHEMA

TEMPLATE = REPOSITORY / "workflow/report/model_card.md"
METHOD = {"beta": 0.1, "lora": {"r": 8, "targets": ["q_proj"]}}
CONFIG = {
    "study": "small", "policy": "sft_dpo", "seed": 42, "root": "base", "judges": {"deberta": {"harmless_min": -3.0, "helpful_above": -2.0}},
    "lineage": [
        {"method": "sft", "trainer": "sft", "parent": "base", "data": "hh", "settings": {"epochs": 2}},
        {"method": "dpo", "trainer": "dpo", "parent": "sft", "data": "hh", "settings": METHOD},
    ],
    "datasets": ["Anthropic/hh-rlhf"], "base": "facebook/opt-350m", "synthetic": False, "same_source": ["deberta"], "folder": "results/small/policies/sft_dpo/seed-42",
    "options": " --configfile config/small.yaml",
}  # fmt: skip


@pytest.fixture
def folder(tmp_path):
    """A policy's folder without its weights."""
    step = {name: 1.0 for name in LOG_SCHEMA.names} | {"step": 20100, "examples": 160800, "tokens": 3, "cut_tokens": 1}
    write_table(tmp_path / "train_log.parquet", [{**step, "loss": 0.75, "step": 1}, {**step, "loss": 0.25}], LOG_SCHEMA, {})
    (tmp_path / "manifest.json").write_text(json.dumps({"model.safetensors": "5f"}))
    (tmp_path / "NOTICE").write_text("A licence.\nOf two lines.")
    return tmp_path


def metrics():
    rates = {"HmR": 44.0, "HpR": 66.0, "CAS": 55.0, "empty_share": 1.0}
    rows = [
        {
            "judge": "deberta",
            "policy": policy,
            "seed": seed,
            "metric": name,
            "value": value - less,
            "n": 50,
            "ci_low": 31.25,
            "ci_high": 57.75,
        }
        for policy, seed, less in (("base", 0, 10.5), ("sft_dpo", 42, 0.0), ("sft_dpo", 43, 30.0))
        for name, value in rates.items()
    ]
    return pd.DataFrame(rows)


def test_the_hub_reads_the_card(folder):
    (folder / "README.md").write_text(card(CONFIG, folder, metrics(), TEMPLATE).content)
    data = ModelCard.load(folder / "README.md").data  # raises where the YAML is not the hub's
    assert (data.base_model, data.datasets, data.license, data.license_link) == (
        "facebook/opt-350m",
        ["Anthropic/hh-rlhf"],
        "other",
        "NOTICE",
    )
    assert {result.metric_type: result.metric_value for result in data.eval_results} == {"HmR": 44.0, "HpR": 66.0, "CAS": 55.0}


def test_the_card_says_how_and_how_good(folder):
    text = card(CONFIG, folder, metrics(), TEMPLATE).text
    assert "| HmR | 44.0 | 31.2 to 57.8 | 33.5 | 50 |" in text  # this seed's, beside the root's
    assert "facebook/opt-350m after SFT, then DPO" in text and "| 2 | dpo (dpo) | sft | hh | beta 0.1" in text
    assert "20,100 optimizer steps over 160,800 examples" in text and "mean loss 0.5000, at the end 0.2500" in text
    assert "> A licence.\n> Of two lines." in text and "not meant for supervised training" in text
    assert (
        "snakemake --cores all results/small/policies/sft_dpo/seed-42/manifest.json results/small/policies/sft_dpo/seed-42/NOTICE --configfile config/small.yaml"
        in text
    )


def test_a_rate_without_an_interval_has_none_on_the_card(folder):
    of_few_clusters = metrics().assign(ci_low=float("nan"), ci_high=float("nan"))
    assert "| HmR | 44.0 | none | 33.5 | 50 |" in card(CONFIG, folder, of_few_clusters, TEMPLATE).text


def test_only_a_judge_that_is_known_to_share_the_source_is_said_to(folder):
    assert "it errs (deberta: trained on data of the policies' own source)." in card(CONFIG, folder, metrics(), TEMPLATE).text
    text = card(CONFIG | {"same_source": []}, folder, metrics(), TEMPLATE).text
    assert "one greedy response per prompt; it errs.\n" in text and "own source" not in text


def test_a_toy_is_called_one_and_names_no_model(folder):
    made = card(CONFIG | {"synthetic": True, "base": None, "datasets": []}, folder, metrics(), TEMPLATE)
    assert "**A toy.**" in made.text and "A small model from nothing after" in made.text
    assert made.data.base_model is None and made.data.datasets is None


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["model.Q4_1.gguf"], "\nmodel.Q4_1.gguf after SFT, then DPO"),
        (["facebook/opt-350m", "me/an-adapter"], "\nfacebook/opt-350m with me/an-adapter after SFT"),
    ],
)
def test_given_weights_are_named_where_they_are_not_one_model_of_the_hub(folder, given, said):
    text = card(CONFIG | {"base": None, "given": given}, folder, metrics(), TEMPLATE).text
    assert said in text and "from nothing" not in text


def test_a_policy_without_metrics_is_one_error(folder):
    with pytest.raises(StudyError, match="sft_dpo, seed 7: the metrics hold no row of it"):
        card(CONFIG | {"seed": 7}, folder, metrics(), TEMPLATE)


DATA = {
    "study": "paper", "dataset": "hh", "parent": None, "changes": "", "repo": "Anthropic/hh-rlhf", "revision": "09be8c5", "synthetic": False,
    "folder": "results/paper/data/hh", "options": "",
}  # fmt: skip
DATA_TEMPLATE = REPOSITORY / "workflow/report/dataset_card.md"


def preferences():
    flags = [[], ["identical"], ["identical", "empty_chosen"], []]
    rows = [
        {"split": "train" if row else "test", "subset": "helpful-base", "row": row, "flags": own, "use_sft": "empty_chosen" not in own, "use_dpo": not own}
        for row, own in enumerate(flags)
    ]  # fmt: skip
    return pd.DataFrame(rows)


def test_a_dataset_card_counts_what_there_is(tmp_path):
    made = dataset_card(DATA, preferences(), pd.DataFrame({"reason": ["bad JSON", "bad JSON"]}), DATA_TEMPLATE)
    (tmp_path / "README.md").write_text(made.content)
    read = DatasetCard.load(tmp_path / "README.md")
    assert (read.data.license, read.data.source_datasets, read.data.size_categories) == ("mit", ["Anthropic/hh-rlhf"], ["n<1K"])
    assert "| test | helpful-base | 1 | 1 | 1 |" in read.text and "| train | helpful-base | 3 | 2 | 1 |" in read.text
    assert "| identical | 2 |" in read.text and "bad JSON (2)" in read.text
    assert "not meant for supervised training" in read.text


def test_a_derived_dataset_says_from_what():
    config = DATA | {"dataset": "coin", "parent": "hh", "changes": 'labels "coin"', "repo": None, "synthetic": True}
    made = dataset_card(config, preferences(), None, DATA_TEMPLATE)
    assert 'Derived from the dataset `hh`: labels "coin".' in made.text and "**Synthetic**" in made.text and "put aside" not in made.text
    assert made.data.license == "other"
    assert "has the rows of `hh` that are left" in made.text and "keeps every row" not in made.text


@pytest.mark.parametrize(
    ("repo", "revision", "licence", "said"),
    [
        ("Anthropic/hh-rlhf", None, "mit", "Anthropic/hh-rlhf), as a local copy has it."),
        ("someone/pairs", "09be8c5", "unknown", "someone/pairs) at 09be8c5."),
        (None, None, "other", "From files of a local folder."),
    ],
)
def test_a_dataset_card_speaks_for_its_own_source(repo, revision, licence, said):
    made = dataset_card(DATA | {"repo": repo, "revision": revision}, preferences(), None, DATA_TEMPLATE)
    assert made.data.license == licence and said in made.text and "keeps every row" in made.text
    assert ("HH-RLHF's own card" in made.text) == (repo == "Anthropic/hh-rlhf")


def test_a_derived_datasets_card_says_what_each_step_dropped():
    config = DATA | {"dataset": "clean", "parent": "hh", "changes": 'deduplicate "exact"'}
    census = pd.DataFrame(
        [
            {"step": step, "reason": f"by {step}", "before": 3000, "dropped": dropped, "after": 3000 - dropped}
            for step, dropped in (("from", 0), ("deduplicate", 7))
            for _ in range(2)
        ]
    )
    made = dataset_card(config, preferences(), None, DATA_TEMPLATE, census)
    assert "| deduplicate | 6,000 | 14 | 5,986 | by deduplicate |" in made.text and "`dropped.parquet`" in made.text


def test_the_hubs_size_categories():
    assert [size_category(rows) for rows in (999, 1000, 160_800, 2_000_000)] == ["n<1K", "1K<n<10K", "100K<n<1M", "1M<n<10M"]
