"""The picture of a run: readable where a page keeps images only, and never the only form."""

import base64
import re
import xml.etree.ElementTree as ElementTree

from deskbook.races import Report, Timeline, explore, replay
from deskbook.races._schedule import Step
from deskbook.races._story.recorded_step import RecordedStep
from race_cases.corpus.racy_app import BOTH, n_is_two, racy

TEXT = "{http://www.w3.org/2000/svg}text"
IMAGE = re.compile(r'<img src="data:image/svg\+xml;base64,([A-Za-z0-9+/=]+)" width="(\d+)" alt="([^"]+)">')


async def report():
    return await explore(racy, BOTH, invariant=n_is_two, observe=lambda app: {"n": app.state.n})


async def test_the_picture_is_an_image_that_a_sanitiser_keeps():
    found = await report()
    html = found.html()
    assert "<svg" not in html
    assert "<style" not in html
    address, width, alt = IMAGE.search(html).groups()
    svg = base64.b64decode(address).decode()
    assert svg == found.counterexample.timeline().svg()
    assert ElementTree.fromstring(svg).get("width") == width
    assert alt == "Interleaving of 2 requests in 4 steps; invariant: n is 1; the steps follow as text"


async def test_the_image_brings_its_own_paper_for_light_and_dark_pages():
    svg = (await report()).counterexample.timeline().svg()
    assert '<rect width="100%" height="100%" class="paper"/>' in svg
    assert "prefers-color-scheme:dark" in svg
    assert "print{" in svg


async def test_the_text_timeline_stays_beside_the_image():
    found = await report()
    folded = re.search(
        r"<details><summary>The same as text</summary>\n<pre>(.*?)</pre>", found.html(), re.DOTALL
    )
    assert folded[1].splitlines()[0] == "schedule: A B2 A"
    assert "writes n = 1" in folded[1]
    assert "=&gt; 200" in folded[1]


async def test_a_timeline_alone_shows_the_same_way():
    run = replay(racy, BOTH, schedule="A B2 A", invariant=n_is_two)
    shown = run.timeline()._repr_html_()
    assert IMAGE.match(shown)
    assert shown == run.timeline().html()


def test_a_statement_is_shown_to_its_end():
    statement = (
        "SELECT accounts.name, accounts.balance FROM accounts WHERE accounts.name = $1 FOR UPDATE  ['ann']"
    )
    step = RecordedStep(1, Step.of("A"), lines=[("", "", statement)])
    svg = Timeline(["A"], {}, "A", [step], None).svg()
    rows = [row.text.strip() for row in ElementTree.fromstring(svg).iter(TEXT) if row.get("class") == "code"]
    assert "".join(rows).replace(" ", "") == statement.replace(" ", "")
    assert len(rows) > 1


def test_dollars_of_a_statement_are_not_set_as_mathematics():
    ignored = 'class="mathjax_ignore tex2jax_ignore"'
    assert ignored in Report("exhausted", "A waits at «x = $1», B waits at «x = $2»", 1, 1, 1).html()
    assert ignored not in Report("exhausted", "all 2 interleavings were tried", 2, 2, 2).html()
