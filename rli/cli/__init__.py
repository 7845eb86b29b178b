"""The command line: `rli`. The only package that imports Hydra."""
