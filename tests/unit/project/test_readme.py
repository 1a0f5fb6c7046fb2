"""The README is read in three minutes: it is short, and so are its sentences."""

import re

from study_folder import REPOSITORY

README = (REPOSITORY / "README.md").read_text()


def sentences(page: str) -> list[str]:
    """The sentences of a Markdown page's paragraphs and lists: no code, tables, pictures or headings."""
    text = re.sub(r"^```.*?^```$|^\|.*?$|^!\[.*?$|^#.*?$", "\n", page, flags=re.MULTILINE | re.DOTALL)
    paragraphs = re.split(r"\n\s*\n|\n(?=- )", re.sub(r"\]\([^)]*\)", "]", text))
    return [part for paragraph in paragraphs for part in re.split(r"(?<=[.?!])\*{0,2}\s+", " ".join(paragraph.split())) if part]


def words(sentence: str) -> int:
    return len(re.findall(r"\w[\w'’.,/]*", sentence))


def test_the_readme_is_short():
    lengths = [words(sentence) for sentence in sentences(README)]
    assert len(README.splitlines()) <= 120
    assert sum(lengths) / len(lengths) <= 20 and max(lengths) <= 40, sorted(lengths)[-3:]


def test_a_sentence_ends_where_a_reader_takes_breath():
    assert sentences("# no\n\nOne two.\nThree **four**? [Five](x.md): six\n- seven\n\n| a | b |\n") == [
        "One two.",
        "Three **four**?",
        "[Five]: six",
        "- seven",
    ]
    assert words("a `b` 82 % [48, 98]") == 5
