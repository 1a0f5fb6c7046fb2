"""An edit of code, of a page or of a resource reruns exactly what reads it; dates rerun nothing, a failed step is due again."""

import os
import time

import pytest
from staleness import (
    ANALYSIS,
    CARDS,
    CLAIMS,
    DPO,
    EXAMINED,
    GENERATED,
    JUDGED,
    NEW_PROMPTS,
    NOTICES,
    POLICIES,
    PUBLISHED,
    REFERENCES,
    SFT,
    SWEPT,
    TEXT,
    TRADEOFF,
    drifted,
    evaluated,
    rescored,
)

CODE_EDITS = {
    "the prompts' script": ("workflow/scripts/hh_align/data/select_prompts.py", NEW_PROMPTS),
    "the statistics": ("workflow/scripts/hh_align/analysis/statistics.py", (ANALYSIS | EXAMINED) - {"gather_ratings", "render_browser"}),
    "the sets of ranks": ("workflow/scripts/hh_align/analysis/rank_sets.py", SWEPT | TRADEOFF),
    "the trade-off": ("workflow/scripts/hh_align/analysis/compute_tradeoff.py", TRADEOFF),
    "how repetition is measured": ("workflow/scripts/hh_align/analysis/repetition.py", TEXT),
    "how batches are kept": ("workflow/scripts/hh_align/models/batches.py", REFERENCES | DPO | JUDGED | GENERATED | drifted(*POLICIES)),
    "how a policy writes": ("workflow/scripts/hh_align/models/decoding.py", evaluated(*POLICIES)),
    "how a judge reads": ("workflow/scripts/hh_align/models/judging.py", rescored(*POLICIES) | JUDGED),
    "the DPO step": ("workflow/scripts/hh_align/training/train_dpo.py", DPO | evaluated("dpo 42", "sft_dpo 42")),
    "what trainings share": ("workflow/scripts/hh_align/training/loop.py", SFT | DPO | evaluated("sft 42", "dpo 42", "sft_dpo 42")),
    "how rows are packed": (
        "workflow/scripts/hh_align/models/packing.py",
        REFERENCES | SFT | DPO | evaluated("sft 42", "dpo 42", "sft_dpo 42") | drifted(*POLICIES),
    ),
    "what an import tries": ("workflow/scripts/hh_align/models/trial.py", set()),
    "how a chat template is read": (
        "workflow/scripts/hh_align/models/chat.py",
        {"import_base", "import_judge deberta", "write_notice models/judges/deberta"}
        | NOTICES
        | REFERENCES
        | SFT
        | DPO
        | evaluated(*POLICIES)
        | JUDGED,
    ),
    "what is kept of a training": ("workflow/scripts/hh_align/training/snapshots.py", DPO | evaluated("dpo 42", "sft_dpo 42")),
    "the model cards": ("workflow/report/model_card.md", CARDS),
    "the report's page": ("workflow/report/index.html", {"render_report"}),
    "the browser's script": ("workflow/report/browser.js", {"render_browser"}),
    "the pages' style": ("workflow/report/style.css", {"render_report", "render_browser"}),
    "a figure's caption": ("workflow/report/wins.rst", {"render_report"}),
    "the report's numbers of the paper": ("resources/published.yaml", PUBLISHED | {"summarize_study"}),
    "the text outside": ("resources/outside.txt", drifted(*POLICIES)),
    "the environment": ("environment.yml", set()),
    "the config's checks": ("workflow/scripts/hh_align/config/resolve.py", set()),
}


@pytest.mark.parametrize("edit", CODE_EDITS)
def test_a_code_edit_reruns_the_steps_that_import_it(paper, edit):
    name, expected = CODE_EDITS[edit]
    change = {"old": "pip>=24", "new": "pip>=25"} if name == "environment.yml" else {}
    with paper.edited(name, **change, end="\nEDITED = 1\n" if name.endswith(".py") else "\n# edited\n"):
        assert paper.planned() == expected


def test_a_step_that_failed_is_due_again(own_paper):
    # Snakemake removes its outputs and forgets them; what follows still lies there from before
    own_paper.edit("workflow/scripts/hh_align/analysis/check_claims.py", "def main(", 'raise SystemExit("error: killed")\n\n\ndef main(')
    assert own_paper.run("results/paper/analysis/claims.parquet").returncode == 1
    assert not (own_paper.path / "results/paper/analysis/claims.parquet").exists()
    assert own_paper.planned() >= CLAIMS


def test_touched_files_rerun_nothing(own_paper):
    # a fresh checkout or a copied results folder has new dates and the same content
    later = time.time() + 60
    for path in sorted(own_paper.path.rglob("*")):
        if path.is_file() and ".snakemake" not in path.parts:
            os.utime(path, (later, later))
    assert own_paper.planned() == set()
