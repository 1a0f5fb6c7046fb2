"""What a step's log says of it: known lines."""

import pytest

from hh_align.core.progress import Progress
from hh_align.tools.logs import cause, last_losses, last_progress, told


@pytest.fixture
def log(tmp_path):
    def write(text):
        (tmp_path / "step.log").write_bytes(text.encode() if isinstance(text, str) else text)
        return tmp_path / "step.log"

    return write


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (["step 119/3,750, 1.5/s, 900 tokens/s, 00:40:21 left, loss 2.3100"], ("step 119/3,750, 00:40:21 left, loss 2.3100", 2421.0)),
        (["prompt 8/9, 1.0/s, 00:00:01 left", "checkpoint at step 8"], ("prompt 8/9, 00:00:01 left", 1.0)),
        (["prompt 9/9, 1.0/s, 00:00:00 left", "merging"], ("", None)),  # of a part that is done
        (["step 1/9, 0.0/s, unknown left"], ("", None)),
        (["reading 40 of 200 pairs"], ("", None)),
        (["    model.safetensors: 1.2 MB of 1.7 GB"], ("model.safetensors: 1.2 MB of 1.7 GB", None)),
        ([], ("", None)),
    ],
)
def test_the_last_progress_of_a_step_is_read(lines, said):
    assert told(lines) == said


def test_progress_as_it_is_written_is_read(capsys):
    Progress(1, "prompt").add(1)
    assert told(capsys.readouterr().out.splitlines()) == ("prompt 1/1, 00:00:00 left", None)


def test_the_last_progress_is_found_among_other_lines(log, tmp_path):
    path = log(b"x" * 50_000 + b"\nprompts 5/10, 1.0/s\nloss 3\nmerged\xff\n")
    assert last_progress(path) == "prompts 5/10, 1.0/s" and last_losses(path) == []
    assert last_progress(tmp_path / "none.log") == "no line yet"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("step 1/2\nerror: the loss is nan. Lower learning_rate.\nends\n", ["error: the loss is nan. Lower learning_rate."]),
        ("Traceback:\n  File x\n    raise\n\nKeyError: 'x'\n", ["  File x", "    raise", "KeyError: 'x'"]),
        ("error: \x1b[31mred\n", ["error: \\x1b[31mred"]),
        ("", ["it left no word: it was killed, where memory ran out by the system, or did not begin"]),
    ],
)
def test_the_cause_of_a_failure(log, tmp_path, text, said):
    assert cause(log(text)) == said
    assert cause(tmp_path / "none.log") == ["it left no word: it was killed, where memory ran out by the system, or did not begin"]
