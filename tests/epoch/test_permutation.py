"The order of an epoch is a function: of every number once, of chance, of nothing but (n, seed, epoch), in every version"
import math, time, tracemalloc
from itertools import combinations
import numpy as np, pytest
from hypothesis import given, settings, strategies as st
from forked import run
from memmap_ts.epoch.order import EpochOrder
from memmap_ts.epoch.permutation import (FeistelPermutation, SortedPermutation, epoch_key, permutation, random_bits)
from memmap_ts.io.linux import Linux
from memmap_ts.io.system import system

@pytest.mark.parametrize('cls', [SortedPermutation, FeistelPermutation])
def test_every_number_once(cls):
    for n in [*range(1, 2001), 2**14, 2**15+1, 2**16]:
        whole = cls(n, epoch_key(n, 0)).part(0, n)
        assert np.array_equal(np.sort(whole), np.arange(n)), n

@given(n=st.integers(2**16+1, 10**12), seed=st.integers(), epoch=st.integers(0, 10**6), data=st.data())
@settings(max_examples=60, deadline=None)
def test_any_part_of_many(n, seed, epoch, data):
    "No number twice in parts that do not meet, and a part is the part of a longer one"
    start = data.draw(st.integers(0, n-2000))
    order = EpochOrder(n, seed, epoch)
    part = order.part(start, start+2000)
    assert len(np.unique(part))==2000 and part.max()<n
    assert np.array_equal(order.part(start+700, start+900), part[700:900])
    assert order[start+5]==part[5] and np.array_equal(order[start+9:start+3:-1] if start else part[9:3:-1], part[9:3:-1])

@pytest.mark.parametrize('n', [65_537, 100_003, 2**17, 10**6+3])
def test_every_one_of_many_once(n):
    seen = np.zeros(n, bool)
    order = EpochOrder(n, 5, 1)
    for i in range(0, n, 30_000): seen[order.part(i, min(i+30_000, n))] = True
    assert seen.all()

# The order of a seed is a promise: whoever changes these numbers breaks everybody's runs
FROZEN = { # n, seed, epoch, first place: positions
    (5,0,0,0): [0, 2, 4, 3, 1],
    (1000,0,0,0): [557, 424, 325, 817, 208, 477],
    (1000,1,3,500): [466, 551, 344, 294, 507, 924],
    (65536,42,0,65530): [12963, 25788, 6421, 49818, 56430, 36699],
    (65537,42,0,0): [42343, 7107, 24880, 53177, 62638, 27062],
    (1000000,0,1,123456): [327466, 144164, 213125, 999137, 791552, 780557],
    (4294967296,7,2,2147483648): [3112267667, 2409629083, 3510744594, 3540467725, 427984313, 4038229977],
    (10000000000,-1,0,9000000000): [7334101298, 8311521834, 4925324279, 9729392406, 8044539566, 3793551323],
}

@pytest.mark.parametrize('n,seed,epoch,start', FROZEN)
def test_frozen(n, seed, epoch, start):
    assert EpochOrder(n, seed, epoch).part(start, start+6).tolist()==FROZEN[n,seed,epoch,start]

def p_value(found, sizes):
    "Of cells that are as likely as they are large, by chi-square; the normal approximation of Wilson and Hilferty"
    counts,k = np.bincount(found, minlength=len(sizes)),len(sizes)-1
    expected = sizes*(len(found)/sizes.sum())
    chi2 = ((counts-expected)**2/expected).sum()
    z = ((chi2/k)**(1/3)-(1-2/(9*k)))/math.sqrt(2/(9*k))
    return math.erfc(z/math.sqrt(2))/2

def of_seeds(n, places, epoch=0, make=permutation, n_seeds=1500):
    "Numbers at `places` for many seeds: (seeds, places)"
    def at(order): return [order.part(p, p+1)[0] for p in places]
    return np.array([at(make(n, epoch_key(seed, epoch))) for seed in range(n_seeds)], 'int64')

def all_p_values(n, places, n_bins, **kw):
    "Of where places land, pairs of them, their differences; of neighbouring seeds, of two epochs"
    a,b = of_seeds(n, places, **kw),of_seeds(n, places, epoch=1, **kw)
    x,y = (o*n_bins//n for o in (a,b))
    edges = -(-np.arange(n_bins+1)*n//n_bins)
    sizes = np.diff(edges).astype(float)
    def pairs(p, q): return p_value(p*n_bins+q, np.outer(sizes, sizes).ravel())
    for i in range(len(places)):
        yield f'place {places[i]}',p_value(x[:,i], sizes)
        yield f'epochs at {places[i]}',pairs(x[:,i], y[:,i])
        yield f'seeds at {places[i]}',pairs(x[:-1,i], x[1:,i])
    for i,j in combinations(range(len(places)), 2):
        apart = (a[:,i]-a[:,j])%n
        yield f'difference of {places[i]}, {places[j]}',p_value(apart*n_bins//n, sizes-(np.arange(n_bins)==0))
        if n>1000: yield f'pair {places[i]}, {places[j]}',pairs(x[:,i], x[:,j])

@pytest.mark.parametrize('n', [20, 100, 1000])
def test_chance_few(n):
    found = dict(all_p_values(n, [0,1,n//2,n-2,n-1], 10, n_seeds=6000))
    assert min(found.values())>1e-4, sorted(found.items(), key=lambda o: o[1])[:5]

@pytest.mark.parametrize('n', [65_537, 2**17, 10**8, 10**10])
def test_chance_many(n):
    half = 2**((n-1).bit_length()//2)
    found = dict(all_p_values(n, [0,1,half,n//2,n-1], 10))
    assert min(found.values())>1e-4, sorted(found.items(), key=lambda o: o[1])[:5]

@pytest.mark.parametrize('n', [3,4,5])
def test_each_order_equally_likely(n):
    orders = of_seeds(n, range(n), n_seeds=6000)
    which = np.unique(orders@n**np.arange(n), return_inverse=True)[1]
    assert p_value(which, np.ones(math.factorial(n)))>1e-4

def test_the_chance_of_numpy_passes_too():
    "And an order that is not random does not"
    class NumPys:
        def __init__(self, n, key): self.order = np.random.default_rng(key).permutation(n)
        def part(self, start, stop): return self.order[start:stop]
    class Turned(NumPys):
        def __init__(self, n, key): self.order = np.roll(np.arange(n), key%n)
    assert min(p for _,p in all_p_values(100, [0,1,50,99], 10, make=NumPys))>1e-4
    assert min(p for _,p in all_p_values(100, [0,1,50,99], 10, make=Turned))<1e-10

@pytest.mark.alone
def test_ten_billion_take_nothing():
    EpochOrder(10**10, 0, 0).part(0, 64)
    tracemalloc.start()
    took = []
    for epoch in range(20):
        start = time.perf_counter()
        order = EpochOrder(10**10, 0, epoch)
        took.append(time.perf_counter()-start)
        order.part(7*10**9, 7*10**9+64)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert np.median(took)<1e-3 and peak<1e6

def test_random_bits():
    assert random_bits(0, 5, 5).tolist()==[]
    bits = np.unpackbits(random_bits(3, 0, 4000).view('u1')).reshape(4000, 64)
    assert abs(bits.mean(0)-.5).max()<.05 and abs(np.corrcoef(bits.T)-np.eye(64)).max()<.08

@pytest.mark.skipif(not isinstance(system, Linux), reason='only Linux tells anonymous memory (RssAnon)')
def test_an_epoch_of_many_windows(tmp_path):
    "Windows of 10⁸ steps: the order of their epoch takes no memory worth a word"
    code = f'''
        import numpy as np
        from itertools import islice
        from memmap_ts.all import *
        from memmap_ts.testing import anonymous_memory
        fn = {str(tmp_path/'series.npy')!r}
        series = create_memmap(fn, (100_000_000, 1), 'float32') # holes: it takes no room on the disk
        def some(n):
            X,_ = windows(open_memmap(fn)[:n], 8, stride=1, horizon=1)
            dls = TSDataLoaders.from_memmap(X, splits=(range(len(X)-1000), range(len(X)-1000, len(X))), bs=64, seed=0)
            for _ in range(2):
                for b in islice(iter(dls.train), 50): pass
        some(100_000)
        start = anonymous_memory()
        some(100_000_000)
        print(anonymous_memory()-start)
    '''
    r = run(code)
    assert r.returncode==0, r.stderr
    assert int(r.stdout)<60e6
