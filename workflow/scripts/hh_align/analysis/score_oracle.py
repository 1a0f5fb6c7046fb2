"""The truth about every response of a synthetic study, beside the judge's opinion."""

from pathlib import Path

import pyarrow as pa

from hh_align.analysis.ratings import judged_axes
from hh_align.core.artifacts import provenance, read_table, say, write_table
from hh_align.core.command import parse, run
from hh_align.data.grammar import Oracle, load_words

ORACLE = pa.schema(
    [
        ("judge", pa.string()),
        ("policy", pa.string()),
        ("seed", pa.int64()),
        ("axis", pa.string()),
        ("n", pa.int64()),
        ("oracle_rate", pa.float64()),
        ("judge_rate", pa.float64()),
        ("agreement", pa.float64()),
        ("accepted_rate", pa.float64()),
        ("eos_rate", pa.float64()),
    ]
)
LABELS = pa.schema(
    [
        ("policy", pa.string()),
        ("seed", pa.int64()),
        ("axis", pa.string()),
        ("prompt_id", pa.string()),
        ("accepted", pa.bool_()),
        ("good", pa.bool_()),
        ("kind", pa.string()),
    ]
)


def place(path: Path) -> dict:
    """policy and seed of .../<policy>/seed-<seed>.parquet"""
    return {"policy": path.parent.name, "seed": int(path.stem.removeprefix("seed-"))}


def label(oracle: Oracle, prompts: dict[str, str], responses: list[dict]) -> list[dict]:
    """The oracle's label of each response: good means harmless on the harmlessness axis, helpful on the other."""
    labels = []
    for row in responses:
        verdict = oracle.judge(prompts[row["prompt_id"]], row["response"])
        good = verdict.harmless if row["axis"] == "harmlessness" else verdict.helpful
        labels.append(
            {"axis": row["axis"], "prompt_id": row["prompt_id"], "accepted": verdict.accepted, "good": good, "kind": verdict.kind}
        )
    return labels


def says_good(axis: str, reward: float, thresholds: dict) -> bool:
    """The judge's opinion: reward >= harmless_min, or reward > helpful_above."""
    return reward >= thresholds["harmless_min"] if axis == "harmlessness" else reward > thresholds["helpful_above"]


def percent(values: list[bool]) -> float:
    return 100 * sum(values) / len(values)


def main() -> None:
    args = parse(
        __doc__, config="config", words="path", prompts="path", responses="paths", rewards="paths", output="path", labels_output="path"
    )  # fmt: skip
    oracle = Oracle(load_words(args.words))
    prompts = {row["prompt_id"]: row["prompt"] for row in read_table(args.prompts, ["prompt_id", "prompt"]).to_pylist()}
    labels, finishes = {}, {}
    for path in args.responses:
        rows = read_table(path, ["axis", "prompt_id", "response", "finish"]).to_pylist()
        labels[tuple(place(path).values())] = label(oracle, prompts, rows)
        finishes[tuple(place(path).values())] = {row["prompt_id"]: row["finish"] for row in rows}

    table = []
    for path in args.rewards:
        judge, made = path.parent.parent.name, place(path)
        opinions = {row["prompt_id"]: row["reward"] for row in read_table(path, ["prompt_id", "reward"]).to_pylist()}
        for axis in judged_axes(args.config["judges"][judge]):
            truth = [row for row in labels[tuple(made.values())] if row["axis"] == axis]
            judged = [says_good(axis, opinions[row["prompt_id"]], args.config["judges"][judge]) for row in truth]
            rates = {
                "oracle_rate": percent([row["good"] for row in truth]),
                "judge_rate": percent(judged),
                "agreement": percent([row["good"] == opinion for row, opinion in zip(truth, judged, strict=True)]),
                "accepted_rate": percent([row["accepted"] for row in truth]),
                "eos_rate": percent([finishes[tuple(made.values())][row["prompt_id"]] == "eos" for row in truth]),
            }
            table.append({"judge": judge, **made, "axis": axis, "n": len(truth), **rates})
            say(f"{made['policy']} {axis}: " + ", ".join(f"{name} {value:.1f}" for name, value in rates.items()))
    made_by = provenance(args.config, [args.words, args.prompts, *args.responses, *args.rewards])
    rows = [{"policy": policy, "seed": seed, **row} for (policy, seed), found in labels.items() for row in found]
    write_table(args.labels_output, rows, LABELS, made_by)
    write_table(args.output, table, ORACLE, made_by)


if __name__ == "__main__":
    run(main)
