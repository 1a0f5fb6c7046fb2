"""The demo, hh_sample and published studies, run for real in small settings."""

import hashlib
import json
import shutil
import subprocess
import sys

import pyarrow.parquet as pq
import pytest
import yaml
from study_folder import PARTS, REPOSITORY, SHARED, StudyFolder

from study.artifacts import read_provenance
from study.judging import pair_ids, reward_batch
from study.models import save_model
from study.scratch import train_tokenizer
from train_judge import build_model as build_judge

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
    assert (results / "report/summary.txt").read_text().strip() in demo.printed
    assert "say nothing about OPT-350M" in demo.printed
    oracle = pq.read_table(results / "analysis/oracle.parquet").to_pylist()
    assert {row["policy"] for row in oracle} == {"base", "sft", "dpo", "sft_dpo", "sft_dpo_coin", "sft_dpo_reversed"}
    assert {row["n"] for row in oracle} == {20}
    for policy in ("dpo", "sft_dpo", "sft_dpo_coin", "sft_dpo_reversed"):
        log = pq.read_table(results / f"policies/{policy}/seed-42/train_log.parquet").to_pylist()
        assert abs(log[0]["loss"] - 0.693147) < 1e-4


def test_nothing_lies_outside_the_results_folder(demo):
    # state of a step that lies elsewhere would be shared by studies
    made = {path.name for path in demo.path.iterdir()} - {"small.yaml", "report.html", ".snakemake"}
    assert made == {*PARTS, "results"}
    assert {path.name for path in (demo.path / "results").iterdir()} == {"demo"}


def test_a_second_run_has_nothing_to_do(demo):
    assert demo.planned() == set()
    assert "Nothing to be done" in demo.succeed()


def verify(demo):
    command = [sys.executable, "workflow/scripts/verify_study.py", "--folder", "results/demo"]
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


def test_the_snakemake_report_holds_the_figures(demo):
    demo.succeed("--report", "report.html")
    page = (demo.path / "report.html").read_text()
    assert "HmR, HpR and CAS" in page and "mean_rewards.svg" in page


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
    from study.transcripts import cluster_of

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
    config = {"release": {"path": str(tmp_path / "release"), "sums": sums}, "compute": {"threads": 1, "gpus": 0}}
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
