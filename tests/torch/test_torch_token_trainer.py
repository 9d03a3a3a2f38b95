"""Token rows under what trains transformers: Trainer, Accelerate, and adapters beside them."""

from __future__ import annotations

import copy
import hashlib
import warnings

import pytest
import safetensors
import torch
from torch.utils import data

import rowtune.torch as rt
from token_models import ROWS, D, N, made

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of transformers' own modules
    import accelerate
    import peft
    import transformers as hf

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")

OTHERS = [i for i in range(N) if i not in ROWS]
OPTIMIZERS = {
    "the default": None,
    "rowtune's": lambda p: rt.optim.AdamW(p, lr=0.05, weight_decay=0.3),
    "sgd": lambda p: torch.optim.SGD(p, lr=1.0),
}


class Texts(data.Dataset):
    """Each with one of the chosen tokens in it."""

    def __len__(self):
        return 24

    def __getitem__(self, i):
        ids = torch.randint(8, N, (6,), generator=torch.Generator().manual_seed(i))
        ids[i % 6] = ROWS[i % 3]
        return {"input_ids": ids, "labels": ids}


BATCH = {
    name: torch.stack([Texts()[i][name] for i in range(6)]) for name in ("input_ids", "labels")
}


def llama(tied):
    return made("llama, tied" if tied else "llama, untied")


def trained(model, handle, folder, optimizer="the default", resume=None, callbacks=(), **more):
    """A Trainer that has taken its steps, with a checkpoint in the middle."""
    make = OPTIMIZERS[optimizer]
    arguments = {"max_steps": 4, "per_device_train_batch_size": 4, "learning_rate": 0.05,
                 "weight_decay": 0.3, "save_steps": 2, "report_to": [], "use_cpu": True,
                 "disable_tqdm": True, "logging_strategy": "no", **more}  # fmt: skip
    trains = [p for p in model.parameters() if p.requires_grad]
    trainer = hf.Trainer(
        model,
        hf.TrainingArguments(folder, **arguments),
        train_dataset=Texts(),
        optimizers=(make(trains) if make else None, None),
        callbacks=list(callbacks),
    )
    trainer.train(resume_from_checkpoint=resume)
    return trainer


def digest(model):
    """Of the bits of everything but the chosen rows, as `state_dict` has it."""
    found = hashlib.sha256()
    for name, value in sorted(model.state_dict().items()):
        kept = value[OTHERS] if value.shape == (N, D) else value
        found.update(name.encode() + kept.contiguous().numpy().tobytes())
    return found.hexdigest()


def logits(model):
    with torch.no_grad():
        return model.eval()(BATCH["input_ids"]).logits


def values(handle):
    return [rows.detach().clone() for rows in handle.parameters()]


def assert_moved(handle, before):
    """Every one of the rows."""
    for rows, old in zip(handle.parameters(), before, strict=True):
        assert bool((rows != old).any(1).all())


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("tied", [True, False])
def test_the_trainer_moves_the_rows_alone_and_its_folder_loads_as_the_plain_class(
    tied, optimizer, tmp_path
):
    model = llama(tied)
    before = digest(model)
    handle = rt.train_rows(model, rows=ROWS, head=True)
    first = values(handle)
    trainer = trained(model, handle, tmp_path / "runs", optimizer)
    assert digest(model) == before
    assert_moved(handle, first)
    trainer.save_model(tmp_path / "saved")
    loaded = hf.LlamaForCausalLM.from_pretrained(tmp_path / "saved")
    assert digest(loaded) == before
    torch.testing.assert_close(logits(loaded), logits(model), rtol=1e-5, atol=1e-6)
    tables = loaded.get_input_embeddings().weight, loaded.lm_head.weight
    assert (tables[0] is tables[1]) == tied
    with safetensors.safe_open(tmp_path / "saved" / "model.safetensors", "pt") as file:
        assert ("lm_head.weight" in file.keys()) != tied, "a tied table is there once"  # noqa: SIM118
    for table, rows in zip(tables, handle.parameters(), strict=False):
        assert torch.equal(table[handle.ids], rows)


@pytest.mark.parametrize("optimizer", ["the default", "rowtune's"])
@pytest.mark.parametrize("tied", [True, False])
def test_training_goes_on_from_a_checkpoint_as_if_it_had_not_stopped(tied, optimizer, tmp_path):
    whole = rt.train_rows(llama(tied), rows=ROWS, head=True)
    expected = trained(whole.model, whole, tmp_path, optimizer).optimizer.state_dict()
    again = rt.train_rows(llama(tied), rows=ROWS, head=True)
    resumed = trained(again.model, again, tmp_path, optimizer, resume=f"{tmp_path}/checkpoint-2")
    assert digest(again.model) == digest(whole.model)
    for one, other in zip(again.parameters(), whole.parameters(), strict=True):
        assert torch.equal(one, other)
    found = resumed.optimizer.state_dict()
    assert found["state"].keys() == expected["state"].keys() and found["state"]
    for one, other in zip(found["state"].values(), expected["state"].values(), strict=True):
        tensors = {k: v for k, v in other.items() if isinstance(v, torch.Tensor)}
        assert tensors and all(torch.equal(one[k], v) for k, v in tensors.items())


@pytest.mark.parametrize("tied", [True, False])
def test_accumulated_checkpointed_and_half_precision_steps_are_the_same_steps(tied, tmp_path):
    cases = {
        "plain": {},
        "accumulated": {"per_device_train_batch_size": 2, "gradient_accumulation_steps": 2},
        "checkpointed": {"gradient_checkpointing": True},
        "bfloat16": {"bf16": True},
    }
    ended = {}
    for name, case in cases.items():
        handle = rt.train_rows(llama(tied), rows=ROWS, head=True)
        first = values(handle)
        trained(handle.model, handle, tmp_path / name, "sgd", **case)
        assert_moved(handle, first)
        assert {rows.dtype for rows in handle.parameters()} == {torch.float32}
        ended[name] = values(handle)
    for name, found in ended.items():
        near = 0.05 if name == "bfloat16" else 1e-5
        for rows, expected, old in zip(found, ended["plain"], first, strict=True):
            moved = float((expected - old).norm())
            assert float((rows - expected).norm()) < near * moved, name
    assert not torch.equal(ended["bfloat16"][0], ended["plain"][0]), "it was done in bfloat16"


@pytest.mark.parametrize("tied", [True, False])
def test_gradients_are_clipped_to_the_norm_of_all_rows(tied, tmp_path):
    handle = rt.train_rows(llama(tied), rows=ROWS, head=True)
    first = values(handle)
    trained(handle.model, handle, tmp_path, "sgd", max_grad_norm=0.01, max_steps=1)
    moved = torch.cat([rows - old for rows, old in zip(values(handle), first, strict=True)])
    torch.testing.assert_close(moved.norm(), torch.tensor(0.01), rtol=1e-3, atol=0)


class SavesRows(hf.TrainerCallback):
    """PEFT's checkpoints hold adapters alone; rows are a file of their own beside them."""

    def __init__(self, handle):
        self.handle = handle

    def on_save(self, args, state, control, **_):
        self.handle.save(f"{args.output_dir}/checkpoint-{state.global_step}/rows.safetensors")


@pytest.mark.parametrize("before", [True, False])
def test_adapters_on_the_rest_train_and_resume_at_the_same_time(before, tmp_path):
    def begun():
        model = llama(tied=True)
        config = peft.LoraConfig(target_modules=["q_proj", "v_proj"], r=2)
        torch.manual_seed(1)
        if before:
            model = peft.get_peft_model(model, config)
        handle = rt.train_rows(model, rows=ROWS)
        return handle, model if before else peft.get_peft_model(model, config)

    def adapters(model):
        return {name: p for name, p in model.named_parameters() if "lora_" in name}

    handle, model = begun()
    frozen, first = copy.deepcopy(model.state_dict()), values(handle)
    trained(model, handle, tmp_path, callbacks=[SavesRows(handle)])
    assert_moved(handle, first)
    for name, value in model.state_dict().items():
        rows = OTHERS if value.shape == (N, D) else slice(None)
        assert torch.equal(value[rows], frozen[name][rows]) != ("lora_" in name), name

    again, other = begun()
    again.load(tmp_path / "checkpoint-2" / "rows.safetensors")
    trained(other, again, tmp_path, resume=f"{tmp_path}/checkpoint-2")
    assert torch.equal(again.rows, handle.rows)
    theirs = adapters(model)
    assert all(torch.equal(p, theirs[name]) for name, p in adapters(other).items()) and theirs


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("optimizer", [torch.optim.AdamW, rt.optim.AdamW])
def test_accelerate(tied, optimizer, tmp_path):
    def prepared():
        handle = rt.train_rows(llama(tied), rows=ROWS, head=True)
        own = optimizer(handle.parameters(), lr=0.05, weight_decay=0.3)
        accelerator = accelerate.Accelerator(cpu=True)
        return (
            handle,
            accelerator,
            *accelerator.prepare(handle.model, own, data.DataLoader(Texts(), batch_size=8)),
        )

    def epoch(handle, accelerator, model, optimizer, loader):
        for batch in loader:
            accelerator.backward(model(**batch).loss)
            norm = accelerator.clip_grad_norm_(model.parameters(), 1e-3)
            grads = torch.cat([rows.grad for rows in handle.parameters()])
            assert norm > 1e-2 and float(grads.norm()) == pytest.approx(1e-3, rel=1e-2)
            optimizer.step()
            optimizer.zero_grad()

    run = prepared()
    handle, accelerator, model = run[:3]
    frozen, first = digest(handle.model), values(handle)
    assert accelerator.unwrap_model(model) is handle.model
    epoch(*run)
    assert_moved(handle, first)
    assert digest(handle.model) == frozen
    accelerator.save_state(tmp_path)
    at_save = values(handle)
    epoch(*run)
    expected = values(handle)
    other = prepared()
    for each in (run, other):
        each[1].load_state(tmp_path)
        assert all(map(torch.equal, values(each[0]), at_save))
        epoch(*each)
        assert all(map(torch.equal, values(each[0]), expected))
        assert digest(each[0].model) == frozen
