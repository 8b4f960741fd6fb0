"""Training methods; `methods.METHODS` lists them."""
