"itemify takes the same time and memory for 10**8 rows as for 10**2"
import pickle, time, tracemalloc, numpy as np, pytest
from fastcore.foundation import L
from memmap_ts.all import *

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
