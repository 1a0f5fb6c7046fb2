"""Download a release's prompts and responses at one commit, every file held to its sha256."""

from hh_align.core.artifacts import say, write_manifest
from hh_align.core.command import parse, run
from hh_align.data.raw_files import RawFolder, fetch_raw


def main() -> None:
    args = parse(__doc__, config="config", manifest="path")
    config, folder = args.config, args.manifest.parent
    source = RawFolder(
        f"{config['endpoint']}/{config['repo']}/{config['revision']}/data",
        keys="release.repo, release.revision and the names in release.sums",
        sums="release.sums",
        without="give release.path a folder that holds the release",
        pause=config.get("retry_seconds", 2.0),
    )
    for name, total in config["sums"].items():
        fetch_raw(source, name, folder, total)
        say(f"{name}: ok")
    write_manifest(folder, list(config["sums"]))


if __name__ == "__main__":
    run(main)
