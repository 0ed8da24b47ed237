# %% [markdown]
# # 00 · TITLE
#
# One idea, in a few sentences. In this template: a table has rows on different scales; **standardising** brings them
# together. Row $i$ of the table $x$ has the mean $\mu_i$ and the variance $\sigma_i^2$, and becomes
# $(x_i - \mu_i) / \sigma_i$.

# %%
import torch
from torch import Tensor

# %% [markdown]
# ## Rows


# %%
def row_means(x: Tensor) -> Tensor:
    """The mean of each row.

    `x`: N × D float32. Returns N float32.

    Hint: `mean` takes a dimension. My version has 16 characters.
    """
    # BEGIN SOLUTION
    return x.mean(1)
    # END SOLUTION


# %%
def centred(x: Tensor) -> Tensor:
    """The table without the means of its rows.

    `x`: N × D float32. Returns N × D float32, each row with mean 0.

    Hint: `keepdim=True` leaves a column of means, which broadcasts. My version has 34 characters.
    """
    # BEGIN SOLUTION
    return x - x.mean(1, keepdim=True)
    # END SOLUTION


# %%
def row_variances(x: Tensor) -> Tensor:
    """The variance of each row: the mean of the squared distances from the row's mean.

    `x`: N × D float32. Returns N float32.

    Hint: `var` has an argument `correction`. My version has 30 characters.
    """
    # BEGIN SOLUTION
    return x.var(1, correction=0)
    # END SOLUTION


# %%
def standardised(x: Tensor, eps: float = 1e-5) -> Tensor:
    """Each row with mean 0 and, but for eps, variance 1: its distances from its mean over √(variance + eps).

    `x`: N × D float32. Returns N × D float32. A row of equal numbers becomes zeros.

    Hint: `torch.var_mean` gives both, with `correction` and `keepdim`. My version has 2 lines.
    """
    # BEGIN SOLUTION
    variance, mean = torch.var_mean(x, 1, correction=0, keepdim=True)
    return (x - mean) / (variance + eps).sqrt()
    # END SOLUTION


# %% [markdown]
# ## What you should see
#
# `ink.png`: how much ink the digits of MNIST have. The mean number is 33 of 255; after standardising, all digits have
# the same. Checks take 1 s, everything 2 s (2 cores, AMD EPYC 2.6 GHz, one thread; write what your machine needs). What
# does a digit lose that is standardised by itself?
