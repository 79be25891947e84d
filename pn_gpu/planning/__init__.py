"""Which method computes a layer: the plan, what it costs on this machine, and how far it is from exact."""

from pn_gpu.planning.approximation import ApproximationError, approximation_error
from pn_gpu.planning.costs import Costs
from pn_gpu.planning.decision import plan
from pn_gpu.planning.plan import Plan
from pn_gpu.planning.planner import MethodPlanner

__all__ = ["ApproximationError", "Costs", "MethodPlanner", "Plan", "approximation_error", "plan"]
