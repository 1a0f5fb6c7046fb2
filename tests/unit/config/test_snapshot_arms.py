"""Snapshots in a config: each is an arm, a policy of its own, and changes nothing of the training that it comes from."""

import pytest
from configs import SCHEMA, load, merged

from hh_align.config.resolve import resolve
from hh_align.core.errors import StudyError


def with_snapshots(**more):
    return merged(load("config"), {"methods": {"dpo": {"snapshots": [50, 100]}}} | more)


def test_a_method_with_snapshots_makes_arms_of_its_policies():
    resolved, plain = resolve(with_snapshots(), SCHEMA), resolve(load("config"), SCHEMA)
    assert {name: entry for name, entry in resolved["policies"].items() if name not in plain["policies"]} == {
        f"{name}_step{step}": {"parent": parent, "method": "dpo"}
        for name, parent in (("dpo", "base"), ("sft_dpo", "sft"))
        for step in (50, 100)
    }
    assert resolved["snapshots"]["sft_dpo_step100"] == {"of": "sft_dpo", "step": 100}
    assert resolved["methods"] == plain["methods"] and "snapshots" not in plain  # nothing of the training itself has changed


def test_controls_and_arms_of_a_sweep_have_snapshots_too():
    config = with_snapshots(controls=["coin"], analysis={"primary": None})
    config["methods"]["dpo"]["beta"] = [0.1, 0.5]
    resolved = resolve(config, SCHEMA)
    assert resolved["policies"]["sft_dpo_coin_beta0.5_step50"] == {"parent": "sft", "method": "dpo_beta0.5", "data": "coin"}
    assert "sft_dpo_beta0.1_step100" not in resolved["sweeps"]["policies"]


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"methods": {"sft": {"snapshots": [5]}}}, r"methods.sft has no key snapshots"),
        ({"methods": {"dpo": {"snapshots": [5], "lora": None}}}, r"methods.dpo.snapshots needs methods.dpo.lora"),
        ({"methods": {"dpo": {"snapshots": [0]}}}, r"methods.dpo.snapshots\[1st\] is 0.*at least 1"),
        ({"methods": {"dpo": {"snapshots": [2.5]}}}, r"methods.dpo.snapshots\[1st\] is 2.5"),
        ({"methods": {"dpo": {"snapshots": []}}}, r"methods.dpo.snapshots is \[\]"),
        ({"methods": {"dpo": {"snapshots": 5}}}, r"methods.dpo.snapshots is 5"),
        ({"policies": {"dpo_step50": {"parent": "sft", "method": "sft"}}, "methods": {"dpo": {"snapshots": [50]}}}, r"policies.dpo_step50 is taken: a snapshot"),
    ],
)  # fmt: skip
def test_what_is_no_snapshot_is_refused(more, said):
    with pytest.raises(StudyError, match=said) as error:
        resolve(merged(load("config"), more), SCHEMA)
    assert "\n" not in str(error.value)
