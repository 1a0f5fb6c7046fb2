"""Policies from weights that exist: planned with what they need and no training, and a whole study of them."""

import json
import math

import pyarrow.parquet as pq
import pytest
import yaml
from adapters import write_adapter, write_gguf
from architectures import import_policy, write_source
from corpora import talks, write_csv
from page_reader import unsourced, untrue
from small_studies import small_study
from staleness import evaluated
from study_folder import StudyFolder

REVISION = "0123456789abcdef0123456789abcdef01234567"
SHORT = {"max_rows": 16, "epochs": 1, "max_length": 160}
STUDY = {
    "study": "theirs",
    "datasets": {
        "synthetic": None,
        "raw": None,
        "table": {
            "source": "local", "path": "table", "subsets": ["safety", "shop"], "columns": {"prompt": "question", "chosen": "better", "rejected": "worse"},
            "where": {"safety": {"topic": "safety"}, "shop": {"topic": "shop"}}, "axes": {"safety": "harmlessness"},
        },
    },
    "models": {"base": {"source": "local", "path": "tiny.gguf", "notice": "Tiny."}},
    "methods": {"dpo": SHORT | {"max_prompt_length": 128, "lora": {"targets": ["q_proj", "v_proj"]}}},
    "policies": dict.fromkeys(["sft", "dpo", "sft_dpo", "sft_dpo_coin", "sft_dpo_reversed"])
    | {
        "base": {}, "adapted": {"parent": "base", "adapter": "adapter"}, "other": {"source": "local", "path": "other"},
        "on": {"parent": "adapted", "method": "dpo"},
    },
    "prompts": {
        "dataset": "table", "harmlessness": {"subset": "safety", "suite": {"path": "questions.csv", "column": "question"}}, "helpfulness": {"subset": "shop", "n": 6},
    },
    "judges": {"small": {"data": "table", "training": {"max_rows": 32, "epochs": 1}, "calibration_share": 0.4}},
    "analysis": {
        "contrasts": [["adapted", "base"], ["other", "base"], ["on", "adapted"]],
        "primary": ["adapted", "base"],
        "labels": None,
        "bootstrap": {"samples": 1000},
    },
    "generation": {"max_new_tokens": 6},
    "drift": {"samples": 1, "rows": 5},
    "examination": {"max_pairs": 10, "format_pairs": 10},
    "claims": None,
}  # fmt: skip
QUESTIONS = "question;asked by\n" + "".join(f"Where do I keep {item}?;me\n" for item in ("acid", "a saw", "matches", "petrol", "paint"))


def test_they_are_imported_and_everything_but_trained(tmp_path):
    folder = StudyFolder(tmp_path, "--configfile", "config/config.yaml", "mine.yaml")
    hub = {"source": "hub", "repo": "a/b", "revision": REVISION}
    policies = {
        "adapted": {"parent": "base", "adapter": "lora"},
        "theirs": hub,
        "packed": hub | {"file": "small.gguf"},
        "far": {"parent": "theirs", "adapter": {"repo": "a/c", "revision": REVISION}},
        "on": {"parent": "theirs", "method": "dpo"},
    }
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump({"policies": policies}))
    (tmp_path / "lora").mkdir()
    for name in ("adapter_config.json", "adapter_model.safetensors"):
        (tmp_path / "lora" / name).write_text(name)
    given = {name for name in policies if name != "on"}
    jobs = folder.planned()
    assert {"merge_adapter adapted 0", "merge_adapter far 0", "import_policy theirs 0", "import_policy packed 0"} <= jobs
    assert {"train_dpo on 42", "compute_references dpo theirs 0"} <= jobs
    for job in ("generate_responses {} 0", "score_responses deberta {} 0", "measure_drift {} 0"):
        assert {job.format(name) for name in given} <= jobs
    assert not [job for job in jobs if job.startswith(("train_", "write_model_card")) and given & set(job.split())]
    assert len([job for job in jobs if job.startswith("fetch_hub models a--")]) == 3  # whole model, one file of it, adapter
    assert (
        "theirs has no seed 42 in study paper. Allowed: 0." in folder.run("--dry-run", "results/paper/drift/theirs/seed-42.parquet").stdout
    )

    folder.pretend_done()
    assert folder.planned() == set()
    (tmp_path / "lora/adapter_model.safetensors").write_text("another")
    assert folder.planned() == {"merge_adapter adapted 0", "write_model_card on 42"} | evaluated("adapted 0")
    (tmp_path / "lora/adapter_model.safetensors").write_text("adapter_model.safetensors")
    (tmp_path / "lora/LICENSE").write_text("of the adapter")
    assert folder.planned() == {"write_notice policies/adapted/seed-0"}


def test_one_beside_a_policy_of_several_seeds_is_measured_against_the_first(tmp_path):
    folder = StudyFolder(tmp_path, "--configfile", "config/config.yaml", "mine.yaml")
    theirs = {"source": "hub", "repo": "a/b", "revision": REVISION, "parent": "sft"}
    mine = {"seeds": [7, 8], "policies": {"theirs": theirs}, "suites": {"mine": {"path": "mine.csv"}}}
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(mine))
    (tmp_path / "mine.csv").write_text("prompt\nWhy?\n")
    assert {"measure_drift theirs 0", "answer_suite mine theirs 0", "train_sft sft 7"} <= folder.planned()


def test_the_tokenizer_beside_a_gguf_file_counts_and_a_folder_without_an_adapter_is_called_one(tmp_path):
    folder = StudyFolder(tmp_path, "--configfile", "config/config.yaml", "mine.yaml")
    config = {"models": {"base": {"source": "local", "path": "model/a.gguf"}}}
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(config))
    (tmp_path / "model").mkdir()
    for name in ("a.gguf", "tokenizer.json", "other.json"):
        (tmp_path / "model" / name).write_text(name)
    folder.pretend_done()
    (tmp_path / "model/other.json").write_text("another")
    assert folder.planned() == set()
    (tmp_path / "model/tokenizer.json").write_text("another")
    assert "import_base" in folder.planned()
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(config | {"policies": {"tuned": {"parent": "base", "adapter": "nowhere"}}}))
    assert "config: nowhere does not hold an adapter: adapter_config.json and" in folder.run("--dry-run").stdout


def test_a_study_of_own_preferences_own_prompts_a_gguf_file_an_adapter_and_a_model_with_other_tokens(tmp_path):
    folder = small_study(tmp_path, "demo", STUDY)
    for split, number in (("train", 80), ("test", 40)):
        write_csv(tmp_path / "table", split, talks(number, seed=number))
    (tmp_path / "questions.csv").write_text(QUESTIONS)
    write_gguf(tmp_path / "tiny.gguf", "Q4_1")
    write_adapter(tmp_path / "adapter", import_policy(tmp_path / "tiny.gguf", tmp_path / "imported/manifest.json"), scale=0.3)
    (tmp_path / "adapter/LICENSE").write_text("Of the adapter.")
    write_source(tmp_path / "other", "gpt2", n_positions=256)
    folder.succeed()

    results = tmp_path / "results/theirs"
    assert {path.name for path in (results / "policies").iterdir()} == {"adapted", "other", "on"}
    assert (results / "policies/on/seed-42/NOTICE").read_text() == "Tiny.\n\n--- LICENSE ---\nOf the adapter.\n"
    prompts = pq.read_table(results / "prompts/prompts.parquet").to_pylist()
    assert [row["prompt"] for row in prompts if row["axis"] == "harmlessness"] == [
        f"Human: {line.split(';')[0]}" for line in QUESTIONS.splitlines()[1:]
    ]
    log = pq.read_table(results / "policies/on/seed-42/train_log.parquet").to_pylist()
    assert log[0]["loss"] == pytest.approx(math.log(2), abs=1e-3) and log[-1]["examples"] == 16
    drift = pq.read_table(results / "analysis/drift.parquet").to_pandas().set_index("policy")
    assert drift.loc["adapted", "kl_per_token"] > 0 and drift.loc["adapted", "reference"] == "base"
    assert drift.loc["other", ["kl_per_token", "kl_low"]].isna().all() and drift.loc["other", "perplexity_text"] > 0
    metrics = pq.read_table(results / "analysis/metrics.parquet").to_pandas()
    assert set(metrics["policy"]) == {"base", "adapted", "other", "on"}
    contrasts = pq.read_table(results / "analysis/comparisons.parquet").to_pandas()
    assert {("adapted", "base"), ("other", "base")} <= set(zip(contrasts["policy_b"], contrasts["policy_a"], strict=True))

    page = (results / "report/index.html").read_text()
    assert "weights were quantised as Q4_1, and dequantised at import" in page
    assert (
        "an adapter was merged that was trained on someone/a-model by its own word; the weights below it here are those of tiny.gguf"
        in page
    )
    assert "adapter adapter added" in page and "weights models.base → other" in page
    made_by = json.loads((results / "models/base/provenance.json").read_text())
    assert list(made_by["inputs"]) == ["tiny.gguf"]
    assert unsourced(results / "report/index.html") <= {"2509.09055"} and untrue(results / "report/index.html") == []
