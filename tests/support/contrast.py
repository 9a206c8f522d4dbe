"""How well text stands out on a page, computed in the page itself.

The ratio is the one of WCAG 2, whose recommendation for text of normal size is 4.5. A colour that
lets through what is behind it, or a node that is not opaque, is mixed with what is behind. Buttons
that cannot be pressed are exempt, as there.
"""

from playwright.sync_api import Page

CONTRAST = """selector => {
    const parse = text => [...text.match(/[\\d.]+/g).map(Number), 1].slice(0, 4);
    const light = ([r, g, b]) => {
        const [x, y, z] = [r, g, b].map(v => v / 255)
            .map(v => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
        return 0.2126 * x + 0.7152 * y + 0.0722 * z;
    };
    const up = function* (node) { for (let at = node; at; at = at.parentElement) yield at; };
    const behind = node => {
        for (const at of up(node)) {
            const colour = parse(getComputedStyle(at).backgroundColor);
            if (colour[3] > 0.99) return colour;
        }
        return [255, 255, 255, 1];
    };
    const seen = {};
    for (const card of document.querySelectorAll(selector)) {
        for (const node of card.querySelectorAll('*')) {
            const own = [...node.childNodes].some(n => n.nodeType === 3 && n.textContent.trim());
            if (!own || node.closest(':disabled, .qvr-live')) continue;
            if (!node.getClientRects().length) continue;
            const ground = behind(node), ink = parse(getComputedStyle(node).color);
            let share = ink[3];
            for (const at of up(node)) share *= Number(getComputedStyle(at).opacity);
            const mixed = ink.slice(0, 3).map((v, i) => share * v + (1 - share) * ground[i]);
            const [a, b] = [mixed, ground].map(light);
            const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
            const words = node.textContent.trim().slice(0, 30);
            if (!(words in seen) || ratio < seen[words]) seen[words] = ratio;
        }
    }
    return seen;
}"""


def contrasts(page: Page, selector: str) -> dict[str, float]:
    """The ratio of every visible text within ``selector``, by its first words."""
    seen: dict[str, float] = page.evaluate(CONTRAST, selector)
    return seen


def readable(page: Page, selector: str, at_least: int) -> None:
    """Assert that there are so many texts, and that all of them stand out."""
    seen = contrasts(page, selector)
    assert len(seen) >= at_least
    assert {words: ratio for words, ratio in seen.items() if ratio < 4.5} == {}
