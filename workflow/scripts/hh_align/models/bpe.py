"""Small models from nothing: a byte-level BPE tokenizer trained on given texts, with OPT's special tokens."""

from collections.abc import Iterable

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

SPECIAL = ["<s>", "<pad>", "</s>", "<unk>"]


def train_tokenizer(texts: Iterable[str], vocab_size: int, template: str, pair: str | None = None) -> PreTrainedTokenizerFast:
    """A tokenizer of at most `vocab_size` entries. `template` and `pair` say what it puts around one text and two, e.g. '</s> $A'."""
    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size, special_tokens=SPECIAL, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    core.train_from_iterator(texts, trainer)
    ids = [(token, core.token_to_id(token)) for token in SPECIAL]
    core.post_processor = processors.TemplateProcessing(single=template, pair=pair, special_tokens=ids)
    return PreTrainedTokenizerFast(
        tokenizer_object=core, bos_token="</s>", eos_token="</s>", unk_token="</s>", pad_token="<pad>", padding_side="right"
    )
