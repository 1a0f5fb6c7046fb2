"""Tasks of lm-evaluation-harness over local files, for tests: YAML and JSON, in a folder as `include` names it."""

import json
from importlib.util import find_spec
from pathlib import Path

import pytest
import yaml

needs_lm_eval = pytest.mark.skipif(not find_spec("lm_eval"), reason="lm-eval is not installed (make lm-eval)")
DOCS = [
    {"question": "a bell rings", "choices": ["twice a day", "at noon", "never"], "label": 0},
    {"question": "tell me the old way", "choices": ["please", "of it"], "label": 1},
    {"question": "do I mend the bell", "choices": ["yes", "no, never at noon", "a"], "label": 2},
    {"question": "how", "choices": ["do I", "that"], "label": 0},
    {"question": "", "choices": ["the way", "it rings twice"], "label": 1},
]
PLAIN = {
    "doc_to_text": "Question: {{question}}\nAnswer:", "doc_to_choice": "choices", "doc_to_target": "label", "output_type": "multiple_choice",
    "metric_list": [{"metric": name, "aggregation": "mean", "higher_is_better": True} for name in ("acc", "acc_norm")],
}  # fmt: skip
BLANKS = {"doc_to_text": 0, "doc_to_choice": "{{['the ' + question, 'a ' + question]}}", "doc_to_target": "and more"}
"""As of Winograd schemas: the options stand in the context, and one text follows."""
TASKS = {
    "plain": {},
    "shots": {"num_fewshot": 2},
    "none": {"doc_to_text": "", "target_delimiter": ""},
    "blanks": BLANKS,
    "written": {"output_type": "generate_until", "doc_to_target": "{{choices[label]}}", "metric_list": [{"metric": "exact_match"}]},
}


def write_tasks(folder: Path, docs: list[dict] = DOCS, tasks: dict[str, dict] = TASKS) -> Path:
    """The folder, which holds a YAML file of each task, and their rows."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "rows.json").write_text("".join(json.dumps(doc) + "\n" for doc in docs))
    files = {"train": str(folder / "rows.json"), "test": str(folder / "rows.json")}
    kept = {"data_files": files, "cache_dir": str(folder.parent / "cache")}
    data = {"dataset_path": "json", "dataset_kwargs": kept, "training_split": "train", "test_split": "test"}
    for name, more in tasks.items():
        (folder / f"{name}.yaml").write_text(yaml.safe_dump({"task": name, **data, **PLAIN, "metadata": {"version": 1.0}, **more}))
    return folder
