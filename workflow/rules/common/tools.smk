"""What stops a run before its first job."""


def check_writable():
    """Raises WorkflowError where results are to be written and cannot be."""
    for folder in (Path("results"), Path(STUDY)):
        if folder.exists() and not os.access(folder, os.W_OK):
            raise WorkflowError(f"{folder}/ is read-only: nothing was changed. Make it writable, or mount its disk anew, and run again.")


def begin_run():
    """Note what this run is, for `make resume`; not of a tuning. Raises WorkflowError where the study is at work, or holds what another config
    has made."""
    from hh_align.tools import runs

    jobs = [job for job in workflow.dag.needrun_jobs() if "--state " in str(job.params.get("options", ""))]
    steps = {shlex.split(re.search(r"--state (\S+)", str(job.params.options))[1])[0]: str(job.params.cfg) for job in jobs}
    files = [os.path.relpath(path) for path in workflow.overwrite_configfiles]
    called = Path(sys.argv[0]).name == "snakemake" or Path(sys.argv[0]).parts[-2:] == ("snakemake", "__main__.py")  # python -m snakemake
    command = {**runs.words_of(sys.argv[1:]), **({} if HOME else {"--snakefile": of_workflow("Snakefile")})} if called else {}
    try:
        said = runs.begin(Path(STUDY), command, files, config, steps, REMEMBERED)
    except StudyError as error:
        raise WorkflowError(str(error)) from None
    if said:
        print(said, file=sys.stderr, flush=True)


def check_tracking():
    """Raises WorkflowError where trainings are to be shown by what is not installed."""
    if TRACKED and any("train" in job.rule.name for job in workflow.dag.needrun_jobs()):
        try:
            require_package(config["tracking"])
        except StudyError as error:
            raise WorkflowError(str(error)) from None


def check_lm_eval():
    """Raises WorkflowError where tasks of lm-evaluation-harness are to be made, and it is not installed."""
    from hh_align.data.select_lm_eval import require_lm_eval

    runs_steps = workflow.executor_plugin.name != "touch"
    if runs_steps and any(job.rule.name == "select_lm_eval" for job in workflow.dag.needrun_jobs()):
        try:
            require_lm_eval()
        except StudyError as error:
            raise WorkflowError(str(error)) from None


def check_cores():
    """Say where a run on this machine is given more cores than it may use, as `--cores all` gives it in a container with a limit on its time."""
    given = workflow.resource_settings.cores
    if workflow.local_exec and given and given > (usable := usable_cores()):
        logger.warning(
            f"This run is given {given} cores and may use {usable}: its jobs will wait for each other. Give it --cores {usable}."
        )


def check_cluster():
    """Raises WorkflowError where jobs are to go to Slurm and it is not there, has no partition of that name, or would be asked for no GPU of some model."""
    if workflow.executor_plugin.name != "slurm":
        return
    if not shutil.which("sbatch"):
        raise WorkflowError("sbatch is not on the path: run this where Slurm jobs are submitted from, or without the profile.")
    if any(job.resources.get("gpu_model") and job.resources.get("gpu") == 0 for job in workflow.dag.needrun_jobs()):
        raise WorkflowError(
            "the profile names a gpu_model, but compute.gpus is 0: the jobs would ask Slurm for none of that model, which it refuses. "
            "Take gpu_model out of profiles/slurm/config.yaml, or set compute.gpus."
        )
    asked = {job.resources.get("slurm_partition") for job in workflow.dag.needrun_jobs()} - {None}
    listed = subprocess.run(["sinfo", "--noheader", "--format=%R"], capture_output=True, text=True, check=False)
    if listed.returncode:
        raise WorkflowError(f"Slurm does not answer: {listed.stderr.strip()}")
    known = set(listed.stdout.split())
    if unknown := {name for names in asked for name in str(names).split(",")} - known:
        raise WorkflowError(
            f"Slurm has no partition {', '.join(sorted(unknown))}. It has: {', '.join(sorted(known))}. "
            "Set slurm_partition in profiles/slurm/config.yaml."
        )


def check_bucket():
    """Raises WorkflowError where the bucket that results go to is not there or may not be used: the plugin would create it, or end in a traceback."""
    if workflow.storage_settings.default_storage_provider != "s3":
        return
    from urllib.parse import urlsplit

    from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError

    prefix = workflow.storage_settings.default_storage_prefix or ""
    bucket = urlsplit(prefix).netloc
    if not prefix.startswith("s3://") or not bucket:
        raise WorkflowError(f"default-storage-prefix is {prefix!r}: s3://<bucket>/<folder> is wanted. Set it in profiles/s3/config.yaml.")
    client = workflow.storage_registry.default_storage_provider.s3c.meta.client
    where = f"s3://{bucket} at {client.meta.endpoint_url}"
    try:
        client.head_bucket(Bucket=bucket)
    except NoCredentialsError:
        raise WorkflowError(
            f"No credentials for {where}: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY in the environment, or AWS_PROFILE."
        ) from None
    except ClientError as error:
        status = error.response["ResponseMetadata"]["HTTPStatusCode"]
        said = {
            403: "these credentials (AWS_ACCESS_KEY_ID or AWS_PROFILE) may not use it.",
            404: f"there is no such bucket. Create it (aws s3 mb s3://{bucket}), or set default-storage-prefix in profiles/s3/config.yaml.",
        }
        raise WorkflowError(f"{where}: {said.get(status, f'it answers with status {status}.')}") from None
    except BotoCoreError as error:
        raise WorkflowError(f"{where}: {error}") from None


check_bucket()


def tuning_config(wildcards):
    return as_json(
        method=config["methods"][wildcards.method],
        view_keys=VIEW_KEYS,
        train_split=DATASETS[prompts_dataset()]["train_split"],
        batch_tokens=config["scoring"]["batch_tokens"],
        **DEVICE,
    )


def readable_folders():
    """Folders under results/ that this study makes or reads; the run that it is held against is made by its own config."""
    other = Path(config.get("reproduction", {}).get("folder", ""))
    return [config["study"], "hub", "bench", *([other.name] if other.parent == Path("results") else [])]


def from_other_study(wildcards):
    raise WorkflowError(
        f"results/{wildcards.other}/ belongs to study {wildcards.other}, but the config is that of study {config['study']}. "
        f"Add: --configfile {of_workflow(f'config/{wildcards.other}.yaml')}"
    )
