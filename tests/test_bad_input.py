"A mistake is an error that says what was got and what to do; no file is harmed by it"
import numpy as np, pytest
from fastai.callback.progress import * # no_bar
from fastai.data.block import CategoryBlock, DataBlock
from fastai.data.transforms import ItemGetter
from memmap_ts.all import *

X, y = np.zeros((100,2,5), 'f4'), np.arange(100)%3
make = TSDataLoaders.from_memmap

@pytest.mark.parametrize('splits,err,words', [
    (([0,1],[2,100]), IndexError, r'splits\[1\]: row 100 is out of range for 100 rows'),
    (([0,1,-101],[2]), IndexError, r'splits\[0\]: row -101'),
    (([0,1,2],[2,3]), ValueError, r'splits\[1\] has 1 of the training rows \(first 2\)'),
    (([0,1,-1],[99]), ValueError, 'training rows'),
    (([0],[1],[0]), ValueError, r'splits\[2\] has 1'),
    (([],[1]), ValueError, 'nothing to train on'),
    (([0],[]), ValueError, r'pass splits=\(train,\)'),
    (([True]*50,[False]*50), IndexError, 'mask of 50 booleans for 100 rows'),
    (([[0,1],[2]],[[2],[0,1]]), ValueError, 'pick|pass one of them'),
    (([0.5],[1]), IndexError, 'integers'),
    (3, TypeError, 'row numbers'),
])
def test_splits(splits, err, words):
    with pytest.raises(err, match=words): make(X, y, splits=splits)

def test_splits_that_are_fine():
    mask = np.arange(100)<70
    for s in ((mask,~mask), (mask.tolist(),(~mask).tolist()), (slice(70),slice(70,None)), (range(70),range(70,100)), (np.arange(70,dtype='u1'),np.arange(70,100))):
        dls = make(X, y, splits=s)
        assert list(dls.train_ds.items.idxs)==list(range(70)) and list(dls.valid_ds.items.idxs)==list(range(70,100))
    assert len(make(X, y, splits=(range(50),range(50,60),range(60,70))).loaders)==3
    import pandas as pd, torch
    from fastai.data.transforms import RandomSplitter
    for s in ((torch.arange(70),torch.arange(70,100)), (pd.Index(range(70)),pd.Index(range(70,100))), (pd.Series(mask),pd.Series(~mask))):
        assert list(make(X, y, splits=s).valid_ds.items.idxs)==list(range(70,100))
    assert len(make(X, y, splits=RandomSplitter(.3, seed=0)).valid_ds)==30

def test_lengths():
    with pytest.raises(ValueError, match='100, 99 rows'): make(X, y[:-1])

def test_no_rows():
    with pytest.raises(ValueError, match='no rows'): make(X[:0], y[:0])

@pytest.mark.parametrize('X', [np.zeros(5), np.array(['a','b']), np.array([[None]], object)])
def test_bad_X(X):
    with pytest.raises((ValueError,TypeError), match='X has'): make(X)

@pytest.mark.parametrize('labels', [np.array(['a','b']*50), np.arange(100)%2])
def test_label_that_training_never_had(labels):
    labels = labels.copy(); labels[90:93] = labels[0]*2 if labels.dtype.kind=='U' else 7
    labels = labels.astype(object) if labels.dtype.kind=='U' else labels
    if labels.dtype==object: labels[90:93] = 'fox'
    with pytest.raises(ValueError, match=r"3 rows.*\['fox'\]|3 rows.*\[7\]"): make(X, labels, splits=(range(80),range(80,100)))
    dls = make(X, labels, splits=(range(80),range(80,90)))
    new = dls.test_dl((X[90:],labels[90:]), with_labels=True)
    with pytest.raises(KeyError, match=r'not included in the training dataset: leave such rows out, .* y_block=CategoryBlock\(vocab='): list(new)
    known = make(X, labels, splits=(range(80),range(80,90)), y_block=CategoryBlock(vocab=[*dls.vocab,labels[90]])) # as it says
    assert next(iter(known.test_dl((X[90:],labels[90:]), with_labels=True)))[1][0]==2

def test_datablock_label_that_training_never_had():
    labels = np.array(['a','b']*49+['fox']*2)
    d = DataBlock((MemmapBlock,CategoryBlock), get_items=itemify, getters=[ItemGetter(0),ItemGetter(1)], splitter=lambda o: (range(90),range(90,100)))
    with pytest.raises(KeyError, match="'fox' was not included.* y_block=CategoryBlock"): list(d.dataloaders((X,labels)).valid)

def test_set_of_labels_that_training_never_had():
    dls = make(X, [['a'],['b']]*50, splits=(range(80),range(80,100)))
    with pytest.raises(KeyError, match=r"'fox'. were not included.* y_block=MultiCategoryBlock\(vocab="): list(dls.test_dl((X[:2],[['a','fox'],['b']]), with_labels=True))

def test_nan_target():
    t = np.linspace(0,1,100); t[37] = np.nan
    with pytest.raises(ValueError, match='nan in row 37.*isfinite'): make(X, t)
    assert len(make(X, t, splits=(range(30),range(40,60))).train)==1
    t2 = np.ones((100,2)); t2[5,1] = np.nan
    with pytest.raises(ValueError, match='nan\\] in row 5'): make(X, t2, splits=(range(30),range(40,60)))

    t[37] = np.inf
    with pytest.raises(ValueError, match='inf in row 37'): make(X, t)
    t[37] = 1e300 # the loss gets float32
    with pytest.raises(ValueError, match=r"1e\+300 in row 37.*isfinite\(y.astype\('float32'\)\)"): make(X, t)

@pytest.mark.parametrize('missing', [None, np.nan])
def test_missing_label(missing):
    labels = np.array(['a','b']*50, object); labels[5] = missing
    with pytest.raises(ValueError, match='1 training rows have no label'): make(X, labels, splits=(range(50),range(50,100)))

def test_transforms_that_want_all_of_X():
    from tsai.data.preprocessing import TSNan2Value, TSStandardize
    d = DataBlock((MemmapBlock,CategoryBlock), get_items=itemify, getters=[ItemGetter(0),ItemGetter(1)], batch_tfms=TSStandardize(use_single_batch=False))
    with pytest.raises(ValueError, match='TSStandardize wants to load all of X'): d.dataloaders((X+1,y))
    with pytest.raises(ValueError, match='TSStandardize wants to load all of X'): make(X+1, y, batch_tfms=[TSNan2Value(),TSStandardize(use_single_batch=False)])
    filled = [TSNan2Value(),TSStandardize(by_var=True, use_single_batch=False)]
    with pytest.raises(ValueError, match="if TSStandardize comes first in batch_tfms.* or pass missing='mean'"): make(X+1, y, batch_tfms=filled)
    exact = memmap_stats(X+1, range(50)).mean
    for kw in (dict(batch_tfms=filled[::-1]), dict(batch_tfms=filled[1], missing='mean')): # what the message advises
        f, = (f for f in make(X+1, y, splits=(range(50),range(50,100)), **kw).valid.after_batch.fs if isinstance(f, TSStandardize))
        np.testing.assert_allclose(f.mean.ravel(), exact, rtol=1e-6)
    make(X+1, y, batch_tfms=TSStandardize(by_var=True, use_single_batch=False)); make(X, y, batch_tfms=TSStandardize(mean=[0.], std=[1.], use_single_batch=False))

@pytest.mark.parametrize('kw,words', [(dict(bs='64'),'val_bs'), (dict(tfms=3),'batch_tfms'), (dict(y_block='cat'),'CategoryBlock'), (dict(after_item=None),'no argument'), (dict(shuffle_train=False),'use shuffle'), (dict(inplace=True),'nothing is loaded')])
def test_arguments_of_the_wrong_kind(kw, words):
    with pytest.raises(TypeError, match=words): make(X, y, **kw)

def test_complex(saved):
    with pytest.raises(TypeError, match='real and imaginary'): make(X.astype('c8'), y)
    for bad,words in (('M8[s]','Make numbers of times'), ('U9','Make numbers'), ([('a','f4')],'Make numbers')):
        with pytest.raises(TypeError, match=words) as e: make(X.astype(bad), y)
        assert 'imaginary' not in str(e.value)

def test_two_dimensional_integers():
    with pytest.raises(ValueError, match='MultiCategoryBlock'): make(X, np.ones((100,3), int))

@pytest.mark.parametrize('kw,words', [(dict(inplace=False),"no argument 'inplace'"), (dict(shuffle_trai=True),"did you mean 'shuffle'"), (dict(batch_tfm=None),"did you mean 'batch_tfms'"), (dict(bath_size=3),'did you mean')])
def test_unknown_arguments(kw, words):
    with pytest.raises(TypeError, match=words): make(X, y, **kw)

def test_both_ways_to_say_what():
    with pytest.raises(ValueError, match='pass one'): make(X, y, tfms=[None,None], y_block=CategoryBlock)

def test_files(saved, tmp_path):
    for f in (lambda: TSDataLoaders.from_files(tmp_path/'no.npy'), lambda: TSDataLoaders.from_files(saved(X), tmp_path/'no.npy')):
        with pytest.raises(FileNotFoundError, match='no.npy'): f()
    with pytest.raises(ValueError, match='to_memmap'): TSDataLoaders.from_files(saved(X), saved(np.array(['a',None]*50,object),'y.npy'))

def test_rows_of_different_length():
    rag = [np.zeros((1,n)) for n in (3,4)]*5
    d = DataBlock(MemmapBlock, get_items=itemify, get_x=ItemGetter(0))
    with pytest.raises(ValueError, match='different shape'): d.dataloaders(rag, bs=8).one_batch() # all training rows: four could be of one length

def test_new_data_of_other_shape():
    dls = make(X, y)
    for o in (X[0,0], X[0]):
        with pytest.raises(ValueError, match=r'samples here have shape \(2, 5\).*X\[None\]'): dls.test_dl(o)
    for o in (X[:,:1], X.transpose(0,2,1)):
        with pytest.raises(ValueError, match=r'variables, samples here have 2'): dls.test_dl(o)
    with pytest.raises(ValueError, match='variables, samples here have 2'): make(X, y, sel_vars=[0]).test_dl(X[:,:1]) # what is selected is selected from samples like those of training
    with pytest.raises(ValueError, match='no samples'): dls.new_dl(X[:0])
    with pytest.raises(ValueError, match='labels'): dls.test_dl(X, with_labels=True)

def test_file_that_changed(saved):
    import pickle
    fn = saved(X)
    p = pickle.dumps(itemify(fn))
    np.save(fn, X[:50])
    with pytest.raises(ValueError, match='has changed'): pickle.loads(p)
    fn.unlink()
    with pytest.raises(FileNotFoundError, match='X.npy'): pickle.loads(p)

@pytest.mark.parametrize('kw', [dict(train_only=True), dict(valid_size=0.)], ids=str)
def test_validation_on_the_training_set(kw):
    "What tsai's `get_splits` gives for all samples"
    from tsai.data.validation import get_splits
    splits = get_splits(y, show_plot=False, verbose=False, **kw)
    with pytest.raises(ValueError, match=r'all 100 training rows.*train_only.*splits=\(train,\)'): make(X, y, splits=splits)
    assert len(make(X, y, splits=splits[:1]).train_ds)==100

def test_splitters_of_tsai():
    from tsai.data.validation import TrainValidTestSplitter
    with pytest.raises(TypeError, match=r'splits=splitter\(y\)'): make(X, y, splits=TrainValidTestSplitter())
    assert len(make(X, y, splits=TrainValidTestSplitter()(y)).valid_ds)==20
    with pytest.raises(ValueError, match='train_only'): make(X, y, splits=TrainValidTestSplitter(train_only=True, stratify=False))

@pytest.mark.parametrize('splits', [([],range(100)), (None,range(100)), []], ids=str)
def test_nothing_to_train_on(splits):
    with pytest.raises(ValueError, match='nothing to train on'): make(X, y, splits=splits)

@pytest.mark.parametrize('n,train', [(100,[]), (0,[])])
def test_datablock_with_nothing_to_train_on(n, train):
    d = DataBlock((MemmapBlock,CategoryBlock), get_items=itemify, getters=[ItemGetter(0),ItemGetter(1)], splitter=lambda o: (train,list(range(n))))
    with pytest.raises(ValueError, match='nothing to train on'): d.dataloaders((X[:n],y[:n]))
    with pytest.raises(IndexError, match='no samples here'): itemify(X[:0])[0]

@pytest.mark.parametrize('shape', [(100,0), (100,2,0), (100,0,5)])
def test_rows_without_values(shape):
    nothing = np.zeros(shape, 'f4')
    d = DataBlock((MemmapBlock,CategoryBlock), get_items=itemify, getters=[ItemGetter(0),ItemGetter(1)])
    for f in (lambda: make(nothing, y), lambda: make((X,nothing), y), lambda: make(X, nothing), lambda: d.dataloaders((nothing,y)), lambda: itemify(nothing)):
        with pytest.raises(ValueError, match='rows have no values'): f()
    if shape[1:]==(2,0):
        with pytest.raises(ValueError, match='rows have no values'): make(X, y).new_dl(nothing)

def test_a_sample_is_predicted_and_nothing_else(saved):
    from fastai.basics import Learner, nn
    from fastai.losses import CrossEntropyLossFlat
    fn = saved(X)
    learn = Learner(make(fn, y), nn.Sequential(nn.Flatten(), nn.Linear(10,3)), loss_func=CrossEntropyLossFlat())
    with learn.no_bar():
        for path in (fn, str(fn), 'no.npy', 'NO.NPY'):
            with pytest.raises(TypeError, match=r"(?i)\.npy' is a path, and one sample is needed.*get_X_preds.*preds_to_memmap"): learn.predict(path)
        assert len(learn.predict(X[0])[2])==3
        for o in (X[:1], X[0,0]):
            with pytest.raises(ValueError, match=r'samples here have shape \(2, 5\)'): learn.predict(o)
        one = Learner(make(X[:,0], y), nn.Sequential(nn.Flatten(), nn.Linear(5,3)), loss_func=CrossEntropyLossFlat())
        with one.no_bar(): assert one.predict(X[0,0])[2].equal(one.predict(X[0,:1])[2])

def test_mixed_loaders_of_tsai():
    "tsai draws their rows by a method of fastai's loader that is not asked here"
    from tsai.data.mixed import get_mixed_dls
    from tsai.data.tabular import get_tabular_dls
    import pandas as pd
    table = pd.DataFrame({'a':np.arange(100.), 'b':np.arange(100.), 'c':y})
    def tabular(): return get_tabular_dls(table, cont_names=['a','b'], y_names='c', splits=(list(range(80)),list(range(80,100))), bs=16)
    def ours(): return make(X, y, splits=(range(80),range(80,100)), bs=16)
    for dls in ((ours(),tabular()), (tabular(),ours()), (ours(),ours())):
        with pytest.raises(TypeError, match=r'get_mixed_dls.*from_memmap\(\(X, features\), y\)'): get_mixed_dls(*dls).one_batch()

@pytest.mark.parametrize('stored,dtype,value', [('f4','int8',300), ('f4','int64',.5), ('f8','i4',np.nan), ('i4','i2',70_000), ('i8','int32',2**40), ('u1','i1',200),
                                               ('i2','u2',-1), ('f4','bool',2), ('i2','bool',3)])
def test_no_number_wraps_around(stored, dtype, value):
    "A number that another dtype does not hold is told; those that it holds become it"
    X = np.ones((20,2,5), stored)
    y = np.arange(20)%2
    def both(X):
        dblock = DataBlock((MemmapBlock(dtype=dtype),CategoryBlock), get_x=ItemGetter(0), get_y=ItemGetter(1))
        return [lambda: make(X, y, dtype=dtype, bs=20), lambda: dblock.dataloaders(itemify(X, y), bs=20)]
    for f in both(X): assert f().one_batch()[0].numpy().dtype==np.dtype(dtype)
    X[1:] = value
    for f in both(X):
        with pytest.raises(ValueError, match='which would become'): list(f().train)
