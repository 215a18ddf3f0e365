"itemify takes the same time and memory for 10**8 rows as for 10**2"
import pickle, time, tracemalloc, numpy as np, pytest
from copy import deepcopy
from fastcore.foundation import L
from memmap_ts.all import *

@pytest.mark.alone
@pytest.mark.parametrize('n', [10**2, 10**8])
def test_constant(tmp_path, n):
    X,y = create_memmap(tmp_path/'X.npy', (n,2,5)),create_memmap(tmp_path/'y.npy', n, 'u1')
    itemify(X, y) # imports and caches are not what is measured
    took = []
    for _ in range(20):
        t = time.perf_counter(); items = itemify(X, y); took.append(time.perf_counter()-t)
    assert min(took) < 1e-3
    tracemalloc.start()
    items = itemify(X, y); ten = items[range(n-10, n)]; rest = items[5:-5]; one = items[n//2]
    peak = tracemalloc.get_traced_memory()[1]; tracemalloc.stop()
    assert peak < 1e6
    assert len(items)==n and len(rest)==n-10 and len(ten.idxs)==10
    assert on_disk(one[0]) and len(pickle.dumps(items)) < 5000

def test_arrays_come_back(data):
    X,y = map(open_memmap, data)
    items = itemify(X, y)
    assert items.arrays[0] is X and items[::2].arrays[1] is y
    assert itemify((X,y)).arrays[0] is X
    tfm = Itemify()
    assert tfm.decode(tfm((X,y)))[0] is X

def test_rows_are_on_disk_and_read_only(data, sha):
    before = sha(data[0])
    x,y = itemify(open_memmap(data[0], 'r+'), data[1])[3]
    assert on_disk(x) and y=='cat'
    with pytest.raises(ValueError): x += 1
    assert sha(data[0])==before

def test_as_L(data):
    items = itemify(*data)
    assert items[:4].itemgot(1)==['cat','dog','eel','cat']
    assert items[:2].map(lambda o: o[1])==['cat','dog']
    assert L(items, use_list=True)[1][1]=='dog'
    assert sorted(items.shuffle().idxs)==list(range(200)) and items[5:7].map(len)==[2,2]
    assert repr(items[:2])=="(#2) [(float32[3,20], 'cat'), (float32[3,20], 'dog')]"
    assert [o[1] for o in items[5:7]]==['eel','cat']

@pytest.mark.parametrize('bad,err,words', [(5,TypeError,'int'), (np.array(1),TypeError,'no rows'), ((np.ones(3),np.ones(4)),ValueError,'3, 4 rows'), ('no.npy',FileNotFoundError,'create_memmap')])
def test_bad(bad, err, words):
    with pytest.raises(err, match=words): itemify(bad)

@pytest.mark.parametrize('i', [200,-201,[0,200],[True]])
def test_out_of_range(data, i):
    with pytest.raises(IndexError, match='200'): itemify(*data)[i]

def test_no_silent_load(data):
    with pytest.raises(TypeError, match='loaded'): np.asarray(itemify(*data))

@pytest.mark.parametrize('rows', [[-1],np.array([-1]),np.array([3,-5]),range(-1, 0)], ids=str)
def test_row_numbers_from_the_end(saved, rows):
    "Items of rows that are counted from the end are these rows, read one by one and at once"
    X = np.arange(20.).reshape(5,4)
    items = Items((open_memmap(saved(X)),), rows)
    np.testing.assert_array_equal(items.batch(range(len(items)))[0], X[list(rows)])
    np.testing.assert_array_equal(items[0][0], X[rows[0]])

def test_what_items_refuse():
    with pytest.raises(IndexError, match='item 5 is out of range for 5'): Items((np.zeros(5),), np.array([0,5]))
    with pytest.raises(IndexError, match='out of range for 5'): Items((np.zeros(5),), range(3, 8))
    with pytest.raises(ValueError, match='5, 4 rows'): Items((np.zeros(5),np.zeros(4)))

def test_arrays_lists_and_tuples():
    X,y = np.zeros((1000,3,50), 'f4'),np.array(['cat','dog'])[np.arange(1000)%2]
    items = itemify(X, y)
    assert itemify(items) is items and all(a is b for a,b in zip(itemify((X,y)).arrays, (X,y)))
    assert itemify([1,2,3])[1]==(2,) and itemify(X, L(range(1000)))[2][1]==2
    assert itemify([[1,2],[3]]).batch([1])==([[3]],)
    assert len(items[[]])==0
    with pytest.raises(TypeError, match='at least one'): itemify()

def test_pickle_and_copy(data):
    items = itemify(*data)
    again = pickle.loads(pickle.dumps(items[::3]))
    assert again.idxs==items[::3].idxs and on_disk(again.arrays[0])
    np.testing.assert_array_equal(again[2][0], items[6][0])
    np.testing.assert_array_equal(again.arrays[1], items.arrays[1])
    assert len(pickle.dumps(items))<2000
    np.testing.assert_array_equal(list(deepcopy(items[:2]))[1][0], items[1][0])

@pytest.mark.parametrize('i', [[0,10],[-11]])
def test_batch_out_of_range(i):
    with pytest.raises(IndexError, match='out of range for 10'): itemify(np.arange(10)).batch(i)
