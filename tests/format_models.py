"""Folders of models: bases and judges."""

from collections.abc import Callable
from pathlib import Path

from format_cases import Case, Section, step
from sound_artifacts import edit_json
from tinymodels import write_judge, write_opt


def imported(kind: str, path: Path, settings: dict) -> list[tuple]:
    """(class, its weights' type, end token, padding) of the model as a study keeps it."""
    from hh_align.models import import_model
    from hh_align.models.folders import load_judge, load_policy

    manifest = path.with_name(f"{path.name}-imported") / "manifest.json"
    step(import_model, config={"kind": kind} | settings, source=path, manifest=manifest)
    model, tokenizer = {"policy": load_policy, "judge": load_judge}[kind](manifest)
    return [(type(model).__name__, str(model.dtype).removeprefix("torch."), tokenizer.eos_token, tokenizer.pad_token)]


def base(path: Path, settings: dict) -> list[tuple]:
    return imported("policy", path, settings)


def judge(path: Path, settings: dict) -> list[tuple]:
    return imported("judge", path, settings)


def opt(change: Callable[[Path], object] = lambda folder: None, **shape) -> Callable[[Path], None]:
    """A tiny OPT with fp16 weights, and what `change` does to its folder."""

    def make(folder: Path) -> None:
        write_opt(folder, **{"weights": "safetensors"} | shape)
        change(folder)

    return make


def sharded(folder: Path) -> None:
    """Each tensor in a file of its own."""
    import json

    from safetensors.torch import load_file, save_file

    weights = load_file(folder / "model.safetensors")
    names = {name: f"model-{number:05d}-of-{len(weights):05d}.safetensors" for number, name in enumerate(weights, 1)}
    for name, file in names.items():
        save_file({name: weights[name]}, folder / file, {"format": "pt"})
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": names}))
    (folder / "model.safetensors").unlink()


def without_shard(folder: Path) -> None:
    sharded(folder)
    next(folder.glob("model-00001-*")).unlink()


def nan_weights(folder: Path) -> None:
    import torch
    from safetensors.torch import load_file, save_file

    weights = load_file(folder / "model.safetensors")
    broken = {name: torch.full_like(value, torch.nan) if "layer_norm" in name else value for name, value in weights.items()}
    save_file(broken, folder / "model.safetensors", {"format": "pt"})


def decoder(config_pad: int | None, pad: str | None) -> Callable[[Path], None]:
    """A tiny Llama with one output, and these paddings in its config and its tokenizer, whose end token is 2."""

    def make(folder: Path) -> None:
        import torch
        from transformers import LlamaConfig, LlamaForSequenceClassification

        from hh_align.models.bpe import train_tokenizer

        tokenizer = train_tokenizer(["Yes, and again"], 300, "$A </s>", "$A </s> $B </s>")
        tokenizer.pad_token = pad
        torch.manual_seed(0)
        shape = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "num_labels": 1}
        model = LlamaForSequenceClassification(LlamaConfig(vocab_size=len(tokenizer), initializer_range=0.3, **shape))
        model.config.pad_token_id = config_pad
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)

    return make


def classifier(folder: Path) -> None:
    write_judge(folder, words=20, labels=("fine", "toxic"))
    pickled_to_safetensors(folder)


def reward_model(folder: Path) -> None:
    write_judge(folder, words=20)
    pickled_to_safetensors(folder)


def pickled_to_safetensors(folder: Path) -> None:
    import torch
    from safetensors.torch import save_file

    weights = torch.load(folder / "pytorch_model.bin", weights_only=True)
    save_file(
        {name: value.contiguous() for name, value in weights.items() if "position_ids" not in name},
        folder / "model.safetensors",
        {"format": "pt"},
    )
    (folder / "pytorch_model.bin").unlink()


OPT = [("OPTForCausalLM", "float32", "</s>", "<pad>")]
LABEL = {"output": "label", "label": "toxic", "higher_is": "worse", "scale": "probability"}
SECTIONS = [
    Section(
        "A base model",
        "`models: {base: {source: local, path: opt}}`; [Base models](architectures.md) tells which kinds work. The third column holds the class, the type of its weights, end token and padding.",
        base,
        [
            Case("one file of fp16 weights", "opt", opt(), OPT, example="config.json, model.safetensors, vocab.json, merges.txt"),
            Case("weights in several files", "opt", opt(sharded), OPT, example="…, model.safetensors.index.json, model-00001-of-….safetensors, …"),
        ],
        [
            Case("an index whose file is not there", "opt", opt(without_shard), None, "opt/model.safetensors.index.json: it names model-00001-of-….safetensors, which is not beside it. Copy the whole folder.", example="…, model.safetensors.index.json"),
            Case("a pickle", "opt", opt(weights="bin"), None, "opt/pytorch_model.bin is a pickle, which can run code, and no checksum vouches for it. Convert it to model.safetensors, or take … from the hub at a pinned revision.", example="…, pytorch_model.bin"),
            Case("no weights", "opt", opt(lambda folder: (folder / "model.safetensors").unlink()), None, "opt: neither model.safetensors…", example="config.json, vocab.json, merges.txt"),
            Case("no tokenizer", "opt", opt(lambda folder: (folder / "vocab.json").unlink()), None, "opt: no tokenizer.json (and, for OPT, no vocab.json with merges.txt).", example="config.json, model.safetensors, merges.txt"),
            Case("a kind that is not known", "opt", opt(lambda folder: edit_json(folder / "config.json", model_type="mine")), None, "opt: not a usable policy (…", example='config.json: {"model_type": "mine", …}'),
            Case("a config of another model", "opt", opt(lambda folder: edit_json(folder / "config.json", vocab_size=100)), None, "opt: weights missing or of another shape than config.json says: …", example='config.json: {"vocab_size": 100, …}'),
            Case("a tokenizer of another model", "opt", opt(lambda folder: edit_json(folder / "vocab.json", beyond=9999)), None, "opt: the tokenizer goes up to id 9999, the model's embedding has 267 rows. They do not belong together.", example='vocab.json: {"beyond": 9999, …}'),
            Case("weights that are cut", "opt", opt(lambda folder: (folder / "model.safetensors").write_bytes(b"{}")), None, "opt/model.safetensors: not a readable safetensors file (…).", example="model.safetensors: 2 bytes"),
            Case("weights that are NaN", "opt", opt(nan_weights), None, "opt: …no …numbers…", example="model.safetensors: NaN, …"),
            Case("a judge instead of a base model", "judge", reward_model, None, "judge/config.json: a model of type deberta-v2 cannot be a policy.", example='config.json: {"model_type": "deberta-v2", …}'),
        ],
    ),
    Section(
        "A judge",
        "`judges: {second: {source: local, path: judge, …}}`. The third column holds the same as for a base model.",
        judge,
        [
            Case("a reward model: one output", "judge", reward_model, [("DebertaV2ForSequenceClassification", "float32", "[SEP]", "[PAD]")], example='config.json: {"model_type": "deberta-v2", "id2label": {"0": "LABEL_0"}, …}'),
            Case("a classifier with labels", "judge", classifier, [("DebertaV2ForSequenceClassification", "float32", "[SEP]", "[PAD]")], settings=LABEL, example='config.json: {"id2label": {"0": "fine", "1": "toxic"}, …}'),
        ],
        [
            Case("the config's padding is the end token", "judge", decoder(2, "<pad>"), [("LlamaForSequenceClassification", "float32", "</s>", "<pad>")], "padding is <pad> in config.json, too (there it was 2)", example='config.json: {"pad_token_id": 2, …}, tokenizer: 2 is </s>'),
            Case("the config names no padding", "judge", decoder(None, "<pad>"), [("LlamaForSequenceClassification", "float32", "</s>", "<pad>")], "padding is <pad> in config.json, too (there it was None)", example='config.json: {"pad_token_id": null, …}'),
            Case("no padding token is named", "judge", decoder(None, None), [("LlamaForSequenceClassification", "float32", "</s>", "<pad>")], "padding is <pad> (1)", example='config.json: {"pad_token_id": null, …}, tokenizer: no pad_token'),
            Case("a label misspelt", "judge", classifier, None, "judge/config.json: the model has no label 'toxicity'. It has: 0 fine, 1 toxic.", settings=LABEL | {"label": "toxicity"}, example='config.json: {"id2label": {"0": "fine", "1": "toxic"}, …}'),
            Case("a classifier taken for a reward model", "judge", classifier, None, "judge/config.json: a judge has one logit, this model has 2 (0 fine, 1 toxic). Set output: label or attribute, and which one.", example='config.json: {"id2label": {"0": "fine", "1": "toxic"}, …}'),
        ],
    ),
]  # fmt: skip
