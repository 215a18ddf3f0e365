"What is no array of samples, though it may look like one: lists of paths, arrays of different shapes, (samples, steps, vars)"
import numpy as np, pytest
from fastcore.foundation import L
from fastai.data.block import CategoryBlock, DataBlock
from fastai.data.transforms import ItemGetter
from memmap_ts.block import MemmapBlock
from memmap_ts.describe import describe
from memmap_ts.dls import TSDataLoaders
from memmap_ts.items import itemify
from memmap_ts.stats import memmap_stats
from memmap_ts.windows import windows
from memmap_ts.write import to_memmap

y = np.arange(12)%2

@pytest.fixture
def paths(tmp_path):
    fns = [tmp_path/f'{i}.npy' for i in range(12)]
    for i,fn in enumerate(fns): np.save(fn, np.full((3,30), i, 'float32'))
    return fns

users = {
    'from_memmap': lambda o: TSDataLoaders.from_memmap(o, y), 'several inputs': lambda o: TSDataLoaders.from_memmap((np.zeros((12,3,4)),o), y), 'itemify': lambda o: itemify(o, y),
    'DataBlock': lambda o: DataBlock((MemmapBlock,CategoryBlock), getters=[ItemGetter(0),ItemGetter(1)]).dataloaders(itemify(o, y)),
    'windows': lambda o: windows(o, 5), 'memmap_stats': memmap_stats, 'describe': describe}

@pytest.mark.parametrize('user', list(users))
@pytest.mark.parametrize('wrap', [list, lambda o: list(map(str, o)), L], ids=['paths','strings','L'])
def test_a_list_of_paths(user, wrap, paths):
    with pytest.raises(TypeError, match=r"a list of 12 paths.*0\.npy.*to_memmap\(paths, 'X\.npy', stack=True\)"): users[user](wrap(paths))

def test_the_advice(paths, tmp_path):
    X = to_memmap(paths, tmp_path/'X.npy', stack=True, progress=False)
    assert TSDataLoaders.from_memmap(X, y, bs=4, num_workers=0).one_batch()[0].shape==(4,3,30)

def test_labels_are_no_paths():
    assert itemify(np.zeros((2,3,4)), ['cat','a.npz'])[1][1]=='a.npz'

@pytest.mark.parametrize('user', ['from_memmap','windows','memmap_stats','describe'])
def test_arrays_of_different_shape(user):
    with pytest.raises(ValueError, match=r'12 arrays of different shapes \(\(3, 30\), \(3, 31\), \(3, 32\), …\).*pad or cut'): users[user]([np.ones((3,30+i)) for i in range(12)])

def test_more_variables_than_steps(tmp_path):
    "Said where something else is wrong, and where one looks"
    X = np.zeros((12,30,3), 'float32')
    hint = r'more variables \(30\) than steps \(3\).*transpose=True'
    for kwargs,error in ((dict(sel_steps=[20]),IndexError), (dict(sel_steps=slice(10,20)),ValueError), (dict(sel_vars=30),IndexError)):
        with pytest.raises(error, match=hint): TSDataLoaders.from_memmap(X, y, **kwargs)
    assert 'transpose=True' in repr(describe(X)) and 'transpose' not in repr(describe(X.swapaxes(1, 2), X))
    with pytest.raises(IndexError) as e: TSDataLoaders.from_memmap(X.swapaxes(1, 2), y, sel_steps=[30])
    assert 'transpose' not in str(e.value)
    to_memmap(X, tmp_path/'X.npy', transpose=True, progress=False)
    TSDataLoaders.from_memmap(tmp_path/'X.npy', y, sel_steps=[20])

@pytest.mark.parametrize('labels', [[np.array(['a']),np.array(['a','b'])]*6, [np.zeros(2),np.zeros(3)]*6, [[.5],[1.,2.]]*6], ids=['text','numbers','lists'])
def test_targets_of_different_shape(labels):
    with pytest.raises(ValueError, match='12 arrays of different shapes.*pad or cut'): TSDataLoaders.from_memmap(np.zeros((12,3,4),'f4'), labels)

@pytest.mark.parametrize('src', [[[[1,2],[3]],[[4,5],[6]]], [[[1,2],[3]]]], ids=['two','one'])
def test_chunks_of_different_shape(src, tmp_path):
    with pytest.raises(ValueError, match=r'2 arrays of different shapes \(2, 1, …\).*pad or cut'): to_memmap(src, tmp_path/'X.npy', progress=False)

def test_a_table_that_is_not_of_pandas():
    "polars has `columns` too, and `dtypes` that are a list"
    class Table:
        columns,dtypes = ['a'],[float]
    with pytest.raises(TypeError, match="can't take rows from Table"): windows(Table(), 5)
