"""Makes a registered model answer: `mlflow models serve` and `mlflow.pyfunc.load_model` call `_load_pyfunc`.

A copy of this file lies beside the weights in the registry, so it needs torch and transformers, and no greenlit.
Prompts are answered one after the other; a server for many users is vLLM on the downloaded directory.
"""

from pathlib import Path
from typing import Any


def _load_pyfunc(folder: str) -> "Answering":
    return Answering(Path(folder))


class Answering:
    """A model and its tokenizer."""

    def __init__(self, folder: Path) -> None:
        import torch
        from transformers import AutoModelForCausalLM, AutoTokenizer

        self._tokenizer = AutoTokenizer.from_pretrained(folder)
        device = "cuda" if torch.cuda.is_available() else "cpu"
        self._model = AutoModelForCausalLM.from_pretrained(folder, dtype="auto").to(device).eval()

    def predict(self, model_input: Any, params: dict[str, Any] | None = None) -> list[str]:
        """Complete every prompt.

        Args:
            model_input: a DataFrame with the column `prompt`. Where the tokenizer has a chat template, a prompt is one
                message of a user; else it is text to be gone on with.
            params: max_new_tokens; temperature, where 0 is greedy; top_p; seed of the samples.
        """
        return [self._complete(prompt, params or {}) for prompt in model_input["prompt"]]

    def _complete(self, prompt: str, params: dict[str, Any]) -> str:
        import torch

        ids = torch.tensor([self._ids(prompt)], device=self._model.device)
        temperature = float(params.get("temperature", 0.0))
        how = {"do_sample": True, "temperature": temperature, "top_p": float(params.get("top_p", 1.0)), "top_k": 0}
        torch.manual_seed(int(params.get("seed", 0)))
        with torch.inference_mode():
            written = self._model.generate(
                ids,
                attention_mask=torch.ones_like(ids),
                max_new_tokens=int(params.get("max_new_tokens", 512)),
                **(how if temperature > 0 else {"do_sample": False, "temperature": None, "top_p": None, "top_k": None}),
            )
        return str(self._tokenizer.decode(written[0, ids.shape[1] :], skip_special_tokens=True))

    def _ids(self, prompt: str) -> list[int]:
        if not getattr(self._tokenizer, "chat_template", None):
            return list(self._tokenizer(prompt)["input_ids"])
        message = [{"role": "user", "content": prompt}]
        text = self._tokenizer.apply_chat_template(message, add_generation_prompt=True, tokenize=False)
        return list(self._tokenizer(text, add_special_tokens=False)["input_ids"])
