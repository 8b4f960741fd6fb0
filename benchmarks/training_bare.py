"""DPO and GRPO as one writes them with TRL alone: what training.py compares ours with.

Called by training_run.py in the project's folder, with the settings of our method and nothing else of ours but, for
GRPO, the executor that says what passes, and the prompts.
"""

import json
from pathlib import Path
from typing import Any

Settings = dict[str, Any]


def shared_arguments(settings: Settings, seed: int, out: Path) -> Settings:
    """Of both configurations."""
    return {
        "output_dir": str(out),
        "learning_rate": settings["learning_rate"],
        "lr_scheduler_type": settings["schedule"],
        "warmup_steps": settings["warmup_ratio"],
        "weight_decay": settings["weight_decay"],
        "max_grad_norm": settings["max_grad_norm"],
        "max_steps": settings["max_steps"],
        "num_train_epochs": settings["epochs"],
        "per_device_train_batch_size": settings["batch_size"],
        "gradient_accumulation_steps": settings["accumulate"],
        "beta": settings["beta"],
        "bf16": False,
        "use_cpu": True,
        "gradient_checkpointing": False,
        "logging_steps": 1,
        "save_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
        "seed": seed,
    }


def lora(settings: Settings) -> Any:
    """The adapter, or None."""
    from peft import LoraConfig

    given = settings["lora"]
    if given is None:
        return None
    return LoraConfig(r=given["r"], lora_alpha=given["alpha"], target_modules="all-linear", task_type="CAUSAL_LM")


def loaded(start: str) -> tuple[Any, Any]:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    return AutoModelForCausalLM.from_pretrained(start), AutoTokenizer.from_pretrained(start)


def dpo(settings: Settings, limits: Settings, seed: int, out: Path) -> None:
    """On the pairs."""
    from datasets import Dataset
    from trl import DPOConfig, DPOTrainer

    model, tokenizer = loaded(settings["start"])
    lines = [json.loads(line) for line in Path(settings["reads"]).read_text().splitlines()]
    rows = [{key: line[key] for key in ("prompt", "chosen", "rejected")} for line in lines]
    sft = settings["sft_weight"]
    arguments = DPOConfig(
        **shared_arguments(settings, seed, out),
        max_length=settings["max_length"],
        loss_type=["sigmoid", "sft"] if sft else ["sigmoid"],
        loss_weights=[1.0, sft] if sft else [1.0],
    )
    trainer = DPOTrainer(
        model=model,
        args=arguments,
        train_dataset=Dataset.from_list(rows),
        processing_class=tokenizer,
        peft_config=lora(settings),
    )
    trainer.train()
    trainer.save_model(str(out / "model"))


def grpo(settings: Settings, limits: Settings, seed: int, out: Path) -> None:
    """On the problems; a program that passes what it may see earns 1, any other 0."""
    from datasets import Dataset
    from trl import GRPOConfig, GRPOTrainer

    from greenlit.config import AnnotateParams
    from greenlit.execution.judges import Judge
    from greenlit.problems.files import read_problems
    from greenlit.problems.prompts import extract, render
    from greenlit.stage.hardware import workers

    model, tokenizer = loaded(settings["start"])
    problems = read_problems(Path(settings["reads"]))
    rows = [{"prompt": render(problem, False), "task_id": name} for name, problem in problems.items()]
    arguments = GRPOConfig(
        **shared_arguments(settings, seed, out),
        num_generations=settings["group_size"],
        num_iterations=settings["iterations"],
        max_completion_length=settings["max_new_tokens"],
        temperature=settings["temperature"],
        top_p=settings["top_p"],
        top_k=settings["top_k"],
        epsilon=settings["clip_range"],
        loss_type=settings["loss_type"],
        scale_rewards=settings["scale_rewards"],
    )
    with Judge(AnnotateParams(**limits), workers()) as judge:

        def passes(completions: list[str], task_id: list[str], **_: Any) -> list[float | None]:
            named = [problems[name] for name in task_id]
            jobs = [(one, extract(text, one, False)) for one, text in zip(named, completions, strict=True)]
            return [None if found.passed is None else float(found.passed) for found in judge.judge_all(jobs)]

        trainer = GRPOTrainer(
            model=model,
            reward_funcs=passes,
            args=arguments,
            train_dataset=Dataset.from_list(rows),
            processing_class=tokenizer,
            peft_config=lora(settings),
        )
        trainer.train()
    trainer.save_model(str(out / "model"))


BARE = {"dpo": dpo, "grpo": grpo}
