"""What stops a run before its first job."""


def check_writable():
    """Raises WorkflowError where results are to be written and cannot be."""
    for folder in (Path("results"), Path(STUDY)):
        if folder.exists() and not os.access(folder, os.W_OK):
            raise WorkflowError(f"{folder}/ is read-only: nothing was changed. Make it writable, or mount its disk anew, and run again.")


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


def readable_folders():
    """Folders under results/ that this study makes or reads; the run that it is held against is made by its own config."""
    other = Path(config.get("reproduction", {}).get("folder", ""))
    return [config["study"], "hub", "bench", *([other.name] if other.parent == Path("results") else [])]


def from_other_study(wildcards):
    raise WorkflowError(
        f"results/{wildcards.other}/ belongs to study {wildcards.other}, but the config is that of study {config['study']}. "
        f"Add: --configfile config/{wildcards.other}.yaml"
    )
