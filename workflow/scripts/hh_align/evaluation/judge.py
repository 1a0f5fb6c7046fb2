"""A judge at work: how it reads replies, and the reward that it gives to each."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from hh_align.models.compute import forget_kernels
from hh_align.models.deberta import without_padding
from hh_align.models.folders import load_judge
from hh_align.models.judge_inputs import judge_ids
from hh_align.models.judging import checked_rewards, reward_of
from hh_align.models.precision import is_emulated
from hh_align.models.reading import reading_of


@dataclass
class Judge:
    """A sequence classifier with what makes one number of its logits, shape (inputs, outputs); reads: one of models.reading.READINGS."""

    model: torch.nn.Module
    tokenizer: object
    reward: Callable[[torch.Tensor], torch.Tensor]
    reads: str

    def read(
        self,
        prompts: Sequence[str],
        replies: Sequence[str],
        names: Sequence[str],
        max_length: int | None,
        reply_tokens: int | None = None,
    ) -> tuple[list[list[int]], list[int]]:
        """(token ids, tokens cut) of each reply as the judge reads it: models.reading.judge_ids, which says the rest."""
        return judge_ids(self.tokenizer, self.reads, prompts, replies, names, max_length, reply_tokens)

    def rewards(self, ids: Sequence[Sequence[int]], names: Sequence[str]) -> list[float]:
        """The reward of each input (higher is better, the unit is the judge's own), read in one batch with right padding.

        names: what an error calls the inputs. Raises StudyError for an input beyond the positions that the judge has learned, and for a
        reward that is no finite number.
        """
        return checked_rewards(self.model, ids, names, self.tokenizer.pad_token_id, self.reward)


def open_judge(manifest: Path, config: dict, device: str) -> Judge:
    """The judge of a model folder in evaluation mode, on `device`, read as the config's dtype, output, label or attribute, and `reads` say.

    Raises StudyError where a file of the folder is damaged, the model lacks the output, or nothing says how it reads.
    """
    forget_kernels(config["dtype"])
    is_emulated(config["dtype"], device)
    model, tokenizer = load_judge(manifest, dtype=config["dtype"], device=device)
    reward = reward_of(model, config)
    without_padding(model)
    return Judge(model, tokenizer, reward, reading_of(tokenizer, config.get("reads"), manifest.parent))
