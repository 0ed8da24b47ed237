"""The checks of lab 02. Reading them is allowed, and useful."""

import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from checking import Lab, case, expect, require, run_checks, student_side

PARTS = ["nearest_classification", "compute_nb_errors", "PCA", "kmeans", "knn_classification", "best_k"]
lab = Lab(__file__, parts=PARTS)

# ---- 1 nearest_classification

lab.forbid("nearest_classification", loops=True, why="compare with all rows in one expression")


@lab.reference
def nearest_classification(train_input, train_target, x):
    """One distance after the other."""
    best = 0
    for n in range(len(train_input)):
        if (train_input[n] - x).double().norm() < (train_input[best] - x).double().norm():
            best = n
    return train_target[best]


@lab.check("nearest_classification")
def takes_the_class_of_the_nearest_row(student, rng):
    """the class of the nearest row, found by comparing one distance after the other"""
    for n, d in (6, 3), (13, 5), (1, 3), (2, 1), (31, 17):
        for _ in range(3):
            with case(f"{n} samples of dimension {d}"):
                train, target, x = rng.normal(n, d), 10 * rng.permutation(n), rng.normal(d)
                if n == 6:  # another row is nearest by each of the mistakes below
                    x = torch.tensor([1.0, 0.2, 1])
                    train = x + torch.tensor(
                        [[1.9, 1.9, 1.9], [2, 0, -2], [0, 0, 3], [-3, 3, 3], [2.5, 0.5, 2.5], [2.8, 0.6, 2.8]]
                    )
                right = nearest_classification(train, target, x)
                squares, row = (train - x).square(), train.sub(x).square().sum(1).argmin()
                expect(
                    student.nearest_classification(train, target, x),
                    right,
                    mistakes={
                        "argmin ran over the flattened table of N·D numbers: sum over each row first": target[
                            min(int(squares.argmin()), n - 1)
                        ],
                        "the farthest sample is taken": target[squares.sum(1).argmax()],
                        "the position of the nearest row is returned, not its class": row,
                        "the distance is a sum of absolute values (L1), not Euclidean": target[
                            (train - x).abs().sum(1).argmin()
                        ],
                        "the largest difference alone decides (maximum norm), not the sum of squares": target[
                            (train - x).abs().amax(1).argmin()
                        ],
                        "the largest scalar product is no smallest distance": target[(train @ x).argmax()],
                        "the sum runs over samples, not over dimensions": lambda squares=squares, target=target: target[
                            squares.sum(0).argmin()
                        ],
                        "the differences are added without a square": target[(train - x).sum(1).abs().argmin()],
                    },
                )


@lab.check("nearest_classification")
def copes_with_large_values(student, rng):
    """values of ±1000, and a matrix that is not contiguous"""
    train, target, x = 1000 * rng.normal(7, 23).T, rng.permutation(23), 1000 * rng.normal(7)
    expect(student.nearest_classification(train, target, x), nearest_classification(train, target, x))


# ---- 2 compute_nb_errors


@lab.reference
def compute_nb_errors(train_input, train_target, test_input, test_target, mean=None, proj=None):
    """Every test sample by the specification of part 1."""
    shift = torch.zeros(train_input.size(1)) if mean is None else mean
    axes = torch.eye(train_input.size(1)) if proj is None else proj
    errors = 0
    for n in range(len(test_input)):
        known = torch.stack([axes.mv(row - shift) for row in train_input])
        errors += int(nearest_of(known, train_target, axes.mv(test_input[n] - shift)) != test_target[n])
    return errors


@student_side
def nearest_of(known, target, x):
    return target[min(range(len(known)), key=lambda n: (known[n] - x).double().norm())]


def _two_sets(rng, n, m, d):
    return rng.normal(n, d), rng.integers(0, 3, n), rng.normal(m, d), rng.integers(0, 3, m)


@lab.check("compute_nb_errors")
def counts_errors(student, rng):
    """the number of errors, for raw inputs"""
    for n, m, d in (11, 7, 5), (5, 1, 2), (3, 17, 4):
        with case(f"{n} training and {m} test samples"):
            sets = _two_sets(rng, n, m, d)
            right = compute_nb_errors(*sets)
            expect(
                student.compute_nb_errors(*sets),
                right,
                mistakes={
                    "the right answers are counted, not the errors": m - right,
                    "a rate is returned, not a number of errors": right / m,
                    "training and test set are exchanged": lambda sets=sets: compute_nb_errors(*sets[2:], *sets[:2]),
                },
            )


@lab.check("compute_nb_errors")
def subtracts_and_projects(student, rng):
    """the number of errors with a mean, with a projection, and with both"""
    for n, m, d, c in (23, 29, 5, 2), (7, 31, 4, 1):
        sets = _two_sets(rng, n, m, d)
        mean, proj = 5 * rng.normal(d), rng.normal(c, d)
        for text, options in (
            ("mean", {"mean": mean}),
            ("projection", {"proj": proj}),
            ("both", {"mean": mean, "proj": proj}),
        ):
            with case(f"with {text}, {d} dimensions to {c}"):
                train, test = sets[0], sets[2]
                axes, shift = options.get("proj", torch.eye(d)), options.get("mean", torch.zeros(d))
                only_train = ((train - shift) @ axes.T, sets[1], test @ axes.T, sets[3])
                only_test = (train @ axes.T, sets[1], (test - shift) @ axes.T, sets[3])
                back = (train @ axes.T @ axes, sets[1], test @ axes.T @ axes, sets[3])
                expect(
                    student.compute_nb_errors(*sets, **options),
                    compute_nb_errors(*sets, **options),
                    mistakes={
                        "the mean is subtracted from the training set only": lambda s=only_train: compute_nb_errors(*s),
                        "the mean is subtracted from the test set only": lambda s=only_test: compute_nb_errors(*s),
                        "the projection is not used": lambda s=sets: compute_nb_errors(*s),
                        "the coordinates are mapped back to D dimensions": lambda s=back: compute_nb_errors(*s),
                    },
                )


# ---- 3 PCA

lab.forbid("PCA", loops=True, names=["pca_lowrank"], why="the eigenvectors give all axes at once")


@lab.check("PCA")
def axes_are_orthonormal_rows(student, rng):
    """mean, basis and variances have their shapes; the axes are orthonormal"""
    for n, d in (23, 7), (101, 3), (5, 1):
        with case(f"{n} samples of dimension {d}"):
            x = rng.normal(n, d) @ rng.normal(d, d) + 3
            mean, basis, _ = _pca(student, x)
            expect(mean, x.mean(0), mistakes={"that is the sum": x.sum(0)})
            expect(basis @ basis.T, torch.eye(d), look="the axes must have length 1 and be orthogonal")


@lab.check("PCA")
def variances_are_those_along_the_axes(student, rng):
    """the variances decrease, and are those of the data along each row of the basis"""
    for n, d in (37, 6), (11, 4):
        with case(f"{n} samples of dimension {d}"):
            x = rng.normal(n, d) @ torch.diag(torch.arange(1.0, d + 1)) @ rng.normal(d, d) + 3
            _, basis, variances = _pca(student, x)
            right = torch.linalg.svdvals((x - x.mean(0)).double()).square() / (n - 1)
            scatter = (x.double().T @ x.double()) / (n - 1)
            expect(
                variances,
                right.float(),
                rtol=1e-3,
                atol=1e-4,
                mistakes={
                    "the variances increase: eigh sorts from the smallest to the largest": right.flip(0),
                    "the sum of squares is divided by N, not by N − 1": right * (n - 1) / n,
                    "the sum of squares is not divided by N − 1": right * (n - 1),
                    "standard deviations are returned, not variances": right.sqrt(),
                    "the mean has not been subtracted": torch.linalg.eigvalsh(scatter).flip(0),
                },
            )
            along = ((x - x.mean(0)) @ basis.T).var(0)
            columns = ((x - x.mean(0)) @ basis).var(0)
            mixed = "are the rows of the basis the eigenvectors, in order? eigh returns them as columns"
            swapped = torch.allclose(columns, variances, rtol=1e-3, atol=1e-4)
            reverse = torch.allclose(along.flip(0), variances, rtol=1e-3, atol=1e-4)
            likely = "the axes are the columns: transpose the basis" if swapped else None
            likely = "the axes are in the order of increasing variance, the variances are not" if reverse else likely
            require(
                torch.allclose(along, variances, rtol=1e-3, atol=1e-4),
                f"along axis 0 the data have the variance {along[0]:.4g}, but {variances[0]:.4g} is returned",
                likely,
                look=mixed,
            )


@lab.check("PCA")
def does_not_depend_on_the_origin(student, rng):
    """moving all samples moves the mean and nothing else"""
    x, shift = rng.normal(41, 5), 50 * rng.normal(5)
    mean, basis, variances = _pca(student, x)
    moved_mean, moved_basis, moved_variances = _pca(student, x + shift)
    expect(moved_mean, mean + shift, rtol=1e-3)
    expect(moved_variances, variances, rtol=1e-2, look="the mean has not been subtracted")
    expect((moved_basis @ basis.T).abs(), torch.eye(5), atol=1e-2, look="the mean has not been subtracted")


def _pca(student, x):
    """The three results, with their shapes and types verified."""
    d = x.size(1)
    results = student.PCA(x)
    require(isinstance(results, tuple) and len(results) == 3, "expected three results: mean, basis, variances")
    for name, result, shape in zip(("mean", "basis", "variances"), results, ((d,), (d, d), (d,)), strict=True):
        is_tensor = isinstance(result, torch.Tensor)
        require(is_tensor and result.shape == shape, f"{name} must be a tensor of shape {shape}", None)
        require(result.dtype == torch.float32, f"{name} must be float32, it is {result.dtype}")
    return list(results)


# ---- 4 kmeans


def _squares(x, centres):
    return (x[:, None].double() - centres[None].double()).square().sum(2)


@lab.check("kmeans")
def ends_at_a_fixed_point(student, rng):
    """every sample is with its nearest centre, every centre is the mean of its samples"""
    for n, d, k in (61, 3, 4), (17, 2, 1), (30, 5, 7):
        with case(f"{n} samples, {k} centres"):
            x = rng.normal(n, d)
            centres, assignment, objective = _kmeans(student, x, k, rng.seed())
            expect(
                assignment,
                _squares(x, centres).argmin(1),
                look="the steps end too early, or a centre moved after the last assignment: "
                "stop only when no assignment changes",
            )
            means = torch.stack(
                [x[assignment == j].mean(0) if (assignment == j).any() else centres[j] for j in range(k)]
            )
            expect(
                centres,
                means,
                rtol=1e-3,
                atol=1e-4,
                mistakes={
                    "the centres are sums, not means": torch.stack(
                        [x[assignment == j].sum(0) if (assignment == j).any() else centres[j] for j in range(k)]
                    )
                },
                look="the steps end too early: a centre is not the mean of its samples",
            )
            last = _squares(x, centres).gather(1, assignment[:, None]).sum().float()
            expect(
                objective[-1],
                last,
                rtol=1e-3,
                mistakes={
                    "distances are added, not their squares": _squares(x, centres).min(1).values.sqrt().sum(),
                    "a mean is returned, not the sum": last / n,
                },
            )


@lab.check("kmeans")
def objective_never_increases(student, rng):
    """the sum of squared distances never increases, and comes from more than one step"""
    for n, d, k in (200, 2, 5), (90, 7, 3):
        with case(f"{n} samples, {k} centres"):
            _, _, objective = _kmeans(student, rng.normal(n, d), k, rng.seed())
            rises = (objective.diff() > 1e-4 * objective[:-1]).nonzero().flatten()
            require(
                len(rises) == 0,
                f"the objective increases in step {int(rises[0]) + 1 if len(rises) else 0}",
                look="measure it right after the assignment, with the same centres",
            )
            require(
                len(objective) > 1 and objective[-1] < objective[0],
                "the objective of every step is wanted",
                "one value for each step, the first right after the first assignment",
            )


@lab.check("kmeans")
def starts_with_rows_of_x(student, rng):
    """the start is drawn from the samples by the seed: the same again, another with another seed"""
    x = rng.normal(50, 2)
    seeds = [rng.seed() for _ in range(6)]
    first = [_kmeans(student, x, 5, seed)[2][0] for seed in seeds]
    again = [_kmeans(student, x, 5, seed)[2][0] for seed in seeds]
    expect(torch.stack(again), torch.stack(first), look="two calls with one seed must start alike: use the seed")
    require(
        len({round(float(value), 3) for value in first}) > 1,
        "six seeds give the same start",
        "the seed is not used: always the same rows are taken",
    )
    totals = _squares(x, x).sum(0)
    for seed in seeds:
        value = _kmeans(student, x, 1, seed)[2][0]
        require(
            bool(((totals - value).abs() < 1e-3 * totals).any()),
            "with one centre, the first value of the objective is that of no row of x",
            look="the start must be rows of x; measure right after the first assignment, before a centre moves",
        )
    x = rng.normal(6, 3)
    for seed in seeds:
        require(
            _kmeans(student, x, 6, seed)[2][0] < 1e-3,
            "with as many centres as samples each sample is a centre",
            "the start must be k different rows of x: draw without repetition",
        )


@lab.check("kmeans", seconds=4)
def keeps_a_centre_without_samples(student, rng):
    """a centre that no sample is assigned to stays where it is, and is finite"""
    point = rng.normal(1, 3)
    x = torch.cat([point.expand(9, 3), point + 5])  # at least two of three centres start at the same place
    with case("two centres at one place", look="the mean of no samples is 0/0: a centre without samples stays"):
        for _ in range(3):
            centres, _, objective = _kmeans(student, x, 3, rng.seed())
            require(bool(centres.isfinite().all() and objective.isfinite().all()), "a centre is not a number (nan)")
            nearest = _squares(centres, x).min(1).values
            require(bool((nearest < 1e-3).all()), "a centre without samples has moved away from where it was")


def _kmeans(student, x, k, seed):
    """The three results, with their shapes and types verified."""
    results = student.kmeans(x, k, seed)
    require(isinstance(results, tuple) and len(results) == 3, "expected three results: centres, assignment, objective")
    centres, assignment, objective = results
    is_tensor = isinstance(centres, torch.Tensor)
    require(is_tensor and centres.shape == (k, x.size(1)), f"centres must be a tensor of {k}×{x.size(1)}")
    require(centres.dtype == torch.float32, f"centres must be float32, they are {centres.dtype}")
    is_tensor = isinstance(assignment, torch.Tensor)
    require(is_tensor and assignment.shape == (len(x),), f"assignment must be a tensor of {len(x)} numbers")
    require(assignment.dtype == torch.int64, f"assignment must be int64, it is {assignment.dtype}")
    require(bool(((assignment >= 0) & (assignment < k)).all()), f"assignment must hold numbers from 0 to {k - 1}")
    is_tensor = isinstance(objective, torch.Tensor)
    require(
        is_tensor and objective.dim() == 1 and len(objective) > 0,
        "objective must be a 1-d tensor",
        look="torch.tensor or torch.stack makes a tensor of a list",
    )
    require(objective.dtype == torch.float32, f"objective must be float32, it is {objective.dtype}")
    return centres, assignment, objective


# ---- 5 knn_classification

lab.forbid("knn_classification", loops=True, why="all test samples at once")


@lab.reference
def knn_classification(train_input, train_target, x, k):
    """Sort the distances of each sample, count the votes."""
    answers = []
    for sample in x:
        order = (train_input - sample).double().square().sum(1).sort(stable=True).indices
        votes = torch.bincount(train_target[order[:k]])
        answers.append(int(votes.argmax()))
    return torch.tensor(answers)


def _vote(distances, target, first, last):
    """The vote of some of the nearest samples, from `first` to before `last`."""
    return target[distances.topk(last, 1, largest=False).indices[:, first:]].mode(1).values


def _ties_to_the_nearest(classes):
    votes = (classes[:, :, None] == classes[:, None, :]).sum(2)  # for each neighbour, how many are of its class
    return classes.gather(1, votes.argmax(1, keepdim=True)).squeeze(1)


@lab.check("knn_classification")
def the_nearest_vote(student, rng):
    """the vote of the k nearest, ties to the smallest class"""
    for n, m, d, k in (29, 13, 4, 5), (17, 1, 3, 1), (11, 7, 2, 4), (5, 3, 2, 5):
        with case(f"k = {k}, {n} training and {m} test samples"):
            train, target, x = rng.normal(n, d), rng.integers(0, 4, n), rng.normal(m, d)
            distances = (x[:, None] - train[None]).square().sum(2)
            near, far = distances.topk(k, 1, largest=False).indices, distances.topk(k, 1).indices
            expect(
                student.knn_classification(train, target, x, k),
                knn_classification(train, target, x, k),
                mistakes={
                    "the farthest samples vote: topk(…, largest=False)": target[far].mode(1).values,
                    "only the nearest sample is asked": target[near[:, 0]],
                    "positions are returned, not classes": near.mode(1).values,
                    "the class numbers are averaged, not counted": target[near].float().mean(1).round().long(),
                    "ties go to the largest class": (3 - (3 - target[near]).mode(1).values),
                    "the median class is no majority": target[near].median(1).values,
                    "ties go to the nearest of the classes, not to the smallest": _ties_to_the_nearest(target[near]),
                    "one neighbour too many votes": lambda d=distances, k=k, t=target: _vote(d, t, 0, k + 1),
                    "one neighbour too few votes": lambda d=distances, k=k, t=target: _vote(d, t, 0, k - 1),
                    "the nearest sample is left out": lambda d=distances, k=k, t=target: _vote(d, t, 1, k + 1),
                },
            )


# ---- 6 best_k


def _cross_validation(x, target, k, folds, fold):
    errors = 0
    for held in (fold == number for number in range(folds)):
        errors += int((knn_classification(x[~held], target[~held], x[held], k) != target[held]).sum())
    return errors / len(x)


def _errors_of_folds(x, target, k, fold):
    held = [fold == number for number in range(int(fold.max()) + 1)]
    return [int((knn_classification(x[~h], target[~h], x[h], k) != target[h]).sum()) for h in held]


def _rates_of_folds(x, target, k, fold):
    return [errors / int((fold == f).sum()) for f, errors in enumerate(_errors_of_folds(x, target, k, fold))]


def _trained_on_one(x, target, k, fold):
    errors = 0
    for one in (fold == number for number in range(int(fold.max()) + 1)):
        errors += int((knn_classification(x[one], target[one], x[~one], k) != target[~one]).sum())
    return errors / len(x)


def _wrong_rates(x, target, ks, fold):
    folds = int(fold.max()) + 1
    return {
        "the rates of the folds are summed, not the errors divided by N": lambda: [
            sum(_rates_of_folds(x, target, k, fold)) for k in ks
        ],
        "the rates of the folds are averaged, though the folds are not equally large": lambda: [
            sum(_rates_of_folds(x, target, k, fold)) / folds for k in ks
        ],
        "only the last fold is counted": lambda: [_errors_of_folds(x, target, k, fold)[-1] / len(x) for k in ks],
        "each fold alone is the training set; it should be the one that is held out": lambda: [
            _trained_on_one(x, target, k, fold) for k in ks
        ],
    }


@lab.check("best_k")
def the_first_of_equals(student, rng):
    """where several k have the fewest errors, the first in `ks`"""
    which = rng.permutation(24) % 2
    x = rng.normal(24, 2) + 100 * which[:, None]
    for ks in [3, 1, 5], [1, 5, 3]:
        with case(f"two groups far apart, ks = {ks}"):
            got = student.best_k(x, which, ks, 4)
            require(isinstance(got, tuple) and len(got) == 2, "expected two results: the best k, the error rates")
            mistakes = {"of several equal k the last in ks is returned": ks[-1]}
            if ks[0] != 1:
                mistakes["of several equal k the smallest is returned"] = 1
            if ks[0] != 5:
                mistakes["of several equal k the largest is returned"] = 5
            rates = got[1]  # which of several is chosen shows only where they are equal for the student, too
            equal = isinstance(rates, torch.Tensor) and rates.numel() == 3 and bool((rates == rates.flatten()[0]).all())
            expect(got[0], ks[0], mistakes=mistakes if equal else {})


@lab.check("best_k")
def cross_validation_chooses(student, rng):
    """error rates of all candidates, and the first of the best"""
    for n, d, ks, folds in (41, 3, [1, 3, 5, 7], 5), (23, 2, [7, 1], 4), (31, 2, [2, 4, 6], 31):
        with case(f"{n} samples, {folds} folds"):
            x, which = rng.normal(n, d), rng.integers(0, 3, n)
            x = x + 1.5 * torch.eye(3)[which][:, :d]
            fold = torch.arange(n) % folds
            blocks = torch.arange(n) * folds // n
            rates = torch.tensor([_cross_validation(x, which, k, folds, fold) for k in ks])
            seen = [float((knn_classification(x, which, x, k) != which).float().mean()) for k in ks]
            got = student.best_k(x, which, ks, folds)
            require(isinstance(got, tuple) and len(got) == 2, "expected two results: the best k, the error rates")
            expect(
                got[1],
                rates,
                mistakes={
                    "numbers of errors are returned, not rates": rates * n,
                    "the rate of right answers is returned, not that of errors": 1 - rates,
                    "the held-out fold is in the training set": seen,
                    **_wrong_rates(x, which, ks, fold),
                    "folds are blocks: sample i is in fold i mod folds": lambda a=(x, which, folds, blocks), ks=ks: [
                        _cross_validation(*a[:2], k, *a[2:]) for k in ks
                    ],
                },
            )
            expect(
                got[0],
                ks[int(rates.argmin())],
                mistakes={
                    "the position in ks is returned, not the k": int(rates.argmin()),
                    "the worst k is returned": ks[int(rates.argmax())],
                },
            )


if __name__ == "__main__":
    sys.exit(run_checks(lab))
