"What the sidebar has, in which order: guides by question, the API by what users want, how it reads by folder"
import ast, re, sys
from pathlib import Path

# Groups and the notebooks of each, by name; the first pattern that fits decides
GROUPS = {
    'Start here':   r'901_\w+',
    'Guides':       r'9(?!90)\d\d_\w+',
    'Contribute':   r'\d+_(testing|versions|ahead|all|warn|cli\.messages)',
    'Benchmarks':   r'\d+_bench\.\w+',
    'How it reads': r'\d+_(npy|disk|work|io|data|epoch|summary|writing|learning)\.\w+',
    'API':          r'\d+_(cli\.)?\w+',
}
SIDEBAR = 'Start here', 'Guides', 'API', 'Benchmarks', 'How it reads', 'Contribute'

# Guides in the order in which they are looked for; those not named here come last
GUIDES = ['larger_than_ram', 'tables_and_stores', 'long_series', 'many_series', 'own_units', 'many_files', 'any_length',
          'imbalance', 'scaling', 'missing_values', 'new_data', 'stop_and_go_on', 'several_gpus',
          'why_is_my_epoch_slow', 'slow_disks', 'is_memmap_slow', 'gallery', 'coming_from_tsai',
          'tutorial_large_arrays']

# Words that readers search for, and that a guide may not have in its title
KEYWORDS = {
    'larger_than_ram':      'out of memory, memory error, large arrays',
    'tables_and_stores':    'csv, parquet, hdf5, zarr, pandas, convert',
    'long_series':          'forecast, forecasting, sliding window, split by time',
    'many_series':          'panel, global model, static covariates',
    'own_units':            'revin, inverse transform',
    'many_files':           'folder of files',
    'any_length':           'padding, variable length, ragged',
    'imbalance':            'imbalance, imbalanced, class weights, sample weights, oversampling',
    'scaling':              'standardize, normalize, scaling',
    'missing_values':       'nan, missing values, gaps, impute',
    'new_data':             'predict new data, predictions, inference, export, test set',
    'stop_and_go_on':       'checkpoint, resume, interrupted',
    'several_gpus':         'multi gpu, several gpus, distributed, ddp',
    'why_is_my_epoch_slow': 'slow, profiling, num_workers',
    'coming_from_tsai':     'get_ts_dls, tsai',
}
BENCHMARKS = ['bench.reading', 'bench.writing', 'bench.statistics']

# The first notebook of a folder has its design note; the others lie beneath it
FOLDERS = {
    'io': 'bytes to rows', 'data': 'rows to samples', 'epoch': 'samples to batches',
    'summary': 'statistics in one pass', 'writing': 'rows to whole files', 'learning': 'with a trained model',
    'disk': 'names of whole files', 'npy': 'headers of files', 'work': 'threads, bars, processes',
}

# What users call, by what they want: title, sentence, modules with a page of their own; and names that other pages have
API = {
    'api.loaders':    ('Loaders', 'Batches for fastai and tsai, read when they are needed', 'dls block load'),
    'api.arrays':     ('Arrays on disk', 'Open, create and recognise arrays that are files', 'store collect'),
    'api.writing':    ('Write arrays', 'Whatever the data are in becomes a file that can be mapped', 'write ragged'),
    'api.samples':    ('Samples and windows', 'Which samples there are, and what one is', 'items windows'),
    'api.statistics': ('Statistics and looks', 'What is in a file, without loading it', 'stats describe'),
    'api.training':   ('Train and predict', 'Long runs, several processes, predictions', 'learn resume distributed'),
    'api.commands':   ('Commands', 'From a shell; each has `--help`', 'cli.demo cli.info cli.stats cli.convert'),
}
ELSEWHERE = {'data.losses':'api.loaders', 'summary.units':'api.statistics', 'learning.unscaled':'api.training'}

def stem_of(name):
    "`295_windows.ipynb` is the page `windows`"
    return Path(name).stem.split('_', 1)[-1]

def grouped(names):
    "Notebooks' file names by group of the sidebar; all but the first page must be in one"
    res = {group: [] for group in SIDEBAR}
    for name in sorted(names):
        fits = [group for group,pattern in GROUPS.items() if re.fullmatch(pattern, Path(name).stem)]
        if not fits: sys.exit(f'{name} is in no group of the sidebar: see GROUPS in docs/layout.py')
        res[fits[0]].append(name)
    for group,first in {'Guides':GUIDES, 'Benchmarks':BENCHMARKS}.items():
        res[group].sort(key=lambda name: first.index(stem_of(name)) if stem_of(name) in first else len(first))
    return res

def by_folder(names):
    "Pages of each folder, in the order of `FOLDERS`, its design note first"
    stems = [stem_of(name) for name in names]
    return {folder: [stem for stem in stems if stem.startswith(f'{folder}.')] for folder in FOLDERS}

def public_names(root):
    "Which page has each name that `from memmap_ts.all import *` brings, and each command"
    tree = ast.parse((root/'memmap_ts'/'all.py').read_text(encoding='utf-8'))
    names = {o.name: node.module for node in tree.body if isinstance(node, ast.ImportFrom) for o in node.names}
    commands = API['api.commands'][-1].split()
    return {**names, **{page.split('.')[-1]: page for page in commands}}

def page_of_api(module):
    "The group of a module that users call"
    fits = [page for page,(_,_,modules) in API.items() if module in modules.split()]
    return fits[0] if fits else ELSEWHERE.get(module)

def keywords(page):
    "Entries of the index for a page, which the search looks at first"
    words = KEYWORDS[page].split(', ') if page in KEYWORDS else []
    return '\n'.join(f'```{{index}} ! single: {word}\n```' for word in words)

def toctree(entries, caption=None):
    "A list of pages that only the sidebar shows"
    return '\n'.join(['```{toctree}', ':hidden:', *([f':caption: {caption}'] if caption else []), '', *entries, '```'])
