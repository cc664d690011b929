"""What a step sends, holds and computes on many GPUs: formulas held to counts, and a model made of them."""
