"What scales the batches comes from all training rows, and from no others"
import numpy as np, pytest, torch
from numpy.testing import assert_allclose as close, assert_array_equal as equal
from fastai.learner import load_learner
from tsai.data.preprocessing import TSClipOutliers, TSNan2Value, TSNormalize, TSRobustScale, TSStandardize
from tsai.learner import ts_learner
from memmap_ts.all import *

@pytest.fixture
def wild(saved):
    "X whose validation rows are far off, y, splits"
    rng = np.random.default_rng(0)
    X = rng.normal([[0],[5],[100]], [[1],[2],[10]], (300,3,20)).astype('f4')
    splits = [np.sort(s) for s in np.split(rng.permutation(300), [240])]
    X[splits[1]] = 1e6
    return saved(X),saved(np.arange(300)%3, 'y.npy'),splits,X[splits[0]].astype('f8')

def fitted(wild, *tfms, **kw):
    dls = TSDataLoaders.from_memmap(*wild[:2], splits=wild[2], batch_tfms=list(tfms), bs=8, **kw)
    return dls,dls.train.after_batch.fs

@pytest.mark.parametrize('kw,axes', [
    ({},(0,1,2)), (dict(by_var=True),(0,2)), (dict(by_step=True),(0,1)), (dict(by_var=True,by_step=True),0),
    (dict(by_var=True,use_single_batch=False),(0,2))])
def test_standardize_and_normalize(wild, kw, axes):
    X,mine = wild[3],TSStandardize(**kw)
    dls,(t,) = fitted(wild, mine)
    close(t.mean, X.mean(axes, keepdims=True), rtol=1e-5)
    close(t.std, X.std(axes, keepdims=True), rtol=1e-5)
    assert mine.mean is None and t.mean.dtype==torch.float32 and dls.one_batch()[0].dtype==torch.float32
    _,(t,) = fitted(wild, TSNormalize(**kw))
    equal(t.min, X.min(axes, keepdims=True))
    equal(t.max, X.max(axes, keepdims=True))

def test_parameters_are_respected(wild):
    X = wild[3]
    _,(t,) = fitted(wild, TSStandardize(by_var=[0,[1,2]], exc_vars=[0], split_idx=0))
    close(t.mean.ravel(), [0,X[:,1:].mean(),X[:,1:].mean()], rtol=1e-5)
    close(t.std.ravel(), [1,X[:,1:].std(),X[:,1:].std()], rtol=1e-5)
    assert t.split_idx==0
    _,(t,) = fitted(wild, TSNormalize(range=(0,3), by_var=[1], clip_values=False))
    assert t.min.ravel().tolist()==[0,np.float32(X[:,1].min()),0] and t.max.ravel()[0]==3 and not t.clip_values
    for given in (TSStandardize(by_sample=True), TSStandardize(mean=[1.], std=[2.])):
        assert fitted(wild, given)[1][0] is given
    _,(t,) = fitted(wild, TSRobustScale(quantile_range=(10,90), exc_vars=[0]))
    q = np.percentile(X, [10,90], axis=(0,2))
    close(t.median.ravel(), [0,*np.median(X, (0,2))[1:]], rtol=1e-4)
    close(t.iqr.ravel(), [1,*4*(q[1]-q[0])[1:]], rtol=1e-4)
    _,(t,) = fitted(wild, TSClipOutliers())
    lo,hi = np.percentile(X, [25,75])
    close([t.min,t.max], [lo-1.5*(hi-lo),hi+1.5*(hi-lo)], rtol=1e-4)

def test_same_as_tsai_on_one_batch_of_all(wild):
    from tsai.data.core import TSTensor
    from fastai.data.load import DataLoader
    class DL(DataLoader):
        def __init__(self): self.device = torch.device('cpu')
        def one_batch(self): return (TSTensor(torch.tensor(wild[3], dtype=torch.float32)),)
    for make,names in ((lambda: TSStandardize(by_var=[0,[1,2]], by_step=True), ('mean',)),
                       (lambda: TSNormalize(by_var=[[0,2]]), ('min','max')),
                       (lambda: TSRobustScale(exc_vars=[1]), ('median','iqr')),
                       (lambda: TSClipOutliers(use_single_batch=True), ('min','max'))):
        theirs = make(); theirs.setups(DL())
        _,(ours,) = fitted(wild, make())
        for k in names: close(getattr(ours,k), getattr(theirs,k), rtol=1e-4, atol=1e-4)

def test_what_comes_before_changes_the_samples(wild, tmp_path):
    from fasttransform import Transform
    class Twice(Transform):
        def encodes(self, o:torch.Tensor): return o*2
    for tfms,kw in (([TSNan2Value(),TSStandardize()],{}), ([TSStandardize()],dict(item_tfms=Twice())),
                    ([TSStandardize()],dict(tfms=[[Twice()],None]))):
        with pytest.warns(RuntimeWarning, match='one batch'): fitted(wild, *tfms, **kw)
    with pytest.raises(ValueError, match='use_single_batch=True'):
        fitted(wild, TSNan2Value(), TSStandardize(use_single_batch=False))
    np.save(tmp_path/'whole.npy', np.nan_to_num(np.load(wild[0])).round())
    with pytest.warns(RuntimeWarning, match="dtype='int32'"): fitted((tmp_path/'whole.npy', *wild[1:]), TSNormalize(), dtype='int32')

def test_values_are_kept(wild, tmp_path):
    dls,(t,) = fitted(wild, TSStandardize(by_var=True))
    X = np.load(wild[0])[:5]
    want = (X-t.mean.numpy())/t.std.numpy()
    close(dls.test_dl(X).one_batch()[0], want, rtol=1e-5)
    learn = ts_learner(dls, 'FCN'); learn.path = tmp_path
    learn.export('l.pkl')
    again = load_learner(tmp_path/'l.pkl')
    close(again.dls.test_dl(X).one_batch()[0], want, rtol=1e-5)
