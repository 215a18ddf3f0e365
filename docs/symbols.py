"What `show_doc` says of a function or a class, as a reference has it: signature, table of arguments, what comes out"
import ast, re, textwrap

_shown = re.compile(r'---\n\n(?:\[source\]\((?P<source>.*?)\)\{.*?\}\n\n)?#+ (?P<name>\S+)\n\n'
                    r'```python\n(?P<code>.*?)\n```\n*(?P<text>.*)', flags=re.S)

class Symbol:
    "A function, class or method: what its page shows of it"
    def __init__(self, markdown):
        match = _shown.match(markdown)
        if not match: raise ValueError(f'not what show_doc writes: {markdown[:80]!r}')
        self.name,self.source,self.text = match['name'],match['source'],match['text'].strip()
        self.code = match['code']
        try: self.args,self.returns = arguments(self.code)
        except SyntaxError: self.args,self.returns = [],'' # a type that is shown, but is no Python
        self.anchor,self.like = self.name.lower(),None
    @property
    def sentence(self): return self.text.split('\n')[0].strip('*')

    def markdown(self):
        "With the anchor that `_modidx` promises"
        link = f'<a class="source" href="{self.source}">source</a>\n\n' if self.source else ''
        return f'<a id="{self.anchor}"></a>\n\n### {self.name}\n\n{link}{self.body()}'

    def folded(self):
        "For a page that is about what users call"
        source = f'\n\n<a href="{self.source}">source</a>' if self.source else ''
        return (f'<a id="{self.anchor}"></a>\n\n::::{{admonition}} Inside: {self.name}\n:class: inside\n'
                f':collapsible: closed\n\n{self.body()}{source}\n::::')

    def body(self):
        parts = [self.text, f'```python\n{self.signature()}\n```', self.table()]
        if self.passed_on():
            parts.append(f"{len(self.passed_on())} more arguments, of fastai's `DataLoader`, are passed on to it.")
        if self.returns: parts.append(f"**Returns** {self.returns}")
        return '\n\n'.join(o for o in parts if o)

    def passed_on(self):
        "Names at the end that nobody documents: those of the library below"
        known = [i for i,(_,_,_,doc) in enumerate(self.args) if doc]
        end = [name for name,*_ in self.args[known[-1]+1:] if name[0]!='*'] if known else []
        return end if len(end)>3 else []

    def signature(self):
        if not self.args and self.code.count('\n')>1: return self.code
        left_out = self.passed_on()
        args = [name+(f'={default}' if default else '') for name,_,default,_ in self.args if name not in left_out]
        if left_out: args.append('...')
        line = f"{self.name}({', '.join(args)})"
        if len(line)<=78: return line
        filled = textwrap.fill(', '.join(args), 74, break_long_words=False)
        return f"{self.name}(\n{textwrap.indent(filled, ' '*4)}\n)"

    def table(self):
        "Of arguments that have a meaning; those that another symbol of the page has told already are left to it"
        rows = [(name,kind,default,doc) for name,kind,default,doc in self.args if doc]
        told = set(self.like.args) if self.like else set()
        if self.like: rows = [row for row in rows if row not in told]
        if not rows: return ''
        lines = [f'| {_argument(name, kind, default)} | {_cell(doc)} |' for name,kind,default,doc in rows]
        if self.like: lines.append(f'| … | as [{self.like.name}](#{self.like.anchor}) has them |')
        return '\n'.join(['| Argument | |', '| --- | --- |', *lines])

    def shares(self, other):
        "Whether most of what there is to say of the arguments is said of `other`"
        return sum(bool(doc) for *_,doc in set(self.args)&set(other.args))>8

def _cell(text): return text.replace('|', r'\|')

def _argument(name, kind, default):
    "Of a name, its type and its default, those that say something"
    more = ' = '.join(o for o in (kind, default) if o and o!='None')
    return f'`{name}`'+(f' <span class="default">`{_cell(more)}`</span>' if more else '')

def arguments(code):
    "(name, type, default, meaning) of each argument, and what is returned"
    code = re.sub('=<[^>]*>', '=...', code) # an object that has no source
    code = re.sub(r'(:\w+) <(.*)>(,?)$', r'\1\3 # \2', code, flags=re.M) # what fastcore's `Param` says
    lines = [line.partition(' # ') for line in code.split('\n')]
    plain = '\n'.join(before for before,_,_ in lines)
    node = ast.parse(plain.rstrip()+' pass').body[0]
    a = node.args
    several = [o for o in (a.vararg,a.kwarg) if o]
    stars = {id(a.vararg):'*', id(a.kwarg):'**'}
    args = a.posonlyargs+a.args
    defaults = dict(zip([o.arg for o in args[len(args)-len(a.defaults):]], a.defaults))
    defaults.update({o.arg:d for o,d in zip(a.kwonlyargs, a.kw_defaults) if d})
    every = sorted(args+a.kwonlyargs+several, key=lambda o: (o.lineno,o.col_offset))
    last_of_line = {o.lineno:o for o in every}
    def meaning(o): return lines[o.lineno-1][2] if last_of_line[o.lineno] is o else ''
    def kind(o): return ast.unparse(o.annotation) if o.annotation else ''
    def default(o): return ast.unparse(defaults[o.arg]) if o.arg in defaults else ''
    res = [(stars.get(id(o),'')+o.arg, kind(o).replace('NoneType',''), default(o), meaning(o)) for o in every]
    returned,doc = ast.unparse(node.returns) if node.returns else '', lines[-1][2]
    return res, ': '.join(o for o in (f'`{returned}`' if returned else '', doc) if o)
