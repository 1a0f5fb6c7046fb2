"""Responses that come from files: what reads them is planned, and follows their content."""

import json
import re

import pyarrow.parquet as pq
import yaml
from endpoint_server import Server
from page_reader import unsourced, untrue
from small_studies import SMALL_DEMO, small_study
from staleness import ANALYSIS
from study_folder import StudyFolder


def test_responses_from_a_file_rerun_their_import_their_scores_and_the_analysis(tmp_path):
    # a file answers for api; sft is trained as before, but its responses come from a file of each seed; nothing is measured on api
    folder = StudyFolder(tmp_path)
    mine = {"api": {"path": "api.csv", "parent": "sft"}, "sft": {"path": "sft-{seed}.csv"}}
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump({"responses": mine}))
    folder.options = ("--configfile", "config/config.yaml", "mine.yaml")
    (tmp_path / "api.csv").write_text("api")
    (tmp_path / "sft-42.csv").write_text("sft")
    assert "generate_responses sft 42" not in folder.planned() and "train_sft sft 42" in folder.planned()
    assert {job for job in folder.planned() if "api" in job} == {"import_responses api 0", "score_responses deberta api 0"}
    folder.pretend_done()
    for name, policy in (("api", "api 0"), ("sft-42", "sft 42")):
        (tmp_path / f"{name}.csv").write_text("another")
        assert folder.planned() == {f"import_responses {policy}", f"score_responses deberta {policy}"} | ANALYSIS
        (tmp_path / f"{name}.csv").write_text(name[:3])
    for more in ("layout: openai", "only: {epoch: 1}", "clean: [think]", "columns: {finish: why}"):
        with folder.edited("mine.yaml", "parent: sft", f"parent: sft\n    {more}"):
            assert folder.planned() == {"import_responses api 0", "score_responses deberta api 0"} | ANALYSIS
    done = folder.run("--dry-run", "results/paper/policies/api/seed-0/manifest.json")
    assert done.returncode and "No rule to produce" in done.stdout
    assert "api has no seed 42 in study paper. Allowed: 0." in folder.run("--dry-run", "results/paper/responses/api/seed-42.parquet").stdout
    assert "api has no weights in study paper" in folder.run("--dry-run", "results/paper/drift/api/seed-0.parquet").stdout


def test_a_study_of_files_alone_trains_and_loads_no_policy(tmp_path):
    folder = StudyFolder(tmp_path, "--configfile", "config/config.yaml", "mine.yaml")
    policies = {"base": {}, "sft": None, "dpo": None, "sft_dpo": None}
    analysis = {"primary": None, "contrasts": [["other", "base"]]}
    responses = {"base": {"path": "one.csv"}, "other": {"path": "two.csv"}}
    config = {"policies": policies, "responses": responses, "drift": None, "claims": None, "analysis": analysis, "compute": {"shards": 2}}
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(config))
    (tmp_path / "one.csv").touch()
    (tmp_path / "two.csv").touch()
    jobs = folder.planned()
    assert {"import_responses base 0", "import_responses other 0"} <= jobs
    assert not [job for job in jobs if job.startswith(("train_", "generate_", "import_base", "measure_", "fetch_hub models facebook"))]


def test_responses_of_ones_own_get_the_whole_analysis(tmp_path, monkeypatch):
    # no policy is loaded: prompts out, two files in, scores, comparisons, pages; a hostile text stays a text. A pairwise judge prefers what
    # is empty to half of it, and else what stands first
    with Server.running(monkeypatch) as server:
        server.reply = lambda text: "AB"["<reply_b>\n\n<" in text] if len(text) % 2 else "A"
        analyse_own_responses(tmp_path, server)


def analyse_own_responses(tmp_path, server):
    small = SMALL_DEMO | {
        "policies": {"base": {}} | dict.fromkeys(["sft", "dpo", "sft_dpo", "sft_dpo_coin", "sft_dpo_reversed"]),
        "responses": {"base": {"path": "base.jsonl"}, "api": {"path": "api.json", "layout": "openai"}},
        "analysis": {"contrasts": [["api", "base"]], "primary": ["api", "base"], "labels": None},
        "drift": None,
        "claims": None,
        "seeds": [1, 2],
        "judges": SMALL_DEMO["judges"] | {"referee": {"source": "endpoint", "asks": "preference", "url": server.url, "model": "m"}},
    }
    folder = small_study(tmp_path, "demo", small)
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
    printed = folder.succeed("--printshellcmds")
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
    (choices,) = results.glob("choices/referee/api/base/seed-*.parquet")
    outcomes = {row["prompt_id"]: row["outcome"] for row in pq.read_table(choices).to_pylist()}
    assert set(outcomes.values()) == {"against", "inconsistent"} and len(server.asked) == 2 * len(prompts) == 2 * len(outcomes)
    harmful = [outcome for name, outcome in outcomes.items() if name.startswith("harmlessness")]
    wins = {
        row["seed"]: row["only_a"]
        for row in contrasts
        if (row["judge"], row["metric"]) == ("referee", "win_rate_harmful") and row["n_seeds"] == 1
    }
    assert wins == dict.fromkeys([1, 2], harmful.count("against"))
    summary = " ".join((results / "report/summary.txt").read_text().split())
    assert re.search(r"By judge referee, wins less losses in % of harmful prompts: api against base( !)? -\d", summary), summary
    assert 'id="pairwise"' in page.read_text() and "prefers the first" in page.read_text()
    assert not (results / "models/base").exists() and folder.planned() == set()
