"""Jobs that a cluster gets as one: the main process writes the receipt of each, though none of them has told it of a beginning or an end."""

import json
import os

import pytest

PLUGIN = '''
"""Jobs run as those of a cluster do: Snakemake is called anew for each, or for each group, beside this one."""

import subprocess

from snakemake_interface_executor_plugins.executors.base import SubmittedJobInfo
from snakemake_interface_executor_plugins.executors.remote import RemoteExecutor
from snakemake_interface_executor_plugins.settings import CommonSettings

common_settings = CommonSettings(
    non_local_exec=True, implies_no_shared_fs=False, job_deploy_sources=False, pass_default_storage_provider_args=True,
    pass_default_resources_args=True, pass_envvar_declarations_to_cmd=False, auto_deploy_default_storage_provider=False,
    init_seconds_before_status_checks=0,
)


class Executor(RemoteExecutor):
    def run_job(self, job):
        process = subprocess.Popen(self.format_job_exec(job), shell=True)
        self.report_job_submission(SubmittedJobInfo(job, aux={"process": process}))

    async def check_active_jobs(self, active_jobs):
        for job in active_jobs:
            status = job.aux["process"].poll()
            if status is None:
                yield job
            elif status:
                self.report_job_error(job)
            else:
                self.report_job_success(job)

    def cancel_jobs(self, active_jobs):
        for job in active_jobs:
            job.aux["process"].kill()
'''
STEPS = {"analysis/summarize_drift": "analysis/drift.parquet", "report/export_csv": "report/drift.csv"}
"""Step -> what it makes; the second reads what the first has made."""


@pytest.fixture
def grouped(own_paper):
    """A study whose two steps write a word, and the options by which they go to a cluster of one machine as one job."""
    plugin = own_paper.path / "plugins/snakemake_executor_plugin_beside"
    plugin.mkdir(parents=True)
    (plugin / "__init__.py").write_text(PLUGIN)
    for step, output in STEPS.items():
        words = f"    from pathlib import Path\n\n    return Path('results/paper/{output}').write_text('made') and None\n"
        own_paper.edit(f"workflow/scripts/hh_align/{step}.py", "def main() -> None:\n", f"def main() -> None:\n{words}")
    rules = [step.split("/")[1] for step in STEPS]
    return own_paper, ["--executor", "beside", "--jobs", "1", "--seconds-between-status-checks", "1", "--allowed-rules", *rules, "--groups", *(f"{rule}=one" for rule in rules)]  # fmt: skip


def test_what_a_job_reads_of_another_of_its_group_has_not_changed_meanwhile(grouped):
    study, options = grouped
    target = "results/paper/report/drift.csv"
    assert {"summarize_drift", "export_csv drift"} <= study.planned(target)
    printed = study.succeed(*options, "--printshellcmds", "--", target, **(os.environ | {"PYTHONPATH": str(study.path / "plugins")}))
    assert "Group job one" in printed and "has changed while" not in printed
    assert (study.path / target).read_text() == "made"
    receipt = json.loads((study.path / "results/paper/receipts/report/drift.csv.json").read_text())
    assert None not in receipt["inputs"].values()
    assert study.planned("--allowed-rules", "summarize_drift", "export_csv", "--", target) == set()
