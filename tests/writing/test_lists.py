"A list of arrays or of files: parts of one array, or samples, and never a shape that nobody meant"
import numpy as np, pytest, torch
from pathlib import Path
from fastcore.foundation import L
from memmap_ts.windows import windows
from writers import labels, need, rng, same, to

samples = [rng.normal(size=(3,30)).astype('float32') for _ in range(12)]

def saved(tmp_path, arrays):
    fns = [tmp_path/f's{i:02}.npy' for i in range(len(arrays))]
    for fn,a in zip(fns, arrays): np.save(fn, a)
    return fns

kinds = {'arrays': lambda d: samples, 'files': lambda d: saved(d, samples), 'str': lambda d: list(map(str, saved(d, samples))), 'tuple': lambda d: tuple(samples), 'L': lambda d: L(samples),
         'torch': lambda d: list(map(torch.from_numpy, samples)), 'generator of files': lambda d: iter(saved(d, samples)), 'lists': lambda d: [a.tolist() for a in samples]}

@pytest.mark.parametrize('kind', list(kinds))
def test_two_dimensions_are_ambiguous(kind, tmp_path):
    with pytest.raises(ValueError, match=r'12 arrays, the first of shape \(3, 30\).*stack=True.*\(12, 3, 30\).*stack=False'): to(kinds[kind](tmp_path), tmp_path)
    assert not list(tmp_path.glob('out*'))
    for stack,want in ((True,np.stack(samples)), (False,np.concatenate(samples))):
        same(to(kinds[kind](tmp_path), tmp_path, dtype='float32', stack=stack, overwrite=True), want)

def test_plain_lists(tmp_path):
    with pytest.raises(ValueError, match=r'stack=True.*\(2, 2\)'): to([[1,2],[3,4]], tmp_path)
    assert to([[1,2],[3,4]], tmp_path, stack=True).tolist()==[[1,2],[3,4]]
    assert to([['a','bc'],['d']], tmp_path, 'labels.npy').tolist()==['a','bc','d']

def test_targets_are_joined(tmp_path):
    "Files and arrays of one dimension"
    for a in (labels, np.arange(103)):
        for src in ([a[:50],a[50:]], saved(tmp_path, [a[:50],a[50:]])): same(to(src, tmp_path, overwrite=True), a)

def test_parts_are_joined(tmp_path):
    X = np.stack(samples)
    for src in ([X[:5],X[5:]], saved(tmp_path, [X[:5],X[5:]])): same(to(src, tmp_path, overwrite=True), X)
    same(to([X[0]], tmp_path, overwrite=True), X[0]) # one array is what it is
    y = windows(np.arange(40.), 4, horizon=[1,2])[1]
    assert to([y,y], tmp_path, overwrite=True).shape[0]==2*len(y) # rows of a source are samples

@pytest.mark.parametrize('files', [True,False])
def test_samples_of_different_shape(files, tmp_path):
    odd = [*samples[:4], samples[4][:,:29]]
    with pytest.raises(ValueError, match=r's04\.npy has shape \(3, 29\), the first sample \(3, 30\)' if files else r'sample 4 has shape \(3, 29\)'):
        to(saved(tmp_path, odd) if files else odd, tmp_path, stack=True)
    with pytest.raises(ValueError, match='stack=True'): to([a.T for a in odd], tmp_path) # (steps, vars) could be joined
    assert not list(tmp_path.glob('out*'))

def test_samples_from_a_generator(tmp_path):
    same(to((a for a in samples), tmp_path, stack=True), np.stack(samples))
    same(to((a for a in samples), tmp_path, 'rows.npy'), np.concatenate(samples)) # chunks of rows, as it always was

def test_many_files(tmp_path):
    "More of them than a process may have open"
    resource = pytest.importorskip('resource', reason='limits are of Unix')
    soft,hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    fns = saved(tmp_path, [np.full((1,2), i) for i in range(150)])
    fds = Path('/proc/self/fd')
    most = max((int(o.name) for o in fds.iterdir()), default=0)+50 if fds.is_dir() else 100 # beside what tests before have open
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(most, soft),hard))
    try: made = to(fns, tmp_path, stack=True)
    finally: resource.setrlimit(resource.RLIMIT_NOFILE, (soft,hard))
    assert made[:,0,1].tolist()==list(range(150))

@pytest.mark.parametrize('kind', ['array','path','generator','dask','samples'])
def test_transpose(kind, tmp_path):
    want = np.stack(samples)
    a = np.ascontiguousarray(want.swapaxes(1, 2))
    src = {'array':lambda: a, 'path':lambda: saved(tmp_path, [a])[0], 'generator':lambda: (a[i:i+5] for i in (0,5,10)),
           'dask':lambda: need('dask.array').from_array(a, (5,10,2)), 'samples':lambda: saved(tmp_path, list(a))}[kind]()
    same(to(src, tmp_path, transpose=True, **({'stack':True} if kind=='samples' else {})), want)

def test_what_can_not_be_meant(tmp_path):
    for kw,words in ((dict(transpose=True), r'transpose=True is for arrays of \(samples, steps, vars\)'), (dict(stack=True), 'pass a list')):
        for src in (samples[0], saved(tmp_path, samples[:1])[0], need('dask.array').from_array(samples[0])):
            with pytest.raises(ValueError, match=words): to(src, tmp_path, **kw)
    pd = need('pandas')
    for kw in (dict(transpose=True), dict(stack=True)):
        with pytest.raises(TypeError, match=f'{[*kw][0]}={[*kw.values()][0]}: for arrays only.*steps_in_rows=True'): to(pd.DataFrame({'a':[1.]}), tmp_path, **kw)
    assert not list(tmp_path.glob('out*'))
