"""Programs of other people on the compat module, as a server finds them."""
