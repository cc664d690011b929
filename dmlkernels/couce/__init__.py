"""CouCE: the background dictionary, the Fourier intervention, the second view, and the objective around them."""
