"""Annotate until decided: draws on disk before they are shown, the same after a restart, a page that says how far it is, labels with chances."""

import json
import sys
from contextlib import contextmanager

import numpy as np
import pyarrow.parquet as pq
import pytest
from command_line import assert_refused, call
from label_page import running

from hh_align.analysis.labels import read_labels
from hh_align.analysis.ratings import read_ratings
from hh_align.analysis.sequential import Standing
from hh_align.core.artifacts import write_table
from hh_align.core.errors import StudyError
from hh_align.core.tables import PROMPTS, RATINGS, RESPONSES
from hh_align.tools import annotate
from hh_align.tools.annotate import serve
from hh_align.tools.answers import Answers
from hh_align.tools.asked import read_study
from hh_align.tools.until import Asking, Contrast, contrast_of, sentence

CHECKPOINTS = {"sft": 42, "sft_dpo": 42}
CONTRAST = Contrast("sft_dpo", "sft", "HpR")
MANY = 60


def write_study(folder, good=(0.2, 0.8), many=MANY):
    """Two policies on prompts of both axes; a reply says whether it is good, and the judge is right about it."""
    stream = np.random.default_rng(0)
    names = [(axis, f"{axis}-{number:03d}") for axis in ("harmlessness", "helpfulness") for number in range(many)]
    prompts = [{"axis": axis, "prompt_id": name, "prompt": f"Human: {name}", "cluster": name, "keywords": []} for axis, name in names]
    write_table(folder / "prompts/prompts.parquet", prompts, PROMPTS, {})
    ratings = []
    for (policy, seed), share in zip(CHECKPOINTS.items(), good, strict=True):
        is_good = stream.random(len(names)) < share
        rows = [
            {"axis": axis, "prompt_id": name, "response": f"{name} {policy[-1]} {'good' if yes else 'bad'}"}
            for (axis, name), yes in zip(names, is_good, strict=True)
        ]
        write_table(folder / f"responses/{policy}/seed-{seed}.parquet", rows, RESPONSES, {})
        for (axis, name), yes in zip(names, is_good, strict=True):
            about = {"judge": "j", "policy": policy, "seed": seed, "axis": axis, "prompt_id": name, "cluster": name}
            ratings.append({**about, "reward": float(yes) + stream.normal() / 4, "label": bool(yes)})
    write_table(folder / "analysis/ratings.parquet", ratings, RATINGS, {"inputs": {}})
    return folder


@pytest.fixture
def study(tmp_path):
    return write_study(tmp_path)


@contextmanager
def asking(folder, annotator="me", seed=None, **more):
    answers = Answers(folder / "labels/answers.jsonl", annotator)
    made = Asking(read_study(folder), CONTRAST, folder, answers, seed, more.get("judge"))
    try:
        with running(serve(made.items(), answers, read_study(folder), folder / "labels", 0, made)) as get:
            yield get
    finally:
        made.close()


def answer_on(get, number=10_000, word=None):
    """Answer open items until there are none; what the page was told last."""
    said = {}
    items = json.loads(get("GET", "/items")[1])
    while number and (left := [item for item in items if not item["answer"]]):
        reply = word or ("good" if left[0]["texts"][0].endswith("good") else "bad")
        status, body, _ = get("POST", "/answers", {"item": left[0]["item"], "answer": reply})
        assert status == 200, body
        said, number = json.loads(body), number - 1
        items = said["items"]
    return said


def table(folder):
    return pq.read_table(folder / "labels/sft_dpo-sft-HpR.parquet").to_pylist()


def test_it_asks_until_it_is_decided_and_stops_there(study):
    with asking(study) as get:
        first = json.loads(get("GET", "/standing")[1])["standing"]
        said = answer_on(get)
    assert first == "20 more labels before anything is said of sft_dpo and sft on HpR."
    assert said["standing"].startswith("Decided after ") and "sft_dpo is better than sft on HpR, +" in said["standing"]
    assert 20 <= len(said["items"]) < 2 * MANY and all(item["answer"] for item in said["items"])
    assert not any(name in json.dumps(said["items"]) for name in ("sft", "probability", "side", "checkpoint"))


def test_labels_carry_the_chance_of_their_draw(study):
    with asking(study) as get:
        answer_on(get, 18)
    rows = table(study)
    drawn = [json.loads(line) for line in (study / "labels/sft_dpo-sft-HpR.draws.jsonl").read_text().splitlines()[1:]]
    chances = {chance for draw in drawn for chance in draw["chances"]}
    assert len(rows) == 18 and {row["axis"] for row in rows} == {"helpfulness"}
    assert all(0 < row["probability"] <= 1 and row["probability"] in chances for row in rows)
    assert rows[0]["probability"] == pytest.approx(1 / MANY)
    assert all(row["good"] == (row["good"] is True) and not row["skipped"] for row in rows)
    assert not (study / "labels/labels.parquet").exists()  # they are no random sample


def test_a_restart_and_another_annotator_go_on_with_the_same_draws(study, tmp_path_factory):
    other = write_study(tmp_path_factory.mktemp("other"))
    with asking(other) as get:
        answer_on(get, 25)
    for number, name in ((7, "me"), (1, "you"), (17, "me")):
        with asking(study, name) as get:
            answer_on(get, number)
    read = [(folder / "labels/sft_dpo-sft-HpR.draws.jsonl").read_bytes() for folder in (study, other)]
    assert read[0] == read[1]
    assert {row["annotator"] for row in table(study)} == {"me", "you"}


def test_a_draw_is_on_disk_before_it_is_shown_and_a_line_cut_short_is_drawn_again(study):
    path = study / "labels/sft_dpo-sft-HpR.draws.jsonl"
    with asking(study) as get:
        said = answer_on(get, 6)
        before = path.read_bytes()
    path.write_bytes(before[:-20])
    with asking(study) as get:
        assert json.loads(get("GET", "/items")[1]) == said["items"]
    assert path.read_bytes() == before


def test_a_changed_answer_changes_what_is_known_not_what_was_asked(study):
    with asking(study) as get:
        said = answer_on(get, 30)
        names = [item["item"] for item in said["items"]]
        _, body, _ = get("POST", "/answers", {"item": names[0], "answer": "skip"})
        changed = json.loads(body)
    assert [item["item"] for item in changed["items"]][: len(names)] == names
    assert changed["standing"] != said["standing"]
    assert [row["skipped"] for row in table(study)].count(True) == 1 and table(study)[0]["good"] is None


def test_another_seed_other_replies_damage_and_a_second_page_are_refused(study):
    path = study / "labels/sft_dpo-sft-HpR.draws.jsonl"
    with asking(study, seed=3) as get:
        answer_on(get, 5)
        with pytest.raises(StudyError, match="another page asks about this contrast"), asking(study):
            pass
    with pytest.raises(StudyError, match=r"made for another seed. Go on with --seed 3 \(make: SEED=3\)"), asking(study, seed=4):
        pass
    whole = path.read_bytes()
    path.write_bytes(whole.replace(b'"prompt": ', b'"prompt": 1', 1))
    with pytest.raises(StudyError, match="line 2: damaged"), asking(study):
        pass
    path.write_bytes(whole)
    write_study(study, good=(0.5, 0.5))
    with pytest.raises(StudyError, match="other replies or rewards than the study has"), asking(study):
        pass


def test_a_full_disk_loses_no_draw(study, monkeypatch):
    path = study / "labels/sft_dpo-sft-HpR.draws.jsonl"
    with asking(study) as get:
        said = answer_on(get, 1)
        left = next(item for item in said["items"] if not item["answer"])
        before = path.read_bytes()
        monkeypatch.setattr(Asking, "append", lambda *_: (_ for _ in ()).throw(StudyError("No space left on device")))
        status, body, _ = get("POST", "/answers", {"item": left["item"], "answer": "bad"})
        assert status == 507 and "No space left" in body and path.read_bytes() == before
        monkeypatch.undo()
        assert get("POST", "/answers", {"item": left["item"], "answer": "bad"})[0] == 200
    assert path.read_bytes().startswith(before) and len(path.read_bytes()) > len(before)


def test_contrasts_are_read_and_others_are_named():
    policies = {"sft", "sft_dpo", "a:b"}
    assert contrast_of("sft_dpo:sft:hpr", policies) == CONTRAST
    assert contrast_of("a:b:sft:HmR", policies) == Contrast("a:b", "sft", "HmR")
    for text in ("sft_dpo:sft", "sft_dpo:ppo:hpr", "sft:sft:hpr", "sft_dpo:sft:cas"):
        with pytest.raises(
            StudyError, match=r"give two policies and a rate, as sft_dpo:sft:hpr. The study has a:b, sft, sft_dpo; rates are hmr"
        ):
            contrast_of(text, policies)


def test_what_is_missing_is_named(study, tmp_path_factory):
    with pytest.raises(StudyError, match=r"--judge other: rates nothing on helpfulness. Judges that do: j"), asking(study, judge="other"):
        pass
    with pytest.raises(StudyError, match="fewer than five clusters"), asking(write_study(tmp_path_factory.mktemp("few"), many=4)):
        pass
    (study / "analysis/ratings.parquet").unlink()
    with (
        pytest.raises(StudyError, match=r"ratings.parquet is not there: which replies to ask for is chosen by a judge's rewards"),
        asking(study),
    ):
        pass


def test_discarded_answers_leave_the_table_of_the_draws(study, monkeypatch):
    with asking(study) as get:
        answer_on(get, 8)
    monkeypatch.setattr(sys, "argv", ["annotate", "--folder", str(study), "--discard", "me"])
    annotate.main()
    assert table(study) == []


@pytest.mark.parametrize("damage", ["policy gone", "head"])
def test_a_table_that_cannot_be_made_anew_stays_and_is_named(study, damage):
    with asking(study) as get:
        answer_on(get, 3)
    before, draws = table(study), study / "labels/sft_dpo-sft-HpR.draws.jsonl"
    if damage == "head":
        draws.write_text('{"contrast": 5}\n')
    else:
        (study / "responses/sft/seed-42.parquet").unlink()
    status, said = call(annotate, folder=study, discard="me")
    assert status == 0 and "the table of sft_dpo-sft-HpR.draws.jsonl is as it was: " in said and "3 answers of me count no longer" in said
    assert table(study) == before


def test_its_labels_correct_no_rate(study):
    # drawn for one contrast, and as many as decide it: no sample of the replies
    with asking(study) as get:
        answer_on(get, 25)
    with pytest.raises(StudyError, match=r"sft_dpo-sft-HpR.parquet: .* until one contrast was decided .*make annotate SAMPLE="):
        read_labels(study / "labels/sft_dpo-sft-HpR.parquet", read_ratings(study / "analysis/ratings.parquet").ratings, None)


@pytest.mark.parametrize(
    ("option", "value", "said"),
    [("sample", 0, "--sample 0: give a whole number of at least 1"), ("sample", -5, "at least 1"), ("seed", -1, "--seed -1: .* at least 0"),
     ("port", 99999, "port 99999: .*PORT="), ("until", "sft_dpo:nobody:hpr", "The study has sft, sft_dpo"), ("judge", "nobody", "Judges that do: j")],
)  # fmt: skip
def test_an_option_that_is_none_is_one_error_and_draws_nothing(study, option, value, said):
    more = {} if option in ("sample", "until") else {"until": "sft_dpo:sft:hpr"}
    assert_refused(call(annotate, folder=study, **more, **{option: value}), said)
    assert not [path for path in study.glob("labels/*.draws.jsonl") if option != "port"]


@pytest.mark.parametrize(
    ("verdict", "needed", "finished", "text"),
    [
        ("better", 0, False, "Decided after 85 labels: sft_dpo is better than sft on HpR, +6.0 points [1.0, 11.0]."),
        ("equivalent", 0, False, "Decided after 85 labels: sft_dpo and sft are equivalent on HpR, +6.0 points [1.0, 11.0]."),
        ("undecided", 40, False, "Undecided after 85 labels: sft_dpo less sft on HpR is +6.0 points [1.0, 11.0]. If that is the difference, about 40 more decide."),
        ("undecided", None, False, "Undecided after 85 labels: sft_dpo less sft on HpR is +6.0 points [1.0, 11.0]. If that is the difference, these prompts are too few to decide it."),
        ("undecided", None, True, "Undecided after 85 labels: sft_dpo less sft on HpR is +6.0 points [1.0, 11.0]. Every reply has its label: these prompts do not decide it."),
    ],
)  # fmt: skip
def test_sentences(verdict, needed, finished, text):
    assert sentence(CONTRAST, Standing(85, 0.06, 0.01, 0.11, verdict, needed), finished) == text
