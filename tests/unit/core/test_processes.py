"""Several processes of one training."""

import torch.distributed as distributed

from hh_align.core.command import run


def test_a_step_leaves_its_group_before_it_ends():
    def main():
        distributed.init_process_group("gloo", store=distributed.HashStore(), rank=0, world_size=1)

    run(main)
    assert not distributed.is_initialized()
