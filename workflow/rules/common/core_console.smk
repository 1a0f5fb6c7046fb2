"""What the terminal shows of a run: our lines in the place of Snakemake's blocks, which its log under .snakemake/log keeps. --verbose and
--printshellcmds bring the blocks back, with all that the steps print."""

import logging
import signal
import threading

from hh_align.tools.console import NOISE, Board, Interrupts, own_message, watch
from hh_align.tools.expected import Step, is_like_demo
from snakemake.common import NOTHING_TO_BE_DONE_MSG
from snakemake.logging import DefaultFormatter
from snakemake_interface_executor_plugins.settings import ExecMode as Mode
from snakemake_interface_logger_plugins.common import LogEvent

SHOWN_BY_US = {event for event in LogEvent if event not in (LogEvent.ERROR, LogEvent.DEBUG_DAG)}
FAILED = "At least one job did not complete successfully."


class Console(logging.Handler):
    """Stands before Snakemake's handler of the terminal, which gets what we do not show ourselves."""

    def __init__(self, usual, whole):
        """whole: whether everything goes through, as in a dry run."""
        super().__init__()
        self.usual, self.whole, self.board, self.said = usual, whole, None, ""

    def stop(self):
        """Say that Ctrl-C ends the run, and take its lock away."""
        if self.board is None:
            print("stopped", file=sys.stderr, flush=True)
        else:
            self.board.end()
            self.board.say(self.said or self.board.failure(()))
        if workflow.scheduler and not workflow.output_settings.dryrun:
            workflow.persistence.unlock()

    def emit(self, record):
        text = str(record.msg)
        event = getattr(record, "event", None)
        if self.said and FAILED in text:
            return self.board.say(self.said)
        if text == NOTHING_TO_BE_DONE_MSG and not workflow.output_settings.dryrun:
            self.usual.handle(record)
            return print_summary()  # Snakemake calls no hook at the end of such a run
        if not self.whole and (event in SHOWN_BY_US or NOISE.match(text)):
            return
        if message := own_message(text):
            record = logging.makeLogRecord({**record.__dict__, "msg": f"error: {message}"})
        if self.board is None:
            self.usual.handle(record)
        else:
            with self.board.lock:
                self.board.erase()
                self.usual.handle(record)


def jobs_run():
    """Whether jobs are at work, which Snakemake ends at Ctrl-C."""
    return bool(workflow.scheduler and workflow.scheduler.running)


def stand_before_snakemakes():
    """Install the console where this is the run that a user has started, and Snakemake's own handler would speak."""
    usual = next(
        (
            handler
            for handler in logger.handlers
            if isinstance(handler.formatter, DefaultFormatter) and handler.name == "DefaultStreamHandler"
        ),
        None,
    )
    if usual is None or not workflow.modifier.is_main_snakefile() or workflow.exec_mode != Mode.DEFAULT:
        return None
    asked = workflow.output_settings
    console = Console(usual, bool(asked.dryrun or asked.verbose or asked.printshellcmds or asked.debug_dag or asked.quiet))
    logger.removeHandler(usual)
    logger.addHandler(console)
    if threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, Interrupts(jobs_run, console.stop))
    if not console.whole:
        sys.modules[shell.__module__].STDOUT = subprocess.DEVNULL  # a step's words are in its log, from which the console reads them
    return console


CONSOLE = stand_before_snakemakes()


def name_of(job):
    """What a step is called: its log's path below logs/."""
    return re.sub(r"^.*?/logs/|\.log$", "", str(job.log[0])) if job.log else ""


def needs(job):
    """What a job takes of each resource."""
    return {key: amount for key, amount in job.scheduler_resources.items() if isinstance(amount, int)}


def limits():
    """How much there is of each resource that is limited; of a run with nothing to do nothing is known."""
    resources = workflow.scheduler.global_resources if workflow.scheduler else {}
    return {key: amount for key, amount in resources.items() if amount < sys.maxsize}


def begin_console():
    """Show the run that begins."""
    if CONSOLE is None or CONSOLE.whole:
        return
    dag, scheduler = workflow.dag, workflow.scheduler
    jobs = {name: job for job in dag.needrun_jobs() if (name := name_of(job))}
    steps = {
        name: Step(
            Path(str(job.log[0])),
            tuple(other for maker in dag.dependencies[job] if (other := name_of(maker)) in jobs),
            tuple(needs(job).items()),
        )
        for name, job in jobs.items()
    }
    CONSOLE.board = Board(Path(STUDY), steps, limits(), CONSOLE.usual.stream, is_like_demo(config), leaves=REMEMBERED)

    def state():
        running = [name_of(each) for job in scheduler.running.copy() for each in (job if job.is_group() else [job])]
        return running, [name for name, job in jobs.items() if dag.finished(job)]

    threading.Thread(target=watch, args=(CONSOLE.board, state), daemon=True).start()
    CONSOLE.state = state


def end_console(failed=False):
    """Say how the run has ended; of a failure the last word is kept for the end of it all."""
    if CONSOLE is None or CONSOLE.board is None:
        return
    CONSOLE.board.look(*CONSOLE.state())
    if not failed:
        return CONSOLE.board.succeed()
    CONSOLE.board.end()
    names = [name_of(each) for job in workflow.scheduler.failed for each in (job if job.is_group() else [job])]
    CONSOLE.said = CONSOLE.board.failure(CONSOLE.board.steps.keys() & names)
