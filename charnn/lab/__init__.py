"""Experiments that test textbook claims about recurrent networks.

The experiments are memory, gradients, truncation, samplers, cells and baselines; they share the
other modules. An experiment has a description, `EXPERIMENT`, and `run(…, *, seed, quick, tell)`,
which returns a `Finding`. May import every package except commands; nothing but
`commands/lab.py` imports it. Read `experiment.py` first, then `memory.py`.
"""
