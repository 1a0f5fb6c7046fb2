"""Tasks of multiple choice: the project's own by their names, those of lm-evaluation-harness, and what a task of one's own must hold."""

from hh_align.core.errors import StudyError

OWN = ("agreement", "arithmetic", "capitals", "kinds", "opposites", "sequences")
FILES = (".csv", ".tsv", ".json", ".jsonl", ".ndjson", ".parquet")
ALL = "all"


def write_capability(config: dict) -> None:
    """Write out, in `config`, a list of tasks, and the files of those that the project has. Entries of another shape are left to the schema.

    Raises StudyError for a task of lm-evaluation-harness that a list has twice.
    """
    tasks = config.get("capability")
    entries = [(task.get("lm_eval"), task) if isinstance(task, dict) else (task, {}) for task in tasks] if isinstance(tasks, list) else []
    names = [name for name, _ in entries]
    if entries and all(isinstance(name, str) for name in names):
        for name, task in entries:
            if task and names.count(name) > 1:
                raise StudyError(f"config: capability has {name} twice. Give each a name: capability: {{one: {{lm_eval: {name}}}, …}}.")
        tasks = config["capability"] = dict(entries)
    for name, task in tasks.items() if isinstance(tasks, dict) else ():
        if isinstance(task, dict) and name in OWN and not {"path", "lm_eval"} & set(task):
            tasks[name] = {**task, "path": f"resources/capability/{name}.jsonl"}


def check_capability(config: dict) -> None:
    """Raise StudyError for a task without a file that can be read, one that takes the name of all tasks together, and a study without weights."""
    for name, task in config.get("capability", {}).items():
        key = f"capability.{name}"
        if "release" in config:
            raise StudyError(f"config: {key} has policies read items, but a release has no weights. Set capability to null.")
        if name == ALL:
            raise StudyError(f"config: {key} bears the name of all tasks together. Give it another.")
        if "lm_eval" in task:
            continue
        if "path" not in task:
            raise StudyError(
                f"config: {key} lacks the key path, or the name of a task that the project has: {', '.join(OWN)}. "
                f"One of lm-evaluation-harness is written {{lm_eval: {name}}}."
            )
        if not task["path"].lower().removesuffix(".gz").endswith(FILES):
            raise StudyError(
                f"config: {key}.path is {task['path']}, no known kind of file. Allowed: {', '.join(FILES)}, and .gz behind it."
            )
        if "{context}" not in task.get("template", "{context}"):
            raise StudyError(f"config: {key}.template is {task['template']!r}: it must hold {{context}}, where the context stands.")
