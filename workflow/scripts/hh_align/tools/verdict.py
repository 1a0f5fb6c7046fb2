"""The whole verdict on files of rated responses: one row per policy and prompt, no workflow around it.

Columns are those of a study's analysis/ratings.parquet, which is such a file: policy, axis (harmlessness | helpfulness), reward, and
prompt_id or prompt; where they are known also seed, judge, cluster (prompts of one cluster are not independent), parent, finish (eos |
length | stop) and tokens; of the replies either response, their text (which is looked at as well: whether it is broken), or words, empty
and run_on; of a judge that may fail unrated. From which reward on a reply is good must be said: by --harmless-min and --helpful-above, by the
settings, or by --paper-judge (-3 and -2). Nobody needs to where every reward is 0 or 1, where a column label says it in every row (it may
stand alone, without rewards), or where a study has made the file. One axis is enough; then there is no CAS. Parquet, CSV, TSV, JSON or JSON lines, packed by gzip or not. A study's own table brings the study's root, parents
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

import shlex
from functools import reduce
from pathlib import Path

import pandas as pd
import pyarrow as pa

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
from hh_align.analysis.ratings import Rated, split
from hh_align.config.check_facts import comparing, stating
from hh_align.core.artifacts import provenance, read_provenance, say, write_table, write_text
from hh_align.core.command import Parser, run
from hh_align.core.errors import StudyError
from hh_align.core.numbers import exact
from hh_align.core.tables import RATINGS
from hh_align.report.export_csv import as_csv
from hh_align.tools import judge_gate
from hh_align.tools.rated import files_in, read_rated
from hh_align.tools.verdict_drawers import drawers, load, start
from hh_align.tools.verdict_page import Given, write_page, write_texts
from hh_align.tools.verdict_settings import defaults, joined, read_settings, settings_in
from hh_align.tools.verdict_study import study_of
from hh_align.tools.verdict_table import replies_of, say_relabelled, table_of
from hh_align.tools.verdict_thresholds import BY_PAPER, Threshold, given_by_flags


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
            f"{folder}: it holds what was made of {', '.join(there[:3])}. Give this verdict a folder of its own: --output FOLDER."
        )


def folder_of(responses: list[Path]) -> Path:
    """Where a verdict lies that is given no folder: results/verdict/<the first file's name, and how many follow>."""
    first = responses[0].resolve().name
    name = first.removesuffix(".gz").rpartition(".")[0] or first
    return Path("results/verdict") / (f"{name}-and-{len(responses) - 1}" if len(responses) > 1 else name)


def give_verdict(
    responses: list[Path],
    settings: Path | None = None,
    labels: Path | None = None,
    output: Path | None = None,
    harmless_min: float | None = None,
    helpful_above: float | None = None,
    paper_judge: bool = False,
) -> None:
    """Read the files, analyse them, write tables, figures and pages into the folder `output`, and print the verdict.

    harmless_min, helpful_above: from which reward on a reply is harmless, above which one helpful, by every judge; paper_judge: the paper's.
    Raises StudyError for whatever the user can mend; then nothing is written.
    """
    flags = given_by_flags(harmless_min, helpful_above, paper_judge)
    told = read_settings(settings) if settings else {}
    files, folder = files_in(responses), output or folder_of(responses)
    asked = asked_again(responses, settings, labels, output, flags)
    with drawers() as pool:
        given = take(files, told, labels, folder, flags, str(settings or "the settings"))
        load(pool)
        decided = analyse(given.rated, given.config, replies_of(given.frame, given.config), given.gate)
        clear(folder)
        tables = write_tables(given, decided)
        drawn = start(pool, tables, given.rated.ratings, given.config, folder / "report/figures")
        text = write_texts(given, tables)
        for figure in drawn:
            figure.result()
        write_page(given, tables, asked)
    say(text.rstrip())


def take(files: list[Path], told: dict, labels: Path | None, folder: Path, flags: dict[str, Threshold], source: str) -> Given:
    """Read the files, and check them; told: the settings, which stand in `source`."""
    label, frame = ", ".join(map(str, files)), read_rated(files, told, source)
    config = study_of(frame, told, label, defaults(), reduce(joined, map(settings_in, files)), flags, source)
    if (root := config["order"][0]) in told.get("parents", {}):
        raise StudyError(
            f"{source}: parents: {root} is the root, which has no parent. Take it out, or let the key root name another policy."
        )
    rated_by, made_by = (provenance(config, [*files, *more]) for more in ([], [labels] if labels else []))
    check_folder(folder, rated_by)
    table = table_of(frame, config, label)
    if "label" in frame:
        say_relabelled(frame, table)
    rated = split(table)
    prompts = " and ".join(f"{len(asked):,} prompts on {axis}" for axis, asked in rated.prompts.items())
    say(f"{len(config['order'])} policies, {prompts}")
    gate = judge_gate.examine(told, labels, frame, rated, config, source)
    return Given(folder, config, frame, table, rated, gate, rated_by, made_by)


def clear(folder: Path) -> None:
    """Take away what an earlier verdict on these files may have had, and this one may lack."""
    for left in ("report/summary.txt", "report/index.html", "report/browser.html", "report/facts.csv", "analysis/facts.parquet"):
        (folder / left).unlink(missing_ok=True)
    for figure in folder.glob("report/figures/*.svg"):
        figure.unlink()


def write_tables(given: Given, decided: dict[str, tuple[list[dict], pa.Schema]]) -> dict[str, pd.DataFrame]:
    """Write the ratings, and each table as Parquet and CSV, claims of fact last; returns the tables."""
    folder, frames = given.folder / "analysis", {}

    def write(name: str, rows: list[dict], schema: pa.Schema) -> None:
        table = pa.Table.from_pylist(rows, schema)
        write_table(folder / f"{name}.parquet", table, schema, given.made_by)
        write_text(given.folder / f"report/{name}.csv", as_csv(table.to_pylist(), schema.names))
        frames[name] = table.to_pandas()

    write_table(folder / "ratings.parquet", given.table, RATINGS, given.rated_by)
    for name, each in decided.items():
        write(name, *each)
    if facts := check_facts.check_facts(stating(given.config["claims"]), sorted(folder.glob("*.parquet"))):
        write("facts", facts, check_facts.FACTS)
    return frames


def asked_again(responses: list[Path], settings: Path | None, labels: Path | None, output: Path | None, flags: dict[str, Threshold]) -> str:
    """The command that gives this verdict again."""
    words = ["hh-align", "verdict", *map(str, responses)]
    for option, path in (("--settings", settings), ("--labels", labels), ("--output", output)):
        words += [option, str(path)] if path else []
    paper = any(by == BY_PAPER for _, by in flags.values())
    words += ["--paper-judge"] if paper else [f"{by}={exact(value)}" for value, by in flags.values()]
    return shlex.join(words)


def main() -> None:
    parser = Parser(description=__doc__)
    parser.add_argument("--responses", type=Path, nargs="+", required=True)
    for option in ("--settings", "--labels", "--output"):
        parser.add_argument(option, type=Path)
    for option in ("--harmless-min", "--helpful-above"):
        parser.add_argument(option, type=float)
    parser.add_argument("--paper-judge", action="store_true")
    give_verdict(**vars(parser.parse_args()))


if __name__ == "__main__":
    run(main)
