"""What is measured: shapes, inputs, losses and the baselines beside them."""
