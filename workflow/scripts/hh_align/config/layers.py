"""Config files one over the other: an entry that a later file gives another source starts anew.

A file that refines another one inherits what it does not name. Of a model, a judge, a dataset or a policy that comes from elsewhere than in
the file before, most of that would be wrong: another model's licence notice, a repository beside a folder.
"""

from collections.abc import Mapping, Sequence

KEPT = {
    "datasets": {
        *("source", "subsets", "splits", "train_split"),
        *("layout", "config", "split_names", "columns", "where", "axes"),
    },
    "models": {"source", "chat_template"},
    "judges": {
        *("source", "axis", "harmless_min", "helpful_above"),
        *("output", "label", "attribute", "scale", "higher_is", "reads", "max_length"),
        *("columns", "score", "only", "axes"),
    },
    "policies": {"source", "parent"},
}
"""What an entry inherits all the same, where its new form knows it: what it is for and how its files are read, not where they come from."""
FORMS = {"datasets": "dataset", "models": "model", "judges": "judge", "policies": "policy"}
KINDS = (
    *("hub", "local", "synthetic", "scratch", "trained", "released", "imported", "rating_endpoint", "preference_endpoint"),
    *("derived", "child"),
)


def entry_of(layer: Mapping, section: str, name: str) -> Mapping | None:
    """An entry as one file writes it; None where it does not, or not as a mapping."""
    entries = layer.get(section)
    entry = entries.get(name) if isinstance(entries, Mapping) else None
    return entry if isinstance(entry, Mapping) else None


def origin(section: str, entry: Mapping, written: Mapping, before: object) -> object:
    """Where an entry comes from, to be compared: `entry` is all that is known of it, `written` what the last file says."""
    if section == "policies":
        return next((key for key in ("source", "adapter", "method") if written.get(key) is not None), before)
    if written.get("from") is not None or ("from" in entry and "source" not in written):
        return "derived"
    return str(entry.get("source")), *(str(entry.get(key)) for key in ("repo", "path"))


def kind_of(section: str, entry: Mapping, comes_from: object) -> str | None:
    """Which form of its section an entry has in the end; comes_from: its origin."""
    if section == "policies":
        return entry.get("source") if comes_from == "source" else "child"
    if section == "judges" and entry.get("source") == "endpoint":
        return f"{entry.get('asks', 'rating')}_endpoint"
    return "derived" if comes_from == "derived" else entry.get("source")


def forms_of(section: str, schema: Mapping) -> dict[str, set[str]]:
    """Kind of an entry of a section -> its keys."""
    names = {f"{kind}_{FORMS[section]}": kind for kind in KINDS} | ({"scratch_base": "scratch"} if section == "models" else {})
    return {names[name]: set(form["properties"]) for name, form in schema["$defs"].items() if name in names}


def sources_with(section: str, key: str, schema: Mapping) -> list[str]:
    """The sources whose entries in a section have a key."""
    forms = forms_of(section, schema) if section in FORMS else {}
    return sorted({kind.rpartition("_")[2] for kind, keys in forms.items() if {"source", key} <= keys})


def left_behind(section: str, name: str, layers: Sequence[Mapping], schema: Mapping) -> set[str]:
    """The keys of an entry that an earlier file wrote about another source than the one that it has in the end."""
    entry, stale, before = {}, set(), None
    for layer in layers:
        written = entry_of(layer, section, name)
        if written is None:
            if isinstance(layer.get(section), Mapping) and name in layer[section]:
                entry, stale, before = {}, set(), None  # a null takes away what was written before
            continue
        after = origin(section, {**entry, **written}, written, before)
        if before is not None and after != before:
            stale |= set(entry)
        stale -= set(written)
        entry, before = {**entry, **written}, after
    return stale - (KEPT[section] & forms_of(section, schema).get(kind_of(section, entry, before), set()))


def leave_behind(config: dict, layers: Sequence[Mapping], schema: Mapping) -> None:
    """Take out of `config`, which is `layers` merged, what left_behind names."""
    for section in KEPT:
        entries = config.get(section)
        for name, entry in entries.items() if isinstance(entries, dict) else ():
            for key in left_behind(section, name, layers, schema) if isinstance(entry, dict) else ():
                entry.pop(key, None)
