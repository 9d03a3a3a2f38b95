"""State dicts: what is not loaded, what is left out, and whose memory it is afterwards."""

from __future__ import annotations

import copy
import io

import numpy as np
import pytest
import torch
from torch import nn

import rowtune.torch as rt

N, D = 40, 6


@pytest.fixture
def weights():
    return torch.randn(N, D, generator=torch.Generator().manual_seed(0))


def bits(tensor):
    tensor = tensor.detach()
    return (tensor.view(torch.int16) if tensor.itemsize == 2 else tensor).numpy().tobytes()


def trained(weights, train, kind=rt.Embedding, **more):
    embedding = kind.from_pretrained(weights, train=train, **more)
    with torch.no_grad():
        embedding.block.add_(torch.arange(1, embedding.block.numel() + 1).view_as(embedding.block))
    return embedding


def pair(one, other):
    return nn.ModuleDict({"one": one, "other": other})


# --- whose memory it is ------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [rt.Embedding, rt.EmbeddingBag])
@pytest.mark.parametrize("after", ["all", [1, 3], [1, 5], []])
@pytest.mark.parametrize("before", ["all", [1, 3]])
def test_a_checkpoint_and_the_module_that_has_loaded_it_are_two(weights, before, after, kind):
    state = copy.deepcopy(trained(weights, before, kind).state_dict())
    module = kind.from_pretrained(torch.zeros(N, D), train=after)
    module.load_state_dict(state)
    loaded = bits(module.weight)
    for name, value in state.items():
        if name != "row_ids":
            value.fill_(9)
    assert bits(module.weight) == loaded
    with torch.no_grad():
        module.block.fill_(5)
    assert all((value == 9).all() for name, value in state.items() if name != "row_ids")


def test_nor_do_they_share_the_padding_row_or_what_was_added(weights):
    one = trained(weights, "all", padding_idx=2)
    state = copy.deepcopy(one.state_dict())
    other = rt.Embedding(N, D, padding_idx=2)
    other.load_state_dict(state)
    state["base"].fill_(9)
    assert bits(other.weight) == bits(one.weight)
    one = trained(weights, [1], columns=[0])
    one.grow(torch.ones(2, D))
    state, other = copy.deepcopy(one.state_dict()), copy.deepcopy(one)
    other.load_state_dict(state)
    state["added"].fill_(9)
    assert bits(other.weight) == bits(one.weight)


def test_two_modules_over_one_base_do_not_write_each_others(weights):
    one, other = trained(weights, [1, 3]), rt.Embedding.from_pretrained(weights, train=[1, 3])
    other.load_state_dict(one.state_dict())
    assert other.base is not None
    with torch.no_grad():
        other.block.zero_()
    assert (one.block != 0).all()
    assert bits(weights) == bits(torch.randn(N, D, generator=torch.Generator().manual_seed(0)))


@pytest.fixture
def mapped(tmp_path, weights):
    np.save(tmp_path / "table.npy", weights.numpy())
    return np.load(tmp_path / "table.npy", mmap_mode="r")


def test_a_base_with_the_same_bits_stays_the_very_memory_that_it_is(weights, mapped):
    state = copy.deepcopy(trained(weights, [1, 3]).state_dict())
    module = rt.Embedding.from_pretrained(mapped, train=[1, 3])
    base = module.base
    module.load_state_dict(state)
    assert module.base is base
    assert base.data_ptr() == mapped.ctypes.data


@pytest.mark.parametrize("before", ["all", [1, 3], [1]])
def test_only_rows_that_are_frozen_here_have_to_agree_for_that(weights, mapped, before):
    """What was trained there trains here: the base needs no copy, and patches keep fitting it."""
    one = trained(weights, [1, 3]) if before == "all" else trained(weights, before)
    state = nn.Embedding.from_pretrained(one.weight).state_dict() if before == "all" else None
    module = rt.Embedding.from_pretrained(mapped, train=[1, 3, 7])
    base = module.base
    module.load_state_dict(one.state_dict() if state is None else state)
    assert bits(module.weight) == bits(one.weight)
    assert module.base is base


@pytest.mark.parametrize("row", [0, 20, N - 1])
def test_one_bit_is_enough_for_a_base_of_its_own(weights, mapped, row):
    weights[row, 5] = -weights[row, 5]
    state = trained(weights, [1, 3]).state_dict()
    module = rt.Embedding.from_pretrained(mapped, train=[1, 3])
    module.load_state_dict(state)
    assert bits(module.base) == bits(weights)
    assert module.base.data_ptr() not in (mapped.ctypes.data, weights.data_ptr())


def test_bits_are_compared_and_not_values(weights):
    weights[5] = float("nan")
    state = copy.deepcopy(trained(weights, [1, 3]).state_dict())
    module = rt.Embedding.from_pretrained(weights, train=[1, 3])
    base = module.base
    module.load_state_dict(state)
    assert module.base is base
    weights[6] = 0.0
    state["base"][6] = -0.0
    module.load_state_dict(state)
    assert torch.signbit(module.base[6]).all()


@pytest.mark.parametrize("after", [[1, 3], [1, 5], [2]])
def test_frozen_rows_keep_their_bits_under_a_narrower_block(weights, after):
    one = trained(weights, [1, 3]).bfloat16()
    assert one.base.dtype == torch.float32
    other = rt.Embedding.from_pretrained(weights, train=after)
    other.load_state_dict(one.state_dict())
    frozen = [i for i in range(N) if i not in {1, 3, *after}]
    assert bits(other.weight[frozen]) == bits(weights[frozen])


def test_assigned_blocks_are_blocks_still(weights):
    """torch can take a checkpoint's tensors as they are; rows are still told from the rest."""
    for train in ([1, 3], "all"):
        one = trained(weights, train)
        model = nn.Sequential(rt.Embedding.from_pretrained(weights, train=train))
        model.load_state_dict({f"0.{k}": v for k, v in one.state_dict().items()}, assign=True)
        assert isinstance(model[0].block, rt.RowParameter)
        optimizer = rt.optim.SGD(model.parameters(), lr=1.0, weight_decay=0.5)
        model(torch.tensor([1, 3, 1])).sum().backward()
        optimizer.step()
        expected = one.weight.detach().clone()
        expected[[1, 3]] = expected[[1, 3]] * 0.5 - torch.tensor([[2.0], [1.0]])
        torch.testing.assert_close(model[0].weight.detach(), expected)


# --- strictness and errors ---------------------------------------------------------------------


@pytest.mark.parametrize("key", ["block", "row_ids", "base"])
def test_strict_means_that_every_key_is_there(weights, key):
    state = trained(weights, [1, 3]).state_dict(prefix="words.")
    del state[f"words.{key}"]
    model = nn.ModuleDict({"words": rt.Embedding.from_pretrained(weights, train=[1, 3])})
    with pytest.raises(RuntimeError, match=rf"words\.{key}"):
        model.load_state_dict(state)
    result = model.load_state_dict(state, strict=False)
    assert result.missing_keys == [f"words.{key}"]


@pytest.mark.parametrize("train", ["all", [1, 3]])
def test_strict_means_that_no_other_key_is_there(weights, train):
    one = trained(weights, train)
    state = {**one.state_dict(), "bias": torch.zeros(D)}
    module = rt.Embedding.from_pretrained(weights, train=train)
    with pytest.raises(RuntimeError, match=r'Unexpected key\(s\) in state_dict: "bias"'):
        module.load_state_dict(state)
    result = module.load_state_dict(state, strict=False)
    assert (result.missing_keys, result.unexpected_keys) == ([], ["bias"])
    assert bits(module.weight) == bits(one.weight)


def test_a_module_of_which_a_checkpoint_knows_nothing_stays_as_it_is(weights):
    model = nn.ModuleDict({"words": trained(weights, [1, 3]), "head": nn.Linear(D, 1)})
    before = bits(model["words"].weight)
    state = {f"head.{k}": v for k, v in nn.Linear(D, 1).state_dict().items()}
    with pytest.raises(RuntimeError, match=r'Missing key.*"words\.block"'):
        model.load_state_dict(state)
    model.load_state_dict(state, strict=False)
    assert bits(model["words"].weight) == before


def test_every_error_of_a_model_is_told_at_once(weights):
    model = pair(rt.Embedding(N, D, train=[1, 3]), rt.Embedding(N, D))
    model["head"], model["last"] = nn.Linear(D, 2), rt.Embedding(N, D, train=[2])
    wrong = pair(trained(weights[:-1], [1, 3]), trained(weights[:, :4], "all"))
    wrong["head"] = nn.Linear(D, 3)
    with pytest.raises(RuntimeError) as caught:
        model.load_state_dict(wrong.state_dict())
    for words in ("size mismatch for one.base", "size mismatch for other.weight", "head.weight",
                  'Missing key(s) in state_dict: "last.block"'):  # fmt: skip
        assert words in str(caught.value)
    assert str(caught.value).count("one.") == 1


@pytest.mark.parametrize("before", [{"train": "all"}, {"train": [1, 3]}, {"train": [1, 5]},
                                    {"train": [1, 3], "columns": [0, 2]}])  # fmt: skip
@pytest.mark.parametrize("after", [{"train": [1, 3]}, {"train": "all", "padding_idx": 0},
                                   {"train": [1, 3], "columns": [0, 2]}])  # fmt: skip
def test_a_table_that_was_grown_says_what_to_do(weights, before, after):
    one = trained(weights, **before)
    one.grow(2)
    module = rt.Embedding.from_pretrained(weights, **after)
    whole = bits(module.weight)
    with pytest.raises(RuntimeError, match=r"grow\("):
        module.load_state_dict(one.state_dict())
    assert bits(module.weight) == whole
    assert module.base.shape == (N, D) or module.padding_idx == 0


@pytest.mark.parametrize("shape", [(N - 1, D), (N + 1, D), (N, D + 1)])
@pytest.mark.parametrize("theirs", ["all", [1, 3], [1, 5]])
@pytest.mark.parametrize("ours", ["all", [1, 3]])
def test_another_shape_is_refused_and_changes_nothing(weights, ours, theirs, shape):
    state = trained(torch.ones(shape), theirs).state_dict()
    module = trained(weights, ours)
    before = bits(module.weight)
    with pytest.raises(RuntimeError, match="size mismatch"):
        module.load_state_dict(state)
    assert bits(module.weight) == before


# --- without the base --------------------------------------------------------------------------


def without_base(embedding):
    embedding.save_base = False
    file = io.BytesIO()
    torch.save(embedding.state_dict(), file)
    file.seek(0)
    return file


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_base_can_be_left_out(weights, dtype):
    weights = weights.to(dtype)
    one, other = trained(weights, [1, 3]), rt.Embedding.from_pretrained(weights, train=[1, 3])
    file = without_base(one)
    state = torch.load(file, weights_only=True)
    assert set(state) == {"block", "row_ids", "base_fingerprint"}
    other.load_state_dict(state)
    assert bits(other.weight) == bits(one.weight)
    assert other.base.data_ptr() == weights.data_ptr()
    assert other.save_base, "what one module saves does not change another"


def test_a_file_without_the_base_follows_the_block(weights):
    sizes = []
    for rows in (100, 10_000):
        embedding = trained(torch.ones(rows, 64), [1, 3])
        sizes.append(len(without_base(embedding).getvalue()))
    assert abs(sizes[1] - sizes[0]) < 200
    assert sizes[1] < 10_000


def test_growing_keeps_the_choice_and_a_copy_has_it(weights):
    one = trained(weights, [1, 3])
    one.save_base = False
    one.grow(2)
    other = copy.deepcopy(one)
    assert "base" not in other.state_dict()
    with torch.no_grad():
        other.block.zero_()
    other.load_state_dict(one.state_dict())
    assert bits(other.weight) == bits(one.weight)


def test_rows_without_their_base_load_on_no_other(weights):
    state = torch.load(without_base(trained(weights, [1, 3])), weights_only=True)
    changed = weights.clone()
    changed[20, 3] = -changed[20, 3]
    for base in (changed, weights.double(), weights[:-1], weights.reshape(N // 2, D * 2)):
        module = trained(base, [1, 3])
        before = bits(module.weight)
        with pytest.raises(RuntimeError, match="block was trained on another base"):
            module.load_state_dict(state)
        assert bits(module.weight) == before


@pytest.mark.parametrize("train", ["all", [1, 5], [1, 3, 5]])
def test_rows_without_their_base_cannot_be_divided_anew(weights, train):
    state = torch.load(without_base(trained(weights, [1, 3])), weights_only=True)
    module = trained(weights, train)
    before = bits(module.weight)
    with pytest.raises(RuntimeError, match="no base to divide anew; save it with save_base = True"):
        module.load_state_dict(state)
    assert bits(module.weight) == before


@pytest.mark.parametrize("known", [True, False])
def test_nor_go_into_other_columns(weights, known):
    one = trained(weights, [1, 3], columns=[0, 2])
    one.save_base = False
    state = one.state_dict()
    if not known:
        del state["base_fingerprint"]
    module = rt.Embedding.from_pretrained(weights, train=[1, 3], columns=[1, 2])
    with pytest.raises(RuntimeError, match="columns"):
        module.load_state_dict(state, strict=known)
    assert bits(module.weight) == bits(weights)


def test_where_all_rows_train_there_is_no_base_to_leave_out(weights):
    one = trained(weights, "all")
    one.save_base = False
    assert list(one.state_dict()) == ["weight"]
