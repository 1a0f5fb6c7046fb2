"""The models of a study: where they come from, and their files."""

MODEL_SUFFIXES = (".json", ".safetensors", ".txt", ".jinja")
BESIDE_GGUF = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "chat_template.jinja")


def import_source(source, needed="a model: config.json, model.safetensors and the tokenizer's files are"):
    """A download's manifest, or the files that count of a local folder, or a local GGUF file and the tokenizer beside it."""
    if source["source"] == "hub":
        return local(f"{hub_folder('models', source)}/{manifest_name(model_selection(source))}")
    path = Path(source["path"])
    if path.suffix == ".gguf":
        beside = [file for file in map(path.with_name, BESIDE_GGUF) if file.is_file()]
        return [config_file(str(file)) for file in (path, *beside)]
    there = sorted(file for file in path.glob("*") if not is_licence(file))
    files = [file for file in there if file.suffix in MODEL_SUFFIXES or file.name == source.get("file")]
    if not files:
        raise WorkflowError(
            f"config: {source['path']} does not hold {needed} needed"
            f"{', or one of its GGUF files by its name (file)' if any(file.suffix == '.gguf' for file in there) else ''}."
        )
    return [config_file(str(file)) for file in files]


def model_sources():
    """All models, and adapters, that the study reads from elsewhere."""
    return [*config.get("models", {}).values(), *JUDGES.values(), *(given_source(config["policies"][policy]) for policy in GIVEN)]


def policy_import_config(source):
    settings = {"file": source["file"]} if "file" in source else {}
    return as_json(kind="policy", **settings, **({"chat_template": True} if source["chat_template"] else {}))


def given_config(wildcards):
    return policy_import_config(config["policies"][wildcards.policy])


def given_files(wildcards):
    """What is read of the weights, or of the adapter, that a policy is given. Raises WorkflowError as check_seed does."""
    check_seed(wildcards.policy, wildcards.seed)
    policy = config["policies"][wildcards.policy]
    if "adapter" in policy:
        return import_source(given_source(policy), "an adapter: adapter_config.json and adapter_model.safetensors are")
    return import_source(policy)


def adapter_config(wildcards):
    """What is known of the weights that the adapter is merged into."""
    parent = config["policies"][wildcards.policy]["parent"]
    source = BASE if parent == ROOT else config["policies"][parent]
    name = source.get("repo", source.get("path"))
    return as_json(**({"source": name} if name else {}))


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
    return expand("<results>/models/judges/{judge}/manifest.json", judge=judges_from(*JUDGES_WITH_WEIGHTS))


def import_source_option(wildcards, input):
    """What an import reads: the manifest of a download, a GGUF file, or the folder of the local files."""
    first = Path(input[0])
    return f"--source {shlex.quote(str(first if first.name.startswith('manifest') or first.suffix == '.gguf' else first.parent))}"


def judge_import_config(wildcards):
    judge = JUDGES[wildcards.judge]
    reading = {"reads": judge["reads"]} if "reads" in judge else {}
    return as_json(kind="judge", **reading, **output_settings(judge))


def model_folders():
    """Where the weights of the study lie, below its folder."""
    manifests = dict.fromkeys([*base_files(), *judge_files(), *policy_files()])
    return [str(Path(manifest).parent).removeprefix("<results>/") for manifest in manifests]


def notices(manifests):
    """The licence notices beside these."""
    return [f"{manifest.removesuffix('manifest.json')}NOTICE" for manifest in manifests]


def weights_source(wildcards):
    """What the config says of the source of a folder's weights; nothing where a training here makes them."""
    kind, name, *rest = wildcards.folder.split("/")
    if kind == "models":
        return JUDGES[rest[0]] if rest else BASE
    return given_source(config["policies"][name]) if name in GIVEN else {}


def licence_files(wildcards):
    """The licence files of a local source; of a download the provenance of the model, which keeps what they say. It is no ancient input:
    Snakemake takes a job behind one that is due for no job of its own reasons, and would leave the notice of another revision."""
    source = weights_source(wildcards)
    if source.get("source") == "hub":
        return f"<results>/{wildcards.folder}/provenance.json"
    if "path" not in source:
        return []
    path = Path(source["path"])
    beside = (path.parent if path.suffix == ".gguf" else path).glob("*")
    return [config_file(str(file)) for file in sorted(beside) if is_licence(file) and file.is_file()]


def parent_notice(wildcards):
    """The notice of the model that a folder's weights are made of, where there is one."""
    kind, name, *rest = wildcards.folder.split("/")
    if kind == "models":
        return notices([BASE_MANIFEST]) if weights_source(wildcards)["source"] == "trained" else []
    if "source" in config["policies"][name]:
        return []
    return notices([parent_manifest(SimpleNamespace(policy=name, seed=rest[0].removeprefix("seed-")))])


def notice_config(wildcards):
    source = weights_source(wildcards)
    return as_json(notice=source.get("notice", ""), **{key: source[key] for key in ("repo", "revision") if key in source})
