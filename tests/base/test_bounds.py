import ast
from pathlib import Path

from hub.base import bounds


def test_every_bound_is_positive_and_says_what_it_bounds() -> None:
    module = ast.parse(Path(bounds.__file__).read_text())
    for each, following in zip(module.body, module.body[1:], strict=False):
        if isinstance(each, ast.AnnAssign):
            assert isinstance(each.target, ast.Name)
            assert getattr(bounds, each.target.id) > 0
            assert isinstance(following, ast.Expr), each.target.id
    assert isinstance(module.body[-1], ast.Expr)
