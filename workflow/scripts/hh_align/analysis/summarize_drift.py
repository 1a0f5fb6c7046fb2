"""Drift of every policy: divergence per token from its parent and from the root, response length, perplexities."""

import numpy as np
import pandas as pd
import pyarrow as pa

from hh_align.analysis.ratings import Rated, read_ratings
from hh_align.analysis.statistics import bootstrap_means, percentiles
from hh_align.core.artifacts import provenance, read_table, say, write_table
from hh_align.core.command import parse, run

TABLE = pa.schema(
    [
        ("policy", pa.string()),
        ("seed", pa.int64()),
        ("reference", pa.string()),
        ("n", pa.int64()),
        ("samples", pa.int64()),
        ("kl_per_token", pa.float64()),
        ("kl_low", pa.float64()),
        ("kl_high", pa.float64()),
        ("kl_per_response", pa.float64()),
        ("entropy_per_token", pa.float64()),
        ("mean_length", pa.float64()),
        ("length_low", pa.float64()),
        ("length_high", pa.float64()),
        ("ended", pa.float64()),
        ("perplexity_chosen", pa.float64()),
        ("perplexity_text", pa.float64()),
    ]
)


def perplexity(rows: pd.DataFrame) -> float | None:
    """exp(nats per token) over all rows; None where there are none."""
    return float(np.exp(rows["nats"].sum() / rows["tokens"].sum())) if len(rows) else None


def by_cluster(rows: pd.DataFrame, clusters: pd.Series) -> np.ndarray:
    """Sums of nats, tokens and samples over the responses to each cluster of prompts, shape (clusters, 3)."""
    return rows.assign(samples=1).groupby(rows["key"].map(clusters))[["nats", "tokens", "samples"]].sum().to_numpy(float)


def summarize(rows: pd.DataFrame, references: list[str | None], clusters: pd.Series, bootstrap: dict) -> list[dict]:
    """Rows of drift.parquet but for policy and seed: one per reference ([None]: the root itself, which has none). Without a divergence
    where it was not measured: from a reference with other tokens.

    rows: a table of measure_drift; clusters: prompt_id -> number. Intervals are 95 % bootstrap intervals over clusters of prompts.
    """
    samples = rows[rows["measure"] == "sample"]
    own = samples[samples["reference"].isna()]
    sums = by_cluster(own, clusters)
    means = bootstrap_means(sums, bootstrap["samples"], bootstrap["seed"])
    (length_low, length_high), *_ = percentiles(means[:, 1:2] / means[:, 2:3])
    common = {
        "n": own["key"].nunique(),
        "samples": len(own),
        "entropy_per_token": own["nats"].sum() / own["tokens"].sum(),
        "mean_length": own["tokens"].mean(),
        "length_low": length_low,
        "length_high": length_high,
        "ended": 100 * own["ended"].mean(),
        "perplexity_chosen": perplexity(rows[rows["measure"] == "chosen"]),
        "perplexity_text": perplexity(rows[rows["measure"] == "text"]),
    }
    summaries = []
    for reference in references:
        row = {**common, "reference": reference}
        against = samples[samples["reference"] == reference]
        if len(against):
            means = bootstrap_means(by_cluster(against, clusters), bootstrap["samples"], bootstrap["seed"])
            (low, high), *_ = percentiles(means[:, :1] / means[:, 1:2])
            row |= {"kl_per_token": against["nats"].sum() / against["tokens"].sum(), "kl_low": low, "kl_high": high}
            row |= {"kl_per_response": against["nats"].mean()}
        summaries.append(row)
    return summaries


def cluster_numbers(rated: Rated) -> pd.Series:
    """prompt_id -> the number of its cluster; the axes share none."""
    prompts = pd.concat(part.assign(axis=axis) for axis, part in rated.prompts.items())
    return prompts.groupby(["axis", "cluster"]).ngroup().set_axis(prompts["prompt_id"])


def main() -> None:
    args = parse(__doc__, config="config", ratings="path", drift="paths", output="path")
    config, clusters, table = args.config, cluster_numbers(read_ratings(args.ratings)), []
    for (policy, seed), path in zip(config["measured"], args.drift, strict=True):
        references = config["references"][policy] or [None]
        rows = summarize(read_table(path).to_pandas(), references, clusters, config["bootstrap"])
        table += [{"policy": policy, "seed": seed, **row} for row in rows]
    for row in table:
        if "kl_per_token" in row:
            kl = f"{row['kl_per_token']:.4f} nats/token [{row['kl_low']:.4f}, {row['kl_high']:.4f}] from {row['reference']}"
            say(f"{row['policy']} seed {row['seed']}: {kl}, {row['mean_length']:.1f} tokens, {row['ended']:.0f} % ended")
    write_table(args.output, table, TABLE, provenance(config, [args.ratings, *args.drift]))


if __name__ == "__main__":
    run(main)
