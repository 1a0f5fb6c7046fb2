"""What evaluation's tests read and none of them changes: small models with prompts, and the policy's responses to them."""

from pathlib import Path

import pytest
from small_evaluation import ended, job_of, save_judge, save_policy, texts, write_prompts


@pytest.fixture(scope="session")
def evaluated(tmp_path_factory) -> Path:
    """A folder with a policy, a judge and 64 prompts."""
    folder = tmp_path_factory.mktemp("evaluation")
    save_policy(folder)
    save_judge(folder)
    write_prompts(folder / "prompts.parquet", enumerate(texts(64)))
    return folder


@pytest.fixture(scope="session")
def responses(evaluated) -> Path:
    """The table of the policy's responses."""
    module, config, inputs = job_of(evaluated, "generate")
    return ended(module, evaluated, "responses", config, **inputs)
