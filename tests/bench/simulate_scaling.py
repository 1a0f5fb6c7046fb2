"""What a sweep costs: jobs, GPU hours, disk and wall time, by a closed formula and by playing the real graph of jobs through a scheduler.

python tests/bench/simulate_scaling.py        # the tables of docs/scaling.md, some minutes: every size is planned by Snakemake

Nothing here was measured on a GPU: seconds come from the author's throughput (29.5 samples/s of SFT, 20.8 pairs/s of DPO at 350M) and
from the number of floating-point operations and bytes of other sizes. The analysis takes what bench_analysis.py measured, other CPU steps STARTUP seconds.
"""

import heapq
import re
import sys
import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import yaml

REPOSITORY = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(REPOSITORY / "tests"))

from study_folder import StudyFolder  # noqa: E402

PARAMETERS = {"350M": 331_196_416, "1.3B": 1_315_758_080, "7B": 6_658_473_984}  # of OPT-350M, OPT-1.3B, OPT-6.7B
LADDER = {  # rung of config/ladder -> parameters of its base, by its architecture
    "opt-125m": 125_239_296,
    "smollm2-135m": 134_515_008,
    "pythia-160m": 162_322_944,
    "opt-350m": 331_196_416,
    "smollm2-360m": 361_821_120,
    "pythia-410m": 405_334_016,
    "opt-1.3b": 1_315_758_080,
}
JUDGE = 435_062_785  # parameters of DeBERTa-v3-large with one logit
ROWS, SFT_EPOCHS, SFT_RATE, DPO_RATE = 160_800, 2, 29.5, 20.8  # the paper's rows, and its samples and pairs a second
TOKENS, NEW = 230, 50  # tokens of a transcript (mean of 16 of helpful-base), and of a response
HELD_OUT_PAIRS = 8_552
BANDWIDTH = 0.5e12  # bytes/s of memory in decoding: an assumption, half of what a card of 1 TB/s states
FLOPS = SFT_RATE * TOKENS * 6 * PARAMETERS["350M"]  # 13.5e12 a second, what the author's SFT rate amounts to
BATCH = 4096 // (TOKENS + NEW)  # prompts of a batch of generation.batch_tokens
SAMPLES = 4  # drift.samples
STARTUP = 15.0  # seconds: a process, its imports, reading a model
RATED, COMPARED = 28 * 20_000, 54 * 3 * 20_000  # responses, and prompts of contrasts, of `bench_analysis.py 10000`
ANALYSIS = {  # CPU seconds of one core for a rated response; of compare_policies, for a prompt of a contrast
    "compute_metrics": 3.7 / RATED,
    "compute_retention": 1.4 / RATED,
    "check_claims": 2.0 / RATED,
    "compare_policies": 22.0 / COMPARED,
}


@dataclass(frozen=True)
class Sweep:
    """A study with an SFT policy and, for each beta, DPO from the base and from SFT; every policy with every seed."""

    seeds: int = 1
    betas: int = 1
    judges: int = 1
    shards: int = 1
    size: str = "350M"
    prompts: int = 1000

    @property
    def trained(self) -> int:
        return self.seeds * (1 + 2 * self.betas)

    @property
    def policies(self) -> int:
        return 1 + self.trained


def config_of(sweep: Sweep) -> dict:
    """What refines config.yaml to this study."""
    paper = yaml.safe_load((REPOSITORY / "config/config.yaml").read_text())
    policies = {"base": {}, "sft": {"parent": "base", "method": "sft"}, "dpo": None, "sft_dpo": None}
    methods, judges = {}, {}
    for number in range(sweep.betas):
        methods[f"beta{number}"] = paper["methods"]["dpo"] | {"beta": 0.05 * (number + 1)}
        policies |= {f"dpo{number}": {"parent": "base", "method": f"beta{number}"}}
        policies |= {f"sft_dpo{number}": {"parent": "sft", "method": f"beta{number}"}}
    for number in range(1, sweep.judges):
        judges[f"judge{number}"] = paper["judges"]["deberta"] | {"revision": f"{number:040x}"}
    analysis = {"primary": None, "contrasts": [["sft", "base"]]}
    compute = {"shards": sweep.shards}
    return {
        "study": "sweep",
        "seeds": list(range(1, sweep.seeds + 1)),
        "methods": methods,
        "policies": policies,
        "judges": judges,
        "analysis": analysis,
        "claims": [],
        "compute": compute,
    }


def jobs_by_formula(sweep: Sweep) -> dict[str, int]:
    """Rule -> jobs, of the rules whose number depends on the sweep."""
    gather = sweep.policies * (1 + sweep.judges) if sweep.shards > 1 else 0
    counts = {
        "fetch_hub": 2 + sweep.judges,
        "import_judge": sweep.judges,
        "train_sft": sweep.seeds,
        "compute_references": 1 + sweep.seeds,  # the base's, and one per SFT policy: shared by all betas
        "train_dpo": 2 * sweep.betas * sweep.seeds,
        "generate_responses": sweep.policies * sweep.shards,
        "score_responses": sweep.policies * sweep.judges * sweep.shards,
        "gather_shards": gather,
        "measure_drift": sweep.policies,
        "score_pairs": sweep.judges,
        "write_model_card": sweep.trained,
        "write_notice": sweep.policies + sweep.judges,
    }
    return {rule: count for rule, count in counts.items() if count}


def folder_of(sweep: Sweep, path: Path) -> StudyFolder:
    """A copy of the workflow at `path` with this study's config."""
    (path / "sweep.yaml").write_text(yaml.safe_dump(config_of(sweep)))
    return StudyFolder(path, "--configfile", "sweep.yaml")


def plan(sweep: Sweep) -> tuple[list[str], list[list[int]]]:
    """(rule of each job, the jobs that each waits for) of the real graph, as Snakemake plans it."""
    with tempfile.TemporaryDirectory() as folder:
        drawn = folder_of(sweep, Path(folder)).run("--dag", "dot").stdout
    jobs = re.findall(r'^\s*(\d+)\[label = "(\w+)', drawn, re.MULTILINE)
    if not jobs:
        raise SystemExit(f"error: Snakemake drew no graph:\n{drawn[-2000:]}")
    number = {name: index for index, (name, _) in enumerate(jobs)}
    before = [[] for _ in jobs]
    for source, target in re.findall(r"^\s*(\d+) -> (\d+)", drawn, re.MULTILINE):
        before[number[target]].append(number[source])
    return [rule for _, rule in jobs], before


def seconds(sweep: Sweep) -> dict[str, float]:
    """Rule -> GPU seconds of one job; other rules take none. `prompts` counts both axes."""
    parameters = (PARAMETERS | LADDER)[sweep.size]
    relative = parameters / PARAMETERS["350M"]
    forward = 2 * parameters * (TOKENS + NEW) / FLOPS  # of one prompt and its response
    decode = NEW * 4 * parameters / BANDWIDTH / BATCH  # the weights are read once for each token of a batch
    generation = 2 * parameters * TOKENS / FLOPS + decode
    judging = 2 * JUDGE * (TOKENS + NEW) / FLOPS
    work = {
        "train_sft": SFT_EPOCHS * ROWS / SFT_RATE * relative,
        "train_dpo": ROWS / DPO_RATE * relative,
        "compute_references": ROWS * 2 * 2 * parameters * TOKENS / FLOPS,
        "generate_responses": sweep.prompts * generation / sweep.shards,
        "score_responses": sweep.prompts * judging / sweep.shards,
        "measure_drift": sweep.prompts * SAMPLES * (generation + 3 * forward),  # sampled, read by itself, its parent, the root
        "score_pairs": 2 * HELD_OUT_PAIRS * judging,
    }
    return {rule: STARTUP + spent for rule, spent in work.items()}


def analysis_seconds(sweep: Sweep) -> dict[str, float]:
    """Rule -> CPU seconds of one job of the analysis, each trained policy held against its parent."""
    contrasts = sweep.seeds * (1 + 2 * sweep.betas)
    rated = {rule: contrasts if rule == "compare_policies" else sweep.policies for rule in ANALYSIS}
    return {rule: STARTUP + ANALYSIS[rule] * rated[rule] * sweep.judges * sweep.prompts for rule in ANALYSIS}


def gpu_seconds(sweep: Sweep) -> float:
    """All GPU work of the study, by the formula."""
    counts = jobs_by_formula(sweep)
    return sum(counts[rule] * spent for rule, spent in seconds(sweep).items())


def longest_path(sweep: Sweep) -> float:
    """GPU seconds that no number of GPUs saves: SFT, its references, DPO, and the slower of drift and evaluation."""
    spent = seconds(sweep)
    evaluation = max(spent["measure_drift"], spent["generate_responses"] + spent["score_responses"])
    return spent["train_sft"] + spent["compute_references"] + spent["train_dpo"] + evaluation


def wall_by_formula(sweep: Sweep, gpus: int) -> float:
    """Seconds: all GPU work shared out, what of the last chain runs with idle GPUs beside it (the bound of Graham 1969, equation 1), the analysis."""
    return gpu_seconds(sweep) / gpus + longest_path(sweep) * (1 - 1 / gpus) + max(analysis_seconds(sweep).values())


def wall_by_schedule(sweep: Sweep, gpus: int, rules: list[str], before: list[list[int]]) -> float:
    return play(rules, before, seconds(sweep), gpus, analysis_seconds(sweep))


def play(rules: list[str], before: list[list[int]], spent: dict[str, float], gpus: int, on_cpu: dict[str, float] | None = None) -> float:
    """Seconds until the last job ends: GPU jobs on `gpus` devices, in the order in which they become ready; of the others any number at once.

    spent: rule -> seconds of a GPU job; on_cpu: rule -> seconds of another job where it takes more than STARTUP.
    """
    after, open_inputs = defaultdict(list), [len(set(jobs)) for jobs in before]
    for job, jobs in enumerate(before):
        for earlier in set(jobs):
            after[earlier].append(job)
    events: list[tuple[float, int]] = []
    waiting: list[int] = []
    free, now = gpus, 0.0

    def begin(job: int) -> None:
        if rules[job] in spent:
            heapq.heappush(waiting, job)
        else:
            heapq.heappush(events, (now + (on_cpu or {}).get(rules[job], STARTUP), job))

    for job, count in enumerate(open_inputs):
        if not count:
            begin(job)
    while events or waiting:
        while waiting and free:
            free -= 1
            job = heapq.heappop(waiting)
            heapq.heappush(events, (now + spent[rules[job]], job))
        now, done = heapq.heappop(events)
        free += rules[done] in spent
        for job in after[done]:
            open_inputs[job] -= 1
            if not open_inputs[job]:
                begin(job)
    return now


def disk(sweep: Sweep) -> dict[str, float]:
    """Bytes: weights in fp32 of every policy, the base and judges; the checkpoints of one SFT; responses, rewards."""
    weights = 4 * (PARAMETERS | LADDER)[sweep.size]
    return {
        "weights": sweep.policies * weights + sweep.judges * 4 * JUDGE,
        "checkpoints": 3 * 3 * weights,
        "tables": sweep.policies * sweep.prompts * (100 + 20 * sweep.judges),
    }


SWEEPS = {  # name -> sweep, GPUs
    "the paper's": (Sweep(prompts=100), 1),
    "5 seeds, 3 betas, 2 judges": (Sweep(seeds=5, betas=3, judges=2, prompts=1000), 4),
    "10 seeds, 8 betas, 2 judges": (Sweep(seeds=10, betas=8, judges=2, prompts=1000), 8),
}


SIZES_OF_TABLES = (10**3, 10**4, 10**5, 10**6)  # prompts
FIVE = Sweep(seeds=5, betas=3, judges=2)  # of the tables by step and of disk use


def row(*cells: object) -> str:
    return "| " + " | ".join(map(str, cells)) + " |"


def wall_rows(name: str) -> Iterator[str]:
    """What a sweep takes by formula and by schedule, for every size and number of prompts."""
    sweep, gpus = SWEEPS[name]
    rules, before = plan(sweep)
    counted = Counter(rules)
    assert all(counted[rule] == count for rule, count in jobs_by_formula(sweep).items()), counted
    for prompts in sorted({sweep.prompts, *SIZES_OF_TABLES}):
        for size in PARAMETERS:
            one = replace(sweep, size=size, prompts=prompts)
            formula, simulated = wall_by_formula(one, gpus), wall_by_schedule(one, gpus, rules, before)
            hours = (f"{gpu_seconds(one) / 3600:,.0f}", f"{formula / 3600:,.1f}", f"{simulated / 3600:,.1f}")
            yield row(f"{name}, {size}, {prompts:,} prompts", gpus, len(rules), *hours, f"{formula / simulated:.2f}")


def step_rows() -> Iterator[str]:
    """GPU hours by step, and the step that takes most."""
    rules = ("train_sft", "train_dpo", "compute_references", "generate_responses", "measure_drift", "score_responses")
    for size in PARAMETERS:
        for prompts in SIZES_OF_TABLES:
            sweep = replace(FIVE, size=size, prompts=prompts)
            counts, spent = jobs_by_formula(sweep), seconds(sweep)
            hours = {rule: counts[rule] * spent[rule] / 3600 for rule in rules}
            yield row(size, f"{prompts:,}", *(f"{value:,.1f}" for value in hours.values()), max(hours, key=hours.get))


def analysis_rows() -> Iterator[str]:
    """CPU minutes by step of the analysis."""
    for prompts in SIZES_OF_TABLES:
        yield row(f"{prompts:,}", *(f"{spent / 60:,.1f}" for spent in analysis_seconds(replace(FIVE, prompts=prompts)).values()))


def disk_rows() -> Iterator[str]:
    for size in PARAMETERS:
        for prompts in (10**3, 10**6):
            sizes = disk(replace(FIVE, size=size, prompts=prompts))
            yield row(size, f"{prompts:,}", *(f"{value / 1e9:,.1f} GB" for value in sizes.values()))


def main() -> None:
    print("| sweep | GPUs | jobs | GPU h | wall h, formula | wall h, simulated | formula / simulated |\n|---|---|---|---|---|---|---|")
    for name in SWEEPS:
        print(*wall_rows(name), sep="\n", flush=True)
    print("\n| size | prompts | SFT | DPO | references | generation | drift | scoring | most |\n|---|---|---|---|---|---|---|---|---|")
    print(*step_rows(), sep="\n")
    print("\n" + row("prompts", *(f"`{rule}`" for rule in ANALYSIS)) + "\n" + "|---" * (1 + len(ANALYSIS)) + "|")
    print(*analysis_rows(), sep="\n")
    print("\n| size | prompts | weights | checkpoints | tables |\n|---|---|---|---|---|")
    print(*disk_rows(), sep="\n")


if __name__ == "__main__":
    main()
