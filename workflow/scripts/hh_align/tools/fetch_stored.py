"""Fetch an artifact of a study, or all below a folder, from the bucket of profiles/s3 to the same path here; `make fetch ARTIFACT=results/…`."""

import os
from pathlib import Path
from urllib.parse import urlsplit

import boto3
import yaml
from botocore.exceptions import BotoCoreError, ClientError

from hh_align.core.artifacts import atomic, say, verify_manifest
from hh_align.core.command import parse, run
from hh_align.core.errors import StudyError

ENDPOINT = "SNAKEMAKE_STORAGE_S3_ENDPOINT_URL"


def location(profile: Path) -> tuple[str, str, dict]:
    """Bucket, folder in it and the client's settings, as Snakemake takes them from the profile and the environment."""
    settings = yaml.safe_load(profile.read_text(encoding="utf-8"))
    prefix = urlsplit(settings["default-storage-prefix"])
    client = {
        "endpoint_url": settings.get("storage-s3-endpoint-url") or os.environ.get(ENDPOINT),
        "region_name": settings.get("storage-s3-region", "us-east-1"),
    }
    return prefix.netloc, prefix.path.strip("/"), client


def fetch(bucket: str, folder: str, settings: dict, artifact: str) -> list[Path]:
    """Write the object of this name, or every object below it, to its path. Raises StudyError where there is none, or the bucket refuses."""
    key = f"{folder}/{artifact}".strip("/")
    fetched = []
    try:
        client = boto3.client("s3", **settings)
        for page in client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=key):
            for entry in page.get("Contents", []):
                if entry["Key"] != key and not entry["Key"].startswith(f"{key}/"):
                    continue
                path = Path(artifact + entry["Key"].removeprefix(key))
                with atomic(path) as temporary:
                    client.download_file(bucket, entry["Key"], str(temporary))
                fetched.append(path)
    except (BotoCoreError, ClientError) as error:
        raise StudyError(f"s3://{bucket}/{key}: {error} (bucket: profiles/s3/config.yaml; credentials: AWS_ACCESS_KEY_ID).") from None
    if not fetched:
        raise StudyError(f"s3://{bucket}/{key}: there is no such artifact.")
    return fetched


def fetch_artifact(profile: Path, artifact: str) -> None:
    """Fetch what lies below a path of results/, and check models against their manifests. Raises StudyError where there is no such artifact."""
    name = os.path.normpath(artifact)
    if not name.startswith(f"results{os.sep}"):
        raise StudyError(f"{artifact or 'no artifact'}: the path of an artifact begins with results/, as results/demo/report/index.html.")
    fetched = fetch(*location(profile), name)
    for path in fetched:
        if path.name == "manifest.json" and len(fetched) > 1:
            verify_manifest(path)
    say(f"{len(fetched)} files fetched to {artifact}")


def main() -> None:
    args = parse(__doc__, profile="path", artifact="text")
    fetch_artifact(args.profile, args.artifact)


if __name__ == "__main__":
    run(main)
