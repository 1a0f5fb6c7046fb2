"""What is printed moves no cursor, colours nothing and turns no reading direction."""

import pytest
from command_line import call

from hh_align.core.artifacts import say
from hh_align.core.errors import StudyError
from hh_align.tools import annotate, verdict

SIGNS = ["\x1b[31m", "\x07", "\x9b2J", "\u202e", "\0", "\r"]


@pytest.mark.parametrize("sign", SIGNS, ids=ascii)
def test_control_characters_are_shown_and_not_obeyed(capsys, sign):
    say(f"naïve „{sign}“\nnext")
    printed = capsys.readouterr().out
    assert printed == f"naïve „{sign[0].encode('unicode_escape').decode()}{sign[1:]}“\nnext\n"
    assert str(StudyError(f"a{sign}\nb")) == f"a{sign[0].encode('unicode_escape').decode()}{sign[1:]}\\nb"


@pytest.mark.parametrize(
    ("more", "said"), [({"sample": "abc"}, "'abc'"), ({}, "--folder"), ({"folder": "x", "until": ["a", "b\x1b"]}, r"b\x1b")]
)
def test_a_command_line_that_cannot_be_read_is_one_line(more, said):
    status, printed = call(annotate, **more)
    assert status == 2 and printed.startswith("error: ") and printed.count("\n") == 1 and said in printed


@pytest.mark.parametrize(("name", "said"), [("gone.yaml", "No such file or directory"), ("folder", "Is a directory")])
def test_a_path_that_is_no_file_is_named_and_to_be_checked(tmp_path, name, said):
    (tmp_path / "folder").mkdir()
    files = {"responses": tmp_path / "r.csv", "output": tmp_path / "out"}
    status, printed = call(verdict, **files, settings=tmp_path / name)
    assert status == 1 and printed.splitlines()[-1] == f"error: {tmp_path / name}: {said}. Check the path."
