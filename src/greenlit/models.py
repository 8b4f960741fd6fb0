"""Model directories: weights, or a pointer to a pinned hub model or a local directory.

`assets/models/base/` of a hub model holds only `pointer.json`, `{"source", "revision"}`; whoever needs the weights asks
`resolve` for a directory that has them (the hub cache), and gets the same revision every time.
"""

import hashlib
import json
from pathlib import Path
from typing import Any

from greenlit.errors import DataError, WorldError
from greenlit.jsonl import read_json, write_json
from greenlit.workspace import sha256_file

POINTER = "pointer.json"


def write_pointer(model: str, revision: str | None, out: Path) -> dict[str, str | None]:
    """Pin a hub model or a local directory; return what was written.

    Raises:
        WorldError: the hub did not answer.
        DataError: neither a directory nor a model of the hub.
    """
    if Path(model).is_dir():
        pointer: dict[str, str | None] = {"source": model, "revision": None}
    else:
        pointer = {"source": model, "revision": revision or _newest_revision(model)}
    write_json(out / POINTER, pointer)
    return pointer


def _newest_revision(model: str) -> str:
    import httpx
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, RepositoryNotFoundError

    try:
        return str(HfApi().model_info(model).sha)
    except (RepositoryNotFoundError, HFValidationError) as error:
        raise DataError(
            f"base.model: {model}: neither a local directory nor a model of the hub",
            hint="`starter`, a directory, or an id such as Qwen/Qwen2.5-Coder-0.5B",
        ) from error
    except (HfHubHTTPError, httpx.HTTPError, OSError) as error:
        raise WorldError(
            f"base.model: {model}: the hub did not answer ({error})", hint="name a local directory"
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
    if pointer["revision"] is None:
        return resolve(Path(pointer["source"]))
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(pointer["source"], revision=pointer["revision"]))
    except (LocalEntryNotFoundError, HfHubHTTPError, OSError) as error:
        raise WorldError(
            f"{pointer['source']}: could not be downloaded ({error})", hint="check the network and HF_TOKEN"
        ) from error


def weights_sha256(model: Path) -> str:
    """One hash over a model's weight files, whatever else lies beside them."""
    files = sorted(model.glob("*.safetensors")) or sorted(model.glob("*.bin"))
    if not files:
        raise DataError(f"{model}: no weights here (no *.safetensors)")
    hashes = {path.name: sha256_file(path) for path in files}
    return hashlib.sha256(json.dumps(hashes, sort_keys=True).encode()).hexdigest()


def load_tokenizer(model: Path | str) -> Any:
    """The tokenizer of a model directory, padding on the left for generation.

    Raises:
        DataError: the directory has no tokenizer, or one without an end-of-sequence token.
    """
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(str(model), padding_side="left")
    except (OSError, ValueError) as error:
        raise DataError(f"{model}: no usable tokenizer ({_first_line(error)})") from None
    if tokenizer.eos_token_id is None:
        raise DataError(f"{model}: its tokenizer has no end-of-sequence token", hint="set `eos_token`")
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def load_model(model: Path | str, dtype: str) -> Any:
    """A causal language model, on the accelerator if there is one, ready to generate.

    Raises:
        DataError: the directory holds no model.
    """
    import torch
    from transformers import AutoModelForCausalLM
    from transformers.utils import logging

    logging.disable_progress_bar()
    try:
        loaded = AutoModelForCausalLM.from_pretrained(str(model), dtype=getattr(torch, dtype))
    except (OSError, ValueError) as error:
        raise DataError(f"{model}: no usable model ({_first_line(error)})") from None
    return loaded.to("cuda" if torch.cuda.is_available() else "cpu").eval()


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0][:200]


def tokenizer_facts(model: Path) -> tuple[str, bool]:
    """The end-of-sequence token and whether there is a chat template, read from the tokenizer's own files.

    `build` needs nothing else of a tokenizer, and loading transformers for it takes seconds.

    Raises:
        DataError: no tokenizer, or one without an end-of-sequence token.
    """
    config = read_json(model / "tokenizer_config.json")
    token = config.get("eos_token")
    end = token["content"] if isinstance(token, dict) else token
    if not end:
        raise DataError(f"{model}: its tokenizer has no end-of-sequence token", hint="set `eos_token`")
    return end, bool(config.get("chat_template")) or (model / "chat_template.jinja").exists()
