"""What the pages take from the code: config keys from the schema, columns from the Arrow schemas. A hook of mkdocs; by hand

python docs/reference.py

writes the same parts into the files under docs/, so that they can be read where nothing is built. A test holds them equal.
"""

import ast
import json
import re
from collections.abc import Iterator
from html import escape
from pathlib import Path

import pyarrow as pa
import yaml
from mkdocs.exceptions import PluginError

REPOSITORY = Path(__file__).resolve().parent.parent
SCRIPTS = REPOSITORY / "workflow/scripts"
TYPES = {"object": "mapping", "string": "text", "integer": "whole number", "number": "number", "boolean": "true or false"}
PART = re.compile(r"^(?:<!-- ::: (config|columns \S+) -->\n.*?\n<!-- ::: -->|::: (config|columns \S+))$", re.MULTILINE | re.DOTALL)
LIMITS = {
    "minimum": "at least {}",
    "exclusiveMinimum": "more than {}",
    "maximum": "at most {}",
    "exclusiveMaximum": "less than {}",
    "minLength": "{} or more characters",
    "maxLength": "{} or fewer characters",
    "minItems": "{} or more entries",
    "maxItems": "{} or fewer entries",
    "minProperties": "{} or more entries",
}


def code(value: object) -> str:
    """A value as YAML would have it, as HTML."""
    return f"<code>{escape(value if isinstance(value, str) and value else json.dumps(value))}</code>"


def prose(text: str) -> str:
    """A meaning as HTML; what stands in backticks is code."""
    return re.sub("`(.+?)`", r"<code>\1</code>", escape(text))


def resolved(node: dict, schema: dict) -> dict:
    """The node with what its $ref names; its own words win."""
    if "$ref" not in node:
        return node
    target = schema["$defs"][node["$ref"].removeprefix("#/$defs/")]
    return {**resolved(target, schema), **{key: value for key, value in node.items() if key != "$ref"}}


def type_of(node: dict, schema: dict) -> str:
    if "oneOf" in node:
        return " or ".join(type_of(resolved(choice, schema), schema) for choice in node["oneOf"])
    if isinstance(node.get("type"), list):
        return " or ".join(type_of({**node, "type": kind}, schema) for kind in node["type"])
    if node.get("type") == "array":
        return f"list of {type_of(resolved(node['items'], schema), schema)}"
    return TYPES[node["type"]] if "type" in node else "word"


def allowed(node: dict, schema: dict) -> Iterator[str]:
    """Every constraint of a node and of a list's entries, as HTML."""
    if "enum" in node:
        yield ", ".join(map(code, node["enum"]))
    if "const" in node:
        yield code(node["const"])
    for choice in node.get("oneOf", []):
        yield from allowed(resolved(choice, schema), schema)
    if "anyOf" in node:
        yield "needs " + " or ".join(code(name) for choice in node["anyOf"] for name in choice["required"])
    if "pattern" in node:
        yield f"matches {code(node['pattern'])}"
    yield from (text.format(node[name]) for name, text in LIMITS.items() if name in node)
    if node.get("uniqueItems"):
        yield "none twice"
    if "propertyNames" in node:
        yield "its keys: " + "; ".join(allowed(resolved(node["propertyNames"], schema), schema))
    if (
        node.get("type") == "array"
        and "properties" not in (items := resolved(node["items"], schema))
        and (found := [*allowed(items, schema)])
    ):
        yield "each entry: " + "; ".join(found)


def variants(node: dict) -> Iterator[tuple[str, dict]]:
    """(condition, subschema) of each if, then and else of a node."""
    for part in (node, *node.get("allOf", [])):
        if "if" in part:
            asked = part["if"].get("properties", {})
            name = next(iter(asked), part["if"]["required"][0])
            yield f"{name}: {asked[name]['const']}" if asked else f"with {name}", part["then"]
            if "else" in part:
                yield f"without {name}", part["else"]


def walk(node: dict, schema: dict, path: str = "", when: str = "", need: str = "") -> Iterator[dict]:
    """Every key below a node: path, condition, values, default and description, as HTML but path and condition."""
    node = resolved(node, schema)
    if path and node:
        default = need or (f"default {code(node['default'])}" if node.get("default") not in (None, {}) else "")
        values = "; ".join([type_of(node, schema), *allowed(node, schema)])
        yield {"path": path, "when": when, "values": values, "default": default, "description": prose(node.get("description", ""))}
    yield from below(node, schema, path, when)


def below(node: dict, schema: dict, path: str, when: str) -> Iterator[dict]:
    start = f"{path}." if path else ""
    for name, child in node.get("properties", {}).items():
        need = "required" if name in node.get("required", []) else ""
        if partners := node.get("dependentRequired", {}).get(name):
            need = f"with {', '.join(map(code, partners))} only"
        yield from walk(child, schema, f"{start}{name}", "" if when == f"with {name}" else when, need)
    if isinstance(node.get("additionalProperties"), dict):
        yield from walk(node["additionalProperties"], schema, f"{start}<name>", when)
    if "properties" in (items := resolved(node.get("items", {}), schema)):
        yield from below(items, schema, f"{path}[]", when)
    for condition, part in variants(node):
        yield from below(resolved(part, schema), schema, path, condition)


def merged(rows: list[dict]) -> list[dict]:
    """Rows that differ in their condition only, as one."""
    groups: dict[tuple, list[str]] = {}
    for row in rows:
        groups.setdefault(tuple((key, value) for key, value in row.items() if key != "when"), []).append(row["when"])
    return [{**dict(facts), "when": ", ".join(found)} for facts, found in groups.items()]


def table(heads: list[str], rows: list[list[str]]) -> str:
    cells = "\n".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in rows)
    return f"<table>\n<thead><tr>{''.join(f'<th>{head}</th>' for head in heads)}</tr></thead>\n<tbody>\n{cells}\n</tbody>\n</table>\n"


def second_line(first: str, second: str) -> str:
    return f"{first}<br><small>{second}</small>" if second else first


def config_reference(schema: dict) -> str:
    """One section per top-level key, every nested key in its table."""
    sections: dict[str, list[dict]] = {}
    for row in merged([*walk(schema, schema)]):
        sections.setdefault(row["path"].split(".")[0].removesuffix("[]"), []).append(row)
    parts = []
    for name, rows in sections.items():
        cells = [
            [second_line(code(row["path"]), escape(row["when"])), second_line(row["values"], row["default"]), row["description"]]
            for row in rows
        ]
        parts.append(f"## {name}\n\n" + table(["key", "values", "meaning"], cells))
    return "\n".join(parts)


def arrow_schemas() -> dict[str, pa.Schema]:
    """script.NAME -> each Arrow schema that a script defines, evaluated from its source: the scripts themselves would load torch."""
    found = {}
    for path in sorted(SCRIPTS.rglob("*.py")):
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.Assign) and (source := ast.unparse(node.value)).startswith("pa.schema("):
                found[f"{path.stem}.{node.targets[0].id}"] = eval(source, {"pa": pa})
    return found


def column_table(name: str, schema: pa.Schema, meanings: dict) -> str:
    """A schema's columns with their meanings, in order. Raises PluginError where a column has none, or a meaning no column."""
    own = meanings["tables"].get(name, {})
    known = {**meanings["common"], **own}
    if missing := [column for column in schema.names if column not in known]:
        raise PluginError(f"docs/columns.yaml says nothing of {', '.join(missing)} of {name}")
    if stale := sorted(set(own) - set(schema.names)):
        raise PluginError(f"docs/columns.yaml describes {', '.join(stale)}, which {name} does not have")
    return table(["column", "type", "meaning"], [[code(field.name), code(str(field.type)), prose(known[field.name])] for field in schema])


def filled(markdown: str) -> str:
    """A page with its generated parts anew: each stands between its mark, `<!-- ::: config -->` or `<!-- ::: columns script.SCHEMA -->`, and
    `<!-- ::: -->`; a line `::: config` or `::: columns script.SCHEMA` is such a part that is still to be made.

    Raises PluginError for a schema that is on the page or in a script, but not in both.
    """
    asked = {mark or line for mark, line in PART.findall(markdown)}
    parts = {}
    if "config" in asked:
        parts["config"] = config_reference(yaml.safe_load((REPOSITORY / "workflow/schemas/config.schema.yaml").read_text()))
    names = {part.removeprefix("columns ") for part in asked - {"config"}}
    if names:
        schemas, meanings = arrow_schemas(), yaml.safe_load((REPOSITORY / "docs/columns.yaml").read_text())
        if wrong := sorted(names ^ set(schemas)):
            raise PluginError(f"a schema that is on the page or in a script, but not in both: {', '.join(wrong)}")
        parts |= {f"columns {name}": column_table(name, schemas[name], meanings) for name in names}
    return PART.sub(lambda found: f"<!-- ::: {(asked := found[1] or found[2])} -->\n\n{parts[asked]}\n<!-- ::: -->", markdown)


def on_page_markdown(markdown: str, **_: object) -> str:
    """What mkdocs reads: the page as it should be, also where its file is older than the code."""
    return filled(markdown)


if __name__ == "__main__":
    for path in sorted((REPOSITORY / "docs").glob("*.md")):
        text = path.read_text(encoding="utf-8")
        if (page := filled(text)) != text:
            path.write_text(page, encoding="utf-8")
            print(path.relative_to(REPOSITORY))
