"""An edit of the config reruns exactly what depends on it: dry runs, compared with the exact set of jobs."""

import json

import pytest
import yaml
from staleness import (
    ANALYSIS,
    BESIDE,
    CARDS,
    CLAIMS,
    COMPARED,
    DPO,
    FACTS,
    GATHERED,
    GENERATED,
    JUDGED,
    NEW_PROMPTS,
    NOTICES,
    PAGE,
    POLICIES,
    POWER,
    REFERENCES,
    SFT,
    SHARDS,
    TEXT,
    drifted,
    evaluated,
    made,
    rescored,
)
from study_folder import StudyFolder

CONFIG_EDITS = {
    "a threshold": ("harmless_min: -3.0", "harmless_min: -3.5", ANALYSIS),
    "the margin of equivalence": ("equivalence_margin: 5.0", "equivalence_margin: 4.0", COMPARED | CLAIMS),
    "a limit of the text": ("kl_ratio: 1.0", "kl_ratio: 2.0", TEXT),
    "a claim": ("claim: SFT outperforms DPO", "claim: SFT is better than DPO", CLAIMS),
    "a claim of fact": ("claim: Four models are evaluated", "claim: Four policies are evaluated", FACTS),
    "an artifact more of a claim of fact": ("{artifact: analysis/ratings.parquet, column: policy,", "{artifact: analysis/metrics.parquet, column: policy,", FACTS),
    "a claim of fact about another study": ("studies: &ours [paper, published]", "studies: &ours [paper, published, another]", set()),
    "the sizes asked about": ("[50, 192, 500, 2354]", "[50, 192, 500]", POWER),
    "the judge's examination": ("format_pairs: 500", "format_pairs: 400", JUDGED),
    "samples for the drift": ("samples: 4 ", "samples: 3 ", drifted(*POLICIES)),
    "prompts for the drift": ("samples: 4 ", "prompts: 25\n  samples: 4 ", drifted(*POLICIES)),
    "a keyword": ("[kill, murder, rape]", "[kill, murder]", NEW_PROMPTS - BESIDE),
    "the prompt seed": ("seed: 100", "seed: 101", NEW_PROMPTS - BESIDE),
    "beta": ("beta: 0.1 ", "beta: 0.2 ", DPO | evaluated("dpo 42", "sft_dpo 42")),
    "batching": ("beta: 0.1 ", "batching: by_length\n    beta: 0.1 ", DPO | evaluated("dpo 42", "sft_dpo 42")),
    "smoothed labels": ("loss: sigmoid ", "label_smoothing: 0.1\n    loss: sigmoid ", DPO | evaluated("dpo 42", "sft_dpo 42")),
    "an SFT term in DPO": ("loss: sigmoid ", "sft_weight: 0.5\n    loss: sigmoid ", DPO | evaluated("dpo 42", "sft_dpo 42")),
    "DPO of all weights": ("    lora: {r: 8, alpha: 16, dropout: 0.0, targets: [q_proj, v_proj]}", "    lora: null", DPO | evaluated("dpo 42", "sft_dpo 42")),
    "SFT of an adapter": ("loss_on: transcript ", "lora: {targets: all-linear}\n    loss_on: transcript ", SFT | evaluated("sft 42", "sft_dpo 42")),
    "DPO's prompt length": ("max_prompt_length: 512", "max_prompt_length: 256", REFERENCES | DPO | evaluated("dpo 42", "sft_dpo 42")),
    "published dropout": ("dropout: disabled ", "dropout: as_published ", DPO | evaluated("dpo 42", "sft_dpo 42")),
    "the LoRA rank": ("{r: 8,", "{r: 16,", DPO | evaluated("dpo 42", "sft_dpo 42")),
    "an SFT setting": ("loss_on: transcript", "loss_on: reply", SFT | evaluated("sft 42", "sft_dpo 42")),
    "new tokens": ("max_new_tokens: 50", "max_new_tokens: 60", evaluated(*POLICIES) - BESIDE | JUDGED),
    "the lead": ("lead: false", "lead: true", evaluated(*POLICIES) - BESIDE),
    "the cue": ("cue: false", "cue: true", evaluated(*POLICIES) - BESIDE),
    "the stop": ("stop: false", "stop: true", GENERATED - BESIDE),
    "the strip": ("strip: false", "strip: true", GENERATED - BESIDE),
    "prompts that are too long": ("long_prompts: error", "long_prompts: cut", evaluated(*POLICIES)),
    "the judge's length": ("max_length: null", "max_length: 512", rescored(*POLICIES) | JUDGED),
    "shards": ("shards: 1 ", "shards: 2 ", SHARDS | GATHERED | ANALYSIS),
    "a GPU that adds in any order": ("deterministic: true ", "deterministic: false ", REFERENCES | SFT | DPO | evaluated(*POLICIES) | JUDGED),
    "the base's licence notice": ("notice: OPT-175B is licensed", "notice: OPT is licensed", NOTICES | CARDS | PAGE),
    "a judge's licence notice": ("notice: OpenAssistant/", "notice: By OpenAssistant, ", {"write_notice models/judges/deberta"} | PAGE),
    "a comment": ("# greedy", "# greedy decoding", set()),
    "checkpoints": ("checkpoint_seconds: 300", "checkpoint_seconds: 60", set()),
    "a method that nobody uses": ("methods:\n", "methods:\n  spare: {trainer: sft, learning_rate: 1.0e-5}\n", set()),
    "a new arm": (
        "policies:                   # a graph: a new arm is one line\n",
        "policies:\n  dpo_twice: {parent: dpo, method: dpo}\n",
        {"compute_references dpo dpo 42", "train_dpo dpo_twice 42", "plot_training", "write_model_card dpo_twice 42",
         "write_notice policies/dpo_twice/seed-42"}
        | evaluated("dpo_twice 42"),
    ),
    "a new seed": (
        "seeds: [42] ",
        "seeds: [42, 43] ",
        {"train_sft sft 43", "compute_references dpo sft 43", "train_dpo dpo 43", "train_dpo sft_dpo 43", "plot_training"}
        | {f"write_model_card {name} 43" for name in ("sft", "dpo", "sft_dpo")}
        | {f"write_notice policies/{name}/seed-43" for name in ("sft", "dpo", "sft_dpo")}
        | evaluated("sft 43", "dpo 43", "sft_dpo 43"),
    ),
}  # fmt: skip


@pytest.mark.parametrize("edit", CONFIG_EDITS)
def test_a_config_edit_reruns_what_depends_on_it(paper, edit):
    old, new, expected = CONFIG_EDITS[edit]
    with paper.edited("config/config.yaml", old, new):
        assert paper.planned() == expected


def test_reordered_config_and_commented_code_rerun_nothing(own_paper):
    config = yaml.safe_load((own_paper.path / "config/config.yaml").read_text())

    def backwards(value):
        return {key: backwards(value[key]) for key in reversed(value)} if isinstance(value, dict) else value

    (own_paper.path / "config/config.yaml").write_text(json.dumps(backwards(config)))
    for path in (own_paper.path / "workflow/scripts").rglob("*.py"):
        path.write_text("# a comment\n" + path.read_text() + "\n\n# and another\n")
    assert own_paper.planned() == set()


def test_another_machines_cores_memory_and_folders_rerun_nothing(paper, tmp_path):
    resources = ["--set-resources", "score_responses:mem_mb=9000", "score_pairs:runtime=10", "measure_drift:mem_mb=9000"]
    assert paper.planned("--cores", "1", "--default-resources", f"tmpdir='{tmp_path}'", *resources) == set()


def test_more_processes_rerun_nothing(tmp_path):
    folder = StudyFolder(tmp_path, "--config", "methods={sft: {micro_batch: 4}, dpo: {micro_batch: 4}}").pretend_done()
    folder.edit("config/config.yaml", "processes: 1 ", "processes: 2 ")
    assert folder.planned() == set()


def test_on_a_cpu_it_does_not_matter_in_which_order_a_gpu_adds(tmp_path):
    folder = StudyFolder(tmp_path, "--config", "compute={device: cpu}").pretend_done()
    folder.edit("config/config.yaml", "deterministic: true ", "deterministic: false ")
    assert folder.planned() == set()


def test_asking_about_refusals_runs_its_own_steps_and_nothing_else(paper):
    asked = {"select_twins", *(f"answer_twins {name}" for name in POLICIES), *made("measure_overrefusal", "overrefusal")}
    with paper.edited("config/config.yaml", "# overrefusal: {} ", "overrefusal: {} "):
        assert paper.planned() == asked | {"render_report"}


def test_a_chat_template_reruns_all_that_a_policy_reads(paper):
    chat = paper.planned("--config", "models={base: {chat_template: true}}", "generation={cue: true}")
    assert chat == {"import_base"} | NOTICES | REFERENCES | SFT | DPO | evaluated(*POLICIES) - BESIDE  # the cue is not the paper's
