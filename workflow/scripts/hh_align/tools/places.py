"""Where the command `hh-align` works: the checkout, the studies in the working directory, the config files."""

import os
from collections.abc import Iterable
from pathlib import Path

from hh_align.core.errors import StudyError
from hh_align.core.meant import did_you_mean

RESULTS = Path("results")
VARIABLE = "HH_ALIGN_CHECKOUT"
NO_STUDIES = ("hub", "verdict", "compare", "bench")
"""Folders of results/ that are no study's."""


def is_checkout(folder: Path) -> bool:
    """Whether this folder is a checkout of the workflow."""
    return (folder / "Snakefile").is_file() and (folder / "workflow/Snakefile").is_file() and (folder / "config/config.yaml").is_file()


def find_checkout() -> Path:
    """The folder with Snakefile, config/ and workflow/: that of HH_ALIGN_CHECKOUT, else the working directory, else the one from which the
    package was installed as editable.

    Raises StudyError where there is none, and in a folder below a checkout, where results would lie unseen.
    """
    from hh_align.core.artifacts import CHECKOUT

    here, given = Path.cwd(), os.environ.get(VARIABLE)
    if given:
        if not is_checkout(Path(given)):
            raise StudyError(
                f"{VARIABLE} is {given}: no checkout of hh-align (it has a Snakefile, config/ and workflow/). Name its folder."
            )
        return Path(given).resolve()
    above = next(filter(is_checkout, here.parents), None)
    if above and not is_checkout(here):
        raise StudyError(f"{here} lies below the checkout {above}, and results/ would be made here. Go there first: cd {above}")
    if found := next(filter(is_checkout, (here, CHECKOUT)), None):
        return found
    raise StudyError(
        f"no checkout of hh-align: {here} has no Snakefile of it, and the package was installed without one. Go to your clone, or set "
        f"{VARIABLE} to its folder."
    )


def studies() -> list[str]:
    """The studies that lie in results/ of the working directory."""
    folders = RESULTS.iterdir() if RESULTS.is_dir() else ()
    return sorted(path.name for path in folders if path.is_dir() and path.name not in NO_STUDIES)


def study_name(text: str) -> str:
    """A study's name, given as such or as its folder results/NAME. Raises StudyError for what cannot be one."""
    name = text.removeprefix("results/").removesuffix("/") if text.startswith("results/") else text
    if not name.strip():
        raise StudyError(f"the study is not named. {here()}")
    if "/" in name or name in (".", ".."):
        raise StudyError(f"{text}: a study is named by one word, that of its folder in results/. {here()}")
    return name


def study_folder(text: str) -> Path:
    """The folder of a study in results/. Raises StudyError where there is none: what there is, and what the name may mean."""
    name = study_name(text)
    folder = RESULTS / name
    if folder.is_dir() and name not in NO_STUDIES:
        return folder
    if folder.exists():
        raise StudyError(f"{folder}: {'a file' if folder.is_file() else 'a folder of no study'}. {here()}")
    raise StudyError(f"no study {name} in {RESULTS.absolute()}.{did_you_mean(name, studies())} {here()}")


def here() -> str:
    """Which studies there are, or that a run makes the first one."""
    if names := studies():
        return f"Studies here: {', '.join(names)}."
    return f"There are none here ({Path.cwd()}): go to the folder in which one ran, or make the demo (hh-align demo)."


def config_file(text: str, checkout: Path) -> str:
    """The path of a config, given by its path or as the NAME of config/NAME.yaml, as Snakemake is to be told: relative in the checkout.

    Raises StudyError where there is no such file.
    """
    folders = [Path("config"), *([checkout / "config"] if checkout != Path.cwd() else [])]
    candidates = [Path(text), *(folder / f"{text}.yaml" for folder in folders)]
    if found := next((path for path in candidates if path.is_file()), None):
        return str(found)
    if Path(text).is_dir():
        raise StudyError(f"{text}: a folder, no config. Name a YAML file, or one of {', '.join(config_names(folders))}.")
    paths = [str(path) for folder in (Path("."), *folders) for path in sorted(folder.glob("*.yaml"))]
    near = did_you_mean(text, [*config_names(folders), *paths])
    raise StudyError(f"no config {text}.{near} In config/: {', '.join(config_names(folders))}. Or name a YAML file.")


def config_names(folders: Iterable[Path]) -> list[str]:
    """The names by which the config files of these folders may be given."""
    return sorted({path.stem for folder in folders for path in folder.glob("*.yaml")})
