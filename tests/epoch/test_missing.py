"NaNs that a model gets are told once, before or as training begins"
import pickle, warnings, numpy as np, pytest
from fastai.data.block import CategoryBlock, DataBlock
from fastai.data.transforms import IndexSplitter, ItemGetter
from fasttransform import Transform
from tsai.data.core import TSTensor
from tsai.data.preprocessing import TSClip, TSNan2Value, TSNormalize, TSStandardize
from memmap_ts.all import *

rng = np.random.default_rng(0)
y,splits = np.arange(60)%3,(range(40),range(40,60))

def with_nans(**where):
    "X of (60,3,20); variables of these numbers have NaN in these rows"
    X = rng.normal(size=(60,3,20)).astype('f4')
    for var,rows in where.items(): X[rows,int(var[1]),:2] = np.nan
    return X

class Fill(Transform):
    "A user's own"
    order = 95
    def encodes(self, o:TSTensor): return o.nan_to_num(0)

def told(f):
    "What `f` gives, and what it warns of"
    with warnings.catch_warnings(record=True) as ws:
        warnings.simplefilter('always')
        res = f()
    return res,[o for o in ws if 'are NaN' in str(o.message)]

def epochs(dls): return told(lambda: [(len(list(dls.train)),len(list(dls.valid))) for _ in range(2)])[1]

@pytest.mark.parametrize('tfms', [TSStandardize(), TSStandardize(by_var=True), TSNormalize(by_var=True), TSStandardize(by_step=True), [TSStandardize(by_var=[0,[1,2]])]], ids=str)
def test_counted(tfms, saved):
    "By statistics of all training rows: two of a million would be"
    X = with_nans(v1=[7], v2=range(40,60))
    dls,(w,) = told(lambda: TSDataLoaders.from_memmap(saved(X), y, splits=splits, batch_tfms=tfms, bs=8))
    assert w.category is RuntimeWarning and w.filename==__file__
    text = str(w.message)
    assert '0.0833% of the values of X in the training rows are NaN, in variable 1 (0.25%).' in text and 'TSNan2Value' in text
    assert not epochs(dls)

def test_counted_of_selected(saved):
    X = with_nans(v1=[7], v2=range(40))
    _,(w,) = told(lambda: TSDataLoaders.from_memmap(saved(X), y, splits=splits, batch_tfms=TSStandardize(by_var=True), sel_vars=[2,0]))
    assert 'in variable 0 (10%)' in str(w.message)

@pytest.mark.parametrize('kw', [{}, dict(batch_tfms=TSStandardize(by_sample=True)), dict(num_workers=2), dict(cache='device'), dict(dtype='float64'), dict(dtype='float16')], ids=str)
def test_in_the_first_batch(kw):
    X = with_nans(v0=range(60), v2=range(60))
    X[:,2] = np.nan
    dls,none = told(lambda: TSDataLoaders.from_memmap(X, y, splits=splits, bs=8, **kw))
    (w,) = epochs(dls)
    assert not none and w.category is RuntimeWarning
    assert '36.7% of the values of X in a batch are NaN, in variable 0 (10%), 2 (100%).' in str(w.message)
    assert not epochs(pickle.loads(pickle.dumps(dls)))

def test_of_windows_and_of_features():
    series = rng.normal(size=(300,2))
    series[:,1] = np.nan
    W,t = windows(series, 20, horizon=2, get_y=0)
    assert 'in variable 1 (100%)' in str(epochs(TSDataLoaders.from_memmap(W, t))[0].message)
    features = rng.random((60,4))
    features[:,3] = np.nan
    assert 'in variable 3 (100%)' in str(epochs(TSDataLoaders.from_memmap((with_nans(), features), y, splits=splits, bs=8))[0].message)

def test_of_a_datablock():
    d = DataBlock((MemmapBlock,CategoryBlock), get_items=itemify, getters=[ItemGetter(0),ItemGetter(1)], splitter=IndexSplitter(range(40,60)))
    (w,) = epochs(d.dataloaders((with_nans(v1=range(60)),y), bs=8))
    assert '3.33% of the values' in str(w.message)

@pytest.mark.parametrize('tfms', [TSNan2Value(), [TSStandardize(),TSNan2Value()], [TSStandardize(by_var=True),Fill()], [TSNan2Value(),TSStandardize(by_sample=True)]], ids=str)
def test_filled(tfms):
    "What the model gets has none: not a word, at no time"
    dls,told_then = told(lambda: TSDataLoaders.from_memmap(with_nans(v1=range(60)), y, splits=splits, batch_tfms=tfms, bs=8))
    assert not told_then and not epochs(dls)

@pytest.mark.parametrize('X', [with_nans(), np.ones((60,3,20), 'i2')], ids=['none','integers'])
@pytest.mark.parametrize('tfms', [None,TSStandardize(by_var=True)], ids=str)
def test_nothing_to_tell(X, tfms):
    dls,told_then = told(lambda: TSDataLoaders.from_memmap(X, y, splits=splits, batch_tfms=tfms, bs=8))
    assert not told_then and not epochs(dls)

@pytest.mark.parametrize('rows', [[39],[59]], ids=['training','validation'])
@pytest.mark.parametrize('tfms', [None,TSStandardize(by_sample=True)], ids=str)
def test_in_the_last_batch(rows, tfms):
    "One row, that comes last: told when it comes, and not again"
    dls,none = told(lambda: TSDataLoaders.from_memmap(with_nans(v1=rows), y, splits=splits, batch_tfms=tfms, bs=8, shuffle=False))
    (w,) = epochs(dls)
    assert not none and 'in variable 1' in str(w.message) and not epochs(dls)

@pytest.mark.parametrize('kw', [{}, dict(batch_tfms=TSStandardize(by_sample=True)), dict(scale='window'), dict(dtype='float16'), dict(cache='device')], ids=str)
def test_infinite(kw):
    "Told as such, also where a transform makes NaN of it"
    X = with_nans()
    X[:,1,:5],X[::2,1,:5] = np.inf,-np.inf
    with warnings.catch_warnings(record=True) as ws:
        warnings.simplefilter('always')
        dls = TSDataLoaders.from_memmap(X, y, splits=splits, bs=8, **kw)
        for _ in range(2): list(dls.train), list(dls.valid)
    (w,) = ws
    assert w.category is RuntimeWarning
    assert '8.33% of the values of X in a batch are infinite, in variable 1 (25%).' in str(w.message) and 'TSClip' in str(w.message)

@pytest.mark.parametrize('tfm', [TSNormalize(by_sample=True, by_var=True), TSStandardize(by_sample=True, by_var=True, eps=0)], ids=str)
def test_made_by_a_transform(tfm):
    "What never changes in a sample is divided by zero: nothing is missing, and missing= is no remedy"
    X = with_nans(); X[:,1] = 7
    with warnings.catch_warnings(record=True) as ws:
        warnings.simplefilter('always')
        list(TSDataLoaders.from_memmap(X, y, splits=splits, bs=40, batch_tfms=tfm).train)
    (w,) = ws
    assert 'after its transforms, are NaN, in variable 1 (100%). Before them all values were finite' in str(w.message)
    assert 'TSNormalize(by_sample=True) does' in str(w.message) and 'missing=' not in str(w.message)

def test_infinite_by_workers_and_clipped():
    X = with_nans()
    X[:,1,:5] = np.inf
    with pytest.warns(RuntimeWarning, match='infinite, in variable 1'): list(TSDataLoaders.from_memmap(X, y, splits=splits, bs=8, num_workers=1).train)
    with warnings.catch_warnings():
        warnings.simplefilter('error', RuntimeWarning)
        for b in TSDataLoaders.from_memmap(X, y, splits=splits, bs=8, batch_tfms=[TSClip(-1e6, 1e6), TSStandardize(by_sample=True)]).train: assert b[0].isfinite().all()

def test_infinite_and_nan():
    "Both are told: either may be what makes NaN in the end"
    X = with_nans(v2=range(60))
    X[:,1,:5] = np.inf
    (w,) = epochs(TSDataLoaders.from_memmap(X, y, splits=splits, bs=8, batch_tfms=TSClip(-9, 9)))
    assert 'are infinite, in variable 1 (25%)' in str(w.message) and 'there are NaN, in variable 2 (10%)' in str(w.message)
