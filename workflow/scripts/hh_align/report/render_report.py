"""The study as one HTML page: the question, the verdict, what it rests on, what it cost, and how to get each number again.

The output is results/<study>/report/index.html, and the study's other files are read from the folder above it.
"""

import json
from pathlib import Path

import pandas as pd
import yaml

from hh_align.analysis.compute_tradeoff import tradeoff_sentences
from hh_align.analysis.ratings import headline, judged_axes, judged_rates, to_show
from hh_align.analysis.text_gate import FLAGS, SHORT, caveat_over_seeds
from hh_align.analysis.verdict import corrected_by_labels, declared, error_rates, unranked, verdict_sentences
from hh_align.core.artifacts import logical_name, read_provenance, read_table, say, write_text
from hh_align.core.axes import MEANS, METRIC_AXES, RATE_METRICS
from hh_align.core.command import parse, run
from hh_align.report.colours import colours
from hh_align.report.displaced import displacement_sentence
from hh_align.report.kept import kept_of
from hh_align.report.lengths import lengths_of
from hh_align.report.mixed import models_of
from hh_align.report.pages import caption, inline_svg, number, plain, records, render, rows_of, text, total, with_values
from hh_align.report.taxes import capability_rows, taxes_of

COUNTED = ("rows", "pairs", "replies", "prompts")


def read_tables(folder: Path, names: list[str]) -> dict[str, pd.DataFrame]:
    """The analysis tables that exist, each row with where it stands."""
    paths = {name: f"analysis/{name}.parquet" for name in names}
    return {name: records(read_table(folder / path).to_pandas(), path) for name, path in paths.items() if (folder / path).is_file()}


def rates(tables: dict[str, pd.DataFrame], judge: str, order: list[str]) -> list[dict]:
    """Per policy its name, `ours`: metric -> row of metrics, and `published`: metric -> row of agreement."""
    if "metrics" not in tables:
        return []
    ours = headline(tables["metrics"], judge).reset_index()
    published = rows_of(tables, "agreement", judge=judge)
    return [
        {
            "policy": policy,
            "ours": {row["metric"]: row for row in plain(ours[ours["policy"] == policy])},
            "published": {row["metric"]: row for row in published if row["policy"] == policy},
        }
        for policy in order
    ]


def contrasts_by(tables: dict[str, pd.DataFrame], judges: list[str]) -> dict[str, pd.DataFrame]:
    return {judge: declared(tables["comparisons"], judge) for judge in judges} if "comparisons" in tables else {}


def contrasts(rows: pd.DataFrame) -> list[dict]:
    """Per declared contrast its policies, and `by_metric`: metric -> row of comparisons."""
    return [
        {
            "policy": policy,
            "against": against,
            "by_metric": {row["metric"]: row for row in plain(group)},
        }
        for (policy, against), group in rows.groupby(["policy_b", "policy_a"], sort=False)
    ]


def pairwise(tables: dict[str, pd.DataFrame], judges: list[str]) -> list[dict]:
    """Per pairwise judge its name, and `contrasts`: the declared contrasts' win rates with their axis, over the seeds where there are several."""
    lines = []
    for judge in judges if {"pairwise", "comparisons"} <= set(tables) else []:
        rows = plain(to_show(tables["comparisons"][tables["comparisons"]["judge"] == judge], ["policy_b", "policy_a", "metric"]))
        lines.append({"judge": judge, "contrasts": [row | {"axis": METRIC_AXES[row["metric"]][0]} for row in rows]})
    return lines


def sweeps(tables: dict[str, pd.DataFrame], judge: str) -> list[dict]:
    """Per swept policy its name, `keys` and `arms`: of each its name, `settings`: key -> row of sweep, and `by_metric`: metric -> row to show."""
    if "sweep" not in tables:
        return []
    rows = to_show(tables["sweep"][tables["sweep"]["judge"] == judge], ["policy", "key", "metric"]).sort_values("key", kind="stable")
    arms = [
        {
            "swept": swept,
            "policy": policy,
            "settings": {row["key"]: row for row in plain(arm)},
            "by_metric": {row["metric"]: row for row in plain(arm)},
        }
        for (swept, policy), arm in rows.groupby(["swept", "policy"])
    ]
    arms.sort(key=lambda arm: [(row["number"] or 0, row["setting"]) for row in arm["settings"].values()])
    own = {swept: [arm for arm in arms if arm["swept"] == swept] for swept in sorted(set(rows["swept"]))}
    return [{"swept": swept, "keys": list(arms[0]["settings"]), "arms": arms} for swept, arms in own.items()]


def claims(tables: dict[str, pd.DataFrame], judge: str) -> list[dict]:
    """One row per sentence: over the seeds where there are several, else of the one seed."""
    if "claims" not in tables:
        return []
    return plain(to_show(tables["claims"][tables["claims"]["judge"] == judge], ["claim"]))


def corrected(tables: dict[str, pd.DataFrame]) -> list[dict]:
    """Per policy or contrast that true labels correct its names, and `by_metric`: rate -> row of gold, of the rates with enough labels."""
    lines: dict[tuple, dict] = {}
    for row in rows_of(tables, "gold"):
        if row["metric"] not in RATE_METRICS or (row["policy_a"] and not row["verdict"]):  # a pair of which only a claim speaks
            continue
        names = {"policy": row["policy_b"], "against": row["policy_a"]}
        key = (row["judge"], row["seed"], row["policy_b"], row["policy_a"])
        lines.setdefault(key, {**names, "by_metric": {}})["by_metric"][row["metric"]] = row
    return list(lines.values())


def unranked_axes(tables: dict[str, pd.DataFrame], judges: list[str]) -> list[tuple[str, str]]:
    """(judge, axis) of every axis on which a judge is not above chance."""
    leads = tables.get("threshold_leads")
    return [] if leads is None else [(judge, axis) for judge in judges for axis in sorted(unranked(leads, judge))]


def caveats(tables: dict[str, pd.DataFrame]) -> dict[tuple[str, int | None], dict | None]:
    """(policy, seed) -> what `caveat` says of it, and (policy, None) of all its seeds together."""
    by_policy: dict[str, list[dict]] = {}
    for row in rows_of(tables, "text"):
        by_policy.setdefault(row["policy"], []).append(row)
    together = {(policy, None): caveat(rows) for policy, rows in by_policy.items()}
    return together | {(policy, row["seed"]): caveat([row]) for policy, rows in by_policy.items() for row in rows}


def caveat(rows: list[dict]) -> dict | None:
    """`marks`, what stands against a policy's text in two words each, and `said`, the same with its numbers; None where nothing does."""
    said = caveat_over_seeds(rows)
    return {"marks": [SHORT[flag] for flag in FLAGS if any(row[flag] for row in rows)], "said": said} if said else None


def opinion(tables: dict[str, pd.DataFrame], judge: str, settings: dict, order: list[str]) -> dict:
    """What the page says by one judge, of its own axes only."""
    rows = declared(tables["comparisons"], judge) if "comparisons" in tables else pd.DataFrame()
    told = corrected_by_labels(rows, tables.get("gold"), judge)
    return {
        "judge": judge,
        "settings": settings,
        "metrics": list(judged_rates(settings)),
        "means": [MEANS[axis] for axis in judged_axes(settings)],
        "sentences": verdict_sentences(told),
        "error_rates": error_rates(told),
        "by_labels": bool(len(told)) and bool(told["gold"].notna().any()),
        "rates": rates(tables, judge, order),
        "contrasts": contrasts(rows) if len(rows) else [],
        "claims": claims(tables, judge),
        "sweeps": sweeps(tables, judge),
    }


def census(folder: Path, dataset: str) -> dict:
    """Rows per split and subset, how often each flag was set, lines that could not be read, and what each step of a derived one dropped."""
    path, refused, steps = (f"data/{dataset}/{name}.parquet" for name in ("preferences", "quarantine", "census"))
    frame = read_table(folder / path, ["split", "subset", "flags", "row", "use_sft", "use_dpo"]).to_pandas()
    parts = [f"split == '{split}' and subset == '{subset}'" for split, subset in frame.groupby(["split", "subset"], sort=False).groups]
    splits = frame[["split", "subset"]].drop_duplicates().to_dict("records")
    counts = {"rows": ("row", "count"), "sft": ("use_sft", "sum"), "dpo": ("use_dpo", "sum")}
    return {
        "name": dataset,
        "artifact": path,
        "parts": [
            split | {name: total(frame, path, *what, query=part) for name, what in counts.items()}
            for split, part in zip(splits, parts, strict=True)
        ],
        "flags": counted(frame[["flags", "row"]].explode("flags"), path, "flags"),
        "quarantine": counted(read_table(folder / refused).to_pandas(), refused, "reason") if (folder / refused).is_file() else [],
        "steps": plain(records(read_table(folder / steps).to_pandas(), steps)) if (folder / steps).is_file() else [],
    }


def counted(frame: pd.DataFrame, artifact: str, column: str) -> list[dict]:
    """How many rows have each value of a column of texts."""
    values = sorted(frame[column].dropna().unique())
    return [{"value": value, "count": total(frame, artifact, "row", "count", query=f"{column} == {value!r}")} for value in values]


def training(folder: Path, logs: list[str]) -> list[dict]:
    """Per training log its first and last step, the mean loss, and the rows that had nothing to learn."""
    trainings = []
    for path in logs:
        if not (folder / path).is_file():
            continue
        frame = records(read_table(folder / path).to_pandas(), path)
        refused = path.replace("train_log", "quarantine")
        trainings.append(
            {
                "name": "/".join(Path(path).parts[1:-1]),
                "first": frame.iloc[0].to_dict(),
                "last": frame.iloc[-1].to_dict(),
                "mean": total(frame, path, "loss", "mean", ".4f"),
                "refused": counted(read_table(folder / refused).to_pandas(), refused, "reason") if (folder / refused).is_file() else [],
            }
        )
    return trainings


def costs(folder: Path) -> list[dict]:
    """Per job what it measured itself (timings/) and what Snakemake saw (benchmarks/), in the order of rules and jobs."""
    jobs: dict[str, dict] = {}
    for path in folder.glob("benchmarks/**/*.tsv"):
        artifact = path.relative_to(folder)
        try:
            seen = pd.read_csv(path, sep="\t", na_values=["-", "NA"]).iloc[-1].to_dict()
        except (ValueError, IndexError):
            say(f"{path}: a kill has left no benchmark in it; the report's costs lack this step")
            continue
        jobs.setdefault(job(artifact), {})["seen"] = seen | {"_artifact": str(artifact), "_at": ""}
    for path in folder.glob("timings/**/*.json"):
        artifact = path.relative_to(folder)
        measured = json.loads(path.read_text(encoding="utf-8"))
        rate = next((f"{name}_per_second" for name in COUNTED if name in measured), None)
        if "seconds" in measured:
            jobs.setdefault(job(artifact), {})["measured"] = measured | {"_artifact": str(artifact), "_at": "", "_rate": rate}
    return [{"rule": name.split("/")[0], "item": name.partition("/")[2], **cost} for name, cost in sorted(jobs.items())]


def job(artifact: Path) -> str:
    """rule/item of a file under timings/ or benchmarks/"""
    return "/".join(artifact.with_suffix("").parts[1:])


def made_by(folder: Path) -> dict[str, dict]:
    """Artifact -> its provenance, for everything of the study that carries one."""
    tables = {path.relative_to(folder): path for path in folder.glob("**/*.parquet")}
    provenances = {str(name): read_provenance(path) for name, path in tables.items() if name.parts[0] not in ("state", "shards")}
    models = {str(path.relative_to(folder)): path for path in folder.glob("[mp]*/**/provenance.json")}
    return dict(sorted((provenances | {name: json.loads(path.read_text(encoding="utf-8")) for name, path in models.items()}).items()))


def versions(provenances: dict[str, dict]) -> dict[str, dict[str, list[str]]]:
    """Library (and python, device, threads) -> version -> the artifacts made with it."""
    artifacts_by_version: dict[str, dict[str, list[str]]] = {}
    for artifact, made in provenances.items():
        facts = {key: made[key] for key in ("python", "device", "threads") if key in made}
        for name, version in (facts | made.get("libraries", {})).items():
            artifacts_by_version.setdefault(name, {}).setdefault(str(version), []).append(artifact)
    return artifacts_by_version


def page(config: dict, folder: Path, templates: Path, template: str = "index.html") -> str:
    """The page as HTML; what the study should have and lacks is named in it."""
    study, tables = config["study"], read_tables(folder, config["tables"])
    captions = {name: caption(templates, name, study) for name in config["figures"]}
    drawn = {name: folder / f"report/figures/{name}.svg" for name in config["figures"]}
    figures = {name: inline_svg(path.read_text(encoding="utf-8"), name, captions[name]) for name, path in drawn.items() if path.is_file()}
    expected = [*(f"analysis/{name}.parquet" for name in config["tables"]), *(f"report/figures/{name}.svg" for name in config["figures"])]
    provenances = made_by(folder)
    libraries = versions(provenances)
    return render(
        templates,
        template,
        config=config,
        study=study,
        folder=logical_name(folder),
        opinions=(opinions := [opinion(tables, judge, study["judges"][judge], config["order"]) for judge in study["judges"]]),
        metrics=[metric for metric in RATE_METRICS if any(metric in entry["metrics"] for entry in opinions)],
        kept=kept_of(tables, contrasts_by(tables, list(study["judges"])), study["analysis"].get("primary", [])),
        lengths=lengths_of(tables.get("length"), list(study["judges"] | study.get("pairwise", {}))),
        tradeoffs=tradeoff_sentences(tables["tradeoff"]) if "tradeoff" in tables else {},
        models=models_of(tables.get("mixed_model"), list(study["judges"])),
        taxed=taxes_of(tables.get("capability"), config["order"][0]),
        capability_rows=lambda compared: capability_rows(tables.get("capability"), compared),
        displaced=displacement_sentence(tables["displacement"]) if "displacement" in tables else None,
        pairwise=pairwise(tables, sorted(study.get("pairwise", {}))),
        corrected=corrected(tables),
        unranked=(lost := unranked_axes(tables, list(study["judges"]))),
        ranked=lambda name: [row for row in rows_of(tables, name) if (row["judge"], row["axis"]) not in lost],
        alone=[name for name in ("judge", "seed") if len(study[f"{name}s"]) == 1],
        rows=lambda name, **where: rows_of(tables, name, **where),
        number=number,
        text=text,
        colours=colours(config["order"]),
        caveats=caveats(tables),
        figures=figures,
        captions=captions,
        missing=[name for name in expected if not (folder / name).is_file()],
        datasets=[census(folder, name) for name in study.get("datasets", {}) if (folder / f"data/{name}/preferences.parquet").is_file()],
        training=training(folder, config["logs"]),
        costs=costs(folder),
        imported={name.removesuffix("/provenance.json"): made["notes"] for name, made in provenances.items() if made.get("notes")},
        versions=libraries,
        mixed=[name for name, entry in libraries.items() if len(entry) > 1 and name not in ("device", "threads")],
        settings=yaml.safe_dump(study, sort_keys=True, allow_unicode=True, width=120),
    )


def main() -> None:
    args = parse(__doc__, config="config", templates="path", output="path", values="text?")
    write_text(args.output, page(with_values(args.config, args.values), args.output.parents[1], args.templates))
    say(f"report: {args.output}")


if __name__ == "__main__":
    run(main)
