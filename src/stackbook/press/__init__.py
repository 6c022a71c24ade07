"""The press: chapters → checked parameters → executed notebooks → findings → website."""
