"""Bytes, JSON, YAML and safetensors on disk; locks; where datasets and runs are.

Every write is atomic, and everything read is checked. Imports only config, errors and escape;
never torch. Read `atomic.py` first.
"""
