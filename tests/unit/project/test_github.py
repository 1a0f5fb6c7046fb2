"""What the forge reads: each file is YAML of the form that it wants, and names only what is in the repository."""

import re

import pytest
import yaml
from study_folder import REPOSITORY

FORGE = REPOSITORY / ".github"
TEMPLATES = [path for path in sorted((FORGE / "ISSUE_TEMPLATE").glob("*.yml")) if path.stem != "config"]


@pytest.mark.parametrize("path", sorted((FORGE / "workflows").glob("*.yml")), ids=lambda path: path.stem)
def test_a_workflow_has_jobs_that_run_what_is_here(path):
    workflow = yaml.safe_load(path.read_text())
    steps = [step for job in workflow["jobs"].values() for step in job["steps"]]
    assert workflow["permissions"] == {"contents": "read"} and all({"uses", "run"} & set(step) for step in steps)
    assert [step["run"] for step in steps if step.get("run", "").startswith(".") and not (REPOSITORY / step["run"]).is_file()] == []


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: path.stem)
def test_a_template_asks_for_fields_that_have_a_label(path):
    form = yaml.safe_load(path.read_text())
    fields = [part for part in form["body"] if part["type"] != "markdown"]
    assert {"name", "description", "body"} <= set(form) and len({part["id"] for part in fields}) == len(fields) > 1
    assert all(part["attributes"]["label"] for part in fields)


def test_files_that_templates_name_are_here():
    text = "".join(path.read_text() for path in (*TEMPLATES, FORGE / "pull_request_template.md"))
    named = set(re.findall(r"[\w/]+\.md", text))
    assert {"SECURITY.md", "CHANGELOG.md", "docs/examples.md"} <= named
    assert [name for name in named if not (REPOSITORY / name).is_file()] == []


def test_the_site_is_built_from_locked_packages():
    (command,) = re.findall(r"pip install (.*) -c requirements\.lock", (FORGE / "workflows/pages.yml").read_text())
    locked = {line.split("==")[0].lower() for line in (REPOSITORY / "requirements.lock").read_text().splitlines() if "==" in line}
    assert {name.lower() for name in command.split()} <= locked
