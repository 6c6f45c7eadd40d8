"""The commands, one file each: options in, one call, results out.

Never know: tensors, formulas, file formats.
"""
