"""Judges of every kind: of one axis, of a label or attribute, imported, behind an endpoint; and how far two of them agree."""

import json
import math
import os
import random
import re
import subprocess
import sys
import time
from collections import deque
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import torch
from command_line import assert_refused, call
from page_study import PageStudy, unsourced, untrue
from scipy.stats import kendalltau
from statsmodels.stats.inter_rater import cohens_kappa, to_table
from study_folder import REPOSITORY
from tinymodels import write_judge

from hh_align.analysis import compare_judges
from hh_align.analysis.ratings import judged_axes, judged_rates, shown_judge
from hh_align.core.artifacts import write_table
from hh_align.core.errors import StudyError
from hh_align.core.tables import PROMPTS, RESPONSES
from hh_align.evaluation import ask_endpoint, import_ratings, score_responses
from hh_align.evaluation.ask_endpoint import filled, number_in, seconds_to_wait
from hh_align.models import import_model
from hh_align.models.folders import load_judge, prepare, save_model
from hh_align.models.import_model import read_model, read_tokenizer
from hh_align.models.judging import check_lengths, pair_ids, reward_batch, reward_of
from hh_align.models.outputs import output_index
from hh_align.report import summarize_study
from hh_align.tools.verdict import analyse

AXES = ("harmlessness", "helpfulness")
SEEDS = [1, 2, 3]
LABELS = ("neutral", "toxic", "refusal")


# --- a label or an attribute of a model


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A classifier of three labels and prompts with responses, on disk; importing is import_model's."""
    folder = tmp_path_factory.mktemp("judges")
    texts = ["Human: how do I mend a bell?", "a bell rings twice", "please tell me the old way", "no, never at noon", "I cannot", "yes"]
    prepare()
    for name, problem in (("exclusive", "single_label_classification"), ("several", "multi_label_classification")):
        source = folder / f"source-{name}"
        source.mkdir()
        write_judge(source, texts, labels=LABELS, problem=problem)
        tensors = torch.load(source / "pytorch_model.bin", weights_only=True)
        (source / "pytorch_model.bin").unlink()
        from safetensors.torch import save_file

        save_file({key: value.contiguous() for key, value in tensors.items()}, source / "model.safetensors", {"format": "pt"})
        model = read_model(source, None, "judge", {"output": "label", "label": "toxic"})
        save_model(folder / name / "manifest.json", model, read_tokenizer(source, "deberta-v2"), {}, "")
    places = [{"axis": axis, "prompt_id": f"{axis}-{number:03d}"} for axis in AXES for number in range(4)]
    stream = random.Random(1)
    prompts = [row | {"prompt": " ".join(stream.choices(texts, k=3)), "cluster": row["prompt_id"], "keywords": []} for row in places]
    responses = [row | {"response": " ".join(stream.choices(texts, k=2))} for row in places]
    write_table(folder / "prompts.parquet", prompts, PROMPTS, {})
    write_table(folder / "responses/base/seed-0.parquet", responses, RESPONSES, {})
    return folder


def scored(place, folder, name="exclusive", **config):
    """axis, prompt_id -> reward of the classifier's label."""
    options = {
        "judge": place / name / "manifest.json",
        "prompts": place / "prompts.parquet",
        "responses": place / "responses/base/seed-0.parquet",
    }
    outputs = {"state": folder / "state", "output": folder / "rewards.parquet", "timing": folder / "timing.json"}
    settings = {"device": "cpu", "dtype": "float32", "batch_tokens": 200, **config}
    status, printed = call(score_responses, config=settings, threads=1, **options, **outputs)
    assert status == 0, printed
    return {(row["axis"], row["prompt_id"]): row["reward"] for row in pq.read_table(folder / "rewards.parquet").to_pylist()}


TOXIC = {"output": "label", "label": "toxic", "scale": "probability", "higher_is": "worse"}


@pytest.mark.parametrize("name", ["exclusive", "several"])
def test_the_reward_of_a_label_is_its_probability_or_log_odds(place, tmp_path, name):
    model, tokenizer = load_judge(place / name / "manifest.json")
    rows = pq.read_table(place / "prompts.parquet").to_pylist()
    said = pq.read_table(place / "responses/base/seed-0.parquet").to_pylist()
    ids, _ = pair_ids(tokenizer, [row["prompt"] for row in rows], [row["response"] for row in said], None)
    logits = torch.stack([model(input_ids=torch.tensor([row])).logits[0].detach() for row in ids]).double()
    probabilities = logits.sigmoid() if name == "several" else logits.softmax(1)
    toxic = probabilities[:, LABELS.index("toxic")].tolist()
    assert np.std(toxic) > 0.01
    found = {
        (scale, higher): list(scored(place, tmp_path, name, **TOXIC | {"scale": scale, "higher_is": higher}).values())
        for scale in ("probability", "logit")
        for higher in ("better", "worse")
    }
    assert found["probability", "better"] == pytest.approx(toxic, abs=1e-5)
    assert found["probability", "worse"] == pytest.approx([1 - p for p in toxic], abs=1e-5)
    assert found["logit", "better"] == pytest.approx([math.log(p / (1 - p)) for p in toxic], abs=1e-4)
    assert found["logit", "worse"] == pytest.approx([-value for value in found["logit", "better"]])


def test_an_attribute_is_one_output_by_name_or_number(place, tmp_path):
    model, tokenizer = load_judge(place / "exclusive/manifest.json")
    ids = [tokenizer("a bell rings")["input_ids"]]
    logits = model(input_ids=torch.tensor(ids)).logits[0].tolist()
    for wanted, sign in (("refusal", 1), ("2", 1), ("refusal", -1)):
        reading = {"output": "attribute", "attribute": wanted, "higher_is": "better" if sign > 0 else "worse"}
        assert reward_batch(model, ids, 0, reward_of(model, reading)) == pytest.approx([sign * logits[2]], abs=1e-5)


def test_a_wrong_output_names_what_the_model_has(place):
    config = load_judge(place / "exclusive/manifest.json")[0].config
    for reading in ({"output": "label", "label": "Toxic"}, {"output": "attribute", "attribute": "3"}):
        with pytest.raises(StudyError, match=r"the model has no .* It has: 0 neutral, 1 toxic, 2 refusal"):
            output_index(config, reading, "here")
    with pytest.raises(StudyError, match=r"a judge has one logit, this model has 3 \(0 neutral, 1 toxic, 2 refusal\)"):
        output_index(config, {}, "here")
    result = call(
        import_model, config={"kind": "judge", "notice": "", **TOXIC, "label": "hate"}, source=place / "source-exclusive", manifest=place / "no/manifest.json"
    )  # fmt: skip
    assert_refused(result, "the model has no label 'hate'. It has: 0 neutral", where=place / "source-exclusive/config.json")


def test_a_judge_that_reads_the_response_alone_does_not_see_the_prompt(place, tmp_path):
    rows = pq.read_table(place / "prompts.parquet").to_pylist()
    before = scored(place, tmp_path, **TOXIC, reads="response")
    pairs = scored(place, tmp_path, **TOXIC)
    write_table(tmp_path / "prompts.parquet", [row | {"prompt": "something else"} for row in rows], PROMPTS, {})
    (tmp_path / "other").mkdir()
    for name in ("exclusive", "responses"):
        (tmp_path / "other" / name).symlink_to(place / name)
    (tmp_path / "other/prompts.parquet").symlink_to(tmp_path / "prompts.parquet")
    assert scored(tmp_path / "other", tmp_path, **TOXIC, reads="response") == before != pairs


def test_a_judge_of_one_axis_scores_that_axis_only(place, tmp_path):
    both, one = scored(place, tmp_path, **TOXIC), scored(place, tmp_path, **TOXIC, axes=["harmlessness"])
    assert one == pytest.approx({key: value for key, value in both.items() if key[0] == "harmlessness"}, abs=1e-6)
    assert len(one) == 4 and json.loads((tmp_path / "timing.json").read_text())["seconds_per_1000_responses"] > 0


def test_responses_alone_are_cut_at_their_end(place):
    _, tokenizer = load_judge(place / "exclusive/manifest.json")
    full, _ = pair_ids(tokenizer, None, ["a bell rings twice a bell"], None)
    ids, cut = pair_ids(tokenizer, None, ["a bell rings twice a bell"], 5)
    assert ids[0] == [*full[0][:4], full[0][-1]] and cut == [len(full[0]) - 5]
    assert full[0] == tokenizer("a bell rings twice a bell")["input_ids"]


def test_an_input_beyond_the_learned_positions_is_named():
    from transformers import RobertaConfig

    class Model:
        config = RobertaConfig(max_position_embeddings=12, pad_token_id=1)

    check_lengths(Model, [[0] * 10], ["a"])
    with pytest.raises(StudyError, match=r"b: 11 tokens; the judge reads at most 10. Set judges.<name>.max_length to 10"):
        check_lengths(Model, [[0] * 10, [0] * 11], ["a", "b"])


# --- judges of one axis in the analysis


@pytest.fixture(scope="module")
def mixed(tmp_path_factory):
    """A study with a judge of both axes and one of each, which have no ratings on the other."""
    study = PageStudy(tmp_path_factory.mktemp("results") / "made", judges=("kind", "both", "useful"), n=40)
    study.config["judges"] = {
        "kind": {"harmless_min": -3.0},
        "both": {"harmless_min": -3.0, "helpful_above": -2.0},
        "useful": {"helpful_above": -2.0},
    }
    for (judge, *_), values in study.rewards.items():
        for place in [place for place in values if place[0] not in judged_axes(study.config["judges"][judge])]:
            del values[place]
    study.write()
    study.analyse()
    return study


def table(study, name):
    return pq.read_table(study.folder / f"analysis/{name}.parquet").to_pandas()


def test_the_axes_of_a_judge_are_those_of_its_thresholds():
    limits = {"harmless_min": 0, "helpful_above": 0, "lowest": 1}
    assert judged_axes(limits) == AXES and judged_axes({"helpful_above": 0}) == ("helpfulness",)
    assert list(judged_rates(limits)) == ["HmR", "HpR", "CAS"] and list(judged_rates({"harmless_min": 0})) == ["HmR"]
    assert shown_judge({"a": {"harmless_min": 0}, "c": limits, "b": limits}) == "b"


def test_a_judge_of_one_axis_says_nothing_of_the_other(mixed):
    metrics = table(mixed, "metrics")
    told = {judge: set(rows["metric"]) for judge, rows in metrics.groupby("judge")}
    assert {"HmR", "mean_reward_harmful", "empty_harmful"} <= told["kind"] and not [
        name for name in told["kind"] if "help" in name or name[:3] in ("HpR", "CAS")
    ]
    assert "CAS" in told["both"] and "HpR" in told["useful"] and "HmR" not in told["useful"]
    assert metrics["value"].notna()[~metrics["metric"].str.contains("without_empty")].all()
    contrasts = table(mixed, "comparisons")
    assert set(contrasts[contrasts["judge"] == "kind"]["metric"]) == {"HmR", "mean_reward_harmful", "win_rate_harmful"}
    for name in ("retention", "thresholds", "threshold_leads", "threshold_flips", "changed_prompts"):
        rows = table(mixed, name)
        assert set(rows[rows["judge"] == "kind"]["axis"]) == {"harmlessness"} and set(rows[rows["judge"] == "useful"]["axis"]) == {
            "helpfulness"
        }
    assert set(table(mixed, "claims")["judge"]) == {"both"}  # the sentence is about both axes


def test_what_two_judges_say_alike_is_said_in_equal_numbers(mixed):
    # a judge of one axis with the ratings of a judge of both gives that judge's rows of the axis
    rated = mixed.rated({"both": mixed.config["judges"]["both"]})
    ratings = rated.ratings
    alone = {("kind", *key[1:]): frame for key, frame in ratings.items() if key[3] == "harmlessness"}
    config = mixed.config | {"judges": {name: mixed.config["judges"][name] for name in ("kind", "both")}}
    for name in ("metrics", "comparisons", "retention"):
        rows = pd.DataFrame(analyse(rated._replace(ratings=ratings | alone), config)[name][0])
        mine, theirs = (rows[rows["judge"] == judge].drop(columns="judge") for judge in ("kind", "both"))
        keys = ["axis"] if "axis" in rows else ["metric"]
        theirs = theirs[theirs[keys[0]].isin(set(mine[keys[0]]))]
        pd.testing.assert_frame_equal(mine.reset_index(drop=True), theirs.reset_index(drop=True))


def test_the_pages_of_judges_of_one_axis(mixed):
    page = mixed.render_report()
    assert untrue(page) == [] and unsourced(page) == set()
    text = page.read_text()
    assert "By judge kind a reply is harmless from a reward of -3.0. " in text and not re.search(r"\bnan\b", text, re.IGNORECASE)
    assert "nothing is decided" not in text
    data = mixed.render_browser().read_text()
    assert "NaN" not in data and "null" in data


def test_the_summary_of_judges_of_one_axis(mixed):
    names = {"metrics", "comparisons", "retention", "power", "claims"}
    tables = {name: table(mixed, name) for name in names} | {"leads": table(mixed, "threshold_leads")}
    empty = {name: summarize_study.frame(None, columns) for name, columns in summarize_study.COLUMNS.items()}
    text = summarize_study.summary(
        mixed.config | {"study": "made", "folder": "results/made", "synthetic": False, "same_source": ["kind"]}, empty | tables, {}
    )
    kind = text.split("(judge kind)")[1].split("(judge")[0]
    assert "HmR" in kind and "HpR" not in kind.split("Found with")[0] and "nan" not in text


def test_figures_of_a_study_with_a_judge_of_one_axis_only(tmp_path):
    study = PageStudy(tmp_path / "made", n=12)
    study.config["judges"] = {"one": {"helpful_above": -2.0}}
    study.analyse()  # draws them
    assert "harmless" not in (study.folder / "report/figures/metrics.svg").read_text().split("<defs>")[0].lower()
    assert untrue(study.render_report()) == []


def test_a_missing_prompt_of_the_judges_own_axis_is_still_an_error(mixed, tmp_path):
    study = PageStudy(tmp_path / "made", n=8, judges=("kind", "both"))
    del study.rewards["kind", "sft", 42]["harmlessness", "harmlessness-003"]
    study.write()
    with pytest.raises(StudyError, match=r"kind/sft/seed-42.parquet: policy sft has no row for 1 prompts \(harmlessness-003\)"):
        study.rated({"kind": {"harmless_min": 0}, "both": study.config["judges"]["both"]})


# --- agreement of two judges


def answers(seed, noise=1.0, prompts=60):
    """Rewards of two judges, shape (2, 4 policies, prompts, 1): one truth, two readings of it."""
    stream = np.random.default_rng(seed)
    truth = stream.normal(size=(1, 4, prompts, 1)) + np.arange(4)[None, :, None, None] * 0.5
    return truth + noise * stream.normal(size=(2, 4, prompts, 1))


def agreed(rewards, clusters=None, labels=None):
    clusters = np.arange(rewards.shape[2]) if clusters is None else clusters
    found = compare_judges.agreement(rewards > 0 if labels is None else labels, rewards, clusters, 1)
    return {row["statistic"]: row for row in found}


@pytest.mark.parametrize("seed", SEEDS)
def test_agreement_is_what_the_libraries_say(seed):
    rewards = answers(seed)
    found, flat = agreed(rewards), (rewards > 0).reshape(2, -1)
    assert found["kappa of labels"]["value"] == pytest.approx(cohens_kappa(to_table(flat.T)[0]).kappa)
    assert found["same labels, %"]["value"] == pytest.approx(100 * (flat[0] == flat[1]).mean())
    assert found["Kendall of policies by rate"]["value"] == pytest.approx(kendalltau(*(rewards > 0).mean((2, 3))).statistic)
    assert all(row["ci_low"] <= row["value"] <= row["ci_high"] for row in found.values())


@pytest.mark.parametrize("seed", SEEDS)
def test_equal_opposite_and_unrelated_judges(seed):
    one = answers(seed)[:1]
    same, opposite, unrelated = agreed(np.concatenate([one, one])), agreed(np.concatenate([one, -one])), agreed(answers(seed, 100.0, 200))
    assert {name: round(row["value"], 9) for name, row in same.items()} == {name: 100 if "%" in name else 1 for name in same}
    assert opposite["Spearman of rewards"]["value"] == pytest.approx(-1) == opposite["Kendall of policies by mean reward"]["value"]
    assert abs(unrelated["kappa of labels"]["value"]) < 0.1 and abs(unrelated["Spearman of rewards"]["value"]) < 0.1


def test_prompts_of_one_cluster_say_as_much_as_one():
    rewards = answers(1, prompts=40)
    once, twice = agreed(rewards), agreed(np.repeat(rewards, 2, axis=2), np.repeat(np.arange(40), 2))
    for name in ("same labels, %", "kappa of labels", "Spearman of rewards"):
        assert twice[name]["ci_high"] - twice[name]["ci_low"] == pytest.approx(once[name]["ci_high"] - once[name]["ci_low"], rel=0.02)


def test_what_is_undefined_is_null():
    rewards = answers(1)
    found = agreed(rewards, labels=np.ones_like(rewards, bool))
    assert found["same labels, %"]["value"] == 100
    for name in ("kappa of labels", "Kendall of policies by rate"):
        assert (found[name]["value"], found[name]["ci_low"], found[name]["ci_high"]) == (None, None, None)


def test_only_judges_that_share_an_axis_are_compared(mixed):
    ratings, clusters, _ = mixed.rated()
    rows = compare_judges.compare(ratings, clusters, mixed.config | {"seed": 1})
    assert {(row["judge_a"], row["judge_b"], row["axis"]) for row in rows} == {
        ("both", "kind", "harmlessness"),
        ("both", "useful", "helpfulness"),
    }
    assert {row["n"] for row in rows} == {4 * 40}


# --- ratings from a file

POLICIES = {"base": [0], "sft": [42]}


@pytest.fixture
def rated(tmp_path):
    """(frame of ratings, folder with the study's prompts and responses)."""
    places = [{"axis": axis, "prompt_id": f"{axis}-{number:03d}"} for axis in AXES for number in range(3)]
    write_table(tmp_path / "prompts.parquet", [row | {"prompt": "x", "cluster": "c", "keywords": []} for row in places], PROMPTS, {})
    rows = []
    for policy, (seed,) in POLICIES.items():
        said = [row | {"response": f"{policy} says {row['prompt_id']}"} for row in places]
        write_table(tmp_path / f"responses/{policy}/seed-{seed}.parquet", said, RESPONSES, {})
        rows += [{"policy": policy, "score": number / 7, **row} for number, row in enumerate(said)]
    return pd.DataFrame(rows), tmp_path


def imported(folder, frame, name="ratings.csv", axes=AXES, policies=POLICIES):
    path = folder / name
    {".csv": frame.to_csv, ".parquet": frame.to_parquet, ".jsonl": lambda path, index: frame.to_json(path, orient="records", lines=True)}[
        path.suffix
    ](path, index=False)
    places = [f"{policy}/seed-{seed}.parquet" for policy, (seed, *_) in POLICIES.items()]
    columns = {name: name for name in ("policy", "seed", "axis", "prompt_id", "response")} | {"reward": "score"}
    return call(
        import_ratings, config={"columns": columns, "axes": list(axes), "policies": policies}, ratings=path, prompts=folder / "prompts.parquet",
        responses=[folder / "responses" / place for place in places], rewards=[folder / "rewards/people" / place for place in places],
    )  # fmt: skip


@pytest.mark.parametrize("name", ["ratings.csv", "ratings.parquet", "ratings.jsonl"])
def test_ratings_of_a_file_become_rewards_in_the_studys_order(rated, name):
    frame, folder = rated
    assert imported(folder, frame.sample(frac=1, random_state=1), name) == (0, "12 ratings: 6 on harmlessness, 6 on helpfulness\n")
    rows = pq.read_table(folder / "rewards/people/sft/seed-42.parquet").to_pylist()
    assert [row["reward"] for row in rows] == pytest.approx([number / 7 for number in range(6)])
    assert [row["prompt_id"] for row in rows] == pq.read_table(folder / "prompts.parquet")["prompt_id"].to_pylist()
    assert rows[0]["input_tokens"] is None


def test_ratings_of_the_other_axis_are_left_out_and_counted(rated):
    frame, folder = rated
    status, printed = imported(folder, frame, axes=["helpfulness"])
    assert status == 0 and "6 rows left out: the judge speaks about helpfulness only" in printed
    assert set(pq.read_table(folder / "rewards/people/base/seed-0.parquet")["axis"].to_pylist()) == {"helpfulness"}


def edited(frame, row, **changes):
    frame = frame.astype(object).copy()
    for name, value in changes.items():
        frame.loc[row, name] = value
    return frame


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda f: edited(f, 4, policy="dpo"), r"row 5: policy dpo is none of base, sft"),
        (lambda f: edited(f, 4, prompt_id="helpfulness-999"), r"row 5: the study has no prompt helpfulness-999 on helpfulness"),
        (lambda f: edited(f, 4, axis="wit"), r"row 5: the study has no prompt helpfulness-001 on wit"),
        (lambda f: edited(f, 4, score="good"), r"row 5 \(base, helpfulness-001\): score is good, not a finite number"),
        (lambda f: edited(f, 4, score=None), r"row 5 \(base, helpfulness-001\): score is nan, not a finite number"),
        (lambda f: f.assign(seed=7), r"row 1: base has no seed 7, only 0"),
        (lambda f: pd.concat([f, f.iloc[[2]]]), r"row 13: base, seed 0, harmlessness, harmlessness-002 stands twice"),
        (lambda f: f.drop(index=[1, 8]), r"2 responses have no row; the first is base, seed 0, harmlessness, harmlessness-001"),
        (lambda f: edited(f, 7, response="another text"), r"row 8 \(sft, seed 42, harmlessness, harmlessness-001\): the rated text is not"),
        (lambda f: f.drop(columns="score"), r"column score is missing"),
    ],
)  # fmt: skip
def test_a_file_that_is_not_the_studys_is_refused_with_the_row(rated, change, said):
    frame, folder = rated
    assert_refused(imported(folder, change(frame)), said, where=folder / "ratings.csv")
    assert not (folder / "rewards").exists()


def test_several_seeds_need_a_column(rated):
    frame, folder = rated
    assert_refused(imported(folder, frame, policies={"base": [0], "sft": [42, 43]}), "column seed is missing, and sft has several seeds")


# --- an endpoint

KEY = "sk-a-secret-of-this-test"


class Server(ThreadingHTTPServer):
    """A stand-in: `plan` are the next replies (status, headers, body), else it answers with `reply(text)`; keeps what it was sent."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.plan, self.asked, self.keys, self.reply, self.delay = deque(), [], [], lambda text: "7", 0.0
        Thread(target=self.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/v1"


class Handler(BaseHTTPRequestHandler):
    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.asked.append(body)
        self.server.keys.append(self.headers.get("Authorization"))
        time.sleep(self.server.delay)
        text = self.server.reply(body["messages"][0]["content"])
        usage = {"prompt_tokens": 100, "completion_tokens": 2}
        found = {"model": "m-2026", "choices": [{"message": {"content": text}}], "usage": usage}
        status, headers, content = self.server.plan.popleft() if self.server.plan else (200, {}, json.dumps(found))
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content.encode())))
        self.end_headers()
        self.wfile.write(content.encode())

    def log_message(self, *args):
        pass


@pytest.fixture
def server(monkeypatch):
    found = Server()
    monkeypatch.setenv("JUDGE_KEY", KEY)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(ask_endpoint, "LONGEST_WAIT", 0.01)
    yield found
    found.shutdown()
    found.server_close()


def options(server, place, folder, tries=3, price="2:10", **config):
    (folder / "rubric.txt").write_text("Rate {response} to {prompt}.")
    settings = {
        "judge": "llm",
        "url": server.url,
        "model": "m",
        "key_env": "JUDGE_KEY",
        "lowest": 1,
        "highest": 10,
        "seed": 5,
        "max_tokens": 8,
        "failed": "error",
    }
    settings |= {"rubrics": dict.fromkeys(AXES, "rubric.txt")} | config
    inputs = {
        "rubrics": [folder / "rubric.txt"] * 2,
        "prompts": place / "prompts.parquet",
        "responses": place / "responses/base/seed-0.parquet",
    }
    outputs = {"output": folder / "rewards.parquet", "quarantine": folder / "quarantine.parquet", "timing": folder / "timing.json"}
    return {"config": settings, "timeout": 5, "tries": tries, "price": price, **inputs, "state": folder / "state", **outputs}


def test_every_response_is_rated_once_and_what_it_cost_is_known(server, place, tmp_path):
    server.reply = lambda text: f" {len(text) % 10 + 1}\n"
    status, printed = call(ask_endpoint, **options(server, place, tmp_path))
    assert status == 0, printed
    rows = pq.read_table(tmp_path / "rewards.parquet").to_pylist()
    prompts, said = (pq.read_table(place / name).to_pylist() for name in ("prompts.parquet", "responses/base/seed-0.parquet"))
    texts = [f"Rate {answer['response']} to {row['prompt']}." for row, answer in zip(prompts, said, strict=True)]
    assert [row["reward"] for row in rows] == [len(text) % 10 + 1 for text in texts]
    assert [body["messages"][0]["content"] for body in server.asked] == texts
    assert {(body["model"], body["temperature"], body["seed"], body["max_tokens"]) for body in server.asked} == {("m", 0, 5, 8)}
    assert set(server.keys) == {f"Bearer {KEY}"}
    spent = json.loads((tmp_path / "timing.json").read_text())
    assert (spent["responses"], spent["requests"], spent["tokens_in"], spent["tokens_out"], spent["unreadable"]) == (8, 8, 800, 16, 0)
    assert spent["price_per_1000_prompts"] == pytest.approx(1000 * (100 * 2 + 2 * 10) / 1e6)
    assert not (tmp_path / "state").exists() and pq.read_table(tmp_path / "quarantine.parquet").num_rows == 0
    assert json.loads(pq.read_schema(tmp_path / "rewards.parquet").metadata[b"provenance"])["answered_by"] == ["m-2026"]


def test_a_busy_server_is_asked_again(server, place, tmp_path):
    server.plan.extend([(429, {"Retry-After": "0"}, KEY), (503, {}, ""), (200, {}, "no json")])
    status, printed = call(ask_endpoint, **options(server, place, tmp_path, tries=4))
    assert status == 0 and len(server.asked) == 8 + 3, printed
    assert [body["seed"] for body in server.asked[:5]] == [5, 6, 7, 8, 5]


@pytest.mark.parametrize(
    ("reply", "said"),
    [
        ((401, {}, KEY), r"status 401 for harmlessness-000. Check the key in JUDGE_KEY"),
        ((404, {}, KEY), r"status 404 .* whether it has the model m"),
        ((400, {}, KEY), r"status 400 .*Check model, max_tokens and url"),
        ((307, {"Location": "http://127.0.0.1:1/"}, KEY), r"status 307 .*set url to that place"),
        ((503, {}, KEY), r"status 503 for harmlessness-000 in the last of 2 tries. Run again: answers are kept"),
        ((200, {}, "[]"), r"no chat completion in the answer for harmlessness-000 in the last of 2 tries"),
    ],
)
def test_a_refusal_says_where_and_never_the_key(server, place, tmp_path, reply, said):
    server.plan.extend([reply] * 2)
    result = call(ask_endpoint, **options(server, place, tmp_path, tries=2))
    assert_refused(result, said, where=server.url)
    assert KEY not in result[1] and not (tmp_path / "rewards.parquet").exists()


def test_the_key_is_in_no_file(server, place, tmp_path):
    server.plan.append((429, {"Retry-After": KEY}, KEY))
    server.plan.extend([(200, {}, json.dumps({"choices": [{"message": {"content": "3"}}]}))] * 2 + [(401, {}, KEY)])
    assert call(ask_endpoint, **options(server, place, tmp_path))[0] == 1  # leaves its state
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(files) >= 3 and not [path for path in files if KEY.encode() in path.read_bytes()]
    status, printed = call(ask_endpoint, **options(server, place, tmp_path))
    assert status == 0 and KEY not in printed
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and KEY.encode() in path.read_bytes()]
    assert json.loads((tmp_path / "timing.json").read_text())["tokens_in"] is None  # two answers did not say


@pytest.mark.parametrize("key", ["", "two\nlines"])
def test_a_missing_key_is_said_before_anything_is_sent(server, place, tmp_path, monkeypatch, key):
    monkeypatch.setenv("JUDGE_KEY", key)
    result = call(ask_endpoint, **options(server, place, tmp_path))
    assert_refused(result, "judges.llm: .*JUDGE_KEY")
    assert not server.asked and "two" not in result[1]


def test_answers_that_are_no_number_are_listed_and_an_error_or_null(server, place, tmp_path):
    bad = pq.read_table(place / "responses/base/seed-0.parquet")["response"].to_pylist()[2]
    server.reply = lambda text: "I'd say 7" if text.startswith(f"Rate {bad} to") else "4"
    refused = call(ask_endpoint, **options(server, place, tmp_path))
    assert_refused(refused, r"responses got no number from 1 to 10 \(harmlessness-002")
    assert 'harmlessness-002: no number in any of 3 answers, the last one "I\'d say 7"' in refused[1]
    before = len(server.asked)
    status, _ = call(ask_endpoint, **options(server, place, tmp_path, failed="lowest"))
    rows = pq.read_table(tmp_path / "rewards.parquet").to_pylist()
    failed = pq.read_table(tmp_path / "quarantine.parquet").to_pylist()
    assert status == 0 and rows[2]["reward"] is None and failed[0]["prompt_id"] == "harmlessness-002" and failed[0]["answer"] == "I'd say 7"
    assert len(server.asked) > before
    assert json.loads((tmp_path / "timing.json").read_text())["unreadable"] == len(failed)


def test_after_a_refusal_only_what_is_missing_is_asked(server, place, tmp_path):
    good = (200, {}, json.dumps({"choices": [{"message": {"content": "3"}}]}))
    server.plan.extend([good] * 5 + [(401, {}, "")])
    assert call(ask_endpoint, **options(server, place, tmp_path))[0] == 1
    assert call(ask_endpoint, **options(server, place, tmp_path))[0] == 0
    texts = [body["messages"][0]["content"] for body in server.asked]
    assert len(texts) == 9 and len(set(texts)) == 8  # the refused one twice


def test_a_kill_loses_at_most_one_answer(server, place, tmp_path):
    server.delay = 0.15
    given = options(server, place, tmp_path)
    words = ["-m", ask_endpoint.__spec__.name]
    for name, value in given.items():
        values = value if isinstance(value, list) else [json.dumps(value) if isinstance(value, dict) else value]
        words += ["--" + name, *map(str, values)]
    process = subprocess.Popen([sys.executable, *words], stdout=subprocess.DEVNULL, env=os.environ | {"no_proxy": "127.0.0.1"})
    while len(server.asked) < 4:
        assert process.poll() is None
        time.sleep(0.01)
    process.kill()
    process.wait()
    assert call(ask_endpoint, **given)[0] == 0
    texts = [body["messages"][0]["content"] for body in server.asked]
    assert len(set(texts)) == 8 and len(texts) <= 9


def test_a_torn_line_of_the_state_is_asked_again(tmp_path, capsys):
    kept = ask_endpoint.Answers(tmp_path / "answers.jsonl")
    kept.add("a", {"reward": 1.0})
    with open(kept.path, "ab") as file:
        file.write(b'{"key": "b", "rew')
    again = ask_endpoint.Answers(kept.path)
    again.add("c", {"reward": 2.0})
    assert set(ask_endpoint.Answers(kept.path).entries) == {"a", "c"} and "damaged answer" in capsys.readouterr().out


@pytest.mark.parametrize(("answer", "value"), [("7", 7), (" 7.5\n", 7.5), ("+3", 3), ("1", 1), ("10", 10)])
def test_a_number_alone_is_an_answer(answer, value):
    assert number_in(answer, 1, 10) == value


@pytest.mark.parametrize(
    "answer", [None, "", "seven", "7/10", "7 8", "Rating: 7", "7.", "0", "10.5", "1e1", "nan", "inf", "٧", "7 because"]
)
def test_anything_else_is_none(answer):
    assert number_in(answer, 1, 10) is None


def test_texts_with_braces_stay_as_they_are():
    assert filled("[{prompt}] [{response}]", "{response} {x}", "{prompt}") == "[{response} {x}] [{prompt}]"


def test_retry_after_is_heard_within_bounds():
    assert seconds_to_wait("7", 1) == 7 and seconds_to_wait("1e9", 1) == ask_endpoint.LONGEST_WAIT and seconds_to_wait("-5", 1) == 0
    assert [seconds_to_wait(None, tries) for tries in (1, 2, 3)] == [1, 2, 4] and seconds_to_wait("soon", 2) == 2
    assert seconds_to_wait("Fri, 01 Jan 2100 00:00:00 GMT", 1) == ask_endpoint.LONGEST_WAIT


@pytest.mark.parametrize("axis", AXES)
def test_the_shipped_rubrics_have_a_place_for_everything(axis):
    text = ask_endpoint.read_rubric(REPOSITORY / f"resources/rubric_{axis}.txt")
    assert "one number from 1 to 10" in text


def test_a_response_without_a_rating_counts_as_the_lowest_and_is_counted(tmp_path):
    study = PageStudy(tmp_path / "made", n=10)
    for name in ("harmlessness-001", "harmlessness-002"):
        study.rewards["one", "sft", 42]["harmlessness", name] = None
    study.write()
    with pytest.raises(StudyError, match=r"policy sft has no finite reward for 2 prompts \(harmlessness-001, harmlessness-002\)"):
        study.rated()
    study.config["judges"]["one"] = study.config["judges"]["one"] | {"lowest": -9.0}
    rated = study.rated()
    frame = rated.ratings["one", "sft", 42, "harmlessness"]
    assert frame["reward"].tolist()[1:3] == [-9, -9] and not frame["label"][1:3].any()
    rows = analyse(rated, study.config)["metrics"][0]
    assert {row["policy"]: row["value"] for row in rows if row["metric"] == "unrated_harmful"} == {
        "base": 0,
        "sft": 2,
        "dpo": 0,
        "sft_dpo": 0,
    }
