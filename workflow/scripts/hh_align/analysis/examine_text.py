"""The text of every policy by measures that ask no judge, and whether it is broken or its training changed almost nothing."""

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa

from hh_align.analysis.ratings import by_axis, checkpoints, seed_of
from hh_align.analysis.repetition import compression, repeated_ngrams
from hh_align.analysis.text_gate import BROKEN, UNMOVED, is_unmoved, what_changed, why_broken
from hh_align.core.artifacts import provenance, read_table, say, write_table
from hh_align.core.axes import PROMPT_KINDS
from hh_align.core.command import parse, run
from hh_align.core.tables import RESPONSES, columns_of

TEXT = pa.schema(
    [
        ("policy", pa.string()),
        ("seed", pa.int64()),
        ("parent", pa.string()),
        ("n", pa.int64()),
        ("cut_harmful", pa.float64()),
        ("cut_helpful", pa.float64()),
        ("empty_harmful", pa.float64()),
        ("empty_helpful", pa.float64()),
        ("repeating_harmful", pa.float64()),
        ("repeating_helpful", pa.float64()),
        ("repetition", pa.float64()),
        ("compression", pa.float64()),
        ("same", pa.float64()),
        ("words", pa.float64()),
        ("entropy", pa.float64()),
        ("kl_parent", pa.float64()),
        ("kl_root", pa.float64()),
        ("perplexity_root", pa.float64()),
        ("unchanged", pa.int64()),
        ("margin", pa.float64()),
        ("broken", pa.bool_()),
        ("broken_why", pa.string()),
        ("unmoved", pa.bool_()),
        ("unmoved_why", pa.string()),
    ]
)
Replies = dict[tuple[str, int], dict[str, pd.DataFrame]]
"""(policy, seed) -> axis -> prompt_id, response and finish, in the order of prompt_id."""


def measures(parts: dict[str, pd.DataFrame], limits: dict) -> dict:
    """What the replies of one checkpoint are like: shares in percent of the replies to harmful and to helpful prompts, means over all.

    parts: axis -> response and finish (None where unknown, and `cut` then). A reply repeats itself where more than
    `repeated_ngrams` percent of its word 4-grams stood in it before, or zlib makes it more than `compression` times shorter.
    """
    row = {"n": sum(map(len, parts.values()))}
    repetition, dense = [], []
    for axis, part in parts.items():
        text, kind = part["response"], PROMPT_KINDS[axis]
        repeated, packed = 100 * text.map(repeated_ngrams).to_numpy(float), text.map(compression).to_numpy(float)
        known = part["finish"].dropna()
        row[f"cut_{kind}"] = 100 * float((known == "length").mean()) if len(known) else None
        row[f"empty_{kind}"] = 100 * float((text.str.strip() == "").mean())
        row[f"repeating_{kind}"] = 100 * float(((repeated > limits["repeated_ngrams"]) | (packed > limits["compression"])).mean())
        repetition.append(repeated)
        dense.append(packed)
    texts = pd.concat([part["response"] for part in parts.values()])
    row |= {"repetition": float(np.concatenate(repetition).mean()), "compression": float(np.concatenate(dense).mean())}
    return row | {"same": 100 * float(texts.value_counts(normalize=True).iloc[0]), "words": float(texts.str.split().str.len().mean())}


def divergence(drift: list[dict], parent: str | None, root: str) -> dict:
    """entropy, kl_parent and kl_root of a policy, nats per token, and perplexity_root, that of its samples under the root (the root's own, of
    its own), from its rows of drift.parquet; None where it was not measured.

    A sample's cross-entropy under the root is its entropy plus its divergence.
    """
    entropy = drift[0]["entropy_per_token"] if drift else None
    kl = {row["reference"]: row["kl_per_token"] for row in drift if row["reference"] is not None}
    far = 0.0 if parent is None else kl.get(root)
    return {
        "entropy": entropy,
        "kl_parent": kl.get(parent),
        "kl_root": kl.get(root),
        "perplexity_root": None if None in (entropy, far) else float(np.exp(entropy + far)),
    }


def unchanged(parts: dict[str, pd.DataFrame], others: dict[str, pd.DataFrame]) -> int:
    """Replies that are the same to the byte as the other policy's to the same prompt."""
    return sum(int((parts[axis]["response"].to_numpy() == others[axis]["response"].to_numpy()).sum()) for axis in parts)


def last_margin(log: pd.DataFrame) -> float | None:
    """Mean margin of the implicit rewards over the last tenth of a training's steps; None where its trainer knows no pairs."""
    margins = log["margins"].tail(max(1, len(log) // 10)).dropna()
    return float(margins.mean()) if len(margins) else None


def examine(replies: Replies, drift: list[dict], margins: dict[tuple[str, int], float | None], config: dict) -> list[dict]:
    """The rows of text.parquet. drift: rows of drift.parquet; margins: of the policies whose logs are read; config: the graph, `text`, and `trained`,
    the policies that a training made."""
    limits, root, rows = config["text"], config["order"][0], {}
    moved: dict[tuple[str, int], list[dict]] = {}
    for row in drift:
        moved.setdefault((row["policy"], row["seed"]), []).append(row)
    for policy, seed in checkpoints(config):
        parent = config["policies"][policy]["parent"]
        own = moved.get((policy, seed), [])
        row = {"policy": policy, "seed": seed, "parent": parent, **measures(replies[policy, seed], limits), **divergence(own, parent, root)}
        same = None if parent is None else unchanged(replies[policy, seed], replies[parent, seed_of(config, parent, seed)])
        rows[policy, seed] = row | {"unchanged": same, "margin": margins.get((policy, seed))}
    for (_, seed), row in rows.items():
        ancestors = [] if row["parent"] is None else dict.fromkeys([row["parent"], root])
        beside_it = [rows[name, seed_of(config, name, seed)] for name in ancestors]
        row |= flags(row, beside_it, limits, row["policy"] in config["trained"])
    return list(rows.values())


def flags(row: dict, ancestors: list[dict], limits: dict, trained: bool) -> dict:
    """broken and unmoved with their reasons, from the measures of a checkpoint, of its parent and of the root (no ancestors for the root itself).

    trained: whether a training made it of its parent; what none made cannot be unmoved.
    """
    why = why_broken(row, ancestors, limits, trained)
    broken = {"broken": bool(why), "broken_why": "; ".join(why) or None}
    return broken | {"unmoved": trained and is_unmoved(row, limits), "unmoved_why": what_changed(row) if trained else None}


def read_replies(path: Path) -> dict[str, pd.DataFrame]:
    """Axis -> prompt_id, response and finish of a policy's responses."""
    return by_axis(read_table(path, columns_of(RESPONSES, "axis", "prompt_id", "response", "finish")).to_pandas())


def main() -> None:
    args = parse(__doc__, config="config", responses="paths", drift="path?", logs="paths?", output="path")
    config = args.config
    replies = {key: read_replies(path) for key, path in zip(checkpoints(config), args.responses, strict=True)}
    drift = read_table(args.drift, ["policy", "seed", "reference", "kl_per_token", "entropy_per_token"]).to_pylist() if args.drift else []
    logged = [tuple(key) for key in config["logged"]]
    margins = {key: last_margin(read_table(path, ["margins"]).to_pandas()) for key, path in zip(logged, args.logs, strict=True)}
    rows = examine(replies, drift, margins, config)
    for row in rows:
        for flag, words in (("broken", BROKEN), ("unmoved", UNMOVED)):
            if row[flag]:
                say(f"{row['policy']} seed {row['seed']}: {words}: {row[flag + '_why']}")
    say(f"{sum(row['broken'] for row in rows)} of {len(rows)} checkpoints write broken text")
    write_table(args.output, rows, TEXT, provenance(config, [*args.responses, *([args.drift] if args.drift else []), *args.logs]))


if __name__ == "__main__":
    run(main)
