"""The experiments of lab 00: what can be measured and seen once its parts work."""

from check import lab


@lab.experiment("row_means", "row_variances", "standardised", seconds=1)
def ink(student, metrics, data, rng):
    """how much ink is in a digit"""
    train, _, _, _ = data.mnist()
    before = student.row_means(train)
    after = student.row_variances(student.standardised(train))
    metrics.within("mean of all pixels", before.mean().item(), 30, 37)
    metrics.within("variance after standardising", after.mean().item(), 0.99, 1.01)
    with metrics.picture("ink.png", size=(6, 3)) as figure:
        axes = figure.subplots()
        axes.hist(before, bins=40)
        axes.set(xlabel="mean of the pixels of a digit", ylabel="digits")
