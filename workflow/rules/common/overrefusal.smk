"""What the steps of the over-refusal ask for."""

TWINS = config.get("overrefusal", {})


def twin_responses():
    return [path.replace("<results>", "<results>/overrefusal") for path in response_files()]


def twin_rewards():
    paths = reward_files(judges=[TWINS["judge"]]) if "judge" in TWINS else []
    return [path.replace("<results>", "<results>/overrefusal") for path in paths]


def twin_scoring_config(wildcards):
    """The judge's label as a probability, of both sets of questions."""
    return step(**{**reading_settings(wildcards.judge), "scale": "probability"}, axes=["safe", "contrast"])


def twin_config():
    parents = {policy: {"parent": config["policies"][policy].get("parent")} for policy in POLICIES}
    judge = (
        {"name": TWINS["judge"], "higher_is": JUDGES[TWINS["judge"]]["higher_is"], "refused_from": TWINS["refused_from"]}
        if "judge" in TWINS
        else {}
    )
    return step(policies=parents, order=POLICIES, seeds=config["seeds"], judge=judge)
