"""Wrong and right versions of the parts of lab 00."""

import torch
from labkit import alternative, edit, mutant

edit("row_means", "mean(1)", "mean(0)", says="means of the columns")
edit("row_means", "mean(1)", "sum(1)", says="not divided by the number of columns")
edit("centred", "x.mean(1, keepdim=True)", "x.mean(0)", says="those of the rows")
edit("centred", "x.mean(1, keepdim=True)", "x.mean()", says="mean of the whole table")
edit("row_variances", ", correction=0", "", says="divided by D − 1")
edit("standardised", ".sqrt()", "", says="divided by the variance")


@mutant("row_means", says="a loop is not allowed")
def row_by_row(x):
    return torch.stack([row.mean() for row in x])


@mutant("standardised", says="mean is not subtracted")
def not_centred(x, eps=1e-5):
    return x / (x.var(1, correction=0, keepdim=True) + eps).sqrt()


@alternative("row_means")
def by_a_product(x):
    return x @ torch.full((x.size(1),), 1 / x.size(1))


@alternative("row_variances")
def by_the_definition(x):
    return (x - x.mean(1, keepdim=True)).square().mean(1)
