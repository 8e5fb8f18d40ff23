"""The models that exist: find one, load it, ask it, measure it, publish it.

Importing this package is cheap. Modules that need `transformers` call `zoo.torchvision_fix.mend()` first.
"""
