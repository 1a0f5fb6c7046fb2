"""Which output of a text classifier or of a regression head is the reward, and which kinds count positions from their padding."""

from pathlib import Path

from hh_align.core.errors import StudyError

OFFSET = {
    *("roberta", "roberta-prelayernorm", "xlm-roberta", "xlm-roberta-xl", "xmod", "camembert", "data2vec-text", "ibert", "longformer", "luke"),
    *("mpnet", "esm", "markuplm", "layoutlmv3", "lilt"),
}  # fmt: skip
"""Their positions begin behind the padding's id."""


def output_index(config, reading: dict, where: Path | str) -> int:
    """The index of the reward among a model's outputs, from its config (num_labels, id2label) and a judge's `output`, `label` and `attribute`.

    Raises StudyError, naming the model's labels, where there is no such output or a reward model has more than one.
    """
    names = [config.id2label[number] for number in range(config.num_labels)]
    listed = ", ".join(f"{number} {name}" for number, name in enumerate(names))
    output = reading.get("output", "reward")
    if output == "reward":
        if len(names) > 1:
            raise StudyError(
                f"{where}: a judge has one logit, this model has {len(names)} ({listed}). Set output: label or attribute, and which one."
            )
        return 0
    wanted = reading[output]
    if names.count(wanted) == 1:
        return names.index(wanted)
    if output == "attribute" and wanted.isdecimal() and int(wanted) < len(names):
        return int(wanted)
    raise StudyError(f"{where}: the model has no {output} {wanted!r}. It has: {listed}.")
