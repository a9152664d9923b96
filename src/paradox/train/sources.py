"""Language models that a base starts from: a GGUF file inside a package, a hub, a folder."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel
from transformers.tokenization_utils_base import PreTrainedTokenizerBase

from paradox.errors import CheckpointError, ConfigError, ParadoxError, hint
from paradox.models import DTYPES


def load_source(
    source: dict[str, Any],
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Return the model and tokenizer that a base starts from, on the CPU.

    The tokenizer pads on the left with a token that is not its end-of-sequence token: losses
    and masks that leave out padding would otherwise leave out the end as well.

    Parameters
    ----------
    source
        ``{kind: gguf, package, file}``: a quantised file inside an installed package, read as
        float32. ``{kind: pretrained, repo, revision}`` or ``{kind: pretrained, path}``, with
        ``dtype`` (float32 when left out): safetensors weights from a hub or a folder.

    Raises
    ------
    ParadoxError
        When the package is not installed; the message names the command that installs it.
    CheckpointError
        When the model cannot be loaded.
    """
    if source["kind"] == "gguf":
        model, tokenizer = _gguf(source["package"], source["file"])
    elif source["kind"] == "pretrained":
        model, tokenizer = _pretrained(source)
    else:
        kinds = ("gguf", "pretrained")
        raise ConfigError(f"source.kind = {source['kind']!r}; {hint(source['kind'], kinds)}")
    tokenizer.padding_side = "left"
    _set_padding(model, tokenizer)
    return model, tokenizer


def _gguf(package: str, file: str) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    folder = _package_folder(package)
    if not (folder / file).exists():
        files = sorted(path.name for path in folder.glob("*.gguf"))
        raise CheckpointError(f"{folder / file}: no such file; {hint(file, files)}")
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, gguf_file=file, local_files_only=True)
        read = AutoModelForCausalLM.from_pretrained(
            folder, gguf_file=file, local_files_only=True, dtype=torch.float32
        )
    except Exception as error:  # gguf and transformers raise many kinds
        raise CheckpointError(f"{folder / file}: cannot be loaded ({error}).") from error
    # transformers refuses to save a model read from GGUF, although its weights are plain
    # numbers by now; so they move to a model that never heard of quantisation.
    settings = read.config.to_dict()
    settings.pop("quantization_config", None)
    settings.pop("_name_or_path", None)
    config = type(read.config)(**settings)
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    model.load_state_dict(read.state_dict(), assign=True)
    model.tie_weights()
    # Buffers such as rotary frequencies are not part of a state dict.
    buffers = dict(read.named_buffers())
    for name, _ in list(model.named_buffers()):
        owner, _, last = name.rpartition(".")
        model.get_submodule(owner)._buffers[last] = buffers[name]
    model.generation_config = read.generation_config
    return model, tokenizer


def _package_folder(package: str) -> Path:
    """Return where a package's files lie, without running its code."""
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise ParadoxError(
            f"the package {package!r}, whose weights this scale starts from, is not installed. "
            "Install it with: make small-weights"
        )
    return Path(next(iter(spec.submodule_search_locations)))


def _pretrained(
    source: dict[str, Any],
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    repo, path, revision = source.get("repo"), source.get("path"), source.get("revision")
    if bool(repo) == bool(path):
        raise ConfigError(
            f"source: exactly one of repo and path is needed; found repo = {repo!r}, "
            f"path = {path!r}"
        )
    if repo and not revision:
        raise ConfigError(f"source.revision is needed with repo = {repo!r} (a commit, 40 digits)")
    where = repo or path
    if path and not (Path(path) / "config.json").exists():
        raise CheckpointError(f"{path}: no checkpoint there (config.json is missing).")
    # Weights in pickled files, and code that comes with a model, could do anything.
    safe = {"revision": revision, "trust_remote_code": False, "local_files_only": bool(path)}
    try:
        tokenizer = AutoTokenizer.from_pretrained(where, **safe)
        model = AutoModelForCausalLM.from_pretrained(
            where, dtype=DTYPES[source.get("dtype", "float32")], use_safetensors=True, **safe
        )
    except Exception as error:  # transformers and the hub's client raise many kinds
        raise CheckpointError(
            f"{where}{f'@{revision}' if revision else ''}: the model cannot be loaded "
            f"({type(error).__name__}: {error})."
        ) from error
    return model, tokenizer


def _set_padding(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
    if tokenizer.pad_token_id is None or tokenizer.pad_token_id == tokenizer.eos_token_id:
        free = next(_spare_tokens(model, tokenizer), None)
        if free is None:
            raise CheckpointError(
                f"{tokenizer.name_or_path}: the tokenizer has no special token beside "
                f"{tokenizer.eos_token!r}, so nothing is left to pad with."
            )
        tokenizer.pad_token = free
    model.config.pad_token_id = tokenizer.pad_token_id
    model.generation_config.pad_token_id = tokenizer.pad_token_id


def _spare_tokens(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> Iterator[str]:
    """Yield special tokens that can pad: never produced by text, never an end of a response."""
    ends = model.generation_config.eos_token_id
    taken = {tokenizer.eos_token_id, tokenizer.bos_token_id}
    taken |= set(ends) if isinstance(ends, list) else {ends}
    special = [
        *(name for name in (tokenizer.unk_token,) if name),
        *(token.content for token in tokenizer.added_tokens_decoder.values() if token.special),
    ]
    for name in special:
        if tokenizer.convert_tokens_to_ids(name) not in taken:
            yield name
