"Long tables of many series: values and groups, from one table in constant memory, together or not at all"
import os, tracemalloc, warnings, numpy as np, pandas as pd, pytest
from memmap_ts.store import open_memmap
from memmap_ts.windows import windows
from memmap_ts.write import MemmapWriter, to_memmap
from writers import need, posix

rng = np.random.default_rng(0)
kw = dict(sample_col='unique_id', sort_by='ds', progress=False)

three = dict(a=40, b=7, c=100)

def long_table(lengths=three, freq='D'): # noqa: B006
    return pd.concat([pd.DataFrame({'unique_id':o, 'ds':pd.date_range(f'2024-01-{10+i}', periods=n, freq=freq), 'y':rng.normal(size=n), 'price':rng.normal(size=n)})
                      for i,(o,n) in enumerate(lengths.items())], ignore_index=True)
df = long_table()

def paths(tmp_path): return tmp_path/'series.npy', dict(groups_fn=tmp_path/'groups.npy')

@pytest.mark.parametrize('kind', ['frame','shuffled','index','csv','parquet','frames','csvs'])
@pytest.mark.parametrize('chunk_rows', [None,1,30])
def test_a_table_is_series_and_groups(kind, chunk_rows, tmp_path):
    src = df
    if kind=='shuffled': src = df.sample(frac=1, random_state=0)
    if kind=='index': src = df.set_index(['unique_id','ds'])
    if kind=='csv': df.to_csv(src := tmp_path/'t.csv', index=False)
    if kind=='parquet': need('pyarrow'); df.to_parquet(src := tmp_path/'t.parquet', index=False)
    if kind=='frames': src = (df[i:i+10] for i in range(0, len(df), 10))
    if kind=='csvs': df[:25].to_csv(tmp_path/'1.csv', index=False); df[25:].to_csv(tmp_path/'2.csv', index=False); src = [tmp_path/'1.csv',tmp_path/'2.csv']
    fn,files = paths(tmp_path)
    series,groups = to_memmap(src, fn, dtype='float32', chunk_rows=chunk_rows, **files, **kw)
    np.testing.assert_array_equal(series, df[['y','price']].to_numpy('f4'))
    assert groups['id'].tolist()==['a','b','c'] and groups['n_steps'].tolist()==[40,7,100]
    assert groups['start'].tolist()==[pd.Timestamp(f'2024-01-{d}') for d in (10,11,12)]
    X,_ = windows(series, 20, groups=groups)
    assert len(X)==21+81 and X.starts.ids.tolist()==['a','b','c']
    assert len(windows(fn, 20, groups=tmp_path/'groups.npy')[0])==len(X) # and from their paths
    assert X.per_group(pd.DataFrame({'s':[1.,2]}, index=['c','a']))[[0,-1]].tolist()==[[2],[1]]

def damaged():
    "A table of which something is wrong, and what is said"
    two = df.assign(ds=range(len(df)))
    yield two.iloc[np.r_[0:20,40:47,20:40]], r"series 'a' comes back in row 27 .*sort the file by 'unique_id'"
    yield two.iloc[np.r_[0:5,6,5,7:40]], r"time 5 of series 'a' comes after 6 in row 6"
    yield two.iloc[np.r_[0:5,4,5:40]], r"time 4 of series 'a' comes twice in row 5"
    yield two.assign(unique_id=two.unique_id.where(two.index!=50)), "'unique_id' has missing values"
    yield two.assign(ds=two.ds.where(two.index!=50)), "time 'ds' is nan in row 50"
    yield two.assign(ds=two.ds.astype('Int64').where(two.index!=50)), "time 'ds' is (nan|<NA>) in row 50"
    yield two.assign(ds=two.ds.astype(object).where(two.index!=50, 'soon')), "time 'ds' is 'soon' in row 50"
    yield two.assign(y='x'), "column 'y' does not hold numbers"
    yield two.assign(ds=two.ds.astype(float).where(two.index!=50, np.inf)), "time 'ds' is '?inf'? in row 50"
    yield two.iloc[np.r_[0:5,6,5,7:40]].astype({'ds':'uint32'}), r"time 5 of series 'a' comes after 6 in row 6"

@pytest.mark.parametrize('table,words', [*damaged()])
@pytest.mark.parametrize('chunk_rows', [4,1000])
@pytest.mark.parametrize('kind', ['frames','csv'])
def test_what_is_out_of_order_names_the_row(table, words, chunk_rows, kind, tmp_path):
    if kind=='csv': table.to_csv(tmp_path/'t.csv', index=False)
    src = tmp_path/'t.csv' if kind=='csv' else (table[i:i+4] for i in range(0, len(table), 4))
    fn,files = paths(tmp_path)
    with pytest.raises(ValueError, match=words.replace('is nan', "is (nan|None)")): to_memmap(src, fn, chunk_rows=chunk_rows, **files, **kw)
    assert [o.name for o in tmp_path.iterdir() if o.suffix!='.csv']==[] # neither file, and nothing unfinished

def test_gaps_are_told(tmp_path):
    fn,files = paths(tmp_path)
    with pytest.warns(RuntimeWarning, match=r"3 gaps in 'ds', for example after 2024-01-11 00:00:00 in series 'a'"):
        to_memmap(df.drop([2,50,51,60]), fn, **files, **kw)
    for freq in ('MS','D','h'):
        with warnings.catch_warnings():
            warnings.simplefilter('error', RuntimeWarning)
            to_memmap(long_table(freq=freq), fn, overwrite=True, **files, **kw)

def test_irregular_times_are_counted_in_little_room(tmp_path):
    "A distance of its own for each row"
    times = np.cumsum(1+np.arange(5000)/5000)
    table = pd.DataFrame({'unique_id':'a', 'ds':times, 'y':0.})
    with pytest.warns(RuntimeWarning, match=r"gaps in 'ds'") as warned:
        to_memmap((table[i:i+100] for i in range(0, 5000, 100)), tmp_path/'s.npy', groups_fn=tmp_path/'g.npy', **kw)
    n = int(str(warned[0].message).split()[0].replace(',', ''))
    assert abs(n-(np.diff(times)>1.5*np.diff(times).min()).sum())<.05*n

def test_both_files_or_none(tmp_path):
    "An error at any time, a name that is taken, and a second run"
    fn,files = paths(tmp_path)
    def parts():
        yield df[:30]
        raise KeyError('the source failed')
    with pytest.raises(KeyError): to_memmap(parts(), fn, **files, **kw)
    assert not list(tmp_path.iterdir())
    np.save(files['groups_fn'], np.arange(3))
    with pytest.raises(FileExistsError, match='groups.npy exists'): to_memmap(df, fn, **files, **kw)
    assert not fn.exists() and np.load(files['groups_fn']).tolist()==[0,1,2]
    to_memmap(df, fn, overwrite=True, **files, **kw)
    other = long_table(dict(z=9))
    with pytest.raises(FileExistsError, match='series.npy exists'): to_memmap(other, fn, **files, **kw)
    assert to_memmap(other, fn, overwrite=True, **files, **kw)[1]['id'].tolist()==['z'] and len(open_memmap(fn))==9

def test_writers_that_close_together(tmp_path):
    "Neither has its name before both are on the disk; who can't have it keeps the other from its own"
    a,b = (MemmapWriter(tmp_path/f'{o}.npy', resume=True) for o in 'ab')
    a.append(np.arange(5)); b.append(np.arange(3.))
    np.save(tmp_path/'b.npy', np.arange(2)) # meanwhile
    with pytest.raises(FileExistsError, match='b.npy was made while this writer was at work'): a.close(b)
    assert not (tmp_path/'a.npy').exists()
    (tmp_path/'b.npy').unlink()
    a,b = (MemmapWriter(tmp_path/f'{o}.npy', resume=True) for o in 'ab')
    assert (a.rows,b.rows)==(5,3) # they were kept
    a.close(b)
    assert open_memmap(tmp_path/'a.npy').tolist()==[0,1,2,3,4] and open_memmap(tmp_path/'b.npy').tolist()==[0,1,2]

@pytest.mark.parametrize('more,words', [(dict(sort_by=None), 'sort_by=None'), (dict(sample_col=None), 'sample_col=None'), (dict(target_col='y'), 'target_col'), (dict(feat_col='y'), 'feat_col: not with'),
    (dict(steps_in_rows=True), 'steps_in_rows: not with'), (dict(data_cols=['z']), "no column 'z'"), (dict(sep=';'), 'sep: for CSV files only')])
def test_arguments_that_do_not_suit(more, words, tmp_path):
    fn,files = paths(tmp_path)
    with pytest.raises((TypeError,ValueError), match=words): to_memmap(df, fn, **files, **{**kw, **more})
    with pytest.raises(TypeError, match='groups_fn: for tables only'): to_memmap(np.zeros((3,2)), fn, **files)
    assert not list(tmp_path.iterdir())

def test_a_long_series_takes_no_memory(tmp_path):
    "One series of 40 MB, read a little at a time"
    n,n_part = 5*10**6,10**5
    def parts():
        for i in range(0, n, n_part): yield pd.DataFrame({'id':'a', 't':np.arange(i, i+n_part), 'y':np.zeros(n_part)})
    tracemalloc.start()
    series,groups = to_memmap(parts(), tmp_path/'s.npy', groups_fn=tmp_path/'g.npy', sample_col='id', sort_by='t', progress=False)
    peak = tracemalloc.get_traced_memory()[1]; tracemalloc.stop()
    assert len(series)==n and groups.tolist()==[('a',n,0)] and peak<25e6, f'{peak/1e6:.0f} MB'

@posix
@pytest.mark.parametrize('kind', ['csv','frame'])
def test_one_process_of_a_launch_writes(kind, tmp_path, start):
    "The others take both files: of a file by its name, of a DataFrame after a look at its rows"
    fn,files = paths(tmp_path)
    df.to_csv(tmp_path/'t.csv', index=False)
    def write(me, table):
        series,groups = to_memmap(tmp_path/'t.csv' if kind=='csv' else table, fn, **files, **kw)
        return os.stat(fn).st_ino,os.stat(files['groups_fn']).st_ino,len(series),groups['id'].tolist()
    made = start(0, write, df).result()
    assert made[2:]==(147,['a','b','c']) and start(1, write, df).result()==made
    if kind=='frame':
        with pytest.raises(ValueError, match='has other values in rows'): start(2, write, df.assign(y=1.)).result()

def test_ids_that_are_numbers_and_text(tmp_path):
    "Text of all, if that tells them apart"
    table = pd.DataFrame(dict(unique_id=[1,1,'b','b'], ds=[1,2,1,2], y=np.arange(4.)))
    fn,files = paths(tmp_path)
    assert to_memmap([table[:2],table[2:]], fn, **files, **kw)[1]['id'].tolist()==['1','b']
    table['unique_id'] = [1,1,'1','1']
    with pytest.raises(ValueError, match="series '1' is there as a number and as text"): to_memmap([table[:2],table[2:]], fn, overwrite=True, **files, **kw)

@pytest.mark.parametrize('first', ['05.01.2025','01/05/2025 10:00','1-5-2025'])
@pytest.mark.parametrize('kind', ['csv','frame','category'])
def test_day_or_month(first, kind, tmp_path):
    "Where the year is at the end, nobody knows which is which"
    dates = [first]+[first.replace('5', str(i), 1) for i in (6,7,8)]
    src = pd.DataFrame({'unique_id':'a', 'ds':dates, 'y':1.})
    if kind=='csv': src.to_csv(tmp_path/'t.csv', index=False)
    if kind=='category': src['ds'] = src['ds'].astype('category')
    fn,files = paths(tmp_path)
    with pytest.raises(ValueError, match="'ds'.*2020-01-09"): to_memmap(tmp_path/'t.csv' if kind=='csv' else src, fn, **files, **kw)
    assert not fn.exists()

@pytest.mark.parametrize('times', [['2024-01-01 00:00:00','2024-01-01 00:00:00.500'], ['2024-01-01T00:00:00Z','2024-01-01 01:00:00.500Z'],
                                   ['2024-10-27 02:00+02:00','2024-10-27 02:00+01:00']], ids=['fraction','Z','offset'])
def test_times_of_iso_8601(times, tmp_path):
    df = pd.DataFrame(dict(id='a', t=times, x=[0.,1.]))
    df.to_csv(tmp_path/'t.csv', index=False)
    for i,src in enumerate((df, tmp_path/'t.csv')):
        series,groups = to_memmap(src, tmp_path/f'X{i}.npy', groups_fn=tmp_path/f'g{i}.npy', sample_col='id', sort_by='t', progress=False)
        start = pd.to_datetime(times[0], utc=True).tz_localize(None)
        assert series[:,0].tolist()==[0,1] and groups['start'][0]==start.to_datetime64()

def test_a_year_of_two_digits(tmp_path):
    df = pd.DataFrame(dict(id='a', t=['30.01.24','31.01.24','01.02.24'], x=[0.,1.,2.]))
    df.to_csv(tmp_path/'t.csv', index=False)
    for src,say in ((df, r"a year at the end \(30.01.24\)"), (tmp_path/'t.csv', "time 't' is '30.01.24': is the first number the day or the month")):
        with pytest.raises(ValueError, match=say):
            to_memmap(src, tmp_path/'X.npy', groups_fn=tmp_path/'g.npy', sample_col='id', sort_by='t', progress=False)
