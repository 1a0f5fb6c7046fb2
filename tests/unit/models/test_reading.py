"""How a judge reads prompt and reply: what its own files say, one by one as transformers alone would have it, and cut where it must be."""

import json

import pytest
import torch
from command_line import assert_refused, call
from small_evaluation import SCORING, SENTENCES, ended, write_answered
from study_folder import SHARED
from transformers import AutoConfig, AutoModelForSequenceClassification, PreTrainedTokenizerFast

from hh_align.core.artifacts import read_table
from hh_align.core.errors import StudyError
from hh_align.evaluation import score_responses
from hh_align.evaluation.judge import open_judge
from hh_align.models import import_model
from hh_align.models.bpe import train_tokenizer
from hh_align.models.judge_inputs import judge_ids
from hh_align.models.reading import reading_of

TEMPLATE = "{{ bos_token }}{% for m in messages %}[{{ m.role }}] {{ m.content | trim }}{{ eos_token }}\n{% endfor %}{% if add_generation_prompt %}[assistant] {% endif %}"
DECODER = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 2, "head_dim": 8, "num_labels": 1, "initializer_range": 0.3}  # fmt: skip
LLAMA = ("<s> $A", "<s> $A <s> $B")
BERT = ("<s> $A </s>", "<s> $A </s> $B </s>")
DIALOGUE = "Human: hi\n\nAssistant: yes\n\nHuman: and more"
TURNS = [("user", "hi"), ("assistant", "yes"), ("user", "and more")]


def tokenizer_of(forms=LLAMA, template=None):
    tokenizer = train_tokenizer(SENTENCES, 300, *forms)
    tokenizer.bos_token, tokenizer.chat_template = "<s>", template
    return tokenizer


def save(folder, kind="llama", forms=LLAMA, template=TEMPLATE):
    tokenizer = tokenizer_of(forms, template)
    torch.manual_seed(0)
    config = AutoConfig.for_model(kind, vocab_size=len(tokenizer), pad_token_id=tokenizer.pad_token_id, **DECODER)
    AutoModelForSequenceClassification.from_config(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def imported(source, folder, **config):
    return call(import_model, config={"kind": "judge", **config}, source=source, manifest=folder / "manifest.json")


def messages(*turns):
    return [{"role": role, "content": content} for role, content in turns]


@pytest.mark.parametrize("kind", ["llama", "qwen2", "gemma2"])
def test_a_judge_with_a_chat_template_gives_what_transformers_alone_gives(tmp_path, kind):
    source = save(tmp_path / "source", kind)
    status, printed = imported(source, tmp_path / "judge")
    assert status == 0, printed
    write_answered(tmp_path)
    inputs = {name: tmp_path / path for name, path in (("prompts", "prompts.parquet"), ("responses", "responses/base/seed-0.parquet"))}
    output = ended(score_responses, tmp_path, "rewards", SCORING, judge=tmp_path / "judge/manifest.json", **inputs)
    rewards = read_table(output).to_pylist()
    model, tokenizer = AutoModelForSequenceClassification.from_pretrained(source).eval(), PreTrainedTokenizerFast.from_pretrained(source)
    asked, said = ({row["prompt_id"]: row for row in read_table(path).to_pylist()} for path in inputs.values())
    for row in rewards:
        turns = messages(
            ("user", asked[row["prompt_id"]]["prompt"].removeprefix("Human: ")), ("assistant", said[row["prompt_id"]]["response"])
        )
        ids = tokenizer.apply_chat_template(turns, return_dict=True)["input_ids"]
        assert row["input_tokens"] == len(ids) and ids.count(tokenizer.bos_token_id) == 1
        assert row["reward"] == pytest.approx(model(input_ids=torch.tensor([ids])).logits.item(), abs=1e-5)
    assert len({row["reward"] for row in rewards}) > 2


@pytest.mark.parametrize("end", ["", "\n\nAssistant: first part"])
def test_the_turns_are_those_of_the_prompt_and_the_reply_is_the_last(end):
    tokenizer = tokenizer_of(template=TEMPLATE)
    last = "first part\n\na bell\n\nHuman: no" if end else "a bell\n\nHuman: no"  # what a policy writes on the human's behalf is its reply
    whole = tokenizer.apply_chat_template(messages(*TURNS, ("assistant", last)), return_dict=True)["input_ids"]
    assert judge_ids(tokenizer, "chat", [DIALOGUE + end], ["a bell\n\nHuman: no"], ["p"], None) == ([whole], [0])
    said = f"\n\n{DIALOGUE}{end}\n\n{'' if end else 'Assistant: '}a bell\n\nHuman: no"
    assert judge_ids(tokenizer, "text", [DIALOGUE + end], ["a bell\n\nHuman: no"], ["p"], None)[0] == [tokenizer(said)["input_ids"]]


@pytest.mark.parametrize(("reads", "end"), [("chat", "</s>\n"), ("text", "")])
@pytest.mark.parametrize("limit", range(16, 60, 7))
def test_a_cut_takes_the_prompts_beginning_and_then_the_replys_end(reads, end, limit):
    tokenizer, reply = tokenizer_of(template=TEMPLATE), "please tell me the old way twice"
    tokenizer.clean_up_tokenization_spaces = False

    def read(max_length, reply_tokens=None):
        ((ids,), (cut,)) = judge_ids(tokenizer, reads, [DIALOGUE], [reply], ["p"], max_length, reply_tokens)
        return ids, cut, tokenizer.decode(ids).removeprefix("<s>")

    whole, none, text = read(None)
    ids, cut, left = read(limit)
    assert none == 0 and text.endswith(reply + end) and ids[0] == whole[0] == tokenizer.bos_token_id
    assert len(ids) == min(limit, len(whole)) and cut == len(whole) - len(ids)
    assert text.endswith(left) or (left.endswith(end) and f" {reply}".startswith(left.removesuffix(end).rstrip()))
    short, lost, said = read(None, 3)
    assert lost == len(whole) - len(short) > 0 and whole[: len(short) - lost][:10] == short[: len(short) - lost][:10]
    assert said.endswith(end) and text.startswith(said.removesuffix(end))
    assert len(read(limit, 3)[0]) == min(limit, len(short))


@pytest.mark.parametrize(
    ("forms", "template", "reads"),
    [
        (BERT, None, "pair"),
        (("<s> $A </s>", "<s> $A </s> </s> $B </s>"), None, "pair"),
        (("$A </s>", "$A </s> $B </s>"), None, "pair"),
        (LLAMA, TEMPLATE, "chat"),
        (("$A </s>", "$A $B </s>"), TEMPLATE, "chat"),
        (LLAMA, None, None),
        (("$A </s>", "$A $B </s>"), None, None),
        (BERT, TEMPLATE, None),
    ],
    ids=[
        "as DeBERTa",
        "as RoBERTa",
        "as T5",
        "as Llama",
        "an end token with a template",
        "only a begin token",
        "only an end token",
        "both",
    ],
)
def test_how_a_judge_reads_is_what_its_files_say_or_asked_for(forms, template, reads):
    tokenizer = tokenizer_of(forms, template)
    if reads:
        assert reading_of(tokenizer, None, "here") == reads
    else:
        both = "has both" if template else "has neither"
        with pytest.raises(
            StudyError, match=rf"^here: how does the judge read prompt and reply\? Its tokenizer {both} .*\.reads to one of: pair \("
        ):
            reading_of(tokenizer, None, "here")
    assert reading_of(tokenizer, "text", "here") == "text"


def test_of_named_templates_the_default_is_read(tmp_path):
    source = save(tmp_path / "source")
    (source / "chat_template.jinja").unlink()
    settings = json.loads((source / "tokenizer_config.json").read_text())
    named = [{"name": "tool_use", "template": "{{ messages }}"}, {"name": "default", "template": TEMPLATE}]
    (source / "tokenizer_config.json").write_text(json.dumps(settings | {"chat_template": named}))
    status, printed = imported(source, tmp_path / "judge")
    assert status == 0, printed
    judge = open_judge(tmp_path / "judge/manifest.json", SCORING, "cpu")
    assert (judge.reads, judge.tokenizer.chat_template) == ("chat", TEMPLATE)
    (source / "tokenizer_config.json").write_text(json.dumps(settings | {"chat_template": named[:1]}))
    assert_refused(imported(source, tmp_path / "none"), "several chat templates and none named default: tool_use", where=source)


@pytest.mark.parametrize(
    ("template", "config", "said"),
    [
        (None, {}, "has neither a separator between two texts nor a chat template"),
        (None, {"reads": "chat"}, "the judge has no chat template to read by"),
        (TEMPLATE + "{{ strftime_now('%d') }}", {}, "chat template writes the date"),
        ("{{ messages[0].content }}", {}, "chat template leaves out prompt or reply"),
        ("{{ raise_exception('only tools') }}", {}, r"chat template refuses this input \(only tools\)"),
    ],
)
def test_a_judge_that_cannot_be_read_so_is_refused_by_its_import(tmp_path, template, config, said):
    assert_refused(imported(save(tmp_path / "source", template=template), tmp_path / "judge", **config), said, where=tmp_path / "source")
    assert not (tmp_path / "judge/manifest.json").exists()


@pytest.mark.parametrize("name", ["llama_cfgeos", "llama_none", "qwen_nopad"])
def test_judges_without_a_rule_are_read_as_they_are_asked_to(tmp_path, name):
    source = SHARED / "cases/judges" / name
    if not source.is_dir():
        pytest.skip("needs ../shared/cases")
    assert_refused(imported(source, tmp_path / "judge"), "has neither a separator", where=source)
    status, printed = imported(source, tmp_path / "judge", reads="text")
    assert status == 0, printed
    judge = open_judge(tmp_path / "judge/manifest.json", {**SCORING, "reads": "text"}, "cpu")
    replies = ["yes" + " again" * number for number in range(12)]
    ids, _ = judge.read(["Human: hi"] * 12, replies, replies, None)
    model = AutoModelForSequenceClassification.from_pretrained(source).eval()
    read = PreTrainedTokenizerFast.from_pretrained(source)
    alone = [
        model(**read(f"\n\nHuman: hi\n\nAssistant: {reply}", return_tensors="pt", return_token_type_ids=False)).logits.item()
        for reply in replies
    ]
    assert judge.rewards(ids, replies) == pytest.approx(alone, abs=1e-4)


@pytest.mark.parametrize("start", ["{% if messages[0].role == 'system' %}{{ raise_exception('no system') }}{% endif %}", "{% set messages = messages | rejectattr('role', 'equalto', 'system') | list %}"], ids=["refuses it", "drops it"])  # fmt: skip
def test_a_template_that_takes_no_system_message_has_it_begin_the_first_turn(start, capsys):
    # as the policies' templates do: no input ends the scoring, none loses its first words
    tokenizer, prompt = tokenizer_of(template=start + TEMPLATE), "please tell me\n\nHuman: the old way"
    turns = messages(("user", "please tell me\n\nthe old way"), ("assistant", "yes"))
    whole = tokenizer.apply_chat_template(turns, return_dict=True)["input_ids"]
    assert judge_ids(tokenizer, "chat", [prompt], ["yes"], ["p"], None) == ([whole], [0])
    assert "takes no system message: in 1 prompts" in capsys.readouterr().out
