"""`%%exercise` and the line magics in a real kernel, from the stub to the pass."""

import json
from pathlib import Path

import pytest
from deskbook.authoring.run import executed
from deskbook.practice.exercise.definition import load

ROOT = Path(__file__).parents[2]
NAME = "00_warm_up"


def run_cells(*sources):
    """Run cells in a fresh kernel and return, for each, what it shows as text."""
    cells = [
        {
            "cell_type": "code",
            "id": f"c{number}",
            "source": source,
            "metadata": {},
            "outputs": [],
            "execution_count": None,
        }
        for number, source in enumerate(sources)
    ]
    notebook = {"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 5}
    done = executed(notebook, folder=ROOT)
    return ["\n".join(map(text_of, cell["outputs"])) for cell in done["cells"]]


def text_of(output):
    return output["text"] if output["output_type"] == "stream" else output["data"]["text/plain"]


@pytest.fixture
def answers():
    """What a learner writes on the way."""
    exercise = load(NAME)
    return {
        "stub": exercise.stub,
        "wrong": exercise.stub.replace("None", "PRICES[symbol]"),
        "right": exercise.solution,
    }


def submitted(source):
    return f"%%exercise {NAME}\n{source}"


def test_a_learner_gets_from_the_stub_to_the_pass(own_work, answers):
    outputs = run_cells(
        "%load_ext deskbook",
        submitted(answers["stub"] + "\n# only a comment"),
        submitted(answers["wrong"]),
        "%hint",
        "%hint",
        "'app' in globals()",
        submitted(answers["right"]),
        "app.title, PRICES['IBM'], await read_quote('IBM')",
        "%solution",
        "%progress",
    )
    assert outputs[1].startswith(f"{NAME}: not attempted")
    assert outputs[2].startswith(
        f"{NAME}: an error in your answer\nKeyError: 'NONE'\nIn your answer:\n    line 10:"
    )
    assert outputs[3].startswith(f"{NAME}: hint 2 of 3")
    assert outputs[4].startswith(f"{NAME}: hint 3 of 3")
    assert "next one" not in outputs[4]
    assert outputs[5] == "False"
    assert outputs[6].startswith(f"{NAME}: passed")
    assert "Next: " in outputs[6]
    assert outputs[7] == "('FastAPI', '202.91', {'symbol': 'IBM', 'price': '202.91'})"
    assert "raise HTTPException(404" in outputs[8]
    assert f"[passed] {NAME}, 5 minutes" in outputs[9]
    record = json.loads((own_work / ".progress.json").read_text())["exercises"][NAME]
    assert record["passed"]
    assert record["attempts"] == 2


def test_the_solution_asks_once_before_a_pass(own_work):
    outputs = run_cells("%load_ext deskbook", f"%solution {NAME}", f"%solution --anyway {NAME}")
    assert outputs[1].startswith(f"{NAME}: not passed yet")
    assert "HTTPException(404" not in outputs[1]
    assert "HTTPException(404" in outputs[2]


def test_a_word_that_is_no_exercise_gets_a_sentence(own_work):
    outputs = run_cells(
        "%load_ext deskbook", "%%exercise 11_unblok\nx = 1", "%hint", "%hint 00_warm_up", "%%exercise\n1"
    )
    assert outputs[1] == (
        "There is no exercise '11_unblok'. The exercises are: 11_right_kind_of_def, 11_unblock."
    )
    assert outputs[2].startswith("Name the exercise")
    assert outputs[3].startswith("00_warm_up: hint 1 of 3")
    assert outputs[4].startswith("There is no exercise ''.")


def test_reset_gives_the_stub_and_leaves_ipythons_own_reset_alone(own_work):
    outputs = run_cells(
        "%load_ext deskbook", f"%reset {NAME}", "price = 1", "%reset -f", "'price' in globals()"
    )
    assert outputs[1] == f"{NAME}: the stub stands in a new cell below"
    assert outputs[4] == "False"


def test_a_run_of_the_page_writes_nothing(own_work, answers):
    run_cells("%load_ext deskbook", submitted(answers["stub"]))
    assert not own_work.exists()
