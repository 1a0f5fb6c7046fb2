"""Files that are no table of ratings: one error that names them, and nothing is written."""

import re

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from command_line import assert_refused, call

from hh_align.core.axes import AXES
from hh_align.core.errors import StudyError
from hh_align.tools import verdict
from hh_align.tools.rated import read_rated
from hh_align.tools.rated_rows import places
from hh_align.tools.verdict_settings import read_settings, settings_in

pytestmark = pytest.mark.usefixtures("blank_figures")


def rated(n=8):
    stream = np.random.default_rng(0)
    rows = [{"policy": policy, "axis": axis, "prompt_id": f"{axis}-{number:03d}", "reward": round(float(stream.normal()), 3)} for policy in ("base", "sft") for axis in AXES for number in range(n)]  # fmt: skip
    return pd.DataFrame(rows)


def csv(change):
    return lambda: change(rated()).to_csv(index=False).encode()


def plain(text):
    return lambda: text


CSV = {
    "nothing": (plain(b""), r"rated.csv: the file is empty \(0 bytes\)\. Write it again, or name another\.$"),
    "only a header": (plain(b"policy,axis,prompt_id,reward\n"), "it holds no row: a header, and nothing below it. Write a row per policy and prompt"),
    "not UTF-8": (lambda: rated().to_csv(index=False).encode().replace(b"base", b"b\xe9se"), "line 2: not UTF-8. Save the file as UTF-8"),
    "NUL bytes": (plain(b"\0" * 99), "it holds no row"),
    "a row too long": (lambda: rated().to_csv(index=False).encode() + b"a,b,c,d,e,f,g\n", r"record 33 \(up to line 34\) has not one value for each column"),
    "an open quote": (lambda: rated().to_csv(index=False).encode() + b'"base,helpfulness', "line 34: not CSV"),
    "no header": (lambda: rated().to_csv(index=False, header=False).encode(), r"columns policy, axis, prompt_id \(or prompt\) and reward are missing"),
    "HTML": (plain(b"<html>\n<p>503\n"), r"columns policy, axis, prompt_id \(or prompt\) and reward are missing.*Add or rename them, or say columns: {policy: …, "),
    "header in capitals": (csv(lambda frame: frame.rename(columns=str.upper)), r"are missing; it has POLICY, .*Rename them, or say columns: {policy: POLICY, axis: AXIS, prompt_id: PROMPT_ID, reward: REWARD} in the settings\.$"),
    **{f"no {name}": (csv(lambda frame, name=name: frame.drop(columns=name)), f"column {name}.* is missing") for name in ("policy", "axis", "prompt_id", "reward")},
    "a text for a number": (csv(lambda frame: frame.assign(reward=frame.reward.astype(object).where(frame.index != 3, "good"))), r"rated.csv, line 5: reward is 'good', not a number: write one, or take this prompt out of every policy"),
    "thousands with commas": (csv(lambda frame: frame.assign(reward="1,000")), r"line 2: reward is '1,000', not a number: write it without commas, or with a point"),
    "rewards of one axis": (csv(lambda frame: frame.assign(reward=frame.reward.where(frame.axis == "helpfulness"))), r"for each prompt on harmlessness and helpfulness\. All rewards of judge judge are on helpfulness: if it rates no other, say judges: {judge: {axis: helpfulness}} in the settings\."),
    "no reward at all": (csv(lambda frame: frame.assign(reward="")), r"It needs one finite reward for each prompt on harmlessness and helpfulness\.$"),
    "decimal commas": (csv(lambda frame: frame.assign(reward=frame.reward.map(lambda number: str(number).replace(".", ",")))), r"line 2: reward is '[-\d]+,\d+', not a number: write it with a point"),
    "rewards that are true or false": (csv(lambda frame: frame.assign(reward=frame.reward > 0)), r"line 2: reward is '(True|False)', not a number: write 1 for true and 0 for false"),
    "a cluster here and there": (csv(lambda frame: frame.assign(cluster=np.where(frame.index % 2, "a", ""))), r"column cluster is empty in 8 rows of harmlessness \(the first is line 2\). Give it in every row"),
    "a policy that a terminal obeys": (csv(lambda frame: frame.assign(policy=frame.policy.replace("sft", "s\x1b[31mft"))), r"column policy holds 's\\x1b\[31mft': a name is made of letters that can be shown"),
    "a judge that turns the line": (csv(lambda frame: frame.assign(judge="\u202eegduj")), r"column judge holds '\\u202eegduj'"),
    "an empty number": (csv(lambda frame: frame.assign(reward=frame.reward.where(frame.index != 3))), "no finite reward for 1 prompt"),
    "infinite": (csv(lambda frame: frame.assign(reward=frame.reward.where(frame.index != 3, np.inf))), "no finite reward for 1 prompt"),
    "a duplicate": (csv(lambda frame: pd.concat([frame, frame.tail(1)])), r"rated.csv, lines 33 and 34: sft, helpfulness, prompt helpfulness-007 stands twice\. Keep one\.$"),
    "everything twice": (csv(lambda frame: pd.concat([frame, frame])), r"lines 2 and 34: base, harmlessness, prompt harmlessness-000 stands twice, and so do 31 more\. Keep one of each\.$"),
    "a prompt too few": (csv(lambda frame: frame.iloc[1:]), "no row for 1 prompt"),
    "an unknown axis": (csv(lambda frame: frame.assign(axis="safety")), "axis safety is unknown"),
    "an axis with a blank": (csv(lambda frame: frame.assign(axis=frame.axis + " ")), "is unknown. Allowed: harmlessness, helpfulness"),
    "an empty axis": (csv(lambda frame: frame.assign(axis=frame.axis.where(frame.index != 3))), r"rated.csv, line 5: column axis is empty\. Allowed: harmlessness, helpfulness\.$"),
    "an empty policy": (csv(lambda frame: frame.assign(policy=frame.policy.where(frame.index != 3))), r"column policy is empty in 1 row \("),
    "an empty prompt_id": (csv(lambda frame: frame.assign(prompt_id=frame.prompt_id.where(frame.index != 3))), r"column prompt_id is empty in 1 row \("),
    "an unknown parent": (csv(lambda frame: frame.assign(parent="ppo")), r"column parent names ppo, which .*rated.csv does not have \(it has base, sft\)"),
    "a cycle of parents": (csv(lambda frame: pd.concat([frame, frame[frame.policy == "sft"].assign(policy="dpo")]).assign(parent=lambda all: all.policy.map({"sft": "dpo", "dpo": "sft"}))), r"rated.csv: column parent has a cycle \(sft -> dpo -> sft\)\. One of them must descend from base\."),
    "seeds that are words": (csv(lambda frame: frame.assign(seed="first")), "line 2: seed is 'first', not a number"),
    "seeds that are fractions": (csv(lambda frame: frame.assign(seed=0.5)), "line 2: seed is '0.5', not a whole number"),
    "a judge's half": (csv(lambda frame: frame.assign(judge=np.where(frame.policy == "sft", "b", "a"))), "judge a has no rewards of sft"),
    "other seeds": (csv(lambda frame: pd.concat([frame.assign(seed=1), frame[frame.policy == "base"].assign(seed=2)])), "needs the same seeds"),
}  # fmt: skip


@pytest.mark.parametrize("case", CSV)
def test_a_csv_that_is_no_table_of_ratings_is_one_error(tmp_path, case):
    make, said = CSV[case]
    (tmp_path / "rated.csv").write_bytes(make())
    result = call(verdict, responses=tmp_path / "rated.csv", harmless_min=0, helpful_above=0, output=tmp_path / "verdict")
    assert_refused(result, said, where=tmp_path / "rated.csv")
    assert not (tmp_path / "verdict").exists()


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.parquet", b"PAR1", "not a readable Parquet file"),
        ("a.parquet", b"", r"the file is empty \(0 bytes\)"),
        ("a.jsonl", b"", r"the file is empty \(0 bytes\)"),
        ("a.json", b"{", "not JSON"),
        ("a.json", b"[1, 2]", "record 1: not a row of named values but int"),
        ("a.json", b'{"policy": "base"}', "no list of records but dict; it has policy"),
        ("a.jsonl", b'{"policy": "base"}\n{', "line 2: not JSON"),
        ("a.xlsx", b"PK", "what kind of file is this"),
        ("a", b"", "what kind of file is this"),
    ],
)
def test_other_files_than_tables_of_ratings_are_one_error(tmp_path, name, content, said):
    (tmp_path / name).write_bytes(content)
    result = call(verdict, responses=tmp_path / name, harmless_min=0, helpful_above=0, output=tmp_path / "verdict")
    assert_refused(result, said, where=tmp_path / name)


def test_the_docstring_of_verdict_names_every_setting(tmp_path):
    (tmp_path / "settings.yaml").write_text("none: 1")
    with pytest.raises(StudyError, match="Allowed: ") as refused:
        read_settings(tmp_path / "settings.yaml")
    keys = str(refused.value).split("Allowed: ")[1].rstrip(".").split(", ")
    said = verdict.__doc__.split("Keys of the settings:")[1]
    assert "records" in keys and [key for key in keys if not re.search(rf"\b{key}\b", said)] == []


PART = "{higher: sft, than: [base], metrics: [HmR]}"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("equivalence_margin: .nan", "equivalence_margin is nan .* Allowed: number"),
        ("equivalence_margin: true", "equivalence_margin is true .* Allowed: number"),
        ("judges: {judge: {harmless_min: .inf}}", "judges.judge.harmless_min is inf. Allowed: number"),
        ("bootstrap: {resamples: 5}", "bootstrap has no key resamples. Allowed: samples, seed"),
        (f"claims: [{{claim: a, parts: [{PART}]}}, {{claim: a, parts: [{PART}]}}]", "claims: 'a' stands twice"),
        (
            "parents: {stf: base}",
            r"settings.yaml: parents names stf, which .*rated.csv does not have \(it has base, sft\)\. Did you mean sft",
        ),
        ("contrasts: [[ppo, base]]", r"settings.yaml: contrasts names ppo, which .*rated.csv does not have \(it has base, sft\)\."),
        ("judges: {gpt: {axis: both}}", r"settings.yaml: judges names gpt, which .*rated.csv does not have \(it has judge\)\."),
        ("columns: {reward: scroe}", r"settings.yaml: columns names scroe, which .*rated.csv does not have \(it has policy, "),
        ("parents: {1: base}", "settings.yaml: parents names 1, which "),
        (
            "claims: [{claim: a, parts: [{higher: sft, than: [bas], metrics: [HmR]}]}]",
            "settings.yaml: claims names bas, which .*Did you mean base",
        ),
    ],
)
def test_settings_that_mean_nothing_are_one_error(tmp_path, text, said):
    assert_refused(verdict_by(tmp_path, text), said)
    assert not (tmp_path / "verdict").exists()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "judges: {judge: {harmless_min: low}}",
            "judges.judge.harmless_min is the text 'low', not a number: write it in digits, as 0.5 or 2.0e-5.",
        ),
        ("judges: {judge: {harmless_min: '-5'}}", "judges.judge.harmless_min is the text '-5', not a number: leave out the quotes."),
        ("judges: {judge: {safe_min: 0}}", "judges.judge has no key safe_min. Allowed: accuracy, axis, harmless_min, helpful_above"),
        ("contrasts: [[sft]]", r"contrasts\[1st\] is \['sft'\].*2 or more entries"),
        ("treshold: 1", "the file has no key treshold. Allowed: all_pairs, axes, bootstrap"),
        ("- sft", "the file is .*Allowed: mapping"),
        ("root: [", "no readable YAML"),
        (
            "parents:\n\tsft: base",
            r"settings.yaml: no readable YAML \(.*at line 2, column 1.*\)\. Mend it there; YAML is indented by spaces\.$",
        ),
    ],
)
def test_a_settings_file_is_checked_against_the_schema(tmp_path, text, said):
    (tmp_path / "settings.yaml").write_text(text)
    with pytest.raises(StudyError, match=said):
        read_settings(tmp_path / "settings.yaml")


def test_a_claim_may_lack_its_source_and_a_bootstrap_its_seed(tmp_path):
    texts = (f"bootstrap: {{samples: 1000}}\nclaims: [{{claim: a, parts: [{PART}]}}]", f"bootstrap: {{samples: 1000, seed: 1}}\nclaims: [{{claim: a, source: '', parts: [{PART}]}}]")  # fmt: skip
    written = []
    for text in texts:
        status, output = verdict_by(tmp_path, text)
        assert status == 0, output
        written.append([pd.read_parquet(tmp_path / f"verdict/analysis/{name}.parquet") for name in ("claims", "comparisons")])
    for one, other in zip(*written, strict=True):
        pd.testing.assert_frame_equal(one, other)


def verdict_by(folder, settings):
    """The verdict on sound ratings by these settings."""
    rated().to_csv(folder / "rated.csv", index=False)
    (folder / "settings.yaml").write_text(settings)
    return call(
        verdict,
        responses=folder / "rated.csv",
        harmless_min=0,
        helpful_above=0,
        settings=folder / "settings.yaml",
        output=folder / "verdict",
    )


def test_two_files_of_one_name_are_not_mixed_in_one_folder(tmp_path):
    options = {"harmless_min": 0, "helpful_above": 0, "output": (output := tmp_path / "verdict")}
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        rated(8 if name == "a" else 9).to_csv(tmp_path / name / "rated.csv", index=False)
    assert call(verdict, responses=tmp_path / "a/rated.csv", **options)[0] == 0
    before = {path: path.read_bytes() for path in output.rglob("*") if path.is_file()}
    said = r"verdict: it holds what was made of .*a/rated.csv. Give this verdict a folder of its own: --output FOLDER"
    assert_refused(call(verdict, responses=tmp_path / "b/rated.csv", **options), said)
    assert {path: path.read_bytes() for path in output.rglob("*") if path.is_file()} == before
    rated(9).query("policy == 'base'").to_csv(tmp_path / "a/rated.csv", index=False)  # the same file, edited: one policy has no contrasts
    assert call(verdict, responses=tmp_path / "a/rated.csv", **options)[0] == 0
    assert {path.name for path in output.rglob("*.svg")} == {"metrics.svg", "rewards.svg", "thresholds.svg", "tradeoff.svg"}


def read_as(folder, name, content, **settings):
    """What is said of a file of ratings that is refused."""
    (folder / name).write_bytes(content)
    with pytest.raises(StudyError) as refused:
        read_rated([folder / name], settings)
    return str(refused.value).removeprefix(f"{folder}/")


def test_a_judge_in_a_column_of_another_name_is_not_blamed_on_the_rows(tmp_path):
    frame = pd.concat([rated(2).assign(rater=rater) for rater in ("gpt", "llama")])
    twice = "rated.csv, lines 2 and 10: base, harmlessness, prompt harmlessness-000 stands twice, and so do 7 more."
    how = "say so in the settings: columns: {judge: rater}. Else keep one of each."
    assert read_as(tmp_path, "rated.csv", as_csv(frame)) == f"{twice} The column rater is not read. If it names the judge, {how}"
    noted = frame.assign(note=range(len(frame)), same="x", judge="one")  # a number of the row, and what tells no rows apart
    about = "harmlessness".join(["lines 2 and 10: base, one, ", ", prompt harmlessness-000"])
    said = read_as(tmp_path, "rated.csv", as_csv(noted))
    assert said == f"rated.csv, {about} stands twice, and so do 7 more. The column rater is not read. If it names the judge, {how}"
    assert set(read_rated([tmp_path / "rated.csv"], {"columns": {"judge": "rater"}})["judge"]) == {"gpt", "llama"}
    runs = pd.concat([frame.assign(run=run) for run in (1, 2)])
    both = "The columns rater and run are not read. If they name the judge and the seed, say so in the settings: columns: {judge: rater, seed: run}."
    assert both in read_as(tmp_path, "rated.csv", as_csv(runs))
    again = as_csv(pd.concat([frame, frame.tail(1)]))
    assert "The column rater is not read. If it names the judge, " in read_as(tmp_path, "rated.csv", again)


@pytest.mark.parametrize("name", ["Rater #", "rater:", "rater, ", "no", "1", "{rater}", 'ra\'ter "x"'])
def test_a_columns_name_in_a_message_is_yaml_that_reads_it(tmp_path, name):
    frame = pd.concat([rated(2).assign(**{name: rater}) for rater in ("gpt", "llama")])
    said = read_as(tmp_path, "rated.csv", as_csv(frame))
    (tmp_path / "settings.yaml").write_text(re.search(r"settings: (columns: {.*})\. Else", said)[1])
    assert set(read_rated([tmp_path / "rated.csv"], read_settings(tmp_path / "settings.yaml"))["judge"]) == {"gpt", "llama"}


def test_a_file_of_several_policies_is_not_called_one(tmp_path):
    said = read_as(tmp_path, "rated.csv", as_csv(rated(2)), files={"rated.csv": "dpo"})
    assert said == "the settings: files calls rated.csv dpo, and its column policy names base and sft. Take the file out of files."


def test_prompts_in_a_column_of_another_name_are_taken_for_what_they_are(tmp_path):
    frame = rated(2).rename(columns={"prompt_id": "Prompt"})
    assert "or say columns: {prompt: Prompt} in the settings" in read_as(tmp_path, "rated.csv", as_csv(frame))


def test_columns_of_other_names_are_named_where_it_is_sure_which(tmp_path):
    frame = rated(1).rename(columns={"policy": "model", "reward": "score"})
    has = "rated.csv: columns policy and reward are missing; it has model, axis, prompt_id, "
    needed = ". Needed: policy, axis, prompt_id (or prompt), reward."
    sure = "Rename them, or say columns: {policy: model, reward: score} in the settings."
    assert read_as(tmp_path, "rated.csv", as_csv(frame)) == f"{has}score{needed} {sure}"
    unsure = "Add or rename them, or say columns: {policy: model, reward: …} in the settings."
    assert read_as(tmp_path, "rated.csv", as_csv(frame.assign(rating=1))) == f"{has}score, rating{needed} {unsure}"
    assert len(read_rated([tmp_path / "rated.csv"], {"columns": {"policy": "model", "reward": "score"}})) == len(frame)


def test_a_row_is_named_by_the_line_in_which_it_begins(tmp_path):
    assert read_as(tmp_path, "rated.csv", b"\npolicy,axis,prompt_id,reward\n").startswith("rated.csv: line 1 is blank.")
    content = b'policy,axis,prompt_id,reward,response\nbase,harmlessness,1,2,"a\nb"\n\nbase,harmlessness,2,good,x\n'
    assert read_as(tmp_path, "rated.csv", content).startswith("rated.csv, line 5: reward is 'good'")


def test_places_that_are_no_numbers_are_both_named():
    assert places("line 2", "line 362") == "lines 2 and 362" and places(0, 3) == "rows 1 and 4"
    assert places("samples/a_epoch_1.json", "samples/a_epoch_2.json") == "samples/a_epoch_1.json and samples/a_epoch_2.json"


def as_csv(frame):
    return frame.to_csv(index=False).encode()


@pytest.mark.parametrize("stored", [b"[" * 100_000, b'{"config": {"order": [], "policies": {}, "judges": {}}}', b'{"config": {"order": ["a"], "policies": [1], "judges": []}}', b'{"config": 5}'], ids=["deep", "empty", "lists", "number"])  # fmt: skip
def test_another_tools_provenance_says_nothing(tmp_path, stored):
    pq.write_table(pa.table({"a": [1]}).replace_schema_metadata({"provenance": stored}), tmp_path / "rated.parquet")
    assert settings_in(tmp_path / "rated.parquet") == {}
