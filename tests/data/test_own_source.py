"A kind of source of one's own: one class, one line, and everything takes it"
import pickle, numpy as np, pytest
from fastai.data.block import CategoryBlock, DataBlock
from fastai.data.transforms import ItemGetter
from fastai.metrics import accuracy
from tsai.learner import ts_learner
from memmap_ts.all import *
from memmap_ts.data.contract import Source, SourceReader
from memmap_ts.data.source import as_source, register_source
from memmap_ts.epoch.advice import PHASES
from memmap_ts.epoch.stats import ArrayStats, EpochStats
from computed import Ramps
from training import fit

class RampsByName(Ramps):
    "A kind of source as anybody would add it: one class, and one line"
    def __init__(self, name): super().__init__(int(name.removeprefix('ramps:')))
    @classmethod
    def takes(cls, x): return isinstance(x, str) and x.startswith('ramps:')

register_source(RampsByName)

def in_ram(n): return np.stack([Ramps(n).row(i) for i in range(n)])
y = np.array(['down','flat','up'])[np.arange(180)%3]
splits = range(120),range(120,180)

def test_registered():
    src = as_source('ramps:180')
    assert type(src) is RampsByName and itemify('ramps:180').arrays[0].shape==(180,2,8)
    with pytest.raises(FileNotFoundError): as_source('slopes:180') # other strings are paths, as before

def test_registered_kinds_come_first(tmp_path):
    "Whatever takes arrays asks them, before a path or a list is looked at otherwise"
    np.testing.assert_array_equal(to_memmap('ramps:40', tmp_path/'X.npy', progress=False), in_ram(40))
    with pytest.raises(TypeError, match='windows are of an array.*RampsByName'): windows('ramps:40', 4)
    dls = TSDataLoaders.from_memmap('ramps:180', y, splits=splits)
    assert len(dls.test_dl('ramps:30').dataset)==30

class Labels(Source):
    "A label for each row"
    def __init__(self, values): self.values,self.shape,self.dtype = values,(len(values),),getattr(values, 'dtype', None)
    def row(self, i): return self.values[i]

@pytest.mark.parametrize('values', [np.arange(180)%3, y, (np.arange(180)%2).astype(bool), y.tolist()], ids=['ints','text','bools','objects'])
def test_labels(values):
    "They are classes, as those of an array are; numbers are read when they are wanted"
    X = in_ram(180)
    own,plain = (TSDataLoaders.from_memmap(X, t, splits=splits, seed=0) for t in (Labels(values),values))
    assert own.vocab==plain.vocab and own.c==plain.c
    assert all(a[1].tolist()==b[1].tolist() for a,b in zip(own.train, plain.train))
    assert not TSDataLoaders.from_memmap(X, Labels(np.arange(180)*.5), splits=splits).cat

def learner_of(dls): return ts_learner(dls, 'FCN', metrics=accuracy, seed=0)

@pytest.mark.parametrize('kw', [dict(), dict(sel_vars=[1,0], sel_steps=slice(2,None)), dict(sel_steps=[7,1]), dict(num_workers=2), dict(item_tfms=lambda o: o+1 if o.ndim==2 else o), dict(prefetch=0), dict(cache='device'), dict(partial_n=.5)], ids=lambda o: '-'.join(o))
def test_train(kw):
    "Losses are those of the same rows in RAM"
    losses = []
    for X in ('ramps:180',in_ram(180)):
        dls = TSDataLoaders.from_memmap(X, y, splits=splits, bs=16, seed=1, batch_tfms=None, **kw)
        losses.append(fit(learner_of(dls)))
    assert losses[0]==losses[1]

def test_train_from_a_datablock():
    losses = []
    for X in ('ramps:180',in_ram(180)):
        block = DataBlock((MemmapBlock,CategoryBlock), get_items=itemify, get_x=ItemGetter(0), get_y=ItemGetter(1), splitter=lambda o: splits)
        losses.append(fit(learner_of(block.dataloaders((X,y), bs=16, seed=1))))
    assert losses[0]==losses[1]

@pytest.mark.parametrize('by', ['var','all',('var','step'),'sample'])
@pytest.mark.parametrize('idxs', [None,range(5,90),[7,3,3]], ids=str)
def test_statistics(by, idxs):
    got,want = (memmap_stats(X, idxs, by) for X in ('ramps:180',in_ram(180)))
    for k in ('count','nans','mean','std','min','max'): np.testing.assert_allclose(getattr(got, k), getattr(want, k), rtol=1e-12)

def test_after_training(tmp_path):
    "Importance, predictions, a copy on disk, a description"
    learn = learner_of(TSDataLoaders.from_memmap('ramps:180', y, splits=splits, bs=16, seed=1))
    fit(learn, 3)
    table = feature_importance(learn, show_chart=False)
    assert set(table['Feature'])=={'BASELINE','var_0','var_1'}
    assert feature_importance(learn, 'ramps:30', y[:30], show_chart=False).shape==table.shape
    preds = preds_to_memmap(learn, 'ramps:50', tmp_path/'preds.npy', progress=False)
    np.testing.assert_allclose(preds, learn.get_preds(dl=learn.dls.test_dl(in_ram(50)))[0], atol=1e-6)
    np.testing.assert_array_equal(to_memmap(Ramps(40), tmp_path/'X.npy', progress=False, chunk_rows=7), in_ram(40))
    assert '180' in repr(describe(Ramps(180), y))

class Handle:
    "The name of a source that can't be pickled"
    def __init__(self, n): self.n = n
    def open(self): return Unpicklable(self.n)

class Unpicklable(Ramps):
    "A source with an open connection, or the like"
    def __init__(self, n):
        super().__init__(n)
        self.connection = lambda: None
    def handle(self): return Handle(self.shape[0])

def test_pickled_by_its_handle():
    "A source, a part of it, and samples made of it"
    for source in (Unpicklable(20), Unpicklable(20)[3:9], itemify(Unpicklable(20)).sources[0]):
        again = pickle.loads(pickle.dumps(source))
        np.testing.assert_array_equal(again[[0,2]], source[[0,2]])
    items = pickle.loads(pickle.dumps(itemify(Unpicklable(20)[3:9], np.arange(6))))
    np.testing.assert_array_equal(items.batch([1])[0], Unpicklable(20)[[4]])

def test_reader_with_a_way_of_its_own():
    class ByTheBatch(SourceReader): way = 'at once'
    class Quick(Ramps):
        def reader(self): return ByTheBatch(self)
    dls = TSDataLoaders.from_memmap(Quick(180), y, splits=splits, bs=32)
    for _ in dls.train: pass
    assert dls.train.last_epoch.arrays[0].way=='at once'

@pytest.mark.parametrize('way,advice', [('computed','one by one'), ('at once','does not say where')])
def test_nobody_knows_what_is_in_memory(way, advice):
    "Not of rows that a source makes; of those that it has in memory it says so"
    class Ways(SourceReader): pass
    Ways.way = way
    class Elsewhere(Ramps):
        def reader(self): return Ways(self)
    class Here(Elsewhere): in_memory = True
    for source,share,shown in ((Elsewhere(180),None,'–'), (Here(180),1,'100%')):
        dls = TSDataLoaders.from_memmap(source, y, splits=splits, bs=32)
        for _ in dls.train: pass
        s = dls.train.last_epoch
        assert s.arrays[0].share_in_memory==share and f'<td>{shown}</td>' in s._repr_html_()
    s = EpochStats(dict(dict.fromkeys(PHASES, 0.), data=5.), [ArrayStats('a', way, 3000, 9000, None, False)], 1, 1, shuffled=True)
    assert advice in s.advice and '  –\n' in repr(s)

@pytest.mark.parametrize('several', [False,True])
def test_rows_without_variables(several):
    "What an array would be given an axis for has to have one"
    class Flat(Source):
        shape,dtype = (20,8),np.dtype('f4')
        def row(self, i): return np.zeros(8, 'f4')
    X = (Ramps(20),Flat()) if several else Flat()
    with pytest.raises(ValueError, match=r'Flat of shape \(20, 8\).*rows of \(vars, steps\)'):
        TSDataLoaders.from_memmap(X, np.arange(20)%2, splits=(range(10),range(10,20)))

@pytest.mark.parametrize('row', [np.zeros((1,8), 'f4'), np.zeros(8, 'f4'), np.float32(0), np.zeros((2,7), 'f4')], ids=str)
def test_row_of_another_shape(row):
    "It would be stretched without a word"
    class Odd(Ramps):
        def row(self, i): return row if i==7 else super().row(i)
    dls = TSDataLoaders.from_memmap(Odd(180), y, splits=splits, bs=32, drop_last=False)
    with pytest.raises(ValueError, match=r'row 7 of Odd has shape .*says \(2, 8\)'): list(dls.train)
    with pytest.raises(ValueError, match='row 7 of Odd'): memmap_stats(Odd(180))

@pytest.mark.parametrize('row', [None,'text',1.5], ids=str)
def test_row_of_another_dtype(row):
    class Odd(Source):
        shape,dtype = (9,),np.dtype('i4')
        def row(self, i): return row
    with pytest.raises(TypeError, match='row 0 of Odd is of dtype .*says int32'): Odd().reader().read(np.arange(3))

def test_what_a_source_lacks():
    class NoShape(Source): dtype = np.dtype('f4')
    class NoDtype(Ramps): dtype = property(lambda self: None, lambda self, o: None)
    class Name(Source): shape,dtype = (9,2,3),'float32'
    with pytest.raises(TypeError, match='NoShape has no `shape`'): as_source(NoShape())
    with pytest.raises(TypeError, match=r"NoDtype has no `dtype`.*np\.dtype"): TSDataLoaders.from_memmap(NoDtype(20))
    with pytest.raises(TypeError, match="Name has dtype='float32'"): as_source(Name())
    for cls,said in ((Ramps(3),'the class itself'), (dict,'subclass of `Source`'), (Ramps,'no class method `takes')):
        with pytest.raises(TypeError, match=said): register_source(cls)
