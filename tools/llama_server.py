"""The real llama.cpp server, from the wheel `xllamacpp`, with a tiny random model.

It runs in a separate process, so that a caller can kill it and restart it with another
model, and its native threads stay apart from the caller's.
"""

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

_START_S = 30.0


def write_model(
    path: Path,
    *,
    name: str,
    context: int = 512,
    seed: int = 7,
    layers: int = 1,
    width: int = 32,
    reads_text: bool = False,
) -> Path:
    """Writes a llama model with random weights, by default one layer of 32 dimensions.

    It has 96 tokens. With `reads_text` it also has one for each byte, so that it
    can read any prompt.
    """
    import gguf
    import numpy as np

    words, heads, hidden = 96, 4, 2 * width
    random = np.random.default_rng(seed)
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_name(name)
    writer.add_context_length(context)
    writer.add_embedding_length(width)
    writer.add_block_count(layers)
    writer.add_feed_forward_length(hidden)
    writer.add_head_count(heads)
    writer.add_head_count_kv(heads)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(width // heads)
    tokens = [b"<unk>", b"<s>", b"</s>", *(bytes([n]) for n in range(32, 32 + words - 3))]
    kinds = [gguf.TokenType.UNKNOWN, gguf.TokenType.CONTROL, gguf.TokenType.CONTROL]
    kinds += [gguf.TokenType.NORMAL] * (words - 3)
    if reads_text:
        tokens += [b"<0x%02X>" % n for n in range(256)]
        kinds += [gguf.TokenType.BYTE] * 256
        words = len(tokens)
    writer.add_vocab_size(words)
    writer.add_tokenizer_model("llama")
    writer.add_token_list(tokens)
    writer.add_token_scores([0.0] * words)
    writer.add_token_types(kinds)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_unk_token_id(0)
    shapes: dict[str, tuple[int, ...]] = {
        "token_embd.weight": (words, width),
        "output_norm.weight": (width,),
        "output.weight": (words, width),
    }
    for layer in range(layers):
        shapes |= {
            f"blk.{layer}.attn_norm.weight": (width,),
            f"blk.{layer}.attn_q.weight": (width, width),
            f"blk.{layer}.attn_k.weight": (width, width),
            f"blk.{layer}.attn_v.weight": (width, width),
            f"blk.{layer}.attn_output.weight": (width, width),
            f"blk.{layer}.ffn_norm.weight": (width,),
            f"blk.{layer}.ffn_gate.weight": (hidden, width),
            f"blk.{layer}.ffn_up.weight": (hidden, width),
            f"blk.{layer}.ffn_down.weight": (width, hidden),
        }
    for tensor, shape in shapes.items():
        writer.add_tensor(tensor, random.standard_normal(shape, dtype=np.float32) * 0.02)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


@dataclass(frozen=True)
class LlamaServer:
    """One running server."""

    host: str
    port: int

    @property
    def id(self) -> str:
        """The endpoint id of the server in the hub."""
        return f"{self.host}:{self.port}"


@asynccontextmanager
async def running_llama(
    model: Path,
    *,
    alias: str = "",
    context: int = 256,
    slots: int = 2,
    api_key: str = "",
    metrics: bool = True,
    sleep_idle_s: int = -1,
    port: int = 0,
) -> AsyncIterator[LlamaServer]:
    """Runs the server until the block ends; a fixed `port` lets it restart at the same address.

    Raises RuntimeError if it does not start, and TimeoutError after 30 s.
    """
    settings = {
        "model": str(model),
        "alias": alias,
        "context": context,
        "slots": slots,
        "api_key": api_key,
        "metrics": metrics,
        "sleep_idle_s": sleep_idle_s,
        "port": port,
    }
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        __file__,
        json.dumps(settings),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    assert process.stdout is not None
    try:
        async with asyncio.timeout(_START_S):
            while line := await process.stdout.readline():
                if line.startswith(b"listening "):
                    break
            else:
                raise RuntimeError(f"llama.cpp server did not start: {await process.wait()}")
        yield LlamaServer("127.0.0.1", int(line.split()[1]))
    finally:
        if process.returncode is None:
            process.kill()
        # Read the rest, so that the pipe's transport closes before the event loop does.
        await process.communicate()


def _serve(settings: dict[str, object]) -> None:
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = settings["model"]
    params.n_ctx = settings["context"]
    params.n_parallel = settings["slots"]
    params.n_gpu_layers = 0
    params.warmup = False
    params.endpoint_slots = True
    params.endpoint_props = True
    params.endpoint_metrics = settings["metrics"]
    params.hostnames = ["127.0.0.1"]
    params.port = settings["port"]
    params.cpuparams.n_threads = 1
    params.n_threads_http = 2
    params.fit_params = False
    params.sleep_idle_seconds = settings["sleep_idle_s"]
    if settings["alias"]:
        params.model_alias = {settings["alias"]}
    if settings["api_key"]:
        params.api_keys = [settings["api_key"]]
    server = xllamacpp.Server(params)
    print("listening", str(server.listening_address).rpartition(":")[2], flush=True)
    # Returns when the parent exits and its end of the pipe closes.
    sys.stdin.read()


if __name__ == "__main__":
    _serve(json.loads(sys.argv[1]))
