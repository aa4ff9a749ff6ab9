"""The real llama.cpp server of `tools.llama_server`, with a model fixture."""

from pathlib import Path

import pytest

from tools.llama_server import LlamaServer, running_llama, write_model

__all__ = ["LlamaServer", "running_llama", "tiny_model", "write_model"]


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model file; skips the test if a required wheel is missing."""
    pytest.importorskip("xllamacpp", reason="the wheel xllamacpp is not installed")
    pytest.importorskip("gguf", reason="the wheel gguf is not installed")
    return write_model(tmp_path_factory.mktemp("gguf") / "tiny.gguf", name="tiny")
