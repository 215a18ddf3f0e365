"A user's program: pyright has nothing to say of it (`.ci/package`), and it runs (`test_public_types.py`)"
from pathlib import Path
import numpy as np
from memmap_ts.all import (Items, MemmapDL, MemmapWriter, RaggedWriter, TSDataLoaders, Windows, create_memmap,
                           describe, itemify, memmap_stats, on_disk, open_memmap, open_memmaps, open_raw, ragged,
                           to_memmap, to_ragged, windows)

# Files
X: np.memmap = create_memmap('X.npy', (40, 3, 20), overwrite=True)
X[:] = np.random.rand(*X.shape)
n: int = X.shape[0]
y: np.memmap = create_memmap(Path('y.npy'), n, dtype='int64')
y[:] = np.arange(n)%2
mapped: bool = on_disk(open_memmap('X.npy')[:, :2])
Z: np.memmap = to_memmap((np.zeros((2, 3, 20), 'float32') for _ in range(3)), 'Z.npy', progress=False)
with MemmapWriter({'X': 'new_X.npy', 'y': 'new_y.npy'}, resume=True) as w:
    w.append(X=np.zeros((2, 3, 4)), y=[0, 1])
    rows: int = w.rows
single = MemmapWriter('single.npy', dtype=np.float32)
single.append(np.zeros((2, 3)))
single.close()
raw: np.memmap = open_raw('X.npy', '<f4', (-1,), offset=128)

# Samples
items: Items = itemify(X, y)
sample = items[0]
some = items[[1, 5]]
batch = items.batch(range(4))
many = open_memmaps(['X.npy', 'Z.npy'])
values, lengths = np.zeros((30, 3), 'float32'), np.full(3, 10)
R = ragged(values, lengths)
longer = to_ragged([np.zeros((3, 5)), np.zeros((3, 7))], 'values.npy', 'lengths.npy', progress=False)
with RaggedWriter('v.npy', 'l.npy') as rw: rw.append([np.zeros((3, 5))])

# Loaders
dls: TSDataLoaders = TSDataLoaders.from_files('X.npy', 'y.npy', splits=(range(30), range(30, 40)), bs=8, seed=None)
dls = TSDataLoaders.from_memmap(X, y, bs=[8, 16], val_bs=None, sel_vars=[0, 1], weights='balanced', path=Path('.'))
for xb, yb in dls.train: shape = xb.shape
dl: MemmapDL = MemmapDL(items, bs=8, shuffle=True, seed=1)
state = dl.state_dict()
dl.load_state_dict(state)
new = dls.new_dl(X[:4])

# A long series
wx, wy = windows(np.random.rand(300, 2).astype('float32'), 20, stride=5, horizon=[1, 2])
assert isinstance(wx, Windows)
train, valid = wx.split_by_time(.8, gap=1)
wx.check_leak((train, valid))
dls = TSDataLoaders.from_memmap(wx, wy, splits=(train, valid))

# Statistics
stats = memmap_stats(X, by=('var', 'step'))
mean = stats.mean
described = describe('X.npy', 'y.npy')
