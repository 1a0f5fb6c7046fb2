"""Checks of a config whose responses and ratings come from a release."""

from hh_align.config.graph import JUDGES_MADE_HERE, require_known
from hh_align.core.errors import StudyError


def check_release(config: dict) -> None:
    """Raise StudyError where the release, its judge, its policies or its files' checksums do not fit the study."""
    release, judges = config["release"], config["judges"]
    require_known("release.judge", release["judge"], judges)
    for policy in release["policies"]:
        require_known("release.policies", policy, config["policies"])
    if missing := sorted(set(config["policies"]) - set(release["policies"])):
        raise StudyError(f"config: release.policies lacks {', '.join(missing)}. Every policy needs the beginning of its file names.")
    if judges[release["judge"]]["source"] != "released":
        raise StudyError(
            f"config: release.judge is {release['judge']}, whose ratings come with the release: set judges.{release['judge']}.source to "
            "released, and give a judge with weights another name."
        )
    for name, judge in judges.items():
        if judge["source"] in JUDGES_MADE_HERE:
            raise StudyError(
                f"config: judges.{name}.source is {judge['source']}, but a release has no pairs to train it on. "
                "Allowed: hub, local, released, imported, endpoint."
            )
        if judge["source"] == "released" and name != release["judge"]:
            raise StudyError(f"config: judges.{name}.source is released, but the release's ratings are those of {release['judge']}.")
    if "path" not in release and not {"repo", "revision"} <= set(release):
        raise StudyError("config: release needs either path (a folder) or repo and revision (a download).")
    files = [f"responses/{beginning}_{axis}.json" for beginning in release["policies"].values() for axis in ("harmful", "helpful")]
    if missing := sorted({"prompts/harmful_prompts.json", "prompts/helpful_prompts.json", *files} - set(release["sums"])):
        raise StudyError(f"config: release.sums lacks {', '.join(missing)}. Every file that is read needs its sha256.")
