"""Rewards that one judge gives to one policy's responses."""

import math
import time

from study.artifacts import provenance, read_table, say, write_table
from study.command import StudyError, parse, run
from study.compute import use_device, write_timing
from study.judging import pair_ids, rewards
from study.models import load_judge
from study.progress import Progress
from study.tables import REWARDS


def main() -> None:
    started = time.monotonic()
    args = parse(
        __doc__, config="config", judge="path", prompts="path", responses="path", threads="int", output="path", timing="path"
    )  # fmt: skip
    config = args.config
    device = use_device(config["device"], args.threads)
    made_by = provenance(config, [args.judge, args.prompts, args.responses], device=device, threads=args.threads)
    model, tokenizer = load_judge(args.judge, dtype=config["dtype"], device=device)
    prompts = {row["prompt_id"]: row["prompt"] for row in read_table(args.prompts, ["prompt_id", "prompt"]).to_pylist()}
    responses = read_table(args.responses, ["axis", "prompt_id", "response"]).to_pylist()
    if sorted(prompts) != sorted(row["prompt_id"] for row in responses):
        raise StudyError(f"{args.responses} and {args.prompts} hold different prompts. Delete the responses; the next run rebuilds them.")

    texts = [row["response"] for row in responses]
    ids, cut = pair_ids(tokenizer, [prompts[row["prompt_id"]] for row in responses], texts, config.get("max_length"))
    progress = Progress(len(ids), "pair")
    found = rewards(model, ids, tokenizer.pad_token_id, config["batch_tokens"], device, progress)

    rows = []
    for number, response in enumerate(responses):
        place = {"axis": response["axis"], "prompt_id": response["prompt_id"]}
        if not math.isfinite(found[number]):
            raise StudyError(f"{place['prompt_id']}: the judge's reward is {found[number]}: its weights are damaged.")
        rows.append({**place, "reward": found[number], "input_tokens": len(ids[number]), "cut_tokens": cut[number]})
    say(f"{sum(count > 0 for count in cut)} of {len(rows)} pairs cut, {sum(cut):,} tokens lost")
    write_table(args.output, rows, REWARDS, made_by)
    write_timing(args.timing, started, pairs=len(rows), tokens=progress.tokens)


if __name__ == "__main__":
    run(main)
