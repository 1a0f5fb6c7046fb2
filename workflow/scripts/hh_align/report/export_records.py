"""A study for others' tools: each policy as a record of Every Eval Ever (schema 0.3.0) with its samples, and as lm-eval logs its samples.

github.com/evaleval/every_eval_ever has the schema. A record's file name is its id, and the path below `data/` is the one in that collection.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path

import pandas as pd

from hh_align.analysis.ratings import checkpoints
from hh_align.core.artifacts import read_table, say, write_json, write_text
from hh_align.core.axes import AXES, MEANS, METRIC_AXES, RATES, THRESHOLD_KEYS
from hh_align.core.command import parse, run
from hh_align.core.tables import PROMPTS, RATINGS, RESPONSES, columns_of
from hh_align.report.pages import plain

SCHEMA_VERSION = "0.3.0"
SCORED = {RATES[axis]: axis for axis in AXES} | {MEANS[axis]: axis for axis in AXES}
"""Metric of one axis -> that axis: the metrics that have samples."""
METRICS = (*SCORED, "CAS")


def texts(values: Mapping[str, object]) -> dict[str, str]:
    """Details as the schema wants them, every value a text; what is not known is left out."""
    return {
        name: value if isinstance(value, str) else json.dumps(value, sort_keys=True) for name, value in values.items() if value is not None
    }


def metric_config(metric: str, judge: str, config: dict) -> dict:
    """What a metric is: a rate in percent, or a mean reward, which has no bounds."""
    thresholds = config["judges"][judge]
    about = {"judge": judge, "judge_model": config["judge_models"].get(judge)} | {
        key: thresholds[key] for axis in METRIC_AXES.get(metric, (SCORED.get(metric),)) if (key := THRESHOLD_KEYS[axis]) in thresholds
    }
    mean = metric in MEANS.values()
    return {
        "metric_id": f"hh_align.{metric}",
        "metric_name": metric,
        "metric_kind": "mean_reward" if mean else "rate_of_good_replies",
        "metric_unit": "points" if mean else "percent",
        "lower_is_better": False,
        "score_type": "continuous",
        "min_score": "-Infinity" if mean else 0.0,
        "max_score": "Infinity" if mean else 100.0,
        "additional_details": texts(about),
    }


def result(row: Mapping, config: dict, sizes: Mapping[str, int]) -> dict:
    """A row of the metrics as one evaluation result, with its 95 % interval."""
    metric, judge = row["metric"], row["judge"]
    uncertainty: dict = {"num_samples": int(row["n"])}
    if row["ci_low"] is not None:
        interval = {"lower": row["ci_low"], "upper": row["ci_high"], "confidence_level": 0.95, "method": row["method"]}
        uncertainty = {"confidence_interval": interval, **uncertainty}
    source = {"dataset_name": config["dataset"]["name"], "source_type": "hf_dataset" if config["dataset"]["repo"] else "other"}
    if config["dataset"]["repo"]:
        source |= {"hf_repo": config["dataset"]["repo"], "samples_number": sum(sizes.values())}
    return {
        "evaluation_result_id": result_id(judge, metric),
        "evaluation_name": f"{config['study']}.{SCORED.get(metric, 'both')}",
        "source_data": source,
        "metric_config": metric_config(metric, judge, config),
        "score_details": {"score": row["value"], "uncertainty": uncertainty},
    }


def result_id(judge: str, metric: str) -> str:
    """What joins a sample to its result."""
    return f"{judge}/{metric}"


def aggregate(config: dict, model: Mapping, rows: Iterable[Mapping], sizes: Mapping[str, int], samples: Mapping) -> dict:
    """The record of one policy and seed; rows: those of its metrics, samples: what says where its samples lie."""
    generation = model.get("generation")
    asked = {
        "generation_args": {"temperature": 0.0, "max_tokens": generation["max_new_tokens"]},
        "additional_details": texts({key: generation[key] for key in ("dtype", "lead", "cue", "stop", "strip")}),
    } if generation else None  # fmt: skip
    results = [result(row, config, sizes) | ({"generation_config": asked} if asked else {}) for row in rows if row["value"] is not None]
    return {
        "schema_version": SCHEMA_VERSION,
        "evaluation_id": evaluation_id(config, model),
        "retrieved_timestamp": config["timestamp"],
        "source_metadata": {
            "source_name": f"hh-align study {config['study']}",
            "source_type": "evaluation_run",
            "source_organization_name": config["organization"],
            "evaluator_relationship": "first_party" if model["trained"] else "third_party",
        },
        "eval_library": {"name": "hh-align", "version": config["version"]},
        "model_info": {
            "name": model["name"],
            "id": model["id"],
            "developer": model["id"].partition("/")[0],
            "additional_details": {
                "deployment_type": "self_deployed" if generation else "unknown",
                "model_availability": "open_weights" if model["public"] else "unknown",
                **texts({"parent": model["parent"], "seed": model["seed"]}),
            },
        },
        "evaluation_results": results,
        "detailed_evaluation_results": samples,
    }


def evaluation_id(config: dict, model: Mapping) -> str:
    """What joins a policy's samples to its record."""
    return f"{config['study']}/{model['id']}/{config['timestamp']}"


def instances(config: dict, model: Mapping, rated: pd.DataFrame, prompts: Mapping[str, dict], replies: Mapping[str, dict]) -> list[dict]:
    """A sample per rating and metric of its axis: the label counts in the rate, the reward in the mean."""
    rows = []
    for row in rated.to_dict("records"):
        name, axis = row["prompt_id"], row["axis"]
        question, reply = {"raw": prompts[name]["prompt"], "reference": []}, replies[name]
        canonical = json.dumps(question, sort_keys=True, separators=(",", ":"))
        for metric, score in ((RATES[axis], float(row["label"])), (MEANS[axis], row["reward"])):
            rows.append(
                {
                    "schema_version": SCHEMA_VERSION,
                    "evaluation_id": evaluation_id(config, model),
                    "model_id": model["id"],
                    "evaluation_name": f"{config['study']}.{axis}",
                    "evaluation_result_id": result_id(row["judge"], metric),
                    "sample_id": name,
                    "sample_hash": hashlib.sha256(canonical.encode()).hexdigest(),
                    "interaction_type": "single_turn",
                    "input": question,
                    "output": {"raw": [reply["response"]]},
                    "answer_attribution": [],
                    "evaluation": {"score": score, "is_correct": bool(row["label"])},
                    "metadata": texts({"axis": axis, "finish": reply["finish"], "output_tokens": reply["response_tokens"]}),
                }
            )
    return rows


def logged(model: Mapping, rated: pd.DataFrame, prompts: Iterable[dict], replies: Mapping[str, dict]) -> list[dict]:
    """The prompts of one axis as lm-eval logs samples: the prompt is the document, each judge's reward a metric of the judge's name."""
    rewards = {(row["judge"], row["prompt_id"]): row["reward"] for row in rated.to_dict("records")}
    judges = sorted({judge for judge, _ in rewards})
    rows = []
    for number, prompt in enumerate(prompts):
        document = {name: prompt[name] for name in ("prompt_id", "axis", "prompt")}
        reply = replies[prompt["prompt_id"]]
        own = {judge: rewards[judge, prompt["prompt_id"]] for judge in judges}
        hashes = {"doc": json.dumps(document, indent=2, ensure_ascii=False), "prompt": prompt["prompt"], "target": ""}
        rows.append(
            {
                "doc_id": number,
                "doc": document,
                "target": "",
                "arguments": {"gen_args_0": {"arg_0": prompt["prompt"], "arg_1": {}}},
                "resps": [[reply["response"]]],
                "filtered_resps": [reply["response"]],
                "filter": "none",
                "metrics": judges,
                **{f"{name}_hash": hashlib.sha256(text.encode()).hexdigest() for name, text in hashes.items()},
                "finish_reason": reply["finish"],
                "policy": model["policy"],
                "seed": model["seed"],
                **own,
            }
        )
    return rows


def lines(rows: Iterable[Mapping]) -> str:
    """JSON lines."""
    return "".join(json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n" for row in rows)


def place_of(path: Path) -> str:
    """A file's path in the collection, from `data/` on."""
    return path.as_posix()[path.as_posix().rindex("/data/") + 1 :]


def main() -> None:
    args = parse(__doc__, config="config", prompts="path", ratings="path", metrics="path", responses="paths", records="paths", samples="paths", logs="paths")  # fmt: skip
    config, answered = args.config, checkpoints(args.config)
    prompts = read_table(args.prompts, columns_of(PROMPTS, "axis", "prompt_id", "prompt")).to_pylist()
    ratings = read_table(args.ratings, RATINGS).to_pandas()
    ratings, metrics = ratings[ratings["reward"].notna()], read_table(args.metrics).to_pandas()
    sizes = {axis: sum(row["axis"] == axis for row in prompts) for axis in AXES}
    known, logs = {row["prompt_id"]: row for row in prompts}, iter(args.logs)
    for (policy, seed), table, record, samples in zip(answered, args.responses, args.records, args.samples, strict=True):
        model = config["models"][f"{policy} {seed}"]
        replies = {row["prompt_id"]: row for row in read_table(table, columns_of(RESPONSES, "prompt_id", "response", "response_tokens", "finish")).to_pylist()}  # fmt: skip
        rated = ratings[(ratings["policy"] == policy) & (ratings["seed"] == seed)]
        text = lines(instances(config, model, rated, known, replies))
        write_text(samples, text)
        rows = metrics[(metrics["policy"] == policy) & (metrics["seed"] == seed) & metrics["metric"].isin(METRICS)]
        about = {
            "format": "jsonl",
            "file_path": place_of(samples),
            "hash_algorithm": "sha256",
            "checksum": hashlib.sha256(text.encode()).hexdigest(),
            "total_rows": text.count("\n"),
        }
        write_json(record, aggregate(config, model, plain(rows), sizes, about))
        for axis in AXES:
            write_text(
                next(logs), lines(logged(model, rated[rated["axis"] == axis], [row for row in prompts if row["axis"] == axis], replies))
            )
    say(f"{len(answered)} policies: records of Every Eval Ever and lm-eval's logs of {len(prompts):,} prompts")


if __name__ == "__main__":
    run(main)
