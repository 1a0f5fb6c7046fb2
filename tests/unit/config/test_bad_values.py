"""Bad configs: a value of another type, out of range, empty or no choice is refused with its path."""

import pytest
from whole_configs import ENTRIES, RESPONSES, WHOLE, dotted, put, refused

# --- values of another type than the one that stands in a valid config

TEXT, NUMBERS, OBJECT, LIST = "no-such-word", [2, 2.75], {"no": 1, "such": 2}, [{"no": 1}, {"such": 2}]
OTHERS = {bool: [TEXT, *NUMBERS, OBJECT, LIST], int: [TEXT, OBJECT, LIST, True], float: [TEXT, OBJECT, LIST, True],
          str: [*NUMBERS, OBJECT, LIST], list: [TEXT, *NUMBERS, OBJECT], dict: [TEXT, *NUMBERS, LIST]}  # fmt: skip


# keys that hold values of a file's columns: a number is as good there as a text, or a list of them; so are those of `is`
VALUES = {"only", "where"}


@pytest.mark.parametrize("path", [path for path in ENTRIES if not VALUES & set(path[:-1]) and "is" not in path], ids=dotted)
def test_a_value_of_another_type_is_refused(path):
    name, value = ENTRIES[path]
    either = {"options": [*NUMBERS], "adapter": [*NUMBERS, LIST]}  # a text is a column, a folder
    for other in either.get(path[-1], OTHERS[type(value)]):
        refused(name, path, put(path, other))


NUMERIC = [path for path, (_, value) in ENTRIES.items() if type(value) in (int, float) and "only" not in path]
THRESHOLDS = {"above", "below", "harmless_min", "helpful_above", "lowest", "highest", "safe", "unsafe"}  # a reward may be any number
BEYOND = {
    "learning_rate": [0, 1.5], "beta": [0], "max_grad_norm": [0], "alpha": [0], "r": [0], "dropout": [1, 1.5], "discordance": [0, 1.01], "init_std": [0],
    "equivalence_margin": [0, 100.5], "calibration_share": [0, 0.9], "label_smoothing": [0.5, 1], "noise": [0.5, 1], "sft_weight": [], "epochs": [0], "batch_size": [0], "micro_batch": [0], "max_rows": [0], "samples": [0],
    "rows": [0], "threads": [0], "checkpoint_seconds": [0], "processes": [0, 10**6], "shards": [0, 10**9], "gpus": [10**9], "max_new_tokens": [0], "n": [0], "fewshot": [-1],
    "batch_tokens": [63], "max_pairs": [9], "format_pairs": [9], "sample": [1], "max_length": [7], "max_prompt_length": [7], "vocab_size": [299], "heads": [0],
    "layers": [0], "hidden_size": [7], "ffn_dim": [7], "word_embed_proj_dim": [7], "max_positions": [63], "position_buckets": [7], "seed": [2**32], "seeds": [0, 2**32],
    "label_seed": [2**32], "balance_seed": [2**32], "threshold": [0, 1.5], "num_perm": [15, 10**6], "ngram": [0, 101], "overlap": [0, 1.5], "quantile": [0, 1],
    "drop_near_identical": [0, 1.5], "harmless-base": [0], "helpful-base": [0], "sizes": [0], "warmup_steps": [], "weight_decay": [], "harmless_min": [], "helpful_above": [],
    "desirable_weight": [0], "undesirable_weight": [0], "lowest": [10], "highest": [], "safe": [], "unsafe": [], "max_tokens": [0], "timeout": [0], "tries": [0], "price_in": [], "price_out": [], "refused_from": [1.01],
    "empty": [101], "repeating": [101], "repeated_ngrams": [101], "compression": [0], "cut_rise": [101], "same": [101], "length_ratio": [0, 0.9], "kl_ratio": [0],
    "perplexity_ratio": [0], "unchanged": [101], "unmoved_kl": [], "pairs": [1], "prompts": [0], "depths": [0], "hash_range": [1.5],
    "above": [], "below": [], "at_least": [], "at_most": [],
}  # fmt: skip


@pytest.mark.parametrize("path", NUMERIC, ids=dotted)
def test_a_number_out_of_range_is_refused(path):
    name, value = ENTRIES[path]
    key = "hash_range" if "hash_range" in path else path[-1] if isinstance(path[-1], str) else path[-2]
    fractions = [1.5, 98.5] if type(value) is int else []
    below = [] if key in THRESHOLDS else [-1, -(10**9)]
    for other in (float("nan"), float("inf"), float("-inf"), *BEYOND[key], *fractions, *below):
        refused(name, path, put(path, other))


FREE = {
    "notice",
    "claim",
    "source",
    "path",
    "choices",
    "folder",
    "checksums",
    "text",
    "targets",
    "keywords",
    "study",
    "phrases",
    "model",
    "label",
    "attribute",
    "columns",
    "rubric",
    "score",
    "organization",
    "lm_eval",
    "include",
}  # any text that is not empty
TEXTS = [path for path, (_, value) in ENTRIES.items() if type(value) is str]


def is_free(path):
    """Whether any name is right here: free text, the subsets of files that lie somewhere, a claim about policies that the study may not have."""
    name, _ = ENTRIES[path]
    if path[-1] == "source" and path[0] != "claims":
        return False
    if path[:2] == ("responses", "api") and path[-1] in {"records", *RESPONSES["columns"]}:
        return True
    if path[:2] == ("capability", "mine") and (path[-1] == "records" or "options" in path):
        return True
    if "where" in path or (path[0] in ("prompts", "suites") and path[-1] in {"column", "category", "records", "licence"}):
        return True
    if path[0] == "datasets" and (path[-1] == "config" or "split_names" in path):  # the hub's own names
        return True
    if path[0] == "datasets" and "subsets" in path:
        return WHOLE[name]["datasets"][path[1]].get("source") in ("hub", "local")
    return (path[0] == "claims" and path[-2] != "metrics") or bool(set(path[-2:]) & FREE)


@pytest.mark.parametrize("path", [path for path in TEXTS if not is_free(path)], ids=dotted)
def test_a_name_that_is_no_choice_and_belongs_to_nothing_is_refused(path):
    name, _ = ENTRIES[path]
    if path[:2] == ("release", "policies"):  # the beginning of a file's name: the file has no sum
        refused(name, ("release", "sums"), lambda release: release["policies"].update({path[-1]: TEXT}))
    else:
        refused(name, path, put(path, TEXT))


MAY_BE_EMPTY = {"notice", "source", "keywords", "contrasts", "claims", "training_half", "sizes", "methods"}
EMPTY = [
    path for path, (_, value) in ENTRIES.items() if type(value) in (str, list) and path[-1] not in MAY_BE_EMPTY and "where" not in path[:-2]
]


@pytest.mark.parametrize("path", EMPTY, ids=dotted)
def test_an_empty_text_or_list_is_refused(path):
    name, value = ENTRIES[path]
    refused(name, path, put(path, type(value)()))
