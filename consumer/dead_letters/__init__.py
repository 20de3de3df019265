"""Dead letters: their envelope, their topic, and how they are replayed."""
