"""Which axis the pairs of a subset speak about: the config says it, the subset's name does not."""

from hh_align.config.graph import JUDGES_MADE_HERE
from hh_align.core.axes import AXES
from hh_align.core.errors import StudyError


def subset_axes(config: dict, dataset: str) -> dict[str, str]:
    """Subset of a dataset -> its axis: the one that the dataset's `axes` names, else harmlessness where it is the subset of the prompts of
    that axis, else helpfulness."""
    entry = config["datasets"][dataset]
    source = config["datasets"][entry["from"]] if "from" in entry else entry
    harmless = config["prompts"]["harmlessness"].get("subset")
    axes = {subset: "harmlessness" if subset == harmless else "helpfulness" for subset in entry.get("subsets", source["subsets"])}
    return axes | {subset: axis for subset, axis in source.get("axes", {}).items() if subset in axes}


def check_judged_axes(config: dict) -> None:
    """Raise StudyError where a judge that is made here judges an axis that no subset of its data speaks about: no pair could place its threshold."""
    for name, judge in config["judges"].items():
        if judge["source"] not in JUDGES_MADE_HERE:
            continue
        dataset = judge.get("data", config["prompts"]["dataset"])
        subsets = subset_axes(config, dataset)
        for axis in AXES if judge["axis"] == "both" else [judge["axis"]]:
            if axis not in subsets.values():
                raise StudyError(
                    f"config: judges.{name} judges {axis}, but of the subsets that it is trained on ({', '.join(subsets)}) none speaks about it: "
                    f"of harmlessness is {config['prompts']['harmlessness']['subset']} (prompts.harmlessness.subset), of helpfulness every other "
                    f"one, unless datasets.*.axes says it. Add such a subset to datasets.{dataset}, or set judges.{name}.axis to the other axis."
                )
