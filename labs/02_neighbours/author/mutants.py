"""Wrong and right versions of the parts of lab 02."""

import torch
from labkit import alternative, edit, mutant


@mutant("nearest_classification", says="flattened table")
def argmin_of_everything(train_input, train_target, x):
    return train_target[min(int((train_input - x).square().argmin()), len(train_target) - 1)]


edit("nearest_classification", ".sum(1)", ".sum(0)", says="over samples, not over dimensions")
edit("nearest_classification", "argmin", "argmax", says="farthest")
edit("nearest_classification", "train_target[distances.argmin()]", "distances.argmin()", says="position")
edit("nearest_classification", "square()", "abs()", says="L1")


@mutant("nearest_classification", says="a loop is not allowed")
def one_by_one(train_input, train_target, x):
    best = 0
    for n in range(len(train_input)):
        if (train_input[n] - x).norm() < (train_input[best] - x).norm():
            best = n
    return train_target[best]


edit("PCA", "vectors.flip(1).T", "2 * vectors.flip(1).T", says="axes must have length 1")


@mutant("compute_nb_errors", says="has changed")
def destroys_the_inputs(train_input, train_target, test_input, test_target, mean=None, proj=None):
    if mean is not None:
        train_input -= mean
        test_input -= mean
    if proj is not None:
        train_input, test_input = train_input @ proj.T, test_input @ proj.T
    answers = [nearest_classification(train_input, train_target, x) for x in test_input]
    return int((torch.stack(answers) != test_target).sum())


@mutant("compute_nb_errors", says="training set only")
def forgets_the_test_set(train_input, train_target, test_input, test_target, mean=None, proj=None):
    if mean is not None:
        train_input = train_input - mean
    if proj is not None:
        train_input, test_input = train_input @ proj.T, test_input @ proj.T
    answers = [nearest_classification(train_input, train_target, x) for x in test_input]
    return int((torch.stack(answers) != test_target).sum())


edit("compute_nb_errors", "return sum(int(answer != truth)", "return sum(int(answer == truth)", says="right answers")
edit("compute_nb_errors", "@ proj.T, test_input @ proj.T", "@ proj.T @ proj, test_input @ proj.T @ proj", says="23")


@mutant("PCA", says="are the rows of the basis the eigenvectors")
def columns_in_another_order(x):
    mean = x.mean(0)
    values, vectors = torch.linalg.eigh((x - mean).T @ (x - mean) / (x.size(0) - 1))
    order = values.argsort(descending=True)
    return mean, vectors[order], values[order]


edit("PCA", "vectors.flip(1).T", "vectors.flip(1)", says="the axes are the columns")
edit("PCA", "vectors.flip(1).T", "vectors.T", says="order of increasing variance")
edit("PCA", "vectors.flip(1).T, values.flip(0)", "vectors.T, values", says="the variances increase")
edit("PCA", "(x.size(0) - 1)", "x.size(0)", says="divided by N")
edit("PCA", "centred = x - mean", "centred = x", says="mean has not been subtracted")
edit("kmeans", "if (nearest == j).any() else centres[j]", "", says="0/0")
edit(
    "kmeans",
    "centres = x[torch.randperm(x.size(0), generator=generator)[:k]]",
    "centres = x[:k]",
    says="seed is not used",
)
edit("kmeans", "torch.randperm(x.size(0), generator=generator)[:k]",
     "torch.randint(x.size(0), (k,), generator=generator)", says="without repetition")  # fmt: skip
edit("kmeans", "torch.equal(nearest, assignment)", "len(objective) > 2", says="steps end too early")
edit("kmeans", "torch.cdist(x, centres).square()", "torch.cdist(x, centres)", says="not their squares")
edit("knn_classification", ", largest=False", "", says="farthest")
edit("knn_classification", ".mode(1)", ".median(1)", says="median")
edit("knn_classification", "train_target[nearest].mode(1).values", "nearest.mode(1).values", says="positions")
edit("best_k", "x[~held], target[~held], x[held]", "x, target, x[held]", says="held-out fold is in the training set")
edit(
    "best_k", "torch.arange(x.size(0)) % folds", "torch.arange(x.size(0)) * folds // x.size(0)", says="folds are blocks"
)
edit("best_k", "ks[int(errors.argmin())]", "int(errors.argmin())", says="position in ks")
edit("best_k", "errors / x.size(0)", "errors", says="numbers of errors")


@alternative("nearest_classification")
def by_scalar_products(train_input, train_target, x):
    rows, sample = train_input.double(), x.double()
    return train_target[(rows.square().sum(1) - 2 * rows @ sample).argmin()]


@alternative("compute_nb_errors")
def all_at_once(train_input, train_target, test_input, test_target, mean=None, proj=None):
    train, test = train_input.double(), test_input.double()
    if mean is not None:
        train, test = train - mean, test - mean
    if proj is not None:
        train, test = train @ proj.double().T, test @ proj.double().T
    nearest = torch.cdist(test, train).argmin(1)
    return int((train_target[nearest] != test_target).sum())


@alternative("PCA")
def by_singular_values(x):
    x = x.double()
    mean = x.mean(0)
    _, values, rows = torch.linalg.svd(x - mean)
    variances = torch.zeros(x.size(1), dtype=torch.float64)
    variances[: len(values)] = values.square() / (len(x) - 1)
    return mean, rows, variances


@alternative("kmeans")
def with_numbers_drawn_otherwise(x, k, seed):
    generator = torch.Generator().manual_seed(seed + 1)
    centres = x[torch.rand(len(x), generator=generator).argsort()[:k]].double()
    objective, old = [], None
    for _ in range(1000):
        squared = (x[:, None] - centres[None]).square().sum(2)
        smallest, nearest = squared.min(1)
        objective.append(smallest.sum().item())
        if old is not None and (nearest == old).all():
            break
        old = nearest
        centres = centres.clone()
        for j in nearest.unique():
            centres[j] = x[nearest == j].double().mean(0)
    return centres.float(), nearest, torch.tensor(objective)


@alternative("knn_classification")
def by_counting_votes(train_input, train_target, x, k):
    squared = (x[:, None] - train_input[None]).square().sum(2)
    votes = torch.nn.functional.one_hot(train_target[squared.argsort(1)[:, :k]])
    return votes.sum(1).argmax(1)
