"Types of the public API: what a type checker is told is there, and true of the defaults"
import inspect, runpy
from pathlib import Path
from fasttransform import Transform
import memmap_ts, memmap_ts.all as public

_chosen_by = {'encodes','decodes','setups'} # a transform's annotations say what it is for

def methods(cls):
    "Constructor and public methods of `cls` that are written in this package"
    for name in dir(cls):
        if name!='__init__' and (name.startswith('_') or (issubclass(cls, Transform) and name in _chosen_by)): continue
        o = inspect.getattr_static(cls, name)
        f = o.fget if isinstance(o, property) else inspect.unwrap(getattr(o, '__func__', o))
        if inspect.isfunction(f) and f.__module__.startswith('memmap_ts'): yield f'{cls.__name__}.{name}',f

def functions():
    for name in public.__all__:
        o = getattr(public, name)
        if inspect.isclass(o): yield from methods(o)
        else: yield name,inspect.unwrap(o)

def parameters(f):
    "Names of the parameters of `f`, but for the object itself, `*args` and `**kwargs`"
    c = f.__code__
    names = c.co_varnames[:c.co_argcount+c.co_kwonlyargcount]
    return [o for k,o in enumerate(names) if k or o not in ('self','cls')]

PUBLIC = sorted(functions())

def test_there_are_functions_to_look_at():
    names = {name for name,_ in PUBLIC}
    assert names >= {'open_memmap','TSDataLoaders.from_memmap','MemmapWriter.__init__','MemmapDL.state_dict','windows'}

def test_parameters_are_annotated():
    missing = {name: [o for o in parameters(f) if o not in f.__annotations__] for name,f in PUBLIC}
    assert {name: o for name,o in missing.items() if o}=={}

def takes_none(t): return t is object or type(None) in getattr(t, '__args__', ())

def none_by_default(f):
    "Parameters that are None if nobody says anything"
    given = inspect.Signature.from_callable(f, follow_wrapped=False).parameters
    return [o for o in parameters(f) if given[o].default is None]

def test_none_as_default_is_in_the_type():
    wrong = {name: [o for o in none_by_default(f) if not takes_none(f.__annotations__[o])] for name,f in PUBLIC}
    assert {name: o for name,o in wrong.items() if o}=={}

def test_types_are_published():
    assert (Path(memmap_ts.__file__).parent/'py.typed').is_file()

def test_typed_program_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    runpy.run_path(str(Path(__file__).parent/'typed'/'program.py'))
