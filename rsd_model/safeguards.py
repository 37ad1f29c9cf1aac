"""What may stop the vehicle short of the network's plan: perceived stop signs, and the emergency brake."""

from __future__ import annotations

from rsd_model.contracts import FrameSet, PlannerOutput
from rsd_model.emergency_brake import EmergencyBrake
from rsd_model.stop_signs import StopSigns


class Safeguards:
    """Goes over one plan after another of one drive; the planner node and in-process drives share it."""

    def __init__(self, emergency_brake: bool = True, stop_signs: bool = True) -> None:
        self._brake = EmergencyBrake() if emergency_brake else None
        self._signs = StopSigns() if stop_signs else None

    def reset(self) -> None:
        """A new drive begins, or time has jumped."""
        for guard in (self._brake, self._signs):
            if guard is not None:
                guard.reset()

    def check(self, output: PlannerOutput, frame: FrameSet) -> PlannerOutput:
        """The output as it is, or with a trajectory that stops and `stop_reason` saying why."""
        if self._signs is not None:
            output = self._signs.check(output, frame)
        return output if self._brake is None else self._brake.check(output, frame.ego.speed)
