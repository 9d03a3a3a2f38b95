"""The processes of torch.distributed as a team that saves together."""

from __future__ import annotations

from typing import Any

import torch
from torch import distributed

from rowtune.checkpoints import Alone, Team


class Ranks:
    """All processes of a group, over gloo or NCCL; only bytes go between them, never a pickle.

    Parameters
    ----------
    group : process group, optional
        By default the one of all processes.
    """

    def __init__(self, group: Any = None) -> None:
        self._group = group
        self.rank: int = distributed.get_rank(group)
        self.world: int = distributed.get_world_size(group)

    def gather(self, data: bytes) -> list[bytes]:
        """What every process has given: lengths first, and then as many bytes as the longest."""
        device = "cuda" if distributed.get_backend(self._group) == "nccl" else "cpu"
        own = torch.frombuffer(bytearray(data or b" "), dtype=torch.uint8).to(device)
        length = torch.tensor([len(data)], device=device)
        lengths = [torch.empty_like(length) for _ in range(self.world)]
        distributed.all_gather(lengths, length, group=self._group)
        most = max(int(each) for each in lengths)
        padded = torch.zeros(max(1, most), dtype=torch.uint8, device=device)
        padded[: len(data)] = own[: len(data)]
        everything = [torch.empty_like(padded) for _ in range(self.world)]
        distributed.all_gather(everything, padded, group=self._group)
        return [
            each[: int(size)].cpu().numpy().tobytes()
            for each, size in zip(everything, lengths, strict=True)
        ]


def team_here() -> Team:
    """The processes of torch.distributed where there are any, else this one alone."""
    if distributed.is_available() and distributed.is_initialized():
        return Ranks()
    return Alone()
