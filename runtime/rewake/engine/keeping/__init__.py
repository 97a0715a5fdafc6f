"""How long ended runs are kept, and what is archived of them."""
