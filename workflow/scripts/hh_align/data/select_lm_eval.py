"""Items of multiple choice out of tasks of lm-evaluation-harness: its requests word for word, and which option it counts as right."""

import os
import random
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from itertools import groupby
from pathlib import Path

import numpy as np
import pyarrow as pa

from hh_align.core.artifacts import provenance, say, write_table
from hh_align.core.command import parse, run
from hh_align.core.errors import StudyError
from hh_align.core.meant import did_you_mean
from hh_align.data.select_items import EXCERPT, LEFT_OUT

VERSION = "0.4.13"
"""Of lm-eval: its tasks come with it, so that another version asks other questions."""
SEEDS = {"random": 0, "numpy": 1234, "fewshot": 1234}
"""What `lm_eval` itself begins with."""
KIND = "multiple_choice"
REQUESTS = pa.schema(
    [
        ("task", pa.string()),
        ("item", pa.string()),
        ("row", pa.int64()),
        ("contexts", pa.list_(pa.string())),
        ("continuations", pa.list_(pa.string())),
        ("options", pa.list_(pa.string())),
        ("answer", pa.int64()),
    ]
)


def require_lm_eval() -> None:
    """Raises StudyError where lm-eval is not installed, or in another version than ours."""
    try:
        installed = version("lm-eval")
    except PackageNotFoundError:
        installed = "not installed"
    if installed != VERSION:
        raise StudyError(
            f"tasks of lm-evaluation-harness (capability: lm_eval) need the package lm-eval {VERSION}; here it is {installed}. "
            f"make lm-eval, or python -m pip install lm-eval=={VERSION}"
        )


def folders_of(files: Iterable[Path]) -> list[str]:
    """The folders that hold these files, without those that lie in another of them."""
    folders = sorted({path.absolute().parent for path in files})
    return [str(folder) for folder in folders if not any(other in folder.parents for other in folders)]


@contextmanager
def making(key: str) -> Iterator[None]:
    """Within, the harness makes a task. Raises StudyError, naming the config's key, for whatever that ends in."""
    try:
        yield
    except StudyError:
        raise
    except ConnectionError as error:
        raise StudyError(
            f"{key}: the task's data are not at hand, and the hub does not answer ({error}). Run once where there is a network, or copy the "
            "folder HF_HOME from there and set HF_DATASETS_OFFLINE=1, or give a task of your own over a local file (include)."
        ) from None
    except Exception as error:  # a task is YAML and Python of other people
        said = " ".join(str(error).split())[:EXCERPT]
        raise StudyError(f"{key}: lm-eval cannot make this task ({type(error).__name__}: {said}).") from None


def refuse_others(key: str, name: str, kind: str | None) -> None:
    """Raises StudyError for a task of a kind that has no options."""
    if kind not in (None, KIND):
        raise StudyError(f"{key}: {name} is a task of lm-eval's kind {kind}. Only {KIND} is read by likelihood: take it out.")


def tasks_of(manager, name: str, key: str) -> dict:
    """Task -> the harness's object; several of a group or a tag. Raises StudyError for a name that it does not have, and as refuse_others and
    `making` do."""
    entry = manager.task_index.get(name)
    if entry is None:
        raise StudyError(f"{key}: lm-eval {VERSION} has no task, group or tag {name}.{did_you_mean(name, manager.all_tasks)}")
    refuse_others(key, name, (entry.cfg or {}).get("output_type"))  # before its data are downloaded
    random.seed(SEEDS["random"])
    np.random.seed(SEEDS["numpy"])
    with making(key):
        tasks = manager.load(name)["tasks"]
    for own, task in tasks.items():
        refuse_others(key, own, task.OUTPUT_TYPE)
        if callable(task.config.process_results) or "acc" not in task.aggregation():
            raise StudyError(f"{key}: {own} counts no item right or wrong (no plain metric acc). Take it out.")
    return tasks


def build(task, fewshot: int | None, key: str) -> None:
    """Have the task write its requests, with this many examples before each (None: as many as it says).

    Raises StudyError where it says that there are none.
    """
    if fewshot and task.config.num_fewshot == 0:
        raise StudyError(f"{key}.fewshot is {fewshot}, but this task of lm-eval takes no examples. Take fewshot out.")
    task.set_config("num_fewshot", (task.config.num_fewshot or 0) if fewshot is None else fewshot)
    task.set_fewshot_seed(SEEDS["fewshot"])
    task.build_all_requests()


def right_options(task, doc: dict, options: int, requests: int) -> list[int]:
    """The options, by number from 0, that the harness counts as right where they are the likeliest."""
    return [
        option
        for option in range(options)
        if task.process_results(doc, [(0.0 if request == option else -1.0, False) for request in range(requests)])["acc"] == 1
    ]


def why_not(options: list[str], right: list[int]) -> str | None:
    """Why a row is no item, where it is none."""
    if len(options) < 2:
        return "there are fewer than two options"
    if not all(options):
        return "an option is empty"
    return {0: "no option is right", 1: None}.get(len(right), "several options are right")


def items_of(manager, how: dict) -> tuple[list[dict], list[dict], dict]:
    """Rows of REQUESTS in the task's order and of LEFT_OUT, and what each of the harness's tasks says of itself.

    how: task, lm_eval, and what of fewshot, n and seed there is. Raises StudyError as tasks_of does, for a task without an item, and for fewer
    items than n.
    """
    name, key, items, left_out = how["task"], f"capability.{how['task']}", [], []
    tasks = tasks_of(manager, how["lm_eval"], key)
    for own, task in tasks.items():
        begin = name if len(tasks) == 1 else f"{name}/{own}"
        with making(key):
            build(task, how.get("fewshot"), key)
            for row, group in groupby(task.instances, key=lambda request: request.doc_id):
                requests = list(group)
                doc, options = requests[0].doc, task.doc_to_choice(requests[0].doc)
                right = right_options(task, doc, len(options), len(requests)) if all(options) else []
                if reason := why_not(options, right):
                    left_out.append({"task": name, "row": row, "reason": reason, "excerpt": str(doc)[:EXCERPT]})
                    continue
                contexts, continuations = zip(
                    *(request.args for request in requests[: len(options)]), strict=True
                )  # the rest has no context
                about = {"task": name, "item": f"{begin}-{row:05d}", "row": row, "options": options, "answer": right[0]}
                items.append({**about, "contexts": contexts, "continuations": continuations})
    if not items:
        raise StudyError(f"{key}: no row of {how['lm_eval']} is an item ({left_out[0]['reason']}). Take the task out.")
    if len(items) < how.get("n", 0):
        raise StudyError(f"{key}.n is {how['n']}, but {how['lm_eval']} gives {len(items)} items. Lower n.")
    if "n" in how:
        items = [items[number] for number in sorted(random.Random(how["seed"]).sample(range(len(items)), how["n"]))]
    return items, left_out, {own: described(task) for own, task in tasks.items()}


def described(task) -> dict:
    """Version, data, and number of examples of one of the harness's tasks; of data of the hub their commit."""
    config = task.config
    about = {"version": task.VERSION, "dataset": config.dataset_path, "name": config.dataset_name, "fewshot": config.num_fewshot}
    commit = re.search(r"@([0-9a-f]{40})/", " ".join(task.task_docs.info.download_checksums or {}))
    return about | ({"revision": commit[1]} if commit else {})


def main() -> None:
    args = parse(__doc__, config="config", include="paths?", output="path", quarantine="path")
    require_lm_eval()
    os.environ["TQDM_DISABLE"] = "1"  # no bars in a log
    from lm_eval.tasks import TaskManager

    manager = TaskManager(include_path=folders_of(args.include))
    items, left_out, tasks = [], [], {}
    for how in args.config["tasks"]:
        own, refused, tasks[how["task"]] = items_of(manager, how)
        items, left_out = items + own, left_out + refused
        counts = Counter(row["reason"] for row in refused)
        say(f"{how['task']}: {len(own):,} items" + "".join(f"; left out, {reason}: {count:,}" for reason, count in sorted(counts.items())))
    made_by = provenance(args.config, args.include, lm_eval=VERSION, tasks=tasks)
    write_table(args.quarantine, left_out, LEFT_OUT, made_by)
    write_table(args.output, items, REQUESTS, made_by)


if __name__ == "__main__":
    run(main)
