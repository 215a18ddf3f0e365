"For any shape, dtype, order, view, indices and split, a batch holds the array's own rows"
import tempfile, numpy as np, pytest, torch
from pathlib import Path
from hypothesis import given, settings, strategies as st
from fastai.data.block import DataBlock
from fastai.data.transforms import ItemGetter
from memmap_ts.all import *
from memmap_ts.store import Handle
from memmap_ts.io.rows import gather, as_idxs

dtypes = st.sampled_from(['f2','f4','f8','>f4','>f8','i1','i2','>i2','i4','i8','u1','u2','?','c8'])
views = {'whole': lambda a: a, 'rows': lambda a: a[::2], 'back': lambda a: a[::-1], 'vars': lambda a: a[:,1:], 'steps': lambda a: a[...,::-1],
         'swapped': lambda a: a.swapaxes(1,-1), 'ndarray': lambda a: a.view(np.ndarray), 'middle': lambda a: a[1:-1]}

@st.composite
def arrays(draw):
    shape = (draw(st.integers(3,30)), *draw(st.lists(st.integers(1,5), min_size=1, max_size=3)))
    a = np.random.default_rng(draw(st.integers(0,9))).integers(-100,100,shape).astype(draw(dtypes))
    return np.asfortranarray(a) if draw(st.booleans()) else a

def mapped(a, view, mode='r'):
    tmp = Path(tempfile.mkdtemp())
    np.save(tmp/'a.npy', a)
    return view(open_memmap(tmp/'a.npy', mode)), view(a)

@settings(max_examples=150, deadline=None)
@given(a=arrays(), view=st.sampled_from(sorted(views)), data=st.data(), mode=st.sampled_from(['r','r+','c']))
def test_gather(a, view, data, mode):
    d,a = mapped(a, views[view], mode)
    idxs = data.draw(st.lists(st.integers(-len(a), len(a)-1), max_size=40))
    got = gather(d, as_idxs(idxs, len(d)))
    np.testing.assert_array_equal(got, a[idxs] if idxs else a[:0])
    assert got.dtype==a.dtype and got.flags.c_contiguous and not on_disk(got) and on_disk(d)
    out = np.empty((len(idxs), *a.shape[1:]), a.dtype)
    assert gather(d, as_idxs(idxs, len(d)), out) is out
    np.testing.assert_array_equal(out, got)

@settings(max_examples=100, deadline=None)
@given(a=arrays(), view=st.sampled_from(sorted(views)))
def test_handle(a, view):
    import pickle
    d,a = mapped(a, views[view])
    if not a.size: return
    b = pickle.loads(pickle.dumps(Handle(d))).open()
    np.testing.assert_array_equal(b, a)
    assert on_disk(b) and b.dtype==a.dtype

index = st.deferred(lambda: st.one_of(
    st.tuples(st.just('list'), st.lists(st.integers(-50,50), max_size=10)), st.tuples(st.just('slice'), st.slices(12)), st.tuples(st.just('mask'), st.integers(0,2**32-1))))

@settings(max_examples=200, deadline=None)
@given(n=st.integers(1,30), path=st.lists(index, min_size=1, max_size=4))
def test_items_of_items(n, path):
    "Any chain of indexing gives what the same chain gives on a NumPy array of row numbers"
    items,want = itemify(np.arange(n)),np.arange(n)
    for kind,o in path:
        if not len(want): return
        if kind=='list': o = [i%(2*len(want))-len(want) for i in o]
        elif kind=='mask': o = np.random.default_rng(o).random(len(want))<.5
        items,want = items[o],want[o] if not (kind=='list' and not o) else want[:0]
    assert [i for i, in items]==want.tolist()
    assert len(items)==len(want)
    if len(want): np.testing.assert_array_equal(items.batch(slice(None))[0], want)

@settings(max_examples=60, deadline=None)
@given(a=arrays(), view=st.sampled_from(sorted(views)), bs=st.integers(1,40), seed=st.integers(0,5), shuffle=st.booleans(), data=st.data())
def test_batches(a, view, bs, seed, shuffle, data):
    "Every row of a split exactly once, and it is the array's"
    d,a = mapped(a, views[view])
    n = len(a)
    if n<2 or not a.size: return
    order = data.draw(st.permutations(range(n)))
    cut = data.draw(st.integers(1, n-1))
    splits = order[:cut],order[cut:]
    dblock = DataBlock((MemmapBlock, MemmapBlock), get_items=itemify, getters=[ItemGetter(0),ItemGetter(1)], splitter=lambda o: splits)
    dls = dblock.dataloaders((d, np.arange(n)), bs=bs, seed=seed, shuffle=shuffle, drop_last=False)
    for dl,split in zip(dls, splits):
        got = list(dl)
        rows = torch.cat([y for _,y in got]).numpy()
        assert sorted(rows)==sorted(split)
        if dl is dls.valid or not shuffle: assert list(rows)==list(split)
        want = a[rows]
        if want.dtype.kind=='f': want = want.astype('f4')
        for x,r in zip(got, np.split(want, range(bs, len(rows), bs))):
            np.testing.assert_array_equal(x[0].numpy(), r)
            assert x[0].dtype==(torch.float32 if a.dtype.kind=='f' else torch.from_numpy(want.astype(want.dtype.newbyteorder('='))).dtype)

@pytest.mark.parametrize('n,bs', [(65,64),(127,64),(64,64),(1,64),(63,64),(128,64)])
def test_batch_sizes_that_broke_others(n, bs):
    "tsai loses rows of such splits (an overflow of int8)"
    dls = TSDataLoaders.from_memmap(np.arange(n+80.)[:,None,None], splits=(range(80),range(80,80+n)), bs=bs)
    assert torch.cat([b[0].flatten() for b in dls.valid]).tolist()==list(range(80,80+n))
    assert [len(b[0]) for b in dls.valid]==[bs]*(n//bs)+([n%bs] if n%bs else [])

def test_32700_rows():
    dls = TSDataLoaders.from_memmap(np.arange(40_000, dtype='i4')[:,None,None], dtype=None, splits=(range(32_700),range(32_700,40_000)), bs=128, drop_last=False)
    assert torch.cat([b[0].flatten() for b in dls.train]).sort().values.tolist()==list(range(32_700))
    assert torch.cat([b[0].flatten() for b in dls.valid]).tolist()==list(range(32_700,40_000))

def test_one_gather_a_batch(data, monkeypatch):
    "A batch is one gather for each array, not one for each row"
    from memmap_ts.io.reads import Reads
    dls,calls,read = TSDataLoaders.from_files(*data, bs=50, splits=(range(100),range(100,200))),[],Reads.read
    def counted(self, rows, *args):
        calls.append(len(rows))
        return read(self, rows, *args)
    monkeypatch.setattr(Reads, 'read', counted)
    list(dls.valid)
    assert calls==[50]*4 # two batches of X and of y

@pytest.mark.parametrize('dtype', ['f2','f8','>f4','i2','>i8','u1','?'])
def test_factory_dtypes(saved, dtype):
    a = np.random.default_rng(0).integers(0,2,(50,2,9)).astype(dtype)
    dls = TSDataLoaders.from_files(saved(a), splits=(range(40),range(40,50)))
    x, = next(iter(dls.valid))
    assert x.dtype==torch.float32
    np.testing.assert_array_equal(x.numpy(), a[40:].astype('f4'))
