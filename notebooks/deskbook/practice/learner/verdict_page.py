"""The page about an answer. The same answer gives the same words in every run."""

from __future__ import annotations

from deskbook.practice.learner.page import FeedbackPage
from deskbook.practice.learner.verdict import Verdict

#: Longest part of what an answer printed that is shown, in characters.
LONGEST_OUTPUT = 1_500


def verdict_page(
    verdict: Verdict, *, hint_command: str = "%hint", check_again: str = "run the cell again"
) -> FeedbackPage:
    """Say what became of an answer.

    Args:
        verdict: What was decided about it.
        hint_command: How the reader asks for the next hint.
        check_again: How the reader submits again.
    """
    title = f"{verdict.exercise.name}: {_IN_WORDS[verdict.state]}"
    page = FeedbackPage(title, _TONES[verdict.state])
    if verdict.state == "not attempted":
        return _not_attempted(page, verdict, hint_command, check_again)
    if verdict.state == "passed":
        return _passed(page, verdict)
    if verdict.state == "wrong":
        _wrong(page, verdict)
    elif verdict.state == "error":
        _error(page, verdict)
    else:
        _too_slow(page, verdict)
    _output(page, verdict)
    _checklist(page, verdict)
    _hint(page, verdict, hint_command)
    return page


_IN_WORDS = {
    "not attempted": "not attempted",
    "wrong": "not right yet",
    "error": "an error in your answer",
    "too slow": "too slow",
    "passed": "passed",
}
_TONES = {"not attempted": "plain", "wrong": "bad", "error": "bad", "too slow": "bad", "passed": "good"}


def _not_attempted(page: FeedbackPage, verdict: Verdict, hint_command: str, check_again: str) -> FeedbackPage:
    exercise = verdict.exercise
    count = f"{len(exercise.checks)} checks" if len(exercise.checks) > 1 else "1 check"
    page.say(f"The answer is still the one you were given. Change it, then {check_again}.")
    page.say(exercise.sentence(exercise.stub_fails), "It does not do this yet")
    return page.say(f"{count}, about {exercise.minutes} minutes. Stuck? `{hint_command}` shows a hint.")


def _passed(page: FeedbackPage, verdict: Verdict) -> FeedbackPage:
    exercise = verdict.exercise
    page.items([("passed", check.sentence) for check in exercise.checks], "Checked")
    _output(page, verdict)
    page.say(exercise.why, "Why our solution works")
    return page.say(exercise.next, "Next")


def _wrong(page: FeedbackPage, verdict: Verdict) -> None:
    page.say(verdict.exercise.sentence(verdict.failing), "This does not hold")
    page.say(verdict.message)
    _facts(page, verdict)
    _source_lines(page, verdict)
    for picture in verdict.pictures:
        page.picture(picture["html"], picture["text"], "The interleaving, from top to bottom")


def _error(page: FeedbackPage, verdict: Verdict) -> None:
    page.say(verdict.message)
    _source_lines(page, verdict)
    if verdict.failing:
        page.say(verdict.exercise.sentence(verdict.failing), "It happened while this was checked")
    _facts(page, verdict)


def _too_slow(page: FeedbackPage, verdict: Verdict) -> None:
    page.say(f"Stopped: an answer gets {verdict.exercise.limit_s:g} s.")
    if verdict.failing:
        page.say(verdict.exercise.sentence(verdict.failing), "It was busy with this")
    if verdict.lines:
        _source_lines(page, verdict, "This ran at the end")
    else:
        page.say("No line of yours ran at the end: something waits for what never comes.")
    _facts(page, verdict)


def _facts(page: FeedbackPage, verdict: Verdict) -> None:
    for key, label in (("given", "Given"), ("expected", "Expected"), ("got", "Came back")):
        page.say(verdict.facts.get(key, ""), label)


def _source_lines(page: FeedbackPage, verdict: Verdict, label: str = "In your answer") -> None:
    lines = dict.fromkeys(f"line {number}: {text}".rstrip(": ") for number, text in verdict.lines)
    page.code("\n".join(lines), label)


def _output(page: FeedbackPage, verdict: Verdict) -> None:
    text = verdict.output[:LONGEST_OUTPUT]
    if verdict.output_bytes > len(text.encode()):
        text += f"\n... {verdict.output_bytes:,} bytes in all; the rest is not shown"
    page.code(text.strip("\n"), "Your answer printed")


def _checklist(page: FeedbackPage, verdict: Verdict) -> None:
    """List what holds already, and what was not looked at because of this failure."""
    entries = []
    for check in verdict.exercise.checks:
        if check.name == verdict.failing:
            continue
        entries.append(("holds" if check.name in verdict.passed else "not checked yet", check.sentence))
    page.items(entries, "The other checks")


def _hint(page: FeedbackPage, verdict: Verdict, hint_command: str) -> None:
    levels = verdict.exercise.hints.get(verdict.failing, ())
    if levels:
        page.say(levels[0], "Hint")
        page.say(f"`{hint_command}` shows the next one.")
