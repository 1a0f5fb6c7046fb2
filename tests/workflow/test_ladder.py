"""The ladder of sizes: every rung is a whole config at a commit of its own, and Snakemake plans it."""

import pytest
import yaml
from bench.simulate_scaling import LADDER
from study_folder import REPOSITORY, StudyFolder

RUNGS = sorted(path.stem for path in (REPOSITORY / "config/ladder").glob("*.yaml") if path.stem != "all")


def test_every_rung_has_its_cost_its_commit_and_its_licence():
    assert sorted(LADDER) == RUNGS
    bases = {}
    for rung in RUNGS:
        given = yaml.safe_load((REPOSITORY / f"config/ladder/{rung}.yaml").read_text())
        assert given["study"] == "ladder_" + rung.replace("-", "_").replace(".", "_")
        bases[rung] = given["models"]["base"]
        assert (
            len(bases[rung]["revision"]) == 40 and "licen" in bases[rung]["notice"].lower() and bases[rung]["repo"].lower().endswith(rung)
        )
    assert len({base["revision"] for base in bases.values()}) == len(RUNGS)


@pytest.mark.parametrize("rung", ["pythia-160m", *(pytest.param(rung, marks=pytest.mark.long) for rung in RUNGS if rung != "pythia-160m")])
def test_a_rung_is_planned(tmp_path, rung):
    planned = StudyFolder(tmp_path, "--configfile", "config/ladder/all.yaml", f"config/ladder/{rung}.yaml").planned()
    assert {"train_sft sft 42", "train_dpo dpo 42", "train_dpo sft_dpo 42", "select_items"} <= planned
    assert {"measure_capability base 0", *(f"measure_capability {policy} 42" for policy in ("sft", "dpo", "sft_dpo"))} <= planned
