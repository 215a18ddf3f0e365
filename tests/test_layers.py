"""
The house's rules, read from the source: who imports whom, whose private names are whose, how long a module is,
what a notebook has.

`python tests/test_layers.py` prints what breaks a rule, with file and line. pytest checks the same, and that each rule
finds what breaks it.
"""
import ast, json, re, sys
from collections import Counter
from functools import cache
from pathlib import Path

# A module imports only from what lies to the left of it along these arrows. A name is a file of the package, or a
# folder with all that is in it; inside a folder anything goes but a circle.
ARROWS = """
work, store <- io <- data <- items, windows <- epoch <- load <- block <- dls <- learning <- learn, distributed <- all
npy, disk <- store
warn <- npy, disk, work
data <- collect <- all
write, collect <- ragged <- all
data <- writing <- write <- learning
items, windows <- summary <- dls
summary <- stats, describe <- learning
learning <- resume <- all
all <- testing <- cli <- bench
versions <- __init__
ahead
"""
# What a room must not know, however it gets there
IGNORANT = {
    'npy': 'torch fastcore fasttransform fastai tsai',
    'disk': 'numpy torch fastcore fasttransform fastai tsai',
    'store': 'torch fastcore fasttransform fastai tsai',
    'work': 'fasttransform fastai tsai',
    'io': 'fasttransform fastai tsai',
}
# The only modules that ask which platform this is, or call the C library
PLATFORM = 'io.system io.linux io.darwin io.aio io.addresses'
# Private names of other libraries that we use, and why
FOREIGN = {
    '_DataLoader__idxs': "fastai's DataLoader keeps the order of an epoch there",
    '_methods': "fastai's DataLoader lists there what may be passed as a function",
    '_dbunch_type': "fastai's Datasets keeps there which DataLoaders it makes",
    '_setup': 'tsai marks by it the batch transforms that need statistics',
    '_mmap': "np.memmap's own mapping",
    '_new': "fastai's TfmdLists makes a subset by it, and fastcore's L",
}
NAMEDTUPLE = '_asdict', '_fields', '_make', '_replace' # public, although their names begin with _
MAX_LINES,MAX_CHARS = 200,120
NOTE = '## How it fits together' # heading of the design note, in the first notebook of every folder

ROOT = Path(__file__).resolve().parent.parent
STILL = Path(__file__).with_name('still_to_do.txt') # what breaks a rule today: it only gets shorter, and then goes

def allowed(arrows=ARROWS):
    "For each room, the rooms that it may import: all to the left of it"
    left = {}
    for line in arrows.strip().splitlines():
        floors = [floor.split(', ') for floor in line.split(' <- ')]
        for room in floors[0]: left.setdefault(room, set())
        for lower,upper in zip(floors[:-1], floors[1:], strict=True):
            for room in upper: left.setdefault(room, set()).update(lower)
    def closure(room): return left[room].union(*map(closure, left[room]))
    return {room: closure(room) for room in left}

def is_private(name): return name.startswith('_') and not name.startswith('__') and name.strip('_') != ''

class Module:
    "One module of the package, as its source tells"
    def __init__(self, path, folder):
        self.path,self.text,self.package = path,path.read_text(encoding='utf-8'),folder.name
        self.tree = ast.parse(self.text)
        self.parts = path.relative_to(folder).with_suffix('').parts
        self.name,self.room = '.'.join(self.parts),self.parts[0]

    def imports(self):
        "(line, module with its package, name or None) of every import, those inside functions too"
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Import):
                for alias in node.names: yield node.lineno,alias.name,None
            elif isinstance(node, ast.ImportFrom):
                above = [self.package, *self.parts][:-node.level] if node.level else []
                module = '.'.join([*above, *filter(None, [node.module])])
                for alias in node.names: yield node.lineno,module,alias.name

    def ours(self, names):
        "(line, module, name or None) of every import from the package, whose modules are `names`"
        for line,module,name in self.imports():
            package,_,inner = module.partition('.')
            if package != self.package: continue
            below = f'{inner}.{name}'.lstrip('.') # `from .io import rows` imports a module
            yield (line,below,None) if below in names else (line,inner or '__init__',name)

    def defines(self):
        "Private names that are this module's own: its functions, variables, methods and attributes"
        for node in ast.walk(self.tree):
            if isinstance(node, (ast.FunctionDef, ast.ClassDef)): yield node.name
            elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                yield node.id
            elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
                if isinstance(node.value, ast.Name) and node.value.id=='self': yield node.attr
            elif isinstance(node, ast.Assign) and ast.unparse(node.targets[0])=='__slots__':
                yield from (o.value for o in ast.walk(node.value) if isinstance(o, ast.Constant))

    def reaches(self):
        "(line, name) of every private attribute that is read or set, by a dot or by `getattr` and its like"
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Attribute): line,name = node.lineno,node.attr
            elif isinstance(node, ast.Call) and re.fullmatch('(get|set|has|del)attr', ast.unparse(node.func)):
                line,name = node.lineno,getattr(node.args[1], 'value', '')
            else: continue
            if isinstance(name, str) and is_private(name): yield line,name

    def patches(self):
        "(line, class, method) of everything that `@patch` adds to a class"
        for node in ast.walk(self.tree):
            if not isinstance(node, ast.FunctionDef): continue
            if not any(ast.unparse(o).startswith('patch') for o in node.decorator_list): continue
            first = [*node.args.posonlyargs, *node.args.args][0]
            if first.annotation: yield node.lineno,ast.unparse(first.annotation),node.name

@cache # one reading does for all rules
def read(folder):
    "Every module of the package in `folder`, by name; the folders' own `__init__` are empty and left out"
    paths = [*folder.glob('*.py'), *(p for p in folder.rglob('*/*.py') if p.name!='__init__.py')]
    return {m.name: m for m in (Module(p, folder) for p in sorted({*paths})) if m.name!='_modidx'}

# A rule takes the modules, and yields (path, line, what breaks it: the same words as long as it is the same fault)

def arrows(mods):
    "A module imports only from what lies to the left of it"
    may = allowed()
    for m in mods.values():
        if m.room not in may: yield m.path,1,f'{m.name} stands nowhere in the layers: add it to ARROWS'
        for line,module,_ in m.ours(mods):
            room = module.split('.')[0]
            if room!=m.room and room not in may.get(m.room, ()):
                yield m.path,line,f'{m.name} imports {module}, which does not lie below it'

def circles(mods):
    "No module imports itself by way of others"
    direct = {m.name: {to for _,to,_ in m.ours(mods)} for m in mods.values()}
    def reach(start):
        seen,todo = set(),[start]
        while todo:
            new = direct.get(todo.pop(), set())-seen
            seen |= new
            todo += new
        return seen
    reached = {name: reach(name) for name in mods}
    for m in mods.values():
        for line,module,_ in m.ours(mods):
            if m.name in reached.get(module, ()) or module==m.name:
                yield m.path,line,f'{m.name} imports {module}, which imports it too, itself or by way of others'

def ignorance(mods):
    "`disk`, `store`, `work` and `io` know nothing of what is trained"
    for m in mods.values():
        for line,module,_ in m.imports():
            if module.split('.')[0] in IGNORANT.get(m.room, '').split():
                yield m.path,line,f'{m.name} imports {module}: {m.room} is not to know it'

def platforms(mods):
    "Only `io.system` and what stands behind it knows the platform"
    for m in mods.values():
        if m.name in PLATFORM.split(): continue
        for line,module,_ in m.imports():
            if module.split('.')[0] in ('ctypes','platform'):
                yield m.path,line,f'{m.name} imports {module}: ask io.system'
        for node in ast.walk(m.tree):
            if isinstance(node, ast.Attribute) and ast.unparse(node)=='sys.platform':
                yield m.path,node.lineno,f'{m.name} asks sys.platform: ask io.system'

def private(mods):
    "`_x` stays in its module; those of other libraries are listed in FOREIGN"
    own = {m.name: {*filter(is_private, m.defines())} for m in mods.values()}
    for m in mods.values():
        for line,module,name in m.imports():
            package,_,inner = module.partition('.')
            if not is_private(name or inner.split('.')[-1]): continue
            if package==m.package: yield m.path,line,f'{m.name} imports {name} from {inner}'
            elif name not in FOREIGN: yield m.path,line,f'{m.name} imports {name} from {module}: not in FOREIGN'
        for line,name in m.reaches():
            if name in own[m.name] or name in FOREIGN or name in NAMEDTUPLE: continue
            homes = [other for other in mods if name in own[other]]
            what = f'which is private to {" or ".join(homes)}' if homes else 'which is not in FOREIGN'
            yield m.path,line,f'{m.name} uses .{name}, {what}'

def listed(mods):
    "Every name in FOREIGN is used"
    used = {o[-1] for m in mods.values() for o in (*m.reaches(), *m.imports())}
    for name in FOREIGN:
        if name not in used: yield Path(__file__),1,f'{name} is in FOREIGN, and nothing uses it'

def patched(mods):
    "A class of ours is whole in its own module: `@patch` from another one is for other people's classes"
    for m in mods.values():
        imported = {name: module for _,module,name in m.ours(mods)}
        for line,cls,method in m.patches():
            if cls in imported: yield m.path,line,f'{m.name} patches {method} into {cls} of {imported[cls]}'

def length(mods):
    "A module has at most 200 lines"
    for m in mods.values():
        if (n := len(m.text.splitlines())) > MAX_LINES: yield m.path,n,f'{m.name} is longer than {MAX_LINES} lines'

def lines(mods):
    "No line is longer than 120, but for `__all__`, which nbdev lays out (so ruff is not asked)"
    for m in mods.values():
        made = [n for n in m.tree.body if isinstance(n, ast.Assign) and ast.unparse(n.targets[0])=='__all__']
        skip = {i for n in made for i in range(n.lineno, n.end_lineno+1)}
        long = [i for i,line in enumerate(m.text.splitlines(), 1) if len(line)>MAX_CHARS and i not in skip]
        if long: yield m.path,long[0],f'{m.name} has lines longer than {MAX_CHARS}'

def notebooks(folder):
    "Notebooks have numbers and lines in the sidebar, are called like their module; a folder's first has a design note"
    sidebar = folder/'sidebar.yml'
    listed = re.findall(r'- (\S+[.]ipynb)', sidebar.read_text(encoding='utf-8')) if sidebar.exists() else None
    numbered = sorted(p for p in folder.glob('*.ipynb') if p.stem!='index')
    numbers,seen = Counter(p.name[:3] for p in numbered),set()
    for p in numbered:
        number,_,name = p.stem.partition('_')
        sources = [''.join(c['source']) for c in json.loads(p.read_text(encoding='utf-8'))['cells']]
        exports = re.search(r'^#\| *default_exp +(\S+)', '\n'.join(sources), flags=re.M)
        if not re.fullmatch(r'\d{3}', number): yield p,1,f'{p.name} does not begin with three digits and _'
        if numbers[number]>1: yield p,1,f'{p.name} shares its number with another notebook'
        if listed is not None and p.name not in listed:
            yield p,1,f'{p.name} is not in {sidebar.name}: run python docs/build.py, commit'
        if exports and exports[1]!=name: yield p,1,f'{p.name} exports {exports[1]}, not {name}'
        if len(sources[0].strip().split('\n\n'))>2:
            yield p,1,f'{p.name} says more in its first cell than title and description: nbdev leaves it out of the site'
        room = name.split('.')[0]
        if '.' not in name or room in seen: continue
        seen.add(room)
        if not any(s.startswith(NOTE) or f'\n{NOTE}' in s for s in sources):
            yield p,1,f'{p.name}, the first of {room}, has no design note, headed "{NOTE}"'

RULES = {f.__name__: f for f in
         (arrows, circles, ignorance, platforms, private, listed, patched, length, lines, notebooks)}

def broken(rule, root=ROOT, package='memmap_ts'):
    "(path, line, fault) of all that breaks `rule`"
    if rule=='notebooks': return [*notebooks(root/'nbs')]
    return [*RULES[rule](read(root/package))]

def still(): return set(STILL.read_text(encoding='utf-8').splitlines()) if STILL.exists() else set()

def complaints(rule):
    "What is new, and what is mended but still listed, as lines to print"
    todo,found = {o for o in still() if o.startswith(f'{rule}: ')},broken(rule)
    gone = todo-{f'{rule}: {fault}' for _,_,fault in found}
    new = dict.fromkeys(o for o in found if f'{rule}: {o[-1]}' not in todo)
    return [*(f'{path.relative_to(ROOT)}:{line}: {fault} ({RULES[rule].__doc__})' for path,line,fault in new),
            *(f'{STILL.relative_to(ROOT)}: mended, take it out: {o}' for o in sorted(gone))]

def pytest_generate_tests(metafunc):
    "One case a rule, without importing pytest: this file is also run where there is only Python"
    if 'rule' in metafunc.fixturenames: metafunc.parametrize('rule', RULES)
    if 'example' in metafunc.fixturenames: metafunc.parametrize('example', EXAMPLES, ids=[o[0] for o in EXAMPLES])

def test_rule(rule):
    bad = complaints(rule)
    assert not bad, '\n'+'\n'.join(bad)

def test_contributing_tells_the_layers():
    assert ARROWS.split('\n')[1] in (ROOT/'CONTRIBUTING.md').read_text(encoding='utf-8')

EXAMPLES = [ # rule, module, its source, what is said (None: nothing)
    ('arrows', 'io/file', 'from ..items import itemify', 'io.file imports items, which does not lie below it'),
    ('arrows', 'store', 'def f():\n    from memmap_ts.io.rows import gather', 'store imports io.rows'),
    ('arrows', 'load', 'from .testing import evict', 'load imports testing'),
    ('arrows', 'dls', 'import memmap_ts.bench.reading', 'dls imports bench.reading'),
    ('arrows', 'cli/demo', 'from ..bench import reading', 'cli.demo imports bench'),
    ('arrows', 'attic', 'import numpy', 'stands nowhere'),
    ('arrows', 'bench/reading', 'from ..testing import evict\nfrom ..load import MemmapDL', None),
    ('arrows', 'summary/scan', 'from ..io import rows\nfrom .moments import Moments', None),
    ('circles', 'io/rows', 'from . import file', 'io.rows imports io.file, which imports it too'),
    ('ignorance', 'io/file', 'import fastai.data', 'io.file imports fastai.data'),
    ('platforms', 'load', "import sys\nlinux = sys.platform=='linux'", 'ask io.system'),
    ('platforms', 'io/linux', 'import ctypes', None),
    ('private', 'load', 'from .io.rows import _gather', 'load imports _gather from io.rows'),
    ('private', 'load', 'from .io import rows\nrows._gather()', 'load uses ._gather, which is private to io.rows'),
    ('private', 'load', "def f(dl): return getattr(dl, '_pages')", 'load uses ._pages, which is private to io.file'),
    ('private', 'load', 'def f(dl): return dl._hidden', 'not in FOREIGN'),
    ('private', 'load', "def f(o): return hasattr(o, '_fields')", None),
    ('private', 'load', 'from fastai.basics import _hidden', 'not in FOREIGN'),
    ('private', 'load', 'class A:\n    def __init__(self): self._x = 1\ndef f(a): return a._x, a.__class__', None),
    ('patched', 'load', 'from .io.rows import Rows\n@patch\ndef f(self:Rows): pass', 'patches f into Rows of io.rows'),
    ('patched', 'load', 'class A: pass\n@patch\ndef f(self:A): pass', None),
    ('length', 'load', 'x = 1\n'*201, 'longer than 200 lines'),
    ('lines', 'load', f'x = "{"long"*40}"', 'load has lines longer than 120'),
    ('lines', 'load', f'__all__ = ["{"long"*40}"]', None),
]

def test_rule_finds_what_breaks_it(example, tmp_path):
    rule,name,source,said = example
    around = {'io/rows': 'def _gather(): pass\nclass Rows: pass', 'summary/moments': '',
              'io/file': 'from .rows import Rows\nclass File:\n    def __init__(self): self._pages = 0'}
    for module,text in {**around, name: source}.items():
        path = (tmp_path/'memmap_ts'/module).with_suffix('.py')
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    faults = [fault for path,_,fault in broken(rule, tmp_path) if path.stem==name.split('/')[-1]]
    assert any(said in fault for fault in faults) if said else not faults, faults

def test_rule_finds_notebooks_that_break_it(tmp_path):
    def save(name, *sources):
        cells = [{'source':[s]} for s in sources]
        (tmp_path/f'{name}.ipynb').write_text(json.dumps({'cells':cells}))
    save('100_io.rows', '#| default_exp io.rows', f'Words\n\n{NOTE}\n')
    save('105_io.file', '#| default_exp io.file')
    assert not [*notebooks(tmp_path)]
    save('105_data.kind', '#| default_exp data.kinds')
    save('901_start', '# Start\n\n> Here\n\nThe first step', '')
    (tmp_path/'sidebar.yml').write_text('- 100_io.rows.ipynb\n- 105_io.file.ipynb\n- 901_start.ipynb\n')
    said = ' '.join(fault for _,_,fault in notebooks(tmp_path))
    assert '105_data.kind.ipynb is not in sidebar.yml' in said and '100_io.rows.ipynb is not' not in said
    assert 'shares its number' in said and 'exports data.kinds' in said and 'has no design note' in said
    assert '901_start.ipynb says more in its first cell' in said

if __name__=='__main__':
    if sys.argv[1:]==['--still']:
        lines = sorted({f'{rule}: {fault}\n' for rule in RULES for _,_,fault in broken(rule)})
        STILL.write_text(''.join(lines), encoding='utf-8')
        if not lines: STILL.unlink()
        sys.exit(print(f'{len(lines)} in {STILL.name}'))
    bad = [line for rule in RULES for line in complaints(rule)]
    print('\n'.join(bad) or f'layers ok, {len(still())} still to do')
    sys.exit(bool(bad))
