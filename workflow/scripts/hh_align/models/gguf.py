"""Models of a GGUF file: weights dequantised to float32, tokenizer and chat template as the file describes them."""

import json
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from hh_align.core.errors import StudyError
from hh_align.models.folders import first_line, load_tokenizer
from hh_align.models.weights import check_numbers

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerFast

PLAIN = ("F32", "F16", "BF16", "F64")
GPT2_SPLIT = ("gpt-2", "gpt2", "phi-2", "mpt", "olmo", "jais", "roberta-bpe")
"""Names of `tokenizer.ggml.pre` under which llama.cpp splits a text as GPT-2 does."""
DIGITS_APART = ("smollm", "starcoder", "refact", "codeshell", "command-r")
"""Those under which it cuts every digit off first."""
MARKS, CONFIG_MARKS = ("hf_quantizer", "is_quantized", "quantization_method"), ("quantization_config",)
"""What transformers leaves on a model of a GGUF file and on its config; with them a model is not saved as plain weights."""


def reader(path: Path):
    """The library's reader of the file. Raises StudyError where it is no GGUF file."""
    from gguf import GGUFReader

    try:
        return GGUFReader(path)
    except Exception as error:  # what the library raises at a broken file has no class of its own
        raise StudyError(f"{path}: not a readable GGUF file ({first_line(error)}). Take it from its source again.") from None


def field(file, key: str, default: object = None) -> object:
    """What a GGUF file says under a key."""
    return file.fields[key].contents() if key in file.fields else default


def quantisation(file) -> list[str]:
    """What is to be said of the file's weights: which types were dequantised, the most common first; nothing where all are plain floats."""
    types = Counter(tensor.tensor_type.name for tensor in file.tensors)
    packed = [name for name, _ in types.most_common() if name not in PLAIN]
    return [f"weights were quantised as {' and '.join(packed)}, and dequantised at import"] if packed else []


def read_gguf_model(folder: Path, name: str) -> "PreTrainedModel":
    """The causal model of a GGUF file, dequantised to float32, without what marks it as quantised.

    Raises StudyError where the file is unusable, its kind of model is not known, or a weight is missing or no finite number.
    """
    import torch
    import transformers

    path, settings = folder / name, {"gguf_file": name, "local_files_only": True}
    reader(path)
    try:
        model, loaded = transformers.AutoModelForCausalLM.from_pretrained(
            folder,
            dtype=torch.float32,
            quantization_config=transformers.GgufConfig(gguf_file=name, dequantize=True),
            output_loading_info=True,
            **settings,
        )
    except Exception as error:  # what transformers raises at a broken file has no class of its own
        raise StudyError(f"{path}: not a usable policy ({first_line(error)}).") from error
    if missing := sorted(loaded["missing_keys"]) + sorted(key for key, *_ in loaded["mismatched_keys"]):
        raise StudyError(f"{path}: weights missing or of another shape than the file says: {', '.join(missing)}.")
    for holder, marks in ((model, MARKS), (model.config, CONFIG_MARKS)):
        for mark in filter(vars(holder).__contains__, marks):
            delattr(holder, mark)
    check_numbers(dict(model.named_parameters()), path)
    return model


def read_gguf_tokenizer(folder: Path, name: str) -> "PreTrainedTokenizerFast":
    """The tokenizer of tokenizer.json where one lies beside the file, else of the file itself.

    A GGUF file names the way in which a text is cut before its tokens are looked up, and does not describe it. Raises StudyError for a
    name whose way is not known here: the ids would be other ones than those that the model was trained on.
    """
    import transformers
    from transformers.integrations.gguf.gguf_tokenizer_mapping import GGUF_PRE_TOKENIZER_SPLITS

    path, file = folder / name, reader(folder / name)
    try:
        if (folder / "tokenizer.json").is_file():
            return load_tokenizer(folder)
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder, gguf_file=name, local_files_only=True)
    except Exception as error:  # what these libraries raise has no class of its own
        raise StudyError(f"{path}: not a usable tokenizer ({first_line(error)}).") from error
    split = field(file, "tokenizer.ggml.pre", "none")
    if field(file, "tokenizer.ggml.model") == "gpt2" and split not in (*GGUF_PRE_TOKENIZER_SPLITS, *GPT2_SPLIT):
        if split not in DIGITS_APART:
            raise StudyError(
                f"{path}: its tokenizer cuts texts in a way named {split} (tokenizer.ggml.pre), which is not known here. Put the model's "
                "tokenizer.json and tokenizer_config.json beside the file, into a folder of their own."
            )
        from tokenizers import pre_tokenizers

        parts = [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
        tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence(parts)
    return plain(tokenizer, len(field(file, "tokenizer.ggml.tokens")))


def plain(tokenizer: "PreTrainedTokenizerFast", size: int) -> "PreTrainedTokenizerFast":
    """The same as the generic class has it, of the file's own `size` tokens: a model's own class may add others that it thinks every model has."""
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerFast

    described = json.loads(tokenizer.backend_tokenizer.to_str())
    described["added_tokens"] = [token for token in described["added_tokens"] if token["id"] < size]
    core = Tokenizer.from_str(json.dumps(described))
    special = {
        key: value for key, value in tokenizer.special_tokens_map.items() if isinstance(value, str) and core.token_to_id(value) is not None
    }
    return PreTrainedTokenizerFast(tokenizer_object=core, chat_template=tokenizer.chat_template, **special)
