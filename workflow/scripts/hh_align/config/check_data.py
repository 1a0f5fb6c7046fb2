"""Checks of a config's datasets, and of what the prompts read of them."""

from collections.abc import Iterator

from hh_align.config.graph import JUDGES_MADE_HERE, JUDGES_WITH_WEIGHTS, require_known, require_reply_room
from hh_align.core.axes import AXES
from hh_align.core.errors import StudyError


def check_datasets(config: dict) -> None:
    """Raise StudyError where a dataset derives from what it cannot, or has a key without the one that it needs beside it."""
    datasets = config.get("datasets", {})
    for name, dataset in datasets.items():
        require_known(f"datasets.{name}.from", dataset.get("from"), datasets)
        if "from" in datasets.get(dataset.get("from"), {}):
            raise StudyError(f"config: datasets.{name}.from is {dataset['from']}, itself derived. Derive from a dataset with a source.")
        for key in ("subsets", "training_half", "hash_range") if "from" in dataset else ():
            for subset in dataset.get(key, []):
                require_known(f"datasets.{name}.{key}", subset, datasets[dataset["from"]]["subsets"])
        for key, other, wanted in (("near", "deduplicate", "near"), ("balance_seed", "balance_length", True)):
            if key in dataset and dataset.get(other) != wanted:
                raise StudyError(f"config: datasets.{name}.{key} needs {other}: {str(wanted).lower()} beside it.")
        for subset, (low, high) in dataset.get("hash_range", {}).items():
            if low >= high:
                raise StudyError(
                    f"config: datasets.{name}.hash_range.{subset} is [{low}, {high}], which holds nothing: low must be below high."
                )
        if ("noise" in dataset) != (dataset.get("labels") == "noisy"):
            raise StudyError(f"config: datasets.{name}: it needs both labels: noisy and noise (a share below 0.5), or neither.")
        check_subsets(name, dataset)
        if "judge_margin" in dataset:
            with_weights = [judge for judge, what in config["judges"].items() if what["source"] in JUDGES_WITH_WEIGHTS]
            require_known(f"datasets.{name}.judge_margin.judge", dataset["judge_margin"]["judge"], with_weights)
        if "ches" in dataset:
            require_reply_room(f"datasets.{name}.ches", dataset["ches"])


def check_subsets(name: str, dataset: dict) -> None:
    """Raise StudyError where it is not clear which rows are which subset, or what has an axis or a filter is no subset."""
    for key in ("where", "axes"):
        for subset in dataset.get(key, {}):
            require_known(f"datasets.{name}.{key}", subset, dataset["subsets"])
    if "where" in dataset and (missing := [subset for subset in dataset["subsets"] if subset not in dataset["where"]]):
        raise StudyError(
            f"config: datasets.{name}.where says of no row that it is of {', '.join(missing)}. Name its column and value there."
        )
    if "config" in dataset and "where" not in dataset and len(dataset["subsets"]) > 1:
        raise StudyError(
            f"config: datasets.{name}.config is one config for {len(dataset['subsets'])} subsets. Say in `where` which rows are which."
        )
    for split in (split for split in dataset.get("split_names", {}) if split not in dataset["splits"]):
        raise StudyError(f"config: datasets.{name}.split_names names {split}, which is not read. Add it to splits.")


def check_prompts(config: dict) -> None:
    """Raise StudyError where the prompts come from a dataset, subset or split that does not exist."""
    prompts, datasets = config["prompts"], config["datasets"]
    require_known("prompts.dataset", prompts["dataset"], datasets)
    dataset = datasets[prompts["dataset"]]
    for axis in AXES:
        for key in ("subset", "split"):
            require_known(f"prompts.{axis}.{key}", prompts[axis][key], dataset.get(f"{key}s", [prompts[axis][key]]))
        subset, source = prompts[axis]["subset"], datasets.get(dataset.get("from"), dataset)
        if (other := source.get("axes", {}).get(subset, axis)) != axis:
            raise StudyError(
                f"config: prompts.{axis}.subset is {subset}, which speaks about {other} (datasets.*.axes). Correct one of them."
            )


def check_needed_datasets(config: dict) -> None:
    """Raise StudyError where a dataset needs itself: by the prompts that it is held against, or by what the models read that score
    its pairs."""
    datasets, judges, home = config["datasets"], config["judges"], config["prompts"]["dataset"]
    base = config["models"]["base"]
    draws = any("suite" not in config["prompts"][axis] for axis in AXES)  # else the prompts come from no dataset

    def needed(name: str) -> Iterator[tuple[str, str]]:
        dataset = datasets[name]
        judge = dataset.get("judge_margin", {}).get("judge")
        if judge and judges[judge]["source"] in JUDGES_MADE_HERE:
            yield f"judge {judge}", judges[judge].get("data", home)
        if draws and (dataset.get("exclude_prompts") or "decontaminate" in dataset):
            yield "the evaluation prompts", home
        if "ches" in dataset and base["source"] == "scratch":
            yield "the base model", base.get("data", home)

    for start in datasets:
        ahead: list[tuple[str, list[str]]] = [(start, [start])]
        while ahead:
            name, path = ahead.pop()
            for by, other in needed(name):
                if other == start:
                    raise StudyError(
                        f"config: datasets.{start} needs itself: {' -> '.join([*path, by, start])}. Let the judge (judges.*.data), the base "
                        "model (models.base.data) or the prompts (prompts.dataset) read a dataset with a source."
                    )
                if other not in path:
                    ahead.append((other, [*path, by, other]))
