"""docs/formats.md: every line of it is what the readers do."""

import pytest
from format_cases import matches, outcome
from format_page import PAGE, SECTIONS, page

from hh_align.core.records import READERS
from hh_align.evaluation.import_responses import LAYOUTS

CASES = [(section, case) for section in SECTIONS for case in (*section.formats, *section.faults)]
FORMATS = [case for section in SECTIONS for case in section.formats]


@pytest.mark.parametrize(("section", "case"), CASES, ids=[f"{section.title}: {case.what}" for section, case in CASES])
def test_a_file_is_read_as_the_page_says(tmp_path, section, case):
    rows, said = outcome(section, case, tmp_path)
    assert rows == case.gives, said
    assert matches(case.says, said, whole=case.gives is None), said


def test_the_page_holds_every_case():
    assert PAGE.read_text(encoding="utf-8") == page(), "run tests/format_page.py"
    assert len(FORMATS) >= 60 and len(CASES) >= 150
    assert len({(section.title, case.what) for section, case in CASES}) == len(CASES)


def test_a_refusal_has_a_message_that_names_the_file():
    assert [case.what for _, case in CASES if case.gives is None and case.file not in case.says] == []


def test_every_layout_and_every_kind_of_file_is_on_the_page():
    assert {case.settings.get("layout", "table") for case in FORMATS} == set(LAYOUTS)
    assert {ending for case in FORMATS for ending in READERS if case.file.lower().endswith(ending)} == set(READERS)
