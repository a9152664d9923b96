"""Sources of bases: local checkpoints and GGUF files, and what is refused."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from paradox.errors import CheckpointError, ConfigError, ParadoxError


def save_qwen2(folder: Path, **special: str) -> None:
    """Save a tiny random Qwen2 with a word tokenizer that has these special tokens."""
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import WhitespaceSplit
    from transformers import PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM

    words = ["<eos>", "<bos>", "<unk>", "a", "b"]
    backend = Tokenizer(WordLevel({word: i for i, word in enumerate(words)}, unk_token="<unk>"))
    backend.pre_tokenizer = WhitespaceSplit()
    PreTrainedTokenizerFast(
        tokenizer_object=backend, auto_map={"AutoTokenizer": [None, None]}, **special
    ).save_pretrained(folder)
    config = Qwen2Config(
        vocab_size=len(words),
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=2,
        eos_token_id=0,
        bos_token_id=1,
    )
    Qwen2ForCausalLM(config).save_pretrained(folder)


def test_pretrained_source(tmp_path: Path) -> None:
    from paradox.models import load_model, load_tokenizer, save_model
    from paradox.train.sources import load_source

    names = {"eos_token": "<eos>", "bos_token": "<bos>", "unk_token": "<unk>"}
    save_qwen2(tmp_path / "given", pad_token="<eos>", **names)
    model, tokenizer = load_source({"kind": "pretrained", "path": str(tmp_path / "given")})
    assert tokenizer.pad_token == "<unk>" and tokenizer.eos_token == "<eos>"
    assert tokenizer.padding_side == "left"
    assert model.config.pad_token_id == tokenizer.pad_token_id != tokenizer.eos_token_id
    assert str(model.dtype) == "torch.float32"
    save_model(model, tokenizer, tmp_path / "saved")
    assert load_tokenizer(tmp_path / "saved").pad_token == "<unk>"
    again = load_model(tmp_path / "saved").state_dict()
    assert all((again[name].cpu() == value).all() for name, value in model.state_dict().items())


def test_a_tokenizer_that_cannot_pad_is_refused(tmp_path: Path) -> None:
    from paradox.train.sources import load_source

    save_qwen2(tmp_path, eos_token="<eos>", bos_token="<bos>", pad_token="<eos>")
    with pytest.raises(CheckpointError, match="no special token beside '<eos>'"):
        load_source({"kind": "pretrained", "path": str(tmp_path)})


def test_pickled_weights_are_refused(tmp_path: Path) -> None:
    import torch
    from safetensors.torch import load_file

    from paradox.train.sources import load_source

    save_qwen2(tmp_path, eos_token="<eos>", bos_token="<bos>", unk_token="<unk>")
    weights = tmp_path / "model.safetensors"
    torch.save(load_file(weights), tmp_path / "pytorch_model.bin")
    weights.unlink()
    with pytest.raises(CheckpointError, match="cannot be loaded"):
        load_source({"kind": "pretrained", "path": str(tmp_path)})


@pytest.mark.parametrize(
    ("source", "error", "message"),
    [
        ({"kind": "pretrained"}, ConfigError, "exactly one of repo and path"),
        ({"kind": "pretrained", "repo": "a/b"}, ConfigError, "revision is needed with repo"),
        ({"kind": "pretrained", "path": "nowhere"}, CheckpointError, "nowhere: no checkpoint"),
        ({"kind": "guff"}, ConfigError, "Did you mean 'gguf'"),
        ({"kind": "gguf", "package": "no_such_weights", "file": "x.gguf"}, ParadoxError,
         "'no_such_weights'.*not installed.*make small-weights"),
    ],
)  # fmt: skip
def test_wrong_sources(source: dict[str, Any], error: type[Exception], message: str) -> None:
    from paradox.train.sources import load_source

    with pytest.raises(error, match=message):
        load_source(source)


def write_gguf(path: Path) -> np.ndarray:
    """Write a one-layer Llama with random weights as GGUF; return its embedding."""
    import gguf

    width, wide, words = 32, 64, ["<|end|>", "<|start|>", "<|spare|>", "a", "b", "ab"]
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_context_length(64)
    writer.add_embedding_length(width)
    writer.add_block_count(1)
    writer.add_feed_forward_length(wide)
    writer.add_head_count(2)
    writer.add_head_count_kv(2)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_freq_base(10000.0)
    writer.add_vocab_size(len(words))
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(words)
    writer.add_token_types([3, 3, 3, 1, 1, 1])
    writer.add_token_merges(["a b"])
    writer.add_eos_token_id(0)
    writer.add_bos_token_id(1)
    writer.add_pad_token_id(0)
    writer.add_unk_token_id(2)
    rng = np.random.default_rng(0)
    shapes = {
        "token_embd": (len(words), width),
        "output_norm": (width,),
        "blk.0.attn_norm": (width,),
        "blk.0.ffn_norm": (width,),
        **{f"blk.0.attn_{name}": (width, width) for name in ("q", "k", "v", "output")},
        **{f"blk.0.ffn_{name}": (wide, width) for name in ("gate", "up")},
        "blk.0.ffn_down": (width, wide),
    }
    tensors = {name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
    for name, value in tensors.items():
        writer.add_tensor(f"{name}.weight", value)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return tensors["token_embd"]


def test_gguf_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from paradox.models import load_model, save_model
    from paradox.train.sources import load_source

    package = tmp_path / "weights_of_a_test"
    package.mkdir()
    (package / "__init__.py").write_text("raise ImportError('never run this')\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    embedding = write_gguf(package / "tiny.gguf")
    source = {"kind": "gguf", "package": package.name, "file": "tiny.gguf"}
    model, tokenizer = load_source(source)
    assert package.name not in sys.modules
    assert tokenizer.pad_token == "<|spare|>" and tokenizer.eos_token == "<|end|>"
    assert not hasattr(model.config, "quantization_config")
    save_model(model, tokenizer, tmp_path / "saved")
    read = load_model(tmp_path / "saved").get_input_embeddings().weight.detach().cpu().numpy()
    assert np.array_equal(read, embedding)
    with pytest.raises(CheckpointError, match=r"tinny\.gguf: no such file.*Did you mean 'tiny"):
        load_source({**source, "file": "tinny.gguf"})
