"""Null embeddings for one move of sampling: one file for each solver.

`base.py` says what the inner problem is, and what a solver gets and gives.
"""

from __future__ import annotations

from rli.method.solvers.adam import Adam
from rli.method.solvers.base import Solver
from rli.method.solvers.gauss_newton import GaussNewton
from rli.method.solvers.lbfgs import Lbfgs

SOLVERS: dict[str, type[Solver]] = {"lbfgs": Lbfgs, "gauss_newton": GaussNewton, "adam": Adam}
