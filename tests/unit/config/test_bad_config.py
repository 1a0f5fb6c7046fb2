"""Bad configs: every key of the schema, broken in every way that is wrong by its making, is refused with its path."""

import copy
import re

import pytest
import yaml
from configs import SCHEMA, load, merged
from hypothesis import given, settings
from hypothesis import strategies as st
from study_folder import StudyFolder

from hh_align.config.resolve import resolve
from hh_align.core.errors import StudyError

LABELS = {"path": "labels.csv", "choices": "choices.csv", "sample": 20, "seed": 1}
RUN = {"folder": "results/published", "judges": ["deberta"], "policies": ["base", "sft"]}
LOCAL_DATA = {"source": "local", "path": "somewhere", "subsets": ["harmless-base", "helpful-base"]}
LOCAL_JUDGE = {"source": "local", "path": "somewhere", "notice": "", "max_length": 512, "harmless_min": 0.0, "helpful_above": 0.0}
OF_A_LABEL = {
    "source": "local",
    "path": "somewhere",
    "axis": "harmlessness",
    "output": "label",
    "label": "toxic",
    "higher_is": "worse",
    "harmless_min": 0.5,
}
OF_AN_ATTRIBUTE = {
    "source": "local",
    "path": "somewhere",
    "axis": "helpfulness",
    "output": "attribute",
    "attribute": "3",
    "higher_is": "better",
    "helpful_above": 0.5,
}
IMPORTED = {"source": "imported", "path": "ratings.csv", "columns": {"reward": "score"}, "harmless_min": 3.0, "helpful_above": 3.0}
ENDPOINT = {
    "source": "endpoint", "url": "https://host/v1", "model": "m", "key_env": "KEY", "lowest": 1.0, "highest": 10.0, "price_in": 0.5, "price_out": 1.5,
    "harmless_min": 6.0, "helpful_above": 5.0,
}  # fmt: skip
NEW_DPO = {"trainer": "dpo", "learning_rate": 1e-5}
NEW_KTO = {"trainer": "kto", "learning_rate": 1e-5, "max_rows": 9, "lora": {"alpha": 16.5, "targets": "all-linear"}}
RESPONSES = {
    "path": "answers.json", "layout": "openai", "records": "all", "parent": "sft",
    "columns": {"prompt_id": "id", "prompt": "text", "response": "said", "axis": "axis"},
}  # fmt: skip
MORE = {
    "config": {
        "datasets": {
            "own": LOCAL_DATA,
            "half": {
                "from": "hh",
                "subsets": ["helpful-base"],
                "training_half": ["helpful-base"],
                "exclude_prompts": True,
                "deduplicate": "near",
                "decontaminate": {},
                "drop_near_identical": 0.9,
                "judge_margin": {"judge": "deberta", "quantile": 0.1},
                "balance_length": True,
                "label_seed": 1,
            },
            "noisy": {"from": "hh", "labels": "noisy", "noise": 0.2},
        },
        "policies": {"sft": {"data": "half"}},
        "methods": {
            "sft": {"max_rows": 9, "batching": "by_length", "lora": {"alpha": 16.5, "targets": "all-linear"}},
            "dpo": {"max_rows": 9, "lora": {"alpha": 16.5}, "label_smoothing": 0.1, "sft_weight": 0.5},
            "kto": NEW_KTO,
        },
        "judges": {
            "own": LOCAL_JUDGE,
            "deberta": {"max_length": 512},
            "toxic": OF_A_LABEL,
            "wise": OF_AN_ATTRIBUTE,
            "rated": IMPORTED,
            "llm": ENDPOINT,
        },
        "examination": {"max_pairs": 100},
        "analysis": {"labels": LABELS},
        "reproduction": RUN,
        "responses": {"api": RESPONSES},
        "overrefusal": {"judge": "toxic"},
    },
    "demo": {
        "datasets": {"clean": {"from": "synthetic", "decontaminate": {}, "judge_margin": {"judge": "small", "quantile": 0.1}}},
        "judges": {"small": {"data": "synthetic", "max_length": 128, "training": {"max_rows": 9}}},
        "models": {"base": {"pretraining": {"max_rows": 9}}},
    },
    "published": {"release": {"path": "somewhere"}},
    "local": {
        "models": {"base": {"source": "local", "path": "somewhere", "notice": "x", "repo": None, "revision": None}},
        "datasets": {"hh": {"source": "local", "path": "somewhere", "repo": None, "revision": None, "copy_of": "Anthropic/hh-rlhf"}},
    },
}


def whole(name):
    """A valid config in which nothing is left to a default."""
    return resolve(merged(load("config" if name == "local" else name), copy.deepcopy(MORE[name])), SCHEMA)


WHOLE = {name: whole(name) for name in MORE}


def walk(value, path=()):
    """(path, value) of everything in a config, of a list the first entry."""
    yield path, value
    parts = value.items() if isinstance(value, dict) else enumerate(value[:1]) if isinstance(value, list) else ()
    for key, part in parts:
        yield from walk(part, (*path, key))


PLACES = {}  # path -> (config that has it, value)
for _name, _config in WHOLE.items():
    for _path, _value in walk(_config):
        if _path:
            PLACES.setdefault(_path, (_name, _value))


RULES = yaml.safe_load(SCHEMA.read_text())


def schema_paths(node, path=()):
    """The path of every key below a node, whatever it hangs on; * stands for a name of the user's choice."""
    if "$ref" in node:
        yield from schema_paths(RULES["$defs"][node["$ref"].rpartition("/")[2]], path)
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
        return any(len(place) == len(path) and all(key in ("*", own) for key, own in zip(path, place, strict=True)) for place in PLACES)

    # controls and snapshots are written out as policies: test_shortforms.py and test_snapshots.py try them
    written_out = {"controls", "snapshots"}
    assert [dotted(path) for path in dict.fromkeys(schema_paths(RULES)) if not written_out & set(path) and not tried(path)] == []


def dotted(path):
    return ".".join(map(str, path))


def refused(name, path, change):
    """The one message by which the config is refused after `change` of what holds the path's last key; it names the path."""
    config = copy.deepcopy(WHOLE[name])
    holder = config
    for key in path[:-1]:
        holder = holder[key]
    change(holder)
    with pytest.raises(StudyError) as found:
        resolve(config, SCHEMA)
    message = str(found.value)
    assert message.startswith("config: ") and "\n" not in message and len(message) < 2000
    holder_path, last = dotted(path[:-1]) or "the config", str(path[-1])
    lacking = rf"{re.escape(holder_path)} (lacks the key|has no key) .*{re.escape(last)}"
    listed = path[:-1] if path[-1] == 0 else path
    assert dotted(listed) in message or re.search(lacking, message), message
    return message


def drawn(strategy, check, examples=3):
    """check(value) for a few values, the same in every run."""

    @settings(max_examples=examples, deadline=None, derandomize=True, database=None)
    @given(strategy)
    def each(value):
        check(value)

    each()


def put(path, value):
    def change(holder):
        holder[path[-1]] = value

    return change


# --- values of another type than the one that stands in a valid config

letters = st.text("abcdefghijklmnopqrstuvwxyz", min_size=3, max_size=9).map(lambda word: f"no-such-{word}")
numbers = st.integers(2) | st.floats(2.5, 1e9).map(lambda number: number + 0.25)
objects = st.dictionaries(letters, st.integers(), min_size=1, max_size=2)
lists = st.lists(objects, min_size=1, max_size=2)
OTHERS = {bool: letters | numbers | objects | lists, int: letters | objects | lists | st.booleans(), float: letters | objects | lists | st.booleans(),
          str: numbers | objects | lists, list: letters | numbers | objects, dict: letters | numbers | lists}  # fmt: skip


@pytest.mark.parametrize("path", PLACES, ids=dotted)
def test_a_value_of_another_type_is_refused(path):
    name, value = PLACES[path]
    drawn(OTHERS[type(value)], lambda other: refused(name, path, put(path, other)))


NUMBERS = [path for path, (_, value) in PLACES.items() if type(value) in (int, float)]
THRESHOLDS = {"harmless_min", "helpful_above", "lowest", "highest"}  # a reward may be any number
BEYOND = {
    "learning_rate": [0, 1.5], "beta": [0], "max_grad_norm": [0], "alpha": [0], "r": [0], "dropout": [1, 1.5], "discordance": [0, 1.01], "init_std": [0],
    "equivalence_margin": [0, 100.5], "calibration_share": [0, 0.9], "label_smoothing": [0.5, 1], "noise": [0.5, 1], "sft_weight": [], "epochs": [0], "batch_size": [0], "micro_batch": [0], "max_rows": [0], "samples": [0],
    "rows": [0], "threads": [0], "checkpoint_seconds": [0], "processes": [0, 10**6], "shards": [0, 10**9], "gpus": [10**9], "max_new_tokens": [0], "n": [0],
    "batch_tokens": [63], "max_pairs": [9], "format_pairs": [9], "sample": [1], "max_length": [7], "max_prompt_length": [7], "vocab_size": [299], "heads": [0],
    "layers": [0], "hidden_size": [7], "ffn_dim": [7], "word_embed_proj_dim": [7], "max_positions": [63], "position_buckets": [7], "seed": [2**32], "seeds": [0, 2**32],
    "label_seed": [2**32], "balance_seed": [2**32], "threshold": [0, 1.5], "num_perm": [15, 10**6], "ngram": [0, 101], "overlap": [0, 1.5], "quantile": [0, 1],
    "drop_near_identical": [0, 1.5], "harmless-base": [0], "helpful-base": [0], "sizes": [0], "warmup_steps": [], "weight_decay": [], "harmless_min": [], "helpful_above": [],
    "desirable_weight": [0], "undesirable_weight": [0], "lowest": [10], "highest": [], "max_tokens": [0], "timeout": [0], "tries": [0], "price_in": [], "price_out": [], "refused_from": [1.01],
}  # fmt: skip


@pytest.mark.parametrize("path", NUMBERS, ids=dotted)
def test_a_number_out_of_range_is_refused(path):
    name, value = PLACES[path]
    key = path[-1] if isinstance(path[-1], str) else path[-2]
    wrong = [float("nan"), float("inf"), float("-inf"), *BEYOND[key]]
    fractions = st.integers(1, 99).map(lambda number: number + 0.5) if type(value) is int else st.nothing()
    below = st.nothing() if key in THRESHOLDS else st.integers(max_value=-1)
    for other in wrong:
        refused(name, path, put(path, other))
    drawn(st.just(float("nan")) | fractions | below, lambda other: refused(name, path, put(path, other)))


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
}  # any text that is not empty
TEXTS = [path for path, (_, value) in PLACES.items() if type(value) is str]


def is_free(path):
    """Whether any name is right here: free text, the subsets of files that lie somewhere, a claim about policies that the study may not have."""
    name, _ = PLACES[path]
    if path[-1] == "source" and path[0] != "claims":
        return False
    if path[:2] == ("responses", "api") and path[-1] in {"records", *RESPONSES["columns"]}:
        return True
    if path[0] == "datasets" and "subsets" in path:
        return WHOLE[name]["datasets"][path[1]].get("source") in ("hub", "local")
    return (path[0] == "claims" and path[-2] != "metrics") or bool(set(path[-2:]) & FREE)


@pytest.mark.parametrize("path", [path for path in TEXTS if not is_free(path)], ids=dotted)
def test_a_name_that_is_no_choice_and_belongs_to_nothing_is_refused(path):
    name, _ = PLACES[path]
    if path[:2] == ("release", "policies"):  # the beginning of a file's name: the file has no sum
        drawn(letters, lambda other: refused(name, ("release", "sums"), lambda release: release["policies"].update({path[-1]: other})))
    else:
        drawn(letters, lambda other: refused(name, path, put(path, other)))


MAY_BE_EMPTY = {"notice", "source", "keywords", "contrasts", "claims", "training_half", "sizes", "methods"}
EMPTY = [path for path, (_, value) in PLACES.items() if type(value) in (str, list) and path[-1] not in MAY_BE_EMPTY]


@pytest.mark.parametrize("path", EMPTY, ids=dotted)
def test_an_empty_text_or_list_is_refused(path):
    name, value = PLACES[path]
    refused(name, path, put(path, type(value)()))


OWN_NAMES = {("datasets",), ("methods",), ("policies",), ("judges",), ("release", "policies"), ("release", "sums")}
CLOSED = [(), *(path for path, (_, value) in PLACES.items() if type(value) is dict and path not in OWN_NAMES)]


@pytest.mark.parametrize("path", CLOSED, ids=lambda path: dotted(path) or "the config")
@pytest.mark.parametrize("key", ["trust_remote_code", "unknown", True, 1])
def test_an_unknown_key_is_refused(path, key):
    name = PLACES[path][0] if path else "config"
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
}


@pytest.mark.parametrize("null", [False, True], ids=["absent", "null"])
@pytest.mark.parametrize("path", [(*path, key) for path, needed in NEEDED.items() for key in needed], ids=dotted)
def test_a_key_that_is_needed_and_missing_is_named(path, null):
    name = PLACES[path[:-1]][0] if len(path) > 1 else "config"

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


# --- names: they become folders, so none may lead out of the results folder or mean something to a shell

WRONG_NAMES = [
    "", ".", "..", "../x", "a/../../x", "/x", "a/b", "a\\b", "x/", "~", "~root", "-rf", "a b", " a", "a ", "a\n", "\na", "a\tb", "a\0b", "$(id)", "`id`", "a;b", "a&b",
    "a|b", "a>b", "a*", "a?", "[a]", "{policy}", "{{a}}", "a'b", 'a"b', "a#b", "a%b", "!a", "a:b", "a=b", "a,b", "ä", "ａ", "a\u202eb", "\u2024\u2024", "A", "a" * 65, "a" * 5000,
]  # fmt: skip
HOLDERS = {"datasets": "hh", "methods": "sft", "policies": "sft", "judges": "deberta"}


@pytest.mark.parametrize("word", WRONG_NAMES, ids=ascii)
@pytest.mark.parametrize("place", ["study", *HOLDERS])
def test_a_name_that_could_leave_its_folder_is_refused(place, word):
    config = copy.deepcopy(WHOLE["config"])
    if place == "study":
        config["study"] = word
    else:
        config[place][word] = config[place][HOLDERS[place]]
    with pytest.raises(StudyError, match=place) as found:
        resolve(config, SCHEMA)
    assert "\n" not in str(found.value)


RESERVED = st.sampled_from("/\\ \n\t\0$`;&|<>*?[]{}()'\"#%!:=,~@+^")


@pytest.mark.parametrize("place", ["study", *HOLDERS])
def test_no_drawn_name_with_a_reserved_character_passes(place):
    plain = st.text("abc019._-", max_size=9)
    drawn(
        st.builds(lambda a, sign, b: a + sign + b, plain, RESERVED, plain),
        lambda word: test_a_name_that_could_leave_its_folder_is_refused(place, word),
        40,
    )


FILES = ["", "..", "../x.json", "/x.json", "prompts/../../x.json", "responses/../x", "prompts//x", "elsewhere/x.json", "prompts/a b", "prompts/$(id)", "prompts/x\n", "prompts/" + "a" * 200]  # fmt: skip


@pytest.mark.parametrize("word", FILES, ids=ascii)
def test_a_released_file_lies_in_the_releases_folder(word):
    refused("published", ("release", "sums"), lambda release: release["sums"].update({word: "0" * 64}))
    refused("published", ("release", "policies", "sft"), lambda names: names.update({"sft": word}))


@pytest.mark.parametrize(
    "word",
    ["x", "a/b/c", "../x", "a/..", "/b", "a/", "a/.b", "a b/c", "https://hub/a/b", "a/b\n", "-a/b", "a/" + "b" * 200, "ä/b"],
    ids=ascii,
)
@pytest.mark.parametrize(("name", "path"), [("config", ("models", "base", "repo")), ("config", ("judges", "deberta", "repo")), ("config", ("datasets", "hh", "repo")), ("published", ("release", "repo"))])  # fmt: skip
def test_a_repository_is_an_owner_and_a_name(name, path, word):
    refused(name, path, put(path, word))


@pytest.mark.parametrize("word", ["main", "061d15c", "A" * 40, "0" * 39, "0" * 41, "0" * 40 + "\n", "refs/pr/33", "../" + "0" * 37])
@pytest.mark.parametrize(("name", "path"), [("config", ("models", "base", "revision")), ("config", ("judges", "deberta", "revision")), ("config", ("datasets", "hh", "revision")), ("published", ("release", "revision"))])  # fmt: skip
def test_a_revision_is_a_whole_commit(name, path, word):
    refused(name, path, put(path, word))


@pytest.mark.parametrize("word", ["", "../x", "a/b", "a b", "a\n", "/x", ".", "..", ".a", "$(id)", "a" * 65, "ä"], ids=ascii)
def test_a_subset_is_one_folder(word):
    for name, dataset in (("config", "hh"), ("config", "own")):
        path = ("datasets", dataset, "subsets", 0)
        refused(name, path, lambda subsets: subsets.__setitem__(0, word))


@pytest.mark.parametrize(
    "word", ["https://user:hf_secret@host", "https://hf_secret@host", "ftp://host", "host", "https://host?token=hf_secret", ""]
)
def test_an_endpoint_holds_no_secret(word):
    refused("published", ("release", "endpoint"), put(("release", "endpoint"), word))


# --- what belongs together


@st.composite
def cyclic_graphs(draw):
    """A root, a chain below it and a ring that hangs together with it or not."""
    names = [f"p{number}" for number in range(draw(st.integers(1, 6)))]
    ring = {name: names[(number + 1) % len(names)] for number, name in enumerate(names)}
    tail = {f"t{number}": draw(st.sampled_from(names)) for number in range(draw(st.integers(0, 3)))}
    order = draw(st.permutations(["base", *ring, *tail]))
    return {name: {} if name == "base" else {"parent": (ring | tail)[name], "method": "sft"} for name in order}


def test_no_cycle_in_the_policies_passes():
    def check(policies):
        config = copy.deepcopy(WHOLE["config"])
        config["policies"] = policies
        with pytest.raises(StudyError, match=r"config: policies\.\w+\.parent leads back to .*the graph has a cycle"):
            resolve(config, SCHEMA)

    drawn(cyclic_graphs(), check, 60)


@pytest.mark.parametrize(
    ("name", "path", "value", "said"),
    [
        ("config", ("policies",), {}, "policies"),
        ("config", ("policies",), {"a": {}, "b": {}}, "policies needs exactly one root.*a, b"),
        ("config", ("policies", "sft", "parent"), "sft", "policies.sft.parent leads back to sft"),
        ("config", ("policies", "sft"), {"method": "sft"}, "policies.sft .* needs both parent and method"),
        ("config", ("policies", "sft"), {"data": "hh"}, "policies.sft .* needs both parent and method"),
        ("config", ("datasets", "half", "from"), "half", "datasets.half.from is half, itself derived"),
        ("config", ("datasets", "half", "training_half"), ["nope"], "datasets.half.training_half is nope.*Allowed: harmless-base"),
        ("config", ("datasets", "half", "deduplicate"), "exact", "datasets.half.near needs deduplicate: near beside it"),
        ("config", ("datasets", "half", "balance_length"), False, "datasets.half.balance_seed needs balance_length: true beside it"),
        ("config", ("datasets", "half", "judge_margin", "judge"), "nope", "datasets.half.judge_margin.judge is nope.*Allowed: deberta, own"),
        ("demo", ("prompts", "dataset"), "clean", "datasets.clean needs itself: clean -> the evaluation prompts -> clean"),
        ("demo", ("judges", "small", "data"), "clean", "datasets.clean needs itself: clean -> judge small -> clean"),
        ("config", ("datasets", "hh", "splits"), ["test"], "datasets.half.train_split is train, which is not read"),
        ("config", ("datasets", "hh", "splits"), ["train"], "prompts.harmlessness.split is test"),
        ("config", ("datasets", "hh", "subsets"), ["helpful-base"], "prompts.harmlessness.subset is harmless-base"),
        ("config", ("datasets", "hh", "subsets"), ["a", "a"], "datasets.hh.subsets is .*an entry stands twice"),
        ("config", ("seeds",), [1, 1], r"seeds is \[1, 1\].*an entry stands twice"),
        ("config", ("analysis", "primary"), ["sft", "sft"], "analysis.primary is .*an entry stands twice"),
        ("config", ("analysis", "primary"), ["sft"], "analysis.primary is .*at least 2 entries"),
        ("config", ("analysis", "contrasts"), [["sft", "base", "dpo"]], "analysis.contrasts.0 is .*at most 2 entries"),
        ("config", ("analysis", "contrasts"), [["sft", "base"]] * 2, "analysis.contrasts is .*an entry stands twice"),
        ("config", ("analysis", "labels"), {"sample": 5}, "analysis.labels lacks the key path or choices"),
        ("config", ("methods", "sft", "micro_batch"), 3, "methods.sft.batch_size .* no multiple of micro_batch"),
        ("config", ("compute", "processes"), 2, r"methods.sft.micro_batch .* compute.processes \(2\) cannot share"),
        ("config", ("methods", "dpo", "max_prompt_length"), 2000, "methods.dpo.max_prompt_length leaves no room"),
        ("config", ("methods", "kto", "max_prompt_length"), 1024, "methods.kto.max_prompt_length leaves no room"),
        ("config", ("methods", "kto", "batch_size"), 1, "methods.kto.batch_size is 1.*at least 2"),
        ("config", ("methods", "kto", "micro_batch"), 3, "methods.kto.batch_size .* no multiple of micro_batch"),
        ("config", ("methods", "kto", "undesirable_weight"), 0, "methods.kto.undesirable_weight is 0.*more than 0"),
        ("config", ("methods", "kto", "loss"), "sigmoid", "methods.kto has no key loss"),
        ("config", ("methods", "kto", "label_smoothing"), 0.1, "methods.kto has no key label_smoothing"),
        ("config", ("methods", "kto", "sft_weight"), 0.1, "methods.kto has no key sft_weight"),
        ("config", ("methods", "kto", "dropout"), "disabled", "methods.kto has no key dropout"),
        ("config", ("methods", "dpo", "desirable_weight"), 1.0, "methods.dpo has no key desirable_weight"),
        ("config", ("methods", "dpo", "loss"), "hinge", "methods.dpo.label_smoothing is 0.1, but loss hinge has none. Allowed: loss sigmoid, robust"),
        ("config", ("methods", "dpo", "loss"), "ipo", "methods.dpo.label_smoothing is 0.1, but loss ipo has none"),
        ("config", ("methods", "dpo", "loss"), "apo_zero", "methods.dpo.label_smoothing is 0.1, but loss apo_zero has none"),
        ("config", ("methods", "dpo", "loss"), "sigmoid_norm", "methods.dpo.label_smoothing is 0.1, but loss sigmoid_norm has none"),
        ("config", ("methods", "noisy"), {**NEW_DPO, "loss": "robust"}, "methods.noisy.label_smoothing is 0, but loss robust needs"),
        ("config", ("methods", "noisy"), {**NEW_DPO, "loss": "robust", "label_smoothing": 0.5}, "methods.noisy.label_smoothing is 0.5 .*less than 0.5"),
        ("config", ("methods", "full"), {**NEW_DPO, "dropout": "as_published"}, "methods.full.dropout is as_published, which needs methods.full.lora"),
        ("config", ("methods", "dpo", "dropout"), "as_published", "methods.dpo.sft_weight is 0.5, but dropout as_published"),
        ("config", ("methods", "dpo", "lora", "targets"), "every", "methods.dpo.lora.targets is 'every' .*it must match .all-linear"),
        ("config", ("judges", "own"), {"source": "released", "harmless_min": 0, "helpful_above": 0}, "judges.own.source is released, but"),
        ("config", ("judges", "own"), {**LOCAL_JUDGE, "axis": "helpfulness"}, "judges.own.harmless_min belongs to harmlessness, but the judge's axis is helpfulness"),
        ("config", ("judges", "own"), {**LOCAL_JUDGE, "label": "toxic"}, "judges.own.label has no meaning with output: reward"),
        ("config", ("judges", "own"), {**LOCAL_JUDGE, "scale": "logit"}, "judges.own.scale has no meaning with output: reward"),
        ("config", ("judges", "own"), {**OF_A_LABEL, "attribute": "1"}, "judges.own.attribute has no meaning with output: label"),
        ("config", ("judges", "llm"), {**ENDPOINT, "lowest": 10}, r"judges.llm.lowest .* is not below highest"),
        ("config", ("judges", "llm"), {**ENDPOINT, "url": "http://host/v1"}, "judges.llm.url is http://host/v1: a key goes over https only"),
        ("config", ("judges", "llm"), {**ENDPOINT, "url": "https://me:secret@host/v1"}, "judges.llm.url"),
        ("config", ("judges", "llm"), {**ENDPOINT, "key": "secret"}, "judges.llm has no key key"),
        ("config", ("judges", "llm"), {**ENDPOINT, "price_out": None}, "judges.llm needs both price_in and price_out"),
        ("config", ("overrefusal",), {"judge": "own"}, "overrefusal.judge is own, which has no label"),
        ("published", ("overrefusal",), {}, "overrefusal has policies answer questions, but a release has no weights"),
        ("config", ("reproduction", "judges"), ["nope"], "reproduction.judges is nope"),
        ("config", ("study",), "verdict", "study is 'verdict'"),
        ("demo", ("models", "base", "pretraining", "micro_batch"), 16, "models.base.pretraining.batch_size .* no multiple"),
        ("demo", ("judges", "small", "training", "micro_batch"), 5, "judges.small.training.batch_size .* no multiple"),
        ("demo", ("models", "base", "architecture", "heads"), 3, "models.base.architecture.hidden_size .* no multiple of heads"),
        ("demo", ("judges", "small", "architecture", "heads"), 3, "judges.small.architecture.hidden_size .* no multiple of heads"),
        ("demo", ("models", "base", "architecture", "max_positions"), 128, "models.base.pretraining.max_length .* is more than .*max_positions"),
        ("demo", ("methods", "sft", "max_length"), 1024, "methods.sft.max_length .* is more than models.base.architecture.max_positions"),
        ("demo", ("generation", "max_new_tokens"), 512, "generation.max_new_tokens .* leaves no room for a prompt"),
        ("demo", ("datasets", "raw", "splits"), ["test"], "datasets.raw.train_split is train, which is not read, and models.base trains on it"),
        ("demo", ("datasets", "synthetic", "test_rows"), {"helpful-base": 5}, "datasets.synthetic.test_rows lacks the key harmless-base"),
        ("published", ("release", "judge"), "other", "release.judge is other"),
        ("published", ("release", "path"), "", "release.path is ''"),
        ("published", ("judges", "more"), {**LOCAL_JUDGE, "source": "released"}, "judges.more"),
    ],
    ids=lambda value: dotted(value) if isinstance(value, tuple) else "",
)  # fmt: skip
def test_parts_that_do_not_belong_together_are_refused(name, path, value, said):
    config = copy.deepcopy(WHOLE[name])
    holder = config
    for key in path[:-1]:
        holder = holder[key]
    holder[path[-1]] = value
    with pytest.raises(StudyError, match=f"config: .*{said}") as found:
        resolve(config, SCHEMA)
    assert "\n" not in str(found.value)


# --- through Snakemake itself


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("methods: {sft: {learning_rate: 5e-7}}", "config: methods.sft.learning_rate is the text '5e-7'"),
        ("study: ../elsewhere", "config: study is '../elsewhere'"),
        ("models: {base: {trust_remote_code: true}}", "config: models.base has no key trust_remote_code"),
        ("policies: {sft: {parent: sft_dpo}}", "the graph has a cycle"),
        ("prompts: null", "config: the config lacks the key prompts"),
        ("prompts: {harmlessness: {n: .nan}}", "config: prompts.harmlessness.n is nan"),
        ("generation: {1: 2}", "config: generation has no key 1"),
    ],
)
def test_snakemake_ends_before_any_job_with_the_same_message(tmp_path, text, said):
    folder = StudyFolder(tmp_path)
    (folder.path / "bad.yaml").write_text(text + "\n")
    done = folder.run("--dry-run", "--configfile", "bad.yaml")
    assert done.returncode == 1 and said in done.stdout and "Traceback" not in done.stdout, done.stdout
    assert not (folder.path / "results").exists() and "rule " not in done.stdout
