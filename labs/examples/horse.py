# %% [markdown]
# # This is a horse
#
# You see it at once. The computer sees 3 × 32 × 32 numbers, and the whole course is about the way from these numbers
# to the word.
#
# Run it here with **Run ▸ Run All Cells**, or in a terminal with `python horse.py`. It takes a second.

# %%
import sys
from pathlib import Path

import matplotlib.pyplot as plt

# The prologue lies one folder up.
sys.path.append(str(Path(globals().get("__file__", "notebook")).resolve().parents[1]))

import dlc_practical_prologue as prologue

# %% [markdown]
# ## The numbers
#
# CIFAR-10 holds small colour photographs of ten kinds of things. `flatten=False` keeps their structure:
# sample × channel × row × column. We take training image number 43.

# %%
CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")

train_input, train_target, _, _ = prologue.load_data(cifar=True, flatten=False)
x = train_input[43].byte().cpu()
name = CLASSES[train_target[43]]

print(x.size(), x.dtype)

# %% [markdown]
# The first 4 rows and 12 columns of the red, the green and the blue channel:

# %%
print(x.narrow(1, 0, 4).narrow(2, 0, 12))

# %% [markdown]
# ## The picture
#
# Matplotlib wants the channel last: row × column × channel.

# %%
plt.figure(figsize=(4, 4))
plt.imshow(x.permute(1, 2, 0).numpy())
plt.title(f"This is a {name}")
plt.axis("off")
plt.savefig("horse.png", dpi=150, bbox_inches="tight")
print(f"It is a {name}. The picture is in horse.png.")

# %% [markdown]
# ## Now you
#
# * Show image 44. What is the computer's name for it?
# * Show the three channels of the horse as three grey pictures. Which is the brightest, and why?
# * Turn the picture upside down with `x.flip(1)`. For you it is still a horse. How many of the 3072 numbers stayed the
#   same?
