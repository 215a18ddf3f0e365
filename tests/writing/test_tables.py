"Samples of tables: what tsai's `df2xy` makes of them"
import numpy as np, pandas as pd, pytest
from decimal import Decimal
from tsai.data.preparation import df2xy
from memmap_ts.write import to_memmap
from memmap_ts.ragged import to_ragged
from memmap_ts.writing.frames import table_parts
from writers import labels, need, rng, same, to

n,steps = 41,6
def long_steps(): return pd.DataFrame({'id':np.repeat(np.arange(n)*3, steps), 't':np.tile(np.arange(steps), n), 'a':rng.normal(size=n*steps), 'b':rng.integers(0,9,n*steps), 'y':np.repeat(labels[:n], steps), 'z':np.repeat(rng.normal(size=n), steps)})
def long_feats(): return pd.DataFrame(rng.normal(size=(n*3,steps)), columns=[f's{i}' for i in range(steps)]).assign(id=np.repeat([f'id{i:03}' for i in range(n)], 3), var=['u','v','w']*n, y=np.repeat(np.arange(n), 3))
first = lambda o: o[:,:1]
tables = {
    'wide': (lambda: pd.DataFrame(rng.normal(size=(n,9))).rename(columns=str).assign(y=labels[:n]), dict(target_col='y')),
    'wide, columns': (lambda: pd.DataFrame(rng.normal(size=(n,9))).rename(columns=str).assign(y=1.5, z=2.), dict(data_cols=['3','1'], target_col=['y','z'])),
    'wide, id': (lambda: pd.DataFrame(rng.normal(size=(n,9))).rename(columns=str).assign(id=np.arange(n), y=labels[:n]), dict(sample_col='id', target_col='y')),
    'steps': (long_steps, dict(sample_col='id', data_cols=['a','b'], target_col='y', steps_in_rows=True, sort_by='t', y_func=first)),
    'steps, one': (long_steps, dict(sample_col='id', data_cols=['a'], target_col=['z'], steps_in_rows=True, y_func=first)),
    'steps, y of each': (long_steps, dict(sample_col='id', data_cols=['a'], target_col='b', steps_in_rows=True, y_func=lambda o: o)),
    'steps, several y': (long_steps, dict(sample_col='id', data_cols=['a'], target_col=['z','b'], steps_in_rows=True, y_func=lambda o: o[:,-1:])),
    'steps, several y of all rows': (long_steps, dict(sample_col='id', data_cols=['a'], target_col=['z','b'], steps_in_rows=True, y_func=lambda o: o)),
    'feats': (long_feats, dict(sample_col='id', feat_col='var', target_col='y', y_func=first)),
    'feats, columns': (long_feats, dict(sample_col='id', feat_col='var', data_cols=['s1','s2'], target_col='y', y_func=lambda o: o.mean(1, keepdims=True))),
    'flat': (long_steps, dict(sample_col='id', data_cols=['a'], target_col='z', sort_by=['t'], y_func=first)),
    'no y': (long_steps, dict(sample_col='id', data_cols=['b','a'], steps_in_rows=True)),
}

@pytest.mark.parametrize('kind', ['frame','shuffled','csv','parquet','frames','csvs'])
@pytest.mark.parametrize('name', list(tables))
@pytest.mark.parametrize('chunk_rows', [None,7])
def test_table(name, kind, chunk_rows, tmp_path):
    make,kw = tables[name]
    df = make()
    want_X,want_y = df2xy(df.copy(), **kw)
    src,before = df,df.copy()
    if kind=='shuffled':
        if 'sample_col' not in kw: pytest.skip('without samples the order is that of the rows')
        if 'sort_by' not in kw and 'feat_col' not in kw and name!='wide, id': pytest.skip('nothing says how the steps are ordered')
        src = df.sample(frac=1, random_state=0); before = src.copy()
    if kind=='csv': df.to_csv(src := tmp_path/'t.csv', index=False)
    if kind=='parquet': need('pyarrow'); df.to_parquet(src := tmp_path/'t.parquet', index=False)
    if kind=='frames': src = (df[i:i+10] for i in range(0, len(df), 10))
    if kind=='csvs': df[:25].to_csv(tmp_path/'1.csv', index=False); df[25:].to_csv(tmp_path/'2.csv', index=False); src = [tmp_path/'1.csv',tmp_path/'2.csv']
    if 'csv' in kind and want_y is not None and want_y.dtype.kind in 'fiu': kw = {**kw, 'y_dtype':want_y.dtype} # else text
    if want_y is None: got_X = to(src, tmp_path, chunk_rows=chunk_rows, **kw)
    else:
        got_X,got_y = to(src, tmp_path, chunk_rows=chunk_rows, y_fn=tmp_path/'y.npy', **kw)
        same(got_y, want_y.astype(str) if want_y.dtype==object or want_y.dtype.kind not in 'fiu' else want_y)
    assert got_X.shape==want_X.shape
    (np.testing.assert_allclose if 'csv' in kind else np.testing.assert_array_equal)(got_X, want_X)
    if kind in ('frame','shuffled'): pd.testing.assert_frame_equal(src, before) # `df2xy` would have sorted it in place

@pytest.mark.parametrize('kind', ['frame','csv'])
@pytest.mark.parametrize('form', ['steps','feats','flat'])
def test_several_targets(form, kind, tmp_path):
    "One row of targets a sample, where tsai has one of (columns × rows)"
    df = long_feats() if form=='feats' else long_steps()
    z = np.random.default_rng(1).normal(size=n); z[3] = np.nan
    df = df.assign(z=np.repeat(z, len(df)//n), w=np.repeat(np.arange(n)%5, len(df)//n))
    kw = dict(steps=dict(data_cols=['a','b'], steps_in_rows=True), feats=dict(data_cols=['s1','s2'], feat_col='var'), flat=dict(data_cols=['a']))[form]
    if kind=='csv': df.to_csv(tmp_path/'t.csv', index=False)
    src = tmp_path/'t.csv' if kind=='csv' else df
    want_X,all_y = df2xy(df.copy(), 'id', target_col=['z','w'], **kw)
    assert all_y.shape==(n, 2*len(df)//n) # what we do not make
    if kind=='csv': kw['y_dtype'] = 'float64' # else text
    got_X,got_y = to(src, tmp_path, y_fn=tmp_path/'y.npy', chunk_rows=10, sample_col='id', target_col=['z','w'], **kw)
    np.testing.assert_allclose(got_X, want_X); np.testing.assert_allclose(got_y, np.stack([z,np.arange(n)%5], 1))
    df.loc[len(df)//n-1,'w'] = 9
    if kind=='csv': df.to_csv(src, index=False)
    with pytest.raises(ValueError, match=r"'w' changes within a sample \(0, 9, …\).*y_func"): to(src, tmp_path, 'bad.npy', y_fn=tmp_path/'bad_y.npy', chunk_rows=10, sample_col='id', target_col=['z','w'], **kw)
    assert not list(tmp_path.glob('bad*'))

@pytest.mark.parametrize('chunk_rows', [None,steps,3*steps])
@pytest.mark.parametrize('kind', ['frame','csv'])
def test_label_in_each_row_of_a_sample(kind, chunk_rows, tmp_path):
    "One label a sample if all rows have it; if any sample has two, an error, whatever the parts that are read"
    df,kw = long_steps(),dict(chunk_rows=chunk_rows, sample_col='id', data_cols=['a','b'], steps_in_rows=True, y_fn=tmp_path/'y.npy', overwrite=True)
    def made(target, **more):
        src = df
        if kind=='csv': df.to_csv(src := tmp_path/'t.csv', index=False)
        return np.array(to(src, tmp_path, target_col=target, **kw, **more)[1])
    assert made('y').tolist()==labels[:n].tolist()
    if kind=='csv': kw['y_dtype'] = 'float64' # else text
    np.testing.assert_allclose(made('z'), df.z[::steps])
    rows = df.b.to_numpy().reshape(n, steps)
    for name,want in (('first',rows[:,0]),('last',rows[:,-1]),('all',rows)): np.testing.assert_array_equal(made('b', y_func=name), want)
    df.loc[20*steps+1,'y'] = 'other'
    kw.pop('y_dtype', None)
    with pytest.raises(ValueError, match="target 'y' changes within a sample .*y_func='last'"): made('y')
    with pytest.raises(ValueError, match="y_func='each': choose 'first'"): made('y', y_func='each')

@pytest.mark.parametrize('kind', ['frame','csv'])
def test_sort_by_is_not_data(kind, tmp_path):
    "tsai makes a variable of it; here only if it is asked to"
    df = long_steps()[['id','t','a','b']].groupby('id', sort=False).sample(frac=1, random_state=0)
    want = df2xy(df.copy(), 'id', data_cols=['a','b'], steps_in_rows=True, sort_by='t')[0]
    if kind=='csv': df.to_csv(tmp_path/'t.csv', index=False)
    src,kw = tmp_path/'t.csv' if kind=='csv' else df, dict(sample_col='id', steps_in_rows=True, sort_by='t')
    np.testing.assert_allclose(to(src, tmp_path, '1.npy', **kw), want)
    theirs = df2xy(df.copy(), **kw)[0]; assert theirs.shape[1]==3
    np.testing.assert_allclose(to(src, tmp_path, '2.npy', data_cols=['t','a','b'], **kw), theirs)
    wide = pd.DataFrame({'when':[3,1,2], 's0':[30.,10.,20.], 's1':[31.,11.,21.]})
    assert to(wide, tmp_path, '3.npy', sort_by='when').tolist()==[[[10,11]],[[20,21]],[[30,31]]]

def test_descending(tmp_path):
    "tsai gives y in the other order than X here; these belong together"
    df = long_steps()
    X1,y1 = to(df, tmp_path, y_fn=tmp_path/'y.npy', sample_col='id', data_cols=['a'], target_col='y', steps_in_rows=True, y_func=first, ascending=False)
    assert X1[0,0].tolist()==df['a'][-steps:].tolist() and y1.tolist()==df['y'][::-steps].tolist()

def test_bad_tables(tmp_path):
    df = long_steps()
    def fails(src, say, **kw):
        with pytest.raises(ValueError, match=say): to(src, tmp_path, sample_col='id', steps_in_rows=True, data_cols=['a'], **kw)
        assert not list(tmp_path.glob('out*'))
    fails(df[:-1], 'sample 120 has 5 rows, others have 6')
    fails(df[:-1], 'sample 120 has 5 rows, others have 6', chunk_rows=7)
    fails(df.assign(id=np.nan), 'missing values')
    df.sample(frac=1, random_state=0).to_csv(tmp_path/'t.csv', index=False)
    fails(tmp_path/'t.csv', 'sort the file', chunk_rows=10)
    feats = long_feats()
    feats.loc[4,'var'] = 'u'
    with pytest.raises(ValueError, match="rows for each of"): to(feats, tmp_path, sample_col='id', feat_col='var', data_cols=['s1'])
    (tmp_path/'n.csv').write_text('\n'.join(['a', *map(str, range(100)), '0.5']))
    with pytest.raises(ValueError, match='pass another dtype'): to(tmp_path/'n.csv', tmp_path, chunk_rows=50)
    assert to(tmp_path/'n.csv', tmp_path, chunk_rows=50, dtype='f8')[-1,0,0]==.5

@pytest.mark.parametrize('kind', ['frame','csv'])
def test_large_integers_stay(kind, tmp_path):
    "Columns of several types are not made float32 on the way"
    df = pd.DataFrame(dict(a=[16777217,3], b=[True,False], c=[.1,.2]))
    if kind=='csv': df.to_csv(tmp_path/'t.csv', index=False)
    got = to(df if kind=='frame' else tmp_path/'t.csv', tmp_path, dtype='f8')
    assert got.ravel().tolist()==[16777217,1,.1, 3,0,.2]
    nullable = pd.DataFrame(dict(a=pd.array([16777217,3], 'Int64'), b=pd.array([1,2], 'Int64')))
    assert to(nullable, tmp_path, 'n.npy', dtype='int64').ravel().tolist()==[16777217,1,3,2]
    words = pd.DataFrame(dict(a=['1.5','2'], b=[1,2]))
    assert to(words, tmp_path, 'w.npy').ravel().tolist()==[1.5,1,2,2]
    with pytest.raises(ValueError): to(words.replace('2', 'two'), tmp_path, 'x.npy')

@pytest.mark.parametrize('other', [[.5,1], pd.array([1,None], 'Int64'), np.uint64([1,2**64-1])], ids=['floats','missing','unsigned'])
@pytest.mark.parametrize('kind', ['frame','parquet'])
def test_no_float_has_its_digits(kind, other, tmp_path):
    "No type holds such integers and what is beside them: an error, in whichever column they are"
    def save(df):
        if kind=='frame': return df
        if kind=='parquet': need('pyarrow')
        df.to_parquet(tmp_path/'t.parquet')
        return tmp_path/'t.parquet'
    ids = pd.array([2**53+1,None], 'Int64') if hasattr(other, 'isna') else np.array([2**53+1,7])
    df = pd.DataFrame(dict(id=ids, x=other))
    for columns in (['id','x'], ['x','id']):
        with pytest.raises(ValueError, match=r"column '(id|x)' has \d+, of which a float keeps \d+.*data_cols"): to(save(df[columns]), tmp_path, 'no.npy')
    assert to(save(df.assign(id=[2**53,2**60])), tmp_path, data_cols=['id']).ravel().tolist()==[2**53,2**60]

@pytest.mark.parametrize('rows', [4,6,12])
def test_same_variables_in_all_parts(rows, tmp_path):
    d = pd.DataFrame(dict(id=np.repeat(np.arange(6),2), f=['a','b']*3+['a','c']*3, x=np.arange(12.)))
    with pytest.raises(ValueError, match='not every sample has rows for each of'): to(d, tmp_path, chunk_rows=rows, sample_col='id', feat_col='f')

def test_categories_and_descending_variables(tmp_path):
    d = pd.DataFrame(dict(id=np.repeat(np.arange(6),2), f=['z','a']*6, x=np.arange(12.)))
    want = d.x.to_numpy().reshape(6,2,1)
    same(to(d.assign(id=d.id.astype('category')), tmp_path, 'a.npy', chunk_rows=4, sample_col='id', feat_col='f', data_cols='x'), want[:,::-1])
    same(to(d.assign(f=pd.Categorical(d.f, ['z','a'])), tmp_path, 'b.npy', chunk_rows=4, sample_col='id', feat_col='f', data_cols='x'), want)
    same(to(d, tmp_path, 'c.npy', chunk_rows=4, sample_col='id', feat_col='f', data_cols='x', ascending=False), want[::-1])
    same(to(d.sample(frac=1, random_state=0).assign(t=d.index), tmp_path, 'd.npy', sample_col='id', sort_by=['id','f'], data_cols='x')[:,0], want[:,::-1,0])

@pytest.mark.parametrize('times', [('9:00','10:00'), ('02.01.2020','01.02.2020'), ('1/31/2020','12/1/2019'), ('2020-1-9','2020-1-10'), ('step 9','step 10')], ids=str)
@pytest.mark.parametrize('kind', ['frame','csv'])
def test_times_that_text_does_not_sort(kind, times, tmp_path):
    "Rows that are in order in a table do not become steps in disorder"
    df = pd.DataFrame(dict(id=['V9','V9','V10','V10'][::-1], t=list(times)*2, x=[1,2,3,4]))
    if kind=='csv': df.to_csv(tmp_path/'t.csv', index=False)
    src = df if kind=='frame' else tmp_path/'t.csv'
    with pytest.raises(ValueError, match="column 't' would be sorted as text.*leave sort_by out"): to(src, tmp_path, 'no.npy', sample_col='id', sort_by='t', steps_in_rows=True)
    assert to(src, tmp_path, sample_col='id', data_cols='x', steps_in_rows=True).tolist()==[[[1,2]],[[3,4]]]

def test_times_that_text_sorts(tmp_path):
    for times in (['2020-01-10','2020-01-09'], ['10:00','09:30'], ['b','a'], pd.to_datetime(['2020-02-01','2020-01-02'])):
        df = pd.DataFrame(dict(id=0, t=times, x=[1,2]))
        assert to(df, tmp_path, overwrite=True, sample_col='id', sort_by='t', steps_in_rows=True).tolist()==[[[2,1]]]

def _written(kind, times, tmp_path):
    "A sample whose values are 0, 1, … in the order of its times, in a table that has them backwards"
    df = pd.DataFrame(dict(id=0, t=times, x=np.arange(len(times), dtype=float)))[::-1]
    if kind=='frame': return df
    fn = tmp_path/f't.{kind}'
    df.to_csv(fn, index=False) if kind=='csv' else df.to_parquet(fn, index=False)
    return fn

@pytest.mark.parametrize('kind', ['frame','csv','parquet'])
@pytest.mark.parametrize('times', [
    pd.date_range('2024-10-27', periods=6, freq='h', tz='Europe/Berlin').astype(str).tolist(), # clocks are put back
    ['2024-01-01 00:00+00:00','2024-01-01 01:30+01:00','2024-01-01 01:00+00:00'],
    ['2024-01-01T00:00:00Z','2024-01-01T00:00:00.500Z','2024-01-01T00:00:01Z'],
    ['2024-01-01T05:00','2024-01-01 06:00','2024-01-01T07:00']], ids=['clocks','offsets','fractions','T'])
def test_times_of_iso_8601(kind, times, tmp_path):
    if kind=='parquet': pytest.importorskip('pyarrow', reason='parquet is read by pyarrow, which is optional')
    src = _written(kind, times, tmp_path)
    how = dict(sample_col='id', sort_by='t')
    assert to(src, tmp_path, steps_in_rows=True, **how).tolist()==[[[*range(len(times))]]]
    assert to_ragged(src, tmp_path/'values.npy', tmp_path/'lengths.npy', progress=False, **how)[0].tolist()==[[*range(len(times))]]

@pytest.mark.parametrize('times', [['09:00 AM','10:00 AM','01:00 PM'], ['30.01.24','31.01.24','01.02.24'], ['2024-Jan-01','2024-Feb-01'],
                                   ['Q4 2023','Q1 2024'], ['30 Jan 2024','1 Feb 2024']], ids=lambda o: o[0])
@pytest.mark.parametrize('kind', ['frame','csv'])
def test_times_that_would_change_places(kind, times, tmp_path):
    with pytest.raises(ValueError, match="column 't' would be sorted as text.*pd.to_datetime"):
        to(_written(kind, times, tmp_path), tmp_path, sample_col='id', sort_by='t', steps_in_rows=True)

def test_rows_without_a_place_of_their_own(tmp_path):
    df = pd.DataFrame(dict(id=[1]*4+[2]*4, t=[1,0,1,2]*2, x=np.arange(8.)))
    how = dict(sample_col='id', sort_by='t', steps_in_rows=True)
    with pytest.warns(RuntimeWarning, match=r"2 rows have the same \['t'\] as another one of their sample, for example \[.*1.*1.*\]") as told:
        assert to(df, tmp_path, **how).tolist()==[[[1,0,2,3]],[[5,4,6,7]]]
    assert told[0].filename.endswith('writers.py')
    df.t = df.t.astype(float)
    df.loc[5,'t'] = np.nan
    with pytest.raises(ValueError, match="rows without a place in their sample: 't' has missing values"): to(df, tmp_path, 'no.npy', **how)

def test_numbers_with_an_underscore(tmp_path):
    "Python makes 12 of 1_2"
    with pytest.raises(ValueError, match="column 'a' does not hold numbers.*'1_2'"): to(pd.DataFrame(dict(a=['1_2','3'])), tmp_path)
    (tmp_path/'t.csv').write_text('a,b\n1_2,1\n3,2\n')
    with pytest.raises(ValueError, match="column 'a' does not hold numbers.*'1_2'"): to(tmp_path/'t.csv', tmp_path)

def test_digits_of_objects(tmp_path):
    "Decimals, missing numbers and numbers as strings keep their digits; other things are named"
    df = pd.DataFrame(dict(a=[Decimal('1.123456789012'),Decimal(2)], b=np.array([16777217,None], object), c=['0.1234567890123','4'], d=pd.array([16777217,None], 'Int64')))
    for d in (None, 'float64'): np.testing.assert_array_equal(to(df, tmp_path, dtype=d, overwrite=True)[:,0], [[1.123456789012,16777217,.1234567890123,16777217],[2,np.nan,4,np.nan]])
    assert to(df, tmp_path, dtype='f4', overwrite=True).dtype==np.float32
    for bad in (['x','y'], pd.to_datetime(['2020','2021']), [[1],[2,3]]):
        with pytest.raises(ValueError, match="column 'q' does not hold numbers.*data_cols"): to(df.assign(q=bad), tmp_path, 'no.npy')

def test_columns_of_tables(tmp_path):
    one = pd.DataFrame(dict(a=[1.,2.], b=[3.,4.]))
    with pytest.raises(ValueError, match="several columns are named 'b'"): to(pd.concat([one,one[['b']]], axis=1), tmp_path)
    for by in ({}, dict(sample_col='id')):
        tables = [one.assign(id=range(2)), one.assign(id=range(2,4))]
        with pytest.raises(ValueError, match="no column 'b'"): to([tables[0],tables[1].drop(columns='b')], tmp_path, 'no.npy', **by)
        with pytest.raises(ValueError, match=r"columns \['c'\] are not in the first"): to([tables[0],tables[1].assign(c=1.)], tmp_path, 'no.npy', **by)
        assert to([tables[0],tables[1][['b','id','a']].assign(c=1.)], tmp_path, data_cols=['a','b'], overwrite=True, **by).tolist()==[[[1,3]],[[2,4]]]*2

def test_columns_that_are_numbers(tmp_path):
    df = pd.DataFrame([[7,1.,2.],[8,3.,4.]])
    a,y = to(df, tmp_path, target_col=0, y_fn=tmp_path/'y.npy')
    assert a.tolist()==[[[1,2]],[[3,4]]] and y.tolist()==[7,8]
    with pytest.raises(ValueError, match='go together'): to(df, tmp_path, 'no.npy', target_col=0)
    assert to(df, tmp_path, 'X2.npy', sample_col=0, data_cols=1, sort_by=2).tolist()==[[[1]],[[3]]]

def test_columns_keep_their_types(tmp_path):
    df = pd.DataFrame({'a':np.float32([1,2]), 'b':np.array([3,4], object)})
    assert to_memmap(df[['a']].astype({'a':'float32'}), tmp_path/'a.npy').dtype==np.float32
    assert to_memmap(df.assign(b=df.b.astype('complex64').astype(object)), tmp_path/'c.npy').dtype.kind=='c'

def test_steps_of_which_sample(tmp_path):
    with pytest.raises(ValueError, match='needs a sample_col'): to_memmap(pd.DataFrame({'a':[1.,2.]}), tmp_path/'X.npy', steps_in_rows=True)
    with pytest.raises(TypeError, match=r"to_memmap\(\) got an unexpected keyword argument 'feat_cols'.*feat_col,"): to_memmap(pd.DataFrame({'a':[1.,2.]}), tmp_path/'X.npy', feat_cols='a')

def test_parts_of_a_table(tmp_path):
    "Parts have the rows that were asked for; the share that is done is told after each"
    df = pd.DataFrame(dict(id=np.repeat(range(4), 3), a=np.arange(12.)))
    shares = []
    parts = table_parts(df, 5, None, ['a'], False, ['a'], False, shares.append)
    assert [o.a.tolist() for o in parts]==[[11,10,9,8,7],[6,5,4,3,2],[1,0]] and shares==[5/12,10/12,1]
    df.to_csv(tmp_path/'t.csv', index=False)
    parts = list(table_parts(tmp_path/'t.csv', 5, 'id', ['id'], True, ['id'], True, shares.append))
    assert [o.id.unique().tolist() for o in parts]==[[0],[1,2],[3]] and all(list(o)==['id'] for o in parts)
    with pytest.raises(ValueError, match="not sorted by 'id'"): # found where two parts meet
        list(table_parts([df[6:],df[:6]], None, 'id', ['id'], True, ['id'], True, shares.append))

@pytest.mark.parametrize('kind', ['frame','frames','parquet','parquets'])
@pytest.mark.parametrize('chunk_rows', [None,7])
def test_levels_of_an_index(kind, chunk_rows, tmp_path):
    "They are columns for whoever names them, and no data else; parquet files know them, too"
    df = long_steps()
    by_index = df.set_index(['id','t'])
    parts = [by_index] if kind in ('frame','parquet') else [by_index[:10],by_index[10:]]
    if 'parquet' in kind:
        need('pyarrow')
        for i,o in enumerate(parts): o.to_parquet(tmp_path/f'{i}.parquet')
        parts = [tmp_path/f'{i}.parquet' for i in range(len(parts))]
    src = parts[0] if len(parts)==1 else parts
    def both(**kwargs): return (to(o, tmp_path, fn, y_fn=tmp_path/f'y{fn}', target_col='y', sample_col='id', steps_in_rows=True, chunk_rows=chunk_rows, overwrite=True, **kwargs) for o,fn in ((src,'1.npy'),(df,'2.npy')))
    for kwargs in (dict(sort_by='t'), dict(sort_by='t', data_cols=['b','a']), dict(data_cols=['a','t']), dict(data_cols=['t'])):
        for got,want in zip(*both(**kwargs)): same(got, want)
    X = to(src, tmp_path, '3.npy', data_cols=['a','b'], chunk_rows=chunk_rows) # named nowhere
    np.testing.assert_array_equal(X[:,0], df[['a','b']])
    with pytest.raises(ValueError, match=r"no column 'q' in the table: there are \['id', 't', 'a'"): to(src, tmp_path, 'no.npy', sample_col='q')

def test_an_index_is_no_data(tmp_path):
    "Whatever it is called; a level and a column of the same name are the column"
    df = pd.DataFrame(dict(a=[1.,2.], b=[3.,4.]), index=pd.Index([7,8], name='id'))
    for src in (df, df.rename_axis(None), df.reset_index(drop=True), [df]): assert to(src, tmp_path, overwrite=True)[:,0].tolist()==[[1,3],[2,4]]
    both = df.assign(id=[1,2])
    for src in (both, [both]): assert to(src, tmp_path, sample_col='id', overwrite=True)[:,0].tolist()==[[1,3],[2,4]]
    assert to(df[::-1], tmp_path, sort_by='id', overwrite=True)[:,0].tolist()==[[1,3],[2,4]]

def test_objects_as_targets(tmp_path):
    "Numbers in any wrapping are numbers, strings are labels; anything else is an error that names the column"
    df = pd.DataFrame(dict(a=[1.,2.]))
    def y_of(values, **kwargs): return to(df.assign(q=values), tmp_path, y_fn=tmp_path/'y.npy', target_col='q', overwrite=True, **kwargs)[1]
    for values,want in ((np.array([1,2], object),[1,2]), (np.array([1,None], object),[1,np.nan]), ([Decimal('1.5'),Decimal(2)],[1.5,2]), (pd.array([1,2], 'Int64'),[1,2]),
                        (pd.Categorical(['u','v']),['u','v']), (['u','v'],['u','v']), (pd.array(['u','v'], 'string'),['u','v']), ([True,False],[True,False])): same(y_of(values), want)
    same(y_of(['1','2.5'], y_dtype='float32'), np.float32([1,2.5])); same(y_of([1,2], y_dtype=str), ['1','2']); same(y_of([1,2], y_dtype='float32'), np.float32([1,2]))
    same(to(df.assign(q=['u','v'], r=[1,2]), tmp_path, y_fn=tmp_path/'y.npy', target_col=['q','r'], y_dtype=str, overwrite=True)[1], [['u','1'],['v','2']])
    for values,say in (([[1],[2]],"column 'q' does not hold numbers but lists"), ([[1,2],[3,4]],'but lists'), ([np.ones(2)]*2,'but ndarrays'), ([1,'x'],"target 'q' is 1 in row 0 .*among labels"), (['x',None],"target 'q' is missing in row 1")):
        with pytest.raises(ValueError, match=say): y_of(values)
    with pytest.raises(ValueError, match='labels and numbers'): to(df.assign(q=['u','v'], r=[1,2]), tmp_path, 'no.npy', y_fn=tmp_path/'no_y.npy', target_col=['q','r'])
    for values in ([[1],[2]], [[1,2],[3,4]], [np.ones(2)]*2):
        with pytest.raises(ValueError, match="column 'q' does not hold numbers but .*data_cols"): to(df.assign(q=values), tmp_path, 'no.npy')

@pytest.mark.parametrize('kind', ['frame','index','levels','frames','csv','parquet','levels of parquet'])
@pytest.mark.parametrize('by', [None,'id'])
def test_which_row_is_wrong(kind, by, tmp_path):
    "The number of a row in the table, whatever its index, and the parts that are read"
    df = pd.DataFrame(dict(id=np.arange(12)//2, a=np.arange(12.), y=['u']*8+[None]+['v']*3))
    src = df
    if kind=='index': src = df.set_axis(np.arange(12)*25, axis=0)
    if 'levels' in kind: src = df.set_index(['id','y']).reset_index('y')
    if kind=='frames': src = [df[:5],df[5:]]
    if kind=='csv': df.to_csv(src := tmp_path/'t.csv', index=False)
    if 'parquet' in kind: need('pyarrow'); src.to_parquet(tmp_path/'t.parquet'); src = tmp_path/'t.parquet'
    with pytest.raises(ValueError, match=r"target 'y' is missing in row 8 \(the first is 0\)"):
        to(src, tmp_path, 'no.npy', chunk_rows=3, sample_col=by, data_cols=['a'], y_fn=tmp_path/'no_y.npy', target_col='y')
    if kind=='frame': # in the order of the DataFrame, not of the sort
        with pytest.raises(ValueError, match='in row 8 '): to(src, tmp_path, 'no.npy', sort_by='a', ascending=False, data_cols=['a'], y_fn=tmp_path/'no_y.npy', target_col='y')

def test_no_column_of_data(tmp_path):
    by_index = pd.DataFrame(dict(a=[1.,2.])).set_index('a')
    for src in (by_index, [by_index]):
        with pytest.raises(ValueError, match='no column is left for X'): to(src, tmp_path, 'no.npy')

def test_parquet_keeps_its_types(tmp_path):
    need('pyarrow')
    df = pd.DataFrame(dict(a=[1.,2.], n=[4,5], s=['01','NA'], d=[Decimal('1.5'),Decimal(2)], l=[[1,2],[3,4]]))
    df.to_parquet(tmp_path/'t.parquet')
    def y_of(c): return to(tmp_path/'t.parquet', tmp_path, data_cols=['a'], y_fn=tmp_path/'y.npy', target_col=c, overwrite=True)[1]
    same(y_of('n'), [4,5]); same(y_of('s'), ['01','NA']); same(y_of('d'), [1.5,2])
    with pytest.raises(ValueError, match="column 'l' does not hold numbers but ndarrays"): y_of('l')

@pytest.mark.parametrize('damage', ['empty','cut','values','text'])
@pytest.mark.parametrize('writer', ['to_memmap','to_ragged'])
def test_damaged_parquet_files_are_named(writer, damage, tmp_path):
    "pyarrow's own errors have no name of a file"
    need('pyarrow')
    pd.DataFrame(rng.normal(size=(10_000,3)), columns=list('abc')).to_parquet(tmp_path/'a.parquet')
    whole = (tmp_path/'a.parquet').read_bytes()
    damaged = {'empty':b'', 'cut':whole[:-100], 'values':whole[:1000]+bytes(100_000)+whole[101_000:], 'text':b'a,b\n1,2\n'}[damage]
    (tmp_path/'a.parquet').write_bytes(damaged)
    with pytest.raises(ValueError, match='a.parquet is no parquet file, or not a whole one .*copy it again'):
        if writer=='to_memmap': to(tmp_path/'a.parquet', tmp_path)
        else: to_ragged([tmp_path/'a.parquet'], tmp_path/'v.npy', tmp_path/'n.npy', progress=False)
    assert [o.name for o in tmp_path.iterdir()]==['a.parquet']
