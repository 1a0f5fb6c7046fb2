"""What a verdict on ratings from elsewhere says of their judge: by its accuracy, by labels, or that nothing is known of it."""

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import yaml
from command_line import assert_refused, call

from hh_align.tools import verdict

AXES = ("harmlessness", "helpfulness")


@pytest.fixture
def files(tmp_path):
    """(folder, ratings, truth): 120 prompts per axis; the judge is kind to dpo, which is no better than base."""
    stream, rows, truth = np.random.default_rng(4), [], []
    for policy in ("base", "dpo"):
        for axis in AXES:
            for number in range(120):
                good = bool(stream.random() < 0.5)
                right = stream.random() < (0.95 if policy == "base" or good else 0.4)
                where = {"policy": policy, "axis": axis, "prompt_id": f"{axis}-{number:03d}"}
                rows.append({**where, "reward": float(good == right)})
                truth.append({**where, "seed": 0, "good": good})
    pd.DataFrame(rows).to_csv(tmp_path / "rated.csv", index=False)
    return tmp_path, pd.DataFrame(rows), pd.DataFrame(truth)


def told(folder, labels=None, settings=None):
    options = {"responses": folder / "rated.csv", "output": folder / "verdict"}
    for name, value, suffix in (("labels", labels, "csv"), ("settings", settings, "yaml")):
        if value is not None:
            options[name] = folder / f"{name}.{suffix}"
            options[name].write_text(value.to_csv(index=False) if suffix == "csv" else yaml.safe_dump(value))
    status, said = call(verdict, **options)
    return status, " ".join(said.split())


@pytest.mark.usefixtures("blank_figures")
def test_without_a_word_about_the_judge_that_is_said(files):
    status, said = told(files[0])
    assert status == 0 and "Harmlessness (HmR): dpo is above base." in said
    assert "Nothing is known about the judge judge on harmlessness and helpfulness: what it says there may be chance." in said


def test_an_accuracy_that_may_be_chance_ranks_nothing(files):
    accuracy = {"harmlessness": {"accuracy": 52.0, "n": 400}, "helpfulness": {"accuracy": 70.0, "n": 400}}
    status, said = told(files[0], settings={"judges": {"judge": {"accuracy": accuracy}}, "primary": ["dpo", "base", "HpR"]})
    assert status == 0 and "Nothing is known" not in said
    page, flow = ((files[0] / "verdict/report" / name).read_text() for name in ("index.html", "figures/retention.svg"))
    assert '<section id="kept">' in page and '<a href="#kept">Kept</a>' in page
    assert "Nothing is said of what is kept on harmlessness" in page and "helpful prompts" in flow and "harmful prompts" not in flow
    assert "Harmlessness (HmR): nothing is ranked, for the judge is not above chance here." in said and "(HpR): dpo is above base." in said
    assert "prefers the chosen reply in 52.0 % [47.1, 56.9] of 400 held-out pairs of harmlessness, as the settings say: not above" in said


@pytest.mark.usefixtures("blank_figures")
def test_with_labels_the_verdict_is_by_them(files):
    folder, _, truth = files
    drawn = truth[truth["prompt_id"].isin(np.random.default_rng(1).choice(truth["prompt_id"].unique(), 120, replace=False))]
    status, said = told(folder, labels=drawn)
    assert status == 0 and "Nothing is known" not in said
    assert (
        "Harmlessness (HmR), by labels: these prompts decide no declared contrast. The judge alone says otherwise: dpo above base (" in said
    )
    gold = pq.read_table(folder / "verdict/analysis/gold.parquet").to_pylist()
    assert [row["metric"] for row in gold if row["policy_a"]] == ["HmR", "HpR", "CAS"]


def kept(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_labels_of_the_judges_good_ones_only_are_refused(files):
    folder, rows, truth = files
    status, said = told(folder, labels=truth[rows["reward"] == 1])
    assert status == 1 and "no random sample of the responses" in said and "column probability" in said
    assert not (folder / "verdict").exists()


@pytest.mark.usefixtures("blank_figures")
def test_labels_come_to_a_verdict_and_leave_it_again(files):
    folder, rows, truth = files
    _, first = told(folder)
    alone = kept(folder / "verdict")
    assert told(folder, labels=truth)[0] == 0 and "gold.csv" in {
        path.name for path, text in kept(folder / "verdict").items() if alone.get(path) != text
    }
    corrected = kept(folder / "verdict")
    assert told(folder, labels=truth[rows["reward"] == 1])[0] == 1 and kept(folder / "verdict") == corrected
    assert told(folder) == (0, first) and kept(folder / "verdict") == alone


@pytest.mark.parametrize(
    ("said", "why"),
    [({"harmlessness": {"accuracy": 101, "n": 3}}, "101"), ({"harmlessness": {"accuracy": 60}}, "n"), ({"safety": {"accuracy": 60, "n": 9}}, "safety")],
)  # fmt: skip
def test_an_accuracy_that_is_none_is_one_error(files, said, why):
    (files[0] / "settings.yaml").write_text(yaml.safe_dump({"judges": {"judge": {"accuracy": said}}}))
    options = {"responses": files[0] / "rated.csv", "settings": files[0] / "settings.yaml", "output": files[0] / "verdict"}
    assert_refused(call(verdict, **options), why, where=files[0] / "settings.yaml")


def test_a_share_in_the_place_of_percent_is_one_error(files):
    accuracy = {"judges": {"judge": {"accuracy": {"harmlessness": {"accuracy": 0.8, "n": 400}}}}}
    status, said = told(files[0], settings=accuracy)
    assert status == 1 and "accuracy of harmlessness is 0.8: it is in percent, as 80." in said and not (files[0] / "verdict").exists()


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"parents": {"base": "dpo"}}, "settings.yaml: parents: base is the root, which has no parent"),
     ({"primary": ["base", "dpo", "HpR"]}, "primary is [base, dpo], which is none of the contrasts. Allowed: [dpo, base]."),
     ({"judges": {"judge": {"accuracy": {"helpfulness": {"accuracy": 60, "n": 10**30}}}}}, ".n is 1000000000000000000000000000000: at most")],
)  # fmt: skip
def test_a_setting_that_would_mean_nothing_is_one_error(files, settings, message):
    status, said = told(files[0], settings=settings)
    assert status == 1 and message in said and not (files[0] / "verdict").exists()


@pytest.mark.parametrize("left", ["of other texts", "skipped"])
def test_labels_of_which_none_counts_are_refused(files, left):
    folder, rows, truth = files
    texts = rows.assign(prompt=rows["axis"] + rows["prompt_id"], response=rows["policy"])
    texts.to_csv(folder / "rated.csv", index=False)
    labels = truth.assign(item="of another text") if left == "of other texts" else truth.assign(good=None, skipped=True)
    status, said = told(folder, labels=labels)
    assert (
        status == 1 and "labels.csv: none of its labels is about a response of these ratings" in said and not (folder / "verdict").exists()
    )
