"""What `distribute` has placed: two ranks save it, one and three load it, bit for bit."""

from __future__ import annotations

import pytest
import torch

from placed_saves import SAVES, WORLDS_OF_SAVES


@pytest.fixture(params=SAVES)
def found(request, folder):
    """What each rank ended with, by the number of ranks."""
    return {
        world: [
            torch.load(f"{folder}/saves on rank {rank} of {world}", weights_only=False)[
                request.param
            ]
            for rank in range(world)
        ]
        for world in WORLDS_OF_SAVES
    }


def test_two_ranks_save_and_one_and_three_load_the_same_bits(found):
    saved = found[2][0]["saved"]
    assert found[2][0]["how"]["big"] == "torchrec"
    assert any(saved[key] != began for key, began in found[2][0]["began"].items() if key != "lr")
    for world in (1, 3):
        for theirs in found[world]:
            assert theirs["loaded"] == saved
            assert theirs["began"] != saved
            assert (theirs["extra"], theirs["step"]) == ({"epoch": 1}, 4)


def test_training_goes_on_bit_for_bit_from_an_incremental_save(found):
    for theirs in found[2]:
        assert theirs["kind"] == "incremental"
        assert theirs["again"] == theirs["later"] != theirs["saved"]


def test_a_table_that_trains_other_rows_is_refused_on_every_rank(found):
    for theirs in [each for ranks in found.values() for each in ranks]:
        assert "'words' with trainable" in theirs["other rows"]
        assert theirs["kept"]


def test_one_save_has_tables_of_both_ways(folder):
    theirs = torch.load(f"{folder}/saves on rank 1 of 2", weights_only=False)
    assert theirs["both ways"]["how"] == {"words": "ddp", "big": "torchrec"}
    assert "head.weight" not in theirs["nothing dense"]["saved"]
