"""The cases of vectors/v1 and what they are made with."""
