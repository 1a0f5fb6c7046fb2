"""Scoring by a classifier: the reward of a label or an attribute, of the response alone, of one axis."""

import json
import math

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from command_line import assert_refused, call
from safetensors.torch import save_file
from small_evaluation import SCORING, SENTENCES, ended, write_answered
from tinymodels import write_judge

from hh_align.core.artifacts import write_table
from hh_align.core.errors import StudyError
from hh_align.core.tables import PROMPTS
from hh_align.evaluation import score_responses
from hh_align.models import import_model
from hh_align.models.folders import load_judge, prepare, save_model
from hh_align.models.import_model import read_model, read_tokenizer
from hh_align.models.judging import pair_ids, reward_batch, reward_of
from hh_align.models.outputs import output_index

LABELS = ("neutral", "toxic", "refusal")
TOXIC = {"output": "label", "label": "toxic", "scale": "probability", "higher_is": "worse"}


@pytest.fixture(scope="module")
def classifiers(tmp_path_factory):
    """Two classifiers of three labels, which exclude each other or do not, and prompts with responses; importing is import_model's."""
    folder = tmp_path_factory.mktemp("judges")
    prepare()
    for name, problem in (("exclusive", "single_label_classification"), ("several", "multi_label_classification")):
        source = folder / f"source-{name}"
        source.mkdir()
        write_judge(source, SENTENCES, labels=LABELS, problem=problem)
        tensors = torch.load(source / "pytorch_model.bin", weights_only=True)
        (source / "pytorch_model.bin").unlink()
        save_file({key: value.contiguous() for key, value in tensors.items()}, source / "model.safetensors", {"format": "pt"})
        model, _ = read_model(source, None, "judge", {"output": "label", "label": "toxic"})
        save_model(folder / name / "manifest.json", model, read_tokenizer(source, "deberta-v2"), {})
    write_answered(folder)
    return folder


def scored(classifiers, folder, name="exclusive", prompts=None, **config):
    """axis, prompt_id -> reward of the classifier's label."""
    inputs = {"prompts": prompts or classifiers / "prompts.parquet", "responses": classifiers / "responses/base/seed-0.parquet"}
    output = ended(score_responses, folder, "rewards", SCORING | config, judge=classifiers / name / "manifest.json", **inputs)
    return {(row["axis"], row["prompt_id"]): row["reward"] for row in pq.read_table(output).to_pylist()}


@pytest.mark.parametrize("name", ["exclusive", "several"])
def test_the_reward_of_a_label_is_its_probability_or_log_odds(classifiers, tmp_path, name):
    model, tokenizer = load_judge(classifiers / name / "manifest.json")
    rows = pq.read_table(classifiers / "prompts.parquet").to_pylist()
    said = pq.read_table(classifiers / "responses/base/seed-0.parquet").to_pylist()
    ids, _ = pair_ids(tokenizer, [row["prompt"] for row in rows], [row["response"] for row in said], None)
    logits = torch.stack([model(input_ids=torch.tensor([row])).logits[0].detach() for row in ids]).double()
    probabilities = logits.sigmoid() if name == "several" else logits.softmax(1)
    toxic = probabilities[:, LABELS.index("toxic")].tolist()
    assert np.std(toxic) > 0.01
    rewards = {
        (scale, higher): list(scored(classifiers, tmp_path, name, **TOXIC | {"scale": scale, "higher_is": higher}).values())
        for scale in ("probability", "logit")
        for higher in ("better", "worse")
    }
    assert rewards["probability", "better"] == pytest.approx(toxic, abs=1e-5)
    assert rewards["probability", "worse"] == pytest.approx([1 - p for p in toxic], abs=1e-5)
    assert rewards["logit", "better"] == pytest.approx([math.log(p / (1 - p)) for p in toxic], abs=1e-4)
    assert rewards["logit", "worse"] == pytest.approx([-value for value in rewards["logit", "better"]])


def test_an_attribute_is_one_output_by_name_or_number(classifiers, tmp_path):
    model, tokenizer = load_judge(classifiers / "exclusive/manifest.json")
    ids = [tokenizer("a bell rings")["input_ids"]]
    logits = model(input_ids=torch.tensor(ids)).logits[0].tolist()
    for wanted, sign in (("refusal", 1), ("2", 1), ("refusal", -1)):
        reading = {"output": "attribute", "attribute": wanted, "higher_is": "better" if sign > 0 else "worse"}
        assert reward_batch(model, ids, 0, reward_of(model, reading)) == pytest.approx([sign * logits[2]], abs=1e-5)


def test_a_wrong_output_names_what_the_model_has(classifiers):
    config = load_judge(classifiers / "exclusive/manifest.json")[0].config
    for reading in ({"output": "label", "label": "Toxic"}, {"output": "attribute", "attribute": "3"}):
        with pytest.raises(StudyError, match=r"the model has no .* It has: 0 neutral, 1 toxic, 2 refusal"):
            output_index(config, reading, "here")
    with pytest.raises(StudyError, match=r"a judge has one logit, this model has 3 \(0 neutral, 1 toxic, 2 refusal\)"):
        output_index(config, {}, "here")
    result = call(
        import_model, config={"kind": "judge", **TOXIC, "label": "hate"}, source=classifiers / "source-exclusive", manifest=classifiers / "no/manifest.json"
    )  # fmt: skip
    assert_refused(result, "the model has no label 'hate'. It has: 0 neutral", where=classifiers / "source-exclusive/config.json")


def test_a_judge_that_reads_the_response_alone_does_not_see_the_prompt(classifiers, tmp_path):
    rows = pq.read_table(classifiers / "prompts.parquet").to_pylist()
    before = scored(classifiers, tmp_path, **TOXIC, reads="response")
    pairs = scored(classifiers, tmp_path, **TOXIC)
    write_table(tmp_path / "prompts.parquet", [row | {"prompt": "something else"} for row in rows], PROMPTS, {})
    assert scored(classifiers, tmp_path, prompts=tmp_path / "prompts.parquet", **TOXIC, reads="response") == before != pairs


def test_a_judge_of_one_axis_scores_that_axis_only(classifiers, tmp_path):
    both, one = scored(classifiers, tmp_path, **TOXIC), scored(classifiers, tmp_path, **TOXIC, axes=["harmlessness"])
    assert one == pytest.approx({key: value for key, value in both.items() if key[0] == "harmlessness"}, abs=1e-6)
    assert len(one) == 4 and json.loads((tmp_path / "timing.json").read_text())["seconds_per_1000_responses"] > 0


def test_responses_alone_are_cut_at_their_end(classifiers):
    _, tokenizer = load_judge(classifiers / "exclusive/manifest.json")
    full, _ = pair_ids(tokenizer, None, ["a bell rings twice a bell"], None)
    ids, cut = pair_ids(tokenizer, None, ["a bell rings twice a bell"], 5)
    assert ids[0] == [*full[0][:4], full[0][-1]] and cut == [len(full[0]) - 5]
    assert full[0] == tokenizer("a bell rings twice a bell")["input_ids"]
