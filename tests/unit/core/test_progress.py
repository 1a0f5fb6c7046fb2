"""Progress lines of long steps."""

from hh_align.core.progress import Progress, clock


def test_progress_says_what_is_done_how_fast_and_what_remains(monkeypatch, capsys):
    now = 100.0
    monkeypatch.setattr("hh_align.core.progress.time.monotonic", lambda: now)
    progress = Progress(1000, "prompt", done=0)
    progress.skip(100)  # an earlier run's: no rate of this one
    progress.leave(100)
    now = 102.0
    progress.add(1, 10)
    assert capsys.readouterr().out == ""  # not every batch has a line
    now = 110.0
    progress.add(1, 10)
    assert capsys.readouterr().out == "prompt 102/900, 0.2/s, 2 tokens/s, 01:06:30 left\n"
    assert clock(90_061) == "25:01:01"
