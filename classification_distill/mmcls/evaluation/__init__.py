"""Metrics of the other trees. ``mmcls`` does not import them: they need those trees' libraries."""

from .wflw_metric import WFLWMetric

__all__ = ['WFLWMetric']
