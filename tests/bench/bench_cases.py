"""What the benches share: the models, the rows, equal for every peer, and the table that they write to."""

import gzip
import json
import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
SHARED = REPOSITORY.parent / "shared"
SCRIPTS = REPOSITORY / "workflow/scripts"
sys.path.insert(0, str(SCRIPTS))

CASES = {
    "demo": {
        "architecture": {
            "hidden_size": 128, "layers": 3, "heads": 4, "ffn_dim": 512, "word_embed_proj_dim": 64, "max_positions": 2048, "init_std": 0.08,
            "dropout": 0.0,
        },
        "vocabulary": 4096, "rows": {"sft": 800, "dpo": 120}, "max_length": 256, "max_prompt_length": 192, "micro_batch": 8, "targets": ["q_proj", "v_proj"],
    },
    "opt-350m": {
        "architecture": {
            "hidden_size": 1024, "layers": 24, "heads": 16, "ffn_dim": 4096, "word_embed_proj_dim": 512, "max_positions": 2048, "init_std": 0.02,
            "dropout": 0.0,
        },
        "vocabulary": 50272, "rows": {"sft": 16, "dpo": 8}, "max_length": 512, "max_prompt_length": 256, "micro_batch": 8, "targets": ["q_proj", "v_proj"],
    },
}  # fmt: skip
BATCH = 8


def precisions_here() -> list[str]:
    """The precisions that this machine's CPU does not emulate, for a bench in one of those takes hours."""
    from hh_align.models.precision import is_emulated

    return [precision for precision in ("float32", "bfloat16") if not is_emulated(precision, "cpu")]


def load_pairs(count: int) -> list[dict]:
    """The first usable rows of the real test files of harmless-base and helpful-base, taken in turn: prompt, chosen, rejected."""
    from hh_align.data.transcripts import split_transcript

    rows_of: dict[str, list[dict]] = {"harmless-base": [], "helpful-base": []}
    for subset, rows in rows_of.items():
        with gzip.open(SHARED / "hh-rlhf" / subset / "test.jsonl.gz", "rt", encoding="utf-8") as file:
            for line in file:
                (prompt, chosen), (other, rejected) = (split_transcript(json.loads(line)[side]) for side in ("chosen", "rejected"))
                if prompt == other and chosen != rejected and chosen.strip() and rejected.strip():
                    rows.append({"prompt": prompt, "chosen": chosen, "rejected": rejected, "rejected_prompt": None})
                if len(rows) == count // 2:
                    break
    return [row for both in zip(*rows_of.values(), strict=True) for row in both]


def load_tokenizer(case: dict, pairs: list[dict]):
    """GPT-2's own BPE for the large shape, a small one made from the rows for the small one."""
    from hh_align.models.bpe import train_tokenizer

    if case["vocabulary"] < 50000:
        return train_tokenizer([row["prompt"] + row["chosen"] for row in pairs], case["vocabulary"], "</s> $A")
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    vocabulary = {"<s>": 0, "<pad>": 1, "</s>": 2, "<unk>": 3}
    vocabulary |= {
        token: number + 4 for token, number in json.loads((SHARED / "gpt2-bpe/vocab.json").read_text()).items() if number < 50260
    }
    core = Tokenizer(
        models.BPE(vocabulary, [tuple(line.split()) for line in (SHARED / "gpt2-bpe/merges.txt").read_text().splitlines()[1:] if line])
    )
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    return PreTrainedTokenizerFast(tokenizer_object=core, bos_token="</s>", eos_token="</s>", unk_token="</s>", pad_token="<pad>")


def prepared(name: str, kind: str):
    """(case, model, tokenizer, transcripts or pairs, order of training) of a case: equal for every peer."""
    from hh_align.core.plan import training_order
    from hh_align.models.folders import prepare
    from hh_align.models.tokens import encoder, pair_view, transcript_view
    from hh_align.training.pretrain_base import build_model

    prepare()
    case = CASES[name]
    pairs = load_pairs(800)
    tokenizer = load_tokenizer(case, pairs)
    rows = pairs[: case["rows"][kind]]
    model = build_model(case["architecture"], case["vocabulary"], 1)
    if kind == "sft":
        views = transcript_view(rows, encoder(tokenizer), 2, 2, case["max_length"], "transcript")
        sizes = [len(view.input_ids) for view in views]
    else:
        views = pair_view(rows, encoder(tokenizer), 2, 2, case["max_length"], case["max_prompt_length"])
        sizes = [len(view.prompt_ids) + len(view.chosen_ids) + len(view.rejected_ids) for view in views]
    return case, model, tokenizer, views, training_order(sizes, 1, BATCH, 1)


def write_rows(name: str, rows: list[dict], numbers: tuple[str, ...]) -> None:
    """Into results/bench/<name>.parquet, in the place of the same cases' earlier rows."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    target = REPOSITORY / f"results/bench/{name}.parquet"
    target.parent.mkdir(parents=True, exist_ok=True)
    if target.is_file():
        measured = {row["case"] for row in rows}
        rows = [row for row in pq.read_table(target).to_pylist() if row["case"] not in measured] + rows
    schema = pa.schema([*((name, pa.string()) for name in ("case", "peer", "metric")), *((name, pa.float64()) for name in numbers)])
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), target)
    print(f"wrote {target.relative_to(REPOSITORY)}")
