"""What is printed moves no cursor, colours nothing and turns no reading direction."""

import pytest

from hh_align.core.artifacts import say
from hh_align.core.errors import StudyError

SIGNS = ["\x1b[31m", "\x07", "\x9b2J", "\u202e", "\0", "\r"]


@pytest.mark.parametrize("sign", SIGNS, ids=ascii)
def test_control_characters_are_shown_and_not_obeyed(capsys, sign):
    say(f"naïve „{sign}“\nnext")
    printed = capsys.readouterr().out
    assert printed == f"naïve „{sign[0].encode('unicode_escape').decode()}{sign[1:]}“\nnext\n"
    assert str(StudyError(f"a{sign}\nb")) == f"a{sign[0].encode('unicode_escape').decode()}{sign[1:]}\\nb"
