"""Policies from weights that exist: what they are compared with, how they read, and that a folder's tied layers are seen early."""

import json

import pytest
from configs import SCHEMA, load

from hh_align.config.check_weights import template_key
from hh_align.config.graph import policy_order
from hh_align.config.resolve import resolve
from hh_align.core.errors import StudyError

THEIRS = {"source": "local", "path": "theirs"}


def test_a_model_of_its_own_is_compared_with_the_root_unless_it_says_more():
    policies = {"theirs": THEIRS, "tuned": THEIRS | {"parent": "sft"}, "adapted": {"parent": "base", "adapter": "a"}, "on": {"parent": "theirs", "method": "dpo"}}  # fmt: skip
    config = resolve(load("config", {"policies": policies}), SCHEMA)
    assert config["policies"]["theirs"]["parent"] == "base" and config["policies"]["tuned"]["parent"] == "sft"
    assert policy_order(config)[0] == "base" and set(policy_order(config)) == {"base", "sft", "dpo", "sft_dpo", *policies}
    assert resolve(config, SCHEMA)["policies"] == config["policies"]


def test_it_reads_by_its_own_template():
    policies = {"chat": THEIRS | {"chat_template": True}, "plain": THEIRS, "asked": {"parent": "chat", "generation": {"stop": True}}}
    config = resolve(load("config", {"policies": policies}), SCHEMA)
    keys = {name: template_key(config, name) for name in ("base", "sft", "plain", "chat", "asked")}
    assert keys == {"base": None, "sft": None, "plain": None, "chat": "policies.chat.chat_template", "asked": "policies.chat.chat_template"}
    policies["asked"]["generation"] = {"lead": True}
    with pytest.raises(StudyError, match=r"policies.asked.generation.lead has no meaning with policies.chat.chat_template"):
        resolve(load("config", {"policies": policies}), SCHEMA)


@pytest.mark.parametrize(("tied", "refused"), [(True, True), (False, False), (None, False)])
def test_an_adapter_on_tied_layers_of_a_folder_is_refused_when_the_study_is_planned(tmp_path, tied, refused):
    (tmp_path / "config.json").write_text(json.dumps({"tie_word_embeddings": tied} if tied is not None else {}))
    mine = {"models": {"base": {"source": "local", "path": str(tmp_path)}}, "methods": {"dpo": {"lora": {"targets": ["lm_head"]}}}}
    if refused:
        with pytest.raises(StudyError, match=r"methods.dpo.lora.targets names lm_head, but .* share their weights"):
            resolve(load("config", mine), SCHEMA)
    else:
        resolve(load("config", mine), SCHEMA)


def test_responses_of_a_policy_whose_weights_are_given_serve_every_seed():
    given = {"theirs": THEIRS, "adapted": {"parent": "base", "adapter": "a"}}
    mine = {"seeds": [1, 2], "policies": given, "responses": {name: {"path": f"{name}.csv"} for name in given}}
    resolve(load("config", mine), SCHEMA)
    with pytest.raises(StudyError, match=r"responses.theirs.path has \{seed\} in it, but theirs has weights that are given, the same for"):
        resolve(load("config", mine, {"responses": {"theirs": {"path": "t-{seed}.csv"}}}), SCHEMA)


def test_a_method_that_reads_transcripts_trains_no_policy_that_reads_by_a_template():
    mine = {"methods": {"dpo": {"dropout": "as_published"}}, "policies": {"chat": THEIRS | {"chat_template": True}}}
    resolve(load("config", mine), SCHEMA)
    with pytest.raises(
        StudyError, match=r"methods.dpo.dropout as_published reads transcripts, and trains on: set policies.chat.chat_template"
    ):
        resolve(load("config", mine, {"policies": {"on": {"parent": "chat", "method": "dpo"}}}), SCHEMA)
