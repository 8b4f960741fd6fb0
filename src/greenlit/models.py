"""Model directories: weights, a LoRA adapter, or a pointer to a pinned hub model or a local directory.

`assets/models/base/` of a hub model holds only `pointer.json`, `{"source", "revision"}`; whoever needs the weights asks
`resolve` for a directory that has them (the hub cache), and gets the same revision every time.
"""

import hashlib
import json
import warnings
from pathlib import Path
from typing import Any

from greenlit.errors import ConfigError, DataError, MismatchError, WorldError
from greenlit.jsonl import read_json, write_json
from greenlit.paths import BASE
from greenlit.stage.faults import as_known, first_line
from greenlit.stage.workspace import sha256_file

POINTER = "pointer.json"
_ADAPTER = "adapter_config.json"


SAID = "params.yaml: base.model"


def write_pointer(model: str, revision: str | None, out: Path, said: str = SAID) -> dict[str, str | None]:
    """Pin a hub model or a local directory, which is looked at first; return what was written.

    Args:
        said: where the user names the model, for messages.

    Raises:
        WorldError: the hub did not answer.
        ConfigError: the directory is the one that this is written to.
        DataError: neither a directory nor a model of the hub, or one that cannot be used.
    """
    if Path(model).is_dir():
        if (Path(model) / POINTER).exists() or Path(model).resolve() == BASE.resolve():
            raise ConfigError(
                f"{said}: {model}: what the stage `base` writes, not a model of its own",
                hint="name the directory that holds the weights",
            )
        check_model(Path(model))
        pointer: dict[str, str | None] = {"source": model, "revision": None}
    else:
        pointer = {"source": model, "revision": revision or _newest_revision(model, said)}
    write_json(out / POINTER, pointer)
    return pointer


def _newest_revision(model: str, said: str) -> str:
    import httpx
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, RepositoryNotFoundError

    try:
        return str(HfApi().model_info(model).sha)
    except (RepositoryNotFoundError, HFValidationError) as error:
        raise DataError(
            f"{said}: {model}: neither a local directory nor a model of the hub",
            hint="`starter`, a directory, or an id such as Qwen/Qwen2.5-Coder-0.5B",
        ) from error
    except (HfHubHTTPError, httpx.HTTPError, OSError) as error:
        raise WorldError(
            f"{said}: {model}: no such directory, and the hub did not answer ({_first_line(error)})",
            hint="check the name, the network and HF_HUB_OFFLINE, or name a local directory",
        ) from error


def resolve(model: Path) -> Path:
    """The directory with the weights of a model directory or pointer.

    Raises:
        DataError: no such model.
        WorldError: the hub model could not be downloaded.
    """
    if not (model / POINTER).exists():
        if not (model / "config.json").exists():
            raise DataError(
                f"{model}: no model here (no config.json)", hint="run the stage that writes it: `dvc repro`"
            )
        return model
    pointer = read_json(model / POINTER)
    if not isinstance(pointer, dict) or not isinstance(pointer.get("source"), str) or "revision" not in pointer:
        raise DataError(f"{model / POINTER}: must hold source and revision", hint="dvc repro --force base")
    if pointer["revision"] is None:
        source = Path(pointer["source"])
        if not (source / "config.json").exists():
            raise DataError(
                f"{source}: no model here (no config.json), though {model / POINTER} names it",
                hint="put the model back, or set base.model in params.yaml",
            )
        return source
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(pointer["source"], revision=pointer["revision"]))
    except (LocalEntryNotFoundError, HfHubHTTPError, OSError) as error:
        raise WorldError(
            f"{pointer['source']}: could not be downloaded ({_first_line(error)})",
            hint="check the network, HF_HUB_OFFLINE and HF_TOKEN",
        ) from error


def source_of(model: Path) -> str:
    """Where a model's weights come from, as others name it: a hub id or a directory; nothing is read but a pointer."""
    if (model / POINTER).exists():
        return str(read_json(model / POINTER)["source"])
    return model.as_posix()


def knows_chat(model: Path) -> bool | None:
    """Has the model's tokenizer a chat template? None where there is no such model here, nor at the hub."""
    if not (model / POINTER).exists():
        return tokenizer_facts(model)[1] if (model / "tokenizer_config.json").exists() else None
    pointer = read_json(model / POINTER)
    if pointer["revision"] is None:
        return knows_chat(Path(pointer["source"]))
    from transformers import AutoTokenizer

    try:  # the tokenizer alone: the weights are at the endpoint
        tokenizer = AutoTokenizer.from_pretrained(pointer["source"], revision=pointer["revision"])
    except _UNUSABLE:
        return None
    return bool(getattr(tokenizer, "chat_template", None))


def check_model(model: Path) -> None:
    """Can a directory be started from? Its configuration, tokenizer and weight files are opened, nothing is loaded.

    Raises:
        DataError: a part is missing or damaged.
    """
    resolve(model)
    from safetensors import SafetensorError, safe_open
    from transformers import AutoConfig

    try:
        AutoConfig.from_pretrained(str(model))
    except _UNUSABLE as error:
        raise DataError(f"{model}: no usable config.json ({_first_line(error)})", hint=_WHOLE) from None
    load_tokenizer(model)
    files = sorted(model.glob("*.safetensors"))
    if not files and not any(model.glob("*.bin")):
        raise DataError(f"{model}: no weights here (no *.safetensors)", hint=_WHOLE)
    for file in files:
        try:
            with safe_open(file, "pt"):
                pass
        except SafetensorError as error:
            raise DataError(f"{file}: damaged weights ({_first_line(error)})", hint=_WHOLE) from None


_WHOLE = "a model directory holds config.json, the tokenizer and the weights, as `save_pretrained` writes them"
_UNUSABLE = (OSError, ValueError, KeyError, TypeError, AttributeError, RuntimeError)
"""What transformers raises for a directory that is not as it expects."""


def weights_sha256(model: Path) -> str:
    """One hash over a model's weight files, whatever else lies beside them."""
    files = sorted(model.glob("*.safetensors")) or sorted(model.glob("*.bin"))
    if not files:
        raise DataError(f"{model}: no weights here (no *.safetensors)")
    hashes = {path.name: sha256_file(path) for path in files}
    return hashlib.sha256(json.dumps(hashes, sort_keys=True).encode()).hexdigest()


def load_tokenizer(model: Path | str) -> Any:
    """The tokenizer of a model directory, padding on the left for generation; an adapter's own, or its model's.

    Raises:
        DataError: the directory has no tokenizer, or one without an end-of-sequence token.
    """
    from transformers import AutoTokenizer

    if is_adapter(Path(model)) and not (Path(model) / "tokenizer_config.json").exists():
        model = start_of(Path(model))
    try:
        tokenizer = AutoTokenizer.from_pretrained(str(model), padding_side="left")
    except _UNUSABLE as error:
        raise DataError(f"{model}: no usable tokenizer ({_first_line(error)})", hint=_WHOLE) from None
    if tokenizer.eos_token_id is None:
        raise _without_end(Path(model))
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def load_model(model: Path | str, dtype: str) -> Any:
    """A causal language model, on the accelerator if there is one, ready to generate.

    An adapter comes on top of the model that it names, not merged into it.

    Raises:
        DataError: the directory holds no model.
    """
    import torch

    if is_adapter(Path(model)):
        start = start_of(Path(model))
        weights = with_adapter(load_weights(start, dtype), start, Path(model)).get_base_model()
    else:
        weights = load_weights(model, dtype)
    return weights.to("cuda" if torch.cuda.is_available() else "cpu").eval()


def is_adapter(folder: Path) -> bool:
    """Does the folder hold a LoRA adapter (else: full weights)?"""
    return (folder / _ADAPTER).exists()


def start_of(adapter: Path) -> Path:
    """The directory of the model that an adapter belongs to, as its configuration names it.

    Raises:
        DataError: it names none that is here, or is no LoRA adapter.
    """
    config = read_json(adapter / _ADAPTER)
    if not isinstance(config, dict) or config.get("peft_type") != "LORA":
        found = config.get("peft_type") if isinstance(config, dict) else type(config).__name__
        raise DataError(f"{adapter / _ADAPTER}: peft_type: must be LORA (found {found})")
    start = config.get("base_model_name_or_path")
    if not isinstance(start, str) or not Path(start).is_dir():
        raise DataError(
            f"{adapter / _ADAPTER}: base_model_name_or_path: must name the directory of its model (found {start!r})",
            hint="call from the folder in which it was trained, or put the model's directory there",
        )
    return resolve(Path(start))


def with_adapter(model: Any, start: Path, trained: Path) -> Any:
    """The model with its adapter, all of whose weights found their place, and no place without its weights.

    Raises:
        DataError: the adapter is damaged.
        MismatchError: it does not fit the model.
    """
    from peft import PeftModel, get_peft_model_state_dict
    from safetensors import SafetensorError, safe_open

    file = trained / "adapter_model.safetensors"
    try:
        with safe_open(file, "pt") as stream:
            stored = set(stream.keys())
        with warnings.catch_warnings():  # peft warns of weights that are missing; below they are an error
            warnings.simplefilter("ignore")
            adapted = PeftModel.from_pretrained(model, str(trained))
    except (FileNotFoundError, SafetensorError) as error:
        raise DataError(f"{file}: no usable adapter ({first_line(error)})", hint=_AGAIN) from None
    except (RuntimeError, ValueError, KeyError, TypeError) as error:
        if as_known(error) is not None:  # disk, rights, memory: nothing is wrong with the adapter
            raise
        told = " ".join(str(error).split())[:200]
        raise MismatchError(f"{trained}: the adapter does not fit {start} ({told})", hint=_AGAIN) from None
    unlike = stored ^ set(get_peft_model_state_dict(adapted))
    if unlike:
        raise MismatchError(
            f"{trained}: the adapter does not fit {start} ({len(unlike)} of {len(stored)} weights have no counterpart, "
            f"e.g. {min(unlike)})",
            hint=_AGAIN,
        )
    return adapted


_AGAIN = "train again from this model: dvc repro --force train"


def load_weights(model: Path | str, dtype: str, kind: str = "AutoModelForCausalLM", **options: Any) -> Any:
    """A model as it comes from the disk, a causal language model if nothing else is said.

    Args:
        kind: transformers' class that loads it.
        options: more arguments of its `from_pretrained`.

    Raises:
        DataError: the directory holds no model, or a damaged one.
    """
    import torch
    import transformers
    from safetensors import SafetensorError
    from transformers.utils import logging

    logging.disable_progress_bar()
    try:
        return getattr(transformers, kind).from_pretrained(str(model), dtype=getattr(torch, dtype), **options)
    except (*_UNUSABLE, SafetensorError) as error:
        if as_known(error) is not None:  # disk, rights, memory: nothing is wrong with the model
            raise
        raise DataError(f"{model}: no usable model ({_first_line(error)})", hint=_WHOLE) from None


def _without_end(model: Path) -> DataError:
    return DataError(
        f"{model}: its tokenizer has no end-of-sequence token",
        hint=f"name one as `eos_token` in {model / 'tokenizer_config.json'}: without it no program ever ends",
    )


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]


def tokenizer_facts(model: Path) -> tuple[str, bool]:
    """The end-of-sequence token and whether there is a chat template, read from the tokenizer's own files.

    `build` needs nothing else of a tokenizer, and loading transformers for it takes seconds.

    Raises:
        DataError: no tokenizer, or one without an end-of-sequence token.
    """
    file = model / "tokenizer_config.json"
    if not file.exists():
        raise DataError(f"{model}: no tokenizer here (no {file.name})", hint=_WHOLE)
    config = read_json(file)
    if not isinstance(config, dict):
        raise DataError(f"{file}: must be a JSON object (found {type(config).__name__})")
    token = config.get("eos_token")
    end = token.get("content") if isinstance(token, dict) else token
    if not isinstance(end, str) or not end:
        raise _without_end(model)
    return end, bool(config.get("chat_template")) or (model / "chat_template.jinja").exists()
