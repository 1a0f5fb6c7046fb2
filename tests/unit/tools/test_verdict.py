"""The verdict on a file of rated responses: the same numbers from every format, and one clear error for a file that is not fit."""

import subprocess
import sys

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import yaml
from command_line import assert_refused, call
from page_study import PageStudy
from study_folder import REPOSITORY

from hh_align.analysis import gather_ratings
from hh_align.analysis.ratings import checkpoints, split
from hh_align.core.errors import StudyError
from hh_align.tools import verdict
from hh_align.tools.rated import read_rated
from hh_align.tools.verdict import analyse, read_settings, replies_of, settings_in, study_of, table_of
from hh_align.tools.verdict_thresholds import PAPER

DEFAULTS = yaml.safe_load((REPOSITORY / "config/config.yaml").read_text())
AXES = ("harmlessness", "helpfulness")


def rated(policies=("base", "sft", "dpo"), seeds=(0,), n=30, judges=("judge",)):
    """Made-up ratings; trained policies have every seed, base the one."""
    stream = np.random.default_rng(0)
    rows = [
        {"policy": policy, "axis": axis, "prompt_id": f"{axis}-{number:03d}", "seed": seed, "judge": judge,
         "response": "" if number == 0 else f"reply {number} of {policy}", "reward": round(float(stream.normal(-2.5, 1)), 4)}
        for judge in judges for policy in policies for seed in (seeds if policy != "base" else (0,)) for axis in AXES for number in range(n)
    ]  # fmt: skip
    return pd.DataFrame(rows)


def papers(frame):
    """The paper's thresholds for every judge, as those of a study that made the file."""
    return {"judges": dict.fromkeys(sorted(set(frame["judge"])), PAPER)}


def verdict_on(path, settings=None, own=None):
    frame = read_rated([path])
    config = study_of(frame, settings or {}, path, DEFAULTS, papers(frame) if "label" not in frame else own)
    return analyse(split(table_of(frame, config, path)), config)


def test_every_format_gives_the_same_tables(tmp_path):
    frame = rated()
    frame.to_parquet(tmp_path / "a.parquet")
    frame.to_csv(tmp_path / "a.csv", index=False)
    frame.to_json(tmp_path / "a.json", orient="records")
    frame.sample(frac=1, random_state=1).to_json(
        tmp_path / "a.jsonl", orient="records", lines=True
    )  # and the order of rows is of no account
    expected = verdict_on(tmp_path / "a.parquet")
    for name in ("a.csv", "a.json"):
        assert verdict_on(tmp_path / name) == expected
    settings = {"root": "base", "parents": {"sft": "base", "dpo": "base"}}
    shuffled = verdict_on(tmp_path / "a.jsonl", settings)["comparisons"][0]
    key = ["policy_b", "policy_a", "metric", "family"]
    assert {tuple(row[part] for part in key): row["p_holm"] for row in shuffled if row["family"] == "declared"} == {
        tuple(row[part] for part in key): row["p_holm"] for row in expected["comparisons"][0] if row["family"] == "declared"
    }


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda f: f.drop(f[(f.policy == "sft") & (f.prompt_id == "helpfulness-004")].index), r"policy sft has no row for 1 prompt \(helpfulness-004\)"),
        (lambda f: f.assign(reward=f.reward.where(f.index != 3)), r"policy base has no finite reward for 1 prompt \(harmlessness-003\)"),
        (lambda f: f.assign(reward=f.reward.where(f.index != 3, np.inf)), r"no finite reward"),
        (lambda f: f.assign(reward=f.reward.astype(object).where(f.index != 3, "good")), r"line 5: reward is 'good', not a number: write one, or take this prompt out of every policy"),
        (lambda f: pd.concat([f, f.tail(1)]), r"rated.csv, lines \d+ and \d+: dpo, judge, seed 0, helpfulness, prompt helpfulness-029 stands twice. Keep one\.$"),
        (lambda f: f.assign(judge=np.where(f.policy == "sft", "other", "judge")), r"judge judge has no rewards of sft seed 0; others have: other"),
        (lambda f: f.drop(columns="reward"), r"column reward is missing; it has policy, axis"),
        (lambda f: f.drop(columns="prompt_id"), r"column prompt_id \(or prompt\) is missing"),
        (lambda f: f.assign(axis="safety"), r"axis safety is unknown. Allowed: harmlessness, helpfulness"),
        (lambda f: f.assign(seed=np.where(f.policy == "sft", 1, 2)), r"needs the same seeds"),
        (lambda f: f.assign(seed=f.seed.where(f.index != 7)), r"line 9: seed is '', not a whole number"),
        (lambda f: f.assign(policy=f.policy.where(f.index > 1)), r"column policy is empty in 2 rows \(the first is line 2\)"),
    ],
)  # fmt: skip
def test_an_unfit_file_is_one_error_never_a_smaller_n(tmp_path, change, said):
    path = tmp_path / "rated.csv"
    change(rated()).to_csv(path, index=False)
    with pytest.raises(StudyError, match=said):
        verdict_on(path)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"contrasts": [["sft", "ppo"]]}, r"the settings: contrasts names ppo, which .*rated.csv does not have \(it has base, sft, dpo\)"),
        ({"primary": ["base", "sft"]}, r"primary is \[base, sft\], which is none of the contrasts. Allowed: \[sft, base\]"),
        ({"parents": {"sft": "dpo", "dpo": "sft"}}, r"parents has a cycle \(sft -> dpo -> sft\). One of them must descend from base"),
    ],
)
def test_settings_that_do_not_fit_are_refused(tmp_path, settings, said):
    rated().to_csv(tmp_path / "rated.csv", index=False)
    with pytest.raises(StudyError, match=said):
        verdict_on(tmp_path / "rated.csv", settings)


@pytest.mark.usefixtures("without_model")
def test_prompt_ids_may_begin_anew_on_each_axis(tmp_path):
    frame = rated()
    frame.to_parquet(tmp_path / "named.parquet")
    frame.assign(prompt_id=frame["prompt_id"].str[-3:]).to_parquet(tmp_path / "numbered.parquet")
    compared = [verdict_on(tmp_path / f"{name}.parquet")["comparisons"] for name in ("named", "numbered")]
    assert compared[0] == compared[1]


def test_prompts_that_share_a_first_turn_are_known_by_their_text(tmp_path):
    # with the prompts' texts, not ids: two of them are turns of one dialogue
    frame = rated(n=4)
    turns = ["Human: a", "Human: a\n\nAssistant: b\n\nHuman: c", "Human: d", "Human: e"]
    frame = frame.assign(prompt=[turns[int(name[-3:])] for name in frame.pop("prompt_id")])
    frame.to_csv(tmp_path / "rated.csv", index=False)
    rows = verdict_on(tmp_path / "rated.csv")["comparisons"][0]
    assert {row["test"] for row in rows if row["metric"] == "CAS"} == {"sign-flip exact by cluster"}


@pytest.mark.usefixtures("without_model")
def test_seeds_and_judges_of_one_file(tmp_path):
    rated(seeds=(1, 2), judges=("a", "b")).to_parquet(tmp_path / "rated.parquet")
    rows, _ = verdict_on(tmp_path / "rated.parquet", {"judges": {"b": {"helpful_above": -2.5}}})["metrics"]
    told = {(row["judge"], row["policy"], row["seed"], row["estimand"]) for row in rows if row["metric"] == "HpR"}
    assert {("a", "sft", 1, "these checkpoints"), ("a", "sft", None, "new seeds"), ("b", "base", 0, "these checkpoints")} <= told
    values = {judge: [row["value"] for row in rows if row["judge"] == judge and row["metric"] == "HpR"] for judge in ("a", "b")}
    assert all(loose > strict for strict, loose in zip(values["a"], values["b"], strict=True))


def looked_at(frame, path, settings=None):
    """Policy -> why its text is broken, and all tables, of a file with these rows."""
    frame.to_parquet(path)
    frame = read_rated([path])
    config = study_of(frame, settings or {}, path, DEFAULTS, papers(frame))
    tables = analyse(split(table_of(frame, config, path)), config, replies_of(frame, config))
    return {row["policy"]: row["broken_why"] for row in tables["text"][0]}, tables


@pytest.mark.usefixtures("without_model")
def test_texts_are_looked_at_where_the_file_has_them(tmp_path):
    frame = rated().assign(finish="eos")
    broken = frame["policy"] == "dpo"
    frame["response"] = frame["response"].where(~broken, frame["prompt_id"] + " and the" + " a" * 25)

    def caveats(frame, settings=None):
        return {(row["policy_b"], row["caveat_b"]) for row in looked_at(frame, tmp_path / "rated.parquet", settings)[1]["comparisons"][0]}

    assert caveats(frame) == {("sft", None), ("dpo", "its text is broken: 100 % of its replies repeat themselves")}
    assert caveats(frame, {"text": {"repeated_ngrams": 99, "compression": 99}}) == {("sft", None), ("dpo", None)}
    assert caveats(frame.drop(columns="response")) == {("sft", None), ("dpo", None)}  # without texts nothing is said


@pytest.mark.usefixtures("without_model")
def test_the_text_of_a_reply_may_stand_in_one_judges_rows(tmp_path):
    frame = rated(judges=("a", "b"))
    told, tables = looked_at(frame.assign(response=frame["response"].where(frame["judge"] == "b")), tmp_path / "rated.parquet")
    assert told == dict.fromkeys(("base", "sft", "dpo"))
    empty = {(row["judge"], row["value"]) for row in tables["metrics"][0] if row["metric"] == "empty_harmful"}
    assert empty == {("a", 1), ("b", 1)}


def test_a_policy_without_texts_is_not_called_empty(tmp_path, capsys):
    frame = rated()
    assert looked_at(frame.assign(response=frame["response"].where(frame["policy"] != "sft")), tmp_path / "rated.parquet")[0] == {}
    assert "sft seed 0 has no text on harmlessness" in capsys.readouterr().out


def test_an_axis_that_no_judge_rates_may_have_other_prompts_for_each_policy(tmp_path):
    frame, settings = rated(), {"judges": {"judge": {"axis": "harmlessness"}}}
    unjudged = frame["axis"] == "helpfulness"
    frame["reward"] = frame["reward"].where(~unjudged)
    other = frame[~(unjudged & (frame["policy"] == "sft") & (frame["prompt_id"] > "helpfulness-019"))]
    told, tables = looked_at(other, tmp_path / "rated.parquet", settings)
    assert told == dict.fromkeys(("base", "sft", "dpo")) and {row["n"] for row in tables["text"][0]} == {50}
    none = frame[~(unjudged & (frame["policy"] == "sft"))]
    assert looked_at(none, tmp_path / "rated.parquet", settings)[0] == {}


def test_the_command_writes_everything_without_torch(tmp_path):
    rated().to_csv(tmp_path / "rated.csv", index=False)
    code = "import sys; from hh_align.tools import verdict; verdict.main(); sys.exit('torch' in sys.modules)"
    arguments = ["--responses", tmp_path / "rated.csv", "--paper-judge", "--output", tmp_path / "verdict"]
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)], cwd=REPOSITORY, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    written = {path.name for path in (tmp_path / "verdict").rglob("*.*")}
    assert {"metrics.parquet", "comparisons.csv", "contrasts.svg", "thresholds.svg", "summary.txt", "index.html"} <= written
    assert "By judge judge a reply is harmless from -3 on" in done.stdout and "index.html" in done.stdout.splitlines()[-2]


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    """A study's table of ratings as gather_ratings writes it; one of its judges speaks about one axis."""
    study = PageStudy(tmp_path_factory.mktemp("own") / "made", n=20, judges=("kind", "both"))
    study.config["judges"] = {"kind": {"harmless_min": -2.5}, "both": {"harmless_min": -3.5, "helpful_above": -2.5}}
    study.config["order"] = ["base", "dpo", "sft", "sft_dpo"]
    paths = {
        "rewards": [
            study.folder / f"rewards/{judge}/{policy}/seed-{seed}.parquet"
            for judge in ("both", "kind")
            for policy, seed in checkpoints(study.config)
        ],
        "responses": [study.folder / f"responses/{policy}/seed-{seed}.parquet" for policy, seed in checkpoints(study.config)],
    }
    study.ratings = study.folder / "analysis/ratings.parquet"
    status, output = call(
        gather_ratings, config=study.config, prompts=study.folder / "prompts/prompts.parquet", **paths, output=study.ratings
    )
    assert status == 0, output
    return study


@pytest.mark.usefixtures("blank_figures")
def test_a_studys_own_table_is_judged_as_it_is(own, tmp_path):
    options = {"output": tmp_path / "verdict"}
    status, output = call(verdict, responses=own.ratings, **options)
    assert status == 0, output
    metrics = pq.read_table(tmp_path / "verdict/analysis/metrics.parquet").to_pylist()
    values = {(row["judge"], row["policy"], row["metric"]): row["value"] for row in metrics}
    for policy, seed in checkpoints(own.config):
        good = [own.good("both", policy, seed, prompt) for prompt in own.ids if prompt[0] == "helpfulness"]
        assert values["both", policy, "HpR"] == 100 * np.mean(good)  # by the study's thresholds
    assert ("kind", "sft", "HmR") in values and ("kind", "sft", "HpR") not in values
    expected = {
        row["metric"]: row for row in analyse(own.rated(), own.config)["metrics"][0] if (row["judge"], row["policy"]) == ("both", "base")
    }
    assert {metric: values["both", "base", metric] for metric in expected} == {metric: row["value"] for metric, row in expected.items()}
    ours, theirs = (
        pq.read_table(path).replace_schema_metadata(None) for path in (tmp_path / "verdict/analysis/ratings.parquet", own.ratings)
    )
    assert ours.drop_columns(["subset", "row"]).equals(theirs.drop_columns(["subset", "row"]))


@pytest.mark.usefixtures("blank_figures")
def test_settings_stand_over_what_a_studys_table_brings(own, tmp_path):
    (tmp_path / "settings.yaml").write_text("judges: {both: {helpful_above: -3.5}}")
    options = {"settings": tmp_path / "settings.yaml", "output": tmp_path / "verdict"}
    assert call(verdict, responses=own.ratings, **options)[0] == 0
    rows = pq.read_table(tmp_path / "verdict/analysis/metrics.parquet").to_pylist()
    rates = {row["metric"]: row["value"] for row in rows if (row["judge"], row["policy"]) == ("both", "base")}
    helpful = [own.rewards["both", "base", 0][prompt] > -3.5 for prompt in own.ids if prompt[0] == "helpfulness"]
    assert rates["HpR"] == 100 * np.mean(helpful) and rates["HmR"] == 100 * np.mean(
        [own.good("both", "base", 0, prompt) for prompt in own.ids if prompt[0] == "harmlessness"]
    )


@pytest.mark.usefixtures("without_model")
def test_a_column_of_labels_says_what_is_good(own, tmp_path):
    # a study's table that pandas has written again has lost the study's thresholds, but every row has its label
    frame = pq.read_table(own.ratings).to_pandas()
    frame[frame["judge"] == "both"].to_csv(tmp_path / "filtered.csv", index=False)
    made = [
        verdict_on(tmp_path / "filtered.csv"),
        verdict_on(tmp_path / "filtered.csv", {"judges": {"both": own.config["judges"]["both"]}}),
    ]
    rates = [{(row["policy"], row["metric"]): row["value"] for row in tables["metrics"][0]} for tables in made]
    assert rates[0] == rates[1]
    turned = frame[frame["judge"] == "both"].assign(label=lambda rows: ~rows["label"].astype(bool))
    turned.to_csv(tmp_path / "turned.csv", index=False)
    with pytest.raises(StudyError, match=r"turned.csv: column label is made by no threshold of the rewards: on harmlessness"):
        verdict_on(tmp_path / "turned.csv")
    settings = {"judges": {"both": {"helpful_above": -2.5}}}
    frame.to_csv(tmp_path / "all.csv", index=False)
    with pytest.raises(StudyError, match=r"judge kind has no reward on helpfulness.*judges: {kind: {axis: harmlessness}}"):
        verdict_on(tmp_path / "all.csv", settings)


def test_facts_of_replies_count_as_the_replies_would(own, tmp_path):
    # the study's table as CSV, with the study's thresholds given: nulls, truth values and whole numbers are read as what they are
    pd.read_parquet(own.ratings).to_csv(tmp_path / "ratings.csv", index=False)
    parents = {policy: entry["parent"] for policy, entry in own.config["policies"].items() if entry["parent"]}
    judges = {"kind": own.config["judges"]["kind"] | {"axis": "harmlessness"}, "both": own.config["judges"]["both"]}
    (tmp_path / "settings.yaml").write_text(yaml.safe_dump({"parents": parents, "judges": judges}))
    tables = [
        verdict_on(tmp_path / "ratings.csv", read_settings(tmp_path / "settings.yaml")),
        verdict_on(own.ratings, own=settings_in(own.ratings)),
    ]
    assert tables[0] == tables[1]
    assert {row["metric"] for row in tables[0]["metrics"][0]} >= {"empty_harmful", "words_helpful", "cut_helpful", "HmR_without_empty"}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda f: f.assign(words=f.words.where(f.index > 1)), "column words is empty in 2 rows. Give it in every row, or in none"),
        (lambda f: f.assign(tokens=1.5), "1.5"),
        (lambda f: f.assign(empty="perhaps"), "perhaps"),
    ],
)
def test_facts_of_replies_that_are_none_are_refused(own, tmp_path, change, said):
    change(pd.read_parquet(own.ratings)).to_csv(tmp_path / "ratings.csv", index=False)
    (tmp_path / "settings.yaml").write_text("judges: {kind: {axis: harmlessness}}")
    options = {"settings": tmp_path / "settings.yaml", "output": tmp_path / "verdict"}
    assert_refused(call(verdict, responses=tmp_path / "ratings.csv", **options), said, where="ratings.csv")
