"""The paper's method, and nothing else: inversion, null-text optimization, RLI, prompt-to-prompt."""
