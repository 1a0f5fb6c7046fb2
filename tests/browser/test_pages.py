"""The report and the response browser in headless Chromium, opened from disk."""

import re

import pytest
from axe_playwright_python.sync_playwright import Axe
from page_study import HOSTILE, PageStudy
from playwright.sync_api import expect
from screens import DESK, PHONE, listed


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


def test_a_prompt_shows_every_policys_reward_label_length_and_change(study, visit):
    page = visit(study.browser, "#helpfulness-012")
    prompt = ("helpfulness", "helpfulness-012")
    cards = page.locator(".card").all()
    assert [card.locator("h3").inner_text() for card in cards] == study.order
    for policy, card in zip(study.order, cards, strict=True):
        seed = 0 if policy == "base" else 42
        text = card.inner_text().replace("−", "-")
        reward = study.rewards["one", policy, seed][prompt]
        assert f"{reward:.2f}" in text and f"reply of {policy} {seed} to helpfulness-012" in text
        assert ("✓ helpful" in text) == study.good("one", policy, seed, prompt)
        assert "ended by length" in text and "22" in text
        if policy == "sft_dpo":
            for other in ("base", "sft"):
                against = study.rewards["one", other, 0 if other == "base" else 42][prompt]
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


def heights(page):
    return [
        page.locator(name).nth(n).bounding_box()["y"]
        for name in ("#text", ".card pre", ".card dl")
        for n in range(page.locator(name).count())
    ]


@pytest.mark.parametrize("viewport", [DESK, PHONE])
def test_fifty_lines_move_nothing(study, visit, viewport):
    page = visit(study.browser, "#harmlessness-004", viewport)
    before = heights(page)
    page.click("#next")
    expect(page.locator("#text")).to_contain_text("a long line")
    assert heights(page) == before


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
    violations = Axe().run(page).response["violations"]
    assert [f"{rule['id']}: {rule['nodes'][0]['html']}" for rule in violations if rule["impact"] in ("serious", "critical")] == []


def test_judges_and_seeds_are_chosen(tmp_path, visit):
    study = PageStudy(tmp_path / "made", n=8, judges=("one", "two"), seeds=(42, 43))
    page = visit(study.render_browser(), "#helpfulness-001")
    prompt = ("helpfulness", "helpfulness-001")
    for judge, seed in ((0, 0), (1, 0), (1, 1)):
        page.select_option("[name=judge]", str(judge))
        page.select_option("[name=seed]", str(seed))
        text = page.locator(".card").nth(1).inner_text().replace("−", "-")
        reward = study.rewards[("one", "two")[judge], "sft", (42, 43)[seed]][prompt]
        assert f"{reward:.2f}" in text and f"reply of sft {(42, 43)[seed]} to" in text


def test_one_judge_and_one_seed_leave_nothing_to_choose(study, visit):
    page = visit(study.browser)
    assert page.is_hidden("[name=judge]") and page.is_hidden("[name=seed]")


def test_what_stands_against_a_policys_text_fits_a_phone_and_is_accessible(tmp_path, visit):
    study = PageStudy(tmp_path / "made", n=20, broken="dpo", unmoved="sft_dpo")
    study.analyse()
    for scheme in ("light", "dark"):
        page = visit(study.render_report(), "#text", PHONE, color_scheme=scheme)
        assert page.evaluate("document.documentElement.scrollWidth") == 390
        assert page.locator("#verdict .caveat").count() == 9 and page.locator("#contrasts .caveat").first.is_visible()
        violations = Axe().run(page).response["violations"]
        assert [rule["id"] for rule in violations if rule["impact"] in ("serious", "critical")] == []
