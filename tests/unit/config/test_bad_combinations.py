"""Bad configs: parts that each are right, but do not belong together; and the message as Snakemake shows it."""

import copy
import os

import pytest
from configs import SCHEMA
from hypothesis import strategies as st
from study_folder import StudyFolder
from whole_configs import CLASSES, ENDPOINT, LOCAL_JUDGE, NEW_DPO, OF_A_LABEL, REFEREE, WHOLE, dotted, drawn

from hh_align.config.resolve import resolve
from hh_align.core.errors import StudyError


@st.composite
def cyclic_graphs(draw):
    """A root, a chain below it and a ring that hangs together with it or not."""
    names = [f"p{number}" for number in range(draw(st.integers(1, 6)))]
    ring = {name: names[(number + 1) % len(names)] for number, name in enumerate(names)}
    tail = {f"t{number}": draw(st.sampled_from(names)) for number in range(draw(st.integers(0, 3)))}
    order = draw(st.permutations(["base", *ring, *tail]))
    return {name: {} if name == "base" else {"parent": (ring | tail)[name], "method": "sft"} for name in order}


def test_no_cycle_in_the_policies_passes():
    def check(policies):
        config = copy.deepcopy(WHOLE["config"])
        config["policies"] = policies
        with pytest.raises(StudyError, match=r"config: policies\.\w+\.parent leads back to .*the graph has a cycle"):
            resolve(config, SCHEMA)

    drawn(cyclic_graphs(), check, 60)


@pytest.mark.parametrize(
    ("name", "path", "value", "said"),
    [
        ("config", ("policies",), {}, "policies"),
        ("config", ("policies",), {"a": {}, "b": {}}, "policies needs exactly one root.*a, b"),
        ("config", ("policies", "sft", "parent"), "sft", "policies.sft.parent leads back to sft: the graph has a cycle \\(sft -> sft\\). Give one of them another parent, such as base\\.$"),
        ("config", ("policies", "sft"), {"method": "sft"}, "policies.sft .* needs both parent and method"),
        ("config", ("policies", "sft"), {"data": "hh"}, "policies.sft .* needs both parent and method"),
        ("config", ("datasets", "half", "from"), "half", "datasets.half.from is half, itself derived"),
        ("config", ("datasets", "half", "hash_range"), {"helpful-base": [0.5, 0.5]}, r"datasets.half.hash_range.helpful-base is \[0.5, 0.5\], which holds"),
        ("config", ("datasets", "half", "hash_range"), {"nope": [0, 0.5]}, "datasets.half.hash_range is nope, which does not exist"),
        ("config", ("datasets", "half", "training_half"), ["nope"], "datasets.half.training_half is nope.*Allowed: harmless-base"),
        ("config", ("datasets", "half", "deduplicate"), "exact", "datasets.half.near needs deduplicate: near beside it"),
        ("config", ("datasets", "half", "balance_length"), False, "datasets.half.balance_seed needs balance_length: true beside it"),
        ("config", ("datasets", "half", "judge_margin", "judge"), "nope", "datasets.half.judge_margin.judge is nope.*Allowed: deberta, head, own"),
        ("config", ("datasets", "half", "ches", "max_prompt_length"), 1024, "datasets.half.ches.max_prompt_length leaves no room"),
        ("demo", ("models", "base", "data"), "clean", "datasets.clean needs itself: clean -> the base model -> clean"),
        ("demo", ("prompts", "dataset"), "clean", "datasets.clean needs itself: clean -> the evaluation prompts -> clean"),
        ("demo", ("judges", "small", "data"), "clean", "datasets.clean needs itself: clean -> judge small -> clean"),
        ("config", ("datasets", "hh", "splits"), ["test"], "datasets.half.train_split is train, which is not read"),
        ("config", ("datasets", "hh", "splits"), ["train"], "prompts.harmlessness.split is test"),
        ("config", ("datasets", "hh", "subsets"), ["helpful-base"], "prompts.harmlessness.subset is harmless-base"),
        ("config", ("datasets", "hh", "subsets"), ["a", "a"], "datasets.hh.subsets is .*an entry stands twice"),
        ("config", ("seeds",), [1, 1], r"seeds is \[1, 1\].*an entry stands twice"),
        ("config", ("analysis", "primary"), ["sft", "sft"], "analysis.primary is .*an entry stands twice"),
        ("config", ("analysis", "primary"), ["sft"], "analysis.primary is .*2 or more entries"),
        ("config", ("analysis", "primary"), ["sft", "base", "HmP"], "analysis.primary\\[3rd\\] is 'HmP'.*Allowed: HmR, HpR, CAS"),
        ("config", ("analysis", "primary"), ["sft", "nope", "HmR"], "analysis.primary is nope.*Allowed: .*base, dpo"),
        ("config", ("analysis", "contrasts"), [["sft", "base", "dpo"]], "analysis.contrasts\\[1st\\] is .*2 or fewer entries"),
        ("config", ("analysis", "contrasts"), [["sft", "base"]] * 2, "analysis.contrasts is .*an entry stands twice"),
        ("config", ("analysis", "labels"), {"sample": 5}, "analysis.labels lacks the key path or choices"),
        ("config", ("methods", "sft", "micro_batch"), 3, "methods.sft.batch_size .* no multiple of micro_batch"),
        ("config", ("compute", "processes"), 2, r"methods.sft.micro_batch .* compute.processes \(2\) cannot share"),
        ("config", ("methods", "dpo", "max_prompt_length"), 2000, "methods.dpo.max_prompt_length leaves no room"),
        ("config", ("methods", "kto", "max_prompt_length"), 1024, "methods.kto.max_prompt_length leaves no room"),
        ("config", ("methods", "kto", "batch_size"), 1, "methods.kto.batch_size is 1.*at least 2"),
        ("config", ("methods", "kto", "micro_batch"), 3, "methods.kto.batch_size .* no multiple of micro_batch"),
        ("config", ("methods", "kto", "undesirable_weight"), 0, "methods.kto.undesirable_weight is 0.*more than 0"),
        ("config", ("methods", "kto", "loss"), "sigmoid", "methods.kto has no key loss"),
        ("config", ("methods", "kto", "label_smoothing"), 0.1, "methods.kto has no key label_smoothing"),
        ("config", ("methods", "kto", "sft_weight"), 0.1, "methods.kto has no key sft_weight"),
        ("config", ("methods", "kto", "dropout"), "disabled", "methods.kto has no key dropout"),
        ("config", ("methods", "dpo", "desirable_weight"), 1.0, "methods.dpo has no key desirable_weight"),
        ("config", ("methods", "dpo", "loss"), "hinge", "methods.dpo.label_smoothing is 0.1, but loss hinge has none. Allowed: loss sigmoid, robust"),
        ("config", ("methods", "dpo", "loss"), "ipo", "methods.dpo.label_smoothing is 0.1, but loss ipo has none"),
        ("config", ("methods", "dpo", "loss"), "apo_zero", "methods.dpo.label_smoothing is 0.1, but loss apo_zero has none"),
        ("config", ("methods", "dpo", "loss"), "sigmoid_norm", "methods.dpo.label_smoothing is 0.1, but loss sigmoid_norm has none"),
        ("config", ("methods", "noisy"), {**NEW_DPO, "loss": "robust"}, "methods.noisy.label_smoothing is 0, but loss robust needs"),
        ("config", ("methods", "noisy"), {**NEW_DPO, "loss": "robust", "label_smoothing": 0.5}, "methods.noisy.label_smoothing is 0.5 .*less than 0.5"),
        ("config", ("methods", "full"), {**NEW_DPO, "dropout": "as_published"}, "methods.full.dropout is as_published, which needs methods.full.lora"),
        ("config", ("methods", "dpo", "dropout"), "as_published", "methods.dpo.sft_weight is 0.5, but dropout as_published"),
        ("config", ("methods", "dpo", "lora", "targets"), "every", "methods.dpo.lora.targets is 'every' .*it must match .all-linear"),
        ("config", ("judges", "own"), {"source": "released", "harmless_min": 0, "helpful_above": 0}, "judges.own.source is released, but"),
        ("config", ("judges", "own"), {**LOCAL_JUDGE, "axis": "helpfulness"}, "judges.own.harmless_min belongs to harmlessness, but the judge's axis is helpfulness"),
        ("config", ("judges", "own"), {**LOCAL_JUDGE, "label": "toxic"}, "judges.own.label has no meaning with output: reward"),
        ("config", ("judges", "own"), {**LOCAL_JUDGE, "scale": "logit"}, "judges.own.scale has no meaning with output: reward"),
        ("config", ("judges", "own"), {**OF_A_LABEL, "attribute": "1"}, "judges.own.attribute has no meaning with output: label"),
        ("config", ("judges", "llm"), {**ENDPOINT, "lowest": 10}, r"judges.llm.lowest .* is not below highest"),
        ("config", ("judges", "llm"), {**ENDPOINT, "url": "http://host/v1"}, "judges.llm.url is http://host/v1: a key goes over https only"),
        ("config", ("judges", "llm"), {**ENDPOINT, "url": "https://me:secret@host/v1"}, "judges.llm.url"),
        ("config", ("judges", "llm"), {**ENDPOINT, "key": "secret"}, "judges.llm has no key key"),
        ("config", ("judges", "llm"), {**ENDPOINT, "price_out": None}, "judges.llm needs both price_in and price_out"),
        ("config", ("judges", "llm"), {**CLASSES, "lowest": 1}, "judges.llm has both classes and lowest: its answers are words or numbers"),
        ("config", ("judges", "llm"), {**CLASSES, "classes": {"Safe": 1, "safe": 0}}, "judges.llm.classes has names that differ in the case"),
        ("config", ("judges", "llm"), {**CLASSES, "classes": None}, r"judges.llm lacks the key lowest, highest \(or classes"),
        ("config", ("judges", "llm"), {**ENDPOINT, "highest": None}, r"judges.llm lacks the key highest \(or classes"),
        ("config", ("judges", "llm"), {**ENDPOINT, "asks": "preferences"}, "judges.llm.asks is 'preferences'.*Allowed: rating, preference"),
        ("config", ("judges", "llm"), {**REFEREE, "lowest": 1}, "judges.llm has no key lowest"),
        ("config", ("judges", "llm"), {**REFEREE, "harmless_min": 1}, "judges.llm has no key harmless_min"),
        ("config", ("judges", "llm"), {**REFEREE, "failed": "lowest"}, "judges.llm.failed is 'lowest'.*Allowed: error, tie"),
        ("config", ("judges", "llm"), {**REFEREE, "url": "http://host/v1"}, "judges.llm.url is http://host/v1: a key goes over https only"),
        ("config", ("judges",), {"llm": REFEREE}, "judges has llm only, asked for preferences: a study needs one judge that gives rewards, too"),
        ("config", ("overrefusal",), {"judge": "own"}, "overrefusal.judge is own, which has no label"),
        ("published", ("overrefusal",), {}, "overrefusal has policies answer questions, but a release has no weights"),
        ("config", ("reproduction", "judges"), ["nope"], "reproduction.judges is nope"),
        ("config", ("study",), "verdict", "study is 'verdict'"),
        ("demo", ("models", "base", "pretraining", "micro_batch"), 16, "models.base.pretraining.batch_size .* no multiple"),
        ("demo", ("judges", "small", "training", "micro_batch"), 5, "judges.small.training.batch_size .* no multiple"),
        ("demo", ("models", "base", "architecture", "heads"), 3, "models.base.architecture.hidden_size .* no multiple of heads"),
        ("demo", ("judges", "small", "architecture", "heads"), 3, "judges.small.architecture.hidden_size .* no multiple of heads"),
        ("demo", ("models", "base", "architecture", "max_positions"), 128, "models.base.pretraining.max_length .* is more than .*max_positions"),
        ("demo", ("methods", "sft", "max_length"), 1024, "methods.sft.max_length .* is more than models.base.architecture.max_positions"),
        ("demo", ("generation", "max_new_tokens"), 512, "generation.max_new_tokens .* leaves no room for a prompt"),
        ("demo", ("datasets", "raw", "splits"), ["test"], "datasets.raw.train_split is train, which is not read, and models.base trains on it"),
        ("demo", ("datasets", "synthetic", "test_rows"), {"helpful-base": 5}, "datasets.synthetic.test_rows lacks the key harmless-base"),
        ("config", ("policies", "adapted", "method"), "sft", "policies.adapted.method stands beside an adapter"),
        ("config", ("policies", "adapted", "parent"), "sft", "policies.adapted.adapter lies on sft, which is trained here"),
        ("config", ("policies", "adapted"), {"adapter": "x"}, "policies.adapted .* one with an adapter parent and adapter"),
        ("config", ("policies", "local", "method"), "sft", "policies.local has no key method"),
        ("config", ("policies", "base"), {"source": "local", "path": "x"}, "policies needs exactly one root .*whose weights are models.base.; found none"),
        ("config", ("policies", "local", "file"), "a.bin", "policies.local.file is 'a.bin'"),
        ("published", ("policies", "theirs"), {"source": "local", "path": "x"}, "policies.theirs has weights, but a study of a release reads none"),
        ("demo", ("methods", "dpo", "lora", "targets"), ["q_proj", "lm_head"], "methods.dpo.lora.targets names lm_head, but .* share their weights"),
        ("published", ("release", "judge"), "other", "release.judge is other"),
        ("published", ("release", "path"), "", "release.path is ''"),
        ("published", ("judges", "more"), {**LOCAL_JUDGE, "source": "released"}, "judges.more"),
    ],
    ids=lambda value: dotted(value) if isinstance(value, tuple) else "",
)  # fmt: skip
def test_parts_that_do_not_belong_together_are_refused(name, path, value, said):
    config = copy.deepcopy(WHOLE[name])
    holder = config
    for key in path[:-1]:
        holder = holder[key]
    holder[path[-1]] = value
    with pytest.raises(StudyError, match=f"config: .*{said}") as error:
        resolve(config, SCHEMA)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("methods: {sft: {learning_rate: 5e-7}}", "config: methods.sft.learning_rate is the text '5e-7'"),
        ("study: ../elsewhere", "config: study is '../elsewhere'"),
        ("models: {base: {trust_remote_code: true}}", "config: models.base has no key trust_remote_code"),
        ("policies: {sft: {parent: sft_dpo}}", "the graph has a cycle"),
        ("prompts: null", "config: the config lacks the key prompts"),
        ("prompts: {harmlessness: {n: .nan}}", "config: prompts.harmlessness.n is nan"),
        ("generation: {1: 2}", "config: generation has no key 1"),
    ],
)
def test_snakemake_ends_before_any_job_with_the_same_message(tmp_path, text, said):
    folder = StudyFolder(tmp_path)
    (folder.path / "bad.yaml").write_text(text + "\n")
    done = folder.run("--dry-run", "--configfile", "bad.yaml")
    assert done.returncode == 1 and said in done.stdout and "Traceback" not in done.stdout, done.stdout
    assert not (folder.path / "results").exists() and "rule " not in done.stdout


def test_the_process_that_a_user_starts_ends_with_the_message(tmp_path):
    folder = StudyFolder(tmp_path)
    (folder.path / "bad.yaml").write_text("policies: {sft: {parent: sft_dpo}}\n")
    done = folder.run("--configfile", "bad.yaml", **os.environ)
    assert done.returncode == 1 and "the graph has a cycle" in done.stdout and "Traceback" not in done.stdout, done.stdout
    assert not (folder.path / "results").exists() and "rule " not in done.stdout
