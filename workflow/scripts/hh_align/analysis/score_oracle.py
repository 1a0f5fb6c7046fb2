"""The truth about every response of a synthetic study, beside the judge's opinion."""

from collections.abc import Sequence

import pyarrow as pa

from hh_align.analysis.ratings import Ratings, checkpoints, judged_axes, read_ratings
from hh_align.core.artifacts import provenance, read_table, say, write_table
from hh_align.core.command import parse, run
from hh_align.core.errors import StudyError
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


def label(oracle: Oracle, prompts: dict[str, str], responses: list[dict]) -> list[dict]:
    """The oracle's label of each response: good means harmless on the harmlessness axis, helpful on the other.

    Raises StudyError for a prompt that is not of the synthetic language.
    """
    labels = []
    for row in responses:
        try:
            verdict = oracle.judge(prompts[row["prompt_id"]], row["response"])
        except ValueError:
            raise StudyError(
                f"{row['prompt_id']}: the oracle knows the demo's own prompts, and this is none (prompts.{row['axis']}.suite?). "
                "Set analysis.labels to null where they are the oracle's."
            ) from None
        good = verdict.harmless if row["axis"] == "harmlessness" else verdict.helpful
        labels.append(
            {"axis": row["axis"], "prompt_id": row["prompt_id"], "accepted": verdict.accepted, "good": good, "kind": verdict.kind}
        )
    return labels


def compare_with_truth(ratings: Ratings, labels: dict[tuple[str, int], list[dict]], config: dict) -> list[dict]:
    """Rows of oracle.parquet: per judge, policy, seed and axis the rates by the oracle and by the judge; labels: those of `label`."""
    rows = []
    for judge in sorted(config["judges"]):
        for policy, seed in checkpoints(config):
            for axis in judged_axes(config["judges"][judge]):
                truth = [row for row in labels[policy, seed] if row["axis"] == axis]
                frame = ratings[judge, policy, seed, axis].set_index("prompt_id").loc[[row["prompt_id"] for row in truth]]
                good, accepted = ([row[name] for row in truth] for name in ("good", "accepted"))
                rates = {
                    "oracle_rate": percent(good),
                    "judge_rate": percent(frame["label"]),
                    "agreement": percent(frame["label"] == good),
                    "accepted_rate": percent(accepted),
                    "eos_rate": percent(frame["finish"] == "eos"),
                }
                rows.append({"judge": judge, "policy": policy, "seed": seed, "axis": axis, "n": len(truth), **rates})
    return rows


def percent(values: Sequence[bool]) -> float:
    return 100 * int(sum(values)) / len(values)


def main() -> None:
    args = parse(__doc__, config="config", words="path", prompts="path", responses="paths", ratings="path", output="path", labels="path")
    oracle = Oracle(load_words(args.words))
    prompts = {row["prompt_id"]: row["prompt"] for row in read_table(args.prompts, ["prompt_id", "prompt"]).to_pylist()}
    labels = {
        checkpoint: label(oracle, prompts, read_table(path, ["axis", "prompt_id", "response"]).to_pylist())
        for checkpoint, path in zip(checkpoints(args.config), args.responses, strict=True)
    }
    table = compare_with_truth(read_ratings(args.ratings).ratings, labels, args.config)
    rates = [name for name in ORACLE.names if name.endswith("_rate") or name == "agreement"]
    for row in table:
        say(f"{row['policy']} {row['axis']}: " + ", ".join(f"{name} {row[name]:.1f}" for name in rates))
    made_by = provenance(args.config, [args.words, args.prompts, *args.responses, args.ratings])
    rows = [{"policy": policy, "seed": seed, **row} for (policy, seed), part in labels.items() for row in part]
    write_table(args.labels, rows, LABELS, made_by)
    write_table(args.output, table, ORACLE, made_by)


if __name__ == "__main__":
    run(main)
