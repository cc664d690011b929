"""One module per loss: it owns the proxies, the functions do the maths."""
