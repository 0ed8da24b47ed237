"""The checks themselves, by what they look at. `catalog` lists them."""
