"""The prober of every kind of inference server."""

from hub.probes.backends.docker_model_runner import DockerModelRunnerProber
from hub.probes.backends.lemonade import LemonadeProber
from hub.probes.backends.litellm import LiteLlmProber
from hub.probes.backends.llama_cpp import LlamaCppProber
from hub.probes.backends.llama_swap import LlamaSwapProber
from hub.probes.backends.lm_studio import LmStudioProber
from hub.probes.backends.lmdeploy import LmDeployProber
from hub.probes.backends.ollama import OllamaProber
from hub.probes.backends.openai import OpenAiProber
from hub.probes.backends.prober import Prober
from hub.probes.backends.sglang import SglangProber
from hub.probes.backends.text_embeddings import TextEmbeddingsProber
from hub.probes.backends.vllm import VllmProber
from llmhub.v1.endpoint_pb2 import Backend

PROBERS: dict[Backend, type[Prober]] = {
    prober.kind: prober
    for prober in (
        OllamaProber,
        VllmProber,
        LlamaCppProber,
        LmStudioProber,
        SglangProber,
        OpenAiProber,
        LlamaSwapProber,
        LiteLlmProber,
        LemonadeProber,
        LmDeployProber,
        DockerModelRunnerProber,
        TextEmbeddingsProber,
    )
}
