"""What two policies' trainings have in common, and so what a contrast between them isolates."""

BUDGET = ("epochs", "learning_rate", "schedule", "warmup_steps", "weight_decay", "batch_size", "max_length", "max_rows", "lora")
"""Settings that trainings by different trainers share; the others belong to the trainer."""
IDLE = ("micro_batch",)
"""Settings that change the last bits of a result only."""


def differences(policy: list[dict], against: list[dict]) -> list[str]:
    """What sets a policy apart from another, one entry per difference; a single entry is what their contrast isolates.

    policy, against: the trainings that lead to each, the first one first: method, trainer, data and settings.
    """
    ours, theirs = ([{**training, "parent": None, "method": None} for training in trainings] for trainings in (policy, against))
    start = 0
    while start < min(len(ours), len(theirs)) and ours[start] == theirs[start]:
        start += 1
    end = 0
    while end < min(len(ours), len(theirs)) - start and ours[-1 - end] == theirs[-1 - end]:
        end += 1
    ours, theirs = (trainings[start : len(trainings) - end] for trainings in (policy, against))
    shared = min(len(ours), len(theirs))
    extra = [f"{training['method']} on {training['data']} added" for training in ours[: len(ours) - shared]]
    lacking = [f"{training['method']} on {training['data']} left out" for training in theirs[: len(theirs) - shared]]
    pairs = zip(ours[len(ours) - shared :], theirs[len(theirs) - shared :], strict=True)
    return [*extra, *lacking, *(change for one, other in pairs for change in changes(one, other))]


def other_weights(policy: list[str], against: list[str]) -> list[str]:
    """What sets the weights that two policies were given apart; policy, against: the model of each, then the adapters on it."""
    (model, *adapters), (other, *others) = policy, against
    added = [f"adapter {name} added" for name in adapters if name not in others]
    return [*_changed("weights", model, other), *added, *(f"adapter {name} left out" for name in others if name not in adapters)]


def asked_otherwise(generation: dict, against: dict) -> list[str]:
    """What sets the settings by which a policy is asked apart from another's, as `generation.key theirs → ours`."""
    return _changed("generation", generation, against)


def changes(training: dict, against: dict) -> list[str]:
    """Where two trainings differ, as `key theirs → ours`."""
    one, other = ({"trainer": each["trainer"], "data": each["data"], **each["settings"]} for each in (training, against))
    alike = one["trainer"] == other["trainer"]
    settings = sorted(key for key in {*training["settings"], *against["settings"]} if (alike or key in BUDGET) and key not in IDLE)
    keys = ["trainer", "data", *settings]
    return [change for key in keys for change in _changed(key, one.get(key), other.get(key))]


def _changed(key: str, value: object, before: object) -> list[str]:
    if value == before:
        return []
    if isinstance(value, dict) and isinstance(before, dict):
        return [change for part in sorted({*value, *before}) for change in _changed(f"{key}.{part}", value.get(part), before.get(part))]
    return [f"{key} {_shown(before)} → {_shown(value)}"]


def _shown(value: object) -> str:
    if value is None:
        return "none"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dict):
        return ", ".join(f"{key} {_shown(entry)}" for key, entry in sorted(value.items()))
    return " ".join(map(str, value)) if isinstance(value, list) else str(value)
