"""A policy as it was after a step of its training: its parent with the adapter of that step merged."""

from peft import get_peft_model, set_peft_model_state_dict

from hh_align.core.artifacts import provenance, say
from hh_align.core.command import parse, run
from hh_align.models.folders import load_policy, save_model
from hh_align.training.adapters import lora_config, merge
from hh_align.training.snapshots import adapter_at


def main() -> None:
    args = parse(__doc__, config="config", parent="path", snapshots="path", manifest="path")
    step, lora = args.config["step"], args.config["lora"]
    model, tokenizer = load_policy(args.parent)
    adapted = get_peft_model(model, lora_config(model, lora))
    set_peft_model_state_dict(adapted, adapter_at(args.snapshots, step))
    merged = merge(adapted, list(range(min(len(tokenizer), 32))), "cpu")
    save_model(args.manifest, merged, tokenizer, provenance(args.config, [args.parent, args.snapshots]))
    say(f"{args.manifest.parent}: the policy after step {step}")


if __name__ == "__main__":
    run(main)
