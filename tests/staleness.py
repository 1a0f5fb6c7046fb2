"""The jobs that follow from a change, as `StudyFolder.planned` names them, and studies that are complete."""

POLICIES = {"base 0", "dpo 42", "sft 42", "sft_dpo 42"}


def made(step, *tables):
    """A step and the CSV twins of its tables."""
    return {step} | {f"export_csv {table}" for table in tables}


PAGE = {"render_report"}
SAID = {"summarize_study", "render_report"}
CLAIMS = made("check_claims", "claims") | PAGE
FACTS = made("check_facts", "facts") | PAGE
POWER = made("compute_power", "power") | PAGE
LENGTH_AND_MODEL = made("control_length", "length") | made("model_labels", "mixed_model")
COMPARED = made("compare_policies", "comparisons") | LENGTH_AND_MODEL | {"plot_comparisons"} | POWER | SAID
PUBLISHED = made("compare_published", "agreement") | PAGE
SWEPT = made("sweep_thresholds", "thresholds", "threshold_leads", "threshold_flips") | {"plot_thresholds"} | PAGE
TRADEOFF = made("compute_tradeoff", "tradeoff") | {"plot_tradeoff", "render_report"}
NOTICES = {"write_notice models/base", *(f"write_notice policies/{name}/seed-42" for name in ("dpo", "sft", "sft_dpo"))}
CARDS = {f"write_model_card {name}" for name in POLICIES - {"base 0"}}
TEXT = made("examine_text", "text") | COMPARED | CLAIMS | PUBLISHED | SWEPT | TRADEOFF | CARDS
DRIFT = made("summarize_drift", "drift") | {"plot_drift"} | TEXT
EXAMINED = (
    made("examine_judge", "judge", "judge_calibration", "judge_roc") | {"plot_judge", "plot_retention"} | COMPARED | CLAIMS | FACTS | SWEPT
    | TRADEOFF
)  # fmt: skip
ANALYSIS = (
    {"gather_ratings"} | made("compute_metrics", "metrics") | made("compute_retention", "retention", "changed_prompts") | COMPARED | CLAIMS
    | FACTS | PUBLISHED | SWEPT | DRIFT | {"plot_figures", "plot_retention", "render_browser"} | CARDS
)  # fmt: skip


def drifted(*policies):
    return DRIFT | {f"measure_drift {name}" for name in policies}


def rescored(*policies):
    return ANALYSIS | {f"score_responses deberta {name}" for name in policies}


def evaluated(*policies):
    """Jobs that follow new weights of these policies, the analysis included."""
    return rescored(*policies) | drifted(*policies) | {f"generate_responses {name}" for name in policies}


GENERATED = rescored(*POLICIES) | {f"generate_responses {name}" for name in POLICIES}
SHARDS = {
    f"{step} {name} {number}-of-2" for step in ("generate_responses", "score_responses deberta") for name in POLICIES for number in (1, 2)
}
GATHERED = {f"gather_shards {table}{name.replace(' ', '/seed-')}" for table in ("responses ", "rewards deberta/") for name in POLICIES}
JUDGED = EXAMINED | {"score_pairs deberta"}
NEW_PROMPTS = {"select_prompts"} | evaluated(*POLICIES)
BESIDE = PUBLISHED - SAID  # the paper's numbers stand beside those of its own protocol only
SFT = {"train_sft sft 42", "compute_references dpo sft 42", "train_dpo sft_dpo 42", "plot_training"}
DPO = {"train_dpo dpo 42", "train_dpo sft_dpo 42", "plot_training"}
REFERENCES = {"compute_references dpo base 0", "compute_references dpo sft 42"}
