"Anonymous memory does not grow with the array"
import numpy as np, pytest
from forked import run
from memmap_ts.all import *
from memmap_ts.io.linux import Linux
from memmap_ts.io.system import system

code = '''
    import sys, numpy as np, torch
    from fastai.data.block import CategoryBlock, DataBlock
    from fastai.data.transforms import ItemGetter, RandomSplitter
    from memmap_ts.all import *
    from memmap_ts.testing import anonymous_memory
    torch.set_num_threads(1) # as in all tests: others would only wait
    X,y,how,bs = *sys.argv[1:4],int(sys.argv[4])
    def make(X, y, bs):
        if how=='factory': return TSDataLoaders.from_files(X, y, bs=bs)
        d = DataBlock((MemmapBlock,CategoryBlock), get_items=itemify, getters=[ItemGetter(0),ItemGetter(1)], splitter=RandomSplitter())
        return d.dataloaders((X,y), bs=bs)
    small = np.random.rand(100,1,8).astype('f4')
    for _ in make(small, np.arange(100)%3, 8).train: pass # what is loaded once, whatever the data
    start = anonymous_memory()
    dls = make(X, y, bs); made = anonymous_memory()
    peak,n = made,0
    for dl in dls:
        for xb,yb in dl: n += len(xb); peak = max(peak, anonymous_memory()); xb.sum()
    print(made-start, peak-made, n)
'''

@pytest.mark.skipif(not isinstance(system, Linux), reason='only Linux tells anonymous memory (RssAnon)')
@pytest.mark.parametrize('how,shape,bs', [('factory',(20_000,50,512),64), ('datablock',(20_000,50,512),64), ('factory',(2_000_000,5,50),1024)])
def test_2GB(how, shape, bs, tmp_path):
    X = create_memmap(tmp_path/'X.npy', shape)
    assert X.nbytes >= 2e9
    np.save(tmp_path/'y.npy', np.arange(len(X))%7)
    r = run(code, tmp_path/'X.npy', tmp_path/'y.npy', how, bs)
    assert r.returncode==0, r.stderr
    setup,epoch,n = map(int, r.stdout.split())
    assert len(X)-bs <= n <= len(X)
    assert setup <= 50e6, f'{setup/1e6:.0f} MB to set up'
    assert epoch <= 150e6, f'{epoch/1e6:.0f} MB for an epoch'
