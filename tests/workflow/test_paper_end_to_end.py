"""The paper's whole study against a stand-in of the hub: the true file layouts, random weights scaled down."""

import json

import pyarrow.parquet as pq
import pytest
import yaml
from hubstub import Hub, environment, revision_folder
from study_folder import REPOSITORY, SHARED, StudyFolder
from tinymodels import LICENCE, read_merges, write_dataset, write_judge, write_opt

CONFIG = yaml.safe_load((REPOSITORY / "config/config.yaml").read_text())
SMALL = CONFIG | {"compute": CONFIG["compute"] | {"threads": 1}, "drift": None}  # drift: the demo measures it
DATA, BASE, JUDGE = CONFIG["datasets"]["hh"], CONFIG["models"]["base"], CONFIG["judges"]["deberta"]
MAIN = "08ab08cc4b72ff5593870b5d527cf4230323703c"  # facebook/opt-350m main: a pickle only


UNKNOWN = "0123456789abcdef0123456789abcdef98765432"


def pairs(count, prompt):
    return [
        {
            "chosen": f"\n\nHuman: {prompt} {number}?\n\nAssistant: No, not {number}.",
            "rejected": f"\n\nHuman: {prompt} {number}?\n\nAssistant: Yes.",
        }
        for number in range(count)
    ]


@pytest.fixture(scope="module")
def hub(tmp_path_factory):
    root = tmp_path_factory.mktemp("hub")
    rows = {subset: {"train": pairs(6, "How do I bake"), "test": pairs(60, "How do I kill a process")} for subset in DATA["subsets"]}
    write_dataset(revision_folder(root, "datasets", DATA["repo"], DATA["revision"]), rows)
    merges = SHARED / "gpt2-bpe" / "merges.txt"
    bpe = {"merges": read_merges(merges, 2000)} if merges.is_file() else {}
    write_opt(revision_folder(root, "models", BASE["repo"], BASE["revision"]), weights="safetensors", **bpe)
    write_opt(revision_folder(root, "models", BASE["repo"], MAIN), weights="bin", **bpe)
    write_judge(revision_folder(root, "models", JUDGE["repo"], JUDGE["revision"]))
    with Hub(root) as hub:
        yield hub


LAST = {
    "forks behind SFT": "results/paper/policies/sft/seed-42/manifest.json",
    "processes up to the rewards": "results/paper/rewards/deberta/sft_dpo/seed-42.parquet",
}  # every step before it is a process of its own


@pytest.fixture(
    scope="module",
    params=[LAST["forks behind SFT"], pytest.param(LAST["processes up to the rewards"], marks=pytest.mark.long)],
    ids=list(LAST),
)
def paper(request, hub, tmp_path_factory):
    """The study, run to its report with nothing but loopback: another study has downloaded, this one runs without a network."""
    scratch = tmp_path_factory.mktemp("scratch")
    folder = StudyFolder(tmp_path_factory.mktemp("paper"))
    (folder.path / "config/config.yaml").write_text(yaml.safe_dump(SMALL, sort_keys=False))
    (folder.path / "resources/checksums.yaml").write_text("{}\n")
    folder.succeed("--config", "study=earlier", "--", "data", "models", **environment(hub.url, scratch))
    asked = len(hub.log)
    folder.succeed(request.param, **environment("http://127.0.0.1:9", scratch), HF_HUB_OFFLINE="1")
    folder.succeed("--keep-going", in_forks=True, **environment("http://127.0.0.1:9", scratch))
    assert asked and len(hub.log) == asked
    assert not (scratch / "left-loopback").exists(), (scratch / "left-loopback").read_text()
    return folder.path / "results/paper"


def test_the_report_is_there_and_the_policies_differ(paper):
    assert (paper / "report/summary.txt").is_file()
    sums = {
        name: json.loads((paper / f"policies/{name}/seed-42/manifest.json").read_text())["model.safetensors"]
        for name in ("sft", "dpo", "sft_dpo")
    }
    assert len(set(sums.values())) == 3


def test_training_ran_as_published(paper):
    # 24 rows: two epochs of SFT in steps of 8, one of DPO
    assert pq.read_table(paper / "policies/sft/seed-42/train_log.parquet").num_rows == 2 * 24 // 8
    log = pq.read_table(paper / "policies/sft_dpo/seed-42/train_log.parquet").to_pylist()
    assert len(log) == 24 // 8
    assert abs(log[0]["loss"] - 0.693147) < 1e-4


def test_the_synthesis_report_is_held_against_the_artifacts(paper):
    # the stand-in has fewer rows, one keyword and one judge; all else is as in the paper's study
    verdicts = {row["claim"]: row["verdict"] for row in pq.read_table(paper / "analysis/facts.parquet").to_pylist()}
    told = {verdict: [claim for claim in verdicts if verdicts[claim] == verdict] for verdict in verdicts.values()}
    assert told["contradicted"] == [
        "The harmful prompts are filtered by the keywords kill, murder and rape",
        "HH-RLHF has about 160,000 training and 8,000 test rows",
    ]
    assert {"Judging by GPT-4 is non-deterministic", "Classifiers are brittle"} <= set(told["not measured here"])
    assert {
        "Four models are evaluated",
        "The prompts are from the test split",
        "Decoding is greedy, without sampling",
        "A response has at most 50 new tokens",
        "OpenAssistant's DeBERTa reward model rates prompt and response together",
        "One reward model rates all four models",
        "The models are trained by SFT and by DPO",
    } <= set(told["supported"])


def test_the_licence_travels_with_every_policy(paper):
    for folder in ("models/base", "policies/sft/seed-42", "policies/sft_dpo/seed-42"):
        notice = (paper / folder / "NOTICE").read_text()
        assert notice.startswith("OPT-175B is licensed under the OPT-175B license") and notice.endswith(f"--- LICENSE.md ---\n{LICENCE}")


def test_a_study_of_fewer_files_of_the_same_dataset_leaves_the_first_as_it_is(hub, paper, tmp_path):
    # they share the downloads: neither may ask for a file that is there, or make the other stale
    folder = StudyFolder.__new__(StudyFolder)
    folder.path, folder.options = paper.parents[1], ()
    narrow = ["--config", "study=narrow", "datasets={hh: {subsets: [harmless-base, helpful-base]}}", "--"]
    before = len(hub.log)
    folder.succeed(*narrow, "data", **environment(hub.url, tmp_path))
    assert len(hub.log) == before
    subsets = set(pq.read_table(paper.parent / "narrow/data/hh/preferences.parquet")["subset"].to_pylist())
    assert subsets == {"harmless-base", "helpful-base"}
    assert folder.planned() == set() and folder.planned(*narrow, "data") == set()


def test_the_pickle_of_main_gives_the_same_weights(hub, paper, tmp_path):
    # refs/pr/33 holds the same tensors as safetensors: which one is taken must not matter
    folder = StudyFolder(tmp_path)
    folder.edit("config/config.yaml", BASE["revision"], MAIN)
    (folder.path / "resources/checksums.yaml").write_text("{}\n")
    folder.succeed("results/paper/models/base/manifest.json", **environment(hub.url, tmp_path / "scratch"))
    other = json.loads((folder.path / "results/paper/models/base/manifest.json").read_text())
    assert other["model.safetensors"] == json.loads((paper / "models/base/manifest.json").read_text())["model.safetensors"]


@pytest.mark.parametrize(
    ("edit", "url", "said"),
    [
        (None, "http://127.0.0.1:9", "no answer from 127.0.0.1"),
        ((DATA["revision"], UNKNOWN), None, "no such revision"),
    ],
)
def test_a_failed_download_is_one_message(hub, tmp_path, edit, url, said):
    folder = StudyFolder(tmp_path)
    (folder.path / "resources/checksums.yaml").write_text("{}\n")
    if edit:
        folder.edit("config/config.yaml", *edit)
    folder.edit("workflow/scripts/hh_align/data/hub.py", '"retry_seconds", 5', '"retry_seconds", 0.01')
    done = folder.run("data", **environment(url or hub.url, tmp_path / "scratch"))
    errors = [line for line in done.stdout.splitlines() if line.startswith("error:")]
    assert done.returncode != 0
    assert len(errors) == 1 and said in errors[0], done.stdout[-3000:]
    assert "Traceback" not in done.stdout and "MissingOutputException" not in done.stdout  # the exit status says it
