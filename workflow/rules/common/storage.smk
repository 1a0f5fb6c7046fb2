"""Where files lie: on this machine, or with `profiles/s3` in a bucket, from which each step gets what it declares."""

IN_BUCKET = workflow.storage_settings.default_storage_provider is not None


def named(path):
    """A file that the config names: a study's where it lies under results/, else one of this machine."""
    return path if path.startswith("results/") else local(path)


def beside(manifests):
    """A model's files, which its manifest (a path, or an input function) speaks for.

    On this machine they lie beside it. From a bucket they must be fetched, and still only a change of the manifest counts.
    """
    if not IN_BUCKET:
        return []
    if not callable(manifests):
        names = JUDGE_FILES if "/judges/" in manifests else POLICY_FILES
        return [ancient(manifests.replace("manifest.json", name)) for name in names]

    def files(wildcards):
        found = manifests(wildcards)
        return [path for manifest in ([found] if isinstance(found, str) else found) for path in beside(manifest)]

    return files


def report_reads():
    """What the report reads beside its tables, figures and logs: rows put aside, and the provenance of every artifact."""
    if not IN_BUCKET:
        return []
    read = [*response_files(), *reward_files(), *pair_files(), *drift_files(), "<results>/prompts/prompts.parquet"]
    read += [manifest.replace("manifest.json", "provenance.json") for manifest in dict.fromkeys([*model_files(), *policy_files()])]
    if not RELEASED:
        read += [f"<results>/data/{name}/quarantine.parquet" for name, dataset in DATASETS.items() if "source" in dataset]
        read += [log.replace("train_log", "quarantine") for log in training_logs()]
    return read


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
