"What a user says of rows and of X, read"
import numpy as np, pytest, torch
from fastai.torch_core import set_seed
from memmap_ts.all import *
from memmap_ts.data.select import Select
from memmap_ts.data.splits import check_splits, random_splits
from memmap_ts.data.inputs import as_series
from memmap_ts.epoch.datasets import Inputs

@pytest.mark.parametrize('splits', [([0,1],[1,2]), ([],[1]), ([0],[]), ([0,9],[1]),
    ([True,False],[2]), [[[0],[1]],[[1],[0]]], 3, 'ab', {1,2}])
def test_refused(splits):
    with pytest.raises((ValueError,IndexError,TypeError), match='splits'): check_splits(splits, 5)

@pytest.mark.parametrize('splits,want', [
    (([0,1,2],[3,4]),[[0,1,2],[3,4]]), (([True,True,False],[False,False,True]),[[0,1],[2]]),
    ((slice(3),slice(3,None)),[[0,1,2],[3,4]]),
    ([0,1],[[0,1],[]]), (slice(2),[[0,1],[]]), (([0,1],None),[[0,1],[]]), (([0,-1],[2]),[[0,4],[2]])])
def test_read(splits, want):
    assert [list(o) for o in check_splits(splits, 3 if want==[[0,1],[2]] else 5)]==want

_is_train = np.arange(200)<150

@pytest.mark.parametrize('splits,words', [
    ([0]*150+[1]*50, r'198 of them .*\[np.flatnonzero\(fold==0\), np.flatnonzero'), ((~_is_train).astype(int), 'come before'),
    (np.arange(200)%5, '195 of them'), ([3,4,-197], '1 of them'),
    ((150,50), r'\(range\(0,150\), range\(150,200\)\)'), (np.array([100,60,40]), r'range\(160,200\)'),
    ((_is_train.astype(int),(~_is_train).astype(int)), 'must be bool'), (([1]*150+[0]*50,None), r'bool: pass np.asarray\(splits\[0\], bool\)'),
    (([0,1],[0]*150+[1]*50), r'splits\[1\] is 200 integers'),
    ({0,1}, r'sorted\(train\)'), (([0,1],{2}), r'pass sorted\(splits\[1\]\)'), ((frozenset([0]),[1]), r'pass sorted\(splits\[0\]\)')])
def test_not_row_numbers(splits, words):
    "Folds, sizes, masks that are not bool, and sets would be taken for rows to train on"
    with pytest.raises((ValueError,TypeError), match=words): check_splits(splits, 200)

@pytest.mark.parametrize('splits,n', [(([150,50],), [2]), ([150,49], [2]), ((0,1), [2]), (([3,3,4],[5]), [3,1]), ([100,60,41], [3]),
    (np.arange(200)[::-1], [200]), (_is_train, [150]), (range(200), [200])])
def test_row_numbers(splits, n):
    "A list in a tuple is what it says, rows that come twice as well"
    assert [len(o) for o in check_splits(splits, 200) if len(o)]==n

def test_little_room():
    a,b,c = check_splits((slice(10),range(20,30),[40,50]), 100)
    assert isinstance(a, range) and isinstance(b, range) and c.dtype=='int64' # which one may add to
    assert check_splits(([40,50],[60]), 10**6)[0].dtype.itemsize==4

def test_random():
    a,b = random_splits(10, .3, 0)
    assert (len(a),len(b))==(7,3) and sorted([*a,*b])==list(range(10))
    assert random_splits(10, .3, 0)[1].tolist()==b.tolist()
    for o in (a,b): assert o.tolist()==sorted(o)
    set_seed(3); one = random_splits(50)
    set_seed(3); two = random_splits(50)
    assert one[1].tolist()==two[1].tolist()
    for pct in (1,-.1):
        with pytest.raises(ValueError, match='less than 1'): random_splits(10, pct)

X = np.random.default_rng(0).normal(size=(20,3,8)).astype('f4')

def test_inputs(saved):
    fn = saved(X)
    one = as_series(open_memmap(fn)[:,0])
    assert as_series(fn).shape==(20,3,8) and on_disk(one) and one.shape==(20,1,8)
    assert [o.shape for o in Inputs((fn, X[:,0], X[:,0,0]>0)).arrays]==[(20,3,8),(20,8),(20,1)]
    k,rows,sel = Inputs(X, None, slice(1,3), [4,2]).series()
    assert k==0 and (sel.encodes(rows[7])==X[7,1:3][:,[4,2]]).all() and isinstance(sel, Select)
    assert Inputs((X[:,0],X)).series()[0]==1 and Inputs(X).series()[2] is None

def test_series_as_objects():
    "Numbers are numbers once they are cast; arrays of one shape are stacked, of others they are samples of any length"
    rows,cut = np.array([None]*20),np.array([None]*20)
    for i,x in enumerate(X): rows[i],cut[i] = x,x[:,:4+i%3]
    missing = X.astype(object)
    missing[0,0,0] = None
    for a in (X.astype(object), X[:,0].astype(object), missing):
        with pytest.raises(TypeError, match=r"pass X.astype\('float32'\)$"): as_series(a)
    for a in (rows,cut):
        with pytest.raises(TypeError, match=r'pass np.stack\(X\). .*to_ragged'): as_series(a)
    assert as_series(missing.astype('f4')).shape==X.shape

@pytest.mark.parametrize('args,item_tfms,words', [
    ((X,'float32'),None,None), ((X,),None,None), ((X,torch.float64),None,None), ((X,'int8'),None,"dtype='int8'"),
    ((X,),abs,'item_tfms'), ((X,None,None,None,[abs]),None,'a transform of X'), (((X,X),),None,'being one of several'),
    ((X[...,None],),None,'4 dimensions')])
def test_what_changes_the_rows(args, item_tfms, words):
    changed = Inputs(*args).changed(0, item_tfms)
    assert changed is None if words is None else words in changed

def test_sets_with_names():
    "A `Series` of pandas has no 0 then; one set may have an index of its own, too"
    import pandas as pd
    named = pd.Series([np.arange(3),np.arange(3,5)], index=['train','valid'])
    assert [list(o) for o in check_splits(named, 5)]==[[0,1,2],[3,4]]
    assert [list(o) for o in check_splits(pd.Series([1,3], index=['a','b']), 5)]==[[1,3],[]]
    assert [list(o) for o in check_splits(pd.Series([np.arange(3),None], index=['train','valid']), 5)]==[[0,1,2],[]]
