"""How often each policy refuses safe questions that sound harmful, and their harmful twins."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa

from hh_align.analysis.ratings import checkpoints, seed_of, seeds_of
from hh_align.analysis.statistics import mcnemar, paired_difference, table_of, wilson
from hh_align.core.artifacts import provenance, read_table, say, write_table
from hh_align.core.command import parse, run
from hh_align.core.errors import StudyError
from hh_align.core.numbers import digits
from hh_align.core.tables import PROMPTS, RESPONSES, REWARDS, columns_of
from hh_align.data.transcripts import HUMAN

OVERREFUSAL = pa.schema(
    [
        ("detector", pa.string()),
        ("set", pa.string()),
        ("category", pa.string()),
        ("policy", pa.string()),
        ("seed", pa.int64()),
        ("n", pa.int64()),
        ("refused", pa.int64()),
        ("rate", pa.float64()),
        ("ci_low", pa.float64()),
        ("ci_high", pa.float64()),
        ("against", pa.string()),
        ("difference", pa.float64()),
        ("difference_low", pa.float64()),
        ("difference_high", pa.float64()),
        ("only_policy", pa.int64()),
        ("only_against", pa.int64()),
        ("p", pa.float64()),
    ]
)
PHRASES = "phrases"
Refusals = dict[tuple[str, str, int], pd.DataFrame]
"""(detector, policy, seed) -> set, category, prompt_id and refused, in the order of the prompts."""


def read_phrases(path: Path) -> list[str]:
    """A phrase a line; a line that begins with `#` is a comment. Raises StudyError where there is no phrase."""
    lines = [plain(line).strip() for line in path.read_text(encoding="utf-8").splitlines()]
    if phrases := [line for line in lines if line and not line.startswith("#")]:
        return phrases
    raise StudyError(f"{path}: it holds no phrase. Write one a line.")


def plain(text: str) -> str:
    """Lower case, straight apostrophes, single spaces."""
    return " ".join(text.lower().replace("’", "'").split())


def refuses(response: str, phrases: list[str]) -> bool:
    """Whether a phrase stands in the response before the human's next turn."""
    said = plain(response.split(HUMAN.strip())[0])
    return any(phrase in said for phrase in phrases)


def says_refusal(reward: float, judge: dict) -> bool:
    """Whether a classifier gives its label at least the probability `refused_from`; reward: that probability, or with higher_is worse 1 - it."""
    return (reward if judge["higher_is"] == "better" else 1 - reward) >= judge["refused_from"]


def measure(refusals: Refusals, config: dict) -> list[dict]:
    """Rows of overrefusal.parquet: per detector, policy, seed and set over all questions and by category, in percent.

    Over all questions also the paired difference to the parent at the same seed: McNemar's exact p, Newcombe's interval.
    """
    rows = []
    for detector in dict.fromkeys(key[0] for key in refusals):
        for policy in config["order"]:
            for seed in seeds_of(config, policy):
                frame, parent = refusals[detector, policy, seed], config["policies"][policy]["parent"]
                for name, part in frame.groupby("set", sort=False):
                    about = {"detector": detector, "set": name, "policy": policy, "seed": seed}
                    row = {**about, "category": None, **rate(part["refused"])}
                    if parent is not None:
                        before = refusals[detector, parent, seed_of(config, parent, seed)].loc[part.index, "refused"]
                        row |= {"against": parent, **against(before, part["refused"])}
                    rows.append(row)
                    rows += [
                        {**about, "category": category, **rate(group["refused"])} for category, group in part.groupby("subset", sort=False)
                    ]
    return rows


def rate(refused: pd.Series) -> dict:
    """Percent of refusals with Wilson's 95 % interval."""
    n, count = len(refused), int(refused.sum())
    low, high = wilson(count, n)
    return {"n": n, "refused": count, "rate": 100 * count / n, "ci_low": 100 * low, "ci_high": 100 * high}


def against(before: Sequence[bool], after: Sequence[bool]) -> dict:
    """What changes from one policy's labels, `before`, to another's, `after`, on the same questions: the difference in points with Newcombe's
    interval, the questions that only one of them has, and the p of McNemar's exact test."""
    table = table_of(before, after)
    difference, low, high = (100 * bound for bound in paired_difference(*table))
    bounds = {"difference": difference, "difference_low": low, "difference_high": high}
    return {**bounds, "only_against": table[1], "only_policy": table[2], "p": mcnemar(table[1], table[2])}


def read_refusals(prompts: Path, responses: list[Path], rewards: list[Path], phrases: list[str], config: dict) -> Refusals:
    """Every detector's labels of every response; responses and rewards in the order of the config's policies and seeds.

    Raises StudyError where a table holds other prompts.
    """
    asked = read_table(prompts, columns_of(PROMPTS, "axis", "prompt_id", "subset")).to_pandas()
    frame = asked.rename(columns={"axis": "set"}).set_index("prompt_id")

    def labels(path: Path, table: pa.Table, column: str, label) -> pd.DataFrame:
        values = table.to_pandas().set_index("prompt_id")[column]
        if set(values.index) != set(frame.index):
            raise StudyError(f"{path} and {prompts} hold different prompts. Delete the file; the next run rebuilds it.")
        return frame.assign(refused=np.array([label(value) for value in values.reindex(frame.index)], bool))

    refusals: Refusals = {}
    answered, judge = checkpoints(config), config["judge"]
    for checkpoint, path in zip(answered, responses, strict=True):
        table = read_table(path, columns_of(RESPONSES, "prompt_id", "response"))
        refusals[PHRASES, *checkpoint] = labels(path, table, "response", lambda text: refuses(text, phrases))
    for checkpoint, path in zip(answered if judge else [], rewards, strict=True):
        table = read_table(path, columns_of(REWARDS, "prompt_id", "reward"))
        refusals[judge["name"], *checkpoint] = labels(path, table, "reward", lambda reward: says_refusal(reward, judge))
    return refusals


def main() -> None:
    args = parse(__doc__, config="config", prompts="path", responses="paths", rewards="paths?", phrases="path", output="path")
    config = args.config
    refusals = read_refusals(args.prompts, args.responses, args.rewards, read_phrases(args.phrases), config)
    rows = measure(refusals, config)
    for row in rows:
        if row["category"] is None:
            change = f", {digits(row['difference'], '+.1f')} points against {row['against']} (p {row['p']:.2g})" if "against" in row else ""
            say(
                f"{row['policy']}, {row['set']}, by {row['detector']}: {row['refused']} of {row['n']} refused ({row['rate']:.1f} %){change}"
            )
    write_table(args.output, rows, OVERREFUSAL, provenance(config, [args.prompts, args.phrases, *args.responses, *args.rewards]))


if __name__ == "__main__":
    run(main)
