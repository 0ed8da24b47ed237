# %% [markdown]
# # A convolutional network reads digits
#
# The network of the first lecture: two convolutions, two linear layers, stochastic gradient descent.
#
# |  | training images | test error | time with two processor cores |
# | --- | --- | --- | --- |
# | here, or `python mnist_convnet.py` | 1000 | about 13 % | 3 s |
# | `python mnist_convnet.py --full` | 60 000 | about 1 % | 10 s for each of 10 epochs |
#
# In the lecture, a GTX 1080 took 7 s for all ten epochs on the full set.

# %%
import sys
import time
from pathlib import Path

import matplotlib.pyplot as plt
import torch
from torch import nn, optim
from torch.nn import functional as F

# The prologue lies one folder up.
sys.path.append(str(Path(globals().get("__file__", "notebook")).resolve().parents[1]))

import dlc_practical_prologue as prologue

# %% [markdown]
# ## Data
#
# `normalize=True` subtracts the mean of the training images and divides by their standard deviation: the network gets
# numbers around zero. In a notebook, put `prologue.args.full = True` above this line for the full set.

# %%
train_input, train_target, test_input, test_target = prologue.load_data(cifar=False, normalize=True, flatten=False)


# %% [markdown]
# ## Model
#
# | layer | result |
# | --- | --- |
# | image | 1 × 28 × 28 |
# | 32 filters of 5 × 5 | 32 × 24 × 24 |
# | largest of 3 × 3, then ReLU | 32 × 8 × 8 |
# | 64 filters of 5 × 5 | 64 × 4 × 4 |
# | largest of 2 × 2, then ReLU | 64 × 2 × 2 = 256 |
# | linear, then ReLU | 200 |
# | linear | 10, one score for each digit |


# %%
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 32, kernel_size=5)
        self.conv2 = nn.Conv2d(32, 64, kernel_size=5)
        self.fc1 = nn.Linear(256, 200)
        self.fc2 = nn.Linear(200, 10)

    def forward(self, x):
        x = F.relu(F.max_pool2d(self.conv1(x), kernel_size=3))
        x = F.relu(F.max_pool2d(self.conv2(x), kernel_size=2))
        x = F.relu(self.fc1(x.flatten(1)))
        return self.fc2(x)


model = Net().to(train_input.device)
print(model)
print(f"{sum(p.numel() for p in model.parameters())} parameters")

# %% [markdown]
# ## Training
#
# Ten times through the training set, 100 images at a time: the loss of the batch, its gradient, one step against it.

# %%
criterion = nn.CrossEntropyLoss()
optimizer = optim.SGD(model.parameters(), lr=1e-1)
batch_size, nb_epochs = 100, 10
losses = []

for epoch in range(nb_epochs):
    start, total = time.perf_counter(), 0.0
    for inputs, targets in zip(train_input.split(batch_size), train_target.split(batch_size), strict=True):
        loss = criterion(model(inputs), targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        total += loss.item() * len(inputs)
    losses.append(total / len(train_input))
    seconds = time.perf_counter() - start
    print(f"epoch {epoch + 1:2d} of {nb_epochs}   loss {losses[-1]:.4f}   {seconds:.1f} s", flush=True)

# %% [markdown]
# ## Test
#
# How many images that the network has never seen get a wrong digit?

# %%
with torch.no_grad():
    answers = torch.cat([model(inputs).argmax(1) for inputs in test_input.split(1000)])
wrong = (answers != test_target).nonzero().flatten()
error = 100 * len(wrong) / len(test_target)
print(f"test error {error:.2f} % ({len(wrong)} of {len(test_target)})")

# %%
fig, (left, *right) = plt.subplots(1, 6, figsize=(12, 2.4), gridspec_kw={"width_ratios": [2, 1, 1, 1, 1, 1]})
left.plot(range(1, nb_epochs + 1), losses, marker="o")
left.set(xlabel="epoch", ylabel="training loss")
for axes, n in zip(right, wrong.tolist(), strict=False):
    axes.imshow(test_input[n, 0].cpu(), cmap="gray_r")
    axes.set_title(f"{test_target[n]}, not {answers[n]}")
for axes in right:
    axes.axis("off")
fig.tight_layout()
fig.savefig("mnist_convnet.png", dpi=150)
print("The loss and some errors are in mnist_convnet.png.")

# %% [markdown]
# ## Now you
#
# * Look at the wrong answers. Would you have known all of them?
# * Take away the normalisation. What happens to the loss in the first epochs?
# * Divide the learning rate by ten, then multiply it by ten.
