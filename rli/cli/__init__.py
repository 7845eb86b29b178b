"""What is typed: the command `rli`. The only package that imports Hydra."""
