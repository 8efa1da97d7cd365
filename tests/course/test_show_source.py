import inspect

import pytest
from deskbook.show import show_source

from reference_app.candles.repository import CandleRepository
from reference_app.candles.router import read_quote


def test_a_function_is_shown_as_its_file_has_it():
    shown = show_source(read_quote)
    assert repr(shown).startswith("# reference_app/candles/router.py\n@instruments_router.get(")
    assert inspect.getsource(read_quote) in repr(shown)
    assert shown._repr_markdown_().startswith("`reference_app/candles/router.py`\n```python\n")


def test_a_method_stands_at_the_left_margin_and_can_go_without_its_docstring():
    shown = repr(show_source(CandleRepository.last_candle, without_docstring=True))
    assert shown.splitlines()[1].startswith("async def last_candle")
    assert '"""' not in shown
    assert "select(Candle)" in shown


def test_an_object_without_a_file_is_refused():
    with pytest.raises(TypeError):
        show_source(len)
