"Fail on a link, within the built site, that leads nowhere: `python docs/links.py docs/_build/html`"
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

class Page(HTMLParser):
    "What a page has and what it links to"
    def __init__(self, text):
        super().__init__()
        self.ids,self.links = set(),[]
        self.feed(text)
    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        if 'id' in attrs: self.ids.add(attrs['id'])
        self.links += [attrs[k] for k in ('href','src') if attrs.get(k)]

def leads_nowhere(path, link, pages):
    "Whether `link`, on the page at `path`, is to a file or a heading that is not there"
    url = urlsplit(link)
    if url.scheme or url.netloc: return False
    target = (path.parent/unquote(url.path)).resolve() if url.path else path
    if not target.exists(): return True
    return bool(url.fragment) and target.suffix=='.html' and unquote(url.fragment) not in pages[target].ids

if __name__=='__main__':
    site = Path(sys.argv[1]).resolve()
    pages = {p: Page(p.read_text(encoding='utf-8')) for p in site.rglob('*.html')}
    if not pages: sys.exit(f"no pages in {site}")
    links = [(path,link) for path,page in pages.items() for link in page.links]
    bad = [f'{path.name}: {link}' for path,link in links if leads_nowhere(path, link, pages)]
    print('\n'.join(bad) or 'links ok')
    sys.exit(bool(bad))
