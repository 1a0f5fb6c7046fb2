"""Download a suite's file at one commit of a GitHub repository, held to its sha256; the manifest is written last."""

from hh_align.core.artifacts import say, write_json
from hh_align.core.command import parse, run
from hh_align.data.raw_files import RawFolder, fetch_raw


def main() -> None:
    args = parse(__doc__, config="config", manifest="path")
    config, folder = args.config, args.manifest.parent
    source = RawFolder(
        f"{config['endpoint']}/{config['repo']}/{config['revision']}",
        keys="the suite's repo, revision and file",
        sums="the suite's sha256",
        without="give the suite a path to a file of this machine",
        pause=config.get("retry_seconds", 2.0),
    )
    fetch_raw(source, config["file"], folder, config["sha256"])
    say(f"{config['file']}: ok")
    write_json(args.manifest, {config["file"]: config["sha256"]})


if __name__ == "__main__":
    run(main)
