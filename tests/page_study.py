"""A made-up study on disk for the tests of its pages."""

import fcntl
import hashlib
import shutil
from itertools import product
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import yaml
from fork_server import home
from study_folder import REPOSITORY

from hh_align.analysis import (
    check_facts,
    compare_judges,
    compare_published,
    correct_by_labels,
    examine_judge,
    examine_text,
    measure_overrefusal,
    measure_suites,
    score_oracle,
    summarize_capability,
    summarize_displacement,
    summarize_drift,
    summarize_sweep,
)
from hh_align.analysis.gather_ratings import gather
from hh_align.analysis.ratings import Rated, checkpoints, split
from hh_align.core.artifacts import provenance, write_json, write_table, write_text
from hh_align.core.tables import PROMPTS, RESPONSES, REWARDS
from hh_align.data.derive_dataset import CENSUS
from hh_align.data.preferences import SCHEMA as PREFERENCES
from hh_align.data.prepare_preferences import QUARANTINE
from hh_align.report import plot_training, render_browser, render_report
from hh_align.report.figures import save
from hh_align.tools.verdict import analyse
from hh_align.tools.verdict_figures import draw

TEMPLATES = REPOSITORY / "workflow/report"
DEFAULTS = yaml.safe_load((REPOSITORY / "config/config.yaml").read_text())
PARENTS = {"base": None, "sft": "base", "dpo": "base", "sft_dpo": "sft", "sft_dpo_coin": "sft", "sft_dpo_reversed": "sft"}
FIGURES = ("metrics", "rewards", "mean_rewards", "thresholds", "tradeoff", "contrasts", "wins", "retention")
BLANK = '<svg width="100pt"/>'
HOSTILE = '<img src=x onerror="window.hurt=1"></script><script>window.hurt=2</script><!-- & "quoted"'
FACTS = [
    {"artifact": "analysis/metrics.parquet", "count": "judge", "is": 1},
    {"artifact": "analysis/judge.parquet", "column": "auc", "above": 0},
]
AXES = ("harmlessness", "helpfulness")


class PageStudy:
    """results/<study> in `folder`: n prompts per axis, `policies` of PARENTS, made-up rewards; number 3's texts are hostile, number 5's are long.

    The policy `broken` says one word again and again, `unmoved` what its parent says.
    """

    def __init__(
        self,
        folder: Path,
        n: int = 60,
        policies: int = 4,
        judges: tuple = ("one",),
        seeds: tuple = (42,),
        broken: str = "",
        unmoved: str = "",
    ) -> None:
        self.broken, self.unmoved = broken, unmoved
        self.folder, self.order, self.seeds = folder, list(PARENTS)[:policies], list(seeds)
        limits = {"harmless_min": -3.0, "helpful_above": -2.0}
        self.config = {
            **DEFAULTS["analysis"],
            "judges": {judge: limits for judge in judges},
            "policies": {policy: {"parent": PARENTS[policy]} for policy in self.order},
            "order": self.order,
            "seeds": self.seeds,
            "claims": [DEFAULTS["claims"][1], {"claim": HOSTILE, "source": HOSTILE, "facts": FACTS, "not_measured": HOSTILE}],
            "bootstrap": {"samples": 200, "seed": 1},
        }
        self.ids = [(axis, f"{axis}-{number:03d}") for axis in AXES for number in range(n)]
        self.prompts = [
            {"axis": axis, "prompt_id": name, "prompt": f"Human: question {number}? {self.extra(name)}", "cluster": name, "keywords": []}
            for number, (axis, name) in enumerate(self.ids)
        ]
        stream = np.random.default_rng(1)
        self.responses, self.rewards = {}, {}
        for shift, policy in enumerate(self.order):
            for seed in [0] if policy == "base" else self.seeds:
                self.responses[policy, seed] = [self.respond(policy, seed, axis, name) for axis, name in self.ids]
                for judge in judges:
                    values = stream.normal(-3 + 0.3 * shift, 1.5, len(self.ids)).astype(np.float32)
                    self.rewards[judge, policy, seed] = dict(zip(self.ids, map(float, values), strict=True))
        self.made_by = provenance({}, [])
        self.write()

    def extra(self, name: str) -> str:
        return {"3": HOSTILE, "5": "\n".join(["a long line of many words " * 6] * 50)}.get(name[-1], "")

    def respond(self, policy: str, seed: int, axis: str, name: str) -> dict:
        number = int(name.split("-")[1])
        if policy == self.unmoved:
            policy = PARENTS[policy]
        if policy == self.broken:
            return {"axis": axis, "prompt_id": name, "response": f"{number} " + "the " * 40, "response_tokens": 50, "finish": "length"}
        text = "" if number % 20 == 7 and policy == "base" else f"reply of {policy} {seed} to {name} {self.extra(name)}"
        return {
            "axis": axis,
            "prompt_id": name,
            "response": text,
            "response_tokens": 10 + number % 40,
            "finish": "length" if number % 4 == 0 else "eos",
        }

    def write(self) -> None:
        """Prompts, responses and rewards."""
        write_table(self.folder / "prompts/prompts.parquet", self.prompts, PROMPTS, self.made_by)
        for (policy, seed), rows in self.responses.items():
            write_table(self.folder / f"responses/{policy}/seed-{seed}.parquet", rows, RESPONSES, self.made_by)
        for (judge, policy, seed), values in self.rewards.items():
            rows = [{"axis": axis, "prompt_id": name, "reward": value} for (axis, name), value in values.items()]
            write_table(self.folder / f"rewards/{judge}/{policy}/seed-{seed}.parquet", rows, REWARDS, self.made_by)

    def rated(self, judges: dict | None = None) -> Rated:
        """The ratings, gathered from the files; judges: name -> thresholds, the study's own unless given."""
        judges, answered = judges or self.config["judges"], checkpoints(self.config)
        responses = {(policy, seed): self.folder / f"responses/{policy}/seed-{seed}.parquet" for policy, seed in answered}
        rewards = {
            (judge, policy, seed): self.folder / f"rewards/{judge}/{policy}/seed-{seed}.parquet"
            for judge in sorted(judges)
            for policy, seed in answered
        }
        return split(gather(self.folder / "prompts/prompts.parquet", responses, rewards, judges))

    def analyse(self, drawn: bool = False) -> None:
        """The tables and figures, a dataset, a training log and what the steps cost; of equal studies in a run of the tests the first makes them.

        To draw the figures takes half of the time: they are blank where a test does not ask for them.
        """
        told = [
            drawn,
            self.config,
            self.prompts,
            sorted(self.responses.items()),
            [(key, sorted(of.items())) for key, of in sorted(self.rewards.items())],
        ]
        made = home() / "analysed" / hashlib.sha256(repr(told).encode()).hexdigest()
        made.mkdir(parents=True, exist_ok=True)
        with open(made / "lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not (made / "whole").exists():
                self.make_all(drawn)
                shutil.copytree(self.folder, made / "whole")
        shutil.copytree(made / "whole", self.folder, dirs_exist_ok=True)

    def make_all(self, drawn: bool) -> None:
        """What analyse says."""
        rated, tables = self.rated(), {}
        replies = {
            (policy, seed): examine_text.read_replies(self.folder / f"responses/{policy}/seed-{seed}.parquet")
            for policy, seed in self.responses
        }
        for name, (rows, schema) in analyse(rated, self.config, replies).items():
            write_table(self.folder / f"analysis/{name}.parquet", rows, schema, self.made_by)
            write_text(self.folder / f"report/{name}.csv", "")
            tables[name] = pq.read_table(self.folder / f"analysis/{name}.parquet").to_pandas()
        found = check_facts.check_facts(self.config["claims"][1:], sorted(self.folder.glob("analysis/*.parquet")))
        write_table(self.folder / "analysis/facts.parquet", found, check_facts.FACTS, self.made_by)
        write_text(self.folder / "report/facts.csv", "")
        self.write_figures(tables, rated, drawn)
        self.make_up()
        rows = [
            {"split": split, "subset": "harmless-base", "row": row, "flags": ["identical"] if row % 5 == 0 else [], "use_sft": True, "use_dpo": row % 5 > 0}
            for split in ("train", "test") for row in range(23)
        ]  # fmt: skip
        write_table(self.folder / "data/hh/preferences.parquet", rows, PREFERENCES, self.made_by)
        refused = [{"split": "train", "subset": "harmless-base", "row": 3, "reason": HOSTILE, "excerpt": HOSTILE}]
        write_table(self.folder / "data/hh/quarantine.parquet", refused, QUARANTINE, self.made_by)
        write_table(self.folder / "data/clean/preferences.parquet", rows[5:], PREFERENCES, self.made_by)
        about = {"split": "train", "subset": "harmless-base"}
        census = [
            {**about, "step": step, "before": before, "dropped": before - after, "after": after, "reason": f"by {step} {HOSTILE}"}
            for step, before, after in (("from", 23, 23), ("deduplicate", 23, 18))
        ]
        write_table(self.folder / "data/clean/census.parquet", census, CENSUS, self.made_by)
        steps = [
            {"step": n, "epoch": n / 40, "examples": 8 * n, "tokens": 90 * n, "cut_tokens": n // 9, "loss": 1 / n} for n in range(1, 41)
        ]
        table = pa.Table.from_pylist([{**step, "accuracies": None} for step in steps]).cast(
            pa.schema(
                [*((name, pa.float64() if name in ("epoch", "loss") else pa.int64()) for name in steps[0]), ("accuracies", pa.float64())]
            )
        )
        write_table(self.folder / "policies/sft/seed-42/train_log.parquet", table, table.schema, self.made_by)
        save(
            plot_training.plot(
                plot_training.curves(["sft"], [self.folder / "policies/sft/seed-42/train_log.parquet"]), self.order, {"sft": "sft"}
            ),
            self.folder / "report/figures/training.svg",
        )
        write_json(
            self.folder / "timings/train_sft/sft-seed-42.json",
            {"seconds": 12.345, "rows": 320, "rows_per_second": 25.92, "tokens_per_second": 291.6, "peak_memory_mb": 588},
        )
        asked = {"requests": 121, "tokens_in": 40321, "tokens_out": 240, "price_per_1000_prompts": 0.0437, "unreadable": 3}
        write_json(
            self.folder / "timings/ask_endpoint/one/sft-seed-42.json",
            {"seconds": 31.5, "seconds_per_1000_responses": 262.5, "peak_memory_mb": 143, **asked},
        )
        downloaded = {"files": 3, "downloaded_bytes": 4711, "continuations": 0}
        write_json(self.folder / "timings/fetch_hub/datasets-org--pairs-manifest.json", {"seconds": 3.25, **downloaded})
        for step in ("train_sft/sft-seed-42", "compute_metrics"):
            write_text(self.folder / f"benchmarks/{step}.tsv", "s\th:m:s\tmax_rss\n14.2\t0:00:14\t601.55\n")

    def write_figures(self, tables: dict, rated: Rated, drawn: bool) -> None:
        for figure in FIGURES:
            write_text(self.folder / f"report/figures/{figure}.svg", BLANK)
            if drawn:
                draw(figure, tables, rated.ratings, self.config, self.folder / "report/figures")

    def make_up(self) -> None:
        """Made-up numbers in the tables that need a model, labels, a sweep or an oracle, one row for each thing that they tell apart."""
        judges, trained, seeds = sorted(self.config["judges"]), self.order[1:], self.seeds
        every = [(policy, seed) for policy in self.order for seed in ([0] if policy == "base" else seeds)]
        rates, pairs = ("HmR", "HpR", "CAS"), [(policy, None) for policy in self.order] + [(policy, "base") for policy in trained]
        same = {"format": "as evaluated", "part": "all", "own_subset": True}
        tables = {
            "oracle": (score_oracle.ORACLE, ("judge", "policy", "seed", "axis"), [(j, *key, axis) for j in judges for key in every for axis in AXES], {}),
            "sweep": (summarize_sweep.SWEEP, ("judge", "policy", "seed", "metric"), list(product(judges, trained, seeds, rates)), {"swept": "dpo", "key": "beta", "setting": "0.1"}),
            "overrefusal": (measure_overrefusal.OVERREFUSAL, ("policy", "seed", "set"), [(*key, kind) for key in every for kind in ("benign", "twin")], {"detector": "phrases", "against": "base"}),
            "capability": (summarize_capability.CAPABILITY, ("task", "measure", "policy", "seed", "against"), [(task, measure, *key, None) for task in ("kinds", "all") for measure in ("acc", "acc_norm") for key in every] + [("all", "acc", *key, "base") for key in every[1:]], {}),
            "suites": (measure_suites.SUITES, ("policy", "seed", "measure", "category"), [(*key, measure, category) for key in every for measure, category in (("refused", None), ("refused", HOSTILE), ("mean_reward", None))], {"suite": HOSTILE, "by": HOSTILE, "against": "base"}),
            "judge": (examine_judge.JUDGE, ("judge", "axis", "subset"), [(j, axis, f"{axis[:4]}-base") for j in judges for axis in AXES], same),
            "displacement": (summarize_displacement.TABLE, ("policy", "seed", "pairs", "parent"), [(policy, seed, pairs, "base") for policy in trained for seed in seeds for pairs in ("training", "held-out")], {"displaced": True}),
            "drift": (summarize_drift.TABLE, ("policy", "seed", "reference"), [(policy, seed, "base") for policy, seed in every], {}),
            "gold": (correct_by_labels.GOLD, ("judge", "seed", "policy_b", "policy_a", "metric"), [(j, seed, *pair, rate) for j in judges for seed in seeds for pair in pairs for rate in rates], {"verdict": "better"}),
            "label_agreement": (correct_by_labels.AGREEMENT, ("rater_a", "axis"), list(product(judges, AXES)), {"rater_b": "labels"}),
            "agreement": (compare_published.AGREEMENT, ("judge", "policy", "metric"), list(product(judges, self.order[:4], (*rates, "mean_reward_harmful"))), {}),
            "judge_agreement": (compare_judges.AGREEMENT, ("judge_a", "judge_b", "axis"), [("one", "two", axis) for axis in AXES] if len(judges) > 1 else [], {"statistic": "kappa"}),
        }  # fmt: skip
        stream = np.random.default_rng(3)
        for table, (schema, names, keys, fixed) in tables.items():
            numbers = {"double": lambda: float(stream.uniform(0, 100)), "int64": lambda: int(stream.integers(1, 5000))}
            drawn = [{field.name: numbers.get(str(field.type), lambda: None)() for field in schema} for _ in keys]
            rows = [{**row, **fixed, **dict(zip(names, key, strict=True))} for row, key in zip(drawn, keys, strict=True)]
            if rows:
                write_table(self.folder / f"analysis/{table}.parquet", rows, schema, self.made_by)
                write_text(self.folder / f"report/{table}.csv", "")

    def report_config(self, **changes: object) -> dict:
        """What render_report is given."""
        study = {
            "study": "made",
            "seeds": self.seeds,
            "judges": {name: limits | {"source": "local"} for name, limits in self.config["judges"].items()},
            "analysis": DEFAULTS["analysis"],
            "claims": self.config["claims"],
            "datasets": {"hh": DEFAULTS["datasets"]["hh"], "clean": {"from": "hh"}, "coin": {"from": "hh", "labels": "coin"}},
            "policies": {"sft_dpo_coin": {"data": "coin"}},
            "methods": {"dpo": {"beta": 0.1}},
            "suites": {HOSTILE: {"source": "local", "path": HOSTILE, "axis": "harmlessness", "where": {HOSTILE: HOSTILE}}},
        }
        tables = sorted(path.stem for path in self.folder.glob("analysis/*.parquet"))
        figures = sorted(path.stem for path in self.folder.glob("report/figures/*.svg"))
        logs = ["policies/sft/seed-42/train_log.parquet"]
        differs = {"dpo sft": ["trainer sft → dpo", "epochs 2 → 1"], "sft_dpo sft": ["dpo on hh added"]}
        config = {"study": study, "order": self.order, "tables": tables, "figures": figures, "logs": logs, "differs": differs}
        return (
            config
            | {
                "synthetic": True,
                "origins": ["Anthropic/hh-rlhf"],
                "same_source": ["one"],
                "unlike_training": {},
                "options": " --configfile config/made.yaml",
            }
            | changes
        )

    def render_report(self, **changes: object) -> Path:
        """The report's page."""
        path = self.folder / "report/index.html"
        write_text(path, render_report.page(self.report_config(**changes), self.folder, TEMPLATES))
        return path

    def render_browser(self) -> Path:
        """The browser's page."""
        ratings = self.rated().ratings
        config = self.config | {"study": "made", "synthetic": False}
        path = self.folder / "report/browser.html"
        write_text(path, render_browser.page(config, render_browser.collect(config, self.prompts, self.responses, ratings), TEMPLATES))
        return path

    def good(self, judge: str, policy: str, seed: int, prompt: tuple[str, str]) -> bool:
        reward, thresholds = self.rewards[judge, policy, seed][prompt], self.config["judges"][judge]
        return reward >= thresholds["harmless_min"] if prompt[0] == "harmlessness" else reward > thresholds["helpful_above"]
