"""Configs: the shipped ones are valid, wrong ones end with one message that names the key."""

import copy

import pytest
from configs import SCHEMA, load
from study_folder import REPOSITORY

from hh_align.config.graph import policy_order, uncompared
from hh_align.config.resolve import resolve
from hh_align.core.errors import StudyError


@pytest.mark.parametrize("name", sorted(path.stem for path in (REPOSITORY / "config").glob("*.yaml")))
def test_shipped_configs_are_valid(name):
    resolve(load(name), SCHEMA)


def test_the_papers_numbers_are_in_the_default_config():
    # the study is reproduced to the letter only while these stand
    config = resolve(load("config"), SCHEMA)
    sft, dpo = config["methods"]["sft"], config["methods"]["dpo"]
    assert [sft[key] for key in ("epochs", "learning_rate", "batch_size", "max_length", "loss_on", "rows")] == [
        2,
        2e-5,
        8,
        512,
        "transcript",
        "all",
    ]
    assert [dpo[key] for key in ("epochs", "learning_rate", "batch_size", "max_length", "max_prompt_length", "beta")] == [
        1,
        2e-5,
        8,
        1024,
        512,
        0.1,
    ]
    assert dpo["lora"] == {"r": 8, "alpha": 16, "dropout": 0.0, "targets": ["q_proj", "v_proj"]}
    assert [config["generation"][key] for key in ("max_new_tokens", "dtype", "lead", "cue")] == [50, "float32", False, False]
    judge = config["judges"]["deberta"]
    assert (judge["harmless_min"], judge["helpful_above"], "max_length" in judge) == (-3.0, -2.0, False)


def test_policies_follow_the_graph_not_the_file():
    config = resolve(load("config"), SCHEMA)
    config["policies"] = dict(reversed(config["policies"].items()))
    assert policy_order(config) == ["base", "sft", "dpo", "sft_dpo"]


def test_policies_of_a_file_stand_behind_those_of_the_graph():
    # and may be contrasted with any of them
    responses = {"api": {"path": "a.csv"}, "sft": {"path": "s.csv"}, "tuned": {"path": "t-{seed}.csv", "parent": "api"}}
    config = load("config") | {"responses": responses}
    config["analysis"] |= {"contrasts": [["tuned", "api"], ["api", "sft_dpo"]], "primary": None}
    config = resolve(config, SCHEMA)
    assert policy_order(config) == ["base", "sft", "dpo", "sft_dpo", "api", "tuned"]
    assert uncompared(config) == ["base", "sft", "dpo"]
    assert uncompared(config | {"analysis": config["analysis"] | {"all_pairs": True}}) == []
    with pytest.raises(StudyError, match=r"responses.sft.path needs \{seed\} in it: sft has 2 seeds"):
        resolve(config | {"seeds": [1, 2]}, SCHEMA)
    with pytest.raises(StudyError, match="cannot stand beside a release"):
        resolve(load("published") | {"responses": {"api": {"path": "a.csv"}}}, SCHEMA)


def set_at(config, path, value):
    *parents, last = path.split(".")
    for key in parents:
        config = config[key]
    config[last] = value


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        ("methods.sft.learning_rate", "5e-7", r"methods.sft.learning_rate is the text '5e-7'.*write 5.0e-7"),
        ("methods.sft.learnin_rate", 1, r"methods.sft has no key learnin_rate. Allowed: .*learning_rate"),
        ("methods.sft.trainer", "orpo", r"methods.sft.trainer is 'orpo'. Allowed: sft, dpo, kto"),
        ("methods.dpo.loss", "nca", r"methods.dpo.loss is 'nca'.*Allowed: sigmoid"),
        ("methods.dpo.micro_batch", 3, r"methods.dpo.batch_size \(8\) is no multiple of micro_batch \(3\)"),
        ("methods.dpo.max_prompt_length", 1024, r"methods.dpo.max_prompt_length leaves no room"),
        ("models.base.revision", "main", r"models.base.revision is 'main'.*40 hexadecimal"),
        ("policies.x", {"parent": "nope", "method": "sft"}, r"policies.x.parent is nope.*Allowed: base, dpo, sft, sft_dpo"),
        ("policies.x", {"parent": "base", "method": "nope"}, r"policies.x.method is nope.*Allowed: dpo, sft"),
        ("policies.x", {"parent": "base", "method": "sft", "data": "nope"}, r"policies.x.data is nope.*Allowed: hh"),
        ("policies.x", {"parent": "base"}, r"policies.x lacks the key method or generation"),
        ("policies.sft", {"parent": "sft_dpo", "method": "sft"}, r"has a cycle"),
        ("policies.y", {}, r"exactly one root.*base, y"),
        ("policies.Ä", {"parent": "base", "method": "sft"}, r"policies"),
        ("study", "../elsewhere", r"study is '../elsewhere'"),
        ("study", "hub", r"study is 'hub'"),
        ("seeds", [], r"seeds is \[\].*1 or more entries"),
        ("datasets.hh.source", "s3", r"datasets.hh.source is 's3'. Allowed: hub, local, synthetic"),
        ("datasets.coin", {"from": "hh", "labels": "con"}, r"datasets.coin.labels is 'con'.*Allowed: true, noisy, coin, reversed"),
        ("datasets.coin", {"from": "nope"}, r"datasets.coin.from is nope"),
        ("prompts.harmlessness.subset", "nope", r"prompts.harmlessness.subset is nope.*harmless-base"),
        ("judges.x", {"source": "released", "harmless_min": 0, "helpful_above": 0}, r"judges.x.source is released, but"),
        ("judges.deberta.harmless_min", None, r"judges.deberta lacks the key harmless_min"),
        ("analysis.contrasts", [["dpo", "nope"]], r"analysis.contrasts\[1st\] is nope"),
        ("analysis.contrasts", [["dpo", "base"]], r"analysis.primary is \[sft_dpo, sft\], which is none of analysis.contrasts. Add"),
        ("analysis.primary", ["sft", "sft_dpo"], r"analysis.primary is \[sft, sft_dpo\], which is none of .* or set primary to null\.$"),
        ("responses", {"x": {"path": "x.txt"}}, r"responses.x.path is x.txt.*Allowed: .csv, .tsv, .json, "),
        ("responses", {"x": {"path": "x.csv", "parent": "nope"}}, r"responses.x.parent is nope.*Allowed: base, dpo, sft, sft_dpo, x"),
        (
            "responses",
            {"x": {"path": "x.csv", "parent": "y"}, "y": {"path": "y.csv", "parent": "x"}},
            r"responses.x.parent leads back.*cycle",
        ),
        ("responses", {"sft": {"path": "x.csv", "parent": "base"}}, r"responses.sft.parent is given, but sft is one of `policies`"),
        ("responses", {"base": {"path": "x-{seed}.csv"}}, r"responses.base.path has \{seed\} in it, but base is the root"),
        ("policies.x", {"parent": "brought", "method": "sft"}, r"policies.x.parent is brought, which does not exist"),
    ],
)
def test_wrong_configs_name_the_key(path, value, said):
    config = copy.deepcopy(load("config"))
    set_at(config, path, value)
    with pytest.raises(StudyError, match=said) as error:
        resolve(config, SCHEMA)
    assert "\n" not in str(error.value)


def test_null_means_absent_and_defaults_fill_in():
    config = load("config")
    config["analysis"] = None
    config["judges"]["deberta"]["max_length"] = None
    resolved = resolve(config, SCHEMA)
    assert resolved["analysis"]["equivalence_margin"] == 5.0
    assert "max_length" not in resolved["judges"]["deberta"]


OF_THE_HUB = {"source": "hub", "repo": "a/b", "revision": "1" * 40}
ENDPOINT = {"source": "endpoint", "url": "https://host/v1", "model": "m", "lowest": 1, "highest": 5}


def test_a_source_of_ones_own_inherits_nothing_of_the_one_before():
    # repository, revision and licence notice are the default config's then, no fault of the user's; thresholds and subsets go with the name
    mine = {
        "models": {"base": {"source": "local", "path": "mine"}},
        "datasets": {"hh": {"source": "local", "path": "pairs"}},
        "judges": {"deberta": {"source": "local", "path": "judge"}},
    }
    config = resolve(load("config", mine), SCHEMA)
    base, pairs, judge = config["models"]["base"], config["datasets"]["hh"], config["judges"]["deberta"]
    assert base == {"source": "local", "path": "mine", "notice": "", "chat_template": False}
    assert {"repo", "revision"}.isdisjoint(pairs) and len(pairs["subsets"]) == 4
    assert {"repo", "revision"}.isdisjoint(judge) and judge["notice"] == "" and judge["harmless_min"] == -3.0


def test_another_repository_has_a_revision_and_a_notice_of_its_own():
    with pytest.raises(StudyError, match=r"models.base lacks the key revision"):
        resolve(load("config", {"models": {"base": {"repo": "a/b"}}}), SCHEMA)
    config = resolve(load("config", {"models": {"base": {"repo": "a/b", "revision": "1" * 40}}}), SCHEMA)
    assert config["models"]["base"]["notice"] == ""
    same = resolve(load("config", {"models": {"base": {"revision": "1" * 40}}}), SCHEMA)
    assert "OPT-175B" in same["models"]["base"]["notice"]


@pytest.mark.parametrize(
    ("name", "more"),
    [
        ("demo", {"models": {"base": OF_THE_HUB}}),
        ("demo", {"models": {"base": {"source": "local", "path": "mine"}}}),
        ("demo", {"datasets": {"synthetic": {"source": "local", "path": "pairs"}}}),
        ("demo", {"judges": {"small": {"source": "local", "path": "judge"}}}),
        ("demo", {"judges": {"small": OF_THE_HUB}}),
        ("config", {"judges": {"deberta": ENDPOINT}}),
        ("config", {"judges": {"deberta": {"source": "imported", "path": "ratings.csv"}}}),
        ("config", {"datasets": {"hh": {"source": "synthetic", "train_rows": {"harmless-base": 9, "helpful-base": 9}, "test_rows": {"harmless-base": 9, "helpful-base": 9}, "subsets": ["harmless-base", "helpful-base"]}}}),
        ("config", {"policies": {"sft": {"source": "local", "path": "theirs"}}}),
        ("config", {"policies": {"dpo": {"adapter": "theirs"}}}),
    ],
    ids=str,
)  # fmt: skip
def test_no_key_that_a_user_did_not_write_is_his_error(name, more):
    resolve(load(name, more), SCHEMA)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (
            {"models": {"base": {"path": "mine"}}},
            "models.base has path, which belongs to source: local, but its source is hub. Write source: local",
        ),
        (
            {"models": {"base": {"source": "local", "path": "x", "repo": "a/b"}}},
            "models.base has repo, which belongs to source: hub, but its source is local",
        ),
        (
            {"judges": {"deberta": {"url": "https://host"}}},
            "judges.deberta has url, which belongs to source: endpoint, but its source is hub",
        ),
        ({"datasets": {"hh": {"path": "x"}}}, "datasets.hh has path, which belongs to source: local, but its source is hub"),
        (
            {"policies": {"theirs": {"path": "x"}}},
            "policies.theirs has path, which belongs to source: local, but it has none. Write source: local",
        ),
    ],
    ids=str,
)
def test_what_a_user_wrote_is_answered_in_his_words(more, said):
    with pytest.raises(StudyError) as error:
        resolve(load("config", more), SCHEMA)
    assert said in str(error.value)


HEAD = {
    "source": "local",
    "path": "pairs",
    "subsets": ["shop", "safety"],
    "columns": {"chosen": "good"},
    "axes": {"safety": "harmlessness"},
}
SPLIT = {"where": {"shop": {"topic": "a"}, "safety": {"topic": "b"}}}
RATED = {"source": "imported", "path": "a.csv", "columns": {"reward": "score"}, "axes": {"harm": "harmlessness"}, "harmless_min": 0.0, "helpful_above": 0.0}  # fmt: skip


@pytest.mark.parametrize(
    ("section", "before", "after"),
    [
        ("judges", ENDPOINT | {"failed": "lowest", "harmless_min": 3.0, "helpful_above": 3.0}, {"url": "http://localhost:8001/v1"}),
        ("judges", RATED, {"path": "b.csv"}),
        ("datasets", HEAD | SPLIT, {"path": "fewer"}),
        ("datasets", HEAD | {"source": "hub", "repo": "a/b", "revision": "1" * 40, "layout": "datasets", "path": None} | SPLIT | {"config": "c", "split_names": {"train": "t"}}, {"repo": "a/c", "revision": "2" * 40}),
    ],
    ids=str,
)  # fmt: skip
def test_the_same_kind_of_source_elsewhere_is_read_as_before(section, before, after):
    # a copy of the files, a server at another port: as if the second file's lines stood in the first
    config = resolve(load("config", {section: {"mine": before}}, {section: {"mine": after}}), SCHEMA)
    assert config[section]["mine"] == resolve(load("config", {section: {"mine": before | after}}), SCHEMA)[section]["mine"]


def test_a_policy_of_other_weights_inherits_nothing_of_those_before():
    theirs = {"policies": {"theirs": {"source": "local", "path": "theirs", "notice": "MIT"}}}
    config = resolve(load("config", theirs, {"policies": {"theirs": {"parent": "base", "adapter": "lora"}}}), SCHEMA)
    assert config["policies"]["theirs"] == {"parent": "base", "adapter": "lora"}
    config = resolve(load("config", theirs, {"policies": {"theirs": {"parent": "base", "method": "dpo"}}}), SCHEMA)
    assert config["policies"]["theirs"] == {"parent": "base", "method": "dpo"}


@pytest.mark.parametrize(
    ("judge", "said"),
    [
        ({"asks": "preference", "lowest": 1}, r"judges.mine has no key lowest. Allowed: .*rubric"),
        ({"source": "hub"}, r"judges.mine has model, which belongs to source: endpoint, but its source is hub"),
    ],
)
def test_a_key_of_the_judges_own_source_is_not_said_to_be_anothers(judge, said):
    with pytest.raises(StudyError, match=said):
        resolve(load("config", {"judges": {"mine": {"source": "endpoint", "url": "https://host/v1", "model": "m"} | judge}}), SCHEMA)


def test_numbers_nested_on_the_command_line_are_numbers():
    # Snakemake reads --config 'prompts={harmlessness: {n: 20}}' as texts
    config = load("config")
    config["prompts"]["harmlessness"]["n"], config["seeds"] = "20", ["1", "2"]
    config["models"]["base"] = {"source": "local", "path": "somewhere"}
    resolved = resolve(config, SCHEMA)
    assert (resolved["prompts"]["harmlessness"]["n"], resolved["seeds"]) == (20, [1, 2])
    assert resolved["models"]["base"] == {"source": "local", "path": "somewhere", "notice": "", "chat_template": False}


def test_the_demos_labels_belong_to_the_demo():
    with pytest.raises(
        StudyError,
        match=r"study is mine, and analysis.labels.path is results/demo/.*, which study demo makes. Write here analysis: {labels: {path: results/mine/",
    ):
        resolve(load("demo", {"study": "mine"}), SCHEMA)
    resolve(load("demo", {"study": "mine", "analysis": {"labels": {"path": "results/mine/analysis/oracle_labels.parquet"}}}), SCHEMA)
    resolve(load("demo", {"study": "mine", "analysis": {"labels": None}}), SCHEMA)
