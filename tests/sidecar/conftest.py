from tests.support.llama import tiny_model

__all__ = ["tiny_model"]
