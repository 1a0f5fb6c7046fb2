"""The response browser's filters and orders: each keeps what it says, also with five thousand prompts, without a pause."""

import re
import time
from statistics import median

import pytest
from page_study import PageStudy
from playwright.sync_api import expect
from screens import listed


def count(page):
    return int(page.inner_text("#count").split(" of ")[0].replace(",", ""))


def any_policy(study, condition, policies=None):
    """How many prompts have a policy whose response meets the condition(policy, seed, prompt, row)."""
    chosen = [(policy, seed) for policy, seed in study.responses if policies is None or policy in policies]
    return sum(
        any(condition(*which, prompt, study.responses[which][number]) for which in chosen) for number, prompt in enumerate(study.ids)
    )


def test_every_filter_keeps_what_it_says(study, visit):
    def good(policy, seed, prompt, row):
        return study.good("one", policy, seed, prompt)

    def reward(policy, seed, prompt, row):
        return study.rewards["one", policy, seed][prompt]

    def change(policy, against, prompt):
        seeds = [0 if name == "base" else 42 for name in (policy, against)]
        return study.good("one", policy, seeds[0], prompt) - study.good("one", against, seeds[1], prompt)

    parents = {"sft": "base", "dpo": "base", "sft_dpo": "sft"}
    cases = [
        ({"axis": "0"}, sum(axis == "harmlessness" for axis, _ in study.ids)),
        ({"label": "bad"}, any_policy(study, lambda *at: not good(*at))),
        ({"label": "good", "policy": "1"}, any_policy(study, good, ["sft"])),
        ({"change": "lost"}, any_policy(study, lambda policy, seed, prompt, row: policy != "base" and change(policy, "base", prompt) < 0)),
        ({"change": "gained", "policy": "3"}, any_policy(study, lambda policy, seed, prompt, row: change("sft_dpo", "base", prompt) > 0, ["sft_dpo"])),
        (
            {"change": "gained", "against": "parent"},
            any_policy(study, lambda policy, seed, prompt, row: policy in parents and change(policy, parents[policy], prompt) > 0),
        ),
        ({"low": "-1.5"}, any_policy(study, lambda *at: reward(*at) >= -1.5)),
        ({"low": "-3", "high": "-2.5", "policy": "2"}, any_policy(study, lambda *at: -3 <= reward(*at) <= -2.5, ["dpo"])),
        ({"empty": True}, any_policy(study, lambda policy, seed, prompt, row: row["response"] == "")),
        ({"empty": True, "policy": "1"}, 0),
        ({"text": "REPLY OF SFT_DPO 42 to helpfulness-01"}, any_policy(study, lambda policy, seed, prompt, row: "sft_dpo 42 to helpfulness-01" in row["response"])),
        ({"text": "question 119?"}, 1),
        ({"text": "no such words"}, 0),
    ]  # fmt: skip
    page = visit(study.browser)
    for filters, expected in cases:
        page.click("text=Reset")
        expect(page.locator("#count")).to_contain_text("120 of")
        for name, value in filters.items():
            field = page.locator(f"[name={name}]")
            kind = field.evaluate("field => field.localName + field.type")
            if value is True:
                field.check()
            elif kind.startswith("select"):
                field.select_option(value)
            else:
                field.fill(value)
        assert count(page) == expected, filters
        assert expected or "No prompt passes" in page.inner_text("#items")


def test_the_most_disputed_prompts_come_first(study, visit):
    page = visit(study.browser)
    page.select_option("[name=order]", "disagreement")
    rewards = [study.rewards["one", policy, seed] for policy, seed in study.responses]
    spread = {prompt[1]: max(row[prompt] for row in rewards) - min(row[prompt] for row in rewards) for prompt in study.ids}
    assert listed(page) == sorted(spread, key=lambda name: -spread[name])[:50]
    page.select_option("[name=order]", "low")
    lowest = {prompt[1]: min(row[prompt] for row in rewards) for prompt in study.ids}
    assert listed(page) == sorted(lowest, key=lowest.get)[:50]


@pytest.mark.long
def test_five_thousand_prompts_and_six_policies_stay_fluent(tmp_path, visit, capsys):
    # on a machine that does nothing else; the median of three, and what was measured is printed
    study = PageStudy(tmp_path / "made", n=2500, policies=6)
    path = study.render_browser()
    first, filters = [], {}
    for _ in range(3):
        started = time.perf_counter()
        page = visit(path)
        assert "5,000 of 5,000" in page.inner_text("#count") and page.locator(".card").count() == 6
        first.append(time.perf_counter() - started)
        for name, seconds in timed_filters(page).items():
            filters.setdefault(name, []).append(seconds)
    measured = {name: median(values) for name, values in filters.items()}
    with capsys.disabled():
        shown = ", ".join(f"{name} {value:.0f} ms" for name, value in measured.items())
        print(f"\n{path.stat().st_size / 2**20:.1f} MB: first view {median(first):.2f} s; {shown}")
    assert median(first) < 2 and max(measured.values()) < 200
    assert re.fullmatch(r"page 1 of \d+", page.inner_text("#page"))


def timed_filters(page):
    """Filter -> milliseconds from its input to the finished layout."""
    timed = "act => { const start = performance.now(); act(); document.body.offsetHeight; return performance.now() - start; }"
    filters = {
        "search, the first time": "form.text.value = 'to helpfulness-21'",
        "search": "form.text.value = 'question 4321'",
        "label": "form.label.value = 'bad'",
        "disagreement": "form.order.value = 'disagreement'",
    }
    measured = {}
    for name, change in filters.items():
        page.evaluate("document.getElementById('form').reset()")
        expect(page.locator("#count")).to_contain_text("5,000 of")
        act = f"() => {{ const form = document.getElementById('form').elements; {change}; form.text.dispatchEvent(new Event('input', {{bubbles: true}})); }}"
        measured[name] = page.evaluate(f"() => ({timed})({act})")
    return measured
