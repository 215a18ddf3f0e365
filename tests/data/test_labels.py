"Labels of any make: variable-width strings, missing ones, numbers that are classes, several labels of one sample"
import matplotlib, numpy as np, pytest, torch
from decimal import Decimal
matplotlib.use('agg')
from matplotlib import pyplot as plt
from torch import nn
from fastai.callback.progress import * # no_bar
from fastai.data.block import CategoryBlock, DataBlock, MultiCategoryBlock
from fastai.data.transforms import IndexSplitter, ItemGetter
from fastai.interpret import Interpretation
from fastai.learner import Learner
from hypothesis import given, settings, strategies as st
from tsai.data.core import TSClassification, TSMultiLabelClassification
from tsai.inference import * # get_X_preds
from memmap_ts.all import *
from memmap_ts.data.source import as_source
from memmap_ts.data.target import as_targets

X = np.random.default_rng(0).normal(size=(40,2,10)).astype('f4')
splits = range(30),range(30,40)
names = np.array(['cat','dog'])[np.arange(40)%2]
wide = names.astype(np.dtypes.StringDType())

def loaders(y, **kw): return TSDataLoaders.from_memmap(X, y, splits=splits, bs=10, shuffle=False, **kw)
def block(y, y_block):
    "The same from a `DataBlock`"
    return DataBlock(blocks=(MemmapBlock,y_block), get_items=itemify, get_x=ItemGetter(0), get_y=ItemGetter(1),
                     splitter=IndexSplitter(range(30,40))).dataloaders((X,y), bs=10, shuffle=False)

@pytest.mark.parametrize('kw', [{}, dict(y_block=CategoryBlock), dict(tfms=[None,TSClassification()]),
                                dict(weights='balanced', shuffle=True), dict(num_workers=1)])
def test_variable_width_strings(kw):
    dls = TSDataLoaders.from_memmap(X, wide, splits=splits, bs=10, **kw)
    assert list(dls.vocab)==['cat','dog'] and dls.valid.one_batch()[1].tolist()==[0,1]*5
    assert [b[1].tolist() for b in dls.valid]==[[0,1]*5]

def test_variable_width_strings_elsewhere(tmp_path):
    dls = block(wide, CategoryBlock)
    assert [repr(o) for o in dls.vocab]==["'cat'","'dog'"] and dls.valid.one_batch()[1].tolist()==[0,1]*5
    assert to_memmap(wide, tmp_path/'y.npy', progress=False).tolist()==names.tolist()
    assert as_source(as_source(wide).handle().open()).wrapped.tolist()==names.tolist() # what is pickled
    assert loaders(names).test_dl((X,wide), with_labels=True).one_batch()[1].tolist()==[0,1]*5

@pytest.mark.parametrize('missing', [np.nan,None])
def test_missing_among_variable_width_strings(missing):
    y = np.array(names, object)
    y[3] = missing
    y = np.array(y, np.dtypes.StringDType(na_object=missing))
    with pytest.raises(ValueError, match='1 training rows have no label'): loaders(y)
    rows = np.delete(np.arange(40), 3)
    assert list(TSDataLoaders.from_memmap(X, y, splits=(rows[:25],rows[25:])).vocab)==['cat','dog']

@pytest.mark.parametrize('missing', [np.nan,None,float('nan')])
@pytest.mark.parametrize('kind', ['list','object','floats','pandas'])
@pytest.mark.parametrize('at', [0,7])
def test_missing_labels(missing, kind, at):
    "Wherever the missing label is, the first one included"
    import pandas as pd
    y,kw = list(names),{}
    if kind=='floats': y,kw = np.arange(40)%2+0.,dict(tfms=[None,TSClassification()])
    y[at] = np.nan if kind=='floats' else missing
    y = {'object':lambda: np.array(y, object), 'pandas':lambda: pd.Series(y)}.get(kind, lambda: y)()
    with pytest.raises(ValueError, match='1 training rows have no label'): loaders(y, **kw)
    rows = np.delete(np.arange(40), at)
    dls = TSDataLoaders.from_memmap(X, y, splits=(rows[:25],rows[25:]), **kw)
    assert list(dls.vocab)==([0.,1.] if kind=='floats' else ['cat','dog'])

def test_pandas_missing_value():
    import pandas as pd
    with pytest.raises(ValueError, match='1 training rows have no label'):
        loaders(pd.Series(['cat',pd.NA]+['dog']*38, dtype='string'))

def test_nothing_but_missing_labels():
    with pytest.raises(TypeError, match="can't tell what to predict from a y of float"):
        loaders(np.full(40, np.nan, object))

@pytest.mark.parametrize('y', [
    np.linspace(0, 1, 40).astype(object), np.linspace(0, 1, 80).reshape(40,2).astype(object), np.array([None]+[.5]*39, object),
    np.arange(80).reshape(40,2).astype(object), [None]+[.5]*39, np.array([Decimal('.5')]*40)], ids=['floats','columns','gap','integers','list','decimal'])
def test_numbers_as_objects(y):
    with pytest.raises(TypeError, match=r"in an array of dtype object: .* y\.astype\('float32'\)"): loaders(y)

def test_labels_of_two_types():
    with pytest.raises(TypeError, match="labels of different types.*1, 'cat'"): loaders([1]+list(names[1:]))

@settings(deadline=None, max_examples=50)
@given(st.lists(st.one_of(st.text('ab', max_size=3), st.just(None), st.just(float('nan')), st.integers(-1,1)), min_size=1))
def test_a_list_of_labels_keeps_its_values(values):
    "No value becomes text, e.g. 'nan'"
    res = as_targets(values)
    assert len(res)==len(values)
    for a,b in zip(res, values):
        if isinstance(b, str): assert a==b
        elif b is None or b!=b: assert a is None or a!=a
        else: assert a==b and not isinstance(a, str)

@pytest.mark.parametrize('values', [[2**63,1], [2**63,-1], [2**64+1,2**64]])
def test_large_integers_are_classes(values):
    "NumPy makes floats of integers that have no type together"
    dls = loaders(values*20)
    assert list(dls.vocab)==sorted(values) and dls.train.one_batch()[1][:2].tolist()==[int(values[0]>values[1]),int(values[1]>values[0])]

@pytest.mark.parametrize('kw', [dict(tfms=[None,TSClassification()]), dict(y_block=CategoryBlock)])
def test_balanced_floats(kw):
    "0.0 and 1.0 are classes if that is said"
    y = (np.arange(40)%4==0).astype('f8')
    dls = TSDataLoaders.from_memmap(X, y, splits=splits, weights='balanced', bs=30, seed=0, **kw)
    share = np.mean([dls.train.one_batch()[1].float().mean() for _ in range(20)])
    assert dls.c==2 and .4<share<.6
    with pytest.raises(ValueError, match='needs one class for each sample'): TSDataLoaders.from_memmap(X, y, weights='balanced')

# Several labels

sets = [['PVC','Pre'],['Pre'],['PVC'],[],['LBBB','Pre']]*8
classes = ['LBBB','PVC','Pre']
hot = np.array([[c in o for c in classes] for o in sets]).astype(int)

def objects(o):
    res = np.empty(len(o), object)
    res[:] = o
    return res

def of_kind(kind):
    return {'lists':sets, 'tuples':[tuple(o) for o in sets], 'sets':[set(o) for o in sets], 'objects':objects(sets),
            'object tuples':objects([tuple(o) for o in sets]), 'arrays':objects([np.array(o, 'U4') for o in sets])}[kind]

def titles():
    return [a.get_title() for a in plt.gcf().axes if a.lines]

@pytest.mark.parametrize('kind', ['lists','tuples','sets','objects','object tuples','arrays'])
@pytest.mark.parametrize('kw', [{}, dict(y_block=MultiCategoryBlock), dict(tfms=[None,TSMultiLabelClassification()]),
                                dict(tfms=[None,TSMultiLabelClassification(vocab=classes)])],
                         ids=['none','block','tsai','vocab'])
def test_several_labels(kind, kw):
    dls = loaders(of_kind(kind), **kw)
    assert dls.c==3 and list(dls.vocab)==classes
    assert dls.train.one_batch()[1].tolist()==hot[:10].tolist()
    dls.train.show_batch(max_n=5)
    want = [set(o) or {'(none)'} for o in sets[:5]]
    assert [set(filter(None, t.split(';'))) for t in titles()]==want
    test = dls.test_dl((X,of_kind(kind)), with_labels=True)
    assert test.one_batch()[1].tolist()==hot[:10].tolist()
    plt.close('all')

class Given(nn.Module):
    "Predicts the classes that stand in the series"
    def __init__(self): super().__init__(); self.weight = nn.Parameter(torch.zeros(1))
    def forward(self, x): return x[:,0,:3]*9

def life(dls):
    "What a learner shows of two samples, and what it predicts"
    learn = Learner(dls, Given())
    with learn.no_bar():
        learn.show_results(max_n=2, shuffle=False)
        shown = titles()
        Interpretation.from_learner(learn).plot_top_losses(2)
    return shown,titles(),learn.get_X_preds(dls.valid.dataset.tls[0].items.arrays[0][30:32])[2]

@pytest.mark.parametrize('how', ['tsai','block','DataBlock','encoded'])
def test_results_of_several_labels(how):
    Xh = X.copy()
    Xh[:,0,:3] = hot*2-1
    said = dict(tsai=dict(tfms=[None,TSMultiLabelClassification()]), block={},
                encoded=dict(y_block=MultiCategoryBlock(encoded=True, vocab=classes)))
    if how=='DataBlock':
        dls = DataBlock(blocks=(MemmapBlock,MultiCategoryBlock), get_items=itemify, get_x=ItemGetter(0),
                        get_y=ItemGetter(1), splitter=IndexSplitter(range(30,40))).dataloaders((Xh,sets), bs=10)
    else: dls = TSDataLoaders.from_memmap(Xh, hot if how=='encoded' else sets, splits=splits, bs=10, **said[how])
    shown,top,preds = life(dls)
    assert shown==['True: PVC;Pre\nPred: PVC;Pre','True: Pre\nPred: Pre']
    assert all(t.startswith('True: ') and t.split('\n')[0][6:]==t.split('\n')[1][6:] for t in top)
    assert [list(o) for o in preds]==[['PVC','Pre'],['Pre']]
    plt.close('all')

said = [dict(y_block=MultiCategoryBlock), dict(tfms=[None,TSMultiLabelClassification()]),
        dict(y_block=MultiCategoryBlock(vocab=classes))]

@pytest.mark.parametrize('kw', said)
@pytest.mark.parametrize('y', [hot, hot.astype(bool), hot.astype('f4'), hot.tolist(), hot[:,:2]])
def test_encoded_already(kw, y):
    with pytest.raises(ValueError, match=r"encoded=True, vocab=.* names of the \d columns"): loaders(y, **kw)

@pytest.mark.parametrize('y', [hot, hot.astype(bool), hot.astype('f4'), hot.tolist()])
def test_encoded_already_in_a_block(y):
    "fastai's own setup makes classes of 0 and 1, and every sample has both; the first batch says what is wrong"
    with pytest.raises(ValueError, match=r"encoded=True, vocab=.* names of the 3 columns"): block(y, MultiCategoryBlock).one_batch()

def test_classes_0_and_1_are_no_columns():
    "Sets of different size are sets"
    dls = loaders([[0],[1],[0,1],[]]*10)
    assert dls.train.one_batch()[1][:4].tolist()==[[1,0],[0,1],[1,1],[0,0]]

def test_encoded_of_another_number():
    with pytest.raises(ValueError, match=r'3 columns.*vocab has 2'):
        loaders(hot, y_block=MultiCategoryBlock(encoded=True, vocab=['a','b']))

@pytest.mark.parametrize('kw', said)
def test_strings_are_no_lists(kw):
    for y in ([';'.join(o) for o in sets], np.array([';'.join(o) for o in sets])):
        with pytest.raises(TypeError, match=r"o\.split\(';'\)"): loaders(y, **kw)
    with pytest.raises(TypeError, match='is 0, not a list of labels'): loaders(np.arange(40), **kw)

def test_strings_in_a_block():
    "fastai's own setup takes their letters; the first batch says what is wrong"
    with pytest.raises(TypeError, match='list of labels'): block([';'.join(o) for o in sets], MultiCategoryBlock).one_batch()

def test_labels_that_are_new_or_missing():
    new = sets[:39]+[['new']]
    for kw in said[:2]:
        with pytest.raises(ValueError, match=r"not among the 3 classes: \['new'\].*MultiCategoryBlock\(vocab="):
            loaders(new, **kw)
        with pytest.raises(ValueError, match='have no label'): loaders([['PVC',None]]+sets[1:], **kw)
        with pytest.raises(ValueError, match='none of the training rows has a label'): loaders([[]]*40, **kw)
        with pytest.raises(TypeError, match='is None, not a list of labels'): loaders(objects([*sets[:5],None,*sets[6:]]), **kw)
        with pytest.raises(KeyError, match='new'): loaders(sets, **kw).test_dl((X,new[::-1]), with_labels=True).one_batch()
    assert loaders(new, y_block=MultiCategoryBlock(vocab=[*classes,'new'])).c==4
    numbers = [[1],[2,3]]*20
    with pytest.raises(KeyError, match='7'): loaders(numbers).test_dl((X,[[7]]*40), with_labels=True).one_batch()

def test_a_list_of_arrays_is_an_array():
    "A class of each step, or numbers: rows of equal length are no sets"
    assert as_targets([np.array([0,1]),np.array([1,1])]).tolist()==[[0,1],[1,1]]
    assert as_targets([torch.tensor([0,1]),torch.tensor([1,1])]).tolist()==[[0,1],[1,1]]

def test_an_array_of_labels():
    "A fixed number of labels of each sample"
    y = np.array([['a','b'],['b','c']])[np.arange(40)%2]
    dls = loaders(y, y_block=MultiCategoryBlock)
    assert list(dls.vocab)==['a','b','c'] and dls.train.one_batch()[1][:2].tolist()==[[1,1,0],[0,1,1]]
