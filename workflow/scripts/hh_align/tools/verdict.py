"""The whole verdict on files of rated responses: one row per policy and prompt, no workflow around it.

Columns are those of a study's analysis/ratings.parquet, which is such a file: policy, axis (harmlessness | helpfulness), reward, and
prompt_id or prompt; where they are known also seed, judge, cluster (prompts of one cluster are not independent), parent, finish (eos |
length | stop) and tokens; of the replies either response, their text (which is looked at as well: whether it is broken), or words, empty
and run_on; of a judge that may fail unrated. Labels follow from the thresholds; a column label that says otherwise is refused, unless
thresholds are given. Parquet, CSV, TSV, JSON or JSON lines, packed by gzip or not. A study's own table brings the study's root, parents
and thresholds.

Scored logs of inspect_ai (.eval or .json) and lm-eval (samples_<task>_<time>.jsonl) are such files, too: the policy is the log's model (of
lm-eval the folder's name), the axis a record's metadata.axis or doc.axis, else the task. Several files are read as one; a folder stands
for the logs below it.

Keys of the settings: root, parents (policy -> parent), judges (judge -> axis, harmless_min, helpful_above, and accuracy: axis -> accuracy in
percent and n), claims, and of a study's
`analysis` contrasts, primary, all_pairs, equivalence_margin, bootstrap, discordance, sizes and text (the limits beyond which a text is
broken). How files are read: records (the dotted path of the list within a JSON file), columns (column -> the file's name or dotted path of
it), only (column -> the value of the records to keep), axes (the file's word -> axis), files (file -> its policy), score (which score of a
log is the reward, or several, each a judge).
"""

from functools import reduce
from pathlib import Path

import pandas as pd
import pyarrow as pa
import yaml

from hh_align.analysis import (
    check_claims,
    check_facts,
    compare_policies,
    compute_metrics,
    compute_power,
    compute_retention,
    compute_tradeoff,
    control_length,
    examine_text,
    model_labels,
    sweep_thresholds,
)
from hh_align.analysis.deciding import power_of_contrasts
from hh_align.analysis.examine_text import Replies
from hh_align.analysis.gather_ratings import as_table, check_judges, fault, labelled, reply_facts
from hh_align.analysis.ratings import Rated, by_axis, checkpoints, judged_axes, split
from hh_align.config.check_facts import comparing, stating
from hh_align.core.artifacts import provenance, read_provenance, read_table, say, write_table, write_text
from hh_align.core.axes import AXES
from hh_align.core.command import parse, run
from hh_align.core.errors import StudyError
from hh_align.core.tables import RATINGS
from hh_align.report import summarize_study
from hh_align.report.export_csv import as_csv
from hh_align.tools import judge_gate
from hh_align.tools.rated import files_in, read_rated
from hh_align.tools.verdict_figures import draw
from hh_align.tools.verdict_settings import joined, read_settings, settings_in
from hh_align.tools.verdict_study import require_known, study_of

FILES = "In {folder}/: figures/, changed_prompts.csv (which prompts changed), claims.csv (every number of a sentence)."


def table_of(frame: pd.DataFrame, config: dict, path: str) -> pa.Table:
    """The file as a table of ratings, checked. Raises StudyError naming file, policy and prompts; never a silently smaller n."""
    judges, order = config["judges"], config["order"]
    if "response" in frame:
        frame = frame.assign(**facts_of_texts(frame))
    asked = {axis: set(part["prompt_id"]) for axis, part in frame.groupby("axis")}
    rows, opinions = [], []
    for (judge, policy, seed), part in frame.groupby(["judge", "policy", "seed"], sort=False):
        axes = judged_axes(judges[judge])
        silent = ~part["axis"].isin(axes) & part["reward"].isna()
        told = part[~silent]
        if not set(told["axis"]) <= set(axes):
            raise StudyError(f"{path}: judge {judge} rates {', '.join(sorted(set(told['axis']) - set(axes)))}, but its axis is {axes[0]}.")
        if wrong := fault(told, set().union(*(asked[axis] for axis in axes))):
            raise StudyError(f"{path}: policy {policy} (judge {judge}, seed {seed}) has {wrong}.")
        labels = [each.assign(axis=axis, **labelled(axis, each, judges[judge])) for axis, each in by_axis(told, axes).items()]
        opinions.append((judge, policy, 0 if policy == order[0] else int(seed)))
        rows += [each.assign(seed=opinions[-1][2]) for each in (*labels, part[silent])]
    try:
        check_judges(opinions)
        table = pd.concat(rows).sort_values(
            ["judge", "policy", "seed", "axis", "prompt_id"],
            key=lambda values: values.map(order.index) if values.name == "policy" else values,
        )
        return as_table(table)
    except (StudyError, pa.ArrowInvalid, pa.ArrowTypeError) as error:
        raise StudyError(f"{path}: {' '.join(map(str, error.args))}") from None


def facts_of_texts(frame: pd.DataFrame) -> dict[str, pd.Series]:
    """words, empty and run_on of the texts; where there is none of a policy on an axis, what the file says, or null."""
    known = frame.groupby(["policy", "seed", "axis"])["response"].transform("count") > 0
    facts = reply_facts(frame["response"].fillna(""))
    return facts if known.all() else {name: facts[name].astype(object).where(known, frame.get(name)) for name in facts}


def check_labels(frame: pd.DataFrame, table: pa.Table, judges: dict[str, dict], path: str) -> None:
    """Raise StudyError where the file's own labels are not those that the default thresholds of these judges make of its rewards."""
    keys = ["judge", "policy", "axis", "prompt_id", "reward"]
    labels = table.to_pandas()[[*keys, "label"]].drop_duplicates(keys)
    both = frame[frame["judge"].isin(judges) & frame["label"].notna()].merge(labels, on=keys, suffixes=("", "_here"))
    wrong = both[both["label"].astype(bool) != both["label_here"].astype(bool)]
    if len(wrong):
        first = wrong.iloc[0]
        raise StudyError(
            f"{path}: column label says otherwise than the thresholds {judges[first['judge']]} of judge {first['judge']} in {len(wrong)} rows "
            f"(the first: {first['policy']}, {first['prompt_id']}, reward {first['reward']:g}). Give the judge's thresholds in SETTINGS, or leave the column out."
        )


def replies_of(frame: pd.DataFrame, config: dict) -> Replies:
    """The texts that the file holds, as examine_text reads them, of the prompts that every policy answers (where no judge rates an axis they
    may differ).

    An empty text is an empty reply; but where the file holds no text of a policy on an axis, nothing is known of it: then there are none.
    """
    if "response" not in frame:
        return {}
    key = ["policy", "seed", "axis", "prompt_id"]
    rows = frame.drop_duplicates(key).reindex(columns=[*key, "response", "finish"])
    rows = rows.assign(seed=rows["seed"].where(rows["policy"] != config["order"][0], 0))
    answered = checkpoints(config)
    rows = rows[rows.groupby(["axis", "prompt_id"])["policy"].transform("size") == len(answered)]
    texts = rows.groupby(["policy", "seed", "axis"])["response"].count()
    if silent := [(*who, axis) for who in answered for axis in AXES if not texts.get((*who, axis))]:
        policy, seed, axis = silent[0]
        say(f"{policy} seed {seed} has no text on {axis} to a prompt that all policies answer: no policy's text is examined")
        return {}
    parts = rows.assign(response=rows["response"].fillna("")).groupby(["policy", "seed"], sort=False)
    return {(policy, int(seed)): by_axis(part.drop(columns=["policy", "seed"])) for (policy, seed), part in parts}


def analyse(
    rated: Rated, config: dict, replies: Replies | None = None, gate: judge_gate.Gate = judge_gate.OPEN
) -> dict[str, tuple[list[dict], pa.Schema]]:
    """Every table of the verdict by name, with its schema; that of the text is empty without `replies`."""
    (ratings, clusters, _), reliable = rated, gate.reliable
    gold = gate.tables["gold"][0] if gate.tables else []
    retained, changed = compute_retention.compare_with_references(ratings, config)
    texts = examine_text.examine(replies, [], {}, config | {"trained": config["order"][1:]}) if replies else []
    examined = {(row["policy"], row["seed"]): row for row in texts}
    swept, leads, flips = sweep_thresholds.sweep(ratings, clusters, config, reliable, examined)
    compared = compare_policies.compare_policies(ratings, clusters, config, None, reliable, examined)
    undecided = power_of_contrasts(rated, pd.DataFrame(compared), config) if compared else []
    comparing_claims = config | {"claims": comparing(config["claims"])}
    return {
        "metrics": (compute_metrics.measure(ratings, clusters, config), compute_metrics.METRICS),
        "comparisons": (compared, compare_policies.COMPARISONS),
        "length": (control_length.control_length(rated, config, compared), control_length.LENGTH),
        "mixed_model": (model_labels.model_labels(rated, config, compared), model_labels.MIXED_MODEL),
        "retention": (retained, compute_retention.RETENTION),
        "changed_prompts": (changed, compute_retention.CHANGED),
        "thresholds": (swept, sweep_thresholds.THRESHOLDS),
        "threshold_leads": (leads, sweep_thresholds.LEADS),
        "threshold_flips": (flips, sweep_thresholds.FLIPS),
        "tradeoff": (compute_tradeoff.compute_tradeoff(rated, config, reliable, examined), compute_tradeoff.TRADEOFF),
        "claims": (check_claims.check(ratings, clusters, comparing_claims, reliable, examined, gold), check_claims.CLAIMS),
        "power": (compute_power.questions(rated, config) + undecided, compute_power.POWER),
        "text": (texts, examine_text.TEXT),
        **gate.tables,
    }


def check_folder(folder: Path, made_by: dict) -> None:
    """Raise StudyError where the folder holds the verdict on other files, or a study: the two would be mixed."""
    path = folder / "analysis/ratings.parquet"
    if not path.exists():
        return
    try:
        there = sorted(read_provenance(path)["inputs"])
    except (KeyError, TypeError, ValueError):  # another tool's word of the same name
        there = ["something else"]
    if there != sorted(made_by["inputs"]):
        raise StudyError(
            f"{folder}: it holds what was made of {', '.join(there[:3])}. Give this verdict another folder: make verdict … NAME=another."
        )


def main() -> None:
    args = parse(__doc__, responses="paths", defaults="path", settings="path?", labels="path?", output="path")
    settings = read_settings(args.settings) if args.settings else {}
    files = files_in(args.responses)
    label, frame = ", ".join(map(str, files)), read_rated(files, settings)
    for what, named in (("judge", "judges"), ("policy", "parents")):
        require_known(label, what, set(settings.get(named, {})), sorted(set(frame[what])))
    known = reduce(joined, [*map(settings_in, files), settings])
    config = study_of(frame, known, label, yaml.safe_load(args.defaults.read_text()))
    if (root := config["order"][0]) in settings.get("parents", {}):
        raise StudyError(f"parents: {root} is the root, which has no parent. Take it out, or let the key root name another policy.")
    rated_by, made_by = (provenance(config, [*files, *more]) for more in ([], [args.labels] if args.labels else []))
    check_folder(args.output, rated_by)
    table = table_of(frame, config, label)
    if "label" in frame:
        by_default = {judge: thresholds for judge, thresholds in config["judges"].items() if judge not in known.get("judges", {})}
        check_labels(frame, table, by_default, label)
    rated = split(table)
    say(f"{len(config['order'])} policies, {' and '.join(f'{len(rated.prompts[axis]):,} prompts on {axis}' for axis in AXES)}")
    gate, tables = judge_gate.examine(known, args.labels, frame, rated, config), {}
    told = analyse(rated, config, replies_of(frame, config), gate)

    def write(name: str, rows: list[dict], schema: pa.Schema) -> None:
        path = args.output / "analysis" / f"{name}.parquet"
        write_table(path, rows, schema, made_by)
        written = read_table(path)
        write_text(args.output / "report" / f"{name}.csv", as_csv(written.to_pylist(), written.schema.names))
        tables[name] = written.to_pandas()

    for left in ("report/summary.txt", "report/facts.csv", "analysis/facts.parquet"):  # of an earlier verdict on these files
        (args.output / left).unlink(missing_ok=True)
    write_table(args.output / "analysis/ratings.parquet", table, RATINGS, rated_by)
    for name, each in told.items():
        write(name, *each)
    if facts := check_facts.check_facts(stating(config["claims"]), sorted(args.output.glob("analysis/*.parquet"))):
        write("facts", facts, check_facts.FACTS)
    draw(tables, rated.ratings, config, args.output / "report/figures")
    about = config | {
        "study": args.output.name,
        "folder": str(args.output),
        "synthetic": False,
        "same_source": [],
        "unknown_judges": gate.unknown,
    }
    empty = {name: summarize_study.frame(None, columns) for name, columns in summarize_study.COLUMNS.items()}
    text = summarize_study.summary(about, empty | tables | {"leads": tables["threshold_leads"]}, {}, FILES)
    write_text(args.output / "report/summary.txt", text)
    say(text.rstrip())


if __name__ == "__main__":
    run(main)
