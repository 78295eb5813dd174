"""kit.js: what the widgets share keeps its nodes, and writes only what is new."""

import pytest

from qlearn.widgets.base import module

KIT = module("kit.js")


@pytest.fixture
def kit(browser):
    page = browser.new_page()
    names = "{ become, comparison, followWidth, html, svg }"
    page.add_script_tag(content=f"{KIT}; Object.assign(globalThis, {names})", type="module")
    page.wait_for_function("Boolean(globalThis.become)")
    yield page
    page.close()


@pytest.mark.browser
def test_parts_become_nodes_and_stay(kit):
    found = kit.evaluate("""() => {
        const root = document.createElementNS("http://www.w3.org/2000/svg", "svg");
        const seen = [];
        const draw = (...parts) => { become(root, parts); seen.push(root.innerHTML); return [...root.childNodes]; };
        const dot = () => svg("g", {}, svg("path", { d: "M0 0" }));
        const first = draw(svg("text", { x: 1, class: "a" }, 7), dot(), null, "word");
        const changes = new MutationObserver(() => {});
        changes.observe(root, { attributes: true, childList: true, characterData: true, subtree: true });
        const again = draw(svg("text", { x: 1, class: "a" }, 7), dot(), "word");
        const none = changes.takeRecords().length;
        const second = draw(svg("text", { x: 2, class: null }, 8), svg("g", {}), "other");
        const kept = [0, 1, 2].every((i) => first[i] === second[i] && first[i] === again[i]);
        const third = draw(svg("rect", { x: 2 }), svg("g", {}, svg("path", { d: "M1 1" })));
        draw(svg("rect", { x: 2, y: null }), svg("g", {}, "a", svg("path", { d: "M1 1" })), svg("text", {}, 0));
        return { seen, none, kept, other: third[0] !== second[0] && third[1] === second[1], of: third[0].namespaceURI };
    }""")
    assert found["seen"] == [
        '<text x="1" class="a">7</text><g><path d="M0 0"></path></g>word',
        '<text x="1" class="a">7</text><g><path d="M0 0"></path></g>word',
        '<text x="2">8</text><g></g>other',
        '<rect x="2"></rect><g><path d="M1 1"></path></g>',
        '<rect x="2"></rect><g>a<path d="M1 1"></path></g><text>0</text>',
    ]
    assert found["none"] == 0 and found["kept"] and found["other"]
    assert found["of"] == "http://www.w3.org/2000/svg"


@pytest.mark.browser
def test_a_table_keeps_its_cells(kit):
    found = kit.evaluate("""() => {
        const table = comparison(["who", "code"], "ql-steps");
        table.update([["ours", "ours", 1], [["sum", "they part"], "wrong", ["2", "note", "ql-bits"]]]);
        const [before, cells] = [table.root.outerHTML, [...table.root.querySelectorAll("td")]];
        table.update([["ours", "ours", 5], ["sum", "plain", "–"]], ["who", "other"]);
        const same = [...table.root.querySelectorAll("td")].every((cell, i) => cell === cells[i]);
        return [before, table.root.outerHTML, same];
    }""")
    assert '<tr class="ql-ours"><th scope="row">ours</th><td>1</td></tr>' in found[0]
    noted = '<th scope="row"><span>sum</span><small>they part</small></th>'
    assert f'<tr class="ql-wrong">{noted}<td><span>2</span><small class="ql-bits">note</small></td></tr>' in found[0]
    assert found[0].startswith('<div class="ql-table ql-steps">') and '<th scope="col">code</th>' in found[0]
    assert '<th scope="col">other</th>' in found[1] and '<tr class="ql-plain"><th scope="row">sum</th>' in found[1]
    assert "<td>5</td>" in found[1] and "<td>–</td>" in found[1] and "small" not in found[1]
    assert found[2]


@pytest.mark.browser
def test_a_redraw_follows_the_width_alone(kit):
    drawn = kit.evaluate("""async () => {
        const frames = async () => { for (let i = 0; i < 4; i += 1) await new Promise(requestAnimationFrame); };
        const el = html("div", { style: "width: 200px; height: 50px" });
        document.body.append(el);
        let drawn = 0;
        const end = followWidth(el, () => { drawn += 1; });
        const seen = [];
        for (const size of ["height: 90px", "width: 300px", "height: 20px"]) {
            await frames();
            el.style.cssText += `; ${size}`;
            await frames();
            seen.push(drawn);
        }
        end();
        return seen;
    }""")
    assert drawn == [0, 1, 1]
