"Numbers that NumPy has no dtype for: float32, or an error that says how"
import numpy as np, pytest, torch
from fastai.data.block import CategoryBlock, DataBlock
from fastai.data.transforms import IndexSplitter
from memmap_ts.all import *
from tsai.data.core import TSClassification
from memmap_ts.npy.dtypes import as_numpy, np_dtype

def tensor(dtype=torch.bfloat16, n=60): return torch.linspace(-3, 3, n*2*10).reshape(n, 2, 10).to(dtype)

@pytest.fixture
def void(saved):
    "What `np.save` makes of bfloat16 of ml_dtypes"
    return saved(tensor().view(torch.int16).numpy().view('V2'))

@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float8_e4m3fn, torch.float8_e5m2])
def test_written(tmp_path, dtype):
    X = tensor(dtype)
    true = X.float().numpy()
    assert to_memmap(X, tmp_path/'a.npy', chunk_rows=7, progress=False).dtype=='f4'
    to_memmap(X, tmp_path/'b.npy', dtype='float32', progress=False)
    with MemmapWriter(tmp_path/'c.npy') as w:
        for chunk in X.split(25): w.append(chunk.requires_grad_() if dtype==torch.bfloat16 else chunk)
    for name in 'abc': np.testing.assert_array_equal(np.load(tmp_path/f'{name}.npy'), true)
    half = to_memmap(X, tmp_path/'d.npy', dtype=torch.half, progress=False)
    np.testing.assert_array_equal(half, true.astype('f2'))

@pytest.mark.parametrize('kw', [{}, dict(dtype='float32'), dict(dtype=torch.float32)])
def test_trained_from(kw):
    X = tensor()
    y = np.arange(60)%3
    dls = TSDataLoaders.from_memmap(X, y, tfms=[None,TSClassification()], splits=(range(40),range(40,60)), bs=8, shuffle=False,
                                    batch_tfms=[], **kw)
    xb = torch.cat([b[0] for b in dls.train])
    assert xb.dtype==torch.float32 and xb.equal(X[:len(xb)].float().as_subclass(type(xb)))
    np.testing.assert_array_equal(memmap_stats(X).mean, memmap_stats(X.float()).mean)
    W,_ = windows(X[:,0], 5)
    np.testing.assert_array_equal(W[3], X[3:8,0].float().numpy().T)

def test_targets():
    y = tensor()[:,0,0]
    dls = TSDataLoaders.from_memmap(np.zeros((60,1,5), 'f4'), y, splits=(range(40),range(40,60)), bs=40, shuffle=False)
    assert dls.one_batch()[1].equal(y[:40].float().as_subclass(type(dls.one_batch()[1])))

@pytest.mark.parametrize('dtype', [torch.bfloat16, 'bfloat16'])
def test_dtype(tmp_path, dtype):
    "Neither a file nor rows can have it; a model can"
    X,y = tensor().float().numpy(),np.arange(60)%3
    with pytest.raises(TypeError, match='learn.to_bf16'): TSDataLoaders.from_memmap(X, y, dtype=dtype)
    with pytest.raises(TypeError, match='learn.to_bf16'): MemmapBlock(dtype=dtype)
    with pytest.raises(TypeError, match="use 'float32'"): to_memmap(X, tmp_path/'a.npy', dtype=dtype, progress=False)
    with pytest.raises(TypeError, match="none of that name"): MemmapWriter(tmp_path/'a.npy', dtype=torch.quint8)
    with pytest.raises(TypeError, match="use 'float32'"): create_memmap(tmp_path/'a.npy', 5, dtype)
    assert not [*tmp_path.iterdir()]
    assert create_memmap(tmp_path/'a.npy', 5, torch.half).dtype=='f2'

def test_bytes_without_a_meaning(void, tmp_path):
    "An error that says how, and it is so"
    y = np.arange(60)%3
    calls = [lambda: TSDataLoaders.from_memmap(void, y), lambda: TSDataLoaders.from_memmap(void, y, dtype='float32'),
             lambda: memmap_stats(void), lambda: windows(open_memmap(void)[:,0], 5),
             lambda: TSDataLoaders.from_memmap(np.zeros((60,1,5)), open_memmap(void)[:,0,0]),
             lambda: to_memmap(void, tmp_path/'a.npy', dtype='float32', progress=False),
             lambda: to_memmap(void, tmp_path/'a.npy', dtype='float32', casting='unsafe', progress=False),
             lambda: DataBlock(blocks=(MemmapBlock, CategoryBlock), splitter=IndexSplitter([1])).dataloaders(itemify(void, y))]
    for call in calls:
        with pytest.raises(TypeError, match=r"torch.from_numpy\(X.view\('int16'\)\).view\(torch.bfloat16\)") as e: call()
        assert 'complex' not in str(e.value)
    X = open_memmap(void, 'c')
    got = to_memmap(torch.from_numpy(X.view('int16')).view(torch.bfloat16), tmp_path/'b.npy', progress=False)
    np.testing.assert_array_equal(got, tensor().float().numpy())

def test_ml_dtypes(tmp_path, void):
    "Arrays of the library itself"
    ml_dtypes = pytest.importorskip('ml_dtypes')
    X = tensor().float().numpy()
    for name in 'bfloat16','float8_e4m3fn','int4':
        a = X.astype(getattr(ml_dtypes, name))
        wide = 'i1' if name=='int4' else 'f4'
        assert to_memmap(a, tmp_path/f'{name}.npy', progress=False).dtype==wide
        np.testing.assert_array_equal(np.load(tmp_path/f'{name}.npy'), a.astype(wide))
        assert memmap_stats(a).mean.tolist()==memmap_stats(a.astype(wide)).mean.tolist()
        with pytest.raises(TypeError, match='none of that name'): create_memmap(tmp_path/'x.npy', 5, a.dtype)
        with pytest.raises(TypeError, match='none of that name'): np_dtype(a.dtype)
    mapped = open_memmap(void).view(ml_dtypes.bfloat16)
    with pytest.raises(TypeError, match='to_memmap'): TSDataLoaders.from_memmap(mapped, np.arange(60)%3)
    np.testing.assert_array_equal(to_memmap(mapped, tmp_path/'m.npy', progress=False), tensor().float().numpy())

def test_arrays_stay_what_they_are():
    for a in np.ones((2,3)), np.array(['a']), np.zeros(2, 'V4'), np.zeros(2, [('a','f4')]): assert as_numpy(a) is a
    t = torch.ones(3)
    assert np.shares_memory(as_numpy(t), t.numpy())
