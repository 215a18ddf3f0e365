"Fail on a link, within the built site, that leads nowhere"
import sys; from pathlib import Path; from html.parser import HTMLParser; from urllib.parse import urlsplit,unquote
class P(HTMLParser):
    def __init__(self,s): super().__init__(); self.ids,self.refs=set(),[]; self.feed(s)
    def handle_starttag(self,tag,attrs):
        d=dict(attrs)
        if 'id' in d: self.ids.add(d['id'])
        for k in ('href','src'):
            if d.get(k): self.refs.append(d[k])
site=Path(sys.argv[1]); pages={p:P(p.read_text(encoding='utf-8')) for p in site.rglob('*.html')}
if not pages: sys.exit(f"no pages in {site}")
bad=[]
for p,o in pages.items():
    for r in o.refs:
        u=urlsplit(r)
        if u.scheme or u.netloc: continue
        t=(p.parent/unquote(u.path)).resolve() if u.path else p.resolve()
        if not t.exists() or (u.fragment and t.suffix=='.html' and unquote(u.fragment) not in pages[Path(t) if t in pages else site/t.relative_to(site.resolve())].ids): bad.append(f'{p.name}: {r}')
print('\n'.join(bad) or 'links ok'); sys.exit(bool(bad))
