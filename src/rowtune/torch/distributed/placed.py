"""A model whose tables have been placed: to be called, stepped, printed and saved."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from rowtune.errors import RuleError
from rowtune.torch.distributed.agreement import RollCall
from rowtune.torch.distributed.body import Body
from rowtune.torch.distributed.patch_pieces import save_patch
from rowtune.torch.distributed.rule_names import optimizer_of
from rowtune.torch.distributed.sharded import ShardedEmbedding
from rowtune.torch.distributed.shards import Shard
from rowtune.torch.optim.row_optimizer import RowOptimizer
from rowtune.torch.optim.row_state import STEP
from rowtune.torch.parameter import RowParameter
from rowtune.torch.row_module import RowModule


class Table(NamedTuple):
    """One table, where it was placed."""

    name: str
    module: nn.Module  # a RowModule under DDP, a ShardedEmbedding under TorchRec
    how: str
    why: str
    facts: dict[str, str]


class Placed(nn.Module):
    """What `rowtune.torch.distributed.distribute` gives back. Every rank calls it in every step.

    Attributes
    ----------
    module : nn.Module
        The model. To call it without the others (in an evaluation by one rank) is possible where no
        table went to TorchRec.
    optimizer : one of `rowtune.torch.optim`
        Of all that does not move inside ``backward()``; also learning-rate schedules go here, and
        reach the tables of TorchRec with the next forward pass.
    how, why : dict of str to str
        "ddp" or "torchrec" for each table by name, and a sentence. Printing shows both.
    """

    def __init__(
        self, model: nn.Module, tables: Sequence[Table], rule: str, hyper: Mapping[str, Any],
        options: Mapping[str, Any], group: Any, device: torch.device, ddp: Mapping[str, Any],
    ) -> None:  # fmt: skip
        super().__init__()
        self._tables = {table.name: table for table in tables}
        self._group = group
        sharded = [t.module for t in tables if isinstance(t.module, ShardedEmbedding)]
        once = rule != "sgd"  # to which two parts of a gradient are as good as their sum
        roll = RollCall(
            len(sharded), group, device, lambda number: sharded[number].look_up_nothing(), once
        )
        body = Body(model, [t.module for t in tables if isinstance(t.module, RowModule)], roll)
        self._called: nn.Module = body
        if any(parameter.requires_grad for parameter in body.parameters()):
            self._called = DistributedDataParallel(
                body, process_group=group, **{"gradient_as_bucket_view": True, **ddp}
            )
        parameters = list(model.parameters()) or [RowParameter(torch.zeros(0, 1, device=device))]
        self.optimizer: RowOptimizer = optimizer_of(rule, parameters, hyper, options)
        for number, module in enumerate(sharded):
            module.joins(roll, number, self.optimizer, once)

    @property
    def module(self) -> nn.Module:
        return self._body.module

    @property
    def _body(self) -> Body:
        called = self._called
        body = called.module if isinstance(called, DistributedDataParallel) else called
        assert isinstance(body, Body)
        return body

    @property
    def how(self) -> dict[str, str]:
        return {name: table.how for name, table in self._tables.items()}

    @property
    def why(self) -> dict[str, str]:
        return {name: table.why for name, table in self._tables.items()}

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """The model's own.

        Raises
        ------
        IdError
            On every rank, where an id is out of range on one of them; nothing was moved.
        AnotherRankFailed
            On the other ranks, where one raises another error.
        RuleError
            On every rank: some call it under ``no_grad`` and others do not; or a table of TorchRec
            is looked up twice.
        """
        return self._called(*args, **kwargs)

    @contextlib.contextmanager
    def no_sync(self) -> Iterator[None]:
        """As DDP's: accumulate gradients here without averaging them yet.

        Raises
        ------
        RuleError
            A table of TorchRec, which moves in every backward pass.
        """
        if "torchrec" in self.how.values():
            raise RuleError(
                "tables of TorchRec move in every backward pass, so gradients cannot be "
                "accumulated; make larger batches"
            )
        if isinstance(self._called, DistributedDataParallel):
            with self._called.no_sync():
                yield
        else:
            yield

    def shards(self) -> dict[str, Shard]:
        """What of each table is on this rank: under DDP all of it, on every rank the same.

        TorchRec counts no steps of a row, so there are none in its arrays.
        """
        return {name: self._shard(table) for name, table in self._tables.items()}

    def _shard(self, table: Table) -> Shard:
        if isinstance(table.module, ShardedEmbedding):
            block = table.module.sharded_block
            arrays = {"rows": block.rows.detach()}
            arrays |= {f"state.{name}": array.detach() for name, array in block.state.items()}
            return Shard(block.total, block.begin, arrays, dict(table.facts))
        assert isinstance(table.module, RowModule)
        own: RowParameter = table.module.block
        table.module._settle()
        arrays = {"rows": own.detach()}
        for name, array in self.optimizer.row_state(own).items():
            arrays["steps" if name == STEP else f"state.{name}"] = array
        return Shard(len(own), 0, arrays, dict(table.facts))

    def save_patch(self, path: str | os.PathLike[str], *, state: bool = True) -> None:
        """Collect the trained rows of all ranks in one file, which rank 0 writes by pieces.

        Every rank calls it. The file is a patch as `rowtune.torch.save_patch` writes it, which
        `rowtune.torch.load_patch` and, for one table, `rowtune.apply_patch` read. No rank holds
        more than a piece of some MB beside its own rows.

        Parameters
        ----------
        state : bool
            Whether it has what the rule remembers, too. Where TorchRec has counted no steps, the
            file says 0: none of its rules asks.

        Raises
        ------
        PatchError
            A table without a base, of which every row trains; or one that trains columns, or has
            grown.
        OSError
            On every rank, where rank 0 cannot write; an older file of this name is kept.
        """
        ids: dict[str, Tensor] = {}
        for name, table in self._tables.items():
            module = table.module
            assert isinstance(module, (ShardedEmbedding, RowModule))
            whole = module.rows is not None and not module.rows.trains_all
            plain = not isinstance(module, RowModule) or module._columns is None
            if whole and plain and module.rows is not None:
                ids[name] = torch.from_numpy(module.rows.ids.copy())
        save_patch(path, self.shards(), ids, self._group, state)

    def extra_repr(self) -> str:
        return "\n".join(
            f"{name or 'the embedding'}: {t.how}, because {t.why}"
            if not t.why.startswith("asked")
            else f"{name or 'the embedding'}: {t.how}, as {t.why}"
            for name, t in self._tables.items()
        )
