"""A study as others' tools read it: records by Every Eval Ever's rules, logs that this project's own readers give back, and the same bytes each time."""

import hashlib
import json
import re
import uuid

import pandas as pd
import pytest
from command_line import call
from jsonschema import Draft7Validator
from page_study import PageStudy

from hh_align.analysis import compute_metrics, gather_ratings
from hh_align.analysis.ratings import checkpoints
from hh_align.core.artifacts import read_table, write_table
from hh_align.core.records import read_records
from hh_align.evaluation.import_responses import response_rows
from hh_align.report import export_records
from hh_align.tools.rated import files_in, read_rated

TEXT, NUMBER, DETAILS = (
    {"type": "string", "minLength": 1},
    {"type": "number"},
    {"type": "object", "additionalProperties": {"type": "string"}},
)


def shape(required, closed=False, **properties):
    """An object that has these keys; a key in `required` without a schema of its own is a text."""
    names = required.split()
    return {"type": "object", "required": names, "additionalProperties": not closed, "properties": dict.fromkeys(names, TEXT) | properties}


BOUND = {"anyOf": [NUMBER, {"enum": ["Infinity", "-Infinity"]}]}
DEPLOYED = {"enum": ["self_deployed", "externally_managed", "unknown"]}
AVAILABLE = {"enum": ["open_weights", "closed_weights", "unknown"]}
MODEL = shape(
    "name id additional_details",
    additional_details=DETAILS
    | {"required": ["deployment_type", "model_availability"], "properties": {"deployment_type": DEPLOYED, "model_availability": AVAILABLE}},
)
METRIC = shape(
    "metric_id lower_is_better score_type min_score max_score",
    lower_is_better={"type": "boolean"},
    score_type={"const": "continuous"},
    min_score=BOUND,
    max_score=BOUND,
    additional_details=DETAILS,
)
INTERVAL = shape("lower upper", lower=NUMBER, upper=NUMBER, confidence_level={"type": "number", "minimum": 0, "maximum": 1})
SCORE = shape(
    "score", score=NUMBER, uncertainty=shape("confidence_interval", confidence_interval=INTERVAL, num_samples={"type": "integer"})
)
SOURCE = {
    "oneOf": [
        shape("dataset_name source_type hf_repo", source_type={"const": "hf_dataset"}),
        shape("dataset_name source_type", source_type={"const": "other"}),
    ]
}
RESULT = shape(
    "evaluation_result_id evaluation_name source_data metric_config score_details",
    source_data=SOURCE,
    metric_config=METRIC,
    score_details=SCORE,
)
SAMPLES = shape(
    "format file_path hash_algorithm checksum total_rows",
    format={"const": "jsonl"},
    hash_algorithm={"const": "sha256"},
    total_rows={"type": "integer"},
    file_path={"pattern": r"^data/[^/]+/[^/]+/[^/]+/[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}_samples\.jsonl$"},
)
RECORD = shape(
    "schema_version evaluation_id retrieved_timestamp source_metadata eval_library model_info evaluation_results detailed_evaluation_results",
    closed=True,
    schema_version={"const": "0.3.0"},
    model_info=MODEL,
    evaluation_results={"type": "array", "minItems": 1, "items": RESULT},
    detailed_evaluation_results=SAMPLES,
    eval_library=shape("name version"),
    source_metadata=shape(
        "source_type source_organization_name evaluator_relationship",
        source_type={"enum": ["documentation", "evaluation_run"]},
        evaluator_relationship={"enum": ["first_party", "third_party", "collaborative", "other"]},
    ),
)
"""The rules that the schema has for what a study says, in our own words."""
INSTANCE = shape(
    "schema_version evaluation_id model_id evaluation_name evaluation_result_id sample_id sample_hash interaction_type input output answer_attribution evaluation metadata",
    closed=True, schema_version={"const": "0.3.0"}, interaction_type={"const": "single_turn"}, answer_attribution={"type": "array"},
    input=shape("raw reference", reference={"type": "array"}), output=shape("raw", raw={"type": "array", "items": {"type": "string"}, "minItems": 1}),
    evaluation=shape("score is_correct", score=NUMBER, is_correct={"type": "boolean"}), metadata=DETAILS,
)  # fmt: skip


class Exported:
    def __init__(self, folder, seeds=(42,), judges=("one", "two")):
        study = self.study = PageStudy(folder / "results/made", n=6, policies=3, seeds=seeds, judges=judges)
        config, self.answered = study.config, checkpoints(study.config)
        paths = [
            study.folder / f"rewards/{judge}/{policy}/seed-{seed}.parquet" for judge in sorted(judges) for policy, seed in self.answered
        ]
        self.inputs = {
            "prompts": study.folder / "prompts/prompts.parquet",
            "responses": [study.folder / f"responses/{policy}/seed-{seed}.parquet" for policy, seed in self.answered],
        }
        self.ratings = study.folder / "analysis/ratings.parquet"
        done = call(gather_ratings, config=config, rewards=paths, output=self.ratings, **self.inputs)
        assert done[0] == 0, done[1]
        rated = study.rated()
        write_table(
            study.folder / "analysis/metrics.parquet",
            compute_metrics.measure(rated.ratings, rated.clusters, config),
            compute_metrics.METRICS,
            {},
        )
        self.write(study.folder / "export")

    def write(self, folder):
        names = {key: str(uuid.UUID(int=number, version=4)) for number, key in enumerate(self.answered, start=1)}
        models = {
            f"{policy} {seed}": {
                "policy": policy, "name": policy, "id": f"local/made-{policy}-{seed}", "seed": seed, "parent": None if policy == "base" else "base", "trained": policy != "base",
                "public": False, "generation": {"max_new_tokens": 50, "dtype": "float32", "lead": True, "cue": True, "stop": True, "strip": False},
            }
            for policy, seed in self.answered
        }  # fmt: skip
        about = {"study": "made", "models": models, "judge_models": {"one": "owner/judge"}, "dataset": {"name": "hh", "repo": "Anthropic/hh-rlhf"},
                 "organization": "us", "version": "1", "timestamp": "0"}  # fmt: skip
        places = [folder / "every_eval_ever/data/made" / models[f"{p} {s}"]["id"] / names[p, s] for p, s in self.answered]
        self.records, self.samples = ([place.with_name(place.name + end) for place in places] for end in (".json", "_samples.jsonl"))
        several = len(self.study.seeds) > 1
        folders = [f"{policy}-seed-{seed}" if several and seed else policy for policy, seed in self.answered]
        self.logs = [folder / f"lm_eval/{name}/samples_{axis}.jsonl" for name in folders for axis in ("harmlessness", "helpfulness")]
        outputs = {"records": self.records, "samples": self.samples, "logs": self.logs}
        done = call(
            export_records,
            config=self.study.config | about,
            ratings=self.ratings,
            metrics=self.study.folder / "analysis/metrics.parquet",
            **self.inputs,
            **outputs,
        )
        assert done[0] == 0, done[1]


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    return Exported(tmp_path_factory.mktemp("one"))


def test_records_and_samples_follow_the_schemas_rules_and_point_at_each_other(exported):
    for record, samples in zip(exported.records, exported.samples, strict=True):
        told, rows = json.loads(record.read_text()), [row for _, row in read_records(samples)]
        Draft7Validator(RECORD).validate(told)
        for row in rows:
            Draft7Validator(INSTANCE).validate(row)
        where = told["detailed_evaluation_results"]
        assert samples.as_posix().endswith("/export/every_eval_ever/" + where["file_path"]) and where["total_rows"] == len(rows)
        assert where["checksum"] == hashlib.sha256(samples.read_bytes()).hexdigest()
        assert {(row["evaluation_id"], row["model_id"]) for row in rows} == {(told["evaluation_id"], told["model_info"]["id"])}
        results = {result["evaluation_result_id"] for result in told["evaluation_results"]}
        assert {row["evaluation_result_id"] for row in rows} == {result for result in results if not result.endswith("/CAS")}


def test_scores_are_the_metrics_and_the_means_of_their_samples(exported):
    metrics = read_table(exported.study.folder / "analysis/metrics.parquet").to_pandas().set_index(["judge", "policy", "seed", "metric"])
    for (policy, seed), record, samples in zip(exported.answered, exported.records, exported.samples, strict=True):
        rows = pd.DataFrame([{"id": row["evaluation_result_id"], **row["evaluation"]} for _, row in read_records(samples)])
        means = rows.groupby("id")["score"].mean()
        for result in json.loads(record.read_text())["evaluation_results"]:
            judge, metric = result["evaluation_result_id"].split("/")
            row, details = metrics.loc[judge, policy, seed, metric], result["score_details"]
            interval = details["uncertainty"]["confidence_interval"]
            assert (details["score"], interval["lower"], interval["upper"]) == (row["value"], row["ci_low"], row["ci_high"])
            if metric != "CAS":
                assert details["score"] == pytest.approx(means[f"{judge}/{metric}"] * (1 if "mean" in metric else 100))


def test_logs_come_back_as_the_same_responses(exported):
    prompts = read_table(exported.inputs["prompts"]).to_pylist()
    for number, table in enumerate(exported.inputs["responses"]):
        records = [record for path in exported.logs[2 * number : 2 * number + 2] for record in read_records(path)]
        back = response_rows(exported.logs[2 * number], records, prompts, layout="lm_eval")
        assert back == read_table(table, ["axis", "prompt_id", "response", "finish"]).to_pylist()


@pytest.mark.parametrize("judge", ["one", "two"])
def test_logs_come_back_as_the_same_ratings(exported, judge):
    key = ["policy", "axis", "prompt_id"]
    back = read_rated(files_in([exported.study.folder / "export/lm_eval"]), {"score": judge}).set_index(key)["reward"].sort_index()
    ours = read_table(exported.ratings).to_pandas()
    pd.testing.assert_series_equal(back, ours[ours["judge"] == judge].set_index(key)["reward"].sort_index())


def test_logs_of_several_seeds_come_back_with_policy_and_seed(tmp_path):
    exported = Exported(tmp_path, seeds=(1, 2), judges=("one",))
    back = read_rated(files_in([exported.study.folder / "export/lm_eval"]), {"columns": {"policy": "policy", "seed": "seed"}})
    key = ["policy", "seed", "axis", "prompt_id"]
    ours = read_table(exported.ratings).to_pandas().set_index(key)["reward"].sort_index()
    pd.testing.assert_series_equal(back.set_index(key)["reward"].sort_index(), ours)


def test_the_same_study_gives_the_same_bytes_without_a_clock(exported):
    before = [path.read_bytes() for path in (*exported.records, *exported.samples, *exported.logs)]
    exported.write(exported.study.folder / "export")
    assert before == [path.read_bytes() for path in (*exported.records, *exported.samples, *exported.logs)]
    assert not any(re.search(rb"20\d\d-\d\d-\d\d", content) for content in before)
