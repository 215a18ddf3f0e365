"Looking at arrays"
import numpy as np, pytest
from memmap_ts.all import *
from memmap_ts.describe import facts_of, share_in_page_cache
from memmap_ts.io.linux import Linux
from memmap_ts.io.system import system

def test_describe(data):
    import matplotlib.pyplot as plt
    before = plt.get_fignums()
    d = describe(*data, seed=0)
    x,y = d.facts
    assert x['shape']=='200 × 3 × 20' and x['dtype']=='float32' and x['file']==str(data[0])
    assert y['classes']=='3: cat 67, dog 67, eel 66'
    assert [a.get_title() for a in d.fig.axes[:4]]==['cat','dog','eel','values']
    assert '200 × 3 × 20' in repr(d) and '<img' in d._repr_html_() and '<table>' in d._repr_html_()
    assert plt.get_fignums()==before

@pytest.mark.parametrize('X', [
    np.zeros((5,4)), np.full((5,2,3), np.nan), np.arange(5), np.array(['<b>','b']), np.zeros((0,2,3)),
    np.zeros((4,2,3), '>f4'), np.zeros((4,2,3), bool)])
def test_odd_arrays(X, saved):
    for a in (X, saved(X)):
        assert repr(describe(a)) and '<b>' not in describe(a)._repr_html_()

_counted,_huge = np.arange(1200).reshape(60,2,10),np.finfo('f8').max

@pytest.mark.filterwarnings('error::RuntimeWarning')
@pytest.mark.parametrize('X', [
    np.full((60,2,10), 1e17), 1_700_000_000_000_000_000+_counted, np.full((60,2,10), 2**63+5, 'u8'), np.full((60,2,10), 3e38, 'f4'),
    1.7e308*(-1.)**_counted, 1.7e308*(-1.)**_counted[:,0], np.full((60,2,10), _huge), np.where(_counted==5, _huge, 1.),
    np.where(_counted%20<10, 1.7e308*(-1.)**_counted, _counted), _counted%3*5e-324],
    ids=['equal','times','unsigned','float32','both_signs','one_variable','largest','one_far_out','one_of_two','smallest'])
def test_large_values(X):
    "Few numbers lie between them, or their difference is none: they are drawn all the same"
    d = describe(X, seed=0)
    bars = [a for a in d.fig.axes if a.get_title()=='values']
    assert len(bars)==1 and bars[0].patches and '<img' in d._repr_html_() and 'not finite' not in d.facts[0]

def test_windows(saved):
    "Facts are those of the series, on disk or in RAM"
    fn = saved(np.arange(600.).reshape(300,2))
    d = describe(*windows(fn, 20, horizon=5))
    assert [o['windows'] for o in d.facts]==['276 × 2 × 20','276 × 2 × 5']
    assert all(o['file']==str(fn) and o['shape']=='300 × 2' for o in d.facts)
    assert '276 × 2 × 20' in repr(d) and '<img' in d._repr_html_()
    X,y = windows(np.arange(300), 20, horizon=1)
    d = describe(X, y)
    assert 'file' not in d.facts[0] and d.facts[1]['windows']=='280'
    with pytest.raises(ValueError, match='280 rows and y 279'): describe(X, y[:-1])

def test_reads_only_some_rows(tmp_path):
    "A terabyte, most of which no disk has"
    X = create_memmap(tmp_path/'X.npy', (10**6,100,2500))
    assert describe(X).facts[0]['size']=='1.0 TB'

@pytest.mark.skipif(not isinstance(system, Linux), reason='only Linux tells what is in memory')
def test_page_cache(saved):
    fn = saved(np.ones(2**20))
    with open(fn, 'rb') as f: f.read()
    assert share_in_page_cache(open_memmap(fn)) > .9
    system.evict(fn)
    share = share_in_page_cache(open_memmap(fn))
    if share > .5: pytest.skip('the file system keeps it')
    assert facts_of(open_memmap(fn))['in page cache']==f'{share:.0%}'

def test_samples_of_any_length(tmp_path):
    "How long they are, what padding would cost, and a plot of each; some of them are huge"
    lengths = [3]*127+[2_000_000] # two batches
    R = to_ragged((np.full((2,n), n, 'f4') for n in lengths), tmp_path/'v.npy', tmp_path/'l.npy', progress=False)
    d = describe(R, np.arange(128)%2, seed=0)
    x = d.facts[0]
    assert x['samples']=='128 × 2 × 2,000,000' and x['file']==str(tmp_path/'v.npy')
    assert x['steps']=='3 to 2,000,000 in a sample, half of them have 3 at most'
    assert x['padding']=='98% of batches of 64 in random order' # 63 of 64 samples of one of them
    assert [a.get_title() for a in d.fig.axes[:4]]==['0','1','values','steps of a sample'] and '<img' in d._repr_html_()
    x = describe(ragged(np.arange(9)%2, [3,6])).facts[0]
    assert x['samples']=='2 × 6' and x['padding'].startswith('25%')

def test_several_inputs():
    X = np.zeros((5,1,9), 'f4')
    with pytest.raises(TypeError, match=r'tuple of 2 inputs.*describe\(X\[0\], y\)'): describe((X,X))
