"""Claims of fact: each look at an artifact finds what is there, and what an artifact does not say is not measured, never supported."""

import json

import numpy as np
import pyarrow as pa
import pytest
import yaml
from study_folder import REPOSITORY

from hh_align.analysis.check_facts import check_facts, conclude, stated
from hh_align.analysis.compare_judges import AGREEMENT, agreement
from hh_align.analysis.facts import look
from hh_align.core.artifacts import write_table
from hh_align.core.errors import StudyError

MISSING = "not measured here"
CLAIMS = [claim for claim in yaml.safe_load((REPOSITORY / "config/config.yaml").read_text())["claims"] if "parts" not in claim]
PROMPTS = pa.schema([("axis", pa.string()), ("prompt_id", pa.string()), ("subset", pa.string()), ("keywords", pa.list_(pa.string()))])
RATINGS = pa.schema([("policy", pa.string()), ("prompt_id", pa.string()), ("reward", pa.float64()), ("label", pa.bool_())])
JUDGE = pa.schema([("subset", pa.string()), ("accuracy", pa.float64()), ("ci_low", pa.float64()), ("ci_high", pa.float64())])
MADE = {"config": {"seed": 100, "harmlessness": {"keywords": ["kill", "rape"]}, "helpfulness": {"keywords": []}}, "inputs": {}}


@pytest.fixture
def study(tmp_path):
    """Writes a table of a study, perhaps with its provenance, and says where it is."""

    def write(name, rows, schema, made=MADE):
        path = tmp_path / "results/mine" / f"{name}.parquet"
        write_table(path, rows, schema, made)
        return path

    return write


def prompts(subset="harmless-base", words=("kill",)):
    return [
        {"axis": axis, "prompt_id": f"{axis}-{n}", "subset": subset, "keywords": list(words) * (axis == "harmful")}
        for axis in ("harmful", "helpful")
        for n in range(3)
    ]


def verdict(fact, *files):
    return look({"artifact": "any", **fact}, list(files)).verdict


def test_an_artifact_that_the_study_does_not_have_is_not_measured():
    fact = {"artifact": "analysis/judge.parquet", "column": "accuracy", "above": 50}
    assert look(fact, []) == ("this study has no analysis/judge.parquet", MISSING)


def test_a_star_stands_for_one_name(study):
    files = [study(f"responses/{name}/seed-1", prompts(), PROMPTS) for name in ("base", "sft")] + [
        study("prompts/prompts", prompts(), PROMPTS)
    ]
    claim = {"claim": "so", "source": "", "facts": [{"artifact": "responses/*/seed-*.parquet", "count": "rows", "is": 6}]}
    assert [row["verdict"] for row in check_facts([claim], files)] == ["supported"]
    (row,) = check_facts([claim | {"facts": [{"artifact": "responses/dpo/seed-*.parquet", "count": "rows", "is": 6}]}], files)
    assert (row["verdict"], row["found"]) == (MISSING, "this study has no responses/dpo/seed-*.parquet")


@pytest.mark.parametrize(
    ("fact", "expected"),
    [
        ({"count": "rows", "is": 6}, "supported"),
        ({"count": "rows", "is": 7}, "contradicted"),
        ({"count": "rows", "where": {"axis": "harmful"}, "is": 3}, "supported"),
        ({"count": "rows", "where": {"axis": ["harmful", "helpful"]}, "at_least": 6, "below": 7}, "supported"),
        ({"count": "rows", "where": {"axis": "no such"}, "is": 3}, "contradicted"),
        ({"count": "prompt_id", "is": 6}, "supported"),
        ({"count": "prompt_id", "each": "axis", "is": 3}, "supported"),
        ({"count": "prompt_id", "each": "axis", "above": 3}, "contradicted"),
        ({"column": "axis", "is": ["helpful", "harmful"]}, "supported"),
        ({"column": "axis", "is": ["harmful"]}, "contradicted"),
        ({"column": "axis", "is": ["harmful", "helpful", "third"]}, "contradicted"),
        ({"column": "subset", "is": "harmless-base"}, "supported"),
        ({"column": "keywords", "where": {"axis": "harmful"}, "is": "kill"}, "supported"),
        ({"column": "keywords", "where": {"axis": "helpful"}, "is": "kill"}, MISSING),
        ({"setting": "seed", "is": 100}, "supported"),
        ({"setting": "seed", "is": "100"}, "contradicted"),
        ({"setting": "seed", "is": True}, "contradicted"),
        ({"setting": "seed", "below": 100}, "contradicted"),
        ({"setting": "harmlessness.keywords", "is": ["rape", "kill"]}, "supported"),
        ({"setting": "harmlessness.keywords", "is": ["kill"]}, "contradicted"),
        ({"setting": "helpfulness.keywords", "is": "none"}, "supported"),
        ({"setting": "harmlessness.split", "is": "test"}, MISSING),
    ],
    ids=str,
)
def test_what_is_found_is_held_against_what_is_stated(study, fact, expected):
    assert verdict(fact, study("prompts/prompts", prompts(), PROMPTS)) == expected


def test_a_count_is_of_each_file(study):
    files = [study(f"responses/{name}/seed-1", rows, PROMPTS) for name, rows in (("base", prompts()), ("sft", prompts()[:5]))]
    assert look({"artifact": "a", "count": "rows", "is": 6}, files) == ("5 to 6", "contradicted")
    assert verdict({"count": "rows", "at_least": 5}, *files) == "supported"


@pytest.mark.parametrize(
    "fact",
    [
        {"column": "subset", "is": "x"},
        {"count": "subset", "is": 1},
        {"count": "rows", "where": {"subset": "x"}, "is": 6},
        {"column": "axis", "where": {"subset": "x"}, "is": "harmful"},
    ],
    ids=str,
)
def test_what_is_unknown_supports_and_contradicts_nothing(study, fact):
    assert verdict(fact, study("prompts/prompts", prompts(subset=None), PROMPTS)) == MISSING


def test_a_known_value_contradicts_whatever_is_unknown(study):
    rows = [{"policy": "sft", "prompt_id": "p", "reward": reward, "label": True} for reward in (1.0, None, 2.0)]
    path = study("analysis/ratings", rows, RATINGS)
    assert look({"artifact": "a", "column": "reward", "at_least": 2}, [path]) == ("1 to 2 in 2 rows, and some unknown", "contradicted")
    assert verdict({"column": "reward", "at_least": 1}, path) == MISSING


@pytest.mark.parametrize(
    ("values", "expected"),
    [((100.0, 95.0), "supported"), ((100.0, None, 95.0), "supported"), ((100.0, 100.0), "contradicted"), ((100.0, None), MISSING)],
)
def test_one_value_may_be_enough(study, values, expected):
    rows = [{"policy": "sft", "prompt_id": "p", "reward": value, "label": True} for value in values]
    assert verdict({"column": "reward", "some": True, "below": 100}, study("analysis/ratings", rows, RATINGS)) == expected


@pytest.mark.parametrize(("differing", "expected"), [(0, "contradicted"), (1, "supported")])
def test_a_judge_asked_twice_is_deterministic_where_it_gives_the_same_rewards(tmp_path, differing, expected):
    stream = np.random.default_rng(1)
    first = stream.normal(size=(1, 2, 20, 1))
    again = first.copy()
    again[0, 0, :differing] += 1e-9
    rewards = np.concatenate([first, again])
    rows = [
        {"judge_a": "gpt4", "judge_b": "gpt4_again", "axis": "helpfulness", "n": 40} | row
        for row in agreement(rewards > 0, rewards, np.arange(20), 1)
    ]
    path = tmp_path / "results/mine/analysis/judge_agreement.parquet"
    write_table(path, rows, AGREEMENT, MADE)
    (claim,) = [claim for claim in CLAIMS if "GPT-4" in claim["claim"]]
    assert [row["verdict"] for row in check_facts([claim], [path])] == [expected]


def test_a_definition_is_held_against_every_label(study):
    rows = [{"policy": "sft", "prompt_id": f"p{n}", "reward": reward, "label": reward >= -3} for n, reward in enumerate((-4.0, -3.0, 1.5))]
    path = study("analysis/ratings", rows, RATINGS)
    good, bad = {"column": "reward", "where": {"label": True}}, {"column": "reward", "where": {"label": False}}
    assert [verdict(good | {"at_least": -3}, path), verdict(bad | {"below": -3}, path)] == ["supported"] * 2
    assert [verdict(good | {"above": -3}, path), verdict(bad | {"below": -4}, path)] == ["contradicted"] * 2


@pytest.mark.parametrize(
    ("low", "high", "bounds", "expected"),
    [
        (51, 60, {"above": 50}, "supported"),
        (45, 60, {"above": 50}, "undecided"),
        (40, 50, {"above": 50}, "contradicted"),
        (40, 50, {"at_least": 50}, "undecided"),
        (0.2, 0.5, {"below": 0.6}, "supported"),
        (0.2, 0.7, {"below": 0.6}, "undecided"),
        (0.7, 0.9, {"below": 0.6}, "contradicted"),
        (51, 60, {"above": 50, "below": 55}, "undecided"),
        (None, None, {"above": 50}, MISSING),
    ],
)
def test_an_interval_around_a_bound_is_undecided(study, low, high, bounds, expected):
    path = study("analysis/judge", [{"subset": "harmless-base", "accuracy": 55.0, "ci_low": low, "ci_high": high}], JUDGE)
    assert verdict({"column": "accuracy", "interval": True, **bounds}, path) == expected


def test_one_row_without_an_interval_leaves_the_others_open(study):
    rows = [
        {"subset": subset, "accuracy": 55.0, "ci_low": low, "ci_high": 60.0}
        for subset, low in (("harmless-base", 51.0), ("helpful-base", None))
    ]
    assert verdict({"column": "accuracy", "interval": True, "above": 50}, study("analysis/judge", rows, JUDGE)) == MISSING


MODEL = "hub/models/owner--name/0123/manifest.json"


@pytest.mark.parametrize(
    ("inputs", "expected"),
    [
        (["mine/prompts/prompts.parquet", "mine/responses/sft/seed-1.parquet"], "supported"),
        (["mine/prompts/prompts.parquet"], "contradicted"),
        (["mine/prompts/prompts.parquet", "mine/responses/sft/seed-1.parquet", "mine/models/base/manifest.json"], "contradicted"),
        (["release/prompts/harmful_prompts.json"], MISSING),
        ([], MISSING),
    ],
)
def test_what_an_artifact_was_made_of(study, inputs, expected):
    path = study("rewards/judge/sft/seed-1", prompts(), PROMPTS, {"config": {}, "inputs": dict.fromkeys(inputs, "sum")})
    assert verdict({"made_of": ["prompts/prompts.parquet", "responses/*/seed-*.parquet"]}, path) == expected


@pytest.mark.parametrize(("wanted", "expected"), [("owner--name", "supported"), ("other--name", "contradicted")])
def test_another_model_of_the_hub_contradicts(tmp_path, wanted, expected):
    path = tmp_path / "results/mine/models/judges/judge/provenance.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps({"inputs": {MODEL: "sum"}}))
    found = look({"artifact": "a", "made_of": [f"hub/models/{wanted}/*/*"]}, [path])
    assert found == (MODEL, expected)


def test_bad_columns_are_one_message(study):
    path = study("prompts/prompts", prompts(), PROMPTS)
    for fact, said in (
        ({"column": "split", "is": "test"}, "column split is missing; it has axis, prompt_id, subset, keywords"),
        (
            {"count": "rows", "where": {"keywords": "kill"}, "is": 3},
            "column keywords holds lists: name it as column, not in count, each or where",
        ),
        ({"column": "axis", "above": 3}, "axis holds 'harmful', which is no number: no bound can be put on it. Use is"),
    ):
        with pytest.raises(StudyError, match=said):
            verdict(fact, path)
    path = study("analysis/ratings", [{"policy": "", "prompt_id": "p", "reward": 1.0, "label": False}], RATINGS)
    for column in ("label", "policy"):
        with pytest.raises(StudyError, match=f"{column} holds .*, which is no number"):
            verdict({"column": column, "above": -1}, path)


def test_large_numbers_keep_their_digits(study):
    path = study("analysis/ratings", [{"policy": "sft", "prompt_id": "p", "reward": 1234567.0, "label": True}], RATINGS)
    assert look({"artifact": "a", "column": "reward", "is": 1234567}, [path]) == ("1234567", "supported")
    assert stated({"column": "reward", "is": 1234567.0}) == "1234567" and stated({"column": "reward", "is": 0.25}) == "0.25"


def test_a_claims_verdict_is_that_of_its_worst_fact():
    assert conclude(["supported", MISSING, "contradicted", "undecided"]) == "contradicted"
    assert conclude(["supported", MISSING, "undecided"]) == MISSING
    assert conclude(["supported", "undecided"]) == "undecided" and conclude(["supported"]) == "supported"


def test_what_a_claim_says_beyond_its_facts_leaves_it_open(study):
    files = [study("prompts/prompts", prompts(), PROMPTS)]
    claim = {
        "claim": "so",
        "source": "there",
        "facts": [{"artifact": "prompts/prompts.parquet", "count": "rows", "is": 6}],
        "not_measured": "no quantity",
    }
    rows = check_facts([claim], files)
    assert [(row["fact_verdict"], row["verdict"]) for row in rows] == [("supported", MISSING), (MISSING, MISSING)]
    assert rows[0]["evidence"] == "no quantity; prompts/prompts.parquet, rows: 6 (stated: 6)"


def test_the_synthesis_report_on_the_papers_release(released, tmp_path):
    # what the release says is judged, what it does not say is left open; a wrong number of prompts would be contradicted
    folder = tmp_path / "results/published"
    for name, path in (("analysis/ratings", "ratings"), ("prompts/prompts", "prompts")):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / f"{name}.parquet").write_bytes((released / f"{path}.parquet").read_bytes())
    rows = check_facts(
        CLAIMS, [*folder.glob("*/*.parquet"), *released.glob("responses/*/*.parquet"), *released.glob("rewards/*/*/*.parquet")]
    )
    verdicts = {row["claim"]: row["verdict"] for row in rows}
    assert len(verdicts) == 18 and set(verdicts.values()) == {"supported", MISSING}
    assert [claim for claim, told in verdicts.items() if told == "supported"] == [
        "Four models are evaluated",
        "There are 100 prompts, 50 harmful and 50 helpful",
        "All models answer the same prompts",
        "A response to a harmful prompt is harmless from a reward of -3",
        "A response to a helpful prompt is helpful above a reward of -2",
        "One reward model rates all four models",
    ]
