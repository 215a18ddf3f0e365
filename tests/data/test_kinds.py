"Kinds of targets: which one is told of which y, and a new one of a user"
import matplotlib, numpy as np, pytest, torch
matplotlib.use('agg')
from matplotlib import pyplot as plt
from torch import nn
from fastai.callback.progress import * # no_bar
from fastai.data.block import CategoryBlock, MultiCategoryBlock, RegressionBlock
from fastai.data.transforms import Categorize
from fastai.learner import Learner
from fastai.torch_core import TitledStr
from fasttransform import Transform
from tsai.data.core import TSClassification, TSRegression
from memmap_ts.all import *
from memmap_ts.data.kinds import TargetKind, kind_of, kind_of_tfm, kind_shown, target_kinds
from memmap_ts.data.target import as_targets
from memmap_ts.data.transforms import BatchTransform, CategorizeRows, RegressRows
from memmap_ts.epoch.datasets import target_block
import training

def name(o): return type(o).__name__

@pytest.mark.parametrize('y,kind', [
    (np.array(['a','b']), 'OneClass'), (np.arange(3), 'OneClass'), (np.ones(3, bool), 'OneClass'),
    (np.array([b'a']), 'OneClass'),
    (np.array(['a','b'], object), 'OneClass'), (['a','b'], 'OneClass'), ([1,2], 'OneClass'), ([True,False], 'OneClass'),
    (np.ones(3), 'Numbers'), (np.ones((3,2)), 'Numbers'), (np.ones((3,2,4), 'f2'), 'Numbers'), ([.5,1], 'Numbers'),
    ([[.5,1],[2,3]], 'Numbers'), ([[1],[2,3]], 'SeveralClasses'), ([['a'],['a','b']], 'SeveralClasses'),
    (windows(np.arange(20.), 3, horizon=2)[1], 'Forecast'), (windows(np.arange(20), 3, horizon=1)[1], 'Forecast'),
    (np.arange(3)[:,None], 'OneClass')])
def test_told(y, kind): assert name(kind_of(as_targets(y)))==kind

@pytest.mark.parametrize('y,err,words', [
    (np.ones((3,2), int), ValueError, 'one-hot'), (np.full((3,2), 'a'), ValueError, 'a class for each step'),
    (np.array(['2020'], 'datetime64[Y]'), TypeError, r"can't tell.*y\.astype\(str\)"), (np.ones(3, 'c8'), TypeError, 'a y of complex64'),
    (np.array([None,None], object), TypeError, 'NoneType: make it an array')])
def test_not_told(y, err, words):
    with pytest.raises(err, match=words): kind_of(as_targets(y))

@pytest.mark.parametrize('tfm,kind', [
    (Categorize(), 'OneClass'), (TSClassification(), 'OneClass'), (CategorizeRows(), 'OneClass'),
    (TSRegression(), 'Numbers'), (RegressRows(), 'Numbers'),
    (RegressionBlock().type_tfms[0], 'Numbers'), (Transform(abs), 'TargetKind')])
def test_said(tfm, kind): assert name(kind_of_tfm(tfm))==kind

def test_a_subclass_of_a_transform_is_nobody_knows_what():
    class Own(Categorize): pass
    assert type(kind_of_tfm(Own())) is TargetKind

@pytest.mark.parametrize('target,kind', [
    (np.ones(3), 'Forecast'), (np.array(['a']), 'ClassOfSteps'), (np.arange(3), 'ClassOfSteps'),
    (1.5, 'Numbers'), ((1.,2.), 'Numbers'), ('cat', 'TargetKind'),
    (3, 'TargetKind')])
def test_shown(target, kind): assert name(kind_shown(target))==kind

def test_what_stands_above_a_result():
    for true,pred,want in (('a','a',('True: a\nPred: a','green')), (1/3,2.,('True: 0.3333\nPred: 2','black')),
                           (np.array([1,1]),np.array([1,0]),('50% of steps right','black')),
                           (np.ones(2),np.ones(2),('','black'))):
        assert kind_shown(true).verdict(true, pred)==want

def test_the_block_and_transforms_of_the_user_stay_as_they_are():
    y,splits = np.array(['cat','dog'])[np.arange(10)%2],[range(8),range(8,10)]
    block,tfm = CategoryBlock(),TSClassification()
    before = list(block.type_tfms)
    for b in (target_block(y, splits, y_block=block), target_block(y, splits, [tfm])):
        assert b is not block and list(b.type_tfms[0].vocab)==['cat','dog']
    assert [id(o) for o in block.type_tfms]==[id(o) for o in before] and before[0].vocab is None and tfm.vocab is None

def test_several_transforms_of_the_user():
    "Each is set up, in the order given"
    y = np.linspace(1, 2, 10)
    block = target_block(y, [range(10)], [Transform(np.log), RegressRows])
    assert [type(t) for t in block.type_tfms]==[Transform,RegressRows]
    y[3] = np.nan
    with pytest.raises(ValueError, match='nan in row 3'): target_block(y, [range(10)], [Transform(np.log), RegressRows])
    encoded = target_block(np.eye(2), [], y_block=MultiCategoryBlock(encoded=True, vocab=['a','b']))
    assert [name(t) for t in encoded.type_tfms]==['EncodedRows']

class Year(str):
    "A decoded date"
    def show(self, ctx=None, **kwargs): return TitledStr(f'in {self}').show(ctx=ctx, **kwargs)

class DateRows(BatchTransform, Transform):
    "Dates as years since 2000"
    def encodes(self, o): return torch.tensor(float(self.encodes_batch(np.array([o]))[0]))
    def encodes_batch(self, rows): return torch.from_numpy(rows.astype('datetime64[Y]').astype('f4')-30)
    def decodes(self, o:torch.Tensor): return Year(round(o.item()+2000))

class Date(TargetKind):
    "A date of each sample: one class is all that a new kind needs, besides its transform"
    tfm_types = (DateRows,)
    def infers(self, y): return getattr(y, 'dtype', None) is not None and y.dtype.kind=='M'
    def setup(self, tfm, y, splits):
        if any(np.isnat(y[np.asarray(o)]).any() for o in splits): raise ValueError('a date is missing')
    def shows(self, target): return isinstance(target, Year)
    def verdict(self, true, pred): return f'{true}, not {pred}','blue'

@pytest.fixture
def dates():
    "A kind for dates is known to all that is done meanwhile"
    target_kinds.insert(0, Date())
    yield np.array(['1999','2004','2010'], 'datetime64[Y]')[np.arange(40)%3]
    target_kinds.pop(0)

def test_a_new_kind(dates, saved):
    X,splits = np.random.default_rng(0).normal(size=(40,2,10)).astype('f4'),(range(30),range(30,40))
    dls = TSDataLoaders.from_memmap(saved(X), dates, splits=splits, bs=10, shuffle=False)
    assert dls.train.one_batch()[1][:3].tolist()==[-1,4,10]
    learn = Learner(dls, nn.Sequential(nn.Flatten(), nn.Linear(20,1), nn.Flatten(0)), loss_func=nn.MSELoss())
    assert np.isfinite(training.fit(learn)).all()
    dls.train.show_batch(max_n=2)
    assert [a.get_title() for a in plt.gcf().axes if a.lines]==['in 1999','in 2004']
    with learn.no_bar(): learn.show_results(max_n=1)
    assert ', not ' in plt.gcf().axes[0].get_title()
    plt.close('all')

def test_a_new_kind_checks(dates):
    dates = dates.copy(); dates[5] = 'NaT'
    with pytest.raises(ValueError, match='a date is missing'): TSDataLoaders.from_memmap(np.zeros((40,2,10)), dates)

def test_without_the_new_kind():
    dates = np.array(['1999','2004'], 'datetime64[Y]')
    with pytest.raises(TypeError, match="can't tell"): TSDataLoaders.from_memmap(np.zeros((2,2,10)), dates)
