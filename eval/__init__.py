"""Evaluation: quality by ir-measures, cost by one timing protocol, statistics, reports.

Never ``import eval``: it hides the builtin. Import from the modules:
``from eval.evaluate import evaluate``.
"""
