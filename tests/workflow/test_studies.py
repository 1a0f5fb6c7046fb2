"""The demo, hh_sample and published studies, run for real in small settings."""

import hashlib
import json
import re
import shutil
import subprocess
import sys

import pyarrow.parquet as pq
import pytest
import yaml
from page_reader import elsewhere, mislabelled, unsourced, untrue
from study_folder import PARTS, REPOSITORY, SHARED, StudyFolder

from hh_align.core.artifacts import read_provenance
from hh_align.models.bpe import train_tokenizer
from hh_align.models.folders import save_model
from hh_align.models.judging import pair_ids, reward_batch
from hh_align.training.train_judge import build_model as build_judge

SHORT = {"max_rows": 64, "epochs": 1}
SMALL_DEMO = {
    "datasets": {
        "synthetic": {"train_rows": {"harmless-base": 150, "helpful-base": 150}, "test_rows": {"harmless-base": 40, "helpful-base": 40}},
        "raw": {"train_rows": {"harmless-base": 100, "helpful-base": 100}},
    },
    "prompts": {"harmlessness": {"n": 20}, "helpfulness": {"n": 20}},
    "models": {"base": {"pretraining": SHORT}},
    "methods": {"sft": SHORT, "dpo": SHORT},
    "judges": {"small": {"training": SHORT, "calibration_share": 0.3}},
}
SMALL_HH = {
    "models": {"base": {"pretraining": SHORT | {"max_rows": 200}}},
    "methods": {"sft": SHORT, "dpo": SHORT},
    "judges": {"small": {"training": SHORT, "max_length": 128}},
    "scoring": {"batch_tokens": 16384},
    "examination": {"max_pairs": 40, "format_pairs": 20},
    "drift": {"samples": 1, "rows": 20},
}
POLICIES = ["base/seed-0", "dpo/seed-42", "sft/seed-42", "sft_dpo/seed-42"]


def study(folder, name, small, *options):
    """The study `name` in `folder`, refined by a smaller config."""
    made = StudyFolder(folder, "--configfile", f"config/{name}.yaml", "small.yaml", *options)
    (folder / "small.yaml").write_text(yaml.safe_dump(small))
    return made


def names(path):
    return pq.read_schema(path).names


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    folder = study(tmp_path_factory.mktemp("demo"), "demo", SMALL_DEMO)
    folder.printed = folder.succeed()
    return folder


def test_the_demo_ends_with_its_table(demo):
    results = demo.path / "results/demo"
    table = (results / "report/summary.txt").read_text()
    ending, _, logs = demo.printed.rpartition("Complete log(s):")
    assert ending.endswith("steps (100%) done\n" + table) and len(logs.splitlines()) < 4
    assert demo.printed.count(table.splitlines()[0]) == 1  # and nowhere before
    assert "say nothing about OPT-350M" in table
    named = re.match(r"The report: (\S+);", table.splitlines()[-1])[1]
    assert (demo.path / named).is_file() and (demo.path / named).name == "index.html"
    oracle = pq.read_table(results / "analysis/oracle.parquet").to_pylist()
    assert {row["policy"] for row in oracle} == {"base", "sft", "dpo", "sft_dpo", "sft_dpo_coin", "sft_dpo_reversed"}
    assert {row["n"] for row in oracle} == {20}
    for policy in ("dpo", "sft_dpo", "sft_dpo_coin", "sft_dpo_reversed"):
        log = pq.read_table(results / f"policies/{policy}/seed-42/train_log.parquet").to_pylist()
        assert abs(log[0]["loss"] - 0.693147) < 1e-4


def test_the_report_says_what_the_artifacts_say(demo):
    report = demo.path / "results/demo/report"
    page = report / "index.html"
    assert untrue(page) == [] and unsourced(page) == set() and elsewhere(page) == [] and mislabelled(page) == []
    text = (report / "index.html").read_text()
    assert "Synthetic data." in text and "This report is not complete." not in text
    assert not (report / "partial.html").exists() and (report / "browser.html").is_file()


def test_who_asks_for_one_artifact_is_shown_no_table(demo):
    printed = demo.succeed("--force", "results/demo/analysis/power.parquet")
    assert "1 of 1 steps" in printed and "The report:" not in printed


def test_after_a_failure_a_partial_report_names_what_is_missing(demo):
    # a complete one of before stays
    report = demo.path / "results/demo/report"
    before = (report / "index.html").read_bytes()
    script = "workflow/scripts/hh_align/analysis/compute_power.py"
    demo.edit(script, "def main() -> None:\n", "def main() -> None:\n    raise OSError('no power')\n")
    (demo.path / "results/demo/analysis/power.parquet").unlink()
    done = demo.run("--keep-going")
    partial = report / "partial.html"
    assert done.returncode != 0 and "analysis/power.parquet" in partial.read_text()
    assert untrue(partial) == [] and (report / "index.html").read_bytes() == before
    demo.edit(script, "    raise OSError('no power')\n", "")
    demo.succeed()
    assert not partial.exists() and "analysis/power.parquet" in (report / "index.html").read_text()


def test_nothing_lies_outside_the_results_folder(demo):
    # state of a step that lies elsewhere would be shared by studies
    made = {path.name for path in demo.path.iterdir()} - {"small.yaml", "report.html", ".snakemake"}
    assert made == {*PARTS, "results"}
    assert {path.name for path in (demo.path / "results").iterdir()} == {"demo"}


def test_a_second_run_has_nothing_to_do(demo):
    assert demo.planned() == set()
    assert "Nothing to be done" in demo.succeed()


def verify(demo):
    command = [sys.executable, "-m", "hh_align.tools.verify_study", "--folder", "results/demo"]
    done = subprocess.run(command, cwd=demo.path, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


def test_every_artifact_verifies_until_one_is_changed(demo):
    status, printed = verify(demo)
    assert status == 0 and "all as they were made" in printed, printed
    responses = demo.path / "results/demo/responses/sft/seed-42.parquet"
    before = responses.read_bytes()
    shutil.copy(demo.path / "results/demo/responses/dpo/seed-42.parquet", responses)
    status, printed = verify(demo)
    responses.write_bytes(before)
    assert status == 1 and "rewards/small/sft/seed-42.parquet: was made from another demo/responses/sft/seed-42.parquet" in printed


def test_made_again_an_artifact_is_the_same_bytes(demo):
    # and its provenance holds neither a clock nor a place
    results = demo.path / "results/demo"
    names = [
        "policies/sft/seed-42/manifest.json",
        "responses/sft/seed-42.parquet",
        "rewards/small/sft/seed-42.parquet",
        "analysis/metrics.parquet",
    ]
    before = [(results / name).read_bytes() for name in names]
    assert str(demo.path) not in json.dumps(read_provenance(results / names[1]))
    for name in names:
        (results / name).unlink()
    demo.succeed(*(f"results/demo/{name}" for name in names))
    assert [(results / name).read_bytes() for name in names] == before


def test_damaged_weights_are_found_moved_aside_and_rebuilt(demo):
    weights = demo.path / "results/demo/policies/dpo/seed-42/model.safetensors"
    before = weights.read_bytes()
    weights.write_bytes(before[:-1] + bytes([before[-1] ^ 255]))
    assert "model.safetensors: damaged" in verify(demo)[1]
    responses = "results/demo/responses/dpo/seed-42.parquet"
    (demo.path / responses).unlink()
    done = demo.run(responses)
    assert done.returncode != 0
    (message,) = [line for line in done.stdout.splitlines() if line.startswith("error:")]
    assert "model.safetensors is damaged" in message and "run the same command again" in message
    demo.succeed(responses)
    assert weights.read_bytes() == before


def test_the_snakemake_report_holds_everything_with_caption_category_and_labels(demo):
    demo.succeed("--report", "report.html")
    results = demo.path / "results/demo"
    items = reported(demo.path / "report.html")
    made = {path for path in (results / "report").rglob("*") if path.is_file()} | set(results.rglob("README.md"))
    assert set(items) == {str(path.relative_to(demo.path)) for path in made} and len(made) > 35
    assert [name for name, item in items.items() if not (item["caption"] and item["labels"]) or item["category"] == "Other"] == []
    places = [(item["category"], tuple(item["labels"].items())) for item in items.values()]
    assert len(set(places)) == len(places)  # no two items look alike


def reported(page):
    """path -> caption, category and labels of each item of Snakemake's own report."""
    text = page.read_text()
    results, categories = (json.loads(re.search(rf"var {name} = (\{{.*);\n", text)[1]) for name in ("results", "categories"))
    places = {path: category for category, parts in categories.items() for paths in parts.values() for path in paths}
    return {path: item | {"category": places[path]} for path, item in results.items()}


def test_hh_sample_runs_on_the_real_files(tmp_path):
    if not (SHARED / "hh-rlhf").is_dir():
        pytest.skip("needs HH-RLHF's test files in ../shared/hh-rlhf")
    folder = study(tmp_path, "hh_sample", SMALL_HH, "--config", f"datasets={{hh: {{path: {SHARED / 'hh-rlhf'}}}}}")
    folder.succeed()
    results = tmp_path / "results/hh_sample"
    prompts = pq.read_table(results / "prompts/prompts.parquet").to_pylist()
    if (SHARED / "paper-release").is_dir():
        for axis, name in (("harmlessness", "harmful"), ("helpfulness", "helpful")):
            released = json.loads((SHARED / f"paper-release/prompts/{name}_prompts.json").read_text())
            assert [row["prompt"] for row in prompts if row["axis"] == axis] == released
    evaluated = {row["cluster"] for row in prompts}
    trained = pq.read_table(results / "data/training/preferences.parquet", columns=["prompt"])["prompt"].to_pylist()
    from hh_align.data.transcripts import cluster_of

    assert trained and not evaluated & {cluster_of(prompt) for prompt in trained}
    for policy in POLICIES:
        assert names(results / f"responses/{policy}.parquet") == [
            "axis",
            "prompt_id",
            "response",
            "response_tokens",
            "finish",
            "top2_gap_min",
            "cut_tokens",
        ]
        assert names(results / f"rewards/small/{policy}.parquet") == ["axis", "prompt_id", "reward", "input_tokens", "cut_tokens"]
        assert pq.read_metadata(results / f"rewards/small/{policy}.parquet").num_rows == 100
    assert names(results / "analysis/metrics.parquet")[:5] == ["judge", "policy", "seed", "metric", "value"]
    assert names(results / "analysis/retention.parquet")[5:8] == ["retained", "denominator", "rate"]


def test_published_gives_the_papers_table(tmp_path):
    release = SHARED / "paper-release"
    if not release.is_dir():
        pytest.skip("needs the paper's release in ../shared/paper-release")
    folder = StudyFolder(tmp_path, "--configfile", "config/published.yaml")
    printed = folder.succeed("--config", f"release={{path: {release}}}")
    rows = pq.read_table(tmp_path / "results/published/analysis/metrics.parquet").to_pylist()
    found = {metric: [round(row["value"], 9) for row in rows if row["metric"] == metric] for metric in ("HmR", "HpR", "CAS")}
    assert found == {"HmR": [42, 48, 36, 44], "HpR": [22, 56, 46, 66], "CAS": [32, 52, 41, 55]}
    assert "+71.88" in printed
    page = tmp_path / "results/published/report/index.html"
    assert untrue(page) == [] and unsourced(page) == set() and elsewhere(page) == [] and mislabelled(page) == []
    assert "published" in page.read_text() and "these prompts decide no declared contrast" in page.read_text()


def test_released_responses_scored_again_by_the_same_judge_have_the_same_ratings(tmp_path):
    release = SHARED / "paper-release"
    if not release.is_dir():
        pytest.skip("needs the paper's release in ../shared/paper-release")
    architecture = {"hidden_size": 16, "layers": 1, "heads": 2, "ffn_dim": 16, "position_buckets": 16, "init_std": 0.5, "vocab_size": 400}
    prompts = json.loads((release / "prompts/helpful_prompts.json").read_text())
    tokenizer = train_tokenizer(prompts, 400, "<s> $A </s>", "<s> $A </s> $B </s>")
    judge = build_judge(architecture, len(tokenizer), 1).eval()
    save_model(tmp_path / "judge/manifest.json", judge, tokenizer, {}, "")
    sums = {}
    for path in release.glob("*/*_*.json"):  # the release as this judge would have rated it, one rating changed
        name = path.relative_to(release)
        entries = json.loads(path.read_text())
        for entry in entries if name.parts[0] == "responses" else []:
            ids, _ = pair_ids(tokenizer, [entry["prompt"]], [entry["response"]], None)
            entry["rating"] = reward_batch(judge, ids, 1)[0]
        if name.name == "2_sft_helpful.json":
            entries[3]["rating"] += 0.5
        (tmp_path / "release" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "release" / name).write_text(json.dumps(entries))
        sums[str(name)] = hashlib.sha256((tmp_path / "release" / name).read_bytes()).hexdigest()
    config = {"release": {"path": str(tmp_path / "release"), "sums": sums}, "compute": {"threads": 1, "gpus": 0, "shards": 2}}
    config["judges"] = {"again": {"source": "local", "path": str(tmp_path / "judge"), "harmless_min": -3.0, "helpful_above": -2.0}}
    (tmp_path / "study").mkdir()
    folder = StudyFolder(tmp_path / "study", "--configfile", "config/published.yaml", str(tmp_path / "again.yaml"))
    (tmp_path / "again.yaml").write_text(yaml.safe_dump(config))
    folder.succeed("results/published/analysis/rescoring.parquet")
    rows = pq.read_table(tmp_path / "study/results/published/analysis/rescoring.parquet").to_pylist()
    assert len(rows) == 8 and {(row["judge"], row["released"], row["n"]) for row in rows} == {("again", "deberta", 50)}
    for row in rows:
        changed = 0.5 if (row["policy"], row["axis"]) == ("sft", "helpfulness") else 0.0
        assert row["largest_difference"] == pytest.approx(changed, abs=1e-4)
        assert row["mean_difference"] == pytest.approx(-changed / 50, abs=1e-4)


def test_published_downloads_what_it_is_not_given(tmp_path):
    # the same files from a server on loopback, held to the same sums
    release = SHARED / "paper-release"
    if not release.is_dir():
        pytest.skip("needs the paper's release in ../shared/paper-release")
    config = yaml.safe_load((REPOSITORY / "config/published.yaml").read_text())["release"]
    served = tmp_path / "served" / config["repo"] / config["revision"] / "data"
    for name in config["sums"]:
        (served / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(release / name, served / name)
    command = [sys.executable, "-u", "-m", "http.server", "0", "--bind", "127.0.0.1", "--directory", str(tmp_path / "served")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as server:
        port = server.stdout.readline().split(" port ")[1].split()[0]
        (tmp_path / "run").mkdir()
        folder = StudyFolder(
            tmp_path / "run", "--configfile", "config/published.yaml", "--config", f"release={{endpoint: 'http://127.0.0.1:{port}'}}"
        )
        try:
            folder.succeed("prompts")
        finally:
            server.terminate()
    assert pq.read_metadata(tmp_path / "run/results/published/prompts/prompts.parquet").num_rows == 100


def test_published_without_a_network_is_one_message(tmp_path):
    folder = StudyFolder(tmp_path, "--configfile", "config/published.yaml", "--config", "release={endpoint: 'http://127.0.0.1:9'}")
    done = folder.run("prompts")
    assert done.returncode != 0
    (message,) = [line for line in done.stdout.splitlines() if line.startswith("error:")]
    assert "cannot be reached" in message and "release.path" in message


def test_responses_of_ones_own_get_the_whole_analysis(tmp_path):
    # no policy is loaded: prompts out, two files in, scores, comparisons, pages; a hostile text stays a text
    small = SMALL_DEMO | {
        "policies": {"base": {}} | dict.fromkeys(["sft", "dpo", "sft_dpo", "sft_dpo_coin", "sft_dpo_reversed"]),
        "responses": {"base": {"path": "base.jsonl"}, "api": {"path": "api.json", "layout": "openai"}},
        "analysis": {"contrasts": [["api", "base"]], "primary": ["api", "base"], "labels": None},
        "drift": None,
        "claims": None,
        "seeds": [1, 2],
    }
    folder = study(tmp_path, "demo", small)
    folder.succeed("prompts")
    prompts = pq.read_table(tmp_path / "results/demo/prompts/prompts.parquet").to_pylist()
    hostile = "</script><script>window.hurt=1</script>"
    texts = {row["prompt_id"]: f"{hostile} {number}" for number, row in enumerate(prompts)}
    lines = [json.dumps({"prompt": row["prompt"], "axis": row["axis"], "prompt_id": row["prompt_id"], "response": ""}) for row in prompts]
    (tmp_path / "base.jsonl").write_text("\n".join(lines[::-1]))
    said = [
        {"custom_id": name, "response": {"body": {"choices": [{"message": {"role": "assistant", "content": text}}]}}}
        for name, text in texts.items()
    ]
    (tmp_path / "api.json").write_text(json.dumps(said))
    printed = folder.succeed()
    assert not [line for line in printed.splitlines() if "rule train_sft" in line or "generate_responses" in line]
    results = tmp_path / "results/demo"
    rows = pq.read_table(results / "responses/api/seed-0.parquet").to_pylist()
    assert [row["prompt_id"] for row in rows] == [row["prompt_id"] for row in prompts]
    assert {row["prompt_id"]: row["response"] for row in rows} == texts and {row["finish"] for row in rows} == {None}
    metrics = pq.read_table(results / "analysis/metrics.parquet").to_pylist()
    assert {(row["policy"], row["seed"]) for row in metrics} >= {("api", 0), ("base", 0)}
    contrasts = pq.read_table(results / "analysis/comparisons.parquet").to_pylist()
    assert {(row["policy_b"], row["policy_a"]) for row in contrasts if row["family"] == "primary"} == {("api", "base")}
    assert {row["seed"] for row in pq.read_table(results / "analysis/retention.parquet").to_pylist()} == {1, 2}
    page = results / "report/index.html"
    assert untrue(page) == [] and unsourced(page) <= {"2509.09055"}  # the number of the paper that the page speaks of
    assert hostile not in (results / "report/browser.html").read_text() + page.read_text()
    assert not (results / "models/base").exists() and folder.planned() == set()


def test_snapshots_are_policies_of_the_study(tmp_path):
    # kept on the way, merged, answered, scored, measured, and shown as a curve from the parent to the policy
    small = SMALL_DEMO | {
        "methods": {"sft": SHORT, "dpo": SHORT | {"snapshots": [2, 5]}},
        "policies": {"dpo": None, "sft_dpo": {"controls": None}},
        "analysis": {"contrasts": [["sft_dpo", "sft"], ["sft_dpo_step5", "sft_dpo"]], "labels": None},
        "drift": {"samples": 1, "rows": 20},
        "claims": None,
    }
    folder = study(tmp_path, "demo", small)
    folder.succeed()
    results = tmp_path / "results/demo"
    rows = pq.read_table(results / "analysis/snapshots.parquet").to_pylist()
    assert list(dict.fromkeys((row["arm"], row["step"]) for row in rows)) == [
        ("sft", 0),
        ("sft_dpo_step2", 2),
        ("sft_dpo_step5", 5),
        ("sft_dpo", 8),
    ]
    assert {row["metric"] for row in rows} == {"HmR", "HpR", "CAS", "mean_reward_harmful", "mean_reward_helpful"}
    moved = {row["step"]: row["kl_parent"] for row in rows}
    assert moved[0] == 0 < moved[2] < moved[8]
    page = results / "report/index.html"
    assert untrue(page) == [] and unsourced(page) <= {"2509.09055"}  # the number of the paper that the page speaks of
    text = page.read_text()
    assert "stopped_at none → 5" in text and '<section id="snapshots">' in text
    assert folder.planned() == set()
