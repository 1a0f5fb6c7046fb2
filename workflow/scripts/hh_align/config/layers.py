"""Config files one over the other: an entry that a later file gives another source starts anew.

A file that refines another one inherits what it does not name. Of a model, a judge, a dataset or a policy that comes from elsewhere than in
the file before, most of that would be wrong: another model's licence notice, a repository beside a folder.
"""

from collections.abc import Mapping, Sequence

KEPT = {
    "datasets": {"source", "subsets", "splits", "train_split"},
    "models": {"source", "chat_template"},
    "judges": {
        "source",
        "axis",
        "output",
        "label",
        "attribute",
        "scale",
        "higher_is",
        "reads",
        "max_length",
        "harmless_min",
        "helpful_above",
    },
    "policies": {"source", "parent"},
}
"""What an entry inherits all the same, where its new form knows it: what is not about where it comes from."""
FORMS = {"datasets": "dataset", "models": "model", "judges": "judge", "policies": "policy"}


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
    return str(entry.get("source")), *(str(entry.get(key)) for key in ("repo", "path", "url"))


def known_keys(section: str, entry: Mapping, schema: Mapping) -> set[str]:
    """The keys of the form that an entry has."""
    kind = "child" if section == "policies" and "source" not in entry else "derived" if "from" in entry else entry.get("source")
    kind = f"{entry.get('asks', 'rating')}_endpoint" if section == "judges" and kind == "endpoint" else kind
    forms = schema["$defs"]
    form = forms.get(f"{kind}_{FORMS[section]}", forms.get(f"{kind}_base", {}))
    return set(form.get("properties", {}))


def sources_with(section: str, key: str, schema: Mapping) -> list[str]:
    """The sources whose entries in a section have a key."""
    kind = FORMS.get(section)
    forms = {name.removesuffix(f"_{kind}"): form for name, form in schema["$defs"].items() if kind and name.endswith(f"_{kind}")}
    have = [name for name, form in forms.items() if "source" in form.get("properties", {}) and key in form["properties"]]
    return sorted({name.rpartition("_")[2] for name in have})  # rating_endpoint and preference_endpoint are one source


def left_behind(section: str, name: str, layers: Sequence[Mapping], schema: Mapping) -> set[str]:
    """The keys of an entry that an earlier file wrote about another source than the one that it has in the end."""
    entry, stale, before = {}, set(), None
    for layer in layers:
        written = entry_of(layer, section, name)
        if written is None:
            if isinstance(layer.get(section), Mapping) and name in layer[section]:
                entry, stale, before = {}, set(), None  # a null: what was written before is no more
            continue
        after = origin(section, {**entry, **written}, written, before)
        if before is not None and after != before:
            stale |= set(entry)
        stale -= set(written)
        entry, before = {**entry, **written}, after
    known = known_keys(section, {key: value for key, value in entry.items() if key not in stale - KEPT[section]}, schema)
    return {key for key in stale if key not in KEPT[section] & known}


def leave_behind(config: dict, layers: Sequence[Mapping], schema: Mapping) -> None:
    """Take out of `config`, which is `layers` merged, what left_behind names."""
    for section in KEPT:
        entries = config.get(section)
        for name, entry in entries.items() if isinstance(entries, dict) else ():
            for key in left_behind(section, name, layers, schema) if isinstance(entry, dict) else ():
                entry.pop(key, None)
