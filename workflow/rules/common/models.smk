"""The models of a study: where they come from, and their files."""


def import_source(source):
    """A downloaded folder's manifest, or a local folder's files that count."""
    if source["source"] == "hub":
        return local(f"{hub_folder('models', source)}/manifest.json")
    files = [str(path) for path in sorted(Path(source["path"]).glob("*")) if path.suffix in (".json", ".safetensors", ".txt", ".jinja")]
    if not files:
        raise WorkflowError(
            f"config: {source['path']} holds no model: config.json, model.safetensors and the tokenizer's files are needed."
        )
    return [config_file(path) for path in files]


def scratch_data(source):
    """The dataset that a model from nothing reads."""
    return source.get("data", prompts_dataset())


OUTPUT_KEYS = {"label": ("output", "label", "scale", "higher_is"), "attribute": ("output", "attribute", "higher_is")}


def output_settings(judge):
    """Which of a judge's outputs is its reward, where there are several."""
    return {key: judge[key] for key in OUTPUT_KEYS.get(judge.get("output"), ())}


def base_files():
    """Of the root's model, where the study has weights."""
    return ["<results>/models/base/manifest.json"] if WITH_WEIGHTS else []


def judge_files():
    """Of the judges with weights."""
    return expand("<results>/models/judges/{judge}/manifest.json", judge=judges_from("hub", "local", "scratch"))


def import_source_option(wildcards, input):
    """What import_model reads: the one manifest, or the folder of the local files."""
    return f"--source {shlex.quote(str(input[0] if len(input) == 1 else Path(input[0]).parent))}"


def judge_import_config(wildcards):
    judge = JUDGES[wildcards.judge]
    reading = {"reads": judge["reads"]} if "reads" in judge else {}
    return as_json(kind="judge", notice=judge["notice"], **reading, **output_settings(judge))
