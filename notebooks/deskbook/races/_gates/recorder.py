"""Runs a schedule against real servers once more and notes it, statement by statement."""

from __future__ import annotations

from deskbook.races._gates.runner import GatedRunner
from deskbook.races._schedule import Step
from deskbook.races._story.outcome import describe
from deskbook.races._story.recorded_step import RecordedStep
from deskbook.races._story.run_result import RunResult
from deskbook.races._story.timeline import flat
from deskbook.races._subject.scenario import Observe


class GatedRecorder:
    """Notes what a run does at the gate.

    Args:
        runner: Runs it.

    Attributes:
        steps: What happened.
    """

    def __init__(self, runner: GatedRunner) -> None:
        self.steps: list[RecordedStep] = []
        self._runner = runner
        self._state: dict[str, str] = {}

    def start_over(self) -> None:
        """Forget the steps, because the run is made once more."""
        self.steps.clear()

    async def on_step(self, step: Step, label: str, note: str) -> None:
        """Note a step that was taken.

        Args:
            step: The step.
            label: What was sent.
            note: Who blocks it, or "".
        """
        recorded = RecordedStep(len(self.steps) + 1, step)
        recorded.lines.append(("", "", label))
        if note:
            recorded.lines.append(("", "", note))
        observe = self._runner.scenario.observe
        if observe is not None:
            now = await self._observe(observe)
            if self.steps:
                recorded.changed = [name for name, value in now.items() if self._state.get(name) != value]
            recorded.state = self._state = now
        self.steps.append(recorded)

    async def _observe(self, observe: Observe) -> dict[str, str]:
        # Without a table the gate lets everything through: what `observe` asks the server is no step.
        runner = self._runner
        table = runner.gate.table
        runner.gate.table = None
        now = flat(await runner.call(observe, runner.app))
        runner.gate.table = table
        return now

    def note_endings(self, result: RunResult) -> None:
        """Note at its last step how each request ended."""
        for name, value in result.responses.items():
            for recorded in reversed(self.steps):
                if recorded.step.request == name:
                    recorded.ended = describe(value)
                    break
