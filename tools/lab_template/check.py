"""The checks of lab 00. Reading them is allowed and useful."""

import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from checking import Lab, case, expect, run_checks

lab = Lab(__file__, parts=["row_means", "centred", "row_variances", "standardised"])
lab.forbid("row_means", loops=True, why="one operation does it")


def tables(rng):
    """Awkward tables: one row, one column, not contiguous, far from 0."""
    yield "3 × 5", rng.normal(3, 5)
    yield "1 × 7", rng.normal(1, 7)
    yield "4 × 1", rng.normal(4, 1)
    yield "a transposed table", rng.normal(5, 2).T
    yield "values around 100", rng.normal(6, 3) + 100


def means(x):
    """The specification: the sum of a row over the number of its columns."""
    return torch.stack([sum(row) / len(row) for row in x.double()])


def variances(x):
    return torch.stack([sum((number - row.mean()) ** 2 for number in row) / len(row) for row in x.double()])


@lab.check("row_means")
def mean_of_each_row(student, rng):
    """the mean of each row"""
    for text, x in tables(rng):
        with case(text):
            expect(
                student.row_means(x),
                means(x).float(),
                mistakes={
                    "these are the means of the columns": x.mean(0),
                    "the sums of the rows, not divided by the number of columns": x.sum(1),
                    "the mean of the whole table": x.mean(),
                },
            )


@lab.check("centred")
def rows_around_zero(student, rng):
    """each row has the mean 0"""
    for text, x in tables(rng):
        with case(text):
            expect(
                student.centred(x),
                (x.double() - means(x)[:, None]).float(),
                atol=1e-4,
                mistakes={
                    "the means of the columns are subtracted, not those of the rows": x - x.mean(0),
                    "the mean of the whole table is subtracted": x - x.mean(),
                    "nothing is subtracted": x,
                },
            )


@lab.check("row_variances")
def variance_of_each_row(student, rng):
    """the variance of each row, divided by the number of columns"""
    for text, x in tables(rng):
        with case(text):
            expect(
                student.row_variances(x),
                variances(x).float(),
                rtol=1e-3,
                atol=1e-5,
                mistakes={
                    "divided by D − 1, not by D: see `correction`": variances(x) * x.shape[1] / (x.shape[1] - 1)
                    if x.shape[1] > 1
                    else None,
                    "the standard deviation, not its square": variances(x).sqrt(),
                    "the mean of the squares: the mean is not subtracted": (x.double() ** 2).mean(1),
                },
            )


@lab.check("standardised")
def mean_0_and_variance_1(student, rng):
    """mean 0 and variance 1 in each row"""
    for text, x in tables(rng):
        with case(text):
            distance = x.double() - means(x)[:, None]
            expect(
                student.standardised(x),
                (distance / (variances(x)[:, None] + 1e-5).sqrt()).float(),
                rtol=1e-3,
                atol=1e-3,
                mistakes={
                    "divided by the variance, not by its root": distance / (variances(x)[:, None] + 1e-5),
                    "the mean is not subtracted": x / (variances(x)[:, None] + 1e-5).sqrt(),
                    "the rows are only centred": distance,
                },
            )


@lab.check("standardised")
def rows_of_equal_numbers(student, rng):
    """a row of equal numbers becomes zeros"""
    x = torch.full((2, 4), rng.number(1, 2))
    expect(student.standardised(x), torch.zeros(2, 4), atol=1e-3, look="eps keeps the root from being 0")


if __name__ == "__main__":
    sys.exit(run_checks(lab))
