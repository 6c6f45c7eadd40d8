"""The lab: what textbooks claim of recurrent networks, each claim an experiment on this code.

One file an experiment, with `run(…, *, seed, quick, tell)` that hands back a `Finding`. They stand
on all the other rooms and train through them; no room stands on them. Never know: the command line.
"""
