"""The README.md of a merged model, in the hub's format."""

from typing import Any

import yaml


def model_card(name: str, experiment: str, manifest: dict[str, Any]) -> str:
    """What the model is, what it was trained on, and where its figures are."""
    method, training = manifest["method"], manifest["training"]
    front = {"library_name": "transformers", "pipeline_tag": "text-generation", "tags": ["greenlit", method["method"]]}
    adapter = method["lora"]
    learned = f"{training['rows']} rows" if "rows" in training else f"{training['completions']} programs of its own"
    how = f"a LoRA adapter of rank {adapter['r']}, merged" if adapter else "all weights trained"
    settings = yaml.safe_dump(method, sort_keys=False).rstrip()
    return f"""---
{yaml.safe_dump(front, sort_keys=False).rstrip()}
---

# {experiment}/{name}

Trained by Greenlit with {method["method"].upper()} ({how}) from `{manifest["start"]}`
on {learned}, {training["steps"]} steps (`{method["reads"]}`).
Its figures, with intervals, are in `results/reports/{experiment}_summary.md`.

- weights sha256: `{manifest["weights_sha256"]}`
- start model sha256: `{manifest["start_sha256"]}`
- merge check: logits of {manifest["merge"]["prompts_compared"]} real prompts differ by at most
  {manifest["merge"]["largest_logit_difference"]:.2g} from start + adapter

The model writes programs. Run what it writes in a sandbox.

```yaml
{settings}
```
"""
