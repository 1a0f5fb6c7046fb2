"""Chat templates: what a model reads is what its own template writes, in training and in generation."""

import json

import pytest
from architectures import ROWS, import_policy, write_source
from configs import SCHEMA, load, merged
from training_study import DPO, SFT, sft

from hh_align.config.resolve import resolve
from hh_align.core.artifacts import write_table
from hh_align.core.errors import StudyError
from hh_align.data.preferences import SCHEMA as PREFERENCES
from hh_align.data.prepare_preferences import split_pair
from hh_align.data.transcripts import published_prompt
from hh_align.models.chat import as_read, messages
from hh_align.models.decoding import prompt_ids
from hh_align.models.folders import load_policy
from hh_align.training.pairs import usable_pairs

TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}{{ '[' + message.role + ']\n' + message.content }}{% if message.role == 'assistant' %}"
    "{{ eos_token }}{% endif %}{{ '\n' }}{% endfor %}{% if add_generation_prompt %}{{ '[assistant]\n' }}{% endif %}"
)
DIALOGUE = "\n\nHuman: Hi.\n\nAssistant: Yes?\n\nHuman: One.\n\nTwo.\n\nAssistant:"
ASKED = {"max_new_tokens": 8, "lead": False, "cue": True, "long_prompts": "error"}


def import_chat(folder, template, chat=True):
    """The manifest of the imported model, of a source with this template (None: with none)."""
    source = write_source(folder / "source", "llama")
    settings = json.loads((source / "tokenizer_config.json").read_text())
    (source / "tokenizer_config.json").write_text(json.dumps(settings | ({"chat_template": template} if template else {})))
    return import_policy(source, folder / "base/manifest.json", **({"chat_template": True} if chat else {}))


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """A folder with preferences and a base that has a chat template."""
    folder = tmp_path_factory.mktemp("chat")
    import_chat(folder, TEMPLATE)
    write_table(folder / "preferences.parquet", ROWS, PREFERENCES, {})
    return folder


@pytest.mark.parametrize(
    ("prompt", "turns"),
    [
        (DIALOGUE, [("user", "Hi."), ("assistant", "Yes?"), ("user", "One.\n\nTwo.")]),
        ("Human: Hi.", [("user", "Hi.")]),
        ("Hi.", [("user", "Hi.")]),
        ("Human: Hi.\n\nAssistant: Yes", [("user", "Hi."), ("assistant", "Yes")]),
        ("\n\nHuman: a\n\nHuman: b\n\nAssistant:", [("user", "a\n\nb")]),
        ("Human: say 'Assistant: no'", [("user", "say 'Assistant: no'")]),
        ("Be kind.\n\nHuman: a\n\nAssistant: b\n\nHuman: c", [("system", "Be kind."), ("user", "a"), ("assistant", "b"), ("user", "c")]),
        ("begun\n\nAssistant: b", [("user", "begun"), ("assistant", "b")]),
    ],
)
def test_turns_become_messages(prompt, turns):
    assert messages(prompt) == [{"role": role, "content": text} for role, text in turns]


def test_generation_reads_what_the_template_writes(study):
    _, tokenizer = load_policy(study / "base/manifest.json")
    texts = {
        DIALOGUE: "<s>[user]\nHi.\n[assistant]\nYes?</s>\n[user]\nOne.\n\nTwo.\n[assistant]\n",
        "Human: Hi.\n\nAssistant: Yes": "<s>[user]\nHi.\n[assistant]\nYes",
    }
    ids, _ = prompt_ids(tokenizer, [{"prompt_id": "p", "prompt": prompt} for prompt in texts], ASKED, 128)
    assert ids == [tokenizer(text, add_special_tokens=False)["input_ids"] for text in texts.values()]


def test_pairs_are_the_templates_own_tokens_and_end_with_its_end(study):
    _, tokenizer = load_policy(study / "base/manifest.json")
    rows, pairs, _ = usable_pairs(ROWS, tokenizer, DPO | {"max_length": 200, "max_prompt_length": 150}, "train")
    for row, original, pair in zip(rows, ROWS, pairs, strict=True):
        for side in ("chosen", "rejected"):
            said = [*messages(original["prompt"]), {"role": "assistant", "content": original[side].strip()}]
            whole = tokenizer.apply_chat_template(said, tokenize=False).rstrip()
            assert pair.prompt_ids + getattr(pair, f"{side}_ids") == tokenizer(whole, add_special_tokens=False)["input_ids"]
        assert row["row"] == original["row"]


KIND = {"role": "system", "content": "Be kind."}
CONVERSATION = [KIND, {"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}, {"role": "user", "content": "c\n\nd"}]
DROPS = TEMPLATE.replace("for message in messages %}", "for message in messages if message.role != 'system' %}")
REFUSES = TEMPLATE.replace(
    "{{ bos_token }}", "{{ bos_token }}{% if messages[0].role == 'system' %}{{ raise_exception('no system') }}{% endif %}"
)


@pytest.mark.parametrize("template", [TEMPLATE, DROPS, REFUSES])
def test_a_conversation_of_preferences_reaches_the_model_as_the_template_writes_it(study, template, capsys):
    # in training and in generation: a system message is one where the template takes one, else it begins the user's first turn
    _, tokenizer = load_policy(study / "base/manifest.json")
    tokenizer.chat_template = template
    replies = {side: {"role": "assistant", "content": side} for side in ("chosen", "rejected")}
    pair = split_pair({side: [*CONVERSATION, reply] for side, reply in replies.items()})
    said = CONVERSATION if template == TEMPLATE else [{"role": "user", "content": "Be kind.\n\na"}, *CONVERSATION[2:]]
    row = {"subset": "s", "split": "train", "row": 0, **pair}
    _, (tokens,), _ = usable_pairs([row], tokenizer, DPO | {"max_length": 200, "max_prompt_length": 150}, "train")
    for side, reply in replies.items():
        whole = tokenizer.apply_chat_template([*said, reply], tokenize=False).rstrip()
        assert tokens.prompt_ids + getattr(tokens, f"{side}_ids") == tokenizer(whole, add_special_tokens=False)["input_ids"]
    asked = published_prompt(pair["prompt"])
    (ids,), _ = prompt_ids(tokenizer, [{"prompt_id": "p", "prompt": asked}], ASKED, 128)
    assert ids == tokens.prompt_ids
    counted = "the chat template takes no system message: in 1 prompts it begins the user's first turn"
    assert capsys.readouterr().out.count(counted) == (0 if template == TEMPLATE else 2)


def test_a_trained_policy_keeps_the_template(study):
    sft(study, "sft", SFT | {"loss_on": "reply", "epochs": 1})
    one, other = (load_policy(study / name / "manifest.json")[1] for name in ("base", "sft"))
    assert one.chat_template == other.chat_template == TEMPLATE


def test_padding_is_no_token_that_the_template_uses(tmp_path):
    # its embedding is learnt with every text
    _, tokenizer = load_policy(import_chat(tmp_path / "plain", TEMPLATE))
    assert tokenizer.pad_token == "<pad>"
    _, tokenizer = load_policy(import_chat(tmp_path / "pad", TEMPLATE.replace("[", "<pad>[")))
    assert tokenizer.pad_token == "<unk>"


def test_of_named_templates_the_default_is_read(tmp_path):
    named = [{"name": "tool_use", "template": "{{ bos_token }}"}, {"name": "default", "template": TEMPLATE}]
    import_chat(tmp_path / "list", named)
    assert json.loads((tmp_path / "list/base/tokenizer_config.json").read_text())["chat_template"] == TEMPLATE
    with pytest.raises(StudyError, match=r"several chat templates and none named default: rag, tool_use. .* as chat_template.jinja"):
        import_chat(tmp_path / "none", [named[0], {"name": "rag", "template": TEMPLATE}])
    source = write_source(tmp_path / "folder/source", "llama")
    (source / "additional_chat_templates").mkdir()
    (source / "additional_chat_templates/tool_use.jinja").write_text("{{ bos_token }}")
    (source / "chat_template.jinja").write_text(TEMPLATE)
    import_policy(source, tmp_path / "folder/base/manifest.json", chat_template=True)
    assert json.loads((tmp_path / "folder/base/tokenizer_config.json").read_text())["chat_template"] == TEMPLATE


def test_without_the_key_a_template_is_of_no_account(tmp_path):
    _, tokenizer = load_policy(import_chat(tmp_path, TEMPLATE, chat=False))
    assert tokenizer.chat_template is None and as_read(ROWS, tokenizer) == ROWS
    assert "chat_template" not in (tmp_path / "base/tokenizer_config.json").read_text()
    prompt = [{"prompt_id": "p", "prompt": "Human: Hi."}]
    assert prompt_ids(tokenizer, prompt, ASKED, 128)[0] == [tokenizer("Human: Hi.\n\nAssistant:")["input_ids"]]


@pytest.mark.parametrize(
    ("template", "said"),
    [
        (None, r"source: the model has no chat template"),
        (TEMPLATE.replace("{{ eos_token }}", "<end>"), r"source: by the model's chat template a reply does not .* end with </s>"),
        (TEMPLATE + "{{ strftime_now('%d') }}", r"source: the model's chat template writes the date"),
        (TEMPLATE + "{{ raise_exception('no') }}", r"source: the model's chat template refuses this prompt \(no\)"),
    ],
)
def test_a_model_whose_template_cannot_serve_is_refused(tmp_path, template, said):
    with pytest.raises(StudyError, match=said):
        import_chat(tmp_path, template)
    assert not (tmp_path / "base").exists()


def test_a_prompt_that_the_template_refuses_is_named(study):
    _, tokenizer = load_policy(study / "base/manifest.json")
    tokenizer.chat_template = TEMPLATE + "{{ raise_exception('roles must alternate') }}"
    with pytest.raises(StudyError, match=r"^p-7: the model's chat template refuses this prompt \(roles must alternate\)"):
        prompt_ids(tokenizer, [{"prompt_id": "p-7", "prompt": "Human: Hi."}], ASKED, 128)
    with pytest.raises(StudyError, match=r"^helpful-base/train:1: "):
        as_read(ROWS, tokenizer)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({}, r"models.base.chat_template ends every prompt .* set generation.cue to true"),
        (
            {"generation": {"cue": True}, "methods": {"dpo": {"dropout": "as_published"}}},
            r"methods.dpo.dropout as_published reads transcripts",
        ),
    ],
)
def test_settings_that_speak_of_transcripts_are_refused(more, said):
    chat = {"models": {"base": {"chat_template": True}}}
    with pytest.raises(StudyError, match=said):
        resolve(merged(merged(load("config"), chat), more), SCHEMA)
    assert resolve(merged(merged(load("config"), chat), {"generation": {"cue": True}}), SCHEMA)["models"]["base"]["chat_template"]


def test_of_named_templates_a_policy_reads_by_the_default(tmp_path):
    import_chat(tmp_path, [{"name": "tool_use", "template": "{{ messages }}"}, {"name": "default", "template": TEMPLATE}])
    assert load_policy(tmp_path / "base/manifest.json")[1].chat_template == TEMPLATE
