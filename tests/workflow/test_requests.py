"""What a user asks for: the jobs of one artifact, another study beside a finished one, and one message where a request is wrong."""

import json
import shlex

import pytest
from study_folder import StudyFolder


def test_another_study_does_not_repeat_a_download(paper):
    # its timing lies in the folder of the study that made it
    jobs = paper.planned("--config", "study=other")
    assert "prepare_preferences hh" in jobs and not [job for job in jobs if job.startswith("fetch_hub")]


def test_one_artifact_builds_only_its_ancestors(tmp_path):
    # no SFT for the DPO policy's rewards
    folder = StudyFolder(tmp_path)
    assert folder.planned("results/paper/rewards/deberta/dpo/seed-42.parquet") == {
        "fetch_hub datasets Anthropic--hh-rlhf 09be8c5bbc57cb3887f3a9732ad6aa7ec602a1fa manifest-a70cf802",
        "fetch_hub models facebook--opt-350m 061d15c4d9cc3e25b93c0393d0bcca4934eaa033 manifest",
        "fetch_hub models OpenAssistant--reward-model-deberta-v3-large-v2 c355404efa9ad2ad069f3a197cae0523c14244fc manifest",
        "prepare_preferences hh", "select_prompts", "import_base", "import_judge deberta", "compute_references dpo base 0",
        "train_dpo dpo 42", "generate_responses dpo 42", "score_responses deberta dpo 42",
    }  # fmt: skip


def test_records_are_made_where_they_are_asked_for_and_an_organization_reruns_them_alone(own_paper):
    assert own_paper.planned("export") == {"export_records"}
    named = ["--config", "export={organization: Some Lab}"]
    assert own_paper.planned(*named) == set()
    assert "data/paper/Some-Lab/paper-sft-seed-42/" in own_paper.run("--dry-run", *named, "--", "export").stdout


def test_records_name_a_policy_of_the_hub_as_the_hub_does_and_say_who_made_it(tmp_path):
    folder = StudyFolder(tmp_path)
    (tmp_path / "mine.yaml").write_text(
        "policies: {theirs: {source: hub, repo: owner/name, revision: 0123456789abcdef0123456789abcdef01234567}}"
    )
    printed = folder.succeed("--dry-run", "--printshellcmds", "--configfile", "config/config.yaml", "mine.yaml", "--", "export")
    assert "data/paper/owner/name/" in printed and "data/paper/local/paper-sft-seed-42/" in printed
    words = shlex.split(printed[printed.index("hh_align.report.export_records") :].partition("2>&1")[0].replace("\\\n", " "))
    models = json.loads(words[words.index("--config") + 1])["models"]
    made = {name: (model["trained"], model["public"]) for name, model in models.items()}
    assert {name for name, facts in made.items() if facts == (False, True)} == {"base 0", "theirs 0"}
    assert made["sft 42"] == (True, False)


def test_braces_in_a_configs_texts_reach_the_steps_as_they_are(tmp_path):
    # Snakemake takes them for wildcards in a text, and the shell's commands are formatted too
    folder = StudyFolder(tmp_path)
    part = "{higher: sft, than: [base], metrics: [HmR]}"
    (tmp_path / "mine.yaml").write_text(f"""
prompts: {{harmlessness: {{keywords: ["{{kill}}", "{{{{x}}}}"]}}}}
models: {{base: {{notice: "Copyright {{2022}} {{threads}}"}}}}
judges: {{deberta: {{notice: "{{input.judge}}"}}}}
claims: [{{claim: "{{a}} {{0}}", source: "{{wildcards.b}}", parts: [{part}]}}]
""")
    printed = folder.succeed("--dry-run", "--printshellcmds", "--configfile", "mine.yaml")
    configs = {}
    for command in printed.split("python -m hh_align.")[1:]:
        words = shlex.split(command.partition("2>&1")[0].replace("\\\n", " "))
        configs.setdefault(words[0], []).append(json.loads(words[words.index("--config") + 1]))
    assert configs["data.select_prompts"][0]["harmlessness"]["keywords"] == ["{kill}", "{{x}}"]
    assert {entry["notice"] for entry in configs["models.write_notice"]} == {"Copyright {2022} {threads}", "{input.judge}", ""}
    assert {claim["claim"]: claim["source"] for claim in configs["analysis.check_claims"][0]["claims"]} == {"{a} {0}": "{wildcards.b}"}


def test_a_judges_logs_are_a_file_for_each_policy_seed_and_axis(tmp_path):
    folder = StudyFolder(tmp_path)
    (tmp_path / "logs.yaml").write_text("""
judges:
  graded: {source: imported, path: "logs/{policy}-{seed}/samples_{axis}.jsonl", score: acc, harmless_min: 0.5, helpful_above: 0.5}
""")
    asked = ("--configfile", "logs.yaml", "--", "rewards")
    policies, axes = (("base", 0), ("sft", 42), ("dpo", 42), ("sft_dpo", 42)), ("harmlessness", "helpfulness")
    *paths, last = [f"logs/{policy}-{seed}/samples_{axis}.jsonl" for policy, seed in policies for axis in axes]
    assert "is not there, nor are 7 more, and import_ratings reads it." in folder.run("--dry-run", *asked).stdout
    for path in paths:
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).touch()
    done = folder.run("--dry-run", *asked)
    assert done.returncode != 0 and f"{last} is not there, and import_ratings reads it." in done.stdout
    (tmp_path / last).touch()
    assert "import_ratings graded" in folder.planned(*asked)


def test_a_demo_artifact_needs_no_sft_either(tmp_path):
    folder = StudyFolder(tmp_path, "--configfile", "config/demo.yaml")
    jobs = folder.planned("results/demo/rewards/small/dpo/seed-42.parquet")
    assert not any(job.startswith("train_sft") for job in jobs)
    assert "train_dpo dpo 42" in jobs


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["results/demo/report/summary.txt"], "Add: --configfile config/demo.yaml"),
        (["results/paper/policies/sft/seed-7/manifest.json"], "sft has no seed 7 in study paper. Allowed: 42"),
        (["results/paper/responses/base/seed-42.parquet"], "base has no seed 42 in study paper. Allowed: 0"),
        (["--config", "methods={sft: {learning_rate: 5e-7}}"], "methods.sft.learning_rate is the text '5e-7'"),
        (["--config", "methods={sft: {lr: 1}}"], "methods.sft has no key lr. Allowed:"),
        (["--config", "policies={x: {parent: nope, method: sft}}"], "policies.x.parent is nope"),
        (["--config", "study=../x"], "study is '../x'"),
    ],
)
def test_a_wrong_request_ends_with_one_message(tmp_path, arguments, said):
    done = StudyFolder(tmp_path).run("--dry-run", *arguments)
    assert done.returncode != 0
    assert said in done.stdout
    assert "raise WorkflowError" not in done.stdout
    assert not (tmp_path / "results").exists()


def test_a_study_is_held_against_another_ones_folder(tmp_path):
    """`reproduction.folder` may lie under results/: its files are read as they are and belong to the study that made them."""
    folder = StudyFolder(tmp_path)
    other = ["--config", "reproduction={folder: results/published, judges: [deberta]}"]
    names = [f"{kind}/{policy}.parquet" for kind in ("responses", "rewards/deberta") for policy in ("base/seed-0", "sft/seed-42")]
    for name in ["prompts/prompts.parquet", *names, *(name.replace("sft", policy) for policy in ("dpo", "sft_dpo") for name in names)]:
        path = tmp_path / "results/published" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    jobs = folder.planned(*other)
    assert {"compare_runs", "export_csv reproduction", "export_csv reproduction_summary"} <= jobs
    (tmp_path / "results/published/prompts/prompts.parquet").unlink()
    assert "results/published/prompts/prompts.parquet" in folder.run("--dry-run", *other).stdout
