"""The report and the response browser in headless Chromium, opened from disk."""

import re
import shutil
import time
from statistics import median

import pytest
from axe_playwright_python.sync_playwright import Axe
from page_study import HOSTILE, PageStudy
from playwright.sync_api import expect, sync_playwright

CHROMIUM = shutil.which("chromium")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs Debian's package chromium")
DESK, PHONE = {"width": 1280, "height": 900}, {"width": 390, "height": 844}


@pytest.fixture(scope="module")
def chromium():
    with sync_playwright() as started:
        browser = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    made = PageStudy(tmp_path_factory.mktemp("results") / "made")
    made.analyse()
    made.report, made.browser = made.render_report(), made.render_browser()
    return made


@pytest.fixture
def visit(chromium):
    """Open a page; at the end no request may have left the file, none failed, and nothing may stand in the console."""
    contexts, said = [], []

    def opened(path, fragment="", viewport=DESK, shown=True, **options):
        context = chromium.new_context(viewport=viewport, **options)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("request", lambda request: said.append(request.url) if not request.url.startswith(("file:", "data:")) else None)
        page.on("requestfailed", lambda request: said.append(f"failed: {request.url}"))
        page.goto(path.as_uri() + fragment)
        if shown and page.locator("#open").count():
            page.click("#open")
        return page

    yield opened
    for context in contexts:
        context.close()
    assert said == []


def listed(page):
    """Prompt ids on the list's page."""
    return page.locator("#items .id").all_inner_texts()


def count(page):
    return int(page.inner_text("#count").split(" of ")[0].replace(",", ""))


def test_every_link_of_the_report_leads_somewhere(study, visit):
    page = visit(study.report)
    for link in page.locator("a").all():
        target = link.get_attribute("href")
        if target.startswith("#"):
            assert page.locator(target).count() == 1, target
        elif not target.startswith("https://arxiv.org/"):
            assert (study.report.parent / target).is_file(), target
    page.click("text=Read the responses")
    assert page.url.endswith("browser.html")
    page.click("text=Report")
    assert page.url.endswith("index.html")


def test_no_text_is_shown_before_the_notice_is_opened_and_once_is_enough(study, visit):
    page = visit(study.browser, shown=False)
    assert "question" not in page.inner_text("body") and page.locator("#items li").count() == 0
    page.click("#open")
    assert "question" in page.inner_text("body")
    page.reload()
    assert page.is_hidden("#notice") and "question" in page.inner_text("body")


def any_policy(study, condition, policies=None):
    """How many prompts have a policy whose response meets the condition(policy, seed, place, row)."""
    chosen = [(policy, seed) for policy, seed in study.responses if policies is None or policy in policies]
    return sum(any(condition(*which, place, study.responses[which][number]) for which in chosen) for number, place in enumerate(study.ids))


def test_every_filter_keeps_what_it_says(study, visit):
    def good(policy, seed, place, row):
        return study.good("one", policy, seed, place)

    def score(policy, seed, place, row):
        return study.rewards["one", policy, seed][place]

    def change(policy, against, place):
        seeds = [0 if name == "base" else 42 for name in (policy, against)]
        return study.good("one", policy, seeds[0], place) - study.good("one", against, seeds[1], place)

    parents = {"sft": "base", "dpo": "base", "sft_dpo": "sft"}
    cases = [
        ({"axis": "0"}, sum(axis == "harmlessness" for axis, _ in study.ids)),
        ({"verdict": "bad"}, any_policy(study, lambda *at: not good(*at))),
        ({"verdict": "good", "policy": "1"}, any_policy(study, good, ["sft"])),
        ({"change": "lost"}, any_policy(study, lambda policy, seed, place, row: policy != "base" and change(policy, "base", place) < 0)),
        ({"change": "gained", "policy": "3"}, any_policy(study, lambda policy, seed, place, row: change("sft_dpo", "base", place) > 0, ["sft_dpo"])),
        (
            {"change": "gained", "against": "parent"},
            any_policy(study, lambda policy, seed, place, row: policy in parents and change(policy, parents[policy], place) > 0),
        ),
        ({"low": "-1.5"}, any_policy(study, lambda *at: score(*at) >= -1.5)),
        ({"low": "-3", "high": "-2.5", "policy": "2"}, any_policy(study, lambda *at: -3 <= score(*at) <= -2.5, ["dpo"])),
        ({"empty": True}, any_policy(study, lambda policy, seed, place, row: row["response"] == "")),
        ({"empty": True, "policy": "1"}, 0),
        ({"text": "REPLY OF SFT_DPO 42 to helpfulness-01"}, any_policy(study, lambda policy, seed, place, row: "sft_dpo 42 to helpfulness-01" in row["response"])),
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
    spread = {place[1]: max(row[place] for row in rewards) - min(row[place] for row in rewards) for place in study.ids}
    assert listed(page) == sorted(spread, key=lambda name: -spread[name])[:50]
    page.select_option("[name=order]", "low")
    lowest = {place[1]: min(row[place] for row in rewards) for place in study.ids}
    assert listed(page) == sorted(lowest, key=lowest.get)[:50]


def test_a_prompt_shows_every_policys_score_verdict_length_and_change(study, visit):
    page = visit(study.browser, "#helpfulness-012")
    place = ("helpfulness", "helpfulness-012")
    cards = page.locator(".card").all()
    assert [card.locator("h3").inner_text() for card in cards] == study.order
    for policy, card in zip(study.order, cards, strict=True):
        seed = 0 if policy == "base" else 42
        text = card.inner_text().replace("−", "-")
        reward = study.rewards["one", policy, seed][place]
        assert f"{reward:.2f}" in text and f"reply of {policy} {seed} to helpfulness-012" in text
        assert ("✓ helpful" in text) == study.good("one", policy, seed, place)
        assert "ended by length" in text and "22" in text
        if policy == "sft_dpo":
            for other in ("base", "sft"):
                against = study.rewards["one", other, 0 if other == "base" else 42][place]
                assert f"vs {other}" in text and f"{reward - against:+.2f}" in text


def test_keys_buttons_and_fragments_lead_from_prompt_to_prompt(study, visit):
    page = visit(study.browser, "#harmlessness-049")
    page.keyboard.press("j")
    expect(page).to_have_url(re.compile("#harmlessness-050$"))
    expect(page.locator("#title")).to_contain_text("harmlessness-050")
    assert "page 2" in page.inner_text("#page")
    page.keyboard.press("ArrowLeft")
    expect(page).to_have_url(re.compile("#harmlessness-049$"))
    page.click("#next")
    page.click("#next")
    expect(page).to_have_url(re.compile("#harmlessness-051$"))
    page.go_back()
    expect(page).to_have_url(re.compile("#harmlessness-050$"))
    page.keyboard.press("/")
    page.keyboard.type("question 7?")
    assert listed(page) == ["harmlessness-007"] and "not among the filtered prompts" in page.inner_text("#title")
    page.click("#items a")
    expect(page.locator("#title")).to_contain_text("1 of 1")
    page.evaluate("location.hash = 'nothing'")
    expect(page.locator("#title")).to_have_text("There is no prompt nothing.")


def test_hostile_text_stays_text(study, visit):
    page = visit(study.browser, "#harmlessness-003")
    assert HOSTILE in page.inner_text("#text")
    assert all(HOSTILE in text for text in page.locator(".card pre").all_inner_texts())
    assert page.locator("img").count() == 0 and page.evaluate("window.hurt") is None
    assert page.evaluate("document.scripts.length") == 2


def places(page):
    return [
        page.locator(name).nth(n).bounding_box()["y"]
        for name in ("#text", ".card pre", ".card dl")
        for n in range(page.locator(name).count())
    ]


@pytest.mark.parametrize("viewport", [DESK, PHONE])
def test_fifty_lines_move_nothing(study, visit, viewport):
    page = visit(study.browser, "#harmlessness-004", viewport)
    before = places(page)
    page.click("#next")
    expect(page.locator("#text")).to_contain_text("a long line")
    assert places(page) == before


@pytest.mark.parametrize("name", ["report", "browser"])
def test_nothing_is_wider_than_a_phone(study, visit, name):
    for fragment in ("", "#harmlessness-005"):
        page = visit(getattr(study, name), fragment, PHONE)
        page.evaluate("document.querySelectorAll('details').forEach(part => part.open = true)")
        assert page.evaluate("document.documentElement.scrollWidth") == 390


def test_a_phone_shows_the_list_or_the_prompt(study, visit):
    page = visit(study.browser, "", PHONE)
    assert page.is_visible("#list") and page.is_hidden("#prompt")
    page.click("#items li:nth-child(3) a")
    expect(page.locator("#list")).to_be_hidden()
    assert page.is_visible("#prompt")
    page.click("#back")
    expect(page.locator("#list")).to_be_visible()
    assert page.is_hidden("#prompt")


@pytest.mark.parametrize("viewport", [DESK, PHONE])
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", ["report", "browser"])
def test_it_is_accessible(study, visit, name, scheme, viewport):
    page = visit(getattr(study, name), viewport=viewport, color_scheme=scheme)
    page.evaluate("document.querySelectorAll('details').forEach(part => part.open = true)")
    found = Axe().run(page).response["violations"]
    assert [f"{rule['id']}: {rule['nodes'][0]['html']}" for rule in found if rule["impact"] in ("serious", "critical")] == []


def test_judges_and_seeds_are_chosen(tmp_path, visit):
    made = PageStudy(tmp_path / "made", n=8, judges=("one", "two"), seeds=(42, 43))
    page = visit(made.render_browser(), "#helpfulness-001")
    place = ("helpfulness", "helpfulness-001")
    for judge, seed in ((0, 0), (1, 0), (1, 1)):
        page.select_option("[name=judge]", str(judge))
        page.select_option("[name=seed]", str(seed))
        text = page.locator(".card").nth(1).inner_text().replace("−", "-")
        reward = made.rewards[("one", "two")[judge], "sft", (42, 43)[seed]][place]
        assert f"{reward:.2f}" in text and f"reply of sft {(42, 43)[seed]} to" in text


def test_one_judge_and_one_seed_leave_nothing_to_choose(study, visit):
    page = visit(study.browser)
    assert page.is_hidden("[name=judge]") and page.is_hidden("[name=seed]")


@pytest.mark.long
def test_five_thousand_prompts_and_six_policies_stay_fluent(tmp_path, visit, capsys):
    # on a machine that does nothing else; the median of three, and what was measured is printed
    made = PageStudy(tmp_path / "made", n=2500, policies=6)
    path = made.render_browser()
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
        "verdict": "form.verdict.value = 'bad'",
        "disagreement": "form.order.value = 'disagreement'",
    }
    measured = {}
    for name, change in filters.items():
        page.evaluate("document.getElementById('form').reset()")
        expect(page.locator("#count")).to_contain_text("5,000 of")
        act = f"() => {{ const form = document.getElementById('form').elements; {change}; form.text.dispatchEvent(new Event('input', {{bubbles: true}})); }}"
        measured[name] = page.evaluate(f"() => ({timed})({act})")
    return measured
