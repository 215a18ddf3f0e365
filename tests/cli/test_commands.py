"Mistakes in one line, the words of a shell, and `memmap_ts_stats`"
import io, numpy as np, pandas as pd, pytest
from memmap_ts.bench.reading import bench
from memmap_ts.bench.statistics import bench_stats
from memmap_ts.bench.writing import bench_write
from memmap_ts.cli.demo import demo
from memmap_ts.cli.messages import in_one_line, in_shell_words
from memmap_ts.cli.stats import stats
from memmap_ts.stats import memmap_stats

def said(command, **kwargs):
    with pytest.raises(SystemExit) as e: command(**kwargs)
    return e.value.code

commands = [demo,bench,bench_write,bench_stats]

@pytest.mark.parametrize('command', commands, ids=lambda c: c.__name__)
def test_numbers_and_folders_that_make_no_sense(command, tmp_path):
    for kwargs,words in ((dict(gb=-1), '--gb -1: it has to be at least 0'), (dict(gb=float('nan')), '--gb nan'), (dict(gb=1e9, path=str(tmp_path)), 'do not fit'), (dict(path=str(tmp_path/'none')), 'none: no such folder')):
        assert words in said(command, **kwargs)
    assert not list(tmp_path.iterdir())

@pytest.mark.parametrize('command,kwargs', [(demo,dict(epochs=0)), (demo,dict(epochs=-3)), (bench_write,dict(repeat=0)), (bench_stats,dict(repeats=0)), (bench,dict(secs=-1))])
def test_too_few(command, kwargs, tmp_path):
    assert f'--{[*kwargs][0]} ' in said(command, path=str(tmp_path), **kwargs)

def test_a_folder_that_is_a_file(tmp_path):
    (tmp_path/'f').touch()
    assert 'no such folder' in said(demo, path=str(tmp_path/'f'))

def test_one_line(capsys):
    with pytest.raises(SystemExit, match='^a b$'), in_one_line(): raise OSError('a\n b')
    with pytest.raises(ZeroDivisionError), in_one_line(): raise ZeroDivisionError # a fault of ours keeps its traceback
    with pytest.raises(SystemExit, match='130'), in_one_line(interrupted=lambda: 'stopped'): raise KeyboardInterrupt
    assert capsys.readouterr().err.strip()=='stopped'

@pytest.mark.parametrize('text,want', [
    ('pass `overwrite=True` to', 'pass `--overwrite` to'), ('with data_cols, which', 'with --data, which'), ("data_cols=['a', 'b'] is", '--data a,b is'), ('chunk_rows=0: at least', '--rows 0: at least'),
    ('values of dtype f4: dtype=f2', 'values of dtype f4: --dtype f2'), ('--data and my_data_cols', '--data and my_data_cols'), ('stack=True or stack=False', '--stack or --join'),
    ('stack=False: for arrays only', '--join: for arrays only'), ('stack, dtype: for arrays only', '--stack, --dtype: for arrays only'), ('stack: of what', '--stack: of what'),
    ('No file /data/dtype=f4/data_cols/a.csv', 'No file /data/dtype=f4/data_cols/a.csv'), ('dtype=3/a.csv: chunk_rows=0', 'dtype=3/a.csv: --rows 0'), (r'C:\data\dtype=3\a', r'C:\data\dtype=3\a'), ('dtype=3.csv exists', 'dtype=3.csv exists'),
    ("no column 'data_cols' in ['chunk_rows', 'dtype=1']: data_cols=['a']", "no column 'data_cols' in ['chunk_rows', 'dtype=1']: --data a"), ("pandas' own data_cols, can't dtype='f4'", "pandas' own --data, can't --dtype 'f4'")])
def test_words_of_a_shell(text, want):
    options = {'stack=False':'join', 'stack':'stack', 'overwrite':'overwrite', 'data_cols':'data', 'chunk_rows':'rows', 'dtype':'dtype'}
    assert in_shell_words(text, options)==want

@pytest.mark.parametrize('by', ['var','var,step','all'])
def test_stats_as_csv(by, tmp_path, capsys):
    "All lines, and all digits"
    X = np.random.default_rng(0).normal(size=(20,30,4))
    np.save(tmp_path/'X.npy', X)
    stats(str(tmp_path/'X.npy'), by=by, csv=True)
    want = memmap_stats(X, by=by if by=='all' else tuple(by.split(','))).to_df()
    got = pd.read_csv(io.StringIO(capsys.readouterr().out), index_col=list(range(want.index.nlevels)), float_precision='round_trip')
    np.testing.assert_array_equal(got.to_numpy(), want.to_numpy())
