"""Tiny models of transformers with random weights, and what their tests ask of them.

Tied, untied, biased and scaled heads and tables, and an encoder with a decoder.
"""

from __future__ import annotations

import os
import warnings

import torch

os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of transformers' own modules
    import transformers as hf

N, D = 50, 16
SMALL = {"hidden_size": D, "intermediate_size": 32, "num_hidden_layers": 1,
         "num_attention_heads": 2, "vocab_size": N}  # fmt: skip
LLAMA = {**SMALL, "num_key_value_heads": 2, "bos_token_id": 1, "eos_token_id": 2}
BART = {"vocab_size": N, "d_model": D, "encoder_layers": 1, "decoder_layers": 1,
        "encoder_attention_heads": 2, "decoder_attention_heads": 2, "encoder_ffn_dim": 32,
        "decoder_ffn_dim": 32, "scale_embedding": True}  # fmt: skip
MODELS = {
    "llama, untied": lambda: hf.LlamaForCausalLM(hf.LlamaConfig(**LLAMA)),
    "llama, tied": lambda: hf.LlamaForCausalLM(hf.LlamaConfig(**LLAMA, tie_word_embeddings=True)),
    "gpt2, tied": lambda: hf.GPT2LMHeadModel(
        hf.GPT2Config(n_embd=D, n_layer=1, n_head=2, vocab_size=N, bos_token_id=1, eos_token_id=2)
    ),
    "bert, tied with a bias": lambda: hf.BertForMaskedLM(hf.BertConfig(**SMALL)),
    "gemma, scaled": lambda: hf.Gemma3ForCausalLM(
        hf.Gemma3TextConfig(**SMALL, num_key_value_heads=2, head_dim=8)
    ),
    "t5": lambda: hf.T5ForConditionalGeneration(
        hf.T5Config(vocab_size=N, d_model=D, d_kv=8, d_ff=32, num_layers=1, num_heads=2)
    ),
    "bart, three scaled tables": lambda: hf.BartForConditionalGeneration(hf.BartConfig(**BART)),
}
ROWS = [40, 5, 7]


class Words:
    """A tokenizer of words and letters: as much of one as train_rows asks for."""

    def __init__(self, known):
        self.ids = dict(known)

    def __call__(self, text, add_special_tokens=True):
        pieces = text.split() if text in self.ids or " " in text else list(text)
        return {"input_ids": [self.ids[p] for p in pieces if p in self.ids]}

    def get_vocab(self):
        return dict(self.ids)

    def add_tokens(self, tokens):
        for token in tokens:
            self.ids[token] = max(self.ids.values()) + 1

    def convert_tokens_to_ids(self, tokens):
        return [self.ids[token] for token in tokens]


def made(kind):
    """A model in eval mode, with biases that are not zero; the same one at every call."""
    torch.manual_seed(0)
    model = MODELS[kind]().eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("bias"):
                parameter.normal_()
    return model


def batch(model, ids=None):
    ids = torch.tensor([[5, 9, 11, 40], [12, 7, 7, 3]]) if ids is None else ids
    given = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    if model.config.is_encoder_decoder:
        given["decoder_input_ids"] = ids
    return given


def logits(model):
    return model(**batch(model)).logits


def move(handle):
    with torch.no_grad():
        for rows in handle.parameters():
            rows.add_(torch.randn_like(rows))


def near(one, other):
    return float((one - other).abs().max() / other.abs().max()) < 1e-5
