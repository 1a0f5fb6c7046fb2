"""What each step reads of one prompt and its reply, by the functions that the steps themselves call: equal where it should be, and where it is
not, docs/protocol.md says why. `pytest -s` prints the table of that page."""

from collections.abc import Sequence
from typing import NamedTuple

import pytest
from preference_rows import asked, hh_test_rows, made_row
from study_folder import REPOSITORY
from tinymodels import gpt2_tokenizer
from training_study import DPO, KTO, SFT, VIEW_KEYS

from hh_align.core.artifacts import write_table
from hh_align.core.tables import PROMPTS, RESPONSES
from hh_align.data.select_prompts import draw_prompts
from hh_align.data.select_twins import twins
from hh_align.data.transcripts import ASSISTANT, LEAD, judged_prompt, published_prompt
from hh_align.evaluation.endpoint import filled
from hh_align.evaluation.generate_responses import prompt_items
from hh_align.evaluation.judge import Judge
from hh_align.evaluation.measure_drift import chosen_examples, with_ids
from hh_align.evaluation.score_pairs import AS_EVALUATED, judged_replies
from hh_align.evaluation.score_responses import response_items
from hh_align.evaluation.score_training_pairs import reply_items
from hh_align.models.bpe import train_tokenizer
from hh_align.training.pairs import pair_tree, pairs_as_read, usable_pairs
from hh_align.training.plan import Plan
from hh_align.training.pretrain_base import raw_rows
from hh_align.training.sft import prepare_transcripts
from hh_align.training.train_judge import planned_pairs
from hh_align.training.train_kto import mismatched

QUESTION, CHOSEN = "Why?", "Salt."
SUBSETS = ("harmless-base", "helpful-base")
ROWS = [made_row(0, asked(QUESTION), CHOSEN, "Sand.", subset, split) for split in ("train", "test") for subset in SUBSETS]
TRAINED, HELD_OUT = ROWS[0], ROWS[2]
AXIS = {"split": "test", "keywords": [], "match": "substring", "scope": "transcript"}
ASKING = {"seed": 100, "harmlessness": AXIS | {"subset": SUBSETS[0]}, "helpfulness": AXIS | {"subset": SUBSETS[1]}}
GENERATION = {"max_new_tokens": 8, "long_prompts": "error"}
POSITIONS = 128
PAGE = (REPOSITORY / "docs/protocol.md").read_text()


class Seen(NamedTuple):
    """What a step reads: ids of the prompt, and of the reply where there is one; why: the reason where it is another prompt; when: the
    settings by which it is read so."""

    prompt: Sequence[int]
    reply: Sequence[int]
    why: str = ""
    when: str = ""

    @property
    def ids(self) -> list[int]:
        return [*self.prompt, *self.reply]


def written(folder):
    """Paths of the table of prompts that are drawn of the rows, and of responses that are the chosen replies."""
    prompts = draw_prompts(ROWS, ASKING)
    write_table(folder / "prompts.parquet", prompts, PROMPTS, {})
    responses = [{"axis": row["axis"], "prompt_id": row["prompt_id"], "response": CHOSEN} for row in prompts]
    write_table(folder / "responses.parquet", responses, RESPONSES, {})
    return folder / "prompts.parquet", folder / "responses.parquet"


def trained(tokenizer) -> dict[str, Seen]:
    """Of the trainings of a policy, and of the held-out replies whose perplexity is taken."""
    (pair,) = usable_pairs([TRAINED], tokenizer, DPO, "train")[1]
    (reference,) = usable_pairs([TRAINED], tokenizer, {key: DPO[key] for key in VIEW_KEYS if key in DPO}, "train")[1]
    ((_, scored),) = pairs_as_read([TRAINED], tokenizer, DPO["max_length"], DPO["max_prompt_length"])
    (published,) = usable_pairs([TRAINED], tokenizer, DPO | {"dropout": "as_published"}, "train")[1]
    alone = Plan(["one"], [20], [0], [0], 1)
    (other,) = mismatched(alone, usable_pairs([TRAINED], tokenizer, KTO | {"dropout": "disabled"}, "train")[1], KTO["max_length"])
    (chosen,) = chosen_examples([HELD_OUT | {"axis": "harmlessness"}], tokenizer, POSITIONS)

    def transcript(loss_on: str, rows: list[dict]) -> Seen:
        (tree,) = prepare_transcripts(rows, tokenizer, SFT | {"loss_on": loss_on}, 1).trees
        whole, before = [*tree.prompt, *tree.replies[0]], len(pair.prompt_ids)
        return Seen(whole[:before], whole[before:])

    return {
        "pretraining of a base from nothing": transcript("transcript", raw_rows([TRAINED], 1)),
        "SFT on transcripts": transcript("transcript", [TRAINED]),
        "SFT on replies": transcript("reply", [TRAINED]),
        "DPO and KTO": Seen(pair_tree(pair).prompt, pair_tree(pair).replies[0]),
        "KTO's mismatched replies": Seen(other.prompt, other.replies[0]),
        "references": Seen(reference.prompt_ids, reference.chosen_ids),
        "CHES scores": Seen(scored.prompt_ids, scored.chosen_ids),
        "perplexity of chosen replies": Seen(chosen["prompt_ids"], chosen["reply_ids"]),
        "DPO as published": Seen(
            published.prompt_ids,
            published.chosen_ids,
            "the author's trainer: the prompt is what both transcripts begin with, nothing stands before it",
        ),
    }


SETTINGS = {
    "with `lead` and `cue`": (True, True, ""),
    "with `cue` alone": (False, True, "the author strips the prompts"),
    "with `lead` alone": (True, False, "the author's prompts end with the human's words: a policy writes “Assistant:” itself"),
    "with neither": (False, False, "the paper's study: both"),
}


def answered(tokenizer, folder) -> dict[str, Seen]:
    """Of generation, of the drift's samples and of the twins, by `lead` and `cue`."""
    path, _ = written(folder)
    (folder / "twins.csv").write_text(f"category,safe,contrast\nx,{QUESTION},\n")
    drawn, seen = draw_prompts(ROWS, ASKING)[:1], {}
    for setting, (lead, cue, why) in SETTINGS.items():
        asking = GENERATION | {"lead": lead, "cue": cue}
        ((item, *_),) = prompt_items(path, tokenizer, asking, POSITIONS)
        (sample,), (twin,) = (with_ids(rows, tokenizer, asking, POSITIONS) for rows in (drawn, twins(folder / "twins.csv")))
        ids = {"generation": list(item.ids), "the drift's samples": sample["ids"], "over-refusal": twin["ids"]}
        seen |= {f"{step} {setting}": Seen(read, [], why, f" {setting}") for step, read in ids.items()}
    return seen


def judged(tokenizer, folder) -> dict[str, Seen]:
    """Of a judge: its training, the responses, the examination and the margins of training pairs."""
    judge = Judge(None, tokenizer, None, reads="pair")
    columns, _ = planned_pairs([TRAINED], tokenizer, {"max_length": 64, "epochs": 1, "batch_size": 1}, 1)
    ((scored, *_),) = response_items(*written(folder), judge, None)
    examined = judged_replies({SUBSETS[0]: [HELD_OUT | {"axis": "harmlessness"}]}, judge, {"reply_tokens": 50, "format_pairs": 10})
    formats = {reply.format: reply.ids for reply in examined if reply.side == "chosen"}
    ((margin, *_),) = reply_items([TRAINED], judge, None)

    def of_pair(ids: Sequence[int], why: str = "") -> Seen:
        seam = list(ids).index(tokenizer.eos_token_id) + 1
        return Seen(list(ids)[:seam], list(ids)[seam:], why)

    return {
        "the judge's training": of_pair(columns["chosen_ids"][0]),
        "the judge's rewards": of_pair(scored.ids),
        "its examination": of_pair(formats[AS_EVALUATED]),
        "its margins of training pairs": of_pair(margin.ids),
        "its examination with the cue": of_pair(formats["with cue"], "on purpose: does its order depend on the cue?"),
    }


@pytest.fixture(scope="module")
def small():
    """Tokenizers of a policy and of a judge, in which every word of the row is a token."""
    texts = [row["prompt"] + row[side] for row in ROWS for side in ("chosen", "rejected")]
    return train_tokenizer(texts, 300, "</s> $A"), train_tokenizer(texts, 300, "<s> $A </s>", "<s> $A </s> $B </s>")


@pytest.fixture(scope="module")
def gpt2():
    """GPT-2's own, by which OPT cuts texts."""
    return gpt2_tokenizer(**dict.fromkeys(["bos_token", "eos_token", "pad_token"], "<|endoftext|>"))


@pytest.fixture(params=["small", "gpt2"])
def policy_tokenizer(request):
    return request.getfixturevalue("small")[0] if request.param == "small" else request.getfixturevalue("gpt2")


def test_a_policy_is_asked_with_the_ids_that_it_was_trained_on(policy_tokenizer, tmp_path):
    seen, asked_ids = trained(policy_tokenizer), answered(policy_tokenizer, tmp_path)
    published = seen.pop("DPO as published")
    one, *others = seen.values()
    assert others == [one] * len(others)
    assert policy_tokenizer.decode(one.ids[1:-1]) == HELD_OUT["prompt"] + HELD_OUT["chosen"]
    for name, view in asked_ids.items():
        assert (view.prompt == one.prompt) == name.endswith("with `lead` and `cue`"), name
        assert view == asked_ids[f"generation with {name.split(' with ')[1]}"]  # the samples and the twins are asked as the prompts are
    bare = asked_ids["generation with neither"]
    assert policy_tokenizer.decode(bare.prompt[1:]) == f"Human: {QUESTION}"
    text = policy_tokenizer.decode(published.prompt)
    assert text == f"{asked(QUESTION)} Sa" and published.prompt[0] != policy_tokenizer.bos_token_id


def test_a_judge_reads_responses_as_it_was_trained(small, tmp_path):
    seen = judged(small[1], tmp_path)
    cued = seen.pop("its examination with the cue")
    one, *others = seen.values()
    assert others == [one] * len(others)
    assert small[1].decode(one.ids) == f"<s>Human: {QUESTION}</s>{CHOSEN}</s>"
    assert small[1].decode(cued.ids) == f"<s>Human: {QUESTION}{ASSISTANT}</s>{CHOSEN}</s>"
    prompt, *_ = draw_prompts(ROWS, ASKING)  # what a judge behind an endpoint and people are shown
    assert (
        filled("{prompt}|{response}", {"prompt": prompt["prompt"], "response": CHOSEN}) == f"{judged_prompt(HELD_OUT['prompt'])}|{CHOSEN}"
    )


def test_by_a_chat_template_lead_and_cue_are_of_no_account(small, tmp_path):
    tokenizer = train_tokenizer([row["prompt"] for row in ROWS], 300, "</s> $A")
    tokenizer.chat_template = (
        "{{ bos_token }}{% for message in messages %}{{ message.role + ':' + message.content + '\n' }}{% endfor %}"
        "{% if add_generation_prompt %}{{ 'assistant:' }}{% endif %}"
    )
    (pair,) = usable_pairs([TRAINED], tokenizer, DPO, "train")[1]
    assert {tuple(view.prompt) for view in answered(tokenizer, tmp_path).values()} == {tuple(pair.prompt_ids)}


def cell(tokenizer, ids: Sequence[int]) -> str:
    return f"`{tokenizer.decode(ids)}` {' '.join(map(str, ids))}".replace("\n", "⏎") if ids else ""


def table(policy, judge, folder) -> str:
    """A line for each thing that is read, with the steps that read it."""
    views = [(name, policy, view) for name, view in {**trained(policy), **answered(policy, folder)}.items()]
    views += [(name, judge, view) for name, view in judged(judge, folder).items()]
    steps: dict[tuple, list[str]] = {}
    for name, tokenizer, view in views:
        read = cell(tokenizer, view.prompt), cell(tokenizer, view.reply), view.why
        steps.setdefault((view.when, *read), []).append(name.removesuffix(view.when))
    lines = ["| steps | prompt | reply | why it differs |", "|---|---|---|---|"]
    return "\n".join([*lines, *(f"| {', '.join(names)}{when} | {' | '.join(read)} |" for (when, *read), names in steps.items())])


def test_the_page_has_the_table(small, tmp_path):
    made = table(*small, tmp_path)
    print(f"\n{made}")
    assert made in PAGE


def test_with_lead_and_cue_a_prompt_of_hh_rlhf_is_that_of_training():
    # but where the author's cut leaves a reply in the prompt: its blank line
    rows = hh_test_rows()
    differ = [row for row in rows if LEAD + published_prompt(row["prompt"] + row["chosen"]) + ASSISTANT != row["prompt"]]
    assert len(differ) / len(rows) < 0.25
    assert all("\n\n" in row["chosen"].rstrip() or row["prompt"].startswith("\n\n\n") for row in differ)


def test_a_judge_reads_a_prompt_of_hh_rlhf_as_the_evaluation_has_it():
    rows = hh_test_rows()
    differ = [row for row in rows if published_prompt(row["prompt"] + row["chosen"]) != judged_prompt(row["prompt"])]
    assert all("\n\n" in row["chosen"].rstrip() for row in differ)
