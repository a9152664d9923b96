"""The methods in TRL's words: ``python -m paradox.train.methods_page`` writes docs/methods.md.

What a method sets is compared with TRL's own defaults, so that nobody has to know either.
`LEFT_AT_DEFAULT` names every argument that no trainer of this study sets, with the reason; the
tests refuse a version of TRL with an argument that is neither set nor named here.
"""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path
from typing import Any

import yaml

from paradox.files import write_text
from paradox.steps import TRAINERS
from paradox.study.config import Config
from paradox.study.load import load_config
from paradox.study.methods import resolved
from paradox.train.common import HOST_ARGUMENTS

PAGE = Path("docs/methods.md")
BEGIN = "<!-- arguments: begin (written by `python -m paradox.train.methods_page`) -->\n"
END = "<!-- arguments: end -->\n"
# What changes no result, and a second name of `gradient_checkpointing`.
NOT_SHOWN = HOST_ARGUMENTS | {
    "activation_checkpointing",
    "disable_tqdm",
    "logging_nan_inf_filter",
    "logging_steps",
    "report_to",
    "save_steps",
    "save_strategy",
    "save_total_limit",
    "seed",
    "use_cpu",
}
LEFT_AT_DEFAULT: dict[str, str] = {
    "no evaluation while training": """
        batch_eval_metrics bf16_full_eval do_eval do_predict do_train eval_accumulation_steps
        eval_delay eval_do_concat_batches eval_on_start eval_packing eval_steps eval_strategy
        eval_use_gather_object fp16_full_eval greater_is_better include_for_metrics
        load_best_model_at_end metric_for_best_model num_generations_eval
        per_device_eval_batch_size prediction_loss_only""",
    "what is told and where, not what is done": """
        debug hub_always_push hub_model_id hub_private_repo hub_revision hub_strategy hub_token
        include_num_input_tokens_seen log_completions log_completions_hub_repo log_level
        log_level_replica log_multimodal log_on_each_node log_unique_prompts logging_first_step
        logging_strategy num_completions_to_print project push_to_hub run_name
        skip_memory_metrics trackio_bucket_id trackio_space_id trackio_static_space_id""",
    "checkpoints to go on from are chosen by this study": """
        enable_jit_checkpoint ignore_data_skip restore_callback_states_from_checkpoint
        resume_from_checkpoint save_on_each_node save_only_model""",
    "several devices, and how kernels run": """
        accelerator_config activation_checkpointing activation_checkpointing_kwargs
        activation_offloading auto_find_batch_size average_tokens_across_devices ddp_backend
        ddp_broadcast_buffers ddp_bucket_cap_mb ddp_find_unused_parameters ddp_static_graph
        ddp_timeout deepspeed ds3_gather_for_generation fsdp fsdp_config full_determinism
        gradient_checkpointing_kwargs liger_kernel_config local_rank parallelism_config tf32
        torch_compile torch_compile_backend torch_compile_mode torch_empty_cache_steps
        use_liger_kernel""",
    "how rows are loaded: in one process, in the trainer's order, all of them": """
        data_seed dataloader_drop_last dataloader_in_order dataloader_multiprocessing_context
        dataloader_num_workers dataloader_persistent_workers dataloader_pin_memory
        dataloader_prefetch_factor dataset_kwargs dataset_num_proc dataset_text_field
        label_names length_column_name num_train_epochs pad_to_multiple_of
        precompute_ref_batch_size remove_unused_columns shuffle_dataset train_sampling_strategy""",
    "off unless given a value": """
        cache_implementation cast_lm_head_to_fp32 chat_template_kwargs chat_template_path
        generation_kwargs label_smoothing_factor lr_scheduler_kwargs max_tool_calling_iterations
        model_init_kwargs neftune_noise_alpha optim_args optim_target_modules
        router_aux_loss_coef trust_remote_code use_cache""",
    "of something that is switched off": """
        discopop_tau entropy_coef_delta entropy_coef_max entropy_coef_min entropy_target
        f_alpha_divergence_coef packing_strategy ref_model_mixup_alpha ref_model_sync_steps
        sapo_temperature_neg sapo_temperature_pos transformers_continuous_batching_config
        truncation_mode use_transformers_continuous_batching use_transformers_paged
        vespo_k_neg vespo_k_pos vespo_lambda_neg vespo_lambda_pos vllm_enable_sleep_mode
        vllm_gpu_memory_utilization vllm_group_port vllm_importance_sampling_cap
        vllm_importance_sampling_clip_max vllm_importance_sampling_clip_min
        vllm_importance_sampling_correction vllm_importance_sampling_mode vllm_max_model_length
        vllm_mode vllm_model_impl vllm_server_base_url vllm_server_host vllm_server_port
        vllm_server_timeout vllm_structured_outputs_regex vllm_tensor_parallel_size""",
    "taken from the tokenizer and the models that the trainer is given": """
        eos_token model_adapter_name pad_token ref_adapter_name reward_model_path sft_model_path
        stop_token_id""",
    "worked out by the trainer from what is set": """
        batch_size generation_batch_size local_batch_size local_mini_batch_size
        micro_batch_size mini_batch_size num_total_batches world_size""",
}


def left_at_default() -> set[str]:
    """Return the names of the arguments that no trainer sets."""
    return {name for names in LEFT_AT_DEFAULT.values() for name in names.split()}


def arguments(config: Config, name: str) -> Any:
    """Return the trainer's arguments of a method."""
    trainer = config.methods[name].trainer
    module = importlib.import_module(TRAINERS[trainer])
    return module.arguments(resolved(config, name), seed=0, work=Path("work"))


def differences(config: Config, name: str) -> dict[str, tuple[Any, Any]]:
    """Return what a method does otherwise than TRL by default: (here, there) by argument."""
    settings = arguments(config, name)
    here, there = (
        json.loads(each.to_json_string())
        for each in (settings, type(settings)(output_dir="work", use_cpu=settings.use_cpu))
    )
    return {
        key: (here[key], there[key])
        for key in here
        if key not in NOT_SHOWN and here[key] != there[key]
    }


def block(config: Config) -> str:
    """Return the page's generated part."""
    changes = {name: differences(config, name) for name in config.methods}
    shared = {
        key: here
        for key, (here, _) in next(iter(changes.values())).items()
        if all(key in other and other[key][0] == here for other in changes.values())
    }
    lines = [
        f"At scale `{config.scale}` all methods have, where TRL's default is another, "
        f"{_listed(shared)}. Besides:",
        "",
        "| method | setting (TRL's default) |",
        "|---|---|",
    ]
    for name, changed in changes.items():
        cells = [
            f"`{key}` {_shown(here)} ({_shown(there)})"
            for key, (here, there) in sorted(changed.items())
            if key not in shared
        ]
        lines.append(f"| `{name}` | {', '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _listed(values: dict[str, Any]) -> str:
    return ", ".join(f"`{key}` {_shown(value)}" for key, value in sorted(values.items()))


def _shown(value: Any) -> str:
    return "null" if value is None else json.dumps(value)


def page(text: str, root: Path) -> str:
    """Return the page with its generated part renewed."""
    main = yaml.safe_load((root / "config/config.yaml").read_text(encoding="utf-8"))
    before, after = text.split(BEGIN)[0], text.split(END)[1]
    return before + BEGIN + block(load_config(main, root)) + END + after


if __name__ == "__main__":
    write_text(PAGE, page(PAGE.read_text(encoding="utf-8"), Path()))
    sys.exit(0)
