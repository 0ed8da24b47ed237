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
edit(
    "compute_nb_errors",
    "@ proj.T, test_input @ proj.T",
    "@ proj.T @ proj, test_input @ proj.T @ proj",
    says="mapped back",
)


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


edit("nearest_classification", "square().sum(1)", "abs().amax(1)", says="maximum norm")
edit("nearest_classification", ".square().sum(1)", ".sum(1).abs()", says="without a square")


@mutant("nearest_classification", says="no smallest distance")
def by_the_scalar_product(train_input, train_target, x):
    return train_target[(train_input @ x).argmax()]


@mutant("compute_nb_errors", says="test set only")
def forgets_the_training_set(train_input, train_target, test_input, test_target, mean=None, proj=None):
    if mean is not None:
        test_input = test_input - mean
    if proj is not None:
        train_input, test_input = train_input @ proj.T, test_input @ proj.T
    return sum(
        int(nearest_classification(train_input, train_target, x) != t)
        for x, t in zip(test_input, test_target, strict=True)
    )


edit("compute_nb_errors", "answers = [", "train_input, train_target, test_input, test_target = test_input, test_target, "
     "train_input, train_target\n    answers = [", says="exchanged")  # fmt: skip
edit("compute_nb_errors", "strict=True))", "strict=True)) / len(test_target)", says="a whole number is expected")
edit("compute_nb_errors", "train_input, test_input = train_input @ proj.T, test_input @ proj.T", "pass",
     says="projection is not used")  # fmt: skip
edit("PCA", " / (x.size(0) - 1)", "", says="a constant factor of 36", also=["not divided by N − 1"])
edit("PCA", "values.flip(0)", "values.flip(0).clamp(min=0).sqrt()", says="standard deviations")
edit("PCA", "mean = x.mean(0)", "mean = x.mean()", says="mean must be a tensor of shape")
edit("PCA", "return mean, vectors.flip(1).T, values.flip(0)",
     "return mean.double(), vectors.flip(1).T, values.flip(0)", says="mean must be float32")  # fmt: skip
edit("kmeans", ".sum())", ".mean())", says="a mean is returned")


@mutant("kmeans", says="sums, not means")
def sums_for_means(x, k, seed):
    centres = x[torch.randperm(len(x), generator=torch.Generator().manual_seed(seed))[:k]]
    objective, old = [], None
    for _ in range(30):
        squared = torch.cdist(x, centres).square()
        nearest = squared.argmin(1)
        objective.append(squared.gather(1, nearest[:, None]).sum())
        if old is not None and torch.equal(nearest, old):
            break
        old = nearest
        centres = torch.stack([x[nearest == j].sum(0) if (nearest == j).any() else centres[j] for j in range(k)])
    return centres, nearest, torch.stack(objective)


edit("kmeans", "else centres[j]", "else x.new_zeros(x.size(1))", says="has moved away")
edit("kmeans", "centres, assignment, torch.stack(objective)", "centres.double(), assignment, torch.stack(objective)",
     says="centres must be float32")  # fmt: skip
edit("kmeans", "torch.stack(objective)", "torch.stack(objective).double()", says="objective must be float32")
edit("kmeans", "torch.stack(objective)", "torch.stack(objective[1:])", says="that of no row of x",
     also=["the first right after the first assignment"])  # fmt: skip
edit("knn_classification", "topk(k,", "topk(k + 1,", says="too many")
edit("knn_classification", "train_target[nearest].mode(1).values", "train_target[nearest[:, 0]]",
     says="only the nearest sample")  # fmt: skip
edit("knn_classification", "train_target[nearest].mode(1).values",
     "train_target[nearest].float().mean(1).round().long()", says="averaged")  # fmt: skip
edit("knn_classification", "train_target[nearest].mode(1).values",
     "9 - (9 - train_target[nearest]).mode(1).values", says="ties go to the largest",
     also=["ties go to the nearest"])  # fmt: skip


@mutant("knn_classification", says="ties go to the nearest", also=["ties go to the largest"])
def the_first_of_the_tied(train_input, train_target, x, k):
    classes = train_target[torch.cdist(x, train_input).topk(k, dim=1, largest=False).indices]
    votes = (classes[:, :, None] == classes[:, None, :]).sum(2)
    return classes.gather(1, votes.argmax(1, keepdim=True)).squeeze(1)


@mutant("best_k", says="each fold alone is the training set")
def trained_on_the_fold(x, target, ks, folds):
    fold = torch.arange(len(x)) % folds
    errors = torch.zeros(len(ks))
    for n, k in enumerate(ks):
        for f in range(folds):
            held = fold == f
            answers = knn_classification(x[held], target[held], x[~held], k)
            errors[n] += (answers != target[~held]).sum()
    return ks[int(errors.argmin())], errors / len(x)


@mutant("best_k", says="folds are summed")
def the_sum_of_the_folds(x, target, ks, folds):
    fold = torch.arange(len(x)) % folds
    rates = torch.zeros(len(ks))
    for n, k in enumerate(ks):
        for f in range(folds):
            held = fold == f
            answers = knn_classification(x[~held], target[~held], x[held], k)
            rates[n] += (answers != target[held]).float().mean()
    return ks[int(rates.argmin())], rates


edit("best_k", "(answers != target[held]).sum()", "(answers == target[held]).sum()", says="right answers")
edit("best_k", "errors[n] += ", "errors[n] = ", says="only the last fold")
edit("best_k", "int(errors.argmin())", "int(errors.argmax())", says="the worst k")
edit("best_k", "ks[int(errors.argmin())]", "ks[len(ks) - 1 - int(errors.flip(0).argmin())]", says="the last in ks",
     also=["the largest is returned"])  # fmt: skip
edit("best_k", "ks[int(errors.argmin())]", "min(k for k, e in zip(ks, errors) if e == errors.min())",
     says="the smallest is returned")  # fmt: skip


@mutant("best_k", says="averaged, though the folds")
def the_mean_of_the_folds(x, target, ks, folds):
    fold = torch.arange(len(x)) % folds
    rates = torch.zeros(len(ks))
    for n, k in enumerate(ks):
        for f in range(folds):
            held = fold == f
            answers = knn_classification(x[~held], target[~held], x[held], k)
            rates[n] += (answers != target[held]).float().mean() / folds
    return ks[int(rates.argmin())], rates


@alternative("nearest_classification")
def by_a_table_of_distances(train_input, train_target, x):
    return train_target.index_select(0, torch.cdist(x[None], train_input).min(1).indices).squeeze(0)


@alternative("nearest_classification")
def by_einsum(train_input, train_target, x):
    away = train_input.double() - x.double()
    return train_target[torch.argsort(torch.einsum("nd,nd->n", away, away))[0]].clone()


@alternative("compute_nb_errors")
def one_counter(train_input, train_target, test_input, test_target, mean=None, proj=None):
    shift = 0 if mean is None else mean
    train, test = train_input - shift, test_input - shift
    if proj is not None:
        train, test = torch.einsum("nd,cd->nc", train, proj), torch.einsum("nd,cd->nc", test, proj)
    wrong = 0
    for n in range(test.shape[0]):
        if nearest_classification(train, train_target, test[n]).item() != test_target[n].item():
            wrong += 1
    return wrong


@alternative("PCA")
def by_the_covariance(x):
    values, vectors = torch.linalg.eigh(torch.cov(x.double().T).reshape(x.size(1), x.size(1)))
    order = torch.argsort(values, descending=True)
    return x.double().mean(0).float(), vectors[:, order].T.contiguous().float(), values[order].float()


@alternative("kmeans")
def by_sums_of_rows(x, k, seed):
    torch.manual_seed(seed)
    centres, old, objective = x[torch.randperm(len(x))[:k]].clone(), torch.full((len(x),), -1), []
    changed = True
    while changed:
        smallest, nearest = ((x.unsqueeze(1) - centres) ** 2).sum(-1).min(1)
        objective += [float(smallest.sum())]
        changed, old = bool((nearest != old).any()), nearest
        counts = torch.bincount(nearest, minlength=k)
        sums = torch.zeros_like(centres).index_add_(0, nearest, x)
        filled = counts > 0
        centres[filled] = sums[filled] / counts[filled, None]
    return centres, old, torch.tensor(objective)


@alternative("knn_classification")
def by_scattered_votes(train_input, train_target, x, k):
    order = torch.cdist(x.double(), train_input.double()).sort(1).indices[:, :k]
    classes = train_target.take(order)
    votes = torch.zeros(len(x), int(train_target.max()) + 1).scatter_add_(1, classes, torch.ones(classes.shape))
    return votes.max(1).indices


@alternative("best_k")
def fold_after_fold(x, target, ks, folds):
    wrong = dict.fromkeys(range(len(ks)), 0)
    for f in range(folds):
        inside = list(range(f, len(x), folds))
        outside = [i for i in range(len(x)) if i % folds != f]
        for n in wrong:
            answers = knn_classification(x[outside], target[outside], x[inside], ks[n])
            wrong[n] += int((answers != target[inside]).sum())
    best = min(wrong, key=lambda n: wrong[n])
    return ks[best], torch.tensor([errors / len(x) for errors in wrong.values()])


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
    return mean.float(), rows.float(), variances.float()


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
