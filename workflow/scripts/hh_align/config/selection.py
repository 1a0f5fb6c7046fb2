"""Which files of a dataset or a model a study reads, and the name of the manifest of those that it downloads."""

import hashlib
import json

ADAPTER_FILES = ["adapter_config.json", "adapter_model.*", "tokenizer*.json", "chat_template.jinja", "LICENSE*", "NOTICE*"]


def named_files(dataset: dict) -> list[str]:
    """The files of a dataset whose names say subset and split; where columns say the subset, the split alone."""
    folders = [""] if "where" in dataset else [f"{subset}/" for subset in dataset["subsets"]]
    return [f"{folder}{split}.jsonl.gz" for folder in folders for split in dataset["splits"]]


def hub_selection(dataset: dict) -> dict:
    """What is read of a hub's dataset: `files` by name, or a `layout` of configs and splits, whose files are found at the download."""
    if "layout" not in dataset:
        return {"files": sorted(named_files(dataset))}
    configs = [dataset["config"]] if "config" in dataset else list(dataset["subsets"])
    names = dataset.get("split_names", {})
    return {"layout": {"configs": configs, "splits": {split: names.get(split, split) for split in dataset["splits"]}}}


def model_selection(source: dict) -> dict:
    """What is read of a hub's model: `files` by name or pattern, of a GGUF file or an adapter; nothing is said of a whole model."""
    if "file" in source:
        return {"files": [source["file"], "tokenizer*.json", "LICENSE*", "NOTICE*"]}
    return {"files": source["files"]} if "files" in source else {}


def given_source(policy: dict) -> dict:
    """The source of the weights, or of the adapter, that a policy is given."""
    if "source" in policy:
        return policy
    adapter = policy["adapter"]
    return {"source": "hub", **adapter, "files": ADAPTER_FILES} if isinstance(adapter, dict) else {"source": "local", "path": adapter}


def manifest_name(selection: dict) -> str:
    """The manifest of a selection: studies that read other files of the same repository share the folder, not the manifest."""
    if not {"files", "layout"} & set(selection):
        return "manifest.json"
    words = "\n".join(selection["files"]) if "files" in selection else json.dumps(selection["layout"], sort_keys=True)
    return f"manifest-{hashlib.sha256(words.encode()).hexdigest()[:8]}.json"
