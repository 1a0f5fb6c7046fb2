"""Checks of a config's judges, and of the one that says whether a question was refused."""

import re

from hh_align.config.graph import require_known
from hh_align.core.axes import THRESHOLD_KEYS
from hh_align.core.errors import StudyError

OUTPUT_KEYS = {"reward": (), "label": ("label", "higher_is"), "attribute": ("attribute", "higher_is")}


def take_pairwise(config: dict) -> None:
    """Move the judges that are asked for preferences from `judges` to `pairwise`: they give no rewards, so nothing that reads rewards sees them.

    Raises StudyError where no judge of the study gives rewards, and where there is no contrast to ask about.
    """
    judges = config.get("judges", {})
    pairwise = {name: judge for name, judge in judges.items() if judge.get("asks") == "preference"}
    if not pairwise:
        return
    names = ", ".join(pairwise)
    if len(pairwise) == len(judges):
        raise StudyError(
            f"config: judges has {names} only, asked for preferences: a study needs one judge that gives rewards, too. Add one."
        )
    if not config["analysis"]["contrasts"]:
        raise StudyError(f"config: analysis.contrasts is empty, but judges ask about the declared contrasts: {names}. Add a contrast.")
    config["judges"] = {name: judge for name, judge in judges.items() if name not in pairwise}
    config["pairwise"] = pairwise


def check_judges(config: dict) -> None:
    """Raise StudyError where a judge's data or release does not exist, or its keys do not belong together."""
    for name, judge in config.get("pairwise", {}).items():
        _check_endpoint(f"judges.{name}", judge)
    for name, judge in config["judges"].items():
        require_known(f"judges.{name}.data", judge.get("data"), config.get("datasets", {}))
        _check_thresholds(f"judges.{name}", judge)
        _check_output(f"judges.{name}", judge)
        if judge["source"] == "endpoint":
            _check_endpoint(f"judges.{name}", judge)
            _check_answers(f"judges.{name}", judge)
        if judge["source"] == "released" and "release" not in config:
            raise StudyError(f"config: judges.{name}.source is released, but there is no `release:` to take its ratings from.")


def _check_thresholds(key: str, judge: dict) -> None:
    for axis, threshold in THRESHOLD_KEYS.items():
        if judge["axis"] in (axis, "both") and threshold not in judge:
            raise StudyError(f"config: {key} lacks the key {threshold}.")
        if judge["axis"] not in (axis, "both") and threshold in judge:
            raise StudyError(f"config: {key}.{threshold} belongs to {axis}, but the judge's axis is {judge['axis']}.")


def _check_output(key: str, judge: dict) -> None:
    needed = OUTPUT_KEYS[judge.get("output", "reward")]
    for name in ("label", "attribute", "higher_is"):
        if name in needed and name not in judge:
            raise StudyError(f"config: {key} lacks the key {name}, which output: {judge['output']} needs.")
        if name in judge and name not in needed:
            raise StudyError(f"config: {key}.{name} has no meaning with output: {judge['output']}.")
    if judge.get("scale") == "logit" and judge["output"] != "label":
        raise StudyError(f"config: {key}.scale has no meaning with output: {judge['output']}.")


def _check_answers(key: str, judge: dict) -> None:
    ends = [name for name in ("lowest", "highest") if name in judge]
    if "classes" in judge:
        if ends:
            raise StudyError(
                f"config: {key} has both classes and {' and '.join(ends)}: its answers are words or numbers. Take one of the two out."
            )
        if len({name.strip().casefold() for name in judge["classes"]}) < len(judge["classes"]):
            raise StudyError(f"config: {key}.classes has names that differ in the case of letters only: {', '.join(judge['classes'])}.")
    elif len(ends) < 2:
        missing = [name for name in ("lowest", "highest") if name not in ends]
        raise StudyError(f"config: {key} lacks the key {', '.join(missing)} (or classes, where its answers are words).")
    elif judge["lowest"] >= judge["highest"]:
        raise StudyError(f"config: {key}.lowest ({judge['lowest']}) is not below highest ({judge['highest']}).")


def _check_endpoint(key: str, judge: dict) -> None:
    if "key_env" in judge and re.match(r"http://(?!127\.0\.0\.1[:/]|localhost[:/])", judge["url"]):
        raise StudyError(f"config: {key}.url is {judge['url']}: a key goes over https only (or to this machine).")
    if ("price_in" in judge) != ("price_out" in judge):
        raise StudyError(f"config: {key} needs both price_in and price_out, or neither.")


def check_overrefusal(config: dict) -> None:
    """Raise StudyError where the judge of refusals has no label, or no policy can be asked."""
    if "overrefusal" not in config:
        return
    judge = config["overrefusal"].get("judge")
    require_known("overrefusal.judge", judge, config["judges"])
    if judge is not None and config["judges"][judge].get("output") != "label":
        raise StudyError(f"config: overrefusal.judge is {judge}, which has no label: its output must be label.")
    if "release" in config:
        raise StudyError("config: overrefusal has policies answer questions, but a release has no weights. Set it to null.")
