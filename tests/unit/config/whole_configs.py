"""Valid configs in which nothing is left to a default, and how the tests of bad configs break them."""

import pickle
import re

import pytest
from configs import SCHEMA, layer, load
from hypothesis import given, settings

from hh_align.config.keys import nth
from hh_align.config.resolve import resolve
from hh_align.core.errors import StudyError

LABELS = {"path": "labels.csv", "choices": "choices.csv", "sample": 20, "seed": 1}
RUN = {"folder": "results/published", "judges": ["deberta"], "policies": ["base", "sft"]}
LOCAL_DATA = {"source": "local", "path": "somewhere", "subsets": ["harmless-base", "helpful-base"]}
LOCAL_JUDGE = {
    "source": "local",
    "path": "somewhere",
    "notice": "",
    "reads": "chat",
    "max_length": 512,
    "harmless_min": 0.0,
    "helpful_above": 0.0,
}
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
IMPORTED = {
    "source": "imported", "path": "ratings.csv", "columns": {"reward": "score"}, "harmless_min": 3.0, "helpful_above": 3.0,
    "score": "graded", "only": {"epoch": 1}, "axes": {"unsafe": "harmlessness"},
}  # fmt: skip
ENDPOINT = {
    "source": "endpoint", "url": "https://host/v1", "model": "m", "key_env": "KEY", "lowest": 1.0, "highest": 10.0, "price_in": 0.5, "price_out": 1.5,
    "harmless_min": 6.0, "helpful_above": 5.0,
}  # fmt: skip
CLASSES = {key: value for key, value in ENDPOINT.items() if key not in ("lowest", "highest")} | {"classes": {"safe": 1.0, "unsafe": 0.0}}
REFEREE = {"source": "endpoint", "asks": "preference", "url": "https://host/v1", "model": "m", "key_env": "KEY"}
NEW_DPO = {"trainer": "dpo", "learning_rate": 1e-5}
NEW_KTO = {"trainer": "kto", "learning_rate": 1e-5, "max_rows": 9, "lora": {"alpha": 16.5, "targets": "all-linear"}}
RESPONSES = {
    "path": "answers.json", "layout": "openai", "records": "all", "parent": "sft",
    "columns": {"prompt_id": "id", "prompt": "text", "response": "said", "axis": "axis", "finish": "why"},
    "only": {"epoch": 1}, "clean": ["think"],
}  # fmt: skip
PINNED = {"n": 9, "where": {"label": ["safe"]}, "endpoint": "https://host"}
OWN_SUITE = {"path": "mine.json", "records": "all"}
FACT = {
    "artifact": "analysis/judge.parquet",
    "where": {"subset": "harmless-base"},
    "column": "accuracy",
    "interval": True,
    "above": 50.5,
    "below": 99.5,
}
BOUNDED = {"artifact": "analysis/ratings.parquet", "count": "prompt_id", "each": "policy", "at_least": 1, "at_most": 500}
FILES = {"artifact": "rewards/*/*/seed-*.parquet", "made_of": ["prompts/prompts.parquet"]}
SOME = {"artifact": "analysis/judge.parquet", "column": "accuracy", "some": True, "above": 50.5}
SETTING = {"artifact": "policies/sft/seed-*/provenance.json", "setting": "method.trainer", "is": ["sft"]}


def of_fact(fact, **more):
    return {"claim": "So it is", "source": "here", "facts": [fact], **more}


MORE = {
    "config": {
        "claims": layer("config/config.yaml")["claims"][:1],  # one of the many, which are all checked alike
        "datasets": {
            "own": LOCAL_DATA
            | {
                "where": {"harmless-base": {"topic": "safety"}, "helpful-base": {"topic": ["shop"]}},
                "axes": {"harmless-base": "harmlessness"},
            },
            "shards": {
                "source": "hub",
                "repo": "a/b",
                "revision": "1" * 40,
                "layout": "datasets",
                "config": "default",
                "subsets": ["harmless-base", "helpful-base"],
                "split_names": {"train": "train_prefs", "test": "test_prefs"},
                "where": {"harmless-base": {"topic": "safety"}, "helpful-base": {"topic": "shop"}},
                "axes": {"helpful-base": "helpfulness"},
            },
            "half": {
                "from": "hh",
                "subsets": ["helpful-base"],
                "training_half": ["helpful-base"],
                "hash_range": {"helpful-base": [0.5, 0.75]},
                "exclude_prompts": True,
                "deduplicate": "near",
                "decontaminate": {},
                "drop_near_identical": 0.9,
                "judge_margin": {"judge": "deberta", "quantile": 0.1},
                "ches": {"quantile": 0.1},
                "balance_length": True,
                "label_seed": 1,
            },
            "noisy": {"from": "hh", "labels": "noisy", "noise": 0.2},
        },
        "policies": {
            "sft": {"data": "half"},
            "local": {"source": "local", "path": "somewhere", "file": "a.gguf", "parent": "sft", "notice": "x", "chat_template": False},
            "hub": {"source": "hub", "repo": "a/b", "revision": "0" * 40, "file": "a.gguf"},
            "adapted": {"parent": "base", "adapter": {"repo": "a/b", "revision": "0" * 40}},
            "asked": {"parent": "sft", "generation": {"lead": True, "cue": True, "stop": True, "strip": True}},
        },
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
            "guard": CLASSES,
            "head": {
                "source": "trained",
                "axis": "harmlessness",
                "depths": [1, 2],
                "data": "hh",
                "max_length": 160,
                "max_rows": 9,
                "reads": "text",
                "harmless_min": 0.0,
            },
        },
        "examination": {"max_pairs": 100},
        "drift": {"prompts": 25},
        "analysis": {"labels": LABELS},
        "reproduction": RUN,
        "responses": {"api": RESPONSES},
        "overrefusal": {"judge": "toxic"},
        "capability": {
            "kinds": {},
            "arc": {"lm_eval": "arc_easy", "include": "tasks", "fewshot": 5, "n": 9},
            "mine": {
                "path": "items.json",
                "records": "data",
                "template": "{context}:",
                "n": 9,
                "columns": {"options": ["a", "b"], "labels": "c"},
            },
        },
        "export": {"organization": "Some Lab"},
        "displacement": {"pairs": 9},
        "suites": {"xstest": PINNED, "mine": OWN_SUITE},
        "prompts": {axis: {"suite": {"name": "xstest", **PINNED}} for axis in ("harmlessness", "helpfulness")},
    },
    "demo": {
        "datasets": {
            "clean": {
                "from": "synthetic",
                "decontaminate": {},
                "judge_margin": {"judge": "small", "quantile": 0.1},
                "ches": {"quantile": 0.1},
            }
        },
        "judges": {"small": {"data": "synthetic", "max_length": 128, "training": {"max_rows": 9}}},
        "models": {"base": {"pretraining": {"max_rows": 9}}},
        "claims": [of_fact(FACT, not_measured="the rest")],
    },
    "published": {"release": {"path": "somewhere"}, "claims": [of_fact(BOUNDED)]},
    "made_of": {"claims": [of_fact(FILES)], "methods": {"dpo": {"lora": {"alpha": 16.5}}}},
    "some": {"claims": [of_fact(SOME)]},
    "local": {
        "claims": [of_fact(SETTING)],
        "models": {"base": {"source": "local", "path": "somewhere", "file": "a.gguf", "notice": "x"}},
        "datasets": {
            "hh": {
                "source": "local",
                "path": "somewhere",
                "copy_of": "Anthropic/hh-rlhf",
                "columns": {"prompt": "q", "chosen": "yes", "rejected": "no"},
            }
        },
        "prompts": {axis: {"suite": OWN_SUITE} for axis in ("harmlessness", "helpfulness")},
    },
}


PARTS = {
    "of data": ("claims", "datasets"),
    "of arms": ("claims", "methods", "responses", "displacement", "export"),
    "of judges": ("claims", "judges", "examination", "overrefusal"),
    "of prompts": ("claims", "prompts", "suites", "capability", "analysis", "reproduction"),
}
"""What of "config" is a valid config by itself: a change in it is the sooner checked the smaller it is."""
MORE |= {part: {key: MORE["config"][key] for key in keys} for part, keys in PARTS.items()}


def whole(name):
    """A valid config in which nothing is left to a default."""
    return resolve(load(name if name in ("demo", "published") else "config", MORE[name]), SCHEMA)


WHOLE = {name: whole(name) for name in MORE}
PICKLED = {name: pickle.dumps(config) for name, config in WHOLE.items()}  # what is copied most is copied soonest


def walk(value, path=()):
    """(path, value) of everything in a config, of a list the first entry."""
    yield path, value
    parts = value.items() if isinstance(value, dict) else enumerate(value[:1]) if isinstance(value, list) else ()
    for key, part in parts:
        yield from walk(part, (*path, key))


ENTRIES = {}  # path -> (config that has it, value), of the smallest: it is the soonest checked
for _name, _config in sorted(WHOLE.items(), key=lambda entry: len(str(entry[1]))):
    for _path, _value in walk(_config):
        if _path:
            ENTRIES.setdefault(_path, (_name, _value))


def dotted(path):
    return "".join(f"[{nth(key)}]" if type(key) is int else f".{key}" for key in path).removeprefix(".")


def refused(name, path, change):
    """The one message by which the config is refused after `change` of what holds the path's last key; it names the path."""
    config = pickle.loads(PICKLED[name])
    holder = config
    for key in path[:-1]:
        holder = holder[key]
    change(holder)
    with pytest.raises(StudyError) as error:
        resolve(config, SCHEMA)
    message = str(error.value)
    assert message.startswith("config: ") and "\n" not in message and len(message) < 2000
    holder_path, last = dotted(path[:-1]) or "the config", str(path[-1])
    lacking = rf"{re.escape(holder_path)} (lacks the key|has no key) .*{re.escape(last)}"
    listed = path[:-1] if path[-1] == 0 else path
    named = f"{holder_path}.{last}"  # a number may be a key of a mapping, too
    assert dotted(listed) in message or named in message or re.search(lacking, message), message
    return message


def drawn(strategy, check, examples):
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
