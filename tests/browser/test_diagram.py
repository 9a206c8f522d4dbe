"""The live diagram in a real JupyterLab: folding by hand, lit paths, badges during a fit.

The pictures go to the test's own folder, or to ``QUIVERS_SHOTS`` to be looked at.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
import pytest

from tests.support.jupyterlab_driver import (
    REPOSITORY,
    RUN,
    execute,
    notebook_page,
    run_all,
    saved_outputs,
    server,
)

NAME = "diagram.ipynb"
pytestmark = [pytest.mark.browser, pytest.mark.slow]

SEED = (REPOSITORY / "tests" / "data" / "seed" / "seq2seq.qvr").read_text(encoding="utf-8")
DATA = """\
import torch
from quivers_nb import fit_svi
noise = torch.Generator().manual_seed(0)
x = torch.randint(32, (64, 2), generator=noise)
y = torch.randint(32, (64,), generator=noise)
run = fit_svi(seq2seq, x, {"next_token": y}, steps=20_000, seed=1)
"""
WRONG = """\
%%qvr
object A : FinSet 3
object B : Real 2
object C : Real 5
morphism f : A -> B [role=kernel] ~ Normal
morphism g : C -> C [role=kernel] ~ Normal
let h = f >> g
export h
"""


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    root, home = tmp_path / "notebooks", tmp_path / "home"
    root.mkdir()
    home.mkdir()
    with server(root, home) as address:
        yield address, root


def notebook(root: Path, *cells: str) -> None:
    made = nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_code_cell(text) for text in ("%load_ext quivers_nb", *cells)],
        metadata={"kernelspec": {"name": "python3", "display_name": "Python 3"}},
    )
    nbformat.write(made, root / NAME)


def shoot(page: Any, shots: Path, name: str) -> None:
    page.screenshot(path=str(shots / f"{name}.png"))


def in_kernel(page: Any, code: str) -> None:
    """Run code in the notebook's kernel and wait for its answer."""
    page.evaluate(
        """async code => {
            const { context } = window.jupyterapp.shell.currentWidget;
            const kernel = context.sessionContext.session.kernel;
            const reply = await kernel.requestExecute({ code }).done;
            if (reply.content.status !== 'ok') throw new Error(reply.content.evalue);
        }""",
        code,
    )


BADGES = """() => [...document.querySelectorAll('.quivers-live .b')]
    .map(node => [node.dataset.id, node.querySelector('text.badge')?.textContent ?? ''])"""
PLACES = """() => [...document.querySelectorAll('.quivers-live .b .s')]
    .map(node => node.getBoundingClientRect()).map(r => [r.x, r.y, r.width, r.height])"""
SHOWN = """picture => [...new Set([...picture.querySelectorAll('svg, img')]
    .filter(node => node.getBoundingClientRect().height > 60)
    .map(node => node.localName))]"""
SPOKEN = """id => document.querySelector(`.quivers-live .b[data-id="${id}"] text.badge`)
    ?.textContent.startsWith('grad ')"""
LIT = """() => [...document.querySelectorAll('.quivers-live .b.ql-lit')].map(n => n.dataset.id)"""


def node(page: Any, ident: str) -> Any:
    return page.locator(f'.quivers-live .b[data-id="{ident}"]')


@pytest.mark.parametrize(
    ("front", "dark"), [("lab", False), ("lab", True), ("notebook", False)], ids=str
)
def test_groups_fold_by_click_and_by_key_and_paths_are_lit(
    lab: tuple[str, Path], browser: object, front: str, dark: bool, shots: Path
) -> None:
    address, root = lab
    notebook(root, f"%%qvr\n{SEED}", "%qvr_diagram backbone")
    with notebook_page(browser, address, NAME, front=front, dark=dark) as (page, watch):
        run_all(page)
        page.wait_for_selector(".quivers-live svg")
        page.locator(".quivers-live").scroll_into_view_if_needed()
        shoot(page, shots, f"live-{front}-{'dark' if dark else 'light'}")
        embed = "backbone/@[1]/decoder/tgt_embed"
        node(page, embed).hover()
        lit = page.evaluate(LIT)
        assert {embed, "backbone/cross"} <= set(lit)
        assert not any("encoder" in ident for ident in lit)
        assert any("dec_residual_ff" in ident for ident in lit)
        shoot(page, shots, f"hover-{front}-{'dark' if dark else 'light'}")
        _fold_by_click(page)
        _fold_by_key(page)
        _pin_and_search(page, embed)
        execute(page, "docmanager:save")
    assert watch.errors == []
    assert watch.foreign == []


def _fold_by_click(page: Any) -> None:
    """A click on the title of a frame folds it, where it was; a click on the box opens it."""
    group = "backbone/@[0]/encoder"
    title = page.locator(f'.quivers-live .f[data-id="{group}"] > text')
    before = page.locator(".quivers-live .b").count()
    title.click()
    node(page, group).wait_for()
    assert page.locator(".quivers-live .b").count() < before
    page.wait_for_timeout(400)
    assert page.locator(".quivers-live .qd [transform]").count() == 0  # it has come to rest
    node(page, group).click()
    title.wait_for()
    assert page.locator(".quivers-live .b").count() == before


def _fold_by_key(page: Any) -> None:
    group = "backbone/@[1]/decoder"
    page.locator(f'.quivers-live .f[data-id="{group}"]').focus()
    page.keyboard.press("Enter")
    node(page, group).wait_for()
    focused = "() => document.activeElement.dataset.id"
    assert page.evaluate(focused) == group
    for along in ("backbone/regroup", "backbone/cross"):
        page.keyboard.press("ArrowDown")
        assert page.evaluate(focused) == along
    page.keyboard.press("ArrowUp")
    page.keyboard.press("ArrowRight")
    assert page.evaluate(focused) is not None
    node(page, group).focus()
    page.keyboard.press("Enter")
    page.locator(f'.quivers-live .f[data-id="{group}"]').wait_for()
    assert page.evaluate(focused) == group


def _pin_and_search(page: Any, embed: str) -> None:
    node(page, embed).click()
    page.mouse.move(5, 5)
    assert embed in page.evaluate(LIT)  # it stays
    page.keyboard.press("Escape")
    assert page.evaluate(LIT) == []
    node(page, embed).focus()
    page.keyboard.press("/")
    page.keyboard.type("ff_up")
    found = page.evaluate(LIT)
    assert len(found) == 2
    assert all("ff_up" in ident for ident in found)
    page.keyboard.press("Enter")
    assert page.evaluate("() => document.activeElement.dataset.id") in found
    page.keyboard.press("Escape")


def settled_places(page: Any) -> Any:
    """Where boxes are once they have come to rest: a group that is clicked unfolds for a while."""
    before, places = None, page.evaluate(PLACES)
    while places != before:
        page.wait_for_timeout(500)
        before, places = places, page.evaluate(PLACES)
    return places


def test_badges_follow_a_fit_and_move_nothing(
    lab: tuple[str, Path], browser: object, shots: Path
) -> None:
    address, root = lab
    path, show = "next_token/lm_head", "%qvr_diagram seq2seq --run run --badges gradient"
    notebook(root, f"%%qvr\n{SEED}", f"{DATA}{show}")
    with notebook_page(browser, address, NAME) as (page, watch):
        run_all(page)
        page.wait_for_selector(".quivers-live svg")
        node(page, "h/backbone").click()
        page.wait_for_selector('.quivers-live .f[data-id="h/backbone"]')
        page.wait_for_function(SPOKEN, arg=path, timeout=1000 * RUN)  # the first step is made
        places = settled_places(page)
        seen = []
        for _ in range(16):
            page.wait_for_timeout(250)
            seen.append(dict(page.evaluate(BADGES)))
        shoot(page, shots, "gradients")
        assert page.evaluate(PLACES) == places
        in_kernel(page, "run.stop().wait()")
        execute(page, "docmanager:save")
    texts = [badges[path] for badges in seen]
    assert all(text.startswith("grad ") for text in texts)
    assert len(set(texts)) >= 3
    assert watch.errors == []
    assert watch.foreign == []


def test_a_saved_notebook_shows_its_pictures_without_a_kernel(
    lab: tuple[str, Path], browser: object, shots: Path
) -> None:
    """Trusted, the live diagram falls back to the page; not trusted, to an image."""
    address, root = lab
    notebook(root, f"%%qvr\n{SEED}", "%qvr_diagram encoder", WRONG)
    with notebook_page(browser, address, NAME) as (page, _):
        run_all(page)
        page.wait_for_selector(".quivers-live svg")
        execute(page, "docmanager:save")
        in_kernel(page, "%reset -f")
    (card,), (live,) = saved_outputs(root / NAME)[1:3]
    for output in (card, live):
        assert {"text/plain", "text/html", "image/svg+xml"} <= set(output["data"])
    text = (root / NAME).read_text(encoding="utf-8")
    (root / "own.ipynb").write_text(text, encoding="utf-8")
    # what a colleague receives: the file is not the one that was trusted when it was saved
    (root / "sent.ipynb").write_text(text.replace("FinSet 3", "FinSet  3"), encoding="utf-8")
    for name, tag in (("own.ipynb", "svg"), ("sent.ipynb", "img")):
        with notebook_page(browser, address, name) as (page, watch):
            pictures = page.locator(".jp-OutputArea-output .quivers-diagram")
            pictures.nth(2).wait_for()
            shoot(page, shots, name)
            for k in range(3):
                assert pictures.nth(k).evaluate(SHOWN) == [tag]
        assert watch.foreign == []


def test_the_live_picture_comes_back_with_the_page_and_misses_its_kernel(
    lab: tuple[str, Path], browser: object, shots: Path
) -> None:
    address, root = lab
    notebook(root, f"%%qvr\n{SEED}", "%qvr_diagram encoder")
    with notebook_page(browser, address, NAME) as (page, _):
        run_all(page)
        page.wait_for_selector(".quivers-live svg")
        node(page, "encoder/src_embed").click()
        execute(page, "docmanager:save")
    with notebook_page(browser, address, NAME) as (page, watch):
        page.wait_for_selector(".quivers-live svg", timeout=30_000)  # the same kernel, another page
        assert page.locator(".quivers-diagram[data-live] .quivers-live").count() == 1
        page.evaluate(
            "() => window.jupyterapp.shell.currentWidget.context.sessionContext.shutdown()"
        )
        page.locator('.quivers-live .f[data-id="encoder"] > text').click()
        status = page.locator(".quivers-live .ql-status", has_text="kernel does not answer")
        status.wait_for(timeout=20_000)
        shoot(page, shots, "without")
    assert watch.foreign == []
