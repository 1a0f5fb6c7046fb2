"""profiles/s3 against moto's server on loopback: `make test-s3`. What lies in the bucket are a local run's bytes."""

import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from study_folder import REPOSITORY, StudyFolder

pytest.importorskip("moto", reason="moto is not installed (make s3)")
boto3 = pytest.importorskip("boto3")

from moto.server import ThreadedMotoServer  # noqa: E402

SMALL = REPOSITORY / "tests/workflow/faults/small.yaml"
CONFIG = ("--configfile", "config/demo.yaml", str(SMALL))
PROFILE = ("--workflow-profile", "profiles/s3")
PROMPTS = "results/small/prompts/prompts.parquet"
KEY, SECRET = "AKIDOFTHETEST", "secret-of-the-test"
CONTRACT = (".parquet", "manifest.json", ".csv", ".svg", "summary.txt")


@pytest.fixture(scope="module")
def server():
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        port = bound.getsockname()[1]
    made = ThreadedMotoServer("127.0.0.1", port, verbose=False)
    made.start()
    yield f"http://127.0.0.1:{port}"
    made.stop()


@pytest.fixture
def environment(server, tmp_path):
    """What a user sets; nothing of this machine's own credentials, nor a look for them elsewhere."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "SNAKEMAKE_"))}
    return inherited | {
        "AWS_ACCESS_KEY_ID": KEY,
        "AWS_SECRET_ACCESS_KEY": SECRET,
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_SHARED_CREDENTIALS_FILE": str(tmp_path / "none"),
        "AWS_CONFIG_FILE": str(tmp_path / "none"),
        "SNAKEMAKE_STORAGE_S3_ENDPOINT_URL": server,
    }


@pytest.fixture
def bucket(server, tmp_path):
    """A bucket of the test's own, as boto3 sees it."""
    name = f"study-{tmp_path.parent.name}-{tmp_path.name}".lower().replace("_", "-")[-60:].strip("-")
    keys = {"aws_access_key_id": KEY, "aws_secret_access_key": SECRET, "region_name": "us-east-1"}
    made = boto3.resource("s3", endpoint_url=server, **keys).Bucket(name)
    made.create()
    return made


def fresh(folder: Path) -> StudyFolder:
    folder.mkdir()
    return StudyFolder(folder, *CONFIG)


def clone(folder: Path, bucket_name: str) -> StudyFolder:
    study = fresh(folder)
    study.edit("profiles/s3/config.yaml", "s3://my-bucket/hh-align", f"s3://{bucket_name}/hh-align")
    return study


def stored(bucket) -> dict[str, bytes]:
    """Of the contract, what the bucket holds: path below results/ -> bytes."""
    objects = {item.key.removeprefix("hh-align/"): item for item in bucket.objects.all()}
    return {name: item.get()["Body"].read() for name, item in objects.items() if name.endswith(CONTRACT)}


def local(study: StudyFolder) -> dict[str, bytes]:
    paths = [path for path in (study.path / "results").rglob("*") if path.is_file() and "state" not in path.parts]
    return {path.relative_to(study.path).as_posix(): path.read_bytes() for path in paths if path.name.endswith(CONTRACT)}


def fetch(study: StudyFolder, artifact: str, environment: dict) -> subprocess.CompletedProcess:
    script = ["-m", "hh_align.tools.fetch_stored", "--profile", "profiles/s3/config.yaml", "--artifact", artifact]
    return subprocess.run([sys.executable, *script], cwd=study.path, env=environment, capture_output=True, text=True, check=False)


def said(study: StudyFolder, environment: dict) -> str:
    """What a run prints that must end before its first job."""
    done = study.run(*PROFILE, PROMPTS, **environment)
    assert done.returncode == 1 and "Traceback" not in done.stdout and "localrule" not in done.stdout, done.stdout[-3000:]
    assert SECRET not in done.stdout
    return done.stdout


def test_the_bucket_holds_a_local_runs_bytes_and_a_second_run_has_nothing_to_do(bucket, environment, tmp_path):
    study, plain = clone(tmp_path / "study", bucket.name), fresh(tmp_path / "plain")
    printed = study.succeed(*PROFILE, PROMPTS, **environment)
    plain.succeed(PROMPTS)
    assert stored(bucket) == local(plain) and PROMPTS in stored(bucket)
    there = [path.name for path in (study.path / "results").rglob("*") if path.is_file()]
    assert there == ["run.json"]  # what make resume repeats
    assert SECRET not in printed + "".join(path.read_text() for path in (study.path / ".snakemake/log").glob("*.log"))

    shutil.rmtree(study.path / ".snakemake/storage")
    assert "Nothing to be done" in study.succeed(*PROFILE, PROMPTS, **environment)

    # another folder, whose files all have the date of their checkout, goes on with the first one's provenance
    other = clone(tmp_path / "other", bucket.name)
    shutil.copytree(study.path / ".snakemake/metadata", other.path / ".snakemake/metadata")
    for path in other.path.rglob("*"):
        path.touch()
    assert "Nothing to be done" in other.succeed(*PROFILE, PROMPTS, **environment)
    changed = other.succeed(*PROFILE, "--dry-run", PROMPTS, "--config", "prompts={seed: 7}", **environment)
    assert "rule select_prompts" in changed and "rule prepare_preferences" not in changed


def test_one_artifact_is_fetched_by_name(bucket, environment, tmp_path):
    for name, body in (("a/x.parquet", b"1"), ("a/b/y.json", b"2"), ("ab/z.json", b"3")):
        bucket.put_object(Key=f"hh-align/results/small/{name}", Body=body)
    study = clone(tmp_path / "study", bucket.name)
    assert fetch(study, "results/small/a/x.parquet", environment).returncode == 0
    assert [path.name for path in (study.path / "results").rglob("*.*")] == ["x.parquet"]
    assert fetch(study, "results/small/a/", environment).returncode == 0
    assert (study.path / "results/small/a/b/y.json").read_bytes() == b"2" and not (study.path / "results/small/ab").exists()
    missing = fetch(study, "results/small/nothing", environment)
    assert (
        missing.returncode == 1
        and missing.stderr.count("\n") == 1
        and f"s3://{bucket.name}/hh-align/results/small/nothing" in missing.stderr
    )


def test_a_missing_bucket_is_one_message_and_is_not_created(bucket, environment, tmp_path):
    printed = said(clone(tmp_path / "study", "not-there-at-all"), environment)
    assert printed.count("there is no such bucket") == 1 and "s3://not-there-at-all" in printed
    names = {listed["Name"] for listed in bucket.meta.client.list_buckets()["Buckets"]}
    assert bucket.name in names and "not-there-at-all" not in names


def test_missing_credentials_are_one_message(bucket, environment, tmp_path):
    without = {name: value for name, value in environment.items() if name not in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")}
    printed = said(clone(tmp_path / "study", bucket.name), without)
    assert printed.count("set AWS_ACCESS_KEY_ID") == 1 and f"s3://{bucket.name}" in printed


def test_a_server_that_does_not_answer_is_one_message(bucket, environment, tmp_path):
    with socket.socket() as closed:  # bound, and nobody listens
        closed.bind(("127.0.0.1", 0))
        nowhere = f"http://127.0.0.1:{closed.getsockname()[1]}"
        printed = said(clone(tmp_path / "study", bucket.name), environment | {"SNAKEMAKE_STORAGE_S3_ENDPOINT_URL": nowhere})
    assert printed.count("Could not connect") == 1 and nowhere in printed


@pytest.mark.long
def test_the_whole_study_in_a_bucket_is_the_local_one(bucket, environment, tmp_path):
    study, plain = clone(tmp_path / "study", bucket.name), fresh(tmp_path / "plain")
    printed = study.succeed(*PROFILE, **environment)
    plain.succeed()
    assert stored(bucket) == local(plain)
    assert (plain.path / "results/small/report/summary.txt").read_text() in printed  # the table ends a run into a bucket, too
    shutil.rmtree(study.path / ".snakemake/storage")
    assert "Nothing to be done" in study.succeed(*PROFILE, **environment)

    # a consumer of a model gets the model's files from the bucket; nothing above it runs
    responses = "results/small/responses/sft/seed-42.parquet"
    bucket.Object(f"hh-align/{responses}").delete()
    shutil.rmtree(study.path / "results/small/state", ignore_errors=True)
    printed = study.succeed(*PROFILE, "--printshellcmds", responses, **environment)
    assert "rule generate_responses" in printed and "rule train_sft" not in printed
    assert stored(bucket)[responses] == local(plain)[responses]
