#!/usr/bin/env python3
"""Makes the tiny random models of this folder: each saved by transformers in one file and in shards, and as GGUF, with
the logits that transformers gives in float32.

    pip install torch==2.15.0 transformers==5.23.0 tokenizers==0.23.3 safetensors==0.8.0 gguf==0.19.0 numpy==2.4.6
    make_model_goldens.py

Every weight is a number that F16 holds exactly (and BF16, in the model saved so), so that all formats hold the same
numbers. NAME-files/ is as transformers 5 writes it; NAME-shards/ is cut into shards, with its config.json in the words
of transformers 4 (rope_theta, rope_scaling, torch_dtype). NAME.gguf is laid out as llama.cpp's converter does it.
NAME.logits.json has the ids, and at some positions the logits after them.
"""
import json
import os
import pathlib
import shutil

import gguf
import numpy as np
import torch
import transformers
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

HERE = pathlib.Path(__file__).resolve().parent
POSITIONS = [0, 5, 21, 38, 47]
COMMON = dict(vocab_size=272, hidden_size=32, intermediate_size=48, num_hidden_layers=2, max_position_embeddings=512,
              rms_norm_eps=1e-5, bos_token_id=1, eos_token_id=2)
MODELS = {
    "llama": (transformers.LlamaConfig, torch.float16, dict(num_attention_heads=2, tie_word_embeddings=False)),
    "llama3": (transformers.LlamaConfig, torch.bfloat16, dict(
        num_attention_heads=4, num_key_value_heads=2, head_dim=16, hidden_size=48, tie_word_embeddings=True,
        rope_parameters=dict(rope_type="llama3", rope_theta=10000.0, factor=8.0, low_freq_factor=1.0,
                             high_freq_factor=4.0, original_max_position_embeddings=64))),
    "linear": (transformers.LlamaConfig, torch.float32, dict(
        num_attention_heads=2, head_dim=48, tie_word_embeddings=False,
        rope_parameters=dict(rope_type="linear", rope_theta=20000.0, factor=2.5))),
    "mistral": (transformers.MistralConfig, torch.float16, dict(
        num_attention_heads=2, num_key_value_heads=1, head_dim=32, sliding_window=128, tie_word_embeddings=False)),
    "qwen2": (transformers.Qwen2Config, torch.float16, dict(
        num_attention_heads=2, num_key_value_heads=1, tie_word_embeddings=True,
        rope_parameters=dict(rope_type="default", rope_theta=1000000.0))),
}
CLASSES = {transformers.LlamaConfig: transformers.LlamaForCausalLM,
           transformers.MistralConfig: transformers.MistralForCausalLM,
           transformers.Qwen2Config: transformers.Qwen2ForCausalLM}
GGUF_NAMES = {"self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v",
              "self_attn.o_proj": "attn_output", "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up",
              "mlp.down_proj": "ffn_down", "input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm"}


def alphabet():
    """GPT-2's characters of the 256 bytes, in the order of its vocabulary."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    rest = [byte for byte in range(256) if byte not in plain]
    return [chr(byte) for byte in plain] + [chr(256 + i) for i in range(len(rest))]


def vocabulary():
    merges = [("t", "h"), ("th", "e"), ("Ġ", "the"), ("i", "n"), ("a", "n"), ("e", "r"), ("Ġ", "a"), ("an", "d")]
    tokens = ["<unk>", "<s>", "</s>", *alphabet(), *(left + right for left, right in merges)]
    return tokens, merges


def save_tokenizer(folder):
    tokens, merges = vocabulary()
    bpe = Tokenizer(models.BPE(vocab={token: i for i, token in enumerate(tokens)}, merges=merges))
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    bpe.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in tokens[:3]])
    fast = transformers.PreTrainedTokenizerFast(tokenizer_object=bpe, unk_token="<unk>", bos_token="<s>", eos_token="</s>")
    fast.chat_template = "{% for message in messages %}{{ message['content'] }}</s>{% endfor %}"
    fast.save_pretrained(folder)
    compact(folder / "tokenizer.json")


def compact(path):
    path.write_text(json.dumps(json.loads(path.read_text()), ensure_ascii=False, separators=(",", ":")))


def randomize(model, dtype, generator):
    """Lively: every matrix about keeps the size of what goes through it; logits of a few units."""
    output = model.get_output_embeddings().weight
    for name, weight in model.named_parameters():
        noise = torch.randn(weight.shape, generator=generator)
        if name.endswith("norm.weight"):
            values = 1 + 0.2 * noise
        elif name.endswith(".bias"):
            values = 0.5 * noise
        elif weight is output:
            values = noise * 3 / weight.shape[1] ** 0.5
        elif "embed_tokens" in name:
            values = noise
        else:
            values = noise * 1.5 / weight.shape[1] ** 0.5
        if dtype == torch.bfloat16:
            values = values.to(torch.bfloat16).float()
            values[values.half().float() != values] = 0
        weight.data = values.half().float()


def spell_as_before(path):
    """config.json in the words of transformers 4."""
    config = json.loads(path.read_text())
    rope = config.pop("rope_parameters")
    config["rope_theta"] = rope.pop("rope_theta")
    config["rope_scaling"] = None if rope["rope_type"] == "default" else rope
    if rope["rope_type"] == "linear":
        rope["type"] = rope.pop("rope_type")
    config["torch_dtype"] = config.pop("dtype")
    path.write_text(json.dumps(config, indent=2) + "\n")


def permuted(weight, heads):
    """Rows of a head from halves to neighbours, as RoPE of the GGUF architecture `llama` pairs them."""
    return weight.reshape(heads, 2, weight.shape[0] // heads // 2, -1).swapaxes(1, 2).reshape(weight.shape)


def rope_factors(model, config):
    """What divides each unscaled frequency."""
    dim = config.head_dim
    plain = 1.0 / (config.rope_parameters["rope_theta"] ** (torch.arange(0, dim, 2).float() / dim))
    return (plain / model.model.rotary_emb.inv_freq).numpy().astype(np.float32)


def save_gguf(model, config, path):
    architecture = "qwen2" if config.model_type == "qwen2" else "llama"
    writer = gguf.GGUFWriter(path, architecture)
    rope = config.rope_parameters
    head_dim = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    writer.add_name("Tiny")
    writer.add_block_count(config.num_hidden_layers)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(rope["rope_theta"])
    writer.add_file_type(1)
    if architecture == "llama":
        writer.add_key_length(head_dim)
        writer.add_value_length(head_dim)
        writer.add_rope_dimension_count(head_dim)
        writer.add_vocab_size(config.vocab_size)
    if rope["rope_type"] == "linear":
        writer.add_rope_scaling_type(gguf.RopeScalingType.LINEAR)
        writer.add_rope_scaling_factor(rope["factor"])
    tokens, merges = vocabulary()
    tokens += [f"[PAD{i}]" for i in range(len(tokens), config.vocab_size)]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(tokens)
    writer.add_token_types([3] * 3 + [1] * 264 + [5] * (config.vocab_size - 267))
    writer.add_token_merges([" ".join(merge) for merge in merges])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    if rope["rope_type"] == "llama3":
        writer.add_tensor("rope_freqs.weight", rope_factors(model, config))
    for name, weight in model.state_dict().items():
        values = weight.numpy()
        parts = name.split(".")
        kind = parts[-1]
        if name == "lm_head.weight":
            if config.tie_word_embeddings:
                continue
            target = "output.weight"
        elif parts[1] == "layers":
            stem = GGUF_NAMES[".".join(parts[3:-1])]
            target = f"blk.{parts[2]}.{stem}.{kind}"
            if architecture == "llama" and stem in ("attn_q", "attn_k"):
                heads = config.num_attention_heads if stem == "attn_q" else config.num_key_value_heads
                values = permuted(values, heads)
        else:
            target = {"embed_tokens": "token_embd", "norm": "output_norm"}[parts[1]] + "." + kind
        writer.add_tensor(target, values.astype(np.float16 if values.ndim > 1 else np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def save_logits(model, path, generator):
    ids = torch.randint(3, COMMON["vocab_size"], (POSITIONS[-1] + 1,), generator=generator)
    with torch.no_grad():
        logits = model(ids[None]).logits[0]
    rows = ",\n".join(f"[{', '.join(f'{value:.7g}' for value in logits[position].tolist())}]" for position in POSITIONS)
    path.write_text(f'{{"ids": {ids.tolist()},\n"positions": {POSITIONS},\n"logits": [\n{rows}\n]}}\n')
    print(f"{path.name}: standard deviation of the logits {logits.std():.2f}, largest {logits.abs().max():.2f}")


def main():
    os.chdir(HERE)
    for number, (name, (config_class, dtype, options)) in enumerate(MODELS.items()):
        generator = torch.Generator().manual_seed(1000 + number)
        config = config_class(**{**COMMON, **options}, attn_implementation="eager")
        model = CLASSES[config_class](config).float().eval()
        randomize(model, dtype, generator)
        save_logits(model, HERE / f"{name}.logits.json", generator)
        save_gguf(model, config, f"{name}.gguf")
        for form, shard_size in (("files", "1GB"), ("shards", "40KB")):
            folder = HERE / f"{name}-{form}"
            shutil.rmtree(folder, ignore_errors=True)
            # The shards of the F32 model are F16, to keep them small.
            model.to(torch.float16 if form == "shards" and dtype == torch.float32 else dtype)
            model.save_pretrained(folder, max_shard_size=shard_size)
            save_tokenizer(folder)
            for file in folder.iterdir():
                file.chmod(0o644)
        spell_as_before(HERE / f"{name}-shards" / "config.json")
        model.float()


if __name__ == "__main__":
    main()
