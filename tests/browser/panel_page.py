"""A notebook with a model and a panel, and what tests ask its page."""

from tests.support.jupyterlab_driver import Folder, run_cell, write_notebook

NAME = "panel.ipynb"
MODEL = """%%qvr
object Obs : FinSet n
data x : Obs -> Real 1
program line : Obs -> Obs
    sample slope <- Normal(0.0, 10.0)
    sample start <- Normal(0.0, 10.0)
    sample noise <- HalfNormal(5.0)
    let mu = start + slope * x
    observe y : Obs <- Normal(mu, noise)
    return mu
export line"""
DATA = "import torch\nx = torch.linspace(0, 1, 40); y = 1 + 2 * x + 0.3 * torch.sin(37 * x)"
FIRST = 3  # the number of the first cell that a test adds
STATE = "() => document.querySelector('.qvr-run')?.dataset.state"
INK = """() => {
    const canvas = document.querySelector('.qvr-canvas');
    const { data } = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
    let inked = 0;
    for (let i = 3; i < data.length; i += 4) inked += data[i] > 0;
    return inked;
}"""
SOON = 60_000  # milliseconds


def opened(empty: Folder, browser, cells, **options):
    write_notebook(empty.root / NAME, ["%load_ext quivers_nb", MODEL, DATA, *cells])
    return empty.page(browser, NAME, **options)


def run_first(page, count=FIRST + 1, *, panel=True):
    for number in range(count):
        run_cell(page, number)
    if panel:
        page.wait_for_selector(".qvr-run", timeout=SOON)


def state(page, wanted, seconds=120):
    page.wait_for_function(
        f"wanted => wanted.includes(({STATE})())", arg=wanted, timeout=1000 * seconds
    )


def press(page, verb):
    page.click(f".qvr-{verb}:enabled", timeout=SOON)


def output(page, number, text):
    """What a cell has put out and contains a text."""
    cell = page.locator(".jp-Notebook .jp-Cell").nth(number)
    return cell.locator(".jp-OutputArea-output", has_text=text)


def quiet(watch):
    assert watch.errors == [], watch.errors
    assert watch.foreign == []
