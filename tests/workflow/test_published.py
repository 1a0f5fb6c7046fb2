"""The published study, on the paper's release: its table, where the release comes from, and its responses scored again."""

import hashlib
import json
import os
import shutil
import subprocess
import sys

import pyarrow.parquet as pq
import pytest
import yaml
from page_reader import elsewhere, mislabelled, unsourced, untrue
from printed_commands import ask_for_all, in_page
from study_folder import REPOSITORY, SHARED, StudyFolder, run_snakemake

from hh_align.models.bpe import train_tokenizer
from hh_align.models.folders import save_model
from hh_align.models.judging import pair_ids, reward_batch
from hh_align.training.train_judge import build_model as build_judge


@pytest.mark.parametrize("own", [False, pytest.param(True, marks=pytest.mark.long)], ids=["forks", "each step a process of its own"])
def test_published_gives_the_papers_table(tmp_path, own):
    release = SHARED / "paper-release"
    if not release.is_dir():
        pytest.skip("needs the paper's release in ../shared/paper-release")
    folder = StudyFolder(tmp_path, "--configfile", "config/published.yaml")
    printed = folder.succeed("--config", f"release={{path: {release}}}", **(os.environ if own else {}))
    rows = pq.read_table(tmp_path / "results/published/analysis/metrics.parquet").to_pylist()
    values = {metric: [round(row["value"], 9) for row in rows if row["metric"] == metric] for metric in ("HmR", "HpR", "CAS")}
    assert values == {"HmR": [42, 48, 36, 44], "HpR": [22, 56, 46, 66], "CAS": [32, 52, 41, 55]}
    assert " base → sft_dpo  kept 10/11 = 91 % [59, 100], by chance 66 %; gained 23/39\n" in printed
    page = tmp_path / "results/published/report/index.html"
    assert untrue(page) == [] and unsourced(page) == set() and elsewhere(page) == [] and mislabelled(page) == []
    words, number = ask_for_all(in_page(page))  # with the --config of this run: without it the release would be fetched again
    planned = run_snakemake(["--dry-run", *words], tmp_path)
    assert number > 12 and planned.returncode == 0 and "Nothing to be done" in planned.stdout, planned.stdout[-2000:]
    assert "published" in page.read_text() and "these prompts decide no declared contrast" in page.read_text()


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
    folder.edit("workflow/scripts/hh_align/data/fetch_release.py", '"retry_seconds", 2.0', '"retry_seconds", 0.01')
    done = folder.run("prompts")
    assert done.returncode != 0
    (message,) = [line for line in done.stdout.splitlines() if line.startswith("error:")]
    assert "cannot be reached" in message and "release.path" in message


@pytest.mark.long
def test_released_responses_scored_again_by_the_same_judge_have_the_same_ratings(tmp_path):
    release = SHARED / "paper-release"
    if not release.is_dir():
        pytest.skip("needs the paper's release in ../shared/paper-release")
    architecture = {"hidden_size": 16, "layers": 1, "heads": 2, "ffn_dim": 16, "position_buckets": 16, "init_std": 0.5, "vocab_size": 400}
    prompts = json.loads((release / "prompts/helpful_prompts.json").read_text())
    tokenizer = train_tokenizer(prompts, 400, "<s> $A </s>", "<s> $A </s> $B </s>")
    judge = build_judge(architecture, len(tokenizer), 1).eval()
    save_model(tmp_path / "judge/manifest.json", judge, tokenizer, {})
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
