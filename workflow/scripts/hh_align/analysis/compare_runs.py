"""This study's responses and rewards against those of another run of the same prompts, prompt by prompt."""

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa

from hh_align.analysis.gather_ratings import gather
from hh_align.analysis.ratings import Ratings, by_axis, read_ratings, split
from hh_align.analysis.statistics import bootstrap_means, mcnemar, percentiles, table_of
from hh_align.core.artifacts import provenance, read_table, say, write_table
from hh_align.core.axes import AXES
from hh_align.core.command import parse, run
from hh_align.core.errors import StudyError
from hh_align.core.numbers import digits
from hh_align.core.tables import PROMPTS, RESPONSES, columns_of

REPRODUCTION = pa.schema(
    [
        ("judge", pa.string()),
        ("policy", pa.string()),
        ("axis", pa.string()),
        ("prompt_id", pa.string()),
        ("same_text", pa.bool_()),
        ("first_token", pa.int64()),
        ("first_character", pa.int64()),
        ("reward_difference", pa.float64()),
        ("label_change", pa.string()),
    ]
)
SUMMARY = pa.schema(
    [
        ("judge", pa.string()),
        ("policy", pa.string()),
        ("axis", pa.string()),
        ("n", pa.int64()),
        ("same_text", pa.float64()),
        ("median_first_token", pa.float64()),
        ("reward_difference", pa.float64()),
        ("ci_low", pa.float64()),
        ("ci_high", pa.float64()),
        ("only_theirs_good", pa.int64()),
        ("only_ours_good", pa.int64()),
        ("p", pa.float64()),
    ]
)


def first_difference(ours: list, theirs: list) -> int | None:
    """The first index at which two sequences differ (one may end there); None where they are equal."""
    if ours == theirs:
        return None
    return next((index for index, (a, b) in enumerate(zip(ours, theirs, strict=False)) if a != b), min(len(ours), len(theirs)))


def check_prompts(ours: Path, theirs: Path) -> None:
    """Raise StudyError where the two runs do not answer the same prompts under the same names."""
    columns = columns_of(PROMPTS, "axis", "prompt_id", "prompt")
    both = (by_axis(read_table(path, columns).to_pandas()) for path in (ours, theirs))
    for axis, (mine, other) in zip(AXES, zip(*(parts.values() for parts in both), strict=True), strict=True):
        joined = mine.merge(other, on="prompt_id", how="outer", suffixes=("", "_theirs"))
        differ = joined[joined["prompt"] != joined["prompt_theirs"]]["prompt_id"].tolist()
        if differ:
            raise StudyError(
                f"{theirs}: {len(differ)} prompts of {axis} are not those of {ours} ({', '.join(differ[:5])}): the runs cannot be compared. Name a run of the same prompts."
            )


def read_texts(paths: dict[tuple[str, int], Path]) -> dict[tuple[str, str], pd.Series]:
    """(policy, axis) -> responses in the order of prompt_id; paths: of each (policy, seed)."""
    texts = {}
    for (policy, _), path in paths.items():
        parts = by_axis(read_table(path, columns_of(RESPONSES, "axis", "prompt_id", "response")).to_pandas())
        texts |= {(policy, axis): part["response"] for axis, part in parts.items()}
    return texts


def compare_runs(
    texts: tuple[dict, dict], ratings: tuple[Ratings, Ratings], keys: list[tuple[str, str, int]], encode, bootstrap: dict
) -> tuple[list[dict], list[dict]]:
    """(rows, summary) of each (judge, policy, seed) of `keys`; texts and ratings are (ours, theirs); encode: text -> token ids, or None."""
    rows, summary = [], []
    for judge, policy, seed in keys:
        for axis in (axis for axis in AXES if (judge, policy, seed, axis) in ratings[0]):
            mine, other = (frames[judge, policy, seed, axis] for frames in ratings)
            about = {"judge": judge, "policy": policy, "axis": axis}
            part = []
            for text, released, a, b in zip(
                *(replies[policy, axis] for replies in texts), mine.itertuples(), other.itertuples(), strict=True
            ):
                change = None if a.label == b.label else "lost" if b.label else "gained"
                part.append(
                    {
                        "prompt_id": a.prompt_id,
                        "same_text": text == released,
                        "first_token": first_difference(encode(text), encode(released)) if encode else None,
                        "first_character": first_difference(list(text), list(released)),
                        "reward_difference": a.reward - b.reward,
                        "label_change": change,
                    }
                )
            rows += [{**about, **row} for row in part]
            differences = np.array([row["reward_difference"] for row in part])
            (low, high), *_ = percentiles(bootstrap_means(differences[:, None], **bootstrap))
            _, theirs, ours, _ = table_of(other["label"], mine["label"])
            tokens = [row["first_token"] for row in part if row["first_token"] is not None]
            row = {"n": len(part), "same_text": 100 * float(np.mean([row["same_text"] for row in part]))}
            row |= {"median_first_token": float(np.median(tokens)) if tokens else None, "reward_difference": float(differences.mean())}
            labels = {"only_theirs_good": theirs, "only_ours_good": ours, "p": mcnemar(theirs, ours)}
            summary.append({**about, **row, "ci_low": low, "ci_high": high, **labels})
    return rows, summary


def tokenizer_of(path: Path):
    """text -> token ids by a tokenizer.json."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(path))
    return lambda text: tokenizer.encode(text, add_special_tokens=False).ids


def main() -> None:
    ours = {"ratings": "path", "our_prompts": "path", "our_responses": "paths"}
    theirs = {"their_prompts": "path", "their_responses": "paths", "their_rewards": "paths"}
    args = parse(__doc__, config="config", **ours, **theirs, tokenizer="path?", output="path", summary="path")
    check_prompts(args.our_prompts, args.their_prompts)
    held = args.config["held_against"]
    answered = [(policy, seed) for policy, seed in held["checkpoints"]]
    keys = [(judge, *checkpoint) for judge in held["judges"] for checkpoint in answered]
    our_responses, their_responses = (dict(zip(answered, paths, strict=True)) for paths in (args.our_responses, args.their_responses))
    their_rewards = dict(zip(keys, args.their_rewards, strict=True))
    judged = split(gather(args.their_prompts, their_responses, their_rewards, args.config["judges"])).ratings
    ratings = read_ratings(args.ratings).ratings, judged
    texts = read_texts(our_responses), read_texts(their_responses)
    encode = tokenizer_of(args.tokenizer) if args.tokenizer else None
    rows, summary = compare_runs(texts, ratings, keys, encode, args.config["bootstrap"])
    for row in summary:
        labels = f"labels differ {row['only_theirs_good']}/{row['only_ours_good']} (p {row['p']:.2g})"
        say(
            f"{row['policy']}, {row['axis']}: {row['same_text']:.0f} % of texts equal, reward {digits(row['reward_difference'], '+.3f')}, {labels}"
        )
    inputs = [args.ratings, args.our_prompts, args.their_prompts, *args.our_responses, *args.their_responses, *args.their_rewards]
    made_by = provenance(args.config, inputs)
    write_table(args.summary, summary, SUMMARY, made_by)
    write_table(args.output, rows, REPRODUCTION, made_by)


if __name__ == "__main__":
    run(main)
