"""A policy as it was after a step of its training: its parent with the adapter of that step merged."""

from peft import get_peft_model, set_peft_model_state_dict

from study.adapters import lora_config, merge
from study.artifacts import provenance, say
from study.command import parse, run
from study.models import load_policy, read_notice, save_model
from study.snapshots import adapter_at


def main() -> None:
    args = parse(__doc__, config="config", parent="path", snapshots="path", manifest="path")
    step, lora = args.config["step"], args.config["lora"]
    model, tokenizer = load_policy(args.parent)
    adapted = get_peft_model(model, lora_config(model, lora))
    set_peft_model_state_dict(adapted, adapter_at(args.snapshots, step))
    merged = merge(adapted, list(range(min(len(tokenizer), 32))), "cpu")
    save_model(args.manifest, merged, tokenizer, provenance(args.config, [args.parent, args.snapshots]), read_notice(args.parent))
    say(f"{args.manifest.parent}: the policy after step {step}")


if __name__ == "__main__":
    run(main)
