"""Bad configs: every key of the schema is tried, an unknown one is refused, and one that is needed and missing is named."""

import copy

import pytest
from configs import SCHEMA
from whole_configs import ENTRIES, WHOLE, dotted, put, refused

from hh_align.config.resolve import read_schema, resolve
from hh_align.core.errors import StudyError

DEFINITION = read_schema(SCHEMA)


def schema_paths(node, path=()):
    """The path of every key below a node, whatever it hangs on; * stands for a name of the user's choice."""
    if "$ref" in node:
        yield from schema_paths(DEFINITION["$defs"][node["$ref"].rpartition("/")[2]], path)
    for key, part in node.get("properties", {}).items():
        yield (*path, key)
        yield from schema_paths(part, (*path, key))
    if isinstance(node.get("additionalProperties"), dict):
        yield from schema_paths(node["additionalProperties"], (*path, "*"))
    if "items" in node:
        yield from schema_paths(node["items"], (*path, 0))
    for part in [node[word] for word in ("then", "else") if word in node] + [
        part for word in ("allOf", "anyOf", "oneOf") for part in node.get(word, [])
    ]:
        yield from schema_paths(part, path)


def test_every_key_of_the_schema_is_tried():
    def tried(path):
        return any(len(keys) == len(path) and all(key in ("*", own) for key, own in zip(path, keys, strict=True)) for keys in ENTRIES)

    # controls and snapshots are written out as policies, like as the other method's keys, the name of a suite as what the table says, the studies
    # of a claim as its being there: test_short_forms.py, test_snapshots.py, test_likes.py, test_suites.py and test_claims.py try them
    written_out = {"controls", "snapshots", "like", "name", "studies"}
    assert [dotted(path) for path in dict.fromkeys(schema_paths(DEFINITION)) if not written_out & set(path) and not tried(path)] == []


OWN_NAMES = {
    ("datasets",),
    ("methods",),
    ("policies",),
    ("judges",),
    ("suites",),
    ("release", "policies"),
    ("release", "sums"),
    ("judges", "guard", "classes"),
}
CLOSED = [(), *(path for path, (_, value) in ENTRIES.items() if type(value) is dict and path not in OWN_NAMES and "where" not in path)]


@pytest.mark.parametrize("path", CLOSED, ids=lambda path: dotted(path) or "the config")
@pytest.mark.parametrize("key", ["trust_remote_code", "unknown", True, 1])
def test_an_unknown_key_is_refused(path, key):
    name = ENTRIES[path][0] if path else "config"
    refused(name, (*path, key), put((*path, key), True))


NEEDED = {
    (): ["study", "datasets", "models", "prompts", "policies", "judges"],
    ("prompts",): ["dataset", "harmlessness", "helpfulness"],
    ("prompts", "harmlessness"): ["subset"],
    ("prompts", "helpfulness"): ["subset"],
    ("datasets", "hh"): ["source", "repo", "revision", "subsets"],
    ("datasets", "own"): ["source", "path", "subsets"],
    ("datasets", "half"): ["from"],
    ("datasets", "half", "judge_margin"): ["judge", "quantile"],
    ("datasets", "half", "ches"): ["quantile"],
    ("datasets", "synthetic"): ["source", "subsets", "train_rows", "test_rows"],
    ("datasets", "synthetic", "train_rows"): ["harmless-base", "helpful-base"],
    ("models",): ["base"],
    ("models", "base"): ["source", "repo", "revision"],
    ("models", "base", "pretraining"): ["learning_rate"],
    ("methods", "sft"): ["trainer", "learning_rate"],
    ("methods", "dpo"): ["trainer", "learning_rate"],
    ("methods", "kto"): ["trainer", "learning_rate"],
    ("methods", "sft", "lora"): ["targets"],
    ("methods", "kto", "lora"): ["targets"],
    ("methods", "dpo", "lora"): ["targets"],
    ("judges", "deberta"): ["source", "repo", "revision", "harmless_min", "helpful_above"],
    ("judges", "own"): ["source", "path", "harmless_min", "helpful_above"],
    ("judges", "toxic"): ["source", "path", "label", "higher_is", "harmless_min"],
    ("judges", "wise"): ["source", "path", "attribute", "higher_is", "helpful_above"],
    ("judges", "rated"): ["source", "path", "harmless_min", "helpful_above"],
    ("judges", "llm"): ["source", "url", "model", "lowest", "highest", "harmless_min", "helpful_above"],
    ("judges", "small"): ["source", "architecture", "training", "harmless_min", "helpful_above"],
    ("drift",): ["text"],
    ("release",): ["policies", "judge", "sums"],
    ("reproduction",): ["folder", "judges"],
    ("claims", 0): ["claim", "parts"],
    ("claims", 0, "parts", 0): ["higher", "than", "metrics"],
    ("claims", 0, "facts", 0): ["artifact"],
}


@pytest.mark.parametrize("null", [False, True], ids=["absent", "null"])
@pytest.mark.parametrize("path", [(*path, key) for path, needed in NEEDED.items() for key in needed], ids=dotted)
def test_a_key_that_is_needed_and_missing_is_named(path, null):
    name = ENTRIES[path][0] if len(path) > 1 else "config"

    def change(holder):
        holder[path[-1]] = None
        if not null:
            del holder[path[-1]]

    if path == ("datasets", "half", "from"):  # without it the dataset is one that needs a source
        config = copy.deepcopy(WHOLE[name])
        change(config["datasets"]["half"])
        with pytest.raises(StudyError, match=r"datasets.half lacks the key source"):
            resolve(config, SCHEMA)
    else:
        refused(name, path, change)
