"""Dead letters: records that could not be stored, the topic that keeps them, and their replay."""
