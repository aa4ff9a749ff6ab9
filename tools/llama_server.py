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


def write_model(path: Path, *, name: str, context: int = 512, seed: int = 7) -> Path:
    """Writes a llama model with one layer and random weights: 352 tokens, 32 dimensions.

    It has a token for every byte, so that it takes any prompt; its answers mean nothing.
    """
    import gguf
    import numpy as np

    words, width, heads, hidden = 352, 32, 4, 64
    random = np.random.default_rng(seed)
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_name(name)
    writer.add_context_length(context)
    writer.add_embedding_length(width)
    writer.add_block_count(1)
    writer.add_feed_forward_length(hidden)
    writer.add_head_count(heads)
    writer.add_head_count_kv(heads)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(width // heads)
    writer.add_vocab_size(words)
    writer.add_tokenizer_model("llama")
    special = [b"<unk>", b"<s>", b"</s>"]
    kinds = [gguf.TokenType.UNKNOWN, gguf.TokenType.CONTROL, gguf.TokenType.CONTROL]
    single = [b"<0x%02X>" % byte for byte in range(256)]
    kinds += [gguf.TokenType.BYTE] * len(single)
    letters = [bytes([32 + n]) for n in range(words - len(special) - len(single))]
    kinds += [gguf.TokenType.NORMAL] * len(letters)
    tokens = [*special, *single, *letters]
    writer.add_token_list(tokens)
    writer.add_token_scores([0.0] * words)
    writer.add_token_types(kinds)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_unk_token_id(0)
    shapes = {
        "token_embd.weight": (words, width),
        "output_norm.weight": (width,),
        "output.weight": (words, width),
        "blk.0.attn_norm.weight": (width,),
        "blk.0.attn_q.weight": (width, width),
        "blk.0.attn_k.weight": (width, width),
        "blk.0.attn_v.weight": (width, width),
        "blk.0.attn_output.weight": (width, width),
        "blk.0.ffn_norm.weight": (width,),
        "blk.0.ffn_gate.weight": (hidden, width),
        "blk.0.ffn_up.weight": (hidden, width),
        "blk.0.ffn_down.weight": (width, hidden),
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
