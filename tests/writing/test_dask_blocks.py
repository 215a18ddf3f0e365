"dask's workers write the blocks of an array"
import numpy as np, pytest
from memmap_ts.write import MemmapWriter
from memmap_ts.writing.dask import Region, _pieces
from memmap_ts.writing.part import UnfinishedFile
from writers import X, labels, names, need, same, to

def dask(): return need('dask.array')

def test_dask_block_of_another_shape(tmp_path):
    x = dask().from_array(np.arange(40.).reshape(10,4), chunks=(5,4))
    with pytest.raises(ValueError, match=r'block of shape \(5, 2\).*\(5, 4\).*map_blocks'): to(x.map_blocks(lambda b: b[:,:2]), tmp_path)
    assert to(x.map_blocks(lambda b: b[:,:2], chunks=(5,2)), tmp_path).tolist()==np.arange(40.).reshape(10,4)[:,:2].tolist()

def test_dask_block_of_another_run(tmp_path):
    "A task that is still there when its run has failed does not write to the file of the next one"
    p = UnfinishedFile(tmp_path/'a.npy')
    p.begin((), 'i8')
    late = Region(p, (4,))
    p.close(keep=False)
    with pytest.raises(OSError): late[np.s_[:4],] = np.ones(4, 'i8')
    with MemmapWriter(tmp_path/'a.npy') as w:
        w.append(np.zeros(4, 'i8'))
        with pytest.raises(OSError, match='another run'): late[np.s_[:4],] = np.ones(4, 'i8')
        w.append(np.zeros(4, 'i8'))
    assert (tmp_path/'a.npy').stat().st_size==128+8*8 and not np.load(tmp_path/'a.npy').any()

def test_dask_strings(tmp_path):
    words = np.array(['a','bbb','cc','dddd'])
    for d in (None, str, '<U9'): assert to(dask().from_array(words, chunks=2), tmp_path, overwrite=True, dtype=d).tolist()==words.tolist()
    for src in (dask().from_array(np.arange(4), chunks=2), np.arange(4), [[],np.arange(4)]):
        for casting in ('safe','unsafe'):
            with pytest.raises(TypeError, match='make strings of them'): to(src, tmp_path, 'no.npy', dtype=str, casting=casting)
    assert to([[],words], tmp_path, 'w.npy', dtype=str).tolist()==words.tolist() and names(tmp_path)==['out.npy','w.npy']

def test_dask_byte_strings(tmp_path):
    "Text in UTF-8, as those of any other array, unless bytes are asked for"
    raw = np.array([b'a','läuft'.encode(),b'',b'bb'])
    src = dask().from_array(raw, chunks=2)
    for d in (None, str, '<U9'): assert to(src, tmp_path, overwrite=True, dtype=d).tolist()==to(raw, tmp_path, 'n.npy', overwrite=True, dtype=d).tolist()==['a','läuft','','bb']
    for d in ('S','S9'): assert to(src, tmp_path, overwrite=True, dtype=d).tolist()==raw.tolist()
    with pytest.raises(ValueError, match="decode it before.*dtype='S'"): to(dask().from_array(np.array([b'l\xe4uft']), 1), tmp_path, 'no.npy')

def test_dask_in_a_list(tmp_path):
    x = dask().from_array(X, (20,-1,-1))
    np.testing.assert_array_equal(to([x,x[x[:,0,0]>0]], tmp_path), np.concatenate([X,X[X[:,0,0]>0]]))

@pytest.mark.parametrize('scheduler', ['threads','processes','synchronous'])
def test_dask_schedulers(scheduler, tmp_path):
    da,dask = need('dask.array'),need('dask')
    x = da.from_array(X, (20,-1,3))*2
    with dask.config.set(scheduler=scheduler): same(to(x, tmp_path), X*2)

def test_dask_distributed(tmp_path):
    da,distributed = need('dask.array'),need('distributed')
    def where(block): # which process made it
        import os; return np.full_like(block, os.getpid(), dtype='i8')
    with distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster, distributed.Client(cluster):
        same(to(da.from_array(X, (10,-1,-1))+1, tmp_path), X+1)
        pids = to(da.from_array(X, (1,-1,-1)).map_blocks(where, dtype='i8'), tmp_path, 'pids.npy')
        with pytest.raises(ValueError, match='does not fit'): to(da.from_array(X, (10,-1,-1)), tmp_path, 'no.npy', dtype='i1')
    import os
    assert os.getpid() not in pids and len(set(pids[:,0,0]))==2
    assert sorted(p.name for p in tmp_path.iterdir())==['out.npy','pids.npy']

def test_dask_unknown_rows(tmp_path):
    da = need('dask.array')
    x = da.from_array(X, (10,-1,-1))
    x = x[x[:,0,0]>0]
    with pytest.raises(ValueError, match='compute_chunk_sizes'): to(x, tmp_path)
    same(to(x.compute_chunk_sizes(), tmp_path), X[X[:,0,0]>0])
    with pytest.raises(TypeError, match='object'): to(da.from_array(np.array([None]*3), 3), tmp_path, 'o.npy')
    with pytest.raises(ValueError, match='does not fit'): to(da.from_array(labels, 10).map_blocks(lambda b: b, dtype='<U3'), tmp_path, 'o.npy')
    assert sorted(p.name for p in tmp_path.iterdir())==['out.npy']

@pytest.mark.parametrize('first,block,n_pieces', [((2,0,3),(2,2,3),4), ((2,0,0),(2,2,6),1), ((0,1,0),(5,1,6),5), ((3,0,0),(0,2,6),1)])
def test_pieces_of_a_block(first, block, n_pieces):
    "A block is written in as many pieces as its values lie apart; each says how many values come before it"
    whole = np.arange(5*2*6).reshape(5,2,6)
    part = whole[tuple(slice(o, o+n) for o,n in zip(first, block))]
    pieces = list(_pieces(first, block, whole.shape))
    assert len(pieces)==n_pieces
    for i,n_before in pieces: assert part[i].ravel().tolist()==list(range(n_before, n_before+part[i].size))
