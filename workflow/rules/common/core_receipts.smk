"""What is due: a job whose receipt, kept with the study, is not what it is asked, reads and has made now. No date counts, and no .snakemake/."""

import atexit

import snakemake.workflow
from hh_align.core import receipts
from hh_align.core.sums import Sums
from snakemake.logging import logger
from snakemake.persistence import NO_PARAMS_CHANGE, ParamsChange
from snakemake.persistence.file import FilePersistence
from snakemake.settings.enums import RerunTrigger
from snakemake_interface_executor_plugins.settings import ExecMode

# inputs and outputs by which nothing is due: a model's files, whose sums its manifest holds, and timings. Inputs that params stand for are ancient()
UNCOUNTED = {"files", "timing"}
LISTED = 3


class Receipts(FilePersistence):
    """Snakemake's memory of its jobs, where a step of ours with a receipt is judged by that instead. Everything else stays as Snakemake has it."""

    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        self.sums, self.begun, self.judged, self.unknown = Sums(self.path / "sums.json"), {}, {}, {}
        self.here = self.dag.workflow.exec_mode == ExecMode.DEFAULT  # else this is one job of a run elsewhere
        self.asked = RerunTrigger.PARAMS in self.dag.workflow.rerun_triggers
        self.dag.max_checksum_file_size = sys.maxsize  # sums are remembered: no file is too large for one
        if self.here:
            atexit.register(self.end)

    def changes(self, job):
        """What differs from the job's receipt or, without one and without a memory of Snakemake's, from what its artifact says of itself, if
        anything; None where that is not for us to say."""
        if job not in self.judged:
            self.judged[job] = self.judge(job) if self.asked and is_step(job) else None
        return self.judged[job]

    def judge(self, job):
        first = made_by(job)[0]
        if receipt := receipts.read_receipt(receipts.receipt_path(first)):
            now = (receipts.summed(files(job), self.sums) for files in (read_by, made_by))
            return receipts.differences(receipt, asked_of(job), *now)
        if super().has_metadata(job) or not Path(first).exists():
            return None
        self.unknown[first] = job
        said = receipts.own_provenance(first)
        return receipts.known_differences(said, asked_of(job), receipts.summed(read_by(job), self.sums)) if said else []

    def end(self):
        """Keep the sums, and say what nobody knows; for `status` and `verify`, what each job is."""
        if plan := os.environ.get("HH_ALIGN_PLAN"):
            planned = {"jobs": [self.described(job) for job in self.dag.jobs if is_step(job)], "limits": limits()}
            Path(plan).write_text(json.dumps(planned), encoding="utf-8")
        self.sums.save()
        if unknown := list(self.unknown):
            print(
                f"{len(unknown)} artifacts have no receipt: tables and models say of which config and inputs they are, nothing says by which code "
                f"({', '.join(unknown[:LISTED])}{', …' if unknown[LISTED:] else ''}). They are kept where nothing that is known differs. "
                "--forceall makes all anew, --touch --forceall takes all as they are.",
                file=sys.stderr,
            )

    def described(self, job):
        """A job as hh_align.tools.planned reads it."""
        state = re.search(r"--state (\S+)", str(job.params.get("options", "")))
        return {
            "rule": job.rule.name,
            "step": str(job.params.script),
            "wildcards": dict(job.wildcards_dict),
            "output": made_by(job)[0],
            "log": str(job.log[0]) if job.log else "",
            "benchmark": str(job.benchmark or ""),
            "state": shlex.split(state[1])[0] if state else "",
            "due": self.dag.needrun(job),
            "changes": self.changes(job) or [],
            "after": [made_by(other)[0] for other in self.dag.dependencies[job] if self.dag.needrun(other) and is_step(other)],
            "needs": needs(job) if self.dag.needrun(job) else {},
        }

    def started(self, job, external_jobid=None):
        super().started(job, external_jobid)
        if self.here and is_step(job):
            self.begun[job] = {path: self.sums.of(path) for path in set(read_by(job)) - self.still_to_come(job)}

    def still_to_come(self, job):
        """The inputs that other jobs of its group make, which begins with its first one."""
        makers = self.dag.dependencies[job].items()
        return {str(path) for maker, files in makers if self.dag.needrun(maker) and not self.dag.finished(maker) for path in files}

    async def finished(self, job):
        if not (self.here and is_step(job) and self.dag.workflow.execution_settings.keep_metadata):
            return await super().finished(job)
        self.max_checksum_file_size = 0  # of these jobs the receipt holds the sums
        await super().finished(job)
        self.max_checksum_file_size = self.dag.workflow.dag_settings.max_checksum_file_size
        try:
            self.write(job)
        except StudyError as error:
            raise WorkflowError(str(error)) from None

    def write(self, job):
        """Leave the job's receipt; none where it has failed and its outputs go."""
        self.judged.pop(job, None)
        self.unknown.pop(made_by(job)[0], None)
        inputs, outputs, uncounted = (receipts.summed(files(job), self.sums) for files in (read_by, made_by, made_beside))
        if None in outputs.values():
            return
        begun = self.begun.get(job, {})
        changed = [name for path, name in receipts.names(read_by(job)).items() if begun.get(path, inputs[name]) != inputs[name]]
        for name in changed:
            logger.warning(f"{name} has changed while {job.rule.name} read it: the next run makes {made_by(job)[0]} again.")
        path = receipts.receipt_path(made_by(job)[0])
        receipts.write_receipt(path, asked_of(job), inputs | dict.fromkeys(changed), outputs, uncounted)

    def has_metadata(self, job):
        return self.changes(job) is not None or super().has_metadata(job)

    def has_outdated_metadata(self, job):
        return self.changes(job) is None and super().has_outdated_metadata(job)

    def params_changed(self, job, file=None):
        if (changes := self.changes(job)) is None:
            return super().params_changed(job, file)
        before, now = zip(*changes) if changes else ((), ())
        return ParamsChange(set(before), set(now), {file} if file else set(job.output)) if changes else NO_PARAMS_CHANGE

    def _input_changed(self, job, file=None):
        return self.changes(job) is None and super()._input_changed(job, file)

    def _code_changed(self, job, file=None):
        return self.changes(job) is None and super()._code_changed(job, file)

    def input_checksums(self, job, input_path):
        """Of a job with a receipt the present sum: a date says nothing, `changes` compares the content."""
        if self.changes(job) is None:
            return super().input_checksums(job, input_path)
        total = f"sha256:{self.sums.of(input_path)}"
        self.dag.workflow.iocache.checksum[input_path] = total
        return {total}


def is_step(job):
    """Whether a job is one of our steps, on files of this machine."""
    files = [*job.input, *job.output]
    return (
        {"script", "cfg", "code"} <= set(job.params.keys())
        and "results" in Path(job.output[0]).parts
        and not any(file.is_storage for file in files)
    )


def asked_of(job):
    """What a job's result depends on beside its inputs: the params that are no option, with the config as it is meant, and the shell's line."""
    given = {name: value for name, value in job.params.items() if name == "besides" or value in job.non_derived_params}
    return {**given, "cfg": json.loads(job.params.cfg), "shell": job.rule.shellcmd}


def read_by(job):
    uncounted = {str(path) for name in UNCOUNTED & set(job.input.keys()) for path in paths(job.input[name])}
    return [str(path) for path in job.input if not path.is_ancient and str(path) not in uncounted]


def made_by(job):
    uncounted = {str(path) for name in UNCOUNTED & set(job.output.keys()) for path in paths(job.output[name])}
    return [str(path) for path in job.output if str(path) not in uncounted]


def made_beside(job):
    """Of the outputs that do not decide what is due those that no manifest speaks for: `make verify` compares them."""
    return [str(path) for path in paths(job.output.get("timing", [])) if Path(path).is_file()]


if not IN_BUCKET:
    snakemake.workflow.FilePersistence = Receipts
