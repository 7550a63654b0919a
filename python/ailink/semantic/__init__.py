"""What the semantic cache is worth: pairs of questions, and rates by threshold."""
