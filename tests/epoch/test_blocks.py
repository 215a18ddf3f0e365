"Blocks in random order, and their rows mixed: every row once, a function of (n, seed, epoch), as random as it has to be"
import numpy as np, pytest
from hypothesis import given, settings, strategies as st
from memmap_ts.epoch.blocks import BlockOrder, block_sizes
from memmap_ts.epoch.order import EpochOrder

orders = st.builds(dict, n=st.integers(0, 3000), seed=st.integers(), epoch=st.integers(-5, 10**6),
                   block_rows=st.integers(1, 300), mix_blocks=st.integers(1, 30))

@given(args=orders, data=st.data())
@settings(max_examples=60, deadline=None)
def test_every_row_once_and_any_part(args, data):
    order,n = BlockOrder(**args),args['n']
    whole = order[:]
    assert len(order)==n and np.array_equal(np.sort(whole), np.arange(n))
    start,stop = sorted(data.draw(st.tuples(st.integers(0, n), st.integers(0, n))))
    assert np.array_equal(BlockOrder(**args).part(start, stop), whole[start:stop])
    assert [*order]==whole.tolist()

@given(args=orders)
@settings(max_examples=30, deadline=None)
def test_a_mix_has_the_rows_of_its_blocks(args):
    order = BlockOrder(**args)
    sizes = []
    for i in range(order.n_mixes):
        start,stop = order.starts[i:i+2].tolist()
        blocks = np.sort(order.blocks(i))
        assert np.array_equal(np.unique(order.part(start, stop)//order.block_rows), blocks)
        assert all(order.mix_at(o)==i for o in {start,stop-1} if start<stop)
        sizes.append(len(blocks))
    assert len(sizes)==1 or max(sizes)<=args['mix_blocks']+1 and max(sizes)-min(sizes)<=2 # with the incomplete block

@pytest.mark.parametrize('n', [70_000, 10**6+3, 10**10+7, 2**31])
def test_of_many(n):
    "Mixes of more rows than are sorted at once, positions beyond 32 bits"
    order = BlockOrder(n, 5, 1, 300, 300)
    for i in {0,order.n_mixes//2,order.n_mixes-1,max(order.mix_of_left, 0)}:
        start,stop = order.starts[i:i+2].tolist()
        rows,blocks = np.sort(order.part(start, stop)),np.sort(order.blocks(i).astype('i8'))
        want = (blocks[:,None]*300+np.arange(300)).reshape(-1)
        assert np.array_equal(rows, want[want<n]) and order.part(start, stop).dtype.kind=='i'
    assert order.starts[-1]==n

# The order of a seed is a promise: whoever changes these numbers breaks everybody's runs
FROZEN = { # n, seed, epoch, rows of a block, blocks of a mix, first place: positions
    (1000,0,0,16,8,0): [649, 262, 641, 870, 648, 521],
    (1000,1,3,16,8,500): [765, 122, 116, 593, 555, 467],
    (10**6+3,42,0,300,300,123_456): [272561, 700616, 491788, 497785, 849705, 129902],
    (10**10,-1,2,655,1024,9*10**9): [8872089821, 9613031477, 3239446304, 7398520326, 8407677320, 9314684893],
}

@pytest.mark.parametrize('case', FROZEN)
def test_frozen(case):
    *args,start = case
    assert BlockOrder(*args).part(start, start+6).tolist()==FROZEN[case]

def entropies(order, labels, bs=64, n_batches=1500):
    "Entropy of the labels in each batch, in bits"
    batches = labels[order[:n_batches*bs]].reshape(-1, bs)
    shares = (batches[:,:,None]==np.arange(labels.max()+1)).mean(1)
    return -(shares*np.log2(np.where(shares, shares, 1))).sum(1)

@pytest.mark.parametrize('row_bytes', [400, 4096, 40_000, 120_000])
def test_entropy_of_sorted_labels(row_bytes):
    "At least 99 % of that of rows in any order"
    n = 1_000_000
    labels = (np.arange(n)*10//n).astype('u1')
    rows,blocks = block_sizes([row_bytes,8])
    mean = np.mean([entropies(BlockOrder(n, seed, 0, rows, blocks), labels).mean() for seed in range(3)])
    assert mean>.99*entropies(EpochOrder(n, 0, 0), labels).mean()

def test_order_is_another_one_for_each_seed_and_epoch():
    orders = [BlockOrder(5000, *o, 16, 32)[:].tolist() for o in [(0,0),(0,1),(1,0)]]
    assert len(set(map(tuple, orders)))==3
    left = {BlockOrder(1001, 0, epoch, 16, 8).mix_of_left for epoch in range(100)} # rows at the end come in any mix
    assert left==set(range(8))

def test_places_are_even():
    "A row comes at any place as often, by chi-square over seeds; its neighbour is as far from it in a mix as others"
    n = 640
    places = np.array([np.argsort(BlockOrder(n, seed, 0, 16, 8)[:])[[0,1,-1]] for seed in range(1000)])
    for p in places.T:
        counts = np.bincount(p*10//n, minlength=10)
        assert ((counts-100)**2/100).sum()<30 # p=0.0004
    gaps = np.abs(places[:,0]-places[:,1])
    assert gaps.max()<128 and abs(gaps.mean()-128/3)<2 # of two rows of a mix of 128

@pytest.mark.parametrize('row_bytes,want', [([1],(2**18,1024)), ([400],(655,1024)), ([4096,8],(64,1024)), ([100_000],(15,357)),
    ([400_000],(5,268)), ([3*2**20],(1,170)), ([2**30],(1,1)), ([0],(2**18,1024)), ([4096]*8,(64,256))])
def test_sizes(row_bytes, want): assert block_sizes(row_bytes)==want
