"""How long a run is expected to take: known answers."""

import pytest

from hh_align.tools.expected import ON_TWO_CORES, OTHER, Expectation, Step, Task, remaining, seconds_before, time_left

CORES = {"_cores": 2, "gpu": 1}


def task(seconds, *after, cores=1, gpu=0):
    return Task(seconds, after, (("_cores", cores), ("gpu", gpu)))


@pytest.mark.parametrize(
    ("tasks", "seconds"),
    [
        ({}, 0),
        ({"a": task(5)}, 5),
        ({"a": task(5), "b": task(4), "c": task(3)}, 7),  # two at once
        ({"a": task(5), "b": task(4, "a"), "c": task(3)}, 9),  # one after the other
        ({"a": task(5, gpu=1), "b": task(4, gpu=1), "c": task(3)}, 9),  # one GPU
        ({"a": task(5, cores=2), "b": task(4, cores=2)}, 9),
        ({"a": task(5, cores=8), "b": task(4)}, 9),  # more than there is: all
        ({"a": task(5, "gone"), "b": task(4, "gone")}, 5),  # what it waits for is done
        ({"b": task(9), "c": task(9), "a": task(5)._replace(running=True)}, 14),  # what is at work goes on
        ({f"step {i}": task(2) for i in range(101)}, 102),
    ],
)
def test_the_time_left_of_a_graph(tasks, seconds):
    assert time_left(tasks, CORES) == seconds


def test_without_limits_the_longest_chain_counts():
    chain = {f"s{i}": task(1, f"s{i - 1}") for i in range(50)}
    assert time_left(chain | {f"t{i}": task(3) for i in range(50)}, {}) == 50


def test_a_step_takes_what_it_took_before_else_what_its_rule_took_else_what_the_demo_takes():
    expectation = Expectation({"train_sft/sft-seed-1": 100.0, "train_sft/sft-seed-2": 200.0})
    names = ["train_sft/sft-seed-1", "train_sft/sft-seed-9", "train_dpo/dpo-seed-1", "plot_figures"]
    slower = (150.0 / ON_TWO_CORES["train_sft"]) ** 0.5  # than the demo, where that is all that is known
    assert expectation.of(names) == pytest.approx(dict(zip(names, [100.0, 150.0, slower * ON_TWO_CORES["train_dpo"], OTHER], strict=True)))
    other = Expectation({"train_sft/sft-seed-1": 10 * ON_TWO_CORES["train_sft"]}, like_demo=False)
    assert other.of(["train_dpo/dpo", "import_base"]) == pytest.approx(
        {"train_dpo/dpo": 10 * ON_TWO_CORES["train_dpo"], "import_base": 10.0}
    )
    assert Expectation({"plot_figures": 900.0, "import_base": 900.0}).of(names[2:3]) == {
        names[2]: ON_TWO_CORES["train_dpo"]
    }  # no long step


def test_steps_of_this_run_scale_what_is_to_come():
    expectation = Expectation({"score_responses/small/sft": ON_TWO_CORES["score_responses"]})
    expectation.saw("train_sft/sft", 1000 * ON_TWO_CORES["train_sft"])
    now = expectation.of(["train_sft/other", "train_dpo/dpo", "score_responses/small/dpo", "plot_figures"])
    assert now["train_sft/other"] == 1000 * ON_TWO_CORES["train_sft"]
    assert now["train_dpo/dpo"] == pytest.approx(10 * ON_TWO_CORES["train_dpo"])  # the geometric mean of 1000, of 1, and of 1 beside them
    assert (
        now["score_responses/small/dpo"] == ON_TWO_CORES["score_responses"] and now["plot_figures"] == OTHER
    )  # measured before; no matter of models


@pytest.mark.parametrize(
    ("spent", "said", "seconds"),
    [
        ({}, {}, 20),
        ({"x/a": 4}, {}, 16),  # as expected
        ({"x/a": 40}, {}, 30 + 70),  # 30 s beyond what was expected: as long again, and so the other one of its rule
        ({"x/a": 4}, {"x/a": 300}, 300 + 10),  # it knows better
        ({"x/a": 400}, {"x/a": 5}, 5 + 405),
    ],
)
def test_what_is_left_of_a_step_at_work_is_what_it_says_else_what_it_was_to_take_else_as_long_again(spent, said, seconds):
    steps = {"x/a": Step(None), "x/b": Step(None, ("x/a",))}
    assert remaining(steps, (), spent, said, Expectation({"x/a": 10.0, "x/b": 10.0}), {}) == seconds
    assert remaining(steps, {"x/a", "x/b"}, {}, {}, Expectation({}), {}) == 0


def test_the_basis_is_what_most_of_the_time_is_known_from():
    expectation = Expectation({"train_sft/a": 10.0})
    assert expectation.basis(["train_sft/b", "plot_figures"]) == "as earlier steps here took"
    assert expectation.basis(["train_sft/b", "train_judge/a"]) == "a first guess, by the demo's times"
    assert (
        Expectation({"train_sft/a": 10.0}, like_demo=False).basis(["train_sft/b", "train_judge/a"]) == "a first guess, by other steps here"
    )
    assert expectation.seeing({"train_judge/b": 500.0}).basis(["train_judge/a"]) == "as earlier steps here took"


def test_benchmarks_are_read_by_name_and_damaged_ones_left_out(tmp_path):
    (tmp_path / "train_sft").mkdir()
    (tmp_path / "train_sft/sft-seed-42.tsv").write_text("s\th:m:s\n12.5\t0:00:12\n")
    for name, text in {"empty": "", "head": "s\th:m:s\n", "words": "s\nNA\n"}.items():
        (tmp_path / f"{name}.tsv").write_text(text)
    assert seconds_before(tmp_path) == {"train_sft/sft-seed-42": 12.5} and seconds_before(tmp_path / "none") == {}
